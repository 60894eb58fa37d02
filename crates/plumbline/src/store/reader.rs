//! Reads a run back, and says which line is bad when one is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::checksum;
use super::format::{
    NodeLine, RunHeader, STEPS, StepsLine, StoredObservation, VERDICTS, VerdictsLine,
    Version,
};
use super::header;
use crate::{
    CostLedger, Digest, Node, Observation, Step, TaskId, Tree, TreeError, Verdict,
    VerifierId,
};

/// A line longer than this is not one of ours.
const LINE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Bytes that are read at a time.
const READ_BYTES: usize = 256 * 1024;

/// How a line begins that holds a step.
const NODE: &[u8] = b"{\"type\":\"node\",";

/// What is said of a file that does not begin as ours do.
pub(super) const UNTITLED: &str =
    "the file's first line must say its format: it is not whole";

/// Why a run cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file system said no.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// There is no run there.
    #[error("{}: not a run: it has no run.json", path.display())]
    NotARun {
        /// The folder.
        path: PathBuf,
    },
    /// A line, or the header, does not hold what it should.
    #[error("{}:{line}: {message}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong.
        message: String,
    },
    /// The file was written by another version of this program.
    #[error("{}: format {found} cannot be read by this program, which reads {expected}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: Version,
        /// Ours.
        expected: Version,
    },
}

/// A run as it was recorded.
#[derive(Debug)]
pub struct Recording {
    /// What the run is.
    pub header: RunHeader,
    /// Its trees, by task.
    pub trees: BTreeMap<TaskId, Tree>,
}

impl Recording {
    /// Reads a whole run.
    pub fn open(dir: &Path) -> Result<Self, ReadError> {
        let header = read_header(dir)?;
        let mut trees: BTreeMap<TaskId, Tree> = BTreeMap::new();
        let path = dir.join("steps.jsonl");
        // It was there before the header was.
        if !path.exists() {
            let message = "the file is missing, and with it the run's steps".to_owned();
            return Err(ReadError::Line { path, line: 1, message });
        }
        let blobs = dir.join("blobs");
        each_line(&path, |line| {
            grow(&mut trees, &path, &blobs, line.number, parse_step(&path, &line)?)
        })?;
        Ok(Self { header, trees })
    }
}

/// Adds what a line of `steps.jsonl` says to the trees.
pub(super) fn grow(
    trees: &mut BTreeMap<TaskId, Tree>,
    path: &Path,
    blobs: &Path,
    number: u64,
    line: StepsLine<'static>,
) -> Result<(), ReadError> {
    let bad = |message: String| ReadError::Line {
        path: path.to_owned(),
        line: number,
        message,
    };
    let bad_tree = |error: TreeError| bad(error.to_string());
    if number == 1 && !matches!(line, StepsLine::Format { .. }) {
        return Err(bad(UNTITLED.to_owned()));
    }
    match line {
        StepsLine::Format { name, version } => {
            check_format(path, number, &name, STEPS, version)?;
        }
        StepsLine::Node(line) => {
            let task = line.task.clone().into_owned();
            let id = line.node;
            let node = to_node(line, blobs).map_err(|problem| {
                bad(format!(
                    "step {id} of task {task} has an observation in {problem}; restore that \
                     file from a copy, or make the run again"
                ))
            })?;
            let node = Arc::new(node);
            tree(trees, task).push_as(id, node).map_err(bad_tree)?;
        }
        StepsLine::Ending { task, node, seed, ending } => {
            let tree = tree(trees, task.into_owned());
            match node {
                Some(_) => tree.end(node, ending.into_owned()).map_err(bad_tree)?,
                None => tree.end_unborn(seed, ending.into_owned()),
            }
        }
    }
    Ok(())
}

/// Reads what a run is, without its steps.
pub fn read_header(dir: &Path) -> Result<RunHeader, ReadError> {
    let path = dir.join("run.json");
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if !dir.join("steps.jsonl").exists() {
                return Err(ReadError::NotARun { path: dir.to_owned() });
            }
            let message = "the file is missing, and with it what the steps beside it were \
                           made with; restore it from a copy";
            return Err(ReadError::Line { path, line: 1, message: message.to_owned() });
        }
        Err(source) => return Err(ReadError::Io { path, source }),
    };
    header::from_bytes(&path, &bytes)
}

/// The verdicts of one verifier on each tree it has judged.
/// Empty if the verifier has not judged this run.
pub fn read_verdicts(dir: &Path, verifier: &VerifierId) -> Result<Judged, ReadError> {
    let path = dir.join("verdicts").join(format!("{verifier}.jsonl"));
    let mut judged = Judged::new();
    if !path.exists() {
        return Ok(judged);
    }
    let read = each_line(&path, |line| {
        judge(&mut judged, &path, line.number, parse(&path, &line)?)
    });
    read.map_err(with_remedy)?;
    Ok(judged)
}

