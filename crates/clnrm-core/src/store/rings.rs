//! How far the rings of a service have turned. Appending overwrites the oldest slot, so nothing is ever deleted.

use std::ops::{Range, RangeInclusive};

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::rows::ServiceId;
use super::sql_types::time;
use crate::clock::Timestamp;
use crate::services::service_manager::Tier;

/// How many samples each tier keeps per service.
pub const RING_LENGTH: u32 = 1000;

const LENGTH: i64 = RING_LENGTH as i64;

/// The slot of the sample with this number.
pub(super) fn slot(number: i64) -> i64 {
    number.rem_euclid(LENGTH)
}

/// The slots of consecutive samples, at most a ring of them; where they wrap around, in two parts.
pub(super) fn slots(numbers: Range<i64>) -> impl Iterator<Item = RangeInclusive<i64>> {
    let (first, length) = (slot(numbers.start), numbers.end - numbers.start);
    let before_the_wrap = length.min(LENGTH - first);
    [
        first..=first + before_the_wrap - 1,
        0..=length - before_the_wrap - 1,
    ]
    .into_iter()
    .filter(|part| !part.is_empty())
}

/// A row of the table `rings`; all zero before the first sample.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rings {
    /// Time of the newest raw sample.
    pub(super) newest_at: Timestamp,
    /// Raw samples ever written.
    pub(super) raw: i64,
    /// Closed minutes ever written.
    pub(super) minute: i64,
    /// Number of the first raw sample of the open minute.
    pub(super) minute_from: i64,
    /// Closed quarters of an hour ever written.
    pub(super) quarter_hour: i64,
    /// Number of the first minute of the open quarter of an hour.
    pub(super) quarter_hour_from: i64,
}

impl Rings {
    /// `None` = the service has no sample yet.
    pub(super) fn read(
        connection: &Connection,
        service: ServiceId,
    ) -> rusqlite::Result<Option<Self>> {
        connection
            .prepare_cached(
                "SELECT newest_at, raw_written, minute_written, minute_from, quarter_hour_written, quarter_hour_from
                 FROM rings WHERE service_id = ?1",
            )?
            .query_row([service], |row| {
                Ok(Self {
                    newest_at: time(row, 0)?,
                    raw: row.get(1)?,
                    minute: row.get(2)?,
                    minute_from: row.get(3)?,
                    quarter_hour: row.get(4)?,
                    quarter_hour_from: row.get(5)?,
                })
            })
            .optional()
    }

    pub(super) fn write(
        &self,
        transaction: &Transaction<'_>,
        service: ServiceId,
    ) -> rusqlite::Result<()> {
        transaction
            .prepare_cached(
                "INSERT OR REPLACE INTO rings (service_id, newest_at, raw_written, minute_written, minute_from,
                                               quarter_hour_written, quarter_hour_from)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                service,
                self.newest_at.as_millis(),
                self.raw,
                self.minute,
                self.minute_from,
                self.quarter_hour,
                self.quarter_hour_from,
            ])
            .map(drop)
    }

    /// The written samples of a tier that a reader gets. An open bucket takes the place of the oldest one.
    pub(super) fn kept(&self, tier: Tier) -> Range<i64> {
        let (written, open) = match tier {
            Tier::Raw => (self.raw, 0),
            Tier::Minute => (self.minute, 1),
            Tier::QuarterHour => (self.quarter_hour, 1),
        };
        (written + open - LENGTH).max(0)..written
    }

    /// The raw samples of the open minute.
    pub(super) fn open_minute(&self) -> Range<i64> {
        self.minute_from.max(self.raw - LENGTH)..self.raw
    }

    /// The closed minutes of the open quarter of an hour.
    pub(super) fn open_quarter_hour(&self) -> Range<i64> {
        self.quarter_hour_from.max(self.minute - LENGTH)..self.minute
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_samples_are_in_at_most_two_runs_of_slots() {
        let parts = |numbers| slots(numbers).collect::<Vec<_>>();
        assert_eq!(parts(0..0), []);
        assert_eq!(parts(5..6), [5..=5]);
        assert_eq!(parts(0..1_000), [0..=999]);
        assert_eq!(parts(2_999..3_001), [999..=999, 0..=0]);
        assert_eq!(parts(1_234..2_234), [234..=999, 0..=233]);
    }
}
