//! What a counter is the sum of. Increases belong to each series first, then to the sum: a sum alone hides the series
//! that began, began anew or vanished.

use std::collections::HashMap;

use clnrm_decide::{Absent, Measured};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock::Timestamp;

/// How many series a stored reading holds. More would make each second of a history larger than the page is worth; a
/// counter of more series has rates within one command only.
const KEPT_SERIES: usize = 512;

/// How much of an increase may be in doubt, as a share of what is certain.
const TOLERATED_DOUBT: f64 = 0.05;

/// A creation older than this cannot have happened since the reading before, so it is not kept.
const YOUNG_SECONDS: f64 = 60.0;

/// The values of a counter's series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Sorted by key. `None` = there were too many to be stored.
    #[serde(
        serialize_with = "serialize_values",
        deserialize_with = "deserialize_values"
    )]
    values: Option<Vec<(u64, f64)>>,
    /// Unix seconds at which a series began, where the source says so and it was lately. Sorted by key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    young: Vec<(u64, f64)>,
}

impl Series {
    /// Keys are unique, values finite.
    pub(crate) fn new(values: impl IntoIterator<Item = (u64, f64)>) -> Self {
        let mut values: Vec<(u64, f64)> = values.into_iter().collect();
        values.sort_unstable_by_key(|(key, _)| *key);
        Self {
            values: Some(values),
            young: Vec::new(),
        }
    }

    /// Adds when series were created, in Unix seconds, of those that exist and are young `now`.
    pub(crate) fn created(mut self, created: &HashMap<u64, f64>, now: Timestamp) -> Self {
        let now = unix_seconds(now);
        self.young = (self.values().iter())
            .filter_map(|(key, _)| Some((*key, *created.get(key)?)))
            .filter(|(_, at)| now - at < YOUNG_SECONDS)
            .collect();
        self
    }

    pub(crate) fn scaled(mut self, factor: f64) -> Self {
        for (_, value) in self.values.iter_mut().flatten() {
            *value *= factor;
        }
        self
    }

    pub(crate) fn sum(&self) -> f64 {
        self.values().iter().map(|(_, value)| value).sum()
    }

    pub(crate) fn get(&self, key: u64) -> Option<f64> {
        get(self.values(), key)
    }

    pub(crate) fn values(&self) -> &[(u64, f64)] {
        self.values.as_deref().unwrap_or_default()
    }

    /// What was counted from this state to a later one; `since` is when this state was read.
    pub(crate) fn growth(&self, later: &Self, since: Timestamp) -> Measured<f64> {
        let changes = Changes::between(self, later, since)?;
        let known = changes.certain.iter().map(|(_, growth)| growth).sum();
        changes.accept(known)?;
        Ok(known)
    }

    /// The growth of two counters with the same series, such as the sum and the count of a histogram: only what is
    /// certain of both, and of the same series.
    pub(crate) fn paired_growth(
        (sums, counts): (&Self, &Self),
        (later_sums, later_counts): (&Self, &Self),
        since: Timestamp,
    ) -> Measured<(f64, f64)> {
        let sums = Changes::between(sums, later_sums, since)?;
        let counts = Changes::between(counts, later_counts, since)?;
        let pairs = (counts.certain.iter())
            .filter_map(|(key, growth)| Some((get(&sums.certain, *key)?, *growth)));
        let (sum, count) = pairs.fold((0.0, 0.0), |(sum, count), (more, requests)| {
            (sum + more, count + requests)
        });
        counts.accept(count)?;
        Ok((sum, count))
    }
}

/// How much a value grew; `None` = it fell, or is not a number.
///
/// Less than the last digits of a stored number is no fall: JSON may lose one.
pub(crate) fn grown(before: f64, now: f64) -> Option<f64> {
    let growth = now - before;
    let rounding = 4.0 * f64::EPSILON * before.abs();
    (growth >= -rounding).then_some(growth.max(0.0))
}

/// What became of each series.
#[derive(Debug, Default)]
struct Changes {
    /// By how much each grew, sorted by key.
    certain: Vec<(u64, f64)>,
    /// What series show that began or began anew: some of it was counted in the interval.
    doubtful: f64,
    fallen: bool,
    began: bool,
}

