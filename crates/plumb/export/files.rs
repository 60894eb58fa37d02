//! The files of an export: none stands under its name until all of them are whole.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use plumbline::export::Format;
use serde_json::Value;

use super::Rows;
use crate::catalog::Columns;
use crate::failure::{Failure, Kind, Result, at};

/// Bytes that are written at a time.
const WRITE_BYTES: usize = 256 * 1024;

/// Files in the making.
pub(super) struct Files {
    out: PathBuf,
    format: Format,
    /// Whether the folder was made for this, and goes if nothing comes of it.
    is_new: bool,
    parts: Vec<Part>,
    finished: bool,
}

/// One file: where it is made and where it will be.
struct Part {
    temporary: PathBuf,
    path: PathBuf,
    /// `None` once it is whole.
    sink: Option<Sink>,
}

enum Sink {
    Lines(BufWriter<File>),
    Columns(Box<Columns>),
}

impl Files {
    pub(super) fn create(out: &Path, format: Format) -> Result<Self> {
        let is_new = !out.exists();
        let mut files =
            Self { out: out.to_owned(), format, is_new, parts: vec![], finished: false };
        let header = files.header_path();
        let tables = format.tables();
        let file = |table: &plumbline::export::Table| {
            let ending = if table.columns.is_some() { "parquet" } else { "jsonl" };
            out.join(format!("{}.{ending}", table.name))
        };
        let taken = tables.iter().map(file).chain([header]).find(|path| path.exists());
        if let Some(taken) = taken {
            let message = format!("{}: exists; name another --out", taken.display());
            return Err(Failure::say(Kind::Usage, message));
        }
        fs::create_dir_all(out).map_err(at(out))?;
        for table in &tables {
            let path = file(table);
            let temporary = temporary(&path);
            let sink = match &table.columns {
                Some(columns) => {
                    Sink::Columns(Box::new(Columns::create(&temporary, columns)?))
                }
                None => {
                    let file = File::create_new(&temporary).map_err(at(&temporary))?;
                    Sink::Lines(BufWriter::with_capacity(WRITE_BYTES, file))
                }
            };
            files.parts.push(Part { temporary, path, sink: Some(sink) });
        }
        Ok(files)
    }

    fn header_path(&self) -> PathBuf {
        self.out.join(format!("{}.header.json", self.format))
    }

    pub(super) fn push(&mut self, rows: Rows) -> Result<()> {
        for (part, rows) in self.parts.iter_mut().zip(rows.tables) {
            for row in rows {
                part.push(&row)?;
            }
        }
        Ok(())
    }

    /// A row of the first file.
    pub(super) fn push_line(&mut self, line: &str) -> Result<()> {
        self.parts.first_mut().expect("a format has a file").push(line)
    }

    /// Completes the files, writes the header, and gives every file its name. Returns the
    /// names.
    pub(super) fn finish(mut self, header: &Value) -> Result<Vec<PathBuf>> {
        for part in &mut self.parts {
            part.finish()?;
        }
        let mut text = serde_json::to_vec_pretty(header).expect("a header serialises");
        text.push(b'\n');
        let mut names = Vec::new();
        for part in &self.parts {
            name(&part.temporary, &part.path)?;
            names.push(part.path.clone());
        }
        plumbline::store::write_atomically(&self.header_path(), &text)?;
        names.push(self.header_path());
        self.finished = true;
        Ok(names)
    }
}

impl Part {
    fn push(&mut self, row: &str) -> Result<()> {
        match self.sink.as_mut().expect("it is not whole yet") {
            Sink::Lines(file) => {
                let written = file.write_all(row.as_bytes());
                written.and_then(|()| file.write_all(b"\n")).map_err(at(&self.temporary))
            }
            Sink::Columns(columns) => columns.push(row),
        }
    }

    fn finish(&mut self) -> Result<()> {
        match self.sink.take().expect("it is not whole yet") {
            Sink::Lines(file) => {
                let file = file.into_inner().map_err(io::IntoInnerError::into_error);
                file.and_then(|file| file.sync_all()).map_err(at(&self.temporary))
            }
            Sink::Columns(columns) => columns.finish(),
        }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        // A failure is being told already; what cannot be removed hinders nobody.
        for part in &self.parts {
            let _ = fs::remove_file(&part.temporary);
        }
        if self.is_new {
            let _ = fs::remove_dir(&self.out);
        }
    }
}

/// Gives a file its name, unless another export has given it to a file of its own by now.
fn name(temporary: &Path, path: &Path) -> Result<()> {
    let linked = match fs::hard_link(temporary, path) {
        // Not every file system has links.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists && !path.exists() => {
            fs::rename(temporary, path)
        }
        Ok(()) => fs::remove_file(temporary),
        Err(error) => Err(error),
    };
    linked.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            let message = "another export wrote it meanwhile; name another --out";
            Failure::say(Kind::Usage, format!("{}: {message}", path.display()))
        }
        _ => at(path)(error),
    })
}

fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.partial-{}", std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_another_export_took_meanwhile_is_not_taken_from_it() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (path, temporary) = (dir.path().join("a.jsonl"), dir.path().join(".a"));
        for (mine, first) in [("one", true), ("two", false)] {
            fs::write(&temporary, mine).expect("a file");
            assert_eq!(name(&temporary, &path).is_ok(), first);
        }
        assert_eq!(fs::read_to_string(&path).expect("it is there"), "one");
        let failure = name(&temporary, &path).expect_err("it is taken");
        assert_eq!(failure.kind(), Kind::Usage, "{}", failure.message());
    }
}
