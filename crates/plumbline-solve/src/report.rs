//! A result as the model reads it, and the same as data.

use std::fmt::Write;

use plumbline::program::{Program, Row, Sense};
use plumbline::{Fault, Observation};
use serde_json::{Map, Number, Value, json};

use crate::highs::{Bounds, Conflict, Side, Solved, Status};

/// Values and constraints that the text lists; the data has all of them.
const LISTED_MAX: usize = 40;
/// Terms of a constraint that the text writes out.
const TERMS_MAX: usize = 8;
/// What a solver's point may violate without a word, absolute or relative.
const TOLERANCE: f64 = 1e-5;
/// Closer to a whole number than this is that number: it is what solvers round.
const WHOLE: f64 = 1e-9;

/// What a model came to.
pub(crate) enum Answer {
    Optimal(Solved),
    Infeasible { conflict: Conflict, nodes: u64, iterations: u64 },
    Unbounded { ray: Option<Vec<f64>>, nodes: u64, iterations: u64 },
}

/// The observation of an answer.
pub(crate) fn observation(program: &Program, answer: &Answer) -> Observation {
    let (text, mut data) = match answer {
        Answer::Optimal(solved) => optimal(program, solved),
        Answer::Infeasible { conflict, .. } => infeasible(program, conflict),
        Answer::Unbounded { ray, .. } => unbounded(program, ray.as_deref()),
    };
    let (nodes, iterations) = match answer {
        Answer::Optimal(solved) => (solved.nodes, solved.iterations),
        Answer::Infeasible { nodes, iterations, .. }
        | Answer::Unbounded { nodes, iterations, .. } => (*nodes, *iterations),
    };
    for (name, value) in [
        ("nodes", json!(nodes)),
        ("iterations", json!(iterations)),
        ("columns", json!(program.columns.len())),
        ("rows", json!(program.rows.len())),
        ("integers", json!(program.integers())),
    ] {
        data.insert(name.to_owned(), value);
    }
    Observation::Output { text, data: Value::Object(data) }
}

/// The fault of a limit, with what was found before it.
pub(crate) fn limit(
    program: &Program,
    solved: &Solved,
    which: Status,
    bounds: &Bounds,
) -> Observation {
    let reached = match which {
        Status::NodeLimit => format!("{} branch-and-bound nodes", bounds.nodes_max),
        _ => format!("{} simplex iterations", bounds.iterations_max),
    };
    let found = match &solved.point {
        Some(point) => {
            let objective = number(program.objective(&rounded(program, point)));
            let bound = solved.bound.filter(|bound| bound.is_finite());
            let bound = bound.map_or_else(String::new, |bound| {
                format!("; nothing is better than {}", number(bound))
            });
            format!("the best objective so far is {objective}{bound}")
        }
        None => "no feasible point was found".to_owned(),
    };
    let message = format!(
        "the solver stopped after {reached} without an optimum: {found}. Make the model \
         smaller or tighter: remove symmetric choices, bound the variables"
    );
    Observation::fault(Fault::Limit, message)
}

fn optimal(program: &Program, solved: &Solved) -> (String, Map<String, Value>) {
    let raw = solved.point.clone().unwrap_or_else(|| vec![0.0; program.columns.len()]);
    let point = rounded(program, &raw);
    let objective = whole(program.objective(&point));
    let mut data = Map::new();
    data.insert("status".to_owned(), json!("optimal"));
    data.insert("sense".to_owned(), json!(program.sense));
    data.insert("objective".to_owned(), number(objective));
    let mut text = format!(
        "status: optimal\nobjective: {} ({})\nvariables:\n",
        number(objective),
        match program.sense {
            Sense::Minimize => "the minimum",
            Sense::Maximize => "the maximum",
        }
    );
    let mut values = Map::new();
    for (column, value) in program.columns.iter().zip(&point) {
        values.insert(column.name.clone(), number(*value));
    }
    list(&mut text, "variables that are 0", |text| {
        let shown =
            program.columns.iter().zip(&point).filter(|(_, value)| **value != 0.0);
        for (column, value) in shown.clone().take(LISTED_MAX) {
            // A String takes whatever is written to it.
            let _ = writeln!(text, "  {} = {}", column.name, number(*value));
        }
        (shown.clone().count().saturating_sub(LISTED_MAX), point.len() - shown.count())
    });
    data.insert("values".to_owned(), Value::Object(values));
    constraints(program, solved, &point, &mut text, &mut data);
    if let Some(duals) = &solved.duals {
        let costs = program.columns.iter().zip(&duals.columns);
        let costs =
            costs.map(|(column, cost)| (column.name.clone(), number(whole(*cost))));
        data.insert("reduced_costs".to_owned(), Value::Object(costs.collect()));
    }
    if let Some(bound) = solved.bound {
        let gap = (objective - bound).abs() / objective.abs().max(1.0);
        data.insert("bound".to_owned(), number(whole(bound)));
        data.insert("gap".to_owned(), number(if gap < WHOLE { 0.0 } else { gap }));
    }
    if let Some(violation) = program.violation(&point, TOLERANCE) {
        let _ = writeln!(text, "warning: inexact, {violation}; choose other units");
        data.insert("inexact".to_owned(), json!(violation));
    }
    (text.trim_end().to_owned(), data)
}

