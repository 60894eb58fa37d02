//! Finds the database of an episode and hands a guarded connection to it: to the file itself,
//! or to the episode's private copy.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use plumbline::{Digest, Fault, Limits, Scratch};
use rusqlite::backup::Backup;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use serde::{Deserialize, Serialize};

use crate::databases::Databases;
use crate::guard::{self, Access, HEAP, Meter};
use crate::statement::{Done, Failed, Guarded};

/// The scratch's key of what was written.
const KEY: &str = "sql";
/// Bytes of a database that can be copied for every branch.
const COPY_BYTES_MAX: u64 = 32 << 20;
/// Bytes that a copy may grow by.
const GROWTH_BYTES_MAX: u64 = 16 << 20;
/// Bytes of all copies that are kept for the next call; the least recently used goes first.
const KEPT_BYTES_MAX: u64 = 64 << 20;

/// The databases of an environment, and whether episodes may change theirs.
///
/// Of a database that may be changed each branch has a copy of its own. What makes the copy
/// is in the scratch: the statements that changed it, and a digest of the content they led
/// to. A live copy is kept in memory for the next call, found by that; when it is not there
/// any more, or another branch has it, the statements are executed again.
pub struct Engine {
    databases: Databases,
    access: Access,
    kept: Mutex<Kept>,
}

/// What an episode did to its database; the scratch holds it under `sql`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Written {
    /// The statements that changed something, in order.
    statements: Vec<String>,
    /// Of the schema and every row after them.
    content: Option<Digest>,
}

/// A database that an episode works on.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// Its name.
    pub(crate) name: String,
    path: PathBuf,
    digest: Digest,
    written: Written,
}

/// A live copy.
struct Copy {
    key: Digest,
    connection: Connection,
    meter: Meter,
    bytes: u64,
}

#[derive(Default)]
struct Kept {
    copies: VecDeque<Copy>,
    bytes: u64,
}

impl Kept {
    fn take(&mut self, key: Digest) -> Option<Copy> {
        let index = self.copies.iter().position(|copy| copy.key == key)?;
        let copy = self.copies.remove(index)?;
        self.bytes -= copy.bytes;
        Some(copy)
    }

    fn put(&mut self, copy: Copy) {
        if self.copies.iter().any(|kept| kept.key == copy.key) {
            return;
        }
        self.bytes += copy.bytes;
        self.copies.push_back(copy);
        while self.bytes > KEPT_BYTES_MAX {
            let Some(oldest) = self.copies.pop_front() else { break };
            self.bytes -= oldest.bytes;
        }
    }
}

impl Engine {
    /// Databases that can be read.
    pub fn read_only(databases: Databases) -> Self {
        Self { databases, access: Access::Read, kept: Mutex::default() }
    }

    /// Databases of which every branch may change its own copy.
    pub fn writable(databases: Databases) -> Self {
        Self { databases, access: Access::Write, kept: Mutex::default() }
    }

    /// The databases.
    pub fn databases(&self) -> &Databases {
        &self.databases
    }

    /// Whether episodes may change their database.
    pub fn is_writable(&self) -> bool {
        self.access == Access::Write
    }

    /// The digest of everything an answer depends on besides the call: the content, what may
    /// be done to it, and the SQLite that answers.
    pub(crate) fn pinned(&self) -> Digest {
        let parts = (self.databases.digest(), self.is_writable(), rusqlite::version());
        Digest::of_json(&(parts, guard::NOW))
    }

    /// The database that the task names in `inputs.database`, as this episode left it.
    pub(crate) fn target(&self, scratch: &Scratch) -> Result<Target, String> {
        let mut names = self.databases.names();
        let named = scratch.inputs().get("database");
        let name = match (
            named.and_then(|name| name.as_str()),
            names.next(),
            names.next(),
        ) {
            (Some(name), _, _) => name,
            // Where there is one database it need not be named.
            (None, Some(only), None) if named.is_none() => only,
            _ => {
                return Err(format!(
                    "the task does not say which database: give it \"inputs\": {{\"database\": \
                     NAME}}, NAME being one of {}",
                    self.some_names()
                ));
            }
        };
        let database = self.databases.get(name).ok_or_else(|| {
            let name: String = name.chars().take(80).collect();
            format!(
                "the task's inputs.database is {name:?}; there are: {}",
                self.some_names()
            )
        })?;
        let written = match scratch.get(KEY) {
            None => Written::default(),
            Some(value) => serde_json::from_value(value.clone())
                .map_err(|error| format!("the scratch's key {KEY:?}: {error}"))?,
        };
        Ok(Target {
            name: name.to_owned(),
            path: database.path.clone(),
            digest: database.digest,
            written,
        })
    }

