//! `sql-silent@1`: queries that run and mean something else than they seem to.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use sqlparser::ast::{
    BinaryOperator, Expr, InTarget, JoinConstraint, JoinOperator, Select, SetExpr,
    Value as Literal,
};

use crate::query::{self, Query, Relation};
use crate::verifiers::sql::{Asked, Bench, Schema, asked, quoted};
use crate::verifiers::{Finding, verdict};
use crate::{
    Cost, Environment, Evidence, NodeId, Seen, Sight, Tree, Verdict, Verifier,
    VerifierError, VerifierId, Zero,
};

/// Looks for errors that no database reports, each proved by executing something on a fork of
/// the state before the step:
///
/// * `cartesian`: relations that no condition connects, each of several rows, multiply;
/// * `fan-out`: a sum or an average of one relation's values, after a join that repeats its
///   rows; it may be meant;
/// * `constant`: an answer that returns nothing of any table, but what was written into it;
/// * `empty-aggregate`: a sum, an average or the like over no row at all;
/// * `absent-value`: a comparison with a text that the column does not hold;
/// * `null-swallowed`: `= NULL`, which never holds, or `NOT IN` a query that returns a NULL,
///   which never holds either; also, less certain, `<>` and its like on a column with NULLs;
/// * `type-mismatch`: a number compared with an expression that is text, or texts of digits
///   compared as numbers would be;
/// * `limit-unordered`: some of the rows, and nothing says which.
///
/// Bad if one is certain, neutral if it may be meant, and no label where none is found. A
/// probe, which only looks at one table, is never bad. The value is the list of names.
pub struct SqlSilent {
    id: VerifierId,
    environment: Arc<Environment>,
}

impl SqlSilent {
    /// For runs in this world.
    pub fn new(environment: Arc<Environment>) -> Self {
        let id = VerifierId("sql-silent@1".to_owned());
        Self { id, environment }
    }
}

#[async_trait]
impl Verifier for SqlSilent {
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
            if queries.iter().all(|asked| asked.query.is_none()) {
                continue;
            }
            let place = (tree, seen.task);
            let mut bench =
                Bench::before(node, place, &self.environment, &self.id).await?;
            let schema = bench.schema().await?;
            let mut errors = Vec::new();
            let mut only_probes = true;
            for asked in &queries {
                let Some(query) = &asked.query else { continue };
                only_probes &= query.probe().is_some() && !asked.is_answer();
                errors.extend(look(asked, query, &schema, &mut bench).await?);
            }
            let cost = Cost { calls: bench.calls, tokens: 0 };
            let finding = finding(errors, only_probes);
            verdicts.push(Verdict { cost, ..verdict(self, node, finding) });
        }
        Ok(verdicts)
    }
}

/// A silent error, with its proof.
struct SilentError {
    name: &'static str,
    is_certain: bool,
    reason: String,
    evidence: Vec<Evidence>,
}

fn finding(errors: Vec<SilentError>, only_probes: bool) -> Finding {
    let names: BTreeSet<&str> = errors.iter().map(|error| error.name).collect();
    let value = serde_json::json!(names);
    // A certain one speaks first.
    let certain = errors.iter().find(|error| error.is_certain);
    let Some(first) = certain.or(errors.first()) else {
        return Finding::unlabelled(value, "no silent error was found".to_owned());
    };
    let reason = format!("{}: {}", first.name, first.reason);
    let found = if certain.is_some() && !only_probes {
        Finding::bad(value, reason)
    } else {
        let zero = if only_probes { Zero::Neutral } else { Zero::Unknown };
        Finding::neutral(zero, value, reason)
    };
    found.resting_on(errors.into_iter().flat_map(|error| error.evidence).collect())
}

