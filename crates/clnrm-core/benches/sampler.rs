//! What sampling costs: CPU time per tick for 50 instances at 1 Hz. The limit is 10 ms, which is 1 % of one core.
//!
//! `cargo bench -p clnrm-core --bench sampler`; `-- 5` for 5 ticks instead of 30. The instances are redis servers, each
//! under a shell in the place of the shim; without `redis-server` they are `sleep`s, read from the kernel only.

#![expect(clippy::print_stdout, reason = "a benchmark prints its result")]

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use clnrm_core::clock::SystemClock;
use clnrm_core::config::definition::MetricsSpec;
use clnrm_core::metrics::{Collector, Root, Target};
use clnrm_core::procfs::{ProcessIdentity, ProcessStat, ProcessTable};
use tokio::time::{MissedTickBehavior, interval};

const INSTANCES: usize = 50;

/// A process tree that ends with this value: its commands end when the shell's input does.
struct Instance {
    shell: Child,
    target: Target,
}

impl Instance {
    fn start(port: u16, with_redis: bool) -> Result<Self, Box<dyn Error>> {
        let command = if with_redis {
            format!("redis-server --port {port} --bind 127.0.0.1 --save '' > /dev/null")
        } else {
            "sleep 1000".to_owned()
        };
        let shell = Command::new("sh")
            .args(["-c", &format!("{command} & read end; kill $!; wait")])
            .stdin(Stdio::piped())
            .spawn()?;
        let root = ProcessIdentity::of(i32::try_from(shell.id())?)?.ok_or("the shell has ended")?;
        let metrics = if with_redis {
            MetricsSpec::Redis {
                username: None,
                password: None,
            }
        } else {
            MetricsSpec::ProcessOnly
        };
        let target = Target {
            instance_id: port.to_string(),
            root: Root::ProcessTree(root),
            ports: vec![port],
            address: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
            metrics,
        };
        Ok(Self { shell, target })
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

/// All of them are taken before the first is given back, so that they differ.
fn free_ports() -> std::io::Result<Vec<u16>> {
    let listeners: Vec<TcpListener> = (0..INSTANCES)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<Result<_, _>>()?;
    let port = |listener: &TcpListener| Ok(listener.local_addr()?.port());
    listeners.iter().map(port).collect()
}

/// CPU time of this process in milliseconds, to a clock tick of 10 ms.
fn own_cpu_millis() -> Result<u64, Box<dyn Error>> {
    let own = ProcessStat::read(i32::try_from(std::process::id())?)?.ok_or("not listed")?;
    Ok(own.cpu_ticks * 10)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let ticks: u32 = std::env::args()
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(30);
    let with_redis = Command::new("redis-server")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_ok();
    let instances: Vec<Instance> = free_ports()?
        .into_iter()
        .map(|port| Instance::start(port, with_redis))
        .collect::<Result<_, _>>()?;
    let targets: Vec<Target> = instances
        .iter()
        .map(|instance| instance.target.clone())
        .collect();
    while with_redis
        && !targets
            .iter()
            .filter_map(|target| target.address)
            .all(|address| TcpStream::connect(address).is_ok())
    {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    let mut collector = Collector::new(Arc::new(SystemClock));
    let readings = collector.read(&targets).await; // opens all connections
    let complete = readings
        .iter()
        .filter(|reading| reading.usage.cpu_seconds.is_ok())
        .filter(|reading| reading.service.counters.is_ok() || !with_redis)
        .count();
    let mut timer = interval(Duration::from_secs(1));
    timer.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let before = own_cpu_millis()?;
    for _ in 0..ticks {
        timer.tick().await;
        collector.read(&targets).await;
    }
    let millis = own_cpu_millis()? - before;
    println!(
        "{INSTANCES} instances of {} ({complete} read completely) among {} processes: {:.1} ms CPU per tick",
        if with_redis { "redis" } else { "sleep" },
        ProcessTable::scan()?.iter().count(),
        f64::from(u32::try_from(millis)?) / f64::from(ticks)
    );
    Ok(())
}
