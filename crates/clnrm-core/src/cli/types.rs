//! The command line as clap sees it. Nothing here runs.
//!
//! What `clnrm.toml` and `CLNRM_*` variables can set too is an `Option` without a default: the layers are merged in
//! `config`, where the defaults are.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::cli::help;
use crate::report::style::ColorChoice;
use crate::report::{Format, RunFormat};

/// Runs integration tests against real services, measures them, and scales them by what was measured.
///
/// A test is a TOML file that declares services and steps. `clnrm run` starts what a test needs, waits until it is
/// ready, runs the steps, measures every service meanwhile and keeps the history. `clnrm services ai-manage` turns
/// that history into load forecasts, scaling and right-sizing advice.
#[derive(Debug, Clone, Parser)]
#[command(name = "clnrm", version, after_help = help::TOP)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: GlobalArguments,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options that every command takes.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
pub struct GlobalArguments {
    /// Show what led to the results too
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// When to use colour: auto, always or never (default: auto)
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "WHEN",
        hide_possible_values = true
    )]
    pub color: Option<ColorArgument>,
    /// Report format: human or json; `run` also junit or tap (default: human)
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        value_name = "FORMAT",
        hide_possible_values = true
    )]
    pub format: Option<FormatArgument>,
}

/// `--color`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ColorArgument {
    /// Colour on terminals
    Auto,
    /// Colour everywhere
    Always,
    /// No colour
    Never,
}

/// `--format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FormatArgument {
    /// For people
    Human,
    /// The typed report
    Json,
    /// JUnit XML (of `run` only)
    Junit,
    /// TAP version 14 (of `run` only)
    Tap,
}

/// Commands.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Run tests against their services
    Run(RunArguments),
    /// Check test files without starting anything
    Validate(ValidateArguments),
    /// Write a first test file that runs as it stands
    Init(InitArguments),
    /// Look at services, stop, restart and scale them
    Services(ServicesArguments),
    /// Show the main job on small services that come with clnrm (under a minute)
    Demo(DemoArguments),
    /// Print a completion script for a shell
    Completions(CompletionsArguments),
    /// The supervisor of one instance; started by clnrm itself
    #[command(name = "__shim", hide = true)]
    Shim(ShimArguments),
    /// Looks after warm instances; started by clnrm itself
    #[command(name = "__guard", hide = true)]
    Guard(GuardArguments),
}

/// `clnrm run`.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = help::RUN)]
pub struct RunArguments {
    /// Test files, or folders to search for *.clnrm.toml (default: this folder)
    #[arg(value_name = "PATHS")]
    pub paths: Vec<PathBuf>,
    /// Run so many test files at a time (default: one per core)
    #[arg(short, long, value_name = "N", value_parser = RangedU64ValueParser::<u32>::new().range(1..=1024))]
    pub jobs: Option<u32>,
    /// Start no further test after the first failure
    #[arg(long)]
    pub fail_fast: bool,
    /// Leave the services running afterwards
    #[arg(long, conflicts_with = "stop")]
    pub keep: bool,
    /// Stop the services afterwards
    #[arg(long)]
    pub stop: bool,
}

/// `clnrm validate`.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = help::VALIDATE)]
pub struct ValidateArguments {
    /// Test files, or folders to search for *.clnrm.toml (default: this folder)
    #[arg(value_name = "PATHS")]
    pub paths: Vec<PathBuf>,
}

/// `clnrm init`.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = help::INIT)]
pub struct InitArguments {
    /// The file to write, or the folder to write it to (default: this folder)
    #[arg(value_name = "PATH")]
    pub path: Option<PathBuf>,
    /// Replace the file if it is there already
    #[arg(long)]
    pub force: bool,
}

/// `clnrm services`.
#[derive(Debug, Clone, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct ServicesArguments {
    /// What to do with them.
    #[command(subcommand)]
    pub command: ServicesCommand,
}

/// Subcommands of `clnrm services`.
#[derive(Debug, Clone, Subcommand)]
pub enum ServicesCommand {
    /// List the instances of this project
    #[command(after_help = help::STATUS)]
    Status,
    /// Show the end of a service's log
    Logs(LogsArguments),
    /// Stop a service's instances and start fresh ones
    Restart(RestartArguments),
    /// Stop services and check that nothing of them is left
    Stop(StopArguments),
    /// Predict load, scale services and advise on resources, from their measured history
    AiManage(AiManageArguments),
}

