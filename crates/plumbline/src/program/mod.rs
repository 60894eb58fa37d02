//! Linear and integer programs: the noun, and three readers for what a model may write.
//!
//! [`read`] takes the arguments of a `solve` call (`lp`, `mps` or `model`) and gives a
//! [`Program`]: [`lp`] reads the CPLEX LP format, [`mps`] the MPS format, [`algebra`] a small
//! modelling language in JSON. All of it is text in, program out: no solver stands behind
//! it, so that verifiers can look into a model, change it, and have a tool solve it again.
//!
//! What is read comes from a model and may be anything: every reader is bounded by a
//! [`Size`], and says on which line, or in which field, what is wrong.
//!
//! ```
//! use plumbline::program::{Size, lp};
//!
//! let text = "max 3 x + 2 y\nsubject to\n labour: x + y <= 4\nend";
//! let program = lp::read(text, &Size::default())?;
//! assert_eq!(program.rows[0].upper, 4.0);
//! assert_eq!(program.objective(&[1.0, 3.0]), 9.0);
//! # Ok::<(), plumbline::program::ProgramError>(())
//! ```

pub mod algebra;
pub mod compare;

mod expression;
pub mod lp;
pub mod mps;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A value from here on, in a bound or a right-hand side, is no bound: the convention of
/// solvers and of their file formats.
pub const INFINITE: f64 = 1e20;
/// The largest coefficient or cost.
pub const COEFFICIENT_MAX: f64 = 1e14;
/// A coefficient that is not zero is larger than this: a solver takes others for zero.
pub const COEFFICIENT_MIN: f64 = 1e-9;
/// Bytes of a column's or a row's name.
const NAME_BYTES_MAX: usize = 255;

/// Which way the objective is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sense {
    /// As small as possible.
    Minimize,
    /// As large as possible.
    Maximize,
}

impl Sense {
    /// `minimize` or `maximize`.
    pub fn as_str(self) -> &'static str {
        match self {
            Sense::Minimize => "minimize",
            Sense::Maximize => "maximize",
        }
    }

    /// Whether the first value is better than the second.
    pub fn prefers(self, one: f64, other: f64) -> bool {
        match self {
            Sense::Minimize => one < other,
            Sense::Maximize => one > other,
        }
    }
}

/// A linear program, some of whose columns may be integer.
///
/// A program that a reader gave, or that [`check`](Self::check) admits, has finite costs
/// and coefficients, each row's terms sorted by column without repetition or zeros, and
/// names that are unique among columns and among rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Program {
    /// Which way the objective is to go.
    pub sense: Sense,
    /// A constant in the objective.
    pub offset: f64,
    /// The decision variables.
    pub columns: Vec<Column>,
    /// The constraints.
    pub rows: Vec<Row>,
}

/// A decision variable.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// What the model calls it.
    pub name: String,
    /// Its coefficient in the objective.
    pub cost: f64,
    /// The smallest value; may be negative infinity.
    pub lower: f64,
    /// The largest value; may be infinity.
    pub upper: f64,
    /// Whether only whole numbers are allowed.
    pub integer: bool,
}

/// A constraint: `lower <= sum of coefficient * column <= upper`.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// What the model calls it.
    pub name: String,
    /// The smallest activity; may be negative infinity.
    pub lower: f64,
    /// The largest activity; may be infinity.
    pub upper: f64,
    /// Index of a column, and its coefficient.
    pub terms: Vec<(usize, f64)>,
}

/// How large a program may be, and its text. These bounds reproduce.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Size {
    /// Bytes of the text, or of the JSON.
    pub text_bytes_max: usize,
    /// Decision variables.
    pub columns_max: usize,
    /// Constraints.
    pub rows_max: usize,
    /// Coefficients over all constraints.
    pub nonzeros_max: usize,
}

impl Default for Size {
    fn default() -> Self {
        Self {
            text_bytes_max: 1024 * 1024,
            columns_max: 5_000,
            rows_max: 5_000,
            nonzeros_max: 100_000,
        }
    }
}