fn constraints(
    program: &Program,
    solved: &Solved,
    point: &[f64],
    text: &mut String,
    data: &mut Map<String, Value>,
) {
    let mut constraints = Map::new();
    if !program.rows.is_empty() {
        text.push_str("constraints:\n");
    }
    for (at, row) in program.rows.iter().enumerate() {
        let activity = whole(row.activity(point));
        let slack = slack(row, activity);
        let mut entry = Map::new();
        entry.insert("activity".to_owned(), number(activity));
        entry.insert("slack".to_owned(), slack.map_or(Value::Null, number));
        let dual = solved.duals.as_ref().map(|duals| whole(duals.rows[at]));
        if let Some(dual) = dual {
            entry.insert("dual".to_owned(), number(dual));
        }
        constraints.insert(row.name.clone(), Value::Object(entry));
        if at < LISTED_MAX {
            let slack = match slack {
                Some(0.0) => ", binding".to_owned(),
                Some(slack) => format!(", slack {}", number(slack)),
                None => String::new(),
            };
            let dual = dual.filter(|dual| *dual != 0.0);
            let dual =
                dual.map_or_else(String::new, |dual| format!(", dual {}", number(dual)));
            let limits = limits(row);
            let _ = writeln!(
                text,
                "  {}: {} {limits}{slack}{dual}",
                row.name,
                number(activity)
            );
        }
    }
    if program.rows.len() > LISTED_MAX {
        let _ = writeln!(text, "  and {} more", program.rows.len() - LISTED_MAX);
    }
    data.insert("constraints".to_owned(), Value::Object(constraints));
}

/// Lists things, and says how many are not listed.
fn list(text: &mut String, zero: &str, each: impl FnOnce(&mut String) -> (usize, usize)) {
    let (more, zeros) = each(text);
    if more > 0 {
        let _ = writeln!(text, "  and {more} more");
    }
    if zeros > 0 {
        let _ = writeln!(text, "  ({zeros} {zero})");
    }
}

fn infeasible(program: &Program, conflict: &Conflict) -> (String, Map<String, Value>) {
    let mut text = "status: infeasible, no point satisfies every constraint\n".to_owned();
    if !conflict.rows.is_empty() || !conflict.columns.is_empty() {
        text.push_str("these contradict each other:\n");
    }
    let mut rows = Vec::new();
    for row in &conflict.rows {
        let row = &program.rows[*row];
        rows.push(json!(row.name));
        if rows.len() <= LISTED_MAX {
            let _ =
                writeln!(text, "  {}: {} {}", row.name, terms(program, row), limits(row));
        }
    }
    let mut bounds = Vec::new();
    for (column, side) in &conflict.columns {
        let column = &program.columns[*column];
        let (lower, upper) = (number(column.lower), number(column.upper));
        let said = match side {
            Side::Lower => format!("{} >= {lower}", column.name),
            Side::Upper => format!("{} <= {upper}", column.name),
            Side::Both => format!("{lower} <= {} <= {upper}", column.name),
        };
        let sides = match side {
            Side::Lower => json!("lower"),
            Side::Upper => json!("upper"),
            Side::Both => json!("both"),
        };
        if bounds.len() < LISTED_MAX {
            let _ = writeln!(text, "  bound {said}");
        }
        bounds.push(json!({ "variable": column.name, "side": sides }));
    }
    let conflict = json!({ "constraints": rows, "bounds": bounds });
    let mut data = Map::new();
    data.insert("status".to_owned(), json!("infeasible"));
    data.insert("conflict".to_owned(), conflict);
    (text.trim_end().to_owned(), data)
}