/// Adds what a line of a verdicts file says. Where a tree was judged again, the latest
/// judgement stands.
pub(super) fn judge(
    judged: &mut Judged,
    path: &Path,
    number: u64,
    line: VerdictsLine<'static>,
) -> Result<(), ReadError> {
    let bad = |message: String| ReadError::Line {
        path: path.to_owned(),
        line: number,
        message,
    };
    if number == 1 && !matches!(line, VerdictsLine::Format { .. }) {
        return Err(bad(UNTITLED.to_owned()));
    }
    match line {
        VerdictsLine::Format { name, version } => {
            check_format(path, number, &name, VERDICTS, version)?;
        }
        VerdictsLine::Judged { task, nodes, shown, verdicts, ledger } => {
            let verdicts = verdicts.into_owned();
            let verifier = path.file_stem().unwrap_or_default().to_string_lossy();
            if let Some(flaw) = flaw(&verifier, nodes, &verdicts) {
                return Err(bad(flaw));
            }
            let tree = JudgedTree { line: number, nodes, shown, verdicts, ledger };
            judged.insert(task.into_owned(), tree);
        }
    }
    Ok(())
}

/// What cannot be among a verifier's verdicts on a tree, whoever wrote them.
fn flaw(verifier: &str, nodes: u32, verdicts: &[Verdict]) -> Option<String> {
    let mut judged = BTreeSet::new();
    verdicts.iter().enumerate().find_map(|(index, verdict)| {
        let Verdict { node, verifier: by, confidence, .. } = verdict;
        let (field, problem) = match confidence {
            _ if node.0 >= nodes => ("node", format!("is {node}, in a tree of {nodes}")),
            _ if !judged.insert(*node) => ("node", format!("is {node} a second time")),
            _ if by.0 != verifier => {
                ("verifier", format!("is {:?}, in a file of {verifier:?}", by.0))
            }
            Some(sure) if !(0.0..=1.0).contains(sure) => {
                ("confidence", format!("is {sure:e}, not from 0 to 1"))
            }
            _ => return None,
        };
        Some(format!("field \"verdicts.{index}.{field}\" {problem}"))
    })
}

/// Says of a bad line of a file of verdicts how to come by a good one: verdicts are derived
/// from the steps, but for those that an import brought along.
pub(super) fn with_remedy(error: ReadError) -> ReadError {
    match error {
        ReadError::Line { path, line, message } => {
            let or = if message.ends_with("from a copy") { ", or" } else { ";" };
            let message = format!("{message}{or} {}", verdicts_remedy(&path));
            ReadError::Line { path, line, message }
        }
        other => other,
    }
}

/// How to come by a file of verdicts that is damaged or gone.
pub(super) fn verdicts_remedy(path: &Path) -> &'static str {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match name.starts_with("imported@") {
        true => "import the run again",
        false => {
            "delete the file and run plumb label, or plumb explore for a method, which makes it again"
        }
    }
}

/// Which verifiers have judged a run, in the order of their names.
pub fn verifiers(dir: &Path) -> Result<Vec<VerifierId>, ReadError> {
    let path = dir.join("verdicts");
    let entries = match fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(source) => return Err(ReadError::Io { path, source }),
    };
    let mut verifiers = Vec::new();
    for entry in entries {
        let entry =
            entry.map_err(|source| ReadError::Io { path: path.clone(), source })?;
        let name = entry.file_name();
        let stem = name.to_str().and_then(|name| name.strip_suffix(".jsonl"));
        verifiers.extend(stem.map(|stem| VerifierId(stem.to_owned())));
    }
    verifiers.sort();
    Ok(verifiers)
}

/// What one verifier made of a run's trees, by task.
pub type Judged = BTreeMap<TaskId, JudgedTree>;

/// What one verifier made of one tree.
#[derive(Debug, Clone, PartialEq)]
pub struct JudgedTree {
    /// The line of the verifier's file that says so.
    pub line: u64,
    /// How many nodes the tree had.
    pub nodes: u32,
    /// Digest of what the verifier was shown beside the tree.
    pub shown: Digest,
    /// At most one verdict a node.
    pub verdicts: Vec<Verdict>,
    /// What they cost, where a tree method gave them.
    pub ledger: Option<CostLedger>,
}

fn tree(trees: &mut BTreeMap<TaskId, Tree>, task: TaskId) -> &mut Tree {
    trees.entry(task.clone()).or_insert_with(|| Tree::new(task))
}

/// The step of a line, with the observations that lie elsewhere; or which file of those is not
/// as it was, and why.
fn to_node(line: NodeLine<'static>, blobs: &Path) -> Result<Node, String> {
    let mut observations = Vec::with_capacity(line.observations.len());
    for stored in line.observations {
        observations.push(match stored {
            StoredObservation::Output { text, data } => {
                Observation::Output { text: text.into_owned(), data: data.into_owned() }
            }
            StoredObservation::Fault { fault, message } => {
                Observation::Fault { fault, message: message.into_owned() }
            }
            StoredObservation::Blob { digest, .. } => read_blob(blobs, digest)?,
        });
    }
    let proposal = line.proposal.into_owned();
    let step = Step { proposal, observations, scratch: line.scratch };
    Ok(Node { parent: line.parent, step })
}

