//! `clnrm __guard`: the process that looks after warm instances.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::backend::guard::GuardPost;
use crate::cli::error::CliError;
use crate::cli::interrupt::Interrupt;
use crate::cli::invocation::Invocation;
use crate::cli::types::GuardArguments;
use crate::exit::Exit;
use crate::lifecycle::Project;
use crate::report::Printer;

/// Guards a project as long as it has warm instances. What it has to tell goes to its log.
pub(in crate::cli) async fn guard(
    options: GuardArguments,
    invocation: &Invocation,
    printer: &mut Printer<'_>,
) -> Result<Exit, CliError> {
    let interrupt = Interrupt::listen()?;
    let invocation = invocation.of_state(&options.state_dir);
    let Some(project) = invocation.open_existing(&interrupt.hurry, printer).await? else {
        return Ok(Exit::Good);
    };
    loop {
        let Some(post) = GuardPost::take(&project.state_dir, &project.owner) else {
            return Ok(Exit::Good);
        };
        tokio::select! {
            stood = stand(&project, &interrupt, printer) => stood?,
            // What runs ends by itself: see `backend::shim`.
            () = post.abolished() => return Ok(Exit::Good),
        }
        drop(post);
        // Whoever left something warm in the last moment saw the lock taken, and relies on this look.
        if interrupt.token.is_cancelled() || !project.has_warm().await? {
            return Ok(Exit::Good);
        }
    }
}

async fn stand(
    project: &Arc<Project>,
    interrupt: &Interrupt,
    printer: &mut Printer<'_>,
) -> Result<(), CliError> {
    let (sender, mut notes) = mpsc::unbounded_channel();
    let warn = Arc::new(move |note: String| drop(sender.send(note)));
    let guarding = project.guard(warn, &interrupt.token);
    tokio::pin!(guarding);
    loop {
        tokio::select! {
            biased;
            // A log that cannot be written must not end the guard.
            Some(note) = notes.recv() => drop(printer.warning(&note)),
            ended = &mut guarding => return Ok(ended?),
        }
    }
}
