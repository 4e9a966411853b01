//! Records come back from JSON as they were, and what was decided can be decided again from them, bit for bit.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use clnrm_decide::autoscale::{Crossing, HoldReason, Limit, Proposal, Reason};
use clnrm_decide::cost::{CpuSize, MemorySize, RightSize, SavingsBasis};
use clnrm_decide::forecast::{Basis, ModelName, ModelScore};
use clnrm_decide::{
    Alert, Allotment, Assessment, CostKind, CostRecommendation, Forecast, Health, HealthLimits,
    HealthStatus, InstanceCap, LimitKind, LimitedMemory, LoadPrediction, ManagedService,
    MemoryAlert, MemoryKills, Metric, NotEnoughData, PathStep, PoolDemand, PoolReport, PoolUsage,
    Requested, ResourcePool, ScalingDecision, ServiceManager, ServiceMetrics, Skill, Tier,
    Timestamp, WarmPool, decide,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::properties::{Situation, situation};
use super::rolled_up::rolled_up;

/// There and back; and the text of what came back is the same, so no bit of a number is lost either.
fn comes_back<T>(record: &T) -> Result<(), TestCaseError>
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let text = serde_json::to_string(record).unwrap();
    let back: T = serde_json::from_str(&text)
        .map_err(|error| TestCaseError::fail(format!("{error}: {text}")))?;
    prop_assert_eq!(&back, record);
    prop_assert_eq!(serde_json::to_string(&back).unwrap(), text);
    Ok(())
}

fn number() -> impl Strategy<Value = f64> {
    use proptest::num::f64::{NEGATIVE, NORMAL, POSITIVE, SUBNORMAL, ZERO};
    NORMAL | SUBNORMAL | ZERO | POSITIVE | NEGATIVE
}

fn duration() -> impl Strategy<Value = Duration> {
    (any::<u64>(), 0..1_000_000_000_u32).prop_map(|(seconds, nanos)| Duration::new(seconds, nanos))
}

/// From 1970 to 9999.
fn moment() -> impl Strategy<Value = Timestamp> {
    (0..253_402_300_800_000_i64).prop_map(Timestamp::from_millis)
}

fn metric() -> impl Strategy<Value = Metric> {
    select(&Metric::ALL[..])
}

fn model() -> impl Strategy<Value = ModelName> {
    use ModelName::{DampedHolt, Ema, LastValue, Learned, Regression, SeasonalRepeat, Ses};
    select(vec![
        LastValue,
        Ema,
        Ses,
        DampedHolt,
        Regression,
        SeasonalRepeat,
        Learned,
    ])
}

fn relative_error() -> impl Strategy<Value = f64> {
    prop_oneof![number(), Just(f64::INFINITY)]
}

fn skill() -> impl Strategy<Value = Skill> {
    (any::<u32>(), relative_error()).prop_map(|(origins, relative_error)| Skill {
        origins,
        relative_error,
    })
}

fn quantiles() -> impl Strategy<Value = Option<[f64; 5]>> {
    option::of([number(), number(), number(), number(), number()])
}

fn crossing() -> impl Strategy<Value = Crossing> {
    (metric(), number(), number(), any::<bool>()).prop_map(
        |(metric, value, threshold, is_predicted)| Crossing {
            metric,
            value,
            threshold,
            is_predicted,
        },
    )
}

fn hold_reason() -> impl Strategy<Value = HoldReason> {
    use HoldReason::*;
    let two = (duration(), duration());
    let count = any::<u32>();
    prop_oneof![
        Just(NoSamples),
        two.prop_map(|(age, window)| StaleSamples { age, window }),
        (count, count).prop_map(|(measured, instances)| NotAllMeasured {
            measured,
            instances
        }),
        duration().prop_map(|remaining| Starting { remaining }),
        Just(NoMetrics),
        Just(WithinThresholds),
        crossing().prop_map(|crossing| NearThreshold { crossing }),
        (duration(), duration(), count).prop_map(|(elapsed, cooldown, desired)| CoolDown {
            elapsed,
            cooldown,
            desired
        }),
        (count, count).prop_map(|(max, desired)| AtMaximum { max, desired }),
        (number(), number())
            .prop_map(|(before_mb, now_mb)| MemoryDoesNotDivide { before_mb, now_mb }),
        count.prop_map(|min| AtMinimum { min }),
        metric().prop_map(|metric| NotMeasured { metric }),
        (duration(), duration()).prop_map(|(covered, window)| WindowNotCovered { covered, window }),
        crossing().prop_map(|crossing| RecentlyBusy { crossing }),
        crossing().prop_map(|crossing| ForecastHolds { crossing }),
        crossing().prop_map(|crossing| WouldNotFit { crossing }),
        count.prop_map(|leased| AllLeased { leased }),
    ]
}

