//! `answer-solved@1`: what is answered is what the solver came to.

use async_trait::async_trait;
use serde_json::Value;

use crate::comparators::{numbers, rounds_to};
use crate::program::{Size, read};
use crate::verifiers::{Finding, Path, calls, judge_each};
use crate::{
    Action, Evidence, NodeId, Seen, Sight, ToolCall, Tree, Verdict, Verifier,
    VerifierError, VerifierId, Zero,
};

/// Two objectives are one if they differ by less, relatively.
const SAME: f64 = 1e-4;

/// Looks for the answer to an optimisation problem among the optima that the agent has had
/// computed. The value says where it stands:
///
/// * `objective`, good: it is one number, and an earlier `solve` of a model with an objective
///   that depends on something came to it, or to its negative, as when costs are minimised
///   to maximise profit;
/// * `shown`, neutral: it is a number of some other observation, or one of several;
/// * `unsolved`, bad: no number of the answer was shown by anything, so that it is guessed,
///   or reckoned without the solver.
///
/// Answers without a number, and steps that do not answer, get no verdict.
#[derive(Debug)]
pub struct AnswerSolved {
    id: VerifierId,
}

impl Default for AnswerSolved {
    fn default() -> Self {
        Self { id: VerifierId("answer-solved@1".to_owned()) }
    }
}

#[async_trait]
impl Verifier for AnswerSolved {
    fn id(&self) -> &VerifierId {
        &self.id
    }

    fn sight(&self) -> Sight {
        Sight::ONLINE
    }

    async fn judge(
        &self,
        tree: &Tree,
        nodes: &[NodeId],
        seen: Seen<'_>,
    ) -> Result<Vec<Verdict>, VerifierError> {
        Ok(judge_each(self, tree, nodes, seen.task, find))
    }
}

/// Whether a model's objective is a number, whatever its variables are.
fn is_constant(call: &ToolCall) -> bool {
    let program = read(&call.args, &Size::default());
    program.is_ok_and(|program| program.columns.iter().all(|column| column.cost == 0.0))
}

fn find(path: &Path<'_>) -> Option<Finding> {
    let Action::Answer { text } = &path.step.proposal.action else { return None };
    let given = numbers(text);
    if given.is_empty() {
        return None;
    }
    let is_given = |shown: f64| {
        let near = |given: &f64| (given - shown).abs() <= SAME * shown.abs().max(1e-9);
        given.iter().any(near) || rounds_to(shown, text)
    };
    let is_one = given.iter().all(|number| *number == given[0]);
    let message = Evidence::message(path.node, path.step);
    let mut shown_by = None;
    for (index, (node, step)) in path.earlier.iter().enumerate() {
        for (position, (call, observation)) in calls(step).enumerate() {
            let objective = observation.data().get("objective").and_then(Value::as_f64);
            let objective = objective.filter(|_| is_one && call.tool == "solve");
            let objective = objective.filter(|it| is_given(*it) || is_given(-*it));
            let objective = objective.filter(|_| !is_constant(call));
            if let Some(objective) = objective {
                let reason = format!("step {node} comes to {objective}");
                let mut evidence = vec![message];
                evidence.extend(path.execution(index, position));
                return Some(Finding::good("objective", reason).resting_on(evidence));
            }
            if numbers(observation.text()).into_iter().any(is_given) {
                shown_by.get_or_insert(*node);
            }
        }
    }
    let finding = match shown_by {
        Some(node) => {
            let reason = format!("step {node} shows it, but not as its one optimum");
            Finding::neutral(Zero::Unknown, "shown", reason)
        }
        None => {
            let reason = "nothing that was solved comes to it".to_owned();
            Finding::bad("unsolved", reason)
        }
    };
    Some(finding.resting_on(vec![message]))
}
