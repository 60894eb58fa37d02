//! Says what is wrong with a statement: where, and what was probably meant.

use std::collections::BTreeMap;

use rusqlite::{Connection, Error};

/// Characters of the statement that are quoted at the place of an error.
const QUOTED_CHARS: usize = 30;
/// Names listed where none is near.
const LISTED_MAX: usize = 20;
/// How far a name may be from what was written, for it to be meant: edits by characters.
const DISTANCE_MAX: f64 = 0.5;

/// Words that statements are made of, which a misspelt one is compared with.
const KEYWORDS: [&str; 40] = [
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP",
    "ORDER",
    "BY",
    "HAVING",
    "LIMIT",
    "OFFSET",
    "JOIN",
    "LEFT",
    "INNER",
    "OUTER",
    "CROSS",
    "ON",
    "USING",
    "AS",
    "AND",
    "OR",
    "NOT",
    "IN",
    "LIKE",
    "BETWEEN",
    "IS",
    "NULL",
    "UNION",
    "ALL",
    "EXCEPT",
    "INTERSECT",
    "DISTINCT",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "END",
    "WITH",
    "RECURSIVE",
    "EXISTS",
    "ASC",
    "DESC",
];

/// What other systems call functions, and how it is said here.
const FUNCTIONS: [(&str, &str); 14] = [
    ("year", "strftime('%Y', x)"),
    ("month", "strftime('%m', x)"),
    ("day", "strftime('%d', x)"),
    ("extract", "strftime('%Y', x) and the like"),
    ("date_trunc", "strftime('%Y-%m-01', x) and the like"),
    ("date_part", "strftime('%Y', x) and the like"),
    ("datediff", "julianday(x) - julianday(y)"),
    ("now", "date('now')"),
    ("left", "substr(x, 1, n)"),
    ("right", "substr(x, -n)"),
    ("len", "length(x)"),
    ("isnull", "ifnull(x, y)"),
    ("nvl", "ifnull(x, y)"),
    ("top", "LIMIT"),
];

/// SQLite's own words.
pub(crate) fn message(error: &Error) -> String {
    match error {
        Error::SqlInputError { msg, .. } => msg.clone(),
        Error::SqliteFailure(_, Some(message)) => message.clone(),
        _ => error.to_string(),
    }
}

/// SQLite's words with the place, and the nearest names that there are.
pub(crate) fn explain(connection: &Connection, sql: &str, error: &Error) -> String {
    let said = message(error);
    let mut text = said.clone();
    if let Error::SqlInputError { offset, .. } = error
        && let Some(place) = usize::try_from(*offset).ok().and_then(|at| place(sql, at))
    {
        text.push_str(&place);
    }
    // Where the names cannot be read, SQLite's words alone must do.
    let names = names(connection).unwrap_or_default();
    if let Some(hint) = hint(&said, &names) {
        text.push_str("; ");
        text.push_str(&hint);
    }
    text
}

/// Line and character of a byte of the statement, both from 1, and what stands there.
fn place(sql: &str, at: usize) -> Option<String> {
    let at = sql.floor_char_boundary(at);
    let before = sql.get(..at)?;
    let line = 1 + before.matches('\n').count();
    let column = 1 + before.rsplit('\n').next().unwrap_or("").chars().count();
    let rest = sql.get(at..)?.lines().next().unwrap_or("");
    let quoted: String = rest.chars().take(QUOTED_CHARS).collect();
    if quoted.trim().is_empty() {
        return None;
    }
    Some(format!(" at line {line}, character {column}: {quoted:?}"))
}

/// The columns of each table and view.
type Names = BTreeMap<String, Vec<String>>;

