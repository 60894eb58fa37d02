//! Labels one can trust: others' trajectories imported, labelled, scored, audited, exported.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::world::{World, search, shared_data};

/// Two samples of one question, as AgentProcessBench has them: one finds the answer and one
/// makes it up.
fn samples() -> String {
    let hit = json!({"document": {"id": "mill", "contents":
        "\"The Tide Mill\"\nThe Tide Mill at Orrin was built by Hanne Voss."}, "score": 0.9});
    let content = json!({ "result": [[hit]] });
    let call = json!({"id": "c1", "type": "function", "function":
        {"name": "search", "arguments": "{\"query_list\": [\"Tide Mill\"]}"}});
    let first = |messages: Vec<Value>| {
        let mut all = vec![
            json!({"role": "system", "content": "Help."}),
            json!({"role": "user", "content": "Who built the Tide Mill?"}),
        ];
        all.extend(messages);
        all
    };
    let found = first(vec![
        json!({"role": "assistant", "content": "", "tool_calls": [call]}),
        json!({"role": "tool", "name": "search", "content": spaced(&content), "tool_call_id": "c1"}),
        json!({"role": "assistant", "content": "<answer>Hanne Voss</answer>"}),
    ]);
    let made_up = first(vec![
        json!({"role": "assistant", "content": "I know it. <answer>Eve Fox</answer>"}),
    ]);
    let record = |sample: u32, messages: Vec<Value>, labels: Value, last: i32| {
        spaced(&json!({
            "total_index": sample, "query_index": 7, "sample_index": sample,
            "question": "Who built the Tide Mill?", "data_source": "mills",
            "ground_truth": {"target": ["Hanne Voss"]}, "messages": messages,
            "tools": [], "step_labels": labels, "final_label": last,
        }))
    };
    let one = record(0, found, json!({"2": 1, "4": 1}), 1);
    let two = record(1, made_up, json!({"2": -1}), -1);
    format!("{one}\n{two}\n")
}

