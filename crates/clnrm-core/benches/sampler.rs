//! What sampling costs: CPU time per tick for 50 instances at 1 Hz. The limit is 10 ms, which is 1 % of one core.
//!
//! `cargo bench -p clnrm-core --bench sampler`; `-- 5` for 5 ticks instead of 30. The instances are redis servers, each
//! under a shell in the place of the shim; without `redis-server` they are `sleep`s, read from the kernel only. Then the
//! same of shells with three forks each, which share 10 MB: of those the kernel divides the pages.

#![expect(clippy::print_stdout, reason = "a benchmark prints its result")]

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use clnrm_core::backend::Backends;
use clnrm_core::clock::SystemClock;
use clnrm_core::config::definition::{MetricsSpec, ServerSpec};
use clnrm_core::metrics::{Collector, Root, Target};
use clnrm_core::procfs::{ProcessIdentity, ProcessStat, ProcessTable};
use clnrm_core::servers;
use tokio::time::{MissedTickBehavior, interval};

const INSTANCES: usize = 50;

/// What an instance is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Redis,
    Sleep,
    Forks,
}

impl Kind {
    fn command(self, port: u16) -> String {
        match self {
            Self::Redis => {
                format!("redis-server --port {port} --bind 127.0.0.1 --save '' > /dev/null")
            }
            Self::Sleep => "sleep 1000".to_owned(),
            // The forks open a pipe to which nobody writes, and end with their parent.
            Self::Forks => {
                let forks = "for n in 1 2 3; do (read x <> \"$pipe\") & pids=\"$pids $!\"; done";
                format!(
                    "(pipe=$(mktemp -u); mkfifo \"$pipe\"; held=$(head -c 10000000 /dev/zero | tr '\\0' x); {forks}; \
                     trap 'kill $pids; rm -f \"$pipe\"; exit' TERM; wait)"
                )
            }
        }
    }

    fn metrics(self) -> MetricsSpec {
        match self {
            Self::Redis => MetricsSpec::Server(ServerSpec::new("redis", [])),
            Self::Sleep | Self::Forks => MetricsSpec::ProcessOnly,
        }
    }
}

/// A process tree that ends with this value: its commands end when the shell's input does.
struct Instance {
    shell: Child,
    target: Target,
}

impl Instance {
    fn start(port: u16, kind: Kind) -> Result<Self, Box<dyn Error>> {
        let command = kind.command(port);
        let shell = Command::new("sh")
            .args(["-c", &format!("{command} & read end; kill $!; wait")])
            .stdin(Stdio::piped())
            .spawn()?;
        let root = ProcessIdentity::of(i32::try_from(shell.id())?)?.ok_or("the shell has ended")?;
        let target = Target {
            instance_id: port.to_string(),
            root: Root::ProcessTree(root),
            ports: vec![port],
            address: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
            metrics: kind.metrics(),
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
    measure(if with_redis { Kind::Redis } else { Kind::Sleep }, ticks).await?;
    measure(Kind::Forks, ticks).await
}

async fn measure(kind: Kind, ticks: u32) -> Result<(), Box<dyn Error>> {
    let instances: Vec<Instance> = free_ports()?
        .into_iter()
        .map(|port| Instance::start(port, kind))
        .collect::<Result<_, _>>()?;
    let targets: Vec<Target> = instances
        .iter()
        .map(|instance| instance.target.clone())
        .collect();
    while !all_run(kind, &targets)? {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    let mut collector = Collector::new(Arc::new(SystemClock), servers::source, Backends::default());
    let readings = collector.read(&targets).await; // opens all connections
    let complete = readings
        .iter()
        .filter(|reading| reading.usage.cpu_seconds.is_ok() && reading.usage.memory_bytes.is_ok())
        .filter(|reading| reading.service.counters.is_ok() || kind != Kind::Redis)
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
        "{INSTANCES} instances of {kind:?} ({complete} read completely) among {} processes: {:.1} ms CPU per tick",
        ProcessTable::scan()?.iter().count(),
        f64::from(u32::try_from(millis)?) / f64::from(ticks)
    );
    Ok(())
}

fn all_run(kind: Kind, targets: &[Target]) -> Result<bool, Box<dyn Error>> {
    let table = ProcessTable::scan()?;
    Ok(targets.iter().all(|target| match (kind, &target.root) {
        (Kind::Redis, _) => target
            .address
            .is_some_and(|address| TcpStream::connect(address).is_ok()),
        (Kind::Forks, Root::ProcessTree(root)) => table.descendants(root.pid).len() == 4,
        _ => true,
    }))
}
