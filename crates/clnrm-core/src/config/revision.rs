//! Which state of its sources a project is in, as far as that can be read without asking git.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Variables in which services for continuous integration tell the commit and the branch.
const VARIABLES: [(&str, &str); 5] = [
    ("GITHUB_SHA", "GITHUB_REF_NAME"),
    ("CI_COMMIT_SHA", "CI_COMMIT_REF_NAME"),
    ("BUILDKITE_COMMIT", "BUILDKITE_BRANCH"),
    ("CIRCLE_SHA1", "CIRCLE_BRANCH"),
    ("GIT_COMMIT", "GIT_BRANCH"),
];

/// The state of the sources; what is not known is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revision {
    pub commit: Option<String>,
    pub branch: Option<String>,
}

impl Revision {
    /// Of the project with this root: what `variables` say, else what lies in the `.git` above it.
    pub fn of(root: &Path, variables: &BTreeMap<String, String>) -> Self {
        let value = |name: &str| variables.get(name).filter(|value| !value.is_empty());
        let stated = VARIABLES.iter().find_map(|(commit, branch)| {
            Some(Self {
                commit: Some(value(commit)?.clone()),
                branch: value(branch).cloned(),
            })
        });
        let read = || {
            root.ancestors()
                .find_map(|folder| of_git(&folder.join(".git")))
        };
        stated.or_else(read).unwrap_or_default()
    }
}

/// `None` = there is no such repository.
fn of_git(git: &Path) -> Option<Revision> {
    let git = match fs::read_to_string(git) {
        // A worktree: `gitdir: /repository/.git/worktrees/name`.
        Ok(link) => git.parent()?.join(link.trim().strip_prefix("gitdir: ")?),
        Err(_) => git.to_owned(),
    };
    let head = fs::read_to_string(git.join("HEAD")).ok()?;
    let Some(reference) = head.trim().strip_prefix("ref: ") else {
        return Some(Revision {
            commit: Some(head.trim().to_owned()),
            branch: None,
        });
    };
    // Branches are the main repository's.
    let common = fs::read_to_string(git.join("commondir"));
    let common: PathBuf = common.map_or_else(|_| git.clone(), |common| git.join(common.trim()));
    let loose = fs::read_to_string(common.join(reference)).ok();
    Some(Revision {
        commit: (loose.map(|commit| commit.trim().to_owned()))
            .or_else(|| packed(&common, reference)),
        branch: reference.strip_prefix("refs/heads/").map(str::to_owned),
    })
}

/// What `git gc` has made of a branch: `commit refs/heads/name`, one a line.
fn packed(git: &Path, reference: &str) -> Option<String> {
    let packed = fs::read_to_string(git.join("packed-refs")).ok()?;
    packed.lines().find_map(|line| {
        let (commit, name) = line.split_once(' ')?;
        (name == reference).then(|| commit.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(commit: &str, branch: Option<&str>) -> Revision {
        Revision {
            commit: Some(commit.to_owned()),
            branch: branch.map(str::to_owned),
        }
    }

    #[test]
    fn the_commit_is_read_from_every_layout_of_git() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let file = root.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        let of = |folder: &str| Revision::of(&root.path().join(folder), &BTreeMap::new());
        write("packed/.git/HEAD", "ref: refs/heads/main\n");
        write(
            "packed/.git/packed-refs",
            "# pack-refs with: peeled\nc0ffee refs/heads/main\n^beef\n",
        );
        fs::create_dir_all(root.path().join("packed/inside")).unwrap();
        assert_eq!(of("packed/inside"), revision("c0ffee", Some("main")));
        write("packed/.git/refs/heads/main", "feed\n");
        assert_eq!(of("packed"), revision("feed", Some("main")));
        write("tree/.git", "gitdir: ../packed/.git/worktrees/tree\n");
        write("packed/.git/worktrees/tree/HEAD", "ref: refs/heads/main\n");
        write("packed/.git/worktrees/tree/commondir", "../..\n");
        assert_eq!(of("tree"), revision("feed", Some("main")));
        write("detached/.git/HEAD", "dead\n");
        assert_eq!(of("detached"), revision("dead", None));
    }

    #[test]
    fn a_service_for_continuous_integration_knows_better() {
        let variables = [("GITHUB_SHA", "abc"), ("GITHUB_REF_NAME", "7/merge")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let root = tempfile::tempdir().unwrap();
        assert_eq!(
            Revision::of(root.path(), &variables.into()),
            revision("abc", Some("7/merge"))
        );
    }
}
