use serde_json::{Value, json};

use crate::world::{World, call, search};

/// Runs one question with these messages and returns its steps.
fn run(world: &World, replies: &[&str]) -> Vec<Value> {
    let script = world.script(replies);
    world.ok(&["run", "world", "-m", &script, "-n", "1", "-o", "runs/a"]);
    world.ok(&["replay", "runs/a"]);
    world.steps("runs/a")
}

#[track_caller]
fn fault(step: &Value, index: usize, expect: &str, words: &str) {
    let observation = &step["observations"][index];
    assert_eq!(observation["fault"], expect, "{step:#}");
    let message = observation["message"].as_str().expect("a fault has a message");
    assert!(message.contains(words), "{message:?} lacks {words:?}");
}

#[test]
fn a_malformed_message_is_corrected_and_the_episode_goes_on() {
    let world = World::new();
    let steps =
        run(&world, &["<tool_call>\n{\"name\": \"sea", "<answer>Felling</answer>"]);
    fault(&steps[0], 0, "malformed", "<tool_call>");
    assert_eq!(steps[2]["ending"]["type"], "answered");
}

#[test]
fn a_streak_of_malformed_messages_ends_the_episode() {
    let world = World::new();
    let steps = run(&world, &["<tool_call>{", "<tool_call>{", "<tool_call>{"]);
    assert_eq!(steps.len(), 4, "three steps and an ending: {steps:#?}");
    assert_eq!(steps[3]["ending"]["budget"], "malformed");
}

#[test]
fn unknown_tools_and_bad_arguments_are_named_with_the_remedy() {
    let world = World::new();
    let unknown = call("serch", &json!({"query": "x"}));
    let missing = call("search", &json!({"querry": "x"}));
    let wrong = call("search", &json!({"query": 7}));
    let steps = run(&world, &[&unknown, &missing, &wrong, "<answer>x</answer>"]);
    fault(&steps[0], 0, "unknown_tool", "there are: search, open");
    fault(&steps[1], 0, "bad_args", "query");
    fault(&steps[2], 0, "bad_args", "string");
}

#[test]
fn several_calls_in_one_message_are_made_in_order_up_to_a_limit() {
    let world = World::new();
    let call = |query: &str| search(query);
    let message = ["mill", "voss", "felling", "orrin", "sorn"].map(call).join("\n");
    let steps = run(&world, &[&message, "<answer>x</answer>"]);
    let observations = steps[0]["observations"].as_array().expect("a list");
    assert_eq!(observations.len(), 5, "one observation a call");
    let first = &observations[0]["data"]["documents"][0]["id"];
    assert_eq!(first, "mill");
    fault(&steps[0], 4, "limit", "4 calls");
}

#[test]
fn the_step_limit_and_the_call_limit_hold() {
    let world = World::new();
    let again = search("mill");
    let steps = run(&world, &[&again, &again, &again, &again, &again]);
    assert_eq!(steps.len(), 6);
    assert_eq!(steps[5]["ending"]["budget"], "steps");
    let script = world.script(&[&again, &again, "<answer>x</answer>"]);
    world.ok(&[
        "run",
        "world",
        "-m",
        &script,
        "-n",
        "1",
        "--calls-max",
        "1",
        "-o",
        "runs/b",
    ]);
    fault(&world.steps("runs/b")[1], 0, "limit", "used up");
}

#[test]
fn a_repeat_is_labelled_bad_and_an_invented_answer_too() {
    let world = World::new();
    let again = search("the tide mill");
    let script = world.script(&[&again, &again, "<answer>Atlantis</answer>"]);
    world.ok(&["run", "world", "-m", &script, "-n", "1", "-o", "runs/a"]);
    world.ok(&["label", "runs/a"]);
    let shown = world.ok(&["show", "runs/a", "q1"]);
    assert!(shown.contains("step 1  [bad]"), "{shown}");
    assert!(shown.contains("step 2  [bad]"), "{shown}");
    let online = world.ok(&["show", "runs/a", "q1", "--view", "online"]);
    assert!(online.contains("step 2  [bad]"), "support needs no gold: {online}");
}

#[test]
fn any_query_a_model_can_write_gets_an_answer() {
    let world = World::new();
    let huge = "mill ".repeat(10_000);
    let queries =
        ["\"", "title:", "*:*", "((((", "a AND OR NOT", "🦀🦀", "\u{0}", &huge, "the of"];
    for query in queries {
        let script = world.script(&[&search(query), "<answer>x</answer>"]);
        let run = format!("runs/{}", query.len());
        let _ = std::fs::remove_dir_all(world.path(&run));
        world.ok(&["run", "world", "-m", &script, "-n", "1", "-o", &run]);
        let steps = world.steps(&run);
        assert_eq!(
            steps[0]["observations"][0]["type"], "output",
            "{query:?}: {:#}",
            steps[0]
        );
    }
}
