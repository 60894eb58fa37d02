//! What a question asks for, as far as its words give it away.

use std::collections::BTreeSet;

use crate::text;

/// Bytes of a question that are read: a longer one is no question but a document.
const QUESTION_BYTES_MAX: usize = 2048;

/// Words of one alternative in a question that offers two.
const ALTERNATIVE_WORDS_MAX: usize = 10;

/// A question, read.
pub(crate) struct Question<'q> {
    /// What is read of it.
    pub(crate) text: &'q str,
    /// The roots of its words, stop words left out.
    pub(crate) roots: BTreeSet<String>,
    /// Its names and quotations, in order, without what stands inside another.
    pub(crate) names: Vec<&'q str>,
    /// What kind of answer it asks for.
    pub(crate) asked: Asked<'q>,
}

/// The kinds of answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked<'q> {
    /// Whether something holds.
    YesNo,
    /// One of two things that the question names.
    Choice {
        /// The two.
        between: [&'q str; 2],
        /// By what.
        by: Measure,
    },
    /// Somebody.
    Person,
    /// Somewhere.
    Place,
    /// A day, or a year where that is as near as the text comes.
    Date,
    /// A year.
    Year,
    /// How many.
    Number,
    /// Of which nation.
    Nationality,
    /// Anything else with a name.
    Thing,
}

/// What decides between two alternatives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measure {
    /// The smaller year.
    Earlier,
    /// The larger year.
    Later,
    /// The larger number.
    More,
    /// The smaller number.
    Fewer,
    /// The one whose document says more of what the question says.
    Fit,
}

const AUXILIARIES: &[&str] = &[
    "are", "can", "could", "did", "do", "does", "had", "has", "have", "is", "was", "were",
];

pub(crate) const PERSONS: &[&str] = &[
    "actor",
    "actress",
    "artist",
    "author",
    "ceo",
    "character",
    "coach",
    "comedian",
    "composer",
    "director",
    "founder",
    "guitarist",
    "historian",
    "king",
    "man",
    "musician",
    "person",
    "philosopher",
    "player",
    "poet",
    "politician",
    "president",
    "producer",
    "queen",
    "rapper",
    "scientist",
    "senator",
    "singer",
    "songwriter",
    "star",
    "wife",
    "woman",
    "writer",
];

const PLACES: &[&str] = &[
    "area",
    "borough",
    "city",
    "country",
    "county",
    "district",
    "island",
    "location",
    "municipality",
    "place",
    "province",
    "region",
    "state",
    "suburb",
    "town",
    "village",
];

impl<'q> Question<'q> {
    pub(crate) fn read(text: &'q str) -> Self {
        let text = &text[..text.floor_char_boundary(QUESTION_BYTES_MAX)];
        let mut names: Vec<&str> = quotations(text);
        for name in text::names(text) {
            let name = &text[name];
            if !names.iter().any(|other| other.contains(name)) {
                names.push(name);
            }
        }
        Self { text, roots: roots(text).into_iter().collect(), names, asked: asked(text) }
    }

    /// Whether the question itself says all of this.
    pub(crate) fn says(&self, text: &str) -> bool {
        roots(text).iter().all(|root| self.roots.contains(root))
    }
}

/// The roots of a text's words, stop words left out, in order.
pub(crate) fn roots(text: &str) -> Vec<String> {
    text::words(text).filter_map(|(_, word)| root(word)).collect()
}

/// The form in which words of one family meet: `directed`, `director`, `direction`. `None`
/// for a stop word.
pub(crate) fn root(word: &str) -> Option<String> {
    let lower = word.to_lowercase();
    match lower.as_str() {
        "birth" | "birthplace" => return Some("born".to_owned()),
        "death" | "dead" | "dies" => return Some("died".to_owned()),
        "wrote" | "written" => return Some("writ".to_owned()),
        stop if text::is_stop_word(stop) => return None,
        _ => {}
    }
    let mut root = text::singular(lower);
    for ending in ["ing", "ion", "ed", "er", "or", "e"] {
        let kept = root.len().saturating_sub(ending.len());
        if root.ends_with(ending) && kept >= 4 {
            root.truncate(kept);
            break;
        }
    }
    Some(root)
}

/// What stands between double quotation marks, if it has words.
fn quotations(text: &str) -> Vec<&str> {
    let marks = ['"', '“', '”'];
    let odd = text.split(marks).skip(1).step_by(2);
    odd.map(str::trim).filter(|text| text::words(text).next().is_some()).collect()
}

