use std::fmt::Write as _;

use clnrm_decide::Absent;
use proptest::prelude::*;

use super::counters::{Names, counters as counters_of};
use super::*;
use crate::clock::Timestamp;
use crate::config::definition::ServerSpec;
use crate::metrics::Counter;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_100_000);

fn spec() -> ServerSpec {
    KIND.form.defaults()
}

fn spec_with(key: &str, metric: &str) -> ServerSpec {
    let mut spec = spec();
    spec.settings.insert(key.to_owned(), metric.to_owned());
    spec
}

fn read_with(spec: &ServerSpec, text: &str) -> ServiceCounters {
    let names = Names::new(spec);
    let families = Families::read(text, true, names.all(), &["/metrics".to_owned()]);
    counters_of(&families, &names, NOW)
}

fn read(text: &str) -> ServiceCounters {
    read_with(&spec(), text)
}

fn counting(requests: &str) -> ServerSpec {
    spec_with("requests", requests)
}

fn timing(duration: &str) -> ServerSpec {
    spec_with("duration", duration)
}

fn total(counter: &Measured<Counter>) -> f64 {
    counter.clone().unwrap().total
}

fn why<T: std::fmt::Debug>(value: &Measured<T>) -> String {
    value.as_ref().unwrap_err().to_string()
}

const USUAL_PAGE: &str = r#"
# HELP http_requests_total Requests.
# TYPE http_requests_total counter
http_requests_total{method="GET",path="/",code="200"} 90
http_requests_total{method="GET",path="/",code="503"} 7
http_requests_total{method="POST",path="/x",code="500"} 3
http_requests_total{method="GET",path="/metrics",code="200"} 5000
# TYPE http_request_duration_seconds histogram
http_request_duration_seconds_bucket{path="/",le="0.1"} 90
http_request_duration_seconds_bucket{path="/",le="+Inf"} 100
http_request_duration_seconds_sum{path="/"} 2.5
http_request_duration_seconds_count{path="/"} 100
http_request_duration_seconds_sum{path="/metrics"} 900
http_request_duration_seconds_count{path="/metrics"} 5000
process_start_time_seconds 1.7e9
"#;

#[test]
fn sums_all_series_but_those_of_our_own_scrapes() {
    let counters = read(USUAL_PAGE);
    assert_eq!(total(&counters.requests), 100.0);
    assert_eq!(total(&counters.errors), 10.0);
    let responses = counters.responses.unwrap();
    assert_eq!(
        (responses.seconds.total, responses.count.total),
        (2.5, 100.0)
    );
    assert_eq!(counters.started_at_seconds, Some(1.7e9));
    assert_eq!(counters.connections, Err(Absent::NoSource));
}

#[test]
fn our_own_scrapes_are_known_by_any_label_for_the_path() {
    for label in ["url", "uri", "http_route", "handler"] {
        for path in ["/metrics", "/metrics/", "http://h:1/metrics?x=y"] {
            let page = format!(
                "http_requests_total{{code=\"200\",{label}=\"{path}\"}} 9\n\
                 http_requests_total{{code=\"200\",{label}=\"/metricsx\"}} 1\n"
            );
            assert_eq!(total(&read(&page).requests), 1.0, "{label} {path}");
        }
    }
    // The metric is there, even if nobody else has asked for anything yet.
    let only_ours = read("http_requests_total{path=\"/metrics\",code=\"200\"} 9\n");
    assert_eq!(
        (total(&only_ours.requests), total(&only_ours.errors)),
        (0.0, 0.0)
    );
}

#[test]
fn a_histogram_counts_requests_where_no_counter_does() {
    let page = "# TYPE http_requests_total counter\n\
         http_request_duration_seconds_sum{status=\"200\"} 1\n\
         http_request_duration_seconds_count{status=\"200\"} 8\n\
         http_request_duration_seconds_count{status=\"5xx\"} 2\n";
    let counters = read(page);
    assert_eq!(total(&counters.requests), 10.0);
    assert_eq!(total(&counters.errors), 2.0);
}

