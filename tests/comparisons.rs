use serde_json::{Value, json};

use crate::world::{World, call, search};

#[test]
fn a_divergence_names_trajectory_step_and_field_and_shows_a_diff() {
    let world = World::new();
    let script = world.right_script();
    world.ok(&["run", "world", "-m", &script, "-o", "runs/a"]);
    // One byte of one document, which q3 finds in its first step.
    world.edit("corpus/documents.jsonl", "Felling is a town on", "Felling is a gown on");
    world.fails(
        &["replay", "runs/a"],
        1,
        &[
            "1 of 4 trees diverge",
            "trajectory q3:3 (task q3, step 0): observation 0 differs",
            "--- recorded",
            "+++ now",
            "gown on",
        ],
    );
    let outcome = world.plumb(&["replay", "runs/a", "--json"]);
    let report: Value = serde_json::from_str(&outcome.stdout).expect("one document");
    assert_eq!(report["first"]["trajectory"], "q3:3");
    assert_eq!(report["first"]["field"], "observation 0");
}

#[test]
fn one_byte_in_a_databases_row_is_reported_at_the_step_that_reads_it() {
    let world = World::new();
    world.write(
        "databases/shop.sql",
        "CREATE TABLE sale(item TEXT, price REAL);\n\
         INSERT INTO sale VALUES ('rope', 3.5), ('sail', 40);\n",
    );
    let manifest = world.read("world/environment.toml");
    let tool = "\n[[tools]]\ntype = \"sql\"\ndatabases = \"../databases\"\n";
    world.write("world/environment.toml", &format!("{manifest}{tool}"));
    let inputs = json!({ "database": "shop" });
    world.write_lines(
        "world/tasks.jsonl",
        &[json!({ "id": "q1", "prompt": "How dear is a rope?", "inputs": inputs })],
    );
    let query = |item: &str| {
        let query = format!("SELECT price FROM sale WHERE item = '{item}'");
        call("sql", &json!({ "query": query }))
    };
    let script = world.script(&[
        &search("rope"),
        &query("sail"),
        &query("rope"),
        "<answer>3.5</answer>",
    ]);
    world.ok(&["run", "world", "-m", &script, "-o", "runs/a"]);
    world.ok(&["replay", "runs/a"]);
    world.edit("databases/shop.sql", "('rope', 3.5)", "('rope', 3.6)");
    world.fails(
        &["replay", "runs/a"],
        1,
        &["trajectory q1:3 (task q1, step 2): observation 0 differs", "3.6", "sql"],
    );
}

#[test]
fn a_thousand_mixed_episodes_replay_without_a_difference() {
    let world = World::new();
    world.write(
        "databases/shop.sql",
        "CREATE TABLE sale(item TEXT, price REAL);\n\
         INSERT INTO sale VALUES ('rope', 3.5), ('sail', 40);\n",
    );
    let manifest = world.read("world/environment.toml");
    let tool =
        "\n[[tools]]\ntype = \"sql\"\ndatabases = \"../databases\"\nwritable = true\n";
    world.write("world/environment.toml", &format!("{manifest}{tool}"));
    let tasks: Vec<Value> = (0..4)
        .map(|task| {
            let inputs = json!({ "database": "shop" });
            json!({ "id": format!("t{task}"), "prompt": format!("{task}?"), "inputs": inputs })
        })
        .collect();
    world.write_lines("world/tasks.jsonl", &tasks);
    let sql = |query: &str| call("sql", &json!({ "query": query }));
    // What reads, what writes, and everything that a model gets wrong.
    let openings = [
        search("Tide Mill"),
        call("open", &json!({ "title": "River Sorn" })),
        sql("INSERT INTO sale VALUES ('oar', 12)"),
        sql("DELETE FROM sale WHERE item = 'rope'"),
        sql("SELECT nothing FROM nowhere"),
        call("search", &json!({ "q": 1 })),
        call("hammer", &json!({})),
        "<tool_call>\nI shall think about it.".to_owned(),
        format!(
            "{}\n{}",
            search("bell foundry"),
            sql("UPDATE sale SET price = 2 * price")
        ),
    ];
    let lines: Vec<Value> = openings
        .iter()
        .enumerate()
        .map(|(index, opening)| {
            let next = &openings[(index * 5 + 1) % openings.len()];
            let last = sql("SELECT item, price FROM sale ORDER BY item");
            json!({ "replies": [opening, next, last, "<answer>40</answer>"] })
        })
        .collect();
    world.write_lines("script.jsonl", &lines);
    let policy = "scripted:script.jsonl";
    world.ok(&["run", "world", "-m", policy, "-r", "250", "-c", "8", "-o", "runs/a"]);
    let nodes = world.steps("runs/a");
    let ends = nodes.iter().filter(|line| line["type"] == "ending");
    assert_eq!(ends.count(), 1000);
    let faults = nodes.iter().filter(|l| l["observations"][0]["type"] == "fault").count();
    assert!(faults > 300, "{faults} faults");
    let replayed = world.ok(&["replay", "runs/a"]);
    assert!(replayed.contains("4 trees, "), "{replayed}");
    assert!(replayed.contains("no divergence"), "{replayed}");
}

