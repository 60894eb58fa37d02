//! Chat messages with tool calls, as endpoints of the OpenAI kind take them.
//!
//! A line is an object with the messages under `messages` or `traj`; everything else in it is
//! kept. The task is named by `id` or `task_id`, else by the digest of what the user first
//! says. Where a `trial` or `sample_index` counts samples it is part of the name: a user that
//! is simulated puts the same task in other words each time. Not so where the record names the
//! `question` that the user asks, as those that we write do.

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
    let counted = record.first_of(&["sample_index", "trial"]);
    let sample = if counted.is_absent() { 0 } else { counted.index()? };
    let chat = chat::read(&field, &record.field("tools"), sample as u64)?;
    if chat.question.trim().is_empty() {
        return Err(field.wrong("holds no message of a user"));
    }
    let id = record.first_of(&["id", "task_id"]).name()?;
    let asked = record.field("question").value().as_str() == Some(&chat.question);
    let digest = || Digest::of(chat.question.as_bytes()).short();
    let id = match id {
        None => format!("chat-{}", digest()),
        Some(id) if counted.is_absent() || asked => id,
        Some(id) => format!("{id}-{sample}"),
    };
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
        nodes: vec![],
        ending: Some(ending),
        human: vec![],
        verdicts: vec![],
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

#[cfg(test)]
mod tests {
    use super::super::TrajectoryFormat::OpenaiChat as FORMAT;
    use super::super::trajectory::tests::{read, refusal};
    use super::*;
    use crate::Action;

    const RECORD: &str = concat!(
        r#"{"task_id": 3, "reward": 0.0, "trial": 1, "traj": ["#,
        r#"{"role": "system", "content": "S"}, {"role": "user", "content": "Book me a seat."}, "#,
        r#"{"content": "Which day?", "role": "assistant"}, "#,
        r#"{"role": "user", "content": "May 20."}, "#,
        r#"{"content": null, "role": "assistant", "tool_calls": [{"id": "a", "type": "function", "#,
        r#""function": {"name": "book", "arguments": "{\"day\":20}"}}]}, "#,
        r#"{"role": "tool", "tool_call_id": "a", "name": "book", "content": "booked"}, "#,
        r#"{"content": "Done.", "role": "assistant"}]}"#
    );

    #[test]
    fn a_question_to_the_user_is_a_call_and_the_last_word_the_answer() {
        let found = read(FORMAT, RECORD).remove(0);
        assert_eq!((found.task.id.0.as_str(), found.steps.len()), ("3-1", 3));
        let asked = &found.steps[0];
        assert_eq!(asked.proposal.action.calls()[0].tool, "user");
        assert_eq!(asked.observations[0].text(), "May 20.");
        assert_eq!(found.steps[1].observations[0].text(), "booked");
        assert_eq!(
            found.steps[2].proposal.action,
            Action::Answer { text: "Done.".into() }
        );
        let steps: Vec<&Step> = found.steps.iter().collect();
        assert_eq!(openai_chat::line(&found.rest, &steps).as_deref(), Some(RECORD));
    }

    #[test]
    fn samples_of_one_question_are_of_one_task() {
        let name = |record: &str| read(FORMAT, record).remove(0).task.id.0;
        let asked =
            RECORD.replace("\"trial\"", "\"question\": \"Book me a seat.\", \"trial\"");
        assert_eq!((name(RECORD), name(&asked)), ("3-1".to_owned(), "3".to_owned()));
    }

    #[test]
    fn a_chat_without_a_user_is_refused() {
        let record = r#"{"messages": [{"role": "assistant", "content": "Hi."}]}"#;
        let error = refusal(FORMAT, record);
        assert!(error.contains("\"messages\" holds no message of a user"), "{error}");
        let record = RECORD.replace("\"trial\"", "\"tools\": 7, \"trial\"");
        let error = refusal(FORMAT, &record);
        assert!(error.contains("\"tools\" is a number, not a list"), "{error}");
    }
}
