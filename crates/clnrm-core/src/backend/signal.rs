//! Sends a signal to a process, and never to another one that was given its number.

use std::io;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::config::definition::StopSignal;
use crate::procfs::ProcessStat;

/// Whether there was anybody to receive the signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    Sent,
    /// The process is gone (or its number belongs to another one now).
    Gone,
}

/// Sends `signal` to the process `pid` that started at `start_ticks`.
///
/// The descriptor is opened first and the start time compared after that: from then on the descriptor means that
/// process, so its number cannot change hands between the look and the signal.
pub fn send(pid: i32, start_ticks: u64, signal: Signal) -> io::Result<Delivery> {
    let Some(process) = Pid::from_raw(pid) else {
        return Ok(Delivery::Gone);
    };
    let descriptor = match pidfd_open(process, PidfdFlags::empty()) {
        Ok(descriptor) => descriptor,
        Err(Errno::SRCH) => return Ok(Delivery::Gone),
        Err(error) => return Err(error.into()),
    };
    let stat = ProcessStat::read(pid)?;
    if stat.is_none_or(|stat| stat.start_ticks != start_ticks) {
        return Ok(Delivery::Gone);
    }
    match pidfd_send_signal(descriptor, signal) {
        Ok(()) => Ok(Delivery::Sent),
        Err(Errno::SRCH) => Ok(Delivery::Gone),
        Err(error) => Err(error.into()),
    }
}

/// The signal that a test file names.
pub fn number(signal: StopSignal) -> Signal {
    match signal {
        StopSignal::Term => Signal::TERM,
        StopSignal::Int => Signal::INT,
        StopSignal::Quit => Signal::QUIT,
        StopSignal::Hup => Signal::HUP,
        StopSignal::Usr1 => Signal::USR1,
        StopSignal::Usr2 => Signal::USR2,
        StopSignal::Winch => Signal::WINCH,
    }
}