/// `clnrm services logs`.
#[derive(Debug, Clone, Args)]
#[command(after_help = help::LOGS)]
pub struct LogsArguments {
    /// The service, by name or pattern, or one instance by its id
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Show so many lines
    #[arg(short, long, value_name = "N", default_value_t = 50)]
    pub lines: usize,
    /// Go on with new lines until interrupted
    #[arg(long)]
    pub follow: bool,
}

/// `clnrm services restart`.
#[derive(Debug, Clone, Args)]
#[command(after_help = help::RESTART)]
pub struct RestartArguments {
    /// The service, by name or pattern, or one instance by its id
    #[arg(value_name = "NAME")]
    pub name: String,
}

/// `clnrm services stop`.
#[derive(Debug, Clone, Default, Args)]
#[group(id = "what", required = true)]
#[command(after_help = help::STOP)]
pub struct StopArguments {
    /// The services to stop, by name or pattern
    #[arg(value_name = "NAME", conflicts_with = "all")]
    pub names: Vec<String>,
    /// Stop every service of this project
    #[arg(long)]
    pub all: bool,
}

/// `clnrm services ai-manage`.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = help::AI_MANAGE)]
pub struct AiManageArguments {
    /// Enable auto-scaling based on load prediction
    #[arg(long)]
    pub auto_scale: bool,
    /// Enable load prediction
    #[arg(long)]
    pub predict_load: bool,
    /// Enable resource optimization
    #[arg(long)]
    pub optimize_resources: bool,
    /// Prediction horizon in minutes (default: 5)
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<u64>::new().range(1..=10_080))]
    pub horizon_minutes: Option<u64>,
    /// Filter services by name
    #[arg(short, long, value_name = "NAME")]
    pub service: Vec<String>,
    /// Show the decisions of --auto-scale and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Repeat until interrupted
    #[arg(long)]
    pub watch: bool,
    /// Pause between passes of --watch, e.g. 500ms or 2m (default: 15s)
    #[arg(long, value_name = "DURATION", requires = "watch", value_parser = positive_duration)]
    pub interval: Option<Duration>,
}

/// `clnrm demo`.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = help::DEMO)]
pub struct DemoArguments {
    /// One part of it; `None` = the demonstration itself.
    #[command(subcommand)]
    pub part: Option<DemoPart>,
}

/// Parts of the demonstration, which its test files start.
#[derive(Debug, Clone, Subcommand)]
pub enum DemoPart {
    /// A small HTTP server that burns CPU and memory per request and exports Prometheus text
    #[command(hide = true)]
    Serve(DemoServeArguments),
    /// A load generator
    #[command(hide = true)]
    Load(DemoLoadArguments),
}

/// `clnrm demo serve`.
#[derive(Debug, Clone, Args)]
pub struct DemoServeArguments {
    /// Listen on this port of the loopback interface
    #[arg(long, value_name = "PORT")]
    pub port: u16,
    /// Keep at most so much memory
    #[arg(long, value_name = "MB", default_value_t = 64)]
    pub memory_limit_mb: u32,
}

/// `clnrm demo load`.
#[derive(Debug, Clone, Args)]
pub struct DemoLoadArguments {
    /// What to request and how often per second, such as http://127.0.0.1:8080/work,rate=40..180; may be given again
    #[arg(long = "target", value_name = "URL,rate=RATE", required = true)]
    pub targets: Vec<String>,
    /// How long
    #[arg(long = "for", value_name = "DURATION", value_parser = positive_duration)]
    pub duration: Duration,
    /// Connections to each target
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub connections: u32,
    /// Share of the gap to the next request by which a request may come later, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub jitter: f64,
    /// Seed of that randomness
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    pub seed: u64,
}

