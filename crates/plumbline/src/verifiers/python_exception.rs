//! `python-exception@1`: a cell that ends in an exception, and what is made of it.

use std::collections::BTreeSet;

use async_trait::async_trait;
use serde_json::Value;

use crate::verifiers::python::{TOOL, cells, outputs};
use crate::verifiers::{Finding, Path, calls, judge_each};
use crate::{
    Fault, NodeId, Observation, Seen, Sight, Step, Tree, Verdict, Verifier,
    VerifierError, VerifierId, Zero,
};

/// Exceptions that tell nothing of the data: the code itself is wrong.
const CARELESS: [&str; 5] =
    ["SyntaxError", "IndentationError", "TabError", "NameError", "UnboundLocalError"];
/// Exceptions about a name that the data does not have.
const NAMES: [&str; 2] = ["KeyError", "FileNotFoundError"];
/// Share of words that a corrected cell has in common with the one that failed.
const CORRECTION: f64 = 0.4;

/// Judges exceptions that a cell does not catch, after the manner of DataPRM: a probe that
/// fails and teaches is not held against an agent, what it could have known is. The value
/// says which it was.
///
/// * `repeated`, bad: the same exception with the same message as earlier on the path;
/// * `careless`, bad: a syntax error, or a name that was never assigned;
/// * `known`, bad: a column or file that does not exist, although what had been shown by then
///   names others;
/// * `teaching`, neutral: any other exception;
/// * `limit`, neutral, where a limit was reached for the first time, and `trap`, bad, where
///   the interpreter died;
/// * `corrected`, good: the cell of the step before failed, and this one, much like it, does
///   not.
///
/// Silent on cells that succeed, otherwise.
pub struct PythonException {
    id: VerifierId,
}

impl Default for PythonException {
    fn default() -> Self {
        Self { id: VerifierId("python-exception@1".to_owned()) }
    }
}

#[async_trait]
impl Verifier for PythonException {
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
        Ok(judge_each(self, tree, nodes, seen.task, |path| {
            Some(find(path)?.resting_on(path.executions()))
        }))
    }
}

/// How a cell failed.
#[derive(PartialEq)]
struct Failure<'s> {
    kind: &'s str,
    message: &'s str,
}

fn failure(step: &Step) -> Option<Failure<'_>> {
    let ours = calls(step).filter(|(call, _)| call.tool == TOOL);
    ours.map(|(_, observation)| observation).find_map(|observation| match observation {
        Observation::Fault { fault: Fault::Limit, message } => {
            Some(Failure { kind: "limit", message })
        }
        Observation::Fault { fault: Fault::Trap, message } => {
            Some(Failure { kind: "trap", message })
        }
        Observation::Fault { .. } => None,
        Observation::Output { data, .. } => {
            let exception =
                data.get("exception").filter(|exception| exception.is_object())?;
            let field = |name| exception.get(name).and_then(Value::as_str).unwrap_or("");
            Some(Failure { kind: field("type"), message: field("message") })
        }
    })
}

fn find(path: &Path<'_>) -> Option<Finding> {
    let earlier = || path.earlier.iter().map(|(_, step)| *step);
    let Some(failed) = failure(path.step) else {
        let before = path.earlier.last().map(|(_, step)| *step)?;
        let failed = failure(before)?;
        let alike = similarity(before, path.step);
        let reason = format!("the {} of the step before is put right", failed.kind);
        return (alike >= CORRECTION && cells(path.step).next().is_some())
            .then(|| Finding::good("corrected", reason));
    };
    let Failure { kind, message } = &failed;
    let said = match message.lines().next() {
        Some(first) => format!("{kind}: {}", first.chars().take(120).collect::<String>()),
        None => (*kind).to_owned(),
    };
    if earlier().filter_map(failure).any(|other| other == failed) {
        return Some(Finding::bad("repeated", format!("once more, {said}")));
    }
    if *kind == "trap" {
        return Some(Finding::bad("trap", said));
    }
    if CARELESS.contains(kind) && !is_aftermath(message, earlier()) {
        return Some(Finding::bad("careless", said));
    }
    let shown: Vec<&str> = earlier().flat_map(outputs).collect();
    if NAMES.contains(kind) && !shown.is_empty() {
        let name = message.trim_matches(['\'', '"']);
        let name = name.rsplit('/').next().unwrap_or(name);
        if !shown.iter().any(|text| text.contains(name)) {
            let reason = format!("{said}: what was shown names others");
            return Some(Finding::bad("known", reason));
        }
    }
    let value = if *kind == "limit" { "limit" } else { "teaching" };
    Some(Finding::neutral(Zero::Neutral, value, said))
}

/// Whether a name is missing because the cell that would have assigned it failed.
fn is_aftermath<'s>(message: &str, mut earlier: impl Iterator<Item = &'s Step>) -> bool {
    let name = message.split('\'').nth(1).unwrap_or("");
    !name.is_empty()
        && earlier.any(|step| {
            let assigns = |code: &str| {
                let starts =
                    code.lines().filter(|line| line.trim_start().starts_with(name));
                starts.into_iter().any(|line| line.contains('='))
            };
            failure(step).is_some() && cells(step).any(assigns)
        })
}

/// The share of words that the cells of two steps have in common.
fn similarity(one: &Step, two: &Step) -> f64 {
    let words = |step: &Step| -> BTreeSet<String> {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let words = cells(step).flat_map(|code| code.split(move |c| !is_word(c)));
        words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
    };
    let (one, two) = (words(one), words(two));
    let union = one.union(&two).count();
    if union == 0 { 0.0 } else { one.intersection(&two).count() as f64 / union as f64 }
}
