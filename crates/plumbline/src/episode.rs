//! One trajectory in the making: the state a message acts on, and `act`, the only place
//! where an action becomes observations. Growing and replaying both go through it.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::environment::Equipped;
use crate::{
    Action, Boundary, Budget, CallCache, Effect, Ending, Environment, Fault, Limits,
    Meter, Observation, Proposal, Scratch, Step, ToolCall, ToolError, ToolSpec, cut,
    turn,
};

/// How deep arguments and data may be nested. A line of the record wraps them, and whoever
/// reads it goes 128 deep.
const DEPTH_MAX: usize = 64;

/// The state of one trajectory. Cloning forks it.
#[derive(Clone)]
pub struct Episode<'e> {
    environment: &'e Environment,
    cache: Option<&'e CallCache>,
    meter: Option<&'e Meter>,
    scratch: Scratch,
    steps: u32,
    calls: u32,
    tokens: u64,
    malformed_streak: u32,
}

/// Why a step could not be taken: never the model's doing.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// The tool failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The tool took too long. Wall clock does not reproduce, so it is no observation.
    #[error("tool {tool} took longer than call_ms_max = {ms_max} ms")]
    Clock {
        /// The tool's name.
        tool: String,
        /// The limit it broke.
        ms_max: u64,
    },
}

impl ActError {
    /// Whose boundary the failure crossed.
    pub fn boundary(&self) -> Boundary {
        match self {
            ActError::Tool(ToolError::Engine { .. }) => Boundary::Tool,
            ActError::Tool(ToolError::Host { .. }) => Boundary::Host,
            ActError::Clock { .. } => Boundary::Clock,
        }
    }
}

impl<'e> Episode<'e> {
    /// A trajectory before its first step; the tools are given the task's inputs. With a
    /// cache, a call whose answer is known is not executed again; without one, every call is.
    pub fn new(
        environment: &'e Environment,
        inputs: &Value,
        cache: Option<&'e CallCache>,
    ) -> Self {
        Self {
            environment,
            cache,
            meter: None,
            scratch: Scratch::of_inputs(inputs),
            steps: 0,
            calls: 0,
            tokens: 0,
            malformed_streak: 0,
        }
    }

    /// The same, its calls timed.
    pub(crate) fn metered(self, meter: Option<&'e Meter>) -> Self {
        Self { meter, ..self }
    }

