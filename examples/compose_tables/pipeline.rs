//! The steps by which a task's gold is computed from the tables as they are written.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use toml::Value;

use crate::measure;
use crate::table::{Cell, Table};

/// A step on a table.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Operation {
    /// Begins with a table.
    Read(String),
    /// Remembers how many rows there are, under a name.
    Count(String),
    /// Keeps the first row of those alike in these columns; in every column if none is named.
    Distinct(Vec<String>),
    /// Takes the texts of a column for numbers.
    Number {
        column: String,
        /// What one of each unit counts.
        #[serde(default)]
        units: BTreeMap<String, f64>,
    },
    /// Takes stray spaces and careless capitals out of a column.
    Tidy(String),
    /// Takes the texts of a column for dates.
    Date(String),
    /// Keeps the rows in which nothing of these columns is missing.
    Present(Vec<String>),
    Where(Condition),
    Derive(Derivation),
    /// Joins with another table on a column: rows without a partner drop out.
    Join {
        with: Vec<Operation>,
        on: String,
    },
    /// Keeps the rows that have no partner in another table.
    Lacking {
        with: Vec<Operation>,
        on: String,
    },
    /// One row for each value of some columns, with one column measured.
    Group {
        by: Vec<String>,
        of: String,
        take: Take,
    },
    /// Sorts by a column; what is missing comes last.
    Sort {
        by: String,
        #[serde(default)]
        descending: bool,
    },
}

/// Which rows to keep: exactly one of the bounds is given.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Condition {
    column: String,
    is: Option<Value>,
    above: Option<Value>,
    below: Option<Value>,
    at_least: Option<Value>,
    at_most: Option<Value>,
    /// Another column of the row.
    same_as: Option<String>,
}

/// A new column.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Derivation {
    name: String,
    from: String,
    by: By,
    other: Option<String>,
    than: Option<f64>,
}

/// How a column is derived; 1 and 0 stand for yes and no.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum By {
    /// `2023-05`.
    Month,
    /// The Monday of the week.
    Monday,
    /// Its English name.
    Weekday,
    /// Both texts with a space between.
    Paste,
    DaysSince,
    Above,
    Times,
    Over,
    Absolute,
    /// With the mean and the sample standard deviation of the column.
    ZScore,
    /// Beyond 1.5 interquartile ranges.
    IqrOutlier,
}

/// What an answer or a group measures.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Take {
    Rows,
    /// Rows that repeat an earlier one in every column.
    Repeated,
    /// Rows dropped since a `count`.
    DroppedSince,
    Missing,
    PercentMissing,
    Distinct,
    CountOf,
    PercentOf,
    Cell,
    Sum,
    Mean,
    Median,
    Std,
    Min,
    Max,
    Range,
    Quantile,
    Pearson,
    /// `of` on `with`.
    Slope,
    Intercept,
    RSquared,
    WelchT,
    WelchP,
    /// `yes` if the p-value is below `at`.
    WelchDiffers,
}

/// One named value of an answer.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ask {
    pub(crate) name: String,
    take: Take,
    #[serde(default)]
    of: String,
    with: Option<String>,
    /// The quantile, or the level of a test.
    #[serde(default)]
    at: f64,
    #[serde(default)]
    row: usize,
    value: Option<String>,
    /// Only rows in which this column holds `is`.
    only: Option<String>,
    is: Option<Value>,
    /// The two values of `with` that a test compares.
    #[serde(default)]
    groups: Vec<String>,
    decimals: Option<usize>,
}

/// How near a rounding may come to a tie before the answer hangs on it.
const TIE: f64 = 1e-6;

/// Carries out the steps of a gold.
pub(crate) fn evaluate(
    tables: &BTreeMap<String, Table>,
    operations: &[Operation],
) -> anyhow::Result<Table> {
    let mut table = Table::default();
    for (index, operation) in operations.iter().enumerate() {
        table = operation
            .apply(tables, table)
            .with_context(|| format!("step {} of the gold", index + 1))?;
    }
    Ok(table)
}

