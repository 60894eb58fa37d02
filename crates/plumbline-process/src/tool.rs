//! The tool: a program that is asked over JSON lines.

use std::process::ExitStatus;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use plumbline::{
    Digest, Effect, Fault, Limits, Observation, Scratch, Tool, ToolError, ToolSpec,
};
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::process::{Process, Silence};
use crate::wire::{self, Answer, Hello, Request};
use crate::{ProcessError, Program};

/// Bytes of the line in which a program says what it is.
const HELLO_BYTES_MAX: usize = 256 << 10;

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
    hello: Hello,
    effect: Effect,
    program: Program,
    idle: Mutex<Vec<Process>>,
    turns: Semaphore,
}

/// What a program did to a call.
enum Reaction {
    Answered(Answer),
    Broke(Observation),
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
        let (process, said) = greet(&program, limits).await?;
        let mut hello = said.clone();
        hello.name = name.unwrap_or(hello.name);
        hello.check().map_err(|message| {
            let command = program.shown();
            ProcessError::Settings { command, message }
        })?;
        let key = format!("process {}", hello.name);
        let at_once = std::thread::available_parallelism().map_or(2, usize::from);
        Ok(Self {
            spec: hello.into_spec(Digest::of_json(&(program.digest(), effect))),
            key,
            hello: said,
            effect,
            program,
            idle: Mutex::new(vec![process]),
            turns: Semaphore::new(at_once.clamp(2, 16)),
        })
    }

    /// A process that waits for a line.
    async fn process(&self, limits: &Limits) -> Result<Process, ProcessError> {
        while let Some(mut process) = self.idle().pop() {
            if process.is_waiting() {
                return Ok(process);
            }
        }
        self.fresh(limits).await
    }

    async fn fresh(&self, limits: &Limits) -> Result<Process, ProcessError> {
        let (process, hello) = greet(&self.program, limits).await?;
        if hello == self.hello {
            return Ok(process);
        }
        let stderr = process.stderr();
        let message = "it says something else of itself than at first".to_owned();
        Err(ProcessError::Hello { command: self.program.shown(), message, stderr })
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Process>> {
        self.idle.lock().expect("nothing panics while it holds this lock")
    }

    /// Asks a process. It goes back to the idle ones if it answered as it should.
    async fn ask(
        &self,
        mut process: Process,
        request: &[u8],
        limits: &Limits,
    ) -> Result<Reaction, ToolError> {
        let bytes_max = wire::line_bytes_max(self.effect, limits);
        if process.has_more() {
            // It would be taken for the answer.
            let message = "it wrote a line before it was asked anything";
            return Ok(Reaction::Broke(Observation::broken(message)));
        }
        let broke = match process.ask(request, bytes_max).await {
            Ok(line) => match wire::read(&line, self.effect, limits) {
                Ok(answer) => {
                    self.idle().push(process);
                    return Ok(Reaction::Answered(answer));
                }
                Err(message) => Observation::broken(message),
            },
            Err(Silence::TooLong) => {
                let message = format!("its answer has more than {bytes_max} bytes");
                Observation::excess(message)
            }
            Err(Silence::Ended(status)) => {
                Observation::broken(format!("it ended without an answer{}", told(status)))
            }
            Err(Silence::Pipe(error)) => {
                let tool = self.spec.name.clone();
                return Err(ToolError::Host { tool, message: error.to_string() });
            }
        };
        let stderr = process.stderr();
        let message = broke.text();
        tracing::warn!(tool = %self.spec.name, message, %stderr, "a program broke");
        Ok(Reaction::Broke(broke))
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
        Some(&self.turns)
    }

    fn forget(&self) {
        self.idle().clear();
    }

    async fn call(
        &self,
        args: &Value,
        scratch: &mut Scratch,
        limits: &Limits,
    ) -> Result<Observation, ToolError> {
        let failed = |error: ProcessError| {
            let (tool, message) = (self.spec.name.clone(), error.to_string());
            match error {
                ProcessError::Host { .. } => ToolError::Host { tool, message },
                _ => ToolError::Engine { tool, message },
            }
        };
        let request = Request::new(args, scratch, &self.key, self.effect).to_line();
        let process = self.process(limits).await.map_err(failed)?;
        let is_fresh = process.answered == 0;
        let mut reaction = self.ask(process, &request, limits).await?;
        if let Reaction::Broke(_) = reaction
            && !is_fresh
            && self.effect != Effect::External
        {
            // What it broke over may be what earlier calls left in it, which no replay has.
            let process = self.fresh(limits).await.map_err(failed)?;
            reaction = self.ask(process, &request, limits).await?;
        }
        Ok(match reaction {
            Reaction::Answered(Answer { observation, state }) => {
                if let Some(state) = state {
                    scratch.set(&self.key, state);
                }
                observation
            }
            Reaction::Broke(broke) if self.effect == Effect::External => {
                Observation::fault(Fault::External, broke.text())
            }
            Reaction::Broke(broke) => broke,
        })
    }
}

/// Starts a program and reads its first line.
async fn greet(
    program: &Program,
    limits: &Limits,
) -> Result<(Process, Hello), ProcessError> {
    let command = program.shown();
    let host = |error: std::io::Error| ProcessError::Host {
        command: command.clone(),
        message: error.to_string(),
    };
    let mut process = program.start().map_err(host)?;
    let wait = Duration::from_millis(limits.call_ms_max);
    let line = tokio::time::timeout(wait, process.line(HELLO_BYTES_MAX)).await;
    let hello = match line {
        Ok(Ok(line)) => Hello::parse(&line),
        Ok(Err(Silence::Ended(status))) => {
            Err(format!("it ended before it said what it is{}", told(status)))
        }
        Ok(Err(Silence::TooLong)) => {
            Err(format!("its first line has more than {HELLO_BYTES_MAX} bytes"))
        }
        Ok(Err(Silence::Pipe(error))) => return Err(host(error)),
        Err(_) => Err(format!(
            "it did not say what it is within call_ms_max = {} ms: its first line must \
             come unasked",
            limits.call_ms_max
        )),
    };
    match hello {
        Ok(hello) => Ok((process, hello)),
        Err(message) => {
            let stderr = process.stderr();
            Err(ProcessError::Hello { command, message, stderr })
        }
    }
}

fn told(status: Option<ExitStatus>) -> String {
    status.map_or_else(String::new, |status| format!(": {status}"))
}
