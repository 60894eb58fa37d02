//! Answers as queries: equal if they return the same table.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::comparators::Comparison;
use crate::{Gold, Observation, ToolCall};

/// The tool that executes queries.
const TOOL: &str = "sql";
/// Relative difference that counts as none, strictly.
const STRICT: f64 = 1e-9;
/// The same, relaxed.
const RELAXED: f64 = 1e-4;
/// Rows up to which rows that differ are matched one by one.
const MATCHED_ROWS_MAX: usize = 2000;
/// Partial assignments of columns that are tried. Columns with different values are told
/// apart at once; only equal ones branch.
const ASSIGNMENTS_MAX: u32 = 2000;

/// Compares answers as the tables that they return when executed: the answer is the text of
/// a query, and so are the gold answers.
///
/// Strict: as many columns in the same order, whatever their names; the same rows as a bag
/// (duplicates count, order does not), or in order where `ordered` is set. Two numbers are
/// equal within one part in 10⁹, integer or not; texts to the byte; NULL equals NULL alone.
///
/// Relaxed: the same rows as a set, in any order; columns in any order, and more of them than
/// the gold has; numbers within one part in 10⁴; a text that reads as a number equals that
/// number; texts without the white space around them. The reason says which of these it took.
///
/// The gold's own table is its field `result`, `{"columns", "rows"}`, where that is recorded,
/// else its query is executed as well. Of several gold answers any will do.
///
/// With *n* rows and *c* columns strict takes *n* log *n* comparisons of rows, and *n*² where
/// rows differ and there are at most 2,000. Relaxed tries at most 2,000 assignments of
/// columns, each *n* log *n*: where more would be needed it says no.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Table {
    /// Whether the order of rows matters, strictly.
    pub ordered: bool,
}

/// The rows of a table, each as long as there are columns.
type Rows = Vec<Vec<Value>>;

impl Table {
    /// The calls that give the answer's table, and then those of the gold that are not on
    /// record.
    pub fn calls(&self, answer: &str, gold: &Gold) -> Vec<ToolCall> {
        let recorded = usize::from(recorded(gold).is_some());
        let golds = gold.answers().into_iter().skip(recorded);
        let queries = [query_of(answer)].into_iter().chain(golds.map(query_of));
        let call = |(index, query): (usize, &str)| ToolCall {
            id: format!("call_{index}"),
            tool: TOOL.to_owned(),
            args: json!({ "query": query }),
        };
        queries.enumerate().map(call).collect()
    }

    /// Holds the answer's table against those of the gold. `observed` is what the
    /// [calls](Self::calls) came to.
    pub fn compare(&self, gold: &Gold, observed: &[Observation]) -> Comparison {
        let (mine, theirs) = match observed.split_first() {
            Some((mine, theirs)) => (mine, theirs),
            None => return wrong(0.0, "the answer was not executed".to_owned()),
        };
        if mine.as_fault().is_some() {
            let said: String = mine.text().chars().take(200).collect();
            return wrong(0.0, format!("the answer does not execute: {said}"));
        }
        let Some(found) = rows_of(mine.data()) else {
            return wrong(0.0, "the answer returns no table".to_owned());
        };
        let golds = recorded(gold)
            .into_iter()
            .chain(theirs.iter().filter_map(|o| rows_of(o.data())));
        let compared = golds.map(|gold| self.compare_rows(&found, &gold));
        let rank = |c: &Comparison| (c.strict, c.relaxed, c.value);
        let best = compared.reduce(|best, next| {
            let better = rank(&next).partial_cmp(&rank(&best)) == Some(Ordering::Greater);
            if better { next } else { best }
        });
        best.unwrap_or_else(|| wrong(0.0, "the gold's query returns no table".to_owned()))
    }

