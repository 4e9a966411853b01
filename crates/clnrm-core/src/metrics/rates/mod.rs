//! From two readings to rates, and from instances to their service. Pure.
//!
//! How instances become one service: CPU and memory are means, everything else is a total; response time and error
//! rate are ratios of totals, so that a busy instance weighs more. A value of the service needs the value of *every*
//! instance: a total that leaves one out is too small, and a mean may leave out the very instance that suffers.

mod interval;
mod service;

use clnrm_decide::{Absent, Measured, Metric, ServiceMetrics, Source, Sources};

use self::interval::{increase, seconds_between};
pub use self::service::Responses;
use self::service::service_rates;
use super::reading::Reading;
use crate::clock::Timestamp;

const BYTES_PER_MB: f64 = 1e6;

/// What one instance did over one interval. All fields but `cpu_percent` can be added up over instances.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceSample {
    /// CPU in percent of the instance's allotment.
    pub cpu_percent: Measured<f64>,
    /// Memory in MB (10⁶ bytes).
    pub memory_mb: Measured<f64>,
    /// Who read CPU.
    pub usage_source: Source,
    /// Who read memory.
    pub memory_source: Source,
    /// Bytes exchanged with others, in MB (10⁶ bytes) per second.
    pub network_mb_per_s: Measured<f64>,
    /// Who counted those bytes.
    pub traffic_source: Source,
    /// Open client connections.
    pub connections: Measured<f64>,
    /// Who counted `connections`.
    pub connections_source: Source,
    /// Requests per second.
    pub requests_per_s: Measured<f64>,
    /// Failed requests per second.
    pub errors_per_s: Measured<f64>,
    /// Response time spent per second, in seconds, and the responses per second that it was spent on.
    pub responses_per_s: Measured<Responses>,
    /// Who counted requests, errors and responses; `None` = nobody.
    pub service_source: Option<Source>,
    /// The URL where they were counted, where that is not the instance's own: what instances share counts once.
    pub shared: Option<String>,
}

/// What an instance did between two readings; `cpus` is its allotment in cores.
///
/// Rates are absent for the first reading, after a restart or a reset, and over less than 200 ms: never negative, never
/// a spike. Gauges need the current reading only.
pub fn instance_sample(previous: Option<&Reading>, current: &Reading, cpus: f64) -> InstanceSample {
    let previous = comparable(previous, current);
    let service = service_rates(&previous, current);
    let counters = current.service.counters.as_ref();
    let (connections, connections_source) = match (
        counters.map(|counters| &counters.connections),
        &current.service.source,
    ) {
        (Ok(Ok(connections)), Some(source)) => (Ok(*connections), source.clone()),
        // The kernel knows too, whatever the service could not say.
        _ => (
            current.traffic.connections.clone().map(lossy),
            current.traffic.source.clone(),
        ),
    };
    InstanceSample {
        cpu_percent: cpu_percent(&previous, current, cpus),
        memory_mb: (current.usage.memory_bytes.clone()).map(|bytes| lossy(bytes) / BYTES_PER_MB),
        usage_source: current.usage.source.clone(),
        memory_source: current.usage.memory_source.clone(),
        network_mb_per_s: network_mb_per_s(&previous, current),
        traffic_source: current.traffic.source.clone(),
        connections,
        connections_source,
        requests_per_s: service.requests,
        errors_per_s: service.errors,
        responses_per_s: service.responses,
        service_source: current.service.source.clone(),
        shared: current.service.shared.clone(),
    }
}

