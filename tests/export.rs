//! Runs as others read them: every format of `plumb export`, and what its header says.

use std::fs;

use serde_json::{Value, json};

use crate::world::{World, search};

/// Trajectories with tokens, as a local model leaves them: two samples of each of two
/// questions, of which the first answers rightly. The last of them was shortened on the way.
fn trajectories() -> String {
    let mut lines = String::new();
    for (question, sample) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let mut seen: Vec<u32> = Vec::new();
        let mut metrics = |shorten: bool| {
            if shorten {
                seen.remove(0);
            }
            let prompt: Vec<u32> = seen.iter().copied().chain([11, 12, 13]).collect();
            let sampled = [50 + question, 51, 52];
            seen = prompt.iter().copied().chain(sampled).collect();
            json!({
                "prompt_token_ids": prompt, "completion_token_ids": sampled,
                "logprobs": [-0.5, -0.25, -0.125],
            })
        };
        let online = json!([{"verifier": "v@1", "saw":
            {"gold": false, "later": false, "outcome": false}}]);
        let said = if sample == 0 { "Hanne Voss" } else { "Eve Fox" };
        let label = if sample == 0 { 1 } else { -1 };
        let steps = json!([
            {"step_id": 1, "source": "system", "message": "Answer."},
            {"step_id": 2, "source": "user", "message": format!("Who built mill {question}?")},
            {"step_id": 3, "source": "agent", "message": "Look.", "metrics": metrics(false),
             "tool_calls": [{"tool_call_id": "c", "function_name": "search",
                             "arguments": {"query": "mill"}}],
             "observation": {"results": [{"source_call_id": "c", "content": "By Hanne Voss."}]},
             "extra": {"label": 0, "zero": "neutral", "label_by": online}},
            {"step_id": 4, "source": "agent", "message": format!("<answer>{said}</answer>"),
             "metrics": metrics((question, sample) == (1, 1)),
             "extra": {"label": label, "label_by": online}},
        ]);
        let line = json!({
            "schema_version": "ATIF-v1.8", "session_id": format!("q{question}"),
            "agent": {"name": "a", "version": "1"}, "steps": steps,
            "extra": {"sample": sample,
                      "gold": {"id": format!("q{question}"), "answer": "Hanne Voss"}},
        });
        lines += &format!("{line}\n");
    }
    lines
}

fn imported() -> World {
    let world = World::new();
    world.write("in.jsonl", &trajectories());
    world.ok(&["import", "atif", "in.jsonl", "--out", "run"]);
    world
}

