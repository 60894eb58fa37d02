//! Images by mapping. An image is a list of segments, each a range of a file; making it
//! live maps every segment copy-on-write. All files that images write are one: an unlinked,
//! sparse file in memory, in which an image owns ranges that are given back when it is
//! dropped.
//!
//! Freezing copies the pages that were written since, which the kernel knows, and no others.
//! What lies beyond the image's end when it is made live is not even copied: there the live
//! memory is a range of that file from the start, and freezing takes the range over.
//!
//! A page that a guest touches for the first time costs a fault, and most of what a short cell
//! costs is faults. So a mapping outlives its guest: the few pages that were written are given
//! back what the first image, the origin, has there, and the mapping waits on a shelf for the
//! next guest whose image comes from that origin.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::fs::{FallocateFlags, MemfdFlags};
use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags};
use wasmtime::{Config, LinearMemory, MemoryCreator, MemoryType};

/// Where live memory may be mapped: an image of more pieces than this is made of fewer.
const SEGMENTS_MAX: usize = 256;
/// Written pages that lie no further apart than this are one piece, at first.
const GAP_PAGES: usize = 2;
/// An image that differs from its origin by more than this is mapped, not copied.
const COPIED_BYTES_MAX: usize = 8 << 20;
/// A mapping of which more than this was written is not used again.
const RESET_BYTES_MAX: usize = 16 << 20;
const FORGOTTEN_AT_ONCE: usize = 1 << 20;

/// A linear memory, frozen. Cloning shares it.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    bytes: usize,
    /// In order, without overlap, from the start to the end.
    segments: Arc<[Segment]>,
    /// The image in a file that this one came from.
    origin: Option<Arc<Origin>>,
}

/// An image in a file, and the mappings that hold just that and are nobody's.
#[derive(Debug)]
struct Origin {
    file: Arc<File>,
    bytes: usize,
    shelf: Mutex<Vec<Mapping>>,
}

