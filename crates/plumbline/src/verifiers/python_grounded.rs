//! `python-grounded@2`: what is claimed was computed from the data.

use std::sync::Arc;

use async_trait::async_trait;

use crate::comparators::{named_values, numbers, parse_number, rounds_to};
use crate::verifiers::python::{Probed, Prober, outputs};
use crate::verifiers::{Finding, verdict};
use crate::{
    Action, Cost, Environment, Evidence, NodeId, Seen, Sight, Step, Task, Tree, Verdict,
    Verifier, VerifierError, VerifierId, Zero,
};

/// Follows what rests on the files of a task, from cell to cell and into the answer. Bad,
/// with what was found as the value:
///
/// * `hard-coded`: a cell prints or echoes an answer, `@name[..]`, and no part of it rests on
///   what a file holds;
/// * `no-data`: an answer to a task with files, none of which was read;
/// * `unsupported`: an answer with a number that is no number shown so far, rounded, or with
///   a name that nothing shown so far holds.
///
/// Neutral: `unused-read`, an answer before which a file of the task was read and then used
/// for nothing but a glance; and `by-hand`, a cell that computes with numbers that it writes
/// down and nothing else, where all of them have been shown before. Silent on all others.
///
/// Dependence is read off the syntax: names, calls, loops and conditions. It is not proof
/// that a value depends on the data, but that it cannot is certain where it says so.
pub struct PythonGrounded {
    id: VerifierId,
    prober: Prober,
}

impl PythonGrounded {
    /// Runs steps again in this world.
    pub fn new(environment: Arc<Environment>) -> Self {
        let id = VerifierId("python-grounded@2".to_owned());
        Self { id, prober: Prober::new(environment) }
    }
}

#[async_trait]
impl Verifier for PythonGrounded {
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
        let mut verdicts = Vec::new();
        for &node in nodes {
            let path = tree.path(node);
            let Some(((_, judged), earlier)) = path.split_last() else { continue };
            let probed = self.prober.probe(&self.id, seen.task, tree, node).await?;
            let Some(Probed { evidence, report }) = probed else { continue };
            let earlier: Vec<&Step> =
                earlier.iter().map(|(_, node)| &node.step).collect();
            let finding = match &judged.step.proposal.action {
                Action::Answer { text } => {
                    let files = !files(seen.task).is_empty();
                    let unused = report.unused.iter().map(String::as_str);
                    let unused =
                        unused.filter(|file| files_of(seen.task, file)).collect();
                    answer(text, &earlier, files && !report.data, unused)
                }
                _ if report.exception.is_some() => None,
                _ if report.outputs == 0 || report.grounded > 0 => None,
                _ if report.claims => {
                    let reason = "it gives an answer that rests on no file".to_owned();
                    Some(Finding::bad("hard-coded", reason))
                }
                _ => by_hand(&report.literals, &earlier, seen.task),
            };
            let Some(finding) = finding else { continue };
            let span = Evidence::message(node, &judged.step);
            let finding = finding.resting_on(vec![evidence, span]);
            let cost = Cost { calls: 1, tokens: 0 };
            verdicts.push(Verdict { cost, ..verdict(self, node, finding) });
        }
        Ok(verdicts)
    }
}

/// The files of a task.
fn files(task: &Task) -> Vec<&str> {
    let files = task.inputs.get("files").and_then(serde_json::Value::as_array);
    files.into_iter().flatten().filter_map(serde_json::Value::as_str).collect()
}

fn files_of(task: &Task, file: &str) -> bool {
    files(task).iter().any(|own| own.rsplit('/').next() == Some(file))
}

fn answer(
    text: &str,
    earlier: &[&Step],
    without_data: bool,
    unused: Vec<&str>,
) -> Option<Finding> {
    if without_data {
        let reason = "no file of the task was read before it was answered".to_owned();
        return Some(Finding::bad("no-data", reason));
    }
    let shown: Vec<&str> = earlier.iter().flat_map(|step| outputs(step)).collect();
    let known: Vec<f64> = shown.iter().flat_map(|text| numbers(text)).collect();
    let unsupported = named_values(text).into_iter().find(|(_, value)| {
        if parse_number(value).is_some() {
            !known.iter().any(|number| rounds_to(*number, value))
        } else {
            let value = value.to_lowercase();
            !shown.iter().any(|text| text.to_lowercase().contains(&value))
        }
    });
    if let Some((name, value)) = unsupported {
        let reason = format!("@{name}[{value}] is nothing that was shown");
        return Some(Finding::bad("unsupported", reason));
    }
    (!unused.is_empty()).then(|| {
        let reason = format!("read and not used: {}", unused.join(", "));
        Finding::neutral(Zero::Unknown, "unused-read", reason)
    })
}

/// A cell that is a calculator.
fn by_hand(literals: &[String], earlier: &[&Step], task: &Task) -> Option<Finding> {
    if literals.is_empty() {
        return None;
    }
    let shown =
        earlier.iter().flat_map(|step| outputs(step)).chain([task.prompt.as_str()]);
    let known: Vec<f64> = shown.flat_map(numbers).collect();
    let all_known = literals.iter().all(|literal| {
        numbers(literal).iter().all(|number| known.iter().any(|k| k == number))
    });
    all_known.then(|| {
        let reason = "it computes with numbers written down by hand".to_owned();
        Finding::neutral(Zero::Neutral, "by-hand", reason)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Digest, Observation, Proposal, StepLabel, ToolCall};

    fn printing(text: &str) -> Step {
        let args = json!({ "code": "print(x)" });
        let call = ToolCall { id: "call_0".into(), tool: "python".into(), args };
        let action = Action::Calls { calls: vec![call] };
        let proposal =
            Proposal { text: "m".into(), action, seed: 0, tokens: None, elided: vec![] };
        let data = json!({ "stdout": text, "echo": null });
        let observations = vec![Observation::Output { text: text.into(), data }];
        Step { proposal, observations, scratch: Digest::of(b"") }
    }

    #[test]
    fn an_answer_rests_on_what_was_shown() {
        let steps = [printing("mean 12.3456\nport Crail  1,250")];
        let steps: Vec<&Step> = steps.iter().collect();
        for (text, unused, expected) in [
            ("@mean[12.35] @port[crail] @count[1250]", vec![], None),
            ("@mean[12.35]", vec!["a.csv"], Some(StepLabel::Neutral)),
            ("@mean[12.36]", vec![], Some(StepLabel::Bad)),
            ("@port[Aldmouth]", vec![], Some(StepLabel::Bad)),
        ] {
            let found = answer(text, &steps, false, unused);
            assert_eq!(found.and_then(|finding| finding.label), expected, "{text}");
        }
        let found = answer("@mean[12.35]", &steps, true, vec![]);
        assert_eq!(found.and_then(|finding| finding.label), Some(StepLabel::Bad));
    }
}
