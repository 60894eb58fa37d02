//! Faults and no-ops in SQL, by taking a query apart and putting it together again.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use sqlparser::ast::{
    BinaryOperator, Distinct, DuplicateTreatment, Expr, FunctionArg, FunctionArgExpr,
    FunctionArguments, GroupByExpr, Ident, JoinConstraint, JoinOperator, ObjectName,
    OrderByKind, OrderBySort, Query as Tree, Select, SelectItem, SetExpr, SetOperator,
    SetQuantifier, TableFactor, Value, VisitMut, VisitorMut,
};
use sqlparser::dialect::SQLiteDialect;
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, Tokenizer};

use crate::mutants::{Effect, Mutant};
use crate::query::{self, Query};

/// Mutants of one class and query.
const SITES_MAX: usize = 4;

/// The columns of each table, both in lower case: in the order of the schema.
pub type Columns = BTreeMap<String, Vec<String>>;

/// Every mutant of a query, class after class; at most four of a class. None of a text that
/// is no query, or too long to be taken apart.
///
/// Faults: `wrong-column`, `dropped-filter`, `shifted-constant`, `misspelt-value`,
/// `dropped-join-condition`, `wrong-aggregate`, `dropped-distinct`, `dropped-group-by`,
/// `flipped-comparison`, `reversed-order`, `wrong-set-operation`. No-ops: `alias-renamed`,
/// `conjuncts-reordered`, `wrapped-in-cte`, `case-and-space`, `sides-swapped`.
pub fn sql_mutants(sql: &str, columns: &Columns) -> Vec<Mutant> {
    let Some(query) = Query::parse(sql) else { return vec![] };
    let tree = query.tree();
    let mut mutants: Vec<Mutant> = Vec::new();
    let mut add = |class, effect, texts: Vec<String>| {
        let mut texts: Vec<String> =
            texts.into_iter().filter(|text| text != sql).collect();
        texts.dedup();
        texts.truncate(SITES_MAX);
        mutants.extend(texts.into_iter().map(|text| Mutant { class, effect, text }));
    };
    let wrong = |select: &Select| wrong_column(select, columns);
    add("wrong-column", Effect::Fault, selects(tree, &wrong));
    add("dropped-filter", Effect::Fault, selects(tree, &dropped_filter));
    add("shifted-constant", Effect::Fault, expressions(tree, &shifted_constant));
    add("misspelt-value", Effect::Fault, expressions(tree, &misspelt_value));
    add("dropped-join-condition", Effect::Fault, selects(tree, &dropped_join));
    add("wrong-aggregate", Effect::Fault, expressions(tree, &wrong_aggregate));
    let mut plain = selects(tree, &dropped_distinct);
    plain.extend(queries(tree, &kept_duplicates));
    add("dropped-distinct", Effect::Fault, plain);
    add("dropped-group-by", Effect::Fault, selects(tree, &dropped_group_by));
    add("flipped-comparison", Effect::Fault, expressions(tree, &flipped_comparison));
    add("reversed-order", Effect::Fault, reversed_order(tree));
    add("wrong-set-operation", Effect::Fault, queries(tree, &wrong_set_operation));
    add("alias-renamed", Effect::NoOp, renamed(tree));
    add("conjuncts-reordered", Effect::NoOp, selects(tree, &reordered));
    add("wrapped-in-cte", Effect::NoOp, wrapped(tree));
    add("case-and-space", Effect::NoOp, respaced(sql));
    add("sides-swapped", Effect::NoOp, expressions(tree, &swapped));
    mutants
}

/// The ways in which a piece of a query is changed.
type Change<'f, T> = &'f dyn Fn(&T) -> Vec<T>;

/// Visits the nodes of a tree and puts the alternatives of one kind of node in, one at a time.
struct Edit<'f> {
    expr: Option<Change<'f, Expr>>,
    select: Option<Change<'f, Select>>,
    query: Option<Change<'f, Tree>>,
    /// How many alternatives to pass over.
    left: usize,
}

