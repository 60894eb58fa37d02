//! Answers as words: exact match and token F1.
//!
//! [`normalise_answer`], [`exact_match`] and [`token_f1`] follow the evaluation of SQuAD
//! (Rajpurkar et al., 2016) with the rule that HotpotQA (Yang et al., 2018) adds for yes/no
//! questions, so that figures stand beside published ones.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::comparators::Comparison;

/// From this F1 on an answer worded otherwise than the gold is not called wrong. It is not
/// called right either: "not the United States" shares as many words as a fuller name.
const F1_MIN: f64 = 0.8;

/// Compares answers as words.
///
/// Strict: equal to a gold answer after normalisation. Relaxed: a token F1 of at least 0.8
/// with one. The value is the F1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {}

impl Text {
    /// Holds an answer against every gold answer. False without one.
    pub fn compare(self, answer: &str, golds: &[&str]) -> Comparison {
        let preferred = golds.first().copied().unwrap_or_default();
        let (strict, value) = (exact_match(answer, golds), token_f1(answer, golds));
        let relaxed = strict || value >= F1_MIN;
        let reason = if strict {
            "the answer is the gold answer".to_owned()
        } else if relaxed {
            format!("the answer is nearly {preferred:?}")
        } else {
            format!("the answer should be {preferred:?}")
        };
        Comparison { strict, relaxed, value, reason }
    }
}

/// An answer in the form in which answers are compared: lower case, without ASCII
/// punctuation, without the words `a`, `an` and `the`, with single spaces between words.
///
/// A word ends where letters and digits of any script end, as in the SQuAD evaluation:
/// `thesis` keeps its head, while `the–end` loses its article.
pub fn normalise_answer(text: &str) -> String {
    let mut bare = text.to_lowercase();
    bare.retain(|character| !character.is_ascii_punctuation());
    let mut spaced = String::with_capacity(bare.len());
    let mut rest = bare.as_str();
    while !rest.is_empty() {
        let outside = |character: char| !character.is_alphanumeric();
        let (word, after) = rest.split_at(rest.find(outside).unwrap_or(rest.len()));
        spaced.push_str(if matches!(word, "a" | "an" | "the") { " " } else { word });
        let gap = after.find(char::is_alphanumeric).unwrap_or(after.len());
        spaced.push_str(&after[..gap]);
        rest = &after[gap..];
    }
    let words: Vec<&str> = spaced.split_whitespace().collect();
    words.join(" ")
}

/// Whether an answer equals one of the gold answers after normalisation. False without a
/// gold answer.
pub fn exact_match(answer: &str, golds: &[&str]) -> bool {
    let answer = normalise_answer(answer);
    golds.iter().any(|gold| normalise_answer(gold) == answer)
}

/// The largest F1, 0 to 1, between the words of an answer and those of a gold answer, words
/// counted as often as they stand. Zero without a gold answer.
///
/// Where either side is `yes`, `no` or `noanswer` nothing but equality counts: a sentence
/// that merely contains a "no" earns nothing (HotpotQA). Where either side has no words left
/// after normalisation the F1 is 1 if both have none and 0 otherwise (SQuAD 2.0), so that an
/// exact match is never worth less than 1 here.
pub fn token_f1(answer: &str, golds: &[&str]) -> f64 {
    let answer = normalise_answer(answer);
    let f1 = |gold: &&str| f1_of_normalised(&answer, &normalise_answer(gold));
    golds.iter().map(f1).fold(0.0, f64::max)
}

fn f1_of_normalised(answer: &str, gold: &str) -> f64 {
    let all_or_nothing = |text: &str| matches!(text, "" | "yes" | "no" | "noanswer");
    if answer == gold {
        return 1.0;
    }
    if all_or_nothing(answer) || all_or_nothing(gold) {
        return 0.0;
    }
    let (answer, gold) = (word_counts(answer), word_counts(gold));
    let shared: u64 = answer
        .iter()
        .filter_map(|(word, count)| gold.get(word).map(|other| *count.min(other)))
        .sum();
    let total: u64 = answer.values().chain(gold.values()).sum();
    // The harmonic mean of shared/answer and shared/gold, without dividing by zero.
    2.0 * shared as f64 / total as f64
}

fn word_counts(normalised: &str) -> BTreeMap<&str, u64> {
    let mut counts = BTreeMap::new();
    for word in normalised.split(' ') {
        *counts.entry(word).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn answers_normalise_as_in_squad() {
        for (text, expected) in [
            ("The  Quick, brown fox!", "quick brown fox"),
            ("A thesis on Athens and Ann", "thesis on athens and ann"),
            ("an-the-a", "anthea"),
            ("the–end", "–end"),
            ("1,234.5", "12345"),
            ("ÉCOLE de l'Été", "école de lété"),
            ("\u{a0}東京\u{3000}the タワー\n", "東京 タワー"),
            ("the", ""),
            ("…", "…"),
            ("", ""),
            ("snake_case", "snakecase"),
        ] {
            assert_eq!(normalise_answer(text), expected, "{text:?}");
        }
    }

    #[test]
    fn f1_counts_words_and_treats_yes_and_no_apart() {
        for (answer, golds, expected) in [
            ("the red fox", &["red fox"][..], 1.0),
            ("red fox", &["red panda"], 0.5),
            ("red red fox", &["red panda"], 0.4),
            ("red red", &["red red"], 1.0),
            ("fox", &["panda", "fox cub"], 2.0 / 3.0),
            ("yes", &["Yes."], 1.0),
            ("no", &["no way out"], 0.0),
            ("yes it is", &["yes"], 0.0),
            ("noanswer", &["noanswer given"], 0.0),
            ("", &["the"], 1.0),
            ("", &["fox"], 0.0),
            ("fox", &["a"], 0.0),
            ("1,000", &["1000"], 1.0),
            ("fox", &[], 0.0),
        ] {
            let found = token_f1(answer, golds);
            assert!((found - expected).abs() < 1e-12, "{answer:?} {golds:?}: {found}");
        }
    }

    proptest! {
        #[test]
        fn normalising_is_bounded_and_f1_is_a_similarity(
            left in "(the|a|red|Fox|,| |é|–|yes|\\PC){0,12}",
            right in "(the|a|red|Fox|,| |é|–|yes|\\PC){0,12}",
        ) {
            let f1 = token_f1(&left, &[&right]);
            prop_assert!((0.0..=1.0).contains(&f1));
            prop_assert_eq!(f1, token_f1(&right, &[&left]));
            prop_assert_eq!(token_f1(&left, &[&right, &left]), 1.0);
            if exact_match(&left, &[&right]) {
                prop_assert_eq!(f1, 1.0);
            }
            let normalised = normalise_answer(&left);
            prop_assert!(!normalised.contains("  ") && normalised.trim() == normalised);
            prop_assert!(!normalised.split(' ').any(|w| matches!(w, "a" | "an" | "the")));
        }
    }
}