fn read_blob(blobs: &Path, digest: Digest) -> Result<Observation, String> {
    let path = blobs.join(digest.to_string());
    let error = |problem: String| format!("{}, {problem}", path.display());
    let bytes = fs::read(&path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => error("which is missing".to_owned()),
        _ => error(format!("which cannot be read ({source})")),
    })?;
    if Digest::of(&bytes) != digest {
        return Err(error("which does not have the digest it is named by".to_owned()));
    }
    serde_json::from_slice(&bytes)
        .map_err(|source| error(format!("which holds none ({source})")))
}

pub(super) fn check_format(
    path: &Path,
    line: u64,
    found: &str,
    expected: &str,
    version: Version,
) -> Result<(), ReadError> {
    if found != expected {
        let message = format!("this is a file of {found}, not of {expected}");
        return Err(ReadError::Line { path: path.to_owned(), line, message });
    }
    check_version(path, version)
}

pub(super) fn check_version(path: &Path, found: Version) -> Result<(), ReadError> {
    if found.is_readable() {
        return Ok(());
    }
    Err(ReadError::Version { path: path.to_owned(), found, expected: super::FORMAT })
}

/// A line of a file and where it stands.
pub(super) struct Line<'b> {
    /// From 1.
    pub(super) number: u64,
    /// Where it begins.
    pub(super) offset: u64,
    /// Its line end included.
    pub(super) bytes: &'b [u8],
}

/// Reads a file of JSON lines, each parsed whole, as [`each_line`] does.
pub(super) fn read_lines<T: DeserializeOwned>(
    path: &Path,
    mut each: impl FnMut(T, u64) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    each_line(path, |line| each(parse(path, &line)?, line.number))
}

/// What a line of `steps.jsonl` holds. Nearly every one is a step, and is read straight into
/// its fields: before it knows which fields to expect, an enum told by a tag sets every value
/// aside, and a step has hundreds of tokens.
pub(super) fn parse_step(
    path: &Path,
    line: &Line<'_>,
) -> Result<StepsLine<'static>, ReadError> {
    match line.bytes.starts_with(NODE) {
        true => parse(path, line).map(StepsLine::Node),
        false => parse(path, line),
    }
}

/// What a line holds.
pub(super) fn parse<T: DeserializeOwned>(
    path: &Path,
    line: &Line<'_>,
) -> Result<T, ReadError> {
    serde_json::from_slice(line.bytes).map_err(|error| {
        // Its own line number counts within the line.
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or(&message);
        let (path, message) = (path.to_owned(), message.to_owned());
        ReadError::Line { path, line: line.number, message }
    })
}

/// Visits the lines of a file, whose checksums it checks if they have some. A last line without its end was torn by a crash and is left
/// out; it was never acknowledged.
pub(super) fn each_line(
    path: &Path,
    mut each: impl FnMut(Line<'_>) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let io_error = |source| ReadError::Io { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        // Killed between run.json and the first line.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io_error(error)),
    };
    let mut reader = BufReader::with_capacity(READ_BYTES, file);
    let mut bytes = Vec::new();
    let (mut number, mut offset) = (0, 0);
    // The running checksum; `None` in a file whose format has none.
    let mut sum = None;
    loop {
        bytes.clear();
        let mut bounded = io::Read::take(&mut reader, LINE_BYTES_MAX);
        bounded.read_until(b'\n', &mut bytes).map_err(io_error)?;
        number += 1;
        if bytes.last() != Some(&b'\n') {
            if bytes.len() as u64 == LINE_BYTES_MAX {
                let message = format!("the line is longer than {LINE_BYTES_MAX} bytes");
                return Err(ReadError::Line {
                    path: path.to_owned(),
                    line: number,
                    message,
                });
            }
            return Ok(());
        }
        let object = &bytes[..bytes.len() - 1];
        if number == 1 && has_checksums(object) {
            sum = Some(0);
        }
        if let Some(running) = sum {
            sum = Some(checksum::check(object, running).ok_or_else(|| {
                let (path, message) = (path.to_owned(), checksum::BROKEN.to_owned());
                ReadError::Line { path, line: number, message }
            })?);
        }
        each(Line { number, offset, bytes: &bytes })?;
        offset += bytes.len() as u64;
    }
}

/// Whether the lines of a file that begins with this one have checksums: it has one itself, or
/// is of a format in which it must.
fn has_checksums(first: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Title {
        version: Version,
    }
    let title: Result<Title, _> = serde_json::from_slice(first);
    checksum::said(first).is_some()
        || title.is_ok_and(|title| checksum::is_due(title.version))
}
