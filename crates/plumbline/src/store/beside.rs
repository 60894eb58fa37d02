//! What lies beside the steps of an imported run: what people said about them, and where each
//! trajectory came from. Both are written once, whole.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::contents::is_torn;
use super::format::{FORMAT, Version};
use super::reader::{ReadError, UNTITLED, check_format, read_lines};
use super::writer::{WriteError, to_object, write_atomically};
use super::{checksum, record_contents};
use crate::import::Origin;
use crate::{HumanLabel, TaskId};

const HUMAN: &str = "plumbline.human";
pub(super) const ORIGIN: &str = "plumbline.origin";

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum HumanLine<'a> {
    Format { name: Cow<'a, str>, version: Version },
    Human { task: Cow<'a, TaskId>, label: Cow<'a, HumanLabel> },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum OriginLine<'a> {
    Format { name: Cow<'a, str>, version: Version },
    Trajectory { origin: Cow<'a, Origin> },
}

/// What people said about the steps of a run, by task.
pub type Human = BTreeMap<TaskId, Vec<HumanLabel>>;

/// Writes `human.jsonl`.
pub fn write_human(run: &Path, human: &Human) -> Result<(), WriteError> {
    let first = HumanLine::Format { name: Cow::Borrowed(HUMAN), version: FORMAT };
    let lines = human.iter().flat_map(|(task, labels)| {
        labels.iter().map(|label| HumanLine::Human {
            task: Cow::Borrowed(task),
            label: Cow::Borrowed(label),
        })
    });
    write(run, "human.jsonl", [first].into_iter().chain(lines))
}

/// Reads a file of what people said: a run's own `human.jsonl`, or another of its kind.
/// Empty if there is none.
pub fn read_human(path: &Path) -> Result<Human, ReadError> {
    let mut human = Human::new();
    let mut rated = BTreeSet::new();
    read(path, |line: HumanLine<'static>, number| {
        let bad = |message: String| ReadError::Line {
            path: path.to_owned(),
            line: number,
            message,
        };
        if number == 1 && !matches!(line, HumanLine::Format { .. }) {
            return Err(bad(format!("{UNTITLED}; restore it from a copy")));
        }
        match line {
            HumanLine::Format { name, version } => {
                check_format(path, number, &name, HUMAN, version)?;
            }
            HumanLine::Human { task, label } => {
                if let HumanLabel::Step { node, .. } = *label
                    && !rated.insert((task.clone().into_owned(), node))
                {
                    return Err(bad(format!(
                        "step {node} of task {task} has a label already; leave one of the \
                         two out"
                    )));
                }
                human.entry(task.into_owned()).or_default().push(label.into_owned());
            }
        }
        Ok(())
    })?;
    Ok(human)
}

/// Writes `origin.jsonl`.
pub fn write_origins(run: &Path, origins: &[Origin]) -> Result<(), WriteError> {
    let first = OriginLine::Format { name: Cow::Borrowed(ORIGIN), version: FORMAT };
    let lines =
        origins.iter().map(|o| OriginLine::Trajectory { origin: Cow::Borrowed(o) });
    write(run, "origin.jsonl", [first].into_iter().chain(lines))
}

/// Where a run's trajectories came from, in the order they came. Empty if it was not
/// imported.
pub fn read_origins(run: &Path) -> Result<Vec<Origin>, ReadError> {
    let mut origins = Vec::new();
    each_origin(run, |origin| {
        origins.push(origin);
        Ok::<(), ReadError>(())
    })?;
    Ok(origins)
}

/// Visits where a run's trajectories came from, one at a time, in the order they came. Stops
/// at the first error of the visitor's own.
pub fn each_origin<E: From<ReadError>>(
    run: &Path,
    mut visit: impl FnMut(Origin) -> Result<(), E>,
) -> Result<(), E> {
    let path = run.join("origin.jsonl");
    let mut failed = None;
    let read = read(&path, |line: OriginLine<'static>, number| {
        match line {
            OriginLine::Format { name, version } => {
                check_format(&path, number, &name, ORIGIN, version)?;
            }
            OriginLine::Trajectory { .. } if failed.is_some() => {}
            OriginLine::Trajectory { origin } => {
                failed = visit(origin.into_owned()).err();
            }
        }
        Ok(())
    });
    match failed {
        Some(error) => Err(error),
        None => Ok(read?),
    }
}

fn write<T: Serialize>(
    run: &Path,
    file: &str,
    lines: impl Iterator<Item = T>,
) -> Result<(), WriteError> {
    let (mut bytes, mut sum) = (Vec::new(), 0);
    for line in lines {
        let mut object = to_object(&line);
        sum = checksum::seal(&mut object, sum);
        bytes.extend_from_slice(&object);
        bytes.push(b'\n');
    }
    write_atomically(&run.join(file), &bytes)?;
    record_contents(run, &[file])
}

fn read<T: DeserializeOwned>(
    path: &Path,
    mut visit: impl FnMut(T, u64) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    if !path.exists() {
        return Ok(());
    }
    let mut last = 0;
    read_lines(path, |line, number| {
        last = number;
        visit(line, number)
    })?;
    let path = path.to_owned();
    match is_torn(&path) {
        Ok(false) => Ok(()),
        // Nobody appends to these files: what has no end was cut off.
        Ok(true) => {
            let message =
                "the line has no end: the file was cut off; restore it from a copy";
            Err(ReadError::Line { path, line: last + 1, message: message.to_owned() })
        }
        Err(source) => Err(ReadError::Io { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NodeId, StepLabel};

    #[test]
    fn both_files_read_back_and_name_a_bad_line() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("human.jsonl");
        assert_eq!(read_human(&path).expect("none yet"), Human::new());
        let label = HumanLabel::Step { node: NodeId(3), label: StepLabel::Bad };
        let human = Human::from([(TaskId("t".into()), vec![label])]);
        write_human(dir.path(), &human).expect("it is written");
        assert_eq!(read_human(&path).expect("it is read"), human);
        let origin = Origin {
            task: TaskId("t".into()),
            leaf: Some(NodeId(3)),
            key: serde_json::json!({"sample_index": 0}),
            messages: vec![(2, NodeId(3))],
            rest: serde_json::Value::Null,
        };
        write_origins(dir.path(), std::slice::from_ref(&origin)).expect("written");
        assert_eq!(read_origins(dir.path()).expect("it is read"), [origin]);
        let text = std::fs::read_to_string(&path).expect("it is there");
        std::fs::write(&path, text.replace("\"bad\"", "\"worse\"")).expect("a file");
        let error = read_human(&path).expect_err("no such label").to_string();
        assert!(error.contains("human.jsonl:2: "), "{error}");
        // Lines of a format without checksums, which people may write themselves.
        let title = "{\"type\":\"format\",\"name\":\"plumbline.human\",\
                     \"version\":{\"major\":1,\"minor\":2}}\n";
        let line = |label: &str| {
            format!(
                "{{\"type\":\"human\",\"task\":\"t\",\"label\":{{\"type\":\"step\",\
                 \"node\":3,\"label\":\"{label}\"}}}}\n"
            )
        };
        let whole = format!("{title}{}", line("bad"));
        std::fs::write(&path, &whole).expect("a file");
        assert_eq!(read_human(&path).expect("it is read"), human);
        for (text, expected) in [
            (line("bad"), "human.jsonl:1: the file's first line must say its format"),
            (whole.trim_end().to_owned(), "human.jsonl:2: the line has no end"),
            (format!("{whole}{}", line("good")), "human.jsonl:3: step 3 of task t has a"),
        ] {
            std::fs::write(&path, text).expect("a file");
            let error = read_human(&path).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
