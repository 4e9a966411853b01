//! The command line: forecast, plan, score.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the scores are what it prints"
)]

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use clnrm_decide::forecast::WINDOW_VALUES;
use clnrm_forecast_bench::method::Method;
use clnrm_forecast_bench::{forecast, plan, row, score, table, traces};

/// Forecasts planned origins of recorded traces
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    forecast: Option<Forecast>,
}

#[derive(Debug, Args)]
struct Forecast {
    /// Folder of `timestamp,value` files and MANIFEST.csv
    #[arg(long)]
    traces: PathBuf,
    /// What to forecast: `trace,origin` lines
    #[arg(long)]
    plan: PathBuf,
    /// Where to write the forecasts
    #[arg(long)]
    out: PathBuf,
    /// Who forecasts
    #[arg(long, default_value = "auto")]
    method: String,
    /// Samples before an origin that may be seen
    #[arg(long, default_value_t = WINDOW_VALUES)]
    window: usize,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Writes a plan of evenly spaced origins
    Plan {
        /// Folder of traces
        #[arg(long)]
        traces: PathBuf,
        /// Origins of each trace
        #[arg(long, default_value_t = 200)]
        origins: usize,
        /// Where to write it
        #[arg(long)]
        out: PathBuf,
    },
    /// Scores forecasts against the last value
    Score {
        /// Tables of forecasts
        #[arg(required = true)]
        forecasts: Vec<PathBuf>,
        /// Folder of traces
        #[arg(long)]
        traces: PathBuf,
        /// Samples before an origin that could be seen
        #[arg(long, default_value_t = WINDOW_VALUES)]
        window: usize,
        /// Also list each trace
        #[arg(long)]
        per_trace: bool,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("error: {error}");
            let mut cause = error.source();
            while let Some(inner) = cause {
                eprint!(": {inner}");
                cause = inner.source();
            }
            eprintln!();
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    match (arguments.command, arguments.forecast) {
        (
            Some(Command::Plan {
                traces,
                origins,
                out,
            }),
            _,
        ) => {
            let plan = plan::make(&traces::read(&traces)?, origins);
            fs::write(out, plan::to_csv(&plan))?;
        }
        (
            Some(Command::Score {
                forecasts,
                traces,
                window,
                per_trace,
            }),
            _,
        ) => {
            let traces = traces::read(&traces)?;
            let mut rows = Vec::new();
            for path in &forecasts {
                rows.extend(row::read(path)?);
            }
            let scores = score::of(&traces, &rows, window)?;
            print!("{}", table::summary(&scores));
            if per_trace {
                print!("{}", table::per_trace(&scores));
            }
        }
        (None, Some(asked)) => {
            let method = Method::named(&asked.method).ok_or_else(|| {
                let names = Method::names().join(", ");
                format!("no method `{}`; there are {names}", asked.method)
            })?;
            let plan = plan::read(&asked.plan)?;
            let names = plan.iter().map(|planned| planned.trace.as_str());
            let traces = traces::read_named(&asked.traces, names)?;
            let text = forecast::run(&traces, &plan, method, asked.window)?;
            fs::write(asked.out, text)?;
        }
        (None, None) => return Err("nothing to do; see --help".into()),
    }
    Ok(())
}
