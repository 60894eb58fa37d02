//! Documents on disk, read as a stream: a corpus may be larger than memory.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use plumbline::Digest;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Bytes of one JSONL line, and of one `.txt` or `.md` file: what is held at a time.
const DOCUMENT_BYTES_MAX: u64 = 16 << 20;
/// Bytes of a document's id: the index looks documents up by it.
const ID_BYTES_MAX: usize = 1024;
/// Folders within folders, so that a strange mount cannot keep us busy for ever.
const FOLDER_DEPTH_MAX: usize = 64;
/// Characters of a first line that can be a title; a longer one is a paragraph.
const FIRST_LINE_CHARS_MAX: usize = 120;

/// One document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// What the document is called by: unique in its corpus, never empty.
    pub id: String,
    /// Its title; it may be empty, and documents may share one.
    pub title: String,
    /// Its whole text.
    pub text: String,
}

/// A list of documents on disk and the digest of its content.
///
/// Opening reads every byte once for the digest, but parses nothing: what is wrong with a
/// line is found by [`documents`](Corpus::documents), which an index build goes through.
#[derive(Debug, Clone)]
pub struct Corpus {
    sources: Vec<Source>,
    digest: Digest,
    bytes: u64,
}

/// One file of a corpus.
#[derive(Debug, Clone)]
struct Source {
    path: PathBuf,
    form: Form,
    digest: Digest,
}

#[derive(Debug, Clone)]
enum Form {
    /// A document a line.
    Lines,
    /// The file is one document, of this id.
    Whole { id: String },
}

/// Why a corpus cannot be read. Each message names the file, and the line where there is
/// one, and ends with what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CorpusError {
    /// The file system failed us.
    #[error("read {}: {source}; check that it exists and may be read", path.display())]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is nothing in it.
    #[error("{}: no documents; a corpus is JSONL files of {{id, title, text}} or a folder of .txt and .md files", path.display())]
    Empty {
        /// The folder or the first file; empty if no file was named.
        path: PathBuf,
    },
    /// A file, or a file's name, is not UTF-8.
    #[error("{}: not UTF-8{}; convert it, for example with iconv -t UTF-8", path.display(), at_line(*line))]
    NotUtf8 {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1; 0 for a file that is one document.
        line: u64,
    },
    /// Folders are nested without end.
    #[error("{}: more than {FOLDER_DEPTH_MAX} folders deep; move the documents up", path.display())]
    TooDeep {
        /// Which folder.
        path: PathBuf,
    },
    /// A line is not a JSON object.
    #[error("{}:{line}: {message}; write one JSON object a line, with the strings id, title and text", path.display())]
    NotJson {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: u64,
        /// What the parser says.
        message: String,
    },
    /// A field of a line is missing or unusable.
    #[error("{}:{line}: field {field:?} {problem}", path.display())]
    Field {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: u64,
        /// Which field.
        field: &'static str,
        /// What is wrong with it and what to do.
        problem: String,
    },
    /// A document is too large to be held.
    #[error("{}{}: more than {DOCUMENT_BYTES_MAX} bytes; split the document", path.display(), at_line(*line))]
    TooLong {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1; 0 for a file that is one document.
        line: u64,
    },
    /// Two documents have one id.
    #[error("{}:{line}: field \"id\" is {id:?}, as at {first}; give each document an id of its own", path.display())]
    DuplicateId {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: u64,
        /// The id.
        id: String,
        /// File and line of the document that had it first.
        first: String,
    },
    /// The content is not what it was when the corpus was opened.
    #[error("{}: changed while it was being read; start again once nothing writes to it", path.display())]
    Changed {
        /// Which file.
        path: PathBuf,
    },
}

fn at_line(line: u64) -> String {
    if line == 0 { String::new() } else { format!(" at line {line}") }
}

impl Corpus {
    /// Opens a file of documents as JSON lines, or a folder of `.txt` and `.md` files.
    pub fn open(path: &Path) -> Result<Self, CorpusError> {
        let metadata = fs::metadata(path).map_err(|source| io_error(path, source))?;
        if metadata.is_dir() {
            Self::from_folder(path)
        } else {
            Self::from_jsonl(&[path.to_owned()])
        }
    }

