//! A Docker Engine for tests and benchmarks, with images made of this machine's own files: no registry is asked.
//!
//! Speaks through the `docker` command, so that what clnrm does over the engine's API is held against another client.
//! Deliberately absent: removing images. They are named by their content, so each is made once per machine.

#![allow(
    dead_code,
    reason = "shared by the tests of two crates and by benchmarks; each uses a part"
)]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use sha2::{Digest as _, Sha256};

/// The label of every container that [`Docker::start`] makes.
const TEST_LABEL: &str = "clnrm-test";
/// To be raised when a recipe below makes another image of the same files.
const RECIPES: u8 = 1;

/// An image that tests can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TestImage {
    /// `redis-server` (which it runs, on port 6379, open to all and without persistence) and `redis-cli`; no shell.
    Redis,
    /// Debian's static busybox with a link per applet: `sh`, `sleep`, `nc`, `httpd`, `wget`, …
    Busybox,
    /// A single program, `sleep`, which it runs for an hour; no shell.
    Nothing,
}

/// An engine that answers.
#[derive(Debug)]
pub(crate) struct Docker {
    /// As in `DOCKER_HOST`; `None` = as the environment says.
    host: Option<String>,
}

/// A running container, which is removed when this goes.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) id: String,
}

/// An engine on which these images are; `None` with a printed reason where that cannot be. With
/// `CLNRM_TEST_REQUIRE_ALL=1` a missing part is a failure, unless `.ci/run` found that no engine can run here.
pub(crate) fn docker(needed: &[TestImage]) -> Option<Docker> {
    let docker = Docker { host: None };
    let found = docker.engine().and_then(|()| {
        needed
            .iter()
            .try_for_each(|image| docker.image(*image).map(drop))
    });
    match found {
        Ok(()) => Some(docker),
        Err(reason) => {
            let is_set = |name| std::env::var_os(name).is_some_and(|value| value == "1");
            let required = is_set("CLNRM_TEST_REQUIRE_ALL") && !is_set("CLNRM_TEST_WITHOUT_ENGINE");
            assert!(!required, "{reason}");
            // Not by a macro: the test harness hides what those print in a test that passes.
            let _ = writeln!(std::io::stderr(), "skipped: {reason}");
            None
        }
    }
}

/// The `[services.NAME]` table of a test file for one container, with further lines.
pub(crate) fn container_service(name: &str, image: TestImage, lines: &str) -> String {
    let tag = image.tag().unwrap();
    format!("\n[services.{name}]\nimage = \"{tag}\"\n{lines}\n")
}

/// The table of a redis in a container, ready when it accepts connections.
pub(crate) fn redis_service(name: &str, lines: &str) -> String {
    let lines = format!(
        "ports = 6379\nready = {{ tcp = true, timeout = \"30s\" }}\nmetrics = \"redis\"\n{lines}"
    );
    container_service(name, TestImage::Redis, &lines)
}

impl Docker {
    /// The engine at this address, whether it answers or not.
    pub(crate) fn at(host: String) -> Self {
        Self { host: Some(host) }
    }

    fn command(&self) -> Command {
        let mut command = Command::new("docker");
        if let Some(host) = &self.host {
            command.env("DOCKER_HOST", host);
        }
        command
    }

    fn engine(&self) -> Result<(), String> {
        self.run(&["version", "--format", "{{.Server.Version}}"])
            .map(drop)
            .map_err(|problem| format!("no Docker Engine: {problem}"))
    }

    /// The name of an image, which is made if it is not there.
    pub(crate) fn image(&self, image: TestImage) -> Result<String, String> {
        let tag = image.tag()?;
        // Two imports of one name would leave an image without a name behind.
        let lock = std::env::temp_dir().join(format!(
            "clnrm-test-images-{}.lock",
            rustix::process::geteuid().as_raw()
        ));
        let lock = File::create(&lock).map_err(|error| format!("{}: {error}", lock.display()))?;
        lock.lock().map_err(|error| error.to_string())?;
        if self.run(&["image", "inspect", &tag]).is_err() {
            self.import(image, &tag)?;
        }
        Ok(tag)
    }

