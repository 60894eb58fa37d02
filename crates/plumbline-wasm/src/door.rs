//! The guest's one way to call out: frames of bytes through `host.call`.
//!
//! Frames of our own bring a cell in and what it came to out. All others are those of the
//! interpreter's tool protocol, version 1, which its module `host.tools` speaks: JSON
//! objects `{"v": 1, "id": N, "op": "list"}` and
//! `{"v": 1, "id": N, "op": "call", "tool": NAME, "args": {..}}`, answered by
//! `{"v": 1, "id": N, "ok": true, "tools": [..]}`, `{.., "ok": true, "value": ..}`, or
//! `{.., "ok": false, "error": {"kind": .., "message": ..}}`. A guest that sends frames of
//! ours misreports itself, which it can do by printing as well.

use std::sync::Arc;
use std::time::Duration;

use jsonschema::Validator;
use plumbline::{Fault, Limits, Observation, Scratch, Tool, ToolError, cut, turn};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use wasmtime::{Caller, Linker, Result as Wasm};

use crate::guest::{Session, Stop};
use crate::wasi::charge;

/// The guest asks for its cell, and says what the cell came to.
const CELL: &[u8] = b"plumbline cell";
const DONE: &[u8] = b"plumbline done ";

/// What the door answers where there is nobody, or where a frame cannot be served.
const NO_HOST: i32 = -1;
const HOST_FAULT: i32 = -2;

/// Calls of tools that one cell may make.
const CALLS_MAX: u32 = 64;
/// Bytes of one frame, either way.
const FRAME_BYTES_MAX: usize = 8 << 20;
const MESSAGE_BYTES_MAX: usize = 4096;
/// Characters of an echo or a traceback that are taken: with every one escaped, they fit.
const REPORT_CHARS_MAX: usize = 256 << 10;

/// A cell to run.
#[derive(Debug)]
pub(crate) struct Cell {
    /// What it is called in tracebacks.
    name: String,
    code: String,
    /// Characters of what it echoes, and of its traceback, that are wanted.
    chars_max: usize,
}

impl Cell {
    /// The `number`-th cell, the first being 1.
    pub(crate) fn new(number: usize, code: &str, chars_max: usize) -> Self {
        let name = format!("<cell {number}>");
        let chars_max = chars_max.min(REPORT_CHARS_MAX);
        Self { name, code: code.to_owned(), chars_max }
    }
}

/// What a cell came to.
#[derive(Debug, Deserialize)]
pub(crate) struct Report {
    pub(crate) echo: Option<String>,
    pub(crate) exception: Option<Exception>,
}

/// An exception that the cell did not catch.
#[derive(Debug, Deserialize)]
pub(crate) struct Exception {
    pub(crate) r#type: String,
    pub(crate) message: String,
    pub(crate) line: Option<u32>,
    /// Which bound was reached, if that is what it says.
    pub(crate) limit: Option<Bound>,
    pub(crate) traceback: String,
}

/// A bound that the guest is told of by an exception.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bound {
    Memory,
    Files,
}

/// Tools that a guest may call, with their schemas compiled.
#[derive(Clone, Default)]
pub(crate) struct HostTools(Arc<[HostTool]>);

struct HostTool {
    tool: Arc<dyn Tool>,
    schema: Validator,
}

/// What passes through the door in one turn.
pub(crate) struct Door {
    cell: Option<Vec<u8>>,
    report: Option<Vec<u8>>,
    outside: Option<Outside>,
    calls: u32,
}

/// What calls of tools need.
pub(crate) struct Outside {
    pub(crate) tools: HostTools,
    /// What tools are called with: the task's inputs. What they leave is dropped.
    pub(crate) scratch: Scratch,
    pub(crate) limits: Limits,
    pub(crate) runtime: Handle,
}