fn rows(world: &World, file: &str) -> Vec<Value> {
    let text = world.read(file);
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn header(world: &World, file: &str) -> Value {
    serde_json::from_str(&world.read(file)).expect("a header")
}

#[test]
fn every_format_is_written_with_its_header() {
    let world = imported();
    for (format, file, count) in [
        ("agentprocessbench", "agentprocessbench.jsonl", 4),
        ("openai-chat", "openai-chat.jsonl", 4),
        ("atif", "atif.jsonl", 4),
        ("skyrl", "skyrl.jsonl", 2),
        ("verifiers", "verifiers.jsonl", 3),
        ("atropos", "atropos.jsonl", 2),
        ("trl", "trl.jsonl", 4),
        ("openrlhf", "openrlhf.jsonl", 4),
        ("prm", "prm.jsonl", 3),
        ("verdict-chat", "verdict-chat.jsonl", 8),
    ] {
        let report = world.ok(&[
            "export", "run", "--format", format, "--out", "out", "--view", "online",
        ]);
        assert!(report.contains(&format!("{count} rows of 4 trajectories")), "{report}");
        assert_eq!(rows(&world, &format!("out/{file}")).len(), count, "{format}");
        let header = header(&world, &format!("out/{format}.header.json"));
        assert_eq!(header["format"], format);
        assert_eq!(header["view"], "online");
        assert_eq!(header["leaks"]["gold"], false, "{header}");
        let holds = ["agentprocessbench", "atif", "verifiers"].contains(&format);
        assert_eq!(header["rows_hold"]["gold"], holds, "{header}");
        assert_eq!(header["step_error"], Value::Null);
        let kept = if ["trl", "openrlhf"].contains(&format) { "drop" } else { "keep" };
        assert_eq!(header["zeros"]["treatment"], kept);
        let refused = &header["counts"]["refused"];
        let tokens = ["skyrl", "verifiers", "atropos", "prm"].contains(&format);
        let expected = if tokens { json!({"not-an-extension": 1}) } else { json!({}) };
        assert_eq!(*refused, expected, "{format}");
    }
    let left = fs::read_dir(world.path("out")).expect("the folder");
    let partial =
        |e: std::io::Result<fs::DirEntry>| e.expect("an entry").file_name().into_string();
    let hidden =
        left.map(partial).filter(|n| n.as_ref().is_ok_and(|n| n.starts_with('.')));
    assert_eq!(hidden.count(), 0, "nothing half-made is left");
}

#[test]
fn atif_goes_out_and_comes_back_the_same() {
    let world = imported();
    world.ok(&["export", "run", "--format", "atif", "--out", "one"]);
    world.ok(&["import", "atif", "one/atif.jsonl", "--out", "again"]);
    assert_eq!(world.read("run/steps.jsonl"), world.read("again/steps.jsonl"));
    assert_eq!(
        world.read("run/verdicts/imported@1.jsonl"),
        world.read("again/verdicts/imported@1.jsonl")
    );
    world.ok(&["export", "again", "--format", "atif", "--out", "two"]);
    assert_eq!(world.read("one/atif.jsonl"), world.read("two/atif.jsonl"));
    // As a person would write it: over several lines.
    let first = rows(&world, "one/atif.jsonl").remove(0);
    world.write("one.json", &serde_json::to_string_pretty(&first).expect("JSON"));
    let report = world.ok(&["import", "atif", "one.json", "--out", "single"]);
    assert!(report.contains("trajectories            1"), "{report}");
}

#[test]
fn a_bad_atif_is_refused_by_line() {
    let world = World::new();
    let lines = trajectories();
    let first = lines.lines().next().expect("a line");
    for (from, to, words) in [
        ("ATIF-v1.8", "ATIF-v2.0", "schema_version"),
        ("\"source\":\"agent\"", "\"source\":\"robot\"", "steps.2.source"),
        ("\"label\":0", "\"label\":7", "steps.2.extra.label"),
        ("[-0.5,-0.25,-0.125]", "[-0.5]", "steps.2.metrics.logprobs"),
        ("\"session_id\":\"q0\"", "\"session_id\":\"a:b\"", "session_id"),
    ] {
        let bad = first.replacen(from, to, 1);
        assert_ne!(bad, first, "{from}");
        world.write("bad.jsonl", &format!("{first}\n{bad}\n"));
        let line = ["import", "atif", "bad.jsonl", "--out", "bad"];
        world.fails(&line, 3, &["bad.jsonl:2", words]);
        assert!(!world.path("bad").exists());
    }
}

#[test]
fn a_run_without_tokens_says_what_to_do() {
    let world = World::new();
    let script = world.script(&[&search("Tide Mill"), "<answer>Hanne Voss</answer>"]);
    world.ok(&["run", "world", "-m", &script, "--out", "own"]);
    world.ok(&["label", "own"]);
    let words = ["no row was written", "4 no-tokens", "--policy llama:default"];
    world.fails(&["export", "own", "--format", "skyrl", "--out", "none"], 1, &words);
    assert!(!world.path("none").exists());
    world.ok(&["export", "own", "--format", "trl", "--out", "out"]);
    let header = header(&world, "out/trl.header.json");
    assert_eq!(header["leaks"]["gold"], true, "answer-correct saw it");
    assert_eq!(header["view"], "strict-local");
    let keep = ["export", "own", "--format", "trl", "--zeros", "keep", "--out", "more"];
    world.fails(&keep, 2, &["--zeros keep", "yes or no"]);
    world.fails(&["export", "own", "--format", "trl", "--out", "out"], 2, &["exists"]);
    let online =
        ["export", "own", "--format", "trl", "--out", "leak", "--view", "online"];
    world.fails(
        &[&online[..], &["--verifier", "answer-correct"]].concat(),
        2,
        &["answer-correct@", "which saw gold"],
    );
    assert!(!world.path("leak").exists());
    world.fails(
        &["export", "own", "--format", "dpo", "--out", "x"],
        2,
        &["verdict-chat"],
    );
}

#[test]
fn an_advantage_without_anything_to_hold_against_is_refused() {
    let world = imported();
    let export = |advantages: &'static str| {
        let line = ["export", "run", "--format", "atropos", "--advantages"];
        [&line[..], &[advantages, "--out", advantages]].concat()
    };
    // Only the questions have two trajectories going on from them.
    world.fails(&export("gae"), 1, &["no row was written", "3 no-value", "explore"]);
    for advantages in ["tree", "dual"] {
        world.ok(&export(advantages));
        let header = header(&world, &format!("{advantages}/atropos.header.json"));
        assert_eq!(header["advantages"], advantages);
        let refused = json!({"alone": 1, "not-an-extension": 1});
        assert_eq!(header["counts"]["refused"], refused, "{header}");
        let leaks = json!({"gold": true, "later": false, "outcome": true});
        assert_eq!(header["leaks"], leaks, "it looked at outcomes");
    }
    // SkyRL's rows have none, and say so.
    let line = ["export", "run", "--format", "skyrl", "--out", "none"];
    let words = ["--advantages", "atropos"];
    world.fails(&[&line[..], &["--advantages", "tree"]].concat(), 2, &words);
    world.ok(&line);
    assert_eq!(header(&world, "none/skyrl.header.json")["advantages"], Value::Null);
    let line = ["export", "run", "--format", "trl", "--out", "x", "--rewards", "both"];
    world.fails(&line, 2, &["--rewards", "trl"]);
}