impl Operation {
    fn apply(
        &self,
        tables: &BTreeMap<String, Table>,
        mut table: Table,
    ) -> anyhow::Result<Table> {
        match self {
            Operation::Read(name) => {
                return tables.get(name).cloned().with_context(|| format!("no {name}"));
            }
            Operation::Count(name) => {
                table.counts.insert(name.clone(), table.rows.len());
            }
            Operation::Distinct(columns) => {
                let columns = indices(&table, columns)?;
                let mut seen = BTreeSet::new();
                table.rows.retain(|row| seen.insert(key(row, &columns)));
            }
            Operation::Number { column, units } => {
                change(&mut table, column, |cell| cell.number(units))?;
            }
            Operation::Tidy(column) => {
                change(&mut table, column, |cell| Ok(cell.tidied()))?;
            }
            Operation::Date(column) => change(&mut table, column, Cell::date)?,
            Operation::Present(columns) => {
                let columns = indices(&table, columns)?;
                table.rows.retain(|row| columns.iter().all(|c| row[*c] != Cell::Missing));
            }
            Operation::Where(condition) => {
                let column = table.column(&condition.column)?;
                let keeps: Vec<bool> = table
                    .rows
                    .iter()
                    .map(|row| condition.holds(&table, row, &row[column]))
                    .collect::<anyhow::Result<_>>()?;
                let mut keeps = keeps.into_iter();
                table.rows.retain(|_| keeps.next() == Some(true));
            }
            Operation::Derive(derivation) => derivation.apply(&mut table)?,
            Operation::Join { with, on } => {
                return join(&table, &evaluate(tables, with)?, on);
            }
            Operation::Lacking { with, on } => {
                let other = evaluate(tables, with)?;
                let (here, there) = (table.column(on)?, other.column(on)?);
                let known: BTreeSet<String> =
                    other.rows.iter().map(|row| row[there].to_string()).collect();
                table.rows.retain(|row| !known.contains(&row[here].to_string()));
            }
            Operation::Group { by, of, take } => return group(&table, by, of, *take),
            Operation::Sort { by, descending } => {
                let column = table.column(by)?;
                table.rows.sort_by(|one, two| {
                    let number = |row: &[Cell]| match &row[column] {
                        Cell::Number(number) => Some(*number),
                        _ => None,
                    };
                    match (number(one), number(two)) {
                        (Some(one), Some(two)) if *descending => two.total_cmp(&one),
                        (Some(one), Some(two)) => one.total_cmp(&two),
                        (one, two) => one.is_none().cmp(&two.is_none()),
                    }
                });
                table.sorted_by = Some(column);
            }
        }
        Ok(table)
    }
}

fn indices(table: &Table, columns: &[String]) -> anyhow::Result<Vec<usize>> {
    if columns.is_empty() {
        return Ok((0..table.columns.len()).collect());
    }
    columns.iter().map(|column| table.column(column)).collect()
}

fn key(row: &[Cell], columns: &[usize]) -> Vec<String> {
    columns.iter().map(|column| row[*column].to_string()).collect()
}

fn change(
    table: &mut Table,
    column: &str,
    by: impl Fn(&Cell) -> anyhow::Result<Cell>,
) -> anyhow::Result<()> {
    let index = table.column(column)?;
    for row in &mut table.rows {
        row[index] = by(&row[index]).with_context(|| format!("column {column}"))?;
    }
    Ok(())
}

fn join(table: &Table, other: &Table, on: &str) -> anyhow::Result<Table> {
    let (here, there) = (table.column(on)?, other.column(on)?);
    let others = (0..other.columns.len()).filter(|column| *column != there);
    let others: Vec<usize> = others.collect();
    let mut columns = table.columns.clone();
    columns.extend(others.iter().map(|column| other.columns[*column].clone()));
    let mut rows = Vec::new();
    for row in &table.rows {
        for partner in other.rows.iter().filter(|partner| partner[there] == row[here]) {
            let more = others.iter().map(|column| partner[*column].clone());
            rows.push(row.iter().cloned().chain(more).collect());
        }
    }
    Ok(Table { columns, rows, ..Table::default() })
}

