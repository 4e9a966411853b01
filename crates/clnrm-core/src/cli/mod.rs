//! The command line: arguments in, one library call, one report out.

pub mod commands;
mod error;
mod help;
mod interrupt;
mod invocation;
pub mod types;

use std::io;
use std::process::ExitCode;

use clap::Parser;

use self::error::{CliError, CommandFailure};
use self::invocation::Invocation;
use self::types::{Cli, Command, ServicesCommand};
use crate::backend::process::{shim, shim_protocol::SHIM_SUBCOMMAND};
use crate::exit::Exit;
use crate::report::style::{ColorChoice, Style, Surroundings};
use crate::report::{Printer, unless_closed};

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    // What the caller has open besides the standard streams (the lock of a `flock`, the pipe of a `$(…)`) is his alone:
    // nothing that is executed from here on may hold it open.
    close_fds::set_fds_cloexec(3, &[]);
    // Before anything else: a shim must stay small.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|argument| argument == SHIM_SUBCOMMAND)
    {
        return shim::run();
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody is left to tell when this fails.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let (mut out, mut err) = (io::stdout(), io::stderr());
    match Invocation::read(&cli.global) {
        Ok(invocation) => {
            let mut printer = Printer::new(
                &mut out,
                &mut err,
                invocation.style.clone(),
                cli.global.verbose,
            );
            execute(cli, &invocation, &mut printer).into()
        }
        Err(error) => {
            let mut printer = Printer::new(
                &mut out,
                &mut err,
                Style::resolve(ColorChoice::Never, &Surroundings::default()),
                false,
            );
            fail(&error, &mut printer).into()
        }
    }
}

fn execute(cli: Cli, invocation: &Invocation, printer: &mut Printer<'_>) -> Exit {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(dispatch(cli, invocation, printer));
            // A read that hangs (a probe's name look-up, say) must not keep the command from ending.
            runtime.shutdown_background();
            result
        }
        Err(source) => Err(CommandFailure::System {
            what: "start the async runtime",
            source,
        }
        .into()),
    };
    result.unwrap_or_else(|error| fail(&error, printer))
}

fn fail(error: &CliError, printer: &mut Printer<'_>) -> Exit {
    if error.is_broken_pipe() {
        // `clnrm … | head` has seen enough.
        return Exit::Good;
    }
    let _ = printer.error(error.error.as_ref(), error.hint.as_deref());
    error.exit
}

async fn dispatch(
    cli: Cli,
    invocation: &Invocation,
    printer: &mut Printer<'_>,
) -> Result<Exit, CliError> {
    let format = cli.global.format.unwrap_or(types::FormatArgument::Human);
    let command = match cli.command {
        Command::Run(options) => {
            return commands::run::run(options, format.for_run(), invocation, printer).await;
        }
        other => other,
    };
    let format = match format.for_report() {
        Ok(format) => format,
        Err(error) => {
            let _ = error.print();
            return Ok(Exit::Usage);
        }
    };
    match command {
        Command::Run(_) => Ok(Exit::Usage),
        Command::Validate(options) => {
            commands::validate::validate(&options, format, invocation, printer)
        }
        Command::Init(options) => commands::init::init(options, format, invocation, printer),
        Command::Services(services) => match services.command {
            ServicesCommand::Status => {
                commands::services::status(format, invocation, printer).await
            }
            ServicesCommand::Logs(options) => {
                commands::logs::logs(options, format, invocation, printer).await
            }
            ServicesCommand::Restart(options) => {
                commands::services::restart(options, format, invocation, printer).await
            }
            ServicesCommand::Stop(options) => {
                commands::services::stop(options, format, invocation, printer).await
            }
            ServicesCommand::AiManage(options) => {
                commands::services::ai_manage(options, format, invocation, printer).await
            }
        },
        Command::Demo(options) => commands::demo::demo(options, format, invocation, printer).await,
        Command::Completions(options) => {
            unless_closed(printer.text(&commands::completions::script(options.shell)))?;
            Ok(Exit::Good)
        }
        Command::Guard(options) => commands::guard::guard(options, invocation, printer).await,
        // Answered in `main`; clap knows it only to refuse other words in its place.
        Command::Shim(_) => Ok(Exit::Usage),
    }
}
