//! Which project something in an engine belongs to, and whether that project is gone for certain.
//!
//! A project is the folder that its state lies in, not the path of that folder: two jobs with a file system each may have
//! the same path and share an engine, and a folder that is renamed stays what it is. Deliberately absent: anything that
//! is kept in the state folder, because whoever deletes that must still be found.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::labels::{HOME, PROJECT, STATE_DIR};

/// Marks what belongs to one project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectMark {
    state_dir: PathBuf,
    hash: String,
    home: Home,
}

/// Where a project lives, as another one can tell without a doubt.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Home {
    user: u32,
    machine: String,
    /// The folders above the state folder, from the root down.
    folders: Vec<Folder>,
}

/// A folder whatever its path: the file system and the number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Folder {
    device: u64,
    inode: u64,
}

impl ProjectMark {
    /// The mark of the project whose state is in this folder.
    pub fn of(state_dir: &Path) -> Self {
        let home = Home::of(state_dir);
        Self {
            hash: hash(&home, state_dir),
            state_dir: state_dir.to_owned(),
            home,
        }
    }

    /// The value of the label [`PROJECT`].
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Finds what belongs to the project.
    pub(super) fn label(&self) -> String {
        format!("{PROJECT}={}", self.hash)
    }

    /// The name of an instance's container.
    pub fn container_name(&self, instance: &str) -> String {
        container_name(&self.hash, instance)
    }

    /// The labels of everything that belongs to the project.
    pub(super) fn labels(&self) -> HashMap<String, String> {
        HashMap::from([
            (PROJECT.to_owned(), self.hash.clone()),
            (STATE_DIR.to_owned(), self.state_dir.display().to_string()),
            (HOME.to_owned(), self.home.written()),
        ])
    }

    /// Whether the project of these labels is gone, as far as this user can see from here: its folder is not there, and
    /// the place where it was is the same. "Not to be seen" is not "gone".
    pub(super) fn knows_to_be_gone(&self, labels: &HashMap<String, String>) -> bool {
        let (Some(state_dir), Some(home)) = (labels.get(STATE_DIR), labels.get(HOME)) else {
            return false;
        };
        let Some(home) = Home::read(home) else {
            return false;
        };
        (home.user, &home.machine) == (self.home.user, &self.home.machine)
            && home.lacks(Path::new(state_dir))
    }
}

/// The name of the container of an instance.
pub(super) fn container_name(project_hash: &str, instance: &str) -> String {
    format!("clnrm-{project_hash}-{instance}")
}

/// The name of one network of a project, unlike that of any other.
pub(super) fn new_network_name(project_hash: &str, number: u32) -> String {
    format!("clnrm-{project_hash}-{number:08x}")
}

/// Whether a network of this name is one of the project's.
pub(super) fn is_network_name(name: &str, project_hash: &str) -> bool {
    let rest = name.strip_prefix("clnrm-");
    let rest = rest.and_then(|rest| rest.strip_prefix(project_hash));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

impl Home {
    fn of(state_dir: &Path) -> Self {
        let folders = above(state_dir).map(Folder::at);
        Self {
            user: rustix::process::geteuid().as_raw(),
            machine: machine(),
            folders: folders.map_while(Result::ok).collect(),
        }
    }

    /// As it stands in a label.
    fn written(&self) -> String {
        let mut text = format!("{} {}", self.user, self.machine);
        for folder in &self.folders {
            // Writing to a string cannot fail.
            let _ = write!(text, " {:x}:{:x}", folder.device, folder.inode);
        }
        text
    }

    fn read(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let (user, machine) = (words.next()?.parse().ok()?, words.next()?.to_owned());
        let folder = |word: &str| {
            let (device, inode) = word.split_once(':')?;
            Some(Folder {
                device: u64::from_str_radix(device, 16).ok()?,
                inode: u64::from_str_radix(inode, 16).ok()?,
            })
        };
        Some(Self {
            user,
            machine,
            folders: words.map(folder).collect::<Option<_>>()?,
        })
    }

    /// Whether something on the way to the state folder is missing, and everything above it is what it was.
    fn lacks(&self, state_dir: &Path) -> bool {
        let mut recorded = self.folders.iter();
        for folder in above(state_dir) {
            match (Folder::at(&folder), recorded.next()) {
                (Ok(found), Some(recorded)) if found == *recorded => {}
                (Err(error), _) => return error.kind() == io::ErrorKind::NotFound,
                // Another file system, or something else in its place.
                (Ok(_), _) => return false,
            }
        }
        fs::metadata(state_dir).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }
}

impl Folder {
    fn at(path: impl AsRef<Path>) -> io::Result<Self> {
        let found = fs::metadata(path)?;
        Ok(Self {
            device: found.dev(),
            inode: found.ino(),
        })
    }
}

/// The folders above a path, from the root down.
fn above(path: &Path) -> impl Iterator<Item = PathBuf> {
    let mut folders: Vec<PathBuf> = path.ancestors().skip(1).map(Path::to_owned).collect();
    folders.reverse();
    folders.into_iter()
}

/// Of the folder around the state folder, and of the name in it. Where the folder is not there yet, of the last that is,
/// and of the whole path.
fn hash(home: &Home, state_dir: &Path) -> String {
    let is_complete = home.folders.len() == above(state_dir).count();
    let name = match state_dir.file_name() {
        Some(name) if is_complete => Path::new(name),
        _ => state_dir,
    };
    let folder = home.folders.last();
    let (device, inode) = folder.map_or((0, 0), |folder| (folder.device, folder.inode));
    let mut digest = Sha256::new();
    digest.update(format!("{} {device:x}:{inode:x} ", home.machine));
    digest.update(name.as_os_str().as_encoded_bytes());
    short_hex(&digest.finalize())
}

/// The machine, without giving away its id: that is meant to stay on it. A container has none of its own; the kernel's
/// number of this boot tells it from those of other machines.
fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let id = read("/etc/machine-id");
    let id = match id.trim() {
        "" | "uninitialized" => read("/proc/sys/kernel/random/boot_id"),
        id => id.to_owned(),
    };
    short_hex(&Sha256::digest(format!("clnrm {}", id.trim())))
}

