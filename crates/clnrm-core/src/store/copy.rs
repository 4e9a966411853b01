//! A history that cannot be written (a read-only mount, a full disk, another's file), copied into memory to be looked at.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags};

use super::error::StoreError;
use super::open::{SCHEMA, check_owner, check_size, configure, migrate, version, with_suffix};

const COPYING: &str = "copy the history";
/// Per step; between two steps others may write.
const PAGES: i32 = 100_000;

/// Copies the database into memory and brings the copy up to date; `None` = there is none.
pub(super) fn copy(path: &Path) -> Result<Option<Connection>, StoreError> {
    if !check_size(path)? {
        return Ok(None);
    }
    let source = open_read_only(path)?;
    check_owner(&source, path)?;
    copy_of(&source)
        .map(Some)
        .map_err(|error| StoreError::from_sqlite(path, COPYING, error))
}

/// A copy of its own in memory.
pub(super) fn copy_of(source: &Connection) -> rusqlite::Result<Connection> {
    let mut memory = Connection::open_in_memory()?;
    Backup::new(source, &mut memory)?.run_to_completion(PAGES, Duration::ZERO, None)?;
    configure(&memory)?;
    if version(&memory)? < SCHEMA {
        migrate(&mut memory)?;
    }
    Ok(memory)
}

/// SQLite reads a database with a write-ahead log only where the log's index is, or can be made. Where neither holds,
/// and the log is empty, nobody has the database open, and it may be read as a file that does not change.
fn open_read_only(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let readable = |connection: Connection| version(&connection).map(|_| connection);
    let refused = match Connection::open_with_flags(path, flags).and_then(readable) {
        Ok(connection) => return Ok(connection),
        Err(error) => error,
    };
    if fs::metadata(with_suffix(path, "-wal")).is_ok_and(|log| log.len() > 0) {
        return Err(StoreError::NeedsCopy {
            path: path.to_path_buf(),
            source: refused,
        });
    }
    Connection::open_with_flags(unchanging(path), flags | OpenFlags::SQLITE_OPEN_URI)
        .and_then(readable)
        .map_err(|error| StoreError::from_sqlite(path, COPYING, error))
}

/// The file's URI, <https://sqlite.org/uri.html>.
fn unchanging(path: &Path) -> String {
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                uri.push(char::from(*byte));
            }
            other => uri.push_str(&format!("%{other:02X}")),
        }
    }
    uri + "?immutable=1"
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::tests::{at, definition, store};
    use super::super::{Store, StoreError};
    use super::*;

    #[test]
    fn a_copy_has_what_is_there_and_keeps_nothing() {
        let (dir, mut original) = store();
        let file = Path::new("/project/t.clnrm.toml");
        let register = |store: &mut Store, name| {
            store
                .register_service(&definition(name), file, at(0))
                .unwrap();
        };
        register(&mut original, "cache");
        // Its newest rows are in the write-ahead log.
        let mut copy = Store::open_copy(dir.path()).unwrap().unwrap();
        register(&mut copy, "web");
        let another = copy.another().unwrap();
        assert_eq!(copy.services().unwrap().len(), 2);
        assert_eq!(another.services().unwrap().len(), 2);
        assert_eq!(original.services().unwrap().len(), 1);
    }

    #[test]
    fn a_folder_with_odd_characters_that_nobody_may_write_is_read() {
        let outer = tempfile::tempdir().unwrap();
        let dir = outer.path().join("50% of a?b#c d");
        let mut original = Store::open(&dir).unwrap();
        let file = Path::new("/project/t.clnrm.toml");
        original
            .register_service(&definition("cache"), file, at(0))
            .unwrap();
        drop(original);
        // For root this forbids nothing, and the index is made: the copy is the same.
        fs::set_permissions(&dir, Permissions::from_mode(0o500)).unwrap();
        let copy = Store::open_copy(&dir).unwrap().unwrap();
        assert_eq!(copy.services().unwrap().len(), 1);
        let uri = unchanging(&dir.join("state.db"));
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        let unchanging = Connection::open_with_flags(uri, flags).unwrap();
        assert_eq!(version(&unchanging).unwrap(), SCHEMA);
        fs::set_permissions(&dir, Permissions::from_mode(0o700)).unwrap();
    }

    #[test]
    fn without_a_history_there_is_nothing_to_copy_and_damage_is_told() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Store::open_copy(dir.path()).unwrap().is_none());
        fs::write(dir.path().join("state.db"), "too short").unwrap();
        let error = Store::open_copy(dir.path()).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    }
}
