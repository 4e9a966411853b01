//! The `ai-manage` report where something is missing, stopped, refused or hostile.

use std::collections::BTreeMap;

use super::manage::{
    health, no_scaling, predicted, report, scaling, service, unjudged, with_prediction,
};
use super::{NOW, milliseconds};
use crate::manage::manage_report::{
    ForecastBasis, ForecastReport, HealthBand, HealthReport, HealthValue, ManageReport,
    PoolSummary, PredictedValue, Prediction, SampleCounts, ScalingKind, ScalingReport,
    ServiceReport, ServiceState,
};
use crate::report::human::manage::manage;
use crate::report::human::tests::{PLAIN, VERBOSE, rendered};

fn text_of(report: &ManageReport) -> String {
    rendered(|out| manage(out, report, PLAIN))
}

/// The lines of the section whose title begins so.
fn section_of(report: &ManageReport, title: &str) -> String {
    let text = text_of(report);
    let mut lines = text.lines().skip_while(|line| !line.starts_with(title));
    lines.next().expect("the section is there");
    let section: Vec<&str> = lines.skip(1).take_while(|line| !line.is_empty()).collect();
    section.join("\n")
}

#[test]
fn without_any_history_it_says_how_to_begin() {
    insta::assert_snapshot!(text_of(&report(vec![])), @r#"
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
    insta::assert_snapshot!(text_of(&report(vec![service("postgres")])), @r#"
    🤖 AI Service Management
    ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━

    📊 Collecting service metrics...
      ✓ postgres - CPU: 45.2%, Memory: 312MB, RPS: 75.3

    💡 Ask for more with --predict-load, --auto-scale or --optimize-resources (together, if you like).
    "#);
}

#[test]
fn an_option_silences_the_hint() {
    let asked = ManageReport {
        recommendations: Some(vec![]),
        ..report(vec![service("postgres")])
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
    let current = cache.current.as_mut().expect("a sample");
    current.request_rate = None;
    current.response_time_ms = None;
    current.error_rate = None;
    cache.absent = ["request_rate", "response_time_ms", "error_rate"]
        .map(|metric| (metric.to_owned(), "no metrics source".to_owned()))
        .into();
    let text = rendered(|out| manage(out, &report(vec![cache]), VERBOSE));
    assert!(
        text.contains("CPU: 45.2%, Memory: 312MB, RPS: n/a (no metrics source)\n"),
        "{text}"
    );
    assert!(text.contains("Response time: n/a, Errors: n/a\n"), "{text}");
    assert_eq!(text.matches("no metrics source").count(), 1);
}

#[test]
fn on_the_line_of_a_sample_every_absence_has_its_reason() {
    let mut cache = service("cache");
    let current = cache.current.as_mut().expect("a sample");
    (current.cpu_percent, current.memory_mb) = (None, None);
    cache.absent = ["cpu_percent", "memory_mb"]
        .map(|metric| (metric.to_owned(), "first reading".to_owned()))
        .into();
    let mut unknown = service("unknown");
    unknown.absent = BTreeMap::new();
    let current = unknown.current.as_mut().expect("a sample");
    current.request_rate = None;
    let text = text_of(&report(vec![cache, unknown]));
    assert!(
        text.contains("CPU: n/a (first reading), Memory: n/a (first reading), RPS: 75.3\n"),
        "{text}"
    );
    assert!(
        text.contains("RPS: n/a (the reason was not recorded)\n"),
        "{text}"
    );
}

#[test]
fn a_sample_from_the_future_is_not_0_s_old() {
    let mut ahead = service("ahead");
    ahead.state = ServiceState::Stopped;
    ahead.current.as_mut().expect("a sample").sampled_at =
        NOW + std::time::Duration::from_secs(7_200);
    let text = text_of(&report(vec![ahead]));
    assert!(
        text.contains("(stopped; last sample 2026-11-23 12:00:00 UTC, 2 h ahead of this clock)"),
        "{text}"
    );
}

#[test]
fn old_numbers_say_how_old_they_are() {
    let mut stopped = service("stopped");
    stopped.state = ServiceState::Stopped;
    stopped.instances = 0;
    stopped.current.as_mut().expect("a sample").sampled_at = NOW - milliseconds(190_000);
    let mut unreachable = service("unreachable");
    unreachable.current.as_mut().expect("a sample").sampled_at = NOW - milliseconds(31_000);
    let mut fresh = service("fresh");
    fresh.instances = 3;
    fresh.current.as_mut().expect("a sample").sampled_at = NOW - milliseconds(30_000);
    let mut unmeasured = service("unmeasured");
    unmeasured.current = None;
    let mut gone = unmeasured.clone();
    gone.name = "gone".to_owned();
    gone.state = ServiceState::Stopped;
    let text = text_of(&report(vec![stopped, unreachable, fresh, unmeasured, gone]));
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
    little.prediction = Some(Prediction::NotEnoughData {
        not_enough_data: SampleCounts { have: 2, need: 3 },
    });
    let mut partly = service("partly");
    partly.current.as_mut().expect("a sample").request_rate = None;
    let mut by_training = predicted(52.8, (49.0, 57.1), 5.0);
    by_training.skill = None;
    by_training.basis = Some(ForecastBasis::Prior);
    let mut point = predicted(89.1, (0.0, 0.0), 0.0);
    point.lower = None;
    partly.prediction = Some(Prediction::Forecast(Box::new(ForecastReport {
        history_seconds: 35,
        model: "ses".to_owned(),
        cpu_percent: Some(by_training),
        memory_mb: None,
        request_rate: Some(point),
        response_time_ms: None,
        error_rate: None,
    })));
    partly.health.predicted = Some(health(55.0, HealthBand::Degraded));
    let mut blind = with_prediction(service("blind"));
    blind.current = None;
    blind.health = HealthReport {
        current: HealthValue {
            score: None,
            status: HealthBand::Unknown,
            used: vec![],
        },
        predicted: Some(health(12.0, HealthBand::Unhealthy)),
    };
    let mut constant = with_prediction(service("constant"));
    if let Some(Prediction::Forecast(forecast)) = &mut constant.prediction {
        forecast.cpu_percent = Some(PredictedValue {
            basis: Some(ForecastBasis::Constant),
            left_out_values: 1,
            ..unjudged(45.2)
        });
        forecast.memory_mb = Some(PredictedValue {
            skill: None,
            ..predicted(312.0, (312.0, 312.0), -9.0)
        });
    }
    let report = report(vec![little, partly, blind, constant]);
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

#[test]
fn scaling_says_what_became_of_it() {
    let failed = |action, from, to, after| ScalingReport {
        performed: true,
        instances_after: after,
        error: Some("instance 2 never became ready".to_owned()),
        ..scaling(action, from, to)
    };
    let not_done = ScalingReport {
        performed: false,
        took_ms: None,
        instances_after: None,
        error: Some("no test file is known".to_owned()),
        ..scaling(ScalingKind::ScaleUp, 1, 2)
    };
    let scaled = |name: &str, scaling: ScalingReport| ServiceReport {
        scaling: Some(scaling),
        ..service(name)
    };
    let stopped = ServiceReport {
        state: ServiceState::Stopped,
        ..scaled("stopped", no_scaling("stopped"))
    };
    let report = report(vec![
        scaled("down", scaling(ScalingKind::ScaleDown, 2, 1)),
        scaled("partly", failed(ScalingKind::ScaleUp, 1, 3, Some(2))),
        scaled("not-at-all", failed(ScalingKind::ScaleUp, 1, 3, Some(1))),
        scaled("refused", not_done),
        scaled(
            "held",
            no_scaling("cool-down: scaled up 12 s ago, 60 s apart"),
        ),
        stopped,
    ]);
    insta::assert_snapshot!(section_of(&report, "⚡"), @r#"
    📉 down - Scale DOWN by 1 instance(s)
       Reason: High resource utilization detected (CPU 85.2% > 70%)
       Done: 2 → 1 instance in 38 ms
    📈 partly - Scale UP by 2 instance(s)
       Reason: High resource utilization detected (CPU 85.2% > 70%)
       Done in part: 1 → 2 instances (of 3 wanted) in 38 ms
       Error: instance 2 never became ready
    📈 not-at-all - Scale UP by 2 instance(s)
       Reason: High resource utilization detected (CPU 85.2% > 70%)
       Not done: still 1 instance
       Error: instance 2 never became ready
    📈 refused - Scale UP by 1 instance(s)
       Reason: High resource utilization detected (CPU 85.2% > 70%)
       Not done: still 1 instance
       Error: no test file is known
    ✓ held - No scaling needed  (cool-down: scaled up 12 s ago, 60 s apart)
    ✓ stopped - Nothing to scale (stopped)
    "#);
}

#[test]
fn a_dry_run_would_do_it() {
    let mut postgres = service("postgres");
    postgres.scaling = Some(ScalingReport {
        performed: false,
        took_ms: None,
        instances_after: None,
        ..scaling(ScalingKind::ScaleUp, 1, 3)
    });
    let report = ManageReport {
        dry_run: true,
        ..report(vec![postgres])
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
    empty.pool = Some(PoolSummary {
        available: 0,
        in_use: 0,
        utilization: None,
        advice: None,
        advised_size: None,
        advice_basis: None,
        size: None,
        hit_rate: None,
        wait_saved_ms: None,
        idle_memory_mb: None,
    });
    insta::assert_snapshot!(section_of(&report(vec![empty]), "🎯"), @r#"
    📦 empty Resource Pool:
       Size: 0 available, 0 in-use
       Utilization: n/a (no instance)
    "#);
}

#[test]
fn a_warm_pool_says_what_it_was_worth() {
    let mut cache = service("cache");
    cache.pool = Some(PoolSummary {
        available: 3,
        in_use: 2,
        utilization: Some(0.4),
        advice: None,
        advised_size: Some(4),
        advice_basis: Some("the arithmetic".to_owned()),
        size: Some(5),
        hit_rate: Some(0.75),
        wait_saved_ms: Some(140.2),
        idle_memory_mb: Some(24.0),
    });
    insta::assert_snapshot!(section_of(&report(vec![cache]), "🎯"), @r#"
    📦 cache Resource Pool:
       Size: 3 available, 2 in-use
       Utilization: 40.0%
       Warm: 5 wanted, 75% of leases found one, 140 ms of waiting saved, 24MB held by free ones
       Advised size: 4  (the arithmetic)
    "#);
}

#[test]
fn alerts_stand_above_the_sections() {
    let mut api = with_prediction(service("api"));
    api.file = Some("tests/a.clnrm.toml".to_owned());
    api.alerts = vec!["CPU reaches 100% in 3 min (90%: 2–5)".to_owned()];
    let report = report(vec![api]);
    assert_eq!(
        section_of(&report, "🚨"),
        "  api (tests/a.clnrm.toml) - CPU reaches 100% in 3 min (90%: 2–5)"
    );
    let text = text_of(&report);
    assert!(text.find("🚨") < text.find("🔮"), "{text}");
}

#[test]
fn hostile_text_cannot_act_or_forge_lines() {
    let mut hostile = service("cache\u{1b}[2J\n  ✓ forged");
    hostile.current.as_mut().expect("a sample").request_rate = None;
    hostile.absent = BTreeMap::from([(
        "request_rate".to_owned(),
        "\u{1b}]0;title\u{7}connection\rrefused".to_owned(),
    )]);
    let text = text_of(&report(vec![hostile]));
    assert!(!text.contains(['\u{1b}', '\u{7}', '\r']), "{text:?}");
    assert!(text.contains("✓ cache\\n  ✓ forged - "), "{text}");
    assert!(text.contains("(connection\\rrefused)"), "{text}");
}
