//! A file on its way: written beside its place, checked, then put there in one move.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use plumbline::Digest;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc::Receiver;

/// Bytes that are hashed at a time when a part is taken up again.
const READ_BYTES: usize = 256 * 1024;

/// The beginning of a file, locked against other processes, and its hash so far.
///
/// Everything here blocks: it belongs in `spawn_blocking`.
#[derive(Debug)]
pub(crate) struct Part {
    path: PathBuf,
    place: PathBuf,
    file: File,
    hasher: Sha256,
    bytes: u64,
}

/// What opening a part comes to.
#[derive(Debug)]
pub(crate) enum Opened {
    /// Ours to go on with.
    Part(Part),
    /// Another process is writing it.
    Busy,
    /// Another process has just finished it.
    Done,
}

impl Part {
    /// Opens the part of the file that is to stand at `place` and have this digest, and
    /// takes up what an earlier attempt at the same content left.
    pub(crate) fn open(place: &Path, digest: &Digest) -> io::Result<Opened> {
        let folder = place.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let mut path = place.as_os_str().to_owned();
        path.push(format!(".{}.part", digest.short()));
        let path = PathBuf::from(path);
        // Not truncated: what is there is what we came for.
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).open(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Opened::Busy),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // Whoever had the lock before may have moved the file to its place meanwhile.
        if place.exists() {
            return Ok(Opened::Done);
        }
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; READ_BYTES];
        let mut bytes = 0;
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            hasher.update(&buffer[..read]);
            bytes += read as u64;
        }
        let place = place.to_owned();
        Ok(Opened::Part(Part { path, place, file, hasher, bytes }))
    }

    /// How much of the file there is.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Forgets what there is.
    pub(crate) fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.hasher = Sha256::new();
        self.bytes = 0;
        Ok(())
    }

    /// Removes what there is.
    pub(crate) fn discard(self) -> io::Result<()> {
        std::fs::remove_file(&self.path)
    }

    /// Appends what comes until the other end hangs up.
    pub(crate) fn append(
        &mut self,
        mut chunks: Receiver<impl AsRef<[u8]>>,
    ) -> io::Result<()> {
        while let Some(chunk) = chunks.blocking_recv() {
            self.file.write_all(chunk.as_ref())?;
            self.hasher.update(chunk.as_ref());
            self.bytes += chunk.as_ref().len() as u64;
        }
        Ok(())
    }

    /// Puts the file in its place if it has the digest; otherwise removes it and returns the
    /// digest it has instead.
    pub(crate) fn finish(self, digest: &Digest) -> io::Result<Result<(), Digest>> {
        let found: [u8; 32] = self.hasher.finalize().into();
        let found = found.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let found: Digest = found.parse().expect("32 bytes are 64 hexadecimal digits");
        if found != *digest {
            std::fs::remove_file(&self.path)?;
            return Ok(Err(found));
        }
        // On the disk before it has its name: a crash must not leave a hole under it.
        self.file.sync_all()?;
        std::fs::rename(&self.path, &self.place)?;
        Ok(Ok(()))
    }
}
