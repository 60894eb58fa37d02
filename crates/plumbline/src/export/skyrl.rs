//! SkyRL's generator output: a line is a group, and holds a list a field with an item a
//! trajectory. `rewards` has a number a response token, which SkyRL takes where others take
//! one a trajectory.

use serde::Serialize;
use serde_json::{Value, json};

use super::group::{StepRow, noted};
use super::rollout::{Rollout, label_of, rollouts};
use super::{Group, Rows, Settings};

#[derive(Serialize)]
struct Row<'r> {
    prompt_token_ids: Vec<&'r [u32]>,
    response_ids: Vec<&'r [u32]>,
    rewards: Vec<Vec<f64>>,
    loss_masks: Vec<Vec<u8>>,
    stop_reasons: Vec<&'r str>,
    rollout_metrics: Option<Value>,
    /// All of them or none.
    rollout_logprobs: Option<Vec<Vec<f32>>>,
    trajectory_ids: Vec<Value>,
    plumbline: Vec<Value>,
}

pub(super) fn rows(group: &Group<'_>, settings: &Settings, rows: &mut Rows) {
    let rollouts = rollouts(group, settings, rows);
    if rollouts.is_empty() {
        return;
    }
    let id = |rollout: &Rollout<'_>| json!({ "instance_id": group.task.id, "repetition_id": rollout.sample.number });
    let note =
        |rollout: &Rollout<'_>| group.note(&rollout.sample, Some(&rollout.tokens.ends()));
    rows.push(&Row {
        prompt_token_ids: rollouts.iter().map(Rollout::prompt_ids).collect(),
        response_ids: rollouts.iter().map(Rollout::response_ids).collect(),
        rewards: rollouts.iter().map(Rollout::token_rewards).collect(),
        loss_masks: rollouts.iter().map(Rollout::mask).collect(),
        stop_reasons: rollouts.iter().map(|rollout| rollout.stop).collect(),
        rollout_metrics: None,
        rollout_logprobs: rollouts.iter().map(Rollout::token_logprobs).collect(),
        trajectory_ids: rollouts.iter().map(id).collect(),
        plumbline: rollouts.iter().map(note).collect(),
    });
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
