use proptest::prelude::*;

use super::*;

const ID: &str = "fd6786012af51b00119b111468015fd6c3ab229f06a9044bce152ce15aa96e1b";

fn mounts_in(text: &str) -> Vec<CgroupMount> {
    parse::cgroup_mounts(text).collect()
}

/// The directories of CPU and memory, if every file could be read.
fn found(memberships: &str, mounts: &str) -> Option<(String, String)> {
    let memberships = memberships.replace("ID", ID);
    let mounts = mounts.replace("ID", ID);
    let cgroup = Cgroup::find(ID, &memberships, &mounts_in(&mounts), &|_| true)?;
    let text = |(version, path): (Version, PathBuf)| {
        format!("{version:?} {}", path.display()).replace(ID, "ID")
    };
    Some((text(cgroup.cpu), text(cgroup.memory)))
}

/// Version 1, with version 2 beside it but without controllers: Docker 20.10 with cgroupfs.
const V1_MEMBERSHIPS: &str = "\
9:name=systemd:/docker/ID
4:memory:/docker/ID
2:cpuacct:/docker/ID
1:cpu:/docker/ID
0::/docker/ID
";
const V1_MOUNTS: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
33 31 0:30 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

#[test]
fn version_1_is_preferred_where_it_has_the_controller() {
    assert_eq!(
        found(V1_MEMBERSHIPS, V1_MOUNTS).unwrap(),
        (
            "V1 /sys/fs/cgroup/cpuacct/docker/ID".to_owned(),
            "V1 /sys/fs/cgroup/memory/docker/ID".to_owned()
        )
    );
}

#[test]
fn version_2_is_used_down_to_the_group_that_bears_the_id() {
    // Docker with systemd, where the container runs a systemd of its own; Podman, whose crun adds `container`.
    let mounts =
        "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 master:1 - cgroup2 cgroup2 rw,nsdelegate\n";
    for (path, group) in [
        (
            "/system.slice/docker-ID.scope/init.scope",
            "/system.slice/docker-ID.scope",
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope/container",
            "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope",
        ),
    ] {
        let directory = format!("V2 /sys/fs/cgroup{group}");
        assert_eq!(
            found(&format!("0::{path}\n"), mounts).unwrap(),
            (directory.clone(), directory)
        );
    }
}

#[test]
fn a_hybrid_host_has_one_of_each() {
    let memberships = "3:cpu,cpuacct:/docker/ID\n0::/docker/ID\n";
    let mounts = "\
34 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:12 - cgroup cgroup rw,cpu,cpuacct
41 31 0:38 / /sys/fs/cgroup/with\\040space rw - cgroup2 cgroup2 rw
";
    assert_eq!(
        found(memberships, mounts).unwrap(),
        (
            "V1 /sys/fs/cgroup/cpu,cpuacct/docker/ID".to_owned(),
            "V2 /sys/fs/cgroup/with space/docker/ID".to_owned()
        )
    );
}

#[test]
fn an_engine_inside_a_container_is_read_below_the_mounted_part() {
    let outer = "/docker/0123456789abcdef";
    let memberships = format!("4:memory:{outer}/docker/ID\n2:cpuacct:{outer}/docker/ID\n");
    let mounts = format!(
        "33 31 0:30 {outer} /sys/fs/cgroup/cpuacct ro - cgroup cgroup rw,cpuacct\n\
         35 31 0:32 {outer} /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
    );
    assert_eq!(
        found(&memberships, &mounts).unwrap().0,
        "V1 /sys/fs/cgroup/cpuacct/docker/ID"
    );
    // The same engine's neighbours are not below that mount.
    let neighbour = "4:memory:/docker/ID\n2:cpuacct:/docker/ID\n";
    assert_eq!(found(neighbour, &mounts), None);
    // In a cgroup namespace of one's own, they have this form.
    let outside = "0::/../ID\n";
    let own = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
    assert_eq!(found(outside, own), None);
}

#[test]
fn a_process_of_another_group_is_not_the_container() {
    let memberships = V1_MEMBERSHIPS.replace("docker/ID", "docker/0123456789abcdef0123");
    assert_eq!(found(&memberships, V1_MOUNTS), None);
    let nobody = Cgroup::find("", V1_MEMBERSHIPS, &mounts_in(V1_MOUNTS), &|_| true);
    assert_eq!(nobody, None, "an empty id is in every name");
}

