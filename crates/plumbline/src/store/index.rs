//! A run, one task at a time: what is kept of its files is where each task's lines are.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::Deserialize;

use super::beside::{ORIGIN, OriginLine};
use super::format::RunHeader;
use super::reader::{
    Judged, JudgedTree, Line, ReadError, UNTITLED, each_line, grow, judge, parse,
    parse_step, read_header, verifiers, with_remedy,
};
use crate::import::Origin;
use crate::{TaskId, Tree, Verdict, VerifierId};

/// Where a run's lines are, by task. Opening it reads every file once and holds none of it;
/// a task's tree, verdicts and origins are read, and checked as
/// [`Recording`](super::Recording) checks them, when they are asked for.
#[derive(Debug)]
pub struct Index {
    header: RunHeader,
    blobs: PathBuf,
    steps: Lines,
    verdicts: BTreeMap<VerifierId, Lines>,
    origins: Lines,
}

impl Index {
    /// Reads where everything is. A line that is no JSON, or says no task, is an error here;
    /// whatever else is wrong with a line is one when its task is read.
    pub fn open(run: &Path) -> Result<Self, ReadError> {
        let header = read_header(run)?;
        let path = run.join("steps.jsonl");
        // It was there before the header was.
        if !path.exists() {
            let message = "the file is missing, and with it the run's steps".to_owned();
            return Err(ReadError::Line { path, line: 1, message });
        }
        let steps = Lines::read(path)?;
        let verdicts = verifiers(run)?
            .into_iter()
            .map(|id| {
                let path = run.join("verdicts").join(format!("{id}.jsonl"));
                Ok((id, Lines::read(path).map_err(with_remedy)?))
            })
            .collect::<Result<_, ReadError>>()?;
        let origins = Lines::read(run.join("origin.jsonl"))?;
        Ok(Self { header, blobs: run.join("blobs"), steps, verdicts, origins })
    }

    /// What the run is.
    pub fn header(&self) -> &RunHeader {
        &self.header
    }

    /// The tasks that the run has a tree for, in the order of their names.
    pub fn tasks(&self) -> impl Iterator<Item = &TaskId> {
        self.steps.of.keys()
    }

    /// Whether others recorded the run's trajectories.
    pub fn is_imported(&self) -> bool {
        !self.origins.of.is_empty()
    }

    /// Which verifiers have judged the run.
    pub fn verifiers(&self) -> impl Iterator<Item = &VerifierId> {
        self.verdicts.keys()
    }

    /// The tree of a task: empty if the run has none.
    pub fn tree(&self, task: &TaskId) -> Result<Tree, ReadError> {
        let mut trees = BTreeMap::new();
        self.steps.each(task, |line| {
            let parsed = parse_step(&self.steps.path, &line)?;
            grow(&mut trees, &self.steps.path, &self.blobs, line.number, parsed)
        })?;
        Ok(trees.remove(task).unwrap_or_else(|| Tree::new(task.clone())))
    }

    /// Every verdict on a task's tree that one of these verifiers gave, in the order of their
    /// names; of all there are where `only` is `None`.
    pub fn verdicts(
        &self,
        task: &TaskId,
        only: Option<&BTreeSet<VerifierId>>,
    ) -> Result<Vec<Verdict>, ReadError> {
        let judged = self.judged_by(task, only)?;
        Ok(judged.into_values().flat_map(|of| of.verdicts).collect())
    }

    /// What each of these verifiers made of a task's tree, as far as it has judged it.
    pub fn judged_by(
        &self,
        task: &TaskId,
        only: Option<&BTreeSet<VerifierId>>,
    ) -> Result<BTreeMap<&VerifierId, JudgedTree>, ReadError> {
        let mut all = BTreeMap::new();
        let chosen = |id: &VerifierId| only.is_none_or(|only| only.contains(id));
        for (id, lines) in self.verdicts.iter().filter(|(id, _)| chosen(id)) {
            let mut judged = Judged::new();
            let read = lines.each(task, |line| {
                judge(&mut judged, &lines.path, line.number, parse(&lines.path, &line)?)
            });
            read.map_err(with_remedy)?;
            all.extend(judged.remove(task).map(|of| (id, of)));
        }
        Ok(all)
    }

    /// The tasks that each verifier has judged, with the line of its file that says so.
    pub fn judged(&self) -> impl Iterator<Item = (&VerifierId, BTreeMap<&TaskId, u64>)> {
        self.verdicts.iter().map(|(id, lines)| {
            let of = lines.of.iter();
            let last = of.filter_map(|(task, of)| Some((task, of.last()?.first)));
            (id, last.collect())
        })
    }

