//! The tool `solve`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use plumbline::program::{self, Program, ProgramError, Size, algebra};
use plumbline::{Digest, Fault, Limits, Observation, Scratch, Tool, ToolError, ToolSpec};
use serde_json::{Value, json};

use crate::conflict;
use crate::highs::{Bounds, Highs, Solved, Status};
use crate::report::{self, Answer};

const NAME: &str = "solve";
/// Changes whenever an answer to the same call may change.
const VERSION: u32 = 1;

/// What bounds a model before the solver sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SolveSettings {
    /// How large a model may be.
    pub size: Size,
}

/// Solves linear and integer programs.
///
/// Arguments: exactly one of `lp` (CPLEX LP text), `mps` (MPS text) and `model` (JSON). The
/// answer's data has `status` (`optimal`, `infeasible` or `unbounded`), and, by status,
/// `objective`, `values`, `constraints`, `reduced_costs`, `bound`, `gap`, `conflict`, `ray`;
/// always `nodes`, `iterations`, `columns`, `rows`, `integers`. What cannot be read is
/// [`Fault::BadArgs`]; what is too large, or needs more nodes or iterations than
/// [`Limits`] allow, is [`Fault::Limit`]; where the solver fails on a model's numbers, that
/// is [`Fault::Trap`]. The scratch is neither read nor written.
#[derive(Debug)]
pub struct Solve {
    spec: ToolSpec,
    settings: SolveSettings,
}

impl Solve {
    /// The tool with its settings.
    pub fn new(settings: SolveSettings) -> Self {
        let spec = ToolSpec {
            name: NAME.to_owned(),
            description: "Solves a linear or integer program exactly. Give the model in one \
                of three forms: lp (CPLEX LP text), model (JSON with constraints as texts), or \
                mps. Answers with the status, the optimal objective, every variable's value, \
                and slack and dual of every constraint; if nothing is feasible, with the \
                constraints that contradict each other."
                .to_owned(),
            parameters: json!({
                "type": "object",
                "properties": {
                    "lp": {
                        "type": "string",
                        "description": "CPLEX LP text. Variables are at least 0 unless bounds \
                            say otherwise. Example: maximize\n 3 x + 2 y\nsubject to\n labour: \
                            x + 2 y <= 14\n wood: 3 x - y >= 0\nbounds\n x <= 4\ngeneral\n x\n\
                            end"
                    },
                    "model": algebra::schema(),
                    "mps": { "type": "string", "description": "MPS text" }
                },
                "minProperties": 1,
                "maxProperties": 1,
                "additionalProperties": false
            }),
            pinned: Digest::of_json(&(NAME, VERSION, &settings.size)),
        };
        Self { spec, settings }
    }
}

#[async_trait]
impl Tool for Solve {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(
        &self,
        args: &Value,
        _scratch: &mut Scratch,
        limits: &Limits,
    ) -> Result<Observation, ToolError> {
        let stop = Arc::new(AtomicBool::new(false));
        // When the call is dropped, the thread behind it soon comes to its end.
        let _guard = StopOnDrop(Arc::clone(&stop));
        let (args, settings, limits) =
            (args.clone(), self.settings.clone(), limits.clone());
        let work = move || answer_until(&args, &settings, &limits, &stop);
        tokio::task::spawn_blocking(work).await.map_err(|error| ToolError::Engine {
            tool: NAME.to_owned(),
            message: format!("the solver's thread failed: {error}"),
        })?
    }
}

struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Answers one call, on this thread.
///
/// Fails if the solve takes longer than `limits.call_ms_max`: the clock is no observation.
pub fn answer(
    args: &Value,
    settings: &SolveSettings,
    limits: &Limits,
) -> Result<Observation, ToolError> {
    answer_until(args, settings, limits, &AtomicBool::new(false))
}