    /// Whether what sets the answer's table apart from one of the gold's, relaxed semantics
    /// holding, is only how it is written: no row is doubled, lost or out of order.
    pub fn is_written_otherwise(&self, gold: &Gold, observed: &[Observation]) -> bool {
        let Some((mine, theirs)) = observed.split_first() else { return false };
        let Some(found) = rows_of(mine.data()) else { return false };
        let mut golds = recorded(gold)
            .into_iter()
            .chain(theirs.iter().filter_map(|o| rows_of(o.data())));
        golds.any(|gold| {
            let Ok(columns) = assignment(&found, &gold) else { return false };
            let pick = |row: &Vec<Value>| -> Vec<Value> {
                columns
                    .iter()
                    .map(|c| row.get(*c).cloned().unwrap_or(Value::Null))
                    .collect()
            };
            let found: Rows = found.iter().map(pick).collect();
            let equal = |one: &Value, two: &Value| same(one, two, RELAXED, true);
            let in_order =
                || found.iter().zip(&gold).all(|(one, two)| same_row(one, two, equal));
            overlap(&found, &gold, equal) == 1.0 && (!self.ordered || in_order())
        })
    }

    /// Holds one table against another, as rows of values: what a tool's `data.rows` holds.
    pub fn compare_rows(&self, found: &[Vec<Value>], gold: &[Vec<Value>]) -> Comparison {
        let (width, gold_width) = (width(found), width(gold));
        let same_width = width == gold_width || found.is_empty() || gold.is_empty();
        let equal = |one: &Value, two: &Value| same(one, two, STRICT, false);
        let value = if same_width { overlap(found, gold, equal) } else { 0.0 };
        let bag = same_width && value == 1.0 && found.len() == gold.len();
        if bag {
            let pairs = || found.iter().zip(gold);
            let in_order = pairs().all(|(one, two)| same_row(one, two, equal));
            if !self.ordered || in_order {
                let how = if self.ordered { "in order" } else { "as a bag of rows" };
                let reason = format!("the tables are equal {how}");
                return Comparison { strict: true, relaxed: true, value: 1.0, reason };
            }
            let reason = "the tables have the same rows in another order".to_owned();
            return Comparison { strict: false, relaxed: true, value: 0.99, reason };
        }
        let value = value.min(0.99);
        match assignment(found, gold) {
            Ok(columns) => {
                let reason = relaxed_reason(found, gold, &columns);
                Comparison { strict: false, relaxed: true, value: value.max(0.5), reason }
            }
            Err(undecided) => wrong(value, difference(found, gold, undecided)),
        }
    }
}

/// A query without what models put around it: a code fence, a semicolon.
pub(crate) fn query_of(answer: &str) -> &str {
    let mut text = answer.trim();
    if let Some(fenced) =
        text.strip_prefix("```").and_then(|text| text.strip_suffix("```"))
    {
        text = fenced
            .strip_prefix("sql")
            .or(fenced.strip_prefix("sqlite"))
            .unwrap_or(fenced);
    }
    text.trim().trim_end_matches(';').trim_end()
}

fn wrong(value: f64, reason: String) -> Comparison {
    Comparison { strict: false, relaxed: false, value, reason }
}

/// The gold's table, if it is on record.
fn recorded(gold: &Gold) -> Option<Rows> {
    rows_of(gold.0.get("result")?)
}

fn rows_of(data: &Value) -> Option<Rows> {
    let rows = data.get("rows")?.as_array()?;
    rows.iter().map(|row| row.as_array().cloned()).collect()
}

fn width(rows: &[Vec<Value>]) -> usize {
    rows.first().map_or(0, Vec::len)
}

fn same_row(
    one: &[Value],
    two: &[Value],
    equal: impl Fn(&Value, &Value) -> bool,
) -> bool {
    one.len() == two.len() && one.iter().zip(two).all(|(one, two)| equal(one, two))
}

/// Whether two values are equal within a relative tolerance; `loose` also reads texts as
/// numbers, and takes no notice of the white space around them.
fn same(one: &Value, two: &Value, tolerance: f64, loose: bool) -> bool {
    if let (Some(one), Some(two)) = (one.as_i64(), two.as_i64())
        && !loose
    {
        return one == two;
    }
    let number = |value: &Value| match value {
        Value::String(text) if loose => text.trim().parse::<f64>().ok(),
        other => other.as_f64(),
    };
    match (number(one), number(two)) {
        (Some(one), Some(two)) => {
            one == two || (one - two).abs() <= tolerance * one.abs().max(two.abs())
        }
        _ => match (one, two) {
            (Value::String(one), Value::String(two)) if loose => one.trim() == two.trim(),
            _ => one == two,
        },
    }
}

