//! The best documents for a query, the same ones in the same order however the index came
//! to be laid out.
//!
//! Two things stand in the way. Engines add up a document's score in an order that depends
//! on the segment it lies in, and sums of floats differ in their last bits by order. And
//! documents that score the same come in the order of their place in the index, which
//! depends on the timing of the indexing threads. So the engine only nominates: everything
//! within a margin of the best, the margin being far wider than any rounding. The nominees
//! are scored again, clause by clause in the order of the query, and ordered by that score
//! and then by id.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use tantivy::columnar::StrColumn;
use tantivy::query::{
    BooleanQuery, EnableScoring, Occur, PhraseQuery, Query as EngineQuery, TermQuery,
    Weight,
};
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{DocAddress, DocId, DocSet, Score, Searcher, TantivyError, Term};

use crate::query::{Clause, Query, Scope};

/// How far below the worst of the best a nominee may score, as a share of it. A relaxed query
/// has up to 128 clauses in two fields each, and sums of 256 positive floats in any two
/// orders differ by less than 256 × 2⁻²³, a third of this.
const MARGIN: Score = 1e-4;

/// The fields that are searched and read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields {
    pub(crate) id: Field,
    pub(crate) title: Field,
    pub(crate) title_key: Field,
    pub(crate) text: Field,
}

/// A document and how well it matches.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ranked {
    pub(crate) address: DocAddress,
    pub(crate) id: String,
    pub(crate) score: f64,
}

/// The best `limit` documents: higher scores first, equal scores by id.
pub(crate) fn best(
    searcher: &Searcher,
    fields: &Fields,
    query: &Query,
    limit: usize,
) -> tantivy::Result<Vec<Ranked>> {
    let required = query.required.iter().map(|clause| (Occur::Must, clause));
    let optional = query.optional.iter().map(|clause| (Occur::Should, clause));
    let mut engine: Vec<(Occur, Box<dyn EngineQuery>)> = Vec::new();
    let mut scoring = Vec::new();
    for (occur, clause) in required.chain(optional) {
        let parts = parts(fields, clause);
        for part in &parts {
            scoring.push(part.weight(EnableScoring::enabled_from_searcher(searcher))?);
        }
        if occur == Occur::Must && parts.len() > 1 {
            engine.push((occur, Box::new(BooleanQuery::union(parts))));
        } else {
            engine.extend(parts.into_iter().map(|part| (occur, part)));
        }
    }
    if limit == 0 || engine.is_empty() {
        return Ok(Vec::new());
    }
    let nominees = nominate(searcher, &BooleanQuery::new(engine), limit)?;
    let mut scored = Vec::new();
    for (segment, docs) in (0..).zip(&nominees) {
        scored.extend(score_segment(searcher, &scoring, segment, docs, limit)?);
    }
    ordered(searcher, scored, limit)
}

/// The documents with exactly this value in a field, at most `limit` of them, by id.
pub(crate) fn exact(
    searcher: &Searcher,
    field: Field,
    value: &str,
    limit: usize,
) -> tantivy::Result<Vec<Ranked>> {
    let query =
        TermQuery::new(Term::from_field_text(field, value), IndexRecordOption::Basic);
    let weight = query.weight(EnableScoring::enabled_from_searcher(searcher))?;
    let mut scored = Vec::new();
    for (segment, reader) in (0..).zip(searcher.segment_readers()) {
        let mut docs = Vec::new();
        weight.for_each(reader, &mut |doc, _| docs.push(doc))?;
        scored.extend(score_segment(searcher, &[], segment, &docs, limit)?);
    }
    ordered(searcher, scored, limit)
}

/// What the engine is asked for a clause: one query a field. The fields weigh the same;
/// the README has the figures of other weights.
fn parts(fields: &Fields, clause: &Clause) -> Vec<Box<dyn EngineQuery>> {
    let title = || part(fields.title, clause);
    let text = || part(fields.text, clause);
    match clause.scope {
        Scope::Anywhere => vec![title(), text()],
        Scope::Title => vec![title()],
        Scope::Text => vec![text()],
    }
}

fn part(field: Field, clause: &Clause) -> Box<dyn EngineQuery> {
    let term = |word: &str| Term::from_field_text(field, word);
    match clause.words.as_slice() {
        [(_, word)] => Box::new(TermQuery::new(term(word), IndexRecordOption::WithFreqs)),
        words => {
            let terms = words.iter().map(|(position, word)| (*position, term(word)));
            Box::new(PhraseQuery::new_with_offset(terms.collect()))
        }
    }
}

