//! Images by mapping. An image is a list of segments, each a range of a file; making it
//! live maps every segment copy-on-write. All files that images write are one: an unlinked,
//! sparse file in memory, in which an image owns ranges that are given back when it is
//! dropped.
//!
//! Freezing copies the pages that were written since, which the kernel knows, and no others.
//! What lies beyond the image's end when it is made live is not even copied: there the live
//! memory is a range of that file from the start, and freezing takes the range over.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::fs::{FallocateFlags, MemfdFlags};
use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags};
use wasmtime::{Config, LinearMemory, MemoryCreator, MemoryType};

/// Where live memory may be mapped: an image of more pieces than this is made of fewer.
const SEGMENTS_MAX: usize = 256;
/// Written pages that lie no further apart than this are one piece, at first.
const GAP_PAGES: usize = 2;

/// A linear memory, frozen. Cloning shares it.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    bytes: usize,
    /// In order, without overlap, from the start to the end.
    segments: Arc<[Segment]>,
    /// Ranges that whoever makes it live writes to in any case.
    hot: Arc<[(usize, usize)]>,
}

#[derive(Debug, Clone)]
struct Segment {
    start: usize,
    bytes: usize,
    source: Source,
    /// Where in the source the segment begins.
    offset: u64,
}

#[derive(Debug, Clone)]
enum Source {
    File(Arc<File>),
    Extent(Arc<Extent>),
}

impl Source {
    fn file(&self) -> &File {
        match self {
            Source::File(file) => file,
            Source::Extent(extent) => &extent.arena.file,
        }
    }
}

impl Image {
    /// An image that a file begins with. The file must not change any more.
    pub(crate) fn of_file(file: File, bytes: usize) -> io::Result<Self> {
        let source = Source::File(Arc::new(file));
        let segment = Segment { start: 0, bytes, source, offset: 0 };
        Ok(Self { bytes, segments: [segment].into(), hot: Arc::default() })
    }

    /// An image with these contents: whole pages.
    pub(crate) fn of_bytes(bytes: &[u8]) -> io::Result<Self> {
        let extent = Arc::new(arena()?.extent(bytes.len()));
        extent.write(0, bytes)?;
        let (bytes, offset) = (bytes.len(), extent.start);
        let source = Source::Extent(extent);
        let segment = Segment { start: 0, bytes, source, offset };
        Ok(Self { bytes, segments: [segment].into(), hot: Arc::default() })
    }

    /// This image, which `frozen` was made from by doing what is done in any case: where
    /// that wrote, pages are copied at once when it is made live, not one fault at a time.
    pub(crate) fn warmed_by(mut self, frozen: &Self) -> Self {
        let of_file = |segment: &Segment| matches!(segment.source, Source::File(_));
        if self.segments.iter().all(of_file) {
            let written = frozen.segments.iter().filter(|segment| !of_file(segment));
            let inside = written.filter(|segment| segment.start < self.bytes);
            self.hot = inside.map(|segment| (segment.start, segment.bytes)).collect();
        }
        self
    }

    /// Writes the contents to a new file.
    pub(crate) fn write_to(&self, file: &File) -> io::Result<()> {
        let mut buffer = vec![0; 1 << 20];
        for segment in self.segments.iter() {
            for at in (0..segment.bytes).step_by(buffer.len()) {
                let piece = &mut buffer[..(segment.bytes - at).min(1 << 20)];
                segment.source.file().read_exact_at(piece, segment.offset + at as u64)?;
                // Zeros need no place in a file.
                if piece.iter().any(|byte| *byte != 0) {
                    file.write_all_at(piece, (segment.start + at) as u64)?;
                }
            }
        }
        file.set_len(self.bytes as u64)
    }

    /// How long the memory is.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How much of it is held in memory, part of which other images may share.
    pub(crate) fn held_bytes(&self) -> usize {
        let held = |segment: &&Segment| matches!(segment.source, Source::Extent(_));
        self.segments.iter().filter(held).map(|segment| segment.bytes).sum()
    }
}

