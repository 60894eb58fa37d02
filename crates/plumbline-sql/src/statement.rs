//! Runs one statement on a guarded connection, and says what it came to.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use plumbline::{Fault, Limits, Observation};
use rusqlite::{Connection, Error, ErrorCode};

use crate::explain;
use crate::guard::{Meter, QUERY_BYTES_MAX, Stopped};
use crate::table::{Table, json_of};

/// A guarded connection with what counts and stops its statements.
pub(crate) struct Guarded<'c> {
    pub(crate) connection: &'c Connection,
    pub(crate) meter: &'c Meter,
    pub(crate) limits: &'c Limits,
    pub(crate) cancelled: &'c Arc<AtomicBool>,
}

/// What a statement came to.
#[derive(Debug)]
pub(crate) enum Done {
    /// It returned a table; `changes` of its rows' worth were written.
    Table(Table),
    /// It returned nothing and changed this many rows.
    Changed(u64),
}

/// Why there is no result.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The statement's doing: it comes to the same every time.
    Fault(Fault, String),
    /// The machine's: this branch ends.
    Broken(String),
    /// Out of memory, perhaps because of others.
    Memory,
}

impl Failed {
    /// The observation, or the message of an error of ours.
    pub(crate) fn observation(self) -> Result<Observation, String> {
        match self {
            Failed::Fault(fault, message) => Ok(Observation::fault(fault, message)),
            Failed::Broken(message) => Err(message),
            Failed::Memory => Err("out of memory".to_owned()),
        }
    }
}

/// What SQLite says when one of its own limits is met.
const LIMIT_MESSAGES: [&str; 13] = [
    "too big",
    "Expression tree is too large",
    "parser stack overflow",
    "recursion limit",
    "Recursion limit",
    "too many terms",
    "too many columns",
    "too many arguments",
    "too many levels",
    "too many attached",
    "pattern too complex",
    "at most 64 tables",
    "too many references",
];

