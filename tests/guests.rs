//! Verifiers of other people's: what they do for us, and what they do to us.

use serde_json::{Value, json};

use crate::programs::{observed, plugged};
use crate::world::World;

/// Answers every call in the same way.
const SOUND: &str =
    r#"while read -r line; do echo '{"text": "fine, and again fine"}'; done"#;

/// A world whose verifiers are ours, with one in Python between them for each of these: name,
/// what it must be shown, and how it comes to its `verdicts` on `node`.
pub(crate) fn judged(guests: &[(&str, &[&str], &str)]) -> World {
    let world = plugged(&[("good", "pure", SOUND)]);
    let tables = guests.iter().map(|(name, ..)| {
        format!("{{ type = \"process\", command = [\"python3\", \"{name}.py\"] }}, ")
    });
    let (ours, tables) = ("[\"well-formed\", ", tables.collect::<String>());
    world.edit("plugged/environment.toml", ours, &format!("{ours}{tables}"));
    for (name, sees, body) in guests {
        let hello =
            json!({ "name": name, "version": 3, "description": "d", "sees": sees });
        let text = format!(
            "import json, os, sys, time\nsys.stdout.reconfigure(line_buffering=True)\n\
             print('{hello}')\nfor line in sys.stdin:\n    question = json.loads(line)\n    \
             steps, node = question['steps'], question['judge'][-1]\n    \
             say = lambda **parts: [dict(node=node, reason='r', **parts)]\n    verdicts = []\n"
        );
        let body: String = body.lines().map(|line| format!("    {line}\n")).collect();
        let last = "    print(json.dumps({'verdicts': verdicts}))\n";
        world.write(&format!("plugged/{name}.py"), &format!("{text}{body}{last}"));
    }
    observed(&world, &["good", "good"], "run");
    world
}

/// The verdicts of a verifier, by its name.
fn verdicts(world: &World, name: &str) -> Vec<Value> {
    let entries = std::fs::read_dir(world.path("run/verdicts")).expect("verdicts");
    let mut files = entries.map(|entry| entry.expect("an entry").path());
    let is = |file: &std::path::PathBuf| {
        let stem = file.file_name().and_then(|stem| stem.to_str()).unwrap_or("");
        stem.starts_with(&format!("{name}@"))
    };
    let file = files.find(is).unwrap_or_else(|| panic!("{name} has no file"));
    let text = std::fs::read_to_string(file).expect("its lines");
    let lines = text.lines().map(|line| serde_json::from_str(line).expect("JSON"));
    let of = |line: Value| line["verdicts"].as_array().cloned().unwrap_or_default();
    lines.flat_map(of).collect()
}

#[test]
fn what_a_guest_says_is_recorded_shown_and_audited() {
    let body = "if node == 1:\n    verdicts = say(label='bad', value=0.5, confidence=0.9, evidence=[\n        \
                dict(type='quote', node=1, observation=0, text='again fine'),\n        \
                dict(type='call', node=1, call=0), dict(type='step', node=0)])";
    let world = judged(&[("mine", &[], body)]);
    let labels = world.ok(&["label", "run"]);
    assert!(labels.contains("mine@3+"), "{labels}");
    let said = verdicts(&world, "mine");
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!((&said[0]["node"], &said[0]["label"]), (&json!(1), &json!("bad")));
    let evidence = &said[0]["evidence"];
    assert_eq!(evidence[0]["range"], json!({ "start": 10, "end": 20 }), "{evidence}");
    assert_eq!(evidence[1]["type"], "execution", "{evidence}");
    assert_eq!(evidence[2], json!({ "type": "step", "node": 0 }));
    let shown = world.ok(&["show", "run", "t"]);
    assert!(
        shown.contains("bad      r (step 1: \"again fine\"; executed good"),
        "{shown}"
    );
    let audited = world.ok(&["audit", "run"]);
    let row = audited.lines().find(|row| row.starts_with("mine@3")).expect("its row");
    assert!(row.contains("3 of 3 confirmed: 1, 1, 1"), "{audited}");
    let alone = world.ok(&["label", "run", "--verifier", "mine"]);
    assert!(alone.contains("mine@3") && !alone.contains("well-formed"), "{alone}");
    world.fails(&["label", "run", "--verifier", "mime"], 2, &["did you mean \"mine\"?"]);
    let listed = world.ok(&["verifier", "list", "plugged"]);
    assert!(listed.contains("sees the path alone"), "{listed}");
}

