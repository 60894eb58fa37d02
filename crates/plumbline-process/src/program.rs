//! A program: its command, and the files it is made of, which are read once, digested, and
//! copied into each folder it runs in. What runs is what was pinned, whatever becomes of the
//! originals.

use std::fs;
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use plumbline::Digest;
use tempfile::TempDir;

use crate::{Bounds, Confinement, Process, ProcessError};

/// Bytes of all files of one program.
const FILES_BYTES_MAX: u64 = 64 << 20;
/// How many files, and how deep their folders.
const FILES_MAX: usize = 4096;
const DEPTH_MAX: usize = 16;
/// What the folders that programs run in are called, before a word by chance.
const FOLDER_PREFIX: &str = "plumb-program-";
/// A folder that is younger may not be held yet by whoever is making it.
const UNHELD_AGE: Duration = Duration::from_secs(10);
/// How often, and how long apart, the removal of a folder is tried.
const REMOVALS_MAX: u32 = 20;
const REMOVAL_WAIT: Duration = Duration::from_millis(5);

/// Copies of files, by their path in the folder they are put into.
#[derive(Debug)]
struct Files {
    copies: Vec<Copy>,
    digest: Digest,
}

#[derive(Debug)]
struct Copy {
    path: PathBuf,
    bytes: Vec<u8>,
    permissions: fs::Permissions,
}

/// What a program is made of, and what it is given.
#[derive(Debug, Clone)]
pub struct ProgramSettings {
    /// The program and its arguments. One that names a file below `dir` brings it along.
    pub command: Vec<String>,
    /// The folder that paths are relative to.
    pub dir: PathBuf,
    /// Files and folders that are copied to where it runs.
    pub files: Vec<PathBuf>,
    /// The user's environment variables that it is given, by name. They are not pinned.
    pub variables: Vec<String>,
    /// What it is held to, as far as the system can.
    pub bounds: Bounds,
}

/// A program that can be started any number of times, each time in a fresh folder.
#[derive(Debug)]
pub struct Program {
    command: Vec<String>,
    files: Files,
    variables: Vec<String>,
    /// The whole command line, confinement and all.
    argv: Vec<String>,
    confinement: Confinement,
    digest: Digest,
}

impl Program {
    /// Reads the files of a program: those listed, and those that the command names. All of
    /// them lie below the settings' folder.
    pub fn read(
        settings: ProgramSettings,
        confinement: Confinement,
    ) -> Result<Self, ProcessError> {
        let ProgramSettings { command, dir, files: listed, variables, bounds } = settings;
        let refused = |message: &str| ProcessError::Settings {
            command: format!("{command:?}"),
            message: message.to_owned(),
        };
        let Some(program) = command.first().filter(|program| !program.is_empty()) else {
            return Err(refused("it must name a program"));
        };
        let named = command.iter().map(PathBuf::from);
        let named = named.filter(|path| is_below(path) && dir.join(path).is_file());
        let mut paths: Vec<PathBuf> = named.chain(listed).collect();
        if let Some(outside) = paths.iter().find(|path| !is_below(path)) {
            let message = format!(
                "files: {} must be a path below the manifest's folder",
                outside.display()
            );
            return Err(refused(&message));
        }
        paths = paths.iter().map(|path| path.components().collect()).collect();
        paths.sort();
        paths.dedup();
        let files = Files::read(&dir, &paths)?;
        let is_own = files.copies.iter().any(|copy| names(program, &copy.path));
        if !is_own && !is_installed(program) {
            return Err(ProcessError::Missing { program: program.clone() });
        }
        let mut command = command.clone();
        if is_own && !program.contains('/') {
            // A bare name would be looked for on the PATH.
            command[0] = format!("./{program}");
        }
        let argv = confinement.wrap(&command, &bounds);
        let digest = Digest::of_json(&(&command, files.digest, bounds.memory_bytes_max));
        Ok(Self { command, files, variables, argv, confinement, digest })
    }

    /// Digest of the command, of everything beside it, and of the memory it may take.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The command, as the manifest has it.
    pub fn shown(&self) -> String {
        format!("{:?}", self.command)
    }

    /// Starts it in a folder of its own.
    pub fn start(&self) -> std::io::Result<Process> {
        let folder = self.files.folder()?;
        Process::start(&self.argv, &self.variables, folder, self.confinement)
    }
}

impl Files {
    fn read(dir: &Path, paths: &[PathBuf]) -> Result<Self, ProcessError> {
        let mut files = Self { copies: vec![], digest: Digest::of(b"") };
        let mut bytes_left = FILES_BYTES_MAX;
        for path in paths {
            files.add(dir, path, 0, &mut bytes_left)?;
        }
        files.copies.sort_by(|one, two| one.path.cmp(&two.path));
        files.copies.dedup_by(|one, two| one.path == two.path);
        let parts = files.copies.iter().map(|copy| {
            (copy.path.to_string_lossy().into_owned(), Digest::of(&copy.bytes))
        });
        files.digest = Digest::of_json(&parts.collect::<Vec<_>>());
        Ok(files)
    }

