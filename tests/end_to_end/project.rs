//! A project of its own for each test, driven through the binary, and proof that nothing of it is left.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use clnrm_core::procfs::ProcessTable;
use clnrm_core::store::Store;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::clnrm;

/// No command of these tests may take longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// The small HTTP server that clnrm brings along, as a service called `web`.
pub(crate) const WEB: &str = r#"
[services.web]
command = ["{clnrm}", "demo", "serve", "--port", "{port}"]
ready = { http = "/healthz", timeout = "20s" }
metrics = { prometheus = "/metrics" }
"#;

/// A folder with one test file. Its services are stopped when this goes.
pub(crate) struct TestProject {
    folder: TempDir,
}

/// What a command answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Answer {
    /// Its exit code is this one.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// Standard output or standard error says this.
    #[track_caller]
    pub(crate) fn says(self, words: &str) -> Self {
        assert!(
            self.out.contains(words) || self.err.contains(words),
            "{words:?} is missing in {self:#?}"
        );
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error} in {self:#?}"))
    }
}

impl TestProject {
    /// A project without test files.
    pub(crate) fn empty() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// A project with this test file.
    pub(crate) fn with(test_file: &str) -> Self {
        let project = Self::empty();
        project.write("t.clnrm.toml", test_file);
        project
    }

    /// A project whose file has this name, these lines below `[test]`, and a step that passes.
    pub(crate) fn of_services(services: &str) -> Self {
        Self::with(&test_file("t", services, "true"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.path().join(".clnrm")
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).unwrap();
    }

    /// The command in the project's folder, with nothing of this test's own settings.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(clnrm());
        command.args(arguments).current_dir(self.path());
        command.env("NO_COLOR", "1").env_remove("CI");
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CLNRM_")) {
            command.env_remove(name);
        }
        command
            .env("CLNRM_STATE_DIR", self.state_dir())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs a command to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Answer {
        answer(self.command(arguments)).await
    }

    /// The instances that `services status` lists.
    pub(crate) async fn status(&self) -> Vec<Value> {
        let answer = self.run(&["services", "status", "-f", "json"]).await;
        let json = answer.expect(0).json();
        json["instances"].as_array().unwrap().clone()
    }

    /// The instances that are running according to `services status`.
    pub(crate) async fn running(&self) -> Vec<Value> {
        let mut instances = self.status().await;
        instances.retain(|instance| instance["state"] == "running");
        instances
    }

    /// One pass of `ai-manage`, as JSON.
    pub(crate) async fn manage(&self, options: &[&str]) -> Value {
        let arguments = [&["services", "ai-manage", "-f", "json"], options].concat();
        self.run(&arguments).await.expect(0).json()
    }

    /// Living processes of this project: clnrm starts each below the project's folder, whatever it does later.
    /// That is not how clnrm itself finds them.
    pub(crate) fn processes(&self) -> Vec<String> {
        let folder = self.path().to_str().unwrap();
        let table = ProcessTable::scan().unwrap();
        let alive = table.iter().filter(|process| process.is_alive());
        alive
            .filter_map(|process| {
                let proc = PathBuf::from(format!("/proc/{}", process.pid));
                let line = fs::read(proc.join("cmdline")).unwrap_or_default();
                let line = String::from_utf8_lossy(&line).replace('\0', " ");
                let inside =
                    fs::read_link(proc.join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder));
                (inside || line.contains(folder)).then(|| format!("{}: {line}", process.pid))
            })
            .collect()
    }

    /// Stops everything, and checks it with its own eyes.
    pub(crate) async fn stop_all(&self) {
        let answer = self.run(&["services", "stop", "--all"]).await;
        answer.expect(0).says("0 leaked");
        assert_eq!(self.processes(), [""; 0]);
    }

    /// How many samples the history holds of each service, by name.
    pub(crate) fn samples(&self) -> Vec<(String, usize)> {
        let Some(store) = Store::open_existing(&self.state_dir()).unwrap() else {
            return Vec::new();
        };
        let services = store.services().unwrap();
        let count = |id| store.raw_samples(id).unwrap().len();
        services
            .into_iter()
            .map(|service| (service.name, count(service.id)))
            .collect()
    }
}

impl Drop for TestProject {
    fn drop(&mut self) {
        // A test that damaged its history has nothing running, and no way to stop it.
        let _ = self.command(&["services", "stop", "--all"]).output();
    }
}

/// A test file with services and one step, a shell command.
pub(crate) fn test_file(name: &str, services: &str, step: &str) -> String {
    format!(
        "[test]\nname = \"{name}\"\n{services}\n[[steps]]\nname = \"step\"\ncommand = '''{step}'''\n"
    )
}

/// Runs a command to its end, however it was made.
pub(crate) async fn answer(command: Command) -> Answer {
    let mut command = tokio::process::Command::from(command);
    command.kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output())
        .await
        .unwrap_or_else(|_| panic!("{command:?} hangs"))
        .unwrap();
    Answer {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A process of the test itself, which is ended with the test.
pub(crate) struct Background(pub(crate) std::process::Child);

impl Drop for Background {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Says why a test is not carried out; fails it where every test must be.
pub(crate) fn skipped(reason: &str) {
    let required = std::env::var_os("CLNRM_TEST_REQUIRE_ALL").is_some_and(|value| value == "1");
    assert!(!required, "{reason}");
    // Not by a macro: the test harness hides what those print in a test that passes.
    let _ = writeln!(std::io::stderr(), "skipped: {reason}");
}

/// Whether a program is installed; says so when a test is skipped for it.
pub(crate) fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    if !found {
        skipped(&format!("{program} is not installed"));
    }
    found
}
