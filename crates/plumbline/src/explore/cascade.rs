//! Cascade: the cheap stages first, the next one only for the steps they leave open.
//!
//! Ours. The checks cost next to nothing and decide many steps; where they abstain, or say that
//! they do not know, a model of people's labels is asked (`fusion-online` and its like), then a
//! judge, each if there is one among the verifiers (see [`Effort`]). What none of them decides
//! completions from before and after the step do: good
//! if the lower 90 % bound of the chance after it is at least epsilon of the chance before, bad
//! if the upper bound is below that, else it stays unknown (GenPRM's relative progress and its
//! epsilon, 0.8, with an interval: see [`from_rollouts`]). Eight completions that all succeed
//! have a lower bound of 0.75, so that a good step stays unknown where success was nearly sure
//! before; 11 and more can tell. The value says which stage decided, how many steps each stage
//! has decided so far, this one included, and what has been spent on the task by then; the last
//! verdict of a task has its totals.

use futures::FutureExt;
use serde::Serialize;
use serde_json::json;

use super::{Constants, ExploreError, Explorer, HINDSIGHT, Judged, Method, Place};
use crate::scale::{EPSILON, Reading, Rollouts, from_rollouts};
use crate::{Effort, Evidence, NodeId, StepLabel, Zero};

pub(super) const METHOD: Method = Method {
    name: "cascade",
    version: 2,
    paper: "ours, with the relative progress of GenPRM: Scaling Test-Time Compute of Process Reward Models via Generative Reasoning",
    summary: "checks first, then fusion and judge, rollouts where none decides",
    constants: Constants {
        rollouts: Some(8),
        threshold: Some(EPSILON),
        ..Constants::NONE
    },
    trajectories: true,
    checks: true,
    likelihoods: None,
    number: None,
    saw: HINDSIGHT,
    run: |explorer| explore(explorer).boxed(),
};

async fn explore(explorer: &mut Explorer<'_>) -> Result<(), ExploreError> {
    let settings = explorer.settings();
    let mut decided = Decided::default();
    for trajectory in explorer.trajectories().await? {
        let mut at: Place = None;
        for step in trajectory {
            let (mut stage, mut reading) = told(explorer, step).await?;
            let mut rollouts = None;
            if is_open(reading) {
                let before = explorer.chance(at, settings.rollouts()).await?;
                let after = explorer.chance(Some(step), settings.rollouts()).await?;
                reading = match explorer.is_end(step) {
                    true => of_end(before, after),
                    false => from_rollouts(before, after, settings.threshold()),
                };
                rollouts = Some((before, after));
                stage = if is_open(reading) { Stage::None } else { Stage::Rollouts };
            }
            decided.add(stage);
            let spent = explorer.ledger();
            let spent = (spent.sampled.total(), spent.calls.total());
            explorer.judge(step, judged(reading, stage, rollouts, decided, spent));
            at = Some(step);
        }
    }
    Ok(())
}

/// What the first of the verifiers' stages says that decides; what the last one says if none
/// does.
async fn told(
    explorer: &mut Explorer<'_>,
    step: NodeId,
) -> Result<(Stage, Reading), ExploreError> {
    let mut reading = Reading::ABSTENTION;
    for (stage, effort) in [
        (Stage::Checks, Effort::Check),
        (Stage::Fusion, Effort::Estimate),
        (Stage::Judge, Effort::Opinion),
    ] {
        reading = explorer.checked_by(effort, step).await?;
        if !is_open(reading) {
            return Ok((stage, reading));
        }
    }
    Ok((Stage::None, reading))
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

/// What decides a step, the cheapest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Stage {
    Checks,
    Fusion,
    Judge,
    Rollouts,
    None,
}

/// How many steps each stage has decided.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
struct Decided {
    checks: u32,
    fusion: u32,
    judge: u32,
    rollouts: u32,
    none: u32,
}

impl Decided {
    fn add(&mut self, stage: Stage) {
        *match stage {
            Stage::Checks => &mut self.checks,
            Stage::Fusion => &mut self.fusion,
            Stage::Judge => &mut self.judge,
            Stage::Rollouts => &mut self.rollouts,
            Stage::None => &mut self.none,
        } += 1;
    }
}

fn judged(
    reading: Reading,
    stage: Stage,
    rollouts: Option<(Rollouts, Rollouts)>,
    decided: Decided,
    (tokens, calls): (u64, u64),
) -> Judged {
    let reason = match (rollouts, stage) {
        (Some((before, after)), _) => format!(
            "of completions {} of {} are right before the step and {} of {} after it",
            before.succeeded, before.sampled, after.succeeded, after.sampled
        ),
        (None, Stage::Fusion) => "the checks do not decide, and fusion does".to_owned(),
        (None, Stage::Judge) => {
            "neither checks nor fusion decide; a judge does".to_owned()
        }
        (None, _) => "the checks decide".to_owned(),
    };
    let evidence = rollouts.map(|(_, Rollouts { sampled, succeeded })| {
        Evidence::Rollouts { sampled, succeeded }
    });
    Judged {
        value: json!({
            "stage": stage,
            "decided": decided,
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
        let of = |succeeded| Rollouts { sampled: 8, succeeded };
        // The upper bound of 0 of 8 is 0.25; 0.8 of 4 of 8 is 0.4.
        let bad = from_rollouts(of(4), of(0), EPSILON);
        assert!(!is_open(bad) && is_open(from_rollouts(of(4), of(4), EPSILON)));
        let mut decided = Decided::default();
        use Stage::{Checks, Fusion, Judge, None, Rollouts as Rolled};
        for stage in [Checks, Checks, Fusion, Judge, Rolled, None] {
            decided.add(stage);
        }
        let counts =
            json!({ "checks": 2, "fusion": 1, "judge": 1, "rollouts": 1, "none": 1 });
        assert_eq!(json!(decided), counts);
        let (right, wrong) = (
            Rollouts { sampled: 1, succeeded: 1 },
            Rollouts { sampled: 1, succeeded: 0 },
        );
        assert_eq!(of_end(of(8), right), good);
        assert_eq!(of_end(of(8), wrong).label, Some(StepLabel::Bad));
        assert_eq!(of_end(of(0), wrong), unknown);
        let judged = judged(bad, Rolled, Some((of(4), of(0))), decided, (100, 7));
        assert_eq!(judged.reading.label, Some(StepLabel::Bad));
        assert_eq!(judged.value["spent"], json!({ "tokens": 100, "calls": 7 }));
    }
}
