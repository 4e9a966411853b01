//! Samples: a ring of raw ones per service, and the rollups that each of them is folded into as it arrives.
//!
//! A ring is 1000 slots that are written in turn; [`Rings`] knows how far each has turned, so that appending touches one
//! row per tier and nothing is ever deleted.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};

use super::error::BUSY_TIMEOUT;
use super::rollups::{read_rollups, write_rollup};
use super::rows::{ServiceId, StoredHistory, TierSpan};
use super::{Store, StoreError};
use crate::clock::Timestamp;
use crate::services::service_manager::{Rollup, ServiceMetrics, Tier};

/// How many samples each tier keeps per service.
pub const RING_LENGTH: u32 = 1000;

/// Samples of a service that follow each other faster than this are of two samplers at once. More than half of the usual
/// interval of 1 s: then of two samplers only one is recorded, whatever their phase.
pub const LEAST_SAMPLE_GAP: Duration = Duration::from_millis(600);

impl Store {
    /// Records the samples of one tick in one transaction and folds them into the rollups. Says of each sample whether it
    /// was recorded: one that lies within [`LEAST_SAMPLE_GAP`] of a recorded one, or before it, is passed over.
    pub fn append_samples(
        &mut self,
        samples: &[(ServiceId, ServiceMetrics)],
    ) -> Result<Vec<bool>, StoreError> {
        self.write("record samples", |transaction| {
            let mut recorded = Vec::with_capacity(samples.len());
            for of_one_service in samples.chunk_by(|one, other| one.0 == other.0) {
                let Some((service, _)) = of_one_service.first() else {
                    continue;
                };
                let mut rings = Rings::read(transaction, *service)?.unwrap_or_default();
                for (_, sample) in of_one_service {
                    recorded.push(rings.append(transaction, *service, sample)?);
                }
                rings.write(transaction, *service)?;
            }
            Ok(recorded)
        })
    }

    /// What one tier of a service holds; `None` = nothing.
    pub fn tier_span(
        &self,
        service: ServiceId,
        tier: Tier,
    ) -> Result<Option<TierSpan>, StoreError> {
        self.read("read the history", |connection| {
            let Some(ring) = Rings::read(connection, service)?
                .map(|rings| rings.of(tier))
                .filter(|ring| ring.written > 0)
            else {
                return Ok(None);
            };
            let oldest = match tier {
                Tier::Raw => connection
                    .prepare_cached(
                        "SELECT sampled_at FROM raw_samples WHERE service_id = ?1 AND slot = ?2",
                    )?
                    .query_row(params![service, ring.oldest_slot()], |row| row.get(0))?,
                Tier::Minute | Tier::QuarterHour => connection
                    .prepare_cached(
                        "SELECT start_at FROM rollups WHERE service_id = ?1 AND slot = ?2 AND tier = ?3",
                    )?
                    .query_row(params![service, ring.oldest_slot(), tier], |row| row.get(0))?,
            };
            Ok(Some(TierSpan {
                samples: ring.length(),
                oldest,
                newest: ring.newest_at,
            }))
        })
    }

    /// The raw samples of a service, oldest first.
    pub fn raw_samples(&self, service: ServiceId) -> Result<Vec<ServiceMetrics>, StoreError> {
        self.read("read the history", |connection| {
            match Rings::read(connection, service)? {
                Some(rings) => read_raw(connection, service, rings.raw),
                None => Ok(Vec::new()),
            }
        })
    }

    /// The rollups of a service in one tier, oldest first; the last one is still being filled. Empty for [`Tier::Raw`].
    pub fn rollups(&self, service: ServiceId, tier: Tier) -> Result<Vec<Rollup>, StoreError> {
        self.read("read the history", |connection| {
            match Rings::read(connection, service)? {
                Some(rings) if tier != Tier::Raw => {
                    read_tier(connection, service, tier, rings.of(tier))
                }
                _ => Ok(Vec::new()),
            }
        })
    }