/// The file that images are written to.
#[derive(Debug)]
struct Arena {
    file: File,
    /// Where nothing was ever written: places are not used twice, for the file is sparse.
    end: AtomicU64,
}

fn arena() -> io::Result<&'static Arc<Arena>> {
    static ARENA: OnceLock<Arc<Arena>> = OnceLock::new();
    if let Some(arena) = ARENA.get() {
        return Ok(arena);
    }
    let file = rustix::fs::memfd_create("plumbline-wasm", MemfdFlags::CLOEXEC)?;
    // As large as a file can be: the size of a sparse file costs nothing.
    rustix::fs::ftruncate(&file, i64::MAX as u64 & !0xffff)?;
    let arena = Arena { file: File::from(file), end: AtomicU64::new(0) };
    Ok(ARENA.get_or_init(|| Arc::new(arena)))
}

impl Arena {
    fn extent(self: &Arc<Self>, bytes: usize) -> Extent {
        let bytes = bytes.next_multiple_of(page_bytes()) as u64;
        let start = self.end.fetch_add(bytes, Ordering::Relaxed);
        Extent { arena: Arc::clone(self), start, bytes }
    }
}

/// A range of the arena, given back when it is dropped.
#[derive(Debug)]
struct Extent {
    arena: Arc<Arena>,
    start: u64,
    bytes: u64,
}

impl Extent {
    fn write(&self, at: usize, bytes: &[u8]) -> io::Result<()> {
        assert!((at + bytes.len()) as u64 <= self.bytes, "an extent is written inside");
        self.arena.file.write_all_at(bytes, self.start + at as u64)
    }
}

impl Drop for Extent {
    fn drop(&mut self) {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if self.bytes > 0 {
            // Fails for no range that was made; at worst its memory is kept.
            let _ =
                rustix::fs::fallocate(&self.arena.file, flags, self.start, self.bytes);
        }
    }
}

/// What a live memory grows into.
#[derive(Debug)]
pub(crate) struct Room {
    extent: Arc<Extent>,
}

/// Sets an engine up for memories of this kind.
pub(crate) fn configure(config: &mut Config) {
    config.with_host_memory(Arc::new(Reservations));
}

struct Reservations;

/// A range of addresses, unmapped when it is dropped.
struct Reservation {
    base: *mut u8,
    reserved: usize,
    capacity: usize,
    bytes: usize,
}

// SAFETY: the range is owned by this value alone, and the pointer is used by whoever holds
// the memory, which wasmtime keeps to one thread at a time.
#[expect(unsafe_code, reason = "a mapping may be used from any thread")]
unsafe impl Send for Reservation {}
// SAFETY: as above; nothing is changed through a shared reference.
#[expect(unsafe_code, reason = "a mapping may be used from any thread")]
unsafe impl Sync for Reservation {}

// SAFETY: memories are fresh anonymous mappings, zero-filled up to their size, inaccessible
// from there to the end of the reservation and the guard after it.
#[expect(unsafe_code, reason = "wasmtime takes our word for how memory is laid out")]
unsafe impl MemoryCreator for Reservations {
    fn new_memory(
        &self,
        _: MemoryType,
        minimum: usize,
        maximum: Option<usize>,
        reserved: Option<usize>,
        guard: usize,
    ) -> Result<Box<dyn LinearMemory>, String> {
        let capacity = reserved.unwrap_or(maximum.unwrap_or(minimum)).max(minimum);
        let whole = capacity
            .checked_add(guard)
            .and_then(|bytes| bytes.checked_next_multiple_of(page_bytes()))
            .ok_or("a memory larger than the address space")?;
        let reservation = Reservation::new(whole, capacity, minimum);
        Ok(Box::new(reservation.map_err(|error| error.to_string())?))
    }
}

