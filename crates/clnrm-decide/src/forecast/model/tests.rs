//! What holds for every model, whatever the window.

use proptest::prelude::*;

use crate::forecast::{Forecaster, Range, StepForecast, Steps, Window, choose, models};

fn window(values: &[f64]) -> Window {
    Window::new(values.to_vec(), Range::FROM_ZERO).unwrap()
}

/// Noise, steps, spikes, waves, ramps and zeros of any size.
fn load() -> impl Strategy<Value = Vec<f64>> {
    let noise = prop::collection::vec(0.0..1.0_f64, 3..260);
    let size = prop_oneof![
        Just(1.0),
        Just(1e-12),
        Just(1e12),
        Just(1e-300),
        Just(1e300)
    ];
    (noise, 0..6_u32, size).prop_map(|(noise, shape, size)| {
        let count = noise.len();
        let shaped = |(place, noise): (usize, f64)| match shape {
            0 => noise,
            1 => f64::from(u8::from(place > count / 2)) + 0.01 * noise,
            2 => f64::from(u8::from(noise > 0.95)),
            3 => (place % 7) as f64 + 0.1 * noise,
            4 => (count - place) as f64,
            _ => 1_000.0 + 1e-9 * noise,
        };
        let values = noise.into_iter().enumerate().map(shaped);
        values.map(|value| value * size).collect()
    })
}

fn holds(range: Range, steps: &Steps, forecasts: &[StepForecast]) -> Result<(), TestCaseError> {
    prop_assert!(steps.iter().eq(forecasts.iter().map(|made| made.step)));
    for made in forecasts {
        prop_assert!(made.point.is_finite() && range.clamp(made.point) == made.point);
        prop_assert!(made.quantiles.is_sorted(), "{made:?}");
        let inside = |value: &f64| value.is_finite() && range.clamp(*value) == *value;
        prop_assert!(made.quantiles.iter().all(inside), "{made:?}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn forecasts_are_ordered_and_within_the_range(values in load(), steps in prop::collection::vec(1..=12_u32, 1..6)) {
        let (window, steps) = (window(&values), Steps::new(&steps).unwrap());
        for model in models() {
            let forecasts = model.forecast(&window, &steps).unwrap();
            holds(window.range(), &steps, &forecasts)?;
        }
        holds(window.range(), &steps, &choose(&window, &steps).unwrap().steps)?;
    }

    #[test]
    fn a_constant_is_continued_exactly(value in prop_oneof![Just(0.0), Just(1.0 / 3.0), 0.0..1e12_f64], count in 3..400_usize) {
        let (window, steps) = (window(&vec![value; count]), Steps::path(12));
        let exact = |made: &StepForecast| made.point == value && made.quantiles == [value; 5];
        for model in models() {
            let forecasts = model.forecast(&window, &steps).unwrap();
            prop_assert!(forecasts.iter().all(exact), "{}: {forecasts:?}", model.name());
        }
        let chosen = choose(&window, &steps).unwrap();
        prop_assert!(chosen.steps.iter().all(exact) && !chosen.is_earned());
    }

    #[test]
    fn the_unit_of_a_metric_does_not_matter(values in prop::collection::vec(0.0..100.0_f64, 40..200)) {
        let steps = Steps::path(12);
        let scaled: Vec<f64> = values.iter().map(|value| value * 1024.0).collect();
        for model in models() {
            let small = model.forecast(&window(&values), &steps).unwrap();
            let large = model.forecast(&window(&scaled), &steps).unwrap();
            for (small, large) in small.iter().zip(large) {
                let close = (small.point * 1024.0 - large.point).abs() <= 1e-6 * large.point.abs().max(1.0);
                prop_assert!(close, "{}: {small:?} {large:?}", model.name());
            }
        }
    }
}

#[test]
fn two_values_are_too_few_for_every_model() {
    let window = window(&[1.0, 2.0]);
    for model in models() {
        let error = model.forecast(&window, &Steps::path(1)).unwrap_err();
        assert_eq!((error.have, error.need), (2, 3), "{}", model.name());
    }
}

#[test]
fn names_are_distinct() {
    let mut names: Vec<_> = models()
        .iter()
        .map(|model| Forecaster::name(*model))
        .collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), models().len());
}
