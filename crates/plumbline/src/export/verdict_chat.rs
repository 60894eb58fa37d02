//! A judge's conversation, for training a model that explains before it labels: the question
//! and the path up to a step, then what was executed or looked up, the reason, and the label.
//! Published sets of the kind (GroundedPRM, GenPRM, DataPRM) have the same three parts.

use serde_json::{Value, json};

use super::group::{StepRow, node};
use super::{Group, Refusal, Rows, Sample, Settings};
use crate::verdict::span_of;
use crate::{Evidence, Labelled, StepLabel, TaskId};

/// Characters of a text that is quoted as evidence.
const QUOTED_CHARS_MAX: usize = 400;
const SYSTEM: &str = "You judge one step of an agent that works with tools. Say what you \
                      checked, then why the step is good, neutral or bad, then the label.";

pub(super) fn rows(group: &Group<'_>, settings: &Settings, rows: &mut Rows) {
    let mut written = std::collections::BTreeSet::new();
    for sample in group.lessons(settings, rows) {
        for (index, (id, _)) in sample.path.iter().enumerate() {
            // A step that several trajectories share is judged once.
            if !written.insert(*id) {
                continue;
            }
            let Some(label) = group.label(*id) else {
                rows.refuse(Refusal::NoLabel);
                continue;
            };
            if settings.zeros.number(label).is_none() {
                rows.refuse(Refusal::NoLabel);
                continue;
            }
            let Some(reason) = reason(label) else {
                rows.refuse(Refusal::NoReason);
                continue;
            };
            rows.push(&json!({
                "messages": [
                    { "role": "system", "content": SYSTEM },
                    { "role": "user", "content": shown(group, &sample, index) },
                    { "role": "assistant", "content": judgement(group, label, &reason) },
                ],
                "task": group.task.id,
                "node": id,
                "zero": label.zero,
                "verifiers": label.deciding.iter().map(|v| &v.verifier).collect::<Vec<_>>(),
            }));
        }
    }
}

/// The question, and the path with the step that is asked about.
fn shown(group: &Group<'_>, sample: &Sample<'_>, index: usize) -> String {
    let mut text = format!("Question: {}", group.task.prompt);
    for (number, (_, node)) in sample.path[..=index].iter().enumerate() {
        text += &format!("\n\nStep {number}: {}", node.step.proposal.text);
        for observation in &node.step.observations {
            text += &format!("\nObservation: {}", observation.text());
        }
    }
    text += &format!("\n\nJudge step {index}.");
    text
}

fn reason(label: &Labelled<'_>) -> Option<String> {
    let mut reasons: Vec<&str> = Vec::new();
    for verdict in &label.deciding {
        if !verdict.reason.is_empty() && !reasons.contains(&verdict.reason.as_str()) {
            reasons.push(&verdict.reason);
        }
    }
    match (label.rests_on, reasons.is_empty()) {
        (Some(step), _) => Some(format!("it rests on step {step}, which is bad")),
        (None, false) => Some(reasons.join("; ")),
        (None, true) => None,
    }
}

fn judgement(group: &Group<'_>, label: &Labelled<'_>, reason: &str) -> String {
    let mut checks: Vec<String> = Vec::new();
    for evidence in label.deciding.iter().flat_map(|verdict| &verdict.evidence) {
        let check = check(group, evidence);
        if !checks.contains(&check) {
            checks.push(check);
        }
    }
    if checks.is_empty() {
        checks.push("nothing was executed".to_owned());
    }
    format!(
        "<check>\n{}\n</check>\n<reason>\n{reason}\n</reason>\n<label>{}</label>",
        checks.join("\n"),
        label.label
    )
}

fn check(group: &Group<'_>, evidence: &Evidence) -> String {
    match evidence {
        Evidence::Execution { call, .. } => {
            format!("executed {} {}", call.tool, call.args)
        }
        Evidence::Span { node, observation, range, .. } => {
            let step = group.tree.get(*node).map(|node| &node.step);
            let text = step.and_then(|step| span_of(step, *observation, range));
            let quoted: String =
                text.unwrap_or_default().chars().take(QUOTED_CHARS_MAX).collect();
            let place = if observation.is_some() { "observation" } else { "message" };
            format!("step {node}, {place}: {quoted:?}")
        }
        Evidence::Step { node } => format!("step {node}"),
        Evidence::Rollouts { sampled, succeeded } => {
            format!("{succeeded} of {sampled} completions came to a right end")
        }
    }
}

pub(super) fn labels_of(row: &Value) -> Option<Vec<StepRow>> {
    let task = TaskId(row.get("task")?.as_str()?.to_owned());
    let said = row.get("messages")?.as_array()?.last()?.get("content")?.as_str()?;
    let (_, label) = said.rsplit_once("<label>")?;
    let label = match label.strip_suffix("</label>")? {
        "good" => StepLabel::Good,
        "neutral" => StepLabel::Neutral,
        "bad" => StepLabel::Bad,
        _ => return None,
    };
    Some(vec![(task, node(row.get("node")?)?, label)])
}
