//! Whether a tool keeps what [`Tool`](crate::Tool) promises: tried out with arguments made
//! from its schema, beside those that are known to lead somewhere.

use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;

use super::arguments;
use crate::{ActError, Effect, Environment, Episode, Fault, Observation, Tool, ToolCall};

/// Arguments that are made from a schema, and outside it.
const INSIDE_MAX: usize = 16;
const OUTSIDE_MAX: usize = 8;
/// Calls of one sequence.
const SEQUENCE_MAX: usize = 4;

/// What is promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// The schema says which arguments are answered: it turns others away, and what it lets
    /// in does not break the tool.
    Schema,
    /// The same call in the same state comes to the same.
    Determinism,
    /// Nothing but the scratch lasts from one call to the next.
    State,
    /// A fork of the state is not touched by what happens to the other.
    Fork,
    /// The same calls again lead to the same states.
    Replay,
    /// Answers and time have their bounds.
    Limits,
}

/// A promise that was not kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Breach {
    /// Which.
    pub promise: Promise,
    /// What happened.
    pub message: String,
    /// The calls that show it: two whose answers should be the same, or one that is at fault.
    pub calls: Vec<Attempt>,
}

/// A call in a fresh episode, and what is called before it: all of them calls of one tool,
/// given by their arguments.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Attempt {
    /// Calls of another episode, made first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub elsewhere: Vec<Value>,
    /// Calls of the same episode.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<Value>,
    /// Calls on a fork of the state that those left.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aside: Vec<Value>,
    /// The call.
    pub args: Value,
}

impl Attempt {
    /// A call in a fresh episode, and nothing before it.
    pub fn of(args: &Value) -> Self {
        Self { args: args.clone(), ..Self::default() }
    }
}

/// What trying a tool out came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Conformance {
    /// Calls that were made.
    pub calls: u64,
    /// Calls that were answered, rather than with a fault.
    pub answered: u64,
    /// The slowest of them.
    pub slowest: Duration,
    /// Promises that were looked at. Nobody can ask a tool whose effect is external again.
    pub kept: Vec<Promise>,
    /// Those that were not kept, the first breach of each.
    pub breaches: Vec<Breach>,
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Promise::Schema => "schema",
            Promise::Determinism => "determinism",
            Promise::State => "no hidden state",
            Promise::Fork => "fork",
            Promise::Replay => "replay",
            Promise::Limits => "limits",
        })
    }
}

/// Tries a tool of an environment out. `known` are arguments that are known to lead somewhere,
/// if any are.
///
/// # Panics
///
/// If the environment has no such tool.
pub async fn conformance(
    environment: &Environment,
    tool: &str,
    inputs: &Value,
    known: &[Value],
) -> Conformance {
    let tool = environment.tool(tool).expect("the environment has it").as_ref();
    let mut trial = Trial::new(environment, tool, inputs);
    let parameters = &tool.spec().parameters;
    let made = arguments::inside(parameters, INSIDE_MAX);
    let inside: Vec<Value> = known.iter().take(INSIDE_MAX).cloned().chain(made).collect();
    let outside = arguments::outside(parameters, OUTSIDE_MAX);
    trial.answers(&inside).await;
    trial.turns_away(&outside).await;
    let mut kept = vec![Promise::Schema, Promise::Limits];
    if tool.effect() != Effect::External {
        trial.repeats(&inside).await;
        trial.forgets(&inside).await;
        trial.forks(&inside).await;
        trial.replays(&inside).await;
        kept.extend([
            Promise::Determinism,
            Promise::State,
            Promise::Fork,
            Promise::Replay,
        ]);
    }
    let breached =
        |promise: &Promise| trial.breaches.iter().any(|b| b.promise == *promise);
    kept.retain(|promise| !breached(promise));
    let Trial { calls, answered, slowest, breaches, .. } = trial;
    Conformance { calls, answered, slowest, kept, breaches }
}

