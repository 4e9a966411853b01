//! Why a value is missing. Every field that was not measured carries one of these instead of a number.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::source::Source;

/// A measured value, or why there is none.
pub type Measured<T> = Result<T, Absent>;

/// Why a value was not measured.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Absent {
    /// The test file names no source for it.
    #[error("no metrics source")]
    NoSource,
    /// The service has no port, so nothing can be asked or counted there.
    #[error("the service has no port")]
    NoPort,
    /// There is nothing to measure.
    #[error("no running instance")]
    NoInstance,
    /// A rate needs two readings.
    #[error("first reading")]
    FirstReading,
    /// An engine sends a container's statistics once a second, and the first after one or two.
    #[error("the engine has sent no statistics yet")]
    NoStatisticsYet,
    /// Connections that were closed between two commands leave no trace.
    #[error("connections were not watched since the last reading, which another command took")]
    NotWatched,
    /// The two readings are too close together to be divided.
    #[error("only {millis} ms since the last reading")]
    TooSoon { millis: u64 },
    /// The instance is another one than at the last reading, or started anew.
    #[error("the instance was restarted")]
    Restarted,
    /// The counter went down, or its owner says that it began anew.
    #[error("counter was reset")]
    CounterReset,
    /// There is nothing to divide by.
    #[error("no requests in the interval")]
    NoRequests,
    /// The instance's processes are gone.
    #[error("the process has ended")]
    ProcessEnded,
    /// The kernel dropped messages because nobody read them in time.
    #[error("the kernel dropped reports of closed connections")]
    EventsLost,
    /// This kind of source never has this value.
    #[error("{source_name} does not expose this")]
    NotExposed { source_name: Source },
    /// The server asks for a password that the test file does not give.
    #[error("{source_name} asks for a password (NOAUTH): set it in `metrics`")]
    PasswordNeeded { source_name: Source },
    /// The endpoint was read, but this metric is not on it.
    #[error("no metric `{name}` at the endpoint{}{}", instead_note(.instead.as_deref()), unreadable_note(*.unreadable_lines))]
    NoSuchMetric {
        /// The name that was looked for.
        name: String,
        /// Lines of the page that could not be read.
        unreadable_lines: usize,
        /// What the page has in its place.
        #[serde(default)]
        instead: Option<String>,
    },
    /// The endpoint declares the metric, and nothing has been counted under it so far.
    #[error("`{name}` is declared at the endpoint, but has no series yet")]
    NoSeries { name: String },
    /// The metric that should count is of another kind.
    #[error("the endpoint calls `{name}` {what}, which counts nothing{}", instead_note(.instead.as_deref()))]
    NotACounter {
        name: String,
        /// What the page calls it, with its article.
        what: String,
        /// What the page has in its place.
        instead: Option<String>,
    },
    /// The metric that should time requests is of another kind.
    #[error("the endpoint calls `{name}` {what}, and only a histogram or a summary has durations{}", instead_note(.instead.as_deref()))]
    NotADuration {
        name: String,
        /// What the page calls it, with its article.
        what: String,
        /// What the page has in its place.
        instead: Option<String>,
    },
    /// The metric that should say how many there are now is a counter.
    #[error("the endpoint calls `{name}` a counter, which does not say how many there are now")]
    NotAGauge { name: String },
    /// One series stands on a page several times, and not with one value.
    #[error("a series of `{name}` stands at the endpoint twice, with different values")]
    Contradictory { name: String },
    /// Neither the name nor the page says what the numbers mean.
    #[error("`{name}` does not say its unit (by a name such as {name}_seconds, or by # UNIT)")]
    NoUnit { name: String },
    /// How requests ended is said in words that have no rule.
    #[error(
        "`{name}` has {label}, which is neither an HTTP code nor a gRPC code nor a known word: name a counter of failures in `errors`"
    )]
    UnknownStatus { name: String, label: String },
    /// A part of the counter is new, and says not how much of it is.
    #[error("a series began in the interval, and does not say how much it counted before")]
    SeriesBegan,
    /// Counters that grow and shrink are several processes' or none.
    #[error("the counter goes up and down: several processes answer in turn, or it is no counter")]
    UpAndDown,
    /// A reading of so many series is not stored for the next command.
    #[error("first reading (more than {limit} series are not kept from one command to the next)")]
    TooManySeries { limit: usize },
    /// The time of clnrm's own requests cannot be told from that of others.
    #[error("clnrm's own requests are too many of those that were timed")]
    OwnAmongTimed,
    /// The server shows this to some roles only.
    #[error("the server does not show this to role `{role}`: grant {grant} to {role}")]
    NotGranted { role: String, grant: String },
    /// The request counter does not tell failures apart.
    #[error("`{name}` has series without a label such as code or status")]
    NoStatusLabel { name: String },
    /// What was read is NaN or infinite.
    #[error("{what} is not a finite number")]
    NotFinite { what: String },
    /// The source could not be read. Reads as a sentence: `GET http://127.0.0.1:80/metrics` `timed out after 2 s`.
    #[error("{what} {problem}")]
    Unreadable { what: String, problem: String },
    /// The answer will be part of a later reading.
    #[error("{what} has not answered yet")]
    NotAnsweredYet { what: String },
    /// A value of the service needs the values of all its instances.
    #[error("{reason} ({missing} of {instances} instances)")]
    SomeInstances {
        /// How many instances lack the value.
        missing: usize,
        /// How many instances there are.
        instances: usize,
        /// Why the first of them lacks it.
        reason: Box<Absent>,
    },
}

fn instead_note(instead: Option<&str>) -> String {
    instead.map_or_else(String::new, |name| format!(" (there is `{name}`)"))
}

fn unreadable_note(lines: usize) -> String {
    match lines {
        0 => String::new(),
        1 => " (1 line could not be read)".to_owned(),
        _ => format!(" ({lines} lines could not be read)"),
    }
}

impl Absent {
    /// For an error that happened while `what` was read; the problem is the error with all its causes.
    pub fn unreadable(what: &str, error: &dyn std::error::Error) -> Self {
        let mut problem = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // Some libraries repeat their cause in their own text.
            if !problem.contains(&text) {
                problem = format!("{problem}: {text}");
            }
            cause = error.source();
        }
        Self::Unreadable {
            what: what.to_owned(),
            problem,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_read_as_sentences() {
        let timed_out = Absent::Unreadable {
            what: "GET http://127.0.0.1:80/metrics".to_owned(),
            problem: "timed out after 2 s".to_owned(),
        };
        let several = Absent::SomeInstances {
            missing: 1,
            instances: 3,
            reason: Box::new(timed_out),
        };
        assert_eq!(
            several.to_string(),
            "GET http://127.0.0.1:80/metrics timed out after 2 s (1 of 3 instances)"
        );
        let source_name = Source::server("redis");
        assert_eq!(
            Absent::NotExposed { source_name }.to_string(),
            "redis does not expose this"
        );
        assert_eq!(
            Absent::NoSuchMetric {
                name: "a".to_owned(),
                unreadable_lines: 2,
                instead: Some("b".to_owned()),
            }
            .to_string(),
            "no metric `a` at the endpoint (there is `b`) (2 lines could not be read)"
        );
    }

    #[test]
    fn a_chain_of_errors_is_told_once() {
        #[derive(Debug, Error)]
        #[error("no connection to h:1")]
        struct Outer(#[source] std::io::Error);
        let outer = Outer(std::io::Error::other("deep"));
        assert_eq!(
            Absent::unreadable("GET x", &outer).to_string(),
            "GET x no connection to h:1: deep"
        );
    }
}
