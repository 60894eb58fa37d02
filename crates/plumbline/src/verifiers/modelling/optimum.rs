//! `model-optimum@1`: the model comes to the gold's optimum.

use std::sync::Arc;

use crate::verifiers::Finding;
use crate::verifiers::modelling::{Beside, Model, ModelVerifier};
use crate::{Environment, Sight, Zero};

impl ModelVerifier {
    /// Calls a model good that comes to the optimum of the gold's model, which is solved.
    /// Where both have as many columns they must also allow the same points: a model that
    /// hits the optimum by luck is neutral. What misses the optimum is left to `cut-off` and
    /// `missing`. The value is how the two agree: `equivalent`, `reformulated` or
    /// `by luck`.
    pub fn optimum(environment: Arc<Environment>) -> Self {
        Self::new("model-optimum@1", Sight::GOLD, find, environment)
    }
}

fn find(_model: &Model<'_>, beside: Option<&Beside>) -> Option<Finding> {
    let beside = beside?;
    if beside.gain != Some(0.0) {
        return None;
    }
    let optimum = beside.optimum;
    let finding = match &beside.difference {
        _ if beside.is_equivalent() => {
            let reason = format!("the model says what the gold says: {optimum}");
            Finding::good("equivalent", reason)
        }
        // Over other variables nothing but the optimum can be compared.
        None => {
            let reason = format!("the model comes to the gold's optimum, {optimum}");
            Finding::good("reformulated", reason)
        }
        Some(difference) if difference.scale.is_none() && difference.apart > 0.5 => {
            let reason = format!("in another form it comes to the optimum, {optimum}");
            Finding::good("reformulated", reason)
        }
        Some(difference)
            if difference.missing.is_empty() && difference.extra.is_empty() =>
        {
            let reason =
                "it allows what the gold allows, with another objective".to_owned();
            Finding::neutral(Zero::Unknown, "by luck", reason)
        }
        Some(_) => {
            let reason =
                format!("it comes to {optimum}, and allows other points than the gold");
            Finding::neutral(Zero::Unknown, "by luck", reason)
        }
    };
    Some(finding.resting_on(vec![beside.gold_evidence.clone()]))
}
