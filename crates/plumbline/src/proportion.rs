//! Shares of successes, their intervals, and the interval of a difference of two.

use serde::{Deserialize, Serialize};

use crate::Interval;

/// The 97.5 % quantile of the normal distribution: two tails of 2.5 % leave 95 %.
const Z: f64 = 1.959_963_984_540_054;

/// How many of so many independent trials succeeded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proportion {
    /// Successes.
    pub successes: u64,
    /// Trials.
    pub trials: u64,
}

impl Proportion {
    /// The share with its 95 % score interval, which unlike the textbook one is not a point
    /// where all trials came out alike (E. B. Wilson, "Probable inference, the law of
    /// succession, and statistical inference", J. Am. Stat. Assoc. 22, 1927). `None` without
    /// a trial.
    pub fn interval(self) -> Option<Interval> {
        if self.trials == 0 {
            return None;
        }
        let (n, z2) = (self.trials as f64, Z * Z);
        let share = self.successes as f64 / n;
        let centre = share + z2 / (2.0 * n);
        let half = Z * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt();
        let scale = 1.0 + z2 / n;
        let low = ((centre - half) / scale).max(0.0);
        Some(Interval { value: share, low, high: ((centre + half) / scale).min(1.0) })
    }

    /// How much larger this share is than another, with its 95 % interval, by the score
    /// intervals of both (R. G. Newcombe, "Interval estimation for the difference between
    /// independent proportions: comparison of eleven methods", Statistics in Medicine 17,
    /// 1998, method 10). `None` where either has no trial.
    pub fn minus(self, other: Proportion) -> Option<Interval> {
        let (one, two) = (self.interval()?, other.interval()?);
        let value = one.value - two.value;
        let below = (one.value - one.low).hypot(two.high - two.value);
        let above = (one.high - one.value).hypot(two.value - two.low);
        Some(Interval { value, low: value - below, high: value + above })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(one: (u64, u64), two: (u64, u64), value: f64, low: f64, high: f64) {
        let of = |(successes, trials)| Proportion { successes, trials };
        let found = of(one).minus(of(two)).expect("both have trials");
        for (found, expected) in
            [(found.value, value), (found.low, low), (found.high, high)]
        {
            assert!((found - expected).abs() < 5e-5, "{found} is not {expected}");
        }
    }

    #[test]
    fn differences_are_those_of_newcombes_table() {
        // Four of the contrasts of the paper's Table II, by method 10.
        check((56, 70), (48, 80), 0.2, 0.0524, 0.3339);
        check((9, 10), (3, 10), 0.6, 0.1705, 0.8090);
        check((5, 56), (0, 29), 0.0893, -0.0381, 0.1926);
        check((10, 10), (0, 10), 1.0, 0.6075, 1.0);
    }

    #[test]
    fn nothing_is_said_of_nothing() {
        let none = Proportion::default();
        assert_eq!(none.interval(), None);
        assert_eq!(none.minus(Proportion { successes: 1, trials: 2 }), None);
        let all = Proportion { successes: 8, trials: 8 }.interval().expect("trials");
        assert!((all.low - 0.6756).abs() < 1e-3 && all.high == 1.0, "{all:?}");
    }
}
