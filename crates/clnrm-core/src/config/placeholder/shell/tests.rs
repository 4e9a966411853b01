use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;

use super::*;
use crate::config::placeholder::Where;

/// Everything that a shell gives a meaning to, and words that try to get out of their quotes.
#[rustfmt::skip]
const NASTY: [&str; 30] = [
    " ", "'", "\"", "\\", "$", "`", ";", "\n", "&", "|", "*", "?", "[", "]", "(", ")", "{", "}", "<", ">", "#", "~",
    "!", "=", "-", "\t", "ü", "$(:>CANARY)", "`:>CANARY`", "\nEND\n",
];

/// A script, and what it prints when each value arrives whole, `V` standing for it.
const SOUND: [(&str, &str); 26] = [
    ("printf '<%s>' {data_dir}", "<V>"),
    ("printf '<%s>' -{data_dir} {data_dir}", "<-V><V>"),
    (
        "printf '<%s>' \"a{data_dir}b\" 'a{data_dir}b' a{data_dir}b",
        "<aVb><aVb><aVb>",
    ),
    ("printf '<%s>' \"$(printf %s. {data_dir})\"", "<V.>"),
    (
        "printf '<%s>' \"$(printf %s. \"{data_dir}\" '{data_dir}')\"",
        "<V.V.>",
    ),
    (
        "printf '<%s>' \"$( (printf %s. {data_dir}) )\" \"'{data_dir}'\" '\"{data_dir}\"'",
        "<V.><'V'><\"V\">",
    ),
    (
        "f() { printf '<%s>' \"$1\" {data_dir}; }; f {data_dir} other",
        "<V><V>",
    ),
    ("set -- x; printf '<%s>' \"$1\" {data_dir}", "<x><V>"),
    (
        "case {data_dir} in {data_dir}) printf yes;; *) printf no;; esac",
        "yes",
    ),
    ("case x in (x) printf '<%s>' {data_dir};; esac", "<V>"),
    (
        "for v in {data_dir} \"{data_dir}\"; do printf '<%s>' \"$v\"; done",
        "<V><V>",
    ),
    ("v={data_dir}; printf '<%s>' \"$v\"", "<V>"),
    (
        "v={data_dir} && test \"$v\" = '{data_dir}' && printf same",
        "same",
    ),
    (
        "# it's {data_dir} \"\nprintf '<%s>' {data_dir} # don't {data_dir}",
        "<V>",
    ),
    ("printf '<%s>' a#{port} {data_dir}#b", "<a#{port}><V#b>"),
    (
        "printf '<%s>' \\\"{data_dir}\\' \"\\\"{data_dir}\\$x\"",
        "<\"V'><\"V$x>",
    ),
    ("printf '<%s>' \\\n  {data_dir}", "<V>"),
    ("printf '<%s>' '' \"\" {data_dir}''", "<><><V>"),
    ("sh -c 'printf \"<%s>\" \"$1\"' sh {data_dir}", "<V>"),
    ("if true; then printf '<%s>' {data_dir}; fi 2>&1 >&1", "<V>"),
    ("printf '<%s>' ${nothing:-'}\"'} {data_dir}", "<}\"><V>"),
    ("printf '<%s>' $((1 + (2))) {data_dir}", "<3><V>"),
    ("printf '<%s>' \"`printf '%s' '\"'`\" {data_dir}", "<\"><V>"),
    (
        "v=a; printf '<%s>' \"$v{port}\" $v{port} $v'{port}'",
        "<a8080><a8080><a8080>",
    ),
    ("printf '<%s>' {port}>&1 {data_dir}", "<8080><V>"),
    (
        "cat <<A <<B\nlost\nA\n'\"\nB\nprintf '<%s>' {data_dir}",
        "'\"\n<V>",
    ),
];

/// The same with here-documents, where a value with control characters is refused.
const HERE: [(&str, &str); 5] = [
    ("cat <<E\n\"{data_dir}' $v \\$\nE", "\"V'  $\n"),
    ("cat <<'E'\n\"{data_dir}' $v \\$\nE", "\"V' $v \\$\n"),
    (
        "cat <<-\"E E\"; printf '<%s>' {data_dir}\n\t{data_dir}\n\tE E\n:",
        "V\n<V>",
    ),
    (
        "x=$(cat <<E\n$(printf %s {data_dir}) {data_dir}\nE\n); printf '<%s>' \"$x\"",
        "<V V>",
    ),
    ("cat <<E | cat\n{data_dir}\nE", "V\n"),
];

