//! Everything as three tables: steps, verdicts, trajectories. Texts stay texts; what has a
//! shape of its own (an action, an observation, a judgement) is JSON in a text.

use serde_json::{Value, json};

use super::group::{StepRow, node};
use super::{Column, Group, Kind, Rows, Settings, Table, Zeros};
use crate::{Action, Ending, Outcome, StepLabel, TaskId};

pub(super) fn tables() -> Vec<Table> {
    use Kind::{Real, Seed, Text, Truth, Whole};
    let table = |name, columns: Vec<(&'static str, Kind)>| Table {
        name,
        columns: Some(
            columns.into_iter().map(|(name, kind)| Column::new(name, kind)).collect(),
        ),
    };
    vec![
        table(
            "steps",
            vec![
                ("task", Text),
                ("node", Whole),
                ("parent", Whole),
                ("text", Text),
                ("action", Text),
                ("observations", Kind::list(Text)),
                ("faults", Kind::list(Text)),
                ("data", Kind::list(Text)),
                ("forged", Truth),
                ("seed", Seed),
                ("scratch", Text),
                ("kept", Whole),
                ("prompt_ids", Kind::list(Whole)),
                ("sampled_ids", Kind::list(Whole)),
                ("logprobs", Kind::list(Real)),
                ("label", Whole),
                ("zero", Text),
                ("rests_on", Whole),
            ],
        ),
        table(
            "verdicts",
            vec![
                ("task", Text),
                ("node", Whole),
                ("verifier", Text),
                ("value", Text),
                ("label", Whole),
                ("zero", Text),
                ("confidence", Real),
                ("reason", Text),
                ("evidence", Text),
                ("saw_gold", Truth),
                ("saw_later", Truth),
                ("saw_outcome", Truth),
                ("calls", Whole),
                ("tokens", Whole),
            ],
        ),
        table(
            "trajectories",
            vec![
                ("task", Text),
                ("sample", Whole),
                ("leaf", Whole),
                ("nodes", Kind::list(Whole)),
                ("policy", Text),
                ("system", Text),
                ("question", Text),
                ("gold", Text),
                ("answer", Text),
                ("ending", Text),
                ("exact_match", Truth),
                ("relaxed", Truth),
                ("f1", Real),
                ("supporting_recall", Real),
            ],
        ),
    ]
}

pub(super) fn rows(group: &Group<'_>, settings: &Settings, rows: &mut Rows) {
    steps(group, settings.zeros).for_each(|row| rows.push_to(0, &row));
    verdicts(group).for_each(|row| rows.push_to(1, &row));
    trajectories(group).for_each(|row| rows.push_to(2, &row));
}

fn steps(group: &Group<'_>, zeros: Zeros) -> impl Iterator<Item = Value> {
    group.tree.nodes().map(move |(id, node)| {
        let step = &node.step;
        let label = group.label(id).filter(|label| zeros.number(label).is_some());
        let proposal = &step.proposal;
        let tokens = proposal.tokens.as_ref();
        let each = |of: &dyn Fn(&crate::Observation) -> Value| {
            Value::Array(step.observations.iter().map(of).collect())
        };
        json!({
            "task": group.task.id,
            "node": id,
            "parent": node.parent,
            "text": proposal.text,
            "action": json!(proposal.action).to_string(),
            "observations": each(&|observation| json!(observation.text())),
            "faults": each(&|observation| json!(observation.as_fault())),
            "data": each(&|observation| match observation.data() {
                Value::Null => Value::Null,
                data => json!(data.to_string()),
            }),
            "seed": proposal.seed,
            "scratch": step.scratch,
            "kept": tokens.map(|tokens| tokens.kept),
            "prompt_ids": tokens.map(|tokens| &tokens.prompt),
            "sampled_ids": tokens.map(|tokens| &tokens.sampled),
            "logprobs": tokens.map(|tokens| &tokens.logprobs),
            "forged": group.forged == Some(id),
            "label": label.and_then(|labelled| zeros.number(labelled)),
            "zero": label.and_then(|labelled| labelled.zero),
            "rests_on": label.and_then(|labelled| labelled.rests_on),
        })
    })
}

fn verdicts(group: &Group<'_>) -> impl Iterator<Item = Value> {
    group.verdicts.iter().map(|verdict| {
        json!({
            "task": group.task.id,
            "node": verdict.node,
            "verifier": verdict.verifier,
            "value": verdict.value.to_string(),
            "label": verdict.label.map(StepLabel::to_number),
            "zero": verdict.zero,
            "confidence": verdict.confidence,
            "reason": verdict.reason,
            "evidence": json!(verdict.evidence).to_string(),
            "saw_gold": verdict.saw.gold,
            "saw_later": verdict.saw.later,
            "saw_outcome": verdict.saw.outcome,
            "calls": verdict.cost.calls,
            "tokens": verdict.cost.tokens,
        })
    })
}

fn trajectories(group: &Group<'_>) -> impl Iterator<Item = Value> {
    group.samples().into_iter().map(|sample| {
        let score = group.outcomes.get(&sample.leaf).and_then(Outcome::score);
        let answer =
            sample.path.last().and_then(|(_, node)| match &node.step.proposal.action {
                Action::Answer { text } => Some(text.as_str()),
                Action::Calls { .. } | Action::Malformed { .. } => None,
            });
        let ending = group.tree.ending(sample.leaf).map(|ending| match ending {
            Ending::Answered => "answered",
            Ending::Exhausted { .. } => "exhausted",
            Ending::Aborted { .. } => "aborted",
        });
        json!({
            "task": group.task.id,
            "sample": sample.number,
            "leaf": sample.leaf,
            "nodes": sample.path.iter().map(|(id, _)| id).collect::<Vec<_>>(),
            "policy": group.policy,
            "system": sample.told.system,
            "question": group.task.prompt,
            "gold": group.gold.map(|gold| gold.0.to_string()),
            "answer": answer,
            "ending": ending,
            "exact_match": score.map(|score| score.exact_match),
            "relaxed": score.map(|score| score.relaxed),
            "f1": score.map(|score| score.f1),
            "supporting_recall": score.and_then(|score| score.supporting_recall),
        })
    })
}

pub(super) fn labels_of(row: &Value) -> Option<Vec<StepRow>> {
    let task = TaskId(row.get("task")?.as_str()?.to_owned());
    let at = node(row.get("node")?)?;
    match row.get("label").unwrap_or(&Value::Null) {
        Value::Null => Some(vec![]),
        label => Some(vec![(task, at, StepLabel::from_number(label.as_i64()?)?)]),
    }
}
