//! The files that a guest brings along: read once and digested, so that what it reads is what was
//! pinned, whatever becomes of the originals.

use std::fs;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use crate::Digest;

/// Bytes of all files of one bundle.
const FILES_BYTES_MAX: u64 = 64 << 20;
/// How many files, and how deep their folders.
const FILES_MAX: usize = 4096;
const DEPTH_MAX: usize = 16;

/// Files below one folder, in the order of their paths.
#[derive(Debug)]
pub struct Bundle {
    files: Vec<Bundled>,
    digest: Digest,
}

impl Default for Bundle {
    /// No files.
    fn default() -> Self {
        Self { files: vec![], digest: Digest::of(b"") }
    }
}

/// A file of a bundle.
#[derive(Debug)]
pub struct Bundled {
    /// Its path below the bundle's folder.
    pub path: PathBuf,
    /// What stands in it.
    pub bytes: Vec<u8>,
    /// Who may do what with it.
    pub permissions: fs::Permissions,
}

/// Why a file cannot be brought along.
#[derive(Debug, thiserror::Error)]
#[error("{}: {message}", path.display())]
pub struct BundleError {
    /// Which one.
    pub path: PathBuf,
    /// What is wrong.
    pub message: String,
}

impl Bundle {
    /// Reads files, and every file below folders. All of them lie below `dir`.
    pub fn read(dir: &Path, paths: &[PathBuf]) -> Result<Self, BundleError> {
        if let Some(outside) = paths.iter().find(|path| !Self::is_below(path)) {
            let message = "must be a path below the manifest's folder".to_owned();
            return Err(BundleError { path: outside.clone(), message });
        }
        let mut paths: Vec<PathBuf> =
            paths.iter().map(|path| path.components().collect()).collect();
        paths.sort();
        paths.dedup();
        let mut bundle = Self::default();
        let mut bytes_left = FILES_BYTES_MAX;
        for path in paths {
            bundle.add(dir, &path, 0, &mut bytes_left)?;
        }
        bundle.files.sort_by(|one, two| one.path.cmp(&two.path));
        bundle.files.dedup_by(|one, two| one.path == two.path);
        let parts = bundle.files.iter().map(|file| {
            (file.path.to_string_lossy().into_owned(), Digest::of(&file.bytes))
        });
        bundle.digest = Digest::of_json(&parts.collect::<Vec<_>>());
        Ok(bundle)
    }

    /// Whether a path cannot lead out of the folder it is joined to.
    pub fn is_below(path: &Path) -> bool {
        let mut parts = path.components();
        let is_plain = |part| matches!(part, Component::Normal(_) | Component::CurDir);
        path.components().next().is_some() && parts.all(is_plain)
    }

    /// The files, in the order of their paths.
    pub fn files(&self) -> &[Bundled] {
        &self.files
    }

    /// Digest of their paths and of what stands in them.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Reads a file, or every file below a folder.
    fn add(
        &mut self,
        dir: &Path,
        path: &Path,
        depth: usize,
        bytes_left: &mut u64,
    ) -> Result<(), BundleError> {
        let source = dir.join(path);
        let wrong = |message: String| BundleError { path: source.clone(), message };
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
        let too_many = self.files.len() == FILES_MAX;
        let Some(left) = bytes_left.checked_sub(bytes.len() as u64).filter(|_| !too_many)
        else {
            return Err(wrong(format!(
                "the files brought along are at most {FILES_MAX} and {FILES_BYTES_MAX} bytes"
            )));
        };
        *bytes_left = left;
        let permissions = metadata.permissions();
        self.files.push(Bundled { path: path.to_owned(), bytes, permissions });
        Ok(())
    }
}
