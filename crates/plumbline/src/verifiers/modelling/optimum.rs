//! `model-optimum@2`: the model comes to the gold's optimum.

use std::sync::Arc;

use crate::program::Program;
use crate::program::compare::{limits, near};
use crate::verifiers::Finding;
use crate::verifiers::modelling::{Beside, Model, ModelVerifier};
use crate::{Environment, Sight, Zero};

impl ModelVerifier {
    /// Calls a model good that comes to the optimum of the gold's model, which is solved.
    /// Where both have as many columns they must also allow the same points: a model that
    /// hits the optimum by luck is neutral; and where they have not, one that is `told` the
    /// optimum is bad: it has a limit on the objective itself, which the gold has not. What
    /// misses the optimum is left to `cut-off` and `missing`; one that says what an earlier
    /// one said is neutral. The value is how the two agree: `equivalent`, `reformulated`,
    /// `by luck`, `told` or `repeated`.
    pub fn optimum(environment: Arc<Environment>) -> Self {
        Self::new("model-optimum@2", Sight::GOLD, find, environment)
    }
}

fn find(model: &Model<'_>, beside: Option<&Beside>) -> Option<Finding> {
    let beside = beside?;
    if beside.gain != Some(0.0) {
        return None;
    }
    let optimum = beside.optimum;
    let finding = match &beside.difference {
        _ if model.is_repeated => {
            let reason = format!("an earlier model says the same, and came to {optimum}");
            Finding::neutral(Zero::Neutral, "repeated", reason)
        }
        _ if beside.is_equivalent() => {
            let reason = format!("the model says what the gold says: {optimum}");
            Finding::good("equivalent", reason)
        }
        None if is_told(&model.program, optimum) && !is_told(&beside.gold, optimum) => {
            let reason = format!("it is told by a limit that the optimum is {optimum}");
            Finding::bad("told", reason)
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

/// Whether a limit says of the objective itself, or a multiple of it, that it ends there.
fn is_told(program: &Program, optimum: f64) -> bool {
    let costs = (0..).zip(&program.columns).map(|(at, column)| (at, column.cost));
    let costs: Vec<(usize, f64)> = costs.filter(|(_, cost)| *cost != 0.0).collect();
    limits(program).iter().any(|limit| {
        let (Some((_, cost)), Some((_, term))) = (costs.first(), limit.terms.first())
        else {
            return false;
        };
        near(limit.limit * cost / term + program.offset, optimum)
            && limit.terms.len() == costs.len()
            && limit.terms.iter().zip(&costs).all(|((one, term_of), (other, cost_of))| {
                one == other && near(term_of * cost, cost_of * term)
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::{Size, lp};

    #[test]
    fn a_limit_on_the_objective_tells_the_optimum() {
        let told = |text: &str| {
            let text = format!("max {text}\nend");
            is_told(&lp::read(&text, &Size::default()).expect("an LP file"), 12.0)
        };
        assert!(told("z\nst\n z <= 12\n z + s <= 90"));
        assert!(told("3 x + 2 y\nst\n 6 x + 4 y <= 24"));
        assert!(told("3 x\nst\n x + y <= 9\nbounds\n x <= 4"));
        assert!(!told("z\nst\n z <= 90\n z - 3 x <= 0\n x <= 4"));
        assert!(!told("3 x + 2 y\nst\n x + y <= 4\n x - y <= 1"));
    }
}
