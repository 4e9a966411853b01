//! Samples: a ring of raw ones per service, rolled up into minutes and quarters of an hour.
//!
//! A tick costs one row per service: a rollup is made from the samples below it when its bucket closes, and an open
//! bucket is made by whoever reads it. The samples are still there then: a minute holds at most 100, a ring 1000.

use rusqlite::{Connection, Transaction};

use super::clocks::{ClockSetting, follow};
use super::raw::{read_raw, write_raw};
use super::rings::Rings;
use super::rollups::{read_rollups, write_rollup};
use super::rows::ServiceId;
use super::{Store, StoreError};
use crate::services::service_manager::{Rollup, ServiceMetrics, Tier};

pub(super) const READING: &str = "read the history";

impl Store {
    /// Records the samples of one tick in one transaction. Says of each whether it was recorded: one that lies within
    /// [`LEAST_SAMPLE_GAP`](super::LEAST_SAMPLE_GAP) of a recorded one, or before it, is passed over.
    ///
    /// `clock` is how it was set meanwhile: what was recorded while it was set otherwise is moved onto it.
    pub fn append_tick(
        &mut self,
        samples: &[(ServiceId, ServiceMetrics)],
        clock: &ClockSetting,
    ) -> Result<Vec<bool>, StoreError> {
        self.append(samples, Some(clock))
    }

    /// The same, by the times of the samples alone.
    pub fn append_samples(
        &mut self,
        samples: &[(ServiceId, ServiceMetrics)],
    ) -> Result<Vec<bool>, StoreError> {
        self.append(samples, None)
    }

    fn append(
        &mut self,
        samples: &[(ServiceId, ServiceMetrics)],
        clock: Option<&ClockSetting>,
    ) -> Result<Vec<bool>, StoreError> {
        self.write("record samples", |transaction| {
            let mut recorded = Vec::with_capacity(samples.len());
            for of_one_service in samples.chunk_by(|one, other| one.0 == other.0) {
                let Some((service, _)) = of_one_service.first() else {
                    continue;
                };
                let mut rings = Rings::read(transaction, *service)?.unwrap_or_default();
                let mut before = match clock {
                    Some(_) => ClockSetting::read(transaction, *service)?,
                    None => None,
                };
                for (_, sample) in of_one_service {
                    let (at, clocks) = (sample.sampled_at, (&mut before, clock));
                    let is_new = follow(transaction, *service, &mut rings, at, clocks)?;
                    if is_new {
                        append(transaction, *service, &mut rings, sample)?;
                    }
                    recorded.push(is_new);
                }
                rings.write(transaction, *service, Tier::Raw)?;
            }
            Ok(recorded)
        })
    }

    /// The raw samples of a service, oldest first.
    pub fn raw_samples(&self, service: ServiceId) -> Result<Vec<ServiceMetrics>, StoreError> {
        self.read(READING, |connection| {
            match Rings::read(connection, service)? {
                Some(rings) => raw_in_order(connection, service, &rings),
                None => Ok(Vec::new()),
            }
        })
    }

    /// The rollups of a service in one tier, oldest first; the last one is still being filled. Empty for [`Tier::Raw`].
    pub fn rollups(&self, service: ServiceId, tier: Tier) -> Result<Vec<Rollup>, StoreError> {
        self.read(READING, |connection| {
            match Rings::read(connection, service)? {
                Some(rings) => rollups_in_order(connection, service, &rings, tier),
                None => Ok(Vec::new()),
            }
        })
    }
}

/// Writes one sample, after closing the buckets that it does not fall into.
fn append(
    transaction: &Transaction<'_>,
    service: ServiceId,
    rings: &mut Rings,
    sample: &ServiceMetrics,
) -> rusqlite::Result<()> {
    for tier in Tier::ROLLED_UP {
        let [before, after] =
            [rings.raw.newest_at, sample.sampled_at].map(|at| Rollup::bucket_start(tier, at));
        if rings.raw.written == 0 || before == after {
            break;
        }
        let closed = open_rollup(transaction, service, rings, tier)?;
        write_rollup(transaction, service, tier, rings.of(tier).written, &closed)?;
        let open_from = rings.of(tier.finer()).written;
        let ring = rings.of_mut(tier);
        ring.written += 1;
        ring.open_from = open_from;
        ring.newest_at = closed.start;
        rings.write(transaction, service, tier)?;
    }
    write_raw(transaction, service, rings.raw.written, sample)?;
    rings.raw.written += 1;
    rings.raw.newest_at = sample.sampled_at;
    Ok(())
}

/// The bucket of the newest sample, as far as it is filled; empty where it has just been closed.
fn open_rollup(
    connection: &Connection,
    service: ServiceId,
    rings: &Rings,
    tier: Tier,
) -> rusqlite::Result<Rollup> {
    let mut open = Rollup::empty(Rollup::bucket_start(tier, rings.raw.newest_at));
    let parts = rings.open(tier);
    match tier.finer() {
        Tier::Raw => {
            for sample in read_raw(connection, service, parts)? {
                open.fold(&sample);
            }
        }
        finer => {
            for closed in read_rollups(connection, service, finer, parts)? {
                open.merge(&closed);
            }
            open.merge(&open_rollup(connection, service, rings, finer)?);
        }
    }
    Ok(open)
}

/// Recorded order is time's order.
pub(super) fn raw_in_order(
    connection: &Connection,
    service: ServiceId,
    rings: &Rings,
) -> rusqlite::Result<Vec<ServiceMetrics>> {
    read_raw(connection, service, rings.kept(Tier::Raw))
}

pub(super) fn rollups_in_order(
    connection: &Connection,
    service: ServiceId,
    rings: &Rings,
    tier: Tier,
) -> rusqlite::Result<Vec<Rollup>> {
    if tier == Tier::Raw {
        return Ok(Vec::new());
    }
    let mut rollups = read_rollups(connection, service, tier, rings.kept(tier))?;
    rollups.push(open_rollup(connection, service, rings, tier)?);
    Ok(rollups)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{at, service, store};
    use super::*;
    use crate::services::service_manager::Metric;
    use crate::services::service_manager::{MetricsHistory, Wanted};

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
        let nothing = store.history(service, |_| Wanted::ALL).unwrap();
        assert_eq!(nothing, MetricsHistory::new());
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
        let raw = store.raw_samples(cache).unwrap();
        assert_eq!(raw.len(), 1_000);
        assert!(raw.is_sorted_by_key(|sample| sample.sampled_at));
        assert_eq!(raw[0].sampled_at, at(1_503 * 60_000));
        let minutes = store.rollups(cache, Tier::Minute).unwrap();
        assert_eq!(minutes.len(), 1_000);
        assert_eq!(minutes[999].start, at(2_502 * 60_000));
        let quarters = store.rollups(cache, Tier::QuarterHour).unwrap();
        assert_eq!(quarters.len(), 167);
        assert!(quarters[..166].iter().all(|rollup| rollup.count == 15));
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
            store.history(other, |_| Wanted::ALL).unwrap(),
            store.history(service, |_| Wanted::ALL).unwrap()
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
        assert_eq!(times, [at(399_400), at(400_000), at(401_000)]);
        let minutes = store.rollups(service, Tier::Minute).unwrap();
        assert_eq!(
            minutes
                .iter()
                .map(|rollup| rollup.count)
                .collect::<Vec<_>>(),
            [3]
        );
    }
}
