//! `contents.jsonl`: what each file of a run held when it was last finished. Without it the loss
//! of a file, or of its end, would look like a run that never had it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::checksum;
use super::format::{FORMAT, Version};
use super::reader::{
    ReadError, check_format, read_header, read_lines, verdicts_remedy, with_remedy,
};
use super::writer::{Log, WriteError, to_object};

const CONTENTS: &str = "plumbline.contents";
const FILE: &str = "contents.jsonl";

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ContentsLine<'a> {
    Format { name: Cow<'a, str>, version: Version },
    Holds { file: Cow<'a, str>, holds: Holds },
}

/// The beginning of a file, as far as it was finished.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Holds {
    /// Whole lines.
    lines: u64,
    /// Bytes of those.
    bytes: u64,
    /// CRC-32 of those bytes.
    crc32: u32,
}

/// Records what files of a run hold now that they are finished. The latest record of a file
/// stands; a file that is not there has none.
pub fn record_contents(run: &Path, files: &[&str]) -> Result<(), WriteError> {
    record(run, files, |known, holds| known != Some(holds))
}

/// Takes note that a file is gone on with. What was lost at its end is lost: what comes in
/// its place is not to be measured by it.
pub(super) fn resume_contents(run: &Path, file: &str) -> Result<(), WriteError> {
    record(run, &[file], |known, holds| known.is_some_and(|it| it.bytes > holds.bytes))
}

fn record(
    run: &Path,
    files: &[&str],
    is_due: impl Fn(Option<&Holds>, &Holds) -> bool,
) -> Result<(), WriteError> {
    let first = ContentsLine::Format { name: Cow::Borrowed(CONTENTS), version: FORMAT };
    // Two commands may finish at once: each waits for the other's few lines.
    let mut log = Log::open_when_free(run.join(FILE), &first)?;
    // Where the list itself is damaged it is refused when it is read.
    let known = read_contents(run).unwrap_or_default();
    for file in files {
        let path = run.join(file);
        let error = |source| WriteError::Io { path: path.clone(), source };
        let Some(holds) = held(&path, u64::MAX).map_err(error)? else { continue };
        if is_due(known.get(*file), &holds) {
            let file = Cow::Borrowed(*file);
            log.append(to_object(&ContentsLine::Holds { file, holds }))?;
        }
    }
    Ok(())
}

/// What a run has lost of what it once held, in words: lines at the end of a file, or a whole
/// file, that can be made again. What cannot is an error, and so is a file that holds
/// something else than it did.
///
/// Empty for runs of formats before 1.3, which do not say what they held.
pub fn losses(run: &Path) -> Result<Vec<String>, ReadError> {
    let mut losses = Vec::new();
    let path = run.join(FILE);
    if !path.exists() {
        if checksum::is_due(read_header(run)?.format) {
            losses.push(format!(
                "{}: the file is missing: whether others are whole cannot be told",
                path.display()
            ));
        }
        return Ok(losses);
    }
    let contents = read_contents(run)?;
    if checksum::is_due(read_header(run)?.format) {
        let io_error = |source| ReadError::Io { path: run.to_owned(), source };
        for file in written(run).map_err(io_error)? {
            if !contents.contains_key(&file) {
                losses.push(format!(
                    "{}: it says nothing of {file}, which is being written, or whose writer was \
                     killed, or else the list was cut: whether that is whole cannot be told; the \
                     same command that writes it finishes it",
                    path.display()
                ));
            }
        }
    }
    for (file, recorded) in contents {
        let path = run.join(&file);
        let io_error = |source| ReadError::Io { path: path.clone(), source };
        let found = held(&path, recorded.bytes).map_err(io_error)?;
        let left = found.unwrap_or_default();
        if left == recorded {
            continue;
        }
        let remedy = match file.split('/').next() {
            Some("steps.jsonl") => Some("the same command that made them does so again"),
            Some("verdicts") => {
                Some("plumb label makes them again, plumb explore those of methods")
            }
            _ => None,
        };
        let is_verdicts = file.starts_with("verdicts/");
        let lost = recorded.lines.saturating_sub(left.lines);
        let missing = if found.is_none() { "the file is missing: " } else { "" };
        match remedy {
            Some(remedy) if left.lines < recorded.lines => losses.push(format!(
                "{}:{}: {missing}{lost} of {} lines are lost; {remedy}",
                path.display(),
                left.lines + 1,
                recorded.lines
            )),
            _ => {
                // Where lines have checksums the damaged one can be named.
                if file.ends_with(".jsonl") {
                    let read = read_lines(&path, |_: serde::de::IgnoredAny, _| Ok(()));
                    read.map_err(|e| if is_verdicts { with_remedy(e) } else { e })?;
                }
                let message = match left.lines < recorded.lines {
                    true => format!(
                        "{missing}{lost} of {} lines are lost; restore the file from a copy",
                        recorded.lines
                    ),
                    false => format!(
                        "the file does not hold what it was finished with; {}",
                        match is_verdicts {
                            true => verdicts_remedy(&path),
                            false => "restore it from a copy",
                        }
                    ),
                };
                let line =
                    left.lines.min(recorded.lines - u64::from(recorded.lines > 0)) + 1;
                return Err(ReadError::Line { path, line, message });
            }
        }
    }
    for file in ["steps.jsonl", FILE] {
        let path = run.join(file);
        if is_torn(&path)
            .map_err(|source| ReadError::Io { path: path.clone(), source })?
        {
            losses.push(format!(
                "{}: its last line has no end and is left out: it is being written, or its \
                 writer was killed",
                path.display()
            ));
        }
    }
    Ok(losses)
}

