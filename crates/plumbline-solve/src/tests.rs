use plumbline::program::{Column, Program, Row, Sense, Size, lp};
use plumbline::{Fault, Limits, Observation};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{SolveSettings, answer};

fn limits() -> Limits {
    Limits { nodes_max: 2_000, iterations_max: 100_000, ..Limits::default() }
}

fn solve(args: &Value) -> Observation {
    answer(args, &SolveSettings::default(), &limits()).expect("no clock strikes")
}

fn solve_lp(text: &str) -> Observation {
    solve(&json!({ "lp": text }))
}

#[test]
fn a_linear_program_comes_with_duals_and_slacks() {
    let solved = solve_lp(
        "maximize\n profit: 3 x + 5 y\nsubject to\n a: x <= 4\n b: 2 y <= 12\n c: 3 x + 2 y <= 18\nend",
    );
    let data = solved.data();
    assert_eq!(data["status"], "optimal");
    assert_eq!(data["objective"], json!(36));
    assert_eq!(data["values"], json!({"x": 2, "y": 6}));
    assert_eq!(data["constraints"]["a"], json!({"activity": 2, "slack": 2, "dual": 0}));
    assert_eq!(data["constraints"]["b"]["dual"], json!(1.5));
    assert_eq!(data["constraints"]["c"], json!({"activity": 18, "slack": 0, "dual": 1}));
    assert_eq!(data.get("bound"), None);
    assert_eq!(
        solved.text(),
        "status: optimal\nobjective: 36 (the maximum)\nvariables:\n  x = 2\n  y = 6\n\
         constraints:\n  a: 2 <= 4, slack 2\n  b: 12 <= 12, binding, dual 1.5\n  \
         c: 18 <= 18, binding, dual 1"
    );
}

#[test]
fn an_integer_program_comes_with_bound_and_gap() {
    let model = json!({
        "sets": {"I": ["a", "b", "c", "d"]},
        "parameters": {"value": [16, 19, 23, 28], "weight": [2, 3, 4, 5]},
        "variables": {"take": {"over": ["I"], "type": "binary"}},
        "objective": {"maximize": "sum(i in I) value[i]*take[i]"},
        "constraints": ["sack: sum(i in I) weight[i]*take[i] <= 7"]
    });
    let solved = solve(&json!({ "model": model }));
    assert_eq!(solved.data()["objective"], json!(44));
    assert_eq!(solved.data()["bound"], json!(44));
    assert_eq!(solved.data()["gap"], json!(0));
    assert_eq!(solved.data()["integers"], json!(4));
    assert_eq!(solved.data().get("reduced_costs"), None);
}

#[test]
fn a_contradiction_is_named() {
    let solved = solve_lp(
        "max x + y + z\nst\n low: x + y >= 10\n high: x + 2 y <= 8\n other: z <= 3\nbounds\n x <= 4\nend",
    );
    assert_eq!(solved.data()["status"], "infeasible");
    let conflict = &solved.data()["conflict"];
    let mut names: Vec<&str> = conflict["constraints"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|name| name.as_str().expect("a name"))
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["high", "low"], "{conflict}");
    assert!(solved.text().contains("low: x + y >= 10"), "{}", solved.text());

    let by_integrality =
        solve_lp("max x\nst\n even: 2 x + 2 y = 7\n idle: x <= 3\ngeneral\n x y\nend");
    assert_eq!(by_integrality.data()["conflict"]["constraints"], json!(["even"]));

    let by_bounds = solve_lp("max x\nst\n x <= 9\nbounds\n 4 <= x <= 3\nend");
    assert_eq!(
        by_bounds.data()["conflict"]["bounds"],
        json!([{"variable": "x", "side": "both"}])
    );
    let no_whole =
        solve_lp("max x\nst\n x <= 9\nbounds\n 1.2 <= x <= 1.8\ngeneral\n x\nend");
    assert_eq!(no_whole.data()["status"], "infeasible");
    let by_constant = solve(&json!({"model": {"variables": {"x": {}},
        "objective": {"maximize": "0"}, "constraints": ["2 <= 1"]}}));
    assert_eq!(by_constant.data()["status"], "infeasible");
}

