use proptest::prelude::*;

use super::*;
use crate::backend::root::{ContainerRoot, Root};
use crate::clock::Uptime;
use crate::metrics::reading::{
    CollectorId, Counter, NetworkCounter, ResourceUsage, ResponseCounter, ServiceCounters,
    ServiceReading, Traffic,
};
use crate::procfs::ProcessIdentity;

fn process_tree(start_ticks: u64) -> Root {
    Root::ProcessTree(ProcessIdentity {
        pid: 7,
        start_ticks,
        boot_id: "boot".to_owned(),
    })
}

fn container(container_id: &str, main_pid: Option<i32>) -> Root {
    Root::Container(ContainerRoot {
        container_id: container_id.to_owned(),
        main_pid,
    })
}

fn counter(total: f64, own: f64) -> Counter {
    Counter::with_own(total, own)
}

/// What an instance shows after `seconds` of steady work: half a core, 100 requests/s of 20 ms, 10 of them failing.
fn reading(seconds: f64) -> Reading {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "small numbers"
    )]
    let (at, bytes) = (
        Uptime::from_micros((seconds * 1e6) as u64),
        (seconds * 2e6) as u64,
    );
    Reading {
        at: Timestamp::default(),
        awake_at: at,
        boot_id: "boot".to_owned(),
        instance_id: "a".to_owned(),
        root: process_tree(1),
        collector: CollectorId("one".to_owned()),
        usage: ResourceUsage {
            at,
            source: Source::Procfs,
            cpu_seconds: Ok(seconds / 2.0),
            memory_bytes: Ok(64_000_000),
            memory_source: Source::Procfs,
            memory_kills: None,
        },
        traffic: Traffic {
            at,
            source: Source::SockDiag,
            connections: Ok(3),
            network: Ok(NetworkCounter {
                bytes,
                epoch: Some(1),
            }),
        },
        service: ServiceReading {
            at,
            source: Some(Source::server("redis")),
            shared: None,
            counters: Ok(ServiceCounters {
                epoch: Some("run".to_owned()),
                started_at_seconds: None,
                witness: None,
                requests: Ok(Counter::untouched(seconds * 100.0)),
                errors: Ok(Counter::untouched(seconds * 10.0)),
                responses: Ok(ResponseCounter {
                    seconds: Counter::untouched(seconds * 2.0),
                    count: Counter::untouched(seconds * 100.0),
                }),
                connections: Ok(5.0),
            }),
        },
    }
}

fn counters(reading: &mut Reading) -> &mut ServiceCounters {
    reading.service.counters.as_mut().unwrap()
}

fn sample(previous: &Reading, current: &Reading) -> InstanceSample {
    instance_sample(Some(previous), current, 1.0)
}

fn close(value: Option<f64>, expected: f64) {
    let value = value.expect("measured");
    assert!(
        (value - expected).abs() < 1e-6 * expected.max(1.0),
        "{value} is not {expected}"
    );
}

#[test]
fn rates_are_differences_over_time_and_the_service_is_the_sum() {
    let one = instance_sample(Some(&reading(10.0)), &reading(12.0), 2.0);
    let mut idle = reading(12.0);
    idle.usage.cpu_seconds = Ok(5.0);
    idle.usage.memory_bytes = Ok(16_000_000);
    idle.usage.memory_source = Source::SmapsRollup;
    idle.service = reading(10.0).service;
    idle.service.at = idle.awake_at;
    let two = instance_sample(Some(&reading(10.0)), &idle, 2.0);

    let (metrics, sources) = combine(&[one, two], Timestamp::from_millis(12_000));
    assert_eq!(metrics.instances, 2);
    assert_eq!(metrics.sampled_at, Timestamp::from_millis(12_000));
    close(metrics.cpu_percent, 12.5); // 25 % and 0 % of two cores
    close(metrics.memory_mb, 40.0);
    close(metrics.memory_total_mb, 80.0);
    close(metrics.network_mb_per_s, 4.0);
    close(metrics.active_connections, 10.0);
    close(metrics.request_rate, 100.0);
    close(metrics.response_time_ms, 20.0); // of those requests that there were
    close(metrics.error_rate, 0.1);
    assert_eq!(sources.get(Metric::CpuPercent), Ok(Source::Procfs));
    assert_eq!(sources.get(Metric::MemoryMb), Ok(Source::SmapsRollup));
    assert_eq!(sources.get(Metric::NetworkMbPerS), Ok(Source::SockDiag));
    assert_eq!(sources.get(Metric::ErrorRate), Ok(Source::server("redis")));
    assert_eq!(
        sources.get(Metric::ActiveConnections),
        Ok(Source::server("redis"))
    );
    assert_eq!(sources.absent().count(), 0);
}

