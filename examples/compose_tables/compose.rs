//! Draws the rows of every table, and spoils them as its columns say.
//!
//! Whatever is drawn is a digest of what it is drawn for, so that a new column or a new row
//! changes no other. Noise is a sum of uniform draws: no function of the machine's
//! mathematics library has a say.

use std::collections::BTreeMap;

use anyhow::{Context, bail, ensure};
use plumbline::Digest;

use crate::facts::{Column, Holds, NumberFacts, TableFacts, Writing};
use crate::table::{Cell, Day, Table};

/// Every table, by name.
pub(crate) fn compose(
    facts: &BTreeMap<String, TableFacts>,
) -> anyhow::Result<BTreeMap<String, Table>> {
    let table = |(name, table): (&String, &TableFacts)| {
        let composed = compose_one(facts, name, table);
        Ok((name.clone(), composed.with_context(|| format!("{name}.toml"))?))
    };
    facts.iter().map(table).collect()
}

fn compose_one(
    facts: &BTreeMap<String, TableFacts>,
    name: &str,
    table: &TableFacts,
) -> anyhow::Result<Table> {
    let shown: Vec<bool> = table.columns.iter().map(|column| !column.hidden).collect();
    let mut rows = Vec::with_capacity(table.row_count() + table.duplicates);
    for index in 0..table.row_count() {
        let mut drawing = Drawing { facts, table: name, index, row: BTreeMap::new() };
        let mut written = Vec::new();
        for (column, shown) in table.columns.iter().zip(&shown) {
            let cell = drawing
                .cell(column)
                .with_context(|| format!("column {}", column.name))?;
            let text = drawing.spoil(column, &cell);
            drawing.row.insert(&column.name, cell);
            if *shown {
                written.push(Cell::written(&text));
                ensure!(
                    written.last() != Some(&Cell::Missing) || column.missing > 0.0,
                    "column {}: {text:?} would be read as missing",
                    column.name
                );
            }
        }
        rows.push(written);
    }
    for index in 0..table.duplicates {
        let draw = |of: &str| draw(&[name, "duplicate", of, &index.to_string()]);
        let row = rows[pick(draw("row"), table.row_count())].clone();
        rows.insert(pick(draw("place"), rows.len() + 1), row);
    }
    let columns = table.columns.iter().filter(|column| !column.hidden);
    let columns = columns.map(|column| column.name.clone()).collect();
    Ok(Table { columns, rows, ..Table::default() })
}

/// One row in the making.
struct Drawing<'f> {
    facts: &'f BTreeMap<String, TableFacts>,
    table: &'f str,
    index: usize,
    /// What was drawn so far, as it is meant.
    row: BTreeMap<&'f str, Cell>,
}

/// 64 bits that depend on all of these.
fn draw(of: &[&str]) -> u64 {
    let digest = Digest::of(of.join("\u{1f}").as_bytes()).to_string();
    u64::from_str_radix(&digest[..16], 16).expect("a digest is written in hexadecimal")
}

/// An index below `count`.
fn pick(draw: u64, count: usize) -> usize {
    let wide = u128::from(draw) * count as u128;
    usize::try_from(wide >> 64).expect("less than the count")
}

/// 0 to 1.
fn uniform(draw: u64) -> f64 {
    (draw >> 11) as f64 / (1u64 << 53) as f64
}

/// One of several, by weight.
fn weighted<'v>(draw: u64, values: &'v BTreeMap<String, u32>) -> &'v str {
    let total: u32 = values.values().sum();
    let mut at = pick(draw, total as usize);
    for (value, weight) in values {
        match at.checked_sub(*weight as usize) {
            Some(rest) => at = rest,
            None => return value,
        }
    }
    unreachable!("the weights add up to the total")
}

impl<'f> Drawing<'f> {
    fn draw(&self, column: &str, of: &str) -> u64 {
        draw(&[self.table, column, of, &self.index.to_string()])
    }

    /// Whether this row is one of a share.
    fn chance(&self, column: &str, of: &str, share: f64) -> bool {
        uniform(self.draw(column, of)) < share
    }

    fn cell(&self, column: &'f Column) -> anyhow::Result<Cell> {
        let draw = self.draw(&column.name, "value");
        Ok(match &column.holds {
            Holds::Serial { prefix } => {
                Cell::Text(format!("{prefix}{:04}", self.index + 1))
            }
            Holds::Listed { values } => Cell::Text(values[self.index].clone()),
            Holds::Cycle { values } => {
                Cell::Text(values[self.index % values.len()].clone())
            }
            Holds::Choice { values } => Cell::Text(weighted(draw, values).to_owned()),
            Holds::Reference { table, column: of, unlisted, unlisted_share } => {
                if self.chance(&column.name, "unlisted", *unlisted_share) {
                    Cell::Text(unlisted[pick(draw, unlisted.len())].clone())
                } else {
                    Cell::Text(self.referred(table, of, draw)?)
                }
            }
            Holds::Number(number) => Cell::Number(self.number(&column.name, number)?),
            Holds::Date { from, days, every, .. } => {
                let Cell::Date(from) = Cell::Text(from.clone()).date()? else {
                    bail!("\"from\" is no date")
                };
                let later = match every {
                    0 => pick(draw, *days as usize),
                    every => self.index / every,
                };
                Cell::Date(Day(from.0 + i64::try_from(later)?))
            }
            Holds::DateAfter { of, days } => {
                let Some(Cell::Date(from)) = self.row.get(of.as_str()) else {
                    bail!("{of:?} is no date further up")
                };
                Cell::Date(Day(from.0 + self.earlier(days)? as i64))
            }
        })
    }

