//! MCP servers as tools: one of our own making that misbehaves as it is told, and those that
//! others publish, where they are installed. And our tools for an MCP client.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::programs::{environment, observed, plugged};
use crate::world::{World, call};

/// A server in Python, without any library. `MODE` is what it does.
pub(crate) const SERVER: &str = r##"
import json, os, sys, time
MODE = sys.argv[1]
TOOLS = int(sys.argv[2]) if len(sys.argv) > 2 else 0
count = 0
def tool(name):
    number = {"type": "object", "properties": {"n": {"type": "integer"}}, "additionalProperties": False}
    return {"name": name, "description": "A tool.", "inputSchema": number}
def say(value):
    print(json.dumps(value), flush=True)
def answer(request, result):
    say({"jsonrpc": "2.0", "id": request["id"], "result": result})
def text(words):
    return {"content": [{"type": "text", "text": words}]}
if MODE == "hang": time.sleep(1000)
if MODE == "mute":
    print("oh dear", file=sys.stderr, flush=True)
    for line in sys.stdin: pass
if MODE == "greeting": print("Server ready.", flush=True)
if MODE == "flood": sys.stdout.write("x" * (1 << 30))
for line in sys.stdin:
    request = json.loads(line)
    method = request.get("method")
    if method == "initialize":
        answer(request, {"protocolVersion": request["params"]["protocolVersion"],
            "capabilities": {"tools": {}}, "serverInfo": {"name": "t", "version": "1"}})
    elif method == "tools/list" and MODE == "listless":
        print("oh dear", file=sys.stderr, flush=True)
    elif method == "tools/list":
        names = ["act", "count", "bad"] + [f"t{i}" for i in range(TOOLS)]
        if MODE == "name": names = ["a b"]
        tools = [tool(name) for name in names]
        if MODE == "array": tools[0]["inputSchema"] = {"type": "array"}
        answer(request, {"tools": tools})
    elif method == "tools/call":
        name = request["params"]["name"]
        if name == "count":
            count += 1
            answer(request, text(str(count)))
        elif name == "bad":
            answer(request, {**text("it failed"), "isError": True})
        elif name != "act": answer(request, text(name))
        elif MODE == "crash": sys.exit(1)
        elif MODE == "hang_once" and not os.path.exists("HUNG"):
            open("HUNG", "w").close()
            time.sleep(1000)
        elif MODE == "crash_at_3":
            count += 1
            if count == 3: sys.exit(1)
            answer(request, text("fine"))
        elif MODE == "endless":
            while True: sys.stdout.write("x" * 65536)
        elif MODE == "huge": answer(request, text("x" * 9000))
        elif MODE == "misfit": answer(request, {"content": 3})
        elif MODE == "chatty": print("debugging", flush=True)
        elif MODE == "nothing": say({"jsonrpc": "2.0", "id": request["id"]})
        elif MODE == "stranger": answer({"id": 999}, text("fine"))
        elif MODE == "twice":
            for _ in range(2): answer(request, text("fine"))
        elif MODE == "utf8":
            sys.stdout.buffer.write(b'{"jsonrpc": "2.0", "id": \xff}\n'); sys.stdout.flush(); sys.exit(1)
        elif MODE == "error":
            say({"jsonrpc": "2.0", "id": request["id"], "error": {"code": -32602, "message": "no such n"}})
        else: answer(request, text("fine"))
"##;

/// An environment `plugged` with the server in this mode.
fn served(mode: &str, effect: &str, more: &str) -> World {
    let tools = format!(
        "[[tools]]\ntype = \"mcp\"\ncommand = [\"python3\", \"server.py\", {mode}]\n\
         effect = \"{effect}\"\n{more}\n"
    );
    let world = environment(&tools);
    world.write("plugged/server.py", SERVER);
    world
}

