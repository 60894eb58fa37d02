//! A component, an MCP server and a program in one episode.

use serde_json::{Value, json};

use crate::mcp::SERVER;
use crate::programs::{environment, observed};
use crate::world::{World, call};

#[allow(dead_code, reason = "shared with the crate, whose tests use all of it")]
#[path = "../crates/plumbline-wasm/tests/text/mod.rs"]
mod text;

#[test]
fn three_kinds_of_guests_serve_one_episode_that_replays() {
    let world = environment(
        "[[tools]]\ntype = \"wasm\"\ncomponent = \"count.wasm\"\neffect = \"stateful\"\n\
         [[tools]]\ntype = \"mcp\"\ncommand = [\"python3\", \"server.py\", \"fine\"]\n\
         effect = \"stateful\"\nprefix = \"far_\"\nonly = [\"count\"]\n\
         [[tools]]\ntype = \"process\"\ncommand = [\"sh\", \"near.sh\"]\neffect = \"pure\"\n",
    );
    let component = wat::parse_str(text::counter()).expect("a component");
    std::fs::write(world.path("plugged/count.wasm"), component).expect("a file");
    world.write("plugged/server.py", SERVER);
    let spec = json!({ "name": "near", "description": "A tool.",
        "parameters": { "type": "object" } });
    let body = r#"while read -r line; do echo '{"text": "fine"}'; done"#;
    world.write("plugged/near.sh", &format!("echo '{spec}'\n{body}\n"));
    let calls = ["count", "far_count", "near", "count", "far_count"];
    let (seen, ending) = observed(&world, &calls, "run");
    assert_eq!(seen, ["1", "1", "fine", "2", "2"]);
    assert_eq!(ending, json!({ "type": "answered" }));
    world.ok(&["label", "run"]);
    world.ok(&["replay", "run", "--execute"]);
    world.fails(
        &["tool", "call", "count", "[]", "--environment", "plugged"],
        1,
        &["fault"],
    );
}

/// A world with one component, and what its table in the manifest says besides.
fn world(component: String, rest: &str) -> World {
    let world = environment(&format!(
        "[[tools]]\ntype = \"wasm\"\ncomponent = \"count.wasm\"\n{rest}\n"
    ));
    let component = wat::parse_str(component).expect("a component");
    std::fs::write(world.path("plugged/count.wasm"), component).expect("a file");
    world.write("plugged/prices.csv", "pear,0.60");
    world
}

/// What the component of a world says to these arguments.
fn said(world: &World, args: &str) -> String {
    let called =
        world.plumb(&["tool", "call", "count", args, "--environment", "plugged"]);
    called.stdout.trim_end().to_owned()
}

/// Runs an episode that makes this call twice, and gives what the calls came to.
fn ran(world: &World, args: &Value) -> Vec<Value> {
    let call = call("count", args);
    let policy = world.script(&[&call, &call, "<answer>done</answer>"]);
    world.ok(&["run", "plugged", "--policy", &policy, "--out", "run"]);
    world.ok(&["replay", "run", "--execute"]);
    let steps = world.steps("run").into_iter();
    steps.filter_map(|step| step["observations"].get(0).cloned()).collect()
}

#[test]
fn one_byte_of_a_component_shows_at_the_step_where_it_matters() {
    let world = world(text::counter(), "effect = \"stateful\"");
    let seen = ran(&world, &json!({ "n": 1 }));
    assert_eq!(seen.iter().map(|it| &it["text"]).collect::<Vec<_>>(), ["1", "2"]);
    let one = wat::parse_str(text::counter()).expect("a component");
    let by_two =
        text::counter().replace("(i32.add (i32.const 1)", "(i32.add (i32.const 2)");
    let two = wat::parse_str(by_two).expect("a component");
    let changed = one.iter().zip(&two).filter(|(one, two)| one != two).count();
    assert_eq!((changed, one.len()), (1, two.len()), "one byte");
    std::fs::write(world.path("plugged/count.wasm"), two).expect("a file");
    // The first call does not come to it, the second does.
    world.fails(&["replay", "run"], 1, &["step 1", "observation 0", "-2", "+3"]);
}

#[test]
fn a_component_has_clock_and_chance_only_where_they_are_granted() {
    for (interface, function, grant) in [
        ("wasi:clocks/monotonic-clock", "now", "clock"),
        ("wasi:random/random", "get-random-u64", "randomness"),
        ("wasi:random/insecure", "get-insecure-random-u64", "randomness"),
    ] {
        let component = || text::drawing(interface, function);
        let without = world(component(), "effect = \"pure\"");
        for seen in ran(&without, &json!({})) {
            assert_eq!(seen["fault"], "trap", "{interface}: {seen}");
            let message = seen["message"].as_str().expect("a message");
            assert!(message.contains(interface), "{message}");
        }
        let other = if grant == "clock" { "randomness" } else { "clock" };
        let other = world(component(), &format!("effect = \"pure\"\n{other} = true"));
        assert!(said(&other, "{}").contains(interface), "another grant is no grant");
        let granted = world(component(), &format!("effect = \"pure\"\n{grant} = true"));
        let seen = ran(&granted, &json!({}));
        assert_eq!(seen[0]["text"].as_str().map(str::len), Some(1), "{seen:?}");
        // A clock and a chance that are the same in every call: nothing external about them.
        assert_eq!(seen[0], seen[1], "{interface}");
        granted.ok(&["tool", "check", "plugged"]);
        let external = format!("effect = \"external\"\n{grant} = true");
        let external = world(component(), &external);
        external.fails(&["tool", "check", "plugged"], 3, &["pure or stateful"]);
    }
}

#[test]
fn a_component_reads_the_files_that_are_granted_and_nothing_else() {
    let path = |path: &str| json!({ "path": path }).to_string();
    let without = world(text::reader(), "effect = \"pure\"");
    assert_eq!(said(&without, &path("prices.csv")), "aaaa", "it refuses");
    let grant = "effect = \"pure\"\nfiles = [\"prices.csv\", \"tables\"]";
    let granted = world(text::reader(), grant);
    granted.write("plugged/tables/one.csv", "plum,0.75");
    assert_eq!(said(&granted, &path("prices.csv")), "pear,0.60");
    assert_eq!(said(&granted, &path("tables/one.csv")), "plum,0.75");
    for other in [
        "gold.jsonl",
        "tables",
        "tables/../gold.jsonl",
        "./prices.csv",
        "/etc/passwd",
        "",
    ] {
        assert_eq!(said(&granted, &path(other)), "aaaa", "{other}");
    }
    let known = path("prices.csv");
    granted.ok(&["tool", "check", "plugged", "--args", &known]);
    let seen = ran(&granted, &json!({ "path": "prices.csv" }));
    assert_eq!(seen[0]["text"], "pear,0.60");
    granted.write("plugged/prices.csv", "pear,0.65");
    granted.fails(&["replay", "run"], 1, &["the data of these tools are others", "0.65"]);
    let outside =
        world(text::reader(), "effect = \"pure\"\nfiles = [\"../script.jsonl\"]");
    outside.fails(&["tool", "list", "plugged"], 3, &["files: ../script.jsonl", "below"]);
    let missing = world(text::reader(), "effect = \"pure\"\nfiles = [\"none.csv\"]");
    missing.fails(&["tool", "list", "plugged"], 3, &["files: ", "none.csv"]);
}