async fn look(
    asked: &Asked<'_>,
    query: &Query,
    schema: &Schema,
    bench: &mut Bench<'_>,
) -> Result<Vec<SilentError>, VerifierError> {
    let mut errors = Vec::new();
    errors.extend(limit_unordered(asked, query, bench).await?);
    errors.extend(constant(asked, query, bench).await?);
    let with = query.with();
    for select in query.selects() {
        let Some(relations) = query::relations(&select) else { continue };
        let scope = Scope { with: &with, select: &select, relations, schema };
        errors.extend(scope.cartesian(bench).await?);
        errors.extend(scope.fan_out(bench).await?);
        errors.extend(scope.empty_aggregate(bench).await?);
        for (condition, is_required) in scope.conditions() {
            errors.extend(scope.absent_value(&condition, is_required, bench).await?);
            errors.extend(scope.null_swallowed(&condition, bench).await?);
            errors.extend(scope.type_mismatch(&condition, bench).await?);
        }
    }
    Ok(errors)
}

/// A LIMIT that leaves rows out while nothing orders them.
async fn limit_unordered(
    asked: &Asked<'_>,
    query: &Query,
    bench: &mut Bench<'_>,
) -> Result<Option<SilentError>, VerifierError> {
    let outer = asked.is_answer().then(|| query.tree().clone());
    let ctes = query.tree().with.iter().flat_map(|with| &with.cte_tables);
    // A CTE that refers to itself gives its rows in the order it made them.
    let ctes = ctes.map(|cte| cte.query.as_ref().clone());
    let ctes = ctes.filter(|tree| matches!(tree.body.as_ref(), SetExpr::Select(_)));
    for tree in outer.into_iter().chain(query.inner()).chain(ctes) {
        let Some(limit) = query::limit(&tree) else { continue };
        if tree.order_by.is_some() {
            continue;
        }
        let mut all = tree.clone();
        all.limit_clause = None;
        let with = if all.with.is_some() { String::new() } else { query.with() };
        let count = format!("{with}SELECT count(*) AS n FROM ({all})");
        let Some(tried) = bench.try_query(&count).await? else { return Ok(None) };
        if let Some(rows) =
            tried.count().filter(|rows| u64::try_from(*rows).unwrap_or(0) > limit)
        {
            return Ok(Some(SilentError {
                name: "limit-unordered",
                is_certain: true,
                reason: format!(
                    "LIMIT {limit} keeps some of {rows} rows, and nothing orders them"
                ),
                evidence: vec![tried.evidence],
            }));
        }
    }
    Ok(None)
}

/// An answer that says what stands in it.
async fn constant(
    asked: &Asked<'_>,
    query: &Query,
    bench: &mut Bench<'_>,
) -> Result<Option<SilentError>, VerifierError> {
    if !asked.is_answer() || !query.is_constant() {
        return Ok(None);
    }
    let Some(tried) = bench.try_query(asked.sql).await? else { return Ok(None) };
    Ok(tried.rows().is_some().then(|| SilentError {
        name: "constant",
        is_certain: true,
        reason: "no column is part of what it returns: that was written into it"
            .to_owned(),
        evidence: vec![tried.evidence],
    }))
}

/// A SELECT with what its names mean.
struct Scope<'q> {
    with: &'q str,
    select: &'q Select,
    relations: Vec<Relation>,
    schema: &'q Schema,
}

