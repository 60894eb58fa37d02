use serde_json::Value;

use crate::world::World;

#[test]
fn a_run_is_recorded_labelled_shown_and_replayed() {
    let world = World::new();
    let script = world.right_script();
    let summary = world.ok(&["run", "world", "-m", &script, "-o", "runs/a"]);
    assert!(summary.contains("4 answered"), "{summary}");
    assert!(summary.contains("1.000 [1.000, 1.000]"), "{summary}");
    assert!(summary.contains("hops 2"), "{summary}");

    let labels = world.ok(&["label", "runs/a", "--json"]);
    let labels: Value = serde_json::from_str(&labels).expect("JSON");
    let view = &labels["labels"]["view strict-local"];
    assert_eq!(view["bad"], 0, "nothing in these trajectories is bad: {labels}");
    assert_eq!(labels["labels"]["answer-correct@2"]["good"], 4, "{labels}");

    let list = world.ok(&["show", "runs/a"]);
    assert!(list.contains("q1:3"), "four steps, numbered from 0: {list}");
    let shown = world.ok(&["show", "runs/a", "q1"]);
    for word in
        ["Where was the builder", "gold: Felling", "step 3  [good]", "answer-support"]
    {
        assert!(shown.contains(word), "{word:?} is missing in\n{shown}");
    }

    let replayed = world.ok(&["replay", "runs/a", "--execute"]);
    assert!(replayed.contains("no divergence"), "{replayed}");
    assert!(
        !replayed.contains(" 0 pieces of evidence"),
        "evidence is executed: {replayed}"
    );
}

#[test]
fn a_changed_document_is_a_divergence_that_names_the_first_step() {
    let world = World::new();
    let script = world.right_script();
    world.ok(&["run", "world", "-m", &script, "-o", "runs/a"]);
    // As many words as before, so that no other document's score changes: q1 never reads
    // this one, q3 opens it.
    world.edit(
        "corpus/documents.jsonl",
        "is a town on the River",
        "is a burgh on the River",
    );
    world.fails(&["replay", "runs/a", "--execute"], 1, &["task q3, step", "burgh"]);
    world.fails(&["replay", "runs/a"], 1, &["the data of these tools", "search"]);
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let world = World::new();
    for run in ["runs/a", "runs/b"] {
        let args = [
            "run", "world", "-m", "baseline", "-r", "3", "-c", "1", "--seed", "7", "-o",
            run,
        ];
        world.ok(&args);
    }
    assert_eq!(world.read("runs/a/steps.jsonl"), world.read("runs/b/steps.jsonl"));
}

#[test]
fn many_at_once_give_the_same_trees_as_one_at_a_time() {
    let world = World::new();
    let script = world.right_script();
    world.ok(&["run", "world", "-m", &script, "-r", "4", "-c", "1", "-o", "runs/one"]);
    world.ok(&["run", "world", "-m", &script, "-r", "4", "-c", "16", "-o", "runs/many"]);
    let outcomes = |run: &str| {
        let rows = world.ok(&["show", run, "--json"]);
        let mut rows: Vec<String> = rows
            .lines()
            .map(|row| {
                let row: Value = serde_json::from_str(row).expect("JSON");
                let task = row["trajectory"].as_str().expect("a name").split(':').next();
                format!("{task:?} {} {}", row["answer"], row["ending"])
            })
            .collect();
        rows.sort();
        rows
    };
    assert_eq!(outcomes("runs/one").len(), 16);
    assert_eq!(outcomes("runs/one"), outcomes("runs/many"));
    world.ok(&["replay", "runs/many", "--execute"]);
}

#[test]
fn the_baseline_answers_by_itself() {
    let world = World::new();
    world.ok(&["run", "world", "-m", "baseline", "-o", "runs/a"]);
    let rows = world.ok(&["show", "runs/a", "--json"]);
    let right = rows.lines().filter(|row| row.contains("\"correct\":true")).count();
    assert!(right >= 1, "a control that answers nothing is none:\n{rows}");
}

#[test]
fn a_finished_run_is_kept_and_a_dry_run_makes_nothing() {
    let world = World::new();
    let script = world.right_script();
    let args = ["run", "world", "-m", &script, "-o", "runs/a"];
    world.ok(&args);
    let before = world.read("runs/a/steps.jsonl");
    let again = world.ok(&args);
    assert!(again.contains("4 kept"), "{again}");
    assert_eq!(before, world.read("runs/a/steps.jsonl"));
    world.ok(&["run", "world", "-m", &script, "-o", "runs/dry", "--dry-run"]);
    assert!(!world.path("runs/dry").exists());
}

#[test]
fn labels_are_made_once_and_again_only_for_trees_that_grew() {
    let world = World::new();
    let script = world.right_script();
    world.ok(&["run", "world", "-m", &script, "-o", "runs/a"]);
    world.ok(&["label", "runs/a"]);
    let file = "runs/a/verdicts/answer-correct@2.jsonl";
    let before = world.read(file);
    world.ok(&["label", "runs/a"]);
    assert_eq!(before, world.read(file));
}

#[test]
fn steps_hold_no_gold() {
    let world = World::new();
    // An answer that stands in no document: only the gold file has it.
    world.edit("world/gold.jsonl", "\"91 km\"", "\"ninety-one kilometres\"");
    world.ok(&["run", "world", "-m", "baseline", "-o", "runs/a"]);
    assert!(!world.read("runs/a/steps.jsonl").contains("ninety-one"));
    assert!(!world.read("runs/a/run.json").contains("ninety-one"));
}

#[test]
fn settings_come_from_manifest_then_file_then_flags() {
    let world = World::new();
    let script = world.right_script();
    world.write("settings.toml", "samples = 2\nsteps_max = 4\nseed = 5\n");
    world.ok(&[
        "run",
        "world",
        "-m",
        &script,
        "--config",
        "settings.toml",
        "--seed",
        "6",
        "-o",
        "runs/a",
    ]);
    let header: Value =
        serde_json::from_str(&world.read("runs/a/run.json")).expect("JSON");
    let settings = &header["settings"];
    assert_eq!(settings["samples"], 2);
    assert_eq!(settings["seed"], 6, "a flag overrules the file");
    assert_eq!(settings["limits"]["steps_max"], 4, "the file overrules the manifest");
    assert_eq!(settings["limits"]["calls_max"], 16, "what nobody names has its default");
}

#[test]
fn tools_can_be_listed_and_called_by_hand() {
    let world = World::new();
    let list = world.ok(&["tool", "list", "world"]);
    assert!(list.contains("search") && list.contains("open"), "{list}");
    let found = world.ok(&[
        "tool",
        "call",
        "search",
        r#"{"query": "lighthouse"}"#,
        "--environment",
        "world",
    ]);
    assert!(found.contains("Orrin"), "{found}");
    let called = |args| ["tool", "call", "search", args, "--environment", "world"];
    world.fails(&called(r#"{"q": 1}"#), 1, &["BadArgs"]);
    world.fails(&called("{"), 2, &["not JSON"]);
}

#[test]
fn an_environment_is_checked_against_its_own_gold() {
    let world = World::new();
    let checked = world.ok(&["env", "check", "world"]);
    assert!(checked.contains("gold answers right    4"), "{checked}");
    assert!(checked.contains("wrong answers wrong   4"), "{checked}");
    world.edit("world/gold.jsonl", "\"mill\",\"voss\"", "\"mill\",\"nobody\"");
    world.fails(&["env", "check", "world"], 1, &["task q1", "nobody"]);
}
