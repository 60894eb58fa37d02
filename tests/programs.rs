//! Tools that are programs of other people's: what they do for us, and what they do to us.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::world::{World, call};

/// A world with an environment `plugged` that has these tools.
pub(crate) fn environment(tools: &str) -> World {
    let world = World::new();
    let manifest = "name = \"plugged\"\ndescription = \"d\"\nprotocol = \"hermes\"\n\
         verifiers = [\"well-formed\", \"repeat\"]\n[limits]\nsteps_max = 12\ncall_ms_max = 20000\noutput_bytes_max = 4096\n\
         files_bytes_max = 1048576\nmemory_bytes_max = 268435456\n";
    world.write("plugged/environment.toml", &format!("{manifest}{tools}"));
    world.write("plugged/prompt.md", "Answer.\n\n{{tools}}\n");
    world.write_lines("plugged/tasks.jsonl", &[json!({ "id": "t", "prompt": "p" })]);
    world.write_lines("plugged/gold.jsonl", &[json!({ "id": "t", "answer": "done" })]);
    world
}

/// The same with a shell script for each of these: name, effect, and what the script does once
/// it has said what it is.
pub(crate) fn plugged(programs: &[(&str, &str, &str)]) -> World {
    let tools = programs.iter().map(|(name, effect, _)| {
        format!(
            "[[tools]]\ntype = \"process\"\ncommand = [\"sh\", \"{name}.sh\"]\n\
             effect = \"{effect}\"\n"
        )
    });
    let world = environment(&tools.collect::<String>());
    for (name, _, body) in programs {
        let spec = json!({ "name": name, "description": "A tool.", "parameters":
            { "type": "object", "properties": { "n": { "type": "integer" } },
              "required": ["n"], "additionalProperties": false } });
        world.write(&format!("plugged/{name}.sh"), &format!("echo '{spec}'\n{body}\n"));
    }
    world
}

/// Answers every call in the same way.
const SOUND: &str = r#"while read -r line; do echo '{"text": "fine"}'; done"#;

/// Calls these tools, one a step, and answers; returns what each step observed, as
/// `fault: message` or the text, and the ending.
#[track_caller]
pub(crate) fn observed(world: &World, calls: &[&str], run: &str) -> (Vec<String>, Value) {
    let mut replies: Vec<String> =
        calls.iter().map(|tool| call(tool, &json!({ "n": 1 }))).collect();
    replies.push("<answer>done</answer>".to_owned());
    let replies: Vec<&str> = replies.iter().map(String::as_str).collect();
    let policy = world.script(&replies);
    let outcome = world.plumb(&["run", "plugged", "--policy", &policy, "--out", run]);
    // An aborted episode is a failure outside; the run is there all the same.
    assert!([0, 5].contains(&outcome.code), "{}{}", outcome.stdout, outcome.stderr);
    let lines = world.steps(run);
    let observed = lines.iter().filter_map(|line| line["observations"].get(0));
    let words = observed.map(|it| match it["fault"].as_str() {
        Some(fault) => format!("{fault}: {}", it["message"].as_str().unwrap_or_default()),
        None => it["text"].as_str().unwrap_or_default().to_owned(),
    });
    let ending = lines.iter().find_map(|line| line.get("ending"));
    (words.collect(), ending.cloned().unwrap_or_default())
}

