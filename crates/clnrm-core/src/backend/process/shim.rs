//! The supervisor of one process tree: this binary, executed again.
//!
//! It becomes a session leader and child subreaper, marks itself (`mark`), spawns the program, writes its
//! output to a capped log, reaps every orphan of the tree, and ends the tree when it is asked to (SIGTERM, or
//! SIGQUIT for at once), when its program has ended, its folder is gone, or, for a step, when its starter has died. It
//! leaves only when nothing of the tree is left.
//!
//! As the subreaper it inherits every orphan, so the tree is empty exactly when it has no child: `waitpid` says so.
//! Deliberately absent: threads, the history, any knowledge of services.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{self, WaitOptions, getpid, set_child_subreaper, setsid, wait};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::signal::unix::{Signal, SignalKind, signal as listen};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::mark::{mark_of, mark_self};
use super::program::{open_output, spawn_program};
use super::shim_protocol::{ShimEvent, ShimRecord, ShimSpec, SpawnFailure};
use crate::backend::exit::{ExitRecord, ExitStatus};
use crate::backend::log_file::CappedLog;
use crate::backend::signal;
use crate::backend::wanted_lines::LineCounter;
use crate::clock::{Clock, SystemClock};
use crate::procfs::{ProcessIdentity, ProcessTable};

/// How often a tree that is being ended is looked at; children report their end at once, this is for the others.
const STOPPING_LOOK: Duration = Duration::from_millis(20);
/// How long the rest of the output is read when the tree is gone.
const LAST_OUTPUT_PATIENCE: Duration = Duration::from_millis(200);
/// What a step left running in the background gets to end by itself.
const LEFTOVER_GRACE: Duration = Duration::from_millis(500);

/// How often a shim looks whether its folder is still there.
const FOLDER_LOOK: Duration = Duration::from_secs(1);
/// What a tree gets to end by itself, at most, once nobody can find it any more.
const NO_FOLDER_GRACE: Duration = Duration::from_secs(2);
/// The instance's folder, in which its shim is started, and which may be moved.
const HERE: &str = ".";

/// Runs as a shim until nothing of the tree is left. Reads its orders from stdin.
pub fn run() -> ExitCode {
    match prepare() {
        Ok((spec, stdin)) => supervise_to_the_end(spec, stdin),
        Err(error) => report_spawn_failure(&error),
    }
}

fn prepare() -> io::Result<(ShimSpec, OwnedFd)> {
    let stdin = io::stdin().as_fd().try_clone_to_owned()?;
    let mut line = String::new();
    BufReader::new(io::stdin().lock().by_ref()).read_line(&mut line)?;
    let spec: ShimSpec = serde_json::from_str(&line)?;
    // Fails only where the starter made us a process group leader already, which is as good.
    let _ = setsid();
    set_child_subreaper(Some(getpid()))?;
    // See `mark_self`: without it, recovery still has the session and the environment to go by.
    let _ = mark_self(mark_of(&spec.id));
    Ok((spec, stdin))
}

fn supervise_to_the_end(spec: ShimSpec, stdin: OwnedFd) -> ExitCode {
    let outcome = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .and_then(|runtime| {
            runtime.block_on(async {
                let signals = Signals::listen()?;
                let tree = Tree::spawn(spec, stdin)?;
                tree.supervise(signals).await;
                Ok(())
            })
        });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report_spawn_failure(&error),
    }
}

fn report_spawn_failure(error: &io::Error) -> ExitCode {
    tell(&ShimEvent::SpawnFailed(SpawnFailure {
        os_error: error.raw_os_error(),
        message: error.to_string(),
    }));
    ExitCode::FAILURE
}

/// Tells the starter, if it is still there: a shim outlives it.
fn tell(event: &ShimEvent) {
    if let Ok(mut line) = serde_json::to_vec(event) {
        line.push(b'\n');
        let _ = io::stdout()
            .write_all(&line)
            .and_then(|()| io::stdout().flush());
    }
}

/// The signals that a shim acts on.
///
/// Listened for before the program exists: what a handler has been set for has its default action again in the program,
/// so that whatever the caller ignored (`nohup`, a shell's background job), every `stop.signal` works.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    child: Signal,
    /// A shim outlives every terminal.
    _hangup: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            quit: listen(SignalKind::quit())?,
            child: listen(SignalKind::child())?,
            _hangup: listen(SignalKind::hangup())?,
        })
    }
}

