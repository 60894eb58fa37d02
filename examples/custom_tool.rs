//! A tool of one's own, in Rust: a till that adds up what is bought.
//!
//! Most tools are better off as a program of their own (`plumb tool new`), an MCP server or a
//! component: those need no build of Plumbline. Write one in Rust where it has to be fast, or
//! where a library does the work. Run this with `cargo run --release --example custom_tool`.

#![allow(clippy::print_stdout, reason = "an example prints")]

use std::sync::Arc;

use async_trait::async_trait;
use plumbline::protocol::Protocol;
use plumbline::{
    Digest, Effect, Environment, EnvironmentParts, Fault, Limits, Observation, Scratch,
    Tool, ToolError, ToolSpec, conformance,
};
use serde_json::{Value, json};

/// What the till's answers rest on besides the arguments. Where a tool reads data, this is
/// where a digest of the data goes: a run records it, and a replay warns if it is another.
const PRICES: [(&str, i64); 3] = [("apple", 40), ("melon", 240), ("pear", 60)];

struct Till(ToolSpec);

impl Till {
    fn new() -> Self {
        Self(ToolSpec {
            name: "buy".into(),
            // The model reads the description and the schema, and nothing else.
            description: "Puts items into the basket and tells what it costs.".into(),
            // The episode holds arguments to this schema, so that `call` need not. What it
            // cannot say, `call` checks; what it can say is better said here, since a model
            // learns from the schema and a constrained one is held to it.
            parameters: json!({
                "type": "object",
                "properties": {
                    "item": { "enum": PRICES.map(|(item, _)| item) },
                    "count": { "type": "integer", "minimum": 1, "maximum": 100 },
                },
                "required": ["item", "count"],
                "additionalProperties": false,
            }),
            pinned: Digest::of_json(&PRICES),
        })
    }
}

#[async_trait]
impl Tool for Till {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    /// `Pure` would be a tool that leaves the scratch as it was; `External` one whose answers
    /// nobody can have again, which a replay takes from the record.
    fn effect(&self) -> Effect {
        Effect::Stateful
    }

    /// The till itself holds no basket: an episode may be forked, and then there are two. All
    /// that lasts is in the scratch, which is cloned, compared and replayed with the episode.
    async fn call(
        &self,
        args: &Value,
        scratch: &mut Scratch,
        limits: &Limits,
    ) -> Result<Observation, ToolError> {
        let item = args["item"].as_str().expect("the schema requires it");
        let count = args["count"].as_i64().expect("the schema requires it");
        let (_, price) =
            PRICES.iter().find(|(name, _)| *name == item).expect("the schema lists them");
        let mut basket = scratch.get("buy").cloned().unwrap_or_else(|| json!([]));
        let bought = basket.as_array_mut().expect("nobody else writes under this key");
        // A bound that reproduces is an observation: the model is told, and the episode goes
        // on. `limits` has one for everything that tools have in common; this one counts rows.
        if bought.len() >= limits.rows_max as usize {
            let message = format!("the basket holds {} rows; no more fit", bought.len());
            return Ok(Observation::fault(Fault::Limit, message));
        }
        bought.push(json!([item, count, count * price]));
        let cents: i64 = bought.iter().filter_map(|row| row[2].as_i64()).sum();
        scratch.set("buy", basket);
        // The text is for the model, the data for verifiers and metrics. An `Err` would be
        // for what is nobody's mistake but ours: it aborts the branch.
        let text = format!("{count} x {item}; the basket costs {cents} cents");
        Ok(Observation::Output { text, data: json!({ "cents": cents }) })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let environment = Environment::new(EnvironmentParts {
        name: "shop".into(),
        prompt: "Buy what you are asked to.\n\n{{tools}}".into(),
        protocol: Protocol::Hermes,
        thought_chars_max: 0,
        limits: Limits::default(),
        tools: vec![Arc::new(Till::new())],
    })?;
    // The same that `plumb tool check` does: calls made from the schema and outside it, made
    // twice, on forks, and in another order.
    let found = conformance(&environment, "buy", &Value::Null, &[]).await;
    println!("{} calls, {} answered", found.calls, found.answered);
    for breach in &found.breaches {
        println!("broken: {}: {}", breach.promise, breach.message);
    }
    assert!(found.breaches.is_empty(), "the till keeps what a tool promises");
    Ok(())
}
