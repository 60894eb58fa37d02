//! How near two texts are in their words: TF-IDF vectors and the cosine between them.
//!
//! It stands where papers compare embeddings: it executes nothing, needs no weights and gives
//! the same number everywhere, but a paraphrase without a word in common is nothing to it.
//! Words are those that features compare. The weight of a word is how often it occurs times
//! `ln((1 + n) / (1 + df)) + 1`, of n documents df having it, so that a word in none weighs
//! most; vectors have length 1.

use std::collections::{BTreeMap, BTreeSet};

use crate::{NodeId, Tree, text};

/// How common each word is in some documents.
#[derive(Debug, Clone, Default)]
pub(super) struct TfIdf {
    documents: usize,
    having: BTreeMap<String, usize>,
}

/// A text as a vector over its words, of length 1; of a text without words, 0.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Vector(BTreeMap<String, f64>);

impl TfIdf {
    /// Counts the words of documents.
    pub(super) fn fit<'t>(documents: impl IntoIterator<Item = &'t str>) -> Self {
        let mut fitted = Self::default();
        for document in documents {
            fitted.documents += 1;
            let words: BTreeSet<String> = text::terms(document).into_iter().collect();
            for word in words {
                *fitted.having.entry(word).or_default() += 1;
            }
        }
        fitted
    }

    pub(super) fn vector(&self, text: &str) -> Vector {
        let mut weights = BTreeMap::new();
        for word in text::terms(text) {
            let having = self.having.get(&word).copied().unwrap_or(0);
            let rarity = (1.0 + self.documents as f64) / (1.0 + having as f64);
            *weights.entry(word).or_insert(0.0) += rarity.ln() + 1.0;
        }
        Vector::of_length_one(weights)
    }
}

impl Vector {
    fn of_length_one(mut weights: BTreeMap<String, f64>) -> Self {
        let length = weights.values().map(|weight| weight * weight).sum::<f64>().sqrt();
        weights.values_mut().for_each(|weight| *weight /= length);
        Self(weights)
    }

    /// 0 to 1.
    pub(super) fn cosine(&self, other: &Self) -> f64 {
        let shared =
            self.0.iter().filter_map(|(word, one)| Some(one * other.0.get(word)?));
        shared.sum::<f64>().min(1.0)
    }

    /// Their middle.
    pub(super) fn centroid(vectors: &[Self]) -> Self {
        let mut weights = BTreeMap::new();
        for (word, weight) in vectors.iter().flat_map(|vector| &vector.0) {
            *weights.entry(word.clone()).or_insert(0.0) += weight;
        }
        Self::of_length_one(weights)
    }
}

/// The documents that steps were shown, by id: title and text, the longest text that any of
/// them was shown. Those of which no text was shown are there with their title.
pub(super) fn documents_shown<'s>(
    tree: &Tree,
    steps: impl IntoIterator<Item = &'s NodeId>,
) -> BTreeMap<String, String> {
    let mut shown: BTreeMap<String, String> = BTreeMap::new();
    for node in steps.into_iter().filter_map(|step| tree.get(*step)) {
        for passage in node.step.observations.iter().flat_map(text::passages) {
            let text = format!("{}\n{}", passage.title, passage.text);
            let known = shown.entry(passage.id.to_owned()).or_default();
            if text.len() > known.len() {
                *known = text;
            }
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_all_documents_have_weighs_least() {
        let fitted = TfIdf::fit(["The fox's den.", "fox moor"]);
        let (den, moor) = (fitted.vector("fox den"), fitted.vector("fox, a moor"));
        // fox weighs ln(3/3) + 1 = 1, den and moor ln(3/2) + 1 = 1.4055: 1 / (1 + 1.9753).
        assert!((den.cosine(&moor) - 0.3361).abs() < 1e-4, "{}", den.cosine(&moor));
        assert!((den.cosine(&den) - 1.0).abs() < 1e-12);
        // A word in no document weighs ln(3/1) + 1 = 2.0986.
        let heath = fitted.vector("fox heath");
        assert!((heath.cosine(&fitted.vector("fox")) - 0.4302).abs() < 1e-4);
        assert_eq!(fitted.vector("of the").cosine(&den), 0.0);
        let middle = Vector::centroid(&[fitted.vector("den"), fitted.vector("moor")]);
        assert!((middle.cosine(&fitted.vector("den")) - 0.5f64.sqrt()).abs() < 1e-12);
        assert_eq!(Vector::centroid(&[]), Vector::default());
    }
}
