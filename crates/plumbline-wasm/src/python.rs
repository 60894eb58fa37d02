//! The tool `python`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use plumbline::{
    Digest, Fault, Limits, Observation, Scratch, Tool, ToolError, ToolSpec, cut,
};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};

use crate::artefact::Artefact;
use crate::cells::{Cells, Kept, next_key, start_key};
use crate::door::{Bound, Cell, Door, Exception, HostTools, Outside, Report};
use crate::files::{DATA, Files};
use crate::guest::{Ended, Frozen, Live, Printed};
use crate::pinned::Pinned;
use crate::prepared::{Prepared, STACK_BYTES, Start, prepare, start_digest};
use crate::states::States;
use crate::world::World;
use crate::{Progress, PythonError};

const NAME: &str = "python";
/// What a turn of the interpreter is given: the kernel asks for the cell itself.
const RUN: &str = "__import__('_plumbline').run()";

/// Bytes of one cell.
const CODE_BYTES_MAX: usize = 1 << 20;
/// Where an episode's clock and its draws of chance begin: behind all that the start of the
/// interpreter can have used, so that they do not depend on what it did use.
const EPISODE_ELAPSED_NS: u64 = 3_600_000_000_000;
const EPISODE_DRAWS: u64 = 1 << 32;
/// What the guest may use of a stack, and what the host needs beside it.
const THREAD_STACK_BYTES: usize = STACK_BYTES + (8 << 20);
/// Interpreters at rest that are kept.
const STATES_MAX: usize = 64;
/// Task files up to this size are held in memory.
const FILE_MEMORY_BYTES_MAX: u64 = 8 << 20;
const FILES_MAX: usize = 100_000;

/// What a sandbox is made of. Everything is given; nothing has a default.
#[derive(Debug, Clone)]
pub struct PythonSettings {
    /// The folder with the interpreter's files: `python-snapshot.wasm`, `python-stdlib.zip`.
    pub artefact: PathBuf,
    /// Where the compiled module and the started interpreter are kept between runs.
    pub cache: PathBuf,
    /// The folder that a task's `files` are in. Every file in it is pinned.
    pub files: Option<PathBuf>,
    /// Modules that are imported before the first cell of every episode.
    pub preload: Vec<String>,
    /// Bytes of interpreters at rest that are kept in memory; others are run again.
    pub states_bytes_max: usize,
}

/// The tool `python`: runs code in a sandbox that keeps its state over an episode.
///
/// Arguments: `{"code": TEXT}`. A cell is run as in a notebook: names stay, and the value of
/// a last expression is echoed. The output's data is
/// `{"stdout", "stderr", "echo": TEXT or null, "exception": {"type", "message", "line"} or
/// null, "files": {PATH: {"bytes", "sha256"}}}`, the files being those that the cell wrote.
/// An exception that the cell does not catch is part of its output, as in a notebook: what
/// the cell did before stays. A [`Fault::Limit`] (fuel, memory, output, files) and a
/// [`Fault::Trap`] (the interpreter itself ended) leave the state as it was before the call.
///
/// The scratch keeps the cells and the digests of the files they wrote. Interpreters are a
/// cache: one that is missing is made again by running its cells.
pub struct Python {
    spec: ToolSpec,
    sandbox: Arc<Sandbox>,
}

struct Sandbox {
    prepared: Prepared,
    library: Vec<(String, Pinned)>,
    /// The files that tasks may name.
    files: BTreeMap<String, Pinned>,
    host_tools: HostTools,
    states: States,
    /// Guests that run at once: one a core.
    cores: usize,
    turns: Semaphore,
    /// A guest that was cancelled holds its place until it has stopped.
    places: Arc<Semaphore>,
}

/// One call, as the guest's thread gets it.
struct Job {
    code: String,
    cells: Cells,
    limits: Limits,
    /// What tools are called with by the guest: the task's inputs alone.
    inputs: Scratch,
    runtime: Handle,
    is_cancelled: Arc<AtomicBool>,
}

/// What a call came to: the observation, and the cells after it where the state moved on.
type Answer = Result<(Observation, Option<Cells>), ToolError>;

/// What a cell came to.
enum Outcome {
    /// It ran to its end, or to an exception; its state stands.
    Ran(Report),
    /// It did not; its state is dropped.
    Fault(Fault, String),
    Failed(ToolError),
}

