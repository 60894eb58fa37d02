//! What a statement may touch, and how far it may go: read-only files, an authorizer,
//! SQLite's own limits, a count of VM steps, and functions that answer alike every time.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use plumbline::Limits;
use rusqlite::functions::FunctionFlags;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};

/// Bytes of one query. What people and models write has less than a tenth.
pub const QUERY_BYTES_MAX: usize = 32 * 1024;
/// Bytes of one value, and of one row.
const VALUE_BYTES_MAX: i32 = 1_000_000;
/// What the clock of a database shows, for ever.
pub const NOW: &str = "2026-01-01 00:00:00";
/// VM steps between two looks at the meter: the count of steps is exact to this.
const STEPS_BETWEEN: i32 = 1000;
/// Bytes that SQLite may hold in this process, all connections together.
const HEAP_BYTES_MAX: u64 = 512 << 20;

/// Held shared by every statement, and alone by one that ran out of memory beside others:
/// whether it does so alone is a function of the statement.
pub(crate) static HEAP: RwLock<()> = RwLock::new(());

/// What a connection lets statements do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Read, and nothing else.
    Read,
    /// Change the content and the schema of the one database.
    Write,
}

/// Counts the VM steps of the statement that runs, and stops it.
#[derive(Debug, Clone)]
pub(crate) struct Meter(Arc<Gauge>);

#[derive(Debug, Default)]
struct Gauge {
    /// Looks left; at zero the statement stops.
    looks_left: AtomicU64,
    ran_out: AtomicBool,
    late: AtomicBool,
    deadline: Mutex<Option<Deadline>>,
    denied: Mutex<Option<String>>,
}

#[derive(Debug, Clone)]
struct Deadline {
    at: Instant,
    cancelled: Arc<AtomicBool>,
}

/// Why a statement was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// It took all its VM steps.
    Steps,
    /// It took too long, or nobody waits for it any more.
    Clock,
}

impl Meter {
    fn new() -> Self {
        let gauge = Gauge::default();
        gauge.looks_left.store(u64::MAX, Ordering::Relaxed);
        Self(Arc::new(gauge))
    }

    /// Starts the count for a statement.
    pub(crate) fn start(&self, limits: &Limits, cancelled: &Arc<AtomicBool>) {
        let looks = limits.sql_steps_max.div_ceil(STEPS_BETWEEN.unsigned_abs().into());
        self.0.looks_left.store(looks, Ordering::Relaxed);
        self.0.ran_out.store(false, Ordering::Relaxed);
        self.0.late.store(false, Ordering::Relaxed);
        let at = Instant::now() + Duration::from_millis(limits.call_ms_max);
        let cancelled = Arc::clone(cancelled);
        *self.0.deadline.lock().expect("nobody panics holding it") =
            Some(Deadline { at, cancelled });
        *self.0.denied.lock().expect("nobody panics holding it") = None;
    }

    /// Lets what is not a model's statement run to its end.
    pub(crate) fn release(&self) {
        self.0.looks_left.store(u64::MAX, Ordering::Relaxed);
        *self.0.deadline.lock().expect("nobody panics holding it") = None;
    }

    /// Why the last statement was stopped, if the meter stopped it.
    pub(crate) fn stopped(&self) -> Option<Stopped> {
        if self.0.late.load(Ordering::Relaxed) {
            Some(Stopped::Clock)
        } else {
            self.0.ran_out.load(Ordering::Relaxed).then_some(Stopped::Steps)
        }
    }

    /// What the last statement was not allowed to do, if that is why it failed.
    pub(crate) fn denied(&self) -> Option<String> {
        self.0.denied.lock().expect("nobody panics holding it").clone()
    }

    /// Whether to stop. Called every [`STEPS_BETWEEN`] steps.
    fn look(&self) -> bool {
        let left = self.0.looks_left.load(Ordering::Relaxed);
        if left == 0 {
            self.0.ran_out.store(true, Ordering::Relaxed);
            return true;
        }
        self.0.looks_left.store(left - 1, Ordering::Relaxed);
        let deadline = self.0.deadline.lock().expect("nobody panics holding it");
        let late = deadline.as_ref().is_some_and(|deadline| {
            deadline.cancelled.load(Ordering::Relaxed) || Instant::now() > deadline.at
        });
        if late {
            self.0.late.store(true, Ordering::Relaxed);
        }
        late
    }
}

