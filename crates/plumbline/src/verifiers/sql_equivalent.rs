//! `sql-equivalent@1`: a query that returns what the gold's does returns it for other rows too.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use crate::comparators::{Comparator, Table, query_of};
use crate::query::{self, Query};
use crate::verifiers::sql::{Asked, Bench, Rows, Tried, asked, quoted, rows, same};
use crate::verifiers::{Finding, verdict};
use crate::{
    Cost, Environment, Evidence, Fault, Gold, NodeId, Seen, Sight, Tree, Verdict,
    Verifier, VerifierError, VerifierId, Zero,
};

/// Asks a query whose result is the gold's once more, beside the gold's own query, of changed
/// data: the idea of Zhong, Yu and Klein, *Semantic Evaluation for Text-to-SQL with Distilled
/// Test Suites* (2020). The database stays as it is: each table that a query names is put in
/// front of the true one as a CTE, changed in three ways.
///
/// * `keys`: what lies beside a primary key moves on by one row, so that keys stand for other
///   things. Every value is still there as often as before, and what belongs together beside
///   the key stays together.
/// * `half`: every other row is gone.
/// * `columns`: each column beside the key moves on by another number of rows.
///
/// Bad with `constant` if the result stays the same throughout while the gold's does not: it
/// was written into the query, however indirectly. Bad with `these-rows` if an answer returns
/// something else than the gold over `keys`, which respects whatever the schema promises: it
/// names the rows, by their keys or numbers, and not what sets them apart. A query that a step
/// only tries out may do that, and is neutral. No verdict where no difference shows, where
/// the result is not the gold's in the first place, and where a limit was reached.
pub struct SqlEquivalent {
    id: VerifierId,
    environment: Arc<Environment>,
}

impl SqlEquivalent {
    /// For runs in this world.
    pub fn new(environment: Arc<Environment>) -> Self {
        let id = VerifierId("sql-equivalent@1".to_owned());
        Self { id, environment }
    }
}

#[async_trait]
impl Verifier for SqlEquivalent {
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
        // What is wrong with the gold is for `sql-result` to say.
        let Ok(Comparator::Table(table)) = Comparator::of(gold) else {
            return Ok(vec![]);
        };
        let golds = gold.answers().into_iter().filter_map(|q| Query::parse(query_of(q)));
        let golds: Vec<Query> = golds.collect();
        let mut verdicts = Vec::new();
        for &node in nodes {
            let queries = asked(tree, node);
            if queries.is_empty() || golds.is_empty() {
                continue;
            }
            let place = (tree, seen.task);
            let mut bench =
                Bench::before(node, place, &self.environment, &self.id).await?;
            let mut worst: Option<Finding> = None;
            for query in &queries {
                let found = hold(query, &table, gold, &golds, &mut bench).await?;
                worst = [worst, found].into_iter().flatten().min_by_key(|f| f.label);
            }
            if let Some(finding) = worst {
                let cost = Cost { calls: bench.calls, tokens: 0 };
                verdicts.push(Verdict { cost, ..verdict(self, node, finding) });
            }
        }
        Ok(verdicts)
    }
}

/// The ways in which data are changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Keys,
    Half,
    Columns,
}

/// Numbers of rows by which columns move on: each is one more relation to join.
const SHIFTS: usize = 7;
const CHANGES: [Change; 3] = [Change::Keys, Change::Half, Change::Columns];

/// What a query came to over changed data.
enum Came {
    Rows(Rows, Evidence),
    /// It does not run there.
    Failed(Evidence),
    /// A limit was reached: nobody knows.
    Unknown,
}

async fn hold(
    asked: &Asked<'_>,
    table: &Table,
    gold: &Gold,
    golds: &[Query],
    bench: &mut Bench<'_>,
) -> Result<Option<Finding>, VerifierError> {
    let Some(query) = &asked.query else { return Ok(None) };
    let Some((observed, _)) = bench.try_beside(table, asked.sql, gold).await? else {
        return Ok(None);
    };
    let before = observed.first().and_then(rows);
    let Some(before) = before.filter(|_| table.compare(gold, &observed).strict) else {
        return Ok(None);
    };
    let tables = tables(golds.iter().chain([query]), bench).await?;
    let (mut gold_moves, mut answer_moves, mut these_rows) = (None, false, None);
    for change in CHANGES {
        let shadows: Vec<String> =
            tables.iter().filter_map(|table| table.shadow(change)).collect();
        let mut theirs: Vec<(Rows, Evidence)> = vec![];
        for gold in golds {
            match over(gold, &shadows, bench).await? {
                Came::Rows(rows, evidence) => theirs.push((rows, evidence)),
                Came::Failed(_) | Came::Unknown => return Ok(None),
            }
        }
        let (agrees, moves, evidence) = match over(query, &shadows, bench).await? {
            Came::Rows(rows, evidence) => {
                let agrees = theirs.iter().any(|(gold, _)| same(&rows, gold));
                (agrees, !same(&rows, &before), evidence)
            }
            Came::Failed(evidence) => (false, true, evidence),
            Came::Unknown => return Ok(None),
        };
        answer_moves |= moves;
        let gold_moved = theirs.iter().any(|(rows, _)| !same(rows, &before));
        let both = theirs.into_iter().map(|(_, evidence)| evidence).chain([evidence]);
        let both: Vec<Evidence> = both.collect();
        if change == Change::Keys && !agrees {
            these_rows = Some(both.clone());
        }
        if gold_moved {
            gold_moves.get_or_insert(both);
        }
    }
    let found = match (gold_moves, these_rows) {
        (Some(evidence), _) if !answer_moves => {
            let reason = "it returns the same whatever the rows are, and the gold's query \
                          does not: the result was written into it";
            Finding::bad("constant", reason.to_owned()).resting_on(evidence)
        }
        (_, Some(evidence)) => {
            let reason = "it returns what the gold's query does for these rows alone: where \
                          keys stand for other rows it returns something else";
            let (value, reason) = ("these-rows", reason.to_owned());
            let found = match asked.is_answer() {
                true => Finding::bad(value, reason),
                false => Finding::neutral(Zero::Unknown, value, reason),
            };
            found.resting_on(evidence)
        }
        _ => return Ok(None),
    };
    Ok(Some(found))
}

