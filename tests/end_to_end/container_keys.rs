//! What a file says of a container is what the engine was told, and a registry's refusals are told apart.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use crate::docker::{TestImage, container_service, docker};
use crate::project::{TestProject, answer};

fn busybox(lines: &str) -> String {
    container_service("box", TestImage::Busybox, lines)
}

/// A step inside the container that must print this.
fn inside(script: &str, expected: &str) -> String {
    format!(
        "\n[[steps]]\nservice = 'box'\ncommand = '''{script}'''\nexpected_output_contains = '{expected}'\n"
    )
}

#[tokio::test]
async fn the_keys_of_a_container_are_honoured_by_the_engine() {
    let Some(docker) = docker(&[TestImage::Busybox]) else {
        return;
    };
    let keys = "entrypoint = ['sleep']\ncommand = ['86400']\nuser = '1000:1001'\nhostname = 'box-host'\n\
                init = true\npull = 'never'\nread_only = true\ntmpfs = ['/scratch:size=1m']\nshm_size = '8MiB'\n\
                ulimits = { nofile = 123 }\ncap_drop = ['ALL']\n\
                extra_hosts = ['elsewhere:10.9.8.7', 'here:host-gateway']\ndns = ['10.9.8.6']\n\
                sysctls = { 'net.ipv4.ip_unprivileged_port_start' = 7 }\nlabels = { team = 'core' }\n\
                stop_signal = 'USR1'\nstop = { grace = '0s' }";
    let project = TestProject::with(
        &[
            busybox(keys),
            inside("echo $(id -u):$(id -g)", "1000:1001"),
            inside("hostname", "box-host"),
            inside("tr '\\0' ' ' < /proc/1/cmdline", "init"),
            inside("touch /no 2>&1 || echo refused", "refused"),
            inside("df -k /scratch | tail -1", "1024"),
            inside("df -k /dev/shm | tail -1", "8192"),
            inside("ulimit -n", "123"),
            inside("grep CapBnd /proc/self/status", "0000000000000000"),
            inside("grep elsewhere /etc/hosts", "10.9.8.7"),
            inside("grep -c here /etc/hosts", "2"),
            inside("cat /proc/sys/net/ipv4/ip_unprivileged_port_start", "7"),
        ]
        .concat(),
    );
    project.run(&["run", "-v", "--keep"]).await.expect(0);
    let running = project.running().await;
    let id = running[0]["container_id"].as_str().unwrap().to_owned();
    let shown = "{{.Config.Labels.team}} {{.Config.StopSignal}} {{.HostConfig.Dns}}";
    let shown = docker.run(&["inspect", "--format", shown, &id]).unwrap();
    assert_eq!(shown, "core SIGUSR1 [10.9.8.6]");
    project
        .run(&["services", "stop", "--all"])
        .await
        .expect(0)
        .says("0 leaked");
}

#[tokio::test]
async fn a_port_of_udp_is_published_and_is_no_sign_of_readiness() {
    let Some(docker) = docker(&[TestImage::Busybox]) else {
        return;
    };
    let service = busybox("command = ['sleep', '86400']\nports = ['53/udp', '53/tcp']");
    let step = "\n[[steps]]\ncommand = ['echo', '{box.addr}']\nexpected_output_regex = '^127'\n";
    let project = TestProject::with(&[service, step.to_owned()].concat());
    project.run(&["run", "--keep"]).await.expect(0);
    let running = project.running().await;
    let id = running[0]["container_id"].as_str().unwrap();
    let published = docker.run(&["port", id, "53/udp"]).unwrap();
    assert_eq!(running[0]["address"], published.as_str());
}

/// Answers as a registry does that knows no image: to a login with 404, else as the repository's name says.
fn registry() -> (u16, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = std::thread::spawn(move || {
        let mut unanswered = Vec::new();
        for connection in listener.incoming() {
            let Ok(connection) = connection else { return };
            match serve(connection) {
                Served::Answered => {}
                Served::Left(connection) => unanswered.push(connection),
                Served::End => return,
            }
        }
    });
    (port, serving)
}

enum Served {
    Answered,
    /// Who asked gets no answer as long as this lives.
    Left(TcpStream),
    /// It was the last request.
    End,
}

/// What begins a connection of TLS, which the engine tries first: unanswered, it waits 10 s.
const TLS_HANDSHAKE: u8 = 0x16;

