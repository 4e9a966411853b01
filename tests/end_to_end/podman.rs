//! The same journey on Podman's socket, of a service that the test starts for itself.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::containers::{Engine, busybox, step};
use crate::docker::{Docker, TestImage, redis_service};
use crate::project::{Answer, Background, TestProject, answer, installed};
use crate::support::processes_with;

/// Enough for a machine whose engine would raise limits that it may not.
const CONFIGURATION: &str = "[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n\
    [containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n";

/// A Podman of its own: images, containers and networks are in its folder.
struct Podman {
    folder: TempDir,
    _service: Background,
}

impl Podman {
    /// `None` with a printed reason where there is none, or it cannot run containers here.
    async fn start() -> Option<Self> {
        if !installed("podman") {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let networks = folder.path().join("networks");
        fs::create_dir(&networks).unwrap();
        let configuration = format!(
            "{CONFIGURATION}[network]\nnetwork_config_dir = \"{}\"\n",
            networks.display()
        );
        fs::write(folder.path().join("containers.conf"), configuration).unwrap();
        let mut service = podman(&folder);
        service.args(["system", "service", "--time=0"]);
        service.arg(host(&folder));
        let log = fs::File::create(folder.path().join("log")).unwrap();
        service.stdout(Stdio::null()).stderr(log);
        let podman = Self {
            _service: Background(service.spawn().unwrap()),
            folder,
        };
        match podman.try_it().await {
            Ok(()) => Some(podman),
            Err(problem) => {
                let log = fs::read_to_string(podman.folder.path().join("log"));
                // A machine may have it and forbid what it needs; that is no fault of clnrm.
                let _ = writeln!(
                    std::io::stderr(),
                    "skipped: podman runs no containers here: {problem} {}",
                    log.unwrap_or_default()
                );
                None
            }
        }
    }

    fn docker(&self) -> Docker {
        Docker::at(host(&self.folder))
    }

    /// One container with a network: that is what machines forbid.
    async fn try_it(&self) -> Result<(), String> {
        let socket = self.folder.path().join("podman.sock");
        // A cold start reads every image and network.
        let answers = async {
            while UnixStream::connect(&socket).is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), answers)
            .await
            .map_err(|_elapsed| "it does not answer".to_owned())?;
        let docker = self.docker();
        docker.image(TestImage::Redis)?;
        let image = docker.image(TestImage::Busybox)?;
        docker.run(&["network", "create", "trial"])?;
        docker.run(&["run", "--rm", "--network", "trial", &image, "true"])?;
        docker.run(&["network", "rm", "trial"]).map(drop)
    }