#[test]
fn a_first_reading_has_gauges_but_no_rates() {
    let (metrics, sources) = combine(
        &[instance_sample(None, &reading(1.0), 1.0)],
        Timestamp::default(),
    );
    close(metrics.memory_mb, 64.0);
    close(metrics.active_connections, 5.0);
    let absent: Vec<_> = sources.absent().collect();
    assert_eq!(absent.len(), 5);
    assert!(
        absent
            .iter()
            .all(|(_, reason)| **reason == Absent::FirstReading),
        "{absent:?}"
    );
    assert_eq!(metrics.cpu_percent, None);
}

#[test]
fn another_instance_or_root_is_not_compared() {
    let roots = [
        (process_tree(1), process_tree(2)),
        (container("a", Some(7)), container("b", Some(7))),
        (container("a", Some(7)), container("a", Some(8))),
        (process_tree(1), container("a", Some(7))),
    ];
    for (root_before, root_now) in roots {
        let (mut before, mut now) = (reading(1.0), reading(2.0));
        (before.root, now.root) = (root_before, root_now);
        let sample = sample(&before, &now);
        assert_eq!(sample.cpu_percent, Err(Absent::Restarted));
        assert_eq!(sample.requests_per_s, Err(Absent::Restarted));
        assert_eq!(sample.network_mb_per_s, Err(Absent::Restarted));
    }
}

#[test]
fn what_is_counted_since_the_start_is_compared_across_commands() {
    let (mut before, mut now) = (reading(1.0), reading(2.0));
    before.collector = CollectorId("another".to_owned());
    assert_eq!(
        sample(&before, &now).network_mb_per_s,
        Err(Absent::NotWatched)
    );
    for (reading, bytes) in [(&mut before, 1_000_000), (&mut now, 5_000_000)] {
        reading.traffic.source = Source::NetworkNamespace;
        reading.traffic.network = Ok(NetworkCounter::since_start(bytes));
    }
    assert_eq!(sample(&before, &now).network_mb_per_s, Ok(4.0));
}

#[test]
fn several_processes_that_another_command_saw_are_still_there() {
    let (mut before, now) = (reading(1.0), reading(2.0));
    counters(&mut before).requests = Err(Absent::UpAndDown);
    counters(&mut before).responses = Err(Absent::UpAndDown);
    let same = sample(&before, &now);
    assert_eq!(same.requests_per_s, Err(Absent::FirstReading));
    before.collector = CollectorId("another".to_owned());
    let later = sample(&before, &now);
    assert_eq!(later.requests_per_s, Err(Absent::UpAndDown));
    assert_eq!(later.responses_per_s, Err(Absent::UpAndDown));
}

#[test]
fn counters_of_two_sources_are_not_compared() {
    let (mut before, now) = (reading(1.0), reading(2.0));
    before.usage.source = Source::Cgroup;
    before.traffic.source = Source::NetworkNamespace;
    let sample = sample(&before, &now);
    assert_eq!(sample.cpu_percent, Err(Absent::FirstReading));
    assert_eq!(sample.network_mb_per_s, Err(Absent::FirstReading));
}