/// Where a value that needs quoting cannot be quoted in all shells, or is read once more.
const REFUSED: [&str; 24] = [
    "echo `ls {data_dir}`",
    "echo \"`ls {data_dir}`\"",
    "echo ${x:-{data_dir}}",
    "echo \"${x:-{data_dir}}\"",
    "echo $(( {data_dir} ))",
    "echo $'{data_dir}'",
    "echo \\{data_dir}",
    "sh -c \"ls {data_dir}\"",
    "exec /bin/bash -euc 'ls {data_dir}'",
    "$SHELL -c 'ls {data_dir}'",
    "su - user -c 'ls {data_dir}'",
    "sh -c >log 'ls {data_dir}'",
    "eval ls {data_dir}",
    "trap 'rm -rf {data_dir}/*' EXIT",
    "ssh host ls {data_dir}",
    "echo ls {data_dir} | sh",
    "echo ls {data_dir} | sudo bash -s",
    "x=$(echo ls {data_dir} | sh)",
    "sh <<E\nls {data_dir}\nE",
    "sh <<'E'; true\nls {data_dir}\nE",
    "echo $(case x in x) ls {data_dir};; esac)",
    "cat <<E \"\n\" {data_dir}\nE",
    "cat <<$x\n{data_dir}\n$x",
    "((x = 1)); ls {data_dir}",
];

fn bindings(value: &str) -> Bindings {
    let instance = Where {
        host: "127.0.0.1".to_owned(),
        port: Some(8080),
        data_dir: PathBuf::from(value),
        ..Where::default()
    };
    Bindings {
        own: Some("app".to_owned()),
        services: [("app".to_owned(), instance)].into(),
        ..Bindings::default()
    }
}

fn rendered(script: &str, value: &str) -> Result<String, PlaceholderError> {
    render_script(script, &bindings(value))
}

/// Every POSIX shell of this machine; `sh` is one of them.
fn shells() -> Vec<Vec<&'static str>> {
    let known = [
        vec!["sh"],
        vec!["dash"],
        vec!["bash"],
        vec!["bash", "--posix"],
        vec!["busybox", "sh"],
    ];
    let answers = |shell: &Vec<&str>| {
        let (program, arguments) = shell.split_first().unwrap();
        let output = Command::new(program)
            .args(arguments)
            .args(["-c", "exit 7"])
            .output();
        output.is_ok_and(|output| output.status.code() == Some(7))
    };
    let found: Vec<_> = known.into_iter().filter(answers).collect();
    assert!(found.contains(&vec!["sh"]), "no shell here");
    found
}

fn output_of(shell: &[&str], script: &str, folder: &Path) -> String {
    let (program, arguments) = shell.split_first().unwrap();
    let output = Command::new(program)
        .args(arguments)
        .args(["-c", script])
        .current_dir(folder)
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn check(template: &str, expected: &str, value: &str, folder: &Path) {
    let script = rendered(template, value).unwrap();
    for shell in shells() {
        let output = output_of(&shell, &script, folder);
        assert_eq!(
            output,
            expected.replace('V', value),
            "{shell:?} of {script}"
        );
    }
}

#[test]
fn plain_values_are_written_as_they_are() {
    let script = "rm -rf {data_dir}/* \"{data_dir}\" '{data_dir}' `x {port}` ${x:-{port}} $(({port})) 1{port}";
    let expected = "rm -rf /a-b_c.1/* \"/a-b_c.1\" '/a-b_c.1' `x 8080` ${x:-8080} $((8080)) 18080";
    assert_eq!(rendered(script, "/a-b_c.1").unwrap(), expected);
    for script in REFUSED {
        let expected = script.replace("{data_dir}", "/plain");
        assert_eq!(rendered(script, "/plain").unwrap(), expected);
    }
}

#[test]
fn what_surrounds_a_value_keeps_its_meaning() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("my project's");
    for name in ["my", "my project's/a b", "my project's/c"] {
        std::fs::create_dir_all(folder.path().join(name)).unwrap();
    }
    let script = rendered("rm -rf {data_dir}/*", data.to_str().unwrap()).unwrap();
    assert_eq!(output_of(&["sh"], &script, folder.path()), "");
    assert!(folder.path().join("my").exists());
    assert!(data.exists() && !data.join("a b").exists() && !data.join("c").exists());
}

#[test]
fn each_value_arrives_whole() {
    let folder = tempfile::tempdir().unwrap();
    for (template, expected) in SOUND.iter().chain(&HERE) {
        for value in ["/my project", "it's $HOME", "a\"b`c\\", "-n"] {
            check(template, expected, value, folder.path());
        }
    }
}