fn group(table: &Table, by: &[String], of: &str, take: Take) -> anyhow::Result<Table> {
    let (by_columns, of_column) = (indices(table, by)?, table.column(of)?);
    let mut groups: BTreeMap<Vec<String>, Vec<&Vec<Cell>>> = BTreeMap::new();
    for row in &table.rows {
        groups.entry(key(row, &by_columns)).or_default().push(row);
    }
    let mut rows = Vec::with_capacity(groups.len());
    for members in groups.values() {
        let numbers = || numbers(members.iter().map(|row| &row[of_column]));
        let measured = match take {
            Take::Rows => members.len() as f64,
            Take::Sum => numbers()?.iter().sum(),
            Take::Mean => measure::mean(&numbers()?),
            take => bail!("a group takes rows, sum or mean, not {take:?}"),
        };
        let mut row: Vec<Cell> =
            by_columns.iter().map(|column| members[0][*column].clone()).collect();
        row.push(Cell::Number(measured));
        rows.push(row);
    }
    let columns = by.iter().cloned().chain([of.to_owned()]).collect();
    Ok(Table { columns, rows, ..Table::default() })
}

/// The numbers of some cells, and the days of dates; what is missing is left out.
fn numbers<'c>(cells: impl Iterator<Item = &'c Cell>) -> anyhow::Result<Vec<f64>> {
    let mut numbers = Vec::new();
    for cell in cells {
        match cell {
            Cell::Number(number) => numbers.push(*number),
            Cell::Date(day) => numbers.push(day.0 as f64),
            Cell::Missing => {}
            Cell::Text(text) => bail!("{text:?} is not yet a number"),
        }
    }
    Ok(numbers)
}

/// A bound as a cell of the same sort as another.
fn like(bound: &Value, cell: &Cell) -> anyhow::Result<Cell> {
    Ok(match (bound, cell) {
        (Value::String(text), Cell::Date(_)) => Cell::Text(text.clone()).date()?,
        (Value::String(text), _) => Cell::Text(text.clone()),
        (Value::Float(number), _) => Cell::Number(*number),
        (Value::Integer(number), _) => Cell::Number(*number as f64),
        (other, _) => bail!("{other} is no bound"),
    })
}

impl Condition {
    fn holds(&self, table: &Table, row: &[Cell], cell: &Cell) -> anyhow::Result<bool> {
        use std::cmp::Ordering::{Equal, Greater, Less};
        if let Some(other) = &self.same_as {
            return Ok(*cell == row[table.column(other)?]);
        }
        let bounds = [
            (&self.is, &[Equal][..]),
            (&self.above, &[Greater]),
            (&self.below, &[Less]),
            (&self.at_least, &[Greater, Equal]),
            (&self.at_most, &[Less, Equal]),
        ];
        let mut given = bounds
            .iter()
            .filter_map(|(bound, allowed)| bound.as_ref().map(|bound| (bound, allowed)));
        let (Some((bound, allowed)), None) = (given.next(), given.next()) else {
            bail!("a condition has one bound");
        };
        if *cell == Cell::Missing {
            return Ok(false);
        }
        let ordering = match (cell, like(bound, cell)?) {
            (Cell::Number(one), Cell::Number(two)) => one.total_cmp(&two),
            (Cell::Date(one), Cell::Date(two)) => one.cmp(&two),
            (Cell::Text(one), Cell::Text(two)) => one.cmp(&two),
            (cell, bound) => bail!("{cell:?} cannot be held against {bound:?}"),
        };
        Ok(allowed.contains(&ordering))
    }
}

impl Derivation {
    fn apply(&self, table: &mut Table) -> anyhow::Result<()> {
        let from = table.column(&self.from)?;
        let other = self.other.as_deref().map(|other| table.column(other)).transpose()?;
        let all = match self.by {
            By::ZScore | By::IqrOutlier => numbers(table.rows.iter().map(|r| &r[from]))?,
            _ => vec![],
        };
        let cells: Vec<Cell> = table
            .rows
            .iter()
            .map(|row| self.cell(&row[from], other.map(|other| &row[other]), &all))
            .collect::<anyhow::Result<_>>()?;
        table.columns.push(self.name.clone());
        for (row, cell) in table.rows.iter_mut().zip(cells) {
            row.push(cell);
        }
        Ok(())
    }