impl Origin {
    fn shelf(&self) -> MutexGuard<'_, Vec<Mapping>> {
        // A panic while it is held leaves nothing half done.
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
        let file = Arc::new(file);
        let source = Source::File(Arc::clone(&file));
        let segment = Segment { start: 0, bytes, source, offset: 0 };
        let origin = Arc::new(Origin { file, bytes, shelf: Mutex::default() });
        Ok(Self { bytes, segments: [segment].into(), origin: Some(origin) })
    }

    /// An image with these contents: whole pages.
    pub(crate) fn of_bytes(bytes: &[u8]) -> io::Result<Self> {
        let extent = Arc::new(arena()?.extent(bytes.len()));
        extent.write(0, bytes)?;
        let (bytes, offset) = (bytes.len(), extent.start);
        let source = Source::Extent(extent);
        let segment = Segment { start: 0, bytes, source, offset };
        Ok(Self { bytes, segments: [segment].into(), origin: None })
    }

    /// The origin, if there is one that differs by so little that what differs is copied.
    fn near(&self) -> Option<&Arc<Origin>> {
        let copied = |origin: &Origin| -> usize {
            self.changed(origin).map(|part| part.bytes).sum()
        };
        self.origin.as_ref().filter(|origin| copied(origin) <= COPIED_BYTES_MAX)
    }

    /// The parts that are not the origin's, up to the origin's end.
    fn changed(&self, origin: &Origin) -> impl Iterator<Item = &Segment> {
        let end = origin.bytes;
        let inside = self.segments.iter().take_while(move |part| part.start < end);
        inside.filter(|part| matches!(part.source, Source::Extent(_)))
    }

    /// Reads what the image holds from some place on.
    fn read(&self, start: usize, into: &mut [u8]) -> io::Result<()> {
        let mut parts = Vec::new();
        cut(&self.segments, start, start + into.len(), &mut parts);
        for part in parts {
            let at = part.start - start;
            let piece = &mut into[at..at + part.bytes];
            part.source.file().read_exact_at(piece, part.offset)?;
        }
        Ok(())
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

/// What a live memory needs besides itself.
#[derive(Debug)]
pub(crate) struct Room {
    /// What it grows into.
    extent: Arc<Extent>,
    mapping: Arc<Mapping>,
    /// What the mapping holds wherever nothing was written.
    origin: Option<Arc<Origin>>,
}

/// What is left of a live memory that was frozen.
#[derive(Debug)]
pub(crate) struct Spent {
    mapping: Arc<Mapping>,
    origin: Option<Arc<Origin>>,
    /// Pages that are not the origin's any more, or may not be.
    written: Vec<usize>,
    /// How long the memory had become.
    bytes: usize,
}

/// Sets an engine up for memories of this kind.
pub(crate) fn configure(config: &mut Config) {
    config.with_host_memory(Arc::new(Reservations));
}

// Wasmtime makes a memory without saying for whom, on the thread that asks for an instance.
thread_local! {
    /// What the next memory is to be made of.
    static OFFERED: RefCell<Option<(Mapping, MemoryType)>> = const { RefCell::new(None) };
    /// What the last memory was made of, and whether others had it before.
    static MADE: RefCell<Option<(Arc<Mapping>, bool)>> = const { RefCell::new(None) };
}

/// Has the next memory of this type that this thread makes, which is for [`restore`] with this
/// image, be one that holds most of it already, if there is one. (Wasmtime makes a memory of
/// its own as well, of another type.)
pub(crate) fn prepare(image: &Image, of: &MemoryType) {
    let ready = image.near().and_then(|origin| origin.shelf().pop());
    OFFERED.set(ready.map(|mapping| (mapping, of.clone())));
}

struct Reservations;

/// A memory of wasmtime's: the accessible part of a mapping.
struct Reservation {
    mapping: Arc<Mapping>,
    capacity: usize,
    bytes: usize,
}

/// A range of addresses, unmapped when it is dropped.
#[derive(Debug)]
struct Mapping {
    base: *mut u8,
    reserved: usize,
}

// SAFETY: the range is owned by this value alone, and the pointer is used by whoever holds
// the memory, which wasmtime keeps to one thread at a time.
#[expect(unsafe_code, reason = "a mapping may be used from any thread")]
unsafe impl Send for Mapping {}
// SAFETY: as above; nothing is changed through a shared reference.
#[expect(unsafe_code, reason = "a mapping may be used from any thread")]
unsafe impl Sync for Mapping {}

// SAFETY: memories are mappings that nobody else uses, inaccessible from their size to the end
// of the reservation and the guard after it. A fresh one is zero-filled; a used one holds an
// image, for a caller who has asked for that and puts an image there in any case.
#[expect(unsafe_code, reason = "wasmtime takes our word for how memory is laid out")]
unsafe impl MemoryCreator for Reservations {
    fn new_memory(
        &self,
        ty: MemoryType,
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
        let fits = |(mapping, of): &mut (Mapping, MemoryType)| {
            *of == ty && mapping.reserved == whole
        };
        let offered = OFFERED.with_borrow_mut(|offered| offered.take_if(fits));
        let is_used = offered.is_some();
        let mapping = match offered {
            Some((mapping, _)) => mapping,
            None => Mapping::new(whole).map_err(|error| error.to_string())?,
        };
        let mapping = Arc::new(mapping);
        MADE.set(Some((Arc::clone(&mapping), is_used)));
        let mut reservation = Reservation { mapping, capacity, bytes: 0 };
        reservation.open(minimum).map_err(|error| error.to_string())?;
        Ok(Box::new(reservation))
    }
}

impl Reservation {
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
                let start = self.mapping.base.add(from).cast();
                rustix::mm::mprotect(start, bytes - from, protection)?;
            }
            self.bytes = bytes;
        }
        Ok(())
    }
}

impl Mapping {
    /// A range that nobody may touch yet.
    #[expect(unsafe_code, reason = "mapping memory")]
    fn new(reserved: usize) -> io::Result<Self> {
        // SAFETY: a new mapping, at a place the kernel chooses, overlaps nothing.
        let base = unsafe {
            let anywhere = std::ptr::null_mut();
            rustix::mm::mmap_anonymous(anywhere, reserved, ProtFlags::empty(), CLOSED)
        }?;
        Ok(Self { base: base.cast(), reserved })
    }

