//! The files a guest sees: a tree in memory, and nothing of the host's.
//!
//! ```text
//! /data           the task's files, read only
//! /scratch        the working folder: what the guest writes
//! /tmp            the same, for libraries
//! /usr/local/lib  the standard library, read only
//! ```
//!
//! Being a value, the tree is cloned with the state it belongs to: a fork has its own files,
//! open handles and positions. There are no links, so no path leads anywhere else. What the
//! guest writes is counted, names included; past the bound it is told the device is full.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use plumbline::Digest;

use crate::pinned::Pinned;

/// Why a file operation fails: the numbers of WASI preview 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Errno {
    BadHandle = 8,
    Exists = 20,
    Fault = 21,
    BadSequence = 25,
    Invalid = 28,
    Io = 29,
    IsFolder = 31,
    TooManyHandles = 33,
    NameTooLong = 37,
    NotFound = 44,
    NoSpace = 51,
    NotFolder = 54,
    NotEmpty = 55,
    NotSocket = 57,
    NotSupported = 58,
    ReadOnly = 69,
    NotSeekable = 70,
}

pub(crate) type Result<T> = std::result::Result<T, Errno>;

/// Where the task's files are.
pub(crate) const DATA: &str = "/data";
/// Where the guest works.
pub(crate) const SCRATCH: &str = "/scratch";
const TEMPORARY: &str = "/tmp";

/// The handle of the root folder, the only one that is open from the start.
pub(crate) const ROOT_HANDLE: u32 = 3;
const HANDLES_MAX: usize = 128;
const NAME_BYTES_MAX: usize = 255;
const PATH_BYTES_MAX: usize = 4096;
/// What a file or folder counts besides its contents: its name, and our book-keeping.
const ENTRY_BYTES: usize = 512;

/// A tree of files with its open handles.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    /// Absolute paths, the root being the empty one.
    paths: BTreeMap<String, u64>,
    nodes: BTreeMap<u64, Node>,
    handles: BTreeMap<u32, Handle>,
    node_next: u64,
    /// Bytes the guest's files and folders count.
    written: usize,
    written_max: usize,
    /// Whether something was refused for want of space since the last [`Files::settle`].
    is_refused: bool,
}

#[derive(Debug, Clone)]
struct Node {
    content: Content,
    modified_ns: u64,
    /// Whether it changed since the last [`Files::settle`].
    is_touched: bool,
}

#[derive(Debug, Clone)]
enum Content {
    Folder,
    /// Read only, pinned.
    Fixed(Pinned),
    Written(Arc<Vec<u8>>),
}

#[derive(Debug, Clone)]
struct Handle {
    node: u64,
    /// Where it was opened: what a folder's handle resolves names against.
    path: String,
    offset: u64,
    access: Access,
}

/// What a handle may be used for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Access {
    pub(crate) read: bool,
    pub(crate) write: bool,
    pub(crate) append: bool,
}

/// How a file is opened.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Opening {
    pub(crate) create: bool,
    pub(crate) folder: bool,
    pub(crate) exclusive: bool,
    pub(crate) truncate: bool,
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) node: u64,
    pub(crate) is_folder: bool,
    pub(crate) size: u64,
    pub(crate) modified_ns: u64,
}

/// A file the guest has written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) path: String,
    pub(crate) content: Arc<Vec<u8>>,
    /// Whether it changed since the last [`Files::settle`].
    pub(crate) is_touched: bool,
}

impl Written {
    pub(crate) fn digest(&self) -> Digest {
        Digest::of(&self.content)
    }
}