impl Reservation {
    #[expect(unsafe_code, reason = "mapping memory")]
    fn new(reserved: usize, capacity: usize, bytes: usize) -> io::Result<Self> {
        let (protection, flags) =
            (ProtFlags::empty(), MapFlags::PRIVATE | MapFlags::NORESERVE);
        // SAFETY: a new mapping, at a place the kernel chooses, overlaps nothing.
        let base = unsafe {
            rustix::mm::mmap_anonymous(std::ptr::null_mut(), reserved, protection, flags)
        }?;
        let mut reservation = Self { base: base.cast(), reserved, capacity, bytes: 0 };
        reservation.open(bytes)?;
        Ok(reservation)
    }

    /// Makes the memory accessible up to a size.
    #[expect(unsafe_code, reason = "mapping memory")]
    fn open(&mut self, bytes: usize) -> io::Result<()> {
        if bytes > self.capacity {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let from = self.bytes;
        if bytes > from {
            let protection = MprotectFlags::READ | MprotectFlags::WRITE;
            // SAFETY: the range lies inside this reservation.
            unsafe {
                let start = self.base.add(from).cast();
                rustix::mm::mprotect(start, bytes - from, protection)?;
            }
            self.bytes = bytes;
        }
        Ok(())
    }
}

impl Drop for Reservation {
    #[expect(unsafe_code, reason = "unmapping memory")]
    fn drop(&mut self) {
        // SAFETY: the range is ours, and nobody uses a memory that is dropped.
        let unmapped = unsafe { rustix::mm::munmap(self.base.cast(), self.reserved) };
        debug_assert!(unmapped.is_ok(), "a range that was mapped can be unmapped");
    }
}

// SAFETY: the size is accessible, the capacity reserved; the base never moves.
#[expect(unsafe_code, reason = "wasmtime takes our word for how memory is laid out")]
unsafe impl LinearMemory for Reservation {
    fn byte_size(&self) -> usize {
        self.bytes
    }

    fn byte_capacity(&self) -> usize {
        self.capacity
    }

    fn grow_to(&mut self, bytes: usize) -> wasmtime::Result<()> {
        Ok(self.open(bytes)?)
    }

