//! SPARE: a trajectory held against a reference, in one pass.
//!
//! "SPARE: Single-Pass Annotation with Reference-Guided Evaluation for Automatic Process
//! Supervision and Reward Modelling". Each step is aligned with one or more steps of a reference
//! solution and is right if it is; the last one's grade is overridden by whether the answer is
//! right. There a model aligns; here the record does, so that an alignment can be looked up but
//! a step that does the same in other words is missed. The reference is the gold's `solution`,
//! its supporting documents and its answer; a step is aligned with a call that it makes, tool
//! and arguments alike (texts in them as answers are compared), with a document that it brings,
//! and with the answer if it gives it.
//!
//! A step has no grade if the reference has nothing of its kind: no calls where it calls, no
//! documents where it brings some. It is then graded by the outcome; `as_published` grades it
//! wrong, the stricter of the two readings in the published code.

use futures::FutureExt;
use serde_json::{Value, json};

use super::{Constants, ExploreError, Explorer, HINDSIGHT, Judged, Method};
use crate::scale::from_binary;
use crate::{Gold, Step, normalise_answer, outcome, text};

pub(super) const METHOD: Method = Method {
    name: "spare",
    version: 1,
    paper: "SPARE: Single-Pass Annotation with Reference-Guided Evaluation for Automatic Process Supervision and Reward Modelling",
    summary: "steps aligned with calls, documents and answer of the gold",
    constants: Constants { as_published: Some(false), ..Constants::NONE },
    trajectories: true,
    checks: false,
    likelihoods: None,
    number: None,
    saw: HINDSIGHT,
    run: |explorer| explore(explorer).boxed(),
};

async fn explore(explorer: &mut Explorer<'_>) -> Result<(), ExploreError> {
    let settings = explorer.settings();
    let reference = reference(explorer.gold());
    for rollout in explorer.samples().await? {
        for step in explorer.path(rollout.leaf) {
            let node = explorer.tree().get(step).expect("it is on a path");
            let alignment = align(&node.step, &reference);
            let judged = if step == rollout.leaf {
                overridden(alignment, rollout.success)
            } else {
                let missing = !settings.as_published() && rollout.success;
                judged(&reference, alignment, missing)
            };
            explorer.judge(step, judged);
        }
    }
    Ok(())
}

/// One step of the reference.
#[derive(Debug, Clone, PartialEq)]
enum Reference {
    Call { tool: String, args: Value },
    Document(String),
}

impl Reference {
    fn told(&self) -> String {
        match self {
            Reference::Call { tool, .. } => format!("a call of {tool}"),
            Reference::Document(id) => format!("document {id}"),
        }
    }
}

/// The reference before its answer. A `solution` that is none is left out.
fn reference(gold: &Gold) -> Vec<Reference> {
    let calls = gold.solution().unwrap_or_default();
    let calls = calls.into_iter().map(|(tool, args)| Reference::Call {
        tool: tool.to_owned(),
        args: normalised(&args),
    });
    let documents = gold.supporting().into_iter();
    calls.chain(documents.map(|id| Reference::Document(id.to_owned()))).collect()
}

/// Arguments with their texts as answers are compared.
fn normalised(args: &Value) -> Value {
    match args {
        Value::String(text) => normalise_answer(text).into(),
        Value::Array(values) => values.iter().map(normalised).collect(),
        Value::Object(fields) => {
            let fields = fields.iter();
            fields.map(|(name, value)| (name.clone(), normalised(value))).collect()
        }
        other => other.clone(),
    }
}

