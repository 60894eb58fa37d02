//! The tool `describe`: what there is in the task's database.

use std::fmt::Write as _;
use std::sync::Arc;

use async_trait::async_trait;
use plumbline::{Digest, Fault, Limits, Observation, Scratch, Tool, ToolError, ToolSpec};
use serde_json::{Value, json};

use crate::engine::{Engine, Waiting, broken, quoted};
use crate::explain::nearest;
use crate::statement::{Done, Failed, Guarded};
use crate::table::{Table, cell};

/// What the model calls the tool.
const NAME: &str = "describe";
/// Rows shown of a table.
const SAMPLE_ROWS: u32 = 3;
/// Values of a column shown, unless the call says otherwise, and at most.
const DISTINCT: u64 = 20;
const DISTINCT_MAX: u64 = 200;
/// Tables and views of one database that are described.
const TABLES_MAX: usize = 300;
/// With more tables than this the list of them leaves their columns out.
const DETAILED_MAX: usize = 40;

/// Tells of tables (columns with types, keys, row counts), of one table (the same and some
/// rows), or of one column (its range and its commonest values). Its data is
/// `{"database", "tables": […]}`, `{"table": …, "sample": …}` or `{"column", …, "values": …}`.
pub struct Describe {
    engine: Arc<Engine>,
    spec: ToolSpec,
}

impl Describe {
    /// The tool over these databases.
    pub fn new(engine: Arc<Engine>) -> Self {
        let spec = ToolSpec {
            name: NAME.to_owned(),
            description:
                "Describe the database: its tables; with `table` one table and some of \
                          its rows; with `column` too the values of that column."
                    .into(),
            parameters: json!({
                "type": "object",
                "properties": {
                    "table": { "type": "string", "description": "One table or view." },
                    "column": { "type": "string", "description": "One column of the table." },
                    "distinct": {
                        "type": "integer",
                        "minimum": 1,
                        "maximum": DISTINCT_MAX,
                        "description": format!(
                            "How many of the column's values to show. Usually {DISTINCT}."
                        ),
                    },
                },
                "additionalProperties": false,
            }),
            pinned: Digest::of_json(&(NAME, engine.pinned())),
        };
        Self { engine, spec }
    }
}

#[async_trait]
impl Tool for Describe {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(
        &self,
        args: &Value,
        scratch: &mut Scratch,
        limits: &Limits,
    ) -> Result<Observation, ToolError> {
        let failed = |message| ToolError::Engine { tool: NAME.to_owned(), message };
        let target = self.engine.target(scratch).map_err(failed)?;
        let asked = Asked {
            table: text(args, "table"),
            column: text(args, "column"),
            distinct: args.get("distinct").and_then(Value::as_u64),
        };
        let (engine, limits) = (Arc::clone(&self.engine), limits.clone());
        let waiting = Waiting::default();
        let cancelled = Arc::clone(&waiting.0);
        let look = move || {
            let name = target.name.clone();
            engine.look(&target, &limits, &cancelled, |guarded| {
                describe(guarded, &name, &asked)
            })
        };
        let seen = tokio::task::spawn_blocking(look).await;
        match seen.map_err(|error| failed(error.to_string()))? {
            Ok((text, data)) => Ok(Observation::Output { text, data }),
            Err(refused) => refused.observation().map_err(failed),
        }
    }
}

struct Asked {
    table: Option<String>,
    column: Option<String>,
    distinct: Option<u64>,
}

fn text(args: &Value, field: &str) -> Option<String> {
    args.get(field).and_then(Value::as_str).map(str::to_owned)
}

struct Relation {
    name: String,
    is_view: bool,
    columns: Vec<Column>,
}

struct Column {
    name: String,
    r#type: String,
    not_null: bool,
    /// Position in the primary key, from 1; 0 for none.
    key: i64,
    /// The `table.column` that it refers to.
    references: Option<String>,
}