    fn some_names(&self) -> String {
        let mut names: Vec<&str> = self.databases.names().take(21).collect();
        if names.len() > 20 {
            names[20] = "…";
        }
        names.join(", ")
    }

    /// Runs one statement. Returns what was written by the episode so far where that changed.
    pub(crate) fn execute(
        &self,
        target: &Target,
        sql: &str,
        limits: &Limits,
        cancelled: &Arc<AtomicBool>,
    ) -> Result<(Done, Option<Written>), Failed> {
        self.with_heap(|| {
            if self.access == Access::Read {
                let done =
                    self.read(target, limits, cancelled, |guarded| guarded.run(sql))?;
                return Ok((done, None));
            }
            let copy = self.copy(target, limits, cancelled)?;
            if reads(&copy, sql, limits, cancelled) {
                let done = copy.guarded(limits, cancelled).run(sql);
                self.keep(copy);
                return Ok((done?, None));
            }
            // What fails half way, or is cancelled, spoils a copy that nobody needs again.
            let mut changed = duplicate(&copy.connection)?;
            self.keep(copy);
            let done = changed.guarded(limits, cancelled).run(sql)?;
            changed.meter.release();
            let mut written = target.written.clone();
            written.statements.push(sql.to_owned());
            written.content = Some(content(&changed.connection).map_err(broken)?);
            changed.key = key(target.digest, &written);
            changed.bytes = size(&changed.connection).map_err(broken)?;
            self.keep(changed);
            Ok((done, Some(written)))
        })
    }

    /// Looks at the database as the episode left it.
    pub(crate) fn look<T>(
        &self,
        target: &Target,
        limits: &Limits,
        cancelled: &Arc<AtomicBool>,
        look: impl Fn(&Guarded<'_>) -> Result<T, Failed>,
    ) -> Result<T, Failed> {
        self.with_heap(|| {
            if self.access == Access::Read {
                return self.read(target, limits, cancelled, &look);
            }
            let copy = self.copy(target, limits, cancelled)?;
            let seen = look(&copy.guarded(limits, cancelled));
            self.keep(copy);
            seen
        })
    }

    fn read<T>(
        &self,
        target: &Target,
        limits: &Limits,
        cancelled: &Arc<AtomicBool>,
        look: impl Fn(&Guarded<'_>) -> Result<T, Failed>,
    ) -> Result<T, Failed> {
        let (connection, meter) = guard::open(&target.path).map_err(broken)?;
        look(&Guarded { connection: &connection, meter: &meter, limits, cancelled })
    }

    /// What runs out of memory beside others runs once more alone, without anything kept:
    /// whether it does so then is a function of the statement.
    fn with_heap<T>(&self, run: impl Fn() -> Result<T, Failed>) -> Result<T, Failed> {
        let beside = {
            let _shared = HEAP.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            run()
        };
        if !matches!(beside, Err(Failed::Memory)) {
            return beside;
        }
        let _alone = HEAP.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        *self.lock() = Kept::default();
        match run() {
            Err(Failed::Memory) => {
                let message = "the query needs too much memory; make it hold less at once: \
                               fewer rows to sort or group, shorter values";
                Err(Failed::Fault(Fault::Limit, message.to_owned()))
            }
            done => done,
        }
    }

    fn copy(
        &self,
        target: &Target,
        limits: &Limits,
        cancelled: &Arc<AtomicBool>,
    ) -> Result<Copy, Failed> {
        let key = key(target.digest, &target.written);
        if let Some(copy) = self.lock().take(key) {
            return Ok(copy);
        }
        let base = guard::open_immutable(&target.path).map_err(broken)?;
        let bytes = size(&base).map_err(broken)?;
        if bytes > COPY_BYTES_MAX {
            let message = format!(
                "the database {} has {bytes} bytes; at most {COPY_BYTES_MAX} can be copied for \
                 every branch: leave `writable` out",
                target.name
            );
            return Err(Failed::Broken(message));
        }
        let mut copy = duplicate(&base)?;
        for sql in &target.written.statements {
            copy.guarded(limits, cancelled).run(sql).map_err(|failed| match failed {
                Failed::Fault(_, message) => Failed::Broken(format!(
                    "executing {sql:?} again does not come to the same: {message}"
                )),
                other => other,
            })?;
        }
        copy.meter.release();
        if let Some(recorded) = target.written.content {
            let found = content(&copy.connection).map_err(broken)?;
            if found != recorded {
                let message = format!(
                    "executing the episode's statements again gives content {}, recorded is {}",
                    found.short(),
                    recorded.short()
                );
                return Err(Failed::Broken(message));
            }
        }
        copy.key = key;
        copy.bytes = size(&copy.connection).map_err(broken)?;
        Ok(copy)
    }

    fn keep(&self, copy: Copy) {
        self.lock().put(copy);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().expect("nobody panics holding it")
    }

    /// Drops every live copy: nothing but time depends on them.
    pub fn forget(&self) {
        *self.lock() = Kept::default();
    }
}

impl Written {
    /// Puts this into a scratch.
    pub(crate) fn store(&self, scratch: &mut Scratch) {
        let value = serde_json::to_value(self).expect("texts and a digest serialise");
        scratch.set(KEY, value);
    }
}

impl Copy {
    fn guarded<'c>(
        &'c self,
        limits: &'c Limits,
        cancelled: &'c Arc<AtomicBool>,
    ) -> Guarded<'c> {
        Guarded { connection: &self.connection, meter: &self.meter, limits, cancelled }
    }
}

