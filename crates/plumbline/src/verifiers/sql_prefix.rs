//! `sql-prefix@1`: the pieces of a query run, and return something.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use crate::verifiers::sql::{Asked, Bench, DESCRIBE, asked};
use crate::verifiers::{Finding, calls, verdict};
use crate::{
    Cost, Environment, Evidence, Fault, NodeId, Seen, Sight, Tree, Verdict, Verifier,
    VerifierError, VerifierId, Zero,
};

/// Executes a query's pieces on a fork of the state before the step: each CTE with those
/// before it (the chain of CTEs of Reward-SQL, 2025), each subquery that stands on its own,
/// each side of a set operation, then the whole.
///
/// Bad if the query does not run; the reason names the first piece that does not either.
/// Neutral if it runs and returns nothing although it is no probe, or a CTE of it is empty:
/// that may be the answer. A query that only looks at one table (its schema, its distinct
/// values, a count, some rows) is a probe, and neutral whatever comes of it; so is a call of
/// `describe`. Otherwise there is no label: that a query runs does not make it good.
///
/// The value is the share of pieces, the whole included, that return rows, 0 to 1.
pub struct SqlPrefix {
    id: VerifierId,
    environment: Arc<Environment>,
}

impl SqlPrefix {
    /// For runs in this world.
    pub fn new(environment: Arc<Environment>) -> Self {
        let id = VerifierId("sql-prefix@1".to_owned());
        Self { id, environment }
    }
}

#[async_trait]
impl Verifier for SqlPrefix {
    fn id(&self) -> &VerifierId {
        &self.id
    }

    fn sight(&self) -> Sight {
        Sight::ONLINE
    }

    async fn judge(
        &self,
        tree: &Tree,
        nodes: &[NodeId],
        seen: Seen<'_>,
    ) -> Result<Vec<Verdict>, VerifierError> {
        let mut verdicts = Vec::new();
        for &node in nodes {
            let queries = asked(tree, node);
            if queries.is_empty() {
                verdicts.extend(
                    described(tree, node).map(|found| verdict(self, node, found)),
                );
                continue;
            }
            let place = (tree, seen.task);
            let mut bench =
                Bench::before(node, place, &self.environment, &self.id).await?;
            let mut worst: Option<(u8, Finding)> = None;
            for query in &queries {
                let found = judge_query(query, &mut bench).await?;
                if worst.as_ref().is_none_or(|(badness, _)| found.0 > *badness) {
                    worst = Some(found);
                }
            }
            if let Some((_, finding)) = worst {
                let cost = Cost { calls: bench.calls, tokens: 0 };
                verdicts.push(Verdict { cost, ..verdict(self, node, finding) });
            }
        }
        Ok(verdicts)
    }
}

/// A step that only asks what there is.
fn described(tree: &Tree, node: NodeId) -> Option<Finding> {
    let step = &tree.get(node)?.step;
    let mut made = calls(step).peekable();
    made.peek()?;
    let all = made.all(|(call, observation)| {
        call.tool == DESCRIBE && observation.as_fault() != Some(Fault::UnknownTool)
    });
    let reason = "the step looks at the schema".to_owned();
    all.then(|| {
        let evidence = vec![Evidence::Step { node }];
        Finding::neutral(Zero::Neutral, 1.0, reason).resting_on(evidence)
    })
}

/// How bad a finding is, to choose among several queries of a step, and the finding.
async fn judge_query(
    asked: &Asked<'_>,
    bench: &mut Bench<'_>,
) -> Result<(u8, Finding), VerifierError> {
    let mut evidence = Vec::new();
    let Some(whole) = bench.try_query(asked.sql).await? else {
        let reason = "the step has too many pieces to execute".to_owned();
        return Ok((0, Finding::unlabelled(Value::Null, reason)));
    };
    evidence.push(whole.evidence.clone());
    let (mut pieces, mut filled) =
        (1u32, u32::from(whole.rows().is_some_and(|r| !r.is_empty())));
    let mut broken: Option<String> = None;
    let mut empty: Option<String> = None;
    let probe = asked.query.as_ref().and_then(|query| query.probe());
    if let (Some(query), None) = (&asked.query, probe) {
        let ctes = query.ctes();
        let standing = query.subqueries();
        for (index, part) in ctes.iter().chain(&standing).enumerate() {
            let is_cte = index < ctes.len();
            let Some(tried) = bench.try_query(&part.count).await? else { break };
            match tried.count() {
                Some(count) => {
                    pieces += 1;
                    filled += u32::from(count > 0);
                    if count == 0 && is_cte {
                        empty.get_or_insert_with(|| part.name.clone());
                    }
                    evidence.push(tried.evidence);
                }
                // A subquery that refers to columns around it does not stand on its own.
                None if is_cte => {
                    pieces += 1;
                    let said = first_line(tried.observation.text());
                    broken.get_or_insert_with(|| format!("{}: {said}", part.name));
                    evidence.push(tried.evidence);
                }
                None => {}
            }
        }
    }
    let value = f64::from(filled) / f64::from(pieces);
    let finding = match (whole.observation.as_fault(), probe) {
        (Some(Fault::External), _) => {
            let reason = "something outside the query failed".to_owned();
            (1, Finding::neutral(Zero::External, value, reason))
        }
        (_, Some(probe)) => {
            let reason = format!("the query looks at {}", probe.as_str());
            (1, Finding::neutral(Zero::Neutral, value, reason))
        }
        (Some(_), None) => {
            let said = first_line(whole.observation.text());
            let reason = match broken {
                Some(part) => format!("the query does not run, beginning with {part}"),
                None => format!("the query does not run: {said}"),
            };
            (3, Finding::bad(value, reason))
        }
        (None, None) => match empty {
            Some(part) => {
                let reason = format!("{part} is empty");
                (2, Finding::neutral(Zero::Unknown, value, reason))
            }
            None if filled < pieces && whole.rows().is_some_and(Vec::is_empty) => {
                let reason = "the query returns nothing".to_owned();
                (2, Finding::neutral(Zero::Unknown, value, reason))
            }
            None => {
                let reason =
                    format!("the query runs: {filled} of {pieces} pieces return rows");
                (0, Finding::unlabelled(value, reason))
            }
        },
    };
    Ok((finding.0, finding.1.resting_on(evidence)))
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or("").chars().take(160).collect()
}
