//! When the requests of an open-loop load are due.
//!
//! Deliberately absent: answers. A schedule that waited for them would hide every stall of the server
//! ("coordinated omission", <https://github.com/giltene/wrk2#acknowledgements>).

use std::fmt;
use std::num::ParseFloatError;
use std::str::FromStr;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use serde::Serialize;
use thiserror::Error;

/// Highest rate that may be asked for, per second.
pub const MAX_RATE: f64 = 100_000.0;

/// A request rate that moves in a straight line over the whole load.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RateRamp {
    from: f64,
    to: f64,
}

/// Why a text or two numbers are not a rate.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum RateError {
    /// Neither `40` nor `40..180`.
    #[error("`{text}` is not a rate such as 40 or 40..180")]
    NotARate {
        text: String,
        /// The number that could not be read.
        source: ParseFloatError,
    },
    /// Negative, not finite or too high.
    #[error("a rate must be between 0 and {MAX_RATE} per second, not {rate}")]
    OutOfRange {
        /// The rate that was refused.
        rate: f64,
    },
}

impl RateRamp {
    /// From one rate to another, both in requests per second.
    pub fn new(from: f64, to: f64) -> Result<Self, RateError> {
        for rate in [from, to] {
            if !(0.0..=MAX_RATE).contains(&rate) {
                return Err(RateError::OutOfRange { rate });
            }
        }
        Ok(Self { from, to })
    }

    /// How many requests are due within `duration`.
    pub fn request_count(self, duration: Duration) -> usize {
        ((self.from + self.to) / 2.0 * duration.as_secs_f64()).round() as usize
    }

    /// When each request is due, counted from the start: in order, none later than `duration`.
    ///
    /// `jitter` (0..=1) is the share of the gap to the next request by which one may come later.
    pub fn arrivals(self, duration: Duration, jitter: f64, rng: &mut StdRng) -> Vec<Duration> {
        let count = self.request_count(duration);
        let due = |index: usize| {
            self.due_seconds(index, duration)
                .min(duration.as_secs_f64())
        };
        (0..count)
            .map(|index| {
                let gap = due(index + 1) - due(index);
                let delay = gap * jitter.clamp(0.0, 1.0) * rng.random::<f64>();
                Duration::from_secs_f64((due(index) + delay).max(0.0)).min(duration)
            })
            .collect()
    }

    /// Solves from·t + (to − from)·t² / (2·duration) = index + ½ for t. The half puts each request into the middle of
    /// its slot; the form with the root below the line holds for a constant rate too.
    fn due_seconds(self, index: usize, duration: Duration) -> f64 {
        let requests = index as f64 + 0.5;
        let slope = (self.to - self.from) / duration.as_secs_f64();
        let root = (self.from * self.from + 2.0 * slope * requests)
            .max(0.0)
            .sqrt();
        2.0 * requests / (self.from + root)
    }
}

/// `40`, or `40..180` for a ramp.
impl FromStr for RateRamp {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let (from, to) = text.split_once("..").unwrap_or((text, text));
        let number = |part: &str| {
            part.trim().parse().map_err(|source| RateError::NotARate {
                text: text.to_owned(),
                source,
            })
        };
        Self::new(number(from)?, number(to)?)
    }
}

impl fmt::Display for RateRamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to } = self;
        if from == to {
            write!(f, "{from}")
        } else {
            write!(f, "{from}..{to}")
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;

    use super::*;

    fn arrivals(ramp: &str, seconds: f64, jitter: f64) -> Vec<Duration> {
        let ramp: RateRamp = ramp.parse().unwrap();
        ramp.arrivals(
            Duration::from_secs_f64(seconds),
            jitter,
            &mut StdRng::seed_from_u64(7),
        )
    }

    #[test]
    fn a_constant_rate_is_evenly_paced() {
        let millis: Vec<_> = arrivals("10", 0.5, 0.0)
            .iter()
            .map(|due| due.as_secs_f64() * 1_000.0)
            .collect();
        let expected = [50.0, 150.0, 250.0, 350.0, 450.0];
        assert_eq!(millis.len(), expected.len());
        for (found, expected) in millis.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-3, "{millis:?}");
        }
    }

    /// 0..100 per second over 10 s: 500 requests, of which a quarter fall into the first half.
    #[test]
    fn a_ramp_follows_its_line() {
        for (ramp, in_first_half) in [("0..100", 125), ("100..0", 375), ("50", 250)] {
            let due = arrivals(ramp, 10.0, 0.0);
            assert_eq!(due.len(), 500);
            let early = due.iter().filter(|due| **due < Duration::from_secs(5));
            assert_eq!(early.count(), in_first_half, "{ramp}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_jitter() {
        assert_eq!(arrivals("5..50", 3.0, 0.5), arrivals("5..50", 3.0, 0.5));
        assert_ne!(arrivals("5..50", 3.0, 0.5), arrivals("5..50", 3.0, 0.0));
    }

    #[test]
    fn rates_are_read_strictly() {
        assert_eq!(
            "40..180".parse::<RateRamp>().unwrap().to_string(),
            "40..180"
        );
        for text in ["", "fast", "40..", "-1", "NaN", "inf", "1..1e9"] {
            assert!(text.parse::<RateRamp>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn arrivals_are_in_order_and_on_time(
            from in 0.0..500.0_f64, to in 0.0..500.0_f64, seconds in 0.0..5.0_f64, jitter in 0.0..=1.0_f64,
        ) {
            let ramp = RateRamp::new(from, to).unwrap();
            let duration = Duration::from_secs_f64(seconds);
            let due = ramp.arrivals(duration, jitter, &mut StdRng::seed_from_u64(1));
            prop_assert_eq!(due.len(), ramp.request_count(duration));
            prop_assert!(due.is_sorted());
            prop_assert!(due.iter().all(|due| *due <= duration));
        }
    }
}