async fn over(
    query: &Query,
    shadows: &[String],
    bench: &mut Bench<'_>,
) -> Result<Came, VerifierError> {
    let tried = bench.try_query(&query.over(shadows)).await?;
    Ok(match tried.map(|tried| (rows(&tried.observation), tried)) {
        Some((Some(rows), tried)) => Came::Rows(rows, tried.evidence),
        Some((None, tried)) if tried.observation.as_fault() != Some(Fault::Limit) => {
            Came::Failed(tried.evidence)
        }
        _ => Came::Unknown,
    })
}

/// A table with its columns in order, and whether each is part of the primary key.
struct Stored {
    name: String,
    columns: Vec<(String, bool)>,
}

/// The tables that some queries name.
async fn tables(
    queries: impl Iterator<Item = &Query>,
    bench: &mut Bench<'_>,
) -> Result<Vec<Stored>, VerifierError> {
    let selects = queries.flat_map(Query::selects);
    let relations = selects.flat_map(|select| query::relations(&select));
    let names = relations.flatten().filter_map(|relation| relation.table);
    let names: BTreeSet<String> =
        names.map(|name| format!("'{}'", name.replace('\'', "''"))).collect();
    let names: Vec<String> = names.into_iter().collect();
    let sql = format!(
        "SELECT s.name, c.name, c.pk FROM sqlite_schema AS s, pragma_table_info(s.name) AS c \
         WHERE s.type = 'table' AND lower(s.name) IN ({}) ORDER BY s.name, c.cid",
        names.join(", ")
    );
    let tried = bench.try_query(&sql).await?;
    let mut tables: Vec<Stored> = vec![];
    for row in tried.as_ref().and_then(Tried::rows).into_iter().flatten() {
        let text = |at: usize| row.get(at).and_then(Value::as_str).unwrap_or("");
        let is_key = row.get(2).and_then(Value::as_i64) != Some(0);
        if tables.last().is_none_or(|table| table.name != text(0)) {
            tables.push(Stored { name: text(0).to_owned(), columns: vec![] });
        }
        let columns = tables.last_mut().map(|table| &mut table.columns);
        columns
            .into_iter()
            .for_each(|columns| columns.push((text(1).to_owned(), is_key)));
    }
    Ok(tables)
}

impl Stored {
    /// The changed table as a CTE of its name; `None` where the change leaves it as it is.
    fn shadow(&self, change: Change) -> Option<String> {
        let name = quoted(&self.name);
        // Rows are numbered in the order in which they lie, which is the same every time.
        let numbered = |shift: usize| {
            format!(
                "(SELECT *, (row_number() OVER () + {shift}) % (SELECT max(1, count(*)) \
                 FROM main.{name}) AS plumbline_row FROM main.{name})"
            )
        };
        let beside = || self.columns.iter().filter(|(_, is_key)| !is_key);
        let has_key = self.columns.iter().any(|(_, is_key)| *is_key);
        let (from, source): (String, Box<dyn Fn(usize, bool) -> usize>) = match change {
            Change::Half => {
                let from =
                    format!("{} AS r0 WHERE r0.plumbline_row % 2 = 1", numbered(0));
                (from, Box::new(|_, _| 0))
            }
            Change::Keys if has_key && beside().count() > 0 => {
                let from = format!(
                    "{} AS r0 JOIN {} AS r1 USING (plumbline_row)",
                    numbered(0),
                    numbered(1)
                );
                (from, Box::new(|_, is_key| usize::from(!is_key)))
            }
            Change::Columns => {
                let shifted = (1..=SHIFTS).map(|shift| {
                    format!(" JOIN {} AS r{shift} USING (plumbline_row)", numbered(shift))
                });
                let from =
                    format!("{} AS r0{}", numbered(0), shifted.collect::<String>());
                let shift = |at: usize, is_key| if is_key { 0 } else { at % SHIFTS + 1 };
                (from, Box::new(shift))
            }
            Change::Keys => return None,
        };
        let columns = self.columns.iter().enumerate().map(|(at, (column, is_key))| {
            let column = quoted(column);
            format!("r{}.{column} AS {column}", source(at, *is_key))
        });
        let columns: Vec<String> = columns.collect();
        Some(format!("{name} AS (SELECT {} FROM {from})", columns.join(", ")))
    }
}
