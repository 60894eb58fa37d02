//! GenPRM: a step by how much of the chance before it is left after it.
//!
//! "GenPRM: Scaling Test-Time Compute of Process Reward Models via Generative Reasoning",
//! section 3.1, relative progress estimation: `P_t = MC(s_t, a_t) / MC(s_t)`, and the step is
//! good if that is at least epsilon, 0.8. The chance before the first step is that of the
//! question. After a chance of 0 the rest are 0, without a rollout. Rollouts are 32 for easy
//! questions, twice that where the chance is below 0.9, four times where it is below 0.1.
//!
//! The share of few rollouts is a rough estimate, and a ratio of two such shares a rougher
//! one: the value also says what holds at 90 % by the intervals of both.

use futures::FutureExt;
use serde_json::json;

use super::{
    Constants, ExploreError, Explorer, HINDSIGHT, Judged, Method, Number, Place,
};
use crate::Evidence;
use crate::scale::{Rollouts, from_binary, from_rollouts};

pub(super) const METHOD: Method = Method {
    name: "genprm",
    version: 3,
    paper: "GenPRM: Scaling Test-Time Compute of Process Reward Models via Generative Reasoning",
    summary: "each step by the share of the chance before it that is left after it",
    constants: Constants { rollouts: Some(32), threshold: Some(0.8), ..Constants::NONE },
    trajectories: true,
    checks: false,
    likelihoods: None,
    number: Some(Number::Reward("progress")),
    saw: HINDSIGHT,
    run: |explorer| explore(explorer).boxed(),
};

async fn explore(explorer: &mut Explorer<'_>) -> Result<(), ExploreError> {
    let base = explorer.settings().rollouts();
    let epsilon = explorer.settings().threshold();
    let question = explorer.chance(None, base).await?;
    let rollouts = base * effort(question);
    let question = explorer.chance(None, rollouts).await?;
    for trajectory in explorer.trajectories().await? {
        let mut before = question;
        for step in trajectory {
            let after = match before.are_hopeless() {
                // What is sampled after that would say nothing more.
                true => before,
                false => explorer.chance(Place::Some(step), rollouts).await?,
            };
            explorer.judge(step, judged(before, after, epsilon));
            before = after;
        }
    }
    Ok(())
}

/// How many times the rollouts of an easy question a question is worth.
fn effort(question: Rollouts) -> u32 {
    let share = question.share();
    if share < 0.1 {
        4
    } else if share < 0.9 {
        2
    } else {
        1
    }
}

fn judged(before: Rollouts, after: Rollouts, epsilon: f64) -> Judged {
    let Rollouts { sampled, succeeded } = after;
    let progress = match before.are_hopeless() {
        true => Some(0.0),
        false if sampled == 0 || before.sampled == 0 => None,
        false => Some(after.share() / before.share()),
    };
    let good = progress.map(|progress| progress >= epsilon && progress > 0.0);
    let mc = (sampled > 0).then(|| after.share());
    let at_90 = from_rollouts(before, after, epsilon).label;
    let reason = match progress {
        Some(progress) if !before.are_hopeless() => format!(
            "{:.0}% of completions are right before the step, {:.0}% after it: {progress:.2}",
            100.0 * before.share(),
            100.0 * after.share()
        ),
        Some(_) => "no completion was right before the step".to_owned(),
        None => "no completion came to an end".to_owned(),
    };
    Judged {
        value: json!({ "progress": progress, "mc": mc, "at_90": at_90 }),
        reading: from_binary(good),
        reason,
        evidence: vec![Evidence::Rollouts { sampled, succeeded }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StepLabel::{Bad, Good};

    #[test]
    fn progress_is_relative() {
        let of = |sampled, succeeded| Rollouts { sampled, succeeded };
        for (before, after, progress, label) in [
            (of(32, 16), of(32, 13), Some(0.8125), Some(Good)),
            (of(32, 16), of(32, 12), Some(0.75), Some(Bad)),
            (of(32, 16), of(32, 32), Some(2.0), Some(Good)),
            (of(32, 0), of(32, 0), Some(0.0), Some(Bad)),
            (of(0, 0), of(0, 0), None, None),
            (of(0, 0), of(32, 16), None, None),
            (of(32, 16), of(0, 0), None, None),
        ] {
            let judged = judged(before, after, 0.8);
            assert_eq!(judged.value["progress"], json!(progress));
            assert_eq!(judged.reading.label, label, "{before:?} {after:?}");
        }
    }

    #[test]
    fn hard_questions_are_worth_more_rollouts() {
        let of = |succeeded| effort(Rollouts { sampled: 32, succeeded });
        assert_eq!([of(0), of(3), of(4), of(28), of(29)], [4, 4, 2, 2, 1]);
    }
}
