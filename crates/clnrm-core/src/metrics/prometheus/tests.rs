use super::*;
use crate::metrics::sock_diag::OwnConnections;

fn spec() -> PrometheusSpec {
    PrometheusSpec {
        endpoint: "/metrics".to_owned(),
        requests: "http_requests_total".to_owned(),
        errors: None,
        duration: "http_request_duration_seconds".to_owned(),
        connections: None,
    }
}

fn read_with(spec: &PrometheusSpec, text: &str) -> ServiceCounters {
    let page = Page::new(&spec.endpoint, "127.0.0.1:80", OwnConnections::default());
    let page_text = PageText {
        text: text.to_owned(),
        announced_its_end: true,
    };
    counters(&page_text, &Prometheus::new(page, spec).names)
}

fn read(text: &str) -> ServiceCounters {
    read_with(&spec(), text)
}

fn total(counter: &Measured<Counter>) -> f64 {
    counter.clone().unwrap().total
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
    assert_eq!(counters.requests, Ok(Counter::untouched(100.0)));
    assert_eq!(counters.errors, Ok(Counter::untouched(10.0)));
    let responses = counters.responses.unwrap();
    assert_eq!(responses.seconds, Counter::untouched(2.5));
    assert_eq!(responses.count, Counter::untouched(100.0));
    assert_eq!(counters.epoch.as_deref(), Some("1700000000"));
    assert_eq!(counters.connections, Err(Absent::NoSource));
}

#[test]
fn a_histogram_counts_requests_where_no_counter_does() {
    let counters = read(
        "http_request_duration_seconds_sum{status=\"200\"} 1\n\
         http_request_duration_seconds_count{status=\"200\"} 8\n\
         http_request_duration_seconds_count{status=\"5xx\"} 2\n",
    );
    assert_eq!(total(&counters.requests), 10.0);
    assert_eq!(total(&counters.errors), 2.0);
}

#[test]
fn names_can_be_chosen() {
    let spec = PrometheusSpec {
        requests: "rpc".to_owned(),
        errors: Some("rpc_failed".to_owned()),
        connections: Some("sessions".to_owned()),
        ..spec()
    };
    let counters = read_with(
        &spec,
        "rpc 10\nrpc_failed{kind=\"a\"} 1\nrpc_failed 2\nsessions 4\n",
    );
    assert_eq!(total(&counters.requests), 10.0);
    assert_eq!(total(&counters.errors), 3.0);
    assert_eq!(counters.connections, Ok(4.0));
    let duration_sum = "http_request_duration_seconds_sum".to_owned();
    assert_eq!(
        counters.responses,
        Err(Absent::NoSuchMetric {
            name: duration_sum,
            unreadable_lines: 0
        })
    );
}

#[test]
fn without_a_status_label_failures_are_unknown() {
    let counters =
        read("http_requests_total{code=\"200\"} 1\nhttp_requests_total{method=\"GET\"} 1\n");
    let name = "http_requests_total".to_owned();
    assert_eq!(total(&counters.requests), 2.0);
    assert_eq!(counters.errors, Err(Absent::NoStatusLabel { name }));
}

#[test]
fn a_declared_counter_without_series_is_zero_and_an_undeclared_one_absent() {
    let declared = read("# TYPE http_requests_total counter\n");
    assert_eq!(total(&declared.requests), 0.0);
    assert_eq!(total(&declared.errors), 0.0);
    let only_our_scrapes = read("http_requests_total{path=\"/metrics\",code=\"200\"} 9\n");
    assert_eq!(total(&only_our_scrapes.requests), 0.0);
    let open_metrics = read("# TYPE http_requests counter\n# EOF\n");
    assert_eq!(total(&open_metrics.requests), 0.0);

    let garbage = read("<html>\n404 not found\nhttp_requests_total x\n");
    assert!(
        matches!(
            &garbage.requests,
            Err(Absent::NoSuchMetric {
                unreadable_lines: 2,
                ..
            })
        ),
        "{:?}",
        garbage.requests
    );
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