    fn import(&self, image: TestImage, tag: &str) -> Result<(), String> {
        let root = tempfile::tempdir().map_err(|error| error.to_string())?;
        image
            .fill(root.path())
            .map_err(|error| format!("{tag}: {error}"))?;
        let mut tar = Command::new("tar")
            .arg("--directory")
            .arg(root.path())
            .args(["--owner=0", "--group=0", "--create", "."])
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("tar: {error}"))?;
        let archive = tar.stdout.take().map_or_else(Stdio::null, Stdio::from);
        let mut import = self.command();
        import.arg("import");
        for change in image.changes() {
            import.args(["--change", change]);
        }
        let output = import.args(["-", tag]).stdin(archive).output();
        let archived = tar.wait().map_err(|error| error.to_string())?;
        if !archived.success() {
            return Err(format!("tar: {archived}"));
        }
        checked(&output.map_err(|error| format!("docker: {error}"))?).map(drop)
    }

    /// Standard output of a `docker` command.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let output = self.command().args(arguments).output();
        checked(&output.map_err(|error| format!("the docker command: {error}"))?)
    }

    /// A started container with these options, of an image that is there, with the arguments behind it.
    #[track_caller]
    pub(crate) fn start(
        &self,
        options: &[&str],
        image: TestImage,
        arguments: &[&str],
    ) -> Container {
        let tag = image.tag().unwrap();
        let all = [
            &["create", "--label", TEST_LABEL][..],
            options,
            &[&tag],
            arguments,
        ];
        let id = self.run(&all.concat()).unwrap();
        // Removed also when it cannot be started.
        let container = Container { id };
        self.run(&["start", &container.id]).unwrap();
        container
    }

    /// One field of a container, by a Go template: `{{.State.Pid}}`.
    #[track_caller]
    pub(crate) fn inspect(&self, container: &Container, template: &str) -> String {
        self.run(&["inspect", "--format", template, &container.id])
            .unwrap()
    }

    /// The port of 127.0.0.1 at which a port of the container is published.
    #[track_caller]
    pub(crate) fn published_port(&self, container: &Container, port: u16) -> u16 {
        let addresses = self
            .run(&["port", &container.id, &format!("{port}/tcp")])
            .unwrap();
        let address = addresses.lines().next().unwrap();
        address.rsplit(':').next().unwrap().parse().unwrap()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // It may have been removed already.
        let _ = Command::new("docker")
            .args(["rm", "--force", "--volumes", &self.id])
            .output();
    }
}

fn checked(output: &Output) -> Result<String, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    }
}

impl TestImage {
    /// Its name: another one for other content.
    pub(crate) fn tag(self) -> Result<String, String> {
        let name = match self {
            Self::Redis => "redis",
            Self::Busybox => "busybox",
            Self::Nothing => "nothing",
        };
        let mut digest = Sha256::new();
        digest.update([RECIPES]);
        for file in self.files()? {
            digest.update(fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?);
        }
        let digest: String = digest
            .finalize()
            .iter()
            .take(6)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Ok(format!("clnrm-test/{name}:{digest}"))
    }

    /// The files of this machine that it is made of.
    fn files(self) -> Result<BTreeSet<PathBuf>, String> {
        if self != Self::Redis {
            return Ok(BTreeSet::from([program("busybox")?]));
        }
        let mut files = BTreeSet::new();
        for name in ["redis-server", "redis-cli"] {
            let program = program(name)?;
            files.extend(libraries(&program)?);
            files.insert(program);
        }
        Ok(files)
    }

    fn fill(self, root: &Path) -> Result<(), String> {
        let io = |error: std::io::Error| error.to_string();
        for folder in ["bin", "data", "tmp"] {
            fs::create_dir_all(root.join(folder)).map_err(io)?;
        }
        match self {
            Self::Redis => {
                for file in self.files()? {
                    let inside = root.join(file.strip_prefix("/").unwrap_or(&file));
                    fs::create_dir_all(inside.parent().unwrap_or(root)).map_err(io)?;
                    fs::copy(&file, inside).map_err(io)?;
                }
            }
            Self::Nothing => {
                fs::copy(program("busybox")?, root.join("bin/sleep")).map_err(io)?;
            }
            Self::Busybox => {
                let busybox = root.join("bin/busybox");
                fs::copy(program("busybox")?, &busybox).map_err(io)?;
                let list = Command::new(&busybox).arg("--list").output().map_err(io)?;
                for applet in checked(&list)?.lines().filter(|name| *name != "busybox") {
                    symlink("busybox", root.join("bin").join(applet)).map_err(io)?;
                }
            }
        }
        Ok(())
    }

    /// Instructions as in a Dockerfile.
    fn changes(self) -> &'static [&'static str] {
        match self {
            Self::Redis => &[
                "ENV PATH=/usr/local/bin:/usr/bin:/bin",
                "WORKDIR /data",
                "EXPOSE 6379/tcp",
                r#"CMD ["redis-server", "--protected-mode", "no", "--save", ""]"#,
            ],
            Self::Busybox => &["ENV PATH=/bin", r#"CMD ["sh"]"#],
            Self::Nothing => &["ENV PATH=/bin", r#"CMD ["sleep", "3600"]"#],
        }
    }
}

fn program(name: &str) -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .ok_or_else(|| format!("{name} is not installed"))
}

/// The shared libraries of a program, by the paths at which it looks for them.
fn libraries(program: &Path) -> Result<BTreeSet<PathBuf>, String> {
    let output = Command::new("ldd").arg(program).output();
    let text = checked(&output.map_err(|error| format!("ldd: {error}"))?)?;
    let words = text.lines().flat_map(str::split_whitespace);
    Ok(words
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .collect())
}
