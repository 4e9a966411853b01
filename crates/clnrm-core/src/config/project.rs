//! The project: its root, its state directory and its settings.
//!
//! Settings come from the defaults, `clnrm.toml` and `CLNRM_*` variables, in this order; flags come last and are not
//! here. Deliberately absent: reading the environment. The variables are an argument.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use thiserror::Error;
use toml::de::DeValue;

use super::file::{ConfigError, read_text};
use super::reader::{self, Problem, Table, Value};
use super::test_file::limits;
use crate::exit::{Exit, Fatal};
use crate::services::service_manager::AutoScaleConfig;

pub const FILE_NAME: &str = "clnrm.toml";
/// The state directory's name in the project root.
pub const STATE_DIR_NAME: &str = ".clnrm";
pub const STATE_DIR_VARIABLE: &str = "CLNRM_STATE_DIR";

/// How far `ai-manage` looks ahead where nothing else is asked for (specification). Its help names it.
pub const HORIZON_MINUTES: u64 = 5;

/// A project and its settings.
#[derive(Debug, Clone, PartialEq)]
pub struct ProjectSettings {
    /// The directory that `clnrm.toml` and `.clnrm` are in.
    pub root: PathBuf,
    /// Where history and instances are kept.
    pub state_dir: PathBuf,
    pub config: ProjectConfig,
}

/// The settings of a project. `None` = not stated anywhere.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProjectConfig {
    /// Tests at once (`jobs`, `CLNRM_JOBS`).
    pub jobs: Option<u32>,
    /// Whether services stay up after a run (`keep`, `CLNRM_KEEP`).
    pub keep: Option<bool>,
    /// What capacity costs (`[cost]`).
    pub cost: CostRates,
    /// Where what the container engine publishes is reached (`docker.host`, `CLNRM_DOCKER_HOST`).
    pub docker_host: Option<String>,
    /// Scaling of services that say nothing else (`[scale]`).
    pub scale: AutoScaleConfig,
}

/// What capacity costs, per hour, in the project's currency.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CostRates {
    /// One core for one hour (`cost.cpu_hour`, `CLNRM_COST_CPU_HOUR`).
    pub cpu_hour: Option<f64>,
    /// 10⁹ bytes of memory for one hour (`cost.gb_hour`, `CLNRM_COST_GB_HOUR`).
    pub gb_hour: Option<f64>,
    /// A label for amounts of money, e.g. `EUR` (`cost.currency`, `CLNRM_COST_CURRENCY`).
    pub currency: Option<String>,
}

/// The project's settings cannot be used.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// `clnrm.toml` is there but cannot be read.
    #[error(transparent)]
    File(#[from] ConfigError),
    /// Settings are wrong; one line for each.
    #[error("{}", Listing(problems))]
    Invalid {
        /// Everything that is wrong; never empty.
        problems: Vec<SettingProblem>,
    },
}

impl Fatal for SettingsError {
    fn exit(&self) -> Exit {
        Exit::Usage
    }
}

/// One wrong setting and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingProblem {
    /// Where it came from.
    pub origin: Origin,
    /// What is wrong with it; in a variable, its line and column mean nothing.
    pub problem: Problem,
}

/// Where a setting came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The project file at this path.
    File(PathBuf),
    /// The environment variable of this name.
    Variable(&'static str),
}

impl fmt::Display for SettingProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { message, hint, .. } = &self.problem;
        match &self.origin {
            Origin::File(path) => write!(f, "{}:{}", path.display(), self.problem),
            Origin::Variable(name) => match hint {
                Some(hint) => write!(f, "{name}: {message}; {hint}"),
                None => write!(f, "{name}: {message}"),
            },
        }
    }
}

struct Listing<'a>(&'a [SettingProblem]);

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

/// Variables and the keys of the project file that they override.
const VARIABLES: [(&str, &str); 14] = [
    ("CLNRM_JOBS", "jobs"),
    ("CLNRM_KEEP", "keep"),
    ("CLNRM_COST_CPU_HOUR", "cost.cpu_hour"),
    ("CLNRM_COST_GB_HOUR", "cost.gb_hour"),
    ("CLNRM_COST_CURRENCY", "cost.currency"),
    ("CLNRM_DOCKER_HOST", "docker.host"),
    ("CLNRM_SCALE_MIN", "scale.min"),
    ("CLNRM_SCALE_MAX", "scale.max"),
    ("CLNRM_SCALE_CPU_UP", "scale.cpu_up"),
    ("CLNRM_SCALE_CPU_DOWN", "scale.cpu_down"),
    ("CLNRM_SCALE_MEMORY_UP", "scale.memory_up"),
    ("CLNRM_SCALE_MEMORY_DOWN", "scale.memory_down"),
    ("CLNRM_SCALE_REQUEST_RATE_UP", "scale.request_rate_up"),
    ("CLNRM_SCALE_COOLDOWN", "scale.cooldown"),
];