struct Tree {
    spec: ShimSpec,
    main_pid: i32,
    main_status: Option<ExitStatus>,
    log: Option<(CappedLog, pipe::Receiver)>,
    log_bytes_lost: u64,
    lines: LineCounter,
    starter: Option<pipe::Receiver>,
    /// When the folder is looked at next; `None` = not any more, or a step, which has none.
    folder_look: Option<Instant>,
    ending: Option<Ending>,
}

/// The way to the end of a tree.
struct Ending {
    requested: bool,
    rest_was_asked: bool,
    kill_at: Instant,
    killed: bool,
}

/// What is left of the tree.
#[derive(PartialEq, Eq)]
enum Remaining {
    Some,
    Nothing,
}

impl Tree {
    fn spawn(spec: ShimSpec, stdin: OwnedFd) -> io::Result<Self> {
        let (log, stdout, stderr) = open_output(&spec.output)?;
        let own_identity = ProcessIdentity::of(getpid().as_raw_nonzero().get())?
            .ok_or_else(|| io::Error::other("this process is not in /proc"))?;
        let mut record = ShimRecord {
            shim: own_identity,
            main_pid: None,
        };
        // Before the program exists: from here on, whoever finds the folder finds us.
        if let Some(dir) = &spec.record_dir {
            record.begin(dir)?;
        }
        let main_pid = spawn_program(&spec, stdout, stderr)?;
        record.main_pid = Some(main_pid);
        if spec.record_dir.is_some() {
            // The starter learns the pid below as well; a full disk must not end a service that runs.
            let _ = record.write(Path::new(HERE));
        }
        tell(&ShimEvent::Spawned(record));
        let starter = if spec.record_dir.is_none() {
            Some(pipe::Receiver::from_owned_fd(stdin)?)
        } else {
            None
        };
        Ok(Self {
            lines: LineCounter::new(&spec.log_patterns),
            folder_look: (spec.record_dir.is_some()).then(|| Instant::now() + FOLDER_LOOK),
            spec,
            main_pid,
            main_status: None,
            log,
            log_bytes_lost: 0,
            starter,
            ending: None,
        })
    }

    async fn supervise(mut self, mut signals: Signals) {
        let mut buffer = vec![0; 64 * 1024];
        while self.advance() == Remaining::Some {
            let look_again = self.next_look();
            tokio::select! {
                _ = signals.terminate.recv() => self.begin_ending(true, self.spec.stop.grace),
                _ = signals.interrupt.recv() => self.begin_ending(true, self.spec.stop.grace),
                // What `shim_protocol::END_NOW` is.
                _ = signals.quit.recv() => self.begin_ending(true, Duration::ZERO),
                _ = signals.child.recv() => {}
                read = read_log(&mut self.log, &mut buffer) => self.write_log(read, &buffer),
                () = starter_gone(&mut self.starter) => self.begin_ending(true, self.spec.stop.grace),
                () = sleep_until(look_again.unwrap_or_else(Instant::now)), if look_again.is_some() => {}
            }
        }
        self.finish(&mut buffer).await;
    }

    /// Reaps, and takes the next step of an ending that is under way.
    fn advance(&mut self) -> Remaining {
        if self.reap() == Remaining::Nothing {
            return Remaining::Nothing;
        }
        if let Some(status) = self.main_status {
            let is_step = self.spec.record_dir.is_none();
            // A program that left well while its descendants live has daemonized: they are the service now.
            if is_step {
                self.begin_ending(false, LEFTOVER_GRACE);
            } else if !status.is_success() {
                self.begin_ending(false, self.spec.stop.grace);
            }
        }
        self.look_for_folder();
        let main_ended = self.main_status.is_some();
        if let Some(ending) = &mut self.ending {
            if Instant::now() >= ending.kill_at {
                ending.killed = true;
                signal_descendants(process::Signal::KILL);
            } else if main_ended && !ending.rest_was_asked {
                ending.rest_was_asked = true;
                signal_descendants(process::Signal::TERM);
            }
        }
        Remaining::Some
    }

    /// Without its record no command would ever find this tree again (`git clean -fdx`, `rm -r .clnrm`).
    fn look_for_folder(&mut self) {
        if self.folder_look.is_none_or(|at| Instant::now() < at) {
            return;
        }
        let is_there = ShimRecord::is_in(Path::new(HERE));
        self.folder_look = is_there.then(|| Instant::now() + FOLDER_LOOK);
        if !is_there {
            self.begin_ending(true, self.spec.stop.grace.min(NO_FOLDER_GRACE));
        }
    }