impl HostTools {
    /// Tools by their names. The error names the tool whose schema is none.
    pub(crate) fn new(tools: Vec<Arc<dyn Tool>>) -> Result<Self, String> {
        let compile = |tool: Arc<dyn Tool>| {
            let schema = jsonschema::validator_for(&tool.spec().parameters)
                .map_err(|error| format!("tool {}: {error}", tool.spec().name))?;
            Ok(HostTool { tool, schema })
        };
        let tools: Result<Vec<HostTool>, String> =
            tools.into_iter().map(compile).collect();
        Ok(Self(tools?.into()))
    }

    /// The tools.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<dyn Tool>> {
        self.0.iter().map(|host| &host.tool)
    }
}

impl Door {
    /// A door that nothing passes.
    pub(crate) fn closed() -> Self {
        Self { cell: None, report: None, outside: None, calls: 0 }
    }

    /// A door that a cell comes in by.
    pub(crate) fn open(cell: &Cell, outside: Option<Outside>) -> Self {
        // The guest splits at the first two zeros: the code may hold more.
        let Cell { name, code, chars_max } = cell;
        let cell = format!("{name}\0{chars_max}\0{code}").into_bytes();
        Self { cell: Some(cell), report: None, outside, calls: 0 }
    }

    /// What the guest said last of what its cell came to.
    pub(crate) fn report(&mut self) -> Option<Report> {
        let report = self.report.take()?;
        serde_json::from_slice(&report).ok()
    }

    /// Answers a frame; `None` where there is nobody to.
    fn answer(&mut self, frame: &[u8]) -> Result<Option<Vec<u8>>, Stop> {
        if frame == CELL {
            return Ok(self.cell.take());
        }
        if let Some(report) = frame.strip_prefix(DONE) {
            self.report = Some(report.to_vec());
            // Something, for no bytes at all have no place.
            return Ok(Some(b"ok".to_vec()));
        }
        let Some(outside) = &self.outside else { return Ok(None) };
        let answer = outside.answer(frame, &mut self.calls)?;
        let bytes = serde_json::to_vec(&answer).expect("a JSON value");
        if bytes.len() <= FRAME_BYTES_MAX {
            return Ok(Some(bytes));
        }
        let message = format!("the result has {} bytes; ask for less", bytes.len());
        let answer = refusal(&answer["id"], "too_large", &message);
        Ok(Some(serde_json::to_vec(&answer).expect("a JSON value")))
    }
}

impl Outside {
    fn answer(&self, frame: &[u8], calls: &mut u32) -> Result<Value, Stop> {
        let null = Value::Null;
        let Ok(frame) = serde_json::from_slice::<Value>(frame) else {
            return Ok(refusal(&null, "protocol", "the frame is not JSON"));
        };
        let id = frame.get("id").unwrap_or(&null);
        if frame.get("v") != Some(&json!(1)) {
            return Ok(refusal(id, "protocol", "this host speaks protocol 1"));
        }
        match frame.get("op").and_then(Value::as_str) {
            Some("list") => {
                let tools: Vec<Value> = self.tools.iter().map(descriptor).collect();
                Ok(json!({"v": 1, "id": id, "ok": true, "tools": tools}))
            }
            Some("call") => self.call(id, &frame, calls),
            _ => Ok(refusal(id, "protocol", "the operations are list and call")),
        }
    }

