//! Features of retrieval steps: numbers that a program reads off the record of a trajectory,
//! without a model, each with one meaning.
//!
//! Every feature lies in 0..=1 and is a pure function of the task, the steps up to the one
//! described, and, where [`Feature::sight`] says so, the gold. [`FEATURES`] lists them with
//! what they say. Which of them a step has depends on its [`Kind`]: a search has those that
//! are about queries and documents, an answer those about answers, and the sum of all is
//! nothing anybody needs.
//!
//! A feature describes; it does not judge. What people call a good or a bad step follows from
//! several of them, and from the steps before: that is [`fusion`](crate::fusion)'s business.
//!
//! The words compared are the text's words without stop words, in lower case and singular.

mod agreement;
mod answer;
mod search;
mod terms;

use std::collections::BTreeMap;

pub(crate) use search::queries;

use crate::features::agreement::Key;
use crate::features::answer::Shown;
use crate::features::terms::Terms;
use crate::question::Question;
use crate::{
    Action, Evidence, Fault, Gold, NodeId, Observation, Sight, Step, Task, Tree, text,
};

/// What a step is, as far as its features go.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The first search of the path.
    Opening,
    /// A later search.
    Search,
    /// An answer.
    Answer,
    /// A message that could not be carried out: unreadable, or all of its calls wrong.
    Malformed,
    /// Calls that failed for a reason outside the agent.
    Outside,
    /// Calls that list no documents, and an answer after nothing else: no retrieval, and
    /// nothing here describes them.
    Other,
}

impl Kind {
    /// The word on disk.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Opening => "opening",
            Kind::Search => "search",
            Kind::Answer => "answer",
            Kind::Malformed => "malformed",
            Kind::Outside => "outside",
            Kind::Other => "other",
        }
    }
}

/// One feature.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Feature {
    /// Its name.
    pub name: &'static str,
    /// What a value of 1 says, in words that finish "this step …".
    pub says: &'static str,
    /// What it must be shown.
    pub sight: Sight,
    /// The steps that have it.
    pub kinds: &'static [Kind],
}

const SEARCHES: &[Kind] = &[Kind::Opening, Kind::Search];
const ANSWERS: &[Kind] = &[Kind::Answer];

const fn online(
    kinds: &'static [Kind],
    name: &'static str,
    says: &'static str,
) -> Feature {
    Feature { name, says, sight: Sight::ONLINE, kinds }
}

const fn with_gold(
    kinds: &'static [Kind],
    name: &'static str,
    says: &'static str,
) -> Feature {
    Feature { name, says, sight: Sight::GOLD, kinds }
}

/// Every feature. All lie in 0..=1; a share of nothing is 0.
///
/// *Searches.* `asked-again`: the Jaccard index of a query's words and those of the most
/// similar query of an earlier step; of the step's queries, the one with the smallest counts.
/// `attempts`: how many earlier steps have an `asked-again` of at least a half with this one
/// alone, 4 or more being 1. `new-documents`: the share of the documents listed that no
/// earlier step listed. `of-question`, `of-reading` and `of-nowhere`: the shares of the
/// queries' words that the question has; that it lacks and an earlier observation has, as a
/// bridging entity does; and that neither has. `coverage`: the share of the question's words
/// in what has been shown up to and with this step; `coverage-gain`: the share that this step
/// showed first. `best-passage`: the largest share of them in one document of this step.
/// `after-error`: 1 if the step before could not be carried out. `gold-news` and `gold-known`:
/// 1 if a document that holds a right answer or is a supporting one was shown first by this
/// step; by an earlier one.
///
/// *Answers.* `declines`: 1 if the answer says that there is none to be given. `supported`:
/// the share of its words, those of the question aside, in what has been shown; 1 if it has
/// no others. `relevance`: the largest share of the question's words in one document that has
/// four fifths of the answer's. `uncovered`: the share of the question's words in nothing
/// shown, if anything was. `unsearched`: 1 if no document was shown. `misfit`: 1 if the answer
/// is not of the form asked for: a number without a digit, a choice that names neither
/// alternative. `strange-numbers`: the share of its numbers that nothing shown has, if
/// anything was shown. `hedges`: how many words of doubt the message has, 3 or more being 1.
/// `agreement`: how far the answer agrees with a right one: see the source of
/// `features/agreement.rs`.
pub const FEATURES: &[Feature] = &[
    online(SEARCHES, "asked-again", "asks what an earlier step asked"),
    online(SEARCHES, "attempts", "comes after several attempts at the same"),
    online(SEARCHES, "new-documents", "lists only documents not listed before"),
    online(SEARCHES, "of-question", "asks in words of the question"),
    online(SEARCHES, "of-reading", "asks in words that were read on the way"),
    online(SEARCHES, "of-nowhere", "asks in words found neither there nor there"),
    online(SEARCHES, "coverage", "leaves every word of the question read about"),
    online(SEARCHES, "coverage-gain", "shows the words of the question first"),
    online(SEARCHES, "best-passage", "shows a document with the question's words"),
    online(SEARCHES, "after-error", "puts right a message that failed"),
    with_gold(SEARCHES, "gold-news", "shows a right answer first"),
    with_gold(SEARCHES, "gold-known", "searches on after a right answer was shown"),
    online(ANSWERS, "declines", "says that there is no answer to give"),
    online(ANSWERS, "supported", "answers in words that were shown"),
    online(ANSWERS, "relevance", "answers from a document about the question"),
    online(ANSWERS, "uncovered", "answers with the question not read about"),
    online(ANSWERS, "unsearched", "answers without having been shown a document"),
    online(ANSWERS, "misfit", "answers in another form than asked for"),
    online(ANSWERS, "strange-numbers", "answers with numbers that nothing shown has"),
    online(ANSWERS, "hedges", "answers in words of doubt"),
    with_gold(ANSWERS, "agreement", "agrees with the right answer"),
];

