//! A policy of one's own: anything that proposes the next message. This one needs no model;
//! it asks the only tool there is for the question's words, and answers with what it heard.
//!
//! A model behind an OpenAI-compatible endpoint needs none of this: `--policy openai:MODEL@URL`
//! takes it. Write a policy for a model that speaks otherwise, for a search over messages, or
//! for a baseline. Run this with `cargo run --release --example custom_policy`.

#![allow(clippy::print_stdout, reason = "an example prints")]

use std::sync::Arc;

use async_trait::async_trait;
use plumbline::protocol::Protocol;
use plumbline::{
    Action, Digest, Environment, EnvironmentParts, Episode, Limits, Observation, Policy,
    PolicyError, PolicyId, Prompt, Proposal, Scratch, Tool, ToolCall, ToolError,
    ToolSpec, Turn,
};
use serde_json::{Value, json};

/// A policy keeps nothing between messages: what it may know is in the prompt, and the seed is
/// the only chance it has. So a run can be resumed, forked and regenerated.
struct Parrot(PolicyId);

#[async_trait]
impl Policy for Parrot {
    /// Name, version, and a digest of whatever else decides what it says.
    fn id(&self) -> &PolicyId {
        &self.0
    }

    /// One proposal a seed: samples of one step share a prompt, and a model reads it once.
    async fn propose(
        &self,
        prompt: &Prompt<'_>,
        seeds: &[u64],
    ) -> Result<Vec<Proposal>, PolicyError> {
        let heard = prompt.turns.last().and_then(|turn| turn.observations.first());
        let action = match (heard, prompt.tools.first()) {
            // In the last message that the limits allow, no call is carried out any more.
            (None, Some(tool)) if !prompt.last => Action::Calls {
                calls: vec![ToolCall {
                    id: "call_0".into(),
                    tool: tool.name.clone(),
                    args: json!({ "query": prompt.question }),
                }],
            },
            (heard, _) => Action::Answer {
                text: heard.map_or("I do not know", Observation::text).to_owned(),
            },
        };
        // What is recorded is the text, in the protocol's words; the action is its reading.
        let text = prompt.protocol.render(&action).ok_or_else(|| {
            PolicyError::Model(format!("the protocol {} cannot say it", prompt.protocol))
        })?;
        let action = prompt.protocol.parse(&text).action;
        let propose = |&seed: &u64| Proposal {
            text: text.clone(),
            action: action.clone(),
            seed,
            // A policy that samples tokens gives them here, with their probabilities.
            tokens: None,
            elided: vec![],
        };
        Ok(seeds.iter().map(propose).collect())
    }
}

/// Something to ask.
struct Almanac(ToolSpec);

#[async_trait]
impl Tool for Almanac {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    async fn call(
        &self,
        _: &Value,
        _: &mut Scratch,
        _: &Limits,
    ) -> Result<Observation, ToolError> {
        Ok(Observation::Output { text: "at 6:41".into(), data: Value::Null })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let almanac = Almanac(ToolSpec {
        name: "almanac".into(),
        description: "Looks something up.".into(),
        parameters: json!({ "type": "object", "properties": { "query": { "type": "string" } } }),
        pinned: Digest::of(b"at 6:41"),
    });
    let environment = Environment::new(EnvironmentParts {
        name: "harbour".into(),
        prompt: "Answer the question.\n\n{{tools}}".into(),
        protocol: Protocol::Hermes,
        thought_chars_max: 0,
        limits: Limits::default(),
        tools: vec![Arc::new(almanac)],
    })?;
    let policy = Parrot(PolicyId("parrot@1".into()));
    // What `grow` does for whole runs, many episodes at once: ask, act, ask again.
    let question = "When does the sun rise?";
    let mut episode = Episode::new(&environment, &Value::Null, None);
    let mut steps = Vec::new();
    loop {
        let turns = steps.iter().map(|step: &plumbline::Step| Turn {
            proposal: &step.proposal,
            observations: &step.observations,
        });
        let prompt = Prompt {
            system: environment.system(),
            question,
            turns: turns.collect(),
            tools: environment.specs(),
            protocol: environment.protocol(),
            last: steps.len() + 1 == environment.limits().steps_max as usize,
            thought_chars_max: 0,
            tokens_max: environment.limits().step_tokens_max,
        };
        let proposal = policy.propose(&prompt, &[7]).await?.remove(0);
        println!("{}", proposal.text);
        let step = episode.act(proposal).await?;
        let ending = episode.ending(&step);
        steps.push(step);
        if let Some(ending) = ending {
            println!("{ending:?} after {} steps", steps.len());
            return Ok(());
        }
    }
}