fn read_contents(run: &Path) -> Result<BTreeMap<String, Holds>, ReadError> {
    let path = run.join(FILE);
    let mut contents = BTreeMap::new();
    read_lines(&path, |line: ContentsLine<'static>, number| {
        match line {
            ContentsLine::Format { name, version } => {
                check_format(&path, number, &name, CONTENTS, version)?;
            }
            ContentsLine::Holds { file, holds } => {
                contents.insert(file.into_owned(), holds);
            }
        }
        Ok(())
    })?;
    Ok(contents)
}

/// The files of a run that are there and whose loss the list tells of.
fn written(run: &Path) -> io::Result<Vec<String>> {
    let mut files: Vec<String> =
        ["steps.jsonl", "human.jsonl", "origin.jsonl"].map(str::to_owned).into();
    if let Ok(entries) = fs::read_dir(run.join("verdicts")) {
        for entry in entries {
            files.push(format!("verdicts/{}", entry?.file_name().to_string_lossy()));
        }
    }
    files.retain(|file| file.ends_with(".jsonl") && run.join(file).exists());
    files.sort();
    Ok(files)
}

/// What a file holds in whole lines among its first `bytes_max` bytes; `None` if there is no
/// such file.
fn held(path: &Path, bytes_max: u64) -> io::Result<Option<Holds>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut reader = BufReader::with_capacity(1 << 16, io::Read::take(file, bytes_max));
    let mut holds = Holds::default();
    // Of the line that has no end yet: its bytes, and the sum with them.
    let (mut open_bytes, mut open_sum) = (0, 0);
    loop {
        let piece = reader.fill_buf()?;
        if piece.is_empty() {
            return Ok(Some(holds));
        }
        let length = piece.len();
        let lines = piece.iter().filter(|byte| **byte == b'\n').count() as u64;
        match piece.iter().rposition(|byte| *byte == b'\n') {
            Some(end) => {
                let (whole, rest) = piece.split_at(end + 1);
                holds.lines += lines;
                holds.bytes += open_bytes + whole.len() as u64;
                holds.crc32 = checksum::extend(open_sum, &[whole]);
                open_bytes = rest.len() as u64;
                open_sum = checksum::extend(holds.crc32, &[rest]);
            }
            None => {
                open_bytes += length as u64;
                open_sum = checksum::extend(open_sum, &[piece]);
            }
        }
        reader.consume(length);
    }
}

pub(super) fn is_torn(path: &Path) -> io::Result<bool> {
    use io::{Read, Seek, SeekFrom};
    if fs::metadata(path).map_or(0, |file| file.len()) == 0 {
        return Ok(false);
    }
    let mut file = File::open(path)?;
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_lines_are_held() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("f");
        assert_eq!(held(&path, u64::MAX).expect("none is there"), None);
        // Longer than a piece, so that a line crosses two of them.
        let long = format!("{}\nb\n{}", "a".repeat(70_000), "c".repeat(70_000));
        fs::write(&path, &long).expect("a file");
        let whole = &long.as_bytes()[..70_003];
        let expected = Holds { lines: 2, bytes: 70_003, crc32: crc32fast::hash(whole) };
        assert_eq!(held(&path, u64::MAX).expect("it is read"), Some(expected));
        assert_eq!(held(&path, 70_003).expect("it is read"), Some(expected));
        assert!(is_torn(&path).expect("it is read"));
        fs::write(&path, whole).expect("a file");
        assert!(!is_torn(&path).expect("it is read"));
    }
}