/// The order in which rows are laid side by side: nearly equal numbers fall together.
fn rank(one: &Value, two: &Value) -> Ordering {
    let key = |value: &Value| -> (u8, f64, String) {
        let number = match value {
            Value::String(text) => text.trim().parse::<f64>().ok(),
            other => other.as_f64(),
        };
        match (number, value) {
            (Some(number), _) => (1, rounded(number), String::new()),
            (None, Value::Null) => (0, 0.0, String::new()),
            (None, Value::String(text)) => (2, 0.0, text.trim().to_owned()),
            (None, other) => (3, 0.0, other.to_string()),
        }
    };
    let (one, two) = (key(one), key(two));
    one.0.cmp(&two.0).then(one.1.total_cmp(&two.1)).then(one.2.cmp(&two.2))
}

/// To seven digits that count.
fn rounded(number: f64) -> f64 {
    if number == 0.0 || !number.is_finite() {
        return number + 0.0;
    }
    let scale = 10f64.powi(6 - number.abs().log10().floor() as i32);
    let scaled = (number * scale).round() / scale;
    if scaled.is_finite() { scaled } else { number }
}

fn rank_rows(one: &[Value], two: &[Value]) -> Ordering {
    let each = one.iter().zip(two).map(|(one, two)| rank(one, two));
    each.fold(Ordering::Equal, Ordering::then).then(one.len().cmp(&two.len()))
}

/// The share of rows that two bags have in common: 2·|both| / (|one| + |two|), 1 for two
/// empty ones.
fn overlap(
    found: &[Vec<Value>],
    gold: &[Vec<Value>],
    equal: impl Fn(&Value, &Value) -> bool,
) -> f64 {
    let total = found.len() + gold.len();
    if total == 0 {
        return 1.0;
    }
    let sorted = |rows: &[Vec<Value>]| {
        let mut rows: Vec<Vec<Value>> = rows.to_vec();
        rows.sort_by(|one, two| rank_rows(one, two));
        rows
    };
    let (one, two) = (sorted(found), sorted(gold));
    let mut both = 0;
    let is_same = one.len() == two.len()
        && one.iter().zip(&two).all(|(one, two)| same_row(one, two, &equal));
    if is_same {
        both = one.len();
    } else if found.len().max(gold.len()) <= MATCHED_ROWS_MAX {
        let mut left = two;
        for row in &one {
            let place = left.iter().position(|other| same_row(row, other, &equal));
            if let Some(place) = place {
                left.swap_remove(place);
                both += 1;
            }
        }
    }
    2.0 * f64::from(u32::try_from(both).unwrap_or(u32::MAX)) / total as f64
}

/// For each column of the gold the column of the answer that stands for it, under relaxed
/// semantics. `Err(true)` if too many would have to be tried.
fn assignment(found: &[Vec<Value>], gold: &[Vec<Value>]) -> Result<Vec<usize>, bool> {
    if found.is_empty() || gold.is_empty() {
        return if found.is_empty() && gold.is_empty() { Ok(vec![]) } else { Err(false) };
    }
    let (columns, wanted) = (width(found), width(gold));
    let gold_sets: Vec<Rows> =
        (0..wanted).map(|column| project(gold, &[column])).collect();
    let found_sets: Vec<Rows> =
        (0..columns).map(|column| project(found, &[column])).collect();
    let candidates: Vec<Vec<usize>> = gold_sets
        .iter()
        .map(|set| {
            (0..columns).filter(|column| same_set(&found_sets[*column], set)).collect()
        })
        .collect();
    let mut search = Search { found, gold, candidates, tried: 0 };
    let mut chosen = Vec::with_capacity(wanted);
    match search.extend(&mut chosen) {
        Some(true) => Ok(chosen),
        Some(false) => Err(false),
        None => Err(true),
    }
}

struct Search<'r> {
    found: &'r [Vec<Value>],
    gold: &'r [Vec<Value>],
    candidates: Vec<Vec<usize>>,
    tried: u32,
}

