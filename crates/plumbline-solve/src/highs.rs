//! HiGHS behind a safe face: the only file of this crate with `unsafe` in it.
//!
//! HiGHS never reads a file or a text here. It is given arrays made from a
//! [`Program`](plumbline::program::Program) that has been checked, so that what a model
//! wrote meets no parser in C++.

#![allow(unsafe_code, reason = "calls the C interface of HiGHS")]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use highs_sys as c;
use plumbline::program::{Program, Sense};

/// What bounds a solve.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Nodes of the branch-and-bound tree.
    pub(crate) nodes_max: u64,
    /// Iterations of the simplex method, over all nodes.
    pub(crate) iterations_max: u64,
    /// Wall clock: a backstop, never part of an answer.
    pub(crate) seconds_max: f64,
}

/// How a solve ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Optimal,
    Infeasible,
    Unbounded,
    /// One of the two; the solver did not tell which.
    InfeasibleOrUnbounded,
    NodeLimit,
    IterationLimit,
    /// The clock, or whoever asked has gone.
    Stopped,
}

/// What a solve came to.
#[derive(Debug, Clone)]
pub(crate) struct Solved {
    pub(crate) status: Status,
    /// The best point found, if one was.
    pub(crate) point: Option<Vec<f64>>,
    /// Only linear programs have them, at their optimum.
    pub(crate) duals: Option<Duals>,
    /// No point is better than this. Only integer programs have it.
    pub(crate) bound: Option<f64>,
    pub(crate) nodes: u64,
    pub(crate) iterations: u64,
}

/// Change of the objective per unit.
#[derive(Debug, Clone)]
pub(crate) struct Duals {
    /// Of each column: its reduced cost.
    pub(crate) columns: Vec<f64>,
    /// Of each row's limit.
    pub(crate) rows: Vec<f64>,
}

/// A subsystem that cannot be satisfied: indices, each with the side that takes part.
#[derive(Debug, Clone, Default)]
pub(crate) struct Conflict {
    pub(crate) rows: Vec<usize>,
    pub(crate) columns: Vec<(usize, Side)>,
}

/// Which bound of a column takes part in a conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Lower,
    Upper,
    Both,
}

/// A solver with a program in it.
pub(crate) struct Highs<'s> {
    // Owned: made by Highs_create, freed once, used by one thread at a time.
    this: *mut c_void,
    columns: usize,
    rows: usize,
    is_integer: bool,
    // Made by Box::into_raw: HiGHS keeps the address. Freed after the solver.
    watch: *mut Watch<'s>,
}

/// What the callback looks at.
struct Watch<'s> {
    stop: &'s AtomicBool,
    iterations_max: i64,
    out_of_iterations: bool,
}

impl<'s> Highs<'s> {
    /// Passes a checked program on. `stop` ends a solve from another thread.
    pub(crate) fn new(
        program: &Program,
        bounds: &Bounds,
        stop: &'s AtomicBool,
    ) -> Result<Self, String> {
        // SAFETY: takes nothing; the pointer is checked before it is used.
        let this = unsafe { c::Highs_create() };
        if this.is_null() {
            return Err("HiGHS could not be started".to_owned());
        }
        let iterations_max = i64::try_from(bounds.iterations_max).unwrap_or(i64::MAX);
        let watch = Watch { stop, iterations_max, out_of_iterations: false };
        let mut highs = Self {
            this,
            columns: program.columns.len(),
            rows: program.rows.len(),
            is_integer: program.integers() > 0,
            watch: Box::into_raw(Box::new(watch)),
        };
        highs.configure(bounds)?;
        highs.pass(program)?;
        highs.listen()?;
        Ok(highs)
    }

    fn configure(&mut self, bounds: &Bounds) -> Result<(), String> {
        let limit = |value: u64| c_int::try_from(value).unwrap_or(c_int::MAX);
        self.set_bool(c"output_flag", false)?;
        // One thread and one seed: the same program is solved in the same steps.
        self.set_int(c"threads", 1)?;
        self.set_text(c"parallel", c"off")?;
        self.set_int(c"random_seed", 0)?;
        self.set_text(c"solver", c"simplex")?;
        self.set_text(c"mip_lp_solver", c"simplex")?;
        // Presolve may leave a linear program without duals, ray or conflict.
        let presolve = if self.is_integer { c"on" } else { c"off" };
        self.set_text(c"presolve", presolve)?;
        // The optimum itself, not one within a ten-thousandth of it.
        self.set_double(c"mip_rel_gap", 0.0)?;
        self.set_double(c"mip_abs_gap", 1e-6)?;
        self.set_int(c"mip_max_nodes", limit(bounds.nodes_max))?;
        self.set_int(c"simplex_iteration_limit", limit(bounds.iterations_max))?;
        self.set_double(c"time_limit", bounds.seconds_max)?;
        self.set_int(c"iis_strategy", c::kHighsIisStrategyFromLpRowPriority)
    }