    fn as_ptr(&self) -> *mut u8 {
        self.base
    }
}

/// Makes a memory of the image's length hold what the image holds. The memory is one of
/// [`Reservations`], and may grow to at most `bytes_max`.
pub(crate) fn restore(
    image: &Image,
    live: &mut [u8],
    bytes_max: usize,
) -> io::Result<Room> {
    assert_eq!(live.len(), image.bytes, "a memory is made live at its own length");
    let base = live.as_mut_ptr();
    for segment in image.segments.iter() {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let file = segment.source.file();
        map(
            base,
            segment.start,
            segment.bytes,
            access,
            MapFlags::PRIVATE,
            file,
            segment.offset,
        )?;
    }
    for (start, bytes) in image.hot.iter() {
        touch(live, *start, *bytes);
    }
    let room = bytes_max.saturating_sub(image.bytes);
    let extent = Arc::new(arena()?.extent(room));
    if room > 0 {
        // Closed until the memory grows into it.
        let (access, file) = (ProtFlags::empty(), &extent.arena.file);
        map(base, image.bytes, room, access, MapFlags::SHARED, file, extent.start)?;
    }
    Ok(Room { extent })
}

/// Copies pages that will be written to. A kernel that cannot does so later, one by one.
#[expect(unsafe_code, reason = "asking for pages")]
fn touch(live: &mut [u8], start: usize, bytes: usize) {
    let range = &mut live[start..start + bytes];
    // SAFETY: the range is borrowed exclusively, and its contents stay what they are.
    let _ = unsafe {
        let at = range.as_mut_ptr().cast();
        rustix::mm::madvise(at, bytes, Advice::LinuxPopulateWrite)
    };
}

/// Maps a range of a file over a range of a reservation.
#[expect(unsafe_code, reason = "mapping memory")]
fn map(
    base: *mut u8,
    start: usize,
    bytes: usize,
    access: ProtFlags,
    flags: MapFlags,
    file: &File,
    offset: u64,
) -> io::Result<()> {
    // SAFETY: the base is that of a reservation of ours, which is at least as long as a
    // 32-bit memory can become; only memory that its owner has lent us exclusively, or that
    // is closed, is replaced. The file is never written where it is mapped privately: ranges
    // of the arena belong to images, which do not change, and image files are written once.
    unsafe {
        let at = base.add(start).cast();
        rustix::mm::mmap(at, bytes, access, flags | MapFlags::FIXED, file, offset)?;
    }
    Ok(())
}

/// Freezes a memory that [`restore`] made from `image`. The memory must not be used again:
/// what it grew by now belongs to the new image.
pub(crate) fn freeze(image: &Image, live: &[u8], room: Room) -> io::Result<Image> {
    let page = page_bytes();
    let written = written_pages(&live[..image.bytes])
        .or_else(|_| differing_pages(image, &live[..image.bytes]))?;
    let mut gap = GAP_PAGES;
    let (runs, overlaid) = loop {
        let runs = joined(&written, gap);
        let overlaid = overlay(&image.segments, &runs);
        if overlaid <= SEGMENTS_MAX || runs.len() <= 1 {
            break (runs, overlaid);
        }
        gap *= 2;
    };
    let bytes = runs.iter().map(|(from, to)| (to - from) * page).sum();
    let extent = Arc::new(arena()?.extent(bytes));
    let mut segments = Vec::with_capacity(overlaid + 1);
    let mut kept = 0;
    let mut at = 0;
    for (from, to) in runs {
        let (start, end) = (from * page, to * page);
        cut(&image.segments, kept, start, &mut segments);
        extent.write(at, &live[start..end])?;
        let source = Source::Extent(Arc::clone(&extent));
        let offset = extent.start + at as u64;
        segments.push(Segment { start, bytes: end - start, source, offset });
        at += end - start;
        kept = end;
    }
    cut(&image.segments, kept, image.bytes, &mut segments);
    let grown = live.len() - image.bytes;
    if grown > 0 {
        let offset = room.extent.start;
        let source = Source::Extent(room.extent);
        segments.push(Segment { start: image.bytes, bytes: grown, source, offset });
    }
    let hot = Arc::clone(&image.hot);
    Ok(Image { bytes: live.len(), segments: segments.into(), hot })
}

/// Appends the parts of some segments that lie in a range.
fn cut(segments: &[Segment], from: usize, to: usize, into: &mut Vec<Segment>) {
    let first = segments.partition_point(|segment| segment.start + segment.bytes <= from);
    for segment in &segments[first..] {
        if segment.start >= to {
            break;
        }
        let start = segment.start.max(from);
        let end = (segment.start + segment.bytes).min(to);
        if start < end {
            let offset = segment.offset + (start - segment.start) as u64;
            let source = segment.source.clone();
            into.push(Segment { start, bytes: end - start, source, offset });
        }
    }
}

/// How many segments there will be with these runs of pages laid over them.
fn overlay(segments: &[Segment], runs: &[(usize, usize)]) -> usize {
    let page = page_bytes();
    let mut kept = 0;
    let mut count = runs.len();
    let mut parts = Vec::new();
    let end = segments.last().map_or(0, |segment| segment.start + segment.bytes) / page;
    for (from, to) in runs.iter().copied().chain([(end, end)]) {
        parts.clear();
        cut(segments, kept * page, from * page, &mut parts);
        count += parts.len();
        kept = to;
    }
    count
}

/// Runs of pages, those no further apart than a gap made one.
fn joined(pages: &[usize], gap: usize) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for page in pages {
        match runs.last_mut() {
            Some((_, end)) if *page <= *end + gap => *end = page + 1,
            _ => runs.push((*page, page + 1)),
        }
    }
    runs
}

