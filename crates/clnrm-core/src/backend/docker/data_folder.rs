//! The folder of a container that belongs to the service itself, given to the user that its image runs as.
//!
//! The engine makes an empty volume for root alone. Between creating and starting a container it takes a tar archive,
//! which carries an owner; nothing has to be in the image for that.

use bollard::query_parameters::{DownloadFromContainerOptions, UploadToContainerOptions};
use futures_util::TryStreamExt;

use super::DockerBackend;
use super::error::EngineError;
use super::request::DATA_DIR_INSIDE;

/// As the engine itself makes it.
const MODE: u32 = 0o755;
/// The header of a file in a tar archive, and the unit of its content.
const BLOCK: usize = 512;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Owner {
    user: u32,
    group: u32,
}

impl DockerBackend {
    /// Gives the data folder of a container that is not started yet to this user (`name`, `1000`, `name:group`).
    pub(super) async fn give_data_folder(
        &self,
        container: &str,
        user: &str,
    ) -> Result<(), EngineError> {
        let Some(owner) = self.owner(container, user).await? else {
            // The engine will not start it as somebody whom the image does not know, and says so.
            return Ok(());
        };
        let options = UploadToContainerOptions {
            path: "/".to_owned(),
            ..UploadToContainerOptions::default()
        };
        let archive = archive(DATA_DIR_INSIDE, owner);
        self.engine
            .ask("prepare a container's data folder", async |client| {
                let body = bollard::body_full(archive.into());
                client
                    .upload_to_container(container, Some(options), body)
                    .await
            })
            .await
    }

    async fn owner(&self, container: &str, text: &str) -> Result<Option<Owner>, EngineError> {
        let (user, group) = text.split_once(':').unwrap_or((text, ""));
        let by_number = |text: &str| text.parse::<u32>().ok();
        let (user, own_group) = match by_number(user) {
            Some(number) => (number, 0),
            None => {
                let table = self.file(container, "/etc/passwd").await?;
                match entry(&table, user) {
                    Some((user, group)) => (user, group.unwrap_or(0)),
                    None => return Ok(None),
                }
            }
        };
        let group = match by_number(group) {
            Some(number) => number,
            None if group.is_empty() => own_group,
            None => {
                let table = self.file(container, "/etc/group").await?;
                entry(&table, group).map_or(own_group, |(group, _)| group)
            }
        };
        Ok(Some(Owner { user, group }))
    }

    /// The text of a file inside; empty where there is none.
    async fn file(&self, container: &str, path: &str) -> Result<String, EngineError> {
        let options = DownloadFromContainerOptions {
            path: path.to_owned(),
        };
        let downloaded = self
            .engine
            .ask("read a file of a container", async |client| {
                let pieces = client.download_from_container(container, Some(options));
                pieces
                    .try_fold(Vec::new(), async |mut all, piece| {
                        all.extend_from_slice(&piece);
                        Ok(all)
                    })
                    .await
            })
            .await;
        match downloaded {
            // One file, and blocks of zeros behind it.
            Ok(archive) => {
                Ok(String::from_utf8_lossy(archive.get(BLOCK..).unwrap_or_default()).into_owned())
            }
            Err(error) if error.is_not_found() => Ok(String::new()),
            Err(error) => Err(error),
        }
    }
}

/// The numbers in the third and fourth field of the line that begins with this name.
fn entry(table: &str, name: &str) -> Option<(u32, Option<u32>)> {
    table.lines().find_map(|line| {
        let mut fields = line.split(':');
        let is_meant = fields.next() == Some(name);
        let first = fields.nth(1)?.parse().ok()?;
        let second = fields.next().and_then(|field| field.parse().ok());
        is_meant.then_some((first, second))
    })
}

/// A tar archive (POSIX.1-1988) of one folder.
fn archive(path: &str, owner: Owner) -> Vec<u8> {
    let mut archive = vec![0; 3 * BLOCK];
    let mut put = |at: usize, text: &str| {
        if let Some(field) = archive.get_mut(at..at + text.len()) {
            field.copy_from_slice(text.as_bytes());
        }
    };
    put(0, &format!("{}/", path.trim_start_matches('/')));
    put(100, &format!("{MODE:07o}"));
    put(108, &format!("{:07o}", owner.user));
    put(116, &format!("{:07o}", owner.group));
    put(124, "00000000000");
    put(136, "00000000000");
    // The checksum counts its own field as spaces.
    put(148, "        ");
    put(156, "5");
    put(257, "ustar");
    put(263, "00");
    let sum: u32 = archive.iter().map(|byte| u32::from(*byte)).sum();
    if let Some(field) = archive.get_mut(148..156) {
        field.copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    archive
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_their_whole_name() {
        let table = "root:x:0:0:root:/root:/bin/sh\nnodejs:x:7:8::/:\nnode:x:1000:1001::/:\nbad\n";
        assert_eq!(entry(table, "node"), Some((1000, Some(1001))));
        assert_eq!(entry(table, "nobody"), None);
        assert_eq!(entry("web:x:33:\n", "web"), Some((33, None)));
    }

    #[test]
    fn the_archive_is_what_tar_reads() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.tar");
        let owner = Owner {
            user: 1000,
            group: 50,
        };
        std::fs::write(&file, archive("/clnrm-data", owner)).unwrap();
        let listed = std::process::Command::new("tar")
            .args(["--numeric-owner", "--list", "--verbose", "--file"])
            .arg(&file)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&listed.stdout).into_owned();
        assert!(text.starts_with("drwxr-xr-x 1000/50"), "{listed:?}");
        assert!(text.trim_end().ends_with("clnrm-data/"), "{text}");
    }
}
