//! A model's forecasts from past origins: where its quantiles and its skill come from.

use super::window::{LEVELS, Range, StepForecast, Window};

/// A window in units of its own mean change, counted from its newest value. Forecasts made there keep the newest value
/// exactly where they say "no change", and neither huge nor tiny values lose digits: no value lies farther from zero
/// than there are steps.
#[derive(Debug)]
pub(super) struct Scaled {
    pub(super) values: Vec<f32>,
    last: f64,
    /// The mean absolute change; 0 = the window is constant.
    pub(super) unit: f64,
    range: Range,
}

impl Scaled {
    /// `None` = there is no value.
    pub(super) fn of(window: &Window) -> Option<Self> {
        let values = window.values();
        let last = *values.last()?;
        let changes = values.len().saturating_sub(1).max(1) as f64;
        let pairs = values.iter().zip(values.iter().skip(1));
        let unit: f64 = pairs
            .map(|(from, to)| (to / changes - from / changes).abs())
            .sum();
        // No value lies farther from the newest than the sum of all changes; opposite ends of the number line do not occur.
        let scaled = |value: &f64| ((value - last) / unit) as f32;
        Some(Self {
            values: if unit > 0.0 {
                values.iter().map(scaled).collect()
            } else {
                vec![0.0; values.len()]
            },
            last,
            unit,
            range: window.range(),
        })
    }

    /// A value of the window's unit, scaled.
    pub(super) fn scale(&self, value: f64) -> f32 {
        if self.unit > 0.0 {
            ((value - self.last) / self.unit) as f32
        } else {
            0.0
        }
    }

    /// The smallest value that the metric can have, scaled.
    pub(super) fn floor(&self) -> f32 {
        self.scale(self.range.lower)
    }

    /// Back in the window's unit and range.
    pub(super) fn restore(&self, scaled: f32) -> f64 {
        let value = self.last + f64::from(scaled) * self.unit;
        self.range.clamp(value)
    }

    /// A forecast with the quantiles of past `errors` around it.
    pub(super) fn around(&self, step: u32, point: f32, errors: Vec<f32>) -> StepForecast {
        let spread = if errors.is_empty() {
            borrowed_spread(self, step)
        } else {
            quantiles(errors.into_iter())
        };
        self.step_forecast(step, point, spread.map(|error| point + error))
    }

    /// A forecast in the window's unit; its quantiles are put in order.
    pub(super) fn step_forecast(
        &self,
        step: u32,
        point: f32,
        mut quantiles: [f32; 5],
    ) -> StepForecast {
        quantiles.sort_unstable_by(f32::total_cmp);
        StepForecast {
            step,
            point: self.restore(point),
            quantiles: quantiles.map(|quantile| self.restore(quantile)),
        }
    }
}

/// Forecasts for one step ahead, one from every origin on.
#[derive(Debug, Clone)]
pub(super) struct Track {
    /// The first origin: the place of the newest value that its forecast knows.
    pub(super) first: usize,
    /// One for each origin; the last is the forecast itself.
    pub(super) forecasts: Vec<f32>,
}

impl Track {
    /// The forecast from `origin`; `None` = none was made there.
    pub(super) fn from(&self, origin: usize) -> Option<f32> {
        self.forecasts.get(origin.checked_sub(self.first)?).copied()
    }

    /// What came minus what was forecast, oldest first.
    pub(super) fn errors(&self, values: &[f32], step: usize) -> Vec<f32> {
        let came = values.iter().skip(self.first + step);
        came.zip(&self.forecasts)
            .map(|(came, forecast)| came - forecast)
            .collect()
    }

    /// As [`Track::errors`], newest first.
    pub(super) fn newest_errors<'a>(
        &'a self,
        values: &'a [f32],
        step: usize,
    ) -> impl ExactSizeIterator<Item = f32> + 'a {
        let came = values.get(self.first + step..).unwrap_or_default();
        let pairs = came.iter().zip(&self.forecasts).rev();
        pairs.map(|(came, forecast)| came - forecast)
    }

    /// The forecast from the newest origin, with the quantiles of past errors around it.
    pub(super) fn step_forecast(&self, scaled: &Scaled, step: u32) -> StepForecast {
        let point = self.forecasts.last().copied().unwrap_or_default();
        let errors = self.errors(&scaled.values, step as usize);
        scaled.around(step, point, errors)
    }
}

/// The window is shorter than the step: the changes over one step, to either side, widened like those of a random walk
/// (by the root of the number of steps).
fn borrowed_spread(scaled: &Scaled, step: u32) -> [f32; 5] {
    let pairs = scaled.values.iter().zip(scaled.values.iter().skip(1));
    let wider = (step as f32).sqrt();
    quantiles(pairs.flat_map(|(from, to)| [wider * (to - from), wider * (from - to)]))
}

