//! Which parts of a program contradict each other.

use plumbline::program::Program;

use crate::highs::{Conflict, Highs, Side, Status};
use crate::solve::{Solver, Unsettled, relaxation};

/// Up to so many rows are left out one after the other, where only integrality makes a
/// program infeasible.
const FILTER_ROWS_MAX: usize = 60;
/// Nodes of each of those solves.
const FILTER_NODES_MAX: u64 = 1_000;

/// Limits that leave nothing by themselves.
pub(crate) fn of_bounds(program: &Program) -> Option<Conflict> {
    let empty_column = program.columns.iter().position(|column| {
        let whole = column.integer && column.lower.ceil() > column.upper.floor();
        column.lower > column.upper || whole
    });
    if let Some(column) = empty_column {
        return Some(Conflict { rows: vec![], columns: vec![(column, Side::Both)] });
    }
    let row = program.rows.iter().position(|row| row.lower > row.upper)?;
    Some(Conflict { rows: vec![row], columns: vec![] })
}

/// A small set of rows and bounds that cannot hold together.
pub(crate) fn find(
    solver: &Solver<'_>,
    program: &Program,
    highs: &mut Highs<'_>,
) -> Result<Conflict, Unsettled> {
    if program.integers() == 0 {
        return Ok(highs.conflict()?);
    }
    let relaxed = relaxation(program);
    let mut highs = Highs::new(&relaxed, &solver.bounds, solver.stop)?;
    if highs.run()?.status == Status::Infeasible {
        return Ok(highs.conflict()?);
    }
    filtered(solver, program)
}

/// The rows that are left when every row without which the rest is still infeasible has
/// been taken out.
fn filtered(solver: &Solver<'_>, program: &Program) -> Result<Conflict, Unsettled> {
    let mut kept: Vec<usize> = (0..program.rows.len()).collect();
    if kept.len() > FILTER_ROWS_MAX {
        return Ok(Conflict { rows: kept, columns: vec![] });
    }
    let bounds = crate::highs::Bounds {
        nodes_max: solver.bounds.nodes_max.min(FILTER_NODES_MAX),
        ..solver.bounds
    };
    let solver = Solver { bounds, stop: solver.stop };
    let mut feasibility = program.clone();
    feasibility.columns.iter_mut().for_each(|column| column.cost = 0.0);
    for row in 0..program.rows.len() {
        let without: Vec<usize> =
            kept.iter().copied().filter(|kept| *kept != row).collect();
        feasibility.rows = without.iter().map(|row| program.rows[*row].clone()).collect();
        match solver.solve(&feasibility) {
            Ok(solved) if solved.status == Status::Infeasible => kept = without,
            Ok(_) | Err(Unsettled::Limit { .. }) => {}
            Err(other) => return Err(other),
        }
    }
    Ok(Conflict { rows: kept, columns: vec![] })
}