#[test]
fn zeros_of_labels_that_stay_the_sources_own_are_nobodys_business() {
    let world = imported();
    let line = ["export", "run", "--format", "openai-chat", "--zeros", "drop"];
    world.fails(&[&line[..], &["--out", "x"]].concat(), 2, &["--zeros needs --view"]);
    for (zeros, count) in [("drop", 4), ("keep", 8)] {
        let line =
            ["export", "run", "--format", "atif", "--zeros", zeros, "--out", zeros];
        world.ok(&line);
        let labels =
            world.read(&format!("{zeros}/atif.jsonl")).matches("\"label\":").count();
        assert_eq!(labels, count, "{zeros}");
    }
}

#[test]
fn each_trajectory_says_what_its_own_model_was_told() {
    let world = World::new();
    world.write("in.jsonl", &trajectories().replacen("Answer.", "Guess.", 1));
    world.ok(&["import", "atif", "in.jsonl", "--out", "run"]);
    world.ok(&["export", "run", "--format", "openai-chat", "--out", "out"]);
    let system = |row: Value| row["messages"][0]["content"].clone();
    let said: Vec<Value> =
        rows(&world, "out/openai-chat.jsonl").into_iter().map(system).collect();
    assert_eq!(said, ["Guess.", "Answer.", "Answer.", "Answer."]);
}

/// Two samples of each of the world's questions, labelled.
fn own() -> World {
    let world = World::new();
    let script = world.right_script();
    world.ok(&["run", "world", "-m", &script, "-r", "2", "-c", "1", "--out", "own"]);
    world.ok(&["label", "own"]);
    world
}

#[test]
fn what_is_unfinished_comes_back_unfinished() {
    let world = own();
    let steps = world.read("own/steps.jsonl");
    let cut = steps.trim_end().rsplit_once('\n').expect("lines").0;
    world.write("own/steps.jsonl", &format!("{cut}\n"));
    world.ok(&["export", "own", "--format", "atif", "--out", "out"]);
    world.ok(&["import", "atif", "out/atif.jsonl", "--out", "again"]);
    for run in ["own", "again"] {
        let shown = world.ok(&["show", run]);
        assert_eq!(shown.matches("unfinished").count(), 1, "{shown}");
    }
}