#[test]
fn the_last_bucket_is_a_count() {
    let page = "# TYPE http_request_duration_seconds histogram\n\
         http_request_duration_seconds_bucket{code=\"200\",le=\"0.1\"} 5\n\
         http_request_duration_seconds_bucket{le=\"+Inf\",code=\"200\"} 8\n\
         http_request_duration_seconds_sum{code=\"200\"} 4\n";
    let counters = read(page);
    assert_eq!(total(&counters.requests), 8.0);
    let responses = counters.responses.unwrap();
    let keys = |counter: Counter| counter.series.unwrap().values()[0].0;
    assert_eq!(keys(responses.seconds), keys(responses.count));
}

#[test]
fn names_can_be_chosen_and_quoted() {
    let spec = ServerSpec::new(
        NAME,
        [
            ("requests", "rpc.calls"),
            ("errors", "rpc_failed"),
            ("connections", "open sessions"),
        ],
    );
    let page = "# TYPE \"rpc.calls\" counter\n{\"rpc.calls\",\"peer.name\"=\"a\"} 10\n\
                rpc_failed{kind=\"a\"} 1\nrpc_failed 2\n{\"open sessions\"} 4\n";
    let counters = read_with(&spec, page);
    assert_eq!(total(&counters.requests), 10.0);
    assert_eq!(total(&counters.errors), 3.0);
    assert_eq!(counters.connections, Ok(4.0));
}

#[test]
fn a_counter_is_found_with_total_or_without() {
    let bare = "# TYPE http_requests counter\nhttp_requests{code=\"200\"} 5\n";
    assert_eq!(total(&read(bare).requests), 5.0);
    let with_total = "# TYPE http_requests counter\nhttp_requests_total{code=\"200\"} 5\n";
    assert_eq!(
        total(&read_with(&counting("http_requests"), with_total).requests),
        5.0
    );
    // What nobody calls a counter is not taken for one.
    assert_eq!(
        why(&read("http_requests 5\n").requests),
        "no metric `http_requests_total` at the endpoint (there is `http_requests`)"
    );
}

#[test]
fn what_is_missing_is_named_with_what_would_work() {
    let reason = |requests: &str, page: &str| why(&read_with(&counting(requests), page).requests);
    assert_eq!(
        reason(
            "http_requests_total",
            "# TYPE http_requests_total counter\n"
        ),
        "`http_requests_total` is declared at the endpoint, but has no series yet"
    );
    assert_eq!(
        reason(
            "http_requests_total",
            "# TYPE http_requests counter\n# EOF\n"
        ),
        "`http_requests_total` is declared at the endpoint, but has no series yet"
    );
    assert_eq!(
        reason(
            "app_requests",
            "# TYPE app_requests gauge\napp_requests 5\n"
        ),
        "the endpoint calls `app_requests` a gauge, which counts nothing"
    );
    assert_eq!(
        reason(
            "rpc_seconds",
            "# TYPE rpc_seconds summary\nrpc_seconds{quantile=\"0.5\"} 1\n"
        ),
        "the endpoint calls `rpc_seconds` a summary, which counts nothing (there is `rpc_seconds_count`)"
    );
    assert_eq!(
        reason(
            "rpc_seconds",
            "# TYPE rpc_seconds histogram\nrpc_seconds_count 1\n"
        ),
        "no metric `rpc_seconds` at the endpoint (there is `rpc_seconds_count`)"
    );
    assert_eq!(
        reason(
            "rpc_seconds_sum",
            "# TYPE rpc_seconds summary\nrpc_seconds_sum 1\n"
        ),
        "the endpoint calls `rpc_seconds_sum` a sum of durations, which counts nothing (there is `rpc_seconds_count`)"
    );
    assert_eq!(
        reason(
            "http_requests_total",
            "# TYPE flask_http_request_total counter\nflask_http_request_total 1\n"
        ),
        "no metric `http_requests_total` at the endpoint (there is `flask_http_request_total`)"
    );
    assert_eq!(
        reason(
            "http_requests_total",
            "<html>\n404 not found\nhttp_requests_total x\n"
        ),
        "no metric `http_requests_total` at the endpoint (2 lines could not be read)"
    );
}

