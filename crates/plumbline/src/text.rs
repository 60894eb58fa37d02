//! Reading text without a model: its words, names and sentences, and the documents that an
//! observation shows. English where a language must be assumed; total on any text.

use std::ops::Range;

use serde_json::Value;

use crate::Observation;

/// Words that say nothing about what a text is about. Sorted, for binary search.
pub(crate) const STOP_WORDS: &[&str] = &[
    "a", "about", "after", "all", "also", "an", "and", "any", "are", "as", "at", "be",
    "been", "before", "being", "between", "both", "but", "by", "can", "could", "d",
    "did", "do", "does", "during", "each", "for", "from", "had", "has", "have", "having",
    "he", "her", "him", "his", "how", "if", "in", "into", "is", "it", "its", "itself",
    "ll", "many", "may", "me", "more", "most", "much", "must", "my", "no", "not", "of",
    "on", "one", "or", "other", "our", "out", "over", "own", "s", "same", "she",
    "should", "so", "some", "such", "t", "than", "that", "the", "their", "them", "then",
    "there", "these", "they", "this", "those", "through", "to", "too", "under", "until",
    "up", "upon", "was", "we", "were", "what", "when", "where", "whether", "which",
    "while", "who", "whom", "whose", "why", "will", "with", "within", "would", "you",
    "your",
];

/// Small words that may stand inside a name: `Isle of Man`, `Ludwig van Beethoven`.
const NAME_LINKS: &[&str] = &[
    "al", "da", "de", "del", "der", "di", "du", "el", "la", "le", "of", "the", "van",
    "von",
];

/// Short forms whose full stop ends no sentence.
const SHORT_FORMS: &[&str] = &[
    "Co", "Corp", "Dr", "Inc", "Jr", "Lt", "Ltd", "Mr", "Mrs", "Ms", "No", "Sgt", "Sr",
    "St", "ca", "c", "vs",
];

/// The words of a text: longest runs of letters and digits, with the byte each begins at.
pub(crate) fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + text[at..].find(char::is_alphanumeric)?;
        let rest = &text[start..];
        let length = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
        at = start + length;
        Some((start, &rest[..length]))
    })
}

/// Whether a word says nothing about the subject. Expects lower case.
pub(crate) fn is_stop_word(word: &str) -> bool {
    STOP_WORDS.binary_search(&word).is_ok()
}

/// A lower-case word without a plural's `s`.
pub(crate) fn singular(mut lower: String) -> String {
    let plural = lower.len() > 3 && lower.ends_with('s') && !lower.ends_with("ss");
    if plural {
        lower.pop();
    }
    lower
}

/// The terms of a text's words, stop words left out, in order, repetitions kept.
pub(crate) fn terms(text: &str) -> Vec<String> {
    let lower = words(text).map(|(_, word)| word.to_lowercase());
    lower.filter(|word| !is_stop_word(word)).map(singular).collect()
}

/// The words of a text as answers are compared (see
/// [`normalise_answer`](crate::normalise_answer)), each with the bytes it stands on.
/// Joined by single spaces they are the normalised text, but for the Greek final sigma,
/// which is written here like any other.
pub(crate) fn normalised_words(text: &str) -> Vec<(String, Range<usize>)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(offset) = text[at..].find(|c: char| !c.is_whitespace()) {
        let start = at + offset;
        let length = text[start..].find(char::is_whitespace);
        at = length.map_or(text.len(), |length| start + length);
        normalise_chunk(&text[start..at], start, &mut found);
    }
    found
}