#[test]
fn tasks_and_who_labelled_them_survive_a_round_trip() {
    let world = own();
    world.ok(&["export", "own", "--format", "openai-chat", "--out", "out"]);
    let report =
        world.ok(&["import", "openai-chat", "out/openai-chat.jsonl", "--out", "chats"]);
    for row in ["tasks                   4", "trajectories            8"] {
        assert!(report.contains(row), "{report}");
    }
    let line = ["export", "own", "--format", "agentprocessbench", "--out", "out"];
    world.ok(&[&line[..], &["--view", "strict-local"]].concat());
    let file = "out/agentprocessbench.jsonl";
    let report = world.ok(&["import", "agentprocessbench", file, "--out", "labelled"]);
    assert!(report.contains("human labels            0"), "{report}");
    let verdicts = world.read("labelled/verdicts/imported@1.jsonl");
    assert!(verdicts.contains("\"saw\":{\"gold\":true"), "{verdicts}");
    world.fails(&["score", "labels", "labelled"], 3, &["nobody has labelled"]);
}

#[test]
fn instructions_that_no_model_was_given_are_not_written() {
    let world = own();
    let line = ["export", "own", "--format", "openai-chat", "--out", "out"];
    world.edit("world/prompt.md", "Answer the question.", "Say banana.");
    world.fails(&line, 3, &["world", "prompt.md", "not what the run's model was told"]);
    assert!(!world.path("out").exists());
    // A judge's conversation does not say them.
    world.ok(&["export", "own", "--format", "verdict-chat", "--out", "out"]);
    world.edit("world/prompt.md", "Say banana.", "Answer the question.");
    // What a tool finds now is not what the model was told, either way.
    world.edit("corpus/documents.jsonl", "lit in 1802", "lit in 1803");
    world.ok(&line);
}

#[test]
fn labels_that_saw_other_gold_are_not_mixed_with_what_is_known_now() {
    let world = own();
    world.edit("world/gold.jsonl", "\"1802\"", "\"1803\"");
    let words = ["1 by answer-correct@", "gold was another", "plumb label"];
    world.fails(&["audit", "own"], 1, &words);
    let line = ["export", "own", "--format", "trl", "--out", "out"];
    world.fails(&line, 3, &words);
    assert!(!world.path("out").exists());
    let commands: [&[&str]; 3] = [
        &["show", "own"],
        &["diff", "own", "own"],
        &["fork", "own", "q2:0", "--drop", "-r", "1", "-o", "fork"],
    ];
    for command in commands {
        let told = world.plumb(command);
        assert_eq!(told.code, 0, "{}", told.stderr);
        assert!(told.stderr.contains("gold was another"), "{}", told.stderr);
    }
    world.ok(&["label", "own"]);
    world.ok(&["audit", "own"]);
    world.ok(&line);
}

#[test]
fn steps_taken_from_one_state_become_pairs() {
    let world = World::new();
    let line = |sample: u32, said: &str, label: i32| {
        json!({
            "schema_version": "ATIF-v1.8", "session_id": "q0",
            "agent": {"name": "a", "version": "1"}, "extra": {"sample": sample},
            "steps": [
                {"step_id": 1, "source": "user", "message": "Who built the mill?"},
                {"step_id": 2, "source": "agent", "message": format!("<answer>{said}</answer>"),
                 "extra": {"label": label}},
            ],
        })
    };
    let lines =
        [line(0, "Eve Fox", -1), line(1, "Hanne Voss", 1), line(2, "Ann Lee", -1)];
    world.write_lines("in.jsonl", &lines);
    world.ok(&["import", "atif", "in.jsonl", "--out", "run"]);
    world.ok(&["export", "run", "--format", "pairs", "--out", "out"]);
    let pairs = rows(&world, "out/pairs.jsonl");
    assert_eq!(pairs.len(), 2, "{pairs:?}");
    for (pair, rejected) in pairs.iter().zip([0, 2]) {
        assert_eq!(pair["chosen"][0]["content"], "<answer>Hanne Voss</answer>");
        assert_eq!(pair["rejected_node"], rejected);
        assert_eq!(pair["verifier"], "imported@1");
    }
    let header = header(&world, "out/pairs.header.json");
    assert_eq!(header["counts"]["refused"], json!({"equal-siblings": 1}));
    assert_eq!(header["leaks"]["gold"], true, "nobody says what the labeller saw");
}