fn asked(text: &str) -> Asked<'_> {
    let words: Vec<String> = text::words(text).map(|(_, w)| w.to_lowercase()).collect();
    let word = |index: usize| words.get(index).map_or("", String::as_str);
    if let Some(between) = alternatives(text) {
        return Asked::Choice { between, by: measure(&words) };
    }
    let wondering = |word: &String| matches!(word.as_str(), "what" | "which");
    if AUXILIARIES.contains(&word(0)) && !words.iter().any(wondering) {
        return Asked::YesNo;
    }
    // A question may begin with a relative clause's word only if it is the question's own.
    let begins = ["who", "whom", "whose", "where", "when", "what", "which", "how", "in"];
    let ask = |word: &String| begins[..8].contains(&word.as_str());
    let first = if begins.contains(&word(0)) {
        words.iter().position(ask)
    } else {
        // Elsewhere the last one that asks: `…, is the father of which actress?`
        let strong = |word: &String| matches!(word.as_str(), "what" | "which" | "how");
        words.iter().rposition(strong).or_else(|| words.iter().rposition(ask))
    };
    let Some(first) = first else { return Asked::Thing };
    match word(first) {
        "who" | "whom" | "whose" => return Asked::Person,
        "where" => return Asked::Place,
        "when" => return Asked::Date,
        "how" if ["many", "much", "old", "tall", "long"].contains(&word(first + 1)) => {
            return Asked::Number;
        }
        _ => {}
    }
    // `what` and `which` are told by the noun that follows them soon.
    for word in words.iter().skip(first + 1).take(5).map(String::as_str) {
        match word {
            "year" => return Asked::Year,
            "date" | "day" | "month" => return Asked::Date,
            "number" | "population" => return Asked::Number,
            "nationality" => return Asked::Nationality,
            _ if PERSONS.contains(&word) => return Asked::Person,
            _ if PLACES.contains(&word) => return Asked::Place,
            "of" | "that" | "who" => break,
            _ => {}
        }
    }
    Asked::Thing
}

/// The two things between which a question leaves the choice: `…, A or B?`, and `Between A
/// and B, …`.
fn alternatives(text: &str) -> Option<[&str; 2]> {
    let short = |side: &str| {
        let count = text::words(side).take(ALTERNATIVE_WORDS_MAX + 1).count();
        (1..=ALTERNATIVE_WORDS_MAX).contains(&count)
    };
    let named = |side: &str| {
        let first = side.trim_start_matches("the ").chars().next();
        first.is_some_and(|c| c.is_uppercase() || c.is_ascii_digit() || "\"“".contains(c))
    };
    if let Some(rest) = text.strip_prefix("Between ") {
        let (both, _) = rest.split_once(',')?;
        let (one, two) = both.split_once(" and ")?;
        return (short(one) && short(two)).then(|| [bare(one), bare(two)]);
    }
    let (before, after) = text.rsplit_once(" or ")?;
    let two = after.split(['?', ',']).next().unwrap_or(after);
    let one = match before.rfind([',', ':']) {
        Some(comma) => &before[comma + 1..],
        None => {
            let last = text::names(before).pop()?;
            &before[last.start..]
        }
    };
    let (one, two) = (one.trim(), two.trim());
    (short(one) && short(two) && named(one) && named(two)).then(|| [bare(one), bare(two)])
}

/// A name without quotation marks and a leading article.
fn bare(name: &str) -> &str {
    let name = name.trim().trim_matches(['"', '“', '”', '\'']);
    name.strip_prefix("the ").unwrap_or(name).trim()
}

fn measure(words: &[String]) -> Measure {
    for word in words {
        match word.as_str() {
            "first" | "earlier" | "earliest" | "older" | "oldest" | "elder"
            | "before" => {
                return Measure::Earlier;
            }
            "later" | "latest" | "last" | "younger" | "youngest" | "newer"
            | "recently" | "recent" => return Measure::Later,
            "more" | "most" | "larger" | "largest" | "bigger" | "higher" | "highest"
            | "longer" | "longest" | "taller" | "greater" => return Measure::More,
            "fewer" | "fewest" | "less" | "smaller" | "smallest" | "lower"
            | "shorter" => {
                return Measure::Fewer;
            }
            _ => {}
        }
    }
    Measure::Fit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_gives_away_what_it_asks_for() {
        let check = |text: &str, expect: Asked<'_>| {
            assert_eq!(Question::read(text).asked, expect, "{text:?}");
        };
        check("Were Ann Lee and Bo Ek of the same nationality?", Asked::YesNo);
        check("Who built the Bell Tower?", Asked::Person);
        check("In what year was Ann Lee born?", Asked::Year);
        check("The tower was built by the father of which actress?", Asked::Person);
        check("The woman who built the tower was born in what city?", Asked::Place);
        check("When was it built?", Asked::Date);
        check("How many floors has the Bell Tower?", Asked::Number);
        check("What nationality is the builder?", Asked::Nationality);
        check("What is the name of the bell?", Asked::Thing);
        check("", Asked::Thing);
        let choice = |one, two, by| Asked::Choice { between: [one, two], by };
        check(
            "Which is older, the Bell Tower or the Old Mill?",
            choice("Bell Tower", "Old Mill", Measure::Earlier),
        );
        check(
            "Which has more floors, \"Bell\" or Mill?",
            choice("Bell", "Mill", Measure::More),
        );
        check(
            "Between Ann Lee and Bo Ek, who was born later?",
            choice("Ann Lee", "Bo Ek", Measure::Later),
        );
        check("Who shot a film in or around Oslo?", Asked::Person);
    }

    #[test]
    fn words_of_one_family_have_one_root() {
        assert_eq!(roots("directed"), roots("The directors"));
        assert_eq!(roots("birth"), roots("born"));
        assert!(Question::read("Who built the Bell Tower?").says("Bell Towers"));
    }
}