/// The feature of a name, if there is one.
pub fn feature(name: &str) -> Option<&'static Feature> {
    FEATURES.iter().find(|feature| feature.name == name)
}

/// Why a step must not be called good, whatever its features: it is of a kind that pays off
/// only where reward does not follow worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// Its queries are the question, word for word.
    CopiedQuestion,
    /// No query shares a word with the question or with anything shown.
    OffTopic,
    /// It lists no document, or none that was not listed before.
    NoNews,
    /// More steps lie before it than in any trajectory that people labelled.
    TooLong,
    /// It gives several answers to choose from.
    SeveralAnswers,
    /// It asserts certainty, and nothing shown has the answer.
    Assertive,
    /// It answers, and no document shown has to do with the question.
    Irrelevant,
}

impl Doubt {
    /// In words that finish "this step …".
    pub fn says(self) -> &'static str {
        match self {
            Doubt::CopiedQuestion => "copies the question as its query",
            Doubt::OffTopic => "asks about nothing in the question or in what was read",
            Doubt::NoNews => "brings no document that was not listed before",
            Doubt::TooLong => "comes after more steps than people ever labelled",
            Doubt::SeveralAnswers => "gives several answers to choose from",
            Doubt::Assertive => "asserts certainty about what nothing shown has",
            Doubt::Irrelevant => "answers from documents that are not about the question",
        }
    }
}

/// What can be read off one step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepFeatures {
    /// The step.
    pub node: NodeId,
    /// What it is.
    pub kind: Kind,
    /// Its features by name; see [`FEATURES`] for which it has.
    pub values: BTreeMap<&'static str, f64>,
    /// Why it must not be called good, if it must not.
    pub doubt: Option<Doubt>,
    /// Where to look: its message, the earlier step it is most like, the passage that has its
    /// answer.
    pub evidence: Vec<Evidence>,
}

/// Steps before one, from which on it is beyond what people labelled.
const EARLIER_MAX: usize = 30;

/// Reads the features of every step from a first one to `node`, in order. Those that need
/// gold are left out without it.
///
/// Reads each step once, so that the cost is that of the words on the path.
pub fn features(
    tree: &Tree,
    node: NodeId,
    task: &Task,
    gold: Option<&Gold>,
) -> Vec<StepFeatures> {
    let question = Question::read(&task.prompt);
    let mut walk = Walk {
        question_terms: Terms::of(&task.prompt),
        question_words: words(&task.prompt),
        key: gold.map(|gold| Key::new(gold, &question)),
        question: &question,
        asked: vec![],
        listed: Default::default(),
        shown: Shown::default(),
        gold_known: false,
        failed: false,
        elsewhere: false,
    };
    let path = tree.path(node);
    path.iter().map(|(node, at)| walk.step(*node, &at.step)).collect()
}

/// The words of a text in order, letter case aside.
fn words(text: &str) -> Vec<String> {
    text::words(text).map(|(_, word)| word.to_lowercase()).collect()
}

/// What has been read of a path so far.
struct Walk<'t> {
    question: &'t Question<'t>,
    question_terms: Terms,
    question_words: Vec<String>,
    key: Option<Key>,
    /// The queries of each earlier step that searched.
    asked: Vec<(NodeId, Vec<Terms>)>,
    /// Ids of the documents listed so far.
    listed: std::collections::BTreeSet<&'t str>,
    shown: Shown,
    gold_known: bool,
    /// Whether the step before could not be carried out.
    failed: bool,
    /// Whether calls were made and none so far listed documents.
    elsewhere: bool,
}

impl<'t> Walk<'t> {
    fn step(&mut self, node: NodeId, step: &'t Step) -> StepFeatures {
        let kind = self.kind(step);
        let mut read = StepFeatures {
            node,
            kind,
            values: BTreeMap::new(),
            doubt: None,
            evidence: vec![Evidence::message(node, step)],
        };
        match kind {
            Kind::Opening | Kind::Search => self.search(step, &mut read),
            Kind::Answer => self.answer(step, &mut read),
            Kind::Malformed | Kind::Outside | Kind::Other => {}
        }
        if self.shown.steps >= EARLIER_MAX {
            read.doubt = Some(Doubt::TooLong);
        }
        self.shown.steps += 1;
        self.failed = kind == Kind::Malformed;
        self.elsewhere = match kind {
            Kind::Opening | Kind::Search => false,
            Kind::Other => true,
            _ => self.elsewhere,
        };
        debug_assert!(read.values.values().all(|value| (0.0..=1.0).contains(value)));
        read
    }

    fn kind(&self, step: &Step) -> Kind {
        match &step.proposal.action {
            Action::Answer { .. } if self.elsewhere => return Kind::Other,
            Action::Answer { .. } => return Kind::Answer,
            Action::Malformed { .. } => return Kind::Malformed,
            Action::Calls { .. } => {}
        }
        let observations = &step.observations;
        if observations.iter().any(text::lists_documents) {
            return if self.asked.is_empty() { Kind::Opening } else { Kind::Search };
        }
        let outside = |o: &Observation| o.as_fault() == Some(Fault::External);
        if observations.iter().any(|o| o.as_fault().is_none()) {
            Kind::Other
        } else if observations.iter().any(outside) {
            Kind::Outside
        } else {
            Kind::Malformed
        }
    }
}

/// A share of a whole; 0 of nothing.
fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests;
