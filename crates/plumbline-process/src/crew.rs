//! The processes of one program: several of them run at once, and any may be ended between two
//! lines.

use std::borrow::Cow;
use std::process::ExitStatus;
use std::sync::Mutex;
use std::time::Duration;

use plumbline::verifiers::Introduction;
use plumbline::{Fault, Limits};
use serde::Deserialize;
use tokio::sync::Semaphore;

use crate::process::{Process, Silence};
use crate::wire::Hello;
use crate::{ProcessError, Program};

/// Bytes of the line in which a program says what it is.
const HELLO_BYTES_MAX: usize = 256 << 10;
/// Bytes of a wrong id that are shown.
const SHOWN_BYTES_MAX: usize = 80;

/// Processes of one program, which said the same of themselves.
pub(crate) struct Crew<H> {
    program: Program,
    hello: H,
    read: fn(&[u8]) -> Result<H, String>,
    idle: Mutex<Vec<Process>>,
    turns: Semaphore,
}

/// What a program says first.
pub(crate) trait Greeting: PartialEq {
    /// Whether its answers name the question.
    fn has_ids(&self) -> bool;
}

impl Greeting for Hello {
    fn has_ids(&self) -> bool {
        self.ids
    }
}

impl Greeting for Introduction {
    fn has_ids(&self) -> bool {
        self.ids()
    }
}

/// A line that a program is to answer.
pub(crate) struct Line<'l> {
    /// An object, and the end of the line.
    pub(crate) bytes: &'l [u8],
    pub(crate) answer_bytes_max: usize,
    /// Whether one that broke over it may be given it again.
    pub(crate) is_repeatable: bool,
}

/// What a program came to that did not answer: a limit or a trap.
#[derive(Debug)]
pub(crate) struct Broke {
    pub(crate) fault: Fault,
    pub(crate) message: String,
    /// The end of what it wrote to standard error.
    pub(crate) stderr: String,
}

impl<H: Greeting> Crew<H> {
    /// Starts a program and hears what it is, within `limits.call_ms_max`.
    pub(crate) async fn open(
        program: Program,
        read: fn(&[u8]) -> Result<H, String>,
        limits: &Limits,
    ) -> Result<Self, ProcessError> {
        let (process, hello) = greet(&program, read, limits).await?;
        let at_once = std::thread::available_parallelism().map_or(2, usize::from);
        let (idle, turns) =
            (Mutex::new(vec![process]), Semaphore::new(at_once.clamp(2, 16)));
        Ok(Self { program, hello, read, idle, turns })
    }

    pub(crate) fn program(&self) -> &Program {
        &self.program
    }

    /// What it said first.
    pub(crate) fn hello(&self) -> &H {
        &self.hello
    }

    /// Permits for lines that are answered at once. Whoever asks holds one; the wait for it is
    /// no part of the time that an answer takes.
    pub(crate) fn turns(&self) -> &Semaphore {
        &self.turns
    }

    /// Ends the processes that wait for a line: the next one is answered from a fresh start.
    pub(crate) fn forget(&self) {
        self.idle().clear();
    }

    /// Has a process answer a line. One that breaks after earlier answers is asked once more
    /// from a fresh start: what it broke over may be what they left in it, which no replay has.
    pub(crate) async fn ask<A>(
        &self,
        line: &Line<'_>,
        limits: &Limits,
        read: impl Fn(&[u8]) -> Result<A, String>,
    ) -> Result<Result<A, Broke>, ProcessError> {
        let process = self.process(limits).await?;
        let is_fresh = process.answered == 0;
        let answer = self.ask_of(process, line, &read).await?;
        if answer.is_ok() || is_fresh || !line.is_repeatable {
            return Ok(answer);
        }
        self.ask_of(self.fresh(limits).await?, line, &read).await
    }

