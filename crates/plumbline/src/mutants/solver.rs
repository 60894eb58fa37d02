//! Faults and no-ops in optimisation models, by reading a model as a program, changing it, and
//! writing it as LP text.

use serde_json::Value;

use crate::mutants::{Effect, Mutant};
use crate::program::{Column, Program, Row, Sense, Size, lp, read};

/// Mutants of one class and model.
const SITES_MAX: usize = 4;

/// Every mutant of the arguments of a `solve` call, class after class; at most four of a
/// class. The text of each is LP, to be given as `lp`. None of arguments that are no model.
///
/// Faults: `dropped-constraint`, `flipped-constraint`, `shifted-limit`, `wrong-sense`,
/// `swapped-coefficients`, `wrong-cost`, `wrong-bound`, `dropped-integrality`. No-ops:
/// `renamed`, `reordered`, `scaled-row`, `split-equation`, `repeated-constraint`.
///
/// A fault that leaves every feasible point and every objective as they are is none: a
/// dropped constraint may follow from the others. Whoever measures kill rates must leave
/// those out that [`Effect::Fault`] cannot show, by comparing what the two models allow.
pub fn solver_mutants(args: &Value) -> Vec<Mutant> {
    let Ok(program) = read(args, &Size::default()) else { return vec![] };
    let mut mutants: Vec<Mutant> = Vec::new();
    let mut add = |class, effect, programs: Vec<Program>| {
        let changed = programs.into_iter().filter(|changed| *changed != program);
        mutants.extend(changed.take(SITES_MAX).map(|changed| Mutant {
            class,
            effect,
            text: lp::write(&changed),
        }));
    };
    add("dropped-constraint", Effect::Fault, dropped(&program));
    add("flipped-constraint", Effect::Fault, flipped(&program));
    add("shifted-limit", Effect::Fault, shifted(&program));
    add("wrong-sense", Effect::Fault, vec![wrong_sense(&program)]);
    add("swapped-coefficients", Effect::Fault, swapped(&program));
    add("wrong-cost", Effect::Fault, wrong_cost(&program));
    add("wrong-bound", Effect::Fault, wrong_bound(&program));
    add("dropped-integrality", Effect::Fault, vec![continuous(&program)]);
    add("renamed", Effect::NoOp, vec![renamed(&program)]);
    add("reordered", Effect::NoOp, vec![reordered(&program)]);
    add("scaled-row", Effect::NoOp, scaled(&program));
    add("split-equation", Effect::NoOp, split(&program));
    add("repeated-constraint", Effect::NoOp, repeated(&program));
    mutants
}

/// The fault `hard-coded`: models whose optimum is a limit on their objective, or their
/// objective itself, with every number of the true one in rows that limit nothing.
pub(super) fn told(args: &Value, optimum: f64) -> Vec<Mutant> {
    let Ok(program) = read(args, &Size::default()) else { return vec![] };
    let column = |name: &str, cost| Column {
        name: name.to_owned(),
        cost,
        lower: 0.0,
        upper: f64::INFINITY,
        integer: false,
    };
    let row = |name: String, terms, (lower, upper)| Row { name, lower, upper, terms };
    let only = match program.sense {
        Sense::Minimize => (optimum, f64::INFINITY),
        Sense::Maximize => (f64::NEG_INFINITY, optimum),
    };
    let limits = program.rows.iter().flat_map(|row| [row.lower, row.upper]);
    let costs = program.columns.iter().map(|column| column.cost);
    let terms = program.rows.iter().flat_map(|row| row.terms.iter().map(|term| term.1));
    let numbers = limits.chain(costs).chain(terms).filter(|v| v.is_finite() && *v != 0.0);
    let told = row("told".to_owned(), vec![(0, 1.0)], only);
    let idle = numbers.enumerate().map(|(at, number)| {
        let (sign, limit) = (number.signum(), (f64::NEG_INFINITY, number.abs() * 1e4));
        row(format!("n{at}"), vec![(1, sign * number)], limit)
    });
    let limit = Program {
        sense: program.sense,
        offset: 0.0,
        columns: vec![column("z", 1.0), column("s", 0.0)],
        rows: [told].into_iter().chain(idle).collect(),
    };
    let constant = Program {
        offset: optimum,
        columns: vec![column("z", 0.0), column("s", 0.0)],
        ..limit.clone()
    };
    let written = |program| {
        let text = lp::write(&program);
        Mutant { class: "hard-coded", effect: Effect::Fault, text }
    };
    [limit, constant].map(written).into()
}

/// A copy for each row that something can be done to, spread over all rows.
fn each_row(
    program: &Program,
    change: impl Fn(&mut Program, usize) -> bool,
) -> Vec<Program> {
    let step = program.rows.len().div_ceil(SITES_MAX).max(1);
    (0..program.rows.len())
        .step_by(step)
        .filter_map(|row| {
            let mut changed = program.clone();
            change(&mut changed, row).then_some(changed)
        })
        .collect()
}

fn each_column(program: &Program, change: impl Fn(&mut Column) -> bool) -> Vec<Program> {
    let step = program.columns.len().div_ceil(SITES_MAX).max(1);
    (0..program.columns.len())
        .step_by(step)
        .filter_map(|column| {
            let mut changed = program.clone();
            change(&mut changed.columns[column]).then_some(changed)
        })
        .collect()
}

