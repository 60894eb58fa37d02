//! SQL queries as verifiers read them: taken apart into pieces that can be executed on their
//! own.

use std::ops::ControlFlow;

use sqlparser::ast::{
    BinaryOperator, Distinct, Expr, GroupByExpr, Ident, LimitClause, ObjectName,
    Query as Tree, Select, SelectItem, SetExpr, Statement, TableFactor, UnaryOperator,
    Value, Visit, Visitor, visit_relations_mut,
};
use sqlparser::dialect::SQLiteDialect;
use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, Tokenizer};

/// Tokens of a query that is taken apart, white space included.
const TOKENS_MAX: usize = 2000;
/// What its operators weigh together: a chain of them is a tree as deep, and walking a tree
/// takes stack, 5 kB for each unit of weight where nothing is optimised.
const WEIGHT_MAX: usize = 120;
/// Parentheses within parentheses.
const DEPTH_MAX: usize = 40;
/// Functions that make one value of many rows.
const AGGREGATES: [&str; 8] =
    ["avg", "count", "group_concat", "max", "min", "string_agg", "sum", "total"];

/// A query, parsed.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    tree: Box<Tree>,
}

/// A part of a query that is a query itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// What people call it: `CTE per_member`, `subquery 1`.
    pub(crate) name: String,
    /// Gives the rows of the part.
    pub(crate) rows: String,
    /// Counts them.
    pub(crate) count: String,
}

/// What a query that only looks at one table looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Probe {
    /// The schema.
    Schema,
    /// The values that there are.
    Distinct,
    /// How many rows there are, or between which values they lie.
    Count,
    /// Some rows.
    Head,
}

impl Probe {
    /// In a word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Probe::Schema => "the schema",
            Probe::Distinct => "the values that there are",
            Probe::Count => "a count or a range",
            Probe::Head => "some rows",
        }
    }
}

/// One relation of a FROM clause.
#[derive(Debug, Clone)]
pub(crate) struct Relation {
    /// What columns are qualified with, in lower case.
    pub(crate) name: String,
    /// The table, in lower case, if it is one that is named; it may be a CTE.
    pub(crate) table: Option<String>,
    /// As it stands in the query.
    pub(crate) text: String,
}

impl Query {
    /// Reads one query; `None` for anything else, and for what is too long to take apart.
    pub(crate) fn parse(sql: &str) -> Option<Self> {
        let dialect = SQLiteDialect {};
        let tokens = Tokenizer::new(&dialect, sql).tokenize_with_location().ok()?;
        let weight: usize = tokens.iter().map(|found| weight(&found.token)).sum();
        if tokens.len() > TOKENS_MAX || weight > WEIGHT_MAX {
            return None;
        }
        let parser = Parser::new(&dialect).with_recursion_limit(DEPTH_MAX);
        let mut statements =
            parser.with_tokens_with_locations(tokens).parse_statements().ok()?;
        match (statements.pop()?, statements.is_empty()) {
            (Statement::Query(tree), true) => Some(Self { tree }),
            _ => None,
        }
    }

    /// The tree.
    pub(crate) fn tree(&self) -> &Tree {
        &self.tree
    }

    /// `WITH …` and a space, as the query begins; empty where it has none.
    pub(crate) fn with(&self) -> String {
        self.tree.with.as_ref().map_or_else(String::new, |with| format!("{with} "))
    }

    /// The query over other tables: each of `shadows`, `NAME AS (SELECT …)`, takes the place of
    /// the table of its name.
    pub(crate) fn over(&self, shadows: &[String]) -> String {
        let mut tree = self.tree.clone();
        // A name with its database before it would reach past them.
        let unqualified = |name: &mut ObjectName| {
            name.0.drain(..name.0.len().saturating_sub(1));
            ControlFlow::<()>::Continue(())
        };
        let _ = visit_relations_mut(&mut tree, unqualified);
        let with = tree.with.take();
        let recursive = with.as_ref().is_some_and(|with| with.recursive);
        let own = with.iter().flat_map(|with| &with.cte_tables).map(ToString::to_string);
        let ctes: Vec<String> = shadows.iter().cloned().chain(own).collect();
        match ctes.is_empty() {
            true => tree.to_string(),
            false => {
                let recursive = if recursive { "RECURSIVE " } else { "" };
                format!("WITH {recursive}{} {tree}", ctes.join(", "))
            }
        }
    }

