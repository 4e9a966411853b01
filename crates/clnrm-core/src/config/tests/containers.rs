//! What a container may be told.

use super::load_test;
use crate::config::definition::{
    ContainerLaunch, ContainerSettings, Launch, PortMapping, Protocol, PullPolicy, ReadyCheck,
    ServiceDefinition, StopSignal, Ulimit,
};

fn service(lines: &str) -> ServiceDefinition {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.clnrm.toml");
    std::fs::write(&file, format!("[services.x]\nimage = \"x:1\"\n{lines}\n")).unwrap();
    let test = load_test(&file).unwrap_or_else(|error| panic!("{error}"));
    test.services.into_iter().next().unwrap()
}

fn container(service: &ServiceDefinition) -> &ContainerLaunch {
    match &service.launch {
        Launch::Container(container) => container,
        Launch::Process(_) => panic!("{service:?}"),
    }
}

#[test]
fn every_key_means_what_it_means_in_a_compose_file() {
    let service = service(
        r#"
user = 1000
hostname = "db"
init = true
platform = "linux/amd64"
pull_policy = "always"
read_only = true
privileged = true
tmpfs = ["/run", "/tmp:size=64m"]
shm_size = "64MiB"
ulimits = { nofile = 1024, core = { soft = 0, hard = -1 } }
cap_add = ["NET_ADMIN"]
cap_drop = "ALL"
extra_hosts = ["here:host-gateway", "v6:::1"]
dns = "10.0.0.53"
sysctls = { "net.core.somaxconn" = 1024 }
labels = ["team=core"]
stop_signal = "SIGQUIT"
"#,
    );
    let text = |text: &str| text.to_owned();
    let pair = |name: &str, value: &str| (text(name), text(value));
    let limit = |soft, hard| Ulimit { soft, hard };
    let expected = ContainerSettings {
        user: Some(text("1000")),
        hostname: Some(text("db")),
        init: Some(true),
        platform: Some(text("linux/amd64")),
        pull: PullPolicy::Always,
        read_only: true,
        privileged: true,
        tmpfs: [pair("/run", ""), pair("/tmp", "size=64m")].into(),
        shm_bytes: Some(64 << 20),
        ulimits: [
            (text("nofile"), limit(1024, 1024)),
            (text("core"), limit(0, -1)),
        ]
        .into(),
        cap_add: vec![text("NET_ADMIN")],
        cap_drop: vec![text("ALL")],
        extra_hosts: vec![pair("here", "host-gateway"), pair("v6", "::1")],
        dns: vec![text("10.0.0.53")],
        sysctls: [pair("net.core.somaxconn", "1024")].into(),
        labels: [pair("team", "core")].into(),
    };
    assert_eq!(*container(&service).settings, expected);
    assert_eq!(service.stop.signal, StopSignal::Quit);
    let json = serde_json::to_string(&service).unwrap();
    assert_eq!(
        serde_json::from_str::<ServiceDefinition>(&json).unwrap(),
        service
    );
}

#[test]
fn a_service_that_says_none_of_it_keeps_its_identity() {
    let json = serde_json::to_value(service("ports = [80]")).unwrap();
    let container = &json["launch"]["container"];
    assert!(container.get("settings").is_none(), "{container}");
    assert!(
        container["ports"][0].get("protocol").is_none(),
        "{container}"
    );
}

#[test]
fn ports_have_the_forms_of_compose() {
    let service =
        service("ports = [\"53/udp\", \"80/tcp\", \"127.0.0.1:8080:81\", \"9000:9000/udp\", 82]");
    let port = |host, container, protocol| PortMapping {
        host,
        container,
        protocol,
    };
    assert_eq!(
        container(&service).ports,
        [
            port(None, 53, Protocol::Udp),
            port(None, 80, Protocol::Tcp),
            port(Some(8080), 81, Protocol::Tcp),
            port(Some(9000), 9000, Protocol::Udp),
            port(None, 82, Protocol::Tcp),
        ]
    );
    // Nothing can connect to a port of UDP, so that is no sign of readiness.
    assert!(!service.ready.checks.contains(&ReadyCheck::Tcp));
}
