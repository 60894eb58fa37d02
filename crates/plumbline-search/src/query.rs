//! The query language: plain words, and for those who want more, `"phrases"` and
//! `title:word`, `text:"phrase"`.
//!
//! Models write the queries, so there is no such thing as a syntax error: what is no phrase
//! and no field is plain words. (tantivy's own parser, even its lenient form, gives `*`,
//! brackets, ranges, boosts, regular expressions and `NOT` a meaning. A model that writes
//! those characters means none of that.)

use std::collections::BTreeSet;

use tantivy::tokenizer::{TextAnalyzer, TokenStream};

/// Bytes of a query that are read; the rest is passed over, and the model is told.
pub const QUERY_BYTES_MAX: usize = 4096;
/// Distinct words of a query that are searched for; the same.
pub const QUERY_WORDS_MAX: usize = 64;

/// What is searched for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Query {
    /// What a document must contain: phrases, and words of a named field.
    pub(crate) required: Vec<Clause>,
    /// What raises a document's score: plain words. Without `required`, one must occur.
    pub(crate) optional: Vec<Clause>,
    /// Whether the query was longer than what is read.
    pub(crate) cut: bool,
}

/// A word or phrase, and where it is to stand.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Clause {
    pub(crate) scope: Scope,
    /// Positions and words, in order; the first position is 0. Never empty.
    pub(crate) words: Vec<(usize, String)>,
}

/// Where a word is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    Anywhere,
    Title,
    Text,
}

/// A stretch of the query as it is written.
enum Piece<'a> {
    Plain(Scope, &'a str),
    Quoted(Scope, &'a str),
}

impl Query {
    /// Reads a query: any text at all.
    pub(crate) fn parse(text: &str, analyzer: &mut TextAnalyzer) -> Self {
        let read = &text[..text.floor_char_boundary(QUERY_BYTES_MAX)];
        let mut query = Query { cut: read.len() < text.len(), ..Query::default() };
        let mut seen = BTreeSet::new();
        let mut left = QUERY_WORDS_MAX;
        let mut rest = read;
        while let Some(piece) = next_piece(&mut rest) {
            let (scope, source) = match piece {
                Piece::Plain(scope, source) | Piece::Quoted(scope, source) => {
                    (scope, source)
                }
            };
            let words = words_of(source, analyzer);
            let clauses = match piece {
                Piece::Quoted(..) => phrase(scope, words),
                Piece::Plain(..) => {
                    words.into_iter().map(|(_, word)| Clause::word(scope, word)).collect()
                }
            };
            let required = scope != Scope::Anywhere || matches!(piece, Piece::Quoted(..));
            for mut clause in clauses {
                if seen.contains(&clause) {
                    continue;
                }
                if clause.words.len() > left {
                    query.cut = true;
                    clause.words.truncate(left);
                }
                if clause.words.is_empty() {
                    continue;
                }
                left -= clause.words.len();
                seen.insert(clause.clone());
                let list =
                    if required { &mut query.required } else { &mut query.optional };
                list.push(clause);
            }
        }
        query
    }

    /// A query for the words of a text in the titles.
    pub(crate) fn of_title(text: &str, analyzer: &mut TextAnalyzer) -> Self {
        let mut query = Query::parse(text, analyzer).relaxed();
        query.optional.iter_mut().for_each(|clause| clause.scope = Scope::Title);
        query.optional.sort();
        query.optional.dedup();
        query
    }

    /// The same, with nothing required: the words of a phrase count one by one, and the
    /// phrase itself on top.
    pub(crate) fn relaxed(&self) -> Self {
        let mut optional = self.optional.clone();
        for clause in &self.required {
            optional.push(clause.clone());
            let words = clause.words.iter();
            optional
                .extend(words.map(|(_, word)| Clause::word(clause.scope, word.clone())));
        }
        let mut seen = BTreeSet::new();
        optional.retain(|clause| seen.insert(clause.clone()));
        Query { required: Vec::new(), optional, cut: self.cut }
    }

    /// Whether there is no word in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.required.is_empty() && self.optional.is_empty()
    }
}

impl Clause {
    fn word(scope: Scope, word: String) -> Self {
        Clause { scope, words: vec![(0, word)] }
    }
}

/// One clause of all the words, or none where there are none.
fn phrase(scope: Scope, mut words: Vec<(usize, String)>) -> Vec<Clause> {
    let Some(&(first, _)) = words.first() else { return Vec::new() };
    words.iter_mut().for_each(|(position, _)| *position -= first);
    vec![Clause { scope, words }]
}

/// The words of a text with their positions.
fn words_of(text: &str, analyzer: &mut TextAnalyzer) -> Vec<(usize, String)> {
    let mut words = Vec::new();
    analyzer.token_stream(text).process(&mut |token| {
        words.push((token.position, token.text.clone()));
    });
    words
}

