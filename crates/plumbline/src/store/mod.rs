//! A run on disk. The log of steps is append-only ground truth; verdicts lie beside it;
//! everything else can be derived again.
//!
//! ```text
//! runs/<id>/
//!   run.json                 what the run is: environment, policy, seed, digests, host
//!   steps.jsonl              one step a line in the order made, endings too
//!   verdicts/<verifier>.jsonl
//!   blobs/<digest>           observations above a size
//!   contents.jsonl           what each of them held when it was last finished
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
//! Each file begins with its format and version ([`Version`]), and each of its lines ends with
//! a checksum; `contents.jsonl` says how much of each file there was when it was last
//! finished. From them a reader tells:
//!
//! * A file that ends in the middle of a line lost its last write to a crash: that line is
//!   dropped, and [`losses`] says so.
//! * A file that has fewer lines than it was finished with, or is gone, lost them: where they
//!   can be made again [`losses`] says what is lost and how, else it is an error.
//! * A file that `contents.jsonl` says nothing of is being written, or its writer was killed, or
//!   that list was cut: [`losses`] says so.
//! * Any other bad line is an error that names file and line.
//!
//! What a reader takes:
//!
//! * Its own major version, and minor versions up to its own. A newer minor may hold what it
//!   would drop.
//! * 1.0 and 1.1 do not say of which sample an episode was whose first step did not come
//!   about: one such ending stands for all of a task's.
//! * Spans of evidence before 1.1 have no digest of their text: they are there if the bytes
//!   are.
//! * Lines before 1.3 have no checksum, and such runs no `contents.jsonl`: a byte changed
//!   within a text goes unnoticed there. A file goes on as it began when it is appended to.
//!
//! A recorded run of each version stands under `tests/runs`, and stays readable.

mod beside;
mod checksum;
mod contents;
mod format;
mod header;
mod index;
mod reader;
mod writer;

pub use beside::{
    Human, each_origin, read_human, read_origins, write_human, write_origins,
};
pub use contents::{losses, record_contents};
pub use format::{FORMAT, Host, RunHeader, Version};
pub use index::Index;
pub use reader::{
    Judged, JudgedTree, ReadError, Recording, read_header, read_verdicts, verifiers,
};
pub use writer::{RunWriter, VerdictWriter, WriteError, write_atomically};