fn key(database: Digest, written: &Written) -> Digest {
    Digest::of_json(&(database, written))
}

pub(crate) fn broken(error: rusqlite::Error) -> Failed {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::OutOfMemory) => Failed::Memory,
        _ => Failed::Broken(error.to_string()),
    }
}

/// Whether a statement changes nothing. One that cannot be prepared does not either.
fn reads(copy: &Copy, sql: &str, limits: &Limits, cancelled: &Arc<AtomicBool>) -> bool {
    if sql.contains('\0') {
        return true;
    }
    copy.meter.start(limits, cancelled);
    copy.connection.prepare(sql).map_or(true, |statement| statement.readonly())
}

/// A copy in memory, page by page, that may grow by so much.
fn duplicate(from: &Connection) -> Result<Copy, Failed> {
    let copied = || -> rusqlite::Result<Copy> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_in_memory_with_flags(flags)?;
        Backup::new(from, &mut connection)?.step(-1)?;
        let page: u32 = connection.query_row("PRAGMA page_size", [], |row| row.get(0))?;
        let pages = (COPY_BYTES_MAX + GROWTH_BYTES_MAX) / u64::from(page.max(512));
        connection.execute_batch(&format!("PRAGMA max_page_count={pages}"))?;
        let meter = guard::confine(&mut connection, Access::Write)?;
        let bytes = size(&connection)?;
        Ok(Copy { key: Digest::of(&[]), connection, meter, bytes })
    };
    copied().map_err(broken)
}

fn size(connection: &Connection) -> rusqlite::Result<u64> {
    // Not the pragmas of that name: an authorizer may stand before them.
    let query = "SELECT coalesce(sum(pgsize), 0) FROM dbstat WHERE aggregate = TRUE";
    let bytes: i64 = connection.query_row(query, [], |row| row.get(0))?;
    Ok(bytes.unsigned_abs())
}

/// The digest of the schema and of every row with its rowid, in the order of the tables' own
/// trees. The layout of pages has no part in it.
fn content(connection: &Connection) -> rusqlite::Result<Digest> {
    let mut bytes = Vec::new();
    let mut tables: Vec<String> = Vec::new();
    let mut schema = connection.prepare(
        "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name",
    )?;
    let mut rows = schema.query([])?;
    while let Some(row) = rows.next()? {
        for index in 0..4 {
            append(&mut bytes, row.get_ref(index)?);
        }
        let (kind, name): (String, String) = (row.get(0)?, row.get(1)?);
        let sql: Option<String> = row.get(3)?;
        let is_virtual = sql.is_some_and(|sql| sql.starts_with("CREATE VIRTUAL"));
        if kind == "table" && !is_virtual {
            tables.push(name);
        }
    }
    for table in tables {
        let table = quoted(&table);
        let with_rowid = format!("SELECT rowid, * FROM {table} NOT INDEXED");
        let without = format!("SELECT * FROM {table} NOT INDEXED");
        let mut statement =
            connection.prepare(&with_rowid).or_else(|_| connection.prepare(&without))?;
        let columns = statement.column_count();
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            bytes.push(b'r');
            for index in 0..columns {
                append(&mut bytes, row.get_ref(index)?);
            }
        }
        bytes.push(b't');
    }
    Ok(Digest::of(&bytes))
}

fn append(bytes: &mut Vec<u8>, value: ValueRef<'_>) {
    let (kind, content): (u8, &[u8]) = match value {
        ValueRef::Null => (b'n', &[]),
        ValueRef::Integer(number) => (b'i', &number.to_le_bytes()),
        ValueRef::Real(number) => (b'f', &number.to_bits().to_le_bytes()),
        ValueRef::Text(text) => (b's', text),
        ValueRef::Blob(blob) => (b'b', blob),
    };
    bytes.push(kind);
    bytes.extend((content.len() as u64).to_le_bytes());
    bytes.extend(content);
}

/// A name as an identifier, whatever it holds.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Tells a statement on another thread that nobody waits for it any more, when dropped.
#[derive(Default)]
pub(crate) struct Waiting(pub(crate) Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
