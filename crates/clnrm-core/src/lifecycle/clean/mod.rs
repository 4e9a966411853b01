//! Makes used instances clean, and proves it: after a reset the verification must give what it gave when the instance
//! was fresh. The proof is a text, so that a difference can be told.
//!
//! Deliberately absent: who may have the instance next (`pool`).

mod command;

use std::time::Duration;

use thiserror::Error;
use tokio::time::{Instant, timeout};

use super::live::LiveInstance;
use super::project::Project;
use crate::config::definition::{CommandLine, ServerSpec, ServiceDefinition};
use crate::servers::{self, Cleaner, Server};
use crate::text::short_digest;

/// A reset or a verification that takes longer does not belong into a pool.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longer outputs are kept as their digest.
const LONGEST_KEPT_OUTPUT: usize = 64 * 1024;
/// Characters of either side that a difference shows.
const SHOWN: usize = 80;

/// Why an instance is not clean.
#[derive(Debug, Error)]
pub enum CleanError {
    /// Its pool says nothing of how.
    #[error("it cannot be reset and verified")]
    NoWay,
    /// What it was like when it was fresh is not on record.
    #[error("its fresh state was not recorded{}", because(.why.as_ref()))]
    FreshStateUnknown {
        /// Why, where this command started it.
        why: Option<String>,
    },
    /// The built-in verification counts and measures, which is no proof of what an own reset leaves behind.
    #[error(
        "it holds data when it is fresh, and what an own `reset` makes of them is not compared: give its pool a `verify`"
    )]
    ContentsNotCompared,
    /// It could not be asked or told.
    #[error("its {step} failed: {problem}")]
    Failed {
        /// `reset` or `verify`.
        step: &'static str,
        problem: String,
    },
    /// It took too long.
    #[error("its {step} took longer than {} s", PATIENCE.as_secs())]
    TooSlow {
        /// `reset` or `verify`.
        step: &'static str,
    },
    /// A command that ran inside it has left something running.
    #[error("a command left a process in it that cannot be ended: {left}")]
    LeftRunning { left: String },
    /// The reset left something behind.
    #[error("its reset left it changed: {difference}")]
    Changed {
        /// The first difference from its fresh state.
        difference: String,
    },
}

fn because(why: Option<&String>) -> String {
    why.map(|why| format!(": {why}")).unwrap_or_default()
}

/// How a used instance becomes clean again, or shows that it is.
#[derive(Clone, Copy)]
enum Way<'a> {
    /// A command of the test file.
    Command(&'a CommandLine),
    /// What is known of its kind of server.
    BuiltIn(&'static dyn Cleaner, &'a ServerSpec),
}

/// How instances of a service are reset, and how that is verified; `None` = they cannot be both, so none serves twice.
fn ways(definition: &ServiceDefinition) -> Option<(Way<'_>, Way<'_>)> {
    let built_in = servers::cleaner(&definition.metrics);
    let built_in = built_in.map(|(cleaner, spec)| Way::BuiltIn(cleaner, spec));
    let pool = &definition.pool;
    let (reset, verify) = (pool.reset.as_ref(), pool.verify.as_ref());
    Some((
        reset.map(Way::Command).or(built_in)?,
        verify.map(Way::Command).or(built_in)?,
    ))
}

/// Whether an instance can serve one test after another.
pub fn is_reusable(definition: &ServiceDefinition) -> bool {
    ways(definition).is_some()
}

impl Project {
    /// What the verification gives of an instance that is fresh; prepares what a later reset takes.
    pub async fn fresh_output(&self, instance: &LiveInstance) -> Result<String, CleanError> {
        let (reset, verify) = ways(&instance.definition).ok_or(CleanError::NoWay)?;
        if let Way::BuiltIn(cleaner, spec) = reset {
            let remembered = async {
                cleaner
                    .remember(&server(spec, instance.reached.address().as_ref())?)
                    .await
            };
            within("reset", remembered).await?;
        }
        let output = self.verify(verify, instance).await?;
        match (reset, verify) {
            (Way::Command(_), Way::BuiltIn(cleaner, _))
                if !cleaner.proves_other_resets(&output) =>
            {
                Err(CleanError::ContentsNotCompared)
            }
            _ => Ok(output),
        }
    }

