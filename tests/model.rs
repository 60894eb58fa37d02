use std::path::PathBuf;

use serde_json::Value;

use crate::world::World;

/// The default model in the user's cache; says so where it is not there.
fn model(test: &str) -> Option<String> {
    let given =
        |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let cache = given("PLUMBLINE_CACHE")
        .or_else(|| given("XDG_CACHE_HOME").map(|dir| dir.join("plumbline")))
        .or_else(|| given("HOME").map(|dir| dir.join(".cache/plumbline")))?;
    let file = cache.join("models/SmolLM2-135M-Instruct.Q4_1.gguf");
    if !file.is_file() {
        println!("{test}: skipped, the default model is not in the cache: make setup");
        return None;
    }
    Some(format!("llama:{}", file.display()))
}

#[test]
fn a_model_searches_answers_and_never_writes_a_malformed_call() {
    let Some(policy) = model("a model") else { return };
    let world = World::new();
    let summary = world.ok(&[
        "run",
        "world",
        "-m",
        &policy,
        "-n",
        "2",
        "-r",
        "2",
        "-c",
        "4",
        "--steps-max",
        "3",
        "--seed",
        "7",
        "-o",
        "runs/a",
    ]);
    assert!(summary.contains("prompt tokens evaluated for each new one"), "{summary}");
    let steps = world.steps("runs/a");
    let nodes: Vec<&Value> = steps.iter().filter(|line| line["type"] == "node").collect();
    assert!(nodes.iter().any(|node| node["proposal"]["action"]["type"] == "calls"));
    for node in &nodes {
        assert_ne!(node["proposal"]["action"]["type"], "malformed", "{node:#}");
        for observation in node["observations"].as_array().expect("a list") {
            assert_ne!(observation["fault"], "bad_args", "{node:#}");
            assert_ne!(observation["fault"], "unknown_tool", "{node:#}");
        }
    }
    tokens_concatenate(&nodes);
    world.ok(&["replay", "runs/a", "--execute"]);
}

/// On every path each prompt extends what came before, and every sampled token has its
/// log-probability.
fn tokens_concatenate(nodes: &[&Value]) {
    let count = |value: &Value| value.as_array().expect("a list").len() as u64;
    for node in nodes {
        let tokens = &node["proposal"]["tokens"];
        let sampled = count(&tokens["sampled"]);
        assert_eq!(sampled, count(&tokens["logprobs"]));
        for logprob in tokens["logprobs"].as_array().expect("a list") {
            let logprob = logprob.as_f64().expect("a number");
            assert!(logprob <= 1e-4 && logprob.is_finite(), "{logprob}");
        }
        let mut length = 0;
        let mut parent = &node["parent"];
        while !parent.is_null() {
            let above = nodes
                .iter()
                .find(|other| other["task"] == node["task"] && &other["node"] == parent)
                .expect("the parent is recorded");
            let tokens = &above["proposal"]["tokens"];
            if length == 0 {
                length = tokens["kept"].as_u64().expect("a number")
                    + count(&tokens["prompt"])
                    + count(&tokens["sampled"]);
            }
            parent = &above["parent"];
        }
        assert_eq!(tokens["kept"].as_u64(), Some(length), "an exact extension: {node:#}");
    }
}

#[test]
fn one_at_a_time_a_model_gives_the_same_bytes_twice() {
    let Some(policy) = model("determinism") else { return };
    let world = World::new();
    for run in ["runs/a", "runs/b"] {
        world.ok(&[
            "run",
            "world",
            "-m",
            &policy,
            "-n",
            "2",
            "-r",
            "2",
            "-c",
            "1",
            "--steps-max",
            "3",
            "--seed",
            "7",
            "-o",
            run,
        ]);
    }
    assert_eq!(world.read("runs/a/steps.jsonl"), world.read("runs/b/steps.jsonl"));
    // Two samples shared a prompt then and do not now: numbers may differ, nothing may fail.
    let again = world.ok(&["replay", "runs/a", "--regenerate", "--json"]);
    let again: Value = serde_json::from_str(&again).expect("JSON");
    assert_eq!(again["failed"], 0, "{again}");
    assert!(again["same"].as_u64().is_some_and(|same| same > 0), "{again}");
}
