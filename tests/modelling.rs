//! The world of optimisation models: shipped tasks, imported ones, and a scripted run.

use std::path::Path;

use serde_json::Value;

use crate::world::{World, composes, shared_data};

#[test]
fn a_scripted_run_is_labelled_replayed_and_audited() {
    let world = World::new();
    let run = world.path("runs/models");
    let run = run.to_str().expect("a path of UTF-8");
    let policy = "scripted:tests/cases/or-modelling.jsonl";
    let tasks = "tests/cases/or-modelling-tasks.jsonl";
    world.ok_at_root(&["run", "or-modelling", "-m", policy, "--tasks", tasks, "-o", run]);
    let labels: Value =
        serde_json::from_str(&world.ok_at_root(&["label", run, "--json"])).expect("JSON");
    let count = |verifier: &str, label: &str| -> u64 {
        let rows = labels["labels"].as_object().expect("a row a verifier");
        let row = rows.iter().find(|(name, _)| name.starts_with(verifier));
        row.and_then(|(_, row)| row[label].as_u64()).expect("a count")
    };
    assert!(count("model-optimum", "good") >= 3, "{labels}");
    assert!(count("model-solvable", "bad") >= 1, "{labels}");
    assert!(count("model-solvable", "neutral") >= 1, "{labels}");
    assert!(count("constraint-missing", "bad") >= 1, "{labels}");
    assert!(count("optimum-cut-off", "bad") >= 1, "{labels}");
    assert!(count("objective-matches", "bad") >= 1, "{labels}");
    assert!(count("answer-correct", "good") >= 3, "{labels}");
    assert!(count("answer-correct", "bad") >= 2, "{labels}");
    world.ok_at_root(&["replay", run, "--execute"]);
}

#[test]
fn the_tool_prints_a_structured_result() {
    let world = World::new();
    let args = r#"{"lp":"max 3 x + 2 y\nst\n c1: x + y <= 4\n c2: x + 3 y <= 6\nend"}"#;
    let printed = world.ok_at_root(&["tool", "call", "solve", args]);
    assert!(printed.contains("objective: 12 (the maximum)"), "{printed}");
    let json = world.ok_at_root(&["tool", "call", "solve", args, "--json"]);
    let observation: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(observation["data"]["constraints"]["c1"]["dual"], 3);
}

#[test]
fn or_modelling_is_as_large_as_it_says_and_what_its_program_composes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let gold = std::fs::read_to_string(root.join("environments/or-modelling/gold.jsonl"));
    let gold: Vec<Value> = gold
        .expect("the gold")
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert!(gold.len() >= 40, "{} tasks", gold.len());
    for kind in ["continuous", "integer", "mixed"] {
        let of_kind = gold.iter().filter(|g| g["groups"]["integrality"] == kind).count();
        assert!(of_kind >= 4, "{of_kind} tasks are {kind}");
    }
    composes("compose_models");
}

#[test]
fn published_problems_are_imported() {
    let Some(data) = shared_data("optimisation problems") else { return };
    let world = World::new();
    for (format, file, count, left_out) in [
        ("nl4opt", "nl4opt_245.jsonl", 228, 17),
        ("nlp4lp", "nlp4lp_269.jsonl", 241, 28),
        ("mamo", "mamo_easylp_fixed_642.jsonl", 642, 0),
    ] {
        let file = data.join("or").join(file);
        let file = file.to_str().expect("a path of UTF-8");
        let report = world.ok(&["import", format, file, "--out", format, "--json"]);
        let report: Value = serde_json::from_str(&report).expect("JSON");
        let counts = (report["questions"].clone(), report["unanswerable"].clone());
        assert_eq!(counts, (count.into(), left_out.into()), "{format}");
        let checked = world.ok(&["env", "check", format, "--json"]);
        let checked: Value = serde_json::from_str(&checked).expect("JSON");
        assert_eq!(checked["gold_answers_right"], count, "{format}");
        assert_eq!(checked["wrong_answers_wrong"], count, "{format}");
    }
}
