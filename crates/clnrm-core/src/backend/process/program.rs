//! The program that a shim runs, and where its output goes.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use tokio::net::unix::pipe;

use super::shim_protocol::{ShimOutput, ShimSpec};
use crate::backend::log_file::CappedLog;

/// The log and what is read into it, then stdout and stderr of the program.
pub(super) type Output = (Option<(CappedLog, pipe::Receiver)>, Stdio, Stdio);

pub(super) fn open_output(output: &ShimOutput) -> io::Result<Output> {
    match output {
        ShimOutput::Log { path, limit_bytes } => {
            let log = CappedLog::open(path, *limit_bytes)?;
            let (reader, writer) = io::pipe()?;
            let receiver = pipe::Receiver::from_owned_fd(reader.into())?;
            Ok((
                Some((log, receiver)),
                writer.try_clone()?.into(),
                writer.into(),
            ))
        }
        ShimOutput::Stderr => {
            let stderr = io::stderr().as_fd().try_clone_to_owned()?;
            Ok((None, stderr.try_clone()?.into(), stderr.into()))
        }
    }
}

/// Its pid; whoever waits for all children reaps it.
pub(super) fn spawn_program(spec: &ShimSpec, stdout: Stdio, stderr: Stdio) -> io::Result<i32> {
    let (program, arguments) = spec
        .argv
        .split_first()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "an empty command"))?;
    let child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(&spec.env)
        .current_dir(&spec.working_dir)
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr)
        // A program that signals its own group must not hit its supervisor.
        .process_group(0)
        .spawn()?;
    i32::try_from(child.id()).map_err(io::Error::other)
}