#[test]
fn a_reset_is_absent_and_never_negative() {
    let mut now = reading(2.0);
    counters(&mut now).requests = Ok(Counter::untouched(3.0));
    now.traffic.network = Ok(NetworkCounter {
        bytes: 1,
        epoch: Some(1),
    });
    let one = sample(&reading(1.0), &now);
    assert_eq!(one.requests_per_s, Err(Absent::CounterReset));
    assert_eq!(one.network_mb_per_s, Err(Absent::CounterReset));
    assert!(one.errors_per_s.is_ok(), "the other counters went on");

    let mut other_run = reading(2.0);
    counters(&mut other_run).epoch = Some("another run".to_owned());
    assert_eq!(
        sample(&reading(1.0), &other_run).errors_per_s,
        Err(Absent::CounterReset)
    );
}

#[test]
fn a_process_that_was_started_anew_is_known_by_more_than_its_clock_wanders() {
    let (mut before, mut now) = (reading(1.0), reading(2.0));
    counters(&mut before).started_at_seconds = Some(1_000.25);
    for (started, is_same) in [(1_001.25, true), (999.25, true), (1_002.25, false)] {
        counters(&mut now).started_at_seconds = Some(started);
        let requests = sample(&before, &now).requests_per_s;
        assert_eq!(requests.is_ok(), is_same, "{started}: {requests:?}");
    }
}

#[test]
fn a_witness_shows_a_reset_that_the_counters_have_outgrown() {
    let (mut before, mut now) = (reading(1.0), reading(2.0));
    counters(&mut before).witness = Some(counter(100.0, 8.0));
    counters(&mut now).witness = Some(counter(104.0, 12.0));
    assert!(sample(&before, &now).requests_per_s.is_ok());
    counters(&mut now).witness = Some(counter(103.0, 12.0));
    let reset = sample(&before, &now);
    assert_eq!(reset.requests_per_s, Err(Absent::CounterReset));
    assert_eq!(reset.errors_per_s, Err(Absent::CounterReset));
    assert_eq!(reset.responses_per_s, Err(Absent::CounterReset));
}

#[test]
fn own_work_that_is_not_published_yet_is_no_reset() {
    let (mut before, mut now) = (reading(1.0), reading(2.0));
    let counter = |total, own, unpublished| Counter {
        unpublished,
        ..counter(total, own)
    };
    // Our readings took 0.004 s and 0.001 s; the first of them was published as 0.002 s.
    let responses = |total, own, unpublished, count| {
        Ok(ResponseCounter {
            seconds: counter(total, own, unpublished),
            count: Counter {
                unpublished: 1.0,
                ..counter(count, count, 1.0)
            },
        })
    };
    counters(&mut before).responses = responses(5.0, 0.004, 0.004, 10.0);
    counters(&mut now).responses = responses(5.002, 0.005, 0.001, 11.0);
    let sample = sample(&before, &now);
    assert_eq!(sample.responses_per_s, Ok(Responses::default()));
}

#[test]
fn response_times_are_absent_where_our_own_are_many_of_them() {
    let responses = |seconds, count, own| {
        Ok(ResponseCounter {
            seconds: Counter::untouched(seconds),
            count: counter(count, own),
        })
    };
    let time = |count| {
        let (mut before, mut now) = (reading(1.0), reading(2.0));
        counters(&mut before).responses = responses(1.0, 100.0, 1.0);
        counters(&mut now).responses = responses(2.0, 100.0 + count, 2.0);
        sample(&before, &now).responses_per_s
    };
    assert_eq!(time(10.0), Err(Absent::OwnAmongTimed));
    assert!(time(100.0).is_ok());
    assert_eq!(time(1.0).unwrap().count_per_s, 0.0);
}

#[test]
fn readings_too_close_together_or_back_in_time_are_not_divided() {
    let close_by = sample(&reading(1.0), &reading(1.1));
    assert_eq!(close_by.cpu_percent, Err(Absent::TooSoon { millis: 100 }));
    let backwards = sample(&reading(2.0), &reading(1.0));
    assert_eq!(backwards.requests_per_s, Err(Absent::TooSoon { millis: 0 }));
}