impl Files {
    /// The tree before the first call: folders, and the files that do not change.
    pub(crate) fn new(
        fixed: impl IntoIterator<Item = (String, Pinned)>,
        written_max: usize,
        now_ns: u64,
    ) -> Self {
        let mut files = Self {
            paths: BTreeMap::new(),
            nodes: BTreeMap::new(),
            handles: BTreeMap::new(),
            node_next: 1,
            written: 0,
            written_max,
            is_refused: false,
        };
        for folder in ["", DATA, SCRATCH, TEMPORARY] {
            files.insert(folder.to_owned(), Content::Folder, now_ns);
        }
        for (path, content) in fixed {
            let mut is_archive = false;
            for (at, _) in path.match_indices('/').skip(1) {
                let above = files.paths.get(&path[..at]).copied();
                // A folder right below an archive is in the archive: Python imports from
                // there only what it does not find as a folder.
                if above.is_none() && !is_archive {
                    files.insert(path[..at].to_owned(), Content::Folder, now_ns);
                }
                is_archive = above.is_some_and(|node| !files.status_of(node).is_folder);
            }
            files.insert(path, Content::Fixed(content), now_ns);
        }
        let root = files.paths[""];
        let access = Access { read: true, ..Access::default() };
        let handle = Handle { node: root, path: String::new(), offset: 0, access };
        files.handles.insert(ROOT_HANDLE, handle);
        files
    }

    /// Changes the bound on what may be written.
    pub(crate) fn bound(&mut self, written_max: usize) {
        self.written_max = written_max;
    }

    /// Everything the guest has written, by path.
    pub(crate) fn written(&self) -> Vec<Written> {
        let written = |(path, node): (&String, &u64)| {
            let node = &self.nodes[node];
            let Content::Written(content) = &node.content else { return None };
            let (path, content) = (path.clone(), Arc::clone(content));
            Some(Written { path, content, is_touched: node.is_touched })
        };
        self.paths.iter().filter_map(written).collect()
    }

    /// Forgets what was touched and refused: a step is over.
    pub(crate) fn settle(&mut self) {
        self.is_refused = false;
        for node in self.nodes.values_mut() {
            node.is_touched = false;
        }
    }

    /// Whether something was refused for want of space in this step.
    pub(crate) fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// How many handles are open, the root's included.
    pub(crate) fn handles(&self) -> usize {
        self.handles.len()
    }

    /// Opens a path, relative to a folder's handle.
    pub(crate) fn open(
        &mut self,
        at: u32,
        path: &str,
        opening: Opening,
        access: Access,
        now_ns: u64,
    ) -> Result<u32> {
        let path = self.resolve(at, path)?;
        let changes = access.write || opening.truncate;
        let node = match self.paths.get(&path) {
            Some(_) if opening.create && opening.exclusive => return Err(Errno::Exists),
            Some(node) => *node,
            None if !opening.create || opening.folder => return Err(Errno::NotFound),
            None => {
                self.may_change(&path)?;
                self.charge(ENTRY_BYTES)?;
                self.insert(path.clone(), Content::Written(Arc::default()), now_ns)
            }
        };
        match self.nodes[&node].content {
            Content::Folder if changes => return Err(Errno::IsFolder),
            Content::Folder => {}
            _ if opening.folder => return Err(Errno::NotFolder),
            Content::Fixed(_) if changes => return Err(Errno::ReadOnly),
            Content::Fixed(_) | Content::Written(_) => {}
        }
        if self.handles.len() >= HANDLES_MAX {
            return Err(Errno::TooManyHandles);
        }
        if opening.truncate {
            self.resize(node, 0, now_ns)?;
        }
        let fd = (ROOT_HANDLE..)
            .find(|fd| !self.handles.contains_key(fd))
            .expect("there are fewer handles than numbers");
        self.handles.insert(fd, Handle { node, path, offset: 0, access });
        Ok(fd)
    }

    /// Closes a handle. A file that no path leads to any more is gone then.
    pub(crate) fn close(&mut self, fd: u32) -> Result<()> {
        if fd == ROOT_HANDLE {
            return Err(Errno::NotSupported);
        }
        let handle = self.handles.remove(&fd).ok_or(Errno::BadHandle)?;
        // Almost always the path still leads there; only otherwise is there more to look at.
        if self.paths.get(&handle.path) != Some(&handle.node) {
            self.drop_unreachable(handle.node);
        }
        Ok(())
    }

    /// Reads where the handle stands, and moves it.
    pub(crate) fn read(&mut self, fd: u32, buffer: &mut [u8]) -> Result<usize> {
        let offset = self.handle(fd)?.offset;
        let count = self.read_at(fd, buffer, offset)?;
        self.handle_mut(fd)?.offset = offset + count as u64;
        Ok(count)
    }

