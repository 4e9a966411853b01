//! What a command inside a container prints, and how it ends.

use std::time::Duration;

use bollard::container::LogOutput;
use bollard::exec::StartExecResults;
use bollard::models::ExecConfig;
use futures_util::{Stream, StreamExt};
use tokio::time::{Instant, sleep};

use super::engine::Connected;
use crate::backend::command::OUTPUT_LIMIT_BYTES;

/// The pause before the exit code of a command that has closed its output is asked for again, at first.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
/// And at last.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// A bounded part of a command's output, from its start.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) output: Vec<u8>,
    pub(super) dropped: u64,
}

impl Kept {
    /// Runs a command to its end; `id` is known as soon as the engine knows the command.
    pub(super) async fn run(
        &mut self,
        connected: &Connected,
        container: &str,
        config: ExecConfig,
        id: &mut Option<String>,
    ) -> Result<EndedCommand, bollard::errors::Error> {
        let client = &connected.client;
        let exec = client.create_exec(container, config).await?.id;
        let exec = id.insert(exec);
        if let StartExecResults::Attached { output, .. } = client.start_exec(exec, None).await? {
            self.read(output).await?;
        }
        its_end(connected, exec).await
    }

    async fn read(
        &mut self,
        mut output: impl Stream<Item = Result<LogOutput, bollard::errors::Error>> + Unpin,
    ) -> Result<(), bollard::errors::Error> {
        while let Some(chunk) = output.next().await {
            let bytes = chunk?.into_bytes();
            let room = OUTPUT_LIMIT_BYTES
                .saturating_sub(self.output.len())
                .min(bytes.len());
            self.output
                .extend_from_slice(bytes.get(..room).unwrap_or_default());
            self.dropped += (bytes.len() - room) as u64;
        }
        Ok(())
    }
}

/// A command that has ended.
pub(super) struct EndedCommand {
    pub(super) code: i32,
    /// The process that the engine started for it, as the engine's machine numbers it.
    pub(super) pid: Option<i64>,
}

/// Runs a command that was made, whatever it prints; its exit code.
pub(super) async fn run_to_its_end(
    connected: &Connected,
    exec: &str,
) -> Result<i32, bollard::errors::Error> {
    if let StartExecResults::Attached { output, .. } =
        connected.client.start_exec(exec, None).await?
    {
        Kept::default().read(output).await?;
    }
    Ok(its_end(connected, exec).await?.code)
}

/// A command may close its output long before it ends; until then the engine knows no code.
async fn its_end(
    connected: &Connected,
    exec: &str,
) -> Result<EndedCommand, bollard::errors::Error> {
    let closed = Instant::now();
    loop {
        let command = connected.client.inspect_exec(exec).await?;
        if let (Some(code), Some(false) | None) = (command.exit_code, command.running) {
            return Ok(EndedCommand {
                code: i32::try_from(code).unwrap_or(i32::MAX),
                pid: command.pid,
            });
        }
        sleep((closed.elapsed() / 4).clamp(FIRST_PAUSE, LONGEST_PAUSE)).await;
    }
}
