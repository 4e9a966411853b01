//! Trees whose folders were deleted under them.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::shim_protocol::SHIM_SUBCOMMAND;
use super::stop::stop;
use crate::procfs::{ProcessIdentity, ProcessTable};

/// Ends the trees whose folders below `instances_dir` were deleted under them, and says which. Their shims would do so
/// within seconds; whoever begins anew in the same place need not meet them.
pub(super) async fn end_abandoned(instances_dir: &Path) -> Vec<String> {
    let mut notes = Vec::new();
    for (id, shim) in abandoned(instances_dir) {
        let patience = Duration::from_secs(2).into();
        let stopped = stop(&id, &instances_dir.join(&id), &shim, &patience).await;
        notes.push(match stopped {
            Ok(_) => format!("{id}: its folder had been deleted while it ran, and it was ended"),
            Err(error) => format!("{id}: its folder was deleted while it runs; {error}"),
        });
    }
    notes
}

/// Shims whose working directory, their instance's folder, was deleted.
fn abandoned(instances_dir: &Path) -> Vec<(String, ProcessIdentity)> {
    let Ok(table) = ProcessTable::scan() else {
        return Vec::new();
    };
    let shims = table.iter().filter(|process| is_shim(process.pid));
    shims
        .filter_map(|process| {
            let folder = fs::read_link(format!("/proc/{}/cwd", process.pid)).ok()?;
            let id = deleted_below(&folder, instances_dir)?;
            Some((id, ProcessIdentity::of(process.pid).ok()??))
        })
        .collect()
}

fn is_shim(pid: i32) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).nth(1) == Some(SHIM_SUBCOMMAND.as_bytes())
}

/// The name of a folder of `parent` that is gone, from how the kernel shows it.
fn deleted_below(shown: &Path, parent: &Path) -> Option<String> {
    let name = shown.strip_prefix(parent).ok()?.to_str()?;
    let id = name.strip_suffix(" (deleted)")?;
    (!id.contains('/')).then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deleted_folder_is_told_from_a_living_one_and_from_one_elsewhere() {
        let deleted =
            |shown: &str| deleted_below(Path::new(shown), Path::new("/p/.clnrm/instances"));
        assert_eq!(
            deleted("/p/.clnrm/instances/web-1f (deleted)"),
            Some("web-1f".to_owned())
        );
        assert_eq!(deleted("/p/.clnrm/instances/web-1f"), None);
        assert_eq!(deleted("/p/.clnrm/instances/web-1f/data (deleted)"), None);
        assert_eq!(deleted("/q/.clnrm/instances/web-1f (deleted)"), None);
    }
}
