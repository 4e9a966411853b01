//! How fast the history is filled and read: `cargo bench -p clnrm-core --bench store`.

use std::hint::black_box;
use std::path::Path;

use clnrm_core::clock::Timestamp;
use clnrm_core::services::service_manager::{Metric, ServiceMetrics, Tier, Wanted};
use clnrm_core::store::{ServiceId, Store};
use criterion::{Criterion, criterion_group, criterion_main};

#[path = "../tests/fixtures/definition.rs"]
mod fixture;
use fixture::definition;

const SERVICES: usize = 1_000;
const SAMPLES: i64 = 1_000;

fn register(store: &mut Store, number: usize) -> ServiceId {
    store
        .register_service(
            &definition(&format!("service-{number}")),
            Path::new("/a.clnrm.toml"),
            Timestamp::default(),
        )
        .expect("a fresh history takes it")
}

fn sample(second: i64) -> ServiceMetrics {
    let mut sample = ServiceMetrics::at(Timestamp::from_millis(second * 1_000), 3);
    for (number, metric) in Metric::ALL.into_iter().enumerate() {
        let value = (second % 97) as f64 + number as f64 / 7.0;
        sample.set(metric, Some(value)).expect("it is finite");
    }
    sample
}

fn fill(store: &mut Store, services: &[ServiceId]) {
    for service in services {
        let samples: Vec<_> = (0..SAMPLES)
            .map(|second| (*service, sample(second)))
            .collect();
        store.append_samples(&samples).expect("there is space");
    }
}

fn history(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("store");
    group.sample_size(10);

    group.bench_function("fill 1000 services x 1000 samples", |bencher| {
        bencher.iter_batched(
            || {
                let dir = tempfile::tempdir().expect("a temporary directory");
                let mut store = Store::open(dir.path()).expect("a fresh history");
                let services: Vec<_> = (0..SERVICES)
                    .map(|number| register(&mut store, number))
                    .collect();
                (dir, store, services)
            },
            |(dir, mut store, services)| {
                fill(&mut store, &services);
                (dir, store)
            },
            criterion::BatchSize::PerIteration,
        );
    });

    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut store = Store::open(dir.path()).expect("a fresh history");
    let services: Vec<_> = (0..SERVICES)
        .map(|number| register(&mut store, number))
        .collect();
    fill(&mut store, &services);

    group.bench_function("load 1000 services x 1000 raw samples", |bencher| {
        bencher.iter(|| {
            for service in &services {
                black_box(store.raw_samples(*service).expect("it is sound"));
            }
        });
    });
    group.bench_function("load all tiers of 1000 services", |bencher| {
        bencher.iter(|| {
            for service in &services {
                black_box(
                    store
                        .history(*service, |_| Wanted::ALL)
                        .expect("it is sound"),
                );
            }
        });
    });
    let middle = services.get(SERVICES / 2).expect("there are that many");
    group.bench_function("span of one tier", |bencher| {
        bencher.iter(|| store.tier_span(*middle, Tier::Minute).expect("it is sound"));
    });
    group.bench_function("open, list no service, close", |bencher| {
        let dir = tempfile::tempdir().expect("a temporary directory");
        drop(Store::open(dir.path()).expect("a fresh history"));
        bencher.iter(|| {
            let store = Store::open_existing(dir.path())
                .expect("it is sound")
                .expect("it exists");
            store.services().expect("it is sound")
        });
    });

    let mut second = SAMPLES;
    for count in [50, SERVICES] {
        group.bench_function(format!("one tick of {count} services"), |bencher| {
            bencher.iter(|| {
                second += 1;
                let tick: Vec<_> = services
                    .iter()
                    .take(count)
                    .map(|service| (*service, sample(second)))
                    .collect();
                store.append_samples(&tick).expect("there is space")
            });
        });
    }
    group.finish();
}

criterion_group!(benches, history);
criterion_main!(benches);
