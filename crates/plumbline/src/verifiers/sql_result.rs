//! `sql-result@2`: a query returns what the gold's query returns.

use std::sync::Arc;

use async_trait::async_trait;

use crate::comparators::{Comparator, Table};
use crate::query::Query;
use crate::verifiers::sql::{Asked, Bench, Rows, asked, rows, same};
use crate::verifiers::{Finding, verdict};
use crate::{
    Cost, Environment, Gold, NodeId, Seen, Sight, Tree, Verdict, Verifier, VerifierError,
    VerifierId, Zero,
};

/// Holds the result of each query of a step against the gold's, with the gold's own
/// comparator [`Table`].
///
/// An answer is good if the tables are equal under strict semantics; neutral if what differs
/// is no more than how it is written (the order of columns, more columns than asked for,
/// rounding, numbers as text); and bad otherwise, also where rows are doubled or lost or stand
/// in another order than asked for, which relaxed semantics forgive. A query that a step only
/// tries out is good if its result is the gold's, and has no label otherwise: it need not be
/// the last. One that returns what was written into it, or what an earlier one returned, is
/// neutral. The value is the comparison's, 0 to 1.
pub struct SqlResult {
    id: VerifierId,
    environment: Arc<Environment>,
}

impl SqlResult {
    /// For runs in this world.
    pub fn new(environment: Arc<Environment>) -> Self {
        let id = VerifierId("sql-result@2".to_owned());
        Self { id, environment }
    }
}

#[async_trait]
impl Verifier for SqlResult {
    fn id(&self) -> &VerifierId {
        &self.id
    }

    fn sight(&self) -> Sight {
        Sight::GOLD
    }

    async fn judge(
        &self,
        tree: &Tree,
        nodes: &[NodeId],
        seen: Seen<'_>,
    ) -> Result<Vec<Verdict>, VerifierError> {
        let Some(gold) = seen.gold else { return Ok(vec![]) };
        let comparator =
            Comparator::of(gold).map_err(|error| seen.lacks(&self.id, error))?;
        // Other gold says nothing about the results of queries.
        let Comparator::Table(table) = comparator else { return Ok(vec![]) };
        let mut verdicts = Vec::new();
        for &node in nodes {
            let queries = asked(tree, node);
            if queries.is_empty() {
                continue;
            }
            let place = (tree, seen.task);
            let mut bench =
                Bench::before(node, place, &self.environment, &self.id).await?;
            let mut best: Option<(f64, Finding)> = None;
            let earlier = returned(tree, node);
            for query in &queries {
                let found = hold(query, &table, gold, &earlier, &mut bench).await?;
                let Some(found) = found else {
                    continue;
                };
                if best.as_ref().is_none_or(|(value, _)| found.0 > *value) {
                    best = Some(found);
                }
            }
            if let Some((_, finding)) = best {
                let cost = Cost { calls: bench.calls, tokens: 0 };
                verdicts.push(Verdict { cost, ..verdict(self, node, finding) });
            }
        }
        Ok(verdicts)
    }
}

/// The tables that queries before a step returned.
fn returned(tree: &Tree, node: NodeId) -> Vec<Rows> {
    let mut path = tree.path(node);
    path.pop();
    let queries = path.iter().flat_map(|(earlier, _)| asked(tree, *earlier));
    queries.filter_map(|asked| rows(asked.observed?)).collect()
}

async fn hold(
    asked: &Asked<'_>,
    table: &Table,
    gold: &Gold,
    earlier: &[Rows],
    bench: &mut Bench<'_>,
) -> Result<Option<(f64, Finding)>, VerifierError> {
    let Some((observed, evidence)) = bench.try_beside(table, asked.sql, gold).await?
    else {
        return Ok(None);
    };
    let comparison = table.compare(gold, &observed);
    let (value, reason) = (comparison.value, comparison.reason.clone());
    let is_constant = asked.query.as_ref().is_some_and(Query::is_constant);
    let found = observed.first().and_then(rows);
    let is_known = !asked.is_answer()
        && earlier.iter().any(|earlier| found.as_ref().is_some_and(|f| same(f, earlier)));
    let finding = if comparison.strict && is_known {
        let reason = format!("{reason}, which an earlier query returned already");
        Finding::neutral(Zero::Neutral, value, reason)
    } else if comparison.strict && is_constant {
        let reason = format!("{reason}, which was written into the query");
        Finding::neutral(Zero::Unknown, value, reason)
    } else if comparison.strict {
        Finding::good(value, reason)
    } else if !asked.is_answer() {
        Finding::unlabelled(value, reason)
    } else if comparison.relaxed && table.is_written_otherwise(gold, &observed) {
        Finding::neutral(Zero::Unknown, value, reason)
    } else {
        Finding::bad(value, reason)
    };
    Ok(Some((value, finding.resting_on(evidence))))
}
