//! `answer-solved@1`: what is answered is what the solver came to.

use async_trait::async_trait;
use serde_json::Value;

use crate::comparators::{numbers, rounds_to};
use crate::verifiers::{Finding, Path, calls, judge_each};
use crate::{
    Action, Evidence, NodeId, Seen, Sight, Tree, Verdict, Verifier, VerifierError,
    VerifierId, Zero,
};

/// Two objectives are one if they differ by less, relatively.
const SAME: f64 = 1e-4;

/// Looks for the answer to an optimisation problem among the optima that the agent has had
/// computed. The value says where it stands:
///
/// * `objective`, good: an earlier `solve` came to it;
/// * `shown`, neutral: it is a number of some other observation;
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
    let message = Evidence::message(path.node, path.step);
    let mut shown_by = None;
    for (index, (node, step)) in path.earlier.iter().enumerate() {
        for (position, (call, observation)) in calls(step).enumerate() {
            let objective = observation.data().get("objective").and_then(Value::as_f64);
            let objective = objective.filter(|_| call.tool == "solve");
            if let Some(objective) = objective.filter(|objective| is_given(*objective)) {
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
            let reason = format!("step {node} shows it, but not as an optimum");
            Finding::neutral(Zero::Unknown, "shown", reason)
        }
        None => {
            let reason = "nothing that was solved comes to it".to_owned();
            Finding::bad("unsolved", reason)
        }
    };
    Some(finding.resting_on(vec![message]))
}
