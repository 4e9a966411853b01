//! The life of instances, the commands on them and whole runs, over a clock that a test moves and a backend that fails
//! when a test says so: what takes minutes and bad luck elsewhere is reached here in milliseconds.
//!
//! Everything between is the product: history, journal, locks, decisions. Deliberately absent: processes, engines,
//! sockets; those have tests of their own, and the binary has `tests/end_to_end`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, and clippy exempts only functions marked as tests"
)]

mod clock;
mod pools;
mod recovery;
mod runs;
mod scaling;
mod stage;
mod starts;
mod world;