/// Takes the next stretch off the front of `rest`; `None` at the end.
fn next_piece<'a>(rest: &mut &'a str) -> Option<Piece<'a>> {
    let text = rest.trim_start();
    if text.is_empty() {
        return None;
    }
    let (scope, body) = field(text);
    if let Some(inner) = body.strip_prefix(is_quote)
        && let Some(end) = inner.find(is_quote)
    {
        let closing = inner[end..].chars().next().map_or(0, char::len_utf8);
        *rest = &inner[end + closing..];
        return Some(Piece::Quoted(scope, &inner[..end]));
    }
    // A quote without a partner is passed over like any other sign.
    let body = body.trim_start_matches(is_quote);
    let end = body.find(|c: char| c.is_whitespace() || is_quote(c)).unwrap_or(body.len());
    *rest = &body[end..];
    Some(Piece::Plain(scope, &body[..end]))
}

/// Splits a field's name off, if one stands there directly before its word.
fn field(text: &str) -> (Scope, &str) {
    let scopes = [("title:", Scope::Title), ("text:", Scope::Text)];
    for (name, scope) in scopes {
        if let Some((head, body)) = text.split_at_checked(name.len())
            && head.eq_ignore_ascii_case(name)
            && body.starts_with(|c: char| !c.is_whitespace())
        {
            return (scope, body);
        }
    }
    (Scope::Anywhere, text)
}

fn is_quote(c: char) -> bool {
    matches!(c, '"' | '\u{201c}' | '\u{201d}' | '\u{201e}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::words::analyzer;

    /// Writes a parsed query down: required clauses with a `+`, phrases in brackets.
    fn check(text: &str, expected: &str) {
        let query = Query::parse(text, &mut analyzer());
        let show = |clause: &Clause| {
            let words: Vec<&str> =
                clause.words.iter().map(|(_, word)| word.as_str()).collect();
            let scope = match clause.scope {
                Scope::Anywhere => "",
                Scope::Title => "title:",
                Scope::Text => "text:",
            };
            let words = words.join(" ");
            if clause.words.len() > 1 {
                format!("{scope}[{words}]")
            } else {
                format!("{scope}{words}")
            }
        };
        let mut shown: Vec<String> =
            query.required.iter().map(|clause| format!("+{}", show(clause))).collect();
        shown.extend(query.optional.iter().map(show));
        if query.cut {
            shown.push("(cut)".into());
        }
        assert_eq!(shown.join(" "), expected, "{text:?}");
    }

    #[test]
    fn plain_words() {
        check("Dogs chase the DOG", "dog chase the");
        check("", "");
        check("?!… 🦀 \u{0}", "");
        check("*:* AND (a OR b) -c [1 TO 2] x^3 y~", "and a or b c 1 to 2 x 3 y");
    }

    #[test]
    fn phrases_and_fields_are_required() {
        check("\"Ed Wood\" film", "+[ed wood] film");
        check("“Ed Wood”film", "+[ed wood] film");
        check("\"Paris\" \"\" \"?\"", "+pari");
        check("title:wood TEXT:\"plan nine\" x", "+title:wood +text:[plan nine] x");
        check("title:Plan-Nine", "+title:plan +title:nine");
    }

    #[test]
    fn what_is_malformed_is_plain_words() {
        check("\"Ed Wood", "ed wood");
        check("a:b:c title: wood subtitle:x", "a b c titl wood subtitl x");
        check("title:\"unfinished", "+title:unfinish");
        check("title:title:x", "+title:titl +title:x");
        check("title:?", "");
    }

    #[test]
    fn long_queries_are_cut() {
        let many: Vec<String> = (0..100).map(|n| format!("w{n}")).collect();
        let kept = format!("{} (cut)", many[..QUERY_WORDS_MAX].join(" "));
        check(&many.join(" "), &kept);
        let phrase = format!("+[{}] (cut)", many[..QUERY_WORDS_MAX].join(" "));
        check(&format!("\"{}\"", many.join(" ")), &phrase);
        check(&"x ".repeat(25_000), "x (cut)");
        check(&"é".repeat(25_000), "(cut)");
    }

    #[test]
    fn relaxed_queries_count_the_words_of_a_phrase_too() {
        let query = Query::parse("\"Ed Wood\" ed", &mut analyzer()).relaxed();
        let words: Vec<usize> = query.optional.iter().map(|c| c.words.len()).collect();
        assert_eq!(words, [1, 2, 1], "ed, the phrase, wood");
        assert!(query.required.is_empty());
    }

    proptest! {
        #[test]
        fn any_text_is_a_bounded_query(text in "(?s)(title:|text:|\"|[a-z ]|.){0,400}") {
            let query = Query::parse(&text, &mut analyzer());
            for query in [&query, &query.relaxed()] {
                let clauses = query.required.iter().chain(&query.optional);
                prop_assert!(clauses.clone().all(|clause| !clause.words.is_empty()));
                let words: usize = clauses.map(|clause| clause.words.len()).sum();
                prop_assert!(words <= 2 * QUERY_WORDS_MAX);
            }
        }
    }
}
