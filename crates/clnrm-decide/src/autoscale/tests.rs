//! The rules of scaling, one by one.

use std::time::Duration;

use super::*;
use crate::forecast::{Forecast, ModelName, Skill};
use crate::{LoadPrediction, Metric, ServiceMetrics, Tier, Timestamp};

const NOW: i64 = 1_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(second * 1_000)
}

/// CPU in percent, memory in MB, requests per second of the whole service.
type Load = (Option<f64>, Option<f64>, Option<f64>);

fn sample(second: i64, instances: u32, (cpu, memory, requests): Load) -> ServiceMetrics {
    ServiceMetrics {
        cpu_percent: cpu,
        memory_mb: memory,
        request_rate: requests,
        ..ServiceMetrics::at(at(second), instances)
    }
}

/// A service under test: 70 s of the same load, one sample a second, the newest now.
struct Case {
    config: AutoScaleConfig,
    samples: Vec<ServiceMetrics>,
    prediction: Option<LoadPrediction>,
    instances: u32,
    leased: u32,
    newest_start: Option<InstanceStart>,
    past_actions: Vec<PastAction>,
    instance_cap: Option<InstanceCap>,
}

impl Case {
    fn new(instances: u32, load: Load) -> Self {
        Self {
            config: AutoScaleConfig::default(),
            samples: (NOW - 70..=NOW)
                .map(|second| sample(second, instances, load))
                .collect(),
            prediction: None,
            instances,
            leased: 0,
            newest_start: None,
            past_actions: Vec::new(),
            instance_cap: None,
        }
    }

    fn after(mut self, seconds_ago: i64, from: u32, to: u32, memory: Option<f64>) -> Self {
        self.past_actions.push(PastAction {
            at: at(NOW - seconds_ago),
            from,
            to,
            memory_before_mb: memory,
        });
        self
    }

    fn predicting(mut self, metric: Metric, value: f64, relative_error: Option<f64>) -> Self {
        let forecast = Forecast {
            value: value / 2.0,
            quantiles: Some([0.0, 0.0, value / 2.0, value, 2.0 * value]),
            path: Vec::new(),
            basis: None,
            muted: false,
            models: Vec::new(),
            model: ModelName::Ses,
            skill: relative_error.map(|relative_error| Skill {
                origins: 40,
                relative_error,
            }),
        };
        self.prediction = Some(LoadPrediction {
            history: Duration::from_secs(3_600),
            horizon: Duration::from_secs(300),
            tier: Tier::Raw,
            at: at(NOW + 300),
            instances: self.instances,
            forecasts: [(metric, forecast)].into(),
            not_enough_data: [].into(),
            left_out: [].into(),
        });
        self
    }

    fn decide(&self) -> ScalingDecision {
        let fleet = Fleet {
            instances: self.instances,
            leased: self.leased,
            newest_start: self.newest_start,
            instance_cap: self.instance_cap,
            past_actions: self.past_actions.clone(),
            not_serving: 0,
        };
        let prediction = self.prediction.as_ref();
        let inputs = ScalingInputs::gather(&self.config, &self.samples, prediction, fleet, at(NOW));
        decide(inputs)
    }

    fn wants(&self) -> u32 {
        self.decide().to
    }

    fn holds(&self) -> HoldReason {
        let decision = self.decide();
        assert_eq!(decision.to, decision.from, "{:?}", decision.reason);
        match decision.reason {
            Reason::Hold { why } => why,
            other => panic!("not a hold: {other:?}"),
        }
    }
}

fn busy(cpu: f64) -> Load {
    (Some(cpu), Some(200.0), None)
}

fn idle() -> Load {
    (Some(5.0), Some(40.0), None)
}

#[test]
fn cpu_above_its_threshold_adds_what_the_load_needs() {
    let decision = Case::new(1, busy(85.2)).decide();
    assert_eq!(decision.action, ScalingAction::ScaleUp { by: 1 });
    let crossing = Crossing {
        metric: Metric::CpuPercent,
        value: 85.2,
        threshold: 70.0,
        is_predicted: false,
    };
    let crossings = vec![crossing];
    assert_eq!(decision.reason, Reason::HighUtilization { crossings });
    assert_eq!(Case::new(2, busy(180.0)).wants(), 6, "ceil(2 · 180/70)");
    assert_eq!(Case::new(2, busy(105.0)).wants(), 3, "exactly 3");
    assert_eq!(Case::new(4, busy(900.0)).wants(), 10, "at most the maximum");
}