/// A tool being tried out.
struct Trial<'e> {
    environment: &'e Environment,
    tool: &'e dyn Tool,
    inputs: &'e Value,
    calls: u64,
    answered: u64,
    slowest: Duration,
    breaches: Vec<Breach>,
}

impl<'e> Trial<'e> {
    fn new(environment: &'e Environment, tool: &'e dyn Tool, inputs: &'e Value) -> Self {
        let (calls, answered, slowest) = (0, 0, Duration::ZERO);
        Self { environment, tool, inputs, calls, answered, slowest, breaches: vec![] }
    }

    fn start(&self) -> Episode<'e> {
        Episode::new(self.environment, self.inputs, None)
    }

    fn breach(
        &mut self,
        promise: Promise,
        message: impl Into<String>,
        calls: Vec<Attempt>,
    ) {
        if self.breaches.iter().all(|breach| breach.promise != promise) {
            self.breaches.push(Breach { promise, message: message.into(), calls });
        }
    }

    /// Makes a call. A failure of the tool itself is a breach, and gives nothing.
    async fn call(
        &mut self,
        episode: &mut Episode<'_>,
        args: &Value,
    ) -> Option<Observation> {
        let name = self.tool.spec().name.clone();
        let call = ToolCall { id: "call_0".into(), tool: name, args: args.clone() };
        let began = Instant::now();
        let observed = episode.call(&call).await;
        self.calls += 1;
        self.slowest = self.slowest.max(began.elapsed());
        match observed {
            Ok(observation) => {
                self.answered += u64::from(observation.as_fault().is_none());
                Some(observation)
            }
            Err(error @ ActError::Clock { .. }) => {
                self.breach(Promise::Limits, error.to_string(), vec![Attempt::of(args)]);
                None
            }
            Err(error) => {
                let message = format!("it fails without an answer: {error}");
                self.breach(Promise::Schema, message, vec![Attempt::of(args)]);
                None
            }
        }
    }

    /// What the schema lets in is answered, within bounds.
    async fn answers(&mut self, inside: &[Value]) {
        if inside.is_empty() {
            let message = "no arguments could be made that fit it; give some with --args";
            self.breach(Promise::Schema, message, vec![]);
        }
        let bytes_max = self.environment.limits().output_bytes_max;
        for args in inside {
            let mut episode = self.start();
            let Some(observation) = self.call(&mut episode, args).await else { continue };
            if observation.is_broken() {
                let text = crate::cut(observation.text().to_owned(), 400);
                let message = format!("it lets these arguments in, but {text}");
                self.breach(Promise::Schema, message, vec![Attempt::of(args)]);
            }
            let bytes = observation.text().len() + observation.data().to_string().len();
            if bytes > bytes_max.saturating_add(1024) {
                let message =
                    format!("an answer of {bytes} bytes; output_bytes_max = {bytes_max}");
                self.breach(Promise::Limits, message, vec![Attempt::of(args)]);
            }
        }
        if self.answered == 0 && !inside.is_empty() {
            let message = format!(
                "none of {} arguments that fit it was answered without a fault; give \
                 better ones with --args",
                inside.len()
            );
            self.breach(Promise::Schema, message, vec![Attempt::of(&inside[0])]);
        }
    }

    /// What the schema does not let in never reaches the tool, and there are objects that it
    /// does not let in.
    async fn turns_away(&mut self, outside: &[Value]) {
        if !outside.iter().any(Value::is_object) {
            let message = "it lets every object in: name the properties, their types, and \
                           \"additionalProperties\": false";
            self.breach(Promise::Schema, message, vec![]);
        }
        for args in outside {
            let mut episode = self.start();
            let observation = self.call(&mut episode, args).await;
            let fault = observation.as_ref().and_then(Observation::as_fault);
            assert_eq!(fault, Some(Fault::BadArgs), "the episode checks arguments");
        }
    }

    /// The same call in the same state comes to the same.
    async fn repeats(&mut self, inside: &[Value]) {
        for args in inside {
            let (mut one, mut two) = (self.start(), self.start());
            let first = self.call(&mut one, args).await;
            let second = self.call(&mut two, args).await;
            if let Some(message) = difference((&first, &one), (&second, &two)) {
                let message = format!("the same call, made twice: {message}");
                let elsewhere = vec![args.clone()];
                let again = Attempt { elsewhere, ..Attempt::of(args) };
                let calls = vec![Attempt::of(args), again];
                self.breach(Promise::Determinism, message, calls);
            }
        }
    }

    /// A call is answered as it was, whatever others asked in between.
    async fn forgets(&mut self, inside: &[Value]) {
        let Some(probe) = inside.first() else { return };
        let mut before = self.start();
        let first = self.call(&mut before, probe).await;
        for args in inside.iter().take(SEQUENCE_MAX) {
            let mut other = self.start();
            self.call(&mut other, args).await;
            let mut after = self.start();
            let again = self.call(&mut after, probe).await;
            if let Some(message) = difference((&first, &before), (&again, &after)) {
                let message =
                    format!("another episode's call changes the answer: {message}");
                let elsewhere = vec![args.clone()];
                let after = Attempt { elsewhere, ..Attempt::of(probe) };
                self.breach(Promise::State, message, vec![Attempt::of(probe), after]);
            }
        }
    }

    /// Going on from a state comes to the same, whatever a fork of it did.
    async fn forks(&mut self, inside: &[Value]) {
        let [first, .., last] = inside else { return };
        let mut state = self.start();
        self.call(&mut state, first).await;
        let (mut alone, mut fork) = (state.clone(), state.clone());
        let expected = self.call(&mut alone, first).await;
        self.call(&mut fork, last).await;
        self.call(&mut fork, last).await;
        let found = self.call(&mut state, first).await;
        if let Some(message) = difference((&expected, &alone), (&found, &state)) {
            let message = format!("a call on a fork changes the answer: {message}");
            let before = vec![first.clone()];
            let alone = Attempt { before, ..Attempt::of(first) };
            let aside = vec![last.clone(); 2];
            let forked = Attempt { aside, ..alone.clone() };
            self.breach(Promise::Fork, message, vec![alone, forked]);
        }
    }

    /// A sequence made again leads to the same states.
    async fn replays(&mut self, inside: &[Value]) {
        let sequence: Vec<&Value> = inside.iter().take(SEQUENCE_MAX).collect();
        let mut made = Vec::new();
        let mut episode = self.start();
        for args in &sequence {
            let observation = self.call(&mut episode, args).await;
            made.push((observation, episode.clone()));
        }
        let mut again = self.start();
        for (index, args) in sequence.iter().enumerate() {
            let observation = self.call(&mut again, args).await;
            let (recorded, state) = &made[index];
            if let Some(message) = difference((recorded, state), (&observation, &again)) {
                let message = format!("made again, call {index} differs: {message}");
                let of =
                    |calls: &[&Value]| calls.iter().map(|it| (*it).clone()).collect();
                let before = of(&sequence[..index]);
                let once = Attempt { before, ..Attempt::of(args) };
                let elsewhere = of(&sequence);
                let again = Attempt { elsewhere, ..once.clone() };
                self.breach(Promise::Replay, message, vec![once, again]);
                return;
            }
        }
    }
}

/// What differs between two calls and the states after them. A call that failed says nothing.
fn difference(
    one: (&Option<Observation>, &Episode<'_>),
    two: (&Option<Observation>, &Episode<'_>),
) -> Option<String> {
    let (Some(first), Some(second)) = (one.0, two.0) else { return None };
    if first != second {
        let shown = |it: &Observation| {
            let text = serde_json::to_string(it).expect("an observation serialises");
            crate::cut(text, 200)
        };
        return Some(format!("{} and then {}", shown(first), shown(second)));
    }
    let states = (one.1.scratch().digest(), two.1.scratch().digest());
    (states.0 != states.1)
        .then(|| format!("the same answer, but state {} and then {}", states.0, states.1))
}
