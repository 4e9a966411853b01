//! What must hold of every decision, whatever was measured.

use std::time::Duration;

use clnrm_decide::{
    Auto, AutoScaleConfig, Fleet, Forecaster, Health, HealthLimits, LoadPrediction, Metric,
    MetricsHistory, PastAction, ScalingAction, ScalingDecision, ScalingInputs, Series,
    ServiceMetrics, Steps, Timestamp, Window, decide, forecast,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::rolled_up::rolled_up;

const NOW: i64 = 100_000_000;

fn seconds_ago(seconds: i64) -> Timestamp {
    Timestamp::from_millis(NOW - seconds * 1_000)
}

prop_compose! {
    /// What one sample shows: often idle, often busy, sometimes absurd, sometimes nothing.
    fn load()(
        cpu in option::weighted(0.9, prop_oneof![0.0..30.0, 0.0..150.0, 0.0..1e6_f64]),
        memory in option::weighted(0.9, prop_oneof![0.0..128.0, 0.0..1_024.0, 0.0..1e9_f64]),
        requests in option::weighted(0.7, prop_oneof![0.0..20.0, 0.0..500.0, 0.0..1e9_f64]),
    ) -> [Option<f64>; 3] {
        [cpu, memory, requests]
    }
}

fn sample(at: Timestamp, instances: u32, load: [Option<f64>; 3]) -> ServiceMetrics {
    ServiceMetrics {
        cpu_percent: load[0],
        memory_mb: load[1],
        request_rate: load[2],
        ..ServiceMetrics::at(at, instances)
    }
}

#[derive(Debug, Clone)]
pub(super) struct Situation {
    pub(super) config: AutoScaleConfig,
    pub(super) loads: Vec<[Option<f64>; 3]>,
    pub(super) instances: u32,
    pub(super) leased: u32,
    pub(super) past_actions: Vec<PastAction>,
}

pub(super) fn situation() -> impl Strategy<Value = Situation> {
    let action = (0..200_i64, 1..10_u32, 1..10_u32, option::of(0.0..2_000.0)).prop_map(
        |(ago, from, to, memory_before_mb)| PastAction {
            at: seconds_ago(ago),
            from,
            to,
            memory_before_mb,
        },
    );
    // Steady situations lead somewhere more often than mixed ones.
    let loads = prop_oneof![
        vec(load(), 0..80),
        (load(), 1..80_usize).prop_map(|(load, count)| vec![load; count]),
    ];
    (
        1..4_u32,
        0..8_u32,
        loads,
        0..14_u32,
        0..14_u32,
        vec(action, 0..3),
    )
        .prop_map(
            |(min_instances, more, loads, instances, leased, past_actions)| Situation {
                config: AutoScaleConfig {
                    min_instances,
                    max_instances: min_instances + more,
                    ..AutoScaleConfig::default()
                },
                loads,
                instances,
                leased: leased.min(instances),
                past_actions,
            },
        )
}

impl Situation {
    pub(super) fn now(&self) -> Timestamp {
        seconds_ago(0)
    }

    pub(super) fn samples(&self) -> Vec<ServiceMetrics> {
        let newest = self.loads.len() as i64 - 1;
        let samples = self.loads.iter().zip(0..);
        samples
            .map(|(load, n)| sample(seconds_ago(newest - n), self.instances, *load))
            .collect()
    }

    pub(super) fn fleet(&self) -> Fleet {
        Fleet {
            instances: self.instances,
            leased: self.leased,
            past_actions: self.past_actions.clone(),
            ..Fleet::default()
        }
    }

    fn prediction(&self) -> Option<LoadPrediction> {
        let metrics = &LoadPrediction::METRICS;
        let history = rolled_up(self.samples());
        LoadPrediction::of(metrics, &history, Duration::from_secs(10), &Auto::default()).ok()
    }

    fn inputs(&self, prediction: Option<&LoadPrediction>) -> ScalingInputs {
        let samples = self.samples();
        ScalingInputs::gather(&self.config, &samples, prediction, self.fleet(), self.now())
    }

    pub(super) fn decide(&self) -> ScalingDecision {
        decide(self.inputs(self.prediction().as_ref()))
    }

    fn is_within_bounds(&self) -> bool {
        (self.config.min_instances..=self.config.max_instances).contains(&self.instances)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_decision_stays_within_its_bounds(situation in situation()) {
        let decision = situation.decide();
        prop_assert!(decision.to >= situation.config.min_instances);
        // Only a lease may keep more than the maximum.
        let most = situation.config.max_instances.max(situation.leased);
        prop_assert!(decision.to <= most);
        prop_assert!(decision.to >= situation.leased.min(situation.instances));
        let difference = match decision.action {
            ScalingAction::ScaleUp { by } => i64::from(by),
            ScalingAction::ScaleDown { by } => -i64::from(by),
            ScalingAction::NoAction => 0,
        };
        prop_assert_eq!(i64::from(decision.from) + difference, i64::from(decision.to));
    }

    #[test]
    fn nothing_happens_inside_a_cool_down(situation in situation(), ago in 0..60_i64) {
        let mut situation = situation;
        situation.past_actions.push(PastAction {
            at: seconds_ago(ago),
            from: 1,
            to: 2,
            memory_before_mb: None,
        });
        if situation.is_within_bounds() {
            prop_assert_eq!(situation.decide().action, ScalingAction::NoAction);
        }
    }

    #[test]
    fn more_load_never_yields_fewer_instances(
        situation in situation(),
        field in 0..3_usize,
        factor in 1.0..10.0_f64,
    ) {
        let mut busier = situation.clone();
        for load in &mut busier.loads {
            load[field] = load[field].map(|value| value * factor);
        }
        let (less, more) = (situation.decide().to, busier.decide().to);
        let took_memory_step = |action: &PastAction| action.memory_before_mb.is_some();
        if field == 1 && situation.past_actions.iter().any(took_memory_step) {
            // Memory that rose in spite of one more instance stops to ask for more; it still removes nothing.
            prop_assert!(more >= less.min(situation.instances));
        } else {
            prop_assert!(more >= less);
        }
    }

    #[test]
    fn an_absent_metric_never_lowers_anything(situation in situation(), field in 0..3_usize, from in 0..80_usize) {
        let mut blinded = situation.clone();
        for load in blinded.loads.iter_mut().skip(from) {
            load[field] = None;
        }
        let (seen, unseen) = (situation.decide(), blinded.decide());
        if unseen.to < unseen.from && situation.is_within_bounds() {
            // A service without a request source may shrink; one whose requests were seen may not lose sight of them.
            let never_measured = blinded.loads.iter().all(|load| load[field].is_none());
            prop_assert!(seen.to <= unseen.to || (field == 2 && never_measured));
        }
    }

    /// Of a long past a record keeps four actions; the others change nothing.
    #[test]
    fn the_actions_that_are_left_out_do_not_count(situation in situation(), more in vec((0..200_i64, 1..10_u32, 1..10_u32), 0..20)) {
        let mut situation = situation;
        situation.past_actions.extend(more.iter().map(|(ago, from, to)| PastAction {
            at: seconds_ago(*ago),
            from: *from,
            to: *to,
            memory_before_mb: (ago % 3 == 0).then_some(600.0),
        }));
        let short = situation.inputs(situation.prediction().as_ref());
        prop_assert!(short.fleet.past_actions.len() <= 4);
        let whole = ScalingInputs { fleet: situation.fleet(), ..short.clone() };
        let (short, whole) = (decide(short), decide(whole));
        prop_assert_eq!((short.to, short.reason, short.limits_applied), (whole.to, whole.reason, whole.limits_applied));
    }

    #[test]
    fn a_forecast_alone_never_removes(situation in situation()) {
        let alone = decide(situation.inputs(None));
        prop_assert!(situation.decide().to >= alone.to);
    }
}

prop_compose! {
    /// Irregular, gappy, in any order.
    fn points()(gaps in vec(prop_oneof![900..1_100_i64, Just(0), 0..100_000_i64], 0..200))
        (values in vec(0.0..1e6_f64, gaps.len()), gaps in Just(gaps)) -> Vec<(Timestamp, f64)> {
        let mut millis = 0;
        let times = gaps.into_iter().map(move |gap| { millis += gap; Timestamp::from_millis(millis) });
        times.zip(values).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_forecast_is_finite_in_range_and_in_order(points in points(), horizon_ms in 0..10_000_000_u64) {
        let horizon = Duration::from_millis(horizon_ms);
        for metric in Metric::ALL {
            let series = Series::new(metric, points.clone());
            {
                match Auto::default().forecast(&series, horizon) {
                    Err(missing) => {
                        prop_assert_eq!(missing.have as usize, points.len());
                        prop_assert!(points.len() < 3);
                    }
                    Ok(forecast) => {
                        let most = if metric == Metric::ErrorRate { 1.0 } else { f64::MAX };
                        prop_assert!((0.0..=most).contains(&forecast.value), "{}", forecast.value);
                        for quantiles in forecast.path.iter().map(|step| step.quantiles).chain([forecast.quantiles]) {
                            let Some(quantiles) = quantiles else { continue };
                            prop_assert!(quantiles.is_sorted(), "{quantiles:?}");
                            prop_assert!(quantiles.iter().all(|quantile| (0.0..=most).contains(quantile)));
                        }
                        prop_assert!(forecast.path.last().is_none_or(|last| last.value == forecast.value));
                        prop_assert!(forecast.path.is_sorted_by_key(|step| step.at));
                        prop_assert!(forecast.upper() >= forecast.value);
                        prop_assert!(!(forecast.muted && forecast.is_earned()));
                        prop_assert!(forecast.skill.is_none_or(|skill| !skill.relative_error.is_nan()));
                    }
                }
            }
        }
    }

    /// Without a trend (newest five = newest twenty) the forecast is the average itself.
    #[test]
    fn the_moving_average_stays_within_its_inputs(values in vec(0.0..1e6_f64, 3..6)) {
        let window = Window::new(values.clone(), forecast::Range::FROM_ZERO).unwrap();
        let value = forecast::Ema.forecast(&window, &Steps::path(1)).unwrap()[0].point;
        let (least, most) = values.iter().fold((f64::MAX, 0.0_f64), |(a, b), v| (a.min(*v), b.max(*v)));
        // Models count in units of the window's mean change, in single precision.
        let rounding = 1e-6 * most;
        prop_assert!(least - rounding <= value && value <= most + rounding);
    }

    #[test]
    fn a_constant_series_is_exact(value in 0.0..1e9_f64, count in 3..300_i64, horizon_s in 1..10_000_u64) {
        let points = (0..count).map(|n| (Timestamp::from_millis(n * 1_000), value)).collect();
        let series = Series::new(Metric::MemoryMb, points);
        let forecast = Auto::default().forecast(&series, Duration::from_secs(horizon_s)).unwrap();
        prop_assert_eq!(forecast.value, value);
        prop_assert!(forecast.quantiles.is_none_or(|quantiles| quantiles == [value; 5]));
        prop_assert!(!forecast.is_earned());
    }

    #[test]
    fn health_is_a_score_or_nothing(load in load(), errors in option::of(0.0..1.0_f64), response in option::of(0.0..1e6_f64)) {
        let mut sample = sample(seconds_ago(0), 1, load);
        sample.error_rate = errors;
        sample.response_time_ms = response;
        let health = Health::of(&sample, &HealthLimits::default());
        let nothing = load[0].is_none() && load[1].is_none() && errors.is_none() && response.is_none();
        prop_assert_eq!(health.score.is_none(), nothing);
        prop_assert!(health.score.is_none_or(|score| (0.0..=100.0).contains(&score)));
    }

    #[test]
    fn history_keeps_order_and_capacity(times in vec(0..10_000_000_i64, 0..1_200)) {
        let samples = times.iter().map(|millis| sample(Timestamp::from_millis(*millis), 1, [Some(1.0), None, None]));
        let history = MetricsHistory::from_parts(samples.collect(), Vec::new(), Vec::new());
        prop_assert_eq!(history.len(), times.len().min(1_000));
        prop_assert!(history.samples().is_sorted_by_key(|sample| sample.sampled_at));
        prop_assert_eq!(history.latest().map(|sample| sample.sampled_at.as_millis()), times.iter().max().copied());
    }
}