    fn pass(&mut self, program: &Program) -> Result<(), String> {
        let columns = || program.columns.iter();
        let rows = || program.rows.iter();
        let costs: Vec<f64> = columns().map(|column| column.cost).collect();
        let lower: Vec<f64> = columns().map(|column| column.lower).collect();
        let upper: Vec<f64> = columns().map(|column| column.upper).collect();
        let kinds: Vec<c_int> =
            columns().map(|column| c_int::from(column.integer)).collect();
        let row_lower: Vec<f64> = rows().map(|row| row.lower).collect();
        let row_upper: Vec<f64> = rows().map(|row| row.upper).collect();
        let (mut starts, mut indices, mut values) = (vec![], vec![], vec![]);
        for row in rows() {
            starts.push(to_int(indices.len()));
            for (column, coefficient) in &row.terms {
                assert!(*column < self.columns, "a term names a column that there is");
                indices.push(to_int(*column));
                values.push(*coefficient);
            }
        }
        let sense = match program.sense {
            Sense::Minimize => c::kHighsObjSenseMinimize,
            Sense::Maximize => c::kHighsObjSenseMaximize,
        };
        // SAFETY: the arrays are as long as the counts say and outlive the call, which
        // copies them; indices were checked above; without a Hessian its arrays are null,
        // and without an integer column so is integrality.
        let status = unsafe {
            c::Highs_passModel(
                self.this,
                to_int(self.columns),
                to_int(self.rows),
                to_int(indices.len()),
                0,
                c::kHighsMatrixFormatRowwise,
                c::kHighsHessianFormatTriangular,
                sense,
                program.offset,
                costs.as_ptr(),
                lower.as_ptr(),
                upper.as_ptr(),
                row_lower.as_ptr(),
                row_upper.as_ptr(),
                starts.as_ptr(),
                indices.as_ptr(),
                values.as_ptr(),
                ptr::null(),
                ptr::null(),
                ptr::null(),
                if self.is_integer { kinds.as_ptr() } else { ptr::null() },
            )
        };
        checked(status, "take the model")
    }

    /// Has HiGHS ask now and then whether to go on.
    fn listen(&mut self) -> Result<(), String> {
        // SAFETY: what it points to outlives the solver, and nothing else touches it while
        // a solve runs.
        let status =
            unsafe { c::Highs_setCallback(self.this, Some(go_on), self.watch.cast()) };
        checked(status, "take a callback")?;
        for kind in [c::kHighsCallbackMipInterrupt, c::kHighsCallbackSimplexInterrupt] {
            // SAFETY: a live solver and one of its own constants.
            let status = unsafe { c::Highs_startCallback(self.this, kind) };
            checked(status, "start a callback")?;
        }
        Ok(())
    }

