//! Bytes that do not change: a task's file, or the standard library.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use plumbline::Digest;

/// Bytes whose digest is known. Cloning shares them.
#[derive(Debug, Clone)]
pub(crate) struct Pinned {
    source: Source,
    digest: Digest,
}

#[derive(Debug, Clone)]
enum Source {
    Memory(Arc<[u8]>),
    /// A large file, read where it is asked for. It is ours: in a cache, checked once.
    Disk {
        file: Arc<File>,
        bytes: u64,
    },
}

impl Pinned {
    /// Bytes in memory.
    pub(crate) fn of_bytes(bytes: Vec<u8>) -> Self {
        let digest = Digest::of(&bytes);
        Self { source: Source::Memory(bytes.into()), digest }
    }

    /// A file that stays on disk.
    pub(crate) fn of_file(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let digest = Digest::of_reader(&file)?;
        let bytes = file.metadata()?.len();
        Ok(Self { source: Source::Disk { file: Arc::new(file), bytes }, digest })
    }

    /// What the bytes digest to.
    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }

    /// How many bytes there are.
    pub(crate) fn bytes(&self) -> u64 {
        match &self.source {
            Source::Memory(bytes) => bytes.len() as u64,
            Source::Disk { bytes, .. } => *bytes,
        }
    }

    /// Reads at an offset; nothing at and past the end.
    pub(crate) fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let left = self.bytes().saturating_sub(offset);
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let buffer = &mut buffer[..count];
        match &self.source {
            Source::Memory(bytes) => {
                // Where nothing is left, the offset may lie anywhere.
                let start = bytes.len() - left as usize;
                buffer.copy_from_slice(&bytes[start..start + count]);
            }
            Source::Disk { file, .. } => read_exact_at(file, buffer, offset)?,
        }
        Ok(count)
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    while !buffer.is_empty() {
        let count = file.seek_read(buffer, offset)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer = &mut buffer[count..];
        offset += count as u64;
    }
    Ok(())
}
