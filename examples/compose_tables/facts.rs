//! What stands in `facts/*.toml`: a table's columns and the tasks about it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, ensure};
use serde::Deserialize;

use crate::pipeline::{Ask, Operation};

/// One table and the tasks about it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TableFacts {
    /// One sentence for readers of the file.
    #[expect(dead_code, reason = "read so that a table without it is refused")]
    about: String,
    /// Rows before duplication; a listed column says so by its values instead.
    #[serde(default)]
    rows: usize,
    /// Rows that are written a second time, further down.
    pub(crate) duplicates: usize,
    pub(crate) columns: Vec<Column>,
    pub(crate) tasks: Vec<TaskFacts>,
}

/// A column: what it holds, and how carelessly that is written. Shares are 0 to 1.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) holds: Holds,
    /// Others are drawn from it, but it is not written.
    #[serde(default)]
    pub(crate) hidden: bool,
    /// Share of cells that are missing.
    #[serde(default)]
    pub(crate) missing: f64,
    /// How a missing cell is written.
    #[serde(default = "empty")]
    pub(crate) missing_as: Vec<String>,
    /// Share of cells in capitals or without any.
    #[serde(default)]
    pub(crate) case: f64,
    /// Share of cells with stray spaces around them.
    #[serde(default)]
    pub(crate) spaces: f64,
    #[serde(default)]
    pub(crate) write: Writing,
}

/// What a column holds.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Holds {
    /// A prefix and the row's number.
    Serial {
        prefix: String,
    },
    /// These, in this order: the table has as many rows.
    Listed {
        values: Vec<String>,
    },
    /// These in turn.
    Cycle {
        values: Vec<String>,
    },
    /// One of these, by weight.
    Choice {
        values: BTreeMap<String, u32>,
    },
    /// A cell of another table's column, or with `unlisted_share` something it lacks.
    Reference {
        table: String,
        column: String,
        unlisted: Vec<String>,
        unlisted_share: f64,
    },
    Number(NumberFacts),
    /// A date from `from` on: drawn from so many `days`, or one day later `every` so many
    /// rows. Written in one of these formats, by weight.
    Date {
        from: String,
        #[serde(default)]
        days: u32,
        #[serde(default)]
        every: usize,
        formats: BTreeMap<String, u32>,
    },
    /// A date so many days after another column's; both columns stand further up.
    DateAfter {
        of: String,
        days: String,
    },
}

/// A number: `base`, what other columns of the row add, and noise.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NumberFacts {
    pub(crate) base: f64,
    /// Standard deviation of the noise.
    pub(crate) spread: f64,
    /// Added times the square of the noise: a long tail upwards.
    #[serde(default)]
    pub(crate) skew: f64,
    /// Added for each unit of another number of the row.
    #[serde(default)]
    pub(crate) along: BTreeMap<String, f64>,
    /// Added where another column of the row holds a value.
    #[serde(default)]
    pub(crate) effects: BTreeMap<String, BTreeMap<String, f64>>,
    pub(crate) min: Option<f64>,
    pub(crate) max: Option<f64>,
    pub(crate) decimals: usize,
    /// A share of cells is so many times too large.
    pub(crate) outliers: Option<Outliers>,
    /// A share of cells is written as this value, which means that there is none.
    pub(crate) sentinel: Option<Sentinel>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Outliers {
    pub(crate) share: f64,
    pub(crate) factor: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sentinel {
    pub(crate) share: f64,
    pub(crate) value: f64,
}

/// How a number is written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Writing {
    /// Commas between thousands.
    pub(crate) thousands: bool,
    pub(crate) prefix: String,
    pub(crate) unit: String,
    /// A share of cells stands in another unit.
    pub(crate) other: Option<OtherUnit>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OtherUnit {
    pub(crate) unit: String,
    /// How many of it make one of the first.
    pub(crate) factor: f64,
    pub(crate) share: f64,
}

/// A task: its words, how its gold is computed, and how somebody would solve it in Python.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TaskFacts {
    pub(crate) id: String,
    pub(crate) family: String,
    pub(crate) difficulty: Difficulty,
    /// The tables it needs besides its own.
    #[serde(default)]
    pub(crate) files: Vec<String>,
    pub(crate) prompt: String,
    pub(crate) gold: Vec<Operation>,
    pub(crate) answers: Vec<Ask>,
    /// Cells of code, after one that reads each file into a frame of the file's name.
    pub(crate) solution: Vec<String>,
}

#[derive(Clone, Copy, Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Difficulty {
    Easy,
    Medium,
    Hard,
}

fn empty() -> Vec<String> {
    vec![String::new()]
}

/// Reads every `*.toml` in a folder, by the name of its table.
pub(crate) fn read(folder: &Path) -> anyhow::Result<BTreeMap<String, TableFacts>> {
    let listing = std::fs::read_dir(folder)
        .with_context(|| format!("cannot list {}", folder.display()))?;
    let mut tables = BTreeMap::new();
    for file in listing {
        let path = file?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        let Some(name) = name.strip_suffix(".toml") else { continue };
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let table: TableFacts =
            toml::from_str(&text).with_context(|| path.display().to_string())?;
        ensure!(table.row_count() > 0, "{}: no rows", path.display());
        tables.insert(name.to_owned(), table);
    }
    Ok(tables)
}

impl TableFacts {
    /// Rows before duplication.
    pub(crate) fn row_count(&self) -> usize {
        let listed = self.columns.iter().find_map(|column| match &column.holds {
            Holds::Listed { values } => Some(values.len()),
            _ => None,
        });
        listed.unwrap_or(self.rows)
    }
}
