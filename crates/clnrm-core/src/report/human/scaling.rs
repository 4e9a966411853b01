//! The auto-scaling section of the `ai-manage` report.

use std::io::{self, Write};
use std::time::Duration;

use crate::report::human::service::title;
use crate::report::human::{View, section};
use crate::report::manage::document::{ManageReport, ScalingReport, ServiceReport, ServiceState};
use crate::report::text::safe_line;
use crate::report::units;
use crate::services::service_manager::ScalingAction;

/// Writes the section; nothing without `--auto-scale`.
pub(super) fn section_of(out: &mut dyn Write, report: &ManageReport, view: View) -> io::Result<()> {
    let mut decided = report
        .services
        .iter()
        .filter_map(|service| Some((service, service.scaling.as_ref()?)))
        .peekable();
    if decided.peek().is_none() {
        return Ok(());
    }
    section(out, view.paint, "⚡ Auto-Scaling Analysis:")?;
    for (service, scaling) in decided {
        decision(out, service, scaling)?;
        outcome(out, scaling, report.dry_run, view)?;
        if view.verbose {
            basis(out, scaling)?;
        }
    }
    Ok(())
}

fn decision(
    out: &mut dyn Write,
    service: &ServiceReport,
    scaling: &ScalingReport,
) -> io::Result<()> {
    let title = title(service);
    let reason = safe_line(&scaling.reason);
    let (sign, direction) = match scaling.action {
        ScalingAction::ScaleUp { .. } => ("📈", "UP"),
        ScalingAction::ScaleDown { .. } => ("📉", "DOWN"),
        ScalingAction::NoAction if service.state == ServiceState::Stopped => {
            return writeln!(out, "  ✓ {title} - Nothing to scale (stopped)");
        }
        ScalingAction::NoAction => {
            return writeln!(out, "  ✓ {title} - No scaling needed  ({reason})");
        }
    };
    writeln!(
        out,
        "  {sign} {title} - Scale {direction} by {} instance(s)",
        scaling.by
    )?;
    writeln!(out, "     Reason: {reason}")
}

/// What became of the decision.
fn outcome(
    out: &mut dyn Write,
    scaling: &ScalingReport,
    dry_run: bool,
    view: View,
) -> io::Result<()> {
    let from = scaling.from;
    if scaling.action != ScalingAction::NoAction {
        let after = scaling.instances_after;
        if scaling.performed && scaling.error.is_none() {
            let to = instances(after.unwrap_or(scaling.to));
            writeln!(out, "     Done: {from} → {to}{}", took(scaling))?;
        } else if let Some(after) = after.filter(|after| *after != from) {
            let to = instances(after);
            writeln!(
                out,
                "     Done in part: {from} → {to} (of {} wanted){}",
                scaling.to,
                took(scaling)
            )?;
        } else if dry_run {
            let to = instances(scaling.to);
            writeln!(out, "     Would do: {from} → {to}  (--dry-run)")?;
        } else {
            writeln!(out, "     Not done: still {}", instances(from))?;
        }
    }
    match &scaling.error {
        Some(error) => {
            let line = format!("Error: {}", safe_line(error));
            writeln!(out, "     {}", view.paint.bad(&line))
        }
        None => Ok(()),
    }
}

/// `--verbose`: what each metric asked for and what limited it.
fn basis(out: &mut dyn Write, scaling: &ScalingReport) -> io::Result<()> {
    for proposal in &scaling.proposals {
        writeln!(out, "     Proposal: {}", safe_line(proposal))?;
    }
    for limit in &scaling.limits_applied {
        writeln!(out, "     Limit: {}", safe_line(limit))?;
    }
    Ok(())
}

fn took(scaling: &ScalingReport) -> String {
    match scaling.took_ms {
        Some(milliseconds) => {
            format!(
                " in {}",
                units::duration(Duration::from_millis(milliseconds))
            )
        }
        None => String::new(),
    }
}

fn instances(number: u32) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} instance{plural}")
}
