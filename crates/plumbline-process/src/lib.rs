//! Tool and verifier: a program in any language, asked over JSON lines.
//!
//! [`ProcessTool`] starts a program and talks to it over its standard input and output. The first
//! line the program writes says what it is; then it is given one line a call, and writes one
//! line for each:
//!
//! ```text
//! program {"name": "add", "description": "Adds two numbers.", "parameters": {"type": "object", ..}}
//! plumb   {"args": {"a": 1, "b": 2}}
//! program {"text": "3", "data": 3}
//! ```
//!
//! One whose first line says `"ids": true` is given a number with each call, `"id": 1`, and says
//! it again: no line that it writes too late, or twice, is taken for another call's answer. (A
//! program is not numbered unasked: one that is strict about its keys, or takes its arguments
//! by a pattern, would answer otherwise than it did when it was recorded.)
//!
//! A program that keeps state is given what it returned the last time, `"state": ..`, and
//! returns what it is to be given next. It may be ended and started again between any two
//! calls, and several of it run at once. It runs in a folder of its own that holds copies of
//! its files, without the user's environment variables, and where the system can keep it from
//! the network, without one: see [`Confinement`].
//!
//! Whatever a program does wrong is an observation that another run of it would give as well:
//! a program that dies or answers nonsense after earlier calls is asked once more from a fresh
//! start, and only what it does then counts.
//!
//! [`ProcessVerifier`] is the same for a program that judges steps: the lines are those of
//! [`plumbline::verifiers::Guest`], and whatever it does wrong is a failure of its own.
//!
//! ```no_run
//! use plumbline::{Effect, Limits, Scratch, Tool};
//! use plumbline_process::{Bounds, Confinement, ProcessTool, Program, ProgramSettings};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let settings = ProgramSettings {
//!     command: vec!["python3".to_owned(), "add.py".to_owned()],
//!     dir: "environments/sums".into(),
//!     files: vec![],
//!     variables: vec![],
//!     bounds: Bounds { network: false, memory_bytes_max: 1 << 30, file_bytes_max: 1 << 24 },
//! };
//! let add = Program::read(settings, Confinement::probe().await)?;
//! let limits = Limits::default();
//! let add = ProcessTool::open(add, Effect::Pure, None, &limits).await?;
//! let args = serde_json::json!({ "a": 1, "b": 2 });
//! let observation = add.call(&args, &mut Scratch::default(), &limits).await?;
//! assert_eq!(observation.text(), "3");
//! # Ok(())
//! # }
//! ```

mod confinement;
mod tool;
mod verifier;

mod crew;
mod error;
mod process;
mod program;
mod wire;

pub use confinement::{Bounds, Confinement};
pub use error::ProcessError;
pub use process::{Process, Running};
pub use program::{Program, ProgramSettings};
pub use tool::ProcessTool;
pub use verifier::ProcessVerifier;
