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

use tantivy::query::{
    BooleanQuery, BoostQuery, EnableScoring, Occur, PhraseQuery, Query as EngineQuery,
    TermQuery, Weight,
};
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{DocAddress, DocId, DocSet, Score, Searcher, Term};

use crate::query::{Clause, Query, Scope};

/// How far below the worst of the best a nominee may score, as a share of it. Sums of 128
/// positive floats in any two orders differ by less than 128 × 2⁻²³, a seventh of this.
const MARGIN: Score = 1e-4;

/// The fields that are searched and read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields {
    pub(crate) id: Field,
    pub(crate) title: Field,
    pub(crate) title_key: Field,
    pub(crate) text: Field,
}

/// A word of the title counts this many times as much as one of the text.
pub(crate) const TITLE_BOOST: Score = 1.0;

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
    let mut ranked = Vec::new();
    for (segment, docs) in nominees.iter().enumerate() {
        if !docs.is_empty() {
            let ordinal =
                u32::try_from(segment).expect("a searcher numbers segments in 32 bits");
            rank_segment(searcher, &scoring, ordinal, docs, limit, &mut ranked)?;
        }
    }
    ranked.sort_by(|a, b| by_score(a.score, b.score).then_with(|| a.id.cmp(&b.id)));
    ranked.truncate(limit);
    Ok(ranked)
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
    let mut ranked = Vec::new();
    for (segment, reader) in (0..).zip(searcher.segment_readers()) {
        let mut docs = Vec::new();
        weight.for_each(reader, &mut |doc, _| docs.push(doc))?;
        rank_segment(searcher, &[], segment, &docs, limit, &mut ranked)?;
    }
    ranked.sort_by(|a, b| a.id.cmp(&b.id));
    ranked.truncate(limit);
    Ok(ranked)
}

/// What the engine is asked for a clause: one query a field.
fn parts(fields: &Fields, clause: &Clause) -> Vec<Box<dyn EngineQuery>> {
    let title = || part(fields.title, clause, TITLE_BOOST);
    let text = || part(fields.text, clause, 1.0);
    match clause.scope {
        Scope::Anywhere => vec![title(), text()],
        Scope::Title => vec![title()],
        Scope::Text => vec![text()],
    }
}

fn part(field: Field, clause: &Clause, boost: Score) -> Box<dyn EngineQuery> {
    let term = |word: &str| Term::from_field_text(field, word);
    let query: Box<dyn EngineQuery> = match clause.words.as_slice() {
        [(_, word)] => Box::new(TermQuery::new(term(word), IndexRecordOption::WithFreqs)),
        words => {
            let terms = words.iter().map(|(position, word)| (*position, term(word)));
            Box::new(PhraseQuery::new_with_offset(terms.collect()))
        }
    };
    if boost == 1.0 { query } else { Box::new(BoostQuery::new(query, boost)) }
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

/// Scores documents of one segment and adds the best `limit` of them to `ranked`.
fn rank_segment(
    searcher: &Searcher,
    scoring: &[Box<dyn Weight>],
    segment: u32,
    docs: &[DocId],
    limit: usize,
    ranked: &mut Vec<Ranked>,
) -> tantivy::Result<()> {
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
    let missing = || {
        tantivy::TantivyError::InternalError("the index has no column of ids".to_owned())
    };
    let ids = reader.fast_fields().str("id")?.ok_or_else(missing)?;
    // Within a segment the ids are numbered in their own order: no need to read them all.
    let order = |doc| ids.term_ords(doc).next().unwrap_or(u64::MAX);
    let mut best: Vec<(f64, u64, DocId)> =
        docs.iter().zip(scores).map(|(&doc, score)| (score, order(doc), doc)).collect();
    best.sort_by(|a, b| by_score(a.0, b.0).then(a.1.cmp(&b.1)));
    for (score, ordinal, doc) in best.into_iter().take(limit) {
        let mut id = String::new();
        ids.ord_to_str(ordinal, &mut id)?;
        ranked.push(Ranked { address: DocAddress::new(segment, doc), id, score });
    }
    Ok(())
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
