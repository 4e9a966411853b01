//! How output looks: colour per stream and the kind of progress, decided once from flags and surroundings.
//!
//! Deliberately absent: reading the environment or asking whether a stream is a terminal. Both are inputs.

use std::path::Path;

use colored::{Color, Colorize};

use crate::report::checkout::Checkout;

/// `--color`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ColorChoice {
    /// Colour on terminals, unless the environment says otherwise.
    #[default]
    Auto,
    Always,
    Never,
}

/// What the program can see of the place it runs in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Surroundings {
    /// `NO_COLOR` is set and not empty (<https://no-color.org>).
    pub no_color: bool,
    /// `CLICOLOR_FORCE` is set and neither empty nor `0` (<https://bixense.com/clicolors>).
    pub clicolor_force: bool,
    /// `CI` is set and neither empty, `0` nor `false`.
    pub ci: bool,
    /// Where the repository is, if `GITHUB_ACTIONS` is `true`.
    pub github_actions: Option<Checkout>,
    /// `TERM` is `dumb`: neither colour nor cursor movement.
    pub dumb_terminal: bool,
    /// Standard output is a terminal.
    pub stdout_is_terminal: bool,
    /// Standard error is a terminal.
    pub stderr_is_terminal: bool,
}

/// How a run shows that it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgressKind {
    /// A bar that redraws itself; for terminals.
    Bar,
    /// One line per event; for CI logs and pipes.
    Plain,
    /// Only warnings. Never the outcome of [`Style::resolve`]: a caller asks for it.
    None,
}

/// The look of everything that is printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Style {
    pub stdout: Paint,
    pub stderr: Paint,
    /// Progress of a run, on standard error.
    pub progress: ProgressKind,
    /// Failures are announced as GitHub annotations too, about files of this repository.
    pub github_actions: Option<Checkout>,
}

/// Colour on or off for one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint {
    enabled: bool,
}

impl Surroundings {
    /// Reads the variables through `variable` (the environment, or a table in tests).
    pub fn from_variables(
        variable: impl Fn(&str) -> Option<String>,
        current_dir: &Path,
        stdout_is_terminal: bool,
        stderr_is_terminal: bool,
    ) -> Self {
        let set = |name: &str, off: &[&str]| {
            variable(name).is_some_and(|value| !value.is_empty() && !off.contains(&value.as_str()))
        };
        Self {
            no_color: set("NO_COLOR", &[]),
            clicolor_force: set("CLICOLOR_FORCE", &["0"]),
            ci: set("CI", &["0", "false"]),
            github_actions: (variable("GITHUB_ACTIONS").as_deref() == Some("true")).then(|| {
                Checkout {
                    workspace: variable("GITHUB_WORKSPACE").unwrap_or_default().into(),
                    current_dir: current_dir.to_owned(),
                }
            }),
            dumb_terminal: variable("TERM").as_deref() == Some("dumb"),
            stdout_is_terminal,
            stderr_is_terminal,
        }
    }
}

impl Style {
    /// Decides the look. `--color` beats `NO_COLOR`, which beats `CLICOLOR_FORCE`, which beats the terminal.
    pub fn resolve(choice: ColorChoice, surroundings: &Surroundings) -> Self {
        let color = |is_terminal: bool| {
            Paint::new(match choice {
                ColorChoice::Always => true,
                ColorChoice::Never => false,
                ColorChoice::Auto if surroundings.no_color => false,
                ColorChoice::Auto if surroundings.clicolor_force => true,
                ColorChoice::Auto => is_terminal && !surroundings.dumb_terminal,
            })
        };
        let bar =
            surroundings.stderr_is_terminal && !surroundings.ci && !surroundings.dumb_terminal;
        Self {
            stdout: color(surroundings.stdout_is_terminal),
            stderr: color(surroundings.stderr_is_terminal),
            progress: if bar {
                ProgressKind::Bar
            } else {
                ProgressKind::Plain
            },
            github_actions: surroundings.github_actions.clone(),
        }
    }
}