/// `clnrm completions`.
#[derive(Debug, Clone, Args)]
#[command(after_help = help::COMPLETIONS)]
pub struct CompletionsArguments {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

/// `clnrm __shim`: its arguments are read by the runtime that wrote them.
#[derive(Debug, Clone, Args)]
pub struct ShimArguments {
    /// Passed on as they are.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<OsString>,
}

/// `clnrm __guard`.
#[derive(Debug, Clone, Args)]
pub struct GuardArguments {
    /// Where the project's state is.
    pub state_dir: PathBuf,
}

impl GlobalArguments {
    /// The colour choice of the flag, if it was given.
    pub fn color_choice(&self) -> Option<ColorChoice> {
        self.color.map(|color| match color {
            ColorArgument::Auto => ColorChoice::Auto,
            ColorArgument::Always => ColorChoice::Always,
            ColorArgument::Never => ColorChoice::Never,
        })
    }
}

impl FormatArgument {
    /// The format of a run's report.
    pub fn for_run(self) -> RunFormat {
        match self {
            Self::Human => RunFormat::Human,
            Self::Json => RunFormat::Json,
            Self::Junit => RunFormat::Junit,
            Self::Tap => RunFormat::Tap,
        }
    }

    /// The format of any other report; JUnit and TAP are refused as clap refuses a value (exit code 2).
    pub fn for_report(self) -> Result<Format, clap::Error> {
        match self {
            Self::Human => Ok(Format::Human),
            Self::Json => Ok(Format::Json),
            Self::Junit | Self::Tap => Err(Cli::command().error(
                ErrorKind::InvalidValue,
                "--format junit and tap are for `clnrm run`; this command knows human and json",
            )),
        }
    }
}

fn positive_duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration.is_zero() => Err("must be longer than zero".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    fn ai_manage(line: &str) -> AiManageArguments {
        match parse(line).expect("a valid command line").command {
            Command::Services(ServicesArguments {
                command: ServicesCommand::AiManage(options),
            }) => options,
            other => panic!("not ai-manage: {other:?}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn ai_manage_has_the_options_of_the_specification() {
        let options = ai_manage(
            "clnrm services ai-manage --auto-scale --predict-load --optimize-resources --horizon-minutes 10 --service postgres -s api-*",
        );
        assert!(options.auto_scale && options.predict_load && options.optimize_resources);
        assert_eq!(options.horizon_minutes, Some(10));
        assert_eq!(options.service, ["postgres", "api-*"]);
        assert!(!options.dry_run && !options.watch);
        assert_eq!(ai_manage("clnrm services ai-manage").horizon_minutes, None);
    }

    #[test]
    fn usage_errors_exit_with_2() {
        for line in [
            "clnrm services ai-manage --horizon-minutes 0",
            "clnrm services ai-manage --horizon-minutes 10081",
            "clnrm services ai-manage --horizon-minutes -5",
            "clnrm services ai-manage --interval 5s",
            "clnrm services ai-manage --watch --interval 0s",
            "clnrm services ai-manage --watch --interval soon",
            "clnrm services stop",
            "clnrm services stop cache --all",
            "clnrm services restart",
            "clnrm services logs",
            "clnrm run --keep --stop",
            "clnrm run -j 0",
            "clnrm run --format xml",
            "clnrm --color sometimes run",
            "clnrm completions tcsh",
            "clnrm nonsense",
        ] {
            let error = parse(line).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn global_options_stand_before_or_after_the_command() {
        for line in [
            "clnrm -v --format json --color never services status",
            "clnrm services status -v -f json --color never",
        ] {
            let global = parse(line).expect(line).global;
            assert!(global.verbose, "{line}");
            assert_eq!(global.format, Some(FormatArgument::Json), "{line}");
            assert_eq!(global.color_choice(), Some(ColorChoice::Never), "{line}");
        }
    }

    #[test]
    fn junit_and_tap_belong_to_run() {
        assert_eq!(FormatArgument::Tap.for_run(), RunFormat::Tap);
        assert_eq!(FormatArgument::Json.for_report().ok(), Some(Format::Json));
        for format in [FormatArgument::Junit, FormatArgument::Tap] {
            let error = format.for_report().expect_err("refused");
            assert_eq!(error.exit_code(), 2);
        }
    }

    #[test]
    fn the_shim_and_the_parts_of_the_demonstration_take_their_arguments() {
        let Command::Shim(shim) = parse("clnrm __shim --dir /tmp/x -- sh -c true")
            .expect("a valid command line")
            .command
        else {
            panic!("not the shim")
        };
        assert_eq!(
            shim.arguments,
            ["--dir", "/tmp/x", "--", "sh", "-c", "true"]
        );
        let Command::Demo(DemoArguments {
            part: Some(DemoPart::Load(load)),
        }) = parse(
            "clnrm demo load --for 14s --target http://h/a,rate=1 --target http://h/b,rate=2..3",
        )
        .expect("a valid command line")
        .command
        else {
            panic!("not the load")
        };
        assert_eq!(load.targets.len(), 2);
        assert_eq!(load.duration, Duration::from_secs(14));
    }

    /// What a terminal of 100 columns shows.
    fn help_text(arguments: &[&str]) -> String {
        Cli::command()
            .term_width(100)
            .try_get_matches_from(arguments)
            .expect_err("help is an error to clap")
            .to_string()
    }

    #[test]
    fn help_of_ai_manage() {
        let help = help_text(&["clnrm", "services", "ai-manage", "--help"]);
        for line in [
            "Enable auto-scaling based on load prediction",
            "Enable load prediction",
            "Enable resource optimization",
            "Prediction horizon in minutes (default: 5)",
            "Filter services by name",
        ] {
            assert!(help.contains(line), "{line}");
        }
        insta::assert_snapshot!(help, @r#"
        Predict load, scale services and advise on resources, from their measured history

        Usage: clnrm services ai-manage [OPTIONS]

        Options:
              --auto-scale           Enable auto-scaling based on load prediction
              --predict-load         Enable load prediction
              --optimize-resources   Enable resource optimization
              --horizon-minutes <N>  Prediction horizon in minutes (default: 5)
          -s, --service <NAME>       Filter services by name
              --dry-run              Show the decisions of --auto-scale and do nothing
              --watch                Repeat until interrupted
              --interval <DURATION>  Pause between passes of --watch, e.g. 500ms or 2m (default: 15s)
          -h, --help                 Print help

        Global options:
          -v, --verbose          Show what led to the results too
              --color <WHEN>     When to use colour: auto, always or never (default: auto)
          -f, --format <FORMAT>  Report format: human or json; `run` also junit or tap (default: human)

        Examples:
          # Full AI management with all features
          clnrm services ai-manage --auto-scale --predict-load --optimize-resources

          # Load prediction only with 10-minute horizon
          clnrm services ai-manage --predict-load --horizon-minutes 10

          # Auto-scaling for specific service
          clnrm services ai-manage --auto-scale --service postgres

          # Auto-scaling for several services, by name and by pattern
          clnrm services ai-manage --auto-scale -s postgres -s 'api-*'

          # What would be done, without doing it
          clnrm services ai-manage --auto-scale --predict-load --dry-run

        Everything is computed from what was measured. Stopped services are reported from their history.
        "#);
    }

    #[test]
    fn help_of_clnrm() {
        let help = help_text(&["clnrm", "--help"]);
        assert!(!help.contains("__shim"));
        insta::assert_snapshot!(help, @r#"
        Runs integration tests against real services, measures them, and scales them by what was measured.

        A test is a TOML file that declares services and steps. `clnrm run` starts what a test needs, waits
        until it is ready, runs the steps, measures every service meanwhile and keeps the history. `clnrm
        services ai-manage` turns that history into load forecasts, scaling and right-sizing advice.

        Usage: clnrm [OPTIONS] <COMMAND>

        Commands:
          run          Run tests against their services
          validate     Check test files without starting anything
          init         Write a first test file that runs as it stands
          services     Look at services, stop, restart and scale them
          demo         Show the main job on small services that come with clnrm (under a minute)
          completions  Print a completion script for a shell
          help         Print this message or the help of the given subcommand(s)

        Options:
          -h, --help
                  Print help (see a summary with '-h')

          -V, --version
                  Print version

        Global options:
          -v, --verbose
                  Show what led to the results too

              --color <WHEN>
                  When to use colour: auto, always or never (default: auto)

          -f, --format <FORMAT>
                  Report format: human or json; `run` also junit or tap (default: human)

        Examples:
          clnrm init                                   write a first test file
          clnrm run                                    run every *.clnrm.toml below this folder
          clnrm services ai-manage --predict-load      forecast the load of the services that ran
          clnrm services stop --all                    stop what was kept running

        Exit codes:
          0        good
          1        a test failed
          2        a usage or file error
          3        a service failed or never became ready
          4        nothing was selected
          6        a leaked process was found (and ended)
          70       an internal error
          128+N    interrupted by signal N

        Reports go to standard output, progress and diagnostics to standard error.
        Run `clnrm help COMMAND` for the options and examples of one command.
        "#);
    }
}
