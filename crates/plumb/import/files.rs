//! What is read and written whole: records in, a folder of files out.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Seek, Write};
use std::path::{Path, PathBuf};

use plumbline::import::{ImportError, Record, Records};
use serde::Serialize;

use crate::failure::{Blame, Failure, Kind, Result, at};
use crate::progress::Progress;

/// Records between two updates of the progress.
const PROGRESS_EVERY: u64 = 64;

/// The folder that becomes `--out` once all is in it.
#[derive(Debug)]
pub(super) struct Staging {
    dir: PathBuf,
    out: PathBuf,
}

impl Staging {
    pub(super) fn begin(out: &Path) -> Result<Self> {
        let usage = |problem: &str| {
            let message = format!(
                "--out {}: {problem}; name a new folder, or remove this one first",
                out.display()
            );
            Failure::say(Kind::Usage, message)
        };
        let Some(name) = out.file_name() else {
            return Err(usage("not a folder to make"));
        };
        if fs::symlink_metadata(out).is_ok_and(|it| it.is_symlink()) && !out.exists() {
            return Err(usage("it is a link to what is not there"));
        }
        match fs::read_dir(out) {
            Ok(entries) => {
                if entries.count() > 0 {
                    return Err(usage("the folder is not empty"));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return Err(usage("there is a file of that name"));
            }
            Err(error) => return Err(at(out)(error)),
        }
        // Beside the target, so that it can be renamed; by process, so that two can run.
        sweep(out, &name.to_string_lossy());
        let dir = out.with_file_name(format!(
            ".{}.partial-{}",
            name.to_string_lossy(),
            std::process::id()
        ));
        let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty());
        fs::create_dir_all(parent.unwrap_or(Path::new("."))).map_err(at(out))?;
        fs::create_dir(&dir).map_err(at(&dir))?;
        Ok(Self { dir, out: out.to_owned() })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn finish(self) -> Result<()> {
        let fail = |error: io::Error| match error.kind() {
            // It was free when this began.
            io::ErrorKind::DirectoryNotEmpty
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::AlreadyExists => {
                let message = format!(
                    "--out {}: somebody else has made it meanwhile; name another folder",
                    self.out.display()
                );
                Failure::say(Kind::Usage, message)
            }
            _ => at(&self.out)(error),
        };
        match fs::remove_dir(&self.out) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(fail(error));
            }
            _ => {}
        }
        fs::rename(&self.dir, &self.out).map_err(fail)
    }
}

/// Removes what imports into the same folder left that were killed. Which processes live can
/// be seen under /proc, where there is one.
fn sweep(out: &Path, name: &str) {
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty());
    let entries = fs::read_dir(parent.unwrap_or(Path::new("."))).ok();
    for entry in entries.into_iter().flatten().flatten() {
        let file = entry.file_name().to_string_lossy().into_owned();
        let process = file.strip_prefix(&format!(".{name}.partial-")).map(str::to_owned);
        let Some(process) = process.filter(|p| p.parse::<u32>().is_ok()) else {
            continue;
        };
        let is_dead = Path::new("/proc/self").exists()
            && !Path::new("/proc").join(process).exists();
        if is_dead {
            // What cannot be removed hinders nobody.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // Renamed away if all went well; otherwise nobody is left to tell of a failure.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Visits the records of a file and shows how far it is.
pub(crate) fn each_record(
    path: &Path,
    json: bool,
    mut visit: impl FnMut(&Record) -> Result<()>,
) -> Result<()> {
    let name = path.display().to_string();
    let open = || {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        Ok((file, bytes))
    };
    let (file, bytes) =
        open().map_err(|source| ImportError::Read { file: name.clone(), source })?;
    let progress = Progress::new("kB read", bytes.div_ceil(1000), json);
    let mut reader = BufReader::with_capacity(1 << 18, &file);
    let mut read = || -> Result<()> {
        for (number, record) in (1u64..).zip(Records::new(&name, &mut reader)) {
            visit(&record?)?;
            if number.is_multiple_of(PROGRESS_EVERY) {
                // A pipe has no position; then the bar stays where it is.
                let position = (&file).stream_position().unwrap_or(0);
                progress.set(position / 1000, |_| format!("{number} records"));
            }
        }
        Ok(())
    };
    let done = read();
    progress.finish();
    done
}

/// A file of JSON lines in the making.
pub(crate) struct JsonLines {
    path: PathBuf,
    writer: BufWriter<File>,
}

impl JsonLines {
    pub(crate) fn create(path: PathBuf) -> Result<Self> {
        let file = File::create_new(&path).map_err(at(&path))?;
        Ok(Self { path, writer: BufWriter::with_capacity(1 << 18, file) })
    }

    pub(crate) fn push(&mut self, row: &impl Serialize) -> Result<()> {
        let written =
            serde_json::to_writer(&mut self.writer, row).map_err(io::Error::from);
        written.and_then(|()| self.writer.write_all(b"\n")).map_err(at(&self.path))
    }

    pub(crate) fn push_all<T: Serialize>(
        &mut self,
        rows: impl IntoIterator<Item = T>,
    ) -> Result<()> {
        rows.into_iter().try_for_each(|row| self.push(&row))
    }

    pub(crate) fn finish(self) -> Result<()> {
        let Self { path, writer } = self;
        let file = writer.into_inner().map_err(io::IntoInnerError::into_error);
        file.and_then(|file| file.sync_all()).map_err(at(&path))
    }
}

pub(crate) fn write_toml(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = toml::to_string(value).blame(Kind::External)?;
    write_file(path, &text)
}

pub(crate) fn write_file(path: &Path, text: &str) -> Result<()> {
    let write = || {
        let mut file = File::create_new(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(at(path))
}
