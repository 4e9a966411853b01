//! A page as what it is: families with a type and a unit, and series with their labels. Only what is asked for is kept,
//! and of a series only a key, so that a page of 100 000 series stays small.

use std::collections::HashMap;

use clnrm_decide::{Absent, Measured};

use super::family::Family;
use super::text::{self, Kind, Line};

/// How many other names a reason suggests at most.
const SUGGESTIONS: usize = 3;

/// The wanted families of one page.
#[derive(Debug, Default)]
pub(super) struct Families {
    families: HashMap<String, Family>,
    /// Counters of the page that sound like requests.
    alike: Vec<String>,
    /// Its histograms and summaries.
    timed: Vec<String>,
    pub(super) unreadable_lines: usize,
}

impl Families {
    /// Reads the families of these names; series with one of these paths count our own scrapes.
    pub(super) fn read<'n>(
        text: &str,
        is_complete: bool,
        names: impl IntoIterator<Item = &'n str>,
        own_paths: &[String],
    ) -> Self {
        let mut page = Self {
            families: (names.into_iter())
                .map(|name| (name.to_owned(), Family::default()))
                .collect(),
            ..Self::default()
        };
        let wanted: Vec<String> = page.families.keys().cloned().collect();
        text::read(
            text,
            is_complete,
            |name| wanted.iter().any(|wanted| wanted == name),
            |line| page.take(line, own_paths),
        );
        page
    }

    fn take(&mut self, line: Line<'_>, own_paths: &[String]) {
        match line {
            Line::Unreadable => self.unreadable_lines += 1,
            Line::Type(name, kind) => {
                self.suggest(&name, kind);
                if let Some(family) = self.families.get_mut(name.as_ref()) {
                    family.kind = Some(kind);
                }
            }
            Line::Unit(name, unit) => {
                if let Some(family) = self.families.get_mut(name.as_ref()) {
                    family.unit = Some(unit.to_owned());
                }
            }
            Line::Sample(sample) => {
                if let Some(family) = self.families.get_mut(sample.name.as_ref()) {
                    family.add(&sample, own_paths);
                }
            }
        }
    }

    fn suggest(&mut self, name: &str, kind: Kind) {
        let counts = match kind {
            Kind::Counter => name.to_owned(),
            Kind::Histogram | Kind::Summary => format!("{name}_count"),
            Kind::Gauge | Kind::Other => return,
        };
        let lower = name.to_ascii_lowercase();
        let sounds_like = |words: &[&str]| words.iter().any(|word| lower.contains(word));
        if sounds_like(&["request", "rpc", "grpc_server_handled"]) {
            self.alike.push(counts);
            self.alike.truncate(SUGGESTIONS);
        }
        if kind != Kind::Counter && sounds_like(&["duration", "latency", "time", "seconds", "_ms"])
        {
            self.timed.push(name.to_owned());
            self.timed.truncate(SUGGESTIONS);
        }
    }

    /// A wanted family; one that the page does not have is empty.
    fn family(&self, name: &str) -> Option<&Family> {
        self.families.get(name)
    }

    fn with_series(&self, name: &str) -> Option<&Family> {
        self.family(name).filter(|family| family.has_series)
    }

    /// What the page declares the series of this name to be. OpenMetrics declares a counter without `_total`.
    fn kind(&self, name: &str) -> Option<Kind> {
        let declared = |name: &str| self.family(name).and_then(|family| family.kind);
        declared(name).or_else(|| declared(name.strip_suffix("_total")?))
    }

    pub(super) fn unit(&self, name: &str) -> Option<&str> {
        self.family(name)?.unit.as_deref()
    }

    /// The family of a counter, with its name on this page: `x` is also found as `x_total`, and the other way round.
    pub(super) fn counter(&self, name: &str) -> Measured<(String, &Family)> {
        let other = other_form(name);
        if let Some(family) = self.with_series(name) {
            return match self.misuse(name) {
                Some(reason) => Err(reason),
                None => family.sound(name).map(|family| (name.to_owned(), family)),
            };
        }
        if let Some(family) = self.with_series(&other)
            && self.kind(&other) == Some(Kind::Counter)
        {
            return family.sound(&other).map(|family| (other.clone(), family));
        }
        Err(self.missing(name))
    }

    /// Why the series of this name are no counter.
    fn misuse(&self, name: &str) -> Option<Absent> {
        let not_a_counter = |what: &str, instead: Option<String>| {
            Some(Absent::NotACounter {
                name: name.to_owned(),
                what: what.to_owned(),
                instead,
            })
        };
        match self.kind(name) {
            Some(Kind::Gauge) => return not_a_counter("a gauge", self.instead_of(name)),
            Some(Kind::Histogram) => {
                return not_a_counter("a histogram", Some(format!("{name}_count")));
            }
            Some(Kind::Summary) => {
                return not_a_counter("a summary", Some(format!("{name}_count")));
            }
            Some(Kind::Counter | Kind::Other) | None => {}
        }
        let part_of = name.strip_suffix("_sum")?;
        let is_part = matches!(self.kind(part_of), Some(Kind::Histogram | Kind::Summary));
        is_part
            .then(|| not_a_counter("a sum of durations", Some(format!("{part_of}_count"))))
            .flatten()
    }

    /// Why there is no series of this name.
    pub(super) fn missing(&self, name: &str) -> Absent {
        let name = name.to_owned();
        if self.kind(&name).is_some() {
            let parts = [format!("{name}_count"), format!("{name}_bucket")];
            return match parts
                .into_iter()
                .find(|part| self.with_series(part).is_some())
            {
                Some(count) => self.no_such(name, Some(count)),
                None => Absent::NoSeries { name },
            };
        }
        let instead = self.instead_of(&name);
        self.no_such(name, instead)
    }

    /// Why there is no histogram or summary of this name.
    pub(super) fn missing_duration(&self, name: &str) -> Absent {
        let name = name.to_owned();
        let instead = listed(&self.timed, &name);
        let what = match self.kind(&name) {
            Some(Kind::Gauge) => "a gauge",
            Some(Kind::Counter) => "a counter",
            Some(Kind::Histogram | Kind::Summary | Kind::Other) => {
                return Absent::NoSeries { name };
            }
            None => return self.no_such(name, instead),
        };
        Absent::NotADuration {
            name,
            what: what.to_owned(),
            instead,
        }
    }

    pub(super) fn no_such(&self, name: String, instead: Option<String>) -> Absent {
        Absent::NoSuchMetric {
            name,
            unreadable_lines: self.unreadable_lines,
            instead,
        }
    }

    /// The names that would work.
    fn instead_of(&self, name: &str) -> Option<String> {
        let other = other_form(name);
        if self.with_series(&other).is_some() {
            return Some(other);
        }
        listed(&self.alike, name)
    }

    /// The sum of a gauge's series.
    pub(super) fn gauge(&self, name: &str) -> Measured<f64> {
        let Some(family) = self.with_series(name) else {
            return Err(self.missing(name));
        };
        if self.kind(name) == Some(Kind::Counter) {
            return Err(Absent::NotAGauge {
                name: name.to_owned(),
            });
        }
        let values = &family.sound(name)?.values;
        Ok(values.values().map(|value| value.number).sum())
    }

    /// The family of a histogram's or summary's part.
    pub(super) fn part(&self, name: &str) -> Option<Measured<&Family>> {
        self.with_series(name).map(|family| family.sound(name))
    }

    /// When the series of a counter or histogram began, where the page says so.
    pub(super) fn created(&self, name: &str) -> HashMap<u64, f64> {
        let series = self
            .family(&created_name(name))
            .map(|family| &family.values);
        (series.into_iter().flatten())
            .map(|(key, value)| (*key, value.number))
            .collect()
    }

    /// The value of a metric that has one series.
    pub(super) fn only(&self, name: &str) -> Option<f64> {
        let values = &self.family(name)?.values;
        let mut numbers = values.values().map(|value| value.number);
        numbers
            .next()
            .filter(|number| numbers.next().is_none() && number.is_finite())
    }
}

/// Names for a reason, without the one that was looked for.
fn listed(names: &[String], name: &str) -> Option<String> {
    let others: Vec<&str> = (names.iter())
        .map(String::as_str)
        .filter(|other| *other != name)
        .collect();
    (!others.is_empty()).then(|| others.join("`, `"))
}

/// The name under which OpenMetrics and the Python client say when each series began.
pub(super) fn created_name(name: &str) -> String {
    format!("{}_created", name.strip_suffix("_total").unwrap_or(name))
}

/// `x` for `x_total`, and the other way round.
pub(super) fn other_form(name: &str) -> String {
    match name.strip_suffix("_total") {
        Some(bare) => bare.to_owned(),
        None => format!("{name}_total"),
    }
}
