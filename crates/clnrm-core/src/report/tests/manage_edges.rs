//! The `ai-manage` report where something is missing, stopped, refused or hostile.

use std::path::PathBuf;
use std::time::Duration;

use super::manage::{
    decision, done, health, pass, pool, predicted, prediction, scaled, service, text_of, unjudged,
    verbose_text_of, with_prediction,
};
use super::{NOW, milliseconds};
use crate::backend::Condition;
use crate::lifecycle::start_failure::{StartCause, StartFailure};
use crate::manage::{ManagePass, PassedService, ScalingError, ScalingOutcome};
use crate::services::service_manager::forecast::{Basis, ModelName};
use crate::services::service_manager::{
    Absent, Alert, Forecast, Health, HealthStatus, LimitKind, MemoryAlert, MemoryKills, Metric,
    NotEnoughData, PoolDemand, PoolReport, PoolUsage, ServiceMetrics, WarmPool,
};
use crate::store::InstanceId;

fn current(service: &mut PassedService) -> &mut ServiceMetrics {
    service.assessment.current.as_mut().expect("a sample")
}

fn stopped(name: &str) -> PassedService {
    PassedService {
        instances: 0,
        ..service(name)
    }
}

/// The lines of the section whose title begins so.
fn section_of(pass: &ManagePass, title: &str) -> String {
    let text = text_of(pass);
    let mut lines = text.lines().skip_while(|line| !line.starts_with(title));
    lines.next().expect("the section is there");
    let section: Vec<&str> = lines.skip(1).take_while(|line| !line.is_empty()).collect();
    section.join("\n")
}

