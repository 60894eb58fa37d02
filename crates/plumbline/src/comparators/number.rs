//! Answers as numbers: equal within a relative or an absolute tolerance.

use serde::{Deserialize, Serialize};

use crate::comparators::Comparison;

/// How many times wider than the strict tolerances the relaxed ones are.
const RELAXED: f64 = 100.0;

/// Compares answers as numbers.
///
/// Strict: the answer is one number ([`parse_number`]) and lies within `absolute` of a gold
/// answer, or within `relative` times that answer's magnitude. Relaxed: the answer is a text
/// with exactly one number in it, or its last number stands after an equals sign; tolerances
/// are a hundred times as wide, and never more than one part in a hundred.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Number {
    /// The largest difference that counts as none, in the answer's own unit.
    pub absolute: f64,
    /// The same as a share of the gold answer.
    pub relative: f64,
}

impl Default for Number {
    fn default() -> Self {
        Self { absolute: 1e-9, relative: 1e-6 }
    }
}

impl Number {
    /// Holds an answer against every gold answer; gold answers that are no numbers are none.
    pub fn compare(&self, answer: &str, golds: &[&str]) -> Comparison {
        let golds: Vec<f64> =
            golds.iter().filter_map(|gold| parse_number(gold)).collect();
        let Some(preferred) = golds.first() else {
            let reason = "the gold answer is no number".to_owned();
            return Comparison { strict: false, relaxed: false, value: 0.0, reason };
        };
        let near = |found: f64, tolerance: f64, relative_max: f64| {
            golds.iter().any(|gold| {
                let relative = (self.relative * tolerance).min(relative_max);
                let difference = (found - gold).abs();
                difference <= self.absolute * tolerance
                    || difference <= relative * gold.abs()
            })
        };
        let exact = parse_number(answer);
        let strict = exact.is_some_and(|found| near(found, 1.0, f64::INFINITY));
        let loose = exact.or_else(|| only_number(answer));
        let wide = self.relative.max(0.01);
        let relaxed = strict || loose.is_some_and(|found| near(found, RELAXED, wide));
        let reason = match loose {
            _ if strict => format!("the answer is {preferred}"),
            None => {
                format!("the answer holds no single number; it should be {preferred}")
            }
            Some(found) if exact.is_none() && found == *preferred => {
                format!("the answer is {preferred}, among words")
            }
            Some(found) if relaxed => format!("{found} is nearly {preferred}"),
            Some(found) => format!("the answer should be {preferred}, not {found}"),
        };
        let value = if strict { 1.0 } else { loose.map_or(0.0, |n| nearness(n, &golds)) };
        Comparison { strict, relaxed, value, reason }
    }
}

/// 1 for the number itself, falling to 0 as the difference reaches the number's magnitude.
fn nearness(found: f64, golds: &[f64]) -> f64 {
    let nearness = |gold: &f64| {
        let scale = gold.abs().max(f64::MIN_POSITIVE);
        (1.0 - (found - gold).abs() / scale).clamp(0.0, 1.0)
    };
    golds.iter().map(nearness).fold(0.0, f64::max)
}