impl Python {
    /// Opens the sandbox: compiles the interpreter if the cache has no compiled one, and
    /// imports what every episode starts with. The first takes minutes and the second
    /// seconds, once; after that it is milliseconds. Code can call the `host_tools` as
    /// `from host import tools; tools.NAME(..)`: with the task's inputs as their state, and
    /// what they leave in it dropped.
    pub fn open(
        settings: &PythonSettings,
        host_tools: Vec<Arc<dyn Tool>>,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Self, PythonError> {
        let artefact = Artefact::open(&settings.artefact)?;
        let files = match &settings.files {
            Some(folder) => pin_folder(folder)?,
            None => BTreeMap::new(),
        };
        let host_tools = HostTools::new(host_tools)
            .map_err(|message| PythonError::Engine { message })?;
        let digests: BTreeMap<&str, Digest> =
            files.iter().map(|(path, pinned)| (path.as_str(), pinned.digest())).collect();
        let specs: Vec<&ToolSpec> = host_tools.iter().map(|tool| tool.spec()).collect();
        let start = start_digest(&artefact, &settings.preload);
        let spec = ToolSpec {
            name: NAME.to_owned(),
            description: description(&settings.preload, &specs),
            parameters: json!({
                "type": "object",
                "properties": {
                    "code": {"type": "string", "description": "Python 3 source code"},
                },
                "required": ["code"],
                "additionalProperties": false,
            }),
            pinned: Digest::of_json(&(start, digests, specs)),
        };
        let prepared = on_large_stack(|| {
            let (preload, cache) = (&settings.preload, &settings.cache);
            let prepared = prepare(&artefact, preload, cache, progress)?;
            warm(&prepared, artefact.library());
            Ok(prepared)
        })?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let sandbox = Sandbox {
            prepared,
            library: artefact.library().to_vec(),
            files,
            host_tools,
            states: States::new(STATES_MAX, settings.states_bytes_max),
            cores,
            turns: Semaphore::new(cores),
            places: Arc::new(Semaphore::new(cores)),
        };
        Ok(Self { spec, sandbox: Arc::new(sandbox) })
    }

    /// Drops every interpreter at rest. What is asked for next is made again by running its
    /// cells: the slow way, which gives the same.
    pub fn forget(&self) {
        self.sandbox.states.clear();
    }
}

/// Runs something on a thread whose stack a guest may use.
fn on_large_stack<T: Send>(
    run: impl FnOnce() -> Result<T, PythonError> + Send,
) -> Result<T, PythonError> {
    let failed =
        |error: std::io::Error| PythonError::Engine { message: error.to_string() };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(THREAD_STACK_BYTES);
        let ran = thread.spawn_scoped(scope, run).map_err(failed)?.join();
        ran.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Runs a cell, so that what it ran in waits for the first that is asked for. Changes nothing
/// but time.
fn warm(prepared: &Prepared, library: &[(String, Pinned)]) {
    let limits = Limits::default();
    let files = Files::new(library.iter().cloned(), 0, World::start_ns());
    let Start { image, globals } = prepared.start.clone();
    let world = World::new(files, EPISODE_ELAPSED_NS, EPISODE_DRAWS);
    let frozen = Frozen { image, globals, world };
    let door = Door::open(&Cell::new(1, "print(1)\n1", 100), None);
    let Ok(mut live) = prepared.machine.wake(&frozen, &limits, door, Arc::default())
    else {
        return;
    };
    if matches!(live.turn(RUN), Ended::Returned)
        && let Ok((_, spent)) = live.freeze()
    {
        spent.recycle(1);
    }
}

fn description(preload: &[String], host_tools: &[&ToolSpec]) -> String {
    let mut text = "Runs Python 3 code in a sandbox without a network. Variables, imports \
                    and files stay between calls, as in a notebook; what is printed and the \
                    value of a last expression are shown. The standard library, numpy, \
                    pandas, scipy, scikit-learn, statsmodels and matplotlib are there. The \
                    task's files are in /data; other files can be written to the working \
                    folder."
        .to_owned();
    if !preload.is_empty() {
        text.push_str(&format!(" Imported quickly: {}.", preload.join(", ")));
    }
    if !host_tools.is_empty() {
        let names: Vec<String> =
            host_tools.iter().map(|spec| format!("tools.{}(..)", spec.name)).collect();
        let names = names.join(", ");
        text.push_str(&format!(
            " Code can call, after `from host import tools`: {names}."
        ));
    }
    text
}

/// Pins every file of a folder, by its path in it.
fn pin_folder(folder: &Path) -> Result<BTreeMap<String, Pinned>, PythonError> {
    let failed = |path: &Path, message: String| PythonError::Unreadable {
        path: path.to_owned(),
        message,
    };
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(current) = folders.pop() {
        let entries =
            fs::read_dir(&current).map_err(|e| failed(&current, e.to_string()))?;
        for entry in entries {
            let path = entry.map_err(|e| failed(&current, e.to_string()))?.path();
            let metadata =
                fs::metadata(&path).map_err(|e| failed(&path, e.to_string()))?;
            if metadata.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(folder).expect("it was found in there");
            let parts: Option<Vec<&str>> =
                name.components().map(|part| part.as_os_str().to_str()).collect();
            let Some(parts) = parts else {
                return Err(failed(&path, "its name is not UTF-8".to_owned()));
            };
            let pinned = if metadata.len() <= FILE_MEMORY_BYTES_MAX {
                fs::read(&path).map(Pinned::of_bytes)
            } else {
                Pinned::of_file(&path)
            };
            files.insert(
                parts.join("/"),
                pinned.map_err(|e| failed(&path, e.to_string()))?,
            );
            if files.len() > FILES_MAX {
                let message =
                    format!("more than {FILES_MAX} files: name a smaller folder");
                return Err(failed(folder, message));
            }
        }
    }
    Ok(files)
}

#[async_trait]
impl Tool for Python {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn turns(&self) -> Option<&Semaphore> {
        Some(&self.sandbox.turns)
    }

    fn forget(&self) {
        Python::forget(self);
    }

    async fn call(
        &self,
        args: &Value,
        scratch: &mut Scratch,
        limits: &Limits,
    ) -> Result<Observation, ToolError> {
        let Some(code) = args.get("code").and_then(Value::as_str) else {
            return Ok(Observation::fault(Fault::BadArgs, "\"code\" must be a text"));
        };
        if code.len() > CODE_BYTES_MAX {
            let bytes = code.len();
            let message = format!("the code has {bytes} bytes; at most {CODE_BYTES_MAX}");
            return Ok(Observation::fault(Fault::BadArgs, message));
        }
        let is_cancelled = Arc::new(AtomicBool::new(false));
        let job = Job {
            code: code.to_owned(),
            cells: Cells::of(scratch).map_err(engine_error)?,
            limits: limits.clone(),
            inputs: Scratch::of_inputs(scratch.inputs()),
            runtime: Handle::current(),
            is_cancelled: Arc::clone(&is_cancelled),
        };
        let places = Arc::clone(&self.sandbox.places);
        let place = places.acquire_owned().await.expect("nobody closes it");
        let (sender, receiver) = oneshot::channel();
        let sandbox = Arc::clone(&self.sandbox);
        // A thread of its own, for a stack of its own size. It ends with the call.
        let spawned = std::thread::Builder::new()
            .name("python".to_owned())
            .stack_size(THREAD_STACK_BYTES)
            .spawn(move || {
                sandbox.serve(&job, |answer| {
                    // Nobody may wait for it any more.
                    let _ = sender.send(answer);
                });
                drop(place);
            });
        spawned.map_err(|error| host_error(&error))?;
        let _cancel = Cancel { sandbox: Arc::clone(&self.sandbox), is_cancelled };
        let wait = Duration::from_millis(limits.call_ms_max);
        let answer = match tokio::time::timeout(wait, receiver).await {
            Ok(answer) => {
                answer.map_err(|_| engine_error("the guest's thread died".into()))?
            }
            // Wall clock does not reproduce: this is no observation.
            Err(_) => {
                let ms_max = limits.call_ms_max;
                return Err(engine_error(format!(
                    "longer than call_ms_max = {ms_max} ms"
                )));
            }
        };
        let (observation, cells) = answer?;
        if let Some(cells) = cells {
            cells.store(scratch);
        }
        Ok(observation)
    }
}

/// Stops the guest when nobody waits for its answer any more.
struct Cancel {
    sandbox: Arc<Sandbox>,
    is_cancelled: Arc<AtomicBool>,
}

impl Drop for Cancel {
    fn drop(&mut self) {
        self.is_cancelled.store(true, Ordering::Relaxed);
        self.sandbox.prepared.machine.nudge();
    }
}

impl Sandbox {
    /// Runs one cell on the state that its cells stand for, answers, and keeps the state.
    fn serve(&self, job: &Job, answer: impl FnOnce(Answer)) {
        let (key, frozen) = match self.state(job) {
            Ok(state) => state,
            Err(error) => return answer(Err(error)),
        };
        let (mut live, outcome) =
            match self.run(job, &frozen, &job.code, job.cells.codes().len()) {
                Ok(ran) => ran,
                Err(error) => return answer(Err(error)),
            };
        match outcome {
            Outcome::Failed(error) => answer(Err(error)),
            Outcome::Fault(fault, message) => {
                let message =
                    format!("{message}. The state is as it was before this call");
                answer(Ok((Observation::fault(fault, message), None)));
            }
            Outcome::Ran(report) => {
                let mut cells = job.cells.clone();
                let touched =
                    cells.append(&job.code, &live.session().world.files.written());
                let observation = observe(&live.session().printed, report, &touched);
                let meanwhile = || answer(Ok((observation, Some(cells))));
                self.keep(next_key(key, &job.code), live, meanwhile);
            }
        }
    }

    /// Puts an interpreter to rest and keeps it.
    fn keep(
        &self,
        key: Digest,
        live: Live,
        meanwhile: impl FnOnce(),
    ) -> Option<Arc<Frozen>> {
        let mut spent = None;
        let freeze = || {
            let failed = |error: &std::io::Error| {
                tracing::warn!(%error, "an interpreter could not be kept");
            };
            let (frozen, rest) = live.freeze().inspect_err(failed).ok()?;
            spent = Some(rest);
            Some(frozen)
        };
        let kept = self.states.put(key, meanwhile, freeze);
        // Nobody waits for this any more.
        if let Some(spent) = spent {
            spent.recycle(self.cores);
        }
        kept
    }

    /// The interpreter that a job's cells stand for: kept, or made by running again those
    /// that come after the last one kept.
    fn state(&self, job: &Job) -> Result<(Digest, Arc<Frozen>), ToolError> {
        let codes = job.cells.codes();
        let inputs = job.inputs.inputs();
        let mut keys = vec![start_key(inputs, &job.limits)];
        for code in codes {
            keys.push(next_key(keys[keys.len() - 1], code));
        }
        let kept =
            |count: &usize| self.states.get(keys[*count]).map(|kept| (*count, kept));
        let (count, mut frozen) =
            match (1..keys.len()).rev().find_map(|count| kept(&count)) {
                Some(kept) => kept,
                None => (0, Arc::new(self.start(inputs)?)),
            };
        for index in count..codes.len() {
            let (live, outcome) = self.run(job, &frozen, &codes[index], index)?;
            match outcome {
                Outcome::Ran(_) => {}
                Outcome::Failed(error) => return Err(error),
                Outcome::Fault(fault, message) => {
                    let number = index + 1;
                    let message = format!(
                        "cell {number} of the scratch does not run again: {fault:?}, {message}"
                    );
                    return Err(engine_error(message));
                }
            }
            let kept = self.keep(keys[index + 1], live, || {});
            frozen = kept.ok_or_else(|| engine_error("a state cannot be kept".into()))?;
        }
        Ok((keys[codes.len()], frozen))
    }

    /// The interpreter before an episode's first cell.
    fn start(&self, inputs: &Value) -> Result<Frozen, ToolError> {
        let mut fixed = self.library.clone();
        for name in named_files(inputs).map_err(engine_error)? {
            let pinned = self.files.get(name).ok_or_else(|| {
                let known: Vec<&str> =
                    self.files.keys().take(20).map(String::as_str).collect();
                let known = known.join(", ");
                engine_error(format!(
                    "the task names the file {name:?}, which is not in the environment's \
                     files; there are: {known}"
                ))
            })?;
            fixed.push((format!("{DATA}/{name}"), pinned.clone()));
        }
        let files = Files::new(fixed, 0, World::start_ns());
        let world = World::new(files, EPISODE_ELAPSED_NS, EPISODE_DRAWS);
        let start = &self.prepared.start;
        Ok(Frozen { image: start.image.clone(), globals: start.globals.clone(), world })
    }

    /// Runs a cell, the `index`-th of its episode, on a state.
    fn run(
        &self,
        job: &Job,
        frozen: &Frozen,
        code: &str,
        index: usize,
    ) -> Result<(Live, Outcome), ToolError> {
        let cell = Cell::new(index + 1, code, job.limits.output_bytes_max);
        let outside = (self.host_tools.iter().next().is_some()).then(|| Outside {
            tools: self.host_tools.clone(),
            scratch: job.inputs.clone(),
            limits: job.limits.clone(),
            runtime: job.runtime.clone(),
        });
        let door = Door::open(&cell, outside);
        let is_cancelled = Arc::clone(&job.is_cancelled);
        let mut live = self
            .prepared
            .machine
            .wake(frozen, &job.limits, door, is_cancelled)
            .map_err(|error| engine_error(format!("{error:#}")))?;
        let ended = live.turn(RUN);
        let outcome = outcome(ended, &mut live, &job.limits);
        Ok((live, outcome))
    }
}

/// What a turn came to.
fn outcome(ended: Ended, live: &mut Live, limits: &Limits) -> Outcome {
    let memory = || {
        let bytes_max = limits.memory_bytes_max;
        let message = format!(
            "the code needs more memory than memory_bytes_max = {bytes_max}: work on less at \
             a time"
        );
        Outcome::Fault(Fault::Limit, message)
    };
    match ended {
        Ended::Fuel => {
            let fuel_max = limits.fuel_max;
            let message = format!(
                "the code ran longer than fuel_max = {fuel_max} allows: do less work, or \
                 spread it over several calls"
            );
            Outcome::Fault(Fault::Limit, message)
        }
        Ended::Printed => {
            let bytes_max = limits.output_bytes_max;
            let message = format!(
                "the code printed far more than output_bytes_max = {bytes_max}: print less"
            );
            Outcome::Fault(Fault::Limit, message)
        }
        Ended::Cancelled => Outcome::Failed(engine_error("the call was dropped".into())),
        Ended::Tool(error) => Outcome::Failed(error),
        Ended::Trapped(_) if live.is_memory_refused() => memory(),
        Ended::Trapped(message) => Outcome::Fault(Fault::Trap, message),
        Ended::Returned => match live.session().door.report() {
            Some(Report { exception: Some(Exception { limit, .. }), .. })
                if limit == Some(Bound::Memory) && live.is_memory_refused() =>
            {
                memory()
            }
            Some(Report { exception: Some(Exception { limit, .. }), .. })
                if limit == Some(Bound::Files)
                    && live.session().world.files.is_refused() =>
            {
                let bytes_max = limits.files_bytes_max;
                let message = format!(
                    "the code writes more to files than files_bytes_max = {bytes_max}: write \
                     less, or remove files first"
                );
                Outcome::Fault(Fault::Limit, message)
            }
            Some(report) => Outcome::Ran(report),
            None if live.is_memory_refused() => memory(),
            None => {
                let message = "the interpreter no longer says what its code came to: leave \
                               its internals alone";
                Outcome::Fault(Fault::Trap, message.to_owned())
            }
        },
    }
}

/// What the model, and programs, are told of a cell that ran.
fn observe(
    printed: &Printed,
    report: Report,
    touched: &BTreeMap<String, Kept>,
) -> Observation {
    let left = printed.left();
    let stdout = marked(&printed.stdout, printed.stdout_missing);
    let stderr = marked(&printed.stderr, printed.stderr_missing);
    let echo = report.echo.map(|echo| cut(echo, left));
    let mut text = String::new();
    let traceback =
        report.exception.as_ref().map(|exception| exception.traceback.as_str());
    for part in [Some(&*stdout), Some(&*stderr), echo.as_deref(), traceback] {
        let Some(part) = part.filter(|part| !part.is_empty()) else { continue };
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(part);
    }
    if text.is_empty() {
        text.push_str("(no output)");
    }
    let exception = report.exception.map(|exception| {
        let Exception { r#type, message, line, .. } = exception;
        json!({"type": r#type, "message": cut(message, left), "line": line})
    });
    let data = json!({
        "stdout": stdout,
        "stderr": stderr,
        "echo": echo,
        "exception": exception,
        "files": touched,
    });
    Observation::Output { text, data }
}

/// Printed bytes as text; what is missing is said at the end.
fn marked(bytes: &[u8], missing: usize) -> String {
    // The cut may have gone through a character.
    let mut text = String::from_utf8_lossy(bytes).into_owned();
    if missing > 0 {
        text.push_str(&format!("\n[cut: {missing} more bytes]"));
    }
    text
}

/// The files that a task names: `{"files": [..]}`.
fn named_files(inputs: &Value) -> Result<Vec<&str>, String> {
    let Some(files) = inputs.get("files") else { return Ok(vec![]) };
    let names =
        files.as_array().and_then(|files| files.iter().map(Value::as_str).collect());
    names.ok_or_else(|| format!("the task's \"files\" are no list of names: {files}"))
}

fn engine_error(message: String) -> ToolError {
    ToolError::Engine { tool: NAME.to_owned(), message }
}

fn host_error(error: &std::io::Error) -> ToolError {
    ToolError::Host { tool: NAME.to_owned(), message: error.to_string() }
}