    /// Opens files of one `{"id", "title", "text"}` a line, in this order. Other fields and
    /// blank lines are passed over. The digest of a single file is its SHA-256.
    pub fn from_jsonl(paths: &[PathBuf]) -> Result<Self, CorpusError> {
        let mut sources = Vec::with_capacity(paths.len());
        let mut bytes = 0;
        for path in paths {
            let (digest, length) = hash_file(path)?;
            bytes += length;
            sources.push(Source { path: path.clone(), form: Form::Lines, digest });
        }
        let digest = match sources.as_slice() {
            [] => return Err(CorpusError::Empty { path: PathBuf::new() }),
            [one] => one.digest,
            many => {
                let digests: Vec<String> =
                    many.iter().map(|source| source.digest.to_string()).collect();
                Digest::of_json(&("jsonl", digests))
            }
        };
        Ok(Self { sources, digest, bytes })
    }

    /// Opens the `.txt` and `.md` files of a folder and the folders in it, ordered by path.
    ///
    /// A document's id is its path below the folder, with `/` between the names. Its title is
    /// the first Markdown heading of an `.md` file, else a first line of at most 120
    /// characters, else the file's name without its ending. Symbolic links and names that
    /// begin with a dot are passed over.
    pub fn from_folder(folder: &Path) -> Result<Self, CorpusError> {
        let mut found = Vec::new();
        list_texts(folder, "", 0, &mut found)?;
        if found.is_empty() {
            return Err(CorpusError::Empty { path: folder.to_owned() });
        }
        found.sort();
        let mut sources = Vec::with_capacity(found.len());
        let mut hasher = Sha256::new();
        let mut bytes = 0;
        for (id, path) in found {
            let (digest, length) = hash_file(&path)?;
            hasher.update((id.len() as u64).to_le_bytes());
            hasher.update(id.as_bytes());
            hasher.update(digest.to_string().as_bytes());
            bytes += length;
            sources.push(Source { path, form: Form::Whole { id }, digest });
        }
        Ok(Self { sources, digest: finish(hasher), bytes })
    }

    /// SHA-256 over the content: what an index of this corpus is named by.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Bytes of all files together.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The documents, one at a time and checked. After an error there are no more.
    ///
    /// Besides one document this holds 16 bytes of hash for each id, by which duplicates
    /// are noticed.
    pub fn documents(&self) -> Documents<'_> {
        Documents {
            sources: self.sources.iter(),
            lines: None,
            ids: HashSet::new(),
            sources_all: &self.sources,
            bytes: 0,
            failed: false,
        }
    }
}

/// The documents of a [`Corpus`], as a stream.
pub struct Documents<'a> {
    sources: std::slice::Iter<'a, Source>,
    lines: Option<Lines<'a>>,
    ids: HashSet<[u8; 16]>,
    sources_all: &'a [Source],
    bytes: u64,
    failed: bool,
}

impl Documents<'_> {
    /// Bytes read so far, of [`Corpus::bytes`].
    pub fn bytes(&self) -> u64 {
        self.bytes + self.lines.as_ref().map_or(0, |lines| lines.reader.bytes)
    }

    fn read(&mut self) -> Result<Option<Document>, CorpusError> {
        loop {
            if let Some(lines) = &mut self.lines {
                if let Some(document) = lines.read()? {
                    let (path, line) = (lines.source.path.clone(), lines.line);
                    self.admit(&document.id, path, line)?;
                    return Ok(Some(document));
                }
                self.bytes += lines.reader.bytes;
                self.lines = None;
            }
            let Some(source) = self.sources.next() else { return Ok(None) };
            match &source.form {
                Form::Lines => self.lines = Some(Lines::open(source)?),
                // Paths are unique, so these ids need no check.
                Form::Whole { id } => {
                    let (document, length) = read_whole(source, id)?;
                    self.bytes += length;
                    return Ok(Some(document));
                }
            }
        }
    }

    /// Notes an id, or says where it was used before.
    fn admit(&mut self, id: &str, path: PathBuf, line: u64) -> Result<(), CorpusError> {
        let hash: [u8; 32] = Sha256::digest(id.as_bytes()).into();
        let head: [u8; 16] = hash[..16].try_into().expect("32 bytes begin with 16");
        if self.ids.insert(head) {
            return Ok(());
        }
        let first = first_use(self.sources_all, id)?;
        Err(CorpusError::DuplicateId { path, line, id: id.to_owned(), first })
    }
}

impl Iterator for Documents<'_> {
    type Item = Result<Document, CorpusError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let item = self.read().transpose();
        self.failed = matches!(item, Some(Err(_)));
        item
    }
}