/// Adds the normalised words of a text without white space that begins at byte `offset`.
fn normalise_chunk(chunk: &str, offset: usize, found: &mut Vec<(String, Range<usize>)>) {
    // Each lower-case character with the bytes of the character it came from.
    let mut kept: Vec<(char, Range<usize>)> = Vec::with_capacity(chunk.len());
    for (index, character) in chunk.char_indices() {
        let bytes = offset + index..offset + index + character.len_utf8();
        let lower = character.to_lowercase();
        let lower = lower.filter(|c| !c.is_ascii_punctuation());
        kept.extend(lower.map(|c| (if c == 'ς' { 'σ' } else { c }, bytes.clone())));
    }
    let mut word: Option<(String, Range<usize>)> = None;
    let mut rest = kept.as_slice();
    while let Some((first, _)) = rest.first() {
        let inside = first.is_alphanumeric();
        let end = rest.iter().position(|(c, _)| c.is_alphanumeric() != inside);
        let (run, after) = rest.split_at(end.unwrap_or(rest.len()));
        rest = after;
        let letters: String = run.iter().map(|(c, _)| *c).collect();
        if matches!(letters.as_str(), "a" | "an" | "the") {
            found.extend(word.take());
            continue;
        }
        let bytes = run[0].1.start..run[run.len() - 1].1.end;
        match &mut word {
            Some((text, range)) => {
                text.push_str(&letters);
                range.end = bytes.end;
            }
            None => word = Some((letters, bytes)),
        }
    }
    found.extend(word);
}

/// The sentences of a text, as byte ranges without surrounding white space. A line break
/// ends a sentence too.
pub(crate) fn sentences(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = 0;
    let push = |start: usize, end: usize, found: &mut Vec<Range<usize>>| {
        let slice = &text[start..end];
        let head = slice.len() - slice.trim_start().len();
        let trimmed = slice.trim();
        if !trimmed.is_empty() {
            found.push(start + head..start + head + trimmed.len());
        }
    };
    for (at, character) in text.char_indices() {
        let end = at + character.len_utf8();
        let ends = match character {
            '\n' => true,
            '.' | '!' | '?' => ends_sentence(&text[start..at], &text[end..]),
            _ => false,
        };
        if ends {
            push(start, end, &mut found);
            start = end;
        }
    }
    push(start, text.len(), &mut found);
    found
}

/// Whether a full stop between these two texts ends a sentence.
fn ends_sentence(before: &str, after: &str) -> bool {
    let closed = after.trim_start_matches(['"', '\'', '”', '’', ')', ']']);
    let next = closed.trim_start();
    if next.len() == closed.len() && !closed.is_empty() {
        return false;
    }
    let opened = next.trim_start_matches(['"', '\'', '“', '‘', '(', '[']);
    if opened.starts_with(char::is_lowercase) {
        return false;
    }
    let last = before.rsplit(|c: char| !c.is_alphanumeric()).next().unwrap_or("");
    let initial = last.chars().count() == 1 && last.starts_with(char::is_uppercase);
    !initial && !SHORT_FORMS.contains(&last)
}

/// The names in a text, as byte ranges: runs of words that begin with a capital (or, after
/// the first, a digit), joined by spaces, hyphens, the stops of initials and up to two of
/// the small words of names. A stop word begins no name: it is capital only because it
/// begins a sentence.
pub(crate) fn names(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut open: Option<Range<usize>> = None;
    // The word before, and how many small words stand between the name so far and here.
    let (mut before, mut links) = (0..0, 0);
    for (start, word) in words(text) {
        let here = start..start + word.len();
        let joined = joins(&text[before.clone()], &text[before.end..start]);
        let capital = word.starts_with(char::is_uppercase);
        let goes_on = capital || word.starts_with(|c: char| c.is_ascii_digit());
        let begins = capital && !is_stop_word(&word.to_lowercase());
        match open.take() {
            Some(name) if joined && goes_on => {
                open = Some(name.start..here.end);
                links = 0;
            }
            Some(name) if joined && links < 2 && NAME_LINKS.contains(&word) => {
                open = Some(name);
                links += 1;
            }
            name => {
                found.extend(name);
                open = begins.then(|| here.clone());
                links = 0;
            }
        }
        before = here;
    }
    found.extend(open);
    found
}

/// Whether what stands between two words leaves them one name.
fn joins(before: &str, between: &str) -> bool {
    match between {
        " " | "-" | "–" | "'" | "’" | " & " => true,
        "." | ". " => before.chars().count() == 1 || SHORT_FORMS.contains(&before),
        _ => false,
    }
}

/// One document as an observation shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Passage<'o> {
    /// The document's id.
    pub(crate) id: &'o str,
    /// Its title; empty if the tool gives none.
    pub(crate) title: &'o str,
    /// What is shown of its text; empty where that was cut off.
    pub(crate) text: &'o str,
}

