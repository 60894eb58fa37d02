//! The scales that published systems label steps on, and the only safe ways between them.
//!
//! Nothing here guesses: what a scale does not say stays unsaid. A judgement that could not
//! be read is an abstention on every scale, never a zero.

use crate::{StepLabel, VerifierId, Zero};

/// A step label read off another scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The label; `None` is an abstention.
    pub label: Option<StepLabel>,
    /// Why it is zero.
    pub zero: Option<Zero>,
    /// The step is wrong in a way that later steps can put right: what DataPRM's 0.5 says and
    /// a ternary label cannot.
    pub repairable: bool,
}

impl Reading {
    pub(crate) const ABSTENTION: Reading =
        Reading { label: None, zero: None, repairable: false };

    pub(crate) fn of(label: StepLabel) -> Self {
        Self { label: Some(label), ..Self::ABSTENTION }
    }

    pub(crate) fn zero(zero: Zero) -> Self {
        Self { zero: Some(zero), ..Self::of(StepLabel::Neutral) }
    }
}

/// From DataPRM's scale: 1 right, 0.5 a slip that can be repaired, 0 fatal; `None` where the
/// judge's answer could not be read. Any other number is no judgement on this scale.
pub fn from_dataprm(value: Option<f64>) -> Reading {
    match value {
        Some(1.0) => Reading::of(StepLabel::Good),
        Some(0.0) => Reading::of(StepLabel::Bad),
        Some(0.5) => Reading { repairable: true, ..Reading::zero(Zero::Neutral) },
        _ => Reading::ABSTENTION,
    }
}

/// From a yes or no: GroundedPRM, SPARE, hard Math-Shepherd, ThinkPRM.
pub fn from_binary(value: Option<bool>) -> Reading {
    match value {
        Some(true) => Reading::of(StepLabel::Good),
        Some(false) => Reading::of(StepLabel::Bad),
        None => Reading::ABSTENTION,
    }
}

/// Completions sampled from one state, and how many came to a right end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rollouts {
    /// How many were sampled.
    pub sampled: u32,
    /// How many succeeded; never more than were sampled.
    pub succeeded: u32,
}

/// From which share of the chance before it a step's chance counts as kept: GenPRM's best.
pub const EPSILON: f64 = 0.8;
/// The normal quantile of a two-sided 90 % interval.
const Z_90: f64 = 1.644_853_626_951_472_2;

impl Rollouts {
    /// Counts them by whether each succeeded.
    pub fn of(successes: impl IntoIterator<Item = bool>) -> Self {
        let mut rollouts = Self { sampled: 0, succeeded: 0 };
        for success in successes {
            rollouts.sampled += 1;
            rollouts.succeeded += u32::from(success);
        }
        rollouts
    }

    /// The share that succeeded, 0 to 1; 0 without samples.
    pub fn share(self) -> f64 {
        f64::from(self.succeeded) / f64::from(self.sampled.max(1))
    }

    /// Whether there are any, and none of them succeeded.
    pub fn are_hopeless(self) -> bool {
        self.sampled > 0 && self.succeeded == 0
    }

    /// The Wilson interval of the chance of success at 90 %; all of 0 to 1 without samples.
    pub fn interval(self) -> (f64, f64) {
        if self.sampled == 0 {
            return (0.0, 1.0);
        }
        let n = f64::from(self.sampled);
        let share = f64::from(self.succeeded) / n;
        let z2 = Z_90 * Z_90;
        let middle = share + z2 / (2.0 * n);
        let half = Z_90 * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt();
        let scale = 1.0 + z2 / n;
        (((middle - half) / scale).max(0.0), ((middle + half) / scale).min(1.0))
    }
}

/// From chances of success before and after a step: good if the lower bound after it is at
/// least `epsilon` of the share before, bad if the upper bound is below that, else unknown.
/// An abstention where either has no samples.
pub fn from_rollouts(before: Rollouts, after: Rollouts, epsilon: f64) -> Reading {
    if before.sampled == 0 || after.sampled == 0 {
        return Reading::ABSTENTION;
    }
    let kept = epsilon * f64::from(before.succeeded) / f64::from(before.sampled);
    let (low, high) = after.interval();
    if high < kept {
        Reading::of(StepLabel::Bad)
    } else if low >= kept && before.succeeded > 0 {
        Reading::of(StepLabel::Good)
    } else {
        Reading::zero(Zero::Unknown)
    }
}

/// From the index of the first wrong step of a trajectory of `steps` steps, or none: those
/// before it are good, it is bad, and those after it are not labelled. They are not bad:
/// that would be the propagation rule, which is a view's to apply.
pub fn from_first_error(first: Option<usize>, steps: usize) -> Vec<Option<StepLabel>> {
    let label = |index: usize| match first {
        Some(first) if index > first => None,
        Some(first) if index == first => Some(StepLabel::Bad),
        _ => Some(StepLabel::Good),
    };
    (0..steps).map(label).collect()
}

/// The index of the first bad step: what AgentProcessBench's first-error accuracy compares.
pub fn to_first_error(labels: &[Option<StepLabel>]) -> Option<usize> {
    labels.iter().position(|label| *label == Some(StepLabel::Bad))
}

/// What becomes of a zero where a trainer knows only yes and no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ZeroPolicy {
    /// The step is left out.
    Drop,
    /// The step counts as right.
    KeepAsPositive,
}

