//! What `clnrm init` writes.

/// A first test file. It passes as it stands: all it needs is clnrm itself and a POSIX shell.
pub const FIRST_TEST: &str = include_str!("first_test.clnrm.toml");

#[cfg(test)]
mod tests {
    use super::FIRST_TEST;
    use crate::config::definition::StepAction;
    use crate::config::tests::load_test;

    #[test]
    fn the_first_test_is_valid_and_short() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("first.clnrm.toml");
        std::fs::write(&file, FIRST_TEST).unwrap();
        let test = load_test(&file).unwrap();
        assert_eq!(test.services.len(), 1);
        assert_eq!(test.steps.len(), 2);
        assert!(
            test.steps
                .iter()
                .any(|step| matches!(step.action, StepAction::Http(_)))
        );
        assert!(FIRST_TEST.lines().count() < 40);
    }
}