fn names(connection: &Connection) -> rusqlite::Result<Names> {
    let mut statement = connection.prepare(
        "SELECT s.name, c.name FROM sqlite_schema AS s, pragma_table_info(s.name) AS c \
         WHERE s.type IN ('table', 'view') AND s.name NOT LIKE 'sqlite~_%' ESCAPE '~' \
         ORDER BY s.name, c.cid",
    )?;
    let mut names = Names::new();
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        names.entry(row.get(0)?).or_default().push(row.get(1)?);
    }
    Ok(names)
}

fn hint(said: &str, names: &Names) -> Option<String> {
    if let Some(table) = said.strip_prefix("no such table: ") {
        let table = table.rsplit('.').next().unwrap_or(table);
        return Some(match nearest(table, names.keys().map(String::as_str)) {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!("the tables are {}", listed(names.keys())),
        });
    }
    if let Some(column) = said.strip_prefix("no such column: ") {
        return Some(column_hint(column, names));
    }
    if let Some(column) = said.strip_prefix("ambiguous column name: ") {
        let having = having(column, names);
        return Some(format!("write which table: {} have it", listed(having.iter())));
    }
    if let Some(function) = said.strip_prefix("no such function: ") {
        let (_, ours) =
            FUNCTIONS.iter().find(|(name, _)| name.eq_ignore_ascii_case(function))?;
        return Some(format!("here it is {ours}"));
    }
    let word = said.strip_prefix("near \"")?.split('"').next()?;
    let near = nearest(word, KEYWORDS.into_iter())?;
    (!near.eq_ignore_ascii_case(word)).then(|| format!("did you mean {near}?"))
}

fn column_hint(column: &str, names: &Names) -> String {
    // SQLite adds a remark about string literals to some of these.
    let column = column.split(" - ").next().unwrap_or(column);
    let bare = column.rsplit('.').next().unwrap_or(column).trim_matches('"');
    let having = having(bare, names);
    if !having.is_empty() {
        let tables = listed(having.iter());
        return format!(
            "a column of that name is in {tables}: is the table in FROM, and is the alias right?"
        );
    }
    let columns = names.values().flatten().map(String::as_str);
    match nearest(bare, columns) {
        Some(near) => {
            let tables = having_exactly(near, names);
            format!("did you mean {near:?}, of {}?", listed(tables.iter()))
        }
        None => format!(
            "the tables are {}; describe one to see its columns",
            listed(names.keys())
        ),
    }
}

fn having<'n>(column: &str, names: &'n Names) -> Vec<&'n String> {
    let has =
        |columns: &Vec<String>| columns.iter().any(|c| c.eq_ignore_ascii_case(column));
    names.iter().filter(|(_, columns)| has(columns)).map(|(table, _)| table).collect()
}

fn having_exactly<'n>(column: &str, names: &'n Names) -> Vec<&'n String> {
    let has = |columns: &Vec<String>| columns.iter().any(|c| c == column);
    names.iter().filter(|(_, columns)| has(columns)).map(|(table, _)| table).collect()
}

fn listed<T: AsRef<str>>(names: impl Iterator<Item = T>) -> String {
    let mut names: Vec<String> = names.map(|name| name.as_ref().to_owned()).collect();
    let more = names.len().saturating_sub(LISTED_MAX);
    names.truncate(LISTED_MAX);
    if more > 0 {
        names.push(format!("{more} more"));
    }
    names.join(", ")
}

/// The nearest of some names, if any is near; the first of equally near ones.
pub(crate) fn nearest<'n>(
    wanted: &str,
    names: impl Iterator<Item = &'n str>,
) -> Option<&'n str> {
    let wanted = wanted.to_lowercase();
    let far = |name: &str| {
        let name = name.to_lowercase();
        let length = name.chars().count().max(wanted.chars().count()).max(1);
        strsim::damerau_levenshtein(&wanted, &name) as f64 / length as f64
    };
    let measured = names.map(|name| (far(name), name));
    let (distance, name) = measured.min_by(|one, two| one.0.total_cmp(&two.0))?;
    (distance <= DISTANCE_MAX).then_some(name)
}
