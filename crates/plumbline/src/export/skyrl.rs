//! SkyRL's generator output: a line is a group, and holds a list a field with an item a
//! trajectory. `rewards` has a number a response token, which SkyRL takes where others take
//! one a trajectory.

use serde_json::{Value, json};

use super::group::{StepRow, noted};
use super::rollout::{Rollout, each, label_of, rollouts};
use super::{Group, Rows, Settings};

pub(super) fn rows(group: &Group<'_>, settings: &Settings, rows: &mut Rows) {
    let rollouts = rollouts(group, settings, rows);
    if rollouts.is_empty() {
        return;
    }
    let rollouts = rollouts.as_slice();
    let logprobs = match rollouts.iter().all(|r| !r.tokens.logprobs.is_empty()) {
        true => each(rollouts, Rollout::token_logprobs),
        false => Value::Null,
    };
    rows.push(json!({
        "prompt_token_ids": each(rollouts, Rollout::prompt_ids),
        "response_ids": each(rollouts, Rollout::response_ids),
        "rewards": each(rollouts, Rollout::token_rewards),
        "loss_masks": each(rollouts, Rollout::mask),
        "stop_reasons": each(rollouts, |rollout| json!(rollout.stop)),
        "rollout_metrics": null,
        "rollout_logprobs": logprobs,
        "trajectory_ids": each(rollouts, |rollout| json!({
            "instance_id": group.task.id,
            "repetition_id": rollout.sample.number,
        })),
        "plumbline": each(rollouts, |rollout| {
            group.note(&rollout.sample, Some(&rollout.tokens.ends()))
        }),
    }));
}

/// Each step's label, from the reward on its last token; steps without a label are left out.
pub(super) fn labels_of(row: &Value) -> Option<Vec<StepRow>> {
    let notes = row.get("plumbline")?.as_array()?;
    let rewards = row.get("rewards")?.as_array()?;
    let mut labels = Vec::new();
    for (note, rewards) in notes.iter().zip(rewards) {
        let labelled = noted(note)?;
        for step in note.get("steps")?.as_array()? {
            let node = super::group::node(step.get("node")?)?;
            let Some((task, ..)) = labelled.iter().find(|(_, of, _)| *of == node) else {
                continue;
            };
            let end = usize::try_from(step.get("end")?.as_u64()?).ok()?;
            labels.push((task.clone(), node, label_of(rewards.get(end)?.as_f64()?)?));
        }
    }
    Some(labels)
}
