//! Atropos' scored groups: a line is a group, with a list a field and an item a trajectory.
//! `masks` repeats the ids that are trained on and holds -100 elsewhere.

use serde::Serialize;
use serde_json::{Value, json};

use super::group::{StepRow, noted};
use super::rollout::{Rollout, rollouts};
use super::{Group, Rows, Settings};

/// What Atropos has in `masks` where a token is not trained on.
const MASKED: i64 = -100;
/// What it has in `inference_logprobs` where there is no log-probability.
const NO_LOGPROB: f32 = 1.0;

#[derive(Serialize)]
struct Row<'r> {
    tokens: Vec<&'r [u32]>,
    masks: Vec<Vec<i64>>,
    scores: Vec<f64>,
    advantages: Vec<Vec<f64>>,
    ref_logprobs: Option<Value>,
    messages: Vec<Vec<Value>>,
    generation_params: Option<Value>,
    inference_logprobs: Option<Vec<Vec<f32>>>,
    group_overrides: Value,
    overrides: Vec<Value>,
    images: Option<Value>,
}

pub(super) fn rows(group: &Group<'_>, settings: &Settings, rows: &mut Rows) {
    let rollouts = rollouts(group, settings, rows);
    if rollouts.is_empty() {
        return;
    }
    let mask =
        |rollout: &Rollout<'_>| {
            over(rollout, MASKED, |step, id| {
                if rollout.trained[step] { i64::from(id) } else { MASKED }
            })
        };
    let advantages =
        |rollout: &Rollout<'_>| over(rollout, 0.0, |step, _| rollout.advantages[step]);
    let logprobs = |rollout: &Rollout<'_>| {
        let mut known = rollout.tokens.logprobs.iter();
        let known = |_, _| *known.next().expect("one a sampled token");
        (!rollout.tokens.logprobs.is_empty()).then(|| over(rollout, NO_LOGPROB, known))
    };
    let note = |rollout: &Rollout<'_>| {
        json!({
            "plumbline": group.note(&rollout.sample, None),
            "step_rewards": rollout.rewards,
        })
    };
    rows.push(&Row {
        tokens: rollouts.iter().map(|rollout| rollout.tokens.ids.as_slice()).collect(),
        masks: rollouts.iter().map(mask).collect(),
        scores: rollouts.iter().map(Rollout::total).collect(),
        advantages: rollouts.iter().map(advantages).collect(),
        ref_logprobs: None,
        messages: rollouts.iter().map(|rollout| group.chat(&rollout.sample).0).collect(),
        generation_params: None,
        inference_logprobs: rollouts.iter().map(logprobs).collect(),
        group_overrides: json!({ "task": group.task.id }),
        overrides: rollouts.iter().map(note).collect(),
        images: None,
    });
}

/// Values over every token: `step` on each sampled one, given its step and id, in order.
fn over<T: Clone>(
    rollout: &Rollout<'_>,
    other: T,
    mut step: impl FnMut(usize, u32) -> T,
) -> Vec<T> {
    let mut values = vec![other; rollout.tokens.ids.len()];
    for (index, span) in rollout.tokens.sampled.iter().enumerate() {
        for at in span.clone() {
            values[at] = step(index, rollout.tokens.ids[at]);
        }
    }
    values
}

pub(super) fn labels_of(row: &Value) -> Option<Vec<StepRow>> {
    let overrides = row.get("overrides")?.as_array()?;
    let notes = overrides.iter().map(|of| noted(of.get("plumbline")?));
    Some(notes.collect::<Option<Vec<_>>>()?.into_iter().flatten().collect())
}
