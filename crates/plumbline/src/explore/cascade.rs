//! Cascade: rollouts only for the steps that the checks leave open.
//!
//! Ours. The checks cost next to nothing and decide many steps; where they abstain, or say that
//! they do not know, completions from before and after the step do: good if the lower 90 % bound
//! of the chance after it is at least epsilon of the chance before, bad if the upper bound is
//! below that, else it stays unknown (GenPRM's relative progress and its epsilon, 0.8, with an
//! interval: see [`from_rollouts`]). Eight completions that all succeed have a lower bound of
//! 0.75, so that a good step stays unknown where success was nearly sure before; 11 and more
//! can tell. The value says which stage decided, how many steps each
//! stage has decided so far, this one included, and what has been spent on the task by then;
//! the last verdict of a task has its totals.

use futures::FutureExt;
use serde_json::json;

use super::{Constants, ExploreError, Explorer, HINDSIGHT, Judged, Method, Place};
use crate::scale::{EPSILON, Reading, Rollouts, from_rollouts};
use crate::{Evidence, StepLabel, Zero};

pub(super) const METHOD: Method = Method {
    name: "cascade",
    version: 1,
    paper: "ours, with the relative progress of GenPRM: Scaling Test-Time Compute of Process Reward Models via Generative Reasoning",
    summary: "checks first, rollouts where they do not decide",
    constants: Constants {
        rollouts: Some(8),
        threshold: Some(EPSILON),
        ..Constants::NONE
    },
    checks: true,
    reference: false,
    saw: HINDSIGHT,
    run: |explorer| explore(explorer).boxed(),
};

async fn explore(explorer: &mut Explorer<'_>) -> Result<(), ExploreError> {
    let settings = explorer.settings();
    let mut decided = Decided::default();
    for trajectory in explorer.trajectories().await? {
        let mut at: Place = None;
        for step in trajectory {
            let mut reading = explorer.checked(step).await?;
            let mut rollouts = None;
            if is_open(reading) {
                let before = explorer.chance(at, settings.rollouts()).await?;
                let after = explorer.chance(Some(step), settings.rollouts()).await?;
                reading = match explorer.is_end(step) {
                    true => of_end(before, after),
                    false => from_rollouts(before, after, settings.threshold()),
                };
                rollouts = Some((before, after));
            }
            let stage = decided.add(reading, rollouts.is_some());
            let spent = explorer.ledger();
            let spent = (spent.sampled.total(), spent.calls.total());
            explorer.judge(step, judged(reading, stage, rollouts, decided, spent));
            at = Some(step);
        }
    }
    Ok(())
}

/// An end needs no interval: how it ended is known. A wrong one after nothing but wrong
/// completions is not what went wrong.
fn of_end(before: Rollouts, end: Rollouts) -> Reading {
    match (end.sampled > 0, end.succeeded > 0, before.succeeded > 0) {
        (false, ..) => Reading::ABSTENTION,
        (_, true, _) => Reading::of(StepLabel::Good),
        (_, false, true) => Reading::of(StepLabel::Bad),
        (_, false, false) => Reading::zero(Zero::Unknown),
    }
}

/// Whether a step is still to be decided.
fn is_open(reading: Reading) -> bool {
    let unknown = (Some(StepLabel::Neutral), Some(Zero::Unknown));
    reading.label.is_none() || (reading.label, reading.zero) == unknown
}

/// How many steps each stage has decided.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Decided {
    checks: u32,
    rollouts: u32,
    none: u32,
}

impl Decided {
    /// Counts a step, and says what the stage is called that decided it.
    fn add(&mut self, reading: Reading, escalated: bool) -> &'static str {
        let (count, stage) = match (is_open(reading), escalated) {
            (true, _) => (&mut self.none, "none"),
            (false, true) => (&mut self.rollouts, "rollouts"),
            (false, false) => (&mut self.checks, "checks"),
        };
        *count += 1;
        stage
    }
}

fn judged(
    reading: Reading,
    stage: &str,
    rollouts: Option<(Rollouts, Rollouts)>,
    decided: Decided,
    (tokens, calls): (u64, u64),
) -> Judged {
    let Decided { checks, rollouts: by_rollouts, none } = decided;
    let reason = match rollouts {
        None => "the checks decide".to_owned(),
        Some((before, after)) => format!(
            "of completions {} of {} are right before the step and {} of {} after it",
            before.succeeded, before.sampled, after.succeeded, after.sampled
        ),
    };
    let evidence = rollouts.map(|(_, Rollouts { sampled, succeeded })| {
        Evidence::Rollouts { sampled, succeeded }
    });
    Judged {
        value: json!({
            "stage": stage,
            "decided": { "checks": checks, "rollouts": by_rollouts, "none": none },
            "spent": { "tokens": tokens, "calls": calls },
        }),
        reading,
        reason,
        evidence: evidence.into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_is_counted_where_it_is_decided() {
        let good = Reading::of(StepLabel::Good);
        let (neutral, unknown) =
            (Reading::zero(Zero::Neutral), Reading::zero(Zero::Unknown));
        assert!(!is_open(good) && !is_open(neutral));
        assert!(is_open(unknown) && is_open(Reading::ABSTENTION));
        let mut decided = Decided::default();
        assert_eq!(decided.add(good, false), "checks");
        assert_eq!(decided.add(neutral, false), "checks");
        let of = |succeeded| Rollouts { sampled: 8, succeeded };
        // The upper bound of 0 of 8 is 0.25; 0.8 of 4 of 8 is 0.4.
        let bad = from_rollouts(of(4), of(0), EPSILON);
        assert_eq!(decided.add(bad, true), "rollouts");
        assert_eq!(decided.add(from_rollouts(of(4), of(4), EPSILON), true), "none");
        assert_eq!(decided, Decided { checks: 2, rollouts: 1, none: 1 });
        let (right, wrong) = (
            Rollouts { sampled: 1, succeeded: 1 },
            Rollouts { sampled: 1, succeeded: 0 },
        );
        assert_eq!(of_end(of(8), right), good);
        assert_eq!(of_end(of(8), wrong).label, Some(StepLabel::Bad));
        assert_eq!(of_end(of(0), wrong), unknown);
        let judged = judged(bad, "rollouts", Some((of(4), of(0))), decided, (100, 7));
        assert_eq!(judged.reading.label, Some(StepLabel::Bad));
        assert_eq!(judged.value["spent"], json!({ "tokens": 100, "calls": 7 }));
    }
}
