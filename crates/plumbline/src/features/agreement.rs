//! How far an answer agrees with a right one.
//!
//! People who label answers accept more than equality: a sentence around the answer, another
//! form of a date, a shorter name. They accept less than containment: an answer that names
//! the right thing among others, or says it cannot tell. So agreement is the share of the
//! right answer's words that the answer has, but
//!
//! * 0 where the answer [declines];
//! * for a right answer of yes or no, 1 or 0 by the [stance] of the answer, read off its
//!   first word or, failing that, off a negation in its first sentence;
//! * 0 where the question offers two alternatives and the answer names the other one first;
//! * divided by their number where the answer offers several [parts] and one alone has the
//!   right answer whole.
//!
//! Words are compared in lower case and singular, numbers as digits, stop words aside unless
//! there are no others.

use std::collections::BTreeSet;

use crate::features::terms::Terms;
use crate::question::{Asked, Question};
use crate::{Gold, text};

/// Words of an answer up to which it can be a list of alternatives: longer ones are prose.
const LIST_WORDS_MAX: usize = 15;

/// What an answer that declines says, in words.
const DECLINES: &[&str] = &[
    "can not be",
    "can t be",
    "can t find",
    "can t determine",
    "cannot be",
    "cannot determine",
    "cannot find",
    "cannot identify",
    "could not",
    "couldn t",
    "do not contain",
    "do not know",
    "do not mention",
    "do not provide",
    "do not specify",
    "does not contain",
    "does not exist",
    "does not mention",
    "does not provide",
    "does not specify",
    "don t know",
    "insufficient",
    "more context",
    "more information",
    "no answer",
    "no clear",
    "no definitive",
    "no evidence",
    "no information",
    "no known",
    "no record",
    "no specific",
    "no such",
    "none found",
    "not available",
    "not clear",
    "not enough",
    "not found",
    "not mentioned",
    "not possible",
    "not provided",
    "not specified",
    "please provide",
    "there are no",
    "there is no",
    "there was no",
    "there were no",
    "unable to",
    "unanswerable",
    "unknown",
];

/// Numbers in words; a word's place is its number.
const NUMBERS: &[&str] = &[
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine",
    "ten", "eleven", "twelve",
];

/// The right answers of a task, read.
pub(super) struct Key {
    answers: Vec<Right>,
    supporting: BTreeSet<String>,
}

struct Right {
    words: BTreeSet<String>,
    terms: Terms,
    /// For yes and no.
    stance: Option<bool>,
    /// Which of a question's two alternatives this is, with the other one's own words.
    other: Option<BTreeSet<String>>,
}

impl Key {
    pub(super) fn new(gold: &Gold, question: &Question<'_>) -> Self {
        let right = |answer: &&str| {
            let words = answer_words(answer);
            let stance = match text::normalised_words(answer).as_slice() {
                [(word, _)] if word == "yes" => Some(true),
                [(word, _)] if word == "no" => Some(false),
                _ => None,
            };
            let other = match question.asked {
                Asked::Choice { between: [one, two], .. } => {
                    let (one, two) = (answer_words(one), answer_words(two));
                    let shared =
                        |side: &BTreeSet<String>| side.intersection(&words).count();
                    let other = if shared(&one) > shared(&two) { &two } else { &one };
                    (shared(&one) != shared(&two))
                        .then(|| other.difference(&words).cloned().collect())
                }
                _ => None,
            };
            Right { words, terms: Terms::of(answer), stance, other }
        };
        let answers = gold.answers().iter().map(right).collect();
        let supporting = gold.supporting().into_iter().map(str::to_owned).collect();
        Self { answers, supporting }
    }

    /// Whether a document, of this id and with these terms, has every word of a right answer
    /// or is known to support one. A yes or no stands nowhere.
    pub(super) fn stands_in(&self, id: &str, document: &Terms) -> bool {
        let has = |right: &Right| {
            let terms = &right.terms;
            right.stance.is_none()
                && !terms.is_empty()
                && terms.shared(document) == terms.len()
        };
        self.supporting.contains(id) || self.answers.iter().any(has)
    }

    /// See the module's page.
    pub(super) fn agreement(&self, answer: &str, question: &Question<'_>) -> f64 {
        let agreement = |right: &Right| right.agreement(answer, question);
        self.answers.iter().map(agreement).fold(0.0, f64::max)
    }
}

impl Right {
    fn agreement(&self, answer: &str, question: &Question<'_>) -> f64 {
        if let Some(right) = self.stance {
            let said = stance(answer).unwrap_or_else(|| !negates(answer));
            return f64::from(u8::from(said == right));
        }
        if declines(answer) || self.words.is_empty() {
            return 0.0;
        }
        if let Some(other) = &self.other {
            let first = |words: &BTreeSet<String>| {
                ordered_words(answer).iter().position(|word| words.contains(word))
            };
            if first(other)
                .is_some_and(|other| first(&self.words).is_none_or(|own| other < own))
            {
                return 0.0;
            }
        }
        let recall = self.recall(answer);
        let parts = parts(answer);
        let whole = parts.iter().filter(|part| self.recall(part) >= 1.0).count();
        let choice = matches!(question.asked, Asked::Choice { .. });
        if !choice && parts.len() > 1 && whole == 1 {
            return recall / parts.len() as f64;
        }
        recall
    }

    fn recall(&self, answer: &str) -> f64 {
        let answer = answer_words(answer);
        self.words.intersection(&answer).count() as f64 / self.words.len() as f64
    }
}