/// The documents of each segment, in order, that can be among the best `limit`.
fn nominate(
    searcher: &Searcher,
    query: &dyn EngineQuery,
    limit: usize,
) -> tantivy::Result<Vec<Vec<DocId>>> {
    let weight = query.weight(EnableScoring::enabled_from_searcher(searcher))?;
    let mut best: BinaryHeap<Reverse<Total>> = BinaryHeap::with_capacity(limit + 1);
    let mut floor = Score::MIN;
    let mut segments: Vec<Vec<(DocId, Score)>> = Vec::new();
    for reader in searcher.segment_readers() {
        let mut nominees: Vec<(DocId, Score)> = Vec::new();
        let mut sweep_at = 4 * limit + 1024;
        weight.for_each_pruning(floor, reader, &mut |doc, score| {
            nominees.push((doc, score));
            best.push(Reverse(Total(score)));
            if best.len() > limit {
                best.pop();
                let worst = best.peek().map_or(0.0, |Reverse(Total(score))| *score);
                floor = floor.max(worst * (1.0 - MARGIN));
            }
            // What fell below the floor since is dropped now and then, so that the list
            // stays as long as the ties, not as long as the way there.
            if nominees.len() >= sweep_at {
                nominees.retain(|&(_, score)| score > floor);
                sweep_at = 2 * nominees.len() + 1024;
            }
            floor
        })?;
        segments.push(nominees);
    }
    let keep = |nominees: Vec<(DocId, Score)>| {
        let kept = nominees.into_iter().filter(|&(_, score)| score > floor);
        kept.map(|(doc, _)| doc).collect()
    };
    Ok(segments.into_iter().map(keep).collect())
}

/// A nominee with its final score.
struct Scored {
    score: f64,
    address: DocAddress,
    /// The number of its id in the segment's column of ids, which is sorted.
    id: u64,
}

/// Scores documents of one segment, given in order, and keeps the best `limit` of them.
fn score_segment(
    searcher: &Searcher,
    scoring: &[Box<dyn Weight>],
    segment: u32,
    docs: &[DocId],
    limit: usize,
) -> tantivy::Result<Vec<Scored>> {
    if docs.is_empty() {
        return Ok(Vec::new());
    }
    let reader = searcher.segment_reader(segment);
    let mut scores = vec![0.0_f64; docs.len()];
    for weight in scoring {
        let mut scorer = weight.scorer(reader, 1.0)?;
        for (&doc, score) in docs.iter().zip(&mut scores) {
            let at = if scorer.doc() < doc { scorer.seek(doc) } else { scorer.doc() };
            if at == doc {
                *score += f64::from(scorer.score());
            }
        }
    }
    let ids = ids(searcher, segment)?;
    let mut scored: Vec<Scored> = docs
        .iter()
        .zip(scores)
        .map(|(&doc, score)| {
            let id = ids.term_ords(doc).next().unwrap_or(u64::MAX);
            Scored { score, address: DocAddress::new(segment, doc), id }
        })
        .collect();
    // The numbers of the ids are in the order of the ids: none needs to be read for this.
    scored.sort_by(|a, b| by_score(a.score, b.score).then(a.id.cmp(&b.id)));
    scored.truncate(limit);
    Ok(scored)
}

/// Puts the best of all segments in order, reading no more ids than it must.
fn ordered(
    searcher: &Searcher,
    mut scored: Vec<Scored>,
    limit: usize,
) -> tantivy::Result<Vec<Ranked>> {
    scored.sort_by(|a, b| by_score(a.score, b.score));
    if let Some(last) = limit.checked_sub(1).and_then(|last| scored.get(last)) {
        let floor = last.score;
        scored.retain(|scored| scored.score >= floor);
    }
    let mut ranked = Vec::with_capacity(scored.len());
    for Scored { score, address, id: ordinal } in scored {
        let mut id = String::new();
        ids(searcher, address.segment_ord)?.ord_to_str(ordinal, &mut id)?;
        ranked.push(Ranked { address, id, score });
    }
    ranked.sort_by(|a, b| by_score(a.score, b.score).then_with(|| a.id.cmp(&b.id)));
    ranked.truncate(limit);
    Ok(ranked)
}

/// The column of ids of a segment.
fn ids(searcher: &Searcher, segment: u32) -> tantivy::Result<StrColumn> {
    let missing = || TantivyError::InternalError("no column of ids".to_owned());
    searcher.segment_reader(segment).fast_fields().str("id")?.ok_or_else(missing)
}

fn by_score(a: f64, b: f64) -> Ordering {
    b.total_cmp(&a)
}

/// A score in the total order of floats.
#[derive(PartialEq)]
struct Total(Score);

impl Eq for Total {}

impl PartialOrd for Total {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Total {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}
