//! `model-optimum@3`: the model comes to the gold's optimum.

use std::sync::Arc;

use crate::program::Program;
use crate::program::compare::{limits, near};
use crate::verifiers::Finding;
use crate::verifiers::modelling::following::Following;
use crate::verifiers::modelling::{Beside, Difference, Model, ModelVerifier};
use crate::{Environment, Sight, Zero};

impl ModelVerifier {
    /// Calls a model good that comes to the optimum of the gold's model, which is solved.
    /// Where both have as many columns they must also allow the same points: a model that
    /// hits the optimum by luck is neutral.
    ///
    /// Where the two cannot be compared so, numbers of the problem are changed in both, one at
    /// a time: of those that move the gold's optimum at least half must move the model's. With
    /// fewer it is neutral, a hit by luck; and with none, though they stand in it, the model is
    /// `told` its optimum and bad, as is one whose objective is a constant, and one that has a
    /// limit on the objective itself, which the gold has not.
    ///
    /// What misses the optimum is left to `cut-off` and `missing`; a model that says what an
    /// earlier one said is neutral. The value is how the two agree: `equivalent`,
    /// `reformulated`, `by luck`, `told` or `repeated`.
    pub fn optimum(environment: Arc<Environment>) -> Self {
        Self::new("model-optimum@3", Sight::GOLD, find, environment)
    }
}

fn find(model: &Model<'_>, beside: Option<&Beside>) -> Option<Finding> {
    let beside = beside?;
    if beside.gain != Some(0.0) {
        return None;
    }
    let optimum = beside.optimum;
    let by_luck = |reason: String| Finding::neutral(Zero::Unknown, "by luck", reason);
    let finding = match &beside.difference {
        _ if model.is_repeated => {
            let reason = format!("an earlier model says the same, and came to {optimum}");
            Finding::neutral(Zero::Neutral, "repeated", reason)
        }
        _ if beside.is_equivalent() => {
            let reason = format!("the model says what the gold says: {optimum}");
            Finding::good("equivalent", reason)
        }
        _ if is_constant(&model.program) && optimum != 0.0 => {
            let reason =
                format!("its objective is the number {optimum}, whatever is done");
            Finding::bad("told", reason)
        }
        None if is_told(&model.program, optimum) && !is_told(&beside.gold, optimum) => {
            let reason = format!("it is told by a limit that the optimum is {optimum}");
            Finding::bad("told", reason)
        }
        Some(difference) if !difference.is_another_form() => {
            by_luck(same_form(difference, optimum))
        }
        _ => match beside.following.as_ref() {
            Some(Following { moving, shared, followed: 0, .. }) if *shared > 0 => {
                let reason = format!(
                    "its optimum, {optimum}, stays when numbers of the problem change that \
                     stand in it: {moving} of them move the gold's"
                );
                Finding::bad("told", reason)
            }
            Some(Following { moving, followed, .. }) if followed * 2 < *moving => {
                by_luck(format!(
                    "it comes to {optimum}, and of {moving} numbers of the problem that move the \
                 gold's optimum {followed} move its own"
                ))
            }
            _ => {
                let reason =
                    format!("in another form it comes to the optimum, {optimum}");
                Finding::good("reformulated", reason)
            }
        },
    };
    let followed = beside.following.iter().flat_map(|following| &following.evidence);
    let evidence = [&beside.gold_evidence].into_iter().chain(followed);
    Some(finding.resting_on(evidence.cloned().collect()))
}

/// What a model over the gold's variables that is not the gold has from it.
fn same_form(difference: &Difference, optimum: f64) -> String {
    match difference.missing.is_empty() && difference.extra.is_empty() {
        true => "it allows what the gold allows, with another objective".to_owned(),
        false => format!("it comes to {optimum}, and allows other points than the gold"),
    }
}

/// Whether nothing that is decided changes the objective.
fn is_constant(program: &Program) -> bool {
    program.columns.iter().all(|column| column.cost == 0.0)
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