impl Changes {
    fn between(before: &Series, now: &Series, since: Timestamp) -> Measured<Self> {
        let (Some(earlier), Some(later)) = (&before.values, &now.values) else {
            return Err(Absent::TooManySeries { limit: KEPT_SERIES });
        };
        let mut changes = Self::default();
        let mut earlier = earlier.iter().peekable();
        for (key, value) in later {
            // A series that vanished contributes nothing.
            while earlier.next_if(|(other, _)| other < key).is_some() {}
            let known = earlier.next_if(|(other, _)| other == key);
            let growth = match known {
                Some((_, before)) => grown(*before, *value),
                None => get(&now.young, *key)
                    .filter(|created| *created >= unix_seconds(since))
                    .map(|_| *value),
            };
            match growth {
                Some(growth) => changes.certain.push((*key, growth)),
                None => {
                    changes.doubtful += value.abs();
                    changes.fallen |= known.is_some();
                    changes.began |= known.is_none();
                }
            }
        }
        Ok(changes)
    }

    /// Whether `known` says enough of what was counted.
    fn accept(&self, known: f64) -> Measured<()> {
        if self.certain.is_empty() && self.fallen {
            return Err(Absent::CounterReset);
        }
        if self.doubtful <= TOLERATED_DOUBT * known {
            return Ok(());
        }
        Err(if self.fallen {
            Absent::CounterReset
        } else {
            Absent::SeriesBegan
        })
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds since 1970 are exact for another 285 000 years"
)]
fn unix_seconds(at: Timestamp) -> f64 {
    at.as_millis() as f64 / 1e3
}

fn get(sorted: &[(u64, f64)], key: u64) -> Option<f64> {
    let index = sorted.binary_search_by_key(&key, |(key, _)| *key).ok()?;
    sorted.get(index).map(|(_, value)| *value)
}

/// A hash that is the same in every build, because stored readings hold it: FNV-1a of 64 bits (Fowler, Noll, Vo).
#[derive(Debug, Clone, Copy)]
pub(crate) struct SeriesKey(u64);

impl SeriesKey {
    pub(crate) const EMPTY: Self = Self(0xcbf2_9ce4_8422_2325);

    /// Goes on with a text and its end.
    pub(crate) fn with(self, text: &str) -> Self {
        // 0xff is in no UTF-8 text, so `ab`, `c` is not `a`, `bc`.
        let bytes = text.bytes().chain([0xff]);
        Self(bytes.fold(self.0, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        }))
    }

    pub(crate) fn value(self) -> u64 {
        self.0
    }
}

#[expect(clippy::ref_option, reason = "serde hands over the field")]
fn serialize_values<S: Serializer>(
    values: &Option<Vec<(u64, f64)>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let kept = values.as_ref().filter(|values| values.len() <= KEPT_SERIES);
    kept.serialize(serializer)
}

