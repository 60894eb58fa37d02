use std::path::Path;

use serde_json::Value;

use crate::world::{World, composes, shared_data};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn a_scripted_run_is_labelled_and_replays() {
    let world = World::new();
    if !world.lend_python("a scripted run of data-analysis") {
        return;
    }
    let run = world.path("run");
    let run = run.to_str().expect("UTF-8");
    let policy = "scripted:tests/cases/data-analysis.jsonl";
    let args = ["run", "data-analysis", "-m", policy, "-n", "8", "-o", run];
    let summary = world.ok_at_root(&args);
    assert!(summary.contains("8 answered"), "{summary}");
    world.ok_at_root(&["label", run]);
    let replayed = world.ok_at_root(&["replay", run, "--execute"]);
    assert!(replayed.contains("no divergence"), "{replayed}");
    // What each verifier called good and bad, in the order of the steps.
    let labels = |verifier: &str, label: &str| -> Vec<String> {
        let folder = std::fs::read_dir(world.path("run/verdicts")).expect("verdicts");
        let names = folder.map(|entry| entry.expect("an entry").file_name());
        let mut names = names.map(|name| name.to_string_lossy().into_owned());
        let file = names.find(|name| name.starts_with(&format!("{verifier}@")));
        let file = file.expect("it judged the run");
        let text = world.read(&format!("run/verdicts/{file}"));
        let mut found = Vec::new();
        for line in text.lines().skip(1) {
            let row: Value = serde_json::from_str(line).expect("JSON");
            for verdict in row["verdicts"].as_array().into_iter().flatten() {
                if verdict["label"] == label {
                    found.push(verdict["value"].to_string());
                }
            }
        }
        found.sort();
        found
    };
    assert_eq!(labels("python-exception", "bad"), [r#""known""#]);
    assert_eq!(labels("python-exception", "neutral"), [r#""teaching""#]);
    assert_eq!(labels("python-exception", "good"), [r#""corrected""#, r#""corrected""#]);
    assert_eq!(labels("python-silent", "bad"), [r#"["lost-values"]"#, r#"["no-op"]"#]);
    assert_eq!(
        labels("python-grounded", "bad"),
        [r#""hard-coded""#, r#""unsupported""#],
        "one prints an answer that it did not compute, one answers what nothing showed"
    );
    assert!(labels("value-reached", "bad").len() >= 2, "a wrong month, and rows twice");
    assert_eq!(labels("answer-correct", "good").len(), 6);
    assert_eq!(labels("answer-correct", "bad").len(), 2);
}

#[test]
fn the_tool_answers_from_the_command_line() {
    let world = World::new();
    if !world.lend_python("the tool python") {
        return;
    }
    let code = r#"{"code": "import pandas as pd; pd.Series([1, 2]).sum()"}"#;
    let shown = world.ok_at_root(&["tool", "call", "python", code]);
    assert!(shown.contains("\"exception\":null") && shown.contains('3'), "{shown}");
}

#[test]
fn the_tables_and_tasks_are_what_their_program_composes() {
    composes("compose_tables");
    let gold = root().join("environments/data-analysis/gold.jsonl");
    let gold = std::fs::read_to_string(gold).expect("the gold");
    assert!(gold.lines().count() >= 40);
    let families: std::collections::BTreeSet<String> = gold
        .lines()
        .map(|line| {
            let gold: Value = serde_json::from_str(line).expect("JSON");
            gold["groups"]["family"].as_str().expect("a family").to_owned()
        })
        .collect();
    assert!(families.len() >= 14, "{families:?}");
}

#[test]
fn published_questions_and_programs_become_environments() {
    let test = "published_questions_and_programs_become_environments";
    let Some(data) = shared_data(test) else { return };
    let world = World::new();
    let has_python = world.lend_python("checking imported programs");
    let path = |name: &str| data.join(name).to_str().expect("UTF-8").to_owned();
    let imported = world.ok(&[
        "import",
        "dabench",
        &path("dabench/questions.jsonl"),
        "-o",
        "tables",
    ]);
    assert!(imported.contains("questions               151"), "{imported}");
    assert!(imported.contains("tables                  27"), "{imported}");
    for (format, file, count) in [
        ("humaneval", "code/humaneval_164.jsonl", 164),
        ("mbpp", "code/mbpp_1_510.jsonl", 510),
    ] {
        let imported = world.ok(&["import", format, &path(file), "-o", format]);
        assert!(imported.contains(&count.to_string()), "{imported}");
        // A few of them, as each is run with its tests.
        for name in ["tasks.jsonl", "gold.jsonl"] {
            let text = world.read(&format!("{format}/{name}"));
            let few: Vec<&str> = text.lines().step_by(40).collect();
            world.write(&format!("{format}/{name}"), &few.join("\n"));
        }
        let environment = world.path(format);
        let environment = environment.to_str().expect("UTF-8");
        if has_python {
            world.ok_at_root(&["env", "check", environment]);
        }
    }
}

#[test]
fn one_byte_of_the_interpreter_is_told_before_a_step_is_executed() {
    let world = World::new();
    if !world.lend_python("a damaged interpreter") {
        return;
    }
    let run = world.path("run");
    let run = run.to_str().expect("UTF-8");
    let policy = "scripted:tests/cases/data-analysis.jsonl";
    world.ok_at_root(&["run", "data-analysis", "-m", policy, "-n", "1", "-o", run]);
    let lent = world.path("cache/python");
    let files = std::fs::canonicalize(&lent).expect("the user's cache");
    std::fs::remove_file(&lent).expect("a link");
    std::fs::create_dir(&lent).expect("a folder");
    let (module, library) = ("python-snapshot.wasm", "python-stdlib.zip");
    std::os::unix::fs::symlink(files.join(module), lent.join(module)).expect("a link");
    let mut bytes = std::fs::read(files.join(library)).expect("the library");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(lent.join(library), bytes).expect("a file");
    let outcome = world.at_root(&["replay", run]);
    assert_eq!(outcome.code, 3, "{}{}", outcome.stdout, outcome.stderr);
    assert!(outcome.stderr.contains(library), "{}", outcome.stderr);
}
