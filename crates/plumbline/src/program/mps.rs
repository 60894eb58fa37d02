//! The MPS format, free and fixed: a reader.
//!
//! Sections ROWS, COLUMNS (with integer markers), RHS, RANGES, BOUNDS and OBJSENSE are read
//! as CPLEX documents them: an integer column without bounds is binary, a negative upper
//! bound on a column without a lower one removes the lower bound of zero, a right-hand side
//! of the objective is minus its constant. Fields are split at blanks; a file whose names
//! hold blanks is read by the fixed columns of the format instead.

use std::collections::BTreeMap;

use crate::program::{
    Column, Program, ProgramError, Row, Sense, Size, bound, merged, short,
};

/// Reads a program.
pub fn read(text: &str, size: &Size) -> Result<Program, ProgramError> {
    if text.len() > size.text_bytes_max {
        let what = format!("a text of {} bytes", text.len());
        return Err(ProgramError::too_large(what, size.text_bytes_max));
    }
    let split_at_blanks = parse(text, size, |line| line.split_whitespace().collect());
    let program = match split_at_blanks {
        Err(error @ ProgramError::Line { .. }) => {
            parse(text, size, fixed_fields).map_err(|_| error)?
        }
        read => read?,
    };
    program.check(size)?;
    Ok(program)
}