fn deserialize_values<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<(u64, f64)>>, D::Error> {
    let mut values: Option<Vec<(u64, f64)>> = Option::deserialize(deserializer)?;
    if let Some(values) = &mut values {
        values.sort_unstable_by_key(|(key, _)| *key);
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn series<const N: usize>(values: [(u64, f64); N]) -> Series {
        Series::new(values)
    }

    fn growth<const B: usize, const N: usize>(
        before: [(u64, f64); B],
        now: [(u64, f64); N],
    ) -> Measured<f64> {
        series(before).growth(&series(now), at(0))
    }

    #[test]
    fn each_series_grows_by_itself() {
        assert_eq!(
            growth([(1, 10.0), (2, 5.0)], [(2, 8.0), (1, 11.0)]),
            Ok(4.0)
        );
        assert_eq!(growth([], []), Ok(0.0));
        // One that vanishes contributes nothing, and when it comes back it is one that began.
        assert_eq!(growth([(1, 100.0), (2, 1e6)], [(1, 110.0)]), Ok(10.0));
        let back = growth([(1, 110.0)], [(1, 120.0), (2, 1e6)]);
        assert_eq!(back, Err(Absent::SeriesBegan));
        // So little that it does not matter, or nothing at all.
        assert_eq!(growth([(1, 100.0)], [(1, 200.0), (2, 5.0)]), Ok(100.0));
        assert_eq!(growth([(1, 100.0)], [(1, 100.0), (2, 0.0)]), Ok(0.0));
        assert_eq!(growth([], [(2, 7.0)]), Err(Absent::SeriesBegan));
    }

    #[test]
    fn a_reset_of_one_series_is_not_masked_by_another() {
        assert_eq!(
            growth([(1, 0.0), (2, 500.0)], [(1, 1_000.0), (2, 0.0)]),
            Ok(1_000.0)
        );
        assert_eq!(
            growth([(1, 0.0), (2, 500.0)], [(1, 1_000.0), (2, 400.0)]),
            Err(Absent::CounterReset)
        );
        assert_eq!(growth([(1, 9.0)], [(1, 0.0)]), Err(Absent::CounterReset));
    }

    #[test]
    fn a_series_that_says_when_it_began_counts_whole() {
        let created = HashMap::from([(2, 100.0), (3, 10.0)]);
        let now = series([(1, 20.0), (2, 7.0), (3, 1e6)]).created(&created, at(102));
        assert_eq!(now.young, [(2, 100.0)]);
        let now = series([(1, 20.0), (2, 7.0)]).created(&created, at(102));
        assert_eq!(series([(1, 10.0)]).growth(&now, at(99)), Ok(17.0));
        let old = series([(1, 10.0)]).growth(&now, at(101));
        assert_eq!(old, Err(Absent::SeriesBegan));
    }

    #[test]
    fn a_mean_is_made_of_series_of_which_both_parts_are_certain() {
        let before = (series([(1, 1.0), (2, 9.0)]), series([(1, 10.0), (2, 90.0)]));
        // Series 2 began anew, but its sum is larger than before.
        let now = (series([(1, 2.0), (2, 9.5)]), series([(1, 110.0), (2, 1.0)]));
        let pair = Series::paired_growth((&before.0, &before.1), (&now.0, &now.1), at(0));
        assert_eq!(pair, Ok((1.0, 100.0)));
    }

    #[test]
    fn many_series_are_not_stored_and_say_so() {
        let few = series([(u64::MAX, 0.1), (1, 2.0)]);
        let json = serde_json::to_string(&few).unwrap();
        assert_eq!(serde_json::from_str::<Series>(&json).unwrap(), few);
        let many = Series::new((0..=KEPT_SERIES as u64).map(|key| (key, 1.0)));
        assert_eq!(many.growth(&many, at(0)), Ok(0.0));
        let json = serde_json::to_string(&many).unwrap();
        assert!(json.len() < 100, "{json}");
        let stored: Series = serde_json::from_str(&json).unwrap();
        assert_eq!(
            stored.growth(&many, at(0)),
            Err(Absent::TooManySeries { limit: KEPT_SERIES })
        );
    }

    #[test]
    fn keys_are_those_of_the_published_function() {
        // The test vector of FNV-1a for "foobar" with our terminator taken off again.
        let hash = "foobar".bytes().fold(SeriesKey::EMPTY.0, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        assert_eq!(hash, 0x8594_4171_f739_67e8);
        let key = |texts: &[&str]| {
            (texts.iter())
                .fold(SeriesKey::EMPTY, |key, text| key.with(text))
                .value()
        };
        assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
    }

    proptest! {
        /// Whatever happens to series, a growth is what some of them grew: never negative, never more than all show.
        #[test]
        fn a_growth_is_never_invented(
            before in proptest::collection::hash_map(0_u64..20, 0.0..1e6_f64, 0..20),
            now in proptest::collection::hash_map(0_u64..20, 0.0..1e6_f64, 0..20),
        ) {
            let (before, now) = (Series::new(before), Series::new(now));
            if let Ok(growth) = before.growth(&now, at(0)) {
                prop_assert!(growth >= 0.0 && growth <= now.sum());
            }
        }
    }
}
