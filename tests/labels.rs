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
fn what_an_imported_run_carries_is_read_or_refused() {
    let world = imported();
    let gold = world.read("run/environment/gold.jsonl");
    world.write("run/environment/gold.jsonl", &gold.repeat(2));
    for command in [&["show", "run"][..], &["diff", "run", "run"]] {
        world.fails(command, 3, &["gold.jsonl:2", "earlier line"]);
    }
    // An environment of one's own may have changed since.
    let script = world.right_script();
    world.ok(&["run", "world", "-m", &script, "--out", "own"]);
    world.edit("world/gold.jsonl", "\"1802\"", "1802");
    let shown = world.plumb(&["show", "own"]);
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    assert!(shown.stderr.contains("gold.jsonl:2"), "{}", shown.stderr);
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
    world.ok(&["label", "apb", "--verifier", "fusion-gold"]);
    let named = ["--verifier", "fusion-gold"];
    let table = world.ok(&[&["score", "labels", "apb"][..], &named].concat());
    let unseen = table.lines().find(|line| line.contains("on questions not fitted on"));
    let unseen = unseen.unwrap_or_else(|| panic!("{table}"));
    let line =
        ["export", "apb", "--format", "trl", "--error-from", "apb", "--out", "trl"];
    world.ok(&[&line[..], &named].concat());
    let header: Value =
        serde_json::from_str(&world.read("trl/trl.header.json")).expect("JSON");
    let note = header["step_error_note"].as_str().expect("a note");
    assert!(note.contains("questions they had not seen"), "{note}");
    let right = 100.0 * (1.0 - header["step_error"]["value"].as_f64().expect("a number"));
    assert!(unseen.contains(&format!("{right:.1}")), "{right} in {unseen}");
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
        ("\"2\": 1", "\"2\": 1, \"02\": -1", "step_labels.02"),
        ("\"2\": 1", "\"2\": 1, \"2\": -1", "step_labels.2\" stands twice"),
        ("\"data_source\": \"mills\"", "\"data_source\": \"x\"", "another source"),
    ] {
        let bad = first.replacen(from, to, 1);
        assert_ne!(bad, first, "{from}");
        world.write("bad.jsonl", &format!("{first}\n{bad}\n"));
        let line = ["import", "agentprocessbench", "bad.jsonl", "--out", "bad"];
        world.fails(&line, 3, &["bad.jsonl:2", words]);
        assert!(!world.path("bad").exists());
    }
}

#[test]
fn labels_of_a_file_are_held_to_what_an_import_takes() {
    let world = imported();
    world.ok(&["label", "run"]);
    let good = samples();
    let score = ["score", "labels", "run", "--gold", "gold.jsonl"];
    world.write("gold.jsonl", &good);
    world.ok(&score);
    let first = good.lines().next().expect("a record");
    for (from, to, words) in [
        ("\"2\": 1", "\"2\": 1, \"3\": 1", "gold.jsonl:1: field \"step_labels.3\" is no"),
        (
            "Who built the Tide Mill?\", \"data",
            "Who?\", \"data",
            "field \"question\" is not",
        ),
        ("\"query_index\": 7, ", "", "gold.jsonl:1: field \"query_index\" is missing"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from}");
        world.write("gold.jsonl", &bad);
        world.fails(&score, 3, &[words, "; "]);
    }
    let opposite = first.replacen("{\"2\": 1, \"4\": 1}", "{\"2\": -1}", 1);
    world.write("gold.jsonl", &format!("{first}\n{opposite}\n"));
    world.fails(&score, 3, &["gold.jsonl:2: field \"sample_index\"", "gold.jsonl:1"]);
    let fit = ["score", "fit", "run", "--gold", "gold.jsonl", "--out", "model.json"];
    world.fails(&fit, 3, &["gold.jsonl:2: field \"sample_index\""]);
    let human = world.read("run/human.jsonl");
    let (title, labels) = human.split_once('\n').expect("a title");
    for (text, words) in [
        (human.trim_end().to_owned(), "the line has no end"),
        (labels.to_owned(), "gold.jsonl:1: the line does not have the checksum"),
        (format!("{title}\n"), "holds no label of a step"),
    ] {
        world.write("gold.jsonl", &text);
        world.fails(&score, 3, &[words]);
    }
    let cut = human.trim_end().rsplit_once('\n').expect("lines").0;
    world.write("run/human.jsonl", &format!("{cut}\n"));
    let own = ["score", "labels", "run", "--gold", "run/human.jsonl"];
    world.fails(&own, 3, &["human.jsonl:6: 1 of 6 lines are lost"]);
}