#[test]
fn what_nothing_bounds_comes_with_a_direction() {
    let solved = solve_lp("max x + y\nst\n x - y <= 2\n z <= 3\nend");
    assert_eq!(solved.data()["status"], "unbounded");
    let ray = &solved.data()["ray"];
    assert!(ray["y"].as_f64().expect("a number") > 0.0, "{ray}");
    let integer = solve_lp("max x + y\nst\n x - y <= 2\ngeneral\n x y\nend");
    assert_eq!(integer.data()["status"], "unbounded");
    assert!(integer.data()["ray"]["y"].as_f64().is_some(), "{integer:?}");
}

#[test]
fn what_cannot_be_read_is_a_fault_and_what_is_too_large_another() {
    let fault = |args: &Value| solve(args).as_fault();
    assert_eq!(fault(&json!({"lp": "maximise profit"})), None, "one variable, no rows");
    assert_eq!(fault(&json!({"lp": "profit = 3x"})), Some(Fault::BadArgs));
    assert_eq!(fault(&json!({"lp": "max x\nend", "mps": ""})), Some(Fault::BadArgs));
    assert_eq!(fault(&json!({})), Some(Fault::BadArgs));
    assert_eq!(fault(&json!({"mps": "ROWS\n"})), Some(Fault::BadArgs));
    let wide: Vec<String> = (0..6_000).map(|i| format!("x{i}")).collect();
    let wide = format!("max {}\nend", wide.join("+"));
    assert_eq!(fault(&json!({"lp": wide})), Some(Fault::Limit));
    let long = "x".repeat(2 * 1024 * 1024);
    assert_eq!(fault(&json!({"lp": long})), Some(Fault::Limit));
}

/// A market split instance (Cornuéjols and Dawande, 1998): four equations over thirty binary
/// columns, which branch and bound cannot cut down.
pub(crate) fn market_split() -> String {
    let mut state = 7u64;
    let mut draw = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) % 100
    };
    let mut text = "min s1 + s2 + s3 + s4 + t1 + t2 + t3 + t4\nst\n".to_owned();
    let names: Vec<String> = (1..=30).map(|j| format!("x{j}")).collect();
    for row in 1..=4 {
        let coefficients: Vec<u64> = names.iter().map(|_| draw()).collect();
        let half: u64 = coefficients.iter().sum::<u64>() / 2;
        let terms: Vec<String> = coefficients
            .iter()
            .zip(&names)
            .map(|(c, name)| format!("{c} {name}"))
            .collect();
        text += &format!(" {} + s{row} - t{row} = {half}\n", terms.join(" + "));
    }
    text + "bin\n " + &names.join("\n ") + "\nend\n"
}

#[test]
fn limits_reproduce() {
    let endless = json!({ "lp": market_split() });
    let one = solve(&endless);
    assert_eq!(one.as_fault(), Some(Fault::Limit), "{one:?}");
    assert!(one.text().contains("2000 branch-and-bound nodes"), "{}", one.text());
    assert!(one.text().contains("the best objective so far is"), "{}", one.text());
    assert_eq!(one, solve(&endless));

    let few = Limits { iterations_max: 500, ..limits() };
    let settings = SolveSettings::default();
    let two = answer(&endless, &settings, &few).expect("no clock strikes");
    assert!(two.text().contains("500 simplex iterations"), "{}", two.text());
    assert_eq!(two, answer(&endless, &settings, &few).expect("no clock strikes"));

    let none = Limits { iterations_max: 1, ..limits() };
    let lp = json!({"lp": "max 3 x + 5 y\nst\n 2 y + x <= 12\n 3 x + 2 y <= 18\nend"});
    let three = answer(&lp, &settings, &none).expect("no clock strikes");
    assert_eq!(three.as_fault(), Some(Fault::Limit), "{three:?}");
}

#[test]
fn the_clock_is_no_observation() {
    let hurried = Limits { call_ms_max: 200, nodes_max: 1 << 40, ..limits() };
    let hurried = Limits { iterations_max: 1 << 40, ..hurried };
    let endless = json!({ "lp": market_split() });
    let started = std::time::Instant::now();
    let error =
        answer(&endless, &SolveSettings::default(), &hurried).expect_err("too slow");
    assert!(error.to_string().contains("call_ms_max = 200"), "{error}");
    assert!(started.elapsed().as_secs() < 20);
}

