//! `optimum-cut-off@1`: the model's constraints cut off what the gold allows.

use std::sync::Arc;

use crate::verifiers::Finding;
use crate::verifiers::modelling::{Beside, Model, ModelVerifier, words};
use crate::{Environment, Sight, Zero};

impl ModelVerifier {
    /// Calls a model bad if its optimum is worse than the gold's, or if it has none because
    /// it is infeasible: its constraints cut the gold's optimum off. Where both have as many
    /// columns it names the limit that does, proved by solving for a point that the gold
    /// allows beyond it; such a limit is bad even where the optimum survives. The value is
    /// by how much the optimum is worse, relative to the gold's. Probes are neutral.
    pub fn cut_off(environment: Arc<Environment>) -> Self {
        Self::new("optimum-cut-off@1", Sight::GOLD, find, environment)
    }
}

fn find(model: &Model<'_>, beside: Option<&Beside>) -> Option<Finding> {
    let beside = beside?;
    let infeasible = model.status() == "infeasible";
    let worse = beside.gain.is_some_and(|gain| gain < 0.0);
    let difference = beside.difference.as_ref().filter(|difference| {
        // Over the same variables in other units nothing could be said.
        difference.apart <= 0.5 || difference.scale.is_some()
    });
    let extra = difference.map(|difference| difference.extra.as_slice());
    let culprit = extra.and_then(|extra| extra.first());
    if !infeasible && !worse && culprit.is_none() {
        return None;
    }
    // A wrong objective makes an optimum look worse; that is not this verifier's to say.
    let rescaled = difference.is_some_and(|d| d.scale != Some(1.0) && d.extra.is_empty());
    if rescaled && !infeasible {
        return None;
    }
    let loss = beside.gain.map_or(1.0, |gain| -gain / beside.optimum.abs().max(1e-2));
    let optimum = beside.optimum;
    let mut evidence = vec![beside.gold_evidence.clone()];
    let what = match (infeasible, worse) {
        (true, _) => format!("the gold's optimum, {optimum}, is cut off with all else"),
        (_, true) => format!("the gold's optimum, {optimum}, is cut off"),
        _ => "the optimum survives, other points of the gold do not".to_owned(),
    };
    let reason = match culprit {
        Some(beyond) => {
            evidence.push(beyond.evidence.clone());
            let reached = beyond.reached;
            let limit = words(&beyond.limit, &beside.gold);
            format!("{what}: {limit} forbids what the gold lets reach {reached}")
        }
        None => format!("{what} by the model's constraints"),
    };
    let finding = match model.is_probe {
        true => Finding::neutral(Zero::Neutral, loss, format!("a probe: {reason}")),
        false => Finding::bad(loss, reason),
    };
    Some(finding.resting_on(evidence))
}