#[test]
fn the_policy_itself_runs_again_and_differences_are_no_failure() {
    let world = World::new();
    let script = world.right_script();
    world.ok(&["run", "world", "-m", &script, "-r", "2", "-o", "runs/a"]);
    let same = world.ok(&["replay", "runs/a", "--regenerate"]);
    assert!(same.contains(" 0 different, 0 without"), "{same}");
    // Another script under the same name: one answer is another.
    world.edit("script.jsonl", "<answer>1802</answer>", "<answer>1803</answer>");
    let outcome = world.plumb(&["replay", "runs/a", "--regenerate"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    for word in ["2 different", "8: 2 with a difference", "trajectory q2:", "1803"] {
        assert!(outcome.stdout.contains(word), "{word:?} in {}", outcome.stdout);
    }
    assert!(outcome.stderr.contains("the run was made by"), "{}", outcome.stderr);
    let other =
        world.ok(&["replay", "runs/a", "--regenerate", "-m", "baseline", "--json"]);
    let other: Value = serde_json::from_str(&other).expect("JSON");
    assert_eq!(other["policy"], "baseline@1");
    assert!(other["different"].as_u64().is_some_and(|count| count > 0), "{other}");
    world.fails(&["replay", "runs/a", "-m", "baseline"], 2, &["--regenerate"]);
}

#[test]
fn two_runs_are_compared_by_outcome_label_and_parting() {
    let world = World::new();
    let script = world.right_script();
    world.ok(&["run", "world", "-m", &script, "-o", "runs/a"]);
    world.edit("script.jsonl", "<answer>1802</answer>", "<answer>1803</answer>");
    world.ok(&["run", "world", "-m", &script, "-n", "3", "-o", "runs/b"]);
    for run in ["runs/a", "runs/b"] {
        world.ok(&["label", run]);
    }
    let shown = world.ok(&["diff", "runs/a", "runs/b"]);
    for word in [
        "tasks in both 3, only in one 1, only in two 0",
        "side by side 3: 2 the same, 1 part",
        "right in both 2, only in one 1, only in two 0, in neither 0",
        "they part at step 2 of the trajectory, in the message",
        "-<answer>1802</answer>",
        "+<answer>1803</answer>",
    ] {
        assert!(shown.contains(word), "{word:?} is missing in\n{shown}");
    }
    let report: Value =
        serde_json::from_str(&world.ok(&["diff", "runs/a", "runs/a", "--json"]))
            .expect("JSON");
    assert_eq!(report["against"]["same"], 4);
    assert_eq!(report["against"]["relabelled"], 0);
}

#[test]
fn what_was_stopped_or_has_not_ended_is_neither_right_nor_wrong() {
    let world = World::new();
    let right = world.right_script();
    world.ok(&["run", "world", "-m", &right, "-c", "1", "-o", "runs/a"]);
    // As kill -9 leaves it: the last trajectory without its ending.
    let steps = world.read("runs/a/steps.jsonl");
    let cut = steps.trim_end().rsplit_once('\n').expect("lines").0;
    world.write("runs/a/steps.jsonl", &format!("{cut}\n"));
    // A script that runs out: every trajectory is aborted after its first step.
    let short = world.script(&[&search("mill")]);
    assert_eq!(world.plumb(&["run", "world", "-m", &short, "-o", "runs/b"]).code, 5);
    let report = world.ok(&["diff", "runs/a", "runs/b", "--json"]);
    let report: Value = serde_json::from_str(&report).expect("JSON");
    let graded =
        |side: &str| ["right", "wrong", "ungraded"].map(|of| &report[side]["totals"][of]);
    assert_eq!(graded("one"), [3, 0, 1], "{report}");
    assert_eq!(graded("two"), [0, 0, 4], "{report}");
    for line in world.ok(&["show", "runs/b", "--json"]).lines() {
        let row: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(row["correct"], Value::Null, "{row}");
    }
}

#[test]
fn what_two_runs_were_not_asked_alike_is_told() {
    let world = World::new();
    let script = world.right_script();
    world.ok(&["run", "world", "-m", &script, "-o", "runs/a"]);
    let tasks = world.read("world/tasks.jsonl").replace("Who built", "Who burnt");
    world.write("others.jsonl", &tasks);
    let other = ["run", "world", "-m", "baseline", "--tasks", "others.jsonl"];
    world.ok(&[&other[..], &["-o", "runs/b"]].concat());
    let told = |one: &str, two: &str| world.plumb(&["diff", one, two]).stderr;
    assert_eq!(told("runs/a", "runs/a"), "");
    let asked = told("runs/a", "runs/b");
    assert!(asked.contains("the question of 1 tasks is not the same in both"), "{asked}");
    world.edit("corpus/documents.jsonl", "lit in 1802", "lit in 1803");
    world.ok(&["run", "world", "-m", &script, "-o", "runs/c"]);
    let made = told("runs/a", "runs/c");
    assert!(made.contains("not made in the same environment"), "{made}");
}

#[test]
fn the_ledger_names_the_steps_verifiers_fight_about() {
    let world = World::new();
    // It finds the passage, and answers something else that stands there.
    let astray = [&search("lighthouse of Orrin"), "<answer>harbour town</answer>"];
    let line = json!({ "replies": astray });
    world.write_lines("script.jsonl", &[line]);
    world.ok(&["run", "world", "-m", "scripted:script.jsonl", "-o", "runs/a"]);
    world.fails(&["score", "disagreement", "runs/a"], 2, &["no verdicts"]);
    world.ok(&["label", "runs/a"]);
    let ledger = world.ok(&["score", "disagreement", "runs/a", "--json"]);
    let ledger: Value = serde_json::from_str(&ledger).expect("JSON");
    let disputes = ledger["disputes"].as_array().expect("a list");
    let about: Vec<&Value> = disputes.iter().filter(|d| d["task"] == "q2").collect();
    assert_eq!(about.len(), 1, "{ledger}");
    assert_eq!(about[0]["node"], 1);
    assert_eq!(about[0]["good"][0], "answer-support@1");
    let shown = world.ok(&["score", "disagreement", "runs/a", "--limit", "1"]);
    assert!(shown.contains("kappa") && shown.contains("q"), "{shown}");
}