impl Edit<'_> {
    fn put<T>(&mut self, node: &mut T, mut alternatives: Vec<T>) -> ControlFlow<()> {
        if self.left < alternatives.len() {
            *node = alternatives.swap_remove(self.left);
            return ControlFlow::Break(());
        }
        self.left -= alternatives.len();
        ControlFlow::Continue(())
    }

    fn all(mut edit: impl FnMut(usize) -> Self, tree: &Tree) -> Vec<String> {
        let mut texts = Vec::new();
        for site in 0..SITES_MAX {
            let mut changed = tree.clone();
            if VisitMut::visit(&mut changed, &mut edit(site)).is_continue() {
                break;
            }
            texts.push(changed.to_string());
        }
        texts
    }
}

impl VisitorMut for Edit<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let found = self.expr.map(|alternatives| alternatives(expr)).unwrap_or_default();
        self.put(expr, found)
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let found =
            self.select.map(|alternatives| alternatives(select)).unwrap_or_default();
        self.put(select, found)
    }

    fn pre_visit_query(&mut self, query: &mut Tree) -> ControlFlow<()> {
        let found =
            self.query.map(|alternatives| alternatives(query)).unwrap_or_default();
        self.put(query, found)
    }
}

fn expressions(tree: &Tree, change: &dyn Fn(&Expr) -> Vec<Expr>) -> Vec<String> {
    Edit::all(|left| Edit { expr: Some(change), select: None, query: None, left }, tree)
}

fn selects(tree: &Tree, change: &dyn Fn(&Select) -> Vec<Select>) -> Vec<String> {
    Edit::all(|left| Edit { expr: None, select: Some(change), query: None, left }, tree)
}

fn queries(tree: &Tree, change: &dyn Fn(&Tree) -> Vec<Tree>) -> Vec<String> {
    Edit::all(|left| Edit { expr: None, select: None, query: Some(change), left }, tree)
}

/// Another column of the same table in place of one that is selected.
fn wrong_column(select: &Select, columns: &Columns) -> Vec<Select> {
    let Some(relations) = query::relations(select) else { return vec![] };
    let projected: Vec<String> = select
        .projection
        .iter()
        .filter_map(|item| query::column(query::item(item)?))
        .map(|(_, name)| name)
        .collect();
    let mut changed = Vec::new();
    for (index, item) in select.projection.iter().enumerate() {
        let Some((of, name)) = query::item(item).and_then(query::column) else {
            continue;
        };
        let holds = |relation: &&query::Relation| {
            let columns = relation.table.as_ref().and_then(|table| columns.get(table));
            of.as_ref().is_none_or(|of| relation.name == *of)
                && columns.is_some_and(|columns| columns.contains(&name))
        };
        let Some(relation) = relations.iter().find(holds) else { continue };
        let table = relation.table.as_ref().and_then(|table| columns.get(table));
        let others = table.into_iter().flatten();
        let Some(other) = others.into_iter().find(|other| !projected.contains(other))
        else {
            continue;
        };
        let other = Ident::with_quote('"', other);
        let qualified = of.as_ref().map(|of| Ident::with_quote('"', of));
        let expr = match qualified {
            Some(of) => Expr::CompoundIdentifier(vec![of, other]),
            None => Expr::Identifier(other),
        };
        let mut select = select.clone();
        select.projection[index] = match item {
            SelectItem::ExprWithAlias { alias, .. } => {
                SelectItem::ExprWithAlias { expr, alias: alias.clone() }
            }
            _ => SelectItem::UnnamedExpr(expr),
        };
        changed.push(select);
    }
    changed
}

/// Each condition of WHERE left out, and HAVING.
fn dropped_filter(select: &Select) -> Vec<Select> {
    let mut changed = Vec::new();
    if let Some(filter) = &select.selection {
        let conjuncts = query::conjuncts(filter);
        for index in 0..conjuncts.len() {
            let rest = conjuncts.iter().enumerate().filter(|(other, _)| *other != index);
            let mut select = select.clone();
            select.selection = all_of(rest.map(|(_, expr)| (*expr).clone()));
            changed.push(select);
        }
    }
    if select.having.is_some() {
        changed.push(Select { having: None, ..select.clone() });
    }
    changed
}

fn all_of(conditions: impl Iterator<Item = Expr>) -> Option<Expr> {
    conditions.reduce(|left, right| {
        // An OR binds less than the AND around it.
        let nested = |expr: Expr| match expr {
            Expr::BinaryOp { op: BinaryOperator::Or, .. } => Expr::Nested(Box::new(expr)),
            other => other,
        };
        Expr::BinaryOp {
            left: Box::new(nested(left)),
            op: BinaryOperator::And,
            right: Box::new(nested(right)),
        }
    })
}

