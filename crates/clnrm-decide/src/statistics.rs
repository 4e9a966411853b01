//! Means and percentiles of measured values.

/// The arithmetic mean; `None` = there is no value. Summed from the first value on, so that it is exact for equal ones:
/// thirty times 0.05 must not come out above 0.05.
pub(super) fn mean(values: &[f64]) -> Option<f64> {
    let first = values.first()?;
    let excess: f64 = values.iter().map(|value| value - first).sum();
    Some(first + excess / values.len() as f64)
}

/// The smallest value that at least `percent` of 100 values do not exceed (nearest rank); `None` = there is no value. Reorders `values`.
pub(super) fn percentile(values: &mut [f64], percent: usize) -> Option<f64> {
    let last = values.len().checked_sub(1)?;
    let rank = (values.len() * percent).div_ceil(100).saturating_sub(1);
    let (_, value, _) = values.select_nth_unstable_by(rank.min(last), f64::total_cmp);
    Some(*value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let mut values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(&mut values, 95), Some(95.0));
        assert_eq!(percentile(&mut values, 100), Some(100.0));
        assert_eq!(percentile(&mut [7.0], 95), Some(7.0));
        assert_eq!(percentile(&mut [], 95), None);
        assert_eq!(mean(&[]), None);
        assert_eq!(mean(&[0.05; 30]), Some(0.05));
        assert_eq!(mean(&[1.0, 2.0]), Some(1.5));
    }
}