#[test]
fn what_clnrm_itself_adds_is_taken_off() {
    let (mut before, mut now) = (reading(1.0), reading(2.0));
    counters(&mut before).requests = Ok(counter(1_000.0, 50.0));
    counters(&mut now).requests = Ok(counter(1_011.0, 51.0));
    close(sample(&before, &now).requests_per_s.ok(), 10.0);
    // Another collector: its own count began at zero after the reading before.
    now.collector = CollectorId("two".to_owned());
    counters(&mut now).requests = Ok(counter(1_011.0, 1.0));
    close(sample(&before, &now).requests_per_s.ok(), 10.0);
    // The service has not yet counted what we sent.
    counters(&mut now).requests = Ok(counter(1_000.0, 1.0));
    close(sample(&before, &now).requests_per_s.ok(), 0.0);
}

#[test]
fn network_bytes_of_another_collector_or_epoch_are_not_compared() {
    let mut now = reading(2.0);
    now.traffic.network = Ok(NetworkCounter {
        bytes: 9_000_000,
        epoch: Some(2),
    });
    assert_eq!(
        sample(&reading(1.0), &now).network_mb_per_s,
        Err(Absent::EventsLost)
    );
    now.collector = CollectorId("two".to_owned());
    assert_eq!(
        sample(&reading(1.0), &now).network_mb_per_s,
        Err(Absent::NotWatched)
    );
}

#[test]
fn no_requests_is_a_rate_of_zero_and_nothing_to_divide() {
    let mut now = reading(2.0);
    now.service.counters = reading(1.0).service.counters;
    let (metrics, sources) = combine(&[sample(&reading(1.0), &now)], now.at);
    close(metrics.request_rate, 0.0);
    assert_eq!(sources.get(Metric::ResponseTimeMs), Err(Absent::NoRequests));
    assert_eq!(sources.get(Metric::ErrorRate), Err(Absent::NoRequests));
}

#[test]
fn a_value_that_one_instance_lacks_is_absent_for_the_service() {
    let good = sample(&reading(1.0), &reading(2.0));
    let young = instance_sample(None, &reading(2.0), 1.0);
    let (metrics, sources) = combine(&[good.clone(), young, good], Timestamp::default());
    close(metrics.memory_total_mb, 192.0);
    assert_eq!(metrics.request_rate, None);
    let reason = sources.get(Metric::RequestRate).unwrap_err();
    assert_eq!(reason.to_string(), "first reading (1 of 3 instances)");
}

#[test]
fn what_instances_share_is_counted_once_and_by_the_one_that_knows() {
    let shared = |mut reading: Reading| {
        reading.service.shared = Some("http://h:1/metrics".to_owned());
        reading
    };
    let old = sample(&shared(reading(1.0)), &shared(reading(2.0)));
    let young = instance_sample(None, &shared(reading(2.0)), 1.0);
    let (metrics, _) = combine(&[young, old.clone(), old], Timestamp::default());
    close(metrics.request_rate, 100.0);
    close(metrics.error_rate, 0.1);
    close(metrics.response_time_ms, 20.0);
    close(metrics.active_connections, 5.0);
    close(metrics.memory_total_mb, 192.0);
}

#[test]
fn an_answer_that_is_late_is_compared_with_the_one_before_it() {
    let mut waiting = reading(2.0);
    let what = "GET http://h:1/metrics".to_owned();
    waiting.service.counters = Err(Absent::NotAnsweredYet { what: what.clone() });
    let missed = sample(&reading(1.0), &waiting);
    assert_eq!(missed.requests_per_s, Err(Absent::NotAnsweredYet { what }));
    let kept = waiting.clone().after(Some(reading(1.0)));
    close(sample(&kept, &reading(4.0)).requests_per_s.ok(), 100.0);
    close(sample(&kept, &reading(4.0)).cpu_percent.ok(), 50.0);
    // Nobody else's answer is gone on from.
    waiting.collector = CollectorId("two".to_owned());
    let alone = waiting.after(Some(reading(1.0)));
    assert!(alone.service.counters.is_err());
}