/// A comparison with a number one greater, or with a day a year later.
fn shifted_constant(expr: &Expr) -> Vec<Expr> {
    constant(expr, &|value| match value {
        Value::Number(number, long) => {
            let shifted = match number.parse::<i64>() {
                Ok(whole) => (whole + 1).to_string(),
                Err(_) => (number.parse::<f64>().ok()? + 1.0).to_string(),
            };
            Some(Value::Number(shifted, *long))
        }
        Value::SingleQuotedString(text) => {
            let year: i32 = text.get(..4)?.parse().ok()?;
            let is_date = text.len() == 4 || text.as_bytes().get(4) == Some(&b'-');
            let shifted = format!("{}{}", year + 1, &text[4..]);
            is_date.then_some(Value::SingleQuotedString(shifted))
        }
        _ => None,
    })
}

/// A comparison with a text that lacks its last character.
fn misspelt_value(expr: &Expr) -> Vec<Expr> {
    constant(expr, &|value| match value {
        Value::SingleQuotedString(text) if text.chars().any(char::is_alphabetic) => {
            let mut text = text.clone();
            text.pop();
            Some(Value::SingleQuotedString(text))
        }
        _ => None,
    })
}

/// A comparison with its constant changed.
fn constant(expr: &Expr, change: &dyn Fn(&Value) -> Option<Value>) -> Vec<Expr> {
    let Expr::BinaryOp { left, op, right } = expr else { return vec![] };
    let changed = |side: &Expr| match side {
        Expr::Value(value) => {
            let mut value = value.clone();
            value.value = change(&value.value)?;
            Some(Box::new(Expr::Value(value)))
        }
        _ => None,
    };
    if !compares(op) {
        return vec![];
    }
    let of_right = changed(right).map(|right| Expr::BinaryOp {
        left: left.clone(),
        op: op.clone(),
        right,
    });
    let of_left = changed(left).map(|left| Expr::BinaryOp {
        left,
        op: op.clone(),
        right: right.clone(),
    });
    of_right.into_iter().chain(of_left).collect()
}

