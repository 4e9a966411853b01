//! The signals that end a process, by name and number.

/// The numbers that Linux gives these on every architecture that clnrm supports.
const NAMES: [(i32, &str); 17] = [
    (1, "SIGHUP"),
    (2, "SIGINT"),
    (3, "SIGQUIT"),
    (4, "SIGILL"),
    (5, "SIGTRAP"),
    (6, "SIGABRT"),
    (7, "SIGBUS"),
    (8, "SIGFPE"),
    (9, "SIGKILL"),
    (10, "SIGUSR1"),
    (11, "SIGSEGV"),
    (12, "SIGUSR2"),
    (13, "SIGPIPE"),
    (14, "SIGALRM"),
    (15, "SIGTERM"),
    (24, "SIGXCPU"),
    (31, "SIGSYS"),
];

/// The name of a signal; `None` = not among those that usually end a process.
pub fn name_of(number: i32) -> Option<&'static str> {
    let known = NAMES.iter().find(|(known, _)| *known == number);
    known.map(|(_, name)| *name)
}

/// The number of a signal by its name, in any case, with or without `SIG`.
pub fn number_of(name: &str) -> Option<i32> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    let known = NAMES.iter().find(|(_, known)| known.get(3..) == Some(bare));
    known.map(|(number, _)| *number)
}

/// What a shell's `$?` shows of a process that a signal ended.
pub fn shell_code(number: i32) -> i32 {
    128 + number
}

pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    NAMES.iter().map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_be_written_as_shells_write_them() {
        for name in ["SIGKILL", "KILL", "sigkill", "kill"] {
            assert_eq!(number_of(name), Some(9), "{name}");
        }
        for wrong in ["", "SIG", "9", "SIGSIGKILL", "KILLED"] {
            assert_eq!(number_of(wrong), None, "{wrong}");
        }
        assert_eq!(name_of(15), Some("SIGTERM"));
        assert_eq!(name_of(64), None);
    }
}
