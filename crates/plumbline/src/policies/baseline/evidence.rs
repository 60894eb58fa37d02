//! What a baseline has read so far: passages, their sentences, and how much each has to do
//! with the question.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::Turn;
use crate::question::{self, Question};
use crate::text::{self, Passage};

/// Passages that are read; later ones are not.
const PASSAGES_MAX: usize = 48;

/// Bytes of one passage that are read.
const PASSAGE_BYTES_MAX: usize = 2048;

/// What the words of a title count for in each sentence under it, which as a rule says `he`
/// or `it` instead: a share of what they would count for in the sentence.
const TITLE_SHARE: f64 = 0.6;

/// What a passage's best other sentence counts for in each of its sentences.
const PASSAGE_SHARE: f64 = 0.3;

/// The distance at which a neighbour's influence has halved.
const NEAR_BYTES: f64 = 8.0;

/// What has been read.
pub(super) struct Evidence<'t> {
    /// The passages, first shown first, each once.
    pub(super) passages: Vec<Passage<'t>>,
    /// Their sentences, in order.
    pub(super) sentences: Vec<Sentence<'t>>,
    /// The words of each passage's plain title, lower case.
    titles: Vec<Vec<String>>,
}

/// One sentence.
pub(super) struct Sentence<'t> {
    /// Index of its passage.
    pub(super) passage: usize,
    /// Its text.
    pub(super) text: &'t str,
    /// Where words stand that the question has too.
    pub(super) shared: Vec<Range<usize>>,
    /// How much it has to do with the question: at least 0.
    pub(super) weight: f64,
}

impl<'t> Evidence<'t> {
    /// Reads the observations of some steps.
    pub(super) fn read(question: &Question<'_>, turns: &[Turn<'t>]) -> Self {
        let mut passages: Vec<Passage<'t>> = Vec::new();
        let mut ids = BTreeSet::new();
        for passage in turns.iter().flat_map(|t| t.observations).flat_map(text::passages)
        {
            if passages.len() < PASSAGES_MAX && ids.insert(passage.id) {
                let end = passage.text.floor_char_boundary(PASSAGE_BYTES_MAX);
                passages.push(Passage { text: &passage.text[..end], ..passage });
            }
        }
        let mut sentences = Vec::new();
        let mut frequency: BTreeMap<&str, u32> = BTreeMap::new();
        for (index, passage) in passages.iter().enumerate() {
            for range in text::sentences(passage.text) {
                let text = &passage.text[range];
                let (shared, roots) = shared(question, text);
                for root in &roots {
                    *frequency.entry(root).or_default() += 1;
                }
                let sentence = Sentence { passage: index, text, shared, weight: 0.0 };
                sentences.push((sentence, roots));
            }
        }
        let count = sentences.len() as f64;
        let rarity = |root: &&str| {
            let frequency = frequency.get(root).copied().unwrap_or(0);
            (1.0 + count / (1.0 + f64::from(frequency))).ln()
        };
        let titles: Vec<BTreeSet<&str>> =
            passages.iter().map(|passage| shared(question, passage.title).1).collect();
        let weigh = |(sentence, roots): (Sentence<'t>, BTreeSet<&str>)| {
            let own: f64 = roots.iter().map(rarity).sum();
            let title: f64 =
                titles[sentence.passage].difference(&roots).map(rarity).sum();
            Sentence { weight: own + TITLE_SHARE * title, ..sentence }
        };
        let mut sentences: Vec<Sentence<'t>> = sentences.into_iter().map(weigh).collect();
        let mut best = vec![0.0_f64; passages.len()];
        for sentence in &sentences {
            best[sentence.passage] = best[sentence.passage].max(sentence.weight);
        }
        for sentence in &mut sentences {
            sentence.weight += PASSAGE_SHARE * best[sentence.passage];
        }
        let titles = passages.iter().map(|p| words(plain_title(p.title))).collect();
        Self { passages, sentences, titles }
    }

    /// The passage about something: the one whose title is its name, or has it, or is part
    /// of it.
    pub(super) fn about(&self, name: &str) -> Option<usize> {
        let (name, titles) = (words(name), &self.titles);
        let exact = titles.iter().position(|title| *title == name);
        let contains = |one: &[String], two: &[String]| {
            !two.is_empty() && one.windows(two.len()).any(|run| run == two)
        };
        exact.or_else(|| titles.iter().position(|title| contains(title, &name))).or_else(
            || titles.iter().position(|title| title.len() > 1 && contains(&name, title)),
        )
    }

    /// The passage whose title is this name.
    pub(super) fn titled(&self, name: &str) -> Option<usize> {
        let name = words(name);
        self.titles.iter().position(|title| *title == name)
    }

    /// The sentences of a passage.
    pub(super) fn sentences_of(
        &self,
        passage: usize,
    ) -> impl Iterator<Item = &Sentence<'t>> {
        self.sentences.iter().filter(move |sentence| sentence.passage == passage)
    }
}

impl Sentence<'_> {
    /// How near a place in the sentence is to a word that the question has too: 1 if there
    /// is none outside that place, towards 2 where it stands right beside one.
    pub(super) fn nearness(&self, place: &Range<usize>) -> f64 {
        let outside =
            |word: &&Range<usize>| word.end <= place.start || place.end <= word.start;
        let gap = |word: &Range<usize>| {
            word.start.saturating_sub(place.end).max(place.start.saturating_sub(word.end))
        };
        let bytes = self.shared.iter().filter(outside).map(gap).min();
        bytes.map_or(1.0, |bytes| 1.0 + NEAR_BYTES / (NEAR_BYTES + bytes as f64))
    }
}

/// A title without what stands in brackets after it.
pub(super) fn plain_title(title: &str) -> &str {
    title.split(" (").next().unwrap_or(title).trim()
}

fn words(text: &str) -> Vec<String> {
    let lower = text::words(text).map(|(_, word)| word.to_lowercase());
    lower.filter(|word| word != "the").collect()
}

/// Where words stand in a text that the question has too, and the roots of those words.
fn shared<'q>(
    question: &'q Question<'_>,
    text: &str,
) -> (Vec<Range<usize>>, BTreeSet<&'q str>) {
    let mut places = Vec::new();
    let mut roots = BTreeSet::new();
    for (start, word) in text::words(text) {
        let root = question::root(word).and_then(|root| question.roots.get(&root));
        if let Some(root) = root {
            places.push(start..start + word.len());
            roots.insert(root.as_str());
        }
    }
    (places, roots)
}
