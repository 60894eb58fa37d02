//! Appends to a run, a line at a time: each is with the operating system before the next
//! step is taken, so that killing the process loses at most the step in flight.

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::contents::{record_contents, resume_contents};
use super::format::{
    FORMAT, NodeLine, RunHeader, STEPS, StepsLine, StoredObservation, VERDICTS,
    VerdictsLine,
};
use super::{checksum, header};
use crate::{
    CostLedger, Digest, Event, Node, NodeId, Observation, TaskId, Verdict, VerifierId,
};

/// Observations whose JSON is longer than this lie in `blobs/`.
const INLINE_BYTES_MAX: usize = 8 * 1024;

/// Why something could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The file system said no.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Another process is writing this run.
    #[error("{}: another process is writing this; wait until it has ended", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// What stands in the file's place is not one of ours, and nothing is written to it.
    #[error("{}: this is {what}, not a file of a run; move it away", path.display())]
    Foreign {
        /// Where it stands.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// An earlier write failed, so the end of the file is not known to be whole.
    #[error("{}: an earlier write failed", path.display())]
    Poisoned {
        /// The file.
        path: PathBuf,
    },
}

/// Writes the steps of a run. Shared by all its trees.
#[derive(Debug)]
pub struct RunWriter {
    dir: PathBuf,
    blobs: PathBuf,
    log: Mutex<Log>,
}

impl RunWriter {
    /// Begins a run in a folder that need not exist, or goes on with one that does: a torn
    /// last line is cut off. The folder is locked for as long as the writer lives.
    pub fn open(dir: &Path, header: &RunHeader) -> Result<Self, WriteError> {
        create_dir(dir)?;
        // Locked before anything is written or read: of two that begin at once, one is
        // refused, and neither goes on from what the other has not finished writing.
        let line = StepsLine::Format { name: Cow::Borrowed(STEPS), version: FORMAT };
        let log = Log::open(dir.join("steps.jsonl"), &line)?;
        let header_path = dir.join("run.json");
        if !header_path.exists() {
            write_atomically(&header_path, &header::to_bytes(header))?;
        }
        resume_contents(dir, "steps.jsonl")?;
        let (dir, blobs) = (dir.to_owned(), dir.join("blobs"));
        Ok(Self { dir, blobs, log: Mutex::new(log) })
    }

    /// Says that all steps are recorded that were to be: from now on it shows if some are
    /// lost.
    pub fn finish(&self) -> Result<(), WriteError> {
        record_contents(&self.dir, &["steps.jsonl"])
    }

    /// Appends what happened.
    pub fn append(&self, event: Event<'_>) -> Result<(), WriteError> {
        let line = match event {
            Event::Node { task, id, node } => StepsLine::Node(self.line(task, id, node)?),
            Event::Ending { task, node, seed, ending } => StepsLine::Ending {
                seed,
                task: Cow::Borrowed(task),
                node,
                ending: Cow::Borrowed(ending),
            },
        };
        let object = to_object(&line);
        self.log.lock().expect("nothing panics while it holds this lock").append(object)
    }

    fn line<'a>(
        &self,
        task: &'a TaskId,
        id: NodeId,
        node: &'a Node,
    ) -> Result<NodeLine<'a>, WriteError> {
        let mut observations = Vec::with_capacity(node.step.observations.len());
        for observation in &node.step.observations {
            observations.push(self.stored(observation)?);
        }
        Ok(NodeLine {
            task: Cow::Borrowed(task),
            node: id,
            parent: node.parent,
            proposal: Cow::Borrowed(&node.step.proposal),
            observations,
            scratch: node.step.scratch,
        })
    }

    fn stored<'a>(
        &self,
        observation: &'a Observation,
    ) -> Result<StoredObservation<'a>, WriteError> {
        // The text alone tells the common case without serialising twice.
        let small = observation.text().len() < INLINE_BYTES_MAX / 4;
        if small && observation.data().is_null() {
            return Ok(StoredObservation::inline(observation));
        }
        let json = serde_json::to_vec(observation).expect("an observation serialises");
        if json.len() <= INLINE_BYTES_MAX {
            return Ok(StoredObservation::inline(observation));
        }
        let digest = Digest::of(&json);
        let path = self.blobs.join(digest.to_string());
        if !path.exists() {
            create_dir(&self.blobs)?;
            write_atomically(&path, &json)?;
        }
        Ok(StoredObservation::Blob { digest, bytes: json.len() as u64 })
    }
}

/// Writes the verdicts of one verifier on one run.
#[derive(Debug)]
pub struct VerdictWriter {
    run: PathBuf,
    file: String,
    log: Log,
    /// Whether note was taken that the file is gone on with. Not before something is appended:
    /// a file that turns out to be damaged is to be measured by what it held.
    is_resumed: bool,
}

impl VerdictWriter {
    /// Begins or goes on with a verifier's file.
    pub fn open(run: &Path, verifier: &VerifierId) -> Result<Self, WriteError> {
        let dir = run.join("verdicts");
        create_dir(&dir)?;
        let line =
            VerdictsLine::Format { name: Cow::Borrowed(VERDICTS), version: FORMAT };
        let log = Log::open(dir.join(format!("{verifier}.jsonl")), &line)?;
        let file = format!("verdicts/{verifier}.jsonl");
        Ok(Self { run: run.to_owned(), file, log, is_resumed: false })
    }

    /// Says that all verdicts are recorded that were to be.
    pub fn finish(&self) -> Result<(), WriteError> {
        record_contents(&self.run, &[&self.file])
    }

