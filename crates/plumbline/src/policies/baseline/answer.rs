//! Finding the answer in what was read: spans of the right kind, in sentences that have to
//! do with the question, near words that the question has too.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::policies::baseline::evidence::{Evidence, plain_title};
use crate::question::{Asked, Measure, PERSONS, Question, roots};
use crate::text;

const MONTHS: &[&str] = &[
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const NUMBER_WORDS: &[&str] = &[
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "once", "twice", "dozen", "hundred", "thousand", "million",
];

/// Endings of words for peoples.
const DEMONYM_ENDINGS: &[&str] =
    &["an", "ish", "ese", "ench", "utch", "elsh", "eek", "wiss"];

/// A candidate and how well it does.
pub(super) struct Candidate {
    /// What would be answered.
    pub(super) text: String,
    /// Its score; any number of at least 0.
    pub(super) score: f64,
}

/// Candidate answers, in the order met; the best one is the highest score.
pub(super) fn candidates(
    question: &Question<'_>,
    evidence: &Evidence<'_>,
) -> Vec<Candidate> {
    match question.asked {
        Asked::YesNo => yes_or_no(question, evidence),
        Asked::Choice { between, by } => choose(evidence, between, by),
        _ => spans(question, evidence),
    }
}

fn spans(question: &Question<'_>, evidence: &Evidence<'_>) -> Vec<Candidate> {
    let mut found = Tally::default();
    for sentence in &evidence.sentences {
        for (range, fit) in spans_of(question.asked, sentence.text) {
            let span = &sentence.text[range.clone()];
            if question.says(span) {
                continue;
            }
            let fit = fit * subject_fit(question.asked, evidence, evidence.titled(span));
            found.add(span, sentence.weight * fit * sentence.nearness(&range));
        }
        // A sentence is about its passage's subject, which it need not name.
        let subject = Some(sentence.passage);
        let title = plain_title(evidence.passages[sentence.passage].title);
        let named = matches!(question.asked, Asked::Person | Asked::Place | Asked::Thing);
        if named && !title.is_empty() && !question.says(title) {
            let fit = subject_fit(question.asked, evidence, subject);
            found.add(title, sentence.weight * fit);
        }
    }
    found.candidates
}

/// Candidates under way: one for each text, letter case aside.
#[derive(Default)]
struct Tally {
    candidates: Vec<Candidate>,
    places: BTreeMap<String, usize>,
}

impl Tally {
    /// Counts a text met with a score: the best score, and a little for being met again.
    fn add(&mut self, text: &str, score: f64) {
        let next = self.candidates.len();
        let place = *self.places.entry(text.to_lowercase()).or_insert(next);
        match self.candidates.get_mut(place) {
            Some(candidate) => {
                let other = candidate.score.min(score);
                candidate.score = candidate.score.max(score) + 0.1 * other;
            }
            None => self.candidates.push(Candidate { text: text.to_owned(), score }),
        }
    }
}

/// How well the subject of a passage fits as a person or a place, 0 to 1; 1 where no passage
/// tells.
fn subject_fit(asked: Asked<'_>, evidence: &Evidence<'_>, passage: Option<usize>) -> f64 {
    let (Some(passage), Asked::Person | Asked::Place) = (passage, asked) else {
        return 1.0;
    };
    let text = evidence.passages[passage].text;
    let head = &text[..text.floor_char_boundary(160)];
    let person = head.contains("born")
        || head.contains(" who ")
        || text::words(head).any(|(_, word)| PERSONS.contains(&word));
    if person == (asked == Asked::Person) { 1.0 } else { 0.3 }
}

/// The spans of a sentence that could be an answer of this kind, each with how well it fits,
/// 0 to 1.
fn spans_of(asked: Asked<'_>, text: &str) -> Vec<(Range<usize>, f64)> {
    match asked {
        Asked::Year => years(text).map(|(range, _)| (range, 1.0)).collect(),
        Asked::Date => dates(text),
        Asked::Number => numbers(text),
        Asked::Nationality => demonyms(text),
        Asked::Person => names(text, person_fit),
        Asked::Place => names(text, place_fit),
        Asked::Thing => names(text, |_, _| 0.8),
        Asked::YesNo | Asked::Choice { .. } => vec![],
    }
}

fn names(
    text: &str,
    fit: impl Fn(&str, &Range<usize>) -> f64,
) -> Vec<(Range<usize>, f64)> {
    let names =
        text::names(text).into_iter().filter(|name| !is_demonym(&text[name.clone()]));
    names.map(|range| (range.clone(), fit(text, &range))).collect()
}

fn person_fit(text: &str, range: &Range<usize>) -> f64 {
    let name = &text[range.clone()];
    let words = text::words(name).count();
    let place = before(text, range, &["in", "at", "from"]);
    match words {
        _ if place
            || MONTHS.contains(&name)
            || name.contains(|c: char| c.is_numeric()) =>
        {
            0.2
        }
        2 | 3 => 1.0,
        4 => 0.7,
        _ => 0.4,
    }
}

fn place_fit(text: &str, range: &Range<usize>) -> f64 {
    let name = &text[range.clone()];
    if MONTHS.contains(&name) || name.contains(|c: char| c.is_numeric()) {
        return 0.1;
    }
    if before(text, range, &["in", "at", "near", "from", "of"]) {
        return 1.0;
    }
    // `Oslo, Norway`: the second place of a pair.
    if text[..range.start].ends_with(", ") { 0.7 } else { 0.4 }
}

/// Whether one of these words, and perhaps an article, stands right before a place.
fn before(text: &str, range: &Range<usize>, words: &[&str]) -> bool {
    let head = text[..range.start].trim_end();
    let head = head.strip_suffix(" the").unwrap_or(head);
    words.iter().any(|word| {
        head.strip_suffix(word).is_some_and(|rest| rest.is_empty() || rest.ends_with(' '))
    })
}

/// The years in a text: four digits that begin with 1 or 2, with their value.
pub(super) fn years(text: &str) -> impl Iterator<Item = (Range<usize>, u32)> {
    text::words(text).filter_map(|(start, word)| {
        let year = word.len() == 4 && word.starts_with(['1', '2']);
        let value = word.parse().ok().filter(|_| year)?;
        Some((start..start + word.len(), value))
    })
}

/// Years, widened to the day or month before them where there is one.
fn dates(text: &str) -> Vec<(Range<usize>, f64)> {
    let widen = |(range, _): (Range<usize>, u32)| {
        let words: Vec<(usize, &str)> = text::words(&text[..range.start]).collect();
        let is_day =
            |word: &str| word.len() <= 2 && word.bytes().all(|b| b.is_ascii_digit());
        let start = match words.as_slice() {
            [.., (start, month), (_, day)] if MONTHS.contains(month) && is_day(day) => {
                *start
            }
            [.., (start, day), (_, month)] if MONTHS.contains(month) && is_day(day) => {
                *start
            }
            [.., (start, month)] if MONTHS.contains(month) => *start,
            _ => return (range, 0.7),
        };
        (start..range.end, 1.0)
    };
    years(text).map(widen).collect()
}

/// Numbers in digits, with their thousands, or in words; years fit less.
fn numbers(text: &str) -> Vec<(Range<usize>, f64)> {
    let mut found: Vec<(Range<usize>, f64)> = Vec::new();
    for (start, word) in text::words(text) {
        let end = start + word.len();
        let digits = word.bytes().all(|byte| byte.is_ascii_digit());
        if digits {
            let year = years(word).next().is_some();
            match found.last_mut() {
                Some((last, fit))
                    if matches!(&text[last.end..start], "," | ".")
                        && text[last.clone()].ends_with(|c: char| c.is_ascii_digit()) =>
                {
                    last.end = end;
                    *fit = 1.0;
                }
                _ => found.push((start..end, if year { 0.3 } else { 1.0 })),
            }
        } else if NUMBER_WORDS.contains(&word.to_lowercase().as_str()) {
            match found.last_mut() {
                Some((last, _)) if &text[last.end..start] == " " => last.end = end,
                _ => found.push((start..end, 0.6)),
            }
        }
    }
    found
}

/// Words for peoples: `American`, `Swedish`.
fn demonyms(text: &str) -> Vec<(Range<usize>, f64)> {
    let demonyms = text::words(text).filter(|(_, word)| is_demonym(word));
    demonyms.map(|(start, word)| (start..start + word.len(), 1.0)).collect()
}

/// Whether a word looks like one for a people. `Norman` does too; that is the price.
pub(super) fn is_demonym(word: &str) -> bool {
    word.len() > 4
        && word.starts_with(char::is_uppercase)
        && DEMONYM_ENDINGS.iter().any(|ending| word.ends_with(ending))
}

/// Yes if what is said of one thing in the question is said of the other too.
fn yes_or_no(question: &Question<'_>, evidence: &Evidence<'_>) -> Vec<Candidate> {
    let mut passages: Vec<usize> =
        question.names.iter().filter_map(|name| evidence.about(name)).collect();
    passages.sort_unstable();
    passages.dedup();
    let holds = match passages.as_slice() {
        [] => false,
        _ if question.roots.contains("nationality")
            || question.roots.contains("country") =>
        {
            let nation = |passage: &usize| {
                let text = evidence.passages[*passage].text;
                demonyms(text).first().map(|(range, _)| &text[range.clone()])
            };
            passages.windows(2).all(|pair| nation(&pair[0]) == nation(&pair[1]))
        }
        _ => {
            let asked: Vec<&String> = question
                .roots
                .iter()
                .filter(|root| {
                    !question.names.iter().any(|name| roots(name).contains(root))
                })
                .collect();
            passages.iter().all(|passage| {
                let said = roots(evidence.passages[*passage].text);
                let count = asked.iter().filter(|root| said.contains(root)).count();
                2 * count >= asked.len()
            })
        }
    };
    let (yes, no) = if holds { (1.0, 0.5) } else { (0.5, 1.0) };
    let candidate = |text: &str, score| Candidate { text: text.to_owned(), score };
    vec![candidate("yes", yes), candidate("no", no)]
}

/// The alternative that measures up, by the figures of the documents about the two.
fn choose(evidence: &Evidence<'_>, between: [&str; 2], by: Measure) -> Vec<Candidate> {
    let passages = between.map(|name| evidence.about(name));
    let year = |passage: usize| {
        let mut years = evidence.sentences_of(passage).flat_map(|s| years(s.text));
        years.next().map(|(_, year)| f64::from(year))
    };
    let number = |passage: usize| {
        let texts = evidence.sentences_of(passage).map(|sentence| sentence.text);
        let parse = |text: &str, range: Range<usize>| {
            text[range].replace(',', "").parse::<f64>().ok()
        };
        let all = texts.flat_map(|text| {
            numbers(text).into_iter().filter_map(move |(range, _)| parse(text, range))
        });
        all.fold(None, |most: Option<f64>, n| Some(most.map_or(n, |most| most.max(n))))
    };
    let fit = |passage: usize| {
        let weights = evidence.sentences_of(passage).map(|sentence| sentence.weight);
        Some(weights.fold(0.0, f64::max))
    };
    let measured = passages.map(|passage| {
        let passage = passage?;
        match by {
            Measure::Earlier => year(passage).map(|year| -year),
            Measure::Later => year(passage),
            Measure::More => number(passage),
            Measure::Fewer => number(passage).map(|number| -number),
            Measure::Fit => fit(passage),
        }
    });
    let second = match measured {
        [Some(one), Some(two)] => two > one,
        [None, Some(_)] => true,
        [Some(_), None] | [None, None] => false,
    };
    let scores = if second { [0.5, 1.0] } else { [1.0, 0.5] };
    let pairs = between.into_iter().zip(scores);
    pairs.map(|(name, score)| Candidate { text: name.to_owned(), score }).collect()
}
