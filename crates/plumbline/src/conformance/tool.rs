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
/// Calls of one sequence, and of one that is long.
const SEQUENCE_MAX: usize = 4;
const LONG_SEQUENCE: usize = 16;
/// How long a tool is tried out at most, and how long after the first calls one is made again:
/// a clock that answers rest on has moved by then.
const TIME_MAX: Duration = Duration::from_secs(120);
const CLOCK_WAIT: Duration = Duration::from_millis(1100);

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
    /// Whether they show it again, each made from a fresh start of the tool. Otherwise it rests
    /// on what a running one went through before.
    pub reproduces: bool,
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
    /// Whether it is made more than a second after the attempt before it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_later: bool,
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
    /// What could not be tried, and what would help.
    pub untried: Vec<String>,
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
/// if any are. Every call is made of a fresh start of the tool as well as of a running one.
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
    let equipped = environment.find(&tool.spec().name).expect("the environment has it");
    let mut inside: Vec<Value> = Vec::new();
    for args in known.iter().take(INSIDE_MAX) {
        match equipped.misfit(args) {
            None => inside.push(args.clone()),
            Some(misfit) => trial.untried(format!("{args} does not fit: {misfit}")),
        }
    }
    let known = inside.len();
    inside.extend(arguments::inside(parameters, INSIDE_MAX));
    let outside = arguments::outside(parameters, OUTSIDE_MAX);
    if tool.effect() != Effect::External {
        tool.forget();
    }
    let began = Instant::now();
    let answers = trial.answers(&inside, known).await;
    trial.turns_away(&outside).await;
    let mut kept = vec![Promise::Schema, Promise::Limits];
    if tool.effect() != Effect::External {
        trial.repeats(&inside, &answers).await;
        trial.forgets(&inside).await;
        trial.forks(&inside).await;
        trial.replays(&inside).await;
        trial.goes_on(&inside).await;
        tokio::time::sleep(CLOCK_WAIT.saturating_sub(began.elapsed())).await;
        trial.lasts(&inside, &answers).await;
        kept.extend([
            Promise::Determinism,
            Promise::State,
            Promise::Fork,
            Promise::Replay,
        ]);
    }
    let breached =
        |promise: &Promise| trial.breaches.iter().any(|b| b.promise == *promise);
    // What was never answered kept nothing.
    kept.retain(|promise| !breached(promise) && trial.answered > 0);
    let Trial { calls, answered, slowest, untried, breaches, .. } = trial;
    Conformance { calls, answered, slowest, kept, untried, breaches }
}

/// A tool being tried out.
struct Trial<'e> {
    environment: &'e Environment,
    tool: &'e dyn Tool,
    inputs: &'e Value,
    calls: u64,
    answered: u64,
    slowest: Duration,
    until: Instant,
    /// Whether a call was not answered: another may take as long.
    hangs: bool,
    untried: Vec<String>,
    breaches: Vec<Breach>,
}

/// What a call came to, and the state after it.
type Seen<'e> = (Option<Observation>, Episode<'e>);

impl<'e> Trial<'e> {
    fn new(environment: &'e Environment, tool: &'e dyn Tool, inputs: &'e Value) -> Self {
        let (calls, answered, slowest) = (0, 0, Duration::ZERO);
        let (until, untried, breaches) = (Instant::now() + TIME_MAX, vec![], vec![]);
        Self {
            environment,
            tool,
            inputs,
            calls,
            answered,
            slowest,
            until,
            hangs: false,
            untried,
            breaches,
        }
    }

    fn untried(&mut self, what: String) {
        if !self.untried.contains(&what) {
            self.untried.push(what);
        }
    }

