//! `scale` and `stop`: how many instances, and how one ends.

use std::time::Duration;

use crate::config::definition::{Launch, StopSignal, StopSpec};
use crate::config::reader::{Table, Value};
use crate::services::service_manager::AutoScaleConfig;
use crate::services::service_manager::memory::NEAR_LIMIT;

/// More instances than one machine starts in any test; catches a slipped digit.
pub(super) const MOST_INSTANCES: u32 = 1000;
const DEFAULT_GRACE: Duration = Duration::from_secs(5);
const BYTES_PER_MB: f64 = 1e6;
/// Docker refuses less: `linuxMinMemory` of moby's daemon/daemon_unix.go.
const LEAST_MEMORY_BYTES: u64 = 6 << 20;
/// And less than this: `verifyPlatformContainerResources` there.
const LEAST_CPUS: f64 = 0.01;

/// Reads `scale` over `defaults`.
pub(crate) fn scale(value: &Value<'_>, defaults: &AutoScaleConfig) -> Option<AutoScaleConfig> {
    let mut table = value.table()?;
    let mut config = defaults.clone();
    let count = |value: Value<'_>| value.integer(1..=MOST_INSTANCES);
    let percent = |value: Value<'_>| value.positive();
    let megabytes = |value: Value<'_>| value.bytes().map(|bytes| bytes as f64 / BYTES_PER_MB);
    let rate = |value: Value<'_>| value.positive();
    let cooldown = |value: Value<'_>| value.duration_or_zero();
    set(&mut config.min_instances, table.take("min").and_then(count));
    set(&mut config.max_instances, table.take("max").and_then(count));
    set(
        &mut config.cpu_up_percent,
        table.take("cpu_up").and_then(percent),
    );
    set(
        &mut config.cpu_down_percent,
        table.take("cpu_down").and_then(percent),
    );
    set(
        &mut config.memory_up_mb,
        table.take("memory_up").and_then(megabytes),
    );
    set(
        &mut config.memory_down_mb,
        table.take("memory_down").and_then(megabytes),
    );
    set(
        &mut config.request_rate_up,
        table.take("request_rate_up").and_then(rate),
    );
    set(
        &mut config.cooldown,
        table.take("cooldown").and_then(cooldown),
    );
    table.finish();
    check_order(value, &config);
    Some(config)
}

fn set<T>(target: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *target = value;
    }
}

/// The other half of a pair may come from the defaults, so both values are named.
fn check_order(value: &Value<'_>, config: &AutoScaleConfig) {
    let (min, max) = (config.min_instances, config.max_instances);
    if min > max {
        value.refuse(format!("min ({min}) is above max ({max})"));
    }
    let (down, up) = (config.cpu_down_percent, config.cpu_up_percent);
    if down >= up {
        value.refuse(format!("cpu_down ({down}) must be below cpu_up ({up})"));
    }
    let (down, up) = (config.memory_down_mb, config.memory_up_mb);
    if down >= up {
        value.refuse(format!(
            "memory_down ({down} MB) must be below memory_up ({up} MB)"
        ));
    }
}

/// Defaults that a service with a limit of memory can reach: beyond the limit nothing is ever measured.
pub(super) fn below(memory_bytes: Option<u64>, defaults: &AutoScaleConfig) -> AutoScaleConfig {
    let mut defaults = defaults.clone();
    if let Some(bytes) = memory_bytes {
        let reachable = NEAR_LIMIT * bytes as f64 / BYTES_PER_MB;
        if defaults.memory_up_mb > reachable {
            let ratio = defaults.memory_down_mb / defaults.memory_up_mb;
            defaults.memory_up_mb = reachable;
            defaults.memory_down_mb = defaults.memory_down_mb.min(ratio * reachable);
        }
    }
    defaults
}

/// Reads a service's `scale`. Two instances cannot listen on the same fixed port, so a service
/// that has one never has more than one instance.
pub(super) fn of_service(
    table: &mut Table<'_>,
    defaults: &AutoScaleConfig,
    host_ports: &[u16],
) -> AutoScaleConfig {
    let value = table.take("scale");
    let stated = value.as_ref().and_then(|value| scale(value, defaults));
    let mut config = stated.unwrap_or_else(|| defaults.clone());
    if host_ports.is_empty() {
        return config;
    }
    let states_many = |value: &Value<'_>| {
        let states = |key| value.raw().get(key).is_some();
        states("max") && config.max_instances > 1 || states("min") && config.min_instances > 1
    };
    if let Some(value) = value.filter(states_many) {
        value.refuse_with(
            "a service with a fixed port can have only one instance",
            "leave `ports` out and use {port}, or set max = 1",
        );
    }
    config.min_instances = 1;
    config.max_instances = 1;
    config
}

/// The allotment: CPU in cores and memory in bytes. Of a container both are limits, of which an engine has a least.
pub(super) fn allotment(table: &mut Table<'_>, launch: &Launch) -> (Option<f64>, Option<u64>) {
    let cpus_value = table.take("cpus");
    let cpus = cpus_value.as_ref().and_then(|value| value.positive());
    let memory_value = table.take("memory");
    let memory = memory_value.as_ref().and_then(|value| value.bytes());
    if let Launch::Container(_) = launch {
        if let (Some(value), Some(cpus)) = (cpus_value, cpus)
            && cpus < LEAST_CPUS
        {
            value.refuse(format!(
                "is {cpus}, and a container gets at least {LEAST_CPUS}"
            ));
        }
        if let (Some(value), Some(bytes)) = (memory_value, memory)
            && bytes < LEAST_MEMORY_BYTES
        {
            value.refuse_with(
                format!("is {bytes} bytes, and a container gets at least {LEAST_MEMORY_BYTES}"),
                "write \"6MiB\" or more",
            );
        }
    }
    (cpus, memory)
}

pub(super) fn stop(table: &mut Table<'_>) -> StopSpec {
    let mut stop = StopSpec {
        signal: StopSignal::default(),
        grace: DEFAULT_GRACE,
    };
    // Compose's name for it.
    let alone = table.take("stop_signal");
    let alone = alone.and_then(|value| read_signal(&value));
    if let Some(signal) = alone {
        stop.signal = signal;
    }
    let value = table.take("stop");
    if let Some(mut table) = value.and_then(|value| value.table()) {
        let signal = table.take("signal");
        if let (Some(signal), Some(_)) = (&signal, alone) {
            signal.refuse("`stop_signal` and `stop.signal` mean the same: keep one");
        }
        let signal = signal.and_then(|value| read_signal(&value));
        set(&mut stop.signal, signal);
        let grace = table
            .take("grace")
            .and_then(|value| value.duration_or_zero());
        set(&mut stop.grace, grace);
        table.finish();
    }
    stop
}

fn read_signal(value: &Value<'_>) -> Option<StopSignal> {
    let name = value.text()?.to_ascii_uppercase();
    let signal = match name.strip_prefix("SIG").unwrap_or(&name) {
        "TERM" => StopSignal::Term,
        "INT" => StopSignal::Int,
        "QUIT" => StopSignal::Quit,
        "HUP" => StopSignal::Hup,
        "USR1" => StopSignal::Usr1,
        "USR2" => StopSignal::Usr2,
        "WINCH" => StopSignal::Winch,
        _ => {
            value.refuse(format!(
                "{name:?} is not one of SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGWINCH"
            ));
            return None;
        }
    };
    Some(signal)
}
