//! The forecast that `ai-manage` makes: whichever model has proven to be the best on this very history.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::choice::Contest;
use super::even::Even;
use super::{
    Basis, Chosen, Forecast, ModelName, NotEnoughData, SAMPLES_NEEDED, Series, Skill, StepForecast,
    Steps, Window, learned,
};
use crate::Metric;

/// Fewest checked forecasts for quantiles: with fewer, the 5 % and 95 % quantiles lie beyond the extremes.
const ERRORS_FOR_QUANTILES: usize = 19;

/// Cuts a series into an even window and lets the models compete on it (see [`super::choose`]). Asked for several
/// horizons of one history, it fits what is fitted to a window once.
#[derive(Debug, Default)]
pub struct Auto {
    fitted: RefCell<Vec<(Metric, Window, Rc<Contest>)>>,
}

impl Auto {
    fn contest(&self, metric: Metric, window: Window) -> Result<Rc<Contest>, NotEnoughData> {
        let mut fitted = self.fitted.borrow_mut();
        let known = fitted
            .iter()
            .find(|(of, over, _)| (*of, over) == (metric, &window));
        if let Some((_, _, contest)) = known {
            return Ok(Rc::clone(contest));
        }
        let contest = Rc::new(Contest::of(&window)?);
        fitted.push((metric, window, Rc::clone(&contest)));
        Ok(contest)
    }

    /// The forecast one `horizon` after the newest sample of the history that `series` comes from.
    pub fn forecast(&self, series: &Series, horizon: Duration) -> Result<Forecast, NotEnoughData> {
        let have = u32::try_from(series.len()).unwrap_or(u32::MAX);
        let too_few = NotEnoughData {
            have,
            need: SAMPLES_NEEDED,
        };
        if have < SAMPLES_NEEDED {
            return Err(too_few);
        }
        let even = Even::cut(series, horizon).ok_or(too_few)?;
        let newest = *even.values.last().ok_or(too_few)?;
        if even.values.iter().all(|value| *value == newest) {
            return Ok(unchanged(&even, newest));
        }
        let steps = Steps::path(even.steps);
        let window = Window::new(even.values.clone(), series.metric().range());
        // A window of fewer values than samples can be too short for any model.
        let contest = window
            .ok()
            .and_then(|window| self.contest(series.metric(), window).ok());
        let chosen = contest.map(|contest| contest.choose(&steps, learned::shipped()));
        let forecast = chosen.and_then(|chosen| spoken(&even, chosen));
        Ok(forecast.unwrap_or_else(|| unchanged(&even, newest)))
    }
}

/// All values are equal, or there are too few to see a difference.
fn unchanged(even: &Even, newest: f64) -> Forecast {
    let same = |step| StepForecast {
        step,
        point: newest,
        quantiles: [newest; 5],
    };
    let is_constant = supports(even, even.steps) && even.values.iter().all(|v| *v == newest);
    let steps: Vec<StepForecast> = Steps::path(even.steps).iter().map(same).collect();
    Forecast {
        value: newest,
        quantiles: is_constant.then_some([newest; 5]),
        path: even.path(&steps, |_| is_constant),
        model: ModelName::LastValue,
        basis: Some(match is_constant {
            true => Basis::Constant,
            false => Basis::TooShort,
        }),
        skill: None,
        muted: false,
        models: Vec::new(),
    }
}

/// Whether enough forecasts of `step` could be checked for quantiles.
fn supports(even: &Even, step: u32) -> bool {
    even.values.len() >= ERRORS_FOR_QUANTILES + step as usize
}

fn spoken(even: &Even, chosen: Chosen) -> Option<Forecast> {
    let skill = shown_skill(&chosen);
    let Chosen {
        steps,
        model,
        basis,
        table,
        muted,
        ..
    } = chosen;
    // What was learned in training carries its own spread.
    let is_trained = model == ModelName::Learned && !muted;
    let path = even.path(&steps, |step| is_trained || supports(even, step));
    let horizon = path.last()?;
    Some(Forecast {
        value: horizon.value,
        quantiles: horizon.quantiles,
        model: if muted { ModelName::LastValue } else { model },
        basis: Some(basis),
        skill,
        muted,
        models: table,
        path,
    })
}

