//! Whether a model follows the gold's when a number of the problem changes.
//!
//! Over other variables two models cannot be put side by side, but both can be changed: a
//! number that moves the optimum of the gold's moves that of any model that says the same. One
//! that was only told its optimum stays where it is. (For queries, changed data do this: see
//! `sql-equivalent`.)

use serde_json::json;

use crate::program::{Program, lp};
use crate::verifiers::modelling::{SAME, Workbench};
use crate::{Evidence, Task, Verifier, VerifierError};

/// Numbers of the gold's model that are tried.
const TRIED_MAX: usize = 24;
/// Numbers that move it, after which it is known well enough.
const MOVING_MAX: usize = 6;
/// A model may count in thousands or in thousandths.
const DECADES: std::ops::RangeInclusive<i32> = -3..=3;

/// How a model follows the gold's.
#[derive(Debug, Default)]
pub(super) struct Following {
    /// Numbers of the gold's model that move its optimum.
    pub(super) moving: usize,
    /// Those of them that stand in the model, be it in other units.
    pub(super) shared: usize,
    /// Those that move the model's optimum too.
    pub(super) followed: usize,
    /// The last number's two solves: the gold's, and the model's.
    pub(super) evidence: Vec<Evidence>,
}

/// Changes numbers of the gold's model one at a time, in both, and solves both.
pub(super) async fn following(
    bench: &Workbench,
    verifier: &dyn Verifier,
    task: &Task,
    (ours, reached): (&Program, f64),
    (gold, optimum): (&Program, f64),
) -> Result<Following, VerifierError> {
    let mut found = Following::default();
    for number in numbers(gold).into_iter().take(TRIED_MAX) {
        if found.moving == MOVING_MAX {
            break;
        }
        for to in [up(number), down(number)] {
            let changed = with(gold, number, to, 0..=0);
            let gold_solved =
                bench.solve(task, json!({ "lp": lp::write(&changed) }), verifier).await?;
            // Where nothing is feasible any more there is nothing to follow.
            let Some(there) = gold_solved.objective() else { continue };
            if is_same(there, optimum) {
                continue;
            }
            found.moving += 1;
            let changed = with(ours, number, to, DECADES);
            if changed == *ours {
                break;
            }
            found.shared += 1;
            let solved =
                bench.solve(task, json!({ "lp": lp::write(&changed) }), verifier).await?;
            found.followed += usize::from(
                solved.objective().is_none_or(|here| !is_same(here, reached)),
            );
            found.evidence = vec![gold_solved.evidence, solved.evidence];
            break;
        }
    }
    Ok(found)
}

fn is_same(one: f64, other: f64) -> bool {
    (one - other).abs() <= SAME * other.abs().max(1e-2)
}

/// A whole number stays one: what is integer may have to be met exactly.
fn up(number: f64) -> f64 {
    if number.fract() == 0.0 { number + 1.0 } else { number * 1.1 }
}

fn down(number: f64) -> f64 {
    if number.fract() == 0.0 { number - 1.0 } else { number * 0.9 }
}

/// The sizes of the numbers in a model, each once, costs first. 1 is left out: it says that a
/// thing counts as itself.
fn numbers(program: &Program) -> Vec<f64> {
    let mut numbers: Vec<f64> = vec![];
    each(&mut program.clone(), |value| {
        let size = value.abs();
        let is_known = numbers.contains(&size);
        if size.is_finite() && size != 0.0 && size != 1.0 && !is_known {
            numbers.push(size);
        }
        value
    });
    numbers
}

/// The model with a number in place of another, also where it is so many decades away.
fn with(
    program: &Program,
    from: f64,
    to: f64,
    decades: std::ops::RangeInclusive<i32>,
) -> Program {
    let mut changed = program.clone();
    each(&mut changed, |value| {
        let stands_there = |decade: i32| {
            crate::program::compare::near(value.abs(), from * 10f64.powi(decade))
        };
        match decades.clone().any(stands_there) {
            true => value * to / from,
            false => value,
        }
    });
    changed
}

/// Puts what `change` makes of it in place of each number.
fn each(program: &mut Program, mut change: impl FnMut(f64) -> f64) {
    for column in &mut program.columns {
        column.cost = change(column.cost);
    }
    for row in &mut program.rows {
        row.lower = change(row.lower);
        row.upper = change(row.upper);
        for (_, coefficient) in &mut row.terms {
            *coefficient = change(*coefficient);
        }
    }
    for column in &mut program.columns {
        column.lower = change(column.lower);
        column.upper = change(column.upper);
    }
    program.offset = change(program.offset);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::Size;

    fn program(text: &str) -> Program {
        lp::read(text, &Size::default()).expect("an LP file")
    }

    #[test]
    fn numbers_are_found_once_and_changed_everywhere() {
        let gold = program("max 3 x + 2 y\nst\n x + 3 y <= 40\nbounds\n x <= 9.5\nend");
        assert_eq!(numbers(&gold), [3.0, 2.0, 40.0, 9.5]);
        let changed = with(&gold, 3.0, 4.0, 0..=0);
        let expected =
            program("max 4 x + 2 y\nst\n x + 4 y <= 40\nbounds\n x <= 9.5\nend");
        assert_eq!(changed, expected);
        let hundreds = program("max x\nst\n x <= 0.5\nend");
        let changed = with(&hundreds, 50.0, 51.0, DECADES);
        assert_eq!(changed, program("max x\nst\n x <= 0.51\nend"));
        assert_eq!(with(&hundreds, 50.0, 51.0, 0..=0), hundreds);
    }
}