/// JSON as Python writes it. No text here holds what stands between two values.
fn spaced(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields =
                fields.iter().map(|(k, v)| format!("{}: {}", json!(k), spaced(v)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(spaced).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

fn imported() -> World {
    let world = World::new();
    world.write("apb.jsonl", &samples());
    let report = world.ok(&["import", "agentprocessbench", "apb.jsonl", "--out", "run"]);
    for row in [
        "tasks                   1",
        "trajectories            2",
        "steps                   3",
    ] {
        assert!(report.contains(row), "{report}");
    }
    world
}

#[test]
fn an_imported_run_is_labelled_shown_scored_and_audited() {
    let world = imported();
    world.ok(&["label", "run"]);
    let shown = world.ok(&["show", "run", "q007"]);
    assert!(
        shown.contains("Who built the Tide Mill?") && shown.contains("gold: Hanne Voss")
    );
    let scored = world.ok(&["score", "labels", "run", "--json"]);
    let scored: Value = serde_json::from_str(&scored).expect("JSON");
    let row = |index: usize| scored["labels"][index]["agreement"].clone();
    assert_eq!(scored["labels"][0]["name"], "view strict-local");
    assert_eq!(row(0)["step_accuracy"]["value"], 1.0, "{scored}");
    assert_eq!(row(0)["first_error_accuracy"]["value"], 1.0);
    assert_eq!(scored["labels"][1]["name"], "always good");
    assert_eq!(row(1)["first_error_accuracy"]["value"], 0.5);
    let audited = world.ok(&["audit", "run"]);
    assert!(audited.contains("looked up in the record"), "{audited}");
    world.fails(
        &["replay", "run"],
        4,
        &["imported from agentprocessbench", "plumb audit"],
    );
}

#[test]
fn gold_and_labels_stay_out_of_the_steps() {
    let world = imported();
    let steps = world.read("run/steps.jsonl");
    for secret in ["step_labels", "ground_truth", "target"] {
        assert!(!steps.contains(secret), "{secret}");
    }
    assert!(world.read("run/human.jsonl").contains("\"bad\""));
    assert!(world.read("run/environment/gold.jsonl").contains("Hanne Voss"));
    assert!(!world.read("run/environment/tasks.jsonl").contains("Hanne Voss"));
}

#[test]
fn a_run_goes_back_out_byte_for_byte_or_with_the_labels_of_a_view() {
    let world = imported();
    world.ok(&["export", "run", "--format", "agentprocessbench", "--out", "back"]);
    assert_eq!(world.read("back/agentprocessbench.jsonl"), samples());
    world.ok(&["label", "run"]);
    let line = ["export", "run", "--format", "agentprocessbench", "--out", "own"];
    world.ok(&[&line[..], &["--view", "strict-local"]].concat());
    let own = world.read("own/agentprocessbench.jsonl");
    let first: Value =
        serde_json::from_str(own.lines().next().expect("a line")).expect("JSON");
    assert_eq!(first["step_labels"], json!({"2": 1, "4": 1}));
    assert_eq!(first.get("final_label"), None, "the view says nothing of the whole");
    world.fails(&line, 2, &["exists"]);
    world.fails(
        &["export", "run", "--format", "openai-chat", "--out", "chat"],
        2,
        &["imported from another format"],
    );
}

#[test]
fn what_saw_gold_is_kept_out_of_what_promises_not_to() {
    let world = imported();
    world.ok(&["label", "run"]);
    let scored = world.ok(&["score", "labels", "run", "--view", "online"]);
    assert!(scored.contains("left out by view online: answer-correct@"), "{scored}");
    let named = ["--view", "online", "--verifier", "answer-correct"];
    let refused = ["answer-correct@", "which saw gold"];
    world.fails(&[&["score", "labels", "run"][..], &named].concat(), 2, &refused);
    let export = ["export", "run", "--format", "agentprocessbench", "--out", "leak"];
    world.fails(&[&export[..], &named].concat(), 2, &refused);
    assert!(!world.path("leak").exists());
    let strangers = ["score", "labels", "run", "--verifier", "nobody"];
    world.fails(
        &strangers,
        2,
        &["\"nobody\" has not judged this run", "answer-support@1"],
    );
}

#[test]
fn an_audit_finds_what_no_longer_holds() {
    let world = imported();
    world.ok(&["label", "run"]);
    world.forge("run", "steps.jsonl", "I know it.", "I knew it!");
    world.fails(&["audit", "run"], 1, &["diverge", "q007", "bytes 0.."]);
}

#[test]
fn an_imported_run_knows_its_own_environment_again() {
    let world = imported();
    world.ok(&["label", "run"]);
    world.edit("run/environment/gold.jsonl", "Hanne Voss", "Hanna Voss");
    world.fails(&["label", "run"], 3, &["gold.jsonl:", "what it was finished with"]);
    fs::remove_file(world.path("run/environment/gold.jsonl")).expect("it is there");
    world.fails(&["show", "run"], 3, &["gold.jsonl:1: the file is missing"]);
}

#[test]
fn a_run_of_our_own_is_audited_by_making_its_calls_again() {
    let world = World::new();
    let replies = [search("Tide Mill"), "<answer>Hanne Voss</answer>".to_owned()];
    let line = json!({ "question": "Who built the Tide Mill?", "replies": replies });
    world.write("policy.jsonl", &format!("{line}\n"));
    let run = ["run", "world", "-m", "scripted:policy.jsonl", "--out", "own"];
    world.write(
        "tasks.jsonl",
        "{\"id\": \"q4\", \"prompt\": \"Who built the Tide Mill?\"}\n",
    );
    world.ok(&[&run[..], &["--tasks", "tasks.jsonl"]].concat());
    world.ok(&["label", "own"]);
    world.ok(&["audit", "own"]);
    world.ok(&["export", "own", "--format", "openai-chat", "--out", "chat"]);
    let chat = world.read("chat/openai-chat.jsonl");
    let chat: Value = serde_json::from_str(chat.trim()).expect("one line");
    assert_eq!(chat["messages"].as_array().map(Vec::len), Some(5), "{chat}");
    world.edit("corpus/documents.jsonl", "in 1788", "in 1789");
    world.fails(&["audit", "own"], 1, &["diverge", "1789"]);
}

#[test]
fn published_trajectories_come_in_and_go_out_whole() {
    let Some(data) = shared_data("published trajectories") else { return };
    let world = World::new();
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let file = data.join("agentprocessbench/hotpotqa_shared.jsonl");
    world.ok(&["import", "agentprocessbench", &text(&file), "--out", "apb"]);
    world.ok(&["export", "apb", "--format", "agentprocessbench", "--out", "back"]);
    let source = fs::read(&file).expect("the file is there");
    let back = fs::read(world.path("back/agentprocessbench.jsonl")).expect("written");
    assert!(source == back, "byte for byte");
    let kept = world.read("apb/origin.jsonl");
    assert!(!kept.contains("\"line\":"), "every record is written from its steps");
    // What the benchmark's own scorer says of a constant and of the best judge.
    world.ok(&["label", "apb", "--verifier", "well-formed"]);
    let judges = text(&data.join("agentprocessbench/judges"));
    let scored =
        world.ok(&["score", "labels", "apb", "--against", "judges", &judges, "--json"]);
    let scored: Value = serde_json::from_str(&scored).expect("JSON");
    let row = |name: &str| -> (f64, f64) {
        let rows = scored["labels"].as_array().expect("rows");
        let row = rows.iter().find(|row| row["name"] == name).expect(name);
        let value = |field: &str| {
            let value = row["agreement"][field]["value"].as_f64().expect("a number");
            (value * 1000.0).round() / 10.0
        };
        (value("step_accuracy"), value("first_error_accuracy"))
    };
    assert_eq!(row("always good"), (69.0, 58.4));
    assert_eq!(row("Gemini-3-Flash-Preview"), (82.3, 76.0));
    for (format, name, trajectories) in [
        ("reflexion", "reflexion_react_hotpot_trial1.jsonl", 101),
        ("who-and-when", "who_and_when_shared.jsonl", 88),
        ("openai-chat", "taubench_gpt4o_airline_even_tasks.jsonl", 100),
    ] {
        let file = text(&data.join("trajectories").join(name));
        let report = world.ok(&["import", format, &file, "--out", format]);
        assert!(
            report.contains(&format!("trajectories            {trajectories}")),
            "{report}"
        );
    }
    world.ok(&["label", "who-and-when", "--verifier", "well-formed"]);
    let scored = world.ok(&["score", "labels", "who-and-when"]);
    assert!(scored.contains("88 trajectories with a step marked"), "{scored}");
    world.ok(&["export", "openai-chat", "--format", "openai-chat", "--out", "chats"]);
    let file = data.join("trajectories/taubench_gpt4o_airline_even_tasks.jsonl");
    let source = fs::read_to_string(file).expect("the file is there");
    let back = world.read("chats/openai-chat.jsonl");
    assert!(source == back, "byte for byte");
}

#[test]
fn hostile_trajectories_are_refused_by_line_and_leave_nothing_behind() {
    let world = World::new();
    let good = samples();
    let mut lines = good.lines();
    let first = lines.next().expect("a record");
    for (from, to, words) in [
        ("\"step_labels\": {\"2\": 1", "\"step_labels\": {\"2\": 5", "step_labels.2"),
        ("\"role\": \"tool\"", "\"role\": 7", "messages.3.role"),
        ("\"query_index\": 7", "\"query_index\": \"x\"", "query_index"),
        ("Who built the Tide Mill?\", \"data", "Who?\", \"data", "another question"),
    ] {
        let bad = first.replacen(from, to, 1);
        assert_ne!(bad, first, "{from}");
        world.write("bad.jsonl", &format!("{first}\n{bad}\n"));
        let line = ["import", "agentprocessbench", "bad.jsonl", "--out", "bad"];
        world.fails(&line, 3, &["bad.jsonl:2", words]);
        assert!(!world.path("bad").exists());
    }
}
