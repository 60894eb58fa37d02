//! A program: its command, and the files it is made of, which are read once, digested, and
//! copied into each folder it runs in. What runs is what was pinned, whatever becomes of the
//! originals.

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use plumbline::{Bundle, Digest};
use tempfile::TempDir;

use crate::{Bounds, Confinement, Process, ProcessError};

/// What the folders that programs run in are called, before a word by chance.
const FOLDER_PREFIX: &str = "plumb-program-";
/// A folder that is younger may not be held yet by whoever is making it.
const UNHELD_AGE: Duration = Duration::from_secs(10);
/// How often, and how long apart, the removal of a folder is tried.
const REMOVALS_MAX: u32 = 20;
const REMOVAL_WAIT: Duration = Duration::from_millis(5);

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
    files: Bundle,
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
        let named =
            named.filter(|path| Bundle::is_below(path) && dir.join(path).is_file());
        let paths: Vec<PathBuf> = named.chain(listed).collect();
        let files = Bundle::read(&dir, &paths)?;
        let is_own = files.files().iter().any(|file| names(program, &file.path));
        if !is_own && !is_installed(program) {
            return Err(ProcessError::Missing { program: program.clone() });
        }
        let mut command = command.clone();
        if is_own && !program.contains('/') {
            // A bare name would be looked for on the PATH.
            command[0] = format!("./{program}");
        }
        let argv = confinement.wrap(&command, &bounds);
        let digest =
            Digest::of_json(&(&command, files.digest(), bounds.memory_bytes_max));
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
        let folder = Folder::with(&self.files)?;
        Process::start(&self.argv, &self.variables, folder, self.confinement)
    }
}

/// The folder of a running program. While it is locked, nobody else removes it.
#[derive(Debug)]
pub(crate) struct Folder {
    dir: TempDir,
    _held: fs::File,
}

impl Folder {
    /// Makes one with copies of files. It is gone when the value is.
    fn with(files: &Bundle) -> std::io::Result<Self> {
        static SWEPT: Once = Once::new();
        SWEPT.call_once(sweep);
        let dir = tempfile::Builder::new().prefix(FOLDER_PREFIX).tempdir()?;
        let held = fs::File::open(dir.path())?;
        held.try_lock()?;
        let folder = Self { dir, _held: held };
        for file in files.files() {
            let path = folder.path().join(&file.path);
            fs::create_dir_all(path.parent().expect("it lies in the folder"))?;
            fs::write(&path, &file.bytes)?;
            fs::set_permissions(&path, file.permissions.clone())?;
        }
        Ok(folder)
    }

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
        // Opening what is no folder may wait for ever: anybody can put a pipe there.
        let is_one = entry.file_name().to_string_lossy().starts_with(FOLDER_PREFIX)
            && entry.file_type().is_ok_and(|kind| kind.is_dir());
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
        let held = Folder::with(&Bundle::default()).expect("a folder");
        let left = tempfile::Builder::new().prefix(FOLDER_PREFIX).tempdir();
        let left = left.expect("a folder").keep();
        fs::write(left.join("file"), "x").expect("a file");
        let pipe = std::env::temp_dir()
            .join(format!("{FOLDER_PREFIX}pipe-{}", std::process::id()));
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        let touched =
            std::process::Command::new("touch").args(["-d", "@1"]).arg(&pipe).status();
        assert!(
            made.is_ok_and(|it| it.success()) && touched.is_ok_and(|it| it.success())
        );
        age(held.path());
        age(&left);
        sweep();
        fs::remove_file(&pipe).expect("a pipe is left alone, and nobody waits for it");
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
        let folder = Folder::with(&program.files).expect("a copy");
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