#[test]
fn a_service_that_cannot_be_read_still_has_what_the_kernel_knows() {
    let mut now = reading(2.0);
    let reason = Absent::Unreadable {
        what: "redis at x".to_owned(),
        problem: "timed out after 2 s".to_owned(),
    };
    now.service.counters = Err(reason.clone());
    let (metrics, sources) = combine(&[sample(&reading(1.0), &now)], now.at);
    assert_eq!(sources.get(Metric::RequestRate), Err(reason));
    assert_eq!(sources.get(Metric::ActiveConnections), Ok(Source::SockDiag));
    close(metrics.active_connections, 3.0);
    close(metrics.cpu_percent, 50.0);
}

#[test]
fn what_a_source_never_has_is_absent_for_that_reason_from_the_start() {
    let mut first = reading(1.0);
    let reason = Absent::NotExposed {
        source_name: Source::server("nginx"),
    };
    counters(&mut first).errors = Err(reason.clone());
    assert_eq!(instance_sample(None, &first, 1.0).errors_per_s, Err(reason));
}

#[test]
fn no_instances_no_numbers() {
    let (metrics, sources) = combine(&[], Timestamp::default());
    assert_eq!(metrics, ServiceMetrics::at(Timestamp::default(), 0));
    assert_eq!(sources.absent().count(), Metric::ALL.len());
}

#[test]
fn the_time_of_day_changes_no_rate() {
    let mut stepped = reading(2.0);
    stepped.at = stepped.at.moved_by(-7_200_000);
    let (as_it_was, after) = (
        sample(&reading(1.0), &reading(2.0)),
        sample(&reading(1.0), &stepped),
    );
    assert_eq!(as_it_was, after);
    assert_eq!(after.requests_per_s, Ok(100.0));
}

#[test]
fn uptimes_of_two_boots_make_no_interval() {
    let mut after = reading(2.0);
    after.root = container("c", Some(7));
    let mut before = reading(1.0);
    before.root = after.root.clone();
    assert!(sample(&before, &after).cpu_percent.is_ok());
    after.boot_id = "another".to_owned();
    assert_eq!(sample(&before, &after).cpu_percent, Err(Absent::Restarted));
}

#[test]
fn readings_survive_storage_as_json() {
    let mut reading = reading(1.0);
    counters(&mut reading).errors = Err(Absent::NoStatusLabel {
        name: "x".to_owned(),
    });
    let json = serde_json::to_string(&reading).unwrap();
    assert_eq!(serde_json::from_str::<Reading>(&json).unwrap(), reading);
}

proptest! {
    /// Whatever two readings hold, a rate is absent or finite and not negative.
    #[test]
    fn rates_are_never_negative_nor_infinite(
        totals in proptest::array::uniform4(proptest::num::f64::ANY),
        cpu in proptest::array::uniform2(proptest::num::f64::ANY),
        micros: [u64; 2],
        bytes: [u64; 2],
        cpus in proptest::num::f64::ANY,
    ) {
        let (mut before, mut now) = (reading(1.0), reading(2.0));
        for (reading, index) in [(&mut before, 0), (&mut now, 1)] {
            let at = Uptime::from_micros(micros[index]);
            reading.usage = ResourceUsage { at, source: Source::Cgroup, memory_source: Source::Cgroup, cpu_seconds: Ok(cpu[index]), memory_bytes: Ok(bytes[index]), memory_kills: None };
            reading.traffic.at = at;
            reading.traffic.network = Ok(NetworkCounter { bytes: bytes[index], epoch: Some(1) });
            reading.service.at = at;
            counters(reading).requests = Ok(counter(totals[index], totals[index + 2]));
            counters(reading).errors = Ok(counter(totals[index + 2], totals[index]));
        }
        let (metrics, sources) = combine(&[instance_sample(Some(&before), &now, cpus)], now.at);
        for metric in Metric::ALL {
            match metrics.get(metric) {
                Some(value) => prop_assert!(value.is_finite() && (value >= 0.0 || metric == Metric::CpuPercent && cpus < 0.0)),
                None => prop_assert!(sources.get(metric).is_err()),
            }
        }
    }
}