    /// A cell of another table's listed column; the first are drawn more often than the last.
    fn referred(&self, table: &str, column: &str, draw: u64) -> anyhow::Result<String> {
        let columns = self.facts.get(table).map(|table| &table.columns);
        let found = columns.into_iter().flatten().find(|other| other.name == column);
        let Some(Holds::Listed { values }) = found.map(|column| &column.holds) else {
            bail!("{table}.{column} is no listed column")
        };
        let share = uniform(draw);
        let at = (share * share * values.len() as f64) as usize;
        Ok(values[at].clone())
    }

    /// A number of the row that stands further up.
    fn earlier(&self, column: &str) -> anyhow::Result<f64> {
        match self.row.get(column) {
            Some(Cell::Number(number)) => Ok(*number),
            _ => bail!("{column:?} is no number further up"),
        }
    }

    fn number(&self, column: &str, facts: &NumberFacts) -> anyhow::Result<f64> {
        let uniforms = (0..12).map(|i| uniform(self.draw(column, &format!("noise{i}"))));
        let noise: f64 = uniforms.sum::<f64>() - 6.0;
        let mut value = facts.base + facts.spread * noise + facts.skew * noise * noise;
        for (other, each) in &facts.along {
            value += each * self.earlier(other)?;
        }
        for (other, effects) in &facts.effects {
            let Some(Cell::Text(held)) = self.row.get(other.as_str()) else {
                bail!("{other:?} is no text further up")
            };
            value += effects.get(held).copied().unwrap_or(0.0);
        }
        if let Some(outliers) = &facts.outliers
            && self.chance(column, "outlier", outliers.share)
        {
            value *= outliers.factor;
        }
        value = value.max(facts.min.unwrap_or(value)).min(facts.max.unwrap_or(f64::MAX));
        if let Some(sentinel) = &facts.sentinel
            && self.chance(column, "sentinel", sentinel.share)
        {
            value = sentinel.value;
        }
        Ok(format!("{value:.*}", facts.decimals).parse()?)
    }

    /// The cell as it is written.
    fn spoil(&self, column: &Column, cell: &Cell) -> String {
        let name = &column.name;
        if self.chance(name, "missing", column.missing) {
            let draw = self.draw(name, "missing_as");
            return column.missing_as[pick(draw, column.missing_as.len())].clone();
        }
        let mut text = match (&column.holds, cell) {
            (Holds::Number(facts), Cell::Number(number)) => {
                self.write_number(name, *number, facts.decimals, &column.write)
            }
            (Holds::Date { formats, .. }, Cell::Date(day)) => {
                day.written(weighted(self.draw(name, "format"), formats))
            }
            (_, cell) => cell.to_string(),
        };
        if self.chance(name, "case", column.case) {
            let upper = self.draw(name, "upper") % 2 == 0;
            text = if upper { text.to_uppercase() } else { text.to_lowercase() };
        }
        if self.chance(name, "spaces", column.spaces) {
            text = match self.draw(name, "side") % 3 {
                0 => format!(" {text}"),
                1 => format!("{text} "),
                _ => format!(" {text}  "),
            };
        }
        text
    }

    fn write_number(
        &self,
        column: &str,
        number: f64,
        decimals: usize,
        writing: &Writing,
    ) -> String {
        let Writing { thousands, prefix, unit, other } = writing;
        let (number, decimals, unit) = match other {
            Some(other) if self.chance(column, "unit", other.share) => {
                // As many digits as the first unit shows, so that nothing is lost.
                let shift = other.factor.log10().round() as i64;
                let decimals = (i64::try_from(decimals).unwrap_or(0) - shift).max(0);
                (
                    number * other.factor,
                    usize::try_from(decimals).unwrap_or(0),
                    &other.unit,
                )
            }
            _ => (number, decimals, unit),
        };
        let mut digits = format!("{number:.decimals$}");
        if *thousands {
            let whole = digits.find('.').unwrap_or(digits.len());
            let first = usize::from(digits.starts_with('-'));
            let mut at = whole;
            while at > first + 3 {
                at -= 3;
                digits.insert(at, ',');
            }
        }
        format!("{prefix}{digits}{unit}")
    }
}