    /// All that was measured of a service.
    pub fn history(&self, service: ServiceId) -> Result<StoredHistory, StoreError> {
        self.read("read the history", |connection| {
            let Some(rings) = Rings::read(connection, service)? else {
                return Ok(StoredHistory::default());
            };
            let tier = |tier| read_tier(connection, service, tier, rings.of(tier));
            Ok(StoredHistory {
                raw: read_raw(connection, service, rings.raw)?,
                minute: tier(Tier::Minute)?,
                quarter_hour: tier(Tier::QuarterHour)?,
            })
        })
    }
}

/// How far one ring has turned.
#[derive(Debug, Clone, Copy, Default)]
struct Ring {
    /// Slots written since the beginning, overwritten ones included.
    written: i64,
    /// Time of the newest one.
    newest_at: Timestamp,
}

impl Ring {
    const LENGTH: i64 = RING_LENGTH as i64;

    /// Takes the next slot.
    fn advance(&mut self, at: Timestamp) {
        self.written += 1;
        self.newest_at = at;
    }

    fn newest_slot(self) -> i64 {
        (self.written - 1).rem_euclid(Self::LENGTH)
    }

    fn oldest_slot(self) -> i64 {
        if self.written > Self::LENGTH {
            self.written % Self::LENGTH
        } else {
            0
        }
    }

    fn length(self) -> u32 {
        u32::try_from(self.written).map_or(RING_LENGTH, |written| written.min(RING_LENGTH))
    }

    /// The slots from oldest to newest, as two inclusive ranges (the second may be empty).
    fn in_order(self) -> [(i64, i64); 2] {
        let oldest = self.oldest_slot();
        [(oldest, Self::LENGTH - 1), (0, oldest - 1)]
    }
}

/// A ring of rollups with the bucket that is being filled.
#[derive(Debug)]
struct Bucket {
    tier: Tier,
    ring: Ring,
    open: Option<Rollup>,
}

impl Bucket {
    fn new(tier: Tier, ring: Ring) -> Self {
        Self {
            tier,
            ring,
            open: None,
        }
    }

    fn fold(
        &mut self,
        transaction: &Transaction<'_>,
        service: ServiceId,
        sample: &ServiceMetrics,
    ) -> rusqlite::Result<()> {
        let start = Rollup::bucket_start(self.tier, sample.sampled_at);
        let mut rollup = match self.open.take() {
            Some(open) if open.start == start => open,
            other => {
                self.open = other;
                self.write(transaction, service)?;
                self.continue_or_begin(transaction, service, start)?
            }
        };
        rollup.fold(sample);
        self.open = Some(rollup);
        Ok(())
    }

    /// The recorded bucket where an earlier transaction has begun it, else the next slot.
    fn continue_or_begin(
        &mut self,
        transaction: &Transaction<'_>,
        service: ServiceId,
        start: Timestamp,
    ) -> rusqlite::Result<Rollup> {
        if self.ring.written > 0 && self.ring.newest_at == start {
            let slot = self.ring.newest_slot();
            let mut begun = Vec::with_capacity(1);
            read_rollups(transaction, service, self.tier, (slot, slot), &mut begun)?;
            if let Some(rollup) = begun.pop() {
                return Ok(rollup);
            }
        }
        self.ring.advance(start);
        Ok(Rollup::empty(start))
    }

    fn write(&self, transaction: &Transaction<'_>, service: ServiceId) -> rusqlite::Result<()> {
        match &self.open {
            Some(rollup) => write_rollup(
                transaction,
                service,
                self.tier,
                self.ring.newest_slot(),
                rollup,
            ),
            None => Ok(()),
        }
    }
}

/// The three rings of one service.
#[derive(Debug)]
struct Rings {
    raw: Ring,
    minute: Bucket,
    quarter_hour: Bucket,
}