#[test]
fn a_duration_without_its_parts_says_which_is_missing() {
    let reason = |duration: &str, page: &str| why(&read_with(&timing(duration), page).responses);
    assert_eq!(
        reason("d_seconds", "# TYPE d_seconds histogram\nd_seconds_sum 5\n"),
        "no metric `d_seconds_count` at the endpoint"
    );
    assert_eq!(
        reason("d_seconds", "d_seconds_bucket{le=\"+Inf\"} 5\n"),
        "no metric `d_seconds_sum` at the endpoint"
    );
    assert_eq!(
        reason("d_seconds_count", "d_seconds_sum 5\nd_seconds_count 1\n"),
        "no metric `d_seconds_count` at the endpoint (there is `d_seconds`)"
    );
    assert_eq!(
        reason(
            "d_seconds",
            "# TYPE http_requests_total counter\n# TYPE rpc_latency_ms summary\n"
        ),
        "no metric `d_seconds` at the endpoint (there is `rpc_latency_ms`)"
    );
    assert_eq!(
        reason("d_seconds", "# TYPE d_seconds histogram\n"),
        "`d_seconds` is declared at the endpoint, but has no series yet"
    );
    assert_eq!(
        reason("d_seconds", "# TYPE d_seconds gauge\nd_seconds 0.5\n"),
        "the endpoint calls `d_seconds` a gauge, and only a histogram or a summary has durations"
    );
    assert_eq!(
        reason(
            "d_seconds",
            "# TYPE d_seconds counter\nd_seconds 5\n# TYPE t_seconds summary\n"
        ),
        "the endpoint calls `d_seconds` a counter, and only a histogram or a summary has durations (there is `t_seconds`)"
    );
}

#[test]
fn durations_have_the_unit_of_their_name_or_declaration() {
    let seconds = |duration: &str, declaration: &str| {
        let page = format!("{declaration}\n{duration}_sum 1500\n{duration}_count 3\n");
        let responses = read_with(&timing(duration), &page).responses;
        responses.map(|responses| responses.seconds.total)
    };
    assert_eq!(seconds("d_seconds", ""), Ok(1_500.0));
    assert_eq!(seconds("d_milliseconds", ""), Ok(1.5));
    assert_eq!(seconds("d_ms", ""), Ok(1.5));
    assert_eq!(seconds("d", "# UNIT d milliseconds"), Ok(1.5));
    assert_eq!(
        seconds("d", ""),
        Err(Absent::NoUnit {
            name: "d".to_owned()
        })
    );
}

#[test]
fn failures_are_known_by_each_kind_of_status_or_absent() {
    let words = read(
        "http_requests_total{status=\"success\"} 4\nhttp_requests_total{status=\"error\"} 6\n",
    );
    assert_eq!(total(&words.errors), 6.0);
    let page = "grpc_server_handled_total{grpc_code=\"OK\"} 4\ngrpc_server_handled_total{grpc_code=\"Internal\"} 6\n";
    let grpc = read_with(&counting("grpc_server_handled_total"), page);
    assert_eq!(total(&grpc.errors), 6.0);

    let unknown =
        read("http_requests_total{status=\"200\"} 4\nhttp_requests_total{status=\"meh\"} 6\n");
    assert_eq!(total(&unknown.requests), 10.0);
    assert!(
        why(&unknown.errors)
            .starts_with("`http_requests_total` has status=\"meh\", which is neither")
    );
    let untold =
        read("http_requests_total{code=\"200\"} 1\nhttp_requests_total{method=\"GET\"} 1\n");
    let name = "http_requests_total".to_owned();
    assert_eq!(untold.errors, Err(Absent::NoStatusLabel { name }));
}

