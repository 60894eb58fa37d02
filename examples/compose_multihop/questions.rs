//! Chooses the questions: checks every candidate, then takes the same ones each time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::bail;
use plumbline::Digest;
use serde::Serialize;

use crate::documents::Document;
use crate::facts::{EntityId, Facts, Value, bare};
use crate::families;

/// Change it to draw other questions from the same table.
const SEED: &str = "multihop-qa 1";

/// How many questions there are of each family and number of hops.
const QUOTAS: [(Family, usize, usize); 12] = [
    (Family::Bridge, 2, 32),
    (Family::Temporal, 2, 12),
    (Family::Intersection, 2, 10),
    (Family::Comparison, 2, 6),
    (Family::Bridge, 3, 25),
    (Family::Temporal, 3, 10),
    (Family::Intersection, 3, 10),
    (Family::Comparison, 3, 10),
    (Family::Bridge, 4, 14),
    (Family::Temporal, 4, 7),
    (Family::Intersection, 4, 7),
    (Family::Comparison, 4, 7),
];

/// Questions with one answer, of all families together.
const SAME_ANSWER_MAX: usize = 3;
/// Questions that name one entity.
const SAME_NAMED_MAX: usize = 2;

/// What sort of question it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Family {
    Bridge,
    Comparison,
    Intersection,
    Temporal,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::Bridge => "bridge",
            Family::Comparison => "comparison",
            Family::Intersection => "intersection",
            Family::Temporal => "temporal",
        })
    }
}

/// A question that the table answers.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) family: Family,
    pub(crate) prompt: String,
    pub(crate) answer: Value,
    /// The documents that hold the chain; the last one says the answer.
    pub(crate) supporting: Vec<EntityId>,
    /// The entities that the question names.
    pub(crate) named: Vec<EntityId>,
    /// Questions of one signature look alike.
    pub(crate) signature: String,
    /// Questions for one thing, such as birth years, look alike too.
    pub(crate) asked: String,
}

/// A chosen question.
pub(crate) struct Question {
    pub(crate) id: String,
    pub(crate) family: Family,
    pub(crate) hops: usize,
    pub(crate) prompt: String,
    pub(crate) answer: String,
    pub(crate) aliases: Vec<String>,
    /// Ids of documents.
    pub(crate) supporting: Vec<String>,
}

/// Chooses the questions. They come mixed, so that the first few are a fair sample.
pub(crate) fn choose(
    facts: &Facts,
    documents: &[Document],
) -> anyhow::Result<Vec<Question>> {
    let texts: BTreeMap<&str, &str> =
        documents.iter().map(|d| (d.id.as_str(), d.text.as_str())).collect();
    let mut questions = vec![];
    let mut used = Used::default();
    for (family, hops, count) in QUOTAS {
        let mut candidates = match family {
            Family::Bridge => families::bridge(facts, hops)?,
            Family::Comparison => families::comparison(facts, hops)?,
            Family::Intersection => families::intersection(facts, hops)?,
            Family::Temporal => families::temporal(facts, hops)?,
        };
        // The order of digests is a shuffle in which new candidates move no old one.
        candidates.sort_by_cached_key(|c| {
            Digest::of_parts(&[SEED.as_bytes(), c.prompt.as_bytes()])
        });
        let found = candidates.len();
        used.begin_cell(count);
        let chosen: Vec<Candidate> = candidates
            .into_iter()
            .filter(|candidate| sound(facts, &texts, candidate) && used.take(candidate))
            .take(count)
            .collect();
        if chosen.len() < count {
            bail!(
                "{family}, {hops} hops: {} of {count} questions from {found} candidates; \
                 add facts",
                chosen.len()
            );
        }
        for (i, candidate) in chosen.into_iter().enumerate() {
            let id = format!("{family}-{hops}-{:03}", i + 1);
            questions.push(candidate.question(facts, id, hops));
        }
    }
    questions
        .sort_by_cached_key(|q| Digest::of_parts(&[SEED.as_bytes(), q.id.as_bytes()]));
    Ok(questions)
}

/// Is the question one that needs its documents? The answer stands in the last of them, and
/// neither in the question nor, along a chain, in an earlier document.
fn sound(facts: &Facts, texts: &BTreeMap<&str, &str>, candidate: &Candidate) -> bool {
    let (answer, aliases) = answers(facts, &candidate.answer);
    let text = |id: &EntityId| texts[facts.entity(*id).key.as_str()];
    let Some((last, earlier)) = candidate.supporting.split_last() else { return false };
    if !mentions(text(last), &answer) {
        return false;
    }
    let all = || aliases.iter().chain([&answer]);
    let given = all().any(|a| mentions(&candidate.prompt, a));
    match candidate.family {
        // Of two that are named, one is the answer.
        Family::Comparison => match &candidate.answer {
            Value::Entity(id) => candidate.named.contains(id) || !given,
            _ => !given,
        },
        // Without a name to start from, years alone would have to be searched for.
        Family::Intersection => !given && !candidate.named.is_empty(),
        Family::Bridge | Family::Temporal => {
            !given && !earlier.iter().any(|id| mentions(text(id), &answer))
        }
    }
}

