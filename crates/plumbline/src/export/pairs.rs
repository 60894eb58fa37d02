//! Pairs for preference learning: two steps taken from one state, of which one is labelled
//! above the other. The shape is the conversational one of TRL's DPO trainer.
//!
//! Two steps can be compared only where they were taken from the same state and one verifier,
//! in one version and with one set of settings, judged both and puts them in the same order.
//!
//! Whole trajectories make a pair where a verdict on the last step of one says which others it
//! is better than, as StepORLM does: then `chosen` and `rejected` are all that follows the
//! question, and `weight` is what the pair counts in a weighted loss.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::group::{StepRow, node};
use super::{Forged, Group, Refusal, Rows, Sample, Settings};
use crate::explore::number;
use crate::import::chat;
use crate::scale::to_preference;
use crate::{NodeId, StepLabel, TaskId, Verdict, VerifierId};

/// Pairs that are written of one state.
const PAIRS_MAX: usize = 64;
/// Messages before the first step: the instructions and the question.
const QUESTION_ENDS: usize = 2;

pub(super) fn rows(group: &Group<'_>, settings: &Settings, rows: &mut Rows) {
    let mut states: BTreeMap<Option<NodeId>, Vec<NodeId>> = BTreeMap::new();
    for (id, node) in group.tree.nodes() {
        states.entry(node.parent).or_default().push(id);
    }
    let verdicts = by_step(group.verdicts);
    for (state, steps) in states {
        if steps.len() < 2 {
            rows.refuse(Refusal::NoSibling);
            continue;
        }
        let mut written = 0;
        for (index, one) in steps.iter().enumerate() {
            for two in &steps[index + 1..] {
                if written == PAIRS_MAX {
                    rows.refuse(Refusal::EnoughPairs);
                    continue;
                }
                match pair(group, settings, &verdicts, state, (*one, *two)) {
                    Ok(row) => {
                        rows.push(&row);
                        written += 1;
                    }
                    Err(refusal) => rows.refuse(refusal),
                }
            }
        }
    }
    whole(group, settings, rows);
}

/// Pairs of whole trajectories.
fn whole(group: &Group<'_>, settings: &Settings, rows: &mut Rows) {
    let samples: BTreeMap<NodeId, Sample<'_>> =
        group.samples().into_iter().map(|sample| (sample.leaf, sample)).collect();
    for verdict in group.verdicts {
        let others = verdict.value.get("better_than").and_then(Value::as_array);
        for other in others.into_iter().flatten() {
            let rejected = other.get("leaf").and_then(node);
            let rejected = rejected.and_then(|leaf| samples.get(&leaf));
            let (Some(chosen), Some(rejected)) = (samples.get(&verdict.node), rejected)
            else {
                continue;
            };
            let weight = &other["weight"];
            match trajectories(group, settings, verdict, [chosen, rejected], weight) {
                Ok(row) => rows.push(&row),
                Err(refusal) => rows.refuse(refusal),
            }
        }
    }
}

fn trajectories(
    group: &Group<'_>,
    settings: &Settings,
    verdict: &Verdict,
    [chosen, rejected]: [&Sample<'_>; 2],
    weight: &Value,
) -> Result<Value, Refusal> {
    let is_forged = [chosen, rejected].iter().any(|it| group.is_forged(&it.path));
    if settings.forged == Forged::Refuse && is_forged {
        return Err(Refusal::Forged);
    }
    if chosen.told != rejected.told {
        return Err(Refusal::ToldOtherwise);
    }
    let label = |sample: &Sample<'_>| {
        let label = group.label(sample.leaf).ok_or(Refusal::NoLabel)?;
        Ok(label.label.to_number())
    };
    let (chosen_label, rejected_label) = (label(chosen)?, label(rejected)?);
    let (mut prompt, _) = group.chat(chosen);
    let (mut other, _) = group.chat(rejected);
    let (chosen_messages, rejected_messages) =
        (prompt.split_off(QUESTION_ENDS), other.split_off(QUESTION_ENDS));
    Ok(json!({
        "prompt": prompt,
        "chosen": chosen_messages,
        "rejected": rejected_messages,
        "weight": weight,
        "task": group.task.id,
        "verifier": verdict.verifier,
        "chosen_node": chosen.leaf,
        "rejected_node": rejected.leaf,
        "chosen_label": chosen_label,
        "rejected_label": rejected_label,
    }))
}