    fn cell(
        &self,
        from: &Cell,
        other: Option<&Cell>,
        all: &[f64],
    ) -> anyhow::Result<Cell> {
        let than = || self.than.context("\"than\" is missing");
        let yes = |yes: bool| Ok(Cell::Number(f64::from(u8::from(yes))));
        Ok(match (self.by, from, other) {
            (By::Above | By::IqrOutlier, Cell::Missing, _) => return yes(false),
            (_, Cell::Missing, _) | (_, _, Some(Cell::Missing)) => Cell::Missing,
            (By::Month, Cell::Date(day), _) => Cell::Text(day.written("%Y-%m")),
            (By::Monday, Cell::Date(day), _) => Cell::Date(day.monday()),
            (By::Weekday, Cell::Date(day), _) => {
                Cell::Text(day.weekday_name().to_owned())
            }
            (By::Paste, from, Some(other)) => Cell::Text(format!("{from} {other}")),
            (By::DaysSince, Cell::Date(day), Some(Cell::Date(since))) => {
                Cell::Number((day.0 - since.0) as f64)
            }
            (By::Above, Cell::Number(number), _) => return yes(*number > than()?),
            (By::Times, Cell::Number(number), _) => Cell::Number(number * than()?),
            (By::Over, Cell::Number(number), Some(Cell::Number(other))) => {
                Cell::Number(number / other)
            }
            (By::Absolute, Cell::Number(number), _) => Cell::Number(number.abs()),
            (By::ZScore, Cell::Number(number), _) => {
                Cell::Number((number - measure::mean(all)) / measure::std(all))
            }
            (By::IqrOutlier, Cell::Number(number), _) => {
                let (low, high) = measure::iqr_fence(all);
                return yes(*number < low || *number > high);
            }
            (_, from, other) => {
                bail!("{}: cannot be made of {from:?}, {other:?}", self.name)
            }
        })
    }
}

impl Ask {
    /// The value as it stands in the answer.
    pub(crate) fn answer(&self, table: &Table) -> anyhow::Result<String> {
        let value = self.value(table).with_context(|| format!("@{}", self.name))?;
        let Cell::Number(number) = value else { return Ok(value.to_string()) };
        let decimals = self
            .decimals
            .with_context(|| format!("@{} is a number: give its decimals", self.name))?;
        ensure!(number.is_finite(), "@{} is {number}", self.name);
        let scaled = number.abs() * 10f64.powi(i32::try_from(decimals)?);
        let to_tie = (scaled - scaled.floor() - 0.5).abs();
        ensure!(to_tie > TIE, "@{} = {number} hangs on a rounding", self.name);
        Ok(format!("{number:.decimals$}"))
    }