    /// Makes it hold the origin again, and nothing else.
    #[expect(unsafe_code, reason = "writing to a memory that nobody uses")]
    fn reset(
        &mut self,
        origin: &Origin,
        written: &[usize],
        end: usize,
    ) -> io::Result<()> {
        let page = page_bytes();
        for (from, to) in joined(written, 0) {
            let (start, bytes) = (from * page, (to - from) * page);
            assert!(start + bytes <= origin.bytes, "pages inside the origin");
            // SAFETY: the range lies inside the mapping, is accessible, since it is written
            // already, and is borrowed with the mapping.
            let live =
                unsafe { std::slice::from_raw_parts_mut(self.base.add(start), bytes) };
            origin.file.read_exact_at(live, start as u64)?;
        }
        // Forgetting many pages takes long, and nobody can map anything while a mapping that
        // replaces them does so: they are forgotten first, a few at a time.
        for start in (origin.bytes..end).step_by(FORGOTTEN_AT_ONCE) {
            let bytes = FORGOTTEN_AT_ONCE.min(end - start);
            // SAFETY: the range lies inside the mapping, which nobody uses.
            unsafe {
                let at = self.base.add(start).cast();
                rustix::mm::madvise(at, bytes, Advice::LinuxDontNeed)?;
            }
        }
        let beyond = self.reserved - origin.bytes;
        // SAFETY: the range lies inside the mapping, which nobody uses.
        unsafe {
            let at = self.base.add(origin.bytes).cast();
            let flags = CLOSED | MapFlags::FIXED;
            rustix::mm::mmap_anonymous(at, beyond, ProtFlags::empty(), flags)?;
        }
        Ok(())
    }
}

/// How addresses are kept that nobody may touch.
const CLOSED: MapFlags = MapFlags::PRIVATE.union(MapFlags::NORESERVE);

impl Drop for Mapping {
    #[expect(unsafe_code, reason = "unmapping memory")]
    fn drop(&mut self) {
        // SAFETY: the range is ours, and nobody uses a memory that is dropped.
        let unmapped = unsafe { rustix::mm::munmap(self.base.cast(), self.reserved) };
        debug_assert!(unmapped.is_ok(), "a range that was mapped can be unmapped");
    }
}

impl Spent {
    /// Keeps the mapping for the next guest, if it is worth it and there are not too many:
    /// `shelf_max`. Nobody uses the memory any more.
    pub(crate) fn recycle(self, shelf_max: usize) {
        let Some(origin) = self.origin else { return };
        let is_small = self.written.len() * page_bytes() <= RESET_BYTES_MAX;
        if !is_small || origin.shelf().len() >= shelf_max {
            return;
        }
        let Some(mut mapping) = Arc::into_inner(self.mapping) else { return };
        // One that cannot be reset is dropped, like any other.
        if mapping.reset(&origin, &self.written, self.bytes).is_ok() {
            origin.shelf().push(mapping);
        }
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
        self.mapping.base
    }
}