    /// The query's CTEs in order, each with those before it: a chain, as in Reward-SQL (2025).
    pub(crate) fn ctes(&self) -> Vec<Part> {
        let Some(with) = &self.tree.with else { return vec![] };
        let part = |index: usize| {
            let mut until = with.clone();
            until.cte_tables.truncate(index + 1);
            let name = &with.cte_tables[index].alias.name;
            let rows = format!("{until} SELECT * FROM {name}");
            let count = format!("{until} SELECT count(*) AS n FROM {name}");
            Part { name: format!("CTE {}", name.value), rows, count }
        };
        (0..with.cte_tables.len()).map(part).collect()
    }

    /// The subqueries, and the sides of set operations, outer ones first. One that refers to
    /// columns around it cannot be executed on its own; only executing tells.
    pub(crate) fn subqueries(&self) -> Vec<Part> {
        let with = self.with();
        let mut texts: Vec<String> =
            self.inner().iter().map(ToString::to_string).collect();
        let mut sides = Vec::new();
        let mut open = vec![self.tree.body.as_ref()];
        while let Some(body) = open.pop() {
            if let SetExpr::SetOperation { left, right, .. } = body {
                open.extend([right.as_ref(), left.as_ref()]);
            } else {
                sides.push(body.to_string());
            }
        }
        if sides.len() > 1 {
            texts.extend(sides);
        }
        let part = |(index, text): (usize, &String)| Part {
            name: format!("subquery {}", index + 1),
            rows: format!("{with}{text}"),
            count: format!("{with}SELECT count(*) AS n FROM ({text})"),
        };
        texts.iter().enumerate().map(part).collect()
    }

    /// Every query within this one that is no CTE, nor word for word what one is.
    pub(crate) fn inner(&self) -> Vec<Tree> {
        let ctes: Vec<&Tree> = self
            .tree
            .with
            .iter()
            .flat_map(|with| with.cte_tables.iter().map(|cte| cte.query.as_ref()))
            .collect();
        let mut queries = walk(self.tree.as_ref()).queries;
        queries.retain(|query| *query != *self.tree && !ctes.contains(&query));
        queries
    }

    /// Every SELECT in the query, outer ones first.
    pub(crate) fn selects(&self) -> Vec<Select> {
        walk(self.tree.as_ref()).selects
    }

