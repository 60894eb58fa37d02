//! Features of answers.

use std::collections::HashSet;

use crate::features::agreement::{declines, parts, stance};
use crate::features::terms::Terms;
use crate::features::{Doubt, StepFeatures, Walk, share};
use crate::question::Asked;
use crate::{Action, Evidence, NodeId, Step, text};

/// A document has the answer if it has this share of its words.
const SUPPORT_MIN: f64 = 0.8;
/// A document has to do with the question if it has this share of its words.
const RELEVANCE_MIN: f64 = 0.2;
/// So many words of doubt count in full.
const HEDGES_MAX: usize = 3;

/// Words of doubt.
const HEDGES: &[&str] = &[
    "ambiguous",
    "appears",
    "assume",
    "assuming",
    "guess",
    "likely",
    "maybe",
    "perhaps",
    "possibly",
    "presumably",
    "probably",
    "seems",
    "unclear",
    "unsure",
];

/// Words that assert certainty.
const ASSERTIONS: &[&str] = &[
    "absolutely",
    "certain",
    "certainly",
    "confident",
    "definitely",
    "doubtless",
    "guarantee",
    "guaranteed",
    "indisputable",
    "indisputably",
    "obviously",
    "positive",
    "sure",
    "surely",
    "undeniably",
    "undoubtedly",
    "unquestionably",
];

/// What the agent has been shown so far.
#[derive(Default)]
pub(super) struct Shown {
    /// Steps taken.
    pub(super) steps: usize,
    /// The words of all documents.
    pub(super) terms: HashSet<u64>,
    documents: Vec<(NodeId, Terms)>,
}

impl Shown {
    pub(super) fn add(&mut self, node: NodeId, document: Terms) {
        self.terms.extend(document.iter());
        self.documents.push((node, document));
    }
}

impl<'t> Walk<'t> {
    pub(super) fn answer(&mut self, step: &'t Step, read: &mut StepFeatures) {
        let Action::Answer { text: answer } = &step.proposal.action else { return };
        let question = &self.question_terms;
        let terms = Terms::of(answer);
        let own = terms.without(question);
        let searched = !self.shown.documents.is_empty();
        let supported = if own.is_empty() {
            1.0
        } else {
            share(own.among(&self.shown.terms), own.len())
        };
        let relevance =
            |document: &Terms| share(document.shared(question), question.len());
        let has_answer = |document: &Terms| {
            !terms.is_empty() && share(terms.shared(document), terms.len()) >= SUPPORT_MIN
        };
        let supporting = self.shown.documents.iter().filter(|(_, d)| has_answer(d));
        // The latest of equally good ones: `max_by` returns the last.
        let best = supporting
            .map(|(node, document)| (relevance(document), *node))
            .max_by(|one, two| one.0.total_cmp(&two.0));
        let nearest =
            self.shown.documents.iter().map(|(_, d)| relevance(d)).fold(0.0, f64::max);
        let covered = share(question.among(&self.shown.terms), question.len());
        let flag = |is: bool| f64::from(u8::from(is));

        let mut set = |name, value| read.values.insert(name, value);
        let is_empty = text::words(answer).next().is_none();
        set("declines", flag(is_empty || declines(answer)));
        set("supported", if searched { supported } else { 0.0 });
        set("relevance", best.map_or(0.0, |(relevance, _)| relevance));
        set("uncovered", if searched { 1.0 - covered } else { 0.0 });
        set("unsearched", flag(!searched));
        set("misfit", flag(misfits(answer, self.question.asked)));
        let numbers = Terms::of_texts(
            text::words(answer).map(|(_, word)| word).filter(|word| is_number(word)),
        );
        let strange = numbers.without(question);
        let strange = strange.len() - strange.among(&self.shown.terms);
        set(
            "strange-numbers",
            if searched { share(strange, numbers.len()) } else { 0.0 },
        );
        let message = step.proposal.text.as_str();
        set("hedges", share(count(message, HEDGES).min(HEDGES_MAX), HEDGES_MAX));
        if let Some(key) = &self.key {
            set("agreement", key.agreement(answer, self.question));
        }
        let choice = matches!(self.question.asked, Asked::YesNo | Asked::Choice { .. });
        let blocks = message.matches("<answer>").count();
        read.doubt = if blocks > 1 || (!choice && parts(answer).len() > 1) {
            Some(Doubt::SeveralAnswers)
        } else if best.is_none() && asserts(message, answer) {
            Some(Doubt::Assertive)
        } else {
            (searched && nearest < RELEVANCE_MIN).then_some(Doubt::Irrelevant)
        };
        if let Some((_, node)) = best {
            read.evidence.push(Evidence::Step { node });
        }
    }
}

/// Whether a message, or the answer read off it, asserts that it is certain.
fn asserts(message: &str, answer: &str) -> bool {
    count(message, ASSERTIONS) + count(answer, ASSERTIONS) > 0
}

fn is_number(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_digit())
}

fn count(text: &str, words: &[&str]) -> usize {
    let lower = text::words(text).map(|(_, word)| word.to_lowercase());
    lower.filter(|word| words.binary_search(&word.as_str()).is_ok()).count()
}

/// Whether an answer is plainly of another form than asked for.
fn misfits(answer: &str, asked: Asked<'_>) -> bool {
    let has_number = text::words(answer).any(|(_, word)| is_number(word));
    match asked {
        Asked::YesNo => stance(answer).is_none(),
        Asked::Choice { between, .. } => {
            let answer = Terms::of(answer);
            between.iter().all(|one| Terms::of(one).shared(&answer) == 0)
        }
        Asked::Date | Asked::Year | Asked::Number => !has_number,
        Asked::Person | Asked::Place | Asked::Nationality => {
            text::words(answer).all(|(_, word)| is_number(word))
        }
        Asked::Thing => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_can_be_searched() {
        assert!(HEDGES.is_sorted() && ASSERTIONS.is_sorted());
    }
}
