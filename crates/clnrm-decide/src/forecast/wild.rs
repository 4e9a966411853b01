//! Values out of all proportion to the others: a counter that jumped, an answer that was garbage. A forecast leaves them
//! out, as if they had not been measured.
//!
//! Deliberately absent: smoothing, and a say in anything but forecasts. One or two values are an accident; what comes a
//! third time is load, and so is what stays.

use crate::rollup::Summary;

/// At most so many values are left out.
const MOST: usize = 2;
/// And at most one of so many: two others cannot outvote a third.
const OTHERS: usize = 5;
/// A wild value lies farther from the others than so many times what they span.
const TIMES: f64 = 10.0;
/// The others span at least this share of their level: where nothing ever moves, a small step is not wild.
const LEAST_SPAN: f64 = 0.01;

/// What lies outside of this is wild.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Proportion {
    lower: f64,
    upper: f64,
}

impl Proportion {
    /// The bounds that one or two of `values` are beyond; `None` = there is nothing to leave out.
    pub(super) fn violated_by(values: impl Iterator<Item = f64>) -> Option<Self> {
        let extremes = Extremes::of(values);
        let allowed = MOST.min(extremes.count / OTHERS);
        let (low, high) = (
            *extremes.lowest.get(allowed)?,
            *extremes.highest.get(allowed)?,
        );
        let span = (high - low).max(LEAST_SPAN * low.abs().max(high.abs()));
        let bounds = Self {
            lower: low - TIMES * span,
            upper: high + TIMES * span,
        };
        let ends = extremes.lowest.iter().chain(&extremes.highest);
        let wild = ends.filter(|value| !bounds.holds(**value)).count();
        (1..=allowed).contains(&wild).then_some(bounds)
    }

    /// Whether a value lies within the bounds.
    pub(super) fn holds(self, value: f64) -> bool {
        self.lower <= value && value <= self.upper
    }

    /// Whether a span of time is wild: its mean is, and what made it so did not last for all of it.
    pub(super) fn is_broken_by(self, seen: &Summary) -> bool {
        let passed = self.holds(seen.min) || self.holds(seen.max);
        !self.holds(seen.mean) && (passed || seen.count as usize <= MOST)
    }
}

/// The lowest and the highest of some values, each beginning with the outermost.
struct Extremes {
    lowest: [f64; MOST + 1],
    highest: [f64; MOST + 1],
    count: usize,
}

impl Extremes {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut extremes = Self {
            lowest: [f64::INFINITY; MOST + 1],
            highest: [f64::NEG_INFINITY; MOST + 1],
            count: 0,
        };
        for value in values {
            extremes.count += 1;
            if extremes.lowest[MOST] <= value && value <= extremes.highest[MOST] {
                continue;
            }
            insert(&mut extremes.lowest, value, |new, held| new < held);
            insert(&mut extremes.highest, value, |new, held| new > held);
        }
        extremes
    }
}

/// Puts `value` in its place; what falls off the end is forgotten.
fn insert<const N: usize>(held: &mut [f64; N], value: f64, is_before: impl Fn(f64, f64) -> bool) {
    let mut carried = value;
    for place in held {
        if is_before(carried, *place) {
            std::mem::swap(place, &mut carried);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values from 18 to 22, and what comes after them.
    fn wild_of(ordinary: usize, more: &[f64]) -> Vec<f64> {
        let noise = (0..ordinary).map(|place| 18.0 + (place * 7 % 5) as f64);
        let values: Vec<f64> = noise.chain(more.iter().copied()).collect();
        match Proportion::violated_by(values.iter().copied()) {
            Some(bounds) => values.into_iter().filter(|v| !bounds.holds(*v)).collect(),
            None => Vec::new(),
        }
    }

    #[test]
    fn one_or_two_are_an_accident_and_three_are_load() {
        assert_eq!(wild_of(500, &[1e6]), [1e6]);
        assert_eq!(wild_of(500, &[1e6, 5e5]), [1e6, 5e5]);
        assert_eq!(wild_of(500, &[1e6, -1e6]), [1e6, -1e6]);
        assert_eq!(wild_of(500, &[1e6, 5e5, 7e5]), [0.0; 0]);
        assert_eq!(wild_of(500, &[1e6, -5e5, 7e5]), [0.0; 0]);
    }

    #[test]
    fn what_the_others_span_says_what_is_wild() {
        assert_eq!(wild_of(500, &[63.0]), [63.0]);
        assert_eq!(wild_of(500, &[62.0, -22.0]), [0.0; 0]);
        let flat = |more: f64| Proportion::violated_by([60.0, 60.0, 60.0, 60.0, more].into_iter());
        assert!(flat(60.5).is_none() && flat(66.0).is_none());
        assert!(flat(0.0).is_some() && flat(67.0).is_some());
    }

    #[test]
    fn a_few_values_do_not_outvote_another() {
        assert_eq!(wild_of(3, &[1e6]), [0.0; 0]);
        assert_eq!(wild_of(4, &[1e6]), [1e6]);
        assert_eq!(wild_of(4, &[1e6, 1e6]), [0.0; 0]);
        assert_eq!(wild_of(8, &[1e6, 1e6]), [1e6, 1e6]);
        assert_eq!(Proportion::violated_by(std::iter::empty()), None);
        assert_eq!(wild_of(9, &[f64::MAX]), [f64::MAX]);
        let ends = [f64::MIN, f64::MAX].into_iter().cycle().take(10);
        assert_eq!(Proportion::violated_by(ends), None);
    }

    #[test]
    fn what_lasts_for_a_whole_span_is_not_wild() {
        let bounds = Proportion {
            lower: 0.0,
            upper: 50.0,
        };
        let seen = |min, mean, max, count| Summary {
            min,
            mean,
            max,
            last: mean,
            count,
            variance: None,
        };
        assert!(bounds.is_broken_by(&seen(18.0, 16_686.0, 1e6, 60)));
        assert!(!bounds.is_broken_by(&seen(900.0, 1_000.0, 1_100.0, 60)));
        assert!(bounds.is_broken_by(&seen(1e6, 1e6, 1e6, 1)));
        assert!(!bounds.is_broken_by(&seen(18.0, 20.0, 60.0, 60)));
    }
}
