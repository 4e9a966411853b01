//! A small trained network over the cheap models.

use std::sync::OnceLock;

use super::knots::{KNOTS, interpolate};
use super::model::{Forecaster, ModelName, enough};
use super::regression::seen_before;
use super::track::quantiles_at;
use super::{NotEnoughData, Ses, StepForecast, Steps, Window};

mod inputs;
mod network;

use super::experts::Experts;
pub use inputs::{EXPERTS, Inputs, KnotInputs, OF_KNOT, SHARED};
pub use network::{HIDDEN, INPUTS, Network, OF_HEAD, OFFSET, OUTPUTS, SIZES, WIDEST, mix};

/// Fewest values that the network is asked about.
pub const FEWEST_VALUES: usize = 24;

/// What the network sees of a window, and what it takes to compare its answers with what came: for training.
#[derive(Debug)]
pub struct Lesson {
    pub inputs: Inputs,
    experts: Experts,
}

impl Lesson {
    /// `None` = the window is too short or constant.
    pub fn of(window: &Window) -> Option<Self> {
        let scaled = enough(window).ok().filter(|scaled| scaled.unit > 0.0)?;
        let count = scaled.values.len();
        if count < FEWEST_VALUES {
            return None;
        }
        let experts = Experts::of(scaled);
        let snapshot = inputs::Snapshot::at(&experts, count);
        Some(Self {
            inputs: snapshot.inputs(&experts, count - 1),
            experts,
        })
    }

    /// What came, relative to the newest value and in units of the mean change.
    pub fn target(&self, value: f64) -> f32 {
        self.experts.scaled.scale(value)
    }

    /// The mean answer of some networks at the knots.
    pub fn answer(&self, networks: &[Network]) -> Vec<StepForecast> {
        let answers = mean_answer(networks, &self.inputs);
        let knots = KNOTS.iter().zip(answers);
        knots
            .map(|(step, quantiles)| {
                self.experts
                    .scaled
                    .step_forecast(*step, quantiles[2], quantiles)
            })
            .collect()
    }
}

/// The network that ships over the cheap models. It answers at steps 1, 3, 6 and 12; in between it is interpolated.
#[derive(Debug, Clone, Copy, Default)]
pub struct Learned;

impl Forecaster for Learned {
    fn name(&self) -> ModelName {
        ModelName::Learned
    }

    fn forecast(&self, window: &Window, steps: &Steps) -> Result<Vec<StepForecast>, NotEnoughData> {
        match Lesson::of(window) {
            Some(lesson) => Ok(interpolate(&lesson.answer(shipped()), steps)),
            // Too short to ask, or constant.
            None => Ses.forecast(window, steps),
        }
    }
}

pub(super) fn shipped() -> &'static [Network] {
    static NETWORKS: OnceLock<Vec<Network>> = OnceLock::new();
    NETWORKS.get_or_init(|| Network::read(WEIGHTS).unwrap_or_default())
}

/// See `MODEL_CARD.md` beside it.
const WEIGHTS: &[u8] = include_bytes!("weights.bin");

/// What networks see of a window, now and from its past.
#[derive(Debug)]
pub(super) struct Seen {
    before: inputs::Snapshot,
    now: Inputs,
}

impl Seen {
    pub(super) fn of(experts: &Experts) -> Self {
        let count = experts.scaled.values.len();
        Self {
            before: inputs::Snapshot::at(experts, seen_before(count)),
            now: inputs::Snapshot::at(experts, count).inputs(experts, count - 1),
        }
    }
}

/// What the networks answered from past origins, and what they see now.
#[derive(Debug)]
pub(super) struct Judge<'a> {
    /// Quantiles at the knots, from each origin, scaled.
    pub(super) past: Vec<Vec<[f32; 5]>>,
    now: &'a Inputs,
    /// How much wider the quantiles must be to have covered what came.
    width: f32,
}

impl<'a> Judge<'a> {
    /// Asks the first of the `networks` what it would have forecast from `origins`, with what was known before the
    /// first of them.
    pub(super) fn of(
        experts: &Experts,
        seen: &'a Seen,
        networks: &[Network],
        origins: &[usize],
    ) -> Self {
        let first = networks.get(..1).unwrap_or_default();
        let answer = |origin: &usize| -> Vec<[f32; 5]> {
            let newest = experts
                .scaled
                .values
                .get(*origin)
                .copied()
                .unwrap_or_default();
            let answers = mean_answer(first, &seen.before.inputs(experts, *origin)).into_iter();
            let restored = answers.map(|quantiles| quantiles.map(|value| value + newest));
            restored.map(in_order).collect()
        };
        let past: Vec<Vec<[f32; 5]>> = origins.iter().map(answer).collect();
        Self {
            width: width_of(&experts.scaled.values, origins, &past),
            past,
            now: &seen.now,
        }
    }

