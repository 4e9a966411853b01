//! The texts that say where a control group's files are, and what is in them. Pure.

use std::path::{Component, Path, PathBuf};

/// A container's id is 64 hexadecimal digits; a fragment of it could also be in the name of another group.
const SHORTEST_ID: usize = 12;

/// One line of `/proc/[pid]/cgroup`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Membership<'a> {
    /// Separated by commas; empty for version 2.
    controllers: &'a str,
    /// From the root of the reader's cgroup namespace.
    path: &'a str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CgroupMount {
    /// Which group is at the mount point: not the hierarchy's root where a container sees only its own part.
    root: PathBuf,
    mount_point: PathBuf,
    /// Separated by commas, among other options; `None` for version 2.
    controllers: Option<String>,
}

/// Which of the hierarchies is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hierarchy<'a> {
    /// The one of version 1 with this controller.
    Controller(&'a str),
    /// Version 2.
    Unified,
}

impl Hierarchy<'_> {
    fn has_member(self, membership: &Membership<'_>) -> bool {
        match self {
            Self::Controller(name) => membership.controllers.split(',').any(|it| it == name),
            Self::Unified => membership.controllers.is_empty(),
        }
    }

    fn is_at(self, mount: &CgroupMount) -> bool {
        match (self, &mount.controllers) {
            (Self::Controller(name), Some(controllers)) => {
                controllers.split(',').any(|it| it == name)
            }
            (Self::Unified, None) => true,
            _ => false,
        }
    }
}

/// The groups that a process is in. Lines of another form are left out.
pub(super) fn memberships(text: &str) -> impl Iterator<Item = Membership<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        Some(Membership {
            controllers: fields.next()?,
            path: fields.next()?,
        })
    })
}

/// The hierarchies in a `mountinfo`. Other file systems and lines of another form are left out.
pub(super) fn cgroup_mounts(text: &str) -> impl Iterator<Item = CgroupMount> + '_ {
    text.lines().filter_map(|line| {
        // A varying number of optional fields ends with a lone hyphen.
        let (mount, file_system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let mut file_system = file_system.split(' ');
        let kind = file_system.next()?;
        let options = file_system.nth(1)?;
        Some(CgroupMount {
            root: PathBuf::from(unescape(mount.next()?)),
            mount_point: PathBuf::from(unescape(mount.next()?)),
            controllers: match kind {
                "cgroup" => Some(options.to_owned()),
                "cgroup2" => None,
                _ => return None,
            },
        })
    })
}

/// Spaces, tabs, newlines and backslashes are written as a backslash and three octal digits.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        plain.push_str(before);
        let code = after
            .get(..3)
            .and_then(|code| u8::from_str_radix(code, 8).ok());
        match code {
            Some(code) => {
                plain.push(char::from(code));
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                plain.push('\\');
                rest = after;
            }
        }
    }
    plain.push_str(rest);
    plain
}

/// Where the files of the container's group in one hierarchy can be.
pub(super) fn directories(
    memberships: &[Membership<'_>],
    mounts: &[CgroupMount],
    hierarchy: Hierarchy<'_>,
    container_id: &str,
) -> Vec<PathBuf> {
    let groups = memberships
        .iter()
        .filter(|membership| hierarchy.has_member(membership))
        .filter_map(|membership| group_of_container(membership.path, container_id));
    let mounts: Vec<&CgroupMount> = mounts
        .iter()
        .filter(|mount| hierarchy.is_at(mount))
        .collect();
    groups
        .flat_map(|group| {
            let place = move |mount: &&CgroupMount| {
                let below = group.strip_prefix(&mount.root).ok()?;
                Some(mount.mount_point.join(below))
            };
            mounts.iter().filter_map(place).collect::<Vec<_>>()
        })
        .collect()
}

/// The part of a path down to the group that is named after the container: below it the container may have divided
/// itself further, and its main process be in one of the parts.
///
/// `None` also for a group outside of the reader's cgroup namespace (`/../…`): it is below no mount point.
fn group_of_container<'a>(path: &'a str, container_id: &str) -> Option<&'a Path> {
    if container_id.len() < SHORTEST_ID {
        return None;
    }
    let path = Path::new(path);
    let is_named_so = |group: &&Path| {
        let name = group.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.contains(container_id))
    };
    path.ancestors()
        .filter(is_named_so)
        .last()
        .filter(|group| !group.components().any(|part| part == Component::ParentDir))
}

/// A file that is one number.
pub(super) fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// One of the lines `name number`.
pub(super) fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(' ')?;
        (key == name).then(|| number(value)).flatten()
    })
}