fn answer_until(
    args: &Value,
    settings: &SolveSettings,
    limits: &Limits,
    stop: &AtomicBool,
) -> Result<Observation, ToolError> {
    let program = match program::read(args, &settings.size) {
        Ok(program) => program,
        Err(error) => {
            let fault = match &error {
                ProgramError::TooLarge { .. } => Fault::Limit,
                _ => Fault::BadArgs,
            };
            let message = format!("the model cannot be read: {error}");
            return Ok(Observation::fault(fault, message));
        }
    };
    let bounds = Bounds {
        nodes_max: limits.nodes_max,
        iterations_max: limits.iterations_max,
        seconds_max: limits.call_ms_max as f64 / 1000.0,
    };
    let solver = Solver { bounds, stop };
    match solver.settle(&program) {
        Ok(answer) => Ok(report::observation(&program, &answer)),
        Err(Unsettled::Limit { solved, which }) => {
            Ok(report::limit(&program, &solved, which, &bounds))
        }
        Err(Unsettled::Failed(message)) => {
            let message = format!(
                "{message}: its numbers are too far apart in size; choose other units"
            );
            Ok(Observation::fault(Fault::Trap, message))
        }
        Err(Unsettled::Stopped) => Err(ToolError::Engine {
            tool: NAME.to_owned(),
            message: format!("no result within call_ms_max = {} ms", limits.call_ms_max),
        }),
    }
}

/// Why there is no answer.
pub(crate) enum Unsettled {
    /// A limit that reproduces was reached.
    Limit { solved: Box<Solved>, which: Status },
    /// HiGHS failed on the numbers; that reproduces too.
    Failed(String),
    /// The clock.
    Stopped,
}

impl From<String> for Unsettled {
    fn from(message: String) -> Self {
        Unsettled::Failed(message)
    }
}

/// What every solve of one call shares.
pub(crate) struct Solver<'s> {
    pub(crate) bounds: Bounds,
    pub(crate) stop: &'s AtomicBool,
}

impl Solver<'_> {
    /// Solves once.
    pub(crate) fn solve(&self, program: &Program) -> Result<Solved, Unsettled> {
        let mut highs = Highs::new(program, &self.bounds, self.stop)?;
        self.run(&mut highs)
    }

    fn run(&self, highs: &mut Highs<'_>) -> Result<Solved, Unsettled> {
        let solved = highs.run()?;
        match solved.status {
            Status::Stopped => Err(Unsettled::Stopped),
            which @ (Status::NodeLimit | Status::IterationLimit) => {
                Err(Unsettled::Limit { solved: Box::new(solved), which })
            }
            _ => Ok(solved),
        }
    }

    /// Solves, and finds out why where there is no optimum.
    fn settle(&self, program: &Program) -> Result<Answer, Unsettled> {
        if let Some(conflict) = conflict::of_bounds(program) {
            return Ok(Answer::Infeasible { conflict, nodes: 0, iterations: 0 });
        }
        let mut highs = Highs::new(program, &self.bounds, self.stop)?;
        let solved = self.run(&mut highs)?;
        let (nodes, iterations) = (solved.nodes, solved.iterations);
        let status = match solved.status {
            Status::InfeasibleOrUnbounded => self.tell_apart(program)?,
            status => status,
        };
        match status {
            Status::Optimal => Ok(Answer::Optimal(solved)),
            Status::Infeasible => {
                let conflict = conflict::find(self, program, &mut highs)?;
                Ok(Answer::Infeasible { conflict, nodes, iterations })
            }
            _ => {
                let ray = self.ray(program, &mut highs)?;
                Ok(Answer::Unbounded { ray, nodes, iterations })
            }
        }
    }

    /// Whether a program has any point at all.
    fn tell_apart(&self, program: &Program) -> Result<Status, Unsettled> {
        let mut feasibility = program.clone();
        feasibility.columns.iter_mut().for_each(|column| column.cost = 0.0);
        let solved = self.solve(&feasibility)?;
        Ok(match solved.status {
            Status::Optimal => Status::Unbounded,
            _ => Status::Infeasible,
        })
    }

    /// A direction without end, of the relaxation where columns are integer.
    fn ray(
        &self,
        program: &Program,
        highs: &mut Highs<'_>,
    ) -> Result<Option<Vec<f64>>, Unsettled> {
        if program.integers() == 0 {
            return Ok(highs.ray()?);
        }
        let relaxed = relaxation(program);
        let mut highs = Highs::new(&relaxed, &self.bounds, self.stop)?;
        let solved = self.run(&mut highs)?;
        Ok(if solved.status == Status::Unbounded { highs.ray()? } else { None })
    }
}

/// The same program with every column continuous.
pub(crate) fn relaxation(program: &Program) -> Program {
    let mut relaxed = program.clone();
    relaxed.columns.iter_mut().for_each(|column| column.integer = false);
    relaxed
}