/// What each verifier says of each step, as a number.
type Values<'v> = BTreeMap<NodeId, BTreeMap<&'v VerifierId, f64>>;

fn by_step(verdicts: &[Verdict]) -> Values<'_> {
    let mut values = Values::new();
    for verdict in verdicts {
        let label = || verdict.label.map(|label| f64::from(label.to_number()));
        if let Some(value) = number(verdict).or_else(label) {
            values.entry(verdict.node).or_default().insert(&verdict.verifier, value);
        }
    }
    values
}

fn pair(
    group: &Group<'_>,
    settings: &Settings,
    verdicts: &Values<'_>,
    state: Option<NodeId>,
    (one, two): (NodeId, NodeId),
) -> Result<Value, Refusal> {
    let worth =
        |step: NodeId| group.worth(step, settings).ok_or(Refusal::nothing_said(settings));
    let (chosen, rejected) = match worth(one)?.total_cmp(&worth(two)?) {
        Ordering::Greater => (one, two),
        Ordering::Less => (two, one),
        Ordering::Equal => return Err(Refusal::EqualSiblings),
    };
    let says = |step: NodeId| verdicts.get(&step).into_iter().flatten();
    let verifier = says(chosen)
        .find(|first| {
            let same = |second: (&&VerifierId, &f64)| {
                to_preference((first.0, *first.1), (second.0, *second.1))
            };
            says(rejected).any(|second| same(second) == Some(Ordering::Greater))
        })
        .map(|(verifier, _)| *verifier)
        .ok_or(Refusal::NoCommonVerifier)?;
    let path = state.map_or_else(Vec::new, |state| group.tree.path(state));
    if settings.forged == Forged::Refuse && group.is_forged(&path) {
        return Err(Refusal::Forged);
    }
    let message = |step: NodeId| {
        let node = group.tree.get(step).expect("it is a step of the tree");
        let first = chat::write_step(&node.step).into_iter().next();
        vec![first.expect("a step has a message")]
    };
    if message(chosen) == message(rejected) {
        return Err(Refusal::SameMessage);
    }
    let told = |step: NodeId| group.told(group.tree.first_leaf_through(step));
    if told(chosen) != told(rejected) {
        return Err(Refusal::ToldOtherwise);
    }
    let steps: Vec<_> = path.iter().map(|(_, node)| &node.step).collect();
    let system = &told(chosen).system;
    let (prompt, _) = super::messages(system, &group.task.prompt, &steps);
    let label = |step: NodeId| group.label(step).map(|label| label.label.to_number());
    Ok(json!({
        "prompt": prompt,
        "chosen": message(chosen),
        "rejected": message(rejected),
        "task": group.task.id,
        "verifier": verifier,
        "chosen_node": chosen,
        "rejected_node": rejected,
        "margin": worth(chosen)? - worth(rejected)?,
        "chosen_label": label(chosen),
        "rejected_label": label(rejected),
    }))
}

pub(super) fn labels_of(row: &Value) -> Option<Vec<StepRow>> {
    let task = TaskId(row.get("task")?.as_str()?.to_owned());
    let side = |name: &str| {
        let label = row.get(format!("{name}_label"))?.as_i64()?;
        let step = node(row.get(format!("{name}_node"))?)?;
        Some((task.clone(), step, StepLabel::from_number(label)?))
    };
    Some(vec![side("chosen")?, side("rejected")?])
}