fn short_hex(digest: &[u8]) -> String {
    digest
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(folder: &Path) -> ProjectMark {
        fs::create_dir_all(folder.join(".clnrm")).unwrap();
        ProjectMark::of(&folder.join(".clnrm"))
    }

    #[test]
    fn a_project_is_its_folder_and_not_its_path() {
        let here = tempfile::tempdir().unwrap();
        let (old, new) = (here.path().join("old"), here.path().join("new"));
        let mark = project(&old);
        assert_eq!(project(&old).hash(), mark.hash());
        assert_ne!(project(&new).hash(), mark.hash());
        fs::remove_dir_all(&new).unwrap();
        fs::rename(&old, &new).unwrap();
        assert_eq!(project(&new).hash(), mark.hash());
        assert_ne!(
            ProjectMark::of(&new.join("elsewhere")).hash(),
            mark.hash(),
            "a folder may hold the state of several"
        );
    }

    #[test]
    fn only_a_project_s_own_networks_have_its_name() {
        assert!(is_network_name(&new_network_name("abc", 7), "abc"));
        assert_ne!(new_network_name("abc", 7), new_network_name("abc", 8));
        assert!(is_network_name("clnrm-abc", "abc"), "of an earlier version");
        assert!(!is_network_name("clnrm-abcd", "abc"));
        assert!(!is_network_name("abc-7", "abc"));
    }

    #[test]
    fn a_deleted_state_folder_does_not_change_the_mark() {
        let here = tempfile::tempdir().unwrap();
        let mark = project(here.path());
        fs::remove_dir_all(here.path().join(".clnrm")).unwrap();
        assert_eq!(ProjectMark::of(&here.path().join(".clnrm")), mark);
    }

    #[test]
    fn only_what_is_missing_at_its_own_place_is_gone() {
        let here = tempfile::tempdir().unwrap();
        let mine = project(&here.path().join("mine"));
        let labels = project(&here.path().join("other")).labels();
        assert!(!mine.knows_to_be_gone(&labels), "it is there");
        let changed = |name: &str, value: &str| {
            let mut labels = labels.clone();
            labels.insert(name.to_owned(), value.to_owned());
            labels
        };
        fs::remove_dir_all(here.path().join("other")).unwrap();
        assert!(mine.knows_to_be_gone(&labels));
        let home = labels.get(HOME).unwrap();
        let (user, rest) = home.split_once(' ').unwrap();
        let (machine, folders) = rest.split_once(' ').unwrap();
        let of_another_user = format!("{user}1 {rest}");
        let of_another_machine = format!("{user} x{machine} {folders}");
        let (_, below_root) = folders.split_once(' ').unwrap();
        let of_another_file_system = format!("{user} {machine} ffff:2 {below_root}");
        for home in [
            &of_another_user,
            &of_another_machine,
            &of_another_file_system,
            "",
            "0",
        ] {
            assert!(!mine.knows_to_be_gone(&changed(HOME, home)), "{home}");
        }
        fs::create_dir_all(here.path().join("other")).unwrap();
        fs::create_dir_all(here.path().join("other/.clnrm")).unwrap();
        assert!(
            !mine.knows_to_be_gone(&labels),
            "something is in its place again"
        );
    }

    #[test]
    fn what_is_read_of_a_label_is_what_was_written() {
        let home = Home::of(Path::new("/proc/self/nowhere/.clnrm"));
        assert_eq!(Home::read(&home.written()), Some(home));
    }
}