    async fn run(&self, project: &TestProject, arguments: &[&str]) -> Answer {
        let mut command = project.command(arguments);
        command.env("DOCKER_HOST", host(&self.folder));
        answer(command).await
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        // What a failed test has left runs beside the service; its mounts would keep the folder.
        for arguments in [
            &["rm", "--all", "--force", "--time=0"][..],
            &["network", "prune", "--force"],
        ] {
            let _ = podman(&self.folder).args(arguments).output();
        }
        // The keepers of commands in containers stay for five minutes, and would make the folder anew.
        for pid in processes_with(&self.folder.path().display().to_string()) {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
}

fn host(folder: &TempDir) -> String {
    format!("unix://{}", folder.path().join("podman.sock").display())
}

fn podman(folder: &TempDir) -> Command {
    let mut command = Command::new("podman");
    command
        .env("CONTAINERS_CONF", folder.path().join("containers.conf"))
        .arg("--root")
        .arg(folder.path().join("root"))
        .arg("--runroot")
        .arg(folder.path().join("run"))
        .args(["--storage-driver", "vfs"])
        .stdin(Stdio::null());
    command
}

fn file(at_least: u8) -> String {
    let app = "command = ['sh', '-c', 'echo cache is at {cache.addr}; exec sleep 86400']\n\
               depends_on = ['cache']\nready = { log = 'cache is at' }\nstop = { grace = '100ms' }";
    let cache = format!("cpus = 0.5\nmemory = \"64MB\"\nscale = {{ min = {at_least}, max = 3 }}");
    [
        "[test]\nname = \"t\"\n".to_owned(),
        redis_service("cache", &cache),
        busybox("app", app),
        step(
            "from here",
            "command = ['bash', '-c', 'exec 3<>/dev/tcp/127.0.0.1/{cache.port}']",
        ),
        step(
            "inside",
            "service = 'cache'\ncommand = ['redis-cli', '-p', '{cache.port}', 'echo', 'inside']\n\
             expected_output_contains = 'inside'",
        ),
        step(
            "exit code",
            "service = 'app'\ncommand = 'echo $((6 * 7)); exit 3'\nexpected_exit_code = 3\n\
             expected_output_contains = '42'",
        ),
        step(
            "a neighbour by its name in the file",
            "service = 'app'\n\
             command = ['sh', '-c', 'echo PING | timeout 5 nc cache 6379 | head -1']\n\
             expected_output_contains = '+PONG'",
        ),
    ]
    .concat()
}

#[tokio::test]
async fn containers_work_the_same_on_podman() {
    // One service for both: two of them would give their bridges the same name.
    let Some(podman) = Podman::start().await else {
        return;
    };
    the_journey(&podman).await;
    failures(&podman).await;
}

async fn the_journey(podman: &Podman) {
    let docker = podman.docker();
    let project = TestProject::with(&file(1));
    let engine = Engine::of(&docker, &project);
    podman.run(&project, &["run", "--keep"]).await.expect(0);
    assert_eq!(engine.containers().len(), 2);

    // The file asks for more now: the same service, seen by its file.
    project.write("t.clnrm.toml", &file(2));
    podman.run(&project, &["run", "--keep"]).await.expect(0);
    let scaling = [
        "services",
        "ai-manage",
        "-s",
        "cache",
        "--auto-scale",
        "-f",
        "json",
    ];
    let report = podman.run(&project, &scaling).await.expect(0).json();
    let cache = &report["services"][0];
    assert_eq!(cache["sources"]["cpu_percent"], "cgroup", "{cache:#}");
    assert_eq!(cache["sources"]["request_rate"], "redis", "{cache:#}");
    let memory_mb = cache["current"]["memory_mb"].as_f64().unwrap();
    assert!((0.5..64.0).contains(&memory_mb), "{cache:#}");
    assert_eq!(cache["scaling"]["performed"], true, "{cache:#}");
    assert_eq!(engine.containers().len(), 3);

    let status = ["services", "status", "-f", "json"];
    let status = podman.run(&project, &status).await.expect(0).json();
    let running = status["instances"].as_array().unwrap();
    let running = running.iter().filter(|one| one["state"] == "running");
    let mut ids: Vec<&Value> = running.map(|one| &one["container_id"]).collect();
    let mut real = engine.containers();
    ids.sort_by_key(|id| id.to_string());
    real.sort();
    assert_eq!(ids, real.iter().collect::<Vec<_>>());
    let logs = podman.run(&project, &["services", "logs", "app"]).await;
    logs.expect(0).says("cache is at cache-in-");

    let stop = ["services", "stop", "--all"];
    let stopped = podman.run(&project, &stop).await.expect(0);
    stopped.says("0 leaked (3 containers checked)");
    engine.assert_nothing_is_left();
}

async fn failures(podman: &Podman) {
    let docker = podman.docker();
    let run = async |main: &str, lines: &str| {
        let service = format!("command = ['sh', '-c', '{main}']\nstop = {{ grace = '100ms' }}");
        let file = format!(
            "[test]\nname = \"t\"\n{}{}",
            busybox("shell", &service),
            step("x", lines)
        );
        let project = TestProject::with(&file);
        let answer = podman.run(&project, &["run", "--stop"]).await;
        Engine::of(&docker, &project).assert_nothing_is_left();
        answer
    };
    let missing = run("sleep 99", "command = ['no-such-program']").await;
    missing
        .expect(1)
        .says("the command `no-such-program` does not exist inside the container of `shell`");
    let died = run("sleep 1; echo sorry; exit 7", "command = ['sleep', '30']").await;
    died.expect(3)
        .says("ended with exit code 7 while the test ran")
        .says("sorry");
    // A pull of which nothing is heard ends with the test's time, and the hint says what Podman may be doing.
    let registry = TcpListener::bind("127.0.0.1:0").unwrap();
    let image = format!("{}/silent:1", registry.local_addr().unwrap());
    let file = format!(
        "[test]\ntimeout = \"2s\"\n[services.w]\nimage = \"{image}\"\n{}",
        step("x", "command = ['true']")
    );
    let project = TestProject::with(&file);
    let silent = podman.run(&project, &["run", "--stop"]).await;
    silent
        .expect(3)
        .says("was still being pulled")
        .says(&format!("`podman pull {image}`"));
}
