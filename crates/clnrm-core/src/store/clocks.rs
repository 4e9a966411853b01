//! Recorded times stay on the present clock.
//!
//! The time of day may be set while services are sampled. What was recorded before is then moved by as much, so that the
//! sample recorded last is always the newest, and each is as old as it really is.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::error::BUSY_TIMEOUT;
use super::rings::{LEAST_SAMPLE_GAP, Rings};
use super::rows::ServiceId;
use super::sql_types::{tier_word, time};
use crate::clock::Timestamp;
use crate::services::service_manager::{Rollup, Tier};

/// The clock was set if it moved by this much; a process that was not scheduled for a while reads it late.
const LEAST_STEP_MILLIS: u64 = 500;

/// How the clock is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClockSetting {
    pub boot_id: String,
    /// When the machine started, by the time of day as it is set.
    pub started_at: Timestamp,
}

impl ClockSetting {
    /// `None` = the service was not sampled yet, or by no clock.
    pub(super) fn read(
        connection: &Connection,
        service: ServiceId,
    ) -> rusqlite::Result<Option<Self>> {
        connection
            .prepare_cached("SELECT boot_id, started_at FROM sample_clocks WHERE service_id = ?1")?
            .query_row([service], |row| {
                Ok(Self {
                    boot_id: row.get(0)?,
                    started_at: time(row, 1)?,
                })
            })
            .optional()
    }

    fn write(&self, transaction: &Transaction<'_>, service: ServiceId) -> rusqlite::Result<()> {
        transaction
            .prepare_cached(
                "INSERT OR REPLACE INTO sample_clocks (service_id, boot_id, started_at) VALUES (?1, ?2, ?3)",
            )?
            .execute(params![service, self.boot_id, self.started_at.as_millis()])
            .map(drop)
    }

    /// By how many milliseconds the clock was set since `before`; `None` = that was another boot.
    fn step_since(&self, before: &Self) -> Option<i64> {
        if self.boot_id != before.boot_id {
            return None;
        }
        let step = self.started_at.as_millis() - before.started_at.as_millis();
        Some(if step.unsigned_abs() < LEAST_STEP_MILLIS {
            0
        } else {
            step
        })
    }
}

/// What a sample means for what is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Placing {
    /// By how many milliseconds all that is recorded moves.
    move_by_millis: i64,
    /// Whether the sample is a new moment, to be recorded after it.
    is_new: bool,
}

/// A sample of a sampler that waited its turn is older than the newest one, but by no more than one can wait. Where it is,
/// and nothing is known of how the clock was set, it was set back.
fn place(newest_at: Timestamp, at: Timestamp, step: Step) -> Placing {
    let next = newest_at + LEAST_SAMPLE_GAP;
    let (to_order, in_order) = (at.as_millis() - next.as_millis(), at >= next);
    let (move_by_millis, is_new) = match step {
        // What was read before the newest sample knows the clock as it was, not as it is.
        Step::By(millis) if at < newest_at.moved_by(millis) => (0, false),
        Step::By(millis) => (millis, at >= next.moved_by(millis)),
        Step::AnotherBoot => (to_order.min(0), true),
        Step::Unknown if !in_order && newest_at.since(at) > BUSY_TIMEOUT => (to_order, true),
        Step::Unknown => (0, in_order),
    };
    Placing {
        move_by_millis,
        is_new,
    }
}

/// What is known of the clock between two samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// It was set by so many milliseconds.
    By(i64),
    /// The machine was started in between.
    AnotherBoot,
    /// One of the two does not say.
    Unknown,
}

