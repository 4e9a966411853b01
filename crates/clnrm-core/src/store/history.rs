//! Reading what was measured, and no more of it than is looked at: of a long history the rollups are the most.

use rusqlite::{Connection, params};

use super::rings::{Rings, slot};
use super::rollups::read_rollups;
use super::rows::{ServiceId, TierSpan};
use super::samples::{READING, raw_in_order, rollups_in_order};
use super::sql_types::{tier_word, time};
use super::{Store, StoreError};
use crate::clock::Timestamp;
use crate::services::service_manager::{MetricsHistory, Rollup, Tier, Unread, Wanted};

impl Store {
    /// What one tier of a service holds; `None` = nothing.
    pub fn tier_span(
        &self,
        service: ServiceId,
        tier: Tier,
    ) -> Result<Option<TierSpan>, StoreError> {
        self.read(READING, |connection| {
            Rings::read(connection, service)?
                .map(|rings| span(connection, service, &rings, tier))
                .transpose()
        })
    }

    /// The history of a service: the raw samples, and of the rest what they make `wanted`.
    pub fn history(
        &self,
        service: ServiceId,
        wanted: impl FnOnce(&MetricsHistory) -> Wanted,
    ) -> Result<MetricsHistory, StoreError> {
        self.read(READING, |connection| {
            let Some(rings) = Rings::read(connection, service)? else {
                return Ok(MetricsHistory::new());
            };
            let raw = raw_in_order(connection, service, &rings)?;
            let mut unread = Unread::default();
            for tier in Tier::ROLLED_UP {
                let span = span(connection, service, &rings, tier)?;
                unread.note_span(tier, span.oldest, span.newest);
            }
            let mut history = MetricsHistory::from_parts(raw, Vec::new(), Vec::new());
            history.unread = unread;
            let wanted = wanted(&history);
            for (tier, is_wanted) in [
                (Tier::Minute, wanted.minute),
                (Tier::QuarterHour, wanted.quarter_hour),
            ] {
                if is_wanted {
                    history.add_rollups(tier, rollups_in_order(connection, service, &rings, tier)?);
                } else if wanted.peaks {
                    // Those of the open bucket are in the raw samples and the closed minutes.
                    for rollup in read_rollups(connection, service, tier, rings.kept(tier))? {
                        history.unread.note_peaks(&rollup);
                    }
                }
            }
            Ok(history)
        })
    }
}

fn span(
    connection: &Connection,
    service: ServiceId,
    rings: &Rings,
    tier: Tier,
) -> rusqlite::Result<TierSpan> {
    let kept = rings.kept(tier);
    let newest = Rollup::bucket_start(tier, rings.raw.newest_at);
    let oldest: Timestamp = match tier {
        _ if kept.is_empty() => newest,
        Tier::Raw => connection
            .prepare_cached(
                "SELECT sampled_at FROM raw_samples WHERE service_id = ?1 AND slot = ?2",
            )?
            .query_row(params![service, slot(kept.start)], |row| time(row, 0))?,
        Tier::Minute | Tier::QuarterHour => connection
            .prepare_cached(
                "SELECT start_at FROM rollups WHERE service_id = ?1 AND slot = ?2 AND tier = ?3",
            )?
            .query_row(params![service, slot(kept.start), tier_word(tier)], |row| {
                time(row, 0)
            })?,
    };
    let open = u32::from(tier != Tier::Raw);
    Ok(TierSpan {
        samples: u32::try_from(kept.end - kept.start).unwrap_or_default() + open,
        oldest,
        newest,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::{at, service, store};
    use super::*;
    use crate::services::service_manager::{
        Allotment, AutoScaleConfig, Fleet, HealthLimits, LimitedMemory, ManagedService, Requested,
        ServiceManager, ServiceMetrics,
    };

    /// Samples `seconds` apart: a peak at first, then quiet days with a load of `level`.
    fn filled(store: &mut Store, name: &str, seconds: i64, level: f64) -> ServiceId {
        let service = service(store, name);
        let sample = |number: i64| {
            let mut sample = ServiceMetrics::at(at(number * seconds * 1_000), 1);
            let wave = (number * 37 % 101) as f64 / 101.0;
            let peak = if number < 5 { 30.0 } else { 0.0 };
            sample.cpu_percent = Some(level + wave + peak);
            sample.memory_mb = Some(20.0 + level + wave + 2.0 * peak);
            sample.error_rate = Some(0.01 + 0.02 * wave);
            (service, sample)
        };
        let samples: Vec<_> = (0..2_500).map(sample).collect();
        store.append_samples(&samples).unwrap();
        service
    }

    fn managed<'a>(history: &'a MetricsHistory, scale: &'a AutoScaleConfig) -> ManagedService<'a> {
        ManagedService {
            name: "cache",
            history,
            scale,
            limits: HealthLimits::default(),
            allotment: Allotment {
                cpus: Some(2.0),
                memory_mb: Some(500.0),
                ..Allotment::default()
            },
            fleet: Fleet {
                instances: 1,
                ..Fleet::default()
            },
            memory: LimitedMemory::default(),
            pool: None,
        }
    }

    #[test]
    fn what_is_left_in_the_store_is_missed_by_no_assessment() {
        let (_dir, mut store) = store();
        let scale = AutoScaleConfig::default();
        let mut left = 0;
        for (seconds, level) in [(1, 5.0), (1, 60.0), (60, 5.0), (900, 5.0), (900, 60.0)] {
            let service = filled(&mut store, &format!("s{seconds}-{level}"), seconds, level);
            let all = store.history(service, |_| Wanted::ALL).unwrap();
            let now = all.latest().unwrap().sampled_at;
            for asked in [1, 2, 4, 7] {
                for minutes in [5, 1_000] {
                    let requested = Requested {
                        horizon: Duration::from_secs(60 * minutes),
                        predict_load: asked & 1 != 0,
                        auto_scale: asked & 2 != 0,
                        optimize_resources: asked & 4 != 0,
                    };
                    let manager = ServiceManager { requested, now };
                    let read = store
                        .history(service, |raw| manager.wanted(raw, 1))
                        .unwrap();
                    left += usize::from(read.rollups(Tier::Minute).next().is_none());
                    assert_eq!(
                        manager.assess(&managed(&read, &scale)),
                        manager.assess(&managed(&all, &scale)),
                        "{seconds} s, {level} %, {requested:?}"
                    );
                }
            }
        }
        assert!(left > 10, "only {left} times anything was left out");
    }
}
