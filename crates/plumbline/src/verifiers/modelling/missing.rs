//! `constraint-missing@1`: the model allows what the gold forbids.

use std::sync::Arc;

use crate::verifiers::Finding;
use crate::verifiers::modelling::{Beside, Model, ModelVerifier, words};
use crate::{Environment, Sight, Zero};

impl ModelVerifier {
    /// Calls a model bad that lacks a constraint of the gold, or has a looser one: where
    /// both have as many columns, solving shows a point of the model beyond a limit of the
    /// gold; otherwise its optimum is better than any point of the gold, or it is unbounded.
    /// The value is how many limits are missing, 1 where they cannot be counted. Probes are
    /// neutral.
    pub fn missing(environment: Arc<Environment>) -> Self {
        Self::new("constraint-missing@1", Sight::GOLD, find, environment)
    }
}

fn find(model: &Model<'_>, beside: Option<&Beside>) -> Option<Finding> {
    let beside = beside?;
    let unbounded = model.status() == "unbounded";
    let better = beside.gain.is_some_and(|gain| gain > 0.0);
    let difference = beside
        .difference
        .as_ref()
        .filter(|difference| difference.apart <= 0.5 || difference.scale.is_some());
    let missing = difference.map_or(&[][..], |difference| &difference.missing);
    // A wrong objective makes an optimum look better; that is not this verifier's to say.
    let rescaled = difference.is_some_and(|d| d.scale != Some(1.0));
    let integrality = difference.is_some_and(|d| d.integrality > 0);
    if missing.is_empty() && (rescaled || !(better || unbounded)) {
        return None;
    }
    let optimum = beside.optimum;
    let mut evidence = vec![beside.gold_evidence.clone()];
    let reason = match missing.first() {
        Some(beyond) => {
            evidence.push(beyond.evidence.clone());
            let limit = words(&beyond.limit, &beside.gold);
            let reached = match beyond.reached.is_finite() {
                true => format!("reaches {}", beyond.reached),
                false => "has no end".to_owned(),
            };
            format!("the gold's constraint {limit} is not held: its left side {reached}")
        }
        None if unbounded => "nothing bounds the objective; the gold does".to_owned(),
        None if integrality => {
            format!("better than the optimum, {optimum}: quantities must be whole")
        }
        None => format!("better than the optimum, {optimum}: a constraint is missing"),
    };
    let count = missing.len().max(1);
    let finding = match model.is_probe {
        true => Finding::neutral(Zero::Neutral, count, format!("a probe: {reason}")),
        false => Finding::bad(count, reason),
    };
    Some(finding.resting_on(evidence))
}