#[test]
fn requests_count_per_instance() {
    let requests = |instances, total| Case::new(instances, (Some(40.0), None, Some(total)));
    assert_eq!(requests(1, 250.0).wants(), 3);
    assert_eq!(requests(2, 110.0).wants(), 2, "55 each");
    assert_eq!(requests(3, 250.0).wants(), 3, "83 each");
}

#[test]
fn within_ten_percent_of_a_threshold_nothing_changes() {
    for (instances, load) in [
        (1, busy(76.9)),
        (1, busy(63.1)),
        (2, (Some(28.0), Some(40.0), None)),
        (2, (Some(5.0), Some(120.0), None)),
        (2, (Some(5.0), Some(40.0), Some(190.0))),
    ] {
        let held = Case::new(instances, load).holds();
        assert!(
            matches!(held, HoldReason::NearThreshold { .. }),
            "{load:?}: {held:?}"
        );
    }
}

#[test]
fn a_forecast_adds_only_where_it_has_earned_it() {
    let predicting = |error| {
        Case::new(1, busy(50.0))
            .predicting(Metric::CpuPercent, 130.0, error)
            .decide()
    };
    let earned = predicting(Some(0.8));
    assert_eq!(earned.to, 2);
    let is_predicted = |reason: &Reason| match reason {
        Reason::HighUtilization { crossings } => crossings[0].is_predicted,
        _ => false,
    };
    assert!(is_predicted(&earned.reason), "{:?}", earned.reason);
    assert_eq!(predicting(Some(1.0)).to, 1);
    assert_eq!(predicting(None).to, 1);
}

#[test]
fn a_forecast_never_removes_but_may_hold() {
    let low = Case::new(2, busy(50.0)).predicting(Metric::CpuPercent, 0.0, Some(0.5));
    assert_eq!(low.holds(), HoldReason::WithinThresholds);
    let high = Case::new(2, idle()).predicting(Metric::CpuPercent, 45.0, Some(0.5));
    assert!(matches!(high.holds(), HoldReason::ForecastHolds { .. }));
    let requests = Case::new(2, (Some(5.0), Some(40.0), Some(20.0))).predicting(
        Metric::RequestRate,
        150.0,
        Some(0.5),
    );
    assert!(matches!(requests.holds(), HoldReason::WouldNotFit { .. }));
}

#[test]
fn low_load_removes_one_at_a_time() {
    let decision = Case::new(4, idle()).decide();
    assert_eq!(decision.action, ScalingAction::ScaleDown { by: 1 });
    let peaks = match decision.reason {
        Reason::LowUtilization { crossings, .. } => crossings,
        other => panic!("not low: {other:?}"),
    };
    assert_eq!((peaks[0].value, peaks[1].value), (5.0, 40.0));
    assert_eq!(
        Case::new(1, idle()).holds(),
        HoldReason::AtMinimum { min: 1 }
    );
}

#[test]
fn the_last_instance_stays_even_with_a_minimum_of_zero() {
    let mut case = Case::new(1, idle());
    case.config.min_instances = 0;
    assert_eq!(case.holds(), HoldReason::AtMinimum { min: 1 });
}

#[test]
fn low_load_must_last_the_whole_window() {
    let mut spike = Case::new(2, idle());
    spike.samples[30].cpu_percent = Some(50.0);
    assert!(matches!(spike.holds(), HoldReason::RecentlyBusy { .. }));

    let mut gap = Case::new(2, idle());
    gap.samples.drain(20..45);
    assert!(matches!(gap.holds(), HoldReason::WindowNotCovered { .. }));

    let mut once = Case::new(2, idle());
    once.samples.drain(..70);
    assert!(matches!(once.holds(), HoldReason::WindowNotCovered { .. }));
}

#[test]
fn what_would_not_fit_is_not_removed() {
    let case = Case::new(2, (Some(5.0), Some(40.0), Some(120.0)));
    assert!(matches!(
        case.holds(),
        HoldReason::WouldNotFit { crossing } if crossing.value == 120.0
    ));
}