#[test]
fn a_guest_is_shown_what_it_declared_and_no_more() {
    let told = "seen = [sorted(question), [step['node'] for step in steps],\n        \
                [step.get('ending') for step in steps]]\n\
                verdicts = [dict(node=n, reason=json.dumps(seen)) for n in question['judge']]";
    let world = judged(&[
        ("online", &[], told),
        ("grader", &["gold"], told),
        ("looker", &["later"], told),
        ("ender", &["outcome"], told),
    ]);
    world.ok(&["label", "run"]);
    let seen = |name: &str, at: usize| -> Value {
        let said = verdicts(&world, name);
        let reason = said[at]["reason"].as_str().expect("a reason");
        serde_json::from_str(reason).expect("what it was shown")
    };
    assert_eq!(
        seen("online", 1),
        json!([["judge", "steps", "task"], [0, 1], [null, null]])
    );
    let graded = json!([["gold", "judge", "steps", "task"], [0, 1], [null, null]]);
    assert_eq!(seen("grader", 1), graded);
    let whole = json!([["judge", "steps", "task"], [0, 1, 2], [null, null, null]]);
    assert_eq!(seen("looker", 0), whole);
    let ended = json!([null, null, { "type": "answered" }]);
    assert_eq!(seen("ender", 2)[2], ended);
    assert_eq!(verdicts(&world, "looker").len(), 3);
    assert_eq!(verdicts(&world, "grader")[0]["saw"]["gold"], true);
}

#[test]
fn a_guest_that_breaks_has_failed_alone_and_nothing_is_lost() {
    let hostile = [
        ("crash", "print('oh dear', file=sys.stderr)\nsys.exit(3)", "exit status: 3"),
        ("hang", "time.sleep(1000)", "call_ms_max = 1500 ms"),
        ("garbled", "os.write(1, b'{\"verdicts\": \"\\xff\"}\\n')", "its answer is none"),
        ("chatty", "print('debugging')", "it begins \"debugging\""),
        (
            "astray",
            "verdicts = [dict(node=9, reason='r')]",
            "step 9, which it was not asked",
        ),
        ("odd", "verdicts = say(label='great')", "unknown variant `great`"),
        ("twice", "verdicts = say() + say()", "two verdicts on step 0"),
        ("huge", "verdicts = say(value='x' * 9999)", "more than 4096 bytes"),
        ("sure", "verdicts = say(confidence=7)", "between 0 and 1"),
        ("nan", "verdicts = say(confidence=float('nan'))", "its answer is none"),
        ("mute", "verdicts = [dict(node=node, reason='')]", "reason has 0 bytes"),
        (
            "forger",
            "verdicts = say(evidence=[dict(type='quote', node=0, text='unsaid')])",
            "\"unsaid\", which is not there",
        ),
        (
            "seer",
            "verdicts = say(evidence=[dict(type='step', node=2)])",
            "step 2, which it was not shown",
        ),
        (
            "caller",
            "verdicts = say(evidence=[dict(type='call', node=0, call=4)])",
            "makes no call 4",
        ),
        ("honest", "print(json.dumps({'error': 'no luck'}))", "no luck"),
    ];
    let guests: Vec<(&str, &[&str], &str)> =
        hostile.iter().map(|(name, body, _)| (*name, &[][..], *body)).collect();
    let world = judged(&guests);
    world.edit("plugged/environment.toml", "call_ms_max = 20000", "call_ms_max = 1500");
    observed(&world, &["good", "good"], "short");
    let steps = world.read("short/steps.jsonl");
    let outcome = world.plumb(&["label", "short"]);
    assert_eq!(outcome.code, 5, "{}{}", outcome.stdout, outcome.stderr);
    for (name, _, word) in hostile {
        let of = format!("verifier {name}@3+");
        let line = outcome.stderr.lines().find(|line| line.contains(&of));
        let line = line.unwrap_or_else(|| panic!("{name}: {}", outcome.stderr));
        assert!(line.contains(word), "{name}: {line}");
        assert!(line.contains("over task t, step 0"), "{name}: {line}");
    }
    assert!(outcome.stderr.contains("oh dear"), "{}", outcome.stderr);
    assert_eq!(world.read("short/steps.jsonl"), steps);
    for row in ["well-formed@", "repeat@"] {
        assert!(outcome.stdout.contains(row), "{}", outcome.stdout);
    }
    let rest = world.ok(&["show", "short", "t"]);
    assert!(rest.contains("repeat             bad"), "{rest}");
}

#[test]
fn a_guest_that_names_its_question_is_held_to_it() {
    let world = judged(&[("mine", &[], "verdicts = say()")]);
    world.edit("plugged/mine.py", "\"name\"", "\"ids\":true,\"name\"");
    let answer = "'id': question['id'], 'verdicts'";
    world.edit("plugged/mine.py", "'verdicts': v", &format!("{answer}: v"));
    world.ok(&["label", "run"]);
    assert_eq!(verdicts(&world, "mine").len(), 3);
    world.edit("plugged/mine.py", answer, "'id': 0, 'verdicts'");
    world.fails(&["label", "run"], 5, &["its answer has the id 0, and the question 1"]);
}