fn serve(mut connection: TcpStream) -> Served {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match connection.read(&mut buffer) {
            Ok(0) | Err(_) => return Served::Answered,
            Ok(read) => request.extend_from_slice(&buffer[..read]),
        }
        if request.first() == Some(&TLS_HANDSHAKE) {
            return Served::Answered;
        }
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    // "user:secret"
    let is_known = request.contains("Basic dXNlcjpzZWNyZXQ=");
    let (status, code) = match request.split_whitespace().nth(1).unwrap_or_default() {
        "/end" => return Served::End,
        path if path.contains("/slow/") => return Served::Left(connection),
        "/v2/" if is_known => ("200 OK", "OK"),
        "/v2/" => ("401 Unauthorized", "UNAUTHORIZED"),
        path if path.contains("/limited/") => ("429 Too Many Requests", "TOOMANYREQUESTS"),
        path if path.contains("/broken/") => ("500 Internal Server Error", "UNKNOWN"),
        _ if is_known => ("404 Not Found", "MANIFEST_UNKNOWN"),
        _ => ("401 Unauthorized", "UNAUTHORIZED"),
    };
    let body = format!("{{\"errors\": [{{\"code\": \"{code}\", \"message\": \"said so\"}}]}}");
    let _ = write!(
        connection,
        "HTTP/1.1 {status}\r\nWWW-Authenticate: Basic realm=\"r\"\r\nContent-Type: application/json\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    Served::Answered
}

#[tokio::test]
async fn a_registry_s_refusals_are_told_apart_and_logins_are_used() {
    let Some(_docker) = docker(&[]) else {
        return;
    };
    let (port, serving) = registry();
    let login = tempfile::tempdir().unwrap();
    let auths =
        format!("{{\"auths\": {{\"127.0.0.1:{port}\": {{\"auth\": \"dXNlcjpzZWNyZXQ=\"}}}}}}");
    std::fs::write(login.path().join("config.json"), auths).unwrap();
    let nobody = tempfile::tempdir().unwrap();
    for (repository, config, hint) in [
        (
            "secret",
            &nobody,
            format!("`docker login 127.0.0.1:{port}`"),
        ),
        ("secret", &login, "check the name and the tag".to_owned()),
        ("limited", &login, "for a higher limit".to_owned()),
        ("broken", &login, "the registry itself failed".to_owned()),
        // A pull that outlasts the test is no failure of what is tested.
        ("slow", &login, "was still being pulled".to_owned()),
    ] {
        let file = format!(
            "[test]\ntimeout = '5s'\n[services.w]\nimage = \"127.0.0.1:{port}/{repository}:1\"\n\
             [[steps]]\ncommand = ['true']\n"
        );
        let project = TestProject::with(&file);
        let mut command = project.command(&["run", "--stop"]);
        command.env("DOCKER_CONFIG", config.path());
        answer(command).await.expect(3).says(&hint);
    }
    let never = "[services.w]\nimage = 'clnrm-test/never:1'\npull = 'never'\n[[steps]]\ncommand = ['true']\n";
    let never = TestProject::with(never).run(&["run", "--stop"]).await;
    never.expect(3).says("pull = \"never\"");
    write!(
        TcpStream::connect(("127.0.0.1", port)).unwrap(),
        "GET /end HTTP/1.1\r\n\r\n"
    )
    .unwrap();
    serving.join().unwrap();
}

#[tokio::test]
async fn what_the_engine_publishes_elsewhere_is_reached_there_or_is_no_readiness() {
    let Some(docker) = docker(&[TestImage::Busybox]) else {
        return;
    };
    let page = "command = \"echo ok > /tmp/index.html; exec httpd -f -p 80 -h /tmp\"\nports = [80]";
    let step = "\n[[steps]]\nhttp = \"http://{box.addr}/\"\n";
    let project = TestProject::with(&[busybox(page), step.to_owned()].concat());
    let gateway = "{{(index .IPAM.Config 0).Gateway}}";
    let gateway = docker.run(&["network", "inspect", "bridge", "--format", gateway]);
    let gateway = gateway.unwrap();
    if !gateway.is_empty() {
        project.write("clnrm.toml", &format!("[docker]\nhost = \"{gateway}\"\n"));
        project.run(&["run", "--keep"]).await.expect(0);
        let address = project.running().await[0]["address"].clone();
        let port = address
            .as_str()
            .unwrap()
            .strip_prefix(&format!("{gateway}:"));
        assert!(port.is_some(), "{address} is not at {gateway}");
        project.run(&["services", "stop", "--all"]).await.expect(0);
    }
    // A network namespace of its own has neither what the engine publishes nor the project's network.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    project.write("clnrm.toml", "");
    let inside = project.command(&["run", "--stop"]);
    let mut command = std::process::Command::new("unshare");
    command
        .args(["--net", "--"])
        .arg(inside.get_program())
        .args(inside.get_args())
        .current_dir(project.path());
    for (name, value) in inside.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.stdout(std::process::Stdio::piped());
    command.stderr(std::process::Stdio::piped());
    let answer = answer(command).await.expect(3);
    answer
        .says("cannot be reached from here")
        .says("[docker] host");
}