    /// Reads at an offset; the handle stays where it is.
    pub(crate) fn read_at(
        &self,
        fd: u32,
        buffer: &mut [u8],
        offset: u64,
    ) -> Result<usize> {
        let handle = self.handle(fd)?;
        if !handle.access.read {
            return Err(Errno::BadHandle);
        }
        match &self.nodes[&handle.node].content {
            Content::Folder => Err(Errno::IsFolder),
            Content::Fixed(pinned) => {
                pinned.read_at(buffer, offset).map_err(|_| Errno::Io)
            }
            Content::Written(bytes) => {
                let start =
                    usize::try_from(offset).map_or(bytes.len(), |at| at.min(bytes.len()));
                let count = buffer.len().min(bytes.len() - start);
                buffer[..count].copy_from_slice(&bytes[start..start + count]);
                Ok(count)
            }
        }
    }

    /// Writes where the handle stands (at the end, if it appends), and moves it.
    pub(crate) fn write(&mut self, fd: u32, bytes: &[u8], now_ns: u64) -> Result<usize> {
        let handle = self.handle(fd)?;
        let offset =
            if handle.access.append { self.size(handle.node) } else { handle.offset };
        let count = self.write_at(fd, bytes, offset, now_ns)?;
        self.handle_mut(fd)?.offset = offset + count as u64;
        Ok(count)
    }

    /// Writes at an offset; the handle stays where it is.
    pub(crate) fn write_at(
        &mut self,
        fd: u32,
        bytes: &[u8],
        offset: u64,
        now_ns: u64,
    ) -> Result<usize> {
        let handle = self.handle(fd)?;
        let node = handle.node;
        if !handle.access.write {
            return Err(Errno::BadHandle);
        }
        if bytes.is_empty() {
            return Ok(0);
        }
        let end = offset.checked_add(bytes.len() as u64).ok_or(Errno::NoSpace)?;
        if end > self.size(node) {
            self.resize(node, end, now_ns)?;
        }
        let content = self.content_mut(node, now_ns)?;
        // Both fit: the file has been made long enough.
        let start = offset as usize;
        content[start..start + bytes.len()].copy_from_slice(bytes);
        Ok(bytes.len())
    }

    /// Moves a handle: from the start (0), from where it stands (1), or from the end (2).
    pub(crate) fn seek(&mut self, fd: u32, delta: i64, whence: u8) -> Result<u64> {
        let handle = self.handle(fd)?;
        let from = match whence {
            0 => 0,
            1 => handle.offset,
            2 => self.size(handle.node),
            _ => return Err(Errno::Invalid),
        };
        let offset = from.checked_add_signed(delta).ok_or(Errno::Invalid)?;
        self.handle_mut(fd)?.offset = offset;
        Ok(offset)
    }

    /// Makes a file longer or shorter.
    pub(crate) fn set_size(&mut self, fd: u32, size: u64, now_ns: u64) -> Result<()> {
        let handle = self.handle(fd)?;
        if !handle.access.write {
            return Err(Errno::BadHandle);
        }
        self.resize(handle.node, size, now_ns)
    }

    /// Whether the handle appends; changed by the second function.
    pub(crate) fn access(&self, fd: u32) -> Result<Access> {
        Ok(self.handle(fd)?.access)
    }

    /// Makes a handle append, or not.
    pub(crate) fn set_append(&mut self, fd: u32, append: bool) -> Result<()> {
        self.handle_mut(fd)?.access.append = append;
        Ok(())
    }

    /// What a handle leads to.
    pub(crate) fn status(&self, fd: u32) -> Result<Status> {
        Ok(self.status_of(self.handle(fd)?.node))
    }

    /// What a path leads to.
    pub(crate) fn path_status(&self, at: u32, path: &str) -> Result<Status> {
        let path = self.resolve(at, path)?;
        Ok(self.status_of(*self.paths.get(&path).ok_or(Errno::NotFound)?))
    }

    /// Sets when a file was changed.
    pub(crate) fn set_modified(&mut self, fd: u32, modified_ns: u64) -> Result<()> {
        let (node, path) = (self.handle(fd)?.node, self.handle(fd)?.path.clone());
        self.may_change(&path)?;
        self.node_mut(node).modified_ns = modified_ns;
        Ok(())
    }