#[test]
fn what_a_server_does_wrong_is_a_fault_and_the_episode_goes_on() {
    let astray = |what: &str, begin: &str| {
        let begin = begin.replace('"', "\\\"");
        format!("trap: the tool broke: its server wrote {what}; it begins \"{begin}")
    };
    for (mode, expected) in [
        ("fine", "fine"),
        ("crash", "trap: the tool broke: its server ended the connection"),
        ("crash_at_3", "fine"),
        ("endless", "limit: too large: the answer has many more bytes than 4096"),
        ("huge", "limit: too large: the answer has 9004 bytes; at most 4096"),
        ("misfit", "trap: the tool broke: its server's answer is no result of a tool"),
        ("utf8", &astray("a line that is no MCP message", r#"{"jsonrpc""#)),
        ("chatty", &astray("a line that is no MCP message", "debugging")),
        ("nothing", &astray("a line that is no MCP message", r#"{"jsonrpc""#)),
        ("stranger", &astray("an answer to nothing that it was asked", r#"{"jsonrpc""#)),
        ("twice", "fine"),
        ("greeting", "fine"),
        ("error", "bad_args: no such n"),
    ] {
        let world = served(&format!("\"{mode}\""), "pure", "");
        let (seen, ending) = observed(&world, &["act", "act", "act", "bad"], "run");
        assert_eq!(ending, json!({ "type": "answered" }), "{mode}: {seen:?}");
        for seen in &seen[..3] {
            assert!(seen.starts_with(expected), "{mode}: {seen}");
        }
        assert_eq!(seen[3], "trap: it failed", "{mode}: the next tool is not touched");
        world.ok(&["replay", "run"]);
    }
}

#[test]
fn a_server_that_cannot_be_opened_says_why() {
    let fails = |mode: &str, more: &str, code: i32, words: &[&str]| {
        let world = served(mode, "pure", more);
        world.edit(
            "plugged/environment.toml",
            "call_ms_max = 20000",
            "call_ms_max = 2000",
        );
        world.fails(&["tool", "list", "plugged"], code, words);
    };
    let silent =
        "did not answer `initialize` within call_ms_max = 2000 ms: it must be an MCP";
    fails("\"hang\"", "", 5, &["server.py", silent]);
    fails("\"flood\"", "", 5, &["server.py"]);
    fails("\"name\"", "", 3, &["\"a b\"", "`only` leaves it out"]);
    fails("\"fine\"", "only = [\"act\", \"atc\"]", 3, &["no tool \"atc\"", "count"]);
    fails("\"array\"", "", 3, &["environment.toml:", "tool act", "of type object"]);
    fails("\"mute\"", "", 5, &["server.py", silent, "standard error: oh dear"]);
    fails(
        "\"listless\"",
        "",
        5,
        &["did not answer `tools/list`", "standard error: oh dear"],
    );
    fails("\"fine\"", "variables = [\"HOME\"]", 3, &["effect is external"]);
    let twice = "[[tools]]\ntype = \"mcp\"\ncommand = [\"python3\", \"server.py\", \"fine\"]\n\
                 effect = \"pure\"";
    fails("\"fine\"", twice, 3, &["two tools are called \"act\""]);
    let ours = "only = [\"act\"]\nprefix = \"x_\"\n[[tools]]\ntype = \"search\"\n\
                corpus = \"../corpus\"\n";
    served("\"fine\"", "pure", ours).ok(&["tool", "list", "plugged"]);
}

#[test]
fn an_address_that_is_none_is_told_from_a_server_that_is_away() {
    for (url, code, word) in
        [("nonsense", 3, "http or https"), ("http://127.0.0.1:9/mcp", 5, "127.0.0.1:9")]
    {
        let world = environment(&format!(
            "[[tools]]\ntype = \"mcp\"\nurl = \"{url}\"\neffect = \"external\"\n"
        ));
        let outcome = world.plumb(&["tool", "list", "plugged"]);
        assert_eq!(outcome.code, code, "{}", outcome.stderr);
        let said = outcome.stderr;
        assert!(said.contains(word) && !said.contains("rmcp"), "{said}");
    }
}

#[test]
fn a_stateful_server_forks_by_being_told_the_same_calls() {
    let world = served("\"fine\"", "pure", "[tools.effects]\ncount = \"stateful\"");
    let (seen, _) = observed(&world, &["count", "act", "count", "count"], "run");
    assert_eq!(seen, ["1", "fine", "2", "3"]);
    world.ok(&["replay", "run"]);
    let count = call("count", &json!({}));
    let policy = world.script(&[&count, &count, &count, "<answer>x</answer>"]);
    let fork = ["fork", "run", "t:2", "--drop", "--rest", "resampled", "--samples", "2"];
    let fork = [&fork[..], &["--policy", &policy, "--out", "f"]].concat();
    world.ok(&fork);
    world.ok(&["replay", "f"]);
}

#[test]
fn two_hundred_tools_of_one_server_are_two_hundred_tools() {
    let world = served("\"fine\", \"200\"", "pure", "");
    let listed = world.ok(&["tool", "list", "plugged", "--json"]);
    assert_eq!(listed.lines().count(), 203);
    let (seen, _) = observed(&world, &["t0", "t199"], "run");
    assert_eq!(seen, ["t0", "t199"]);
}

#[test]
fn external_calls_are_replayed_from_the_record() {
    let world = served("\"fine\"", "external", "");
    let (seen, _) = observed(&world, &["count", "count"], "run");
    assert_eq!(seen, ["1", "2"]);
    world.ok(&["replay", "run", "--execute"]);
    let world = served("\"crash\"", "external", "");
    let (seen, ending) = observed(&world, &["act", "count"], "run");
    assert_eq!(seen[0], "external: its server ended the connection");
    assert_eq!((seen[1].as_str(), &ending["type"]), ("1", &json!("answered")));
}

#[test]
fn a_call_that_hangs_takes_its_server_along_and_no_later_call() {
    for (effect, seen) in
        [("pure", vec!["fine"]), ("external", vec!["external: act did", "fine"])]
    {
        let world = served("\"hang_once\"", effect, "");
        world.edit(
            "plugged/environment.toml",
            "call_ms_max = 20000",
            "call_ms_max = 2000",
        );
        let hung = world.path("hung");
        world.edit("plugged/server.py", "HUNG", &hung.display().to_string());
        let (mut all, _) = observed(&world, &["act", "act"], "run");
        if effect == "pure" {
            assert!(all.is_empty(), "the branch is aborted: {all:?}");
            all = observed(&world, &["act"], "other").0;
        }
        let fits = all.iter().zip(&seen).all(|(all, seen)| all.starts_with(seen));
        assert!(fits && all.len() == seen.len(), "{effect}: {all:?}");
    }
}

/// A folder that published servers are installed in: `make guests` fills it.
fn guests(test: &str, program: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("PLUMBLINE_GUESTS").map(PathBuf::from);
    let places = folder.iter().flat_map(|folder| {
        [folder.join("node_modules/.bin").join(program), folder.join("bin").join(program)]
    });
    let found = { places }.find(|path| path.is_file());
    if found.is_none() {
        println!("{test}: skipped, there is no {program}: make guests");
    }
    found
}

#[test]
fn the_published_file_server_keeps_files_that_fork() {
    let Some(program) = guests("file server", "mcp-server-filesystem") else { return };
    let world = environment(&format!(
        "[[tools]]\ntype = \"mcp\"\ncommand = [\"{}\", \".\"]\nfiles = [\"notes.txt\"]\n\
         effect = \"stateful\"\nonly = [\"read_text_file\", \"write_file\"]\n",
        program.display()
    ));
    world.write("plugged/notes.txt", "before");
    let write =
        |text: &str| call("write_file", &json!({ "path": "notes.txt", "content": text }));
    let read = call("read_text_file", &json!({ "path": "notes.txt" }));
    let replies = [read.clone(), write("after"), read, "<answer>x</answer>".to_owned()];
    let replies: Vec<&str> = replies.iter().map(String::as_str).collect();
    world.edit("plugged/environment.toml", "memory_bytes_max = 268435456\n", "");
    let policy = world.script(&replies);
    world.ok(&["run", "plugged", "--policy", &policy, "--out", "run"]);
    let lines = world.steps("run");
    let texts: Vec<&str> = lines
        .iter()
        .filter_map(|line| line["observations"][0]["text"].as_str())
        .collect();
    assert_eq!((texts[0], texts[2]), ("before", "after"), "{texts:?}");
    world.ok(&["replay", "run"]);
    assert_eq!(world.read("plugged/notes.txt"), "before", "it worked on a copy");
}

#[test]
fn the_published_server_of_everything_works_over_either_transport() {
    let Some(program) = guests("server of everything", "mcp-server-everything") else {
        return;
    };
    let call_echo = |world: &World| {
        let args = r#"{"message": "hello"}"#;
        world.edit("plugged/environment.toml", "memory_bytes_max = 268435456\n", "");
        world.ok(&["tool", "call", "e_echo", args, "--environment", "plugged"])
    };
    let program = program.display();
    let more = "effect = \"external\"\nprefix = \"e_\"\nonly = [\"echo\", \"get-sum\"]\n";
    let manifest =
        format!("[[tools]]\ntype = \"mcp\"\ncommand = [\"{program}\"]\n{more}");
    assert!(call_echo(&environment(&manifest)).contains("hello"));
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        free.local_addr().expect("it is bound").port()
    };
    let mut server = std::process::Command::new(program.to_string());
    server.arg("streamableHttp").env("PORT", port.to_string());
    server.stdout(Stdio::null()).stderr(Stdio::null());
    let mut server = server.spawn().expect("it starts");
    for _ in 0..200 {
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let url = format!(
        "[[tools]]\ntype = \"mcp\"\nurl = \"http://127.0.0.1:{port}/mcp\"\n{more}"
    );
    let said = std::panic::catch_unwind(|| call_echo(&environment(&url)));
    server.kill().expect("it still runs");
    server.wait().expect("it ends");
    assert!(said.expect("no panic").contains("hello"));
}

#[test]
fn calls_of_a_client_that_does_not_wait_are_made_in_its_order() {
    let count = r#"while read -r line; do i=${line#*'"state":'}; i=${i%%[!0-9]*}
        i=$((${i:-0}+1)); echo "{\"text\": \"$i\", \"state\": $i}"; done"#;
    let world = plugged(&[("count", "stateful", count)]);
    let call = json!({ "name": "count", "arguments": { "n": 1 } });
    let mut lines = vec![initialize(0)];
    lines.push(json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
    lines.extend((1..=40).map(|id| request(id, "tools/call", &call)));
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let mut server = world.command(&["mcp", "plugged"]);
    server.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut server = server.spawn().expect("plumb starts");
    let mut stdin = server.stdin.take().expect("it is piped");
    stdin.write_all(lines.as_bytes()).expect("it reads");
    let said = BufReader::new(server.stdout.take().expect("it is piped")).lines();
    for line in said.take(41).skip(1) {
        let said: Value = serde_json::from_str(&line.expect("text")).expect("JSON");
        let text = said["result"]["content"][0]["text"].as_str().unwrap_or_default();
        assert_eq!(text, said["id"].to_string(), "{said}");
    }
    drop(stdin);
    assert!(server.wait().expect("it ends").success());
}

/// A request of a client's, and the first one of all.
fn request(id: u32, method: &str, params: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

fn initialize(id: u32) -> Value {
    let hello = json!({ "protocolVersion": "2025-06-18", "capabilities": {},
        "clientInfo": { "name": "test", "version": "1" } });
    request(id, "initialize", &hello)
}

#[test]
fn a_line_that_cannot_be_read_is_refused_and_the_next_one_is_served() {
    let world = World::new();
    let mut server = world.command(&["mcp", "world"]);
    server.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut server = server.spawn().expect("plumb starts");
    let mut stdin = server.stdin.take().expect("it is piped");
    let mut lines = BufReader::new(server.stdout.take().expect("it is piped")).lines();
    let mut said = |line: &[u8]| -> Value {
        stdin.write_all(&[line, b"\n"].concat()).expect("it reads");
        let said = lines.next().expect("it answers").expect("in text");
        serde_json::from_str(&said).expect("in JSON")
    };
    let refused = |said: Value, code: i32, id: Value| {
        assert_eq!((&said["error"]["code"], said.get("id")), (&json!(code), Some(&id)));
    };
    refused(said(b"hello?"), -32700, Value::Null);
    let greeting = said(initialize(1).to_string().as_bytes());
    assert_eq!(greeting["result"]["serverInfo"]["name"], "plumbline", "{greeting}");
    for unread in [&b"{\"jsonrpc\": \"2.0\", "[..], b"\xff", &vec![b'x'; 5 << 20]] {
        refused(said(unread), -32700, Value::Null);
        refused(said(br#"{"id": 7, "method": "tools/list"}"#), -32600, json!(7));
        let listed = said(request(2, "tools/list", &json!({})).to_string().as_bytes());
        assert_eq!(listed["result"]["tools"][0]["name"], "search", "{listed}");
    }
    drop(stdin);
    assert!(server.wait().expect("it ends").success());
}

#[test]
fn our_tools_serve_any_client() {
    let world = World::new();
    let mut server = world.command(&["mcp", "world"]);
    server.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut server = server.spawn().expect("plumb starts");
    let mut stdin = server.stdin.take().expect("it is piped");
    let mut lines = BufReader::new(server.stdout.take().expect("it is piped")).lines();
    let mut ask = |id: u32, method: &str, params: Value| {
        writeln!(stdin, "{}", request(id, method, &params)).expect("it reads");
        let line = lines.next().expect("it answers").expect("in text");
        let answer: Value = serde_json::from_str(&line).expect("in JSON");
        assert_eq!(answer["id"], id, "{answer}");
        answer
    };
    let said = ask(1, "initialize", initialize(1)["params"].clone());
    assert_eq!(said["result"]["serverInfo"]["name"], "plumbline", "{said}");
    let said = ask(2, "tools/list", json!({}));
    assert_eq!(said["result"]["tools"][0]["name"], "search", "{said}");
    let query = json!({ "name": "search", "arguments": { "query": "Tide Mill" } });
    let said = ask(3, "tools/call", query);
    let text = said["result"]["content"][0]["text"].as_str().unwrap_or_default();
    assert!(text.contains("Hanne Voss"), "{said}");
    let wrong = json!({ "name": "search", "arguments": { "quarry": 1 } });
    let said = ask(4, "tools/call", wrong);
    assert_eq!(said["result"]["isError"], true, "{said}");
    drop(stdin);
    assert!(server.wait().expect("it ends").success(), "it leaves when the client does");
}
