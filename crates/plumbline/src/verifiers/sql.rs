//! What the verifiers of SQL share: the queries of a step, and a fork of the state before it
//! to try their pieces on.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::comparators::Table;
use crate::query::Query;
use crate::{
    Action, Digest, Environment, Episode, Evidence, Gold, NodeId, Observation, Task,
    ToolCall, Tree, VerifierError, VerifierId, fork,
};

/// The tool that executes queries.
pub(super) const TOOL: &str = "sql";
/// The tool that tells what there is.
pub(super) const DESCRIBE: &str = "describe";
/// Calls that one verifier makes for one step.
const CALLS_MAX: u32 = 200;

/// A query that a step executes or answers with.
pub(super) struct Asked<'t> {
    pub(super) sql: &'t str,
    /// What it came to; an answer is not executed by the step itself.
    pub(super) observed: Option<&'t Observation>,
    /// The query, where it can be taken apart.
    pub(super) query: Option<Query>,
}

impl Asked<'_> {
    /// Whether the step answers with it.
    pub(super) fn is_answer(&self) -> bool {
        self.observed.is_none()
    }
}

/// The queries of a step. An answer is one if it reads as one.
pub(super) fn asked(tree: &Tree, node: NodeId) -> Vec<Asked<'_>> {
    let Some(step) = tree.get(node).map(|node| &node.step) else { return vec![] };
    match &step.proposal.action {
        Action::Answer { text } => {
            let sql = crate::comparators::query_of(text);
            let query = Query::parse(sql);
            let begins = |word: &str| {
                sql.get(..word.len())
                    .is_some_and(|start| start.eq_ignore_ascii_case(word))
            };
            if query.is_none() && !begins("SELECT") && !begins("WITH") {
                return vec![];
            }
            vec![Asked { sql, observed: None, query }]
        }
        Action::Calls { .. } => super::calls(step)
            .filter(|(call, _)| call.tool == TOOL)
            .filter_map(|(call, observation)| {
                let sql = call.args.get("query")?.as_str()?;
                Some(Asked { sql, observed: Some(observation), query: Query::parse(sql) })
            })
            .collect(),
        Action::Malformed { .. } => vec![],
    }
}

/// The rows of a table.
pub(super) type Rows = Vec<Vec<Value>>;

/// What a query returned; `None` for a fault.
pub(super) fn rows(observation: &Observation) -> Option<Rows> {
    let rows = observation.data().get("rows")?.as_array()?;
    rows.iter().map(|row| row.as_array().cloned()).collect()
}

/// Whether two tables hold the same rows, in whatever order.
pub(super) fn same(one: &[Vec<Value>], two: &[Vec<Value>]) -> bool {
    Table { ordered: false }.compare_rows(one, two).strict
}

/// Executes queries on a fork of the state before a step.
pub(super) struct Bench<'e> {
    verifier: VerifierId,
    state: Episode<'e>,
    /// Calls made.
    pub(super) calls: u32,
}

/// What a query on the bench came to.
pub(super) struct Tried {
    pub(super) observation: Observation,
    pub(super) evidence: Evidence,
}

impl Tried {
    /// The rows; `None` if it came to a fault.
    pub(super) fn rows(&self) -> Option<&Vec<Value>> {
        self.observation.data().get("rows")?.as_array()
    }

    /// The whole number in the first row's first column.
    pub(super) fn count(&self) -> Option<i64> {
        self.rows()?.first()?.get(0)?.as_i64()
    }
}

impl<'e> Bench<'e> {
    /// The bench before a step.
    pub(super) async fn before(
        node: NodeId,
        (tree, task): (&Tree, &Task),
        environment: &'e Environment,
        verifier: &VerifierId,
    ) -> Result<Self, VerifierError> {
        let parent = tree.get(node).and_then(|node| node.parent);
        let state =
            fork(environment, task, tree, parent, Some(environment.checks())).await;
        let state = state.map_err(|error| failed(verifier, error.to_string()))?;
        Ok(Self { verifier: verifier.clone(), state, calls: 0 })
    }

    /// Executes a query on a fork of its own. After too many for one step it comes to nothing,
    /// which a verifier takes as not knowing.
    pub(super) async fn try_query(
        &mut self,
        sql: &str,
    ) -> Result<Option<Tried>, VerifierError> {
        if self.calls >= CALLS_MAX {
            return Ok(None);
        }
        self.calls += 1;
        let call = ToolCall {
            id: "call_0".to_owned(),
            tool: TOOL.to_owned(),
            args: json!({ "query": sql }),
        };
        let observation = self.state.clone().call(&call).await;
        let observation =
            observation.map_err(|error| failed(&self.verifier, error.to_string()))?;
        let result = Digest::of_json(&observation);
        Ok(Some(Tried { observation, evidence: Evidence::Execution { call, result } }))
    }

    /// Executes a query and what its table is held against, in the order of [`Table::calls`].
    pub(super) async fn try_beside(
        &mut self,
        table: &Table,
        sql: &str,
        gold: &Gold,
    ) -> Result<Option<(Vec<Observation>, Vec<Evidence>)>, VerifierError> {
        let (mut observed, mut evidence) = (vec![], vec![]);
        for call in table.calls(sql, gold) {
            let query = call.args.get("query").and_then(Value::as_str).unwrap_or("");
            let Some(tried) = self.try_query(query).await? else { return Ok(None) };
            observed.push(tried.observation);
            evidence.push(tried.evidence);
        }
        Ok(Some((observed, evidence)))
    }

    /// The columns of every table and view with their declared types, in lower case.
    pub(super) async fn schema(&mut self) -> Result<Schema, VerifierError> {
        let tried = self
            .try_query(
                "SELECT s.name, c.name, c.type FROM sqlite_schema AS s, \
                 pragma_table_info(s.name) AS c WHERE s.type IN ('table', 'view')",
            )
            .await?;
        let mut schema = Schema::default();
        let rows = tried.as_ref().and_then(Tried::rows).into_iter().flatten();
        for row in rows {
            let text =
                |index: usize| row.get(index).and_then(Value::as_str).unwrap_or("");
            let columns: &mut BTreeMap<String, String> =
                schema.0.entry(text(0).to_lowercase()).or_default();
            columns.insert(text(1).to_lowercase(), text(2).to_lowercase());
        }
        Ok(schema)
    }
}

/// Tables with their columns and the types of those.
#[derive(Default)]
pub(super) struct Schema(pub(super) BTreeMap<String, BTreeMap<String, String>>);

impl Schema {
    /// Whether some table has a column of this name.
    pub(super) fn knows(&self, column: &str) -> bool {
        self.0.values().any(|columns| columns.contains_key(column))
    }

    /// Whether a table has a column.
    pub(super) fn has(&self, table: &str, column: &str) -> bool {
        self.0.get(table).is_some_and(|columns| columns.contains_key(column))
    }
}

fn failed(verifier: &VerifierId, message: String) -> VerifierError {
    VerifierError::Failed { verifier: verifier.clone(), message }
}

/// A name as an identifier, whatever it holds.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