/// Opens a database file that nobody changes, and checks that it is one.
pub(crate) fn probe(path: &Path) -> rusqlite::Result<()> {
    let connection = open_immutable(path)?;
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
}

/// Opens a database file for guarded reading.
pub(crate) fn open(path: &Path) -> rusqlite::Result<(Connection, Meter)> {
    let mut connection = open_immutable(path)?;
    let meter = confine(&mut connection, Access::Read)?;
    Ok((connection, meter))
}

/// Opens a database file for reading. `immutable` takes no locks and writes no journal, so
/// that the folder may be read-only.
pub(crate) fn open_immutable(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(uri(path)?, flags)
}

fn uri(path: &Path) -> rusqlite::Result<String> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let text =
        absolute.to_str().ok_or_else(|| rusqlite::Error::InvalidPath(path.into()))?;
    let mut uri = "file:".to_owned();
    for byte in text.bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' => uri.push(byte.into()),
            _ if byte.is_ascii_alphanumeric() => uri.push(byte.into()),
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri.push_str("?immutable=1");
    Ok(uri)
}

/// Holds a connection to what statements of a model may do.
pub(crate) fn confine(
    connection: &mut Connection,
    access: Access,
) -> rusqlite::Result<Meter> {
    // Sorting and materialising in memory: the heap's limit covers them, and no disk fills.
    connection.execute_batch(&format!(
        "PRAGMA hard_heap_limit={HEAP_BYTES_MAX}; PRAGMA temp_store=MEMORY;
         PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON;"
    ))?;
    set_limits(connection)?;
    fix_functions(connection)?;
    let meter = Meter::new();
    let counting = meter.clone();
    connection.progress_handler(STEPS_BETWEEN, Some(move || counting.look()))?;
    let denying = meter.clone();
    connection.authorizer(Some(move |context: AuthContext<'_>| {
        let Some(reason) = denial(&context, access) else { return Authorization::Allow };
        let mut denied = denying.0.denied.lock().expect("nobody panics holding it");
        // The first is what the statement asked for; the rest follows from it.
        denied.get_or_insert(reason);
        Authorization::Deny
    }))?;
    Ok(meter)
}

/// Holds a connection to what a script that makes a database may do: everything within it.
pub(crate) fn confine_script(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.authorizer(Some(|context: AuthContext<'_>| match context.action {
        AuthAction::Transaction { .. } | AuthAction::Savepoint { .. } => {
            Authorization::Allow
        }
        // Dumps begin by switching foreign keys off.
        AuthAction::Pragma { pragma_name: "foreign_keys", .. } => Authorization::Allow,
        AuthAction::Analyze { .. } => Authorization::Allow,
        _ => match denial(&context, Access::Write) {
            None => Authorization::Allow,
            Some(_) => Authorization::Deny,
        },
    }))
}

