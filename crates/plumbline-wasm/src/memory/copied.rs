//! Images by copying: works everywhere, and costs what the image holds.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::sync::Arc;

use wasmtime::{Config, MemoryType};

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

/// What is left of a live memory that was frozen: nothing, here.
#[derive(Debug)]
pub(crate) struct Spent;

impl Spent {
    /// Drops it.
    pub(crate) fn recycle(self, _shelf_max: usize) {}
}

/// Sets an engine up for memories of this kind.
pub(crate) fn configure(_: &mut Config) {}

/// Prepares for making an image live: there is nothing to prepare here.
pub(crate) fn prepare(_image: &Image, _of: &MemoryType) {}

/// Makes a memory of the image's length hold what the image holds.
pub(crate) fn restore(
    image: &Image,
    live: &mut [u8],
    _bytes_max: usize,
) -> io::Result<Room> {
    live.copy_from_slice(&image.0);
    Ok(Room)
}

/// Freezes a memory that was made from `image`.
pub(crate) fn freeze(
    _image: &Image,
    live: &[u8],
    _room: Room,
) -> io::Result<(Image, Spent)> {
    Ok((Image::of_bytes(live)?, Spent))
}

#[cfg(test)]
mod tests {
    use std::io::Seek as _;

    use super::*;

    #[test]
    fn an_image_is_what_was_frozen() {
        configure(&mut Config::new());
        let image = Image::of_bytes(&[1, 2, 3, 4]).expect("room");
        let mut live = vec![0; image.bytes()];
        let room = restore(&image, &mut live, 8).expect("it fits");
        live.extend([5, 6]);
        live[0] = 9;
        prepare(&image, &MemoryType::new(1, None));
        let (frozen, spent) = freeze(&image, &live, room).expect("room");
        spent.recycle(1);
        let mut file = tempfile::tempfile().expect("a temporary file");
        frozen.write_to(&file).expect("room");
        file.rewind().expect("a file");
        let read = Image::of_file(file, frozen.bytes()).expect("it was just written");
        assert_eq!(&read.0[..], [9, 2, 3, 4, 5, 6]);
        assert_eq!((&image.0[..], read.held_bytes()), (&[1, 2, 3, 4][..], 6));
    }
}