fn reason() -> impl Strategy<Value = Reason> {
    prop_oneof![
        vec(crossing(), 0..4).prop_map(|crossings| Reason::HighUtilization { crossings }),
        (vec(crossing(), 0..4), duration())
            .prop_map(|(crossings, window)| Reason::LowUtilization { crossings, window }),
        any::<u32>().prop_map(|min| Reason::BelowMinimum { min }),
        any::<u32>().prop_map(|max| Reason::AboveMaximum { max }),
        hold_reason().prop_map(|why| Reason::Hold { why }),
    ]
}

fn limit() -> impl Strategy<Value = Limit> {
    let count = any::<u32>();
    prop_oneof![
        count.prop_map(|min| Limit::MinInstances { min }),
        count.prop_map(|max| Limit::MaxInstances { max }),
        any::<u16>().prop_map(|port| Limit::InstanceCap {
            cap: InstanceCap::FixedPort { port }
        }),
        duration().prop_map(|remaining| Limit::CoolDown { remaining }),
        Just(Limit::MemoryOneStep),
        Just(Limit::MemoryDoesNotDivide),
        Just(Limit::OneAtATime),
        count.prop_map(|leased| Limit::Leased { leased }),
    ]
}

prop_compose! {
    fn proposal()(
        metric in metric(),
        current in number(),
        predicted in option::of(number()),
        threshold in number(),
        desired in any::<u32>(),
    ) -> Proposal {
        Proposal { metric, current, predicted, threshold, desired }
    }
}

prop_compose! {
    fn forecast()(
        value in number(),
        quantiles in quantiles(),
        path in vec((moment(), number(), quantiles()), 0..3),
        model in model(),
        basis in option::of(prop_oneof![
            Just(Basis::Tournament),
            select(vec![Basis::Constant, Basis::Prior, Basis::TooShort]),
        ]),
        skill in option::of(skill()),
        muted in any::<bool>(),
        models in vec((model(), relative_error()), 0..3),
    ) -> Forecast {
        let step = |(at, value, quantiles)| PathStep { at, value, quantiles };
        let score = |(model, relative_error)| ModelScore { model, relative_error };
        Forecast {
            value, quantiles, model, basis, skill, muted,
            path: path.into_iter().map(step).collect(),
            models: models.into_iter().map(score).collect(),
        }
    }
}

prop_compose! {
    fn prediction()(
        (horizon, history) in (duration(), duration()),
        tier in select(&Tier::ALL[..]),
        at in moment(),
        instances in any::<u32>(),
        forecasts in vec((metric(), forecast()), 0..3),
        few in vec((metric(), any::<u32>()), 0..3),
    ) -> LoadPrediction {
        let lacking = |(metric, have)| (metric, NotEnoughData { have, need: 3 });
        LoadPrediction {
            horizon, tier, history, at, instances,
            forecasts: forecasts.into_iter().collect(),
            left_out: few.iter().copied().collect(),
            not_enough_data: few.into_iter().map(lacking).collect(),
        }
    }
}

prop_compose! {
    fn alert()(
        kind in prop_oneof![
            Just(LimitKind::Metric),
            any::<u32>().prop_map(|max| LimitKind::Instances { max }),
        ],
        metric in metric(),
        (limit, current) in (number(), number()),
        times in [option::of(duration()), option::of(duration()), option::of(duration())],
        reach in duration(),
        model in option::of(model()),
        is_earned in any::<bool>(),
    ) -> Alert {
        let [reached_in, earliest, latest] = times;
        Alert { kind, metric, limit, current, reached_in, earliest, latest, reach, model, is_earned }
    }
}

fn memory_alert() -> impl Strategy<Value = MemoryAlert> {
    prop_oneof![
        (option::of(number()), any::<u64>(), duration()).prop_map(|(limit_mb, kills, within)| {
            let kills = MemoryKills { kills, within };
            MemoryAlert::TooLittle { limit_mb, kills }
        }),
        (number(), number())
            .prop_map(|(limit_mb, used_mb)| MemoryAlert::NearLimit { limit_mb, used_mb }),
    ]
}

prop_compose! {
    fn recommendation()(
        service_name in ".*",
        kind in select(vec![
            CostKind::Downsize, CostKind::Optimize, CostKind::ServerlessMigration, CostKind::PoolOptimization,
        ]),
        (estimated_savings_percent, priority) in (number(), any::<u8>()),
        basis in select(vec![SavingsBasis::RuleOfThumb, SavingsBasis::Computed]),
        cpu in option::of([number(), number(), number(), number(), number(), number()]),
        memory in option::of([number(), number(), number()]),
        money_per_month in option::of(number()),
    ) -> CostRecommendation {
        let cpus = cpu.map(|[allotted, percentile_95, percentile_99, peak, recommended, throttled_share]| CpuSize {
            allotted, percentile_95, percentile_99, peak, recommended, throttled_share,
        });
        let memory_mb = memory.map(|[allotted, peak, recommended]| MemorySize { allotted, peak, recommended });
        CostRecommendation {
            service_name, kind, estimated_savings_percent, priority, basis, money_per_month,
            right_size: Some(RightSize { cpus, memory_mb }),
        }
    }
}