    /// What the query looks for, if it does no more than look at one table: a probe.
    pub(crate) fn probe(&self) -> Option<Probe> {
        let select = self.select()?;
        let is_plain = self.tree.with.is_none()
            && select.having.is_none()
            && self.inner().is_empty()
            && select.from.iter().all(|from| from.joins.is_empty());
        let [from] = select.from.as_slice() else { return None };
        let relation = relation(&from.relation)?;
        let table = relation.table?;
        if ["sqlite_schema", "sqlite_master"].contains(&table.as_str())
            || table.starts_with("pragma_")
        {
            return Some(Probe::Schema);
        }
        if !is_plain {
            return None;
        }
        let expressions: Vec<&Expr> = select.projection.iter().filter_map(item).collect();
        let ungrouped = !is_grouped(select);
        let counts =
            !expressions.is_empty() && expressions.iter().all(|e| is_aggregate(e));
        let is_column =
            |e: &&Expr| matches!(e, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
        let columns = expressions.iter().all(is_column);
        if matches!(select.distinct, Some(Distinct::Distinct)) && columns {
            return Some(Probe::Distinct);
        }
        if !ungrouped {
            // Values with how often each occurs.
            let rest = expressions.iter().filter(|e| !is_column(e));
            let counted =
                rest.clone().count() <= 1 && rest.clone().all(|e| is_aggregate(e));
            return (counted && select.selection.is_none()).then_some(Probe::Distinct);
        }
        if counts {
            return Some(Probe::Count);
        }
        let looks =
            columns && (limit(&self.tree).is_some() || select.selection.is_none());
        looks.then_some(Probe::Head)
    }

    /// Whether what the query returns stands in it: it reads no table, or no column and no
    /// count of rows is part of anything it returns.
    pub(crate) fn is_constant(&self) -> bool {
        let ctes = self.tree.with.iter().flat_map(|with| &with.cte_tables);
        let ctes: Vec<String> =
            ctes.map(|cte| cte.alias.name.value.to_lowercase()).collect();
        // What is not taken apart may read anything.
        let reads = |select: &Select| {
            relations(select).is_none_or(|relations| {
                let mut tables = relations.iter().filter_map(|r| r.table.as_ref());
                tables.any(|table| !ctes.contains(table))
            })
        };
        if !self.selects().iter().any(reads) {
            return true;
        }
        let mut open = vec![self.tree.body.as_ref()];
        while let Some(body) = open.pop() {
            match body {
                SetExpr::SetOperation { left, right, .. } => {
                    open.extend([right.as_ref(), left.as_ref()]);
                }
                SetExpr::Values(_) => {}
                SetExpr::Select(select) if select.projection.iter().all(is_literal) => {}
                _ => return false,
            }
        }
        true
    }

    /// The outermost SELECT, where the query is no set operation.
    pub(crate) fn select(&self) -> Option<&Select> {
        match self.tree.body.as_ref() {
            SetExpr::Select(select) => Some(select),
            _ => None,
        }
    }
}

/// How much deeper a token may make the tree: an operator puts one expression on top of
/// another, or one query on top of another, which takes four times the stack.
fn weight(token: &Token) -> usize {
    match token {
        Token::Word(word) => match word.keyword {
            Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT => 4,
            Keyword::AND
            | Keyword::OR
            | Keyword::NOT
            | Keyword::IS
            | Keyword::IN
            | Keyword::LIKE
            | Keyword::GLOB
            | Keyword::REGEXP
            | Keyword::MATCH
            | Keyword::BETWEEN
            | Keyword::ESCAPE
            | Keyword::COLLATE
            | Keyword::NOTNULL => 1,
            _ => 0,
        },
        Token::Whitespace(_) | Token::Comma | Token::Period | Token::SemiColon => 0,
        Token::Number(..) | Token::SingleQuotedString(_) => 0,
        Token::LParen | Token::RParen => 0,
        _ => 1,
    }
}

/// The number that a query's LIMIT names.
pub(crate) fn limit(query: &Tree) -> Option<u64> {
    let limit = match query.limit_clause.as_ref()? {
        LimitClause::LimitOffset { limit, .. } => limit.as_ref()?,
        LimitClause::OffsetCommaLimit { limit, .. } => limit,
    };
    match literal(limit)? {
        Value::Number(number, _) => number.parse().ok(),
        _ => None,
    }
}

/// The expression of a projected item; none for a star.
pub(crate) fn item(item: &SelectItem) -> Option<&Expr> {
    match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
            Some(expr)
        }
        _ => None,
    }
}

/// Whether no column, star or query is part of a projected item.
fn is_literal(projected: &SelectItem) -> bool {
    let Some(expr) = item(projected) else { return false };
    !expr.to_string().contains('*')
        && expressions(expr).iter().all(|expr| {
            !matches!(
                expr,
                Expr::Identifier(_)
                    | Expr::CompoundIdentifier(_)
                    | Expr::Subquery(_)
                    | Expr::Exists { .. }
            )
        })
}

/// Whether a SELECT groups its rows.
pub(crate) fn is_grouped(select: &Select) -> bool {
    !matches!(&select.group_by, GroupByExpr::Expressions(by, _) if by.is_empty())
}

/// The name of a function that an expression is a call of, in lower case.
pub(crate) fn function(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Function(function) => Some(function.name.to_string().to_lowercase()),
        Expr::Nested(inner) => self::function(inner),
        _ => None,
    }
}