/// Makes a memory of the image's length hold what the image holds. The memory is the last of
/// [`Reservations`] that this thread made, and may grow to at most `bytes_max`.
pub(crate) fn restore(
    image: &Image,
    live: &mut [u8],
    bytes_max: usize,
) -> io::Result<Room> {
    assert_eq!(live.len(), image.bytes, "a memory is made live at its own length");
    let base = live.as_mut_ptr();
    let (mapping, is_used) = MADE.take().expect("this thread has made a memory");
    assert_eq!(mapping.base, base, "the memory is the last that was made");
    let private = |start, bytes, source: &Source, offset| {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        map(base, start, bytes, access, MapFlags::PRIVATE, source.file(), offset)
    };
    let origin = image.near();
    if let Some(origin) = origin {
        if !is_used {
            private(0, origin.bytes, &Source::File(Arc::clone(&origin.file)), 0)?;
        }
        for part in image.changed(origin) {
            let range = part.start..part.start + part.bytes;
            part.source.file().read_exact_at(&mut live[range], part.offset)?;
        }
    }
    let held = origin.map_or(0, |origin| origin.bytes);
    for segment in image.segments.iter().filter(|segment| segment.start >= held) {
        private(segment.start, segment.bytes, &segment.source, segment.offset)?;
    }
    let room = bytes_max.saturating_sub(image.bytes);
    let extent = Arc::new(arena()?.extent(room));
    if room > 0 {
        // Closed until the memory grows into it.
        let (access, file) = (ProtFlags::empty(), &extent.arena.file);
        map(base, image.bytes, room, access, MapFlags::SHARED, file, extent.start)?;
    }
    Ok(Room { extent, mapping, origin: origin.cloned() })
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
pub(crate) fn freeze(
    image: &Image,
    live: &[u8],
    room: Room,
) -> io::Result<(Image, Spent)> {
    let page = page_bytes();
    let Room { extent: grown_into, mapping, origin } = room;
    let known = written_pages(&live[..image.bytes]);
    // Without the kernel's word nobody knows what would have to be reset.
    let origin = origin.filter(|_| known.is_ok());
    let touched = known.unwrap_or_else(|_| (0..image.bytes / page).collect());
    // Some were written by us, or by those who had the mapping before.
    let written = differing_pages(image, live, &joined(&touched, 0))?;
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
        let offset = grown_into.start;
        let source = Source::Extent(grown_into);
        segments.push(Segment { start: image.bytes, bytes: grown, source, offset });
    }
    let frozen = Image {
        bytes: live.len(),
        segments: segments.into(),
        origin: image.origin.clone(),
    };
    let end = origin.as_ref().map_or(0, |origin| origin.bytes / page);
    let written = touched.into_iter().take_while(|page| *page < end).collect();
    Ok((frozen, Spent { mapping, origin, written, bytes: live.len() }))
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

/// The pages, among some runs of them, that differ from the image's.
fn differing_pages(
    image: &Image,
    live: &[u8],
    runs: &[(usize, usize)],
) -> io::Result<Vec<usize>> {
    const PAGES_AT_ONCE: usize = 64;
    let page = page_bytes();
    let mut pages = Vec::new();
    let mut buffer = vec![0; PAGES_AT_ONCE * page];
    for (from, to) in runs {
        for first in (*from..*to).step_by(PAGES_AT_ONCE) {
            let count = PAGES_AT_ONCE.min(to - first);
            let (start, old) = (first * page, &mut buffer[..count * page]);
            image.read(start, old)?;
            let pairs = old.chunks(page).zip(live[start..].chunks(page));
            let differing = pairs.enumerate().filter(|(_, (old, new))| old != new);
            pages.extend(differing.map(|(index, _)| first + index));
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

    const CAPACITY: usize = 4 * BYTES;

    /// A live memory, as wasmtime would hold it.
    struct Live {
        reservation: Box<dyn LinearMemory>,
        room: Room,
    }

    impl Live {
        fn of(image: &Image) -> Self {
            let of = MemoryType::new(1, None);
            prepare(image, &of);
            let made =
                Reservations.new_memory(of, image.bytes(), None, Some(CAPACITY), 4096);
            let mut reservation = made.expect("room");
            let room = restore(image, slice(&mut *reservation), CAPACITY);
            Self { reservation, room: room.expect("an image maps") }
        }

        fn bytes(&mut self) -> &mut [u8] {
            slice(&mut *self.reservation)
        }

        fn freeze(mut self, image: &Image) -> (Image, Spent) {
            let live: *const [u8] = self.bytes();
            #[expect(unsafe_code, reason = "stands in for wasmtime")]
            // SAFETY: the reservation lives until the end of this function.
            let live = unsafe { &*live };
            freeze(image, live, self.room).expect("it can be written")
        }
    }

    #[expect(unsafe_code, reason = "stands in for wasmtime")]
    fn slice(memory: &mut dyn LinearMemory) -> &mut [u8] {
        // SAFETY: the range is accessible and borrowed with its owner.
        unsafe { std::slice::from_raw_parts_mut(memory.as_ptr(), memory.byte_size()) }
    }

    fn contents(image: &Image) -> Vec<u8> {
        Live::of(image).bytes().to_vec()
    }

    fn of_file(bytes: &[u8]) -> Image {
        use std::io::Write as _;

        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(bytes).expect("room");
        Image::of_file(file, bytes.len()).expect("whole pages")
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        /// Writes and growth, frozen and made live again and again, against a plain vector; in
        /// new mappings and in those that others had before.
        #[test]
        fn images_hold_what_was_written_and_their_parents_stay(
            steps in prop::collection::vec(
                (prop::collection::vec((0..BYTES, any::<u8>()), 0..40), 0..3_usize), 1..8),
            is_in_file: bool,
        ) {
            let mut plain = vec![7_u8; BYTES];
            let mut image = match is_in_file {
                true => of_file(&plain),
                false => Image::of_bytes(&plain).expect("room"),
            };
            let mut older: Vec<(Image, Vec<u8>)> = Vec::new();
            for (writes, growth) in steps {
                let before = plain.clone();
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
                let whole = [(0, image.bytes() / page_bytes())];
                let differing =
                    differing_pages(&image, live.bytes(), &whole).expect("readable");
                prop_assert!(differing.iter().all(|page| kernel.contains(page)));
                let (frozen, spent) = live.freeze(&image);
                spent.recycle(1);
                older.push((image, before));
                image = frozen;
                prop_assert!(contents(&image) == plain);
                prop_assert!(image.segments.len() <= SEGMENTS_MAX + 1);
            }
            // What came first did not change under what was made from it.
            prop_assert!(older.iter().all(|(image, held)| contents(image) == *held));
            drop(older);
            prop_assert!(contents(&image) == plain);
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
        let (two, _) = two.freeze(&image);
        assert_eq!(contents(&two)[0], 2);
        assert_eq!(contents(&image)[0], 0);
        let pages: Vec<usize> = (0..2000).map(|i| i * 20).collect();
        assert_eq!(joined(&pages, 8).len(), 2000);
        assert_eq!(joined(&pages, 32).len(), 1);
    }

    #[test]
    fn a_mapping_is_used_again_and_holds_nothing_of_who_had_it() {
        let image = of_file(&vec![7; BYTES]);
        let shelf = || image.origin.as_ref().expect("it is in a file").shelf().len();
        let mut live = Live::of(&image);
        let base = live.bytes().as_ptr();
        live.bytes()[5 * 4096] = 1;
        live.reservation.grow_to(BYTES + 4096).expect("room");
        live.bytes()[BYTES] = 2;
        let (frozen, spent) = live.freeze(&image);
        spent.recycle(1);
        assert_eq!(shelf(), 1);

        let mut again = Live::of(&image);
        assert_eq!((again.bytes().as_ptr(), shelf()), (base, 0));
        assert_eq!(again.bytes(), vec![7; BYTES]);
        again.reservation.grow_to(BYTES + 4096).expect("room");
        assert_eq!(again.bytes()[BYTES..], [0; 4096], "what it grows into is empty");
        let (same, spent) = again.freeze(&image);
        assert_eq!(same.segments.len(), 2, "nothing was written but what it grew by");
        spent.recycle(1);

        let mut child = Live::of(&frozen);
        assert_eq!(
            child.bytes().as_ptr(),
            base,
            "an image that came from there fits, too"
        );
        assert_eq!((child.bytes()[5 * 4096], child.bytes()[BYTES]), (1, 2));
        let mut sibling = Live::of(&frozen);
        assert_ne!(sibling.bytes().as_ptr(), base, "the shelf was empty");
        let (_, spent) = child.freeze(&frozen);
        let (_, other) = sibling.freeze(&frozen);
        other.recycle(1);
        spent.recycle(1);
        assert_eq!(shelf(), 1, "no more are kept than are asked for");
        assert_eq!(contents(&frozen)[5 * 4096], 1);
        assert_eq!(contents(&image), vec![7; BYTES]);
    }

    #[test]
    fn only_the_memory_that_was_asked_for_is_made_of_a_used_mapping() {
        let image = of_file(&vec![7; BYTES]);
        Live::of(&image).freeze(&image).1.recycle(1);
        prepare(&image, &MemoryType::new(1, None));
        let made = |of| {
            let made = Reservations.new_memory(of, 4096, None, Some(CAPACITY), 4096);
            slice(&mut *made.expect("room")).to_vec()
        };
        assert_eq!(made(MemoryType::new(0, None)), [0; 4096], "wasmtime's own is empty");
        assert_eq!(made(MemoryType::new(1, None)), [7; 4096]);
        assert_eq!(made(MemoryType::new(1, None)), [0; 4096], "it is offered once");
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