/// Whether an observation lists documents at all, be it none.
pub(crate) fn lists_documents(observation: &Observation) -> bool {
    observation.data().get("documents").is_some_and(Value::is_array)
}

/// The documents that an observation lists, in its order, each with its own text where the
/// data holds it, else with the part of the observation's text that follows its title.
pub(crate) fn passages(observation: &Observation) -> Vec<Passage<'_>> {
    let text = observation.text();
    let documents = observation.data().get("documents").and_then(Value::as_array);
    // Where each document's heading begins and ends in the text.
    let mut headings: Vec<(&str, &str, Option<Range<usize>>)> = Vec::new();
    let mut own: Vec<Option<&str>> = Vec::new();
    let mut at = 0;
    for (index, document) in documents.into_iter().flatten().enumerate() {
        let string = |name| document.get(name).and_then(Value::as_str);
        let Some(id) = string("id") else { continue };
        let title = string("title").unwrap_or("");
        own.push(string("text"));
        let heading = match string("text") {
            Some(_) => None,
            None => heading(text, at, index + 1, title),
        };
        at = heading.as_ref().map_or(at, |heading| heading.end);
        headings.push((id, title, heading));
    }
    let mut found: Vec<Passage<'_>> = Vec::with_capacity(headings.len());
    let mut end = text.len();
    for ((id, title, heading), own) in headings.into_iter().zip(own).rev() {
        let shown = heading.map_or(own.unwrap_or(""), |heading| {
            let shown = &text[heading.end..end];
            end = heading.start;
            shown.trim_start_matches([':', ')', '"']).trim()
        });
        found.push(Passage { id, title, text: shown });
    }
    found.reverse();
    found
}

/// The texts to read in an observation: titles and texts of its documents where the data holds
/// them, for then the observation's own text may be their encoding; else that text.
pub(crate) fn readings(observation: &Observation) -> Vec<&str> {
    let documents = observation.data().get("documents").and_then(Value::as_array);
    let mut found = Vec::new();
    for document in documents.into_iter().flatten() {
        let string = |name| document.get(name).and_then(Value::as_str);
        if let Some(text) = string("text") {
            found.extend(string("title").into_iter().chain([text]));
        }
    }
    if found.is_empty() { vec![observation.text()] } else { found }
}

/// Where a part of a reading stands in the observation's text: as it is, or as JSON writes it
/// inside a string. The whole text if it stands there in neither way.
pub(crate) fn locate(text: &str, reading: &str, part: Range<usize>) -> Range<usize> {
    if let Some(start) = text.find(reading) {
        return start + part.start..start + part.end;
    }
    let escaped = |plain: &str| {
        let json = serde_json::to_string(plain).expect("a text serialises");
        json[1..json.len() - 1].to_owned()
    };
    match text.find(&escaped(reading)) {
        Some(start) => {
            let start = start + escaped(&reading[..part.start]).len();
            start..start + escaped(&reading[part]).len()
        }
        None => 0..text.len(),
    }
}