impl Search<'_> {
    /// Chooses columns for the rest of the gold's, one after the other; those chosen so far
    /// must give the same set of rows. `None` when too many have been tried.
    fn extend(&mut self, chosen: &mut Vec<usize>) -> Option<bool> {
        let next = chosen.len();
        if next == self.candidates.len() {
            return Some(true);
        }
        for candidate in self.candidates[next].clone() {
            if chosen.contains(&candidate) {
                continue;
            }
            self.tried += 1;
            if self.tried > ASSIGNMENTS_MAX {
                return None;
            }
            chosen.push(candidate);
            let before: Vec<usize> = (0..=next).collect();
            let fits =
                same_set(&project(self.found, chosen), &project(self.gold, &before));
            if fits && self.extend(chosen)? {
                return Some(true);
            }
            chosen.pop();
        }
        Some(false)
    }
}

/// The set of rows that some columns have, in order.
fn project(rows: &[Vec<Value>], columns: &[usize]) -> Rows {
    let pick = |row: &Vec<Value>| -> Vec<Value> {
        columns
            .iter()
            .map(|column| row.get(*column).cloned().unwrap_or(Value::Null))
            .collect()
    };
    let mut set: Rows = rows.iter().map(pick).collect();
    set.sort_by(|one, two| rank_rows(one, two));
    set.dedup_by(|one, two| same_row(one, two, |one, two| same(one, two, RELAXED, true)));
    set
}

fn same_set(one: &[Vec<Value>], two: &[Vec<Value>]) -> bool {
    let equal = |one: &Value, two: &Value| same(one, two, RELAXED, true);
    one.len() == two.len()
        && one.iter().zip(two).all(|(one, two)| same_row(one, two, equal))
}

/// What it took to call two tables equal.
fn relaxed_reason(
    found: &[Vec<Value>],
    gold: &[Vec<Value>],
    columns: &[usize],
) -> String {
    let mut took = vec!["as sets of rows".to_owned()];
    if columns.windows(2).any(|pair| pair[0] > pair[1]) {
        took.push("with columns in another order".to_owned());
    }
    let extra = width(found).saturating_sub(width(gold));
    if extra > 0 {
        let noun = if extra == 1 { "column" } else { "columns" };
        took.push(format!("without {extra} more {noun}"));
    }
    if found.len() != gold.len() {
        took.push(format!("{} rows for {}", found.len(), gold.len()));
    }
    format!("the tables are equal only {}", took.join(", "))
}