#[test]
fn a_value_that_cannot_be_quoted_is_refused_with_the_way_out() {
    for template in REFUSED {
        let error = rendered(template, "/my project").expect_err(template);
        let text = error.to_string();
        assert!(text.starts_with("{data_dir}: its value has"), "{text}");
        assert!(text.contains("env = { VALUE = \"{data_dir}\" }"), "{text}");
    }
    for (template, _) in HERE {
        assert!(rendered(template, "two\nlines").is_err(), "{template}");
    }
    assert!(rendered("cat <<E\n{data_dir}x\nE", "a b").is_ok());
    assert!(rendered("cat <<'a b'\n{data_dir}\na b", "a b").is_err());
}

#[test]
fn a_script_in_a_list_is_quoted_and_its_arguments_are_not() {
    let lists = [
        (
            vec!["sh", "-c", "ls {data_dir}/*", "{data_dir}"],
            vec!["sh", "-c", "ls '/my project'/*", "/my project"],
        ),
        (
            vec![
                "env",
                "A=b",
                "/bin/bash",
                "-o",
                "pipefail",
                "-ec",
                "ls {data_dir}",
            ],
            vec![
                "env",
                "A=b",
                "/bin/bash",
                "-o",
                "pipefail",
                "-ec",
                "ls '/my project'",
            ],
        ),
        (
            vec!["ssh", "host", "ls {data_dir}"],
            vec!["ssh", "host", "ls '/my project'"],
        ),
        (
            vec!["server", "-c", "{data_dir}"],
            vec!["server", "-c", "/my project"],
        ),
    ];
    for (arguments, expected) in lists {
        let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
        assert_eq!(
            render_arguments(&arguments, &bindings("/my project")).unwrap(),
            expected
        );
    }
}

#[test]
fn deep_nesting_is_no_crash() {
    for open in ["$(", "${x:-", "\"$(", "(", "$((", "`"] {
        let script = format!("{}{{data_dir}}", open.repeat(100_000));
        let _ = rendered(&script, "/my project");
    }
}

/// Of these a random sequence is seldom a correct script, and often a wrong one that looks alike.
#[rustfmt::skip]
const SOUP: [&str; 42] = [
    "{data_dir}", "{data_dir}", "{data_dir}", "{port}", "'", "\"", "`", "\\", "$", "$(", "$((", "${x:-", "${x#", "}",
    "(", ")", "((", "))", "#", " # ", "\n", ";", "|", " ", "<<E", "<<-'E'", "\nE\n", "\n\tE\n", "case x in x) ",
    "esac", "echo ", "eval ", "sh -c ", "$'", "x=", "{ ", " }", "&", ">f", "if :; then ", "fi", "f() ",
];

fn soup() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(&SOUP[..]), 1..14).prop_map(|pieces| pieces.concat())
}

fn nasty() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(&NASTY[..]), 0..8).prop_map(|parts| parts.concat())
}

/// One way out of every quoting, each followed by what nobody asked for.
#[rustfmt::skip]
const ESCAPES: [&str; 12] = [
    " :>CANARY", "\n:>CANARY\n", "';:>CANARY;'", "\";:>CANARY;\"", "$(:>CANARY)", "`:>CANARY`",
    "};:>CANARY;", ");:>CANARY;(", "\nE\n:>CANARY\n", "&:>CANARY;", "\\';:>CANARY;", "))\n:>CANARY\n",
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn any_value_arrives_whole_behind_any_scripts(
        before in prop::sample::select(&SOUND[..]),
        (template, expected) in prop::sample::select(&SOUND[..]),
        value in nasty(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        check(template, expected, &value, folder.path());
        let both = format!("{}\n{template}", before.0);
        check(&both, &format!("{}{expected}", before.1), &value, folder.path());
        check(&format!("({template}\n)"), expected, &value, folder.path());
    }

    #[test]
    fn no_value_gets_out_of_its_place(script in soup(), value in prop::sample::select(&ESCAPES[..])) {
        let Ok(script) = rendered(&script, value) else { return Ok(()) };
        let folder = tempfile::tempdir().unwrap();
        for shell in shells() {
            let (program, arguments) = shell.split_first().unwrap();
            let program = which(program);
            let _ = Command::new(program).args(arguments).args(["-c", &script]).current_dir(&folder)
                .env_clear().env("PATH", "").output().unwrap();
            prop_assert!(!folder.path().join("CANARY").exists(), "{shell:?} of {script}");
        }
    }
}

/// Found before `PATH` is emptied, which keeps random scripts from running anything.
fn which(program: &str) -> PathBuf {
    let output = Command::new("sh")
        .args(["-c", "command -v \"$1\"", "sh", program])
        .output()
        .unwrap();
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim_end())
}
