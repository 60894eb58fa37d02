//! `model-sanity@1`: units and bounds against the numbers of the problem.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::json;

use crate::program::Program;
use crate::program::compare::near;
use crate::verifiers::Finding;
use crate::verifiers::modelling::{Beside, Model, ModelVerifier};
use crate::{Environment, Sight, Zero};

/// Numbers of a problem that are looked at.
const NUMBERS_MAX: usize = 200;

impl ModelVerifier {
    /// Looks for slips of unit and bound without the gold. Bad: a percentage of the problem
    /// used whole, as 20 where its row has neither 0.2 nor 100 nor 80; bounds that leave a
    /// variable no value, or three of four numbers of the problem, and at least five, are not
    /// in it: then it says what it was told to say. Neutral: numbers of the problem that no coefficient, limit or
    /// bound has, as they are, as a share, or as one of their complements. The value lists
    /// both. Silent where nothing is odd; probes are never bad.
    pub fn sanity(environment: Arc<Environment>) -> Self {
        Self::new("model-sanity@1", Sight::ONLINE, find, environment)
    }
}

fn find(model: &Model<'_>, _beside: Option<&Beside>) -> Option<Finding> {
    let program = &model.program;
    let empty = program.columns.iter().find(|column| column.lower > column.upper);
    let numbers = numbers(model.prompt);
    let whole: Vec<f64> = numbers
        .iter()
        .filter(|number| number.percent && used_whole(number.value, program))
        .filter(|number| !numbers.iter().any(|n| !n.percent && n.value == number.value))
        .map(|number| number.value)
        .collect();
    let there = values(program);
    let unused: Vec<f64> = numbers
        .iter()
        .map(|number| number.value)
        .filter(|value| !there.iter().any(|there| stands_for(*there, *value)))
        .collect();
    let value = json!({ "percent_whole": whole, "unused": unused });
    let written = numbers.len() >= HARD_CODED_NUMBERS_MIN
        && unused.len() as f64 > HARD_CODED_UNUSED * numbers.len() as f64;
    let bad = match (empty, whole.first()) {
        (Some(column), _) => {
            let (lower, upper) = (column.lower, column.upper);
            format!("{} must be at least {lower} and at most {upper}", column.name)
        }
        (None, Some(percent)) => format!("{percent} % is used as the number {percent}"),
        (None, None) if unused.is_empty() => return None,
        (None, None) if written => {
            let (unused, all) = (unused.len(), numbers.len());
            format!("{unused} of the problem's {all} numbers are not in it: hard-coded")
        }
        (None, None) => {
            let unused: Vec<String> = unused.iter().take(6).map(f64::to_string).collect();
            let reason =
                format!("numbers of the problem not used: {}", unused.join(", "));
            return Some(Finding::neutral(Zero::Unknown, value, reason));
        }
    };
    Some(match model.is_probe {
        true => Finding::neutral(Zero::Neutral, value, format!("a probe: {bad}")),
        false => Finding::bad(value, bad),
    })
}

/// A problem with fewer numbers may be put into other ones.
const HARD_CODED_NUMBERS_MIN: usize = 5;
/// The share of a problem's numbers beyond which a model without them is another's.
const HARD_CODED_UNUSED: f64 = 0.75;

#[derive(Debug, Clone, Copy, PartialEq)]
struct Number {
    value: f64,
    percent: bool,
}

/// The numbers of a text, each once, and whether a percent sign or word follows.
fn numbers(text: &str) -> Vec<Number> {
    let mut numbers: Vec<Number> = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let before = rest[..start].chars().next_back();
        let tail = &rest[start..];
        let end = tail.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ','));
        let (digits, after) = tail.split_at(end.unwrap_or(tail.len()));
        rest = after;
        let digits = digits.trim_end_matches(['.', ',']).replace(',', "");
        // "A4" and "x2" are names.
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let Ok(value) = digits.parse::<f64>() else { continue };
        let word = after.trim_start();
        let percent = word.starts_with('%') || word.starts_with("percent");
        let number = Number { value, percent };
        if numbers.len() < NUMBERS_MAX && !numbers.contains(&number) {
            numbers.push(number);
        }
    }
    numbers
}

/// Every size that stands in a program.
fn values(program: &Program) -> Vec<f64> {
    let mut bits = BTreeSet::new();
    let mut add = |value: f64| {
        if value.is_finite() {
            bits.insert(value.abs().to_bits());
        }
    };
    for column in &program.columns {
        [column.cost, column.lower, column.upper].into_iter().for_each(&mut add);
    }
    for row in &program.rows {
        [row.lower, row.upper].into_iter().for_each(&mut add);
        row.terms.iter().for_each(|(_, coefficient)| add(*coefficient));
    }
    bits.into_iter().map(f64::from_bits).collect()
}

/// Whether a number of a program may be one of the problem: itself, a hundredth or a
/// hundredfold of it, or what one of these leaves of the whole.
fn stands_for(there: f64, number: f64) -> bool {
    [number, number / 100.0, number * 100.0]
        .into_iter()
        .flat_map(|value| [value, (1.0 - value).abs(), (100.0 - value).abs()])
        .any(|value| near(there, value))
}

/// Whether some row uses a percentage as a whole number, with nothing beside it that shows
/// the row to be written in hundredths.
fn used_whole(percent: f64, program: &Program) -> bool {
    percent > 1.0
        && program.rows.iter().any(|row| {
            let sizes = || row.terms.iter().map(|(_, coefficient)| coefficient.abs());
            let hundredths = |size: f64| near(size, 100.0) || near(size, 100.0 - percent);
            let one = sizes().any(|size| near(size, 1.0));
            one && sizes().any(|size| near(size, percent)) && !sizes().any(hundredths)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::{Size, lp};

    #[test]
    fn numbers_are_found_with_their_unit() {
        let found = numbers("At least 60% of 1,200 kg (x2), 2.5 percent, 60.");
        let found: Vec<(f64, bool)> =
            found.iter().map(|number| (number.value, number.percent)).collect();
        assert_eq!(found, [(60.0, true), (1200.0, false), (2.5, true), (60.0, false)]);
    }

    #[test]
    fn a_percentage_is_used_whole_only_where_the_row_is_not_in_hundredths() {
        let whole = |row: &str| {
            let text = format!("max x + y\nst\n {row}\nend");
            let program = lp::read(&text, &Size::default()).expect("an LP file");
            used_whole(20.0, &program)
        };
        assert!(whole("x - 20 y >= 0"));
        assert!(!whole("x - 0.2 y >= 0"));
        assert!(!whole("80 x - 20 y >= 0"));
        assert!(!whole("100 x - 20 y >= 0"));
    }
}