#[test]
fn what_a_judge_published_is_read_strictly() {
    let world = imported();
    world.ok(&["label", "run"]);
    let row = |sample: u32, labels: Value| {
        json!({"data_source": "mills", "query_index": 7, "sample_index": sample,
            "step_labels": labels})
    };
    let (one, two) = (row(0, json!({"2": 1, "4": null})), row(1, json!({})));
    let score = ["score", "labels", "run", "--against", "judges", "judges"];
    world.write_lines("judges/J/mills.jsonl", &[one.clone(), two.clone()]);
    let table = world.ok(&score);
    let judge = table.lines().find(|line| line.starts_with("J ")).expect("a row");
    assert!(judge.trim_end().ends_with("66.7"), "two of three have no label: {judge}");
    let file = "judges/J/mills.jsonl:2: field ";
    for (bad, words) in [
        (row(1, json!({"1": 1})), "\"step_labels.1\" is no assistant message's index"),
        (row(1, json!({"2": 7})), "\"step_labels.2\" is none of"),
        (row(1, json!({"2": "good"})), "\"step_labels.2\" is none of"),
        (row(1, json!(null)), "\"step_labels\" is missing"),
        (row(0, json!({})), "\"sample_index\" and query_index stand at"),
    ] {
        world.write_lines("judges/J/mills.jsonl", &[one.clone(), bad]);
        world.fails(&score, 3, &[file, words, "; "]);
    }
    let mut stranger = two;
    stranger["query_index"] = json!(1000);
    world.write_lines("judges/J/mills.jsonl", &[one, stranger]);
    let stderr = world.plumb(&score).stderr;
    assert!(stderr.contains("mills.jsonl:2: the run has no trajectory"), "{stderr}");
}

#[test]
fn labels_that_are_not_all_there_are_told() {
    let world = World::new();
    let other = samples().replace("\"query_index\": 7", "\"query_index\": 8");
    world.write("apb.jsonl", &(samples() + &other));
    world.ok(&["import", "agentprocessbench", "apb.jsonl", "--out", "run"]);
    world.fails(
        &["score", "labels", "run"],
        2,
        &["has no verdicts; run plumb label first"],
    );
    world.ok(&["label", "run", "--verifier", "well-formed"]);
    let score = ["score", "labels", "run"];
    let whole = world.plumb(&score);
    assert!(!whole.stderr.contains("not judged"), "{}", whole.stderr);
    // As a labelling that was killed leaves it.
    let file = "run/verdicts/well-formed@2.jsonl";
    let text = world.read(file);
    let half: Vec<&str> = text.lines().take(2).collect();
    world.write(file, &(half.join("\n") + "\n"));
    fs::remove_file(world.path("run/contents.jsonl")).expect("it is there");
    let told = "1 of 2 tasks not judged by well-formed@2: run plumb label";
    let stderr = world.plumb(&score).stderr;
    assert!(stderr.contains(told), "{stderr}");
    let stderr =
        world.plumb(&["export", "run", "--format", "prm", "--out", "rows"]).stderr;
    assert!(stderr.contains(told), "{stderr}");
}

#[test]
fn verdicts_that_cannot_be_are_refused_with_a_remedy() {
    for (from, to, words) in [
        ("\"verifier\":\"well-formed@2\"", "\"verifier\":\"other@1\"", "verifier\" is"),
        ("\"reason\"", "\"confidence\":7.0,\"reason\"", "confidence\" is 7e0"),
        ("\"node\":1,", "\"node\":0,", "node\" is 0 a second time"),
        ("\"task\":\"q007\"", "\"task\":\"q999\"", "field \"task\" is \"q999\""),
        ("\"evidence\":[", "\"evidence\":7,\"was\":[", "invalid type"),
    ] {
        let world = imported();
        world.ok(&["label", "run", "--verifier", "well-formed"]);
        world.forge("run", "verdicts/well-formed@2.jsonl", from, to);
        let words =
            ["well-formed@2.jsonl:2: ", words, "delete the file and run plumb label"];
        world.fails(&["score", "labels", "run"], 3, &words);
    }
    let world = imported();
    world.ok(&["label", "run", "--verifier", "well-formed"]);
    world.edit("run/verdicts/well-formed@2.jsonl", "\"reason\":\"", "\"reason\":\"!");
    let words = ["well-formed@2.jsonl:2: ", "or delete the file and run plumb label"];
    world.fails(&["score", "labels", "run"], 3, &words);
}

#[test]
fn an_import_says_where_it_cannot_write() {
    let world = World::new();
    world.write("apb.jsonl", &samples());
    std::os::unix::fs::symlink("nowhere", world.path("out")).expect("a link");
    let line = ["import", "agentprocessbench", "apb.jsonl", "--out", "out"];
    world.fails(&line, 2, &["it is a link to what is not there; name a new folder"]);
    let deep = format!("{{\"a\": {}{}}}\n", "[".repeat(200), "]".repeat(200));
    world.write("apb.jsonl", &deep);
    let line = ["import", "agentprocessbench", "apb.jsonl", "--out", "deep"];
    world.fails(&line, 3, &["apb.jsonl:1: a value lies in", "leave the record out"]);
}

#[test]
fn a_judge_that_abstained_has_labelled() {
    let world = imported();
    world.write_lines("judge.jsonl", &[json!({ "replies": vec!["Hm."; 20] })]);
    world.ok(&["label", "run", "--judge", "scripted:judge.jsonl"]);
    let audited = world.ok(&["audit", "run"]);
    assert!(audited.contains("all "), "{audited}");
}