/// The sample of a service from those of its instances. See the module's header for how.
pub fn combine(samples: &[InstanceSample], at: Timestamp) -> (ServiceMetrics, Sources) {
    let instances = u32::try_from(samples.len()).unwrap_or(u32::MAX);
    let count = f64::from(instances);
    let service_source = || {
        let mut sources = samples
            .iter()
            .filter_map(|sample| sample.service_source.as_ref());
        sources.next().cloned().ok_or(Absent::NoSource)
    };
    // Instances of one service are read alike; without any, no value asks for its source.
    let of_first = |source: fn(&InstanceSample) -> &Source| {
        let source = samples.first().map(source);
        source.cloned().ok_or(Absent::NoInstance)
    };
    let usage_source = of_first(|sample| &sample.usage_source);
    let counts = without_repeats(samples);
    let requests = total(&counts, |sample| &sample.requests_per_s);
    let every: Vec<&InstanceSample> = samples.iter().collect();
    let samples = every.as_slice();
    let memory_total = total(samples, |sample| &sample.memory_mb);

    let mut combined = Combined {
        metrics: ServiceMetrics::at(at, instances),
        sources: Sources::default(),
    };
    let cpu = total(samples, |sample| &sample.cpu_percent).map(|sum| sum / count);
    combined.set(Metric::CpuPercent, cpu, usage_source);
    let memory = memory_total.clone().map(|sum| sum / count);
    combined.set(Metric::MemoryMb, memory, memory_source(samples));
    combined.set(Metric::MemoryTotalMb, memory_total, memory_source(samples));
    let network = total(samples, |sample| &sample.network_mb_per_s);
    combined.set(
        Metric::NetworkMbPerS,
        network,
        of_first(|sample| &sample.traffic_source),
    );
    let counted_once = |sample: &InstanceSample| {
        Some(&sample.connections_source) == sample.service_source.as_ref()
    };
    let connections = if samples.iter().all(|sample| counted_once(sample)) {
        total(&counts, |sample| &sample.connections)
    } else {
        total(samples, |sample| &sample.connections)
    };
    combined.set(
        Metric::ActiveConnections,
        connections,
        of_first(|sample| &sample.connections_source),
    );
    let response_time = response_time_ms(&counts);
    combined.set(Metric::ResponseTimeMs, response_time, service_source());
    let errors = error_rate(&counts, &requests);
    combined.set(Metric::ErrorRate, errors, service_source());
    combined.set(Metric::RequestRate, requests, service_source());
    (combined.metrics, combined.sources)
}

/// One sample of each count: of instances that share a URL, the one that knows most, for a new one has no rates yet.
fn without_repeats(samples: &[InstanceSample]) -> Vec<&InstanceSample> {
    let known = |sample: &InstanceSample| {
        usize::from(sample.requests_per_s.is_ok())
            + usize::from(sample.errors_per_s.is_ok())
            + usize::from(sample.responses_per_s.is_ok())
    };
    let mut distinct: Vec<&InstanceSample> = Vec::new();
    for sample in samples {
        let same = (distinct.iter_mut())
            .find(|other| sample.shared.is_some() && other.shared == sample.shared);
        match same {
            Some(other) if known(sample) > known(other) => *other = sample,
            Some(_) => {}
            None => distinct.push(sample),
        }
    }
    distinct
}

/// One instance may have a single process while another has several: then that one is named.
fn memory_source(samples: &[&InstanceSample]) -> Measured<Source> {
    let mut sources = samples.iter().map(|sample| &sample.memory_source);
    let first = sources.next().ok_or(Absent::NoInstance)?;
    Ok(sources
        .find(|source| **source == Source::SmapsRollup)
        .unwrap_or(first)
        .clone())
}

/// A sample in the making.
struct Combined {
    metrics: ServiceMetrics,
    sources: Sources,
}

impl Combined {
    fn set(&mut self, metric: Metric, value: Measured<f64>, source: Measured<Source>) {
        let set = value.and_then(|value| {
            self.metrics
                .set(metric, Some(value))
                .map_err(|error| Absent::NotFinite {
                    what: format!("{:?}", error.metric),
                })
        });
        self.sources.set(metric, set.and(source));
    }
}

/// The earlier reading, if it is of the same instance.
fn comparable<'a>(previous: Option<&'a Reading>, current: &Reading) -> Measured<&'a Reading> {
    let previous = previous.ok_or(Absent::FirstReading)?;
    if previous.instance_id != current.instance_id
        || previous.root != current.root
        || previous.boot_id != current.boot_id
    {
        return Err(Absent::Restarted);
    }
    Ok(previous)
}

