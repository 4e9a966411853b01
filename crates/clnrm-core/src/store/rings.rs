//! How far the rings of a service have turned. Appending overwrites the oldest slot, so nothing is ever deleted.

use std::time::Duration;

use std::ops::{Range, RangeInclusive};

use rusqlite::{Connection, Transaction, params};

use super::rows::ServiceId;
use super::sql_types::{tier, tier_word, time};
use crate::clock::Timestamp;
use crate::services::service_manager::Tier;

/// How many entries each tier keeps per service.
pub const RING_LENGTH: u32 = 1000;
/// Samples of a service that follow each other faster than this are of two samplers at once. More than half of the usual
/// interval of 1 s: then of two samplers only one is recorded, whatever their phase.
pub const LEAST_SAMPLE_GAP: Duration = Duration::from_millis(600);

const LENGTH: i64 = RING_LENGTH as i64;

/// The slot of the entry with this number.
pub(super) fn slot(number: i64) -> i64 {
    number.rem_euclid(LENGTH)
}

/// The slots of consecutive entries, at most a ring of them; where they wrap around, in two parts.
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

/// A row of the table `rings`; all zero before the first entry.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ring {
    /// Entries ever written.
    pub(super) written: i64,
    /// Number of the first entry of the next finer tier that is in no entry of this one.
    pub(super) open_from: i64,
    /// Time of the entry written last.
    pub(super) newest_at: Timestamp,
}

/// The rings of one service.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rings {
    pub(super) raw: Ring,
    minute: Ring,
    quarter_hour: Ring,
}

impl Rings {
    /// `None` = the service has no sample yet.
    pub(super) fn read(
        connection: &Connection,
        service: ServiceId,
    ) -> rusqlite::Result<Option<Self>> {
        let mut rings = Self::default();
        let mut statement = connection.prepare_cached(
            "SELECT tier, written, open_from, newest_at FROM rings WHERE service_id = ?1",
        )?;
        let mut rows = statement.query([service])?;
        while let Some(row) = rows.next()? {
            let ring = Ring {
                written: row.get(1)?,
                open_from: row.get(2)?,
                newest_at: time(row, 3)?,
            };
            *rings.of_mut(tier(row, 0)?) = ring;
        }
        Ok((rings.raw.written > 0).then_some(rings))
    }

    pub(super) fn of(&self, tier: Tier) -> &Ring {
        match tier {
            Tier::Raw => &self.raw,
            Tier::Minute => &self.minute,
            Tier::QuarterHour => &self.quarter_hour,
        }
    }

    pub(super) fn of_mut(&mut self, tier: Tier) -> &mut Ring {
        match tier {
            Tier::Raw => &mut self.raw,
            Tier::Minute => &mut self.minute,
            Tier::QuarterHour => &mut self.quarter_hour,
        }
    }

    pub(super) fn write(
        &self,
        transaction: &Transaction<'_>,
        service: ServiceId,
        tier: Tier,
    ) -> rusqlite::Result<()> {
        let ring = self.of(tier);
        transaction
            .prepare_cached(
                "INSERT OR REPLACE INTO rings (service_id, tier, written, open_from, newest_at)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                service,
                tier_word(tier),
                ring.written,
                ring.open_from,
                ring.newest_at.as_millis()
            ])
            .map(drop)
    }

    /// The written entries of a tier that a reader gets. An open bucket takes the place of the oldest one.
    pub(super) fn kept(&self, tier: Tier) -> Range<i64> {
        let open = i64::from(tier != Tier::Raw);
        let written = self.of(tier).written;
        (written + open - LENGTH).max(0)..written
    }

    /// The entries of the next finer tier that are in the open bucket of this one.
    pub(super) fn open(&self, tier: Tier) -> Range<i64> {
        let finer = self.of(tier.finer()).written;
        self.of(tier).open_from.max(finer - LENGTH)..finer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_entries_are_in_at_most_two_runs_of_slots() {
        let parts = |numbers| slots(numbers).collect::<Vec<_>>();
        assert_eq!(parts(0..0), []);
        assert_eq!(parts(5..6), [5..=5]);
        assert_eq!(parts(0..1_000), [0..=999]);
        assert_eq!(parts(2_999..3_001), [999..=999, 0..=0]);
        assert_eq!(parts(1_234..2_234), [234..=999, 0..=233]);
    }
}