/// What has been taken, so that no answer, entity or form of question dominates.
#[derive(Default)]
struct Used {
    answers: BTreeMap<Value, usize>,
    named: BTreeMap<EntityId, usize>,
    supporting: BTreeSet<BTreeSet<EntityId>>,
    signatures: BTreeMap<String, usize>,
    asked: BTreeMap<String, usize>,
    signatures_max: usize,
    asked_max: usize,
}

impl Used {
    /// Forms of questions are counted within a family and number of hops.
    fn begin_cell(&mut self, count: usize) {
        self.signatures.clear();
        self.asked.clear();
        self.signatures_max = 1 + count / 15;
        self.asked_max = 1 + count / 5;
    }

    /// Takes a candidate unless it is too much like those taken.
    fn take(&mut self, candidate: &Candidate) -> bool {
        let Candidate { answer, supporting, named, signature, asked, .. } = candidate;
        let supporting: BTreeSet<EntityId> = supporting.iter().copied().collect();
        let count = |map: &BTreeMap<String, usize>, key: &String| {
            map.get(key).copied().unwrap_or_default()
        };
        let fresh = self.answers.get(answer).is_none_or(|n| *n < SAME_ANSWER_MAX)
            && named
                .iter()
                .all(|id| self.named.get(id).is_none_or(|n| *n < SAME_NAMED_MAX))
            && count(&self.signatures, signature) < self.signatures_max
            && count(&self.asked, asked) < self.asked_max
            && !self.supporting.contains(&supporting);
        if fresh {
            *self.answers.entry(answer.clone()).or_default() += 1;
            *self.signatures.entry(signature.clone()).or_default() += 1;
            *self.asked.entry(asked.clone()).or_default() += 1;
            for id in named {
                *self.named.entry(*id).or_default() += 1;
            }
            self.supporting.insert(supporting);
        }
        fresh
    }
}

impl Candidate {
    fn question(self, facts: &Facts, id: String, hops: usize) -> Question {
        let (answer, aliases) = answers(facts, &self.answer);
        let key = |id: &EntityId| facts.entity(*id).key.clone();
        Question {
            id,
            family: self.family,
            hops,
            prompt: self.prompt,
            answer,
            aliases,
            supporting: self.supporting.iter().map(key).collect(),
        }
    }
}

/// The answer as a document says it, without its article, and what else is right.
fn answers(facts: &Facts, value: &Value) -> (String, Vec<String>) {
    match value {
        Value::Entity(id) => {
            let entity = facts.entity(*id);
            let answer = bare(&entity.name).to_owned();
            let mut aliases = vec![];
            // A title with brackets tells documents apart; nobody would answer with it.
            let title = Some(&entity.title).filter(|title| !title.contains('('));
            let others = [&entity.name].into_iter().chain(title).chain(&entity.aliases);
            for other in others {
                let same = |text: &String| text.to_lowercase() == other.to_lowercase();
                if !same(&answer) && !aliases.iter().any(same) {
                    aliases.push(other.clone());
                }
            }
            (answer, aliases)
        }
        Value::Year(year) => (year.to_string(), vec![]),
        Value::Number(number) => (number.to_string(), number_words(*number)),
        Value::Text(text, others) => (text.clone(), others.clone()),
    }
}

/// A number below a thousand in words.
fn number_words(number: i64) -> Vec<String> {
    const SMALL: [&str; 20] = [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
    ];
    const TENS: [&str; 10] = [
        "", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty",
        "ninety",
    ];
    let below_hundred = |n: usize| match (n / 10, n % 10) {
        (0 | 1, _) => SMALL[n].to_owned(),
        (tens, 0) => TENS[tens].to_owned(),
        (tens, ones) => format!("{}-{}", TENS[tens], SMALL[ones]),
    };
    let Ok(n @ 0..1000) = usize::try_from(number) else { return vec![] };
    vec![match (n / 100, n % 100) {
        (0, n) => below_hundred(n),
        (hundreds, 0) => format!("{} hundred", SMALL[hundreds]),
        (hundreds, n) => format!("{} hundred and {}", SMALL[hundreds], below_hundred(n)),
    }]
}

/// Does a text say a phrase, in whole words and whatever case?
fn mentions(text: &str, phrase: &str) -> bool {
    let (text, phrase) = (text.to_lowercase(), phrase.to_lowercase());
    text.match_indices(&phrase).any(|(start, found)| {
        let before = text[..start].chars().next_back();
        let after = text[start + found.len()..].chars().next();
        [before, after].into_iter().flatten().all(|c| !c.is_alphanumeric())
    })
}