#[test]
fn the_step_error_is_measured_where_people_have_labelled() {
    let world = imported();
    // People have labelled the same steps, and see one of them otherwise.
    let human = "{\"type\":\"format\",\"name\":\"plumbline.human\",\"version\":{\"major\":1,\"minor\":2}}\n\
        {\"type\":\"human\",\"task\":\"q0\",\"label\":{\"type\":\"step\",\"node\":0,\"label\":\"neutral\"}}\n\
        {\"type\":\"human\",\"task\":\"q0\",\"label\":{\"type\":\"step\",\"node\":1,\"label\":\"good\"}}\n\
        {\"type\":\"human\",\"task\":\"q0\",\"label\":{\"type\":\"step\",\"node\":3,\"label\":\"bad\"}}\n\
        {\"type\":\"human\",\"task\":\"q1\",\"label\":{\"type\":\"step\",\"node\":1,\"label\":\"bad\"}}\n";
    let export = ["export", "run", "--format", "prm", "--error-from", "run", "--out"];
    world.fails(&[&export[..], &["out"]].concat(), 3, &["nobody has labelled"]);
    world.write("run/human.jsonl", human);
    world.ok(&[&export[..], &["out"]].concat());
    let header = header(&world, "out/prm.header.json");
    let error = &header["step_error"];
    assert_eq!(error["value"], 0.25, "{header}");
    assert_eq!((&error["steps"], &error["questions"]), (&json!(4), &json!(2)));
    assert!(error["low"].as_f64() <= error["high"].as_f64());
    assert_eq!(error["where_labelled"]["value"], 0.25, "every step has a label");
    let stranger = World::new();
    let script = stranger.script(&["<answer>x</answer>"]);
    stranger.ok(&["run", "world", "-m", &script, "--out", "own"]);
    stranger.ok(&["label", "own", "--verifier", "well-formed"]);
    let other = stranger.path("own");
    let other = other.to_str().expect("UTF-8");
    let line = ["export", "run", "--format", "prm", "--out", "x", "--error-from", other];
    world.fails(&line, 2, &["\"imported@1\" has not judged this run"]);
}

#[test]
fn columns_are_written_where_they_are_built_in() {
    let world = imported();
    for format in ["verl", "parquet"] {
        let line = ["export", "run", "--format", format, "--out", "out"];
        let outcome = world.plumb(&line);
        if outcome.code == 4 {
            assert!(outcome.stderr.contains("--features parquet"), "{}", outcome.stderr);
            continue;
        }
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
        let header = header(&world, &format!("out/{format}.header.json"));
        let tables = header["counts"]["rows"].as_object().expect("counts");
        for (name, count) in tables {
            let bytes =
                fs::read(world.path(&format!("out/{name}.parquet"))).expect("a file");
            assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"), "{name}");
            assert!(count.as_u64() > Some(0), "{name}");
        }
    }
}

#[test]
fn a_damaged_line_stops_an_export_and_leaves_nothing_behind() {
    let world = imported();
    world.edit("run/steps.jsonl", "\"parent\":0", "\"parent\":7");
    let line = ["export", "run", "--format", "trl", "--out", "out"];
    world.fails(&line, 3, &["steps.jsonl:", "checksum"]);
    world.forge("run", "steps.jsonl", "\"parent\":7", "\"parent\":8");
    world.fails(&line, 3, &["steps.jsonl:", "has no node 8"]);
    assert!(!world.path("out").exists());
}
