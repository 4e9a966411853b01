//! Makes used instances clean, and proves it: after a reset the verification must give what it gave when the instance
//! was fresh. The proof is a text, so that a difference can be told.
//!
//! Deliberately absent: who may have the instance next (`pool`).

mod command;
mod postgres;
mod redis;
mod resp;

use std::time::Duration;

use sha2::{Digest, Sha256};
use thiserror::Error;
use tokio::time::{Instant, timeout};

use super::project::Project;
use super::start::LiveInstance;
use crate::config::definition::Cleaning;

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
        /// What happened.
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
    LeftRunning {
        /// What.
        left: String,
    },
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

impl Project {
    /// What the verification gives of an instance that is fresh; prepares what a later reset takes.
    pub async fn fresh_output(&self, instance: &LiveInstance) -> Result<String, CleanError> {
        let reuse = instance.definition.reuse().ok_or(CleanError::NoWay)?;
        if let Cleaning::Postgres { .. } = reuse.reset {
            within("reset", postgres::remember(&reuse.reset, instance)).await?;
        }
        let output = self.verify(&reuse.verify, instance).await?;
        let is_proof = match (&reuse.reset, &reuse.verify) {
            (Cleaning::Command(_), Cleaning::Redis { .. }) => !redis::holds_keys(&output),
            (Cleaning::Command(_), Cleaning::Postgres { .. }) => false,
            _ => true,
        };
        is_proof
            .then_some(output)
            .ok_or(CleanError::ContentsNotCompared)
    }

    /// Resets an instance and verifies that it is as it was when it was fresh.
    pub async fn clean(
        &self,
        instance: &LiveInstance,
        fresh: &str,
    ) -> Result<Duration, CleanError> {
        let reuse = instance.definition.reuse().ok_or(CleanError::NoWay)?;
        let started = Instant::now();
        let now = match (&reuse.reset, &reuse.verify) {
            (Cleaning::Redis { .. }, Cleaning::Redis { .. }) => {
                let both = redis::reset_and_verify(&reuse.reset, instance);
                within("reset", both).await.map(shortened)?
            }
            _ => {
                self.reset(&reuse.reset, instance).await?;
                self.verify(&reuse.verify, instance).await?
            }
        };
        if let Some(left) = self.containers.left_running_in(&instance.place()).await {
            return Err(CleanError::LeftRunning { left });
        }
        match difference(fresh, &now) {
            None => Ok(started.elapsed()),
            Some(difference) => Err(CleanError::Changed { difference }),
        }
    }

    async fn reset(&self, reset: &Cleaning<'_>, instance: &LiveInstance) -> Result<(), CleanError> {
        let done = async {
            match reset {
                Cleaning::Command(command) => {
                    self.clean_by_command(instance, "reset", command).await?;
                    Ok(())
                }
                Cleaning::Redis { .. } => redis::reset(reset, instance).await,
                Cleaning::Postgres { .. } => postgres::reset(reset, instance).await,
            }
        };
        within("reset", done).await
    }

    async fn verify(
        &self,
        verify: &Cleaning<'_>,
        instance: &LiveInstance,
    ) -> Result<String, CleanError> {
        let output = async {
            match verify {
                Cleaning::Command(command) => {
                    self.clean_by_command(instance, "verify", command).await
                }
                Cleaning::Redis { .. } => redis::verify(verify, instance).await,
                Cleaning::Postgres { .. } => postgres::verify(verify, instance).await,
            }
        };
        within("verify", output).await.map(shortened)
    }
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

/// The first digits of a SHA-256: says whether two values are equal, and not what they are.
fn digest_of(value: &str) -> String {
    let digest = Sha256::digest(value.as_bytes());
    let digits = digest.iter().take(8).map(|byte| format!("{byte:02x}"));
    digits.collect()
}

fn shortened(output: String) -> String {
    if output.len() <= LONGEST_KEPT_OUTPUT {
        return output;
    }
    format!("{} bytes, digest {}", output.len(), digest_of(&output))
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