/// The skill of the model that was chosen; where that is the last value, of the best that might have been.
fn shown_skill(chosen: &Chosen) -> Option<Skill> {
    let skill = chosen.skill?;
    let mut others = chosen.table.iter();
    let best = others.find(|score| score.model != ModelName::LastValue);
    match best {
        Some(best) if chosen.model == ModelName::LastValue => Some(Skill {
            relative_error: best.relative_error,
            ..skill
        }),
        _ => Some(skill),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;

    const MINUTE: Duration = Duration::from_secs(60);

    fn forecast(values: impl IntoIterator<Item = f64>, horizon: Duration) -> Forecast {
        let at = |minute: i64| Timestamp::from_millis(minute * 60_000);
        let points = (0..).map(at).zip(values).collect();
        let series = Series::new(Metric::MemoryMb, points);
        Auto::default().forecast(&series, horizon).unwrap()
    }

    /// A fixed sequence in −1..1 (Numerical Recipes' linear congruential generator).
    fn noise() -> impl Iterator<Item = f64> {
        let next = |state: &u32| Some(state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
        let states = std::iter::successors(Some(1_u32), next);
        states.map(|state| f64::from(state >> 8) / f64::from(1 << 23) - 1.0)
    }

    /// Deployments, as it were: a level that stays for 45 minutes and then is another one, near the one before.
    fn levels() -> Vec<f64> {
        let mut level = 1_000.0;
        let level_at = |(minute, step): (i32, f64)| {
            level += if minute % 45 == 0 { 20.0 * step } else { 0.0 };
            level
        };
        (0..400).zip(noise()).map(level_at).collect()
    }

    #[test]
    fn a_ramp_is_followed_and_earns_its_say() {
        let ramp = (0..300).map(|n| 100.0 + f64::from(n));
        let forecast = forecast(ramp, 12 * MINUTE);
        assert!(forecast.is_earned(), "{forecast:?}");
        assert!((forecast.value - 411.0).abs() < 6.0, "{}", forecast.value);
        assert_eq!(forecast.path.len(), 12);
        assert_eq!(forecast.path[11].value, forecast.value);
        assert_eq!(
            forecast.path[11].at,
            Timestamp::from_millis((299 + 12) * 60_000)
        );
        assert!(forecast.upper() >= forecast.value);
    }

    #[test]
    fn where_nothing_beats_the_last_value_it_is_shown_and_nothing_is_earned() {
        let levels = levels();
        let forecast = forecast(levels.iter().copied(), 5 * MINUTE);
        assert!(forecast.muted && !forecast.is_earned(), "{forecast:?}");
        assert_eq!(forecast.model, ModelName::LastValue);
        assert_eq!(forecast.value, *levels.last().unwrap());
        assert!(forecast.skill.unwrap().relative_error >= 1.0);
        let interval = forecast.interval().unwrap();
        assert!(interval.lower <= forecast.value && forecast.value <= interval.upper);
    }

    /// Watched while its history grows: noisy days that repeat roughly, and a deployment that doubles the load.
    #[test]
    fn a_growing_history_seldom_flips_the_model_to_and_fro() {
        let noise: Vec<f64> = noise().take(700).collect();
        let load = |minute: usize| {
            let day = (minute as f64 / 48.0 * std::f64::consts::TAU).sin();
            let level = if minute < 400 { 100.0 } else { 200.0 };
            level * (1.0 + 0.3 * day + 0.2 * noise[minute])
        };
        let model = |minutes: usize| forecast((0..minutes).map(load), 5 * MINUTE).model;
        let models: Vec<ModelName> = (100..700).step_by(5).map(model).collect();
        // Taking another model when the load itself changes is the point; going back at once is not.
        let changes = models.windows(2).filter(|pair| pair[0] != pair[1]).count();
        let to_and_fro = |three: &&[ModelName]| three[0] == three[2] && three[0] != three[1];
        let returns = models.windows(3).filter(to_and_fro).count();
        assert!(
            changes <= models.len() / 4 && returns <= models.len() / 10,
            "{changes} and {returns} in {}: {models:?}",
            models.len()
        );
    }

    /// Samples that are farther apart than the horizon are cut into the same window for every horizon.
    #[test]
    fn what_was_fitted_for_one_horizon_answers_for_another() {
        let at = |quarter: i64| Timestamp::from_millis(quarter * 900_000);
        let points: Vec<_> = (0..)
            .map(at)
            .zip(noise().take(300).map(|v| 9.0 + v))
            .collect();
        let once = Auto::default();
        for metric in [Metric::MemoryMb, Metric::CpuPercent] {
            let series = Series::new(metric, points.clone());
            for horizon in [5, 60, 30, 600].map(|minutes| MINUTE * minutes) {
                let again = once.forecast(&series, horizon);
                assert_eq!(
                    again,
                    Auto::default().forecast(&series, horizon),
                    "{horizon:?}"
                );
            }
        }
        assert_eq!(
            once.fitted.borrow().len(),
            4,
            "one for each metric and width"
        );
    }

    #[test]
    fn too_little_to_judge_says_so_and_invents_no_interval() {
        let seconds = (0..60).map(|n| (Timestamp::from_millis(n * 1_000), n as f64));
        let series = Series::new(Metric::MemoryMb, seconds.collect());
        let forecast = Auto::default().forecast(&series, 5 * MINUTE).unwrap();
        assert_eq!(
            (forecast.basis, forecast.quantiles, forecast.skill),
            (Some(Basis::TooShort), None, None)
        );
        assert!(!forecast.is_earned());
    }

    #[test]
    fn a_constant_is_exact_once_there_is_enough_of_it() {
        let enough = forecast([45.2; 200], 5 * MINUTE);
        assert_eq!((enough.value, enough.basis), (45.2, Some(Basis::Constant)));
        assert_eq!(enough.quantiles, Some([45.2; 5]));
        assert!(!enough.is_earned(), "the last value is exact too");
        let few = forecast([45.2; 5], 5 * MINUTE);
        assert_eq!((few.value, few.quantiles), (45.2, None));
        assert_eq!(few.basis, Some(Basis::TooShort));
    }
}
