//! The words of a problem, with places for what an instance holds.
//!
//! `{name}` is a word, a number, or the element that a loop is at; `{name[i,j]}` a number at
//! elements. `{for i in SET}…{between}, {last} and {end}` repeats its body for each element;
//! what follows `{between}` and `{last}` stands between the repetitions, `{last}` before the
//! last of them. Loops nest, and a tuple is taken apart by `{for i,j in SET}`.

use anyhow::{Context, bail};

/// What a template is filled in from.
pub(crate) trait Source {
    /// The elements of a set, each of one or more names.
    fn elements(&self, set: &str) -> Option<Vec<Vec<String>>>;
    /// How an element is called in a sentence.
    fn called(&self, element: &str) -> String;
    /// A word, or a number at some elements given with their places in their sets.
    fn text(&self, name: &str, at: &[(String, usize)]) -> Option<String>;
}

enum Piece {
    Text(String),
    Place {
        name: String,
        indices: Vec<String>,
    },
    Loop {
        names: Vec<String>,
        set: String,
        body: Vec<Piece>,
        between: String,
        last: String,
    },
}

/// Fills a template in.
pub(crate) fn fill(template: &str, source: &dyn Source) -> anyhow::Result<String> {
    let mut rest = template;
    let pieces = pieces(&mut rest, 0)?;
    let mut text = String::new();
    write(&pieces, source, &mut Vec::new(), &mut text)?;
    Ok(sentences(&text))
}

/// The text with single spaces, and a capital letter at the beginning of each sentence.
fn sentences(text: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut begins = true;
    for word in text.split_whitespace() {
        let mut letters = word.chars();
        words.push(match letters.next().filter(|_| begins) {
            Some(first) => first.to_uppercase().chain(letters).collect(),
            None => word.to_owned(),
        });
        begins = word.ends_with(['.', '?']);
    }
    words.join(" ")
}

fn pieces(rest: &mut &str, depth: u32) -> anyhow::Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    while let Some(start) = rest.find('{') {
        pieces.push(Piece::Text(rest[..start].to_owned()));
        let after = &rest[start + 1..];
        let end = after.find('}').context("a { without its }")?;
        let word = after[..end].trim();
        let Some(head) = word.strip_prefix("for ") else {
            if ["between", "last", "end"].contains(&word) {
                if depth == 0 {
                    bail!("{{{word}}} outside a loop");
                }
                *rest = &rest[start..];
                return Ok(pieces);
            }
            *rest = &after[end + 1..];
            let (name, indices) = word.split_once('[').unwrap_or((word, ""));
            let indices = indices.trim_end_matches(']').split(',').map(str::trim);
            let indices = indices.filter(|index| !index.is_empty()).map(str::to_owned);
            pieces
                .push(Piece::Place { name: name.to_owned(), indices: indices.collect() });
            continue;
        };
        let (names, set) =
            head.split_once(" in ").context("a loop reads: for i in SET")?;
        *rest = &after[end + 1..];
        let body = self::pieces(rest, depth + 1)?;
        let (mut between, mut last) = (String::new(), None);
        loop {
            let end = rest.find('}').context("a loop without {end}")?;
            let word = rest[1..end].to_owned();
            *rest = &rest[end + 1..];
            if word == "end" {
                break;
            }
            let next = rest.find('{').context("a loop without {end}")?;
            let text = rest[..next].to_owned();
            *rest = &rest[next..];
            if word == "between" { between = text } else { last = Some(text) }
        }
        pieces.push(Piece::Loop {
            names: names.split(',').map(|name| name.trim().to_owned()).collect(),
            set: set.trim().to_owned(),
            body,
            last: last.unwrap_or_else(|| between.clone()),
            between,
        });
    }
    if depth > 0 {
        bail!("a loop without {{end}}");
    }
    pieces.push(Piece::Text(rest.to_owned()));
    *rest = "";
    Ok(pieces)
}

type Bound = (String, String, usize);

fn write(
    pieces: &[Piece],
    source: &dyn Source,
    bound: &mut Vec<Bound>,
    text: &mut String,
) -> anyhow::Result<()> {
    for piece in pieces {
        match piece {
            Piece::Text(piece) => text.push_str(piece),
            Piece::Place { name, indices } => {
                let at =
                    |name: &String| bound.iter().rev().find(|bound| &bound.0 == name);
                if let Some((_, element, _)) = at(name).filter(|_| indices.is_empty()) {
                    text.push_str(&source.called(element));
                    continue;
                }
                let place: Vec<(String, usize)> = indices
                    .iter()
                    .map(|index| {
                        let found = at(index).map(|b| (b.1.clone(), b.2));
                        found.unwrap_or_else(|| (index.clone(), usize::MAX))
                    })
                    .collect();
                let value = source.text(name, &place);
                text.push_str(
                    &value.with_context(|| format!("nothing is called {name}"))?,
                );
            }
            Piece::Loop { names, set, body, between, last } => {
                let elements = source.elements(set);
                let elements =
                    elements.with_context(|| format!("there is no set {set}"))?;
                let count = elements.len();
                for (position, element) in elements.into_iter().enumerate() {
                    if position > 0 {
                        text.push_str(if position + 1 == count { last } else { between });
                    }
                    let depth = bound.len();
                    let parts = names.iter().cloned().zip(element);
                    bound.extend(parts.map(|(name, element)| (name, element, position)));
                    write(body, source, bound, text)?;
                    bound.truncate(depth);
                }
            }
        }
    }
    Ok(())
}