impl Default for Rings {
    fn default() -> Self {
        Self {
            raw: Ring::default(),
            minute: Bucket::new(Tier::Minute, Ring::default()),
            quarter_hour: Bucket::new(Tier::QuarterHour, Ring::default()),
        }
    }
}

impl Rings {
    fn read(connection: &Connection, service: ServiceId) -> rusqlite::Result<Option<Self>> {
        let ring = |row: &Row<'_>, first: usize| -> rusqlite::Result<Ring> {
            Ok(Ring {
                written: row.get(first)?,
                newest_at: row.get(first + 1)?,
            })
        };
        connection
            .prepare_cached(
                "SELECT raw_written, raw_newest_at, minute_written, minute_newest_at,
                        quarter_hour_written, quarter_hour_newest_at
                 FROM rings WHERE service_id = ?1",
            )?
            .query_row([service], |row| {
                Ok(Self {
                    raw: ring(row, 0)?,
                    minute: Bucket::new(Tier::Minute, ring(row, 2)?),
                    quarter_hour: Bucket::new(Tier::QuarterHour, ring(row, 4)?),
                })
            })
            .optional()
    }

    fn of(&self, tier: Tier) -> Ring {
        match tier {
            Tier::Raw => self.raw,
            Tier::Minute => self.minute.ring,
            Tier::QuarterHour => self.quarter_hour.ring,
        }
    }

    /// Whether `at` is a new moment. A sample of a sampler that waited its turn is older than the newest one, but by no
    /// more than one can wait; where it is, the clock was set back, and its time is taken as it is.
    fn is_new(&self, at: Timestamp) -> bool {
        let newest = self.raw.newest_at;
        self.raw.written == 0
            || at.since(newest) >= LEAST_SAMPLE_GAP
            || newest.since(at) > BUSY_TIMEOUT
    }

    fn append(
        &mut self,
        transaction: &Transaction<'_>,
        service: ServiceId,
        sample: &ServiceMetrics,
    ) -> rusqlite::Result<bool> {
        if !self.is_new(sample.sampled_at) {
            return Ok(false);
        }
        self.raw.advance(sample.sampled_at);
        write_raw(transaction, service, self.raw.newest_slot(), sample)?;
        self.minute.fold(transaction, service, sample)?;
        self.quarter_hour.fold(transaction, service, sample)?;
        Ok(true)
    }

    fn write(&self, transaction: &Transaction<'_>, service: ServiceId) -> rusqlite::Result<()> {
        self.minute.write(transaction, service)?;
        self.quarter_hour.write(transaction, service)?;
        transaction
            .prepare_cached("INSERT OR REPLACE INTO rings VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
            .execute(params![
                service,
                self.raw.written,
                self.raw.newest_at,
                self.minute.ring.written,
                self.minute.ring.newest_at,
                self.quarter_hour.ring.written,
                self.quarter_hour.ring.newest_at,
            ])
            .map(drop)
    }
}

fn write_raw(
    transaction: &Transaction<'_>,
    service: ServiceId,
    slot: i64,
    sample: &ServiceMetrics,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO raw_samples
                 (service_id, slot, sampled_at, instances, cpu_percent, memory_mb, memory_total_mb,
                  network_mb_per_s, active_connections, request_rate, response_time_ms, error_rate)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        )?
        .execute(params![
            service,
            slot,
            sample.sampled_at,
            sample.instances,
            sample.cpu_percent,
            sample.memory_mb,
            sample.memory_total_mb,
            sample.network_mb_per_s,
            sample.active_connections,
            sample.request_rate,
            sample.response_time_ms,
            sample.error_rate,
        ])
        .map(drop)
}

