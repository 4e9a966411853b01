//! The change over a step, regressed on past changes, for each step on its own.
//!
//! A ridge towards "no change" means that without evidence the forecast is the last value. Rows are weighted by their
//! inverse error, so that the fit aims at the median and spikes do not rule it (iteratively re-weighted least squares:
//! P. Huber, *Robust Statistics*, 1981). Each round of weights also takes in newer rows: the second round has not seen
//! the end of the window, so its errors there are honest ones, and the third costs no more than the second.

use std::ops;

use super::knots::{JUDGED_SHARE, KNOTS, MOST_JUDGED, knots_for, on_path};
use super::linear::{self, COLUMNS, Row, Sums, predict};
use super::model::{Forecaster, ModelName, Tracker, enough};
use super::season::period;
use super::smoothing::Levels;
use super::track::{Scaled, Track};
use super::{NotEnoughData, StepForecast, Steps, Window};

/// Fewest values that are regressed on.
pub(super) const FEWEST_VALUES: usize = 48;
/// The lags whose differences from the newest value are columns.
const LAGS: [usize; 18] = [
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 18, 20, 22, 24,
];
/// The smoothing rates whose levels are columns, by their place in [`super::smoothing::RATES`].
const LEVELS: [usize; 3] = [4, 6, 7];
/// Where the columns of the season begin.
const SEASONAL: usize = LAGS.len() + LEVELS.len();
const _: () = assert!(
    SEASONAL >= linear::LAST_COLUMNS,
    "they are summed anew for each step"
);
/// The first row: before it, lags and levels have not seen enough.
const FIRST_ROW: usize = 20;
/// Fewest values for each lag, so that a short window is not over-fitted.
const VALUES_PER_LAG: usize = 6;
/// The ridge, as a share of the mean diagonal.
const RIDGE: f64 = 0.02;
/// Errors below this share of their median weigh the same.
const EQUAL_BELOW: f32 = 0.5;
const FARTHEST: usize = 12;

/// Direct robust regression for each of the steps 1, 3, 6 and 12; in between it is interpolated.
#[derive(Debug, Clone, Copy, Default)]
pub struct Regression;

impl Forecaster for Regression {
    fn name(&self) -> ModelName {
        ModelName::Regression
    }

    fn forecast(&self, window: &Window, steps: &Steps) -> Result<Vec<StepForecast>, NotEnoughData> {
        let scaled = enough(window)?;
        let levels = Levels::of(&scaled.values);
        let fitted = Fitted::of(&scaled.values, &levels, period(&scaled.values));
        let knots = knots_for(steps);
        Ok(match fitted {
            Some(fitted) => on_path(&fitted, &scaled, &knots, steps),
            // Too short to regress on: the level is what such a window shows.
            None => on_path(&levels, &scaled, &knots, steps),
        })
    }
}

/// How many values at the end are kept from the second round, and again from the first.
pub(super) fn judged(values: usize) -> usize {
    MOST_JUDGED.min(values.saturating_sub(FARTHEST) / JUDGED_SHARE)
}

/// The values that the second round of fits has seen.
pub(super) fn seen_before(values: usize) -> usize {
    values.saturating_sub(judged(values) + FARTHEST)
}

/// The fits for each knot.
#[derive(Debug)]
pub(super) struct Fitted {
    /// One for each of the [`KNOTS`].
    pub(super) fits: Vec<Fit>,
}

/// The fit for one step.
#[derive(Debug)]
pub(super) struct Fit {
    step: u32,
    /// The forecasts from each origin of the fit that has not seen the end, but the newest of the one that has.
    pub(super) track: Track,
    /// The errors of the first round where it had not seen them: its newest ones before [`seen_before`].
    pub(super) first_errors: Vec<f32>,
}

impl Tracker for Fitted {
    fn track(&self, _scaled: &Scaled, step: u32) -> Track {
        let fit = self.fits.iter().find(|fit| fit.step >= step);
        fit.or(self.fits.last()).map_or(
            Track {
                first: 0,
                forecasts: Vec::new(),
            },
            |fit| fit.track.clone(),
        )
    }
}

impl Fitted {
    /// `None` = too few values.
    pub(super) fn of(values: &[f32], levels: &Levels, period: Option<usize>) -> Option<Self> {
        if values.len() < FEWEST_VALUES {
            return None;
        }
        let first = FIRST_ROW.max(period.unwrap_or(0).min(values.len() / 3));
        let mut rows = rows(values, levels, period, first);
        let before = seen_before(values.len());
        let early = seen_before(before)
            .max(first + FARTHEST + COLUMNS / 2)
            .min(before);
        let mut shared = Sums::new();
        let known = early.saturating_sub(first + FARTHEST);
        let ones = vec![1.0; rows.len()];
        let mut fits = Vec::with_capacity(KNOTS.len());
        for step in KNOTS {
            season(&mut rows, values, period, first, step);
            let (some, weights) = (rows.get(..known)?, ones.get(..known)?);
            if fits.is_empty() {
                shared.add_products(some, weights);
            } else if period.is_some() {
                shared.renew_last_columns(some, weights);
            }
            let rounds = Rounds {
                values,
                rows: &rows,
                first,
                step,
                squares: linear::squares(&rows),
            };
            fits.push(rounds.fit(shared.clone(), known, before)?);
        }
        Some(Self { fits })
    }
}