#[test]
fn a_group_that_cannot_be_read_is_passed_over() {
    let mounts = format!("{V1_MOUNTS}99 31 0:32 / /host/memory rw - cgroup cgroup rw,memory\n");
    let readable = |cgroup: &Cgroup| cgroup.memory.1.starts_with("/host");
    let memberships = V1_MEMBERSHIPS.replace("ID", ID);
    let cgroup = Cgroup::find(ID, &memberships, &mounts_in(&mounts), &readable).unwrap();
    assert_eq!(cgroup.memory.1, Path::new("/host/memory/docker").join(ID));
}

/// Recorded: a shell that has read a file of 600 MB three times, in a group of version 1 (Linux 6.18).
const V1_STAT: &str = "\
cache 629260288
rss 57344
shmem 0
inactive_anon 53248
active_anon 4096
inactive_file 1024000
active_file 628236288
unevictable 0
hierarchical_memory_limit 1000000000
total_cache 629260288
total_rss 57344
total_shmem 0
total_inactive_anon 53248
total_active_anon 4096
total_inactive_file 1024000
total_active_file 628236288
total_unevictable 0
";
/// The fields of version 2 that count, with 20 MB in tmpfs.
const V2_STAT: &str = "\
anon 3000000
file 650000000
shmem 20000000
file_mapped 4096
inactive_anon 21000000
active_anon 2000000
inactive_file 30000000
active_file 600000000
unevictable 0
slab_reclaimable 5000000
slab_unreclaimable 1000000
oom_kill 9
";

#[test]
fn files_of_both_versions_are_understood() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let cgroup = |version| Cgroup {
        cpu: (version, folder.path().to_owned()),
        memory: (version, folder.path().to_owned()),
    };
    let (one, two) = (cgroup(Version::V1), cgroup(Version::V2));
    write("cpuacct.usage", "2500000000\n");
    write("memory.stat", V1_STAT);
    write(
        "memory.oom_control",
        "oom_kill_disable 0\nunder_oom 0\noom_kill 14\n",
    );
    assert_eq!(
        (one.cpu_seconds(), one.memory_bytes(), one.memory_kills()),
        (Ok(2.5), Ok(57_344), Ok(14))
    );
    write(
        "cpu.stat",
        "usage_usec 1500000\nuser_usec 1\nsystem_usec 2\n",
    );
    write("memory.current", "660000000\n");
    write("memory.stat", V2_STAT);
    write(
        "memory.events",
        "low 0\nhigh 0\nmax 312\noom 3\noom_kill 2\noom_group_kill 0\n",
    );
    assert_eq!(
        (two.cpu_seconds(), two.memory_bytes(), two.memory_kills()),
        (Ok(1.5), Ok(25_000_000), Ok(2)),
    );
    write("memory.stat", "cache 5\n");
    let problem = one.memory_bytes().unwrap_err().to_string();
    assert!(problem.ends_with("memory.stat is malformed"), "{problem}");
}

#[test]
fn memory_is_never_less_than_what_has_no_other_place() {
    let parts = MemoryParts {
        own_bytes: 7,
        droppable_bytes: Some(600),
    };
    assert_eq!(parts.kept_of(650), 50);
    // The cache grew or shrank between the two readings.
    assert_eq!(parts.kept_of(601), 7);
    assert_eq!(parts.kept_of(500), 7);
}

proptest! {
    #[test]
    fn finding_and_reading_never_panic(memberships: String, mounts: String, id in "[a-z/.]{0,20}") {
        Cgroup::find(&id, &memberships, &mounts_in(&mounts), &|_| false);
        parse::number(&memberships);
        parse::field(&mounts, "a");
    }

    /// Texts that are nearly right: real ones with one piece exchanged.
    #[test]
    fn nearly_right_texts_never_panic(start in 0_usize..400, length in 0_usize..40, piece in r"[ -:/,\\0-9a-z]{0,12}") {
        let damage = |text: &str| {
            let mut bytes = text.replace("ID", ID).into_bytes();
            let (start, end) = (start.min(bytes.len()), (start + length).min(bytes.len()));
            bytes.splice(start..end, piece.bytes());
            String::from_utf8(bytes).unwrap()
        };
        Cgroup::find(ID, &damage(V1_MEMBERSHIPS), &mounts_in(&damage(V1_MOUNTS)), &|_| false);
    }
}