    fn value(&self, table: &Table) -> anyhow::Result<Cell> {
        let rows = self.rows(table)?;
        let count = |count: usize| Ok(Cell::Number(count as f64));
        match self.take {
            Take::Rows => return count(rows.len()),
            Take::Repeated => {
                let all = indices(table, &[])?;
                let distinct: BTreeSet<_> =
                    rows.iter().map(|row| key(row, &all)).collect();
                return count(rows.len() - distinct.len());
            }
            Take::DroppedSince => {
                let before = table.counts.get(&self.of).context("no such count")?;
                return count(before - rows.len());
            }
            _ => {}
        }
        let of = table.column(&self.of)?;
        let cells = || rows.iter().map(|row| &row[of]);
        let missing = || cells().filter(|cell| **cell == Cell::Missing).count();
        let like_value = || -> anyhow::Result<usize> {
            let value = self.value.as_deref().context("\"value\" is missing")?;
            let found = cells().filter(|cell| cell.to_string() == value).count();
            ensure!(found > 0, "nothing is {value:?}");
            Ok(found)
        };
        let percent =
            |part: usize| Ok(Cell::Number(100.0 * part as f64 / rows.len() as f64));
        match self.take {
            Take::Missing => return count(missing()),
            Take::PercentMissing => return percent(missing()),
            Take::Distinct => {
                let distinct: BTreeSet<String> = cells().map(Cell::to_string).collect();
                return count(distinct.len());
            }
            Take::CountOf => return count(like_value()?),
            Take::PercentOf => return percent(like_value()?),
            Take::Cell => return self.cell(table, of),
            _ => {}
        }
        let (low, high) = (
            |v: &[f64]| measure::quantile(v, 0.0),
            |v: &[f64]| measure::quantile(v, 1.0),
        );
        let is_date = cells().any(|cell| matches!(cell, Cell::Date(_)));
        let dated = |number: f64| match is_date {
            true => Cell::Date(crate::table::Day(number as i64)),
            false => Cell::Number(number),
        };
        let single = || numbers(cells());
        Ok(match self.take {
            Take::Sum => Cell::Number(single()?.iter().sum()),
            Take::Mean => Cell::Number(measure::mean(&single()?)),
            Take::Median => Cell::Number(measure::quantile(&single()?, 0.5)),
            Take::Std => Cell::Number(measure::std(&single()?)),
            Take::Quantile => Cell::Number(measure::quantile(&single()?, self.at)),
            Take::Min => dated(low(&single()?)),
            Take::Max => dated(high(&single()?)),
            Take::Range => {
                let values = single()?;
                Cell::Number(high(&values) - low(&values))
            }
            _ => self.of_two(table, &rows, of)?,
        })
    }

    /// What is measured on two columns.
    fn of_two(
        &self,
        table: &Table,
        rows: &[&Vec<Cell>],
        of: usize,
    ) -> anyhow::Result<Cell> {
        let with = table.column(self.with.as_deref().context("\"with\" is missing")?)?;
        let pairs = || {
            let pair = |row: &&Vec<Cell>| match (&row[with], &row[of]) {
                (Cell::Number(with), Cell::Number(of)) => Some((*with, *of)),
                _ => None,
            };
            rows.iter().filter_map(pair).collect::<Vec<(f64, f64)>>()
        };
        let welch = || -> anyhow::Result<(f64, f64)> {
            let [one, two] = self.groups.as_slice() else {
                bail!("a test has two groups")
            };
            let group = |name: &str| {
                let rows = rows.iter().filter(|row| row[with].to_string() == name);
                numbers(rows.map(|row| &row[of]))
            };
            Ok(measure::welch(&group(one)?, &group(two)?))
        };
        Ok(Cell::Number(match self.take {
            Take::Pearson => measure::pearson(&pairs()),
            Take::Slope => measure::line(&pairs()).0,
            Take::Intercept => measure::line(&pairs()).1,
            Take::RSquared => measure::pearson(&pairs()).powi(2),
            Take::WelchT => welch()?.0,
            Take::WelchP => welch()?.1,
            Take::WelchDiffers => {
                let differs = welch()?.1 < self.at;
                return Ok(Cell::Text(if differs { "yes" } else { "no" }.to_owned()));
            }
            take => bail!("{take:?} measures no column"),
        }))
    }

    fn rows<'t>(&self, table: &'t Table) -> anyhow::Result<Vec<&'t Vec<Cell>>> {
        let (Some(only), Some(is)) = (&self.only, &self.is) else {
            return Ok(table.rows.iter().collect());
        };
        let column = table.column(only)?;
        let mut rows = Vec::new();
        for row in &table.rows {
            if row[column] == like(is, &row[column])? {
                rows.push(row);
            }
        }
        ensure!(!rows.is_empty(), "no row has {only} = {is}");
        Ok(rows)
    }

    /// A cell of a sorted table, unless another row could stand in its place.
    fn cell(&self, table: &Table, of: usize) -> anyhow::Result<Cell> {
        let row = table.rows.get(self.row).context("there is no such row")?;
        let by = table.sorted_by.context("the table is not sorted")?;
        let next = table.rows.get(self.row + 1);
        ensure!(
            next.is_none_or(|next| next[by] != row[by]),
            "row {} hangs on a tie in {}",
            self.row,
            table.columns[by]
        );
        Ok(row[of].clone())
    }
}