fn read_raw(
    connection: &Connection,
    service: ServiceId,
    ring: Ring,
) -> rusqlite::Result<Vec<ServiceMetrics>> {
    let mut samples = Vec::with_capacity(ring.length() as usize);
    let mut statement = connection.prepare_cached(
        "SELECT sampled_at, instances, cpu_percent, memory_mb, memory_total_mb,
                network_mb_per_s, active_connections, request_rate, response_time_ms, error_rate
         FROM raw_samples WHERE service_id = ?1 AND slot BETWEEN ?2 AND ?3 ORDER BY slot",
    )?;
    for (first, last) in ring.in_order() {
        let mut rows = statement.query(params![service, first, last])?;
        while let Some(row) = rows.next()? {
            samples.push(ServiceMetrics {
                sampled_at: row.get(0)?,
                instances: row.get(1)?,
                cpu_percent: row.get(2)?,
                memory_mb: row.get(3)?,
                memory_total_mb: row.get(4)?,
                network_mb_per_s: row.get(5)?,
                active_connections: row.get(6)?,
                request_rate: row.get(7)?,
                response_time_ms: row.get(8)?,
                error_rate: row.get(9)?,
            });
        }
    }
    // Recorded order is time's order, unless the clock was set back.
    if !samples.is_sorted_by_key(|sample| sample.sampled_at) {
        samples.sort_by_key(|sample| sample.sampled_at);
    }
    Ok(samples)
}

