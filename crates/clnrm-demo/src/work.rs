//! The work of one request: CPU time burnt, memory held, failures dealt out.
//!
//! Deliberately absent: chance. The same requests give the same failures.

use std::collections::VecDeque;
use std::hint::black_box;
use std::num::ParseIntError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use thiserror::Error;

/// What one request may ask for at most: enough for any demonstration, too little to freeze a laptop.
const MAX_CPU_MS: u64 = 10_000;
const MAX_HOLD_KB: u64 = 100_000;

/// What one request asks for. What it does not name is zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Work {
    cpu_ms: u64,
    hold_kb: u64,
    fail_percent: u64,
}

/// Why a query is not [`Work`].
#[derive(Debug, PartialEq, Eq, Error)]
pub(super) enum WorkError {
    #[error("`{key}` is not one of cpu_ms, hold_kb, fail_percent")]
    UnknownKey { key: String },
    #[error("`{key}` must be a whole number, not `{value}`")]
    NotANumber {
        key: String,
        value: String,
        source: ParseIntError,
    },
    #[error("`{key}` must be at most {largest}, not {value}")]
    TooLarge {
        key: String,
        value: u64,
        largest: u64,
    },
}

impl Work {
    /// Reads a query such as `cpu_ms=5&hold_kb=256`.
    pub(super) fn parse(query: &str) -> Result<Self, WorkError> {
        let mut work = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, text) = pair.split_once('=').unwrap_or((pair, ""));
            let (field, largest) = match key {
                "cpu_ms" => (&mut work.cpu_ms, MAX_CPU_MS),
                "hold_kb" => (&mut work.hold_kb, MAX_HOLD_KB),
                "fail_percent" => (&mut work.fail_percent, 100),
                _ => {
                    let key = key.to_owned();
                    return Err(WorkError::UnknownKey { key });
                }
            };
            let key = key.to_owned();
            let value = match text.parse() {
                Ok(value) => value,
                Err(source) => {
                    let value = text.to_owned();
                    return Err(WorkError::NotANumber { key, value, source });
                }
            };
            if value > largest {
                return Err(WorkError::TooLarge {
                    key,
                    value,
                    largest,
                });
            }
            *field = value;
        }
        Ok(work)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    FailedAsAsked,
}

/// Where requests are worked on.
#[derive(Debug)]
pub(super) struct WorkSite {
    memory: Mutex<HeldMemory>,
    /// Sum of all `fail_percent` so far. Each full hundred is one failure: the exact share, evenly spread.
    failure_percents: AtomicU64,
}

#[derive(Debug)]
struct HeldMemory {
    limit_bytes: usize,
    held_bytes: usize,
    blocks: VecDeque<Vec<u8>>,
}

impl WorkSite {
    pub(super) fn new(limit_bytes: usize) -> Self {
        Self {
            memory: Mutex::new(HeldMemory {
                limit_bytes,
                held_bytes: 0,
                blocks: VecDeque::new(),
            }),
            failure_percents: AtomicU64::new(0),
        }
    }

    /// Blocks the thread for as long as the work takes.
    pub(super) fn perform(&self, work: Work) -> Outcome {
        if work.hold_kb > 0 {
            self.memory().hold(work.hold_kb as usize * 1_000);
        }
        burn_cpu(Duration::from_millis(work.cpu_ms));
        let before = self
            .failure_percents
            .fetch_add(work.fail_percent, Ordering::Relaxed);
        if (before + work.fail_percent) / 100 > before / 100 {
            Outcome::FailedAsAsked
        } else {
            Outcome::Done
        }
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.memory().held_bytes
    }

    /// A panic while the lock is held can only lose a block's bytes from the sum, which errs on the small side.
    fn memory(&self) -> MutexGuard<'_, HeldMemory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HeldMemory {
    /// Room is made first, so that the limit holds at every moment. A block beyond the limit is not held at all.
    fn hold(&mut self, size: usize) {
        if size > self.limit_bytes {
            return;
        }
        let mut room = Vec::new();
        while self.held_bytes + size > self.limit_bytes
            && let Some(oldest) = self.blocks.pop_front()
        {
            self.held_bytes -= oldest.len();
            room = oldest;
        }
        // Equal blocks take each other's place: freed and allocated anew by many threads they would
        // scatter over the allocator's arenas and take up to half as much again.
        let mut block = if room.len() == size {
            room
        } else {
            Vec::with_capacity(size)
        };
        block.clear();
        // Ones, because the kernel does not back untouched zero pages with memory.
        block.resize(size, 1);
        self.blocks.push_back(block);
        self.held_bytes += size;
    }
}

