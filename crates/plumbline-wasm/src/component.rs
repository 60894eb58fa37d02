//! The tool: a component of the world `plumbline:tool`, in whatever language it was written.
//! Verifiers that are components run in the same way, see `component/verifier.rs`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use plumbline::{
    Bundle, Digest, Effect, Fault, Limits, Observation, Scratch, Tool, ToolError,
    ToolSpec,
};
use serde_json::Value;
use tokio::sync::Semaphore;
use wasmtime::component::Linker;
use wasmtime::{Engine, Store, Trap, UpdateDeadline};

use bindings::ToolPre;
use bindings::plumbline::tool::types as wit;
use grants::{Host, Seen};

pub use error::ComponentError;
pub use grants::Grants;
pub use verifier::ComponentVerifier;

/// What wasmtime makes of the files in `wit`.
mod bindings;
mod compiled;
mod error;
mod grants;
mod verifier;

/// Components that run at once; the pool has room for as many.
const RUNNING_MAX: u32 = 16;
/// Bytes of a component's file.
const FILE_BYTES_MAX: u64 = 256 << 20;
const DESCRIPTION_BYTES_MAX: usize = 8 << 10;
const NAME_CHARS_MAX: usize = 64;
/// What a module begins with that is no component.
const CORE_MODULE: &[u8] = b"\0asm\x01\0\0\0";
/// What wasmtime says of an import that is not granted, and what helps.
const UNKNOWN_IMPORT: &str = "unknown import";
const IMPORTS: &str = "no component is given a file system, network or process, and only a tool \
    that is granted them a clock or randomness: build it without \
    (componentize-py: --stub-wasi)";
/// Bytes that one call of the host may lift out of a guest, beyond what an answer and a state
/// may have; and what wasmtime says of more.
const LIFTED_BYTES_SLACK: usize = 1 << 20;
const LIFTED_TOO_MUCH: &str = "too much data is being copied";

/// What all components share: an engine, a pool of places to run in, a cache of compiled code.
#[derive(Clone)]
pub struct Components {
    engine: Engine,
    cache: PathBuf,
    turns: Arc<Semaphore>,
    /// A guest that was cancelled holds its place until it has stopped.
    places: Arc<Semaphore>,
}

/// A component, and what it is given.
#[derive(Debug, Clone)]
pub struct ComponentSettings {
    /// Its file.
    pub path: PathBuf,
    /// What its answers rest on: pure or stateful. A component has no world that is external.
    pub effect: Effect,
    /// What it may import besides the scratch and its files.
    pub grants: Grants,
    /// The files that it may read.
    pub files: Arc<Bundle>,
    /// What the model calls it, in place of the name it says.
    pub name: Option<String>,
}

/// A tool that a component answers for. Each call is answered by an instance of its own, so
/// that nothing but the scratch lasts.
///
/// A component that traps, uses up its fuel or its memory, or answers what is none comes to a
/// [`Fault`]; the state is then as it was before the call.
pub struct Component {
    spec: ToolSpec,
    /// Where its state is in the scratch: nowhere that a tool of ours keeps something.
    key: String,
    effect: Effect,
    files: Arc<Bundle>,
    running: Running,
    turns: Arc<Semaphore>,
    places: Arc<Semaphore>,
}

/// What it takes to run a component.
#[derive(Clone)]
struct Running {
    engine: Engine,
    ready: ToolPre<Host>,
}

/// How a run ended that did not come to its end.
#[derive(Debug)]
enum Stopped {
    Fuel,
    Memory,
    State(usize),
    /// It handed over more than the host would take to find out how much too much it is.
    Lifted,
    Trap(String),
}

/// What a call came to, and the state if it is to be another.
struct Answer {
    observation: Observation,
    state: Option<Value>,
}

impl Components {
    /// Compiled code is kept below `cache`.
    pub fn new(cache: &Path) -> Result<Self, ComponentError> {
        let engine = compiled::engine(RUNNING_MAX).map_err(|error| {
            let message = format!("{error:#}");
            ComponentError::Engine { message }
        })?;
        let permits = || Arc::new(Semaphore::new(RUNNING_MAX as usize));
        let (turns, places) = (permits(), permits());
        Ok(Self { engine, cache: cache.to_owned(), turns, places })
    }

