//! Arbitrary and broken input. What correct files mean is in `files.rs`.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

mod containers;
mod files;

use super::{AutoScaleConfig, ConfigError, definition, parse_test, test_file};
use crate::servers;

pub(super) fn load_test(path: &Path) -> Result<super::TestDefinition, ConfigError> {
    super::load_test(path, &servers::forms())
}

fn parse(text: &str) -> Result<super::TestDefinition, ConfigError> {
    let context = test_file::Context {
        file: Path::new("x.clnrm.toml"),
        base_dir: Path::new("/base"),
        folder: Path::new(""),
        scale_defaults: &AutoScaleConfig::default(),
        servers: &servers::forms(),
    };
    parse_test(text, &context)
}

/// The text of every fixture, good and bad.
fn fixtures() -> Vec<String> {
    let files = files::fixtures("legacy")
        .into_iter()
        .chain(files::fixtures("bad"));
    let texts: Vec<String> = files
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    assert!(texts.len() > 30);
    texts
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_text_never_panics(text in any::<String>()) {
        let _ = parse(&text);
    }

    /// Random edits of real files reach far deeper than random text does.
    #[test]
    fn mutated_files_never_panic_and_problems_point_into_the_file(
        pick in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8, any::<char>()), 1..12),
    ) {
        let fixtures = fixtures();
        let mut text: Vec<char> = pick.get(&fixtures).chars().collect();
        for (at, edit, character) in edits {
            let at = at.index(text.len().max(1)).min(text.len());
            match edit {
                0 => text.insert(at, character),
                1 if at < text.len() => { text.remove(at); }
                2 => text.insert(at, ['{', '}', '"', '\n', '.', '[', '0'][character as usize % 7]),
                _ => { text.truncate(at.max(text.len() / 2)); }
            }
        }
        let text: String = text.into_iter().collect();
        if let Err(ConfigError::Invalid { problems, .. }) = parse(&text) {
            prop_assert!(!problems.is_empty());
            for problem in problems {
                prop_assert!((1..=text.split('\n').count()).contains(&problem.line));
                let line = text.split('\n').nth(problem.line - 1).unwrap();
                prop_assert!((1..=line.chars().count() + 1).contains(&problem.column));
            }
        }
    }
}

#[test]
fn a_deeply_nested_file_is_refused_and_not_a_crash() {
    let text = format!("x = {}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(parse(&text).is_err());
}

#[test]
fn a_long_chain_of_services_is_checked() {
    let mut text = String::from("[services.s0]\ncommand = [\"true\"]\n");
    for number in 1..2000 {
        let before = number - 1;
        text.push_str(&format!(
            "[services.s{number}]\ncommand = [\"true\"]\ndepends_on = [\"s{before}\"]\n"
        ));
    }
    assert_eq!(parse(&text).unwrap().services.len(), 2000);
}

#[test]
fn what_is_not_a_text_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.clnrm.toml");
    let error = |path: &Path| {
        let text = load_test(path).unwrap_err().to_string();
        text.replace(folder.path().to_str().unwrap(), "DIR")
    };
    assert_eq!(error(&path), "DIR/x.clnrm.toml: no such file");
    assert_eq!(error(folder.path()), "DIR: not a regular file");
    assert_eq!(
        error(Path::new("/dev/zero")),
        "/dev/zero: not a regular file"
    );
    fs::write(&path, b"a = 1\nb = \"\xff\"\n").unwrap();
    assert_eq!(error(&path), "DIR/x.clnrm.toml:2:6: not UTF-8 text");
    fs::write(&path, vec![b'#'; 2 << 20]).unwrap();
    assert!(error(&path).contains("larger than 1048576 bytes"));
    fs::write(&path, "").unwrap();
    assert!(error(&path).contains("no steps and no services"));
}

#[test]
fn windows_line_ends_are_line_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.clnrm.toml");
    let text = "[[steps]]\ncommand = \"\"\"\nif true; then\n  echo \\r\\n\nfi\n\"\"\"\nenv.A = '''a\nb'''\n";
    fs::write(&path, text).unwrap();
    let unix = load_test(&path).unwrap();
    fs::write(&path, text.replace('\n', "\r\n")).unwrap();
    assert_eq!(load_test(&path).unwrap(), unix);
    fs::write(&path, "a = 1\r\nb = \r\n").unwrap();
    let error = load_test(&path).unwrap_err().to_string();
    assert!(error.contains("x.clnrm.toml:2:"), "{error}");
}

#[test]
fn variables_have_the_values_that_the_file_shows() {
    let text = "
        [services.a]
        command = [\"true\"]
        env = { A = 3.10, B = 1.0, C = 0o755, D = 0x1F, E = 1_000, F = true, G = 2026-01-02, H = 1e3, I = +inf, J = \"3.10\" }
        [[steps]]
        command = \"true\"
        env = [\"TOKEN\", \"A=b\"]
    ";
    let test = parse(text).unwrap();
    let values: Vec<&str> = test.services[0].env.values().map(String::as_str).collect();
    assert_eq!(
        values,
        [
            "3.10",
            "1.0",
            "0o755",
            "0x1F",
            "1_000",
            "true",
            "2026-01-02",
            "1e3",
            "+inf",
            "3.10"
        ]
    );
    let definition::StepAction::Command(step) = &test.steps[0].action else {
        panic!("{:?}", test.steps[0]);
    };
    assert!(step.env.len() == 1 && step.env_of_caller.contains("TOKEN"));
}

#[test]
fn services_and_steps_keep_the_order_of_the_file() {
    let text = "
        [services.z]
        command = [\"true\"]
        [services.a]
        command = [\"true\"]
        [services.m]
        command = [\"true\"]
    ";
    let services = parse(text).unwrap().services;
    let names: Vec<&str> = services
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    assert_eq!(names, ["z", "a", "m"]);
}
