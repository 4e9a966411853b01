//! What stands below the options in each command's `--help`: examples, and exit codes where they belong.

/// `clnrm --help`.
pub(super) const TOP: &str = "\
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
Run `clnrm help COMMAND` for the options and examples of one command.";

/// `clnrm run --help`.
pub(super) const RUN: &str = "\
Examples:
  clnrm run                          run every *.clnrm.toml below this folder
  clnrm run tests/api.clnrm.toml     run one file (it may be called anything)
  clnrm run tests -j 4 --fail-fast   four files at a time, stop at the first failure
  clnrm run --keep tests             leave the services running afterwards
  clnrm run -f junit tests > junit.xml

Services stay up after a run, and are stopped where CI is set. --keep and --stop, and `keep` in clnrm.toml, override that.";

/// `clnrm validate --help`.
pub(super) const VALIDATE: &str = "\
Examples:
  clnrm validate                     check every *.clnrm.toml below this folder
  clnrm validate tests/api.clnrm.toml";

/// `clnrm init --help`.
pub(super) const INIT: &str = "\
Examples:
  clnrm init && clnrm run
  clnrm init tests/cache.clnrm.toml";

/// `clnrm services status --help`.
pub(super) const STATUS: &str = "\
Examples:
  clnrm services status
  clnrm services status --format json";

/// `clnrm services logs --help`.
pub(super) const LOGS: &str = "\
Examples:
  clnrm services logs cache
  clnrm services logs cache --lines 200 --follow";

/// `clnrm services restart --help`.
pub(super) const RESTART: &str = "\
Examples:
  clnrm services restart cache";

/// `clnrm services stop --help`.
pub(super) const STOP: &str = "\
Examples:
  clnrm services stop cache
  clnrm services stop --all";

/// `clnrm services ai-manage --help`.
pub(super) const AI_MANAGE: &str = "\
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

Everything is computed from what was measured. Stopped services are reported from their history.";

/// `clnrm demo --help`.
pub(super) const DEMO: &str = "\
Examples:
  clnrm demo                         start, load, measure, predict, scale and stop three small services";

/// `clnrm completions --help`.
pub(super) const COMPLETIONS: &str = "\
Examples:
  clnrm completions bash > ~/.local/share/bash-completion/completions/clnrm
  clnrm completions zsh > ~/.zfunc/_clnrm
  clnrm completions fish > ~/.config/fish/completions/clnrm.fish";