    /// Asks a process. It goes back to the idle ones if it answered as it should.
    async fn ask_of<A>(
        &self,
        mut process: Process,
        line: &Line<'_>,
        read: impl Fn(&[u8]) -> Result<A, String>,
    ) -> Result<Result<A, Broke>, ProcessError> {
        let id = self.hello.has_ids().then_some(process.answered + 1);
        let bytes_max = line.answer_bytes_max.saturating_add(digits(id));
        let read = |answer: &[u8]| {
            let read = read(answer)?;
            check_id(answer, id).map(|()| read)
        };
        let asked = match process.has_more() {
            // It would be taken for the answer.
            true => Err("it wrote a line before it was asked anything"),
            false => Ok(process.ask(&numbered(line.bytes, id), bytes_max).await),
        };
        let (fault, message) = match asked {
            Err(early) => (Fault::Trap, early.to_owned()),
            Ok(Ok(answer)) => match read(&answer) {
                Ok(answer) => {
                    self.idle().push(process);
                    return Ok(Ok(answer));
                }
                Err(message) => (Fault::Trap, message),
            },
            Ok(Err(Silence::TooLong)) => {
                let bytes_max = line.answer_bytes_max;
                (Fault::Limit, format!("its answer has more than {bytes_max} bytes"))
            }
            Ok(Err(Silence::Ended(status))) => {
                (Fault::Trap, format!("it ended without an answer{}", told(status)))
            }
            Ok(Err(Silence::Pipe(error))) => return Err(host(&self.program, &error)),
        };
        let (program, stderr) = (self.program.shown(), process.stderr().await);
        tracing::warn!(program, message, %stderr, "a program broke");
        Ok(Err(Broke { fault, message, stderr }))
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
        let (mut process, hello) = greet(&self.program, self.read, limits).await?;
        if hello == self.hello {
            return Ok(process);
        }
        let stderr = process.stderr().await;
        let message = "it says something else of itself than at first".to_owned();
        Err(ProcessError::Hello { command: self.program.shown(), message, stderr })
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Process>> {
        self.idle.lock().expect("nothing panics while it holds this lock")
    }
}

/// A question with its id, which stands first: there a program without a parser finds it.
fn numbered(question: &[u8], id: Option<u64>) -> Cow<'_, [u8]> {
    match (id, question) {
        (Some(id), [b'{', rest @ ..]) => {
            [format!("{{\"id\":{id},").as_bytes(), rest].concat().into()
        }
        _ => question.into(),
    }
}

/// Holds an answer that could be read to the question's id.
fn check_id(answer: &[u8], id: Option<u64>) -> Result<(), String> {
    #[derive(Deserialize)]
    struct Named {
        id: Option<serde_json::Value>,
    }
    let named: Named =
        serde_json::from_slice(answer).map_err(|error| format!("its id: {error}"))?;
    match (named.id, id) {
        (None, None) => Ok(()),
        (Some(said), Some(id)) if said == id => Ok(()),
        (Some(said), Some(id)) => {
            let said = plumbline::cut(said.to_string(), SHOWN_BYTES_MAX);
            Err(format!("its answer has the id {said}, and the question {id}"))
        }
        (None, Some(_)) => {
            Err("its answer has no id, which \"ids\" in its first line promises".into())
        }
        (Some(_), None) => {
            Err("its answer has an id, and its first line no \"ids\": true".into())
        }
    }
}

/// Bytes by which an answer grows with the number of those before it: whether it is too long
/// must not rest on them.
fn digits(id: Option<u64>) -> usize {
    id.map_or(0, |id| id.to_string().len())
}

/// Starts a program and reads its first line.
async fn greet<H>(
    program: &Program,
    read: fn(&[u8]) -> Result<H, String>,
    limits: &Limits,
) -> Result<(Process, H), ProcessError> {
    let mut process = program.start().map_err(|error| host(program, &error))?;
    let wait = Duration::from_millis(limits.call_ms_max);
    let line = tokio::time::timeout(wait, process.line(HELLO_BYTES_MAX)).await;
    let hello = match line {
        Ok(Ok(line)) => read(&line),
        Ok(Err(Silence::Ended(status))) => {
            Err(format!("it ended before it said what it is{}", told(status)))
        }
        Ok(Err(Silence::TooLong)) => {
            Err(format!("its first line has more than {HELLO_BYTES_MAX} bytes"))
        }
        Ok(Err(Silence::Pipe(error))) => return Err(host(program, &error)),
        Err(_) => Err(format!(
            "it did not say what it is within call_ms_max = {} ms: its first line must \
             come unasked",
            limits.call_ms_max
        )),
    };
    match hello {
        Ok(hello) => Ok((process, hello)),
        Err(message) => {
            let (command, stderr) = (program.shown(), process.stderr().await);
            Err(ProcessError::Hello { command, message, stderr })
        }
    }
}

fn host(program: &Program, error: &std::io::Error) -> ProcessError {
    ProcessError::Host { command: program.shown(), message: error.to_string() }
}

fn told(status: Option<ExitStatus>) -> String {
    status.map_or_else(String::new, |status| format!(": {status}"))
}