/// Reads a whole text as one number: digits with a decimal point and an exponent, thousands
/// separated by commas, underscores or thin spaces, a currency sign before it, a percent sign
/// after it (which divides by 100). `None` for anything else, infinities and NaN included.
pub fn parse_number(text: &str) -> Option<f64> {
    let text = text.trim().trim_end_matches('.');
    let (text, divisor) = match text.strip_suffix('%') {
        Some(rest) => (rest.trim_end(), 100.0),
        None => (text, 1.0),
    };
    let (negative, text) = match text.strip_prefix(['-', '\u{2212}']) {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let text = text.trim_start().trim_start_matches(['$', '€', '£', '¥']).trim_start();
    if !text.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let digits = without_thousands(text)?;
    let number: f64 = digits.parse().ok()?;
    let number = if negative { -number } else { number } / divisor;
    number.is_finite().then_some(number)
}

/// The number without its thousands separators, which must stand before every third digit.
fn without_thousands(text: &str) -> Option<String> {
    let is_separator =
        |c: char| matches!(c, ',' | '_' | '\u{a0}' | '\u{2009}' | '\u{202f}');
    let whole = text.find(['.', 'e', 'E']).unwrap_or(text.len());
    let (whole, rest) = text.split_at(whole);
    if !whole.contains(is_separator) {
        return Some(text.to_owned());
    }
    let mut groups = whole.split(is_separator);
    let first = groups.next()?;
    let fits = (1..=3).contains(&first.len()) && groups.all(|group| group.len() == 3);
    let digits: String = whole.chars().filter(|c| !is_separator(*c)).collect();
    (fits && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits + rest)
}

/// The number of a text that holds exactly one, or the one after its last equals sign.
fn only_number(text: &str) -> Option<f64> {
    let after = text.rsplit_once('=').map_or(text, |(_, after)| after);
    let mut numbers = after.split_whitespace().filter_map(|word| {
        parse_number(word.trim_matches(['(', ')', '[', ']', ':', ';', ',', '"', '\'']))
    });
    let number = numbers.next()?;
    numbers.next().is_none().then_some(number)
}

/// The numbers that stand in a text, thousands separated by commas or not.
pub(crate) fn numbers(text: &str) -> Vec<f64> {
    let mut numbers = Vec::new();
    let bytes = text.as_bytes();
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let mut at = 0;
    while at < bytes.len() {
        if !is_digit(at) {
            at += 1;
            continue;
        }
        let start = at;
        while is_digit(at)
            || (matches!(bytes.get(at), Some(b'.' | b',')) && is_digit(at + 1))
        {
            at += 1;
        }
        let exponent = usize::from(matches!(bytes.get(at + 1), Some(b'-' | b'+')));
        if matches!(bytes.get(at), Some(b'e' | b'E')) && is_digit(at + 1 + exponent) {
            at += 1 + exponent;
            while is_digit(at) {
                at += 1;
            }
        }
        let negative = start > 0 && bytes[start - 1] == b'-';
        let start = start - usize::from(negative);
        if let Ok(number) = text[start..at].replace(',', "").parse() {
            numbers.push(number);
        }
    }
    numbers
}

/// Whether finding a number somewhere says anything: whole numbers up to 30 stand everywhere.
pub(crate) fn is_telling(number: f64) -> bool {
    number.fract() != 0.0 || number.abs() > 30.0
}

/// Whether a number is another one rounded to its decimals.
pub(crate) fn rounds_to(number: f64, written: &str) -> bool {
    let decimals = written.split_once('.').map_or(0, |(_, decimals)| {
        decimals.bytes().take_while(u8::is_ascii_digit).count()
    });
    let unit = 0.5 / 10f64.powi(i32::try_from(decimals.min(12)).expect("at most 12"));
    parse_number(written)
        .is_some_and(|wanted| (number - wanted).abs() <= unit * (1.0 + 1e-9))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_people_write_them() {
        for (text, expect) in [
            ("42", Some(42.0)),
            (" -1,234.50 ", Some(-1234.5)),
            ("\u{2212}3", Some(-3.0)),
            ("$1_000_000", Some(1e6)),
            ("12.5 %", Some(0.125)),
            ("1e3", Some(1000.0)),
            (".5", Some(0.5)),
            ("7.", Some(7.0)),
            ("1,23", None),
            ("12,34,567", None),
            ("inf", None),
            ("nan", None),
            ("1e999", None),
            ("", None),
            ("-", None),
            ("3 apples", None),
            ("0x10", None),
        ] {
            assert_eq!(parse_number(text), expect, "{text:?}");
        }
    }

    #[test]
    fn tolerances_are_absolute_or_relative_and_words_only_relax() {
        let number = Number { absolute: 0.01, relative: 1e-4 };
        for (answer, strict, relaxed) in [
            ("1000", true, true),
            ("1000.05", true, true),
            ("1,000.09", true, true),
            ("1001", false, true),
            ("1009.9", false, true),
            ("1011", false, false),
            ("The profit is $1000.", false, true),
            ("3 * 333.33 = 1000", false, true),
            ("1000 or 2000", false, false),
            ("", false, false),
        ] {
            let found = number.compare(answer, &["1000"]);
            assert_eq!((found.strict, found.relaxed), (strict, relaxed), "{answer:?}");
        }
        let none = number.compare("3", &["three"]);
        assert!(!none.relaxed && none.reason.contains("no number"));
    }

    #[test]
    fn numbers_are_found_in_texts() {
        let found = numbers("mean 1,250.5, -3 of [2e-3] 4.\n5");
        assert_eq!(found, [1250.5, -3.0, 0.002, 4.0, 5.0]);
        assert!(rounds_to(2.34159, "2.34") && !rounds_to(2.34159, "2.35"));
        assert!(rounds_to(2.5, "3") && !rounds_to(2.4, "3") && !rounds_to(1.0, "one"));
    }
}
