//! The resource pool and cost sections of the `ai-manage` report.

use std::io::{self, Write};

use crate::report::human::service::title;
use crate::report::human::{View, section};
use crate::report::manage::advice::title as kind;
use crate::report::manage::document::{ManageReport, PoolSummary, Recommendation};
use crate::report::text::safe_line;
use crate::services::service_manager::cost::SavingsBasis;

/// Writes the pools; nothing without `--optimize-resources`.
pub(super) fn pools(out: &mut dyn Write, report: &ManageReport, view: View) -> io::Result<()> {
    let mut pooled = report
        .services
        .iter()
        .filter_map(|service| Some((service, service.pool.as_ref()?)))
        .peekable();
    if pooled.peek().is_none() {
        return Ok(());
    }
    section(out, view.paint, "🎯 Resource Optimization:")?;
    for (service, summary) in pooled {
        writeln!(out, "  📦 {} Resource Pool:", title(service))?;
        pool(out, summary)?;
    }
    Ok(())
}

fn pool(out: &mut dyn Write, pool: &PoolSummary) -> io::Result<()> {
    writeln!(
        out,
        "     Size: {} available, {} in-use",
        pool.available, pool.in_use
    )?;
    match pool.utilization {
        Some(share) => writeln!(out, "     Utilization: {:.1}%", share * 100.0)?,
        None => writeln!(out, "     Utilization: n/a (no instance)")?,
    }
    if let Some(advice) = &pool.advice {
        writeln!(out, "     💡 {advice}")?;
    }
    if let Some(size) = pool.size {
        writeln!(out, "     Warm: {size} wanted{}", worth(pool))?;
    }
    match (pool.advised_size, &pool.advice_basis) {
        (Some(size), Some(basis)) => {
            writeln!(out, "     Advised size: {size}  ({})", safe_line(basis))
        }
        (Some(size), None) => writeln!(out, "     Advised size: {size}"),
        (None, _) => Ok(()),
    }
}

/// `, 75% of leases found one, 140 ms of waiting saved, 24MB idle`; what was not measured is left out.
fn worth(pool: &PoolSummary) -> String {
    let mut text = String::new();
    if let Some(share) = pool.hit_rate {
        text.push_str(&format!(", {:.0}% of leases found one", share * 100.0));
    }
    if let Some(saved) = pool.wait_saved_ms {
        text.push_str(&format!(", {saved:.0} ms of waiting saved"));
    }
    if let Some(memory) = pool.idle_memory_mb {
        text.push_str(&format!(", {memory:.0}MB held by free ones"));
    }
    text
}

/// Writes the recommendations; nothing without `--optimize-resources`.
pub(super) fn recommendations(
    out: &mut dyn Write,
    report: &ManageReport,
    view: View,
) -> io::Result<()> {
    let Some(recommendations) = &report.recommendations else {
        return Ok(());
    };
    section(out, view.paint, "💰 Cost Optimization Recommendations:")?;
    if recommendations.is_empty() {
        return writeln!(out, "  None applies to what was measured so far.");
    }
    for (index, recommendation) in recommendations.iter().enumerate() {
        if index > 0 {
            writeln!(out)?;
        }
        advice(out, index + 1, recommendation)?;
    }
    Ok(())
}

fn advice(out: &mut dyn Write, number: usize, advice: &Recommendation) -> io::Result<()> {
    writeln!(
        out,
        "  {number}. {} - {} (Priority: {}/5)",
        safe_line(&advice.service_name),
        kind(advice.kind),
        advice.priority
    )?;
    writeln!(out, "     {}", advice.description)?;
    let basis = match (&advice.arithmetic, advice.basis) {
        (Some(arithmetic), _) => safe_line(arithmetic),
        (None, SavingsBasis::RuleOfThumb) => "rule of thumb".to_owned(),
        (None, SavingsBasis::Computed) => "computed".to_owned(),
    };
    let money = match advice.estimated_savings_per_month {
        Some(money) => format!("; {money:.2} per month"),
        None => String::new(),
    };
    writeln!(
        out,
        "     💰 Estimated savings: {:.0}%  ({basis}{money})",
        advice.estimated_savings_percent
    )
}