/// More than any machine runs; catches a slipped digit.
const MOST_JOBS: u32 = 1024;

impl ProjectSettings {
    /// The project that `cwd` (absolute) is in, with `variables` as the environment.
    ///
    /// # Errors
    /// Every wrong setting at once, each with where it came from.
    pub fn open(cwd: &Path, variables: &BTreeMap<String, String>) -> Result<Self, SettingsError> {
        let root = find_root(cwd);
        let stated = variables
            .get(STATE_DIR_VARIABLE)
            .filter(|dir| !dir.is_empty());
        let state_dir = root.join(stated.map_or(STATE_DIR_NAME, String::as_str));
        let config = load(&root, variables)?;
        Ok(Self {
            root,
            state_dir,
            config,
        })
    }
}

/// The nearest directory, from `cwd` upwards, that holds `.clnrm`, `clnrm.toml` or `.git`; else `cwd` itself.
pub fn find_root(cwd: &Path) -> PathBuf {
    let is_root = |dir: &&Path| {
        let has = |name: &str| dir.join(name).exists();
        has(STATE_DIR_NAME) || has(FILE_NAME) || has(".git")
    };
    cwd.ancestors().find(is_root).unwrap_or(cwd).to_owned()
}

fn load(root: &Path, variables: &BTreeMap<String, String>) -> Result<ProjectConfig, SettingsError> {
    let mut config = ProjectConfig::default();
    let mut problems = Vec::new();
    let file = root.join(FILE_NAME);
    match read_text(&file) {
        Ok(text) => apply(&text, &mut config, &mut problems, |_| {
            Origin::File(file.clone())
        }),
        Err(ConfigError::NotFound { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    // The variables become a file of their own, one line for each, so that both are checked by the same code.
    // An empty variable counts as unset, as in most programs: CI systems set variables to nothing.
    let stated = VARIABLES.iter().filter_map(|(name, key)| {
        let text = variables.get(*name).filter(|text| !text.is_empty())?;
        Some((*name, format!("{key} = {}", literal(text))))
    });
    let (names, lines): (Vec<&str>, Vec<String>) = stated.unzip();
    apply(&lines.join("\n"), &mut config, &mut problems, |problem| {
        Origin::Variable(names.get(problem.line - 1).copied().unwrap_or("CLNRM_*"))
    });
    if problems.is_empty() {
        Ok(config)
    } else {
        Err(SettingsError::Invalid { problems })
    }
}

/// A variable's text as a TOML value in one line: a number or boolean where it is one, else a string.
fn literal(text: &str) -> String {
    let trimmed = text.trim();
    let is_bare = DeValue::parse(trimmed).is_ok_and(|value| {
        let value = value.get_ref();
        value.is_integer() || value.is_float() || value.is_bool()
    });
    if is_bare {
        trimmed.to_owned()
    } else {
        // JSON's escapes are TOML's, and leave no line break.
        serde_json::Value::from(text).to_string()
    }
}

/// Reads settings over those that are there, so that a later source overrides an earlier one.
fn apply(
    text: &str,
    config: &mut ProjectConfig,
    problems: &mut Vec<SettingProblem>,
    origin: impl Fn(&Problem) -> Origin,
) {
    match reader::read(text, |table| read_settings(table, config.clone())) {
        Ok(read) => *config = read,
        Err(found) => problems.extend(found.into_iter().map(|problem| SettingProblem {
            origin: origin(&problem),
            problem,
        })),
    }
}

fn read_settings(mut table: Table<'_>, mut config: ProjectConfig) -> ProjectConfig {
    let jobs = table
        .take("jobs")
        .and_then(|value| value.integer(1..=MOST_JOBS));
    config.jobs = jobs.or(config.jobs);
    let keep = table.take("keep").and_then(|value| value.boolean());
    config.keep = keep.or(config.keep);
    let cost = table.take("cost").and_then(|value| value.table());
    if let Some(mut cost) = cost {
        let cpu_hour = cost.take("cpu_hour").and_then(|value| price(&value));
        config.cost.cpu_hour = cpu_hour.or(config.cost.cpu_hour);
        let gb_hour = cost.take("gb_hour").and_then(|value| price(&value));
        config.cost.gb_hour = gb_hour.or(config.cost.gb_hour);
        let currency = cost.take("currency").and_then(|value| value.text());
        config.cost.currency = currency.or(config.cost.currency);
        cost.finish();
    }
    let docker = table.take("docker").and_then(|value| value.table());
    if let Some(mut docker) = docker {
        let host = docker.take("host").and_then(|value| host(&value));
        config.docker_host = host.or(config.docker_host);
        docker.finish();
    }
    let scale = table.take("scale");
    if let Some(scale) = scale.and_then(|value| limits::scale(&value, &config.scale)) {
        config.scale = scale;
    }
    table.finish();
    config
}

/// A name or an address, without a port.
fn host(value: &Value<'_>) -> Option<String> {
    let host = value.text()?;
    let is_host = host.parse::<IpAddr>().is_ok()
        || host
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    if !is_host {
        value.refuse_with(
            format!("{host:?} is neither the name of a host nor an address"),
            "write e.g. \"172.17.0.1\" or \"docker\", without a port",
        );
        return None;
    }
    Some(host)
}

fn price(value: &Value<'_>) -> Option<f64> {
    let price = value.number()?;
    if price < 0.0 {
        value.refuse(format!("a price cannot be negative, is {price}"));
        return None;
    }
    Some(price)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()));
        pairs.collect()
    }

    #[test]
    fn variables_override_the_file_and_the_file_the_defaults() {
        let root = tempfile::tempdir().unwrap();
        let file = "jobs = 3\nkeep = true\n[cost]\ncpu_hour = 0.04\ncurrency = \"EUR\"\n[scale]\nmax = 5\ncooldown = \"10s\"\n";
        fs::write(root.path().join(FILE_NAME), file).unwrap();
        let below = root.path().join("a/b");
        fs::create_dir_all(&below).unwrap();
        let given = [
            ("CLNRM_JOBS", "8"),
            ("CLNRM_KEEP", ""),
            ("CLNRM_COST_GB_HOUR", "0.005"),
            ("CLNRM_COST_CURRENCY", "\"$\""),
            ("CLNRM_SCALE_MEMORY_UP", "1GB"),
        ];
        let project = ProjectSettings::open(&below, &variables(&given)).unwrap();
        assert_eq!(project.root, root.path());
        assert_eq!(project.state_dir, root.path().join(".clnrm"));
        let config = project.config;
        assert_eq!((config.jobs, config.keep), (Some(8), Some(true)));
        assert_eq!(config.cost.cpu_hour, Some(0.04));
        assert_eq!(config.cost.gb_hour, Some(0.005));
        assert_eq!(config.cost.currency.as_deref(), Some("\"$\""));
        assert_eq!(
            (config.scale.min_instances, config.scale.max_instances),
            (1, 5)
        );
        assert_eq!(config.scale.cooldown.as_secs(), 10);
        assert_eq!(config.scale.memory_up_mb, 1000.0);
    }

    #[test]
    fn every_wrong_setting_is_reported_with_its_origin() {
        let root = tempfile::tempdir().unwrap();
        let file = "job = 3\n[cost]\ncpu_hour = -1\n";
        fs::write(root.path().join(FILE_NAME), file).unwrap();
        let given = [
            ("CLNRM_JOBS", "many"),
            ("CLNRM_SCALE_MIN", "20"),
            ("CLNRM_SCALE_COOLDOWN", "60"),
            ("CLNRM_KEEP", "1\nkeep = true"),
        ];
        let error = ProjectSettings::open(root.path(), &variables(&given)).unwrap_err();
        let text = error
            .to_string()
            .replace(root.path().to_str().unwrap(), "ROOT");
        insta::assert_snapshot!(text, @r#"
        ROOT/clnrm.toml:1:1: unknown key `job`; did you mean `jobs`?
        ROOT/clnrm.toml:3:1: cost.cpu_hour: a price cannot be negative, is -1
        CLNRM_JOBS: expected an integer, found a string
        CLNRM_KEEP: expected true or false, found a string
        CLNRM_SCALE_MIN: min (20) is above max (10)
        CLNRM_SCALE_COOLDOWN: a duration needs its unit; write "60s" or "60ms"
        "#);
    }

    #[test]
    fn variables_are_checked_together() {
        let root = tempfile::tempdir().unwrap();
        let given = [("CLNRM_SCALE_MIN", "20"), ("CLNRM_SCALE_MAX", " 30 ")];
        let project = ProjectSettings::open(root.path(), &variables(&given)).unwrap();
        let scale = project.config.scale;
        assert_eq!((scale.min_instances, scale.max_instances), (20, 30));
    }

    #[test]
    fn the_root_is_the_nearest_marked_directory() {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("a/b/c");
        fs::create_dir_all(&inner).unwrap();
        fs::create_dir(root.path().join(".git")).unwrap();
        assert_eq!(find_root(&inner), root.path());
        fs::create_dir(root.path().join("a/.clnrm")).unwrap();
        assert_eq!(find_root(&inner), root.path().join("a"));
    }

    #[test]
    fn the_state_directory_can_be_elsewhere() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join(".clnrm")).unwrap();
        let open =
            |dir| ProjectSettings::open(root.path(), &variables(&[(STATE_DIR_VARIABLE, dir)]));
        assert_eq!(open("/state").unwrap().state_dir, Path::new("/state"));
        assert_eq!(open("state").unwrap().state_dir, root.path().join("state"));
        assert_eq!(open("").unwrap().state_dir, root.path().join(".clnrm"));
    }
}