/// Where an id stands first. Only the hashes are kept, so the corpus is read again; this
/// happens once, on the way to an error.
fn first_use(sources: &[Source], id: &str) -> Result<String, CorpusError> {
    for source in sources {
        let mut lines = Lines::open(source)?;
        while let Some(document) = lines.read()? {
            if document.id == id {
                return Ok(format!("{}:{}", source.path.display(), lines.line));
            }
        }
    }
    let path = sources.first().map(|source| source.path.clone()).unwrap_or_default();
    Err(CorpusError::Changed { path })
}

/// A JSONL file while it is read.
struct Lines<'a> {
    source: &'a Source,
    reader: Hashed<BufReader<File>>,
    line: u64,
    buffer: Vec<u8>,
}

impl<'a> Lines<'a> {
    fn open(source: &'a Source) -> Result<Self, CorpusError> {
        let file =
            File::open(&source.path).map_err(|error| io_error(&source.path, error))?;
        let reader = Hashed::new(BufReader::with_capacity(1 << 18, file));
        Ok(Self { source, reader, line: 0, buffer: Vec::new() })
    }

    fn read(&mut self) -> Result<Option<Document>, CorpusError> {
        let path = &self.source.path;
        loop {
            self.buffer.clear();
            self.reader
                .read_line(&mut self.buffer, DOCUMENT_BYTES_MAX)
                .map_err(|error| io_error(path, error))?;
            self.line += 1;
            if self.buffer.is_empty() {
                let finished = self.reader.digest() == self.source.digest;
                let changed = || CorpusError::Changed { path: path.clone() };
                return if finished { Ok(None) } else { Err(changed()) };
            }
            if self.buffer.len() as u64 > DOCUMENT_BYTES_MAX {
                return Err(CorpusError::TooLong { path: path.clone(), line: self.line });
            }
            let text = std::str::from_utf8(&self.buffer).map_err(|_| {
                CorpusError::NotUtf8 { path: path.clone(), line: self.line }
            })?;
            let text = if self.line == 1 { without_mark(text) } else { text };
            if !text.trim().is_empty() {
                return parse_line(text, path, self.line).map(Some);
            }
        }
    }
}

/// A line as it should be. Other fields are passed over.
#[derive(Deserialize)]
struct Line {
    id: String,
    title: String,
    text: String,
}

/// Reads one `{"id", "title", "text"}`.
fn parse_line(text: &str, path: &Path, line: u64) -> Result<Document, CorpusError> {
    // An array of three strings would do for the parser, but not for us.
    let parsed = text.trim_start().starts_with('{').then(|| serde_json::from_str(text));
    let Some(Ok(Line { id, title, text })) = parsed else {
        return Err(diagnose(text, path, line));
    };
    let problem = if id.is_empty() {
        "is empty; give the document an id that no other has".to_owned()
    } else if id.len() > ID_BYTES_MAX {
        format!("is longer than {ID_BYTES_MAX} bytes; shorten it")
    } else {
        return Ok(Document { id, title, text });
    };
    Err(CorpusError::Field { path: path.to_owned(), line, field: "id", problem })
}

/// Says what is wrong with a line that is not as it should be.
fn diagnose(text: &str, path: &Path, line: u64) -> CorpusError {
    let path = path.to_owned();
    let not_json = |message| CorpusError::NotJson { path: path.clone(), line, message };
    let object = match serde_json::from_str(text) {
        Ok(Value::Object(object)) => object,
        Ok(other) => {
            return not_json(format!("found {}, not a JSON object", kind(&other)));
        }
        Err(error) => return not_json(format!("not JSON: {error}")),
    };
    for field in ["id", "title", "text"] {
        let problem = match object.get(field) {
            Some(Value::String(_)) => continue,
            Some(other) => format!("is {}; write it as a string", kind(other)),
            None => "is missing; every document needs it".to_owned(),
        };
        return CorpusError::Field { path, line, field, problem };
    }
    // All three are there and strings, so one of them is there twice.
    not_json("a field is given twice".to_owned())
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Reads a file that is one document; also says how many bytes it has.
fn read_whole(source: &Source, id: &str) -> Result<(Document, u64), CorpusError> {
    let path = &source.path;
    let file = File::open(path).map_err(|error| io_error(path, error))?;
    let mut bytes = Vec::new();
    file.take(DOCUMENT_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| io_error(path, error))?;
    if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
        return Err(CorpusError::TooLong { path: path.clone(), line: 0 });
    }
    if Digest::of(&bytes) != source.digest {
        return Err(CorpusError::Changed { path: path.clone() });
    }
    let length = bytes.len() as u64;
    let text = String::from_utf8(bytes)
        .map_err(|_| CorpusError::NotUtf8 { path: path.clone(), line: 0 })?;
    let text = without_mark(&text).to_owned();
    Ok((Document { id: id.to_owned(), title: title_of(id, &text), text }, length))
}

