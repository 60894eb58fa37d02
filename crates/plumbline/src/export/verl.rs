//! verl's multi-turn rows: the columns of its data sets (`prompt`, `data_source`,
//! `reward_model`, `extra_info`) beside those of what its agent loop hands its trainer
//! (`prompt_ids`, `response_ids`, `response_mask`, `response_logprobs`, `reward_score`,
//! `num_turns`), with rewards and advantages by token. Trajectories with one `uid` are a
//! GRPO group.

use serde::Serialize;
use serde_json::{Value, json};

use super::group::{StepRow, noted};
use super::rollout::rollouts;
use super::{Column, Group, Kind, Rows, Settings};
use crate::TaskId;

pub(super) fn columns() -> Vec<Column> {
    use Kind::{Real, Text, Whole};
    let message = vec![Column::new("role", Text), Column::new("content", Text)];
    let reward_model =
        vec![Column::new("style", Text), Column::new("ground_truth", Text)];
    let step = vec![
        Column::new("node", Whole),
        Column::new("label", Whole),
        Column::new("zero", Text),
        Column::new("end", Whole),
    ];
    let extra = vec![
        Column::new("index", Whole),
        Column::new("split", Text),
        Column::new("task", Text),
        Column::new("sample", Whole),
        Column::new("leaf", Whole),
        Column::new("steps", Kind::list(Kind::Record(step))),
    ];
    vec![
        Column::new("data_source", Text),
        Column::new("prompt", Kind::list(Kind::Record(message))),
        Column::new("ability", Text),
        Column::new("reward_model", Kind::Record(reward_model)),
        Column::new("extra_info", Kind::Record(extra)),
        Column::new("uid", Text),
        Column::new("prompt_ids", Kind::list(Whole)),
        Column::new("response_ids", Kind::list(Whole)),
        Column::new("response_mask", Kind::list(Whole)),
        Column::new("response_logprobs", Kind::list(Real)),
        Column::new("reward_score", Real),
        Column::new("num_turns", Whole),
        Column::new("step_rewards", Kind::list(Real)),
        Column::new("token_level_rewards", Kind::list(Real)),
        Column::new("advantages", Kind::list(Real)),
    ]
}

#[derive(Serialize)]
struct Row<'r> {
    data_source: &'static str,
    prompt: Value,
    ability: &'static str,
    reward_model: Value,
    extra_info: Value,
    uid: &'r TaskId,
    prompt_ids: &'r [u32],
    response_ids: &'r [u32],
    response_mask: Vec<u8>,
    response_logprobs: Option<Vec<f32>>,
    reward_score: f64,
    num_turns: usize,
    step_rewards: &'r [f64],
    token_level_rewards: Vec<f64>,
    advantages: Vec<f64>,
}

pub(super) fn rows(group: &Group<'_>, settings: &Settings, rows: &mut Rows) {
    for rollout in rollouts(group, settings, rows) {
        let mut extra = group.note(&rollout.sample, Some(&rollout.tokens.ends()));
        extra["index"] = json!(group.index);
        extra["split"] = json!("train");
        rows.push(&Row {
            data_source: "plumbline",
            prompt: json!([
                { "role": "system", "content": rollout.sample.told.system },
                { "role": "user", "content": group.task.prompt },
            ]),
            ability: "agent",
            reward_model: json!({ "style": "rule", "ground_truth": group.answer() }),
            extra_info: extra,
            uid: &group.task.id,
            prompt_ids: rollout.prompt_ids(),
            response_ids: rollout.response_ids(),
            response_mask: rollout.mask(),
            response_logprobs: rollout.token_logprobs(),
            reward_score: rollout.total(),
            num_turns: rollout.sample.path.len(),
            step_rewards: &rollout.rewards,
            token_level_rewards: rollout.token_rewards(),
            advantages: rollout.token_advantages(),
        });
    }
}

pub(super) fn labels_of(row: &Value) -> Option<Vec<StepRow>> {
    noted(row.get("extra_info")?)
}
