//! Answers of named values, `@name[value]`, as InfiAgent-DABench asks for them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::comparators::Comparison;
use crate::comparators::number::parse_number;
use crate::comparators::text::normalise_answer;

/// The largest difference between two numbers that the dataset's evaluation takes for equal.
const STRICT: f64 = 1e-6;
/// The share of the gold value within which a number is nearly right.
const RELAXED: f64 = 0.01;

/// Compares answers of one or more values written `@name[value]`, anywhere in a text.
///
/// Strict, as in InfiAgent-DABench (Hu et al., 2024): every name of the gold is given, with
/// a number within 1e-6 of the gold's where both are numbers, and with the same text, letter
/// case aside, where they are not. Relaxed: numbers within 1 % of the gold's, or equal to it
/// once rounded to its number of decimals; texts alike but for case, punctuation and
/// articles. Names are compared without case; names that the gold does not have are ignored.
/// Where a name is given twice the last value counts, as it does there; but if the values
/// differ that is two answers, and only relaxed semantics let it pass. The value is the share
/// of the gold's names that are strictly right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dabench {}

impl Dabench {
    /// Holds an answer against every gold answer, all of them in the same form.
    pub fn compare(self, answer: &str, golds: &[&str]) -> Comparison {
        let given = values(answer);
        let disputed = disputed(answer, &given);
        let nearest = golds
            .iter()
            .map(|gold| compare(&given, &disputed, &values(gold)))
            .reduce(|best, next| if next.value > best.value { next } else { best });
        nearest.unwrap_or_else(|| {
            let reason = "there is no gold answer".to_owned();
            Comparison { strict: false, relaxed: false, value: 0.0, reason }
        })
    }
}

fn compare(
    given: &BTreeMap<String, &str>,
    disputed: &BTreeSet<String>,
    gold: &BTreeMap<String, &str>,
) -> Comparison {
    let (mut strict, mut relaxed, mut wrong) = (0usize, 0usize, None);
    for (name, gold) in gold {
        let found = given.get(name).copied();
        let is = |equal: fn(&str, &str) -> bool| found.is_some_and(|f| equal(f, gold));
        let is_right = is(same) && !disputed.contains(name);
        strict += usize::from(is_right);
        relaxed += usize::from(is(same) || is(similar));
        if !is_right && wrong.is_none() {
            wrong = Some(match found {
                None => format!("@{name} is missing; it should be {gold}"),
                Some(_) if is(same) => format!("@{name} is given two values"),
                Some(found) => format!("@{name} should be {gold}, not {found}"),
            });
        }
    }
    let names = gold.len();
    Comparison {
        strict: names > 0 && strict == names,
        relaxed: names > 0 && relaxed == names,
        value: if names == 0 { 0.0 } else { strict as f64 / names as f64 },
        reason: match wrong {
            _ if names == 0 => "the gold answer names no value".to_owned(),
            None => format!("all {names} values are right"),
            Some(wrong) => wrong,
        },
    }
}

fn same(found: &str, gold: &str) -> bool {
    match (parse_number(found), parse_number(gold)) {
        (Some(found), Some(gold)) => (found - gold).abs() < STRICT,
        _ => found.to_lowercase() == gold.to_lowercase(),
    }
}

fn similar(found: &str, gold: &str) -> bool {
    let (Some(number), Some(wanted)) = (parse_number(found), parse_number(gold)) else {
        return normalise_answer(found) == normalise_answer(gold);
    };
    let decimals = gold.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    let rounded = format!("{number:.*}", decimals.min(12)).parse();
    (number - wanted).abs() <= RELAXED * wanted.abs()
        || rounded.is_ok_and(|rounded: f64| (rounded - wanted).abs() < STRICT)
}

/// The names that are given a value, and then another one.
fn disputed(text: &str, last: &BTreeMap<String, &str>) -> BTreeSet<String> {
    let differs = |(name, value): &(String, &str)| !same(last[name], value);
    pairs(text).into_iter().filter(differs).map(|(name, _)| name).collect()
}

/// The values of a text by their names in lower case, the last for each. A value ends at the
/// bracket that closes it, so that it may hold brackets itself.
pub(crate) fn values(text: &str) -> BTreeMap<String, &str> {
    pairs(text).into_iter().collect()
}

fn pairs(text: &str) -> Vec<(String, &str)> {
    let mut pairs = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('@') {
        rest = &rest[at + 1..];
        let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ');
        let Some(open) = rest.find(|c: char| !is_name(c)) else { break };
        if !rest[open..].starts_with('[') {
            continue;
        }
        let name = rest[..open].trim().to_lowercase();
        let inside = &rest[open + 1..];
        let mut depth = 1usize;
        let close = inside.char_indices().find(|(_, c)| {
            match c {
                '[' => depth += 1,
                ']' => depth -= 1,
                _ => {}
            }
            depth == 0
        });
        let Some((close, _)) = close else { break };
        if !name.is_empty() {
            pairs.push((name, inside[..close].trim()));
        }
        rest = &inside[close + 1..];
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_value_counts() {
        let gold = "@mean[34.65] @kind[linear] @pair[[1, 2]]";
        for (answer, strict, relaxed, value) in [
            (gold, true, true, 1.0),
            ("So: @pair[[1, 2]], @KIND[Linear], @mean[34.650].", true, true, 1.0),
            (
                "@mean[1] @mean[34.65] @kind[linear] @pair[[1, 2]] @more[9]",
                false,
                true,
                2.0 / 3.0,
            ),
            (
                "@mean[34.65] @kind[linear] @mean[34.650] @pair[[1, 2]] @more[9]",
                true,
                true,
                1.0,
            ),
            ("@mean[34.7] @kind[linear] @pair[[1, 2]]", false, true, 2.0 / 3.0),
            ("@mean[34.6523] @kind[The linear.] @pair[[1, 2]]", false, true, 1.0 / 3.0),
            ("@mean[35.65] @kind[linear] @pair[[1, 2]]", false, false, 2.0 / 3.0),
            ("@mean[34.65] @kind[linear]", false, false, 2.0 / 3.0),
            ("34.65", false, false, 0.0),
            ("@mean[34.65", false, false, 0.0),
            ("@@[[]@mean", false, false, 0.0),
            ("", false, false, 0.0),
        ] {
            let found = Dabench {}.compare(answer, &[gold]);
            assert_eq!((found.strict, found.relaxed), (strict, relaxed), "{answer:?}");
            assert!((found.value - value).abs() < 1e-12, "{answer:?}: {found:?}");
        }
        let found = Dabench {}.compare("@mean[2]", &["@mean[1]", "@mean[2]"]);
        assert!(found.strict, "any gold answer will do");
        assert!(!Dabench {}.compare("", &["no name"]).strict);
    }
}