#[test]
fn an_absent_metric_neither_raises_nor_lowers() {
    let held = |load| Case::new(2, load).holds();
    assert_eq!(held((None, None, None)), HoldReason::NoMetrics);
    assert_eq!(
        held((Some(5.0), None, None)),
        HoldReason::NotMeasured {
            metric: Metric::MemoryMb
        }
    );
    assert_eq!(
        held((None, Some(40.0), None)),
        HoldReason::NotMeasured {
            metric: Metric::CpuPercent
        }
    );
    assert_eq!(Case::new(2, (Some(95.0), None, None)).wants(), 3);
}

#[test]
fn a_request_rate_that_went_dark_is_not_zero_load() {
    let mut dark = Case::new(2, (Some(5.0), Some(40.0), Some(20.0)));
    for sample in dark.samples.iter_mut().skip(60) {
        sample.request_rate = None;
    }
    let lost = HoldReason::NotMeasured {
        metric: Metric::RequestRate,
    };
    assert_eq!(dark.holds(), lost);
    // Longer ago than the window, but the history still knows that there were requests.
    let long_dark = Case::new(2, idle()).predicting(Metric::RequestRate, 20.0, None);
    assert_eq!(long_dark.holds(), lost);
}

#[test]
fn without_fresh_samples_nothing_happens() {
    let mut none = Case::new(1, busy(95.0));
    none.samples.clear();
    assert_eq!(none.holds(), HoldReason::NoSamples);

    let mut stale = Case::new(1, busy(95.0));
    stale.samples.drain(5..);
    assert!(matches!(stale.holds(), HoldReason::StaleSamples { .. }));
}

#[test]
fn an_increase_holds_back_an_increase_and_everything_holds_back_a_decrease() {
    let hot = || Case::new(2, busy(95.0));
    assert!(matches!(
        hot().after(59, 1, 2, None).holds(),
        HoldReason::CoolDown { desired: 3, .. }
    ));
    assert_eq!(hot().after(60, 1, 2, None).wants(), 3);
    assert_eq!(hot().after(10, 3, 2, None).wants(), 3, "after a decrease");

    let cold = || Case::new(2, idle());
    for (from, to) in [(1, 2), (3, 2)] {
        let held = cold().after(59, from, to, None).holds();
        assert!(matches!(held, HoldReason::CoolDown { .. }), "{held:?}");
        assert_eq!(cold().after(60, from, to, None).wants(), 1);
    }
}

#[test]
fn bounds_are_corrected_at_once_but_not_through_a_lease() {
    let mut below = Case::new(1, idle()).after(1, 2, 1, None);
    below.config.min_instances = 3;
    assert_eq!(below.decide().reason, Reason::BelowMinimum { min: 3 });
    assert_eq!(below.wants(), 3);

    let mut above = Case::new(12, busy(95.0)).after(1, 2, 12, None);
    assert_eq!(above.wants(), 10);
    above.leased = 11;
    assert_eq!(above.wants(), 11);
    above.leased = 12;
    assert_eq!(above.holds(), HoldReason::AllLeased { leased: 12 });
}

#[test]
fn a_fixed_port_allows_one_instance() {
    let mut case = Case::new(1, busy(200.0));
    let cap = InstanceCap::FixedPort { port: 6379 };
    case.instance_cap = Some(cap);
    case.config.min_instances = 2;
    let decision = case.decide();
    assert_eq!(
        (decision.to, decision.limits_applied),
        (1, vec![Limit::InstanceCap { cap }])
    );
    assert_eq!(case.holds(), HoldReason::AtMaximum { max: 1, desired: 3 });
}

#[test]
fn at_the_maximum_the_wish_is_still_told() {
    assert_eq!(
        Case::new(10, busy(140.0)).holds(),
        HoldReason::AtMaximum {
            max: 10,
            desired: 20
        }
    );
}

#[test]
fn a_leased_instance_is_never_removed() {
    let mut case = Case::new(2, idle());
    case.leased = 1;
    assert_eq!(case.wants(), 1);
    case.leased = 2;
    assert_eq!(case.holds(), HoldReason::AllLeased { leased: 2 });
}