    pub(crate) fn environment(&self) -> &'e Environment {
        self.environment
    }

    /// The tools' state.
    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// Takes one step: does what the message asks for, and observes.
    ///
    /// On an error the episode is as it was, except for what the calls before the failed
    /// one left in its scratch: drop it.
    pub async fn act(&mut self, proposal: Proposal) -> Result<Step, ActError> {
        self.take(proposal, &[]).await
    }

    /// Takes a recorded step again: as [`Episode::act`], except that calls of tools whose
    /// [effect](Effect) is external come to what the record says.
    pub async fn follow(&mut self, recorded: &Step) -> Result<Step, ActError> {
        self.take(recorded.proposal.clone(), &recorded.observations).await
    }

    /// Takes a step. What the tape holds stands for calls that nobody can make again.
    async fn take(
        &mut self,
        mut proposal: Proposal,
        tape: &[Observation],
    ) -> Result<Step, ActError> {
        let limits = self.environment.limits();
        if proposal.text.len() > limits.message_bytes_max {
            // What is too long to be read asks for nothing, whatever it would have said.
            proposal.action =
                Action::Malformed { reason: too_long(&proposal.text, limits) };
        }
        let deep = |call: &&ToolCall| is_deeper(&call.args, DEPTH_MAX);
        if let Some(call) = proposal.action.calls().iter().find(deep) {
            let reason = format!(
                "the arguments of {} are nested more than {DEPTH_MAX} deep",
                shown(&call.tool)
            );
            proposal.action = Action::Malformed { reason };
        }
        let (observations, malformed) = match &proposal.action {
            Action::Malformed { reason } => {
                (vec![Observation::fault(Fault::Malformed, reason)], true)
            }
            Action::Answer { .. } => (vec![], false),
            Action::Calls { calls } => (self.call_all(calls, tape).await?, false),
        };
        self.steps += 1;
        self.tokens += proposal.tokens.as_ref().map_or(0, |t| t.sampled.len() as u64);
        self.malformed_streak = if malformed { self.malformed_streak + 1 } else { 0 };
        Ok(Step { proposal, observations, scratch: self.scratch.digest() })
    }

    /// Whether, and how, the trajectory ends with the step just taken.
    pub fn ending(&self, step: &Step) -> Option<Ending> {
        let limits = self.environment.limits();
        if matches!(step.proposal.action, Action::Answer { .. }) {
            return Some(Ending::Answered);
        }
        let budget = if self.malformed_streak >= limits.malformed_max {
            Budget::Malformed
        } else if self.steps >= limits.steps_max {
            Budget::Steps
        } else if self.tokens >= u64::from(limits.tokens_max) {
            Budget::Tokens
        } else {
            return None;
        };
        Some(Ending::Exhausted { budget })
    }

    async fn call_all(
        &mut self,
        calls: &[ToolCall],
        tape: &[Observation],
    ) -> Result<Vec<Observation>, ActError> {
        let limits = self.environment.limits();
        let mut observations = Vec::with_capacity(calls.len());
        for (index, call) in (0u32..).zip(calls) {
            let observation = if index >= limits.step_calls_max {
                let max = limits.step_calls_max;
                let message =
                    format!("one message may make {max} calls; this one was not made");
                Observation::fault(Fault::Limit, message)
            } else if self.calls >= limits.calls_max {
                let max = limits.calls_max;
                let message =
                    format!("all {max} calls are used up; give your answer now");
                Observation::fault(Fault::Limit, message)
            } else {
                self.calls += 1;
                let recorded = tape.get(index as usize);
                match recorded.filter(|_| self.environment.is_external(&call.tool)) {
                    Some(recorded) => recorded.clone(),
                    None => self.call(call).await?,
                }
            };
            observations.push(observation);
        }
        Ok(observations)
    }

    /// Makes one call outside any step: no budget counts it. The state moves on.
    pub async fn call(&mut self, call: &ToolCall) -> Result<Observation, ActError> {
        let Some(equipped) = self.environment.find(&call.tool) else {
            let message = unknown_tool(&call.tool, self.environment.specs());
            return Ok(Observation::fault(Fault::UnknownTool, message));
        };
        if let Some(misfit) = equipped.misfit(&call.args) {
            let message = format!("the arguments of {} do not fit: {misfit}", call.tool);
            return Ok(Observation::fault(Fault::BadArgs, message));
        }
        let is_external = equipped.tool.effect() == Effect::External;
        let Some(cache) = self.cache.filter(|_| !is_external) else {
            return self.execute(equipped, call).await;
        };
        let key = CallCache::key(equipped.tool.spec(), &call.args, self.scratch.digest());
        if let Some((observation, scratch)) = cache.get(key) {
            self.scratch = scratch;
            return Ok(observation);
        }
        let observation = self.execute(equipped, call).await?;
        // A failure outside may not be there the next time; everything else is a function.
        if observation.as_fault() != Some(Fault::External) {
            cache.put(key, &observation, &self.scratch);
        }
        Ok(observation)
    }

    async fn execute(
        &mut self,
        equipped: &Equipped,
        call: &ToolCall,
    ) -> Result<Observation, ActError> {
        let limits = self.environment.limits();
        let mut scratch = self.scratch.clone();
        let _turn = turn(equipped.tool.as_ref()).await;
        let answer = equipped.tool.call(&call.args, &mut scratch, limits);
        let wait = Duration::from_millis(limits.call_ms_max);
        let ms_max = limits.call_ms_max;
        let began = Instant::now();
        let answer = tokio::time::timeout(wait, answer).await;
        if let Some(meter) = self.meter {
            meter.add(began.elapsed());
        }
        let observation = match answer {
            Ok(answer) => answer?,
            // It does not reproduce, and need not: a replay takes it from the record.
            Err(_) if equipped.tool.effect() == Effect::External => {
                let message = format!("{} did not answer in {ms_max} ms", call.tool);
                Observation::fault(Fault::External, message)
            }
            Err(_) => return Err(ActError::Clock { tool: call.tool.clone(), ms_max }),
        };
        if is_deeper(observation.data(), DEPTH_MAX) {
            let message = format!("its data is nested more than {DEPTH_MAX} deep");
            return Ok(Observation::broken(message));
        }
        if equipped.tool.effect() == Effect::Stateful {
            self.scratch = scratch;
        } else {
            // Verifiers and replays rest on it.
            let (before, after) = (self.scratch.digest(), scratch.digest());
            assert_eq!(before, after, "{}: not stateful, and left state", call.tool);
        }
        Ok(match observation {
            Observation::Output { text, data } => Observation::Output {
                text: cut(text, limits.observation_bytes_max),
                data,
            },
            Observation::Fault { fault, message } => {
                Observation::fault(fault, cut(message, limits.observation_bytes_max))
            }
        })
    }
}