    /// Solves.
    pub(crate) fn run(&mut self) -> Result<Solved, String> {
        // SAFETY: a live solver that holds a model.
        let status = unsafe { c::Highs_run(self.this) };
        checked(status, "solve the model")?;
        // SAFETY: the run is over, and with it the callback's use of the watch.
        let out_of_iterations = unsafe { (*self.watch).out_of_iterations };
        // SAFETY: a live solver.
        let status = match unsafe { c::Highs_getModelStatus(self.this) } {
            c::kHighsModelStatusOptimal | c::kHighsModelStatusModelEmpty => {
                Status::Optimal
            }
            c::kHighsModelStatusInfeasible => Status::Infeasible,
            c::kHighsModelStatusUnbounded => Status::Unbounded,
            c::kHighsModelStatusUnboundedOrInfeasible => Status::InfeasibleOrUnbounded,
            c::kHighsModelStatusIterationLimit => Status::IterationLimit,
            c::kHighsModelStatusSolutionLimit => Status::NodeLimit,
            c::kHighsModelStatusInterrupt | c::kHighsModelStatusHighsInterrupt
                if out_of_iterations =>
            {
                Status::IterationLimit
            }
            c::kHighsModelStatusInterrupt
            | c::kHighsModelStatusHighsInterrupt
            | c::kHighsModelStatusTimeLimit => Status::Stopped,
            other => return Err(format!("HiGHS gave up with model status {other}")),
        };
        let has_point =
            self.int(c"primal_solution_status")? == c::kHighsSolutionStatusFeasible;
        // Without a feasible point there may be no solution to ask for at all.
        let (point, duals) = match has_point {
            true => self.solution(status).map(|(point, duals)| (Some(point), duals))?,
            false => (None, None),
        };
        if status == Status::Optimal && point.is_none() {
            return Err("HiGHS found an optimum without a feasible point".to_owned());
        }
        let simplex = self.int(c"simplex_iteration_count")?;
        Ok(Solved {
            status,
            point,
            duals,
            bound: if self.is_integer {
                Some(self.double(c"mip_dual_bound")?)
            } else {
                None
            },
            nodes: if self.is_integer { self.int64(c"mip_node_count")? } else { 0 },
            iterations: u64::try_from(simplex).unwrap_or(0),
        })
    }

    /// The point, and the duals where the program is linear and this is its optimum.
    fn solution(&self, status: Status) -> Result<(Vec<f64>, Option<Duals>), String> {
        let mut point = vec![0.0; self.columns];
        let mut activities = vec![0.0; self.rows];
        let (columns, rows) = (vec![0.0; self.columns], vec![0.0; self.rows]);
        let mut duals = Duals { columns, rows };
        // SAFETY: two arrays of one entry a column, two of one a row.
        let got = unsafe {
            c::Highs_getSolution(
                self.this,
                point.as_mut_ptr(),
                duals.columns.as_mut_ptr(),
                activities.as_mut_ptr(),
                duals.rows.as_mut_ptr(),
            )
        };
        checked(got, "tell its solution")?;
        let has_duals = status == Status::Optimal
            && !self.is_integer
            && self.int(c"dual_solution_status")? != 0;
        Ok((point, has_duals.then_some(duals)))
    }

    /// An irreducible subsystem that cannot be satisfied, if HiGHS finds one: of the
    /// relaxation, where columns are integer.
    pub(crate) fn conflict(&mut self) -> Result<Conflict, String> {
        let (mut column_count, mut row_count) = (0, 0);
        let mut columns = vec![0; self.columns];
        let mut rows = vec![0; self.rows];
        let mut column_sides = vec![0; self.columns];
        let mut row_sides = vec![0; self.rows];
        let mut column_status = vec![0; self.columns];
        let mut row_status = vec![0; self.rows];
        // SAFETY: the subsystem has at most all columns and rows, so each array is long
        // enough; the last two hold one entry a column and one a row.
        let status = unsafe {
            c::Highs_getIis(
                self.this,
                &mut column_count,
                &mut row_count,
                columns.as_mut_ptr(),
                rows.as_mut_ptr(),
                column_sides.as_mut_ptr(),
                row_sides.as_mut_ptr(),
                column_status.as_mut_ptr(),
                row_status.as_mut_ptr(),
            )
        };
        checked(status, "find a conflict")?;
        let count = |count: c_int| usize::try_from(count).unwrap_or(0);
        let at = |index: c_int| usize::try_from(index).ok();
        let sided = columns.iter().zip(&column_sides).take(count(column_count));
        Ok(Conflict {
            rows: rows.iter().take(count(row_count)).filter_map(|row| at(*row)).collect(),
            columns: sided
                .filter_map(|(column, side)| {
                    let side = match *side {
                        c::kHighsIisBoundLower => Side::Lower,
                        c::kHighsIisBoundUpper => Side::Upper,
                        c::kHighsIisBoundBoxed => Side::Both,
                        _ => return None,
                    };
                    Some((at(*column)?, side))
                })
                .collect(),
        })
    }