impl Scope<'_> {
    /// The conditions of WHERE and ON, each with whether it must hold: those within an OR or a
    /// NOT need not.
    fn conditions(&self) -> Vec<(Expr, bool)> {
        let mut conditions = Vec::new();
        let on = self.ons().into_iter().chain(self.select.selection.as_ref());
        for condition in on.flat_map(query::conjuncts) {
            conditions.push((condition.clone(), true));
            if let Expr::BinaryOp { op: BinaryOperator::Or, .. } = condition {
                let mut open = vec![condition];
                while let Some(expr) = open.pop() {
                    match expr {
                        Expr::BinaryOp { left, op: BinaryOperator::Or, right } => {
                            open.extend([right.as_ref(), left.as_ref()]);
                        }
                        Expr::Nested(inner) => open.push(inner),
                        _ => conditions.push((expr.clone(), false)),
                    }
                }
            }
        }
        conditions
    }

    fn ons(&self) -> Vec<&Expr> {
        let joins = self.select.from.iter().flat_map(|from| &from.joins);
        joins
            .filter_map(|join| match constraint(&join.join_operator) {
                Some(JoinConstraint::On(on)) => Some(on),
                _ => None,
            })
            .collect()
    }

    /// Which relation a column is of, and the table behind it.
    fn resolve(&self, expr: &Expr) -> Option<(usize, String, Option<&str>)> {
        let (of, name) = query::column(expr)?;
        let index = match of {
            Some(of) => self.relations.iter().position(|relation| relation.name == of)?,
            None => {
                let has = |relation: &Relation| {
                    let table = relation.table.as_deref();
                    table.is_some_and(|table| self.schema.has(table, &name))
                };
                match self.relations.iter().position(has) {
                    Some(index) => index,
                    None if self.relations.len() == 1 && !self.is_text(expr) => 0,
                    None => return None,
                }
            }
        };
        let table = self.relations[index].table.as_deref();
        // A CTE may have the name of a table; then the table says nothing.
        let table =
            table.filter(|table| self.schema.has(table, &name) && !self.is_cte(table));
        Some((index, name, table))
    }

    fn is_cte(&self, table: &str) -> bool {
        let with = self.with.to_lowercase();
        [format!("{table} as"), format!("{table}(")]
            .iter()
            .any(|head| with.contains(head))
    }

    /// Whether an expression in double quotes is a text: where no column is called so.
    fn is_text(&self, expr: &Expr) -> bool {
        query::text(expr).is_some_and(|text| {
            !matches!(expr, Expr::Identifier(_))
                || !self.schema.knows(&text.to_lowercase())
        })
    }

    /// The text that an expression is.
    fn text<'x>(&self, expr: &'x Expr) -> Option<&'x str> {
        query::text(expr).filter(|_| self.is_text(expr))
    }

    /// The FROM clause, as the query has it.
    fn from(&self) -> String {
        let from: Vec<String> =
            self.select.from.iter().map(ToString::to_string).collect();
        from.join(", ")
    }

    /// Relations that nothing connects.
    async fn cartesian(
        &self,
        bench: &mut Bench<'_>,
    ) -> Result<Option<SilentError>, VerifierError> {
        let count = self.relations.len();
        if count < 2 {
            return Ok(None);
        }
        let mut group: Vec<usize> = (0..count).collect();
        let mut unite = |members: &BTreeSet<usize>| {
            let Some(&first) = members.first() else { return };
            let target = group[first];
            let united: BTreeSet<usize> =
                members.iter().map(|member| group[*member]).collect();
            for of in group.iter_mut().filter(|of| united.contains(of)) {
                *of = target;
            }
        };
        let mut place = 0;
        for from in &self.select.from {
            let first = place;
            place += 1;
            for join in &from.joins {
                let named = matches!(
                    constraint(&join.join_operator),
                    Some(
                        JoinConstraint::Using(_)
                            | JoinConstraint::UsingAlias(..)
                            | JoinConstraint::Natural
                    )
                );
                if named {
                    unite(&(first..=place).collect());
                }
                place += 1;
            }
        }
        let conditions = self.ons().into_iter().chain(self.select.selection.as_ref());
        for condition in conditions.flat_map(query::conjuncts) {
            let mentioned = query::expressions(condition);
            let of = mentioned.iter().filter_map(|expr| self.resolve(expr));
            unite(&of.map(|(index, _, _)| index).collect());
        }
        let groups: BTreeSet<usize> = group.iter().copied().collect();
        if groups.len() < 2 {
            return Ok(None);
        }
        // A group of one row multiplies nothing.
        let (mut large, mut evidence) = (Vec::new(), Vec::new());
        for &of in &groups {
            let members: Vec<usize> =
                (0..count).filter(|index| group[*index] == of).collect();
            let relation = &self.relations[members[0]];
            let query =
                format!("{}SELECT count(*) AS n FROM {}", self.with, relation.text);
            let Some(tried) = bench.try_query(&query).await? else { return Ok(None) };
            let Some(rows) = tried.count() else { return Ok(None) };
            if members.len() > 1 || rows > 1 {
                large.push(format!("{} ({rows} rows)", relation.text));
                evidence.push(tried.evidence);
            }
        }
        Ok((large.len() > 1).then(|| SilentError {
            name: "cartesian",
            is_certain: true,
            reason: format!(
                "no condition connects {}: their rows multiply",
                large.join(" and ")
            ),
            evidence,
        }))
    }

    /// A sum or an average over one relation, whose rows a join repeats.
    async fn fan_out(
        &self,
        bench: &mut Bench<'_>,
    ) -> Result<Option<SilentError>, VerifierError> {
        if self.relations.len() < 2 {
            return Ok(None);
        }
        let expressions = self.select.projection.iter().filter_map(query::item);
        let expressions: Vec<Expr> = expressions.flat_map(query::expressions).collect();
        let adds = |expr: &&Expr| {
            let name = query::function(expr).unwrap_or_default();
            query::is_aggregate(expr) && matches!(name.as_str(), "sum" | "total" | "avg")
        };
        for aggregate in expressions.iter().filter(adds) {
            let inner = query::expressions(aggregate);
            let of: BTreeSet<usize> =
                inner.iter().filter_map(|expr| Some(self.resolve(expr)?.0)).collect();
            // A product of two relations' columns is taken row by row, as it should be.
            let [of] = Vec::from_iter(of)[..] else { continue };
            let relation = &self.relations[of];
            let is_base = relation.table.as_ref().is_some_and(|t| !self.is_cte(t));
            if !is_base || aggregate.to_string().to_lowercase().contains("distinct ") {
                continue;
            }
            let row = format!("{}.rowid", quoted(&relation.name));
            let filter = self.select.selection.as_ref();
            let filter =
                filter.map_or_else(String::new, |filter| format!(" WHERE {filter}"));
            let query = format!(
                "{}SELECT count({row}) - count(DISTINCT {row}) AS n FROM {}{filter}",
                self.with,
                self.from()
            );
            let Some(tried) = bench.try_query(&query).await? else { return Ok(None) };
            if let Some(repeated) = tried.count().filter(|repeated| *repeated > 0) {
                return Ok(Some(SilentError {
                    name: "fan-out",
                    is_certain: false,
                    reason: format!(
                        "the join repeats rows of {} {repeated} times, and {aggregate} \
                         counts each",
                        relation.text
                    ),
                    evidence: vec![tried.evidence],
                }));
            }
        }
        Ok(None)
    }

    /// An aggregate other than a count over no row.
    async fn empty_aggregate(
        &self,
        bench: &mut Bench<'_>,
    ) -> Result<Option<SilentError>, VerifierError> {
        if query::is_grouped(self.select) || self.relations.is_empty() {
            return Ok(None);
        }
        let mut projected = self.select.projection.iter().filter_map(query::item);
        let is_empty_of = |expr: &Expr| {
            query::is_aggregate(expr)
                && query::function(expr).is_some_and(|f| f != "count")
        };
        let Some(aggregate) = projected.find(|expr| is_empty_of(expr)) else {
            return Ok(None);
        };
        let filter = self.select.selection.as_ref();
        let filter = filter.map_or_else(String::new, |filter| format!(" WHERE {filter}"));
        let query =
            format!("{}SELECT count(*) AS n FROM {}{filter}", self.with, self.from());
        let Some(tried) = bench.try_query(&query).await? else { return Ok(None) };
        Ok((tried.count() == Some(0)).then(|| SilentError {
            name: "empty-aggregate",
            is_certain: true,
            reason: format!("{aggregate} is taken over no row"),
            evidence: vec![tried.evidence],
        }))
    }

    /// A comparison with a text that the column does not hold.
    async fn absent_value(
        &self,
        condition: &Expr,
        is_required: bool,
        bench: &mut Bench<'_>,
    ) -> Result<Option<SilentError>, VerifierError> {
        let (column, texts): (&Expr, Vec<&str>) = match condition {
            Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => {
                match (self.text(left), self.text(right)) {
                    (None, Some(text)) => (left, vec![text]),
                    (Some(text), None) => (right, vec![text]),
                    _ => return Ok(None),
                }
            }
            Expr::In { expr, target: InTarget::List(list), negated: false, .. } => {
                (expr, list.iter().filter_map(|item| self.text(item)).collect())
            }
            _ => return Ok(None),
        };
        let Some((_, name, Some(table))) = self.resolve(column) else { return Ok(None) };
        let (of, name) = (quoted(table), quoted(&name));
        for text in texts {
            let text = text.replace('\'', "''");
            let query = format!("SELECT count(*) AS n FROM {of} WHERE {name} = '{text}'");
            let Some(tried) = bench.try_query(&query).await? else { return Ok(None) };
            if tried.count() != Some(0) {
                continue;
            }
            let near = format!(
                "SELECT {name} FROM {of} WHERE lower(trim({name})) = lower(trim('{text}')) LIMIT 1"
            );
            let near = bench.try_query(&near).await?;
            let near =
                near.as_ref().and_then(|near| near.rows()?.first()?.get(0)?.as_str());
            let hint =
                near.map_or_else(String::new, |near| format!("; it holds {near:?}"));
            return Ok(Some(SilentError {
                name: "absent-value",
                is_certain: is_required || near.is_some(),
                reason: format!("{column} holds no '{text}'{hint}"),
                evidence: vec![tried.evidence],
            }));
        }
        Ok(None)
    }

    /// A condition that NULLs make mean something else.
    async fn null_swallowed(
        &self,
        condition: &Expr,
        bench: &mut Bench<'_>,
    ) -> Result<Option<SilentError>, VerifierError> {
        let is_null = |expr: &Expr| matches!(query::literal(expr), Some(Literal::Null));
        let (column, query, reason) = match condition {
            Expr::BinaryOp { left, op, right }
                if is_comparison(op) && (is_null(left) || is_null(right)) =>
            {
                let query = format!(
                    "{}SELECT count(*) AS n FROM {} WHERE {condition}",
                    self.with,
                    self.from()
                );
                let Some(tried) = bench.try_query(&query).await? else { return Ok(None) };
                return Ok((tried.count() == Some(0)).then(|| SilentError {
                    name: "null-swallowed",
                    is_certain: true,
                    reason: format!("{condition} never holds; write IS NULL"),
                    evidence: vec![tried.evidence],
                }));
            }
            Expr::In { target: InTarget::Subquery(subquery), negated: true, .. } => {
                let with = match self.with.trim_end() {
                    "" => "WITH".to_owned(),
                    with => format!("{with},"),
                };
                let query = format!(
                    "{with} _inner(c) AS ({subquery}) SELECT count(*) AS n FROM _inner \
                     WHERE c IS NULL"
                );
                let Some(tried) = bench.try_query(&query).await? else { return Ok(None) };
                return Ok(tried.count().filter(|nulls| *nulls > 0).map(|_| {
                    SilentError {
                        name: "null-swallowed",
                        is_certain: true,
                        reason: "NOT IN never holds: the query in it returns a NULL"
                            .to_owned(),
                        evidence: vec![tried.evidence],
                    }
                }));
            }
            Expr::BinaryOp { left, op: BinaryOperator::NotEq, right } => {
                let column = if self.resolve(left).is_some() { left } else { right };
                (column, None::<String>, "rows without a value are left out")
            }
            Expr::In { expr, target: InTarget::List(_), negated: true, .. }
            | Expr::Like { expr, negated: true, .. }
            | Expr::Between { expr, negated: true, .. } => {
                (expr, None, "rows without a value are left out")
            }
            _ => return Ok(None),
        };
        let Some((_, name, Some(table))) = self.resolve(column) else { return Ok(None) };
        let count = query.unwrap_or_else(|| {
            let (of, name) = (quoted(table), quoted(&name));
            format!("SELECT count(*) AS n FROM {of} WHERE {name} IS NULL")
        });
        let Some(tried) = bench.try_query(&count).await? else { return Ok(None) };
        Ok(tried.count().filter(|nulls| *nulls > 0).map(|nulls| SilentError {
            name: "null-swallowed",
            is_certain: false,
            reason: format!("{column} is NULL in {nulls} rows: {reason}"),
            evidence: vec![tried.evidence],
        }))
    }

    /// A comparison of values that are of different types.
    async fn type_mismatch(
        &self,
        condition: &Expr,
        bench: &mut Bench<'_>,
    ) -> Result<Option<SilentError>, VerifierError> {
        let Expr::BinaryOp { left, op, right } = condition else { return Ok(None) };
        if !is_comparison(op) {
            return Ok(None);
        }
        let is_number =
            |expr: &Expr| matches!(query::literal(expr), Some(Literal::Number(..)));
        let (expr, other) = match (
            is_number(left) || self.is_text(left),
            is_number(right) || self.is_text(right),
        ) {
            (false, true) => (left, right),
            (true, false) => (right, left),
            _ => return Ok(None),
        };
        if let Some((_, name, table)) = self.resolve(expr) {
            // A column lends its type to what it is compared with: only order can surprise.
            let orders = !matches!(op, BinaryOperator::Eq | BinaryOperator::NotEq);
            let Some(table) = table.filter(|_| orders && is_number(other)) else {
                return Ok(None);
            };
            let (of, name) = (quoted(table), quoted(&name));
            let query = format!(
                "SELECT count(DISTINCT length({name})) AS n FROM {of} WHERE typeof({name}) = 'text' \
                 AND {name} GLOB '[0-9]*' AND NOT {name} GLOB '*[^0-9.]*'"
            );
            let Some(tried) = bench.try_query(&query).await? else { return Ok(None) };
            return Ok(tried.count().filter(|lengths| *lengths > 1).map(|_| {
                SilentError {
                    name: "type-mismatch",
                    is_certain: true,
                    reason: format!(
                        "{expr} holds numbers as text: {condition} compares letters"
                    ),
                    evidence: vec![tried.evidence],
                }
            }));
        }
        let has_inner = query::expressions(expr).iter().any(query::is_aggregate);
        if has_inner
            || matches!(expr.as_ref(), Expr::Subquery(_))
            || query::literal(expr).is_some()
        {
            return Ok(None);
        }
        let query = format!(
            "{}SELECT DISTINCT typeof({expr}) AS t FROM {} LIMIT 5",
            self.with,
            self.from()
        );
        let Some(tried) = bench.try_query(&query).await? else { return Ok(None) };
        let Some(rows) = tried.rows() else { return Ok(None) };
        let types: BTreeSet<String> = rows
            .iter()
            .filter_map(|row| row.get(0)?.as_str())
            .filter(|name| *name != "null")
            .map(str::to_owned)
            .collect();
        let wrong = match (is_number(other), types.len()) {
            (true, 1) => types.contains("text"),
            (false, 1) => types.contains("integer") || types.contains("real"),
            _ => false,
        };
        // A cast lends its type, as a column does.
        let is_cast = matches!(expr.as_ref(), Expr::Cast { .. });
        Ok((wrong && !is_cast).then(|| SilentError {
            name: "type-mismatch",
            is_certain: true,
            reason: format!(
                "{expr} is {}, {other} is not: {condition} holds for all rows or for none",
                types.first().map_or("null", String::as_str)
            ),
            evidence: vec![tried.evidence],
        }))
    }
}

fn is_comparison(op: &BinaryOperator) -> bool {
    matches!(
        op,
        BinaryOperator::Eq
            | BinaryOperator::NotEq
            | BinaryOperator::Lt
            | BinaryOperator::LtEq
            | BinaryOperator::Gt
            | BinaryOperator::GtEq
    )
}

fn constraint(join: &JoinOperator) -> Option<&JoinConstraint> {
    match join {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::Right(constraint)
        | JoinOperator::RightOuter(constraint)
        | JoinOperator::FullOuter(constraint)
        | JoinOperator::CrossJoin(constraint) => Some(constraint),
        _ => None,
    }
}