/// Whether an expression makes one value of many rows: an aggregate that is no window.
pub(crate) fn is_aggregate(expr: &Expr) -> bool {
    match expr {
        Expr::Function(function) => {
            let name = function.name.to_string().to_lowercase();
            function.over.is_none() && AGGREGATES.contains(&name.as_str())
        }
        Expr::Nested(inner) => is_aggregate(inner),
        _ => false,
    }
}

/// The literal that an expression is.
pub(crate) fn literal(expr: &Expr) -> Option<&Value> {
    match expr {
        Expr::Value(value) => Some(&value.value),
        Expr::Nested(inner) => literal(inner),
        Expr::UnaryOp { op: UnaryOperator::Minus | UnaryOperator::Plus, expr } => {
            literal(expr)
        }
        _ => None,
    }
}

/// The text that a literal is. A name in double quotes is one too where no column is called
/// so; that is for the caller to know.
pub(crate) fn text(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Identifier(Ident { value, quote_style: Some('"'), .. }) => Some(value),
        _ => match literal(expr)? {
            Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) => {
                Some(text)
            }
            _ => None,
        },
    }
}

/// The qualifier and the name of a column, in lower case.
pub(crate) fn column(expr: &Expr) -> Option<(Option<String>, String)> {
    match expr {
        Expr::Identifier(name) => Some((None, name.value.to_lowercase())),
        Expr::CompoundIdentifier(names) => {
            let [.., of, name] = names.as_slice() else { return None };
            Some((Some(of.value.to_lowercase()), name.value.to_lowercase()))
        }
        Expr::Nested(inner) => column(inner),
        _ => None,
    }
}

/// The relations of a FROM clause; `None` where one is of a kind that is not taken apart.
pub(crate) fn relations(select: &Select) -> Option<Vec<Relation>> {
    let mut relations = Vec::new();
    for from in &select.from {
        relations.push(relation(&from.relation)?);
        for join in &from.joins {
            relations.push(relation(&join.relation)?);
        }
    }
    Some(relations)
}

fn relation(factor: &TableFactor) -> Option<Relation> {
    let text = factor.to_string();
    match factor {
        TableFactor::Table { name, alias, args: None, .. } => {
            let table = name.0.last()?.as_ident()?.value.to_lowercase();
            let name =
                alias.as_ref().map_or(table.clone(), |a| a.name.value.to_lowercase());
            Some(Relation { name, table: Some(table), text })
        }
        TableFactor::Derived { alias, .. } => {
            let name =
                alias.as_ref().map_or_else(String::new, |a| a.name.value.to_lowercase());
            Some(Relation { name, table: None, text })
        }
        TableFactor::Table { name, alias, args: Some(_), .. } => {
            let table = name.to_string().to_lowercase();
            let name =
                alias.as_ref().map_or(table.clone(), |a| a.name.value.to_lowercase());
            Some(Relation { name, table: Some(table), text })
        }
        _ => None,
    }
}

/// The conditions that must all hold for an expression to.
pub(crate) fn conjuncts(expr: &Expr) -> Vec<&Expr> {
    let mut found = Vec::new();
    let mut open = vec![expr];
    while let Some(expr) = open.pop() {
        match expr {
            Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
                open.extend([right.as_ref(), left.as_ref()]);
            }
            Expr::Nested(inner) => open.push(inner),
            _ => found.push(expr),
        }
    }
    found
}

/// Every expression within one, itself included.
pub(crate) fn expressions(expr: &Expr) -> Vec<Expr> {
    walk(expr).expressions
}

#[derive(Default)]
struct Walk {
    queries: Vec<Tree>,
    selects: Vec<Select>,
    expressions: Vec<Expr>,
}

fn walk(tree: &impl Visit) -> Walk {
    let mut walk = Walk::default();
    // Nothing in it stops the walk.
    let _ = tree.visit(&mut walk);
    walk
}

