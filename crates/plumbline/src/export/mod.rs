//! Exporters: recorded steps become lines of a published format. One file a format; pure.

pub mod agent_process_bench;
pub mod openai_chat;

use serde_json::{Value, json};

use crate::Step;
use crate::import::chat;

/// A path as chat messages: the instructions, the question, then each step's message and what
/// its calls came to. Gives with them the index of each step's message.
pub fn messages(system: &str, question: &str, steps: &[&Step]) -> (Vec<Value>, Vec<u32>) {
    let mut messages = vec![
        json!({ "role": "system", "content": system }),
        json!({ "role": "user", "content": question }),
    ];
    let mut indices = Vec::with_capacity(steps.len());
    for step in steps {
        indices.push(u32::try_from(messages.len()).expect("a path is short"));
        messages.extend(chat::write_step(step));
    }
    (messages, indices)
}
