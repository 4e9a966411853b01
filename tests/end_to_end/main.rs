//! Drives the real binary against real processes and servers.

mod runtime;
mod support;
