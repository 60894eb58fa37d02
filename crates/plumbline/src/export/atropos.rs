//! Atropos' scored groups: a line is a group, with a list a field and an item a trajectory.
//! `masks` repeats the ids that are trained on and holds -100 elsewhere.

use serde_json::{Value, json};

use super::group::{StepRow, noted};
use super::rollout::{Rollout, each, rollouts};
use super::{Group, Rows, Settings};

/// What Atropos has in `masks` where a token is not trained on.
const MASKED: i64 = -100;
/// What it has in `inference_logprobs` where there is no log-probability.
const NO_LOGPROB: f64 = 1.0;

pub(super) fn rows(group: &Group<'_>, settings: &Settings, rows: &mut Rows) {
    let rollouts = rollouts(group, settings, rows);
    if rollouts.is_empty() {
        return;
    }
    let rollouts = rollouts.as_slice();
    let logprobs = match rollouts.iter().all(|r| !r.tokens.logprobs.is_empty()) {
        true => each(rollouts, |rollout| {
            let mut known = rollout.tokens.logprobs.iter();
            over(rollout, json!(NO_LOGPROB), |_, _| json!(known.next()))
        }),
        false => Value::Null,
    };
    rows.push(json!({
        "tokens": each(rollouts, |rollout| json!(rollout.tokens.ids)),
        "masks": each(rollouts, |rollout| over(rollout, json!(MASKED), |step, id| {
            if rollout.trained[step] { json!(id) } else { json!(MASKED) }
        })),
        "scores": each(rollouts, |rollout| json!(rollout.total())),
        "advantages": each(rollouts, |rollout| over(rollout, json!(0.0), |step, _| {
            json!(rollout.advantages[step])
        })),
        "ref_logprobs": null,
        "messages": each(rollouts, |rollout| Value::Array(group.chat(&rollout.sample).0)),
        "generation_params": null,
        "inference_logprobs": logprobs,
        "group_overrides": { "task": group.task.id },
        "overrides": each(rollouts, |rollout| json!({
            "plumbline": group.note(&rollout.sample, None),
            "step_rewards": rollout.rewards,
        })),
        "images": null,
    }));
}

/// Values over every token: `step` on each sampled one, given its step and id, in order.
fn over(
    rollout: &Rollout<'_>,
    other: Value,
    mut step: impl FnMut(usize, u32) -> Value,
) -> Value {
    let mut values = vec![other; rollout.tokens.ids.len()];
    for (index, span) in rollout.tokens.sampled.iter().enumerate() {
        for at in span.clone() {
            values[at] = step(index, rollout.tokens.ids[at]);
        }
    }
    Value::Array(values)
}

pub(super) fn labels_of(row: &Value) -> Option<Vec<StepRow>> {
    let overrides = row.get("overrides")?.as_array()?;
    let notes = overrides.iter().map(|of| noted(of.get("plumbline")?));
    Some(notes.collect::<Option<Vec<_>>>()?.into_iter().flatten().collect())
}
