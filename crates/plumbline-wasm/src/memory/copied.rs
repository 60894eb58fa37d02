//! Images by copying: works everywhere, and costs what the image holds.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::sync::Arc;

use wasmtime::Config;

/// A linear memory, frozen. Cloning shares it.
#[derive(Debug, Clone)]
pub(crate) struct Image(Arc<[u8]>);

/// What a live memory needs besides itself: nothing, here.
#[derive(Debug)]
pub(crate) struct Room;

impl Image {
    /// An image that a file begins with.
    pub(crate) fn of_file(mut file: File, bytes: usize) -> io::Result<Self> {
        let mut memory = vec![0; bytes];
        file.read_exact(&mut memory)?;
        Ok(Self(memory.into()))
    }

    /// An image with these contents.
    pub(crate) fn of_bytes(bytes: &[u8]) -> io::Result<Self> {
        Ok(Self(bytes.into()))
    }

    /// Writes the contents to a new file.
    pub(crate) fn write_to(&self, mut file: &File) -> io::Result<()> {
        file.write_all(&self.0)
    }

    /// How long the memory is.
    pub(crate) fn bytes(&self) -> usize {
        self.0.len()
    }

    /// How much of it is held in memory.
    pub(crate) fn held_bytes(&self) -> usize {
        self.0.len()
    }
}

/// Sets an engine up for memories of this kind.
pub(crate) fn configure(_: &mut Config) {}

/// Makes a memory of the image's length hold what the image holds.
pub(crate) fn restore(image: &Image, live: &mut [u8], _bytes_max: usize) -> io::Result<Room> {
    live.copy_from_slice(&image.0);
    Ok(Room)
}

/// Freezes a memory that was made from `image`.
pub(crate) fn freeze(_image: &Image, live: &[u8], _room: Room) -> io::Result<Image> {
    Image::of_bytes(live)
}
