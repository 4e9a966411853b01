//! What is chosen, and when nothing is.

use super::*;
use crate::forecast::Range;

fn chosen(values: impl IntoIterator<Item = f64>) -> Chosen {
    let window = Window::new(values.into_iter().collect(), Range::FROM_ZERO).unwrap();
    choose(&window, &Steps::path(6)).unwrap()
}

/// Fixed pseudo-random numbers from 0 to 1.
fn noise(seed: u32) -> impl Iterator<Item = f64> {
    let next = |state: &u32| Some(state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    std::iter::successors(Some(seed), next)
        .skip(1)
        .map(|state| f64::from(state >> 16) / 65_536.0)
}

#[test]
fn what_can_be_forecast_is_and_has_earned_it() {
    let repeating = (0..600)
        .zip(noise(1))
        .map(|(n, noise)| [10.0, 90.0, 20.0, 40.0, 15.0][n % 5] + noise);
    let chosen = chosen(repeating);
    assert!(chosen.is_earned() && !chosen.muted, "{:?}", chosen.table);
    assert!(chosen.skill.unwrap().relative_error < 0.2);
    assert_eq!(chosen.basis, Basis::Tournament);
    assert!(chosen.skill.unwrap().origins >= 15);
    // The newest value was 15, so 10, 90 and 20 come next; the first and the third are knots.
    let near = |place: usize, value: f64| (chosen.steps[place].point - value).abs() < 5.0;
    assert!(near(0, 10.5) && near(2, 20.5), "{:?}", chosen.steps);
    assert!(
        chosen
            .table
            .iter()
            .any(|score| score.model == ModelName::LastValue && score.relative_error == 1.0)
    );
}

#[test]
fn without_skill_the_last_value_is_shown() {
    let mut muted = 0;
    for seed in 0..12 {
        let mut level = 500.0;
        let walk = noise(seed).take(400).map(|noise| {
            level += noise - 0.5;
            level
        });
        let values: Vec<f64> = walk.collect();
        let chosen = chosen(values.clone());
        if chosen.muted {
            muted += 1;
            assert!(!chosen.is_earned());
            assert!(chosen.skill.unwrap().relative_error >= 1.0);
            assert!(chosen.steps.iter().all(|made| made.point == values[399]));
            assert!(
                chosen
                    .steps
                    .iter()
                    .all(|made| made.quantiles[0] < made.quantiles[4])
            );
        }
    }
    assert!(muted > 0, "a random walk cannot be forecast");
}

#[test]
fn a_short_window_is_not_judged() {
    assert_eq!(chosen([7.0; 50]).basis, Basis::Constant);
    let few = chosen(noise(1).take(8));
    assert_eq!(
        (few.basis, few.model),
        (Basis::TooShort, ModelName::LastValue)
    );
    let more = chosen(noise(1).take(15));
    assert_eq!((more.basis, more.model), (Basis::Prior, ModelName::Ses));
    let enough = chosen(noise(1).take(25));
    assert_eq!(
        (enough.basis, enough.model),
        (Basis::Prior, ModelName::Learned)
    );
    assert!(!enough.is_earned() && enough.skill.is_none());
}

#[test]
fn the_preferred_model_stays_unless_another_is_clearly_better() {
    let score = |model, relative_error| ModelScore {
        model,
        relative_error,
    };
    let close = [score(ModelName::Ses, 0.70), score(ModelName::Learned, 0.75)];
    assert_eq!(
        best_of(&close, ModelName::Learned).model,
        ModelName::Learned
    );
    let clear = [score(ModelName::Ses, 0.60), score(ModelName::Learned, 0.75)];
    assert_eq!(best_of(&clear, ModelName::Learned).model, ModelName::Ses);
}
