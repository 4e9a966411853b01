//! Leave-one-source-out: each source is forecast by networks that have not seen it.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::{fs, thread};

use clnrm_decide::forecast::choose_with;
use clnrm_decide::forecast::learned::{FEWEST_VALUES, Lesson, Network};
use clnrm_decide::{Forecaster, Steps, forecast};
use clnrm_forecast_bench::forecast::{ForecastError, window};
use clnrm_forecast_bench::plan::{Planned, STEPS};
use clnrm_forecast_bench::row;
use clnrm_forecast_bench::traces::Traces;

use crate::folds::source_of;
use crate::lessons::{Example, Material};
use crate::training::{Plan, train};

/// The networks that have not seen a source, by source.
pub fn networks(
    materials: &[Material],
    examples: &[Example],
    plan: Plan,
    averaged: u64,
) -> BTreeMap<String, Vec<Network>> {
    let without = |source: &String| {
        let seen = |example: &&Example| {
            let material = materials.get(example.material);
            material.is_some_and(|material| material.source != *source)
        };
        let others: Vec<&Example> = examples.iter().filter(seen).collect();
        let seeds = plan.seed..plan.seed + averaged;
        let train = |seed| train(materials, &others, Plan { seed, ..plan });
        seeds.map(train).collect::<Vec<_>>()
    };
    let sources = sources(materials);
    let (even, odd): (Vec<_>, Vec<_>) = sources
        .iter()
        .enumerate()
        .partition(|(place, _)| place % 2 == 0);
    let of = |some: Vec<(usize, &String)>| -> Vec<(String, Vec<Network>)> {
        some.into_iter()
            .map(|(_, source)| (source.clone(), without(source)))
            .collect()
    };
    thread::scope(|scope| {
        let half = scope.spawn(|| of(even));
        let mut all: BTreeMap<_, _> = of(odd).into_iter().collect();
        all.extend(half.join().unwrap_or_default());
        all
    })
}

/// The networks in `folder`; if there are none, those that `make` makes, which are then put there.
pub fn kept(
    folder: &Path,
    make: impl FnOnce() -> BTreeMap<String, Vec<Network>>,
) -> Result<BTreeMap<String, Vec<Network>>, Box<dyn Error>> {
    if !folder.is_dir() {
        fs::create_dir_all(folder)?;
        for (source, networks) in make() {
            let bytes: Vec<u8> = networks.iter().flat_map(Network::write).collect();
            fs::write(folder.join(source), bytes)?;
        }
    }
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let source = entry.file_name().to_string_lossy().into_owned();
        found.insert(source, Network::read(&fs::read(entry.path())?)?);
    }
    Ok(found)
}

/// The network's forecasts of `plan` alone, each trace by the networks of its source.
pub fn forecasts(
    traces: &Traces,
    plan: &[Planned],
    networks: &BTreeMap<String, Vec<Network>>,
    length: usize,
) -> Result<String, ForecastError> {
    let steps = Steps::new(&STEPS)?;
    let mut text = String::from(row::HEADER);
    for planned in plan {
        let Some(trace) = traces.get(&planned.trace).filter(|trace| trace.core) else {
            continue;
        };
        let window = window(trace, planned, length)?;
        let networks = networks.get(&source_of(&planned.trace));
        let networks = networks.map_or(&[][..], Vec::as_slice);
        if let Ok(chosen) = choose_with(&window, &steps, networks) {
            row::append(&mut text, planned, "auto_cv", &chosen.steps, None);
        }
        let made = match Lesson::of(&window) {
            Some(lesson) if window.values().len() >= FEWEST_VALUES => lesson.answer(networks),
            _ => forecast::LastValue
                .forecast(&window, &steps)
                .unwrap_or_default(),
        };
        row::append(&mut text, planned, "learned_cv", &made, None);
    }
    Ok(text)
}

/// Every source, sorted.
fn sources(materials: &[Material]) -> Vec<String> {
    let sources = materials.iter().map(|material| material.source.clone());
    let mut sources: Vec<String> = sources.collect();
    sources.sort();
    sources.dedup();
    sources
}
