//! Percentiles of measured times.

use std::time::Duration;

/// Measured times, in no order.
#[derive(Debug, Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    pub(crate) fn append(&mut self, other: &mut Self) {
        self.0.append(&mut other.0);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The time that `percent` of all are not above, in milliseconds; none were measured: not a number.
    pub(crate) fn percentile_ms(&mut self, percent: usize) -> f64 {
        if self.0.is_empty() {
            return f64::NAN;
        }
        self.0.sort_unstable();
        let index = (self.0.len() * percent).div_ceil(100).clamp(1, self.0.len()) - 1;
        self.0[index].as_secs_f64() * 1000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_one_to_hundred_is_fifty() {
        let mut times = Times::default();
        (1..=100).rev().for_each(|ms| times.push(Duration::from_millis(ms)));
        assert!((times.percentile_ms(50) - 50.0).abs() < 1e-9);
        assert!((times.percentile_ms(99) - 99.0).abs() < 1e-9);
    }
}