/// What the rounds of fits for one step have in common.
struct Rounds<'a> {
    values: &'a [f32],
    rows: &'a [Row],
    first: usize,
    step: u32,
    squares: Row,
}

impl Rounds<'_> {
    fn fit(&self, shared: Sums, known: usize, before: usize) -> Option<Fit> {
        let step = self.step as usize;
        let changes = self.changes();
        let mut sums = shared;
        let ones = vec![1.0; known];
        sums.add_targets(self.rows.get(..known)?, &ones, &changes);
        let first = sums.solve(&self.squares, RIDGE);
        let rows = self.rows.get(..changes.len())?.iter();
        let predicted: Vec<f32> = rows.map(|row| predict(row, &first)).collect();
        let errors = differences(&changes, &predicted);

        // What the second round has seen: rows whose change was complete before the kept end.
        let seen = before.checked_sub(self.first + step)?;
        let first_errors = errors.get(known..seen).unwrap_or_default().to_vec();
        let mut sums = Sums::new();
        self.add_weighted(&mut sums, &changes, &errors, 0..seen)?;
        let second = sums.solve(&self.squares, RIDGE);
        let predicted: Vec<f32> = self.rows.iter().map(|row| predict(row, &second)).collect();
        let errors = differences(&changes, &predicted);
        self.add_weighted(&mut sums, &changes, &errors, seen..errors.len())?;
        let third = sums.solve(&self.squares, RIDGE);

        let known = self.values.get(self.first..)?.iter();
        let mut forecasts: Vec<f32> = known
            .zip(&predicted)
            .map(|(value, change)| value + change)
            .collect();
        let newest = forecasts.last_mut().zip(self.values.last());
        if let (Some((forecast, value)), Some(row)) = (newest, self.rows.last()) {
            *forecast = value + predict(row, &third);
        }
        Some(Fit {
            step: self.step,
            track: Track {
                first: self.first,
                forecasts,
            },
            first_errors,
        })
    }

    /// What came minus the newest value, for each row whose future is known.
    fn changes(&self) -> Vec<f32> {
        let from = self.values.iter().skip(self.first);
        let came = self.values.iter().skip(self.first + self.step as usize);
        came.zip(from).map(|(came, from)| came - from).collect()
    }

    /// Adds `some` rows, weighted by their `errors`.
    fn add_weighted(
        &self,
        sums: &mut Sums,
        changes: &[f32],
        errors: &[f32],
        some: ops::Range<usize>,
    ) -> Option<()> {
        // Every fourth error is enough for a median that only sets a floor.
        let sizes = errors.iter().step_by(4).map(|error| error.abs());
        let mut sizes: Vec<f32> = sizes.collect();
        let middle = sizes.len() / 2;
        if middle == 0 {
            return None;
        }
        let median = *sizes.select_nth_unstable_by(middle, f32::total_cmp).1;
        // In units of the mean change, so this is a thousandth of that.
        let floor = EQUAL_BELOW * median + 1e-3;
        let errors = errors.get(some.clone())?;
        let weigh = |error: &f32| 1.0 / error.abs().max(floor);
        let weights: Vec<f32> = errors.iter().map(weigh).collect();
        let rows = self.rows.get(some.clone())?;
        sums.add_products(rows, &weights);
        sums.add_targets(rows, &weights, changes.get(some)?);
        Some(())
    }
}

/// What came minus what was predicted, as far as it came.
fn differences(came: &[f32], predicted: &[f32]) -> Vec<f32> {
    came.iter()
        .zip(predicted)
        .map(|(came, predicted)| came - predicted)
        .collect()
}

/// The columns that do not depend on the step, for each origin from `first` on.
fn rows(values: &[f32], levels: &Levels, period: Option<usize>, first: usize) -> Vec<Row> {
    let most = (values.len() / VALUES_PER_LAG).max(2);
    let oldest = values.first().copied().unwrap_or_default();
    let row = |origin: usize| {
        let at = |back: usize| {
            let place = origin.checked_sub(back);
            place
                .and_then(|place| values.get(place))
                .copied()
                .unwrap_or(oldest)
        };
        let newest = at(0);
        let mut row = [0.0; COLUMNS];
        let lags = LAGS.iter().filter(|lag| **lag <= most);
        for (cell, lag) in row.iter_mut().zip(lags) {
            *cell = at(*lag) - newest;
        }
        if let Some(after) = levels.0.get(origin) {
            let chosen = LEVELS.iter().filter_map(|place| after.get(*place));
            for (cell, level) in row.iter_mut().skip(LAGS.len()).zip(chosen) {
                *cell = level - newest;
            }
        }
        if let (Some(cell), Some(period)) = (row.get_mut(SEASONAL), period) {
            *cell = at(period) - newest;
        }
        row
    };
    (first..values.len()).map(row).collect()
}

/// Sets the columns that look from one and two periods ago `step` ahead.
fn season(rows: &mut [Row], values: &[f32], period: Option<usize>, first: usize, step: u32) {
    let Some(period) = period else {
        return;
    };
    let ahead = step as usize;
    let back = ahead.div_ceil(period) * period - ahead;
    for (row, origin) in rows.iter_mut().zip(first..) {
        let at = |back: usize| origin.checked_sub(back).and_then(|place| values.get(place));
        let newest = values.get(origin).copied().unwrap_or_default();
        for (cell, back) in row.iter_mut().skip(SEASONAL + 1).zip([back, back + period]) {
            *cell = at(back).map_or(0.0, |value| value - newest);
        }
    }
}