    /// The networks' forecasts at the knots.
    pub(super) fn forecast(&self, experts: &Experts, networks: &[Network]) -> Vec<StepForecast> {
        let knots = KNOTS.iter().zip(mean_answer(networks, self.now));
        let forecast = |(step, quantiles): (&u32, [f32; 5])| {
            let quantiles = in_order(quantiles);
            let middle = quantiles[2];
            let widened = quantiles.map(|value| middle + self.width * (value - middle));
            experts.scaled.step_forecast(*step, middle, widened)
        };
        knots.map(forecast).collect()
    }
}

fn in_order(mut quantiles: [f32; 5]) -> [f32; 5] {
    quantiles.sort_unstable_by(f32::total_cmp);
    quantiles
}

/// The factor on the 90 % interval that would have covered nine in ten of what came after `origins` (split-conformal,
/// see [`super::track::quantiles`]), as far as so few origins can tell: its power of n / (n + 20).
fn width_of(values: &[f32], origins: &[usize], past: &[Vec<[f32; 5]>]) -> f32 {
    let mut scores: Vec<f32> = Vec::with_capacity(origins.len() * KNOTS.len());
    for (origin, answers) in origins.iter().zip(past) {
        for (step, [low, _, middle, _, high]) in KNOTS.iter().zip(answers) {
            let Some(came) = values.get(origin + *step as usize) else {
                continue;
            };
            let half = if came > middle {
                high - middle
            } else {
                middle - low
            };
            scores.push((came - middle).abs() / half.max(NARROWEST));
        }
    }
    if scores.is_empty() {
        return 1.0;
    }
    let [needed] = quantiles_at(scores.into_iter(), [0.9]);
    let origins = origins.len() as f32;
    needed
        .clamp(1.0 / MOST_WIDENED, MOST_WIDENED)
        .powf(origins / (origins + DOUBT))
}

/// So many origins count as much as the trained widths.
const DOUBT: f32 = 20.0;
/// Widths change at most by this factor.
const MOST_WIDENED: f32 = 2.0;
/// In units of the mean change; an interval of no width cannot be widened.
const NARROWEST: f32 = 1e-3;

/// The mean of what the networks answer at each knot.
fn mean_answer(networks: &[Network], inputs: &Inputs) -> Vec<[f32; 5]> {
    let mut sums = vec![[0.0; 5]; KNOTS.len()];
    for network in networks {
        for (sums, answer) in sums.iter_mut().zip(network.answer(inputs)) {
            sums.iter_mut()
                .zip(answer)
                .for_each(|(sum, value)| *sum += value / networks.len() as f32);
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::forecast::Range;

    #[test]
    fn the_weights_are_those_of_the_model_card() {
        let sum: String = Sha256::digest(WEIGHTS)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert!(
            include_str!("MODEL_CARD.md").contains(&sum),
            "SHA-256 {sum}"
        );
        assert!(WEIGHTS.len() <= 100_000);
        assert_eq!(shipped().len(), 2);
    }

    #[test]
    fn what_was_written_is_read_and_half_a_network_is_refused() {
        let networks = Network::read(WEIGHTS).unwrap();
        let written: Vec<u8> = networks.iter().flat_map(Network::write).collect();
        let again = Network::read(&written).unwrap();
        for (one, other) in networks.iter().zip(&again) {
            let pairs = one
                .layers
                .iter()
                .flatten()
                .zip(other.layers.iter().flatten());
            assert!(pairs.clone().count() > 10_000);
            for (one, other) in pairs {
                assert!((one - other).abs() < 1e-4);
            }
        }
        assert!(Network::read(&written[..written.len() - 2]).is_err());
        assert!(Network::read(&[]).is_err());
    }

    #[test]
    fn a_wave_is_continued_far_better_than_by_its_last_value() {
        let wave = |n: i32| 50.0 + 30.0 * (f64::from(n) * 0.37).sin();
        let window = Window::new((0..1_000).map(wave).collect(), Range::FROM_ZERO).unwrap();
        for made in Learned.forecast(&window, &Steps::path(12)).unwrap() {
            let error = (made.point - wave(999 + made.step as i32)).abs();
            let last = (wave(999) - wave(999 + made.step as i32)).abs();
            assert!(error < 0.5 * last.max(4.0), "{made:?}");
        }
    }
}