fn compares(op: &BinaryOperator) -> bool {
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

/// A join whose condition always holds.
fn dropped_join(select: &Select) -> Vec<Select> {
    let mut changed = Vec::new();
    for (from, table) in select.from.iter().enumerate() {
        for (index, join) in table.joins.iter().enumerate() {
            let inner = matches!(
                &join.join_operator,
                JoinOperator::Join(JoinConstraint::On(_))
                    | JoinOperator::Inner(JoinConstraint::On(_))
            );
            if inner {
                let mut select = select.clone();
                select.from[from].joins[index].join_operator =
                    JoinOperator::CrossJoin(JoinConstraint::None);
                changed.push(select);
            }
        }
    }
    changed
}

/// A sum for an average, a least for a greatest, values for different values.
fn wrong_aggregate(expr: &Expr) -> Vec<Expr> {
    let Expr::Function(function) = expr else { return vec![] };
    let FunctionArguments::List(list) = &function.args else { return vec![] };
    let mut changed = function.clone();
    let other = match function.name.to_string().to_lowercase().as_str() {
        "sum" | "total" => "avg",
        "avg" => "sum",
        "min" if list.args.len() == 1 => "max",
        "max" if list.args.len() == 1 => "min",
        "count" => {
            let FunctionArguments::List(list) = &mut changed.args else { return vec![] };
            let is_star = list.args.iter().any(|argument| {
                matches!(argument, FunctionArg::Unnamed(FunctionArgExpr::Wildcard))
            });
            if is_star {
                return vec![];
            }
            list.duplicate_treatment = match list.duplicate_treatment {
                Some(DuplicateTreatment::Distinct) => None,
                _ => Some(DuplicateTreatment::Distinct),
            };
            return vec![Expr::Function(changed)];
        }
        _ => return vec![],
    };
    changed.name = ObjectName::from(Ident::new(other));
    vec![Expr::Function(changed)]
}

fn dropped_distinct(select: &Select) -> Vec<Select> {
    match select.distinct {
        Some(Distinct::Distinct) => vec![Select { distinct: None, ..select.clone() }],
        _ => vec![],
    }
}

/// UNION ALL for UNION.
fn kept_duplicates(tree: &Tree) -> Vec<Tree> {
    set_operation(tree, |op, quantifier| {
        let drops = op == SetOperator::Union && quantifier == SetQuantifier::None;
        drops.then_some((SetOperator::Union, SetQuantifier::All))
    })
}

/// INTERSECT for UNION and EXCEPT, and the other way round.
fn wrong_set_operation(tree: &Tree) -> Vec<Tree> {
    set_operation(tree, |op, _| {
        let other = match op {
            SetOperator::Union | SetOperator::Except => SetOperator::Intersect,
            _ => SetOperator::Union,
        };
        Some((other, SetQuantifier::None))
    })
}

fn set_operation(
    tree: &Tree,
    change: impl Fn(SetOperator, SetQuantifier) -> Option<(SetOperator, SetQuantifier)>,
) -> Vec<Tree> {
    // A step of a recursive CTE is no set operation that could be another.
    let mut changed = tree.clone();
    let SetExpr::SetOperation { op, set_quantifier, .. } = changed.body.as_mut() else {
        return vec![];
    };
    let Some((other, quantifier)) = change(*op, *set_quantifier) else { return vec![] };
    (*op, *set_quantifier) = (other, quantifier);
    vec![changed]
}

fn dropped_group_by(select: &Select) -> Vec<Select> {
    if !query::is_grouped(select) {
        return vec![];
    }
    let group_by = GroupByExpr::Expressions(vec![], vec![]);
    vec![Select { group_by, ..select.clone() }]
}

fn flipped_comparison(expr: &Expr) -> Vec<Expr> {
    let Expr::BinaryOp { left, op, right } = expr else { return vec![] };
    let op = match op {
        BinaryOperator::Lt => BinaryOperator::Gt,
        BinaryOperator::Gt => BinaryOperator::Lt,
        BinaryOperator::LtEq => BinaryOperator::GtEq,
        BinaryOperator::GtEq => BinaryOperator::LtEq,
        _ => return vec![],
    };
    vec![Expr::BinaryOp { left: left.clone(), op, right: right.clone() }]
}

/// The outermost ORDER BY the other way round.
fn reversed_order(tree: &Tree) -> Vec<String> {
    let mut changed = tree.clone();
    let Some(order_by) = changed.order_by.as_mut() else { return vec![] };
    let OrderByKind::Expressions(by) = &mut order_by.kind else { return vec![] };
    for term in by {
        term.options.sort = match term.options.sort {
            Some(OrderBySort::Desc) => None,
            _ => Some(OrderBySort::Desc),
        };
    }
    vec![changed.to_string()]
}

/// Every alias of a table called something else.
fn renamed(tree: &Tree) -> Vec<String> {
    // Names them in a first walk and replaces them in a second.
    struct Rename {
        aliases: Vec<String>,
        is_known: bool,
    }
    impl Rename {
        fn rename(&self, name: &mut Ident) {
            if self.is_known && self.aliases.contains(&name.value.to_lowercase()) {
                name.value.push_str("_renamed");
            }
        }
    }
    impl VisitorMut for Rename {
        type Break = ();

        fn pre_visit_table_factor(
            &mut self,
            factor: &mut TableFactor,
        ) -> ControlFlow<()> {
            let (TableFactor::Table { alias, .. } | TableFactor::Derived { alias, .. }) =
                factor
            else {
                return ControlFlow::Continue(());
            };
            if let Some(alias) = alias {
                if !self.is_known {
                    self.aliases.push(alias.name.value.to_lowercase());
                }
                self.rename(&mut alias.name);
            }
            ControlFlow::Continue(())
        }

        fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            if let Expr::CompoundIdentifier(names) = expr {
                let qualifier = names.len().saturating_sub(2);
                if let Some(name) = names.get_mut(qualifier) {
                    self.rename(name);
                }
            }
            ControlFlow::Continue(())
        }
    }
    let mut changed = tree.clone();
    let mut rename = Rename { aliases: vec![], is_known: false };
    let _ = VisitMut::visit(&mut changed, &mut rename);
    if rename.aliases.is_empty() || tree.to_string().contains(".*") {
        return vec![];
    }
    rename.is_known = true;
    let _ = VisitMut::visit(&mut changed, &mut rename);
    vec![changed.to_string()]
}

