//! What a command leaves running inside a container, which ends with it, as beside a process.
//!
//! The engine knows only the process that it started itself. Whatever that one starts has its session, or at least a
//! variable of that command alone in its environment. Deliberately absent: what has shed both (`env -i setsid …`).

use std::fs;
use std::time::Duration;

use bollard::models::ExecConfig;
use rustix::process::Signal;
use tokio::time::sleep;

use super::DockerBackend;
use super::container::main_pid;
use super::engine::Connected;
use super::error::EngineError;
use super::exec_output::run_to_its_end;
use crate::backend::signal;
use crate::procfs::{ProcessStat, ProcessTable};

/// Each process of a command has it in its environment, with a value of that command alone.
const VARIABLE: &str = "CLNRM_COMMAND_ID";
/// What is killed is gone within a millisecond or two; what forks meanwhile is found by the next look.
const LOOKS: usize = 50;
const PAUSE: Duration = Duration::from_millis(2);
/// `/proc` counts times in these.
const TICKS_PER_SECOND: f64 = 100.0;
/// Looks from inside, each of which is a command of its own.
const LOOKS_INSIDE: usize = 3;
/// What the look from inside says when it has found something.
const FOUND: i32 = 3;

/// By what the processes of a command are known.
#[derive(Debug)]
pub(super) struct Traces {
    container: String,
    /// How the entry in their environment begins.
    variable: String,
    /// The process that the engine started; each command is a session of its own.
    session: Option<i32>,
    /// None of them has started before, in ticks since boot.
    since_ticks: u64,
}

impl Traces {
    /// Of a command that is about to begin.
    pub(super) fn of_new_command(container: &str) -> Self {
        Self {
            container: container.to_owned(),
            variable: format!("{VARIABLE}={:016x}", rand::random::<u64>()),
            session: None,
            since_ticks: ticks_since_boot(),
        }
    }

    /// Of every command that ran in that container.
    pub(super) fn of_any_command(container: &str) -> Self {
        Self {
            container: container.to_owned(),
            variable: format!("{VARIABLE}="),
            session: None,
            since_ticks: 0,
        }
    }

    /// The entry of its environment.
    pub(super) fn variable(&self) -> &str {
        &self.variable
    }

    /// The engine has told which process it started.
    pub(super) fn began_as(&mut self, pid: Option<i64>) {
        let pid = pid.and_then(|pid| i32::try_from(pid).ok());
        self.session = pid.filter(|pid| *pid > 0);
    }

    fn living(&self) -> Vec<ProcessStat> {
        let Ok(table) = ProcessTable::scan() else {
            return Vec::new();
        };
        let is_of_it = |process: &&ProcessStat| {
            process.start_ticks >= self.since_ticks
                && process.is_alive()
                && belongs_to(process.pid, &self.container)
                && (Some(process.session) == self.session || self.is_marked(process.pid))
        };
        table.iter().filter(is_of_it).copied().collect()
    }

    fn is_marked(&self, pid: i32) -> bool {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let mut entries = environment.split(|byte| *byte == 0);
        entries.any(|entry| entry.starts_with(self.variable.as_bytes()))
    }
}

impl DockerBackend {
    /// Ends what a command has left, and remembers what does not end.
    pub(super) async fn end_leftovers(&self, mut traces: Traces) -> Result<(), EngineError> {
        let Some(container) = self.inspect(&traces.container).await? else {
            return Ok(());
        };
        let Some(pid) = main_pid(&container) else {
            // It has ended, and everything in it.
            return Ok(());
        };
        traces.container = container.id.unwrap_or(traces.container);
        let survivors = if is_seen(pid, &traces.container) {
            end_from_here(&traces).await
        } else {
            self.end_from_inside(&traces).await?
        };
        if let Some(survivors) = survivors {
            let mut left = self.left_running.lock().await;
            left.insert(traces.container, survivors);
        }
        Ok(())
    }

    /// Nobody could look for what a command has left.
    pub(super) async fn could_not_look(&self, container: &str, error: &EngineError) {
        let mut left = self.left_running.lock().await;
        left.entry(container.to_owned())
            .or_insert_with(|| format!("nobody knows what: {error}"));
    }

