//! Labels that came along and are not by people. They become verdicts of a verifier called
//! `imported`, which claims no more than the source says about what its labeller saw.

use serde_json::{Value, json};

use crate::{Cost, NodeId, Sight, StepLabel, Verdict, VerifierId, Zero};

/// Who gave them.
const VERIFIER: &str = "imported@1";

/// What a source says of a step. `by` is who said so, `{"verifier", "saw"}` each: what they
/// saw is all there is to see, unless that says otherwise.
pub(super) fn verdict(
    node: NodeId,
    (label, zero): (StepLabel, Option<Zero>),
    by: &Value,
    reason: &str,
) -> Verdict {
    let by = by.as_array().filter(|by| !by.is_empty());
    let sights: Option<Vec<Sight>> = by.and_then(|by| {
        let sight = |one: &Value| serde_json::from_value(one.get("saw")?.clone()).ok();
        by.iter().map(sight).collect()
    });
    let all = Sight { gold: true, later: true, outcome: true };
    let either = |one: Sight, two: &Sight| Sight {
        gold: one.gold || two.gold,
        later: one.later || two.later,
        outcome: one.outcome || two.outcome,
    };
    let saw = sights.map_or(all, |of| of.iter().fold(Sight::ONLINE, either));
    Verdict {
        node,
        verifier: VerifierId(VERIFIER.to_owned()),
        value: json!(label.to_number()),
        label: Some(label),
        zero: zero.filter(|_| label == StepLabel::Neutral),
        confidence: None,
        reason: if reason.is_empty() { "so labelled in the source" } else { reason }
            .to_owned(),
        evidence: vec![],
        saw,
        cost: Cost::default(),
    }
}