fn dropped(program: &Program) -> Vec<Program> {
    each_row(program, |program, row| {
        program.rows.remove(row);
        true
    })
}

fn flipped(program: &Program) -> Vec<Program> {
    each_row(program, |program, row| {
        let row = &mut program.rows[row];
        let one_sided = row.lower.is_finite() != row.upper.is_finite();
        (row.lower, row.upper) = match row.upper.is_finite() {
            true => (row.upper, f64::INFINITY),
            false => (f64::NEG_INFINITY, row.lower),
        };
        one_sided
    })
}

/// Limits a tenth larger; a limit of zero becomes one.
fn shifted(program: &Program) -> Vec<Program> {
    let shift = |limit: f64| if limit == 0.0 { 1.0 } else { limit * 1.1 };
    each_row(program, |program, row| {
        let row = &mut program.rows[row];
        (row.lower, row.upper) = (shift(row.lower), shift(row.upper));
        true
    })
}

fn wrong_sense(program: &Program) -> Program {
    let sense = match program.sense {
        Sense::Minimize => Sense::Maximize,
        Sense::Maximize => Sense::Minimize,
    };
    Program { sense, ..program.clone() }
}

/// The first two coefficients of a row that differ, each in the other's place.
fn swapped(program: &Program) -> Vec<Program> {
    each_row(program, |program, row| {
        let terms = &mut program.rows[row].terms;
        let Some(other) = (1..terms.len()).find(|at| terms[*at].1 != terms[0].1) else {
            return false;
        };
        let first = terms[0].1;
        terms[0].1 = terms[other].1;
        terms[other].1 = first;
        true
    })
}

fn wrong_cost(program: &Program) -> Vec<Program> {
    each_column(program, |column| {
        let is_priced = column.cost != 0.0;
        column.cost *= 1.5;
        is_priced
    })
}

/// Bounds moved to where they forbid or allow more.
fn wrong_bound(program: &Program) -> Vec<Program> {
    each_column(program, |column| {
        if column.upper.is_finite() && column.upper != column.lower {
            // A binary column allowed twice; another's bound halved.
            let binary = column.integer && column.upper == 1.0;
            column.upper =
                if binary { 2.0 } else { (column.upper / 2.0).max(column.lower) };
        } else {
            column.lower += 1.0;
        }
        true
    })
}

fn continuous(program: &Program) -> Program {
    let mut changed = program.clone();
    changed.columns.iter_mut().for_each(|column| column.integer = false);
    changed
}

fn renamed(program: &Program) -> Program {
    let mut changed = program.clone();
    for (number, column) in (1..).zip(&mut changed.columns) {
        column.name = format!("amount_{number}");
    }
    for (number, row) in (1..).zip(&mut changed.rows) {
        row.name = format!("rule_{number}");
    }
    changed
}

/// Columns and rows the other way round, under their names.
fn reordered(program: &Program) -> Program {
    let mut changed = program.clone();
    let last = program.columns.len() - 1;
    changed.columns.reverse();
    changed.rows.reverse();
    for row in &mut changed.rows {
        row.terms.iter_mut().for_each(|term| term.0 = last - term.0);
        row.terms.reverse();
    }
    changed
}

fn scaled(program: &Program) -> Vec<Program> {
    each_row(program, |program, row| {
        let row = &mut program.rows[row];
        row.terms.iter_mut().for_each(|term| term.1 *= 4.0);
        (row.lower, row.upper) = (row.lower * 4.0, row.upper * 4.0);
        true
    })
}

/// An equation as two inequalities.
fn split(program: &Program) -> Vec<Program> {
    each_row(program, |program, row| {
        let mut other = program.rows[row].clone();
        let is_equation = other.lower == other.upper;
        other.lower = f64::NEG_INFINITY;
        other.name.push_str("_most");
        program.rows[row].upper = f64::INFINITY;
        program.rows.push(other);
        is_equation
    })
}

/// A constraint once more, a little looser.
fn repeated(program: &Program) -> Vec<Program> {
    each_row(program, |program, row| {
        let mut again = program.rows[row].clone();
        again.name.push_str("_again");
        again.upper += 1.0;
        again.lower -= 1.0;
        program.rows.push(again);
        true
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    #[test]
    fn every_class_is_planted_and_every_mutant_is_a_model() {
        let args = json!({"lp": "max 3 x + 2 y + z\nst\n a: x + 2 y <= 8\n \
            b: x + y + z = 6\n c: x - y >= -2\nbounds\n z <= 4\ngeneral\n x\nend"});
        let mut classes: BTreeMap<&str, u32> = BTreeMap::new();
        for mutant in solver_mutants(&args) {
            *classes.entry(mutant.class).or_default() += 1;
            let program = lp::read(&mutant.text, &Size::default()).expect("a model");
            assert_ne!(program, read(&args, &Size::default()).expect("a model"));
        }
        assert_eq!(classes.len(), 13, "{classes:?}");
        assert!(solver_mutants(&json!({"lp": "max"})).is_empty());
    }
}