impl Guarded<'_> {
    /// Runs the one statement that a text holds.
    pub(crate) fn run(&self, sql: &str) -> Result<Done, Failed> {
        if sql.len() > QUERY_BYTES_MAX {
            let message = format!(
                "the query has {} bytes; at most {QUERY_BYTES_MAX} are read: write a shorter one",
                sql.len()
            );
            return Err(Failed::Fault(Fault::Limit, message));
        }
        if let Some(at) = sql.find('\0') {
            let message =
                format!("the query holds a NUL character at byte {at}; leave it out");
            return Err(Failed::Fault(Fault::BadArgs, message));
        }
        self.meter.start(self.limits, self.cancelled);
        self.execute(sql).map_err(|error| self.failure(sql, &error))
    }

    fn execute(&self, sql: &str) -> Result<Done, Refusal> {
        let mut statement = self.connection.prepare(sql)?;
        if statement.is_explain() == 1 {
            return Err(Refusal::say(
                Fault::Refused,
                "EXPLAIN lists the machine's own addresses; write EXPLAIN QUERY PLAN",
            ));
        }
        if statement.parameter_count() > 0 {
            return Err(Refusal::say(
                Fault::BadArgs,
                "the query has a parameter (?, :name, @name or $name); write the value itself",
            ));
        }
        let count = statement.column_count();
        let mut columns = Vec::with_capacity(count);
        for index in 0..count {
            columns.push(statement.column_name(index)?.to_owned());
        }
        let before = self.connection.total_changes();
        let mut table = Table { columns, rows: vec![] };
        let mut bytes = 0usize;
        let (rows_max, bytes_max) =
            (self.limits.rows_max as usize, self.limits.output_bytes_max);
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            if table.rows.len() == rows_max {
                let mut message = format!(
                    "the result has more than {rows_max} rows; filter, aggregate, or add LIMIT. \
                     It begins:\n"
                );
                table.rows.truncate(3);
                let _ = write!(message, "{}", table.text(3));
                // The count would be that of the three.
                message.truncate(message.rfind('\n').unwrap_or(message.len()));
                return Err(Refusal::say(Fault::Limit, message));
            }
            let mut values = Vec::with_capacity(count);
            for index in 0..count {
                let value = row.get_ref(index)?;
                bytes += match value {
                    rusqlite::types::ValueRef::Text(text) => text.len(),
                    rusqlite::types::ValueRef::Blob(blob) => 2 * blob.len(),
                    _ => 8,
                };
                if bytes > bytes_max {
                    let message = format!(
                        "the result has more than {bytes_max} bytes; ask for less: fewer rows, \
                         fewer columns, or parts of long values with substr()"
                    );
                    return Err(Refusal::say(Fault::Limit, message));
                }
                values.push(json_of(value));
            }
            table.rows.push(values);
        }
        drop(rows);
        let changed = self.connection.total_changes() - before;
        Ok(if count == 0 { Done::Changed(changed) } else { Done::Table(table) })
    }

    fn failure(&self, sql: &str, refusal: &Refusal) -> Failed {
        let error = match refusal {
            Refusal::Say(fault, message) => {
                return Failed::Fault(*fault, message.clone());
            }
            Refusal::Sqlite(error) => error,
        };
        let code = error.sqlite_error_code();
        match self.meter.stopped() {
            Some(Stopped::Steps) => {
                let max = self.limits.sql_steps_max;
                let message = format!(
                    "the query took {max} steps and had not finished; make it do less: join on \
                     keys, filter earlier, end every recursion"
                );
                return Failed::Fault(Fault::Limit, message);
            }
            Some(Stopped::Clock) => {
                let max = self.limits.call_ms_max;
                return Failed::Broken(format!("a query took longer than {max} ms"));
            }
            None => {}
        }
        if let Some(reason) = self.meter.denied() {
            return Failed::Fault(Fault::Refused, reason);
        }
        match (error, code) {
            (Error::Empty, _) => {
                let message = "the query is empty; write one statement";
                return Failed::Fault(Fault::BadArgs, message.to_owned());
            }
            (Error::MultipleStatement, _) => {
                let message = "there is more than one statement; none was executed: make one \
                               call for each";
                return Failed::Fault(Fault::BadArgs, message.to_owned());
            }
            (_, Some(ErrorCode::OutOfMemory)) => return Failed::Memory,
            (
                _,
                Some(
                    ErrorCode::SystemIoFailure
                    | ErrorCode::DatabaseCorrupt
                    | ErrorCode::NotADatabase
                    | ErrorCode::CannotOpen
                    | ErrorCode::InternalMalfunction
                    | ErrorCode::DatabaseBusy
                    | ErrorCode::DatabaseLocked,
                ),
            ) => return Failed::Broken(error.to_string()),
            _ => {}
        }
        let message = explain::message(error);
        let met = |words: &&str| message.contains(*words);
        if code == Some(ErrorCode::TooBig)
            || code == Some(ErrorCode::DiskFull)
            || LIMIT_MESSAGES.iter().any(met)
        {
            let message =
                format!("{message}: the query is over a limit; make it smaller");
            return Failed::Fault(Fault::Limit, message);
        }
        if code == Some(ErrorCode::ReadOnly) {
            let message = "the database can only be read: write a SELECT".to_owned();
            return Failed::Fault(Fault::Refused, message);
        }
        // Looking names up is no part of the statement: it gets a count of its own.
        self.meter.start(self.limits, self.cancelled);
        Failed::Fault(Fault::Trap, explain::explain(self.connection, sql, error))
    }
}

/// Why [`Guarded::execute`] stopped.
enum Refusal {
    Say(Fault, String),
    Sqlite(Error),
}

impl Refusal {
    fn say(fault: Fault, message: impl Into<String>) -> Self {
        Refusal::Say(fault, message.into())
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Refusal::Sqlite(error)
    }
}