    /// Compiles a component, or finds it compiled, and asks it what it is. Blocks: seconds
    /// for one that brings an interpreter, the first time.
    pub fn open(
        &self,
        settings: &ComponentSettings,
        limits: &Limits,
    ) -> Result<Component, ComponentError> {
        let ComponentSettings { path, effect, grants, files, name } = settings;
        let refused =
            |message: String| ComponentError::Component { path: path.clone(), message };
        if *effect == Effect::External {
            return Err(refused(
                "its effect is pure or stateful: it sees no world".into(),
            ));
        }
        let bytes = read(path)?;
        let digest = Digest::of(&bytes);
        let component = compiled::component(&self.engine, &bytes, digest, &self.cache)
            .map_err(|error| refused(format!("{error:#}")))?;
        let mut linker = Linker::new(&self.engine);
        let linked = grants::link(&mut linker, &component, *grants)
            .and_then(|()| linker.instantiate_pre(&component))
            .and_then(ToolPre::new);
        let ready = linked.map_err(|error| {
            refused(format!("it is no component of the world plumbline:tool: {error:#}"))
        })?;
        let running = Running { engine: self.engine.clone(), ready };
        let said = running.describe(files, limits).map_err(|stopped| {
            refused(format!("it cannot say what it is: {}", stopped.said(limits)))
        })?;
        let pinned = match files.files() {
            // As it was when components had none.
            [] => Digest::of_json(&(digest, effect, grants)),
            _ => Digest::of_json(&(digest, effect, grants, files.digest())),
        };
        let spec = spec(said, name.as_deref(), pinned).map_err(refused)?;
        let (turns, places) = (Arc::clone(&self.turns), Arc::clone(&self.places));
        let key = format!("component {}", spec.name);
        let (effect, files) = (*effect, Arc::clone(files));
        Ok(Component { spec, key, effect, files, running, turns, places })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ComponentError> {
    let wrong = |message: String| {
        let path = path.to_owned();
        ComponentError::Component { path, message }
    };
    let metadata = fs::metadata(path).map_err(|error| wrong(error.to_string()))?;
    if metadata.len() > FILE_BYTES_MAX {
        return Err(wrong(format!("it has more than {FILE_BYTES_MAX} bytes")));
    }
    let bytes = fs::read(path).map_err(|error| wrong(error.to_string()))?;
    if bytes.starts_with(CORE_MODULE) {
        let message =
            "it is a core module; `wasm-tools component new` makes a component of one";
        return Err(wrong(message.to_owned()));
    }
    Ok(bytes)
}

/// Checks what a component says of itself. The error says what would be right.
fn spec(said: wit::Spec, name: Option<&str>, pinned: Digest) -> Result<ToolSpec, String> {
    let wit::Spec { name: own, description, parameters } = said;
    let name = name.map_or(own, str::to_owned);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !(1..=NAME_CHARS_MAX).contains(&name.len()) || !name.chars().all(is_plain) {
        let name = plumbline::cut(name, NAME_CHARS_MAX);
        return Err(format!(
            "its name {name:?} must be 1 to {NAME_CHARS_MAX} letters, digits, '-' and '_'"
        ));
    }
    let bytes = description.len();
    if description.trim().is_empty() || bytes > DESCRIPTION_BYTES_MAX {
        return Err(format!(
            "its description has {bytes} bytes; it must have 1 to {DESCRIPTION_BYTES_MAX}"
        ));
    }
    let parameters: Value = serde_json::from_str(&parameters)
        .map_err(|error| format!("its parameters are no JSON: {error}"))?;
    if parameters.get("type") != Some(&Value::from("object")) {
        return Err("its parameters must be a JSON Schema of type object".to_owned());
    }
    Ok(ToolSpec { name, description, parameters, pinned })
}

impl Running {
    fn describe(
        &self,
        files: &Arc<Bundle>,
        limits: &Limits,
    ) -> Result<wit::Spec, Stopped> {
        let seen =
            Seen { state: None, inputs: String::from("null"), files: Arc::clone(files) };
        let host = Host::new(seen, Effect::Pure, limits);
        let said = run(&self.engine, host, limits, Arc::default(), |store| {
            self.ready.instantiate(&mut *store)?.call_describe(store)
        });
        said.map(|(said, _)| said)
    }

    fn answer(
        &self,
        args: &str,
        host: Host,
        limits: &Limits,
        is_cancelled: Arc<AtomicBool>,
    ) -> Answer {
        let ran = run(&self.engine, host, limits, is_cancelled, |store| {
            self.ready.instantiate(&mut *store)?.call_call(store, args)
        });
        let as_was = |observation| Answer { observation, state: None };
        let fault = |fault, message| as_was(Observation::fault(fault, message));
        let (answer, written) = match ran {
            Ok(ran) => ran,
            Err(stopped) => return as_was(stopped.told(limits)),
        };
        let wit::Output { text, data } = match answer {
            Ok(output) => output,
            Err(wit::Fault::BadArgs(said)) => return fault(Fault::BadArgs, said),
            Err(wit::Fault::Refused(said)) => return fault(Fault::Refused, said),
            Err(wit::Fault::Limit(said)) => return fault(Fault::Limit, said),
            Err(wit::Fault::Trap(said)) => return fault(Fault::Trap, said),
        };
        let (bytes, bytes_max) =
            (text.len() + data.as_ref().map_or(0, String::len), limits.output_bytes_max);
        if bytes > bytes_max {
            let message = format!("the answer has {bytes} bytes; at most {bytes_max}");
            return as_was(Observation::excess(message));
        }
        let json = |what: &str, text: Option<String>| match text {
            None => Ok(None),
            Some(text) => {
                serde_json::from_str::<Value>(&text).map(Some).map_err(|error| {
                    Observation::broken(format!("its {what} is no JSON: {error}"))
                })
            }
        };
        match (json("data", data), json("state", written)) {
            (Ok(data), Ok(state)) => {
                let data = data.unwrap_or(Value::Null);
                Answer { observation: Observation::Output { text, data }, state }
            }
            (Err(broken), _) | (_, Err(broken)) => as_was(broken),
        }
    }
}

/// Makes a fresh instance and runs a function of it. Gives what that returned, and what it kept.
fn run<T>(
    engine: &Engine,
    host: Host,
    limits: &Limits,
    is_cancelled: Arc<AtomicBool>,
    body: impl FnOnce(&mut Store<Host>) -> wasmtime::Result<T>,
) -> Result<(T, Option<String>), Stopped> {
    let mut store = Store::new(engine, host);
    store.limiter(|host| host);
    store.set_hostcall_fuel(lifted_bytes_max(limits));
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(move |_| {
        Ok(match is_cancelled.load(Ordering::Relaxed) {
            true => UpdateDeadline::Interrupt,
            false => UpdateDeadline::Continue(1),
        })
    });
    let ran = store.set_fuel(limits.fuel_max).and_then(|()| body(&mut store));
    match ran {
        Ok(value) => Ok((value, store.into_data().written())),
        Err(_) if store.data().was_refused_memory() => Err(Stopped::Memory),
        Err(error) => match (store.data().excess(), error.downcast_ref::<Trap>()) {
            (Some(bytes), _) => Err(Stopped::State(bytes)),
            (_, Some(Trap::OutOfFuel)) => Err(Stopped::Fuel),
            _ => match error.root_cause().to_string() {
                said if said.starts_with(LIFTED_TOO_MUCH) => Err(Stopped::Lifted),
                said => Err(Stopped::Trap(said)),
            },
        },
    }
}

fn lifted_bytes_max(limits: &Limits) -> usize {
    let kept = limits.output_bytes_max.saturating_add(limits.files_bytes_max);
    kept.saturating_add(LIFTED_BYTES_SLACK)
}

impl Stopped {
    /// For the model: the same whenever it happens.
    fn told(self, limits: &Limits) -> Observation {
        match self {
            Stopped::State(_) | Stopped::Lifted => Observation::excess(self.said(limits)),
            trap @ Stopped::Trap(_) => Observation::broken(trap.said(limits)),
            Stopped::Fuel | Stopped::Memory => Observation::fault(
                Fault::Limit,
                format!("the tool {}", self.said(limits)),
            ),
        }
    }

    fn said(self, limits: &Limits) -> String {
        match self {
            Stopped::Fuel => format!("used up its {} units of fuel", limits.fuel_max),
            Stopped::Memory => {
                format!("needs more than {} bytes of memory", limits.memory_bytes_max)
            }
            Stopped::State(bytes) => {
                format!("its state has {bytes} bytes; at most {}", limits.files_bytes_max)
            }
            Stopped::Lifted => {
                let bytes_max = lifted_bytes_max(limits);
                format!("its answer or its state has more than {bytes_max} bytes")
            }
            Stopped::Trap(message) if message.starts_with(UNKNOWN_IMPORT) => {
                format!("{message}; {IMPORTS}")
            }
            Stopped::Trap(message) => message,
        }
    }
}

#[async_trait]
impl Tool for Component {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn effect(&self) -> Effect {
        self.effect
    }

    fn turns(&self) -> Option<&Semaphore> {
        Some(&self.turns)
    }

    async fn call(
        &self,
        args: &Value,
        scratch: &mut Scratch,
        limits: &Limits,
    ) -> Result<Observation, ToolError> {
        let state = scratch.get(&self.key).map(Value::to_string);
        let (inputs, files) = (scratch.inputs().to_string(), Arc::clone(&self.files));
        let host = Host::new(Seen { state, inputs, files }, self.effect, limits);
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.expect("it is never closed");
        let is_cancelled = Arc::new(AtomicBool::new(false));
        let engine = self.running.engine.clone();
        let _cancel = Cancel { engine, is_cancelled: Arc::clone(&is_cancelled) };
        let (running, args, limits) =
            (self.running.clone(), args.to_string(), limits.clone());
        let answered = tokio::task::spawn_blocking(move || {
            let _place = place;
            running.answer(&args, host, &limits, is_cancelled)
        });
        let answered = answered.await.map_err(|error| ToolError::Engine {
            tool: self.spec.name.clone(),
            message: error.to_string(),
        })?;
        if let Some(state) = answered.state {
            scratch.set(&self.key, state);
        }
        Ok(answered.observation)
    }
}

/// Stops a guest that nobody waits for any more.
struct Cancel {
    engine: Engine,
    is_cancelled: Arc<AtomicBool>,
}

impl Drop for Cancel {
    fn drop(&mut self) {
        self.is_cancelled.store(true, Ordering::Relaxed);
        self.engine.increment_epoch();
    }
}