fn programs() -> impl Strategy<Value = Program> {
    let column = (-9i32..10, 0i32..4);
    let row = (proptest::collection::vec(-5i32..6, 4), -3i32..12, 0u8..3);
    (
        any::<bool>(),
        proptest::collection::vec(column, 4),
        proptest::collection::vec(row, 1..4),
    )
        .prop_map(|(maximize, columns, rows)| Program {
            sense: if maximize { Sense::Maximize } else { Sense::Minimize },
            offset: 0.0,
            columns: (0..)
                .zip(columns)
                .map(|(at, (cost, upper))| Column {
                    name: format!("x{at}"),
                    cost: f64::from(cost),
                    lower: 0.0,
                    upper: f64::from(upper),
                    integer: true,
                })
                .collect(),
            rows: (0..)
                .zip(rows)
                .map(|(at, (terms, limit, kind))| {
                    let limit = f64::from(limit);
                    let terms = (0..).zip(terms).filter(|(_, value)| *value != 0);
                    Row {
                        name: format!("c{at}"),
                        lower: if kind == 0 { f64::NEG_INFINITY } else { limit },
                        upper: if kind == 1 { f64::INFINITY } else { limit },
                        terms: terms.map(|(column, v)| (column, f64::from(v))).collect(),
                    }
                })
                .collect(),
        })
}

/// The best objective over every whole point: 4^4 of them at most.
fn enumerated(program: &Program) -> Option<f64> {
    let mut best: Option<f64> = None;
    for code in 0..256u32 {
        let point: Vec<f64> =
            (0..4).map(|at| f64::from((code >> (2 * at)) & 3)).collect();
        if program.violation(&point, 1e-9).is_some() {
            continue;
        }
        let objective = program.objective(&point);
        if best.is_none_or(|best| program.sense.prefers(objective, best)) {
            best = Some(objective);
        }
    }
    best
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn small_integer_programs_come_to_what_enumeration_finds(program in programs()) {
        let args = json!({ "lp": lp::write(&program) });
        let solved = solve(&args);
        let expected = enumerated(&program);
        let status = if expected.is_some() { "optimal" } else { "infeasible" };
        prop_assert_eq!(&solved.data()["status"], status, "{:?}", solved);
        prop_assert_eq!(solved.data().get("objective").and_then(Value::as_f64), expected);
        // Bit for bit, and on another thread too.
        prop_assert_eq!(&solve(&args), &solved);
        let elsewhere = std::thread::spawn(move || solve(&args)).join().expect("no panic");
        prop_assert_eq!(elsewhere, solved);
    }

    #[test]
    fn a_conflict_is_infeasible_by_itself(program in programs()) {
        let solved = solve(&json!({ "lp": lp::write(&program) }));
        if solved.data()["status"] != "infeasible" {
            return Ok(());
        }
        let names = solved.data()["conflict"]["constraints"].as_array().expect("a list");
        let part = Program {
            rows: program.rows.iter().filter(|row| names.contains(&json!(row.name))).cloned().collect(),
            ..program.clone()
        };
        prop_assert_eq!(enumerated(&part), None, "{:?}", solved);
    }

    /// What a model may send: whatever it is, the process lives and the next call works.
    #[test]
    fn no_text_breaks_the_solver(
        text in "(max|min) [xyz0-9 +-]{1,20}\nst\n([a-z0-9. +<=>-]{1,20}\n){0,4}\
                 (bounds\n[a-z0-9 <=>-]{1,12}\n)?(general\n[xyz ]{1,4}\n)?end"
    ) {
        let observed = solve_lp(&text);
        if let Some(fault) = observed.as_fault() {
            prop_assert!(matches!(fault, Fault::BadArgs | Fault::Limit | Fault::Trap));
        }
    }
}

#[test]
fn a_program_of_the_largest_size_is_taken() {
    let size = Size::default();
    let terms: Vec<String> = (0..size.columns_max).map(|i| format!("x{i}")).collect();
    let text = format!("max {0}\nst\n c: {0} <= 7\nend", terms.join("\n + "));
    assert_eq!(solve_lp(&text).data()["objective"], json!(7));
}