fn set_limits(connection: &Connection) -> rusqlite::Result<()> {
    let query_bytes = i32::try_from(QUERY_BYTES_MAX).expect("it fits");
    for (limit, value) in [
        (Limit::SQLITE_LIMIT_LENGTH, VALUE_BYTES_MAX),
        (Limit::SQLITE_LIMIT_SQL_LENGTH, query_bytes),
        (Limit::SQLITE_LIMIT_EXPR_DEPTH, 500),
        (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 64),
        (Limit::SQLITE_LIMIT_VDBE_OP, 250_000),
        (Limit::SQLITE_LIMIT_FUNCTION_ARG, 100),
        (Limit::SQLITE_LIMIT_ATTACHED, 0),
        (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 256),
        (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 32),
        (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
    ] {
        connection.set_limit(limit, value)?;
    }
    Ok(())
}

/// Why an action is not allowed; `None` if it is.
fn denial(context: &AuthContext<'_>, access: Access) -> Option<String> {
    use AuthAction as A;
    let named =
        |what: &str, name: &str| Some(format!("{what} {name:?} is not allowed here"));
    match &context.action {
        A::Select | A::Read { .. } | A::Recursive => None,
        A::Function { function_name } => changing(function_name).map(str::to_owned),
        A::Pragma { pragma_name, .. } => {
            let reads = [
                "table_info",
                "table_xinfo",
                "table_list",
                "index_list",
                "index_info",
                "index_xinfo",
                "foreign_key_list",
            ];
            let named = named("the pragma", pragma_name)?;
            (!reads.contains(&pragma_name.to_ascii_lowercase().as_str()))
                .then(|| format!("{named}; the ones that are: {}", reads.join(", ")))
        }
        A::Attach { filename } => named("attaching a database from", filename),
        A::Detach { .. } => Some("detaching a database is not allowed here".to_owned()),
        A::Transaction { .. } | A::Savepoint { .. } => {
            Some("each call is a transaction of its own; leave BEGIN, COMMIT and SAVEPOINT out".into())
        }
        A::CreateTempIndex { .. }
        | A::CreateTempTable { .. }
        | A::CreateTempTrigger { .. }
        | A::CreateTempView { .. } => {
            Some("temporary objects are not allowed here; use WITH".to_owned())
        }
        A::CreateVtable { module_name, .. } => named("the module", module_name),
        A::Analyze { .. } => Some("ANALYZE is not allowed here".to_owned()),
        _ if access == Access::Write && context.database_name != Some("temp") => None,
        _ => Some("the database can only be read: write a SELECT".to_owned()),
    }
}

/// Why a function cannot be called: it would answer differently from one run to the next.
fn changing(function: &str) -> Option<&'static str> {
    match function.to_ascii_lowercase().as_str() {
        "random" | "randomblob" => Some(
            "random() and randomblob() are not allowed here: a query must answer alike every \
             time",
        ),
        "changes" | "total_changes" | "last_insert_rowid" => Some(
            "changes(), total_changes() and last_insert_rowid() are not allowed here: they \
             tell of the connection, not of the database",
        ),
        "load_extension" => Some("load_extension() is not allowed here"),
        "sqlite_log" | "fts3_tokenizer" => Some("this function is not allowed here"),
        _ => None,
    }
}

/// Functions of date and time whose answer would depend on the host's clock or zone.
const CLOCK_FUNCTIONS: [&str; 7] =
    ["date", "time", "datetime", "julianday", "unixepoch", "strftime", "timediff"];

/// Replaces the functions that ask the host for the time: they see [`NOW`], and a host in
/// Greenwich. Everything else about them is SQLite's own, asked on another connection.
fn fix_functions(connection: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8
        | FunctionFlags::SQLITE_DETERMINISTIC
        | FunctionFlags::SQLITE_INNOCUOUS;
    let plain: Arc<Mutex<Option<Connection>>> = Arc::default();
    for name in CLOCK_FUNCTIONS {
        let plain = Arc::clone(&plain);
        connection.create_scalar_function(name, -1, flags, move |context| {
            let mut arguments: Vec<Value> = (0..context.len())
                .map(|index| context.get(index))
                .collect::<Result<_, _>>()?;
            fix_arguments(name, &mut arguments);
            let mut plain = plain.lock().expect("nobody panics holding it");
            let plain = match plain.as_mut() {
                Some(plain) => plain,
                None => plain.insert(Connection::open_in_memory()?),
            };
            let marks = vec!["?"; arguments.len()].join(", ");
            let query = format!("SELECT {name}({marks})");
            let mut statement = plain.prepare(&query)?;
            statement.query_row(rusqlite::params_from_iter(arguments), |row| {
                row.get::<_, Value>(0)
            })
        })?;
    }
    for (name, length) in
        [("current_timestamp", 0..19), ("current_date", 0..10), ("current_time", 11..19)]
    {
        connection
            .create_scalar_function(name, 0, flags, move |_| Ok(&NOW[length.clone()]))?;
    }
    Ok(())
}

/// Puts [`NOW`] where the host's clock would be read, and takes its zone out.
fn fix_arguments(function: &str, arguments: &mut Vec<Value>) {
    let is = |value: &Value, words: &[&str]| matches!(value, Value::Text(text) if words.iter().any(|w| text.eq_ignore_ascii_case(w)));
    let clock = ["now", "subsec", "subsecond"];
    // strftime's first argument is a format; timediff takes two times.
    let first = usize::from(function == "strftime");
    let times = if function == "timediff" { 2 } else { 1 };
    if arguments.len() == first && function != "timediff" {
        arguments.push(Value::Text(NOW.to_owned()));
    }
    for argument in arguments.iter_mut().skip(first).take(times) {
        if is(argument, &clock) {
            *argument = Value::Text(NOW.to_owned());
        }
    }
    if function != "timediff" {
        let mut index = 0;
        arguments.retain(|argument| {
            index += 1;
            index <= first + 1 || !is(argument, &["localtime", "utc"])
        });
    }
}
