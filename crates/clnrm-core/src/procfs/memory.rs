//! How much memory one process has.

use std::io;
use std::path::Path;

use super::read_proc_file;

/// Resident memory of one process in bytes; `None` when it does not exist (any more), 0 for a zombie.
///
/// From `statm`, which newer kernels sum exactly; `stat` has only a per-CPU approximation.
pub fn resident_bytes(pid: i32) -> io::Result<Option<u64>> {
    let mut buffer = [0; 256];
    let Some(length) = read_proc_file(pid, "statm", &mut buffer)? else {
        return Ok(None);
    };
    let pages = std::str::from_utf8(buffer.get(..length).unwrap_or_default())
        .ok()
        .and_then(|text| text.split_ascii_whitespace().nth(1))
        .and_then(|pages| pages.parse::<u64>().ok())
        .ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("/proc/{pid}/statm is malformed"),
            )
        })?;
    let page_bytes = u64::try_from(rustix::param::page_size()).unwrap_or(u64::MAX);
    Ok(Some(pages.saturating_mul(page_bytes)))
}

/// Memory of one process in bytes, in which each page counts divided by the number of processes that map it; `None` when
/// it does not exist (any more) or has no memory left.
///
/// The kernel walks all page tables for it, so it takes far longer than [`resident_bytes`] where there is much memory.
pub fn proportional_bytes(pid: i32) -> io::Result<Option<u64>> {
    let mut buffer = [0; 4096];
    let Some(length) = read_proc_file(pid, "smaps_rollup", &mut buffer)? else {
        // A process whose memory is gone has the file still; without it, the kernel has it for nobody.
        return match Path::new("/proc/self/smaps_rollup").exists() {
            true => Ok(None),
            false => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "this kernel does not have it",
            )),
        };
    };
    let text = std::str::from_utf8(buffer.get(..length).unwrap_or_default());
    let line = |text: &str| {
        let rest = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    };
    let kibibytes = text.ok().and_then(line).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("/proc/{pid}/smaps_rollup is malformed"),
        )
    })?;
    Ok(Some(kibibytes.saturating_mul(1_024)))
}
