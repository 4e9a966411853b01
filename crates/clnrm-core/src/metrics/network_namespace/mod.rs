//! Network bytes and connections of a container, from its network namespace as `/proc/[pid]/net` shows it.
//!
//! Bytes are what passed its interfaces (all but the loopback), headers included. They cannot be told apart by who sent
//! them, so clnrm's own questions for metrics are among them, and so is what the container itself fetches from elsewhere.

mod parse;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use clnrm_decide::{Absent, Measured};

use self::parse::Directions;
use super::cgroup::read;

/// One container's network, and what is remembered of it.
#[derive(Debug)]
pub(super) struct NetworkNamespace {
    folder: PathBuf,
    /// How many connections had been opened from inside when none of those was left.
    active_opens_without_outbound: u64,
}

impl NetworkNamespace {
    /// `None` when the process shares the network of this machine: then its interfaces are everybody's.
    ///
    /// Each namespace has files of its own, which shows in their inode numbers; the link `ns/net` would say the same
    /// but can only be read by those who may debug the process.
    pub(super) fn of_process(pid: i32) -> Option<Self> {
        let folder = PathBuf::from(format!("/proc/{pid}/net"));
        let theirs = fs::metadata(folder.join("dev")).ok()?;
        let ours = fs::metadata("/proc/self/net/dev").ok()?;
        (theirs.ino() != ours.ino()).then_some(Self {
            folder,
            active_opens_without_outbound: 0,
        })
    }

    /// Bytes received and sent since the container's start.
    pub(super) fn bytes(&self) -> Measured<u64> {
        read(&self.folder.join("dev"), parse::interface_bytes)
    }

    /// Established connections to any port that something in the container listens on.
    ///
    /// The tables of all sockets tell who opened a connection, but take 7 ms to read per container, because the kernel
    /// walks those of the whole machine. So they are read only where the container has opened connections itself
    /// since it last had none of those; else all that are established lead inwards.
    pub(super) fn connections(&mut self) -> Measured<u64> {
        let counters = read(&self.folder.join("snmp"), parse::tcp_counters)?;
        if counters.active_opens == self.active_opens_without_outbound {
            return Ok(counters.established);
        }
        let Directions { inbound, outbound } = self.directions()?;
        if outbound == 0 {
            self.active_opens_without_outbound = counters.active_opens;
        }
        Ok(inbound)
    }

    fn directions(&self) -> Measured<Directions> {
        let table = |name: &str| {
            let path = self.folder.join(name);
            fs::read_to_string(&path)
                .map_err(|error| Absent::unreadable(&path.display().to_string(), &error))
        };
        // Not there where IPv6 is switched off.
        let second = table("tcp6").unwrap_or_default();
        Ok(parse::directions(&[&table("tcp")?, &second]))
    }
}