#[test]
fn a_guest_that_cannot_be_opened_says_why() {
    let opened = |from: &str, to: &str, code: i32, words: &[&str]| {
        let world = judged(&[("mine", &[], "")]);
        world.edit("plugged/mine.py", from, to);
        world.fails(&["label", "run"], code, words);
    };
    opened("\"version\":3", "\"version\":-3", 3, &["mine.py", "says first must be"]);
    opened("[]", "[\"tomorrow\"]", 3, &["unknown variant `tomorrow`"]);
    opened("\"mine\"", "\"my own\"", 3, &["letters, digits"]);
    opened("\"mine\"", "\"repeat\"", 3, &["two verifiers are called \"repeat\""]);
    let world = judged(&[("mine", &[], "")]);
    world.edit(
        "plugged/environment.toml",
        "type = \"process\", c",
        "type = \"prcess\", c",
    );
    world.fails(&["label", "run"], 3, &["environment.toml:4", "did you mean `process`?"]);
    let world = judged(&[("mine", &[], "")]);
    let misspelt = "comand = [\"python3\", \"mine.py\"]";
    world.edit(
        "plugged/environment.toml",
        "command = [\"python3\", \"mine.py\"]",
        misspelt,
    );
    world.fails(&["label", "run"], 3, &["did you mean `command`?"]);
}

/// Name, what it declares to be shown, what it does, the promise it breaks, and a word of the
/// reason.
const BROKEN: [(&str, &[&str], &str, &str, &str); 9] = [
    ("dice", &[], "verdicts = say(value=time.time_ns())", "determinism", "asked twice"),
    (
        "memory",
        &[],
        "seen = globals().setdefault('seen', {})\n\
         key = json.dumps(steps[0])\n\
         seen[key] = max(len(steps), seen.get(key, 0))\n\
         verdicts = say(value=seen[key])",
        "no hindsight",
        "later steps in between",
    ),
    (
        "gossip",
        &[],
        "now = globals().get('now')\n\
         if line != now: globals().update(before=now, now=line)\n\
         verdicts = say(value=before)",
        "no hidden state",
        "another trajectory in between",
    ),
    ("flatterer", &[], "verdicts = say(label='good')", "canaries", "steps of the canary"),
    (
        "grouch",
        &[],
        "verdicts = say(label='bad')",
        "solutions",
        "calls a known solution bad",
    ),
    (
        "liar",
        &[],
        "verdicts = say(evidence=[dict(type='quote', node=node, text='unsaid')])",
        "answers",
        "\"unsaid\", which is not there",
    ),
    ("sleeper", &[], "time.sleep(100)", "answers", "call_ms_max = 1500"),
    ("hoarder", &[], "verdicts = say(value='x' * 9999)", "answers", "more than 4096"),
    ("quitter", &[], "sys.exit(9)", "answers", "exit status: 9"),
];

#[test]
fn a_broken_verifier_fails_for_what_is_broken_in_it() {
    let world = judged(&BROKEN.map(|(name, sees, body, ..)| (name, sees, body)));
    world.edit("plugged/environment.toml", "call_ms_max = 20000", "call_ms_max = 1500");
    let gold = json!({ "id": "t", "answer": "done",
        "solution": [{ "tool": "good", "args": { "n": 1 } }] });
    world.write_lines("plugged/gold.jsonl", &[gold]);
    for (name, _, _, promise, word) in BROKEN {
        let outcome = world.plumb(&["verifier", "check", "plugged", name]);
        let said = &outcome.stdout;
        assert_eq!(outcome.code, 1, "{name}: {said}{}", outcome.stderr);
        let broken = format!("BROKEN    {promise}: ");
        let line = said.lines().find(|line| line.contains(&broken));
        let line =
            line.unwrap_or_else(|| panic!("{name} does not break {promise}: {said}"));
        assert!(line.contains(word), "{name}: {line}");
        assert!(said.contains("step 0: "), "{name}: {said}");
        assert!(outcome.stderr.contains(name), "{}", outcome.stderr);
    }
}

#[test]
fn sound_verifiers_keep_every_promise() {
    let world = World::new();
    let kept = "kept      answers, limits, determinism, no hidden state, no hindsight, \
                evidence, solutions, canaries";
    let said = world.ok(&["verifier", "check", "world"]);
    assert_eq!(said.matches(kept).count(), 5, "{said}");
    world.ok(&["env", "new", "my-env"]);
    world.ok(&["verifier", "new", "hasty", "--into", "my-env"]);
    let table = "[{ type = \"process\", command = [\"python3\", \"hasty.py\"] }, ";
    let listed = format!("verifiers = {table}");
    world.edit("my-env/environment.toml", "verifiers = [", &listed);
    let said = world.ok(&["verifier", "check", "my-env"]);
    assert_eq!(said.matches(kept).count(), 4, "{said}");
    world.fails(
        &["verifier", "check", "world", "repeet"],
        2,
        &["did you mean \"repeat\""],
    );
    world.fails(&["verifier", "new", "A b"], 2, &["lower-case"]);
}
