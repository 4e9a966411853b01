//! The reports of `clnrm services status`, `stop` and `restart`.

use std::io::{self, Write};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::manage::status_report::{
    InstanceStatus, Purpose, ReportedState, RestartReport, StatusReport, StopReport,
};
use crate::report::human::{View, run};
use crate::report::style::Paint;
use crate::report::text::safe_line;
use crate::report::units;

const STATE_COLUMN: usize = 2;

/// Writes the instances as a table. `now` gives their age.
pub fn status(
    out: &mut dyn Write,
    report: &StatusReport,
    now: Timestamp,
    view: View,
) -> io::Result<()> {
    if report.instances.is_empty() {
        writeln!(out, "No instances.")?;
        return writeln!(out, "Start some: clnrm run --keep tests/");
    }
    let mut table = Table::new(&[
        "SERVICE", "ID", "STATE", "RUNS AS", "ADDRESS", "AGE", "READY IN", "WHY", "EXIT",
    ]);
    for instance in &report.instances {
        table.row(cells(instance, now));
    }
    table.write(out, |column, row, text| match report.instances.get(row) {
        Some(instance) if column == STATE_COLUMN => state(instance.state, text, view.paint),
        Some(_) | None => text.to_owned(),
    })?;
    if let Some(guard) = &report.guard {
        writeln!(out, "pid {} guards what is warm", guard.pid)?;
    }
    for instance in &report.instances {
        if let Some(kills) = instance.memory_kills {
            let id = safe_line(&instance.id);
            let line = format!("{id} ran out of memory: {kills} process(es) of it killed so far");
            writeln!(out, "{}", view.paint.warning(&line))?;
        }
    }
    if view.verbose {
        for instance in &report.instances {
            if let Some(log) = &instance.log {
                let id = safe_line(&instance.id);
                writeln!(out, "log of {id}: {}", safe_line(log))?;
            }
        }
    }
    Ok(())
}

fn cells(instance: &InstanceStatus, now: Timestamp) -> Vec<String> {
    let text = |text: &Option<String>| text.as_deref().map_or_else(|| "-".to_owned(), safe_line);
    let pid = instance.pid.map(|pid| format!("pid {pid}"));
    // As much of the id as the `docker` command shows.
    let container = instance.container_id.as_deref();
    let runs_as = container
        .map(|id| format!("container {}", id.get(..12).unwrap_or(id)))
        .or(pid);
    let ready = instance
        .ready_ms
        .map(|milliseconds| format!("{milliseconds} ms"));
    vec![
        safe_line(&instance.service),
        safe_line(&instance.id),
        state_name(instance.state).to_owned(),
        text(&runs_as),
        text(&instance.address),
        units::age(now.since(instance.started_at)),
        text(&ready),
        why(instance.purpose.as_ref(), now),
        text(&instance.exit),
    ]
}

fn why(purpose: Option<&Purpose>, now: Timestamp) -> String {
    match purpose {
        Some(Purpose::Leased { test }) => format!("leased by {}", safe_line(test)),
        Some(Purpose::Warm { until }) => format!("warm for {} more", units::age(until.since(now))),
        Some(Purpose::OfRun { run_id }) => format!("of run {}", safe_line(run_id)),
        Some(Purpose::OnRequest) => "on request".to_owned(),
        None => "-".to_owned(),
    }
}

fn state_name(state: ReportedState) -> &'static str {
    match state {
        ReportedState::Starting => "starting",
        ReportedState::Running => "running",
        ReportedState::Unhealthy => "unhealthy",
        ReportedState::Paused => "paused",
        ReportedState::Disconnected => "disconnected",
        ReportedState::Restarting => "restarting",
        ReportedState::Stopping => "stopping",
        ReportedState::Stopped => "stopped",
        ReportedState::Failed => "failed",
        ReportedState::Lost => "lost",
    }
}

fn state(state: ReportedState, text: &str, paint: Paint) -> String {
    match state {
        ReportedState::Running => paint.good(text),
        ReportedState::Starting
        | ReportedState::Stopping
        | ReportedState::Paused
        | ReportedState::Disconnected
        | ReportedState::Restarting => paint.warning(text),
        ReportedState::Stopped => paint.faint(text),
        ReportedState::Unhealthy | ReportedState::Failed | ReportedState::Lost => paint.bad(text),
    }
}

/// Writes what `services stop` ended, and the proof that nothing is left.
pub fn stop(out: &mut dyn Write, report: &StopReport, view: View) -> io::Result<()> {
    if report.stopped.is_empty() {
        writeln!(out, "Nothing was running.")?;
    }
    for instance in &report.stopped {
        let exit = match &instance.exit {
            Some(exit) => format!(": {}", safe_line(exit)),
            None => String::new(),
        };
        let killed = if instance.killed {
            " (it ignored the stop signal and was killed after its grace period)"
        } else {
            ""
        };
        writeln!(
            out,
            "stopped {} ({}) in {}{exit}{killed}",
            safe_line(&instance.service),
            safe_line(&instance.id),
            took(instance.took_ms)
        )?;
    }
    run::leaks(out, &report.leaks, view.paint)
}

/// Writes which instance took whose place.
pub fn restart(out: &mut dyn Write, report: &RestartReport) -> io::Result<()> {
    for instance in &report.restarted {
        let at = match &instance.address {
            Some(address) => format!(" at {}", safe_line(address)),
            None => String::new(),
        };
        writeln!(
            out,
            "restarted {}: {} → {}{at} in {}",
            safe_line(&instance.service),
            safe_line(&instance.old_id),
            safe_line(&instance.new_id),
            took(instance.took_ms)
        )?;
    }
    Ok(())
}

fn took(milliseconds: u64) -> String {
    units::duration(Duration::from_millis(milliseconds))
}

/// Left-aligned columns as wide as their widest cell. Columns without any value (`-`) are left out.
struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    fn new(header: &[&str]) -> Self {
        Self {
            rows: vec![header.iter().map(|&title| title.to_owned()).collect()],
        }
    }

    fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// `paint` gets the column, the row (the header is not counted) and the padded text of each cell.
    fn write(
        &self,
        out: &mut dyn Write,
        paint: impl Fn(usize, usize, &str) -> String,
    ) -> io::Result<()> {
        let widths = self.widths();
        for (number, cells) in self.rows.iter().enumerate() {
            let mut line = String::new();
            for (column, (cell, width)) in cells.iter().zip(&widths).enumerate() {
                let Some(width) = *width else { continue };
                let padded = format!("{cell:<width$}");
                // The header is row 0 of the table and painted like no row.
                line.push_str(&match number.checked_sub(1) {
                    Some(row) => paint(column, row, &padded),
                    None => padded,
                });
                line.push_str("  ");
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }

    /// The width of each column; `None` for one that has nothing to show.
    fn widths(&self) -> Vec<Option<usize>> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        (0..columns)
            .map(|column| {
                let cells = || self.rows.iter().filter_map(|cells| cells.get(column));
                cells()
                    .skip(1)
                    .any(|cell| cell != "-")
                    .then(|| cells().map(|cell| cell.chars().count()).max())
                    .flatten()
            })
            .collect()
    }
}