    /// A direction in which the objective improves without end.
    pub(crate) fn ray(&mut self) -> Result<Option<Vec<f64>>, String> {
        let mut has_ray = 0;
        let mut ray = vec![0.0; self.columns];
        // SAFETY: an array of one entry a column.
        let status =
            unsafe { c::Highs_getPrimalRay(self.this, &mut has_ray, ray.as_mut_ptr()) };
        checked(status, "tell a ray")?;
        Ok((has_ray != 0).then_some(ray))
    }

    fn set_bool(&mut self, name: &CStr, value: bool) -> Result<(), String> {
        // SAFETY: a live solver and a text that ends in a zero.
        let status = unsafe {
            c::Highs_setBoolOptionValue(self.this, name.as_ptr(), c_int::from(value))
        };
        checked(status, "take an option")
    }

    fn set_int(&mut self, name: &CStr, value: c_int) -> Result<(), String> {
        // SAFETY: as above.
        let status =
            unsafe { c::Highs_setIntOptionValue(self.this, name.as_ptr(), value) };
        checked(status, "take an option")
    }

    fn set_double(&mut self, name: &CStr, value: f64) -> Result<(), String> {
        // SAFETY: as above.
        let status =
            unsafe { c::Highs_setDoubleOptionValue(self.this, name.as_ptr(), value) };
        checked(status, "take an option")
    }

    fn set_text(&mut self, name: &CStr, value: &CStr) -> Result<(), String> {
        // SAFETY: as above, for both texts.
        let status = unsafe {
            c::Highs_setStringOptionValue(self.this, name.as_ptr(), value.as_ptr())
        };
        checked(status, "take an option")
    }

    fn int(&self, name: &CStr) -> Result<c_int, String> {
        let mut value = 0;
        // SAFETY: a live solver, a text that ends in a zero, a place for one number.
        let status =
            unsafe { c::Highs_getIntInfoValue(self.this, name.as_ptr(), &mut value) };
        checked(status, "tell a count").map(|()| value)
    }

    fn int64(&self, name: &CStr) -> Result<u64, String> {
        let mut value = 0;
        // SAFETY: as above.
        let status =
            unsafe { c::Highs_getInt64InfoValue(self.this, name.as_ptr(), &mut value) };
        checked(status, "tell a count").map(|()| u64::try_from(value).unwrap_or(0))
    }

    fn double(&self, name: &CStr) -> Result<f64, String> {
        let mut value = 0.0;
        // SAFETY: as above.
        let status =
            unsafe { c::Highs_getDoubleInfoValue(self.this, name.as_ptr(), &mut value) };
        checked(status, "tell a value").map(|()| value)
    }
}

impl Drop for Highs<'_> {
    fn drop(&mut self) {
        // SAFETY: both made in `new` and not freed before; the solver goes first, for it
        // knows the watch. The scheduler belongs to this thread, and would stay behind with
        // every thread of a pool.
        unsafe {
            c::Highs_destroy(self.this);
            c::Highs_resetThreadScheduler(1);
            drop(Box::from_raw(self.watch));
        }
    }
}

/// Called by HiGHS between nodes and iterations. What it decides by iterations is the same
/// in every run.
unsafe extern "C" fn go_on(
    kind: c_int,
    _message: *const c_char,
    out: *const c::HighsCallbackDataOut,
    back: *mut c::HighsCallbackDataIn,
    data: *mut c_void,
) {
    // SAFETY: `data` is the watch that `listen` gave; HiGHS calls from the thread that runs.
    let watch = unsafe { data.cast::<Watch<'_>>().as_mut() };
    // SAFETY: null, or a structure of HiGHS's own that lives for this call.
    let (out, back) = unsafe { (out.as_ref(), back.as_mut()) };
    let (Some(watch), Some(out), Some(back)) = (watch, out, back) else { return };
    if kind == c::kHighsCallbackMipInterrupt
        && out.mip_total_lp_iterations >= watch.iterations_max
    {
        watch.out_of_iterations = true;
    }
    if watch.out_of_iterations || watch.stop.load(Ordering::Relaxed) {
        back.user_interrupt = 1;
    }
}

fn checked(status: c_int, what: &str) -> Result<(), String> {
    // A warning is an answer too: a limit was reached, for instance.
    if status == c::kHighsStatusError {
        return Err(format!("HiGHS could not {what}"));
    }
    Ok(())
}

fn to_int(count: usize) -> c_int {
    c_int::try_from(count).expect("sizes are bounded far below what HiGHS counts to")
}
