//! Features of searches.

use serde_json::Value;

use crate::features::terms::Terms;
use crate::features::{Doubt, Kind, StepFeatures, Walk, share, words};
use crate::{Evidence, Step, text};

/// From this similarity on an earlier step was an attempt at the same.
const ATTEMPT_MIN: f64 = 0.5;
/// So many attempts count in full.
const ATTEMPTS_MAX: usize = 4;
/// From this similarity on the earlier step is worth looking at.
const ALIKE_MIN: f64 = 0.3;
/// Queries of one step that are read.
const QUERIES_MAX: usize = 64;
/// Earlier steps that queries are compared with: the latest.
const STEPS_MAX: usize = 256;

impl<'t> Walk<'t> {
    pub(super) fn search(&mut self, step: &'t Step, read: &mut StepFeatures) {
        let calls = step.proposal.action.calls();
        let queries: Vec<&str> =
            calls.iter().flat_map(|call| queries(&call.args)).take(QUERIES_MAX).collect();
        let asks: Vec<Terms> = queries.iter().map(|query| Terms::of(query)).collect();
        let all = Terms::of_texts(queries.iter().copied());
        let passages: Vec<text::Passage<'t>> =
            step.observations.iter().flat_map(text::passages).collect();

        // What was asked, against what was asked, read and wanted before.
        let earlier = &self.asked[self.asked.len().saturating_sub(STEPS_MAX)..];
        let attempts =
            earlier.iter().filter(|(_, asked)| again(&asks, asked) >= ATTEMPT_MIN);
        let attempts = attempts.count().min(ATTEMPTS_MAX);
        let every = || earlier.iter().flat_map(|(_, asked)| asked);
        let asked_again = least(&asks, |ask| most(ask, every()));
        // The latest of equally near ones: `max_by` returns the last.
        let nearest = earlier
            .iter()
            .map(|(node, asked)| (again(&asks, asked), *node))
            .max_by(|one, two| one.0.total_cmp(&two.0));
        let foreign = all.without(&self.question_terms);
        let from_reading = foreign.among(&self.shown.terms);

        // What came of it.
        let mut ids: Vec<&str> = passages.iter().map(|passage| passage.id).collect();
        ids.sort_unstable();
        ids.dedup();
        let new = ids.iter().filter(|id| !self.listed.contains(*id)).count();
        let covered_before = self.question_terms.among(&self.shown.terms);
        let mut best: usize = 0;
        let mut gold_news = false;
        for passage in &passages {
            let terms = Terms::of_texts([passage.title, passage.text]);
            best = best.max(terms.shared(&self.question_terms));
            let key = self.key.as_ref();
            gold_news |= key.is_some_and(|key| key.stands_in(passage.id, &terms));
            self.shown.add(read.node, terms);
        }
        let covered = self.question_terms.among(&self.shown.terms);

        let wanted = self.question_terms.len();
        let mut set = |name, value| read.values.insert(name, value);
        set("asked-again", asked_again);
        set("attempts", share(attempts, ATTEMPTS_MAX));
        set("new-documents", share(new, ids.len()));
        set("of-question", share(all.len() - foreign.len(), all.len()));
        set("of-reading", share(from_reading, all.len()));
        set("of-nowhere", share(foreign.len() - from_reading, all.len()));
        set("coverage", share(covered, wanted));
        set("coverage-gain", share(covered - covered_before, wanted));
        set("best-passage", share(best, wanted));
        set("after-error", f64::from(u8::from(self.failed)));
        if self.key.is_some() {
            set("gold-news", f64::from(u8::from(gold_news && !self.gold_known)));
            set("gold-known", f64::from(u8::from(self.gold_known)));
        }
        let copies = |query: &&str| words(query) == self.question_words;
        let none_shared = foreign.len() - from_reading == all.len();
        read.doubt = if !queries.is_empty() && queries.iter().all(copies) {
            Some(Doubt::CopiedQuestion)
        } else if none_shared {
            Some(Doubt::OffTopic)
        } else {
            (new == 0).then_some(Doubt::NoNews)
        };
        if let Some((_, node)) = nearest.filter(|(alike, _)| *alike >= ALIKE_MIN) {
            read.evidence.push(Evidence::Step { node });
        }

        debug_assert!(matches!(read.kind, Kind::Opening | Kind::Search));
        self.asked.push((read.node, asks));
        self.listed.extend(ids);
        self.gold_known |= gold_news;
    }
}

/// How far each of these queries is among the others: the smallest share counts.
fn again(asks: &[Terms], asked: &[Terms]) -> f64 {
    least(asks, |ask| most(ask, asked.iter()))
}

fn least(asks: &[Terms], similarity: impl Fn(&Terms) -> f64) -> f64 {
    let found = asks.iter().map(similarity).fold(f64::INFINITY, f64::min);
    if found.is_finite() { found } else { 0.0 }
}

fn most<'q>(ask: &Terms, asked: impl Iterator<Item = &'q Terms>) -> f64 {
    asked.map(|other| ask.similarity(other)).fold(0.0, f64::max)
}

/// The queries among a call's arguments: the texts in its lists, which as a rule say all there
/// is to ask, else its other texts.
pub(crate) fn queries(args: &Value) -> Vec<&str> {
    let (mut listed, mut alone) = (Vec::new(), Vec::new());
    let mut open = vec![(args, false)];
    while let Some((value, in_list)) = open.pop() {
        match value {
            Value::Array(values) => open.extend(values.iter().rev().map(|v| (v, true))),
            Value::Object(fields) => {
                open.extend(fields.values().rev().map(|value| (value, in_list)));
            }
            Value::String(text) if in_list => listed.push(text.as_str()),
            Value::String(text) => alone.push(text.as_str()),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    if listed.is_empty() { alone } else { listed }
}