/// Why a text is no program: fits after "the model cannot be read:".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProgramError {
    /// A line of a text is wrong.
    #[error("line {line}: {message}")]
    Line {
        /// Which line, from 1.
        line: usize,
        /// What is wrong there, and what would be right.
        message: String,
    },
    /// A part of the JSON is wrong.
    #[error("{field}: {message}")]
    Field {
        /// Where it stands: `constraints[2]`.
        field: String,
        /// What is wrong there, and what would be right.
        message: String,
    },
    /// Something is beyond its bound.
    #[error("{what}: at most {max} are allowed")]
    TooLarge {
        /// What there is too much of, and how much of it.
        what: String,
        /// How much there may be.
        max: usize,
    },
}

impl ProgramError {
    fn line(line: usize, message: impl Into<String>) -> Self {
        ProgramError::Line { line, message: message.into() }
    }

    fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        ProgramError::Field { field: field.into(), message: message.into() }
    }

    fn too_large(what: impl Into<String>, max: usize) -> Self {
        ProgramError::TooLarge { what: what.into(), max }
    }
}

/// Reads the arguments of a `solve` call: exactly one of `lp`, `mps` and `model`.
pub fn read(args: &Value, size: &Size) -> Result<Program, ProgramError> {
    const FORMS: [&str; 3] = ["lp", "mps", "model"];
    let given: Vec<(&str, &Value)> =
        FORMS.iter().filter_map(|form| Some((*form, args.get(*form)?))).collect();
    match given.as_slice() {
        [("model", model)] => algebra::read(model, size),
        [(form, Value::String(text))] => match *form {
            "lp" => lp::read(text, size),
            _ => mps::read(text, size),
        },
        [(form, _)] => Err(ProgramError::field(*form, "must be a text")),
        [] => Err(ProgramError::field("arguments", "give one of lp, mps and model")),
        _ => Err(ProgramError::field("arguments", "give only one of lp, mps and model")),
    }
}

impl Program {
    /// The objective at a point.
    ///
    /// # Panics
    ///
    /// If the point has fewer values than there are columns.
    pub fn objective(&self, point: &[f64]) -> f64 {
        let costs = (0..).zip(&self.columns).map(|(at, column)| column.cost * point[at]);
        self.offset + costs.sum::<f64>()
    }

    /// How many columns are integer.
    pub fn integers(&self) -> usize {
        self.columns.iter().filter(|column| column.integer).count()
    }

    /// How many coefficients the constraints have.
    pub fn nonzeros(&self) -> usize {
        self.rows.iter().map(|row| row.terms.len()).sum()
    }

    /// The first constraint, bound or integrality that a point violates by more than
    /// `tolerance`, absolute or relative to the size of the limit; in words.
    ///
    /// # Panics
    ///
    /// If the point has fewer values than there are columns.
    pub fn violation(&self, point: &[f64], tolerance: f64) -> Option<String> {
        let beyond = |value: f64, lower: f64, upper: f64| {
            let room = |limit: f64| tolerance * limit.abs().max(1.0);
            value < lower - room(lower) || value > upper + room(upper) || value.is_nan()
        };
        for (value, column) in point.iter().zip(&self.columns) {
            let name = &column.name;
            if beyond(*value, column.lower, column.upper) {
                return Some(format!("{name} = {value} is out of its bounds"));
            }
            let off = (value - value.round()).abs();
            if column.integer && off > tolerance * value.abs().max(1.0) {
                return Some(format!("{name} = {value} is not a whole number"));
            }
        }
        let violated = self
            .rows
            .iter()
            .find(|row| beyond(row.activity(point), row.lower, row.upper))?;
        let activity = violated.activity(point);
        Some(format!("{} is violated: it comes to {activity}", violated.name))
    }

