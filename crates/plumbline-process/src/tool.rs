//! The tool: a program that is asked over JSON lines.

use async_trait::async_trait;
use plumbline::{
    Digest, Effect, Fault, Limits, Observation, Scratch, Tool, ToolError, ToolSpec,
};
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::crew::{Crew, Line};
use crate::wire::{self, Answer, Hello, Request};
use crate::{ProcessError, Program};

/// A tool that a program answers for. Several of it run at once, and any may be ended between
/// two calls: what it keeps is in the scratch.
///
/// A program that ends, says no answer or too long a one comes to a [`Fault::Trap`] or
/// [`Fault::Limit`], and the state is as it was before the call; where it had answered
/// earlier calls, only if it does so from a fresh start as well.
pub struct ProcessTool {
    spec: ToolSpec,
    /// Where its state is in the scratch: nowhere that a tool of ours keeps something.
    key: String,
    effect: Effect,
    crew: Crew<Hello>,
}

impl ProcessTool {
    /// Starts a program and hears what it is, within `limits.call_ms_max`. A name stands in
    /// place of the one it says.
    pub async fn open(
        program: Program,
        effect: Effect,
        name: Option<String>,
        limits: &Limits,
    ) -> Result<Self, ProcessError> {
        let crew = Crew::open(program, Hello::parse, limits).await?;
        let mut hello = crew.hello().clone();
        hello.name = name.unwrap_or(hello.name);
        hello.check().map_err(|message| {
            let command = crew.program().shown();
            ProcessError::Settings { command, message }
        })?;
        let key = format!("process {}", hello.name);
        let pinned = Digest::of_json(&(crew.program().digest(), effect));
        Ok(Self { spec: hello.into_spec(pinned), key, effect, crew })
    }
}

#[async_trait]
impl Tool for ProcessTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn effect(&self) -> Effect {
        self.effect
    }

    fn turns(&self) -> Option<&Semaphore> {
        Some(self.crew.turns())
    }

    fn forget(&self) {
        self.crew.forget();
    }

    async fn call(
        &self,
        args: &Value,
        scratch: &mut Scratch,
        limits: &Limits,
    ) -> Result<Observation, ToolError> {
        let line = Line {
            bytes: &Request::new(args, scratch, &self.key, self.effect).to_line(),
            answer_bytes_max: wire::line_bytes_max(self.effect, limits),
            is_repeatable: self.effect != Effect::External,
        };
        let read = |answer: &[u8]| wire::read(answer, self.effect, limits);
        let answered = self.crew.ask(&line, limits, read).await;
        let answered = answered.map_err(|error| {
            let (tool, message) = (self.spec.name.clone(), error.to_string());
            match error {
                ProcessError::Host { .. } => ToolError::Host { tool, message },
                _ => ToolError::Engine { tool, message },
            }
        })?;
        Ok(match answered {
            Ok(Answer { observation, state }) => {
                if let Some(state) = state {
                    scratch.set(&self.key, state);
                }
                observation
            }
            Err(broke) => {
                let observation = match broke.fault {
                    Fault::Limit => Observation::excess(broke.message),
                    _ => Observation::broken(broke.message),
                };
                match self.effect {
                    Effect::External => {
                        Observation::fault(Fault::External, observation.text())
                    }
                    Effect::Pure | Effect::Stateful => observation,
                }
            }
        })
    }
}