/// Moves what is recorded of a service onto the clock of a sample of `at`; `false` = the sample is no new moment.
/// `clocks` are the one recorded so far and the one of the sample.
pub(super) fn follow(
    transaction: &Transaction<'_>,
    service: ServiceId,
    rings: &mut Rings,
    at: Timestamp,
    clocks: (&mut Option<ClockSetting>, Option<&ClockSetting>),
) -> rusqlite::Result<bool> {
    let (before, now) = clocks;
    let step = match (before.as_ref(), now) {
        (Some(before), Some(now)) => now.step_since(before).map_or(Step::AnotherBoot, Step::By),
        _ => Step::Unknown,
    };
    let mut placing = Placing {
        move_by_millis: 0,
        is_new: true,
    };
    if rings.raw.written > 0 {
        placing = place(rings.raw.newest_at, at, step);
    }
    let Placing {
        move_by_millis,
        is_new,
    } = placing;
    if move_by_millis != 0 {
        move_all(transaction, service, rings, move_by_millis)?;
    }
    if let Some(now) = now
        && step != Step::By(0)
        && (is_new || move_by_millis != 0)
    {
        now.write(transaction, service)?;
        *before = Some(now.clone());
    }
    Ok(is_new)
}

fn move_all(
    transaction: &Transaction<'_>,
    service: ServiceId,
    rings: &mut Rings,
    millis: i64,
) -> rusqlite::Result<()> {
    rings.raw.newest_at = rings.raw.newest_at.moved_by(millis);
    transaction
        .prepare_cached(
            "UPDATE raw_samples SET sampled_at = sampled_at + ?2 WHERE service_id = ?1",
        )?
        .execute(params![service, millis])?;
    for tier in Tier::ROLLED_UP {
        let open = Rollup::bucket_start(tier, rings.raw.newest_at);
        let ring = rings.of_mut(tier);
        let (Some(width), true) = (tier.width(), ring.written > 0) else {
            continue;
        };
        let step = whole_widths(millis, width, (ring.newest_at, open));
        ring.newest_at = ring.newest_at.moved_by(step);
        rings.write(transaction, service, tier)?;
        transaction
            .prepare_cached(
                "UPDATE rollups SET start_at = start_at + ?3 WHERE service_id = ?1 AND tier = ?2",
            )?
            .execute(params![service, tier_word(tier), step])?;
    }
    Ok(())
}

