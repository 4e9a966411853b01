//! Keys of services that people bring along from compose files and other tools, and that clnrm does not honour.

use crate::config::reader::Table;

/// Refuses them, each with its own way out: "unknown key" would leave who brings a compose file along with nothing to do.
pub(super) fn refuse(table: &mut Table<'_>) {
    for (key, why, way_out) in FOREIGN {
        table.refuse_key(key, why, way_out);
    }
}

const FOREIGN: [(&str, &str, &str); 20] = [
    (
        "network_mode",
        "services reach each other by their names, and steps by {NAME.addr}",
        "remove it; a container reaches this machine with extra_hosts = [\"host.docker.internal:host-gateway\"]",
    ),
    (
        "networks",
        "each project has one network of its own",
        "remove it: services of one file reach each other by their names",
    ),
    (
        "restart",
        "a service that ends while its test runs is an error of the test",
        "remove it; write may_exit = true for a service that may end",
    ),
    (
        "build",
        "clnrm does not build images",
        "build it first: docker build -t NAME . and then image = \"NAME\"",
    ),
    (
        "container_name",
        "clnrm names its containers, so that runs never collide",
        "remove it; `clnrm services status` shows the name",
    ),
    (
        "env_file",
        "variables stand in the test file",
        "write env = { NAME = \"value\" }, or env = [\"NAME\"] to pass the caller's value on",
    ),
    (
        "expose",
        "it publishes nothing in compose either",
        "write ports = [80] for a port that steps use",
    ),
    (
        "mem_limit",
        "the limit of memory has another name",
        "write memory = \"256MB\"",
    ),
    (
        "memswap_limit",
        "a limit of memory is one of memory and swap together",
        "write memory = \"256MB\"",
    ),
    (
        "cpu_count",
        "the limit of CPU has another name",
        "write cpus = 1.0",
    ),
    (
        "cpuset",
        "a container may use any core",
        "write cpus = 1.0 to limit how much of them",
    ),
    (
        "deploy",
        "limits and instances have keys of their own",
        "write cpus, memory, and scale = { min = 1, max = 3 }",
    ),
    (
        "links",
        "services of one file reach each other by their names",
        "write depends_on = [\"NAME\"]",
    ),
    (
        "profiles",
        "a file's services are those that its tests need",
        "put the service into a file of its own",
    ),
    (
        "stop_grace_period",
        "the grace period has another name",
        "write stop = { grace = \"10s\" }",
    ),
    (
        "logging",
        "clnrm keeps the log itself",
        "write log_limit = \"16MB\" for its size",
    ),
    (
        "devices",
        "devices are not passed on one by one",
        "write privileged = true",
    ),
    (
        "security_opt",
        "options of the engine's security are not passed on",
        "write privileged = true, or cap_add = [...]",
    ),
    (
        "secrets",
        "clnrm keeps no secrets",
        "write env = [\"NAME\"] to pass the caller's value on, or mount a file by `volumes`",
    ),
    (
        "configs",
        "a configuration is a file",
        "mount it: volumes = [\"./app.conf:/etc/app.conf:ro\"]",
    ),
];