#[test]
fn what_a_program_does_wrong_is_a_fault_and_the_episode_goes_on() {
    let hostile = [
        ("endless", "read l; cat /dev/zero", "limit: ", "more than"),
        ("chatter", "read l; yes", "trap: ", "its answer is none"),
        (
            "garbled",
            r#"read l; printf '{"text": "\377"}\n'"#,
            "trap: ",
            "its answer is none",
        ),
        ("misfit", r#"read l; echo '{"answer": 3}'"#, "trap: ", "unknown field `answer`"),
        ("silent", "read l; echo '{}'", "trap: ", "must have `text`"),
        ("crash", "read l; exit 3", "trap: ", "exit status: 3"),
        ("killed", "read l; kill -9 $$; sleep 1000", "trap: ", "without an answer"),
        (
            "deep",
            "read l; printf '{\"data\": '; head -c 4000 /dev/zero | tr '\\0' '['; echo",
            "trap: ",
            "recursion",
        ),
        ("stateless", r#"read l; echo '{"text": "x", "state": 1}'"#, "trap: ", "Pure"),
        (
            "huge",
            r#"read l; printf '{"text": "'; head -c 9999 /dev/zero | tr '\0' a; echo '"}'"#,
            "limit: ",
            "more than 4096 bytes",
        ),
        (
            "bomb",
            "read l; exec python3 -c 'x = bytearray(1 << 30); print(x)'",
            "trap: ",
            "exit status: 1",
        ),
    ];
    let mut programs: Vec<(&str, &str, &str)> =
        hostile.iter().map(|(name, body, ..)| (*name, "pure", *body)).collect();
    programs.push(("good", "pure", SOUND));
    let world = plugged(&programs);
    let calls: Vec<&str> =
        hostile.iter().flat_map(|(name, ..)| [*name, "good"]).collect();
    for (index, pair) in calls.chunks(6).enumerate() {
        let (observed, ending) = observed(&world, pair, &format!("run-{index}"));
        assert_eq!(ending, json!({ "type": "answered" }), "{observed:?}");
        for (tool, observed) in pair.iter().zip(&observed) {
            let Some((_, _, fault, word)) = hostile.iter().find(|it| it.0 == *tool)
            else {
                assert_eq!(observed, "fine", "another tool was touched by {pair:?}");
                continue;
            };
            assert!(observed.starts_with(fault), "{tool}: {observed}");
            assert!(observed.contains(word), "{tool}: {observed}");
        }
        world.ok(&["replay", &format!("run-{index}")]);
    }
}

#[test]
fn what_only_an_old_process_does_wrong_nobody_sees() {
    let body = r#"for i in 1 2; do read -r line; echo '{"text": "fine"}'; done; exit 1"#;
    let twice = r#"while read -r line; do echo '{"text": "fine"}'; echo '{"text": "again"}'; done"#;
    let world = plugged(&[("crash_at_3", "pure", body), ("twice", "pure", twice)]);
    for tool in ["crash_at_3", "twice"] {
        let (observed, _) = observed(&world, &[tool; 5], tool);
        assert_eq!(observed, ["fine"; 5], "{tool}");
    }
}

#[test]
fn a_program_that_hangs_aborts_its_branch_and_no_other() {
    let world =
        plugged(&[("hang", "pure", "read l; sleep 1000"), ("good", "pure", SOUND)]);
    world.edit("plugged/environment.toml", "call_ms_max = 20000", "call_ms_max = 1500");
    let (seen, ending) = observed(&world, &["good", "hang"], "hung");
    assert_eq!((seen, ending["boundary"].as_str()), (vec!["fine".into()], Some("clock")));
    let (seen, ending) = observed(&world, &["good"], "other");
    assert_eq!((seen, ending), (vec!["fine".into()], json!({ "type": "answered" })));
}

#[test]
fn what_is_nested_too_deep_leaves_a_run_that_can_be_read() {
    let deep = r#"while read l; do printf '{"text": "x", "data": '
        for c in [ ]; do head -c 110 /dev/zero | tr '\0' $c; done; echo '}'; done"#;
    let world = plugged(&[("deep", "pure", deep)]);
    let (seen, _) = observed(&world, &["deep"], "data");
    assert!(seen[0].starts_with("trap: ") && seen[0].contains("64 deep"), "{seen:?}");
    world.ok(&["replay", "data"]);
    let nested = format!("{}{}", "[".repeat(110), "]".repeat(110));
    let nested: Value = serde_json::from_str(&nested).expect("JSON");
    let message = call("deep", &json!({ "n": nested }));
    let policy = world.script(&[&message, "<answer>done</answer>"]);
    world.ok(&["run", "plugged", "--policy", &policy, "--out", "args"]);
    let fault = &world.steps("args")[0]["observations"][0];
    assert_eq!(fault["fault"], "malformed", "{fault}");
    world.ok(&["replay", "args"]);
}

#[test]
fn a_line_that_nobody_asked_for_is_no_answer() {
    let world = plugged(&[("good", "pure", SOUND)]);
    let early = r#"printf '%s\n{"text": "early"}\n' '"#;
    world.edit("plugged/good.sh", "echo '{\"name\"", &format!("{early}{{\"name\""));
    let (seen, _) = observed(&world, &["good"], "run");
    assert_eq!(
        seen,
        ["trap: the tool broke: it wrote a line before it was asked anything"]
    );
}

#[test]
fn an_answer_that_names_another_question_is_no_answer() {
    let answers = |text: &str| {
        format!(
            r#"while read -r line; do id=${{line#'{{"id":'}}; id=${{id%%,*}}
            {text}; done"#
        )
    };
    let late = answers(
        r#"[ "$id" = 1 ] || echo "{\"id\": 1, \"text\": \"late\"}"
           echo "{\"id\": $id, \"text\": \"fine\"}""#,
    );
    let other = answers(r#"echo "{\"id\": 7, \"text\": \"$id\"}""#);
    let said = r#"while read -r line; do echo '{"id": 1, "text": "fine"}'; done"#;
    let programs =
        [("late", &*late), ("other", &*other), ("none", SOUND), ("said", said)];
    let world = plugged(&programs.map(|(name, body)| (name, "pure", body)));
    for name in ["late", "other", "none"] {
        let named = format!("\"name\":\"{name}\"");
        let ids = format!("\"ids\":true,{named}");
        world.edit(&format!("plugged/{name}.sh"), &named, &ids);
    }
    let calls = ["late", "late", "late", "other", "none", "said"];
    let (seen, _) = observed(&world, &calls, "run");
    assert_eq!(seen[..3], ["fine"; 3], "{seen:?}");
    for (seen, word) in seen[3..].iter().zip([
        "its answer has the id 7, and the question 1",
        "its answer has no id, which",
        "its answer has an id, and its first line no",
    ]) {
        assert!(seen.starts_with(&format!("trap: the tool broke: {word}")), "{seen}");
    }
    world.ok(&["replay", "run"]);
}

#[test]
fn code_cannot_call_a_tool_whose_state_it_would_lose() {
    for (effect, word) in [("stateful", "would be lost"), ("external", "from the record")]
    {
        let world = plugged(&[("note", effect, SOUND)]);
        let manifest = world.read("plugged/environment.toml");
        let python = "[[tools]]\ntype = \"python\"\ncalls = [\"note\"]\n";
        world.write("plugged/environment.toml", &format!("{manifest}{python}"));
        world.fails(&["tool", "list", "plugged"], 3, &["python calls \"note\"", word]);
    }
}

/// Starts `plumb run` with one call of this tool, alone in a process group, and waits until the
/// call has been made.
fn started(world: &World, tool: &str) -> Child {
    let policy =
        world.script(&[&call(tool, &json!({ "n": 1 })), "<answer>done</answer>"]);
    let mut command =
        world.command(&["run", "plugged", "--policy", &policy, "-o", "run"]);
    command.process_group(0).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().expect("plumb starts");
    let began = Instant::now();
    while !world.path("called").exists() {
        assert!(began.elapsed() < Duration::from_secs(60), "it is not called");
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

fn signal(name: &str, to: &str) {
    let sent =
        Command::new("kill").args([name, "--", to]).status().expect("kill is there");
    assert!(sent.success());
}

/// Says that it was called, waits, and answers.
fn slow(world: &World, seconds: u32) -> String {
    let called = world.path("called");
    format!(
        "while read l; do pwd >> {0}; sleep {seconds}; echo '{{\"text\": \"fine\"}}'; done",
        called.display()
    )
}

#[test]
fn an_interrupt_does_not_reach_a_program() {
    for (name, to_group) in [("-INT", "-"), ("-TERM", "")] {
        let world = plugged(&[("slow", "pure", "")]);
        let body = slow(&world, 2);
        let text = world.read("plugged/slow.sh");
        world.write("plugged/slow.sh", &format!("{text}{body}\n"));
        let mut child = started(&world, "slow");
        signal(name, &format!("{to_group}{}", child.id()));
        assert_eq!(child.wait().expect("it ends").code(), Some(5), "{name}");
        let observed = &world.steps("run")[0]["observations"][0];
        assert_eq!(observed["text"], "fine", "{name}: {observed}");
        world.ok(&["run", "plugged", "--policy", "scripted:script.jsonl", "-o", "run"]);
    }
}

#[test]
fn nothing_outlives_a_plumb_that_is_killed() {
    let world = plugged(&[("slow", "pure", "")]);
    if !world.plumb(&["doctor"]).stdout.contains("no network") {
        println!("killed: skipped, this system cannot make namespaces");
        return;
    }
    let body = slow(&world, 1000);
    let text = world.read("plugged/slow.sh");
    world.write("plugged/slow.sh", &format!("{text}{body}\n"));
    let mut child = started(&world, "slow");
    let parent = child.id().to_string();
    let children = || {
        let listed = Command::new("ps").args(["-o", "pid=", "--ppid", &parent]).output();
        let listed =
            String::from_utf8(listed.expect("ps is there").stdout).expect("text");
        listed.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let started = children();
    assert!(!started.is_empty());
    child.kill().expect("kill -9");
    child.wait().expect("it is dead");
    std::thread::sleep(Duration::from_millis(500));
    for pid in started {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
        let is_dead = status.as_ref().map_or(true, |it| it.contains("State:\tZ"));
        assert!(is_dead, "{status:?}");
    }
}

#[test]
fn a_program_that_starts_others_without_end_is_stopped() {
    let forks = "read l; while :; do sleep 1000 & done";
    let world = plugged(&[("forks", "pure", forks), ("good", "pure", SOUND)]);
    if !world.plumb(&["doctor"]).stdout.contains("at most 1024 processes") {
        println!("forks: skipped, this system does not bound a program's processes");
        return;
    }
    let (seen, ending) = observed(&world, &["forks", "good", "forks"], "run");
    assert_eq!(ending, json!({ "type": "answered" }), "{seen:?}");
    assert!(seen[0].starts_with("trap: the tool broke: it ended without"), "{seen:?}");
    assert_eq!((seen[1].as_str(), &seen[2]), ("fine", &seen[0]));
    world.ok(&["replay", "run"]);
}

#[test]
fn a_tool_that_cannot_be_opened_says_why() {
    let fails = |file: &str, text: &str, code: i32, words: &[&str]| {
        let world = plugged(&[("good", "pure", SOUND)]);
        world.write(&format!("plugged/{file}"), text);
        world.edit(
            "plugged/environment.toml",
            "call_ms_max = 20000",
            "call_ms_max = 1500",
        );
        world.fails(&["tool", "list", "plugged"], code, words);
    };
    fails("good.sh", "sleep 1000", 3, &["good.sh", "did not say what it is"]);
    fails("good.sh", "echo oh dear >&2; exit 7", 3, &["exit status: 7", "oh dear"]);
    let escape = "printf 'oh\\033[2J' >&2; exit 7";
    fails("good.sh", escape, 3, &["environment.toml:11: ", "oh\\u{1b}[2J"]);
    fails("good.sh", "echo hello", 3, &["first line must be"]);
    fails("good.sh", "cat /dev/zero", 3, &["first line has more than"]);
    let spec = r#"echo '{"name": "good", "description": "d", "parameters": 1}'"#;
    fails("good.sh", spec, 3, &["JSON Schema of type object"]);
    let world = plugged(&[("good", "pure", SOUND), ("twin", "pure", SOUND)]);
    world.edit("plugged/twin.sh", "twin", "good");
    world.fails(&["tool", "list", "plugged"], 3, &["two tools are called \"good\""]);
    let world = plugged(&[("search", "pure", SOUND)]);
    let manifest = world.read("plugged/environment.toml");
    let ours = "[[tools]]\ntype = \"search\"\ncorpus = \"../corpus\"\n";
    world.write("plugged/environment.toml", &format!("{manifest}{ours}"));
    world.fails(&["tool", "list", "plugged"], 3, &["two tools are called \"search\""]);
    let world = plugged(&[("good", "pure", SOUND)]);
    world.edit("plugged/environment.toml", "\"sh\"", "\"no-such-shell\"");
    world.fails(&["tool", "list", "plugged"], 4, &["no-such-shell", "PATH"]);
    let world = plugged(&[("good", "pure", SOUND)]);
    let network = "effect = \"pure\"\nnetwork = true";
    world.edit("plugged/environment.toml", "effect = \"pure\"", network);
    world.fails(&["tool", "list", "plugged"], 3, &["effect is external"]);
}

#[test]
fn a_replay_takes_what_an_external_tool_said_from_the_record() {
    let world = World::new();
    let log = world.path("log");
    let body = format!(
        "while read -r line; do echo called >> {}; echo \"{{\\\"text\\\": \\\"$(date +%N)\\\"}}\"; done",
        log.display()
    );
    let world = plugged(&[("dice", "external", &body)]);
    let (seen, _) = observed(&world, &["dice", "dice"], "run");
    assert_ne!(seen[0], seen[1], "what is external is never cached");
    let calls = || std::fs::read_to_string(&log).expect("it was called").lines().count();
    assert_eq!(calls(), 2);
    // Nor need it be there to be called: nobody starts it.
    std::fs::remove_file(world.path("plugged/dice.sh")).expect("it was there");
    world.ok(&["replay", "run", "--execute"]);
    world.ok(&["label", "run"]);
    world.ok(&["audit", "run"]);
    world.ok(&["export", "run", "--format", "openai-chat", "--out", "out"]);
    assert_eq!(calls(), 2, "nobody called it again");
    let policy = world.script(&["<answer>x</answer>"; 3]);
    world.ok(&[
        "fork",
        "run",
        "t:1",
        "--drop",
        "--policy",
        &policy,
        "--samples",
        "1",
        "--out",
        "f",
    ]);
    assert_eq!(calls(), 2, "what stands before a change is on the record");
}

#[test]
fn a_new_environment_works_at_once_in_either_language() {
    for language in ["python", "shell"] {
        let world = World::new();
        world.ok(&["env", "new", "my-env", "--language", language]);
        world.ok(&["env", "check", "my-env"]);
        let policy = "scripted:my-env/policy.jsonl";
        world.ok(&["run", "./my-env", "--policy", policy, "--out", "run"]);
        world.ok(&["label", "run"]);
        let shown = world.ok(&["show", "run"]);
        assert!(shown.contains("pear"), "{shown}");
        world.ok(&["replay", "run", "--execute"]);
        world.fails(&["env", "new", "my-env"], 2, &["is there already"]);
        world.fails(&["env", "new", "my env"], 2, &["letters"]);
    }
}

#[test]
fn a_new_tool_works_once_a_manifest_names_it() {
    let world = World::new();
    world.ok(&["env", "new", "my-env"]);
    for (name, language, args, expected) in [
        ("note", "python", r#"{"note": "one"}"#, "one"),
        ("sum", "shell", r#"{"a": 20, "b": -3}"#, "17"),
    ] {
        let said =
            world.ok(&["tool", "new", name, "--language", language, "--into", "my-env"]);
        let (_, lines) = said.split_once("[[tools]]").expect("it says what to write");
        let manifest = world.read("my-env/environment.toml");
        world.write("my-env/environment.toml", &format!("{manifest}\n[[tools]]{lines}"));
        let said = world.ok(&["tool", "call", name, args, "--environment", "my-env"]);
        assert!(said.starts_with(expected), "{said}");
    }
    world.fails(&["tool", "new", "A b"], 2, &["lower-case"]);
    world.fails(&["tool", "new", "z", "--into", "nope"], 2, &["nope", "no such folder"]);
    world.write("file", "");
    world.fails(&["env", "new", "file"], 2, &["file: is there already"]);
}

#[test]
fn a_program_has_no_network_where_the_system_can_see_to_it() {
    let world = environment(
        "[[tools]]\ntype = \"process\"\ncommand = [\"python3\", \"reach.py\"]\n\
         effect = \"pure\"\n",
    );
    let doctor = world.plumb(&["doctor"]).stdout;
    if !doctor.contains("no network") {
        println!("confinement: skipped, this system cannot make namespaces");
        return;
    }
    world.write(
        "plugged/reach.py",
        "import json, os, socket\n\
         print(json.dumps({'name': 'reach', 'description': 'd', 'parameters': {'type': 'object'}}))\n\
         input()\n\
         try:\n    socket.create_connection(('127.0.0.1', 9), 1)\n\
         except OSError as error:\n    text = error.strerror\n\
         print(json.dumps({'text': f\"{text}; {sorted(os.listdir())}; {'PLUMBLINE_CACHE' in os.environ}\"}))\n",
    );
    let said = world.ok(&["tool", "call", "reach", "{}", "--environment", "plugged"]);
    assert!(said.starts_with("Network is unreachable; ['reach.py']; False"), "{said}");
}