fn unbounded(program: &Program, ray: Option<&[f64]>) -> (String, Map<String, Value>) {
    let mut data = Map::new();
    data.insert("status".to_owned(), json!("unbounded"));
    let mut text = "status: unbounded, the objective improves without end\n".to_owned();
    let Some(ray) = ray else {
        return (text.trim_end().to_owned(), data);
    };
    let largest = ray.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    let scale = if largest > 0.0 { largest } else { 1.0 };
    let mut direction = Map::new();
    for (column, value) in program.columns.iter().zip(ray) {
        let value = whole(value / scale);
        if value != 0.0 {
            direction.insert(column.name.clone(), number(value));
        }
    }
    text.push_str("along this direction; a constraint that stops it is missing:\n");
    for (name, value) in direction.iter().take(LISTED_MAX) {
        let sign = if value.as_f64().is_some_and(|value| value < 0.0) { "" } else { "+" };
        let _ = writeln!(text, "  {name} {sign}{value}");
    }
    data.insert("ray".to_owned(), Value::Object(direction));
    (text.trim_end().to_owned(), data)
}

/// A constraint's terms, the first few.
fn terms(program: &Program, row: &Row) -> String {
    let mut text = String::new();
    for (at, (column, coefficient)) in row.terms.iter().take(TERMS_MAX).enumerate() {
        let name = &program.columns[*column].name;
        let sign = match (at, *coefficient < 0.0) {
            (0, false) => "",
            (0, true) => "-",
            (_, false) => " + ",
            (_, true) => " - ",
        };
        let size = coefficient.abs();
        let _ = match size == 1.0 {
            true => write!(text, "{sign}{name}"),
            false => write!(text, "{sign}{} {name}", number(size)),
        };
    }
    if row.terms.len() > TERMS_MAX {
        text.push_str(" + …");
    }
    if text.is_empty() { "0".to_owned() } else { text }
}

fn limits(row: &Row) -> String {
    let (lower, upper) = (row.lower, row.upper);
    match (lower.is_finite(), upper.is_finite()) {
        (true, true) if lower == upper => format!("= {}", number(upper)),
        (true, true) => format!("in [{}, {}]", number(lower), number(upper)),
        (true, false) => format!(">= {}", number(lower)),
        (false, true) => format!("<= {}", number(upper)),
        (false, false) => "free".to_owned(),
    }
}

/// The distance to the nearest limit; `None` where there is none.
fn slack(row: &Row, activity: f64) -> Option<f64> {
    let room = (row.upper - activity).min(activity - row.lower);
    let near = TOLERANCE * 0.1 * activity.abs().max(1.0);
    room.is_finite().then(|| if room.abs() <= near { 0.0 } else { whole(room) })
}

/// A solver's point with integer columns made whole.
fn rounded(program: &Program, point: &[f64]) -> Vec<f64> {
    let round = |(value, integer): (f64, bool)| {
        if integer { value.round() + 0.0 } else { whole(value) }
    };
    let columns = program.columns.iter();
    point.iter().zip(columns).map(|(value, c)| round((*value, c.integer))).collect()
}

/// The whole number that a value is but for the noise of arithmetic, or the value.
fn whole(value: f64) -> f64 {
    let round = value.round();
    let near = (value - round).abs() <= WHOLE * value.abs().max(1.0);
    // Adding zero turns minus zero into zero.
    if near { round + 0.0 } else { value }
}

/// A number as JSON: whole ones without a point; infinities as text.
fn number(value: f64) -> Value {
    const EXACT_MAX: f64 = 9e15;
    if value.is_finite() && value.fract() == 0.0 && value.abs() < EXACT_MAX {
        return json!(value as i64);
    }
    match Number::from_f64(value) {
        Some(number) => Value::Number(number),
        None if value > 0.0 => json!("inf"),
        None => json!("-inf"),
    }
}