/// The [`LEVELS`] of `values`; zeros where there are none.
///
/// Of n values the level p lies at rank p·(n+1), between neighbours in proportion, and never beyond the extremes: so
/// the next of exchangeable values stays below it with probability p (Vovk, Gammerman, Shafer, 2005).
pub(super) fn quantiles(values: impl Iterator<Item = f32>) -> [f32; 5] {
    quantiles_at(values, LEVELS)
}

/// As [`quantiles`], at increasing `levels`.
pub(super) fn quantiles_at<const N: usize>(
    values: impl Iterator<Item = f32>,
    levels: [f64; N],
) -> [f32; N] {
    let mut keys: Vec<i32> = values.map(key).collect();
    let Some(last) = keys.len().checked_sub(1) else {
        return [0.0; N];
    };
    let ranks = levels.map(|level| {
        let rank = (level * (last + 2) as f64 - 1.0).clamp(0.0, last as f64);
        (rank.floor() as usize, rank.fract() as f32)
    });
    let mut places: Vec<usize> = ranks.iter().flat_map(|rank| [rank.0, rank.0 + 1]).collect();
    places.dedup();
    settle(&mut keys, 0, &places);
    ranks.map(|(place, share)| {
        let at = |place: usize| keys.get(place).copied().map(value_of);
        let value = at(place).unwrap_or_default();
        value + share * (at(place + 1).unwrap_or(value) - value)
    })
}

/// Puts in order what belongs in these increasing `places`, the middle one first, so that each of the others is looked
/// for among fewer. `keys` begin at place `first`.
fn settle(keys: &mut [i32], first: usize, places: &[usize]) {
    let (sooner, rest) = places.split_at(places.len() / 2);
    let Some((place, later)) = rest.split_first() else {
        return;
    };
    let here = place.saturating_sub(first);
    if here >= keys.len() {
        return settle(keys, first, sooner);
    }
    let (before, _, after) = keys.select_nth_unstable(here);
    settle(before, first, sooner);
    settle(after, place + 1, later);
}

/// A number that is ordered as the value is by [`f32::total_cmp`], and compared faster.
fn key(value: f32) -> i32 {
    swapped(value.to_bits().cast_signed())
}

fn value_of(key: i32) -> f32 {
    f32::from_bits(swapped(key).cast_unsigned())
}

/// Negative floating-point numbers count the other way round.
fn swapped(bits: i32) -> i32 {
    bits ^ ((bits >> 31).cast_unsigned() >> 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_sorted_values() {
        let of = |values: &[f32]| quantiles(values.iter().copied());
        let values: Vec<f32> = (1..=99).rev().map(|value| value as f32).collect();
        assert_eq!(of(&values), [5.0, 10.0, 50.0, 90.0, 95.0]);
        assert_eq!(of(&[3.0, 1.0]), [1.0, 1.0, 2.0, 3.0, 3.0]);
        assert_eq!(of(&[7.0]), [7.0; 5]);
        assert_eq!(of(&[]), [0.0; 5]);
    }

    #[test]
    fn quantiles_of_any_number_of_values_are_those_of_the_sorted_ones() {
        let mut state = 1_u32;
        for count in 1..200 {
            let mut values: Vec<f32> = (0..count)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    ((state >> 24) as f32 - 128.0) / 8.0
                })
                .collect();
            let found = quantiles(values.iter().copied());
            values.sort_unstable_by(f32::total_cmp);
            for (found, level) in found.into_iter().zip(LEVELS) {
                let rank = (level * (count + 1) as f64 - 1.0).clamp(0.0, (count - 1) as f64);
                let value = values[rank as usize];
                let next = values.get(rank as usize + 1).copied().unwrap_or(value);
                assert_eq!(found, value + rank.fract() as f32 * (next - value));
            }
        }
    }

    #[test]
    fn scaling_survives_every_magnitude() {
        for magnitude in [1e-300, 1.0, 1e300, f64::MAX] {
            let values = [0.0, 1.0, 0.5, 1.0].map(|value| value * magnitude);
            let window = Window::new(values.to_vec(), Range::FROM_ZERO).unwrap();
            let scaled = Scaled::of(&window).unwrap();
            assert!(
                scaled.values.iter().all(|value| value.is_finite()),
                "{magnitude}"
            );
            assert_eq!(scaled.restore(0.0), magnitude);
        }
    }

    #[test]
    fn a_window_that_is_shorter_than_the_step_still_has_a_spread() {
        let window = Window::new(vec![4.0, 5.0, 4.0], Range::FROM_ZERO).unwrap();
        let scaled = Scaled::of(&window).unwrap();
        let track = Track {
            first: 0,
            forecasts: scaled.values.clone(),
        };
        let forecast = track.step_forecast(&scaled, 4);
        assert_eq!(
            (forecast.point, forecast.quantiles[0], forecast.quantiles[4]),
            (4.0, 2.0, 6.0)
        );
    }
}