impl Visitor for Walk {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Tree) -> ControlFlow<()> {
        self.queries.push(query.clone());
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        self.selects.push(select.clone());
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        self.expressions.push(expr.clone());
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(sql: &str) -> Query {
        Query::parse(sql).expect(sql)
    }

    #[test]
    fn a_chain_of_ctes_is_cut_after_each() {
        let query = parse(
            "WITH a AS (SELECT 1 AS x), b AS (SELECT x FROM a) SELECT x FROM b \
             WHERE x IN (SELECT 2 * x FROM a)",
        );
        let counts: Vec<String> =
            query.ctes().into_iter().map(|part| part.count).collect();
        assert_eq!(counts[0], "WITH a AS (SELECT 1 AS x) SELECT count(*) AS n FROM a");
        assert!(counts[1].ends_with("SELECT count(*) AS n FROM b"), "{}", counts[1]);
        let inner = query.subqueries();
        assert_eq!(inner.len(), 1);
        assert!(inner[0].count.ends_with("FROM (SELECT 2 * x FROM a)"), "{inner:?}");
        assert_eq!(parse("SELECT 1 UNION SELECT 2").subqueries().len(), 2);
    }

    #[test]
    fn a_query_is_asked_of_other_tables() {
        let shadows = ["t AS (SELECT 1 AS x)".to_owned()];
        let over = |sql: &str| parse(sql).over(&shadows);
        assert_eq!(
            over("SELECT a.x FROM main.t AS a WHERE x IN (SELECT x FROM t)"),
            "WITH t AS (SELECT 1 AS x) SELECT a.x FROM t AS a WHERE x IN (SELECT x FROM t)"
        );
        assert_eq!(
            over("WITH u AS (SELECT x FROM t) SELECT x FROM u"),
            "WITH t AS (SELECT 1 AS x), u AS (SELECT x FROM t) SELECT x FROM u"
        );
        assert_eq!(parse("SELECT 1").over(&[]), "SELECT 1");
    }

    #[test]
    fn probes_are_told_from_answers() {
        let probe = |sql: &str| parse(sql).probe();
        assert_eq!(probe("SELECT name FROM sqlite_master"), Some(Probe::Schema));
        assert_eq!(
            probe("SELECT DISTINCT kind FROM t WHERE x > 1"),
            Some(Probe::Distinct)
        );
        assert_eq!(
            probe("SELECT kind, count(*) FROM t GROUP BY kind"),
            Some(Probe::Distinct)
        );
        assert_eq!(
            probe("SELECT count(*), max(x) FROM t WHERE y = 2"),
            Some(Probe::Count)
        );
        assert_eq!(probe("SELECT * FROM t LIMIT 5"), Some(Probe::Head));
        assert_eq!(probe("SELECT a, b FROM t"), Some(Probe::Head));
        assert_eq!(probe("SELECT a FROM t JOIN u ON t.x = u.x LIMIT 5"), None);
        assert_eq!(probe("SELECT a FROM t WHERE b = 1"), None);
        assert_eq!(probe("SELECT count(*) FROM t WHERE x IN (SELECT x FROM u)"), None);
    }

    #[test]
    fn what_cannot_be_taken_apart_is_refused() {
        for sql in ["DELETE FROM t", "SELECT 1; SELECT 2", "SELECT FROM", "", "hello"] {
            assert!(Query::parse(sql).is_none(), "{sql}");
        }
        assert!(Query::parse(&format!("SELECT 1{}", "+1".repeat(2000))).is_none());
        let deep = format!("SELECT {}1{}", "(".repeat(300), ")".repeat(300));
        assert!(Query::parse(&deep).is_none());
        for (operator, longest) in [("+1", 120), (" AND 1", 120), (" UNION SELECT 1", 30)]
        {
            let chain = |length| format!("SELECT 1{}", operator.repeat(length));
            assert!(!parse(&chain(longest)).selects().is_empty(), "{operator}");
            assert!(Query::parse(&chain(longest + 1)).is_none(), "{operator}");
        }
        let list = format!("SELECT 1{}", ", 1".repeat(600));
        assert_eq!(parse(&list).selects().len(), 1);
    }
}