fn reordered(select: &Select) -> Vec<Select> {
    let Some(filter) = &select.selection else { return vec![] };
    let conjuncts = query::conjuncts(filter);
    if conjuncts.len() < 2 {
        return vec![];
    }
    let selection = all_of(conjuncts.into_iter().rev().cloned());
    vec![Select { selection, ..select.clone() }]
}

/// The query as a CTE of which everything is selected; not one that orders its rows, whose
/// order would be lost.
fn wrapped(tree: &Tree) -> Vec<String> {
    if tree.order_by.is_some() {
        return vec![];
    }
    vec![format!("WITH _whole AS ({tree}) SELECT * FROM _whole")]
}

/// Keywords in lower case, and a line for each word.
fn respaced(sql: &str) -> Vec<String> {
    let dialect = SQLiteDialect {};
    let Ok(tokens) = Tokenizer::new(&dialect, sql).tokenize() else { return vec![] };
    let written = tokens.iter().map(|token| match token {
        Token::Word(word)
            if word.keyword != Keyword::NoKeyword && word.quote_style.is_none() =>
        {
            word.value.to_lowercase()
        }
        Token::Whitespace(_) => "\n  ".to_owned(),
        other => other.to_string(),
    });
    vec![written.collect()]
}

/// The two columns of an equality the other way round.
fn swapped(expr: &Expr) -> Vec<Expr> {
    let Expr::BinaryOp { left, op: BinaryOperator::Eq, right } = expr else {
        return vec![];
    };
    if query::column(left).is_none() || query::column(right).is_none() {
        return vec![];
    }
    let (left, right) = (right.clone(), left.clone());
    vec![Expr::BinaryOp { left, op: BinaryOperator::Eq, right }]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(class: &str, sql: &str) -> Vec<String> {
        let columns = Columns::from([
            (
                "city".to_owned(),
                vec!["id".to_owned(), "name".to_owned(), "people".to_owned()],
            ),
            ("river".to_owned(), vec!["city_id".to_owned(), "km".to_owned()]),
        ]);
        let mutants = sql_mutants(sql, &columns).into_iter();
        mutants.filter(|mutant| mutant.class == class).map(|mutant| mutant.text).collect()
    }

    #[test]
    fn each_class_changes_what_it_says() {
        let sql = "SELECT DISTINCT c.name FROM city AS c JOIN river AS r ON r.city_id = c.id \
                   WHERE c.people > 10 AND r.km = 3";
        let only = |class: &str| {
            let mut found = of(class, sql);
            assert!(!found.is_empty(), "{class}");
            found.remove(0)
        };
        assert!(only("wrong-column").starts_with("SELECT DISTINCT \"c\".\"id\" FROM"));
        assert!(only("dropped-filter").ends_with("WHERE r.km = 3"));
        assert!(only("shifted-constant").contains("c.people > 11"));
        assert!(only("dropped-join-condition").contains("CROSS JOIN river AS r WHERE"));
        assert!(only("dropped-distinct").starts_with("SELECT c.name"));
        assert!(only("flipped-comparison").contains("c.people < 10"));
        assert!(only("alias-renamed").contains("c_renamed.name FROM city AS c_renamed"));
        assert!(
            only("conjuncts-reordered").ends_with("WHERE r.km = 3 AND c.people > 10")
        );
        assert!(only("sides-swapped").contains("ON c.id = r.city_id"));
        assert!(only("case-and-space").starts_with("select\n  distinct"));
        assert!(only("wrapped-in-cte").ends_with("SELECT * FROM _whole"));
        let grouped =
            "SELECT name, sum(people) FROM city GROUP BY name ORDER BY name DESC";
        assert_eq!(of("wrong-aggregate", grouped).len(), 1);
        assert!(!of("dropped-group-by", grouped)[0].contains("GROUP"));
        assert!(of("reversed-order", grouped)[0].ends_with("ORDER BY name"));
        assert!(of("wrapped-in-cte", grouped).is_empty());
        let both =
            "SELECT id FROM city UNION SELECT city_id FROM river WHERE km = 'short'";
        assert!(of("wrong-set-operation", both)[0].contains("INTERSECT"));
        assert!(of("dropped-distinct", both)[0].contains("UNION ALL"));
        assert!(of("misspelt-value", both)[0].ends_with("'shor'"));
        assert!(sql_mutants("no query", &Columns::new()).is_empty());
    }
}
