//! Chat messages with tool calls, as endpoints of the OpenAI kind take them.
//!
//! A line is an object with the messages under `messages` or `traj`; everything else in it is
//! kept. The task is named by `id` or `task_id`, else by the digest of what the user first
//! says. A `trial` or `sample_index` tells samples of one task apart.

use serde_json::{Value, json};

use super::chat::{self, Chat};
use super::record::Record;
use super::{ImportError, Trajectory};
use crate::export::openai_chat;
use crate::{Budget, Digest, Ending, Step, Task, TaskId};

pub(super) fn read(record: &Record) -> Result<Trajectory, ImportError> {
    let under = ["messages", "traj"];
    let field = record.first_of(&under);
    let name = under.into_iter().find(|name| !record.field(name).is_absent());
    let sample = record.first_of(&["sample_index", "trial"]);
    let sample = if sample.is_absent() { 0 } else { sample.index()? };
    let chat = chat::read(&field, record.field("tools").value(), sample as u64)?;
    if chat.question.trim().is_empty() {
        return Err(field.wrong("holds no message of a user"));
    }
    let id = record.first_of(&["id", "task_id"]).name()?;
    let digest = || Digest::of(chat.question.as_bytes()).short();
    let id = id.unwrap_or_else(|| format!("chat-{}", digest()));
    if id.contains(|c: char| c == ':' || c.is_control()) {
        let problem = format!("is {id:?}, which holds ':' or a control character");
        return Err(record
            .first_of(&["id", "task_id"])
            .error(problem, "name it otherwise"));
    }
    let rest = rest(record, &chat, name.unwrap_or("messages"));
    let Chat { question, steps, messages, answered, .. } = chat;
    let ending = match answered {
        true => Ending::Answered,
        false => Ending::Exhausted { budget: Budget::Steps },
    };
    Ok(Trajectory {
        key: json!({ "id": id, "sample": sample }),
        task: Task { id: TaskId(id), prompt: question, inputs: Value::Null },
        gold: None,
        steps,
        ending,
        human: vec![],
        messages,
        rest,
    })
}

fn rest(record: &Record, chat: &Chat, field: &str) -> Value {
    let mut frame = record.value().clone();
    frame[field] = Value::Null;
    let rest = json!({ "record": frame, "field": field, "marks": chat.marks });
    let steps: Vec<&Step> = chat.steps.iter().collect();
    match openai_chat::line(&rest, &steps) {
        Some(line) if line == record.text().trim_end() => rest,
        _ => json!({ "line": record.text().trim_end() }),
    }
}
