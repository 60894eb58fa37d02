//! `constraint-idle@1`: the model has a constraint that never binds and is not in the gold.

use std::sync::Arc;

use crate::verifiers::Finding;
use crate::verifiers::modelling::{Beside, Model, ModelVerifier, words};
use crate::{Environment, Sight, Zero};

impl ModelVerifier {
    /// Finds constraints that the gold has not and that can never bind, for no point of the
    /// gold goes beyond them: neutral, as they change nothing. The value is how many there
    /// are; silent where there is none, or where the two models have different columns.
    pub fn idle(environment: Arc<Environment>) -> Self {
        Self::new("constraint-idle@1", Sight::GOLD, find, environment)
    }
}

fn find(_model: &Model<'_>, beside: Option<&Beside>) -> Option<Finding> {
    let beside = beside?;
    let difference = beside.difference.as_ref()?;
    let idle: Vec<_> =
        difference.idle.iter().filter(|limit| limit.row.is_some()).collect();
    let first = words(idle.first()?, &beside.gold);
    let reason = format!("{first} is not in the gold and never binds");
    let finding = Finding::neutral(Zero::Neutral, idle.len(), reason);
    Some(finding.resting_on(vec![beside.gold_evidence.clone()]))
}
