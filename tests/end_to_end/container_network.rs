//! What is asked of the engine: one network for a project's containers, whoever makes it, however many at once, and killed
//! at whatever moment; and one list of them for a look at all.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use clnrm_core::backend::Backend as _;
use clnrm_core::backend::docker::DockerBackend;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;

use crate::containers::Engine;
use crate::docker::{TestImage, container_service, docker};
use crate::project::{TestProject, answer, test_file};
use crate::support::eventually;

const SOCKET: &str = "/var/run/docker.sock";

fn runtime(state_dir: &Path, socket: &Path) -> DockerBackend {
    let host = format!("unix://{}", socket.display());
    let environment = BTreeMap::from([("DOCKER_HOST".to_owned(), host)]);
    DockerBackend::new(&environment, state_dir, None)
}

async fn prepare(runtime: &DockerBackend) {
    runtime.begin_use();
    runtime.make_ready().await;
}

/// Passes connections on to the engine, but holds back what asks for a new network, also when whoever asked is gone.
struct Between {
    requests: Mutex<Vec<String>>,
    asked: Notify,
    let_through: Semaphore,
}

impl Between {
    fn letting_through(number: usize) -> Arc<Self> {
        Arc::new(Self {
            requests: Mutex::default(),
            asked: Notify::new(),
            let_through: Semaphore::new(number),
        })
    }

    async fn listen(self: Arc<Self>, listener: UnixListener) {
        let mut connections = JoinSet::new();
        while let Ok((client, _)) = listener.accept().await {
            connections.spawn(Arc::clone(&self).pass_on(client));
        }
    }

    async fn pass_on(self: Arc<Self>, client: UnixStream) {
        let engine = UnixStream::connect(SOCKET).await.unwrap();
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_engine, mut to_engine) = engine.into_split();
        let there = async {
            let mut buffer = vec![0; 65_536];
            loop {
                let length = from_client.read(&mut buffer).await.unwrap_or(0);
                if length == 0 {
                    // The engine hears nothing of it.
                    std::future::pending::<()>().await;
                }
                let text = String::from_utf8_lossy(&buffer[..length]);
                let request = text.lines().next().unwrap_or_default().to_owned();
                let makes_a_network = request.contains("/networks/create");
                self.requests.lock().unwrap().push(request);
                if makes_a_network {
                    self.asked.notify_one();
                    self.let_through.acquire().await.unwrap().forget();
                }
                to_engine.write_all(&buffer[..length]).await.unwrap();
            }
        };
        let back = async {
            let _ = tokio::io::copy(&mut from_engine, &mut to_client).await;
            std::future::pending::<()>().await;
        };
        tokio::join!(there, back);
    }
}

#[tokio::test]
async fn a_network_that_comes_to_be_after_its_maker_was_killed_is_in_nobody_s_way() {
    let Some(docker) = docker(&[TestImage::Busybox]) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::in_folder(&docker, folder.path());
    let state_dir = folder.path().canonicalize().unwrap().join(".clnrm");
    fs::create_dir(&state_dir).unwrap();
    let slow = folder.path().join("slow.sock");
    let held = Between::letting_through(0);
    let listening = tokio::spawn(Arc::clone(&held).listen(UnixListener::bind(&slow).unwrap()));

    let killed = runtime(&state_dir, &slow);
    let killed = tokio::spawn(async move { prepare(&killed).await });
    held.asked.notified().await;
    killed.abort();
    assert!(killed.await.unwrap_err().is_cancelled());
    // The next one looks before, and makes its own after.
    let other = Arc::new(runtime(&state_dir, &slow));
    let preparing = Arc::clone(&other);
    let preparing = tokio::spawn(async move { prepare(&preparing).await });
    held.asked.notified().await;
    held.let_through.add_permits(1);
    let networks = |number: usize| {
        let networks = engine.networks();
        match networks.len() == number {
            true => Ok(()),
            false => Err(networks.join(" ")),
        }
    };
    eventually("the first one is there", || networks(1)).await;
    held.let_through.add_permits(1_000);
    preparing.await.unwrap();
    networks(2).unwrap();
    let id = fs::read_to_string(state_dir.join("network.lock")).unwrap();

    // The engine looks for a network by its name when it starts a container, though it was told the id.
    let tag = TestImage::Busybox.tag().unwrap();
    docker
        .run(&["run", "--rm", "--network", &id, &tag, "true"])
        .unwrap();
    let mut many = JoinSet::new();
    for _ in 0..16 {
        let one = runtime(&state_dir, Path::new(SOCKET));
        many.spawn(async move { prepare(&one).await });
    }
    many.join_all().await;
    assert_eq!(engine.networks(), [id.as_str()]);
    other.end_use().await;
    other.tidy().await;
    engine.assert_nothing_is_left();
    listening.abort();
}

#[tokio::test]
async fn many_who_need_the_network_at_once_make_one() {
    let Some(docker) = docker(&[TestImage::Busybox]) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::in_folder(&docker, folder.path());
    let state_dir = folder.path().canonicalize().unwrap().join(".clnrm");
    fs::create_dir(&state_dir).unwrap();
    let mut many = JoinSet::new();
    for _ in 0..16 {
        let one = runtime(&state_dir, Path::new(SOCKET));
        many.spawn(async move { prepare(&one).await });
    }
    many.join_all().await;
    assert_eq!(engine.networks().len(), 1);

    // Whoever no longer needs one waits for what it has begun: nothing comes to be after it has looked.
    let one = Arc::new(runtime(&state_dir, Path::new(SOCKET)));
    one.tidy().await;
    engine.assert_nothing_is_left();
    one.begin_use();
    let preparing = Arc::clone(&one);
    let preparing = tokio::spawn(async move { preparing.make_ready().await });
    tokio::task::yield_now().await;
    one.end_use().await;
    one.tidy().await;
    engine.assert_nothing_is_left();
    preparing.await.unwrap();
    engine.assert_nothing_is_left();
}

#[tokio::test]
async fn a_look_at_many_containers_asks_for_them_once() {
    let Some(docker) = docker(&[TestImage::Nothing]) else {
        return;
    };
    let service = |name| container_service(name, TestImage::Nothing, "stop = { grace = '100ms' }");
    let services = [service("a"), service("b"), service("c")].concat();
    let project = TestProject::with(&test_file("t", &services, "true"));
    project.run(&["run", "--keep"]).await.expect(0);
    let socket = project.path().join("between.sock");
    let between = Between::letting_through(0);
    let listening = Arc::clone(&between).listen(UnixListener::bind(&socket).unwrap());
    let listening = tokio::spawn(listening);
    let mut status = project.command(&["services", "status"]);
    status.env("DOCKER_HOST", format!("unix://{}", socket.display()));
    answer(status).await.expect(0).says("running");
    let requests = between.requests.lock().unwrap().clone();
    let about = |path: &str| requests.iter().filter(|one| one.contains(path)).count();
    assert_eq!(
        (requests.len(), about("/_ping"), about("/containers/json")),
        (2, 1, 1),
        "{requests:#?}"
    );
    project.stop_all().await;
    Engine::of(&docker, &project).assert_nothing_is_left();
    listening.abort();
}