/// The pages of a private file mapping that were written: they are no longer the file's.
fn written_pages(live: &[u8]) -> io::Result<Vec<usize>> {
    /// The page is the file's, or shared.
    const IS_FILE: u64 = 1 << 61;
    const IS_SWAPPED: u64 = 1 << 62;
    const IS_PRESENT: u64 = 1 << 63;
    static PAGEMAP: OnceLock<Option<File>> = OnceLock::new();
    let pagemap = PAGEMAP.get_or_init(|| File::open("/proc/self/pagemap").ok());
    let pagemap = pagemap.as_ref().ok_or(io::ErrorKind::Unsupported)?;
    let page = page_bytes();
    let mut entries = vec![0; live.len() / page * 8];
    let first = live.as_ptr().addr() / page;
    pagemap.read_exact_at(&mut entries, first as u64 * 8)?;
    let entries = entries.chunks_exact(8).enumerate();
    Ok(entries
        .filter(|(_, entry)| {
            let entry = u64::from_le_bytes((*entry).try_into().expect("eight bytes"));
            entry & (IS_PRESENT | IS_SWAPPED) != 0 && entry & IS_FILE == 0
        })
        .map(|(index, _)| index)
        .collect())
}

/// The pages that differ from the image's: where the kernel does not say what was written.
fn differing_pages(image: &Image, live: &[u8]) -> io::Result<Vec<usize>> {
    let page = page_bytes();
    let mut pages = Vec::new();
    let mut buffer = vec![0; 256 * page];
    for segment in image.segments.iter() {
        for at in (0..segment.bytes).step_by(buffer.len()) {
            let count = buffer.len().min(segment.bytes - at);
            let piece = &mut buffer[..count];
            segment.source.file().read_exact_at(piece, segment.offset + at as u64)?;
            let start = segment.start + at;
            let pairs = piece.chunks(page).zip(live[start..start + count].chunks(page));
            let differing = pairs.enumerate().filter(|(_, (old, new))| old != new);
            pages.extend(differing.map(|(index, _)| start / page + index));
        }
    }
    Ok(pages)
}