fn describe(
    guarded: &Guarded<'_>,
    database: &str,
    asked: &Asked,
) -> Result<(String, Value), Failed> {
    guarded.meter.start(guarded.limits, guarded.cancelled);
    let relations = relations(guarded).map_err(broken)?;
    let Some(table) = &asked.table else {
        if let Some(column) = &asked.column {
            let having = |r: &&Relation| r.column(column).is_some();
            let having: Vec<&str> =
                relations.iter().filter(having).map(|r| r.name.as_str()).collect();
            let message = if having.is_empty() {
                format!(
                    "no table has a column {column:?}; give no arguments to see them all"
                )
            } else {
                format!(
                    "give the table of {column:?} too; it is in {}",
                    having.join(", ")
                )
            };
            return Err(Failed::Fault(Fault::BadArgs, message));
        }
        return all(guarded, database, &relations);
    };
    let same = |r: &&Relation| r.name.eq_ignore_ascii_case(table);
    let relation = relations.iter().find(same).ok_or_else(|| {
        let names = || relations.iter().map(|r| r.name.as_str());
        let hint = nearest(table, names()).map_or_else(
            || format!("there are: {}", names().collect::<Vec<_>>().join(", ")),
            |near| format!("did you mean {near:?}?"),
        );
        Failed::Fault(Fault::BadArgs, format!("there is no table {table:?}; {hint}"))
    })?;
    match &asked.column {
        None => one_table(guarded, relation),
        Some(column) => one_column(guarded, relation, column, asked.distinct),
    }
}

impl Relation {
    fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name))
    }

    fn line(&self) -> String {
        let columns: Vec<String> = self.columns.iter().map(Column::words).collect();
        let kind = if self.is_view { "view " } else { "" };
        format!("{kind}{}({})", self.name, columns.join(", "))
    }

    fn data(&self, rows: Option<i64>) -> Value {
        let columns: Vec<Value> = self.columns.iter().map(Column::data).collect();
        let kind = if self.is_view { "view" } else { "table" };
        json!({ "name": self.name, "type": kind, "columns": columns, "rows": rows })
    }
}

impl Column {
    fn words(&self) -> String {
        let mut words = self.name.clone();
        if !self.r#type.is_empty() {
            let _ = write!(words, " {}", self.r#type);
        }
        if self.key > 0 {
            words.push_str(" key");
        } else if self.not_null {
            words.push_str(" not null");
        }
        if let Some(references) = &self.references {
            let _ = write!(words, " -> {references}");
        }
        words
    }

    fn data(&self) -> Value {
        let key = (self.key > 0).then_some(self.key);
        json!({ "name": self.name, "type": self.r#type, "not_null": self.not_null, "key": key,
            "references": self.references })
    }
}

fn relations(guarded: &Guarded<'_>) -> rusqlite::Result<Vec<Relation>> {
    let connection = guarded.connection;
    let mut statement = connection.prepare(
        "SELECT name, type FROM sqlite_schema WHERE type IN ('table', 'view') \
         AND name NOT LIKE 'sqlite~_%' ESCAPE '~' ORDER BY name",
    )?;
    let named: Vec<(String, String)> = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .take(TABLES_MAX)
        .collect::<Result<_, _>>()?;
    let mut relations = Vec::with_capacity(named.len());
    for (name, kind) in named {
        let mut references: Vec<(String, String)> = Vec::new();
        let mut statement = connection.prepare(
            "SELECT \"from\", \"table\", \"to\" FROM pragma_foreign_key_list(?1)",
        )?;
        let mut rows = statement.query([&name])?;
        while let Some(row) = rows.next()? {
            let (from, table): (String, String) = (row.get(0)?, row.get(1)?);
            let to: Option<String> = row.get(2)?;
            let to = to.map_or(table.clone(), |to| format!("{table}.{to}"));
            references.push((from, to));
        }
        let mut statement = connection
            .prepare("SELECT name, type, \"notnull\", pk FROM pragma_table_info(?1)")?;
        let mut columns = Vec::new();
        let mut rows = statement.query([&name])?;
        while let Some(row) = rows.next()? {
            let column: String = row.get(0)?;
            let reference =
                references.iter().find(|(from, _)| from.eq_ignore_ascii_case(&column));
            columns.push(Column {
                references: reference.map(|(_, to)| to.clone()),
                name: column,
                r#type: row.get(1)?,
                not_null: row.get(2)?,
                key: row.get(3)?,
            });
        }
        relations.push(Relation { name, is_view: kind == "view", columns });
    }
    Ok(relations)
}