    async fn end_from_inside(&self, traces: &Traces) -> Result<Option<String>, EngineError> {
        let connected = self.engine.connected().await?;
        for _ in 0..LOOKS_INSIDE {
            match look_from_inside(connected, traces).await {
                Ok(FOUND) => {}
                // Without a shell in the image nobody can look, and a command has little to start anything with.
                Ok(_) => return Ok(None),
                Err(error) => {
                    let failed = "look for what a command left in a container";
                    return Err(EngineError::from_client(error, failed, &connected.address));
                }
            }
        }
        Ok(Some("a process of an earlier command".to_owned()))
    }
}

/// What is still there in the end, as `name (pid 12)`.
async fn end_from_here(traces: &Traces) -> Option<String> {
    for _ in 0..LOOKS {
        let living = traces.living();
        if living.is_empty() {
            return None;
        }
        for process in living {
            // What cannot be signalled is found again by the next look.
            let _ = signal::send(process.pid, process.start_ticks, Signal::KILL);
        }
        sleep(PAUSE).await;
    }
    let survivors = traces.living();
    let names = survivors.iter().map(|process| {
        let name = fs::read_to_string(format!("/proc/{}/comm", process.pid));
        let name = name.unwrap_or_default();
        format!("{} (pid {})", name.trim(), process.pid)
    });
    let names: Vec<String> = names.collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// The exit code of a shell inside that kills what has the variable, and says whether there was anything.
async fn look_from_inside(
    connected: &Connected,
    traces: &Traces,
) -> Result<i32, bollard::errors::Error> {
    let script = format!(
        "found=0; for process in /proc/[0-9]*; do \
         if grep -q '{}' \"$process/environ\" 2>/dev/null; then \
         kill -KILL \"${{process#/proc/}}\" 2>/dev/null && found={FOUND}; fi; done; exit $found",
        traces.variable
    );
    let config = ExecConfig {
        cmd: Some(vec!["sh".to_owned(), "-c".to_owned(), script]),
        attach_stdout: Some(true),
        ..ExecConfig::default()
    };
    let exec = connected
        .client
        .create_exec(&traces.container, config)
        .await?
        .id;
    run_to_its_end(connected, &exec).await
}

/// Whether this machine shows the processes of a container to this user, with all that is asked of them here.
fn is_seen(main_pid: i32, container: &str) -> bool {
    belongs_to(main_pid, container) && fs::read(format!("/proc/{main_pid}/environ")).is_ok()
}

/// Whether this machine's process of that number is in that container.
pub(super) fn belongs_to(pid: i32, container: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|groups| groups.contains(container))
}

/// 0 = nobody says, and then every process may be of a command that begins now.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a positive number of ticks; a fraction of one is rounded down"
)]
fn ticks_since_boot() -> u64 {
    let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = uptime.split_whitespace().next();
    let seconds: Option<f64> = seconds.and_then(|seconds| seconds.parse().ok());
    seconds.map_or(0, |seconds| (seconds * TICKS_PER_SECOND) as u64)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_that_begins_now_is_not_older_than_now() {
        let before = ticks_since_boot();
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let started = ProcessStat::read(i32::try_from(child.id()).unwrap())
            .unwrap()
            .unwrap()
            .start_ticks;
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(before > 0);
        assert!(before <= started, "{before} > {started}");
    }

    #[test]
    fn a_mark_is_of_one_command_alone() {
        let (one, other) = (Traces::of_new_command("c"), Traces::of_new_command("c"));
        let (name, value) = one.variable().split_once('=').unwrap();
        let mut running = Command::new("cat")
            .env(name, value)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Its environment is there once it runs.
        let (input, output) = (&mut running.stdin, &mut running.stdout);
        input.as_mut().unwrap().write_all(b"x").unwrap();
        output.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let pid = i32::try_from(running.id()).unwrap();
        let marks = [&one, &other, &Traces::of_any_command("c")].map(|it| it.is_marked(pid));
        running.kill().unwrap();
        running.wait().unwrap();
        assert_eq!(marks, [true, false, true]);
    }
}
