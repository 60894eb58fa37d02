//! MM-PRM: OmegaPRM's search with soft labels.
//!
//! "MM-PRM: Enhancing Multimodal Mathematical Reasoning with Scalable Step-Level Supervision",
//! whose text-only mechanism this is: bisection as in OmegaPRM, with 16 rollouts, 200 searches
//! and L 2000. A question that rollouts always or never solve is left out, as the search does
//! by itself, and a path is cut where MC falls to 0: what comes after it is not judged.

use std::collections::BTreeSet;

use futures::FutureExt;
use serde_json::json;

use super::omegaprm::search;
use super::{Constants, ExploreError, Explorer, HINDSIGHT, Judged, Method, Number};
use crate::scale::{Reading, Rollouts, from_rollouts};
use crate::{Digest, Evidence};

pub(super) const METHOD: Method = Method {
    name: "mm-prm",
    version: 3,
    paper: "MM-PRM: Enhancing Multimodal Mathematical Reasoning with Scalable Step-Level Supervision",
    summary: "OmegaPRM's search, each step by the share of completions that succeed",
    constants: Constants {
        rollouts: Some(16),
        searches: Some(200),
        exploration: Some(0.125),
        ..Constants::NONE
    },
    trajectories: false,
    checks: false,
    likelihoods: None,
    number: Some(Number::Chance("soft")),
    saw: HINDSIGHT,
    run: |explorer| explore(explorer).boxed(),
};

const LENGTH: f64 = 2000.0;

async fn explore(explorer: &mut Explorer<'_>) -> Result<(), ExploreError> {
    let rollouts = explorer.settings().rollouts();
    let question = explorer.chance(None, rollouts).await?;
    let (chances, done) = search(explorer, LENGTH).await;
    // By their states: a step may hang on another one than that which was found hopeless.
    let hopeless = chances.iter().filter(|(_, chance)| chance.are_hopeless());
    let hopeless: BTreeSet<Digest> =
        hopeless.map(|(step, _)| explorer.state(Some(*step))).collect();
    for (step, chance) in &chances {
        let path = explorer.path(*step);
        let mut before = path[..path.len() - 1].iter();
        if !before.any(|step| hopeless.contains(&explorer.state(Some(*step)))) {
            explorer.judge(*step, judged(question, *chance));
        }
    }
    done
}

/// The soft label is the share. As a step label it says whether the question's chance is kept,
/// where the number of rollouts allows to tell.
fn judged(question: Rollouts, chance: Rollouts) -> Judged {
    let Rollouts { sampled, succeeded } = chance;
    let reading: Reading = from_rollouts(question, chance, 1.0);
    Judged {
        value: json!({ "soft": (sampled > 0).then(|| chance.share()) }),
        reading,
        reason: format!("{succeeded} of {sampled} completions from here are right"),
        evidence: vec![Evidence::Rollouts { sampled, succeeded }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StepLabel;

    #[test]
    fn the_label_is_soft_and_the_reading_careful() {
        let question = Rollouts { sampled: 16, succeeded: 8 };
        let half = judged(question, Rollouts { sampled: 16, succeeded: 8 });
        assert_eq!(half.value["soft"], 0.5);
        assert_eq!(half.reading.label, Some(StepLabel::Neutral), "it may be either");
        let none = judged(question, Rollouts { sampled: 16, succeeded: 0 });
        assert_eq!(none.reading.label, Some(StepLabel::Bad));
        let unknown = judged(question, Rollouts { sampled: 0, succeeded: 0 });
        assert_eq!(unknown.value["soft"], json!(null));
    }
}