#[test]
fn without_any_history_it_says_how_to_begin() {
    insta::assert_snapshot!(text_of(&pass(vec![])), @r#"
    🤖 AI Service Management
    ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━

    📊 Collecting service metrics...
      No service of this project has been measured yet.

    💡 Run a test that starts services, then ask again (their history stays when they stop):
         clnrm run tests/
         clnrm services ai-manage --predict-load --auto-scale --optimize-resources
       No test file yet? `clnrm init` writes one that runs as it stands.
    "#);
}

#[test]
fn without_any_option_it_names_the_three() {
    insta::assert_snapshot!(text_of(&pass(vec![service("postgres")])), @r#"
    🤖 AI Service Management
    ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━

    📊 Collecting service metrics...
      ✓ postgres - CPU: 45.2%, Memory: 312MB, RPS: 75.3

    💡 Ask for more with --predict-load, --auto-scale or --optimize-resources (together, if you like).
    "#);
}

#[test]
fn an_option_silences_the_hint() {
    let asked = ManagePass {
        recommendations: Some(vec![]),
        ..pass(vec![service("postgres")])
    };
    let text = text_of(&asked);
    assert!(!text.contains("Ask for more"), "{text}");
    assert!(
        text.contains("None applies to what was measured so far."),
        "{text}"
    );
}

#[test]
fn what_was_not_measured_says_why_once() {
    let mut cache = service("cache");
    for metric in [
        Metric::RequestRate,
        Metric::ResponseTimeMs,
        Metric::ErrorRate,
    ] {
        current(&mut cache)
            .set(metric, None)
            .expect("nothing is not infinite");
        cache.sources.set(metric, Err(Absent::NoSource));
    }
    let text = verbose_text_of(&pass(vec![cache]));
    let reason = Absent::NoSource.to_string();
    let line = format!("CPU: 45.2%, Memory: 312MB, RPS: n/a ({reason})\n");
    assert!(text.contains(&line), "{text}");
    assert!(text.contains("Response time: n/a, Errors: n/a\n"), "{text}");
    assert_eq!(text.matches(&reason).count(), 1);
}

#[test]
fn on_the_line_of_a_sample_every_absence_has_its_reason() {
    let mut cache = service("cache");
    for metric in [Metric::CpuPercent, Metric::MemoryMb] {
        current(&mut cache)
            .set(metric, None)
            .expect("nothing is not infinite");
        cache.sources.set(metric, Err(Absent::FirstReading));
    }
    let mut unknown = service("unknown");
    current(&mut unknown).request_rate = None;
    let text = text_of(&pass(vec![cache, unknown]));
    let reason = Absent::FirstReading;
    let line = format!("CPU: n/a ({reason}), Memory: n/a ({reason}), RPS: 75.3\n");
    assert!(text.contains(&line), "{text}");
    assert!(
        text.contains("RPS: n/a (the reason was not recorded)\n"),
        "{text}"
    );
}

#[test]
fn a_sample_from_the_future_is_not_0_s_old() {
    let mut ahead = stopped("ahead");
    current(&mut ahead).sampled_at = NOW + Duration::from_secs(7_200);
    let text = text_of(&pass(vec![ahead]));
    assert!(
        text.contains("(stopped; last sample 2026-11-23 12:00:00 UTC, 2 h ahead of this clock)"),
        "{text}"
    );
}

#[test]
fn old_numbers_say_how_old_they_are() {
    let mut stopped_service = stopped("stopped");
    current(&mut stopped_service).sampled_at = NOW - milliseconds(190_000);
    let mut unreachable = service("unreachable");
    current(&mut unreachable).sampled_at = NOW - milliseconds(31_000);
    let mut fresh = service("fresh");
    fresh.instances = 3;
    current(&mut fresh).sampled_at = NOW - milliseconds(30_000);
    let mut unmeasured = service("unmeasured");
    unmeasured.assessment.current = None;
    let mut gone = stopped("gone");
    gone.assessment.current = None;
    let services = vec![stopped_service, unreachable, fresh, unmeasured, gone];
    let text = text_of(&pass(services));
    let lines: Vec<&str> = text.lines().skip(4).take(5).collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    ✓ stopped - CPU: 45.2%, Memory: 312MB, RPS: 75.3  (stopped; last sample 2026-11-23 09:56:50 UTC, 3 min ago)
    ✓ unreachable - CPU: 45.2%, Memory: 312MB, RPS: 75.3  (last sample 2026-11-23 09:59:29 UTC, 31 s ago)
    ✓ fresh - CPU: 45.2%, Memory: 312MB, RPS: 75.3  (3 instances; CPU and memory are per instance)
    ✗ unmeasured - no metrics: not measured yet
    ✗ gone - no metrics: never measured, and stopped
    "#);
}

#[test]
fn predictions_are_as_sure_as_they_may_be() {
    let mut little = service("little");
    little.assessment.prediction = Some(Err(NotEnoughData { have: 2, need: 3 }));
    let mut partly = service("partly");
    current(&mut partly).request_rate = None;
    let by_training = Forecast {
        skill: None,
        basis: Some(Basis::Prior),
        ..predicted(52.8, (49.0, 57.1), 5.0)
    };
    let point = Forecast {
        quantiles: None,
        ..predicted(89.1, (0.0, 0.0), 0.0)
    };
    let forecasts = [
        (Metric::CpuPercent, by_training),
        (Metric::RequestRate, point),
    ];
    let mut short = prediction(forecasts.into());
    short.history = Duration::from_secs(35);
    partly.assessment.prediction = Some(Ok(short));
    partly.assessment.predicted_health = Some(health(55.0, HealthStatus::Degraded));
    let mut blind = with_prediction(service("blind"));
    blind.assessment.current = None;
    blind.assessment.current_health = Health {
        score: None,
        status: HealthStatus::Unknown,
        used: vec![],
    };
    blind.assessment.predicted_health = Some(health(12.0, HealthStatus::Unhealthy));
    let mut constant = with_prediction(service("constant"));
    if let Some(Ok(made)) = &mut constant.assessment.prediction {
        let flat = Forecast {
            basis: Some(Basis::Constant),
            ..unjudged(45.2)
        };
        let never_erred = Forecast {
            skill: None,
            ..predicted(312.0, (312.0, 312.0), -9.0)
        };
        made.forecasts.insert(Metric::CpuPercent, flat);
        made.forecasts.insert(Metric::MemoryMb, never_erred);
        made.left_out.insert(Metric::CpuPercent, 1);
    }
    let report = pass(vec![little, partly, blind, constant]);
    insta::assert_snapshot!(section_of(&report, "🔮"), @r#"
    📦 little
       Not enough data: 2 of the 3 samples that a prediction takes
       Health Score: 78.5/100  (from cpu, memory, errors)
       Predicted Health: ❓ Unknown  (no prediction)
    📦 partly
       CPU: 45.2% → 52.8%  (90%: 49.0–57.1, ses, not yet judged: too few samples)
       Memory: 312MB → n/a  (too few measurements to predict it)
       RPS: n/a → 89.1  (last value (mean of 25 s), forecast muted: no better than last value over 40 origins)
       Only 35s of history for a horizon of 5min
       Health Score: 78.5/100  (from cpu, memory, errors)
       Predicted Health: ⚠️ Degraded  (55.0/100)
    📦 blind
       CPU: n/a → 52.8%  (90%: 49.0–57.1, ses, 12% better than last value)
       Memory: n/a → 356MB  (90%: 340–371, last value (mean of 25 s), forecast muted: 8 % worse than last value over 40 origins)
       RPS: n/a → 89.1  (last value (mean of 25 s), not yet judged: too few samples)
       Health Score: n/a  (nothing was measured)
       Predicted Health: ❌ Unhealthy  (12.0/100)
    📦 constant
       CPU: 45.2% → 45.2%  (last value (mean of 25 s), constant so far, 1 wild value left out)
       Memory: 312MB → 312MB  (90%: 312–312, last value (mean of 25 s), forecast muted: the last value never erred)
       RPS: 75.3 → 89.1  (last value (mean of 25 s), not yet judged: too few samples)
       Health Score: 78.5/100  (from cpu, memory, errors)
       Predicted Health: ✅ Healthy  (74.0/100)
    "#);
}

fn did_not_start() -> ScalingError {
    ScalingError::Start(Box::new(StartFailure {
        service: "api".to_owned(),
        instance: None,
        cause: StartCause::NoFreePort,
        log_tail: vec!["listening".to_owned()],
        log_file: None,
        entry_point_ran: None,
    }))
}

#[test]
fn scaling_says_what_became_of_it() {
    let failed = |after| ScalingOutcome {
        performed: false,
        error: Some(did_not_start()),
        ..done(after)
    };
    let up = || decision(1, 185.2);
    let mut nothing = stopped("stopped");
    nothing.scaling = Some(ScalingOutcome::default());
    let refused = ScalingOutcome {
        error: Some(ScalingError::AllLeased),
        ..ScalingOutcome::default()
    };
    let report = pass(vec![
        scaled(service("down"), decision(2, 5.0), done(1)),
        scaled(service("partly"), up(), failed(2)),
        scaled(service("not-at-all"), up(), failed(1)),
        scaled(service("refused"), decision(2, 5.0), refused),
        scaled(service("held"), decision(1, 5.0), ScalingOutcome::default()),
        nothing,
    ]);
    insta::assert_snapshot!(section_of(&report, "⚡"), @r#"
    📉 down - Scale DOWN by 1 instance(s)
       Reason: Low resource utilization detected (CPU 5.0% < 30%, memory 80MB < 128MB over 60 s)
       Done: 2 → 1 instance in 38 ms
    📈 partly - Scale UP by 2 instance(s)
       Reason: High resource utilization detected (CPU 185.2% > 70%)
       Done in part: 1 → 2 instances (of 3 wanted) in 38 ms
       Error: service `api` did not start: no port of 127.0.0.1 is free (last line of its log: listening)
    📈 not-at-all - Scale UP by 2 instance(s)
       Reason: High resource utilization detected (CPU 185.2% > 70%)
       Not done: still 1 instance
       Error: service `api` did not start: no port of 127.0.0.1 is free (last line of its log: listening)
    📉 refused - Scale DOWN by 1 instance(s)
       Reason: Low resource utilization detected (CPU 5.0% < 30%, memory 80MB < 128MB over 60 s)
       Not done: still 2 instances
       Error: every other instance is leased
    ✓ held - No scaling needed  (Holding: nothing measured asks for more, and the minimum of 1 instance(s) is running)
    ✓ stopped - Nothing to scale (stopped)
    "#);
}

#[test]
fn a_dry_run_would_do_it() {
    let postgres = scaled(
        service("postgres"),
        decision(1, 185.2),
        ScalingOutcome::default(),
    );
    let report = ManagePass {
        dry_run: true,
        ..pass(vec![postgres])
    };
    let section = section_of(&report, "⚡");
    assert!(
        section.ends_with("     Would do: 1 → 3 instances  (--dry-run)"),
        "{section}"
    );
}

#[test]
fn a_pool_without_instances_has_no_utilization() {
    let mut empty = service("empty");
    empty.assessment.pool = Some(pool(0, 0));
    insta::assert_snapshot!(section_of(&pass(vec![empty]), "🎯"), @r#"
    📦 empty Resource Pool:
       Size: 0 available, 0 in-use
       Utilization: n/a (no instance)
    "#);
}

#[test]
fn a_warm_pool_says_what_it_was_worth() {
    let usage = PoolUsage {
        leases: 8,
        warm: 6,
        waits: 5,
        waited: Some(milliseconds(10)),
        start_time: Some(milliseconds(30)),
        memory_mb: Some(8.0),
    };
    let mut cache = service("cache");
    cache.assessment.pool = Some(PoolReport {
        demand: PoolDemand {
            leases: 8,
            usually_leased: Some(3.0),
            arrivals_per_second: Some(2.0),
            start_time: Some(milliseconds(30)),
        },
        warm: Some(WarmPool {
            size: 5,
            worth: usage.worth(3),
        }),
        ..pool(3, 2)
    });
    insta::assert_snapshot!(section_of(&pass(vec![cache]), "🎯"), @r#"
    📦 cache Resource Pool:
       Size: 3 available, 2 in-use
       Utilization: 40.0%
       Warm: 5 wanted, 75% of leases found one, 140 ms of waiting saved, 24MB held by free ones
       Advised size: 4  (95th percentile of concurrent leases, resets included: 3 of 8 leases; plus 2.000 leases/s × 30 ms start time = 3.06, rounded up)
    "#);
}

#[test]
fn alerts_stand_above_the_sections() {
    let mut api = with_prediction(service("api"));
    api.file = Some(PathBuf::from("tests/a.clnrm.toml"));
    api.impaired = vec![(InstanceId("api-1".to_owned()), Condition::Paused)];
    api.assessment.memory = Some(MemoryAlert::TooLittle {
        limit_mb: Some(64.0),
        kills: MemoryKills {
            kills: 14,
            within: milliseconds(29_700),
        },
    });
    let minutes = |minutes: u64| Some(Duration::from_secs(60 * minutes));
    let alert = Alert {
        kind: LimitKind::Metric,
        metric: Metric::CpuPercent,
        limit: 100.0,
        current: 45.2,
        reached_in: minutes(3),
        earliest: minutes(2),
        latest: minutes(5),
        reach: Duration::from_secs(3_600),
        model: Some(ModelName::Ses),
        is_earned: true,
    };
    let may = Alert {
        kind: LimitKind::Instances { max: 10 },
        reached_in: None,
        is_earned: false,
        ..alert
    };
    let already = Alert {
        metric: Metric::MemoryMb,
        limit: 300.0,
        reached_in: Some(Duration::ZERO),
        ..alert
    };
    api.assessment.alerts = vec![alert, may, already];
    let report = pass(vec![api]);
    insta::assert_snapshot!(section_of(&report, "🚨"), @r#"
    api (tests/a.clnrm.toml) - api-1 is paused
    api (tests/a.clnrm.toml) - 64 MB is too little: 14 processes were killed for lack of memory in 30 s
    api (tests/a.clnrm.toml) - CPU reaches 100% in 3 min (90%: 2–5)
    api (tests/a.clnrm.toml) - load may need more than the 10 instance(s) allowed in 2 min (upper edge of 90%), when CPU is 100%; not yet judged: too few samples
    api (tests/a.clnrm.toml) - memory is at its limit of 300 MB already
    "#);
    let text = text_of(&report);
    assert!(text.find("🚨") < text.find("🔮"), "{text}");
}

#[test]
fn hostile_text_cannot_act_or_forge_lines() {
    let mut hostile = service("cache\u{1b}[2J\n  ✓ forged");
    current(&mut hostile).request_rate = None;
    let reason = Absent::NotFinite {
        what: "\u{1b}]0;title\u{7}connection\rrefused".to_owned(),
    };
    hostile.sources.set(Metric::RequestRate, Err(reason));
    let text = text_of(&pass(vec![hostile]));
    assert!(!text.contains(['\u{1b}', '\u{7}', '\r']), "{text:?}");
    assert!(text.contains("✓ cache\\n  ✓ forged - "), "{text}");
    assert!(text.contains("connection\\rrefused"), "{text}");
}