    /// Where a task's trajectories came from, in the order they came.
    pub fn origins(&self, task: &TaskId) -> Result<Vec<Origin>, ReadError> {
        let mut origins = Vec::new();
        self.origins.each(task, |line| {
            if let OriginLine::Trajectory { origin } = parse(&self.origins.path, &line)? {
                origins.push(origin.into_owned());
            }
            Ok(())
        })?;
        Ok(origins)
    }
}

/// As much of a line as says whose it is.
#[derive(Deserialize)]
struct Head {
    #[serde(rename = "type")]
    what: String,
    task: Option<TaskId>,
    origin: Option<OriginHead>,
}

#[derive(Deserialize)]
struct OriginHead {
    task: TaskId,
}

/// Adjacent lines of one task.
#[derive(Debug, Clone, Copy)]
struct Range {
    first: u64,
    offset: u64,
    bytes: u64,
}

/// Where the lines of a file are.
#[derive(Debug)]
struct Lines {
    path: PathBuf,
    /// Read at a place that is sought first: one reader at a time.
    file: Option<Mutex<File>>,
    of: BTreeMap<TaskId, Vec<Range>>,
}

impl Lines {
    /// A file that is not there has no lines.
    fn read(path: PathBuf) -> Result<Self, ReadError> {
        let mut of: BTreeMap<TaskId, Vec<Range>> = BTreeMap::new();
        let mut last: Option<TaskId> = None;
        each_line(&path, |line| {
            let head: Head = parse(&path, &line)?;
            let bad = |message: &str| {
                let (path, message) = (path.clone(), message.to_owned());
                ReadError::Line { path, line: line.number, message }
            };
            if head.what == "format" {
                last = None;
                return check_title(&path, &line);
            }
            if line.number == 1 {
                return Err(bad(UNTITLED));
            }
            let task = head.task.or(head.origin.map(|origin| origin.task));
            let task = task.ok_or_else(|| bad("missing field `task`"))?;
            let bytes = line.bytes.len() as u64;
            match of.get_mut(&task).and_then(|ranges| ranges.last_mut()) {
                Some(range) if last.as_ref() == Some(&task) => range.bytes += bytes,
                _ => {
                    let range = Range { first: line.number, offset: line.offset, bytes };
                    of.entry(task.clone()).or_default().push(range);
                }
            }
            last = Some(task);
            Ok(())
        })?;
        let file = match File::open(&path) {
            Ok(file) => Some(Mutex::new(file)),
            Err(_) if of.is_empty() => None,
            Err(source) => return Err(ReadError::Io { path, source }),
        };
        Ok(Self { path, file, of })
    }

    /// Visits the lines of a task.
    fn each(
        &self,
        task: &TaskId,
        mut visit: impl FnMut(Line<'_>) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let error = |source| ReadError::Io { path: self.path.clone(), source };
        for range in self.of.get(task).into_iter().flatten() {
            let file = self.file.as_ref().expect("a file with lines is open");
            let mut file = file.lock().expect("nothing panics while it holds this lock");
            file.seek(SeekFrom::Start(range.offset)).map_err(error)?;
            let bytes = usize::try_from(range.bytes).expect("it fits into memory");
            let mut bytes = vec![0; bytes];
            file.read_exact(&mut bytes).map_err(error)?;
            drop(file);
            let lines = bytes.split_inclusive(|byte| *byte == b'\n');
            let mut offset = range.offset;
            for (number, bytes) in (range.first..).zip(lines) {
                visit(Line { number, offset, bytes })?;
                offset += bytes.len() as u64;
            }
        }
        Ok(())
    }
}

/// Checks a line that says which file this is. What it should say follows from the name.
fn check_title(path: &Path, line: &Line<'_>) -> Result<(), ReadError> {
    let name = path.file_name().unwrap_or_default();
    if name == "steps.jsonl" {
        grow(&mut BTreeMap::new(), path, path, line.number, parse(path, line)?)
    } else if name == "origin.jsonl" {
        match parse(path, line)? {
            OriginLine::Format { name, version } => {
                super::reader::check_format(path, line.number, &name, ORIGIN, version)
            }
            OriginLine::Trajectory { .. } => unreachable!("its type is format"),
        }
    } else {
        judge(&mut Judged::new(), path, line.number, parse(path, line)?)
    }
}