prop_compose! {
    fn pool()(
        (available, in_use, leases, size) in (any::<u32>(), any::<u32>(), any::<u32>(), option::of(any::<u32>())),
        usually_leased in option::of(number()),
        arrivals_per_second in option::of(number()),
        start_time in option::of(duration()),
        memory_mb in option::of(0.0..1e9_f64),
    ) -> PoolReport {
        let usage = PoolUsage { leases, memory_mb, ..PoolUsage::default() };
        PoolReport {
            instances: ResourcePool { available, in_use },
            demand: PoolDemand { leases, usually_leased, arrivals_per_second, start_time },
            warm: size.map(|size| WarmPool { size, worth: usage.worth(available) }),
        }
    }
}

prop_compose! {
    fn health()(score in option::of(number()), used in vec(metric(), 0..4)) -> Health {
        let status = score.map_or(HealthStatus::Unknown, |score| match score {
            ..40.0 => HealthStatus::Unhealthy,
            40.0..=70.0 => HealthStatus::Degraded,
            _ => HealthStatus::Healthy,
        });
        Health { score, status, used }
    }
}

fn sample() -> impl Strategy<Value = ServiceMetrics> {
    let values = vec(option::of(number()), Metric::ALL.len());
    (moment(), any::<u32>(), values).prop_map(|(at, instances, values)| {
        let mut sample = ServiceMetrics::at(at, instances);
        for (metric, value) in Metric::ALL.into_iter().zip(values) {
            sample.set(metric, value).unwrap();
        }
        sample
    })
}

/// Everything about one service, whose load is drawn.
fn assess(situation: &Situation) -> Assessment {
    let history = rolled_up(situation.samples());
    let service = ManagedService {
        name: "service",
        history: &history,
        scale: &situation.config,
        limits: HealthLimits::default(),
        allotment: Allotment {
            cpus: Some(2.0),
            memory_mb: Some(512.0),
            cpu_hour: Some(0.04),
            gb_hour: None,
        },
        fleet: situation.fleet(),
        memory: LimitedMemory::default(),
        pool: None,
    };
    let requested = Requested {
        horizon: Duration::from_secs(10),
        predict_load: true,
        auto_scale: true,
        optimize_resources: true,
    };
    let now = situation.now();
    ServiceManager { requested, now }.assess(&service)
}

proptest! {
    #[test]
    fn a_decision_is_decided_again_from_its_record(situation in situation()) {
        let decision = situation.decide();
        comes_back(&decision)?;
        let text = serde_json::to_string(&decision).unwrap();
        prop_assert!(text.len() < 4_000, "a record stays small: {}", text.len());
        let recorded: ScalingDecision = serde_json::from_str(&text).unwrap();
        let again = decide(recorded.inputs);
        prop_assert_eq!(serde_json::to_string(&again).unwrap(), text);
        prop_assert_eq!(again, decision);
    }

    #[test]
    fn a_reason(reason in reason(), limits in vec(limit(), 0..3), proposals in vec(proposal(), 0..3)) {
        comes_back(&(reason, limits, proposals))?;
    }

    #[test]
    fn a_prediction(prediction in prediction()) {
        comes_back(&prediction)?;
        comes_back(&prediction.used())?;
    }

    #[test]
    fn an_alert(alert in alert(), memory in memory_alert()) {
        comes_back(&alert)?;
        comes_back(&memory)?;
    }

    #[test]
    fn a_recommendation(recommendation in recommendation()) {
        comes_back(&recommendation)?;
    }

    #[test]
    fn a_pool(pool in pool()) {
        comes_back(&pool)?;
    }

    #[test]
    fn a_sample_and_its_health(sample in sample(), health in health()) {
        comes_back(&sample)?;
        comes_back(&health)?;
    }

    #[test]
    fn an_assessment(situation in situation(), prediction in prediction(), alerts in vec(alert(), 0..2), pool in pool()) {
        let assessed = assess(&situation);
        comes_back(&assessed)?;
        comes_back(&Assessment { prediction: Some(Ok(prediction)), alerts, pool: Some(pool), ..assessed })?;
    }
}

/// Whoever changes what a record holds, or how it is decided from that, raises [`ScalingDecision::VERSION`]; what was
/// recorded under the old one must still be read.
#[test]
fn a_record_of_version_1_is_read() {
    let text = include_str!("decision_v1.json");
    let decision: ScalingDecision = serde_json::from_str(text).unwrap();
    assert_eq!(decision.version, 1);
    assert_eq!(decide(decision.inputs.clone()), decision);
    let forecasts: BTreeMap<Metric, _> = decision.inputs.forecasts;
    assert_eq!(forecasts.len(), 3);
}
