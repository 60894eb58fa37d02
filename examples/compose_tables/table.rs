//! Tables as they are written, and cells as they are meant.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, bail};

/// A table. Cells are texts until somebody reads them as something else.
#[derive(Clone, Default)]
pub(crate) struct Table {
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<Cell>>,
    /// Numbers of rows at some earlier point, by name.
    pub(crate) counts: BTreeMap<String, usize>,
    /// The column it was last sorted by.
    pub(crate) sorted_by: Option<usize>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell {
    Missing,
    Text(String),
    Number(f64),
    Date(Day),
}

/// A day of the Gregorian calendar, as the number of days since 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Day(pub(crate) i64);

/// Texts that mean nothing is there, of those that `read_csv` takes for missing.
const MISSING: [&str; 3] = ["", "n/a", "NA"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const WEEKDAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

impl Table {
    /// The index of a column.
    pub(crate) fn column(&self, name: &str) -> anyhow::Result<usize> {
        let found = self.columns.iter().position(|column| column == name);
        found.with_context(|| format!("no column {name:?} among {:?}", self.columns))
    }

    /// The table as CSV: cells with a comma or a quote are quoted.
    pub(crate) fn to_csv(&self) -> String {
        let quoted = |text: String| {
            if text.contains([',', '"', '\n']) {
                format!("\"{}\"", text.replace('"', "\"\""))
            } else {
                text
            }
        };
        let header = self.columns.iter().cloned().map(quoted).collect::<Vec<_>>();
        let mut csv = header.join(",") + "\n";
        for row in &self.rows {
            let cells: Vec<String> =
                row.iter().map(|cell| quoted(cell.to_string())).collect();
            csv.push_str(&(cells.join(",") + "\n"));
        }
        csv
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cell::Missing => Ok(()),
            Cell::Text(text) => f.write_str(text),
            Cell::Number(number) => write!(f, "{number}"),
            Cell::Date(day) => f.write_str(&day.written("%Y-%m-%d")),
        }
    }
}

impl Cell {
    /// A written cell, missing where `read_csv` takes it for that.
    pub(crate) fn written(text: &str) -> Self {
        if MISSING.contains(&text) { Cell::Missing } else { Cell::Text(text.to_owned()) }
    }

    /// The text without the spaces around it, each word with one capital.
    pub(crate) fn tidied(&self) -> Self {
        let Cell::Text(text) = self else { return self.clone() };
        let word = |word: &str| {
            let mut letters = word.chars();
            let first = letters.next().map(|c| c.to_uppercase().to_string());
            first.unwrap_or_default() + &letters.as_str().to_lowercase()
        };
        let words: Vec<String> = text.split_whitespace().map(word).collect();
        Cell::Text(words.join(" "))
    }

    /// The number that a text says, in the unit that counts 1. A text without a unit is the
    /// number itself.
    pub(crate) fn number(&self, units: &BTreeMap<String, f64>) -> anyhow::Result<Self> {
        let text = match self {
            Cell::Text(text) => text,
            Cell::Missing | Cell::Number(_) => return Ok(self.clone()),
            Cell::Date(_) => bail!("a date is no number"),
        };
        let digit = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | ',');
        let digits: String = text.chars().filter(|c| digit(*c) && *c != ',').collect();
        let unit: String = text.chars().filter(|c| !digit(*c)).collect();
        let factor = match unit.trim() {
            "" => 1.0,
            unit => {
                *units.get(unit).with_context(|| format!("no unit {unit:?}: {text}"))?
            }
        };
        let number: f64 =
            digits.parse().with_context(|| format!("no number: {text:?}"))?;
        Ok(Cell::Number(number * factor))
    }

    /// The date that a text says: `2023-05-09`, `09/05/2023` or `09 May 2023`.
    pub(crate) fn date(&self) -> anyhow::Result<Self> {
        let Cell::Text(text) = self else { return Ok(self.clone()) };
        let parts: Vec<&str> = text.split(['-', '/', ' ']).collect();
        let [one, two, three] = parts.as_slice() else { bail!("no date: {text:?}") };
        let (year, month, day) = match text.contains('-') {
            true => (one, two, three),
            false => (three, two, one),
        };
        let named = MONTHS.iter().position(|name| name == month);
        let month = match named {
            Some(index) => i64::try_from(index).expect("at most 11") + 1,
            None => month.parse()?,
        };
        Ok(Cell::Date(Day::of(year.parse()?, month, day.parse()?)))
    }
}

impl Day {
    /// A day by year, month and day of the month, both from 1.
    ///
    /// Days from civil, after Howard Hinnant's "chrono-Compatible Low-Level Date Algorithms".
    pub(crate) fn of(year: i64, month: i64, day: i64) -> Self {
        let year = if month <= 2 { year - 1 } else { year };
        let era = year.div_euclid(400);
        let of_era = year.rem_euclid(400);
        let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        Day(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
    }

    /// Year, month and day of the month: the inverse of [`of`](Self::of).
    fn civil(self) -> (i64, i64, i64) {
        let days = self.0 + 719_468;
        let era = days.div_euclid(146_097);
        let of_era = days.rem_euclid(146_097);
        let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let shifted = (5 * of_year + 2) / 153;
        let day = of_year - (153 * shifted + 2) / 5 + 1;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        (year + era * 400 + i64::from(month <= 2), month, day)
    }

    /// The Monday on or before it.
    pub(crate) fn monday(self) -> Self {
        Day(self.0 - self.weekday())
    }

    /// 0 is Monday; 1970-01-01 was a Thursday.
    fn weekday(self) -> i64 {
        (self.0 + 3).rem_euclid(7)
    }

    pub(crate) fn weekday_name(self) -> &'static str {
        WEEKDAYS[usize::try_from(self.weekday()).expect("0 to 6")]
    }

    /// Written in a format of `strftime`, of which `%Y %m %d %b` are known.
    pub(crate) fn written(self, format: &str) -> String {
        let (year, month, day) = self.civil();
        let name = MONTHS[usize::try_from(month - 1).expect("1 to 12")];
        format
            .replace("%Y", &format!("{year:04}"))
            .replace("%m", &format!("{month:02}"))
            .replace("%d", &format!("{day:02}"))
            .replace("%b", name)
    }
}