impl Paint {
    /// Colour that is there or not, whatever the `colored` crate would guess from *its* look at stdout.
    pub fn new(enabled: bool) -> Self {
        if enabled {
            // Only text that this type lets through reaches `colored`, so the override is the same
            // for every stream and in every test.
            colored::control::set_override(true);
        }
        Self { enabled }
    }

    pub const fn plain() -> Self {
        Self { enabled: false }
    }

    pub(crate) fn heading(self, text: &str) -> String {
        self.with(text, |text| text.bold().to_string())
    }

    pub(crate) fn faint(self, text: &str) -> String {
        self.with(text, |text| text.dimmed().to_string())
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.with(text, |text| text.color(Color::Green).bold().to_string())
    }

    pub(crate) fn warning(self, text: &str) -> String {
        self.with(text, |text| text.color(Color::Yellow).bold().to_string())
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.with(text, |text| text.color(Color::Red).bold().to_string())
    }

    fn with(self, text: &str, color: impl Fn(&str) -> String) -> String {
        if self.enabled {
            color(text)
        } else {
            text.to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Variables<'a> = &'a [(&'a str, &'a str)];

    fn surroundings(variables: Variables<'_>, terminal: bool) -> Surroundings {
        let lookup = |name: &str| {
            variables
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        };
        Surroundings::from_variables(lookup, Path::new("/"), terminal, terminal)
    }

    #[test]
    fn colour_follows_flag_then_variables_then_terminal() {
        use ColorChoice::{Always, Auto, Never};
        let table: &[(ColorChoice, Variables<'_>, bool, bool)] = &[
            (Auto, &[], true, true),
            (Auto, &[], false, false),
            (Auto, &[("NO_COLOR", "1")], true, false),
            (Auto, &[("NO_COLOR", "")], true, true),
            (Auto, &[("CLICOLOR_FORCE", "1")], false, true),
            (Auto, &[("CLICOLOR_FORCE", "0")], false, false),
            (
                Auto,
                &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")],
                true,
                false,
            ),
            (Auto, &[("TERM", "dumb")], true, false),
            (Always, &[("NO_COLOR", "1"), ("TERM", "dumb")], false, true),
            (Never, &[("CLICOLOR_FORCE", "1")], true, false),
        ];
        for (choice, variables, terminal, expected) in table {
            let style = Style::resolve(*choice, &surroundings(variables, *terminal));
            assert_eq!(
                (style.stdout.enabled, style.stderr.enabled),
                (*expected, *expected),
                "{choice:?} {variables:?} terminal={terminal}"
            );
        }
    }

    #[test]
    fn each_stream_decides_for_itself() {
        let piped_report = Surroundings {
            stderr_is_terminal: true,
            ..Surroundings::default()
        };
        let style = Style::resolve(ColorChoice::Auto, &piped_report);
        assert!(!style.stdout.enabled && style.stderr.enabled);
        assert_eq!(style.progress, ProgressKind::Bar);
    }

    #[test]
    fn the_bar_is_for_terminals_outside_ci() {
        let table: &[(Variables<'_>, bool, ProgressKind)] = &[
            (&[], true, ProgressKind::Bar),
            (&[], false, ProgressKind::Plain),
            (&[("CI", "true")], true, ProgressKind::Plain),
            (&[("CI", "false")], true, ProgressKind::Bar),
            (&[("TERM", "dumb")], true, ProgressKind::Plain),
        ];
        for (variables, terminal, expected) in table {
            let style = Style::resolve(ColorChoice::Auto, &surroundings(variables, *terminal));
            assert_eq!(style.progress, *expected, "{variables:?} {terminal}");
        }
    }

    #[test]
    fn paint_is_plain_or_an_escape_sequence() {
        assert_eq!(Paint::plain().bad("FAIL"), "FAIL");
        assert_eq!(Paint::new(true).bad("FAIL"), "\u{1b}[1;31mFAIL\u{1b}[0m");
    }
}
