//! A component, an MCP server and a program in one episode.

use serde_json::json;

use crate::mcp::SERVER;
use crate::programs::{environment, observed};

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