#[test]
fn a_series_that_stands_twice_counts_once() {
    let twice = read(
        "http_requests_total{a=\"1\",code=\"200\"} 7\nhttp_requests_total{code=\"200\",a=\"1\"} 7\n",
    );
    assert_eq!(total(&twice.requests), 7.0);
    let newer = read(
        "http_requests_total{code=\"200\"} 9 2000\nhttp_requests_total{code=\"200\"} 7 1000\n",
    );
    assert_eq!(total(&newer.requests), 9.0);
    let different =
        read("http_requests_total{code=\"200\"} 7\nhttp_requests_total{code=\"200\"} 8\n");
    assert_eq!(
        why(&different.requests),
        "a series of `http_requests_total` stands at the endpoint twice, with different values"
    );
}

#[test]
fn a_series_that_says_when_it_was_created_counts_from_then_on() {
    let before = read("http_requests_total{code=\"200\"} 1\n")
        .requests
        .unwrap();
    let now = "http_requests_total{code=\"200\"} 11\nhttp_requests_total{code=\"500\"} 7\n\
               http_requests_created{code=\"500\"} 1700000099.5\n";
    let now = read(now);
    let growth = |counter: &Measured<Counter>, since: i64| {
        let later = counter.clone().unwrap().series.unwrap();
        let before = before.series.as_ref().unwrap();
        before.growth(&later, Timestamp::from_millis(since))
    };
    assert_eq!(growth(&now.requests, 1_700_000_099_000), Ok(17.0));
    assert_eq!(
        growth(&now.requests, 1_700_000_099_900),
        Err(Absent::SeriesBegan)
    );
    assert_eq!(growth(&now.errors, 1_700_000_099_000), Ok(7.0));
}

#[test]
fn values_that_are_no_numbers_are_refused_alone() {
    let counters = read(
        "http_requests_total{code=\"200\"} 5\n\
         http_request_duration_seconds_sum NaN\nhttp_request_duration_seconds_count 5\n",
    );
    assert_eq!(total(&counters.requests), 5.0);
    assert!(matches!(counters.responses, Err(Absent::NotFinite { .. })));
}

#[test]
fn a_page_of_a_hundred_thousand_series_is_read_with_little() {
    let mut page = String::new();
    for number in 0..100_000 {
        writeln!(
            page,
            "http_requests_total{{method=\"GET\",path=\"/things/{number}\",code=\"200\",instance=\"a-rather-long-name-{number}\"}} {number}"
        )
        .unwrap();
    }
    let requests = read(&page).requests.unwrap();
    assert_eq!(requests.series.as_ref().unwrap().values().len(), 100_000);
    let stored = serde_json::to_string(&requests).unwrap();
    assert!(stored.len() < 200, "{stored}");
}

proptest! {
    #[test]
    fn whatever_a_page_holds_its_values_are_finite_or_absent(
        page in r#"((# (TYPE|UNIT) )?(http_requests(_total|_created)?|http_request_duration_seconds(_sum|_count|_bucket)?|\{"http_requests_total"[,}])(\{(le|code|path|status)="(\+Inf|200|error|/metrics|\\n)"[,}]?)? ?(counter|gauge|seconds|NaN|-1|1e400|5)?( [0-9])?\n?){0,12}"#,
        complete: bool,
    ) {
        let names = Names::new(&spec());
        let families = Families::read(&page, complete, names.all(), &["/metrics".to_owned()]);
        let counters = counters_of(&families, &names, NOW);
        for counter in [&counters.requests, &counters.errors].into_iter().flatten() {
            prop_assert!(counter.total.is_finite());
        }
    }
}