/// Spins for this much CPU time of the calling thread; time spent waiting for a core does not count.
fn burn_cpu(amount: Duration) {
    /// Long enough that the look at the clock (a system call) is a small part of it.
    const SPINS_PER_LOOK: u32 = 5_000;
    let until = thread_cpu_time() + amount;
    let mut value = 1_u64;
    while thread_cpu_time() < until {
        for _ in 0..SPINS_PER_LOOK {
            value = black_box(value.rotate_left(7) ^ 0x9e37_79b9);
        }
    }
}

fn thread_cpu_time() -> Duration {
    // A thread's CPU time is never negative, which is the only way for this to fail.
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing(fail_percent: u64) -> Work {
        Work {
            fail_percent,
            ..Work::default()
        }
    }

    #[test]
    fn cpu_time_is_burnt_by_the_calling_thread() {
        let before = thread_cpu_time();
        burn_cpu(Duration::from_millis(20));
        let burnt = thread_cpu_time() - before;
        assert!(burnt >= Duration::from_millis(20), "{burnt:?}");
        assert!(burnt < Duration::from_millis(40), "{burnt:?}");
    }

    #[test]
    fn memory_stays_within_the_limit_and_the_newest_is_kept() {
        let site = WorkSite::new(1_000_000);
        for hold_kb in [400, 400, 400, 100, 200] {
            site.perform(Work {
                hold_kb,
                ..Work::default()
            });
            assert!(site.held_bytes() <= 1_000_000);
        }
        let held: Vec<_> = site.memory().blocks.iter().map(Vec::len).collect();
        assert_eq!(held, [400_000, 100_000, 200_000]);
        assert_eq!(site.held_bytes(), 700_000);
        let reserved: usize = site.memory().blocks.iter().map(Vec::capacity).sum();
        assert_eq!(
            reserved, 700_000,
            "a small block must not sit in a large one's room"
        );
    }

    #[test]
    fn a_block_beyond_the_limit_is_not_held() {
        let site = WorkSite::new(1_000_000);
        site.perform(Work {
            hold_kb: 1_001,
            ..Work::default()
        });
        assert_eq!(site.held_bytes(), 0);
    }

    #[test]
    fn failures_have_the_exact_share_and_are_evenly_spread() {
        let site = WorkSite::new(0);
        let outcomes: Vec<_> = (0..8).map(|_| site.perform(failing(25))).collect();
        let failed = |index: &usize| outcomes[*index] == Outcome::FailedAsAsked;
        assert_eq!((0..8).filter(failed).collect::<Vec<_>>(), [3, 7]);
        assert_eq!(site.perform(failing(0)), Outcome::Done);
        assert_eq!(site.perform(failing(100)), Outcome::FailedAsAsked);
    }

    #[test]
    fn queries_are_read_strictly() {
        let work = Work::parse("cpu_ms=5&hold_kb=256&fail_percent=1");
        let expected = Work {
            cpu_ms: 5,
            hold_kb: 256,
            fail_percent: 1,
        };
        assert_eq!(work, Ok(expected));
        assert_eq!(Work::parse(""), Ok(Work::default()));
        for (query, message) in [
            ("cpu=5", "`cpu` is not one of cpu_ms, hold_kb, fail_percent"),
            ("cpu_ms=-1", "`cpu_ms` must be a whole number, not `-1`"),
            ("hold_kb", "`hold_kb` must be a whole number, not ``"),
            (
                "fail_percent=101",
                "`fail_percent` must be at most 100, not 101",
            ),
        ] {
            assert_eq!(Work::parse(query).unwrap_err().to_string(), message);
        }
    }
}