/// The title of a file that is one document.
fn title_of(id: &str, text: &str) -> String {
    let name = id.rsplit('/').next().unwrap_or(id);
    let (stem, ending) = name.rsplit_once('.').unwrap_or((name, ""));
    if ending.eq_ignore_ascii_case("md") {
        let heading = text.lines().find_map(|line| {
            let rest = line.trim_start_matches('#');
            let level = line.len() - rest.len();
            let title = rest.trim().trim_end_matches('#').trim_end();
            let is_heading = (1..=6).contains(&level) && rest.starts_with([' ', '\t']);
            (is_heading && !title.is_empty()).then_some(title)
        });
        if let Some(heading) = heading {
            return heading.to_owned();
        }
    }
    match text.lines().map(str::trim).find(|line| !line.is_empty()) {
        Some(line) if line.chars().count() <= FIRST_LINE_CHARS_MAX => line.to_owned(),
        _ => stem.to_owned(),
    }
}

/// The text files of a folder, with their ids, in no particular order.
fn list_texts(
    folder: &Path,
    prefix: &str,
    depth: usize,
    found: &mut Vec<(String, PathBuf)>,
) -> Result<(), CorpusError> {
    if depth > FOLDER_DEPTH_MAX {
        return Err(CorpusError::TooDeep { path: folder.to_owned() });
    }
    let error = |source| io_error(folder, source);
    for entry in fs::read_dir(folder).map_err(error)? {
        let entry = entry.map_err(error)?;
        let path = entry.path();
        // Not followed: a link may lead out of the corpus, or back into it.
        let kind = entry.file_type().map_err(error)?;
        let Ok(name) = entry.file_name().into_string() else {
            return Err(CorpusError::NotUtf8 { path, line: 0 });
        };
        if name.starts_with('.') {
            continue;
        }
        let id = format!("{prefix}{name}");
        if kind.is_dir() {
            list_texts(&path, &format!("{id}/"), depth + 1, found)?;
        } else if kind.is_file() && is_text(&name) {
            found.push((id, path));
        }
    }
    Ok(())
}

fn is_text(name: &str) -> bool {
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    ending.eq_ignore_ascii_case("txt") || ending.eq_ignore_ascii_case("md")
}

/// The text after the byte order mark that some editors put first.
fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

fn io_error(path: &Path, source: io::Error) -> CorpusError {
    CorpusError::Io { path: path.to_owned(), source }
}

/// A file's digest and length.
pub(crate) fn hash_file(path: &Path) -> Result<(Digest, u64), CorpusError> {
    let mut file = File::open(path).map_err(|source| io_error(path, source))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    let mut length = 0;
    loop {
        let read = match file.read(&mut buffer) {
            Ok(0) => return Ok((finish(hasher), length)),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(io_error(path, error)),
        };
        hasher.update(&buffer[..read]);
        length += read as u64;
    }
}

fn finish(hasher: Sha256) -> Digest {
    let hash: [u8; 32] = hasher.finalize().into();
    let digits: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.parse().expect("32 bytes are 64 hexadecimal digits")
}

/// A reader that hashes and counts what goes through it.
struct Hashed<R> {
    inner: R,
    hasher: Sha256,
    bytes: u64,
}

impl<R: BufRead> Hashed<R> {
    fn new(inner: R) -> Self {
        Self { inner, hasher: Sha256::new(), bytes: 0 }
    }

    /// Appends a line with its end to `line`, or one byte more than `bytes_max` of it.
    fn read_line(&mut self, line: &mut Vec<u8>, bytes_max: u64) -> io::Result<()> {
        (&mut self.inner).take(bytes_max + 1).read_until(b'\n', line)?;
        self.hasher.update(&*line);
        self.bytes += line.len() as u64;
        Ok(())
    }

    /// The digest of what was read so far.
    fn digest(&self) -> Digest {
        finish(self.hasher.clone())
    }
}
