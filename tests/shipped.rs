use std::path::Path;

use serde_json::Value;

use crate::world::{Outcome, World, composes, shared_data};

/// What a component that is missing exits with.
const MISSING: i32 = 4;

#[test]
fn every_shipped_environment_passes_its_own_check() {
    let world = World::new();
    let has_python = world.lend_python("the check of environments with Python");
    let Outcome { code, stdout: list, stderr } =
        world.at_root(&["env", "list", "--json"]);
    assert_eq!(code, 0, "{stderr}");
    let mut checked = 0;
    for line in list.lines() {
        let row: Value = serde_json::from_str(line).expect("JSON");
        let name = row["name"].as_str().expect("a name");
        let Outcome { code, stdout, stderr } = world.at_root(&["env", "check", name]);
        if code == MISSING && !has_python {
            continue;
        }
        assert_eq!(code, 0, "{name}\n{stdout}{stderr}");
        checked += 1;
    }
    assert!(checked >= 1, "multihop-qa is shipped");
}

#[test]
fn multihop_qa_is_as_large_as_it_says_and_needs_several_hops() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let lines = |name: &str| {
        let text = std::fs::read_to_string(root.join(name)).expect(name);
        text.lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
            .collect::<Vec<_>>()
    };
    assert!(lines("corpora/multihop-qa/documents.jsonl").len() >= 400);
    let gold = lines("environments/multihop-qa/gold.jsonl");
    assert!(gold.len() >= 120);
    for hops in [2, 3, 4] {
        let count = gold.iter().filter(|g| g["groups"]["hops"] == hops).count();
        assert!(count >= 20, "{count} questions of {hops} hops");
    }
    for kind in ["bridge", "comparison", "intersection", "temporal"] {
        let count = gold.iter().filter(|g| g["groups"]["type"] == kind).count();
        assert!(count >= 10, "{count} questions of type {kind}");
    }
}

#[test]
fn the_corpus_is_what_its_program_composes() {
    composes("compose_multihop");
}

#[test]
fn hotpotqa_is_imported_and_the_baseline_answers_all_of_it() {
    let Some(data) = shared_data("hotpotqa") else { return };
    let world = World::new();
    let file = data.join("multihop/hotpotqa_distractor_dev.jsonl");
    let file = file.to_str().expect("a path of UTF-8");
    world.ok(&["import", "hotpotqa", file, "--out", "E"]);
    let summary = world.ok(&["run", "E", "-m", "baseline", "-c", "64", "-o", "runs/a"]);
    assert!(summary.contains("183 answered"), "{summary}");
    assert!(summary.contains("supporting recall"), "{summary}");
    // One gold answer is spelt as no document spells it; that is for the check to find.
    let checked = world.plumb(&["env", "check", "E"]).stdout;
    assert!(checked.contains("wrong answers wrong   183"), "{checked}");
    world.fails(&["import", "hotpotqa", file, "--out", "E"], 2, &["E"]);
}