fn page_bytes() -> usize {
    rustix::param::page_size()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BYTES: usize = 64 * 4096;

    /// A live memory, as wasmtime would hold it.
    struct Live {
        reservation: Box<dyn LinearMemory>,
        room: Room,
    }

    impl Live {
        fn of(image: &Image) -> Self {
            let capacity = 4 * BYTES;
            let mut reservation =
                Reservation::new(capacity + 4096, capacity, image.bytes()).expect("room");
            let live = slice(&mut reservation);
            let room = restore(image, live, capacity).expect("an image maps");
            Self { reservation: Box::new(reservation), room }
        }

        #[expect(unsafe_code, reason = "stands in for wasmtime")]
        fn bytes(&mut self) -> &mut [u8] {
            let (base, bytes) = (self.reservation.as_ptr(), self.reservation.byte_size());
            // SAFETY: the range is accessible and borrowed with its owner.
            unsafe { std::slice::from_raw_parts_mut(base, bytes) }
        }

        fn freeze(mut self, image: &Image) -> Image {
            let live: *const [u8] = self.bytes();
            #[expect(unsafe_code, reason = "stands in for wasmtime")]
            // SAFETY: the reservation lives until the end of this function.
            let live = unsafe { &*live };
            freeze(image, live, self.room).expect("it can be written")
        }
    }

    #[expect(unsafe_code, reason = "stands in for wasmtime")]
    fn slice(reservation: &mut Reservation) -> &mut [u8] {
        // SAFETY: the range is accessible and borrowed with its owner.
        unsafe { std::slice::from_raw_parts_mut(reservation.base, reservation.bytes) }
    }

    fn contents(image: &Image) -> Vec<u8> {
        Live::of(image).bytes().to_vec()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        /// Writes and growth, frozen and made live again and again, against a plain vector.
        #[test]
        fn images_hold_what_was_written_and_their_parents_stay(
            steps in prop::collection::vec(
                (prop::collection::vec((0..BYTES, any::<u8>()), 0..40), 0..3_usize), 1..8),
        ) {
            let mut plain = vec![7_u8; BYTES];
            let mut image = Image::of_bytes(&plain).expect("room");
            let mut older: Vec<(Image, Vec<u8>)> = Vec::new();
            for (writes, growth) in steps {
                let mut live = Live::of(&image);
                if growth > 0 && plain.len() + growth * 8192 <= 4 * BYTES {
                    plain.resize(plain.len() + growth * 8192, 0);
                    live.reservation.grow_to(plain.len()).expect("room");
                    let last = plain.len() - 1;
                    plain[last] = 9;
                    live.bytes()[last] = 9;
                }
                for (at, value) in writes {
                    plain[at] = value;
                    live.bytes()[at] = value;
                }
                let kernel = written_pages(&live.bytes()[..image.bytes()]).expect("Linux says");
                let differing =
                    differing_pages(&image, &live.bytes()[..image.bytes()]).expect("readable");
                prop_assert!(differing.iter().all(|page| kernel.contains(page)));
                let frozen = live.freeze(&image);
                older.push((image, plain.clone()));
                image = frozen;
                prop_assert_eq!(&contents(&image), &plain);
                prop_assert!(image.segments.len() <= SEGMENTS_MAX + 1);
            }
            // What came first did not change under what was made from it.
            let (first, _) = &older[0];
            prop_assert_eq!(contents(first), vec![7; BYTES]);
            drop(older);
            prop_assert_eq!(contents(&image), plain);
        }
    }

    #[test]
    fn siblings_do_not_see_each_other_and_pieces_stay_few() {
        let image = Image::of_bytes(&vec![0; BYTES]).expect("room");
        let mut one = Live::of(&image);
        let mut two = Live::of(&image);
        one.bytes()[0] = 1;
        two.bytes()[0] = 2;
        assert_eq!((one.bytes()[0], two.bytes()[0]), (1, 2));
        let two = two.freeze(&image);
        assert_eq!(contents(&two)[0], 2);
        assert_eq!(contents(&image)[0], 0);
        let pages: Vec<usize> = (0..2000).map(|i| i * 20).collect();
        assert_eq!(joined(&pages, 8).len(), 2000);
        assert_eq!(joined(&pages, 32).len(), 1);
    }

    #[test]
    fn what_is_hot_is_copied_and_holds_the_same() {
        use std::io::Write as _;

        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(&vec![7; BYTES]).expect("room");
        let image = Image::of_file(file, BYTES).expect("whole pages");
        let mut live = Live::of(&image);
        live.bytes()[5 * 4096] = 1;
        let image = image.clone().warmed_by(&live.freeze(&image));
        assert_eq!(image.hot[..], [(5 * 4096, page_bytes())]);
        let mut live = Live::of(&image);
        let written = written_pages(&live.bytes()[..BYTES]).expect("Linux says");
        assert!(written.is_empty() || written == [5 * 4096 / page_bytes()]);
        assert_eq!(live.bytes(), vec![7; BYTES], "copied, not changed");
    }

    #[test]
    fn ranges_are_given_back() {
        let arena = arena().expect("Linux has memory files");
        let extent = arena.extent(1 << 20);
        extent.write(0, &[1; 1 << 20]).expect("room");
        let mut byte = [0];
        let start = extent.start;
        drop(extent);
        arena.file.read_exact_at(&mut byte, start).expect("inside the file");
        assert_eq!(byte, [0], "a hole reads as zeros");
    }
}
