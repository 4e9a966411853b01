//! Real servers for tests: started in a temporary directory on a free port, ended when dropped.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use clnrm_core::config::definition::{MetricsSpec, ServerSpec};
use clnrm_core::metrics::{Root, Target};
use clnrm_core::procfs::{ProcessIdentity, ProcessTable};
use rustix::process::{Pid, Signal};
use tempfile::TempDir;
use tokio::time::Instant;

pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// A server that is asked for its own numbers.
pub(crate) fn server_metrics<const N: usize>(
    kind: &str,
    settings: [(&str, &str); N],
) -> MetricsSpec {
    MetricsSpec::Server(ServerSpec::new(kind, settings))
}

/// A process tree under a shell, which plays the part of the shim.
pub(crate) struct Tree {
    shell: std::process::Child,
    pub(crate) root: ProcessIdentity,
    pub(crate) port: u16,
    pub(crate) directory: TempDir,
}

impl Tree {
    /// Runs a script whose first process is the root. `$PORT` and `$DIR` are a free port and an empty directory.
    pub(crate) fn start(script: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), script)
    }

    pub(crate) fn start_in(directory: TempDir, script: &str) -> Self {
        use std::os::unix::process::CommandExt;

        let port = free_port();
        let shell = Command::new("sh")
            .args(["-c", script])
            .env("PORT", port.to_string())
            .env("DIR", directory.path())
            .current_dir(directory.path())
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pid = i32::try_from(shell.id()).unwrap();
        let root = ProcessIdentity::of(pid).unwrap().unwrap();
        Self {
            shell,
            root,
            port,
            directory,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    pub(crate) fn target(&self, metrics: MetricsSpec) -> Target {
        Target {
            instance_id: format!("instance-{}", self.root.pid),
            root: Root::ProcessTree(self.root.clone()),
            ports: vec![self.port],
            address: Some(self.address()),
            metrics,
        }
    }

    /// Until the server accepts connections.
    pub(crate) async fn listening(self) -> Self {
        wait_for("the server listens", || async {
            tokio::net::TcpStream::connect(self.address()).await.is_ok()
        })
        .await;
        self
    }

    fn has_processes(&self) -> bool {
        let table = ProcessTable::scan().unwrap();
        table
            .iter()
            .any(|process| process.group == self.root.pid && process.is_alive())
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let group = Pid::from_raw(self.root.pid).unwrap();
        // SIGINT is the quick but clean end of PostgreSQL; SIGTERM also ends shells, in whose background SIGINT is ignored.
        for signals in [&[Signal::INT, Signal::TERM][..], &[Signal::KILL]] {
            for signal in signals {
                let _ = rustix::process::kill_process_group(group, *signal);
            }
            for _ in 0..5_000 {
                let _ = self.shell.try_wait();
                if !self.has_processes() {
                    return;
                }
                std::thread::park_timeout(Duration::from_millis(1));
            }
        }
    }
}

/// Asks again and again until it holds.
pub(crate) async fn wait_for<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let start = Instant::now();
    while !holds().await {
        assert!(
            start.elapsed() < DEADLINE,
            "{what}: not within {DEADLINE:?}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// The path of a program, or `None` with a printed reason. With `CLNRM_TEST_REQUIRE_ALL=1` a missing one is a failure.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    places.extend([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")]);
    let mut versions: Vec<_> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .collect();
    versions.sort();
    places.extend(versions.into_iter().rev());
    let found = places
        .iter()
        .map(|place| place.join(name))
        .find(|path| Path::is_file(path));
    if found.is_none() {
        // Not by a macro: the test harness hides what those print in a test that passes.
        let _ = writeln!(std::io::stderr(), "skipped: {name} is not installed");
        assert!(
            std::env::var_os("CLNRM_TEST_REQUIRE_ALL").is_none_or(|value| value != "1"),
            "{name} is missing, and CLNRM_TEST_REQUIRE_ALL=1 forbids to skip"
        );
    }
    found
}

/// Starts a redis without persistence; `None` where there is none.
pub(crate) async fn redis(arguments: &str) -> Option<Tree> {
    program("redis-server")?;
    let script = format!(
        "redis-server --port $PORT --bind 127.0.0.1 --dir $DIR --save '' {arguments} & wait"
    );
    Some(Tree::start(&script).listening().await)
}

/// Starts memcached; `None` where there is none.
pub(crate) async fn memcached() -> Option<Tree> {
    program("memcached")?;
    let script = "memcached -u \"$(id -un)\" -l 127.0.0.1 -p $PORT -U 0 & wait";
    Some(Tree::start(script).listening().await)
}

/// Starts nginx with one worker, `stub_status` at `/nginx_status` and an empty page at `/`; `None` where there is none.
pub(crate) async fn nginx() -> Option<Tree> {
    let nginx = program("nginx")?;
    let script = format!(
        r#"cat > nginx.conf <<END
daemon off; pid nginx.pid; error_log error.log; worker_processes 1;
events {{ }}
http {{
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  server {{
    listen 127.0.0.1:$PORT;
    location / {{ return 200 "hello"; }}
    location /nginx_status {{ stub_status; }}
  }}
}}
END
{} -p $DIR -e $DIR/error.log -c $DIR/nginx.conf & wait"#,
        nginx.display()
    );
    Some(Tree::start(&script).listening().await)
}

/// Starts PostgreSQL, where user `postgres` has the password `secret`; `None` where there is none.
pub(crate) async fn postgres() -> Option<Tree> {
    let initdb = program("initdb")?;
    let postgres = initdb.with_file_name("postgres");
    let directory = tempfile::tempdir().unwrap();
    // PostgreSQL refuses to run as root.
    let as_postgres = if rustix::process::geteuid().is_root() {
        program("setpriv")?;
        let owner = Command::new("chown")
            .arg("postgres")
            .arg(directory.path())
            .status();
        assert!(owner.unwrap().success());
        "setpriv --reuid=postgres --regid=postgres --clear-groups"
    } else {
        ""
    };
    let script = format!(
        "echo secret > password && chmod 644 password && \
         {as_postgres} {} -D $DIR/data -U postgres -A scram-sha-256 --pwfile=password --no-sync > log 2>&1 && \
         {{ {as_postgres} {} -D $DIR/data -p $PORT -k $DIR -c listen_addresses=127.0.0.1 -c fsync=off \
         -c autovacuum=off >> log 2>&1 & wait; }}",
        initdb.display(),
        postgres.display()
    );
    Some(Tree::start_in(directory, &script).listening().await)
}