    fn start(&self) -> Episode<'e> {
        Episode::new(self.environment, self.inputs, None)
    }

    /// Notes a breach that the calls show, each of them from a fresh start.
    fn breach(
        &mut self,
        promise: Promise,
        message: impl Into<String>,
        calls: Vec<Attempt>,
    ) {
        if !self.is_breached(promise) {
            let (message, reproduces) = (message.into(), true);
            self.breaches.push(Breach { promise, message, calls, reproduces });
        }
    }

    /// Notes a breach, and whether two calls show it that should come to the same.
    async fn unequal(&mut self, promise: Promise, message: String, calls: [Attempt; 2]) {
        if !self.is_breached(promise) {
            let reproduces = self.differ(&calls).await;
            let calls = calls.into();
            self.breaches.push(Breach { promise, message, calls, reproduces });
        }
    }

    fn is_breached(&self, promise: Promise) -> bool {
        self.breaches.iter().any(|breach| breach.promise == promise)
    }

    /// Whether two calls come to two things, each made from a fresh start.
    async fn differ(&mut self, [one, two]: &[Attempt; 2]) -> bool {
        let one = self.attempt(one).await;
        if two.is_later {
            tokio::time::sleep(CLOCK_WAIT).await;
        }
        let two = self.attempt(two).await;
        difference(&one, &two).is_some()
    }

    async fn attempt(&mut self, attempt: &Attempt) -> Seen<'e> {
        self.tool.forget();
        let mut other = self.start();
        for args in &attempt.elsewhere {
            self.call(&mut other, args).await;
        }
        let mut episode = self.start();
        for args in &attempt.before {
            self.call(&mut episode, args).await;
        }
        let mut fork = episode.clone();
        for args in &attempt.aside {
            self.call(&mut fork, args).await;
        }
        (self.call(&mut episode, &attempt.args).await, episode)
    }

    /// Makes a call. A failure of the tool itself is a breach, and gives nothing.
    async fn call(
        &mut self,
        episode: &mut Episode<'_>,
        args: &Value,
    ) -> Option<Observation> {
        if self.hangs {
            self.untried("what was left to try after a call without an answer".into());
            return None;
        }
        if Instant::now() > self.until {
            let seconds = TIME_MAX.as_secs();
            self.untried(format!("what was left to try after {seconds} s"));
            return None;
        }
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
                self.hangs = true;
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

    /// A call in a fresh episode.
    async fn once(&mut self, args: &Value) -> Seen<'e> {
        let mut episode = self.start();
        (self.call(&mut episode, args).await, episode)
    }

    /// What the schema lets in is answered, within bounds. The first of it is `known` to be.
    async fn answers(&mut self, inside: &[Value], known: usize) -> Vec<Seen<'e>> {
        if inside.is_empty() {
            self.untried(
                "no arguments could be made that fit its schema; give some with --args"
                    .to_owned(),
            );
        }
        let mut seen = Vec::with_capacity(inside.len());
        let bytes_max = self.environment.limits().output_bytes_max;
        for args in inside {
            let answer = self.once(args).await;
            let observed = answer.0.clone();
            seen.push(answer);
            let Some(observation) = observed else { continue };
            if observation.is_broken() {
                let text = crate::cut(observation.text().to_owned(), 400);
                let message = format!("it lets these arguments in, but {text}");
                self.breach(Promise::Schema, message, vec![Attempt::of(args)]);
            }
            if observation.is_excess() {
                let message = observation.text();
                self.breach(Promise::Limits, message, vec![Attempt::of(args)]);
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
            match known {
                0 => self.untried(message),
                _ => {
                    self.breach(Promise::Schema, message, vec![Attempt::of(&inside[0])]);
                }
            }
        }
        seen
    }

    /// What the schema does not let in never reaches the tool, and there are objects that it
    /// does not let in.
    async fn turns_away(&mut self, outside: &[Value]) {
        // A tool that takes no arguments has none that are wrong.
        let takes_none =
            self.tool.spec().parameters["properties"] == serde_json::json!({});
        if !takes_none && !outside.iter().any(Value::is_object) {
            let message = "it lets every object in: name the properties, their types, and \
                           \"additionalProperties\": false";
            self.breach(Promise::Schema, message, vec![]);
        }
        for args in outside {
            let mut episode = self.start();
            let Some(observation) = self.call(&mut episode, args).await else { return };
            let fault = observation.as_fault();
            assert_eq!(fault, Some(Fault::BadArgs), "the episode checks arguments");
        }
    }

    /// The same call in the same state comes to the same: of a fresh start, and again.
    async fn repeats(&mut self, inside: &[Value], answers: &[Seen<'e>]) {
        for (index, (args, answer)) in inside.iter().zip(answers).enumerate() {
            self.tool.forget();
            let fresh = self.once(args).await;
            if let Some(message) = difference(answer, &fresh) {
                let message =
                    format!("the same call, made twice (of a fresh start): {message}");
                let elsewhere = inside[..index].to_vec();
                let running = Attempt { elsewhere, ..Attempt::of(args) };
                let calls = [running, Attempt::of(args)];
                self.unequal(Promise::Determinism, message, calls).await;
            }
            let again = self.once(args).await;
            if let Some(message) = difference(answer, &again) {
                let message = format!("the same call, made twice (at once): {message}");
                let elsewhere = vec![args.clone()];
                let again = Attempt { elsewhere, ..Attempt::of(args) };
                let calls = [Attempt::of(args), again];
                self.unequal(Promise::Determinism, message, calls).await;
            }
        }
    }

    /// Nor does time change what a call comes to.
    async fn lasts(&mut self, inside: &[Value], answers: &[Seen<'e>]) {
        let (Some(args), Some(answer)) = (inside.first(), answers.first()) else {
            return;
        };
        let later = self.once(args).await;
        if let Some(message) = difference(answer, &later) {
            let message = format!("the same call, made twice (a while later): {message}");
            let later = Attempt { is_later: true, ..Attempt::of(args) };
            let calls = [Attempt::of(args), later];
            self.unequal(Promise::Determinism, message, calls).await;
        }
    }

    /// A call is answered as it was, whatever others asked in between.
    async fn forgets(&mut self, inside: &[Value]) {
        let Some(probe) = inside.first() else { return };
        self.tool.forget();
        let before = self.once(probe).await;
        for args in inside.iter().take(SEQUENCE_MAX) {
            self.once(args).await;
            let after = self.once(probe).await;
            if let Some(message) = difference(&before, &after) {
                let message =
                    format!("another episode's call changes the answer: {message}");
                let elsewhere = vec![args.clone()];
                let after = Attempt { elsewhere, ..Attempt::of(probe) };
                let calls = [Attempt::of(probe), after];
                self.unequal(Promise::State, message, calls).await;
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
        if let Some(message) = difference(&(expected, alone), &(found, state)) {
            let message = format!("a call on a fork changes the answer: {message}");
            let before = vec![first.clone()];
            let alone = Attempt { before, ..Attempt::of(first) };
            let aside = vec![last.clone(); 2];
            let forked = Attempt { aside, ..alone.clone() };
            self.unequal(Promise::Fork, message, [alone, forked]).await;
        }
    }

    /// A sequence made again leads to the same states: at once, and of a fresh start.
    async fn replays(&mut self, inside: &[Value]) {
        let sequence = &inside[..inside.len().min(SEQUENCE_MAX)];
        self.tool.forget();
        let made = self.sequence(sequence).await;
        for is_fresh in [false, true] {
            if is_fresh {
                self.tool.forget();
            }
            let again = self.sequence(sequence).await;
            let pairs = made.iter().zip(&again);
            let differences = pairs.map(|(made, again)| difference(made, again));
            let first = differences.enumerate().find_map(|(at, it)| Some((at, it?)));
            if let Some((index, message)) = first {
                let how = if is_fresh { " of a fresh start" } else { "" };
                let message = format!("made again{how}, call {index} differs: {message}");
                let before = sequence[..index].to_vec();
                let once = Attempt { before, ..Attempt::of(&sequence[index]) };
                let elsewhere = if is_fresh { vec![] } else { sequence.to_vec() };
                let again = Attempt { elsewhere, ..once.clone() };
                self.unequal(Promise::Replay, message, [once, again]).await;
                return;
            }
        }
    }

    /// Calls in a row.
    async fn sequence(&mut self, sequence: &[Value]) -> Vec<Seen<'e>> {
        let mut episode = self.start();
        let mut made = Vec::with_capacity(sequence.len());
        for args in sequence {
            made.push((self.call(&mut episode, args).await, episode.clone()));
        }
        made
    }

    /// What is kept stays within its bound, call after call.
    async fn goes_on(&mut self, inside: &[Value]) {
        let mut episode = self.start();
        let mut before = Vec::with_capacity(LONG_SEQUENCE);
        for args in inside.iter().cycle().take(LONG_SEQUENCE) {
            let Some(observation) = self.call(&mut episode, args).await else { return };
            if observation.is_excess() {
                let index = before.len();
                let message = format!("call {index} in a row: {}", observation.text());
                let last = Attempt { before, ..Attempt::of(args) };
                self.breach(Promise::Limits, message, vec![last]);
                return;
            }
            before.push(args.clone());
        }
    }
}

/// What differs between two calls and the states after them. A call that failed says nothing.
fn difference(one: &Seen<'_>, two: &Seen<'_>) -> Option<String> {
    let (Some(first), Some(second)) = (&one.0, &two.0) else { return None };
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