    fn call(&self, id: &Value, frame: &Value, calls: &mut u32) -> Result<Value, Stop> {
        let name = frame.get("tool").and_then(Value::as_str).unwrap_or_default();
        let found = self.tools.0.iter().find(|host| host.tool.spec().name == name);
        let Some(HostTool { tool, schema }) = found else {
            let known: Vec<&str> =
                self.tools.iter().map(|tool| tool.spec().name.as_str()).collect();
            let message = format!("no such tool; there are: {}", known.join(", "));
            return Ok(refusal(id, "unknown_tool", &message));
        };
        if *calls >= CALLS_MAX {
            let message = format!("one cell may call tools {CALLS_MAX} times");
            return Ok(refusal(id, "budget_exceeded", &message));
        }
        *calls += 1;
        let none = json!({});
        let args = frame.get("args").unwrap_or(&none);
        if let Some(error) = schema.iter_errors(args).next() {
            return Ok(refusal(id, "invalid_arguments", &error.to_string()));
        }
        let (tool, args) = (Arc::clone(tool), args.clone());
        let (mut scratch, limits) = (self.scratch.clone(), self.limits.clone());
        let (ms_max, wait) =
            (limits.call_ms_max, Duration::from_millis(limits.call_ms_max));
        // This is the guest's own thread, which ends with the cell, and with it would end
        // whatever the tool starts on it.
        let calling = self.runtime.spawn(async move {
            let _turn = turn(tool.as_ref()).await;
            tokio::time::timeout(wait, tool.call(&args, &mut scratch, &limits)).await
        });
        let failed =
            |message| Stop::Tool(ToolError::Engine { tool: name.into(), message });
        let called = self.runtime.block_on(calling);
        let called = called.map_err(|error| failed(error.to_string()))?;
        let called = called
            .map_err(|_| failed(format!("longer than call_ms_max = {ms_max} ms")))?;
        Ok(match called.map_err(Stop::Tool)? {
            Observation::Output { text, data } => {
                let value = if data.is_null() { Value::String(text) } else { data };
                json!({"v": 1, "id": id, "ok": true, "value": value})
            }
            Observation::Fault { fault, message } => refusal(id, word(fault), &message),
        })
    }
}

/// A fault in the words of the tool protocol.
fn word(fault: Fault) -> &'static str {
    match fault {
        Fault::BadArgs | Fault::Malformed => "invalid_arguments",
        Fault::UnknownTool => "unknown_tool",
        Fault::Refused => "denied",
        Fault::Limit | Fault::Trap | Fault::External => "tool_error",
    }
}

fn descriptor(tool: &Arc<dyn Tool>) -> Value {
    let spec = tool.spec();
    json!({
        "name": spec.name,
        "description": spec.description,
        "inputSchema": spec.parameters,
    })
}

fn refusal(id: &Value, kind: &str, message: &str) -> Value {
    let message = cut(message.to_owned(), MESSAGE_BYTES_MAX);
    json!({"v": 1, "id": id, "ok": false, "error": {"kind": kind, "message": message}})
}

/// Gives the guest `host.call(frame, length, answer, answer_length)`.
pub(crate) fn link(linker: &mut Linker<Session>) -> Wasm<()> {
    linker.func_wrap("host", "call", pass)?;
    Ok(())
}

fn pass(
    mut caller: Caller<'_, Session>,
    at: u32,
    length: u32,
    out_at: u32,
    out_length: u32,
) -> Wasm<i32> {
    charge(&mut caller, u64::from(length))?;
    let memory = caller.data().memory();
    let (bytes, session) = memory.data_and_store_mut(&mut caller);
    let (at, length) = (at as usize, length as usize);
    let frame = at.checked_add(length).and_then(|end| bytes.get(at..end));
    let Some(frame) = frame.filter(|frame| frame.len() <= FRAME_BYTES_MAX) else {
        return Ok(HOST_FAULT);
    };
    let Some(answer) = session.door.answer(frame)? else { return Ok(NO_HOST) };
    charge(&mut caller, answer.len() as u64)?;
    // The answer's room is the guest's to find: it may run out of memory over it.
    let allocate = caller
        .get_export("host_alloc")
        .and_then(wasmtime::Extern::into_func)
        .expect("the module exports it");
    let allocate = allocate.typed::<u32, u32>(&caller)?;
    let size = u32::try_from(answer.len()).expect("frames are bounded");
    let place = allocate.call(&mut caller, size)?;
    let written = place != 0
        && memory.write(&mut caller, place as usize, &answer).is_ok()
        && memory.write(&mut caller, out_at as usize, &place.to_le_bytes()).is_ok()
        && memory.write(&mut caller, out_length as usize, &size.to_le_bytes()).is_ok();
    Ok(if written { 0 } else { HOST_FAULT })
}
