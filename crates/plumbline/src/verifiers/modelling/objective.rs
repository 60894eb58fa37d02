//! `objective-matches@1`: the model's objective is the gold's.

use std::sync::Arc;

use crate::verifiers::Finding;
use crate::verifiers::modelling::{Beside, Model, ModelVerifier};
use crate::{Environment, Sight, Zero};

impl ModelVerifier {
    /// Calls an objective bad that weighs a column otherwise than the gold, or goes the
    /// wrong way, over columns that stand for the same things: where both have as many, and
    /// most of their limits agree. An objective in other units (every weight by one factor)
    /// is neutral, and so is a probe's. The value is how many columns are weighed otherwise.
    /// Silent where the objectives agree or cannot be compared.
    pub fn objective(environment: Arc<Environment>) -> Self {
        Self::new("objective-matches@1", Sight::GOLD, find, environment)
    }
}

fn find(model: &Model<'_>, beside: Option<&Beside>) -> Option<Finding> {
    let beside = beside?;
    let difference = beside.difference.as_ref().filter(|d| d.apart <= 0.5)?;
    let gold = &beside.gold;
    let count = difference.costs.len();
    let finding = match difference.scale {
        Some(1.0) => return None,
        // The negated objective with the opposite sense says the same.
        Some(-1.0) => return None,
        Some(factor) => {
            let reason =
                format!("the objective is {factor} times the gold's: other units");
            Finding::neutral(Zero::Unknown, count, reason)
        }
        None => {
            let turned = model.program.sense != gold.sense;
            let reason = match difference.costs.first() {
                _ if turned => format!("the objective should {}", gold.sense.as_str()),
                Some((name, ours, theirs)) => {
                    format!("the objective weighs {name} with {ours}, not with {theirs}")
                }
                None => "the objective's constant is not the gold's".to_owned(),
            };
            match model.is_probe {
                true => {
                    Finding::neutral(Zero::Neutral, count, format!("a probe: {reason}"))
                }
                false => Finding::bad(count.max(1), reason),
            }
        }
    };
    Some(finding.resting_on(vec![beside.gold_evidence.clone()]))
}
