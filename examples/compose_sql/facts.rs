//! Reads the facts of each database and writes them as a script.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use plumbline::Digest;
use serde::Deserialize;
use toml::Value;

/// Rows of one INSERT, so that a changed fact changes few lines.
const ROWS_AT_ONCE: usize = 50;

/// A database's facts.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Facts {
    /// What the database is about: the script's first line.
    about: String,
    table: Vec<Table>,
}

/// A table: rows as they are, or events filled in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    name: String,
    /// Its `CREATE TABLE`.
    sql: String,
    #[serde(default)]
    rows: Vec<Vec<Value>>,
    fill: Option<Fill>,
}

/// Rows made by digest: the first column counts from 1, the others are as told.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fill {
    rows: usize,
    columns: Vec<Column>,
}

/// How the values of a column are chosen. Exactly one of `of`, `from`, `after`, `one` and
/// `least` is given.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Column {
    /// A value of `table.column`, among the first `until` of them.
    of: Option<String>,
    until: Option<usize>,
    /// A day, at most `days` after this one.
    from: Option<String>,
    /// A day, at most `days` after that in the column of this index (the first is 0).
    after: Option<usize>,
    days: Option<u64>,
    /// One of these texts; `NULL` is none.
    one: Option<Vec<String>>,
    /// A number, from `least` to `most`, with so many decimals; without, a whole number.
    least: Option<f64>,
    most: Option<f64>,
    decimals: Option<u32>,
    /// The share of rows without a value.
    #[serde(default)]
    null: f64,
}

/// The script of every database, by name.
pub(crate) fn scripts(dir: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let mut scripts = BTreeMap::new();
    for entry in std::fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let at = || path.display().to_string();
        let name = path.file_stem().and_then(|stem| stem.to_str()).with_context(at)?;
        let text = std::fs::read_to_string(&path).with_context(at)?;
        let facts: Facts = toml::from_str(&text).with_context(at)?;
        scripts.insert(name.to_owned(), script(name, &facts).with_context(at)?);
    }
    ensure!(!scripts.is_empty(), "{}: no facts", dir.display());
    Ok(scripts)
}

fn script(name: &str, facts: &Facts) -> anyhow::Result<String> {
    let mut script = format!(
        "-- {}.\n-- Composed by examples/compose_sql from facts/{name}.toml.\n",
        facts.about
    );
    let mut made: BTreeMap<&str, Vec<Vec<String>>> = BTreeMap::new();
    for table in &facts.table {
        let rows = match &table.fill {
            None => {
                table.rows.iter().map(|row| row.iter().map(literal).collect()).collect()
            }
            Some(fill) => filled(name, table, fill, &made, facts)?,
        };
        ensure!(!rows.is_empty(), "table {}: neither rows nor fill", table.name);
        let width = rows[0].len();
        if let Some(row) = rows.iter().find(|row| row.len() != width) {
            bail!("table {}: the row {row:?} has not {width} values", table.name);
        }
        let _ = write!(script, "\n{};\n", table.sql);
        for rows in rows.chunks(ROWS_AT_ONCE) {
            let rows: Vec<String> =
                rows.iter().map(|row| format!("({})", row.join(", "))).collect();
            let _ = write!(
                script,
                "INSERT INTO {} VALUES\n{};\n",
                table.name,
                rows.join(",\n")
            );
        }
        made.insert(&table.name, rows);
    }
    Ok(script)
}

fn literal(value: &Value) -> String {
    match value {
        Value::String(text) if text == "NULL" => "NULL".to_owned(),
        Value::String(text) => format!("'{}'", text.replace('\'', "''")),
        Value::Float(number) => format!("{number:?}"),
        other => other.to_string(),
    }
}

fn filled(
    database: &str,
    table: &Table,
    fill: &Fill,
    made: &BTreeMap<&str, Vec<Vec<String>>>,
    facts: &Facts,
) -> anyhow::Result<Vec<Vec<String>>> {
    let mut rows = Vec::with_capacity(fill.rows);
    for number in 1..=fill.rows {
        let mut row = vec![number.to_string()];
        for (index, column) in fill.columns.iter().enumerate() {
            let draw = |what: &str| {
                let name = format!("{database} {} {number} {index} {what}", table.name);
                Digest::of(name.as_bytes()).to_u64()
            };
            let value = column
                .value(&row, &draw, made, facts)
                .with_context(|| format!("table {}, column {}", table.name, index + 1))?;
            row.push(value);
        }
        rows.push(row);
    }
    Ok(rows)
}

impl Column {
    fn value(
        &self,
        row: &[String],
        draw: &dyn Fn(&str) -> u64,
        made: &BTreeMap<&str, Vec<Vec<String>>>,
        facts: &Facts,
    ) -> anyhow::Result<String> {
        if (draw("null") % 10_000) as f64 / 10_000.0 < self.null {
            return Ok("NULL".to_owned());
        }
        let drawn = draw("value");
        if let Some(of) = &self.of {
            let (table, column) = of.split_once('.').context("`of` is TABLE.COLUMN")?;
            let rows =
                made.get(table).with_context(|| format!("no table {table} yet"))?;
            let place = place(facts, table, column)?;
            let among = self.until.unwrap_or(rows.len()).min(rows.len()) as u64;
            return Ok(rows[usize::try_from(drawn % among)?][place].clone());
        }
        if let Some(texts) = &self.one {
            let text = &texts[usize::try_from(drawn % texts.len() as u64)?];
            return Ok(literal(&Value::String(text.clone())));
        }
        if let Some(least) = self.least {
            let most = self.most.context("`least` needs `most`")?;
            let scale = 10f64.powi(i32::try_from(self.decimals.unwrap_or(0))?);
            let count = ((most - least) * scale) as u64 + 1;
            let number = ((least * scale).round() + (drawn % count) as f64) / scale;
            return Ok(match self.decimals {
                None => format!("{number}"),
                Some(_) => format!("{number:?}"),
            });
        }
        let days = self.days.context("a day needs `days`")?;
        let first = match (&self.from, self.after) {
            (Some(day), None) => day.clone(),
            (None, Some(index)) => row
                .get(index)
                .context("`after` is an earlier column")?
                .trim_matches('\'')
                .into(),
            _ => bail!("give one of `of`, `from`, `after`, `one` and `least`"),
        };
        let day = days_of(&first)? + i64::try_from(drawn % (days + 1))?;
        Ok(format!("'{}'", date_of(day)))
    }
}

/// Which value of a table's rows is that of a column.
fn place(facts: &Facts, table: &str, column: &str) -> anyhow::Result<usize> {
    let sql = &facts.table.iter().find(|t| t.name == table).context("no such table")?.sql;
    let columns = sql.split_once('(').context("a CREATE TABLE")?.1.split(", ");
    let mut names = columns.map(|words| words.split(' ').next().unwrap_or(""));
    names.position(|name| name == column).with_context(|| format!("no column {column}"))
}

/// Days since 1970-01-01, after Howard Hinnant's `days_from_civil`.
fn days_of(date: &str) -> anyhow::Result<i64> {
    let mut parts = date.split('-').map(str::parse::<i64>);
    let (Some(Ok(year)), Some(Ok(month)), Some(Ok(day)), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        bail!("{date:?} is no day");
    };
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Ok(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

/// The inverse: Howard Hinnant's `civil_from_days`.
fn date_of(days: i64) -> String {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}