    /// Sets when the file at a path was changed.
    pub(crate) fn set_path_modified(
        &mut self,
        at: u32,
        path: &str,
        modified_ns: u64,
    ) -> Result<()> {
        let path = self.resolve(at, path)?;
        let node = *self.paths.get(&path).ok_or(Errno::NotFound)?;
        self.may_change(&path)?;
        self.node_mut(node).modified_ns = modified_ns;
        Ok(())
    }

    /// What is in a folder: names and what they lead to, by name, after `.` and `..`.
    pub(crate) fn list(&self, fd: u32) -> Result<Vec<(String, Status)>> {
        let handle = self.handle(fd)?;
        let here = self.status_of(handle.node);
        if !here.is_folder {
            return Err(Errno::NotFolder);
        }
        let mut entries = vec![(".".to_owned(), here), ("..".to_owned(), here)];
        let prefix = format!("{}/", handle.path);
        entries.extend(self.below(&prefix).filter_map(|(path, node)| {
            let name = &path[prefix.len()..];
            (!name.contains('/')).then(|| (name.to_owned(), self.status_of(node)))
        }));
        Ok(entries)
    }

    /// Makes a folder.
    pub(crate) fn make_folder(&mut self, at: u32, path: &str, now_ns: u64) -> Result<()> {
        let path = self.resolve(at, path)?;
        if self.paths.contains_key(&path) {
            return Err(Errno::Exists);
        }
        self.may_change(&path)?;
        self.charge(ENTRY_BYTES)?;
        self.insert(path, Content::Folder, now_ns);
        Ok(())
    }

    /// Removes an empty folder.
    pub(crate) fn remove_folder(&mut self, at: u32, path: &str) -> Result<()> {
        let path = self.resolve(at, path)?;
        let node = *self.paths.get(&path).ok_or(Errno::NotFound)?;
        if !self.status_of(node).is_folder {
            return Err(Errno::NotFolder);
        }
        self.may_change(&path)?;
        if self.below(&format!("{path}/")).next().is_some() {
            return Err(Errno::NotEmpty);
        }
        self.unlink(&path);
        Ok(())
    }

    /// Removes a file.
    pub(crate) fn remove_file(&mut self, at: u32, path: &str) -> Result<()> {
        let path = self.resolve(at, path)?;
        let node = *self.paths.get(&path).ok_or(Errno::NotFound)?;
        if self.status_of(node).is_folder {
            return Err(Errno::IsFolder);
        }
        self.may_change(&path)?;
        self.unlink(&path);
        Ok(())
    }

    /// Moves a file or folder, in place of what is there.
    pub(crate) fn rename(
        &mut self,
        from_at: u32,
        from: &str,
        to_at: u32,
        to: &str,
    ) -> Result<()> {
        let from = self.resolve(from_at, from)?;
        let to = self.resolve(to_at, to)?;
        let node = *self.paths.get(&from).ok_or(Errno::NotFound)?;
        self.may_change(&from)?;
        self.may_change(&to)?;
        if from == to {
            return Ok(());
        }
        let inside = format!("{from}/");
        if to.starts_with(&inside) {
            return Err(Errno::Invalid);
        }
        let is_folder = self.status_of(node).is_folder;
        if let Some(old) = self.paths.get(&to).map(|old| self.status_of(*old)) {
            match (is_folder, old.is_folder) {
                (false, true) => return Err(Errno::IsFolder),
                (true, false) => return Err(Errno::NotFolder),
                (true, true) if self.below(&format!("{to}/")).next().is_some() => {
                    return Err(Errno::NotEmpty);
                }
                _ => self.unlink(&to),
            }
        }
        let moved: Vec<String> =
            self.below(&inside).map(|(path, _)| path.to_owned()).collect();
        for path in moved.into_iter().chain([from.clone()]) {
            let node = self.paths.remove(&path).expect("it was just listed");
            self.node_mut(node).is_touched = true;
            self.paths.insert(format!("{to}{}", &path[from.len()..]), node);
        }
        Ok(())
    }