/// To a yes or no; `None` is left out. A zero for an external reason or an unknown one is
/// left out under either policy: it says nothing about the step.
pub fn to_binary(
    label: StepLabel,
    zero: Option<Zero>,
    policy: ZeroPolicy,
) -> Option<bool> {
    match (label, zero, policy) {
        (StepLabel::Good, ..) => Some(true),
        (StepLabel::Bad, ..) => Some(false),
        (StepLabel::Neutral, Some(Zero::External | Zero::Unknown), _) => None,
        (StepLabel::Neutral, _, ZeroPolicy::Drop) => None,
        (StepLabel::Neutral, _, ZeroPolicy::KeepAsPositive) => Some(true),
    }
}

/// To a preference between two siblings, from values of one verifier: which is better,
/// `Less` if the second. `None` if they are equal, or not from the same verifier, version and
/// settings. Whether they are siblings is the caller's to know.
pub fn to_preference(
    first: (&VerifierId, f64),
    second: (&VerifierId, f64),
) -> Option<std::cmp::Ordering> {
    let comparable = first.0 == second.0;
    let ordering = first.1.partial_cmp(&second.1).filter(|o| o.is_ne());
    ordering.filter(|_| comparable)
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use super::*;
    use StepLabel::{Bad, Good, Neutral};

    #[test]
    fn dataprm_is_not_a_rename() {
        for (value, label, zero, repairable) in [
            (Some(1.0), Some(Good), None, false),
            (Some(0.5), Some(Neutral), Some(Zero::Neutral), true),
            (Some(0.0), Some(Bad), None, false),
            (Some(-1.0), None, None, false),
            (Some(0.7), None, None, false),
            (Some(f64::NAN), None, None, false),
            (None, None, None, false),
        ] {
            let expected = Reading { label, zero, repairable };
            assert_eq!(from_dataprm(value), expected, "{value:?}");
        }
    }

    #[test]
    fn a_judgement_that_cannot_be_read_is_an_abstention() {
        assert_eq!(from_binary(Some(true)).label, Some(Good));
        assert_eq!(from_binary(Some(false)).label, Some(Bad));
        assert_eq!(from_binary(None), Reading::ABSTENTION);
    }

    #[test]
    fn rollouts_label_only_where_their_number_allows() {
        let of = |sampled, succeeded| Rollouts { sampled, succeeded };
        for (before, after, expected) in [
            (of(16, 8), of(16, 16), Some(Good)),
            (of(16, 8), of(16, 8), Some(Neutral)),
            (of(16, 8), of(16, 0), Some(Bad)),
            (of(64, 32), of(64, 40), Some(Good)),
            (of(64, 32), of(64, 10), Some(Bad)),
            (of(2, 1), of(2, 2), Some(Good)),
            (of(2, 1), of(2, 1), Some(Neutral)),
            (of(2, 2), of(2, 0), Some(Bad)),
            (of(16, 0), of(16, 3), Some(Neutral)),
            (of(0, 0), of(16, 16), None),
            (of(16, 8), of(0, 0), None),
        ] {
            let found = from_rollouts(before, after, EPSILON);
            assert_eq!(found.label, expected, "{before:?} {after:?}");
            let unknown = (found.label == Some(Neutral)).then_some(Zero::Unknown);
            assert_eq!(found.zero, unknown);
        }
        let (low, high) = of(10, 5).interval();
        assert!(
            (low - 0.2694).abs() < 1e-3 && (high - 0.7306).abs() < 1e-3,
            "{low} {high}"
        );
    }

    #[test]
    fn steps_after_the_first_error_are_not_labelled() {
        let labels = from_first_error(Some(1), 4);
        assert_eq!(labels, [Some(Good), Some(Bad), None, None]);
        assert_eq!(to_first_error(&labels), Some(1));
        assert_eq!(from_first_error(None, 2), [Some(Good), Some(Good)]);
        assert_eq!(to_first_error(&[Some(Good), None, Some(Neutral)]), None);
    }

    #[test]
    fn zeros_are_told_apart_to_the_end() {
        use ZeroPolicy::{Drop, KeepAsPositive};
        for (label, zero, policy, expected) in [
            (Good, None, Drop, Some(true)),
            (Bad, None, KeepAsPositive, Some(false)),
            (Neutral, Some(Zero::Neutral), Drop, None),
            (Neutral, Some(Zero::Neutral), KeepAsPositive, Some(true)),
            (Neutral, Some(Zero::External), KeepAsPositive, None),
            (Neutral, Some(Zero::Unknown), KeepAsPositive, None),
        ] {
            assert_eq!(to_binary(label, zero, policy), expected, "{label} {zero:?}");
        }
    }

    #[test]
    fn preferences_hold_within_one_verifier() {
        let one = VerifierId("a@1".into());
        let two = VerifierId("a@2".into());
        assert_eq!(to_preference((&one, 0.9), (&one, 0.1)), Some(Ordering::Greater));
        assert_eq!(to_preference((&one, 0.1), (&one, 0.1)), None);
        assert_eq!(to_preference((&one, 0.9), (&two, 0.1)), None);
        assert_eq!(to_preference((&one, f64::NAN), (&one, 0.1)), None);
    }
}
