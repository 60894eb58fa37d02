//! A run on disk. The log of steps is append-only ground truth; verdicts lie beside it;
//! everything else can be derived again.
//!
//! ```text
//! runs/<id>/
//!   run.json                 what the run is: environment, policy, seed, digests, host
//!   steps.jsonl              one step a line in the order made, endings too
//!   verdicts/<verifier>.jsonl
//!   blobs/<digest>           observations above a size
//! ```
//!
//! An imported run carries more, for there is nothing else to find it by:
//!
//! ```text
//!   environment/             manifest without tools, prompt, tasks, gold
//!   human.jsonl              what people said about its steps
//!   origin.jsonl             where each trajectory came from, and what else its source held
//! ```
//!
//! Each file begins with its format and version ([`Version`]). A file that ends in the
//! middle of a line lost its last write to a crash: that line is dropped. Any other bad line
//! is an error that names file and line.

mod beside;
mod format;
mod index;
mod reader;
mod writer;

pub use beside::{
    Human, each_origin, read_human, read_origins, write_human, write_origins,
};
pub use format::{FORMAT, Host, RunHeader, Version};
pub use index::Index;
pub use reader::{
    Judged, JudgedTree, ReadError, Recording, read_header, read_verdicts, verifiers,
};
pub use writer::{RunWriter, VerdictWriter, WriteError, write_atomically};
