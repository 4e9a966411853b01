//! The command line: train, cross-validate.

#![allow(clippy::print_stderr, reason = "a program of its own")]

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use clnrm_decide::forecast::WINDOW_VALUES;
use clnrm_forecast_bench::{plan, traces};
use clnrm_forecast_train::lessons::{self, Cut, Example};
use clnrm_forecast_train::training::{Plan, train};
use clnrm_forecast_train::validation;

/// Trains the network of the learned forecast
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Folder of traces
    #[arg(long, global = true, default_value = "data/traces")]
    traces: PathBuf,
    /// Windows of each trace
    #[arg(long, global = true, default_value_t = 600, value_parser = at_least_one)]
    per_trace: usize,
    /// Share of shortened windows
    #[arg(long, global = true, default_value_t = 0.5, value_parser = share)]
    short: f64,
    /// Passes over the windows
    #[arg(long, global = true, default_value_t = 6, value_parser = at_least_one)]
    epochs: usize,
    /// Traces alone, without what is made of them
    #[arg(long, global = true)]
    plain: bool,
    /// Seed
    #[arg(long, global = true, default_value_t = 0)]
    seed: u64,
    /// Networks that are averaged
    #[arg(long, global = true, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=8))]
    networks: u64,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    let number: usize = text.parse().map_err(|_| "not a whole number".to_owned())?;
    (number > 0)
        .then_some(number)
        .ok_or("must be at least 1".to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    (0.0..=1.0)
        .contains(&share)
        .then_some(share)
        .ok_or("must be from 0 to 1".to_owned())
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Writes the weights
    Train {
        /// Where to
        #[arg(long)]
        out: PathBuf,
    },
    /// Forecasts each source by networks that have not seen it
    CrossValidate {
        /// What to forecast
        #[arg(long)]
        plan: PathBuf,
        /// Where to write the forecasts; `.N` is added for windows of N samples
        #[arg(long)]
        out: PathBuf,
        /// Window lengths
        #[arg(long, value_delimiter = ',', default_values_t = [WINDOW_VALUES])]
        windows: Vec<usize>,
        /// Where networks are kept between runs, one file for each source
        #[arg(long)]
        keep: Option<PathBuf>,
    },
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let traces = traces::read(&arguments.traces)?;
    let cut = Cut {
        per_trace: arguments.per_trace,
        short: arguments.short,
        seed: arguments.seed,
    };
    let materials = lessons::materials(&traces, !arguments.plain);
    let examples = || {
        let examples = lessons::cut(&materials, cut);
        eprintln!("{} windows", examples.len());
        examples
    };
    let schedule = Plan {
        epochs: arguments.epochs,
        seed: arguments.seed,
    };
    match arguments.command {
        Command::Train { out } => {
            let examples = examples();
            let all: Vec<&Example> = examples.iter().collect();
            let seeds = arguments.seed..arguments.seed + arguments.networks;
            let networks =
                seeds.map(|seed| train(&materials, &all, Plan { seed, ..schedule }).write());
            fs::write(out, networks.collect::<Vec<_>>().concat())?;
        }
        Command::CrossValidate {
            plan,
            out,
            windows,
            keep,
        } => {
            let plan = plan::read(&plan)?;
            let make =
                || validation::networks(&materials, &examples(), schedule, arguments.networks);
            let networks = match keep {
                Some(folder) => validation::kept(&folder, make)?,
                None => make(),
            };
            for length in windows {
                let text = validation::forecasts(&traces, &plan, &networks, length)?;
                let name = format!("{}.{length}", out.display());
                fs::write(name, text)?;
            }
        }
    }
    Ok(())
}