/// Whether the first sentence of an answer says that there is none to be given.
pub(super) fn declines(answer: &str) -> bool {
    let sentence = text::sentences(answer).into_iter().next().map_or("", |r| &answer[r]);
    let words: Vec<String> =
        text::words(sentence).map(|(_, word)| word.to_lowercase()).collect();
    match words.first().map(String::as_str) {
        Some("yes" | "no") if words.get(1).is_none_or(|word| word != "such") => {
            return false;
        }
        Some("none" | "neither") => return true,
        _ => {}
    }
    let spaced = format!(" {} ", words.join(" "));
    DECLINES.iter().any(|phrase| {
        let at = spaced.find(phrase);
        at.is_some_and(|at| {
            spaced[..at].ends_with(' ') && spaced[at + phrase.len()..].starts_with(' ')
        })
    })
}

/// Whether an answer begins with yes or with no.
pub(super) fn stance(answer: &str) -> Option<bool> {
    let (_, first) = text::words(answer).next()?;
    match first.to_lowercase().as_str() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

fn negates(answer: &str) -> bool {
    let sentence = text::sentences(answer).into_iter().next().map_or("", |r| &answer[r]);
    let negation = ["not", "neither", "nor", "never", "isn", "aren", "wasn", "weren"];
    text::words(sentence)
        .any(|(_, word)| negation.contains(&word.to_lowercase().as_str()))
}

/// The alternatives an answer offers: what stands between `or`, semicolons, slashes between
/// spaces and line breaks, if the answer is short.
pub(super) fn parts(answer: &str) -> Vec<&str> {
    if text::words(answer).nth(LIST_WORDS_MAX).is_some() {
        return vec![answer];
    }
    let lines = answer.split([';', '\n']).flat_map(|part| part.split(" / "));
    let parts = lines.flat_map(|part| part.split(" or ")).map(str::trim);
    parts.filter(|part| !text::terms(part).is_empty()).collect()
}

fn answer_words(text: &str) -> BTreeSet<String> {
    let all = ordered_words(text);
    let some: BTreeSet<String> =
        all.iter().filter(|word| !text::is_stop_word(word)).cloned().collect();
    if some.is_empty() { all.into_iter().collect() } else { some }
}

/// The words of a text as answers are compared here, in order.
fn ordered_words(text: &str) -> Vec<String> {
    let joined = without_separators(text);
    let word = |word: &str| {
        let lower = word.to_lowercase();
        if let Some(number) = NUMBERS.iter().position(|name| *name == lower) {
            return number.to_string();
        }
        let mut word = text::singular(lower);
        if word.len() > 3 && word.ends_with("ie") {
            word.truncate(word.len() - 2);
            word.push('y');
        }
        word
    };
    text::words(&joined).map(|(_, found)| word(found)).collect()
}

/// A text without the commas that stand between digits: `1,000` is one number.
fn without_separators(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    let mut before = ' ';
    while let Some(character) = rest.next() {
        let after = rest.peek().copied().unwrap_or(' ');
        let separates =
            character == ',' && before.is_ascii_digit() && after.is_ascii_digit();
        if !separates {
            kept.push(character);
        }
        before = character;
    }
    kept
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn agreement_is_what_people_accept() {
        let check = |question: &str, gold: &str, answer: &str, expect: f64| {
            let question = Question::read(question);
            let key = Key::new(&Gold(json!({ "answer": gold })), &question);
            let found = key.agreement(answer, &question);
            assert!((found - expect).abs() < 1e-9, "{gold:?} {answer:?}: {found}");
        };
        let who = "Who built the Bell Tower?";
        check(who, "Ann Lee", "Ann Lee", 1.0);
        check(who, "Ann Lee", "It was built by Ann Lee, a smith.", 1.0);
        check(who, "Ann Lee", "Lee", 0.5);
        check(who, "Ann Lee", "Bo Ek", 0.0);
        check(who, "Ann Lee", "Ann Lee or Bo Ek", 0.5);
        check(who, "Ann Lee", "Insufficient information about Ann Lee.", 0.0);
        check(who, "The Who", "the who", 1.0);
        check(who, "", "", 0.0);
        check("When?", "between the 8th and 16th centuries", "8th to 16th century", 1.0);
        check("When?", "1969 until 1974", "1969–1974", 1.0);
        check("How many live there?", "12,000", "12000 people", 1.0);
        check("How many bells?", "three", "3", 1.0);
        let choice = "Which is older, the Bell Tower or the Old Mill?";
        check(choice, "Old Mill", "The Old Mill is older than the Bell Tower.", 1.0);
        check(choice, "Old Mill", "The Bell Tower is older than the Old Mill.", 0.0);
        let whether = "Are both towers in Oslo?";
        check(whether, "no", "No, one is in Bergen.", 1.0);
        check(whether, "no", "One is in Oslo, the other is not.", 1.0);
        check(whether, "yes", "Yes", 1.0);
        check(whether, "yes", "no", 0.0);
        check(whether, "yes", "Both are.", 1.0);
    }

    #[test]
    fn an_answer_declines_in_its_first_sentence() {
        for (answer, expect) in [
            ("None found", true),
            ("There is no such film.", true),
            ("The results do not specify the technique. Drifting involves it.", true),
            ("Please provide more context (name, place)", true),
            ("No, both are documentaries.", false),
            ("No such film exists", true),
            ("Oslo. There is no other city of the name.", false),
            ("The Unknowns", false),
            ("", false),
        ] {
            assert_eq!(declines(answer), expect, "{answer:?}");
        }
    }

    #[test]
    fn short_answers_have_parts() {
        assert_eq!(
            parts("Oslo or Bergen; Narvik / Tromsø\n"),
            ["Oslo", "Bergen", "Narvik", "Tromsø"]
        );
        assert_eq!(parts("AC/DC"), ["AC/DC"]);
        assert_eq!(parts(&"word or ".repeat(20)).len(), 1);
        assert_eq!(parts(""), [""; 0]);
    }
}