/// Where the heading of the document of this rank stands at or after byte `at`: `[rank]
/// title` if that is how the tool writes it, else the title alone. Titles are shown on one
/// line.
fn heading(text: &str, at: usize, rank: usize, title: &str) -> Option<Range<usize>> {
    let rest = &text[at..];
    let title = title.split_whitespace().collect::<Vec<_>>().join(" ");
    let numbered = format!("[{rank}] {title}");
    if let Some(start) = rest.find(&numbered) {
        return Some(at + start..at + start + numbered.len());
    }
    if title.is_empty() {
        return None;
    }
    rest.find(&title).map(|start| at + start..at + start + title.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_stop_words_can_be_searched() {
        assert!(STOP_WORDS.is_sorted());
    }

    #[test]
    fn names_are_runs_of_capitalised_words() {
        let check = |text: &str, expect: &[&str]| {
            let found: Vec<&str> = names(text).into_iter().map(|r| &text[r]).collect();
            assert_eq!(found, expect, "{text:?}");
        };
        check("The Isle of Man is small.", &["Isle of Man"]);
        check(
            "Ed Wood, Jr. met J. K. Rowling in Hall of the Isles",
            &["Ed Wood", "Jr", "J. K. Rowling", "Hall of the Isles"],
        );
        check("Who wrote the book of Job?", &["Job"]);
        check(
            "She won Euro 2016 and Paris–Nice in June.",
            &["Euro 2016", "Paris–Nice", "June"],
        );
        check("no names at all", &[]);
        check("", &[]);
    }

    #[test]
    fn sentences_end_at_full_stops_that_end_them() {
        let check = |text: &str, expect: &[&str]| {
            let found: Vec<&str> =
                sentences(text).into_iter().map(|r| &text[r]).collect();
            assert_eq!(found, expect, "{text:?}");
        };
        check("It rose. Then it fell! Why?", &["It rose.", "Then it fell!", "Why?"]);
        check(
            "Dr. A. Lee of St. Ives paid 3.5 pounds. Ok",
            &["Dr. A. Lee of St. Ives paid 3.5 pounds.", "Ok"],
        );
        check(
            "He said \"go.\" She went.\n\nEnd",
            &["He said \"go.", "\" She went.", "End"],
        );
        check("", &[]);
    }

    #[test]
    fn passages_are_what_follows_each_title() {
        let observation =
            |text: &str, data: Value| Observation::Output { text: text.to_owned(), data };
        let both = json!({"documents": [
            {"id": "d1", "title": "Bell Tower"}, {"id": "d2", "title": "Ann Lee"},
        ]});
        let numbered = observation(
            "[1] Bell Tower: Ann Lee built it.\n\n[2] Ann Lee: Born in Oslo.",
            both.clone(),
        );
        let shown = |o: &Observation| -> Vec<(String, String)> {
            let pair = |p: &Passage<'_>| (p.id.to_owned(), p.text.to_owned());
            passages(o).iter().map(pair).collect()
        };
        let pair = |id: &str, text: &str| (id.to_owned(), text.to_owned());
        assert_eq!(
            shown(&numbered),
            [pair("d1", "Ann Lee built it."), pair("d2", "Born in Oslo.")]
        );
        let cut = observation("[1] Bell Tower: Ann", both);
        assert_eq!(shown(&cut), [pair("d1", "Ann"), pair("d2", "")]);
        let odd = observation("x", json!({"documents": [1, {"id": 2}, {"id": "d"}]}));
        assert_eq!(shown(&odd), [pair("d", "")]);
        assert!(lists_documents(&odd) && !lists_documents(&observation("x", json!(1))));
    }

    #[test]
    fn documents_with_texts_of_their_own_are_read_there() {
        let passage = "It is \"tall\".\nÉlan stands.";
        let encoded = json!({ "result": [passage] }).to_string();
        let data = json!({"documents": [{"id": "d", "title": "Elm", "text": passage}]});
        let observation = Observation::Output { text: encoded.clone(), data };
        assert_eq!(passages(&observation)[0].text, passage);
        assert_eq!(readings(&observation), ["Elm", passage]);
        let part = passage.find("Élan").expect("it is there")..passage.len();
        let found = locate(&encoded, passage, part.clone());
        assert_eq!(&encoded[found], "Élan stands.");
        assert_eq!(locate(passage, passage, part.clone()), part);
        assert_eq!(locate("other", passage, part), 0..5);
    }

    proptest! {
        #[test]
        fn normalised_words_are_the_normalised_answer_with_its_places(
            text in "(the|a|An|Fox|U\\.S\\.|,| |é|–|İ|\\PC){0,16}",
        ) {
            let found = normalised_words(&text);
            let joined: Vec<&str> = found.iter().map(|(word, _)| word.as_str()).collect();
            let expect = crate::normalise_answer(&text).replace('ς', "σ");
            prop_assert_eq!(joined.join(" "), expect);
            for (word, range) in found {
                let again = crate::normalise_answer(&text[range]).replace('ς', "σ");
                prop_assert_eq!(again, word);
            }
        }

        #[test]
        fn reading_is_total_and_ranges_lie_in_order(text in "(\\PC|[.!? \nA-Z-]){0,40}") {
            for ranges in [sentences(&text), names(&text)] {
                let mut end = 0;
                for range in ranges {
                    prop_assert!(end <= range.start && range.start < range.end);
                    prop_assert!(text.get(range.clone()).is_some());
                    end = range.end;
                }
            }
            let _ = terms(&text);
        }
    }
}