    fn insert(&mut self, path: String, content: Content, now_ns: u64) -> u64 {
        let id = self.node_next;
        self.node_next += 1;
        let is_touched = matches!(content, Content::Written(_));
        self.nodes.insert(id, Node { content, modified_ns: now_ns, is_touched });
        self.paths.insert(path, id);
        id
    }

    fn unlink(&mut self, path: &str) {
        let node = self.paths.remove(path).expect("the caller has found it");
        self.drop_unreachable(node);
    }

    /// Forgets a node that neither a path nor a handle leads to.
    fn drop_unreachable(&mut self, node: u64) {
        let is_reachable = self.paths.values().any(|other| *other == node)
            || self.handles.values().any(|handle| handle.node == node);
        if is_reachable {
            return;
        }
        let removed = self.nodes.remove(&node).expect("nodes outlive what leads to them");
        let bytes = match removed.content {
            Content::Fixed(_) => return,
            Content::Folder => 0,
            Content::Written(bytes) => bytes.len(),
        };
        self.written -= ENTRY_BYTES + bytes;
    }

    /// Counts bytes about to be written; the guest is told when there is no more room.
    fn charge(&mut self, bytes: usize) -> Result<()> {
        match self.written.checked_add(bytes) {
            Some(written) if written <= self.written_max => {
                self.written = written;
                Ok(())
            }
            _ => {
                self.is_refused = true;
                Err(Errno::NoSpace)
            }
        }
    }

    fn resize(&mut self, node: u64, size: u64, now_ns: u64) -> Result<()> {
        let before = self.size(node);
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let before = usize::try_from(before).expect("it is in memory");
        if size > before {
            self.charge(size - before)?;
        } else {
            self.written -= before - size;
        }
        self.content_mut(node, now_ns)?.resize(size, 0);
        Ok(())
    }

    fn content_mut(&mut self, node: u64, now_ns: u64) -> Result<&mut Vec<u8>> {
        let node = self.node_mut(node);
        node.modified_ns = now_ns;
        node.is_touched = true;
        match &mut node.content {
            Content::Written(bytes) => Ok(Arc::make_mut(bytes)),
            Content::Folder => Err(Errno::IsFolder),
            Content::Fixed(_) => Err(Errno::ReadOnly),
        }
    }

    fn size(&self, node: u64) -> u64 {
        self.status_of(node).size
    }

    fn status_of(&self, node: u64) -> Status {
        let Node { content, modified_ns, .. } = &self.nodes[&node];
        let (is_folder, size) = match content {
            Content::Folder => (true, 0),
            Content::Fixed(pinned) => (false, pinned.bytes()),
            Content::Written(bytes) => (false, bytes.len() as u64),
        };
        Status { node, is_folder, size, modified_ns: *modified_ns }
    }

    fn node_mut(&mut self, node: u64) -> &mut Node {
        self.nodes.get_mut(&node).expect("nodes outlive what leads to them")
    }

    fn handle(&self, fd: u32) -> Result<&Handle> {
        self.handles.get(&fd).ok_or(Errno::BadHandle)
    }

    fn handle_mut(&mut self, fd: u32) -> Result<&mut Handle> {
        self.handles.get_mut(&fd).ok_or(Errno::BadHandle)
    }