    /// Appends all verdicts on one tree. `shown` digests what the verifier was shown beside
    /// the tree: if that changes, the tree is to be judged again. `ledger` is what a tree method
    /// says that they cost.
    pub fn append(
        &mut self,
        task: &TaskId,
        nodes: u32,
        shown: Digest,
        verdicts: &[Verdict],
        ledger: Option<CostLedger>,
    ) -> Result<(), WriteError> {
        if !self.is_resumed {
            resume_contents(&self.run, &self.file)?;
            self.is_resumed = true;
        }
        self.log.append(to_object(&VerdictsLine::Judged {
            task: Cow::Borrowed(task),
            nodes,
            shown,
            verdicts: Cow::Borrowed(verdicts),
            ledger,
        }))
    }
}

/// An append-only file of lines, locked while it is open.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    file: File,
    /// The running checksum of its lines; `None` in a file of a format without checksums,
    /// which goes on as it began.
    sum: Option<u32>,
    poisoned: bool,
}

impl Log {
    fn open<T: serde::Serialize>(path: PathBuf, first: &T) -> Result<Self, WriteError> {
        let file = open_file(&path)?;
        match file.try_lock() {
            Ok(()) => Self::begin(path, file, first),
            Err(TryLockError::WouldBlock) => Err(WriteError::Locked { path }),
            Err(TryLockError::Error(source)) => Err(WriteError::Io { path, source }),
        }
    }

    /// The same, but waits for whoever has the file open: for files that are open for a
    /// moment only.
    pub(super) fn open_when_free<T: serde::Serialize>(
        path: PathBuf,
        first: &T,
    ) -> Result<Self, WriteError> {
        let file = open_file(&path)?;
        match file.lock() {
            Ok(()) => Self::begin(path, file, first),
            Err(source) => Err(WriteError::Io { path, source }),
        }
    }

    fn begin<T: serde::Serialize>(
        path: PathBuf,
        mut file: File,
        first: &T,
    ) -> Result<Self, WriteError> {
        let error = |source| WriteError::Io { path: path.clone(), source };
        let first_line = to_object(first);
        if !begins_like(&mut file, &first_line).map_err(error)? {
            let what = "something that begins otherwise";
            return Err(WriteError::Foreign { path, what });
        }
        let whole = whole_lines(&mut file, u64::MAX).map_err(error)?;
        file.set_len(whole).map_err(error)?;
        let sum = match whole {
            0 => Some(0),
            _ => checksum::said(&last_line(&mut file, whole).map_err(error)?),
        };
        file.seek(SeekFrom::End(0)).map_err(error)?;
        let mut log = Self { path, file, sum, poisoned: false };
        if whole == 0 {
            log.append(first_line)?;
        }
        Ok(log)
    }

    /// Appends an object as a line of its own.
    pub(super) fn append(&mut self, mut object: Vec<u8>) -> Result<(), WriteError> {
        let path = || self.path.clone();
        if self.poisoned {
            return Err(WriteError::Poisoned { path: path() });
        }
        let sum = self.sum.map(|sum| checksum::seal(&mut object, sum));
        object.push(b'\n');
        if let Err(source) = self.file.write_all(&object) {
            self.poisoned = true;
            return Err(WriteError::Io { path: path(), source });
        }
        self.sum = sum;
        Ok(())
    }
}

/// Whether a file begins as its first line does, the version aside; or is shorter than that,
/// for it may be torn there. What does not is somebody else's, and nothing is cut off it.
fn begins_like(file: &mut File, first: &[u8]) -> io::Result<bool> {
    const VERSION: &[u8] = b"\"version\"";
    let ours = first.windows(VERSION.len()).position(|part| part == VERSION);
    let ours = &first[..ours.expect("the first line of each file says its version")];
    let mut there = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(ours.len() as u64).read_to_end(&mut there)?;
    Ok(ours.starts_with(&there))
}

fn open_file(path: &Path) -> Result<File, WriteError> {
    // A link leads out of the run, and opening a pipe would wait for its other end.
    if fs::symlink_metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        let what = "a link, a folder or a device";
        return Err(WriteError::Foreign { path: path.to_owned(), what });
    }
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true);
    let file = options.open(path);
    file.map_err(|source| WriteError::Io { path: path.to_owned(), source })
}

/// The last line of a file of whole lines, without its end.
fn last_line(file: &mut File, whole: u64) -> io::Result<Vec<u8>> {
    let start = whole_lines(file, whole - 1)?;
    file.seek(SeekFrom::Start(start))?;
    let mut line = Vec::new();
    file.take(whole - 1 - start).read_to_end(&mut line)?;
    Ok(line)
}

/// The length of a file, or of its first `bytes_max` bytes, up to the last line end there;
/// found from the back.
fn whole_lines(file: &mut File, bytes_max: u64) -> io::Result<u64> {
    const CHUNK: u64 = 64 * 1024;
    let mut end = file.seek(SeekFrom::End(0))?.min(bytes_max);
    let mut chunk = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(CHUNK);
        file.seek(SeekFrom::Start(start))?;
        chunk.clear();
        file.take(end - start).read_to_end(&mut chunk)?;
        if let Some(at) = chunk.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Writes a file so that it is either whole or not there: a temporary one, then a rename.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    let error = |source| WriteError::Io { path: path.to_owned(), source };
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let written =
        fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    written.map_err(|source| {
        // The error to report is the first one; the leftover is harmless.
        let _ = fs::remove_file(&temporary);
        error(source)
    })
}

fn create_dir(dir: &Path) -> Result<(), WriteError> {
    fs::create_dir_all(dir)
        .map_err(|source| WriteError::Io { path: dir.to_owned(), source })
}

pub(super) fn to_object<T: serde::Serialize>(line: &T) -> Vec<u8> {
    serde_json::to_vec(line).expect("a line serialises")
}