/// In what two tables differ, in a few words.
fn difference(found: &[Vec<Value>], gold: &[Vec<Value>], undecided: bool) -> String {
    let (columns, wanted) = (width(found), width(gold));
    if undecided {
        return "too many columns are alike to tell the tables' columns apart".to_owned();
    }
    let rows = |rows: usize| format!("{rows} {}", if rows == 1 { "row" } else { "rows" });
    if found.is_empty() || gold.is_empty() {
        return format!("{} where the gold has {}", rows(found.len()), rows(gold.len()));
    }
    if columns < wanted {
        return format!("{columns} of {wanted} columns");
    }
    if found.len() != gold.len() {
        return format!("{} where the gold has {}", rows(found.len()), rows(gold.len()));
    }
    let equal = |one: &Value, two: &Value| same(one, two, STRICT, false);
    let differ =
        found.iter().find(|row| !gold.iter().any(|other| same_row(row, other, equal)));
    match differ.filter(|_| found.len() <= MATCHED_ROWS_MAX) {
        Some(row) => {
            let shown: String = json!(row).to_string().chars().take(120).collect();
            format!("the gold has no row {shown}")
        }
        None => "the rows differ".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(value: Value) -> Rows {
        rows_of(&json!({ "rows": value })).expect("rows")
    }

    /// Strict, relaxed, and the reason.
    #[track_caller]
    fn check(
        ordered: bool,
        found: Value,
        gold: Value,
        expected: (bool, bool),
        words: &str,
    ) {
        let comparison = Table { ordered }.compare_rows(&rows(found), &rows(gold));
        assert_eq!((comparison.strict, comparison.relaxed), expected, "{comparison:?}");
        assert!(comparison.reason.contains(words), "{comparison:?}");
        assert_eq!(comparison.value == 1.0, comparison.strict, "{comparison:?}");
        assert!((0.0..=1.0).contains(&comparison.value));
    }

    #[test]
    fn the_semantics_are_those_declared() {
        let two = json!([[1, "a"], [2, "b"]]);
        check(false, json!([[2, "b"], [1, "a"]]), two.clone(), (true, true), "bag");
        check(true, two.clone(), two.clone(), (true, true), "in order");
        check(
            true,
            json!([[2, "b"], [1, "a"]]),
            two.clone(),
            (false, true),
            "another order",
        );
        check(
            false,
            json!([["a", 1], ["b", 2]]),
            two.clone(),
            (false, true),
            "columns in",
        );
        check(
            false,
            json!([[1, 9, "a"], [2, 9, "b"]]),
            two.clone(),
            (false, true),
            "1 more",
        );
        check(false, json!([[1], [2]]), two.clone(), (false, false), "1 of 2 columns");
        check(false, json!([[1, "b"], [2, "a"]]), two.clone(), (false, false), "no row");
        check(false, json!([]), two.clone(), (false, false), "0 rows");
        check(false, json!([]), json!([]), (true, true), "bag");
        let doubled = json!([[1, "a"], [1, "a"], [2, "b"]]);
        check(false, doubled, two, (false, true), "3 rows for 2");
    }

    #[test]
    fn values_are_equal_as_declared() {
        let check_one = |found, gold, expected| {
            check(false, json!([[found]]), json!([[gold]]), expected, "");
        };
        check_one(json!(2), json!(2.0), (true, true));
        check_one(json!(1.0 / 3.0), json!(0.333_333_333_333_4), (true, true));
        check_one(json!(0.33333), json!(1.0 / 3.0), (false, true));
        check_one(json!(0.333), json!(1.0 / 3.0), (false, false));
        check_one(json!("2"), json!(2), (false, true));
        check_one(json!(" a"), json!("a"), (false, true));
        check_one(json!("A"), json!("a"), (false, false));
        check_one(json!(null), json!(null), (true, true));
        check_one(json!(null), json!(0), (false, false));
        check_one(json!(""), json!(null), (false, false));
        check_one(json!(i64::MAX), json!(i64::MAX - 1), (false, true));
        check_one(json!({"blob": "00"}), json!({"blob": "01"}), (false, false));
        check_one(json!({"real": "inf"}), json!({"real": "inf"}), (true, true));
    }

    #[test]
    fn many_equal_columns_stay_cheap() {
        let row: Vec<i64> = vec![1; 40];
        let same: Vec<&Vec<i64>> = vec![&row; 3];
        check(false, json!(same), json!(same), (true, true), "");
        // Every column of both holds the same 31 values, and no two go together alike.
        let square = |cell: fn(i64, i64) -> i64| -> Value {
            let row = |r: i64| (0..30).map(|c| cell(r, c) % 31).collect::<Vec<i64>>();
            json!((0..31).map(row).collect::<Vec<_>>())
        };
        let (sums, products) = (square(|r, c| r + c), square(|r, c| r * (c + 1)));
        let started = std::time::Instant::now();
        check(false, sums, products, (false, false), "");
        assert!(started.elapsed().as_secs() < 20);
    }

    #[test]
    fn the_answer_is_executed_and_the_gold_where_nothing_is_recorded() {
        let table = Table::default();
        let gold = Gold(json!({ "answer": "SELECT 1", "aliases": ["SELECT 2"] }));
        let queries = |gold: &Gold| -> Vec<String> {
            let calls = table.calls("```sql\nSELECT 3;\n```", gold);
            calls
                .iter()
                .map(|call| call.args["query"].as_str().unwrap_or("").into())
                .collect()
        };
        assert_eq!(queries(&gold), ["SELECT 3", "SELECT 1", "SELECT 2"]);
        let shown = |rows: Value| Observation::Output {
            text: String::new(),
            data: json!({ "rows": rows }),
        };
        let observed = [shown(json!([[3]])), shown(json!([[1]])), shown(json!([[3.0]]))];
        assert!(table.compare(&gold, &observed).strict, "an alias will do");
        let recorded = Gold(json!({ "answer": "SELECT 1", "result": {"rows": [[3]]} }));
        assert_eq!(queries(&recorded), ["SELECT 3"]);
        assert!(table.compare(&recorded, &observed[..1]).strict);
        let fault = [Observation::fault(crate::Fault::Trap, "no such table: x")];
        let compared = table.compare(&recorded, &fault);
        assert!(!compared.relaxed && compared.reason.contains("no such table"));
    }
}