/// Whether arrays and objects lie more than so many deep in each other.
fn is_deeper(value: &Value, depth_max: usize) -> bool {
    let Some(left) = depth_max.checked_sub(1) else {
        return value.is_array() || value.is_object();
    };
    match value {
        Value::Array(items) => items.iter().any(|item| is_deeper(item, left)),
        Value::Object(members) => members.values().any(|member| is_deeper(member, left)),
        _ => false,
    }
}

fn too_long(text: &str, limits: &Limits) -> String {
    let (bytes, bytes_max) = (text.len(), limits.message_bytes_max);
    format!("the message has {bytes} bytes; at most {bytes_max} are read: write less")
}

fn unknown_tool(name: &str, specs: &[ToolSpec]) -> String {
    let names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
    format!("there is no tool called {}; there are: {}", shown(name), names.join(", "))
}

/// A tool's name as a model wrote it.
fn shown(name: &str) -> String {
    format!("{:?}", name.chars().take(80).collect::<String>())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use serde_json::json;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::protocol::Protocol;
    use crate::{Digest, EnvironmentParts, Tool};

    /// Whether it was told to end what it keeps running.
    static FORGOTTEN: AtomicBool = AtomicBool::new(false);

    /// Takes its time, one call at a time, and nests its data as deep as it is asked to.
    struct Nest {
        spec: ToolSpec,
        turns: Semaphore,
    }

    #[async_trait::async_trait]
    impl Tool for Nest {
        fn spec(&self) -> &ToolSpec {
            &self.spec
        }

        fn turns(&self) -> Option<&Semaphore> {
            Some(&self.turns)
        }

        fn forget(&self) {
            FORGOTTEN.store(true, Ordering::Relaxed);
        }

        async fn call(
            &self,
            args: &Value,
            scratch: &mut Scratch,
            _: &Limits,
        ) -> Result<Observation, ToolError> {
            tokio::time::sleep(Duration::from_millis(200)).await;
            scratch.set("nest", json!(1));
            let deep = args["deep"].as_u64().unwrap_or(0);
            Ok(Observation::Output { text: String::new(), data: nested(deep) })
        }
    }

    fn nested(deep: u64) -> Value {
        (0..deep).fold(Value::Null, |value, _| json!([value]))
    }

    fn environment() -> Environment {
        let spec = ToolSpec {
            name: "nest".into(),
            description: "d".into(),
            parameters: json!({ "type": "object" }),
            pinned: Digest::of(b""),
        };
        Environment::new(EnvironmentParts {
            name: "e".into(),
            prompt: String::new(),
            protocol: Protocol::Hermes,
            thought_chars_max: 0,
            limits: Limits { call_ms_max: 450, ..Limits::default() },
            tools: vec![std::sync::Arc::new(Nest { spec, turns: Semaphore::new(1) })],
        })
        .expect("an environment")
    }

    async fn observed(environment: &Environment, args: Value) -> (Observation, Digest) {
        let mut episode = Episode::new(environment, &Value::Null, None);
        let call = ToolCall { id: "call_0".into(), tool: "nest".into(), args };
        let action = Action::Calls { calls: vec![call] };
        let proposal =
            Proposal { text: "".into(), action, seed: 0, tokens: None, elided: vec![] };
        let step = episode.act(proposal).await.expect("it is taken");
        // What was recorded can be read again, two levels of a line around it.
        let line = json!({ "line": step }).to_string();
        serde_json::from_str::<Value>(&line).expect("it is not too deep");
        (step.observations[0].clone(), step.scratch)
    }

    #[tokio::test]
    async fn what_is_nested_too_deep_never_reaches_the_record() {
        let environment = environment();
        let empty = Scratch::default().digest();
        let (fine, state) = observed(&environment, json!({ "deep": 64 })).await;
        assert_eq!((fine.as_fault(), state == empty), (None, false));
        let (broken, state) = observed(&environment, json!({ "deep": 65 })).await;
        assert!(broken.is_broken() && state == empty, "{broken:?}");
        let (fault, _) = observed(&environment, nested(65)).await;
        assert_eq!(fault.as_fault(), Some(Fault::Malformed), "{fault:?}");
    }

    #[tokio::test]
    async fn who_waits_for_a_turn_does_not_run_out_of_time() {
        let environment = environment();
        let calls = (0..4).map(|_| observed(&environment, json!({})));
        for (observation, _) in futures::future::join_all(calls).await {
            assert_eq!(observation.as_fault(), None);
        }
        drop(environment);
        assert!(FORGOTTEN.load(Ordering::Relaxed), "nothing of it outlives its world");
    }
}
