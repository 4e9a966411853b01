//! Reads the sources: imports run down only, and in no circle. That decisions are pure, the crate `clnrm-decide` proves by what it depends on.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, and clippy exempts only functions marked as tests"
)]

mod circles;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The modules, from the top down. Each may import those below it; modules of one line may not import each other.
const LAYERS: &[&[&str]] = &[
    &["cli"],
    &["report"],
    &["runner"],
    &["manage"],
    &["lifecycle"],
    &["servers"],
    &["metrics"],
    &["backend"],
    &["store"],
    &["config"],
    &["services"],
    &["http", "netlink", "procfs"],
    &["clock", "exit", "folder", "text"],
];

/// Only one module may know these crates.
const OWNED_CRATES: &[(&str, &str)] = &[
    ("clap", "cli"),
    ("clap_complete", "cli"),
    ("rusqlite", "store"),
    ("bollard", "backend"),
    ("tokio_postgres", "servers"),
    ("clnrm_demo", "cli"),
];

#[test]
fn imports_run_down() {
    let mut found = Vec::new();
    for file in sources("") {
        let Some(module) = module_of(&file) else {
            continue;
        };
        let words = words(&code(&file));
        for imported in imported_modules(&words) {
            if !may_import(&module, &imported) {
                found.push(format!("{}: {module} → {imported}", file.display()));
            }
        }
        for (owned, owner) in OWNED_CRATES {
            if module != *owner && words.iter().any(|word| word == owned) {
                found.push(format!("{}: only {owner} knows {owned}", file.display()));
            }
        }
        if code(&file).contains("super::super") {
            found.push(format!("{}: write `crate::…`", file.display()));
        }
    }
    assert!(
        found.is_empty(),
        "against the direction:\n{}",
        found.join("\n")
    );
}

/// The request names these paths; that this compiles is the test.
#[test]
fn the_paths_of_the_request_lead_somewhere() {
    use clnrm_core::cli::commands::services::ai_manage;
    use clnrm_core::services::service_manager::{
        AutoScaleConfig, CostRecommendation, MetricsHistory, ResourcePool, ScalingAction,
        ServiceManager, ServiceMetrics,
    };
    let _ = ai_manage;
    let _: Option<(
        AutoScaleConfig,
        CostRecommendation,
        MetricsHistory,
        ResourcePool,
    )> = None;
    let _: Option<(ScalingAction, ServiceManager, ServiceMetrics)> = None;
}

#[test]
fn the_reader_itself_sees_what_it_looks_for() {
    let source = "use crate::{config::definition, store}; // crate::cli\nfn f() { crate::backend::x(\"crate::report\") }\n#[cfg(test)]\nmod tests { use crate::cli; }";
    let words = words(&strip(source));
    let expected: BTreeSet<String> = ["config", "store", "backend"].map(String::from).into();
    assert_eq!(imported_modules(&words), expected);
    assert!(may_import("cli", "clock") && !may_import("clock", "cli"));
}

fn may_import(module: &str, imported: &str) -> bool {
    if module == imported {
        return true;
    }
    let layer = |name| LAYERS.iter().position(|layer| layer.contains(&name));
    match (layer(module), layer(imported)) {
        (Some(upper), Some(lower)) => upper < lower,
        _ => panic!("`{module}` or `{imported}` has no place in LAYERS"),
    }
}

/// Every `crate::name`, also in `crate::{a::b, c}`.
fn imported_modules(words: &[String]) -> BTreeSet<String> {
    let mut modules = BTreeSet::new();
    for (place, word) in words.iter().enumerate() {
        if word != "crate" || words.get(place + 1).map(String::as_str) != Some("::") {
            continue;
        }
        let rest = &words[place + 2..];
        if rest.first().map(String::as_str) != Some("{") {
            modules.extend(rest.first().cloned());
            continue;
        }
        let mut depth = 0;
        let mut before = "";
        for word in rest {
            match word.as_str() {
                "{" => depth += 1,
                "}" => depth -= 1,
                name if depth == 1 && matches!(before, "{" | ",") => {
                    modules.insert(name.to_owned());
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
            before = word;
        }
    }
    // Macros and other items at the root of the crate are no modules.
    modules.retain(|name| {
        source_root().join(name).is_dir()
            || source_root().join(format!("{name}.rs")).is_file()
            || is_layer(name)
    });
    modules
}

fn is_layer(name: &str) -> bool {
    LAYERS.iter().any(|layer| layer.contains(&name))
}

fn source_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The Rust files of a module that ship; files of tests do not.
fn sources(module: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![source_root().join(module)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the source folder is readable") {
            let path = entry.expect("its entries are readable").path();
            if path.is_dir() {
                if !path.ends_with("tests") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && path.file_stem().is_some_and(|stem| stem != "tests")
            {
                files.push(path);
            }
        }
    }
    assert!(!files.is_empty(), "no sources in `{module}`");
    files
}

/// The top-level module that a file belongs to; `None` for `lib.rs`.
fn module_of(file: &Path) -> Option<String> {
    let relative = file.strip_prefix(source_root()).ok()?;
    let first = Path::new(relative.components().next()?.as_os_str());
    let name = first.file_stem()?.to_str()?;
    (name != "lib").then(|| name.to_owned())
}

fn code(file: &Path) -> String {
    strip(&fs::read_to_string(file).expect("the source file is readable"))
}

/// A source without comments, strings and its tests at the end.
fn strip(source: &str) -> String {
    let end = source
        .find("#[cfg(test)]\nmod tests {")
        .unwrap_or(source.len());
    source[..end]
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .map(|line| {
            let outside = line.split('"').step_by(2);
            outside.collect::<Vec<_>>().join(" ") + "\n"
        })
        .collect()
}

/// Identifiers, `::` and braces and commas.
fn words(code: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut identifier = String::new();
    let mut characters = code.chars().peekable();
    while let Some(character) = characters.next() {
        if character.is_alphanumeric() || character == '_' {
            identifier.push(character);
            continue;
        }
        if !identifier.is_empty() {
            words.push(std::mem::take(&mut identifier));
        }
        match character {
            ':' if characters.next_if_eq(&':').is_some() => words.push("::".to_owned()),
            '{' | '}' | ',' => words.push(character.to_string()),
            _ => {}
        }
    }
    words.extend((!identifier.is_empty()).then_some(identifier));
    words
}