/// Which steps of the reference a step is aligned with, by their indices; `None` if the
/// reference has nothing of its kind.
fn align(step: &Step, reference: &[Reference]) -> Option<Vec<usize>> {
    let calls = step.proposal.action.calls();
    let calls: Vec<(&str, Value)> =
        calls.iter().map(|call| (call.tool.as_str(), normalised(&call.args))).collect();
    let documents: Vec<&str> =
        step.observations.iter().flat_map(outcome::document_ids).collect();
    let lists = step.observations.iter().any(text::lists_documents);
    let is_gradable = reference.iter().any(|reference| match reference {
        Reference::Call { .. } => !calls.is_empty(),
        Reference::Document(_) => lists,
    });
    // What says nothing that could be aligned is wrong whatever the reference.
    if !is_gradable && !calls.is_empty() {
        return None;
    }
    let is_aligned = |reference: &Reference| match reference {
        Reference::Call { tool, args } => {
            calls.iter().any(|(own, made)| own == tool && made == args)
        }
        Reference::Document(id) => documents.contains(&id.as_str()),
    };
    let aligned = reference.iter().enumerate().filter(|(_, it)| is_aligned(it));
    Some(aligned.map(|(index, _)| index).collect())
}

fn judged(
    reference: &[Reference],
    alignment: Option<Vec<usize>>,
    missing: bool,
) -> Judged {
    let right = alignment.as_ref().map_or(missing, |aligned| !aligned.is_empty());
    let reason = match alignment.as_deref() {
        None => "the reference has nothing of its kind".to_owned(),
        Some([]) => "it is aligned with no step of the reference".to_owned(),
        Some(aligned) => {
            let told: Vec<String> =
                aligned.iter().map(|index| reference[*index].told()).collect();
            format!("it is aligned with {}", told.join(", "))
        }
    };
    Judged {
        value: json!({ "right": right, "aligned": alignment }),
        reading: from_binary(Some(right)),
        reason,
        evidence: vec![],
    }
}

/// The last step: right exactly if the answer is.
fn overridden(alignment: Option<Vec<usize>>, right: bool) -> Judged {
    let is = if right { "right" } else { "not right" };
    Judged {
        value: json!({ "right": right, "aligned": alignment, "answer": right }),
        reading: from_binary(Some(right)),
        reason: format!("the trajectory ends here, and its answer is {is}"),
        evidence: vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Action, Digest, Observation, Proposal, ToolCall};

    fn step(tool: &str, args: Value, documents: Option<&[&str]>) -> Step {
        let call = ToolCall { id: "call_0".into(), tool: tool.into(), args };
        let action = Action::Calls { calls: vec![call] };
        let (text, elided) = (String::new(), vec![]);
        let proposal = Proposal { text, action, seed: 0, tokens: None, elided };
        let documents = documents.map(|ids| {
            let listed: Vec<Value> = ids.iter().map(|id| json!({ "id": id })).collect();
            json!({ "documents": listed })
        });
        let data = documents.unwrap_or(Value::Null);
        let observations = vec![Observation::Output { text: String::new(), data }];
        Step { proposal, observations, scratch: Digest::of(b"") }
    }

    #[test]
    fn steps_are_aligned_by_calls_and_by_documents() {
        let solution = json!([{ "tool": "sql", "args": { "query": "SELECT 1" } }]);
        let gold = Gold(json!({ "supporting": ["d1", "d2"], "solution": solution }));
        let all = reference(&gold);
        assert_eq!(all.len(), 3);
        let query = step("sql", json!({ "query": "select 1" }), None);
        assert_eq!(align(&query, &all), Some(vec![0]));
        let search = |ids: &[&str]| step("search", json!({ "query": "q" }), Some(ids));
        assert_eq!(align(&search(&["d2", "d9", "d1"]), &all), Some(vec![1, 2]));
        assert_eq!(align(&search(&["d9"]), &all), Some(vec![]));
        // Documents alone say nothing of a query.
        let documents = reference(&Gold(json!({ "supporting": ["d1"] })));
        assert_eq!(align(&query, &documents), None);
        assert_eq!(align(&search(&["d9"]), &documents), Some(vec![]));
    }

    #[test]
    fn what_has_no_grade_has_that_of_the_outcome_or_none() {
        let label = |alignment, missing| judged(&[], alignment, missing).reading;
        assert_eq!(label(None, true), from_binary(Some(true)));
        assert_eq!(label(None, false), from_binary(Some(false)));
        assert_eq!(label(Some(vec![]), true), from_binary(Some(false)));
        assert_eq!(overridden(Some(vec![]), true).reading, from_binary(Some(true)));
    }
}