/// The multiple of `width` nearest to `millis` that keeps the last closed bucket before the open one.
fn whole_widths(millis: i64, width: Duration, (last, open): (Timestamp, Timestamp)) -> i64 {
    let width = i64::try_from(width.as_millis()).unwrap_or(i64::MAX);
    let nearest = millis.saturating_add(width / 2).div_euclid(width) * width;
    if last.moved_by(nearest) < open {
        nearest
    } else {
        nearest - width
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{at, service, store};
    use super::*;
    use crate::services::service_manager::ServiceMetrics;
    use crate::store::Store;

    const HOUR: i64 = 3_600_000;

    /// All three tiers of a service.
    struct Everything {
        raw: Vec<ServiceMetrics>,
        minute: Vec<Rollup>,
        quarter_hour: Vec<Rollup>,
    }

    fn everything(store: &Store, service: ServiceId) -> Everything {
        Everything {
            raw: store.raw_samples(service).unwrap(),
            minute: store.rollups(service, Tier::Minute).unwrap(),
            quarter_hour: store.rollups(service, Tier::QuarterHour).unwrap(),
        }
    }

    /// A machine that started at 0, whose clock is `ahead` milliseconds of the truth.
    fn record(store: &mut Store, service: ServiceId, truth: i64, ahead: i64) -> bool {
        let sample = ServiceMetrics {
            request_rate: Some(truth as f64),
            ..ServiceMetrics::at(at(truth + ahead), 1)
        };
        let setting = ClockSetting {
            boot_id: "boot".to_owned(),
            started_at: at(ahead),
        };
        store.append_tick(&[(service, sample)], &setting).unwrap()[0]
    }

    #[test]
    fn the_newest_sample_is_the_one_recorded_last_whatever_the_clock_did() {
        let (_dir, mut store) = store();
        let service = service(&mut store, "cache");
        // Right, an hour ahead, a little back, far back, right again; one sample a second.
        let settings = [0, HOUR, HOUR - 20_000, -5 * HOUR, 0];
        for (step, ahead) in (0..).zip(settings) {
            for second in 0..100 {
                let truth = 10 * HOUR + (step * 100 + second) * 1_000;
                assert!(record(&mut store, service, truth, ahead), "{step} {second}");
            }
        }
        let history = everything(&store, service);
        let truths: Vec<f64> = history.raw.iter().filter_map(|s| s.request_rate).collect();
        assert_eq!(truths.len(), 500);
        assert!(truths.is_sorted(), "in recorded order");
        for sample in &history.raw {
            let truth = at(sample.request_rate.unwrap() as i64);
            assert_eq!(sample.sampled_at, truth, "on the clock as it is now");
        }
        for tier in [&history.minute, &history.quarter_hour] {
            assert_eq!(tier.iter().map(|rollup| rollup.count).sum::<u32>(), 500);
            assert!(
                tier.is_sorted_by(|one, next| one.start < next.start),
                "{tier:#?}"
            );
            assert!(tier.last().unwrap().start <= history.raw.last().unwrap().sampled_at);
        }
    }

    #[test]
    fn a_sampler_that_waited_while_the_clock_was_set_moves_nothing() {
        let (_dir, mut store) = store();
        let service = service(&mut store, "cache");
        assert!(record(&mut store, service, 100_000, 0));
        assert!(record(&mut store, service, 101_000, HOUR));
        assert!(
            !record(&mut store, service, 100_500, 0),
            "read before the step"
        );
        assert!(
            !record(&mut store, service, 101_300, HOUR),
            "of another sampler"
        );
        assert_eq!(
            store
                .raw_samples(service)
                .unwrap()
                .last()
                .unwrap()
                .sampled_at,
            at(101_000 + HOUR)
        );
    }

    #[test]
    fn a_sample_too_soon_to_be_recorded_shows_how_the_clock_is_set() {
        let (_dir, mut store) = store();
        let service = service(&mut store, "cache");
        assert!(record(&mut store, service, 101_000, 2 * HOUR));
        assert!(!record(&mut store, service, 101_200, 0));
        let newest = store.raw_samples(service).unwrap()[0].sampled_at;
        assert_eq!(newest, at(101_000));
        assert!(record(&mut store, service, 102_000, 0));
    }

    #[test]
    fn after_a_boot_with_a_clock_that_is_behind_the_order_is_kept() {
        let (_dir, mut store) = store();
        let service = service(&mut store, "cache");
        assert!(record(&mut store, service, HOUR, 0));
        let setting = ClockSetting {
            boot_id: "another".to_owned(),
            started_at: at(0),
        };
        for now in [5_000, 6_000] {
            let sample = ServiceMetrics::at(at(now), 1);
            assert_eq!(
                store.append_tick(&[(service, sample)], &setting).unwrap(),
                [true]
            );
        }
        let times: Vec<_> = (store.raw_samples(service).unwrap().iter())
            .map(|sample| sample.sampled_at)
            .collect();
        assert_eq!(times, [at(4_400), at(5_000), at(6_000)]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn no_step_of_the_clock_costs_more_than_one_sample(
            steps in proptest::collection::vec(
                (1_i64..40, prop_oneof![-1_500_i64..1_500, -100_000_i64..100_000, -7_200_000_i64..7_200_000]),
                1..12,
            )
        ) {
            let (_dir, mut store) = store();
            let service = service(&mut store, "cache");
            let (mut truth, mut taken) = (10 * HOUR, 0_usize);
            let (mut recorded, mut newest) = (0, 0);
            for (seconds, ahead) in &steps {
                for _ in 0..*seconds {
                    truth += 1_000;
                    taken += 1;
                    if record(&mut store, service, truth, *ahead) {
                        recorded += 1;
                        newest = truth;
                    }
                }
            }
            prop_assert!(recorded + steps.len() >= taken);
            let history = everything(&store, service);
            prop_assert_eq!(history.raw.len(), recorded);
            prop_assert!(history.raw.is_sorted_by(|one, next| one.sampled_at < next.sampled_at));
            let last = history.raw.last().unwrap();
            prop_assert_eq!(last.request_rate, Some(newest as f64));
            for tier in [&history.minute, &history.quarter_hour] {
                prop_assert!(tier.is_sorted_by(|one, next| one.start < next.start));
                prop_assert_eq!(tier.iter().map(|rollup| rollup.count as usize).sum::<usize>(), recorded);
            }
        }
    }
}