/// The six fields of a line, by the columns of the punched card they stood on.
fn fixed_fields(line: &str) -> Vec<&str> {
    const COLUMNS: [(usize, usize); 6] =
        [(1, 4), (4, 14), (14, 24), (24, 39), (39, 49), (49, 61)];
    COLUMNS
        .into_iter()
        .map(|(from, to)| line.get(from..to.min(line.len())).unwrap_or("").trim())
        .filter(|field| !field.is_empty())
        .collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Section {
    Start,
    Rows,
    Columns,
    Rhs,
    Ranges,
    Bounds,
    ObjSense,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RowKind {
    Objective,
    /// An objective after the first: read, and left alone.
    Free,
    AtMost,
    AtLeast,
    Equal,
}

struct Reader<'t> {
    size: &'t Size,
    section: Section,
    sense: Sense,
    offset: f64,
    has_objective: bool,
    /// Kind, and index among the program's rows where it is one of them.
    rows: BTreeMap<&'t str, (RowKind, usize)>,
    kinds: Vec<RowKind>,
    names: Vec<&'t str>,
    limits: Vec<f64>,
    ranges: Vec<Option<f64>>,
    terms: Vec<Vec<(usize, f64)>>,
    columns: BTreeMap<&'t str, usize>,
    made: Vec<Column>,
    bounded: Vec<(bool, bool)>,
    in_integers: bool,
    nonzeros: usize,
}

fn parse<'t>(
    text: &'t str,
    size: &Size,
    fields: impl Fn(&'t str) -> Vec<&'t str>,
) -> Result<Program, ProgramError> {
    let mut reader = Reader {
        size,
        section: Section::Start,
        sense: Sense::Minimize,
        offset: 0.0,
        has_objective: false,
        rows: BTreeMap::new(),
        kinds: vec![],
        names: vec![],
        limits: vec![],
        ranges: vec![],
        terms: vec![],
        columns: BTreeMap::new(),
        made: vec![],
        bounded: vec![],
        in_integers: false,
        nonzeros: 0,
    };
    let mut ended = false;
    for (line, row) in (1..).zip(text.lines()) {
        if row.starts_with('*') || row.trim().is_empty() {
            continue;
        }
        let at = |message: String| ProgramError::line(line, message);
        if !row.starts_with([' ', '\t']) {
            ended = reader.header(row).map_err(at)?;
            if ended {
                break;
            }
            continue;
        }
        let fields = fields(row);
        if reader.is_too_large() {
            let max = size.nonzeros_max;
            return Err(ProgramError::too_large("too many rows or coefficients", max));
        }
        reader.line(&fields).map_err(at)?;
    }
    if !ended {
        let line = text.lines().count().max(1);
        return Err(ProgramError::line(line, "the file ends before ENDATA"));
    }
    Ok(reader.finish())
}

impl<'t> Reader<'t> {
    fn is_too_large(&self) -> bool {
        self.kinds.len() > self.size.rows_max
            || self.made.len() > self.size.columns_max
            || self.nonzeros > self.size.nonzeros_max + self.size.columns_max
    }

    /// Whether the line ends the file.
    fn header(&mut self, row: &str) -> Result<bool, String> {
        let mut words = row.split_whitespace();
        let word = words.next().unwrap_or("");
        self.section = match word.to_uppercase().as_str() {
            "NAME" => Section::Start,
            "ROWS" => Section::Rows,
            "COLUMNS" => Section::Columns,
            "RHS" => Section::Rhs,
            "RANGES" => Section::Ranges,
            "BOUNDS" => Section::Bounds,
            "OBJSENSE" => {
                if let Some(sense) = words.next() {
                    self.sense = objective_sense(sense)?;
                }
                Section::ObjSense
            }
            "ENDATA" => return Ok(true),
            "QUADOBJ" | "QMATRIX" | "QSECTION" | "QCMATRIX" | "SOS" | "CSECTION"
            | "INDICATORS" | "LAZYCONS" => {
                return Err(format!(
                    "the section {word} is not supported: only linear programs are"
                ));
            }
            _ => {
                return Err(format!(
                    "{} is no section; there are ROWS, COLUMNS, RHS, RANGES, BOUNDS, ENDATA, \
                     and lines within a section begin with a blank",
                    short(word)
                ));
            }
        };
        Ok(false)
    }

    fn line(&mut self, fields: &[&'t str]) -> Result<(), String> {
        match (self.section, fields) {
            (Section::Start, _) => Err("this line belongs to no section".to_owned()),
            (Section::ObjSense, [sense]) => {
                self.sense = objective_sense(sense)?;
                Ok(())
            }
            (Section::Rows, [kind, name]) => self.row(kind, name),
            (Section::Rows, _) => Err("a row reads: L cost".to_owned()),
            (Section::Columns, [_, marker, kind]) if is_marker(marker) => {
                self.in_integers = match kind.trim_matches('\'') {
                    "INTORG" => true,
                    "INTEND" => false,
                    _ => return Err("a marker is INTORG or INTEND".to_owned()),
                };
                Ok(())
            }
            (Section::Columns, [column, pairs @ ..]) => self.coefficients(column, pairs),
            (Section::Rhs, fields) => self.pairs(fields, |reader, row, value| {
                reader.limit(row, value);
            }),
            (Section::Ranges, fields) => self.pairs(fields, |reader, (_, row), value| {
                if let Some(range) = reader.ranges.get_mut(row) {
                    *range = Some(value);
                }
            }),
            (Section::Bounds, fields) => self.bound(fields),
            _ => Err("this line has the wrong number of fields".to_owned()),
        }
    }

    fn row(&mut self, kind: &str, name: &'t str) -> Result<(), String> {
        let kind = match kind.to_uppercase().as_str() {
            "N" if self.has_objective => RowKind::Free,
            "N" => RowKind::Objective,
            "L" => RowKind::AtMost,
            "G" => RowKind::AtLeast,
            "E" => RowKind::Equal,
            _ => return Err(format!("{} is none of N, L, G, E", short(kind))),
        };
        self.has_objective |= kind == RowKind::Objective;
        let is_row = !matches!(kind, RowKind::Objective | RowKind::Free);
        let at = if is_row { self.kinds.len() } else { usize::MAX };
        if self.rows.insert(name, (kind, at)).is_some() {
            return Err(format!("two rows are called {}", short(name)));
        }
        if is_row {
            self.kinds.push(kind);
            self.names.push(name);
            self.limits.push(0.0);
            self.ranges.push(None);
            self.terms.push(vec![]);
        }
        Ok(())
    }

    fn find_row(&self, name: &str) -> Result<(RowKind, usize), String> {
        let found = self.rows.get(name).copied();
        found.ok_or_else(|| format!("the section ROWS has no {}", short(name)))
    }

    fn coefficients(&mut self, name: &'t str, pairs: &[&'t str]) -> Result<(), String> {
        if pairs.is_empty() || !pairs.len().is_multiple_of(2) {
            return Err("a column reads: name row number [row number]".to_owned());
        }
        let column = match self.columns.get(name) {
            Some(column) if *column + 1 == self.made.len() => *column,
            Some(_) => {
                return Err(format!("the entries of {} are not together", short(name)));
            }
            None => {
                let column = self.made.len();
                self.columns.insert(name, column);
                self.made.push(Column {
                    name: name.to_owned(),
                    cost: 0.0,
                    lower: 0.0,
                    upper: f64::INFINITY,
                    integer: self.in_integers,
                });
                self.bounded.push((false, false));
                column
            }
        };
        for pair in pairs.chunks_exact(2) {
            let (kind, row) = self.find_row(pair[0])?;
            let value = number(pair[1])?;
            self.nonzeros += 1;
            match kind {
                RowKind::Objective => self.made[column].cost += value,
                RowKind::Free => {}
                _ => self.terms[row].push((column, value)),
            }
        }
        Ok(())
    }

    /// Row and number, repeated; the set's name before them may be missing.
    fn pairs(
        &mut self,
        fields: &[&'t str],
        mut each: impl FnMut(&mut Self, (RowKind, usize), f64),
    ) -> Result<(), String> {
        let pairs = &fields[fields.len() % 2..];
        if pairs.is_empty() {
            return Err("this line reads: set row number".to_owned());
        }
        for pair in pairs.chunks_exact(2) {
            let row = self.find_row(pair[0])?;
            each(self, row, number(pair[1])?);
        }
        Ok(())
    }

    fn limit(&mut self, (kind, row): (RowKind, usize), value: f64) {
        match kind {
            RowKind::Objective => self.offset = -value,
            RowKind::Free => {}
            _ => self.limits[row] = value,
        }
    }

    fn bound(&mut self, fields: &[&'t str]) -> Result<(), String> {
        let kind = fields.first().map(|kind| kind.to_uppercase()).unwrap_or_default();
        let valued = match kind.as_str() {
            "UP" | "LO" | "FX" | "UI" | "LI" => true,
            "FR" | "MI" | "PL" | "BV" => false,
            "SC" | "SI" => {
                return Err("semi-continuous columns are not supported".to_owned());
            }
            _ => return Err(format!("{} is no type of bound", short(&kind))),
        };
        let (name, value) = match (valued, &fields[1..]) {
            (true, [_, name, value] | [name, value]) => (*name, number(value)?),
            // BV and the like may have a number all the same.
            (false, [name]) => (*name, 0.0),
            (false, [_, name] | [_, name, _]) => (*name, 0.0),
            _ => return Err("a bound reads: UP set column number".to_owned()),
        };
        let column = self.columns.get(name).copied();
        let column = column.ok_or_else(|| format!("COLUMNS has no {}", short(name)))?;
        let (has_lower, has_upper) = &mut self.bounded[column];
        let column = &mut self.made[column];
        match kind.as_str() {
            "UP" | "UI" => {
                if value < 0.0 && !*has_lower {
                    column.lower = f64::NEG_INFINITY;
                }
                column.upper = bound(value);
            }
            "LO" | "LI" => column.lower = bound(value),
            "FX" => (column.lower, column.upper) = (bound(value), bound(value)),
            "FR" => {
                (column.lower, column.upper) = (f64::NEG_INFINITY, f64::INFINITY);
            }
            "MI" => column.lower = f64::NEG_INFINITY,
            "PL" => column.upper = f64::INFINITY,
            _ => (column.lower, column.upper) = (0.0, 1.0),
        }
        column.integer |= matches!(kind.as_str(), "UI" | "LI" | "BV");
        *has_lower |= !matches!(kind.as_str(), "UP" | "UI" | "PL");
        *has_upper = true;
        Ok(())
    }

    fn finish(mut self) -> Program {
        for (column, (_, bounded)) in self.made.iter_mut().zip(&self.bounded) {
            if column.integer && !bounded {
                column.upper = 1.0;
            }
        }
        let rows = (self.kinds.iter().zip(&self.names))
            .zip(self.limits.iter().zip(&self.ranges))
            .zip(self.terms)
            .map(|(((kind, name), (limit, range)), terms)| {
                let (lower, upper) = interval(*kind, *limit, *range);
                Row { name: (*name).to_owned(), lower, upper, terms: merged(terms) }
            });
        Program {
            sense: self.sense,
            offset: self.offset,
            rows: rows.collect(),
            columns: self.made,
        }
    }
}

fn interval(kind: RowKind, limit: f64, range: Option<f64>) -> (f64, f64) {
    let limit = bound(limit);
    match (kind, range) {
        (RowKind::AtMost, None) => (f64::NEG_INFINITY, limit),
        (RowKind::AtLeast, None) => (limit, f64::INFINITY),
        (RowKind::AtMost, Some(range)) => (bound(limit - range.abs()), limit),
        (RowKind::AtLeast, Some(range)) => (limit, bound(limit + range.abs())),
        (_, Some(range)) if range < 0.0 => (bound(limit + range), limit),
        (_, Some(range)) => (limit, bound(limit + range)),
        (_, None) => (limit, limit),
    }
}

fn is_marker(field: &str) -> bool {
    field.trim_matches('\'').eq_ignore_ascii_case("MARKER")
}

fn objective_sense(word: &str) -> Result<Sense, String> {
    match word.to_uppercase().as_str() {
        "MAX" | "MAXIMIZE" | "MAXIMISE" => Ok(Sense::Maximize),
        "MIN" | "MINIMIZE" | "MINIMISE" => Ok(Sense::Minimize),
        _ => Err(format!("{} is neither MAX nor MIN", short(word))),
    }
}

fn number(field: &str) -> Result<f64, String> {
    // Fortran wrote its exponents with a D.
    let value = field.replace(['d', 'D'], "e").parse::<f64>();
    let value = value.map_err(|_| format!("{} is no number", short(field)))?;
    let spelt_out = field.to_lowercase().contains("inf");
    if value.is_nan() || (value.is_infinite() && !spelt_out) {
        return Err(format!("{} is beyond every number", short(field)));
    }
    Ok(value)
}