fn all(
    guarded: &Guarded<'_>,
    database: &str,
    relations: &[Relation],
) -> Result<(String, Value), Failed> {
    let noun = if relations.len() == 1 { "table" } else { "tables" };
    let mut text = format!("database {database}: {} {noun}", relations.len());
    let mut tables = Vec::with_capacity(relations.len());
    for relation in relations {
        let rows = count(guarded, relation)?;
        let shown = if relations.len() > DETAILED_MAX {
            relation.name.clone()
        } else {
            relation.line()
        };
        let _ = write!(text, "\n{shown} {}", rows_text(rows));
        tables.push(relation.data(rows));
    }
    Ok((text, json!({ "database": database, "tables": tables })))
}

fn one_table(
    guarded: &Guarded<'_>,
    relation: &Relation,
) -> Result<(String, Value), Failed> {
    let rows = count(guarded, relation)?;
    let query = format!("SELECT * FROM {} LIMIT {SAMPLE_ROWS}", quoted(&relation.name));
    let sample = table(guarded, &query)?;
    let mut text = format!("{} {}", relation.line(), rows_text(rows));
    if !sample.rows.is_empty() {
        let _ = write!(text, "\nfirst rows:\n{}", sample.text(SAMPLE_ROWS as usize));
    }
    let data = json!({ "table": relation.data(rows), "sample": sample.rows });
    Ok((text, data))
}

fn one_column(
    guarded: &Guarded<'_>,
    relation: &Relation,
    asked: &str,
    distinct: Option<u64>,
) -> Result<(String, Value), Failed> {
    let column = relation.column(asked).ok_or_else(|| {
        let names = || relation.columns.iter().map(|column| column.name.as_str());
        let hint = nearest(asked, names()).map_or_else(
            || format!("there are: {}", names().collect::<Vec<_>>().join(", ")),
            |near| format!("did you mean {near:?}?"),
        );
        let message = format!("{} has no column {asked:?}; {hint}", relation.name);
        Failed::Fault(Fault::BadArgs, message)
    })?;
    let (of, name) = (quoted(&relation.name), quoted(&column.name));
    let range = table(
        guarded,
        &format!(
            "SELECT count(*), count({name}), count(DISTINCT {name}), min({name}), max({name}) \
             FROM {of}"
        ),
    )?;
    let shown = distinct.unwrap_or(DISTINCT);
    let values = table(
        guarded,
        &format!(
            "SELECT {name}, count(*) FROM {of} WHERE {name} IS NOT NULL GROUP BY {name} \
             ORDER BY count(*) DESC, {name} LIMIT {shown}"
        ),
    )?;
    let [rows, filled, different, least, greatest] = range.rows[0].as_slice() else {
        return Err(Failed::Broken("five values were asked for".to_owned()));
    };
    let nulls = rows.as_i64().unwrap_or(0) - filled.as_i64().unwrap_or(0);
    let mut text = format!(
        "{}.{}: {rows} rows, {nulls} NULL, {different} distinct, from {} to {}",
        relation.name,
        column.words(),
        cell(least),
        cell(greatest)
    );
    for value in &values.rows {
        let [value, count] = value.as_slice() else { continue };
        let _ = write!(text, "\n{} ({count})", cell(value));
    }
    if different.as_u64().is_some_and(|different| different > shown) {
        text.push_str("\n…");
    }
    let data = json!({ "column": format!("{}.{}", relation.name, column.name), "rows": rows,
        "nulls": nulls, "distinct": different, "least": least, "greatest": greatest,
        "values": values.rows });
    Ok((text, data))
}

/// How many rows there are; `None` where a limit was met before all were counted, or a view
/// is broken.
fn count(guarded: &Guarded<'_>, relation: &Relation) -> Result<Option<i64>, Failed> {
    match table(guarded, &format!("SELECT count(*) FROM {}", quoted(&relation.name))) {
        Ok(counted) => Ok(counted.rows.first().and_then(|row| row.first()?.as_i64())),
        Err(Failed::Fault(..)) => Ok(None),
        Err(failed) => Err(failed),
    }
}

fn rows_text(rows: Option<i64>) -> String {
    match rows {
        Some(1) => "1 row".to_owned(),
        Some(rows) => format!("{rows} rows"),
        None => "too many rows to count".to_owned(),
    }
}

fn table(guarded: &Guarded<'_>, query: &str) -> Result<Table, Failed> {
    match guarded.run(query)? {
        Done::Table(table) => Ok(table),
        Done::Changed(_) => Err(Failed::Broken("a SELECT returned no table".to_owned())),
    }
}