    /// Reads a file, or every file below a folder.
    fn add(
        &mut self,
        dir: &Path,
        path: &Path,
        depth: usize,
        bytes_left: &mut u64,
    ) -> Result<(), ProcessError> {
        let source = dir.join(path);
        let wrong =
            |message: String| ProcessError::File { path: source.clone(), message };
        let failed = |error: std::io::Error| wrong(error.to_string());
        let metadata = fs::metadata(&source).map_err(failed)?;
        if metadata.is_dir() {
            if depth == DEPTH_MAX {
                return Err(wrong(format!("more than {DEPTH_MAX} folders deep")));
            }
            for entry in fs::read_dir(&source).map_err(failed)? {
                let entry = entry.map_err(failed)?.file_name();
                self.add(dir, &path.join(entry), depth + 1, bytes_left)?;
            }
            return Ok(());
        }
        if !metadata.is_file() {
            return Err(wrong("neither a file nor a folder".to_owned()));
        }
        let mut bytes = Vec::new();
        let file = fs::File::open(&source).map_err(failed)?;
        file.take(*bytes_left + 1).read_to_end(&mut bytes).map_err(failed)?;
        let too_many = self.copies.len() == FILES_MAX;
        let Some(left) = bytes_left.checked_sub(bytes.len() as u64).filter(|_| !too_many)
        else {
            return Err(wrong(format!(
                "a tool's files are at most {FILES_MAX} and {FILES_BYTES_MAX} bytes"
            )));
        };
        *bytes_left = left;
        let permissions = metadata.permissions();
        self.copies.push(Copy { path: path.to_owned(), bytes, permissions });
        Ok(())
    }

    /// Makes a folder with copies of all of them. It is gone when the value is.
    fn folder(&self) -> std::io::Result<Folder> {
        static SWEPT: Once = Once::new();
        SWEPT.call_once(sweep);
        let dir = tempfile::Builder::new().prefix(FOLDER_PREFIX).tempdir()?;
        let held = fs::File::open(dir.path())?;
        held.try_lock()?;
        let folder = Folder { dir, _held: held };
        for copy in &self.copies {
            let path = folder.path().join(&copy.path);
            fs::create_dir_all(path.parent().expect("it lies in the folder"))?;
            fs::write(&path, &copy.bytes)?;
            fs::set_permissions(&path, copy.permissions.clone())?;
        }
        Ok(folder)
    }
}

/// The folder of a running program. While it is locked, nobody else removes it.
#[derive(Debug)]
pub(crate) struct Folder {
    dir: TempDir,
    _held: fs::File,
}

impl Folder {
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What the program started may write for a moment after it was told to end.
        for _ in 0..REMOVALS_MAX {
            if fs::remove_dir_all(self.path()).is_ok() || !self.path().exists() {
                return;
            }
            std::thread::sleep(REMOVAL_WAIT);
        }
    }
}

/// Removes what a process left behind that was killed: folders that nobody holds.
fn sweep() {
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let is_one = entry.file_name().to_string_lossy().starts_with(FOLDER_PREFIX);
        let changed = entry.metadata().and_then(|metadata| metadata.modified()).ok();
        let age = changed.and_then(|at| at.elapsed().ok()).unwrap_or_default();
        if is_one
            && age >= UNHELD_AGE
            && let Ok(folder) = fs::File::open(entry.path())
            && folder.try_lock().is_ok()
        {
            // Another user's cannot be.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Whether a path cannot lead out of the folder it is joined to.
fn is_below(path: &Path) -> bool {
    let mut parts = path.components();
    let is_plain = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    path.components().next().is_some() && parts.all(is_plain)
}

/// Whether a command's first word is this file.
fn names(program: &str, path: &Path) -> bool {
    Path::new(program)
        .components()
        .filter(|part| *part != Component::CurDir)
        .eq(path.components())
}

/// Whether there is a program of this name on the PATH, or at this place.
fn is_installed(program: &str) -> bool {
    if program.contains('/') {
        return Path::new(program).is_absolute() && Path::new(program).is_file();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_plumb_left_behind_is_swept_away() {
        let old = std::time::SystemTime::now() - 2 * UNHELD_AGE;
        let age = |path: &Path| {
            let folder = fs::File::open(path).expect("a folder");
            folder.set_modified(old).expect("it is ours");
        };
        let files = Files { copies: vec![], digest: Digest::of(b"") };
        let held = files.folder().expect("a folder");
        let left = tempfile::Builder::new().prefix(FOLDER_PREFIX).tempdir();
        let left = left.expect("a folder").keep();
        fs::write(left.join("file"), "x").expect("a file");
        age(held.path());
        age(&left);
        sweep();
        assert!(held.path().exists() && !left.exists());
    }

    #[test]
    fn a_program_is_its_command_and_the_files_it_names() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::create_dir(dir.path().join("tables")).expect("a folder");
        fs::write(dir.path().join("tool.sh"), "echo").expect("a file");
        fs::write(dir.path().join("tables/one.csv"), "1").expect("a file");
        let read = |command: &[&str], files: &[&str]| {
            let command: Vec<String> = command.iter().map(|&it| it.to_owned()).collect();
            let files: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
            let bounds =
                Bounds { network: false, memory_bytes_max: 1, file_bytes_max: 1 };
            let dir = dir.path().to_owned();
            let settings =
                ProgramSettings { command, dir, files, variables: vec![], bounds };
            Program::read(settings, Confinement::none())
        };
        let program = read(&["sh", "tool.sh"], &["tables"]).expect("a program");
        let folder = program.files.folder().expect("a copy");
        let path = folder.path().join("tables/one.csv");
        assert_eq!(fs::read_to_string(path).expect("its copy"), "1");
        let before = program.digest();
        fs::write(dir.path().join("tables/one.csv"), "2").expect("a file");
        let after = read(&["sh", "tool.sh"], &["tables"]).expect("a program").digest();
        assert_ne!(before, after, "what a tool reads is pinned");
        let own = read(&["tool.sh"], &[]).expect("a program");
        assert_eq!(own.command, ["./tool.sh"]);
        for (command, files, word) in [
            (&["no-such-program"][..], &[][..], "no such program"),
            (&["sh"], &["../x"], "below"),
            (&["sh"], &["/etc"], "below"),
            (&["sh"], &["none.csv"], "none.csv"),
            (&[], &[], "must name a program"),
        ] {
            let error = read(command, files).expect_err(word).to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