fn cpu_percent(previous: &Measured<&Reading>, current: &Reading, cpus: f64) -> Measured<f64> {
    let now = current.usage.cpu_seconds.clone()?;
    let before = &previous.clone()?.usage;
    if before.source != current.usage.source {
        return Err(Absent::FirstReading);
    }
    let before_seconds = before.cpu_seconds.as_ref();
    let before_seconds = before_seconds.map_err(|_| Absent::FirstReading)?;
    let seconds = seconds_between(before.at, current.usage.at)?;
    let used = increase(*before_seconds, now)?;
    Ok(100.0 * used / seconds / cpus)
}

fn network_mb_per_s(previous: &Measured<&Reading>, current: &Reading) -> Measured<f64> {
    let now = current.traffic.network.clone()?;
    let previous = previous.clone()?;
    let before = previous.traffic.network.as_ref();
    let before = before.map_err(|_| Absent::FirstReading)?;
    if previous.traffic.source != current.traffic.source {
        return Err(Absent::FirstReading);
    }
    if now.epoch.is_some() && previous.collector != current.collector {
        // Nobody watched the connections that were closed in between.
        return Err(Absent::NotWatched);
    }
    if before.epoch != now.epoch {
        return Err(Absent::EventsLost);
    }
    let seconds = seconds_between(previous.traffic.at, current.traffic.at)?;
    let bytes = now
        .bytes
        .checked_sub(before.bytes)
        .ok_or(Absent::CounterReset)?;
    Ok(lossy(bytes) / BYTES_PER_MB / seconds)
}

/// The sum over all instances, or why one of them has no value.
fn total(
    samples: &[&InstanceSample],
    value: impl Fn(&InstanceSample) -> &Measured<f64>,
) -> Measured<f64> {
    require_all(samples, |sample| value(sample).as_ref().err())?;
    Ok(samples
        .iter()
        .filter_map(|sample| value(sample).as_ref().ok())
        .sum())
}

fn require_all<'a>(
    samples: &[&'a InstanceSample],
    absent: impl Fn(&'a InstanceSample) -> Option<&'a Absent>,
) -> Measured<()> {
    if samples.is_empty() {
        return Err(Absent::NoInstance);
    }
    let mut reasons = samples.iter().copied().filter_map(absent);
    let Some(reason) = reasons.next() else {
        return Ok(());
    };
    let missing = 1 + reasons.count();
    if missing == samples.len() {
        return Err(reason.clone());
    }
    Err(Absent::SomeInstances {
        missing,
        instances: samples.len(),
        reason: Box::new(reason.clone()),
    })
}

fn response_time_ms(samples: &[&InstanceSample]) -> Measured<f64> {
    require_all(samples, |sample| sample.responses_per_s.as_ref().err())?;
    let mut sum = Responses::default();
    for responses in samples
        .iter()
        .filter_map(|sample| sample.responses_per_s.as_ref().ok())
    {
        sum.seconds_per_s += responses.seconds_per_s;
        sum.count_per_s += responses.count_per_s;
    }
    if sum.count_per_s <= 0.0 {
        return Err(Absent::NoRequests);
    }
    Ok(1_000.0 * sum.seconds_per_s / sum.count_per_s)
}

fn error_rate(samples: &[&InstanceSample], requests: &Measured<f64>) -> Measured<f64> {
    let errors = total(samples, |sample| &sample.errors_per_s)?;
    let requests = requests.clone()?;
    if requests <= 0.0 {
        return Err(Absent::NoRequests);
    }
    // Redis also counts errors that are no executed command, so the ratio could pass 1.
    Ok((errors / requests).min(1.0))
}

/// Counts below 2⁵³ are exact as `f64`: 9 petabytes.
#[expect(
    clippy::cast_precision_loss,
    reason = "beyond 2⁵³ the last digits do not matter"
)]
fn lossy(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
