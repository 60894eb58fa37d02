//! `python-grounded@3`: what is claimed was computed from the data.

use std::sync::Arc;

use async_trait::async_trait;

use crate::comparators::{is_telling, named_values, numbers, parse_number, rounds_to};
use crate::verifiers::python::{
    Opened, Probed, Prober, Report, are_known, files, outputs,
};
use crate::verifiers::{Finding, verdict};
use crate::{
    Action, Cost, Environment, Evidence, NodeId, Seen, Sight, Step, Task, Tree, Verdict,
    Verifier, VerifierError, VerifierId, Zero,
};

/// Follows what rests on the files of a task, from cell to cell and into the answer. Bad,
/// with what was found as the value:
///
/// * `no-data`: an answer to a task with files, or a cell that prints one, and no cell so far
///   has opened any of them as it ran;
/// * `hard-coded`: a cell prints or echoes an answer, `@name[..]`, and no part of it rests on
///   what a file holds; or a value of it is written in the code, and was not shown before;
/// * `unsupported`: an answer with a number that is no number shown so far, rounded, or with
///   a name that nothing shown so far holds.
///
/// Neutral: `unused-read`, an answer before which a file of the task was read and then used
/// for nothing but a glance; and `by-hand`, a cell that computes with numbers that it writes
/// down and nothing else, where all of them have been shown before, or that writes down what
/// was shown. Silent on all others.
///
/// What is opened is seen as the cells run again. Dependence is read off the syntax: names,
/// calls, loops and conditions. It is not proof that a value depends on the data, and code
/// that hides where a value comes from is believed.
pub struct PythonGrounded {
    id: VerifierId,
    prober: Prober,
}

impl PythonGrounded {
    /// Runs steps again in this world.
    pub fn new(environment: Arc<Environment>) -> Self {
        let id = VerifierId("python-grounded@3".to_owned());
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
            let answers = matches!(judged.step.proposal.action, Action::Answer { .. });
            let claims = report.claims && report.exception.is_none();
            let has_files = !files(seen.task).is_empty();
            let opened = match (answers || claims) && has_files {
                true => self.prober.opened(&self.id, seen.task, tree, node).await?,
                false => None,
            };
            let span = Evidence::message(node, &judged.step);
            if let Some(Opened { evidence, .. }) = opened.filter(|o| o.files.is_empty()) {
                let reason = "no file of the task was opened before this was claimed";
                let finding = Finding::bad("no-data", reason.to_owned());
                let evidence = evidence.into_iter().chain([span]).collect();
                verdicts.push(verdict(self, node, finding.resting_on(evidence)));
                continue;
            }
            let finding = match &judged.step.proposal.action {
                Action::Answer { text } => {
                    let unused = report.unused.iter().map(String::as_str);
                    let unused =
                        unused.filter(|file| files_of(seen.task, file)).collect();
                    answer(text, &earlier, unused)
                }
                _ => cell(&report, &earlier, seen.task),
            };
            let Some(finding) = finding else { continue };
            let finding = finding.resting_on(vec![evidence, span]);
            let cost = Cost { calls: 1, tokens: 0 };
            verdicts.push(Verdict { cost, ..verdict(self, node, finding) });
        }
        Ok(verdicts)
    }
}

fn files_of(task: &Task, file: &str) -> bool {
    files(task).iter().any(|own| own.rsplit('/').next() == Some(file))
}

fn answer(text: &str, earlier: &[&Step], unused: Vec<&str>) -> Option<Finding> {
    if let Some((name, value)) = not_shown(text, earlier) {
        let reason = format!("@{name}[{value}] is nothing that was shown");
        return Some(Finding::bad("unsupported", reason));
    }
    (!unused.is_empty()).then(|| {
        let reason = format!("read and not used: {}", unused.join(", "));
        Finding::neutral(Zero::Unknown, "unused-read", reason)
    })
}

/// The first value of an answer, `@name[value]`, that no earlier step shows.
fn not_shown(text: &str, earlier: &[&Step]) -> Option<(String, String)> {
    let shown: Vec<&str> = earlier.iter().flat_map(|step| outputs(step)).collect();
    let known: Vec<f64> = shown.iter().flat_map(|text| numbers(text)).collect();
    let mut named = named_values(text).into_iter();
    let unknown = named.find(|(_, value)| {
        if parse_number(value).is_some() {
            !known.iter().any(|number| rounds_to(*number, value))
        } else {
            let value = value.to_lowercase();
            !shown.iter().any(|text| text.to_lowercase().contains(&value))
        }
    });
    unknown.map(|(name, value)| (name, value.to_owned()))
}

fn cell(report: &Report, earlier: &[&Step], task: &Task) -> Option<Finding> {
    if report.exception.is_some() || report.outputs == 0 {
        return None;
    }
    let hard_coded = |reason| Some(Finding::bad("hard-coded", reason));
    let by_hand = |reason: &str| {
        Some(Finding::neutral(Zero::Neutral, "by-hand", reason.to_owned()))
    };
    if !report.written.is_empty() {
        let written = report.written.join(" ");
        let tells = |value: &str| parse_number(value).is_some_and(is_telling);
        return match not_shown(&written, earlier) {
            Some((name, value)) => {
                hard_coded(format!("@{name}[{value}] is written in the code"))
            }
            // What stands everywhere stands in what was shown as well.
            None if report.grounded == 0
                && !named_values(&written).values().any(|v| tells(v)) =>
            {
                hard_coded(format!("{written} is written in the code"))
            }
            None => by_hand("it writes down what was shown before"),
        };
    }
    if report.grounded > 0 {
        return None;
    }
    if report.claims {
        return hard_coded("it gives an answer that rests on no file".to_owned());
    }
    // A calculator.
    (!report.literals.is_empty() && are_known(&report.literals, earlier, task))
        .then(|| by_hand("it computes with numbers written down by hand"))
        .flatten()
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
            let found = answer(text, &steps, unused);
            assert_eq!(found.and_then(|finding| finding.label), expected, "{text}");
        }
    }
}