    /// Paths that begin with a prefix, and what they lead to.
    fn below<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a str, u64)> + use<'a> {
        let from = Bound::Included(prefix);
        self.paths
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(move |(path, _)| path.starts_with(prefix))
            .map(|(path, node)| (path.as_str(), *node))
    }

    /// Whether something may be made, changed or removed at a path.
    fn may_change(&self, path: &str) -> Result<()> {
        let inside = |folder: &str| {
            path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
        };
        if inside(SCRATCH) || inside(TEMPORARY) { Ok(()) } else { Err(Errno::ReadOnly) }
    }

    /// The absolute path of a name. Every folder on the way exists; the last part may not.
    /// Whether a path that is no folder has files below it: an archive, some of whose contents
    /// are laid out as files as well.
    fn leads_on(&self, path: &str) -> bool {
        let below = format!("{path}/");
        let mut after = self.paths.range(below.clone()..);
        after.next().is_some_and(|(path, _)| path.starts_with(&below))
    }

    fn resolve(&self, at: u32, path: &str) -> Result<String> {
        let base = self.handle(at)?;
        if !self.status_of(base.node).is_folder {
            return Err(Errno::NotFolder);
        }
        if path.is_empty() {
            return Err(Errno::NotFound);
        }
        if path.len() > PATH_BYTES_MAX {
            return Err(Errno::NameTooLong);
        }
        if path.contains('\0') {
            return Err(Errno::Invalid);
        }
        let mut resolved =
            if path.starts_with('/') { String::new() } else { base.path.clone() };
        for name in path.split('/') {
            match name {
                "" | "." => {}
                // Above the root is the root.
                ".." => resolved.truncate(resolved.rfind('/').unwrap_or(0)),
                _ if name.len() > NAME_BYTES_MAX => return Err(Errno::NameTooLong),
                _ => {
                    let above = self.paths.get(&resolved);
                    let is_folder = above.is_some_and(|it| self.status_of(*it).is_folder);
                    if !is_folder && !self.leads_on(&resolved) {
                        return Err(above.map_or(Errno::NotFound, |_| Errno::NotFolder));
                    }
                    resolved.push('/');
                    resolved.push_str(name);
                }
            }
        }
        if resolved.len() > PATH_BYTES_MAX {
            return Err(Errno::NameTooLong);
        }
        Ok(resolved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_a_file_with_files_below_it() {
        let fixed = |path: &str| (path.to_owned(), Pinned::of_bytes(b"x".to_vec()));
        let paths = ["/lib/a.zip", "/lib/a.zip/pack/data/deep/f"].map(fixed);
        let mut files = Files::new(paths, 0, 7);
        for (path, expect) in [
            ("/lib/a.zip", Ok(false)),
            ("/lib/a.zip/pack", Err(Errno::NotFound)),
            ("/lib/a.zip/pack/data", Ok(true)),
            ("/lib/a.zip/pack/data/deep/f", Ok(false)),
            ("/lib/a.zip/pack/other", Err(Errno::NotFound)),
            ("/lib/a.zip/pack/data/deep/f/g", Err(Errno::NotFolder)),
        ] {
            let found =
                files.path_status(ROOT_HANDLE, path).map(|status| status.is_folder);
            assert_eq!(found, expect, "{path}");
        }
        let made = Opening { create: true, ..Opening::default() };
        let access = Access { write: true, ..READ };
        let refused = files.open(ROOT_HANDLE, "/lib/a.zip/pack/new", made, access, 7);
        assert!(refused.is_err(), "{refused:?}");
    }

    const READ: Access = Access { read: true, write: false, append: false };
    const WRITE: Access = Access { read: true, write: true, append: false };
    const CREATE: Opening =
        Opening { create: true, folder: false, exclusive: false, truncate: false };

    fn files() -> Files {
        let data = Pinned::of_bytes(b"a,b\n1,2\n".to_vec());
        Files::new([("/data/in/a.csv".to_owned(), data)], 10_000, 7)
    }

    fn write(files: &mut Files, path: &str, bytes: &[u8]) -> Result<()> {
        let fd = files.open(ROOT_HANDLE, path, CREATE, WRITE, 8)?;
        files.write(fd, bytes, 9)?;
        files.close(fd)
    }

    fn read(files: &mut Files, path: &str) -> Result<Vec<u8>> {
        let fd = files.open(ROOT_HANDLE, path, Opening::default(), READ, 8)?;
        let mut buffer = [0; 100];
        let count = files.read(fd, &mut buffer)?;
        files.close(fd)?;
        Ok(buffer[..count].to_vec())
    }

    #[test]
    fn only_scratch_and_tmp_change_and_no_path_leads_out() {
        let mut files = files();
        assert_eq!(read(&mut files, "data/in/a.csv"), Ok(b"a,b\n1,2\n".to_vec()));
        assert_eq!(
            read(&mut files, "../../data/../data/in/./a.csv").map(|b| b.len()),
            Ok(8)
        );
        for path in ["data/x", "x", "usr/x", "data/in/a.csv", "scratch"] {
            let error = write(&mut files, path, b"x").expect_err(path);
            assert!(matches!(error, Errno::ReadOnly | Errno::IsFolder | Errno::NotFound));
        }
        assert_eq!(read(&mut files, "../../../etc/passwd"), Err(Errno::NotFound));
        assert_eq!(write(&mut files, "scratch/../scratch/a", b"x"), Ok(()));
        assert_eq!(files.remove_file(ROOT_HANDLE, "data/in/a.csv"), Err(Errno::ReadOnly));
        assert_eq!(files.remove_folder(ROOT_HANDLE, "scratch"), Err(Errno::ReadOnly));
        assert_eq!(
            files.rename(ROOT_HANDLE, "data/in", ROOT_HANDLE, "scratch/in"),
            Err(Errno::ReadOnly)
        );
        let long = format!("scratch/{}", "x".repeat(300));
        assert_eq!(write(&mut files, &long, b"x"), Err(Errno::NameTooLong));
        assert_eq!(write(&mut files, "scratch/a/b", b"x"), Err(Errno::NotFolder));
    }

    #[test]
    fn what_is_written_is_bounded_and_given_back() {
        let mut files = files();
        assert_eq!(write(&mut files, "scratch/a", &[0; 8000]), Ok(()));
        assert_eq!(write(&mut files, "scratch/b", &[0; 9000]), Err(Errno::NoSpace));
        assert!(files.is_refused());
        files.remove_file(ROOT_HANDLE, "scratch/a").expect("it is there");
        files.remove_file(ROOT_HANDLE, "scratch/b").expect("it was made, empty");
        // The handle that could not write is still open.
        assert_eq!(files.handles(), 2);
        files.close(4).expect("it is open");
        assert_eq!(files.written, 0);
        let fd = files.open(ROOT_HANDLE, "scratch/c", CREATE, WRITE, 8).expect("room");
        assert_eq!(files.write_at(fd, b"x", 1 << 60, 8), Err(Errno::NoSpace));
        assert_eq!(files.set_size(fd, u64::MAX, 8), Err(Errno::NoSpace));
        let made = |files: &mut Files, i: u32| {
            files.make_folder(ROOT_HANDLE, &format!("tmp/{i}"), 8)
        };
        let full = (0..100).find(|i| made(&mut files, *i).is_err());
        assert_eq!(full, Some(18), "names count as well");
    }

    #[test]
    fn a_clone_has_files_handles_and_positions_of_its_own() {
        let mut one = files();
        let fd = one.open(ROOT_HANDLE, "scratch/a", CREATE, WRITE, 8).expect("room");
        one.write(fd, b"hello", 8).expect("room");
        let mut two = one.clone();
        one.write(fd, b" one", 9).expect("room");
        two.write(fd, b" two", 9).expect("room");
        assert_eq!(read(&mut one, "scratch/a"), Ok(b"hello one".to_vec()));
        assert_eq!(read(&mut two, "scratch/a"), Ok(b"hello two".to_vec()));
    }

    #[test]
    fn folders_list_move_and_empty() {
        let mut files = files();
        files.make_folder(ROOT_HANDLE, "scratch/d", 8).expect("room");
        write(&mut files, "scratch/d/x", b"1").expect("room");
        write(&mut files, "scratch/e", b"22").expect("room");
        assert_eq!(files.remove_folder(ROOT_HANDLE, "scratch/d"), Err(Errno::NotEmpty));
        files.rename(ROOT_HANDLE, "scratch/d", ROOT_HANDLE, "scratch/f").expect("free");
        let inside = files.rename(ROOT_HANDLE, "scratch/f", ROOT_HANDLE, "scratch/f/g");
        assert_eq!(inside, Err(Errno::Invalid));
        files
            .rename(ROOT_HANDLE, "scratch/e", ROOT_HANDLE, "scratch/f/x")
            .expect("a file");
        assert_eq!(read(&mut files, "scratch/f/x"), Ok(b"22".to_vec()));
        let folder = Opening { folder: true, ..Opening::default() };
        let fd = files.open(ROOT_HANDLE, "scratch", folder, READ, 8).expect("a folder");
        let names: Vec<String> =
            files.list(fd).expect("a folder").into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, [".", "..", "f"]);
        let paths: Vec<String> = files.written().into_iter().map(|w| w.path).collect();
        assert_eq!(paths, ["/scratch/f/x"]);
    }
}
