//! stub
use serde::{Deserialize, Serialize};
use std::io;
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessIdentity {
    pub pid: i32,
    pub start_ticks: u64,
    pub boot_id: String,
}
impl ProcessIdentity {
    pub fn of(pid: i32) -> io::Result<Option<Self>> {
        Ok(start_ticks(pid).map(|start_ticks| Self {
            pid,
            start_ticks,
            boot_id: std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
                .unwrap_or_default()
                .trim()
                .into(),
        }))
    }
    pub fn is_alive(&self) -> bool {
        ProcessTable::read(self.pid)
            .is_some_and(|p| p.start_ticks == self.start_ticks && p.state != 'Z')
    }
}
#[derive(Debug, Clone)]
pub struct Process {
    pub pid: i32,
    pub parent: i32,
    pub session: i32,
    pub start_ticks: u64,
    pub name: String,
    pub state: char,
}
impl Process {
    pub fn is_zombie(&self) -> bool {
        self.state == 'Z'
    }
}
pub struct ProcessTable(Vec<Process>);
pub fn start_ticks(pid: i32) -> Option<u64> {
    ProcessTable::read(pid).map(|p| p.start_ticks)
}
impl ProcessTable {
    fn read(pid: i32) -> Option<Process> {
        let t = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (a, b) = t.split_once('(')?;
        let _ = a;
        let (name, rest) = b.rsplit_once(')')?;
        let f: Vec<&str> = rest.split_whitespace().collect();
        Some(Process {
            pid,
            parent: f.get(1)?.parse().ok()?,
            session: f.get(3)?.parse().ok()?,
            start_ticks: f.get(19)?.parse().ok()?,
            name: name.into(),
            state: f.first()?.chars().next()?,
        })
    }
    pub fn scan() -> io::Result<Self> {
        Ok(Self(
            std::fs::read_dir("/proc")?
                .filter_map(|e| Self::read(e.ok()?.file_name().to_str()?.parse().ok()?))
                .collect(),
        ))
    }
    pub fn get(&self, pid: i32) -> Option<&Process> {
        self.0.iter().find(|p| p.pid == pid)
    }
    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        self.0.iter()
    }
    pub fn descendants(&self, root: i32) -> Vec<&Process> {
        let mut out: Vec<&Process> = Vec::new();
        let mut q = vec![root];
        while let Some(p) = q.pop() {
            for c in self.0.iter().filter(|c| c.parent == p) {
                out.push(c);
                q.push(c.pid);
            }
        }
        out
    }
}