    /// Resets an instance and verifies that it is as it was when it was fresh.
    pub async fn clean(
        &self,
        instance: &LiveInstance,
        fresh: &str,
    ) -> Result<Duration, CleanError> {
        let (reset, verify) = ways(&instance.definition).ok_or(CleanError::NoWay)?;
        let started = Instant::now();
        let now = match (reset, verify) {
            (Way::BuiltIn(cleaner, spec), Way::BuiltIn(..)) => {
                let both = async {
                    let address = instance.reached.address();
                    let server = server(spec, address.as_ref());
                    let server = server.map_err(|problem| ("reset", problem))?;
                    cleaner.reset_and_verify(&server).await
                };
                let done = timeout(PATIENCE, both).await;
                let done = done.map_err(|_| CleanError::TooSlow { step: "reset" })?;
                let output = done.map_err(|(step, problem)| CleanError::Failed { step, problem });
                shortened(output?)
            }
            _ => {
                self.reset(reset, instance).await?;
                self.verify(verify, instance).await?
            }
        };
        if let Some(left) = instance.backend.left_running_in(&instance.place()).await {
            return Err(CleanError::LeftRunning { left });
        }
        match difference(fresh, &now) {
            None => Ok(started.elapsed()),
            Some(difference) => Err(CleanError::Changed { difference }),
        }
    }

    async fn reset(&self, reset: Way<'_>, instance: &LiveInstance) -> Result<(), CleanError> {
        let done = async {
            match reset {
                Way::Command(command) => {
                    let output = self.clean_by_command(instance, "reset", command).await;
                    output.map(drop)
                }
                Way::BuiltIn(cleaner, spec) => {
                    cleaner
                        .reset(&server(spec, instance.reached.address().as_ref())?)
                        .await
                }
            }
        };
        within("reset", done).await
    }

    async fn verify(&self, verify: Way<'_>, instance: &LiveInstance) -> Result<String, CleanError> {
        let output = async {
            match verify {
                Way::Command(command) => self.clean_by_command(instance, "verify", command).await,
                Way::BuiltIn(cleaner, spec) => {
                    cleaner
                        .verify(&server(spec, instance.reached.address().as_ref())?)
                        .await
                }
            }
        };
        within("verify", output).await.map(shortened)
    }
}

fn server<'a>(spec: &'a ServerSpec, address: Option<&'a String>) -> Result<Server<'a>, String> {
    let address = address.ok_or("it has no port")?;
    Ok(Server { address, spec })
}

async fn within<T>(
    step: &'static str,
    work: impl Future<Output = Result<T, String>>,
) -> Result<T, CleanError> {
    match timeout(PATIENCE, work).await {
        Ok(done) => done.map_err(|problem| CleanError::Failed { step, problem }),
        Err(_) => Err(CleanError::TooSlow { step }),
    }
}

fn shortened(output: String) -> String {
    if output.len() <= LONGEST_KEPT_OUTPUT {
        return output;
    }
    format!("{} bytes, digest {}", output.len(), short_digest(&output))
}

/// The first line in which two outputs differ.
fn difference(fresh: &str, now: &str) -> Option<String> {
    if fresh == now {
        return None;
    }
    let mut lines = (fresh.lines(), now.lines());
    loop {
        match (lines.0.next(), lines.1.next()) {
            (Some(before), Some(after)) if before == after => {}
            (None, None) => return Some("only its line breaks".to_owned()),
            (before, after) => {
                let quoted = |line: Option<&str>| match line {
                    Some(line) => format!("{:?}", line.chars().take(SHOWN).collect::<String>()),
                    None => "nothing".to_owned(),
                };
                return Some(format!(
                    "{} when it was fresh, now {}",
                    quoted(before),
                    quoted(after)
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_told() {
        assert_eq!(difference("a\nb\n", "a\nb\n"), None);
        let told = |fresh, now| difference(fresh, now).unwrap();
        assert_eq!(
            told("a\nb\n", "a\nc\n"),
            "\"b\" when it was fresh, now \"c\""
        );
        assert_eq!(told("", "key"), "nothing when it was fresh, now \"key\"");
        assert_eq!(told("a\n", "a"), "only its line breaks");
        assert!(told("x", &"y".repeat(1_000)).len() < 200);
    }

    #[test]
    fn long_outputs_are_kept_as_their_digest_and_still_differ() {
        let (one, two) = ("a".repeat(100_000), "a".repeat(99_999) + "b");
        assert!(shortened(one.clone()).len() < 100);
        assert_ne!(shortened(one), shortened(two));
    }
}