fn heavy(memory: f64) -> Load {
    (Some(40.0), Some(memory), None)
}

#[test]
fn memory_takes_one_step_and_then_must_show_that_it_helped() {
    let first = Case::new(1, heavy(2_000.0)).decide();
    assert_eq!((first.to, first.memory_before_mb), (2, Some(2_000.0)));
    assert_eq!(first.limits_applied, [Limit::MemoryOneStep]);

    let useless = Case::new(2, heavy(1_900.0)).after(600, 1, 2, first.memory_before_mb);
    let (before_mb, now_mb) = (2_000.0, 1_900.0);
    let held = HoldReason::MemoryDoesNotDivide { before_mb, now_mb };
    assert_eq!(useless.holds(), held);
    assert_eq!(
        useless.decide().limits_applied,
        [Limit::MemoryDoesNotDivide]
    );

    let helped = Case::new(2, heavy(1_000.0)).after(600, 1, 2, first.memory_before_mb);
    assert_eq!(helped.wants(), 4, "ceil(2 · 1000/512)");
}

#[test]
fn memory_that_does_not_divide_leaves_the_other_triggers_alone() {
    let case = Case::new(2, (Some(95.0), Some(2_000.0), None)).after(600, 1, 2, Some(2_000.0));
    let decision = case.decide();
    assert_eq!((decision.to, decision.memory_before_mb), (3, None));
}

#[test]
fn memory_that_was_low_in_between_may_try_again() {
    let case = Case::new(1, heavy(600.0))
        .after(900, 1, 2, Some(600.0))
        .after(300, 2, 1, None);
    assert_eq!(case.wants(), 2);
}

#[test]
fn a_starting_instance_is_no_evidence() {
    let mut starting = Case::new(2, busy(95.0));
    starting.newest_start = Some(InstanceStart {
        started_at: at(NOW - 5),
        start_time: Some(Duration::from_secs(8)),
    });
    assert_eq!(
        starting.holds(),
        HoldReason::Starting {
            remaining: Duration::from_secs(3)
        }
    );

    let mut unmeasured = Case::new(1, busy(95.0));
    unmeasured.instances = 3;
    assert_eq!(
        unmeasured.holds(),
        HoldReason::NotAllMeasured {
            measured: 1,
            instances: 3
        }
    );
}

#[test]
fn the_window_begins_where_the_newest_instance_was_ready() {
    let mut case = Case::new(2, idle());
    case.newest_start = Some(InstanceStart {
        started_at: at(NOW - 40),
        start_time: Some(Duration::from_secs(10)),
    });
    assert_eq!(
        case.holds(),
        HoldReason::WindowNotCovered {
            covered: Duration::from_secs(30),
            window: Duration::from_secs(60)
        }
    );
}

#[test]
fn a_clock_that_was_set_back_does_not_hold_for_ever() {
    let case = Case::new(1, busy(95.0)).after(-3_600, 1, 2, None);
    assert_eq!(case.wants(), 2);
    let case = Case::new(1, busy(95.0)).after(-30, 1, 2, None);
    assert!(matches!(case.holds(), HoldReason::CoolDown { .. }));
    let mut case = Case::new(1, busy(95.0));
    case.newest_start = Some(InstanceStart {
        started_at: at(NOW + 3_600),
        start_time: None,
    });
    assert_eq!(case.wants(), 2, "nothing was started in the future");
}

#[test]
fn a_decision_carries_its_inputs_and_proposals() {
    let decision = Case::new(2, (Some(95.0), Some(200.0), Some(110.0)))
        .after(600, 1, 2, None)
        .decide();
    let desired: Vec<_> = decision
        .proposals
        .iter()
        .map(|proposal| (proposal.metric, proposal.desired))
        .collect();
    assert_eq!(
        desired,
        [
            (Metric::CpuPercent, 3),
            (Metric::MemoryMb, 2),
            (Metric::RequestRate, 2)
        ]
    );
    assert_eq!(decision.inputs.fleet.past_actions[0].to, 2);
    let json = serde_json::to_value(&decision).unwrap();
    assert_eq!(json["action"], "scale_up");
    assert_eq!(json["reason"]["code"], "high_utilization");
}