    fn reap(&mut self) -> Remaining {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    if pid.as_raw_nonzero().get() != self.main_pid {
                        continue;
                    }
                    let status = match (status.exit_status(), status.terminating_signal()) {
                        (Some(code), _) => ExitStatus::Code(code),
                        (None, Some(signal)) => ExitStatus::Signal(signal),
                        (None, None) => continue,
                    };
                    self.main_status = Some(status);
                    tell(&ShimEvent::MainExited(status));
                }
                Ok(None) => return Remaining::Some,
                Err(Errno::INTR) => {}
                Err(_) => return Remaining::Nothing,
            }
        }
    }

    fn begin_ending(&mut self, requested: bool, grace: Duration) {
        self.starter = None;
        let kill_at = Instant::now() + grace;
        if let Some(ending) = &mut self.ending {
            ending.requested |= requested;
            ending.kill_at = ending.kill_at.min(kill_at);
            return;
        }
        self.ending = Some(Ending {
            requested,
            rest_was_asked: false,
            kill_at,
            killed: false,
        });
        if self.main_status.is_none() {
            // The main process is asked first and alone: servers such as nginx and PostgreSQL end their workers
            // in order. It is our child and not reaped, so its number is its own.
            if let Some(pid) = process::Pid::from_raw(self.main_pid) {
                let _ = process::kill_process(pid, signal::number(self.spec.stop.signal));
            }
        }
    }

    fn next_look(&self) -> Option<Instant> {
        let ending = self.ending.as_ref().map(|ending| {
            ending
                .kill_at
                .min(Instant::now() + STOPPING_LOOK)
                .max(Instant::now())
        });
        ending.into_iter().chain(self.folder_look).min()
    }

    fn write_log(&mut self, read: io::Result<usize>, buffer: &[u8]) {
        match (read, &mut self.log) {
            (Ok(length), Some((log, _))) if length > 0 => {
                let output = buffer.get(..length).unwrap_or_default();
                log.append(output);
                self.log_bytes_lost = log.lost();
                if let Some(counts) = self.lines.feed(output) {
                    tell(&ShimEvent::LinesSeen(counts));
                }
            }
            // Every writer is gone; there will be no more output.
            _ => self.log = None,
        }
    }

    /// The tree is gone and its ends of the pipe with it: what is left is read to the end, which is at hand. Unless a
    /// process outside the tree was given the pipe, and then it is not waited for.
    async fn read_last_output(&mut self, buffer: &mut [u8]) {
        let give_up = Instant::now() + LAST_OUTPUT_PATIENCE;
        while self.log.is_some() {
            let Ok(read) = timeout_at(give_up, read_log(&mut self.log, buffer)).await else {
                return;
            };
            self.write_log(read, buffer);
        }
    }

    async fn finish(mut self, buffer: &mut [u8]) {
        self.read_last_output(buffer).await;
        let record = ExitRecord {
            // A main process is always reaped before its tree is empty; signal 9 is what killed one that was not.
            status: self.main_status.unwrap_or(ExitStatus::Signal(9)),
            requested: self.ending.as_ref().is_some_and(|ending| ending.requested),
            killed: self.ending.as_ref().is_some_and(|ending| ending.killed),
            at_ms: SystemClock.now().as_millis(),
            log_bytes_lost: self.log_bytes_lost,
        };
        if self.spec.record_dir.is_some() {
            // On a full disk the end goes unrecorded; the next command sees that the shim is gone.
            let _ = record.write(Path::new(HERE));
        }
        tell(&ShimEvent::Ended(record));
    }
}

async fn read_log(
    log: &mut Option<(CappedLog, pipe::Receiver)>,
    buffer: &mut [u8],
) -> io::Result<usize> {
    match log {
        Some((_, receiver)) => receiver.read(buffer).await,
        None => std::future::pending().await,
    }
}

/// Resolves when the other end of stdin is closed: the starter of a step is dead or wants it ended.
async fn starter_gone(starter: &mut Option<pipe::Receiver>) {
    let Some(receiver) = starter else {
        return std::future::pending().await;
    };
    let mut byte = [0; 1];
    while matches!(receiver.read(&mut byte).await, Ok(1..)) {}
}

fn signal_descendants(signal: process::Signal) {
    let Ok(table) = ProcessTable::scan() else {
        return;
    };
    for process in table.descendants(getpid().as_raw_nonzero().get()) {
        // Gone already, or of another user (a setuid program): the next round sees what is left.
        let _ = signal::send(process.pid, process.start_ticks, signal);
    }
}