    /// Checks what every reader promises, and the size.
    pub fn check(&self, size: &Size) -> Result<(), ProgramError> {
        let (columns, rows) = (self.columns.len(), self.rows.len());
        let nonzeros = self.nonzeros();
        for (found, what, max) in [
            (columns, "variables", size.columns_max),
            (rows, "constraints", size.rows_max),
            (nonzeros, "coefficients", size.nonzeros_max),
        ] {
            if found > max {
                return Err(ProgramError::too_large(format!("{found} {what}"), max));
            }
        }
        if columns == 0 {
            return Err(ProgramError::field("model", "it has no variables"));
        }
        let mut names = BTreeMap::new();
        for column in &self.columns {
            let field = || format!("variable {}", short(&column.name));
            check_name(&column.name).map_err(|m| ProgramError::field(field(), m))?;
            check_coefficient(column.cost, "its cost")
                .map_err(|m| ProgramError::field(field(), m))?;
            check_interval(column.lower, column.upper)
                .map_err(|m| ProgramError::field(field(), m))?;
            if names.insert(column.name.as_str(), ()).is_some() {
                return Err(ProgramError::field(field(), "two variables have this name"));
            }
        }
        names.clear();
        for row in &self.rows {
            let field = || format!("constraint {}", short(&row.name));
            check_name(&row.name).map_err(|m| ProgramError::field(field(), m))?;
            check_interval(row.lower, row.upper)
                .map_err(|m| ProgramError::field(field(), m))?;
            for (column, coefficient) in &row.terms {
                let what = self.columns.get(*column).map(|column| short(&column.name));
                let what = what.expect("a reader numbers the columns it has");
                check_coefficient(*coefficient, &format!("the coefficient of {what}"))
                    .map_err(|m| ProgramError::field(field(), m))?;
            }
            let ordered = row.terms.windows(2).all(|pair| pair[0].0 < pair[1].0);
            assert!(ordered, "terms are sorted by column: {}", row.name);
            if names.insert(row.name.as_str(), ()).is_some() {
                let message = "two constraints have this name";
                return Err(ProgramError::field(field(), message));
            }
        }
        check_coefficient(self.offset, "its constant")
            .map_err(|message| ProgramError::field("objective", message))
    }
}

impl Row {
    /// The sum of coefficient times value.
    ///
    /// # Panics
    ///
    /// If the point has fewer values than the program has columns.
    pub fn activity(&self, point: &[f64]) -> f64 {
        self.terms.iter().map(|(column, coefficient)| coefficient * point[*column]).sum()
    }
}

/// Sorts terms by column, adds up those of one column, and drops what cancels out.
fn merged(terms: impl IntoIterator<Item = (usize, f64)>) -> Vec<(usize, f64)> {
    let mut sums: BTreeMap<usize, f64> = BTreeMap::new();
    for (column, coefficient) in terms {
        *sums.entry(column).or_insert(0.0) += coefficient;
    }
    sums.into_iter().filter(|(_, coefficient)| *coefficient != 0.0).collect()
}

/// A bound as solvers read it: from [`INFINITE`] on there is none.
fn bound(value: f64) -> f64 {
    if value.abs() >= INFINITE { value.signum() * f64::INFINITY } else { value }
}

fn check_coefficient(value: f64, what: &str) -> Result<(), String> {
    let size = value.abs();
    if value.is_nan() || size > COEFFICIENT_MAX {
        return Err(format!(
            "{what} is {value:e}; it must not be beyond {COEFFICIENT_MAX:e}"
        ));
    }
    if size > 0.0 && size <= COEFFICIENT_MIN {
        return Err(format!(
            "{what} is {value:e}, which a solver takes for zero: choose other units"
        ));
    }
    Ok(())
}

fn check_interval(lower: f64, upper: f64) -> Result<(), String> {
    if lower.is_nan() || upper.is_nan() {
        return Err("a limit is not a number".to_owned());
    }
    if lower == f64::INFINITY || upper == f64::NEG_INFINITY {
        return Err("its limits leave out every number".to_owned());
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("the name is empty".to_owned());
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(format!("the name is longer than {NAME_BYTES_MAX} bytes"));
    }
    if name.chars().any(char::is_control) {
        return Err("the name holds a control character".to_owned());
    }
    Ok(())
}

/// A name as a message quotes it.
fn short(name: &str) -> String {
    let mut shown: String = name.chars().take(60).collect();
    if shown.len() < name.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

/// The name nearest to one that does not exist, as ", did you mean ...?"; empty if none is.
fn hint<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> String {
    const NAMES_MAX: usize = 1_000;
    if name.len() > 60 {
        return String::new();
    }
    let distance = |other: &str| strsim::damerau_levenshtein(name, other);
    let near = known
        .take(NAMES_MAX)
        .filter(|other| other.len().abs_diff(name.len()) <= 3)
        .map(|other| (distance(other), other))
        .filter(|(distance, _)| *distance <= 1 + name.len() / 4)
        .min();
    near.map_or_else(String::new, |(_, near)| format!(", did you mean {near:?}?"))
}

#[cfg(test)]
mod tests;