fn read_tier(
    connection: &Connection,
    service: ServiceId,
    tier: Tier,
    ring: Ring,
) -> rusqlite::Result<Vec<Rollup>> {
    let mut rollups = Vec::with_capacity(ring.length() as usize);
    for slots in ring.in_order() {
        read_rollups(connection, service, tier, slots, &mut rollups)?;
    }
    if !rollups.is_sorted_by_key(|rollup| rollup.start) {
        rollups.sort_by_key(|rollup| rollup.start);
    }
    Ok(rollups)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{at, service, store};
    use super::*;
    use crate::services::service_manager::Metric;

    fn sample(seconds: f64, cpu_percent: Option<f64>) -> ServiceMetrics {
        ServiceMetrics {
            cpu_percent,
            request_rate: Some(seconds),
            ..ServiceMetrics::at(at((seconds * 1_000.0) as i64), 2)
        }
    }

    #[test]
    fn what_was_recorded_comes_back() {
        let (_dir, mut store) = store();
        let service = service(&mut store, "cache");
        assert_eq!(store.history(service).unwrap(), StoredHistory::default());
        assert_eq!(store.tier_span(service, Tier::Raw).unwrap(), None);

        let mut full = sample(1.0, Some(45.2));
        for (number, metric) in Metric::ALL.into_iter().enumerate() {
            full.set(metric, Some(number as f64 + 0.5)).unwrap();
        }
        let empty = ServiceMetrics::at(at(2_000), 0);
        assert_eq!(
            store
                .append_samples(&[(service, full), (service, empty)])
                .unwrap(),
            [true, true]
        );
        assert_eq!(store.raw_samples(service).unwrap(), [full, empty]);
        let minutes = store.rollups(service, Tier::Minute).unwrap();
        let mut expected = Rollup::empty(at(0));
        expected.fold(&full);
        expected.fold(&empty);
        assert_eq!(minutes, [expected]);
    }

    #[test]
    fn each_tier_keeps_exactly_a_thousand() {
        let (_dir, mut store) = store();
        let (cache, web) = (service(&mut store, "cache"), service(&mut store, "web"));
        // One sample a minute: raw and minutes turn after 1000, quarter hours hold fifteen each.
        let minutes = 2_503;
        for minute in 0..minutes {
            let tick = [
                (cache, sample(f64::from(minute) * 60.0, None)),
                (web, sample(f64::from(minute), None)),
            ];
            store
                .append_samples(if minute < 3 { &tick } else { &tick[..1] })
                .unwrap();
            let span = store.tier_span(cache, Tier::Raw).unwrap().unwrap();
            assert_eq!(span.samples, (minute as u32 + 1).min(1_000));
            assert_eq!(span.newest, at(i64::from(minute) * 60_000));
            assert_eq!(span.oldest, at(i64::from((minute - 999).max(0)) * 60_000));
        }
        let history = store.history(cache).unwrap();
        assert_eq!(history.raw.len(), 1_000);
        assert_eq!(history.minute.len(), 1_000);
        assert_eq!(history.quarter_hour.len(), 167);
        assert!(history.raw.is_sorted_by_key(|sample| sample.sampled_at));
        assert_eq!(history.raw[0].sampled_at, at(1_503 * 60_000));
        assert_eq!(history.minute[999].start, at(2_502 * 60_000));
        assert!(
            history.quarter_hour[..166]
                .iter()
                .all(|rollup| rollup.count == 15)
        );
        assert_eq!(
            store.raw_samples(web).unwrap().len(),
            3,
            "the rings of others are their own"
        );
    }

    #[test]
    fn a_bucket_goes_on_in_the_next_transaction() {
        let (_dir, mut store) = store();
        let service = service(&mut store, "cache");
        let samples: Vec<_> = (0..130)
            .map(|second| {
                sample(
                    f64::from(second),
                    (second % 3 != 0).then_some(f64::from(second)),
                )
            })
            .collect();
        let mut expected = [
            Rollup::empty(at(0)),
            Rollup::empty(at(60_000)),
            Rollup::empty(at(120_000)),
        ];
        for (second, sample) in samples.iter().enumerate() {
            store.append_samples(&[(service, *sample)]).unwrap();
            expected[second / 60].fold(sample);
        }
        assert_eq!(store.rollups(service, Tier::Minute).unwrap(), expected);

        // All in one transaction gives the same.
        let other = super::super::tests::service(&mut store, "other");
        let batch: Vec<_> = samples.into_iter().map(|sample| (other, sample)).collect();
        store.append_samples(&batch).unwrap();
        assert_eq!(
            store.history(other).unwrap(),
            store.history(service).unwrap()
        );
        assert_eq!(store.rollups(other, Tier::Raw).unwrap(), []);
    }

    #[test]
    fn two_samplers_do_not_double_the_history() {
        for phase in [0.0, 0.1, 0.5, 0.9] {
            let (dir, mut one) = store();
            let mut two = Store::open(dir.path()).unwrap();
            let service = service(&mut one, "cache");
            let mut recorded = 0;
            for second in 0..100 {
                let second = f64::from(second);
                recorded += usize::from(
                    one.append_samples(&[(service, sample(second, None))])
                        .unwrap()[0],
                );
                recorded += usize::from(
                    two.append_samples(&[(service, sample(second + phase, None))])
                        .unwrap()[0],
                );
            }
            let samples = one.raw_samples(service).unwrap();
            assert_eq!(samples.len(), recorded);
            assert!(
                (66..=101).contains(&recorded),
                "{recorded} with a phase of {phase} s"
            );
            let minutes = one.rollups(service, Tier::Minute).unwrap();
            assert_eq!(
                minutes
                    .iter()
                    .map(|rollup| rollup.count as usize)
                    .sum::<usize>(),
                recorded
            );
        }
    }

    #[test]
    fn a_late_sample_is_passed_over_and_a_clock_that_was_set_back_is_not() {
        let (_dir, mut store) = store();
        let service = service(&mut store, "cache");
        let mut append = |seconds: f64| {
            store
                .append_samples(&[(service, sample(seconds, None))])
                .unwrap()[0]
        };
        assert!(append(4_000.0));
        assert!(!append(3_990.0), "a sampler that waited for its turn");
        assert!(append(400.0), "an hour back");
        assert!(append(401.0));
        let times: Vec<_> = store
            .raw_samples(service)
            .unwrap()
            .iter()
            .map(|s| s.sampled_at)
            .collect();
        assert_eq!(times, [at(400_000), at(401_000), at(4_000_000)]);
        let minutes = store.rollups(service, Tier::Minute).unwrap();
        assert_eq!(
            minutes
                .iter()
                .map(|rollup| rollup.count)
                .collect::<Vec<_>>(),
            [2, 1]
        );
    }
}
