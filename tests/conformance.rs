//! `plumb tool check`: sound tools pass, and each broken one fails for what is broken in it.

use crate::programs::plugged;
use crate::world::World;

/// What is broken, the tool's effect, what the tool does, the promise it breaks, and a word of
/// the reason.
const BROKEN: [(&str, &str, &str, &str, &str); 14] = [
    (
        "dice",
        "pure",
        r#"while read -r line; do echo "{\"text\": \"$(date +%N)\"}"; done"#,
        "determinism",
        "made twice",
    ),
    (
        "counter",
        "pure",
        r#"i=0; while read -r line; do i=$((i+1)); echo "{\"text\": \"$i\"}"; done"#,
        "determinism",
        "made twice",
    ),
    (
        "gossip",
        "pure",
        r#"i=0; while read -r line; do [ "$line" = "$last" ] || i=$((i+1)); last=$line
           echo "{\"text\": \"$i\"}"; done"#,
        "no hidden state",
        "another episode's call",
    ),
    (
        "sharer",
        "stateful",
        r#"i=0; while read -r line; do case $line in
             *'"state":null'*) echo '{"text": "new", "state": 1}';;
             *) i=$((i+1)); echo "{\"text\": \"$i\", \"state\": 1}";; esac; done"#,
        "fork",
        "a call on a fork",
    ),
    (
        "forger",
        "stateful",
        r#"while read -r line; do echo "{\"text\": \"x\", \"state\": $(date +%s%N)}"; done"#,
        "determinism",
        "the same answer, but state",
    ),
    (
        "brittle",
        "pure",
        r#"while read -r line; do case $line in *'"n":0'*) exit 9;; esac
           echo '{"text": "x"}'; done"#,
        "schema",
        "exit status: 9",
    ),
    (
        "writer",
        "pure",
        r#"while read -r line; do echo '{"text": "x", "state": 1}'; done"#,
        "schema",
        "declared Pure",
    ),
    (
        "seed",
        "pure",
        r#"seed=$(date +%N); while read -r line; do echo "{\"text\": \"$seed\"}"; done"#,
        "determinism",
        "made twice (of a fresh start)",
    ),
    (
        "first",
        "pure",
        r#"text=new; while read -r line; do echo "{\"text\": \"$text\"}"; text=old; done"#,
        "determinism",
        "made twice",
    ),
    (
        "folder",
        "pure",
        r#"while read -r line; do touch "$(echo "$line" | cksum | cut -d' ' -f1)"
           echo "{\"text\": \"$(ls | wc -l)\"}"; done"#,
        "determinism",
        "made twice",
    ),
    (
        "seconds",
        "pure",
        r#"while read -r line; do echo "{\"text\": \"$(date +%M%S)\"}"; done"#,
        "determinism",
        "made twice",
    ),
    (
        "chatty",
        "pure",
        r#"while read -r line; do case $line in
             *'"n":3'*) printf '{"text": "'; head -c 5000 /dev/zero | tr '\0' a; echo '"}';;
             *) echo '{"text": "x"}';; esac; done"#,
        "limits",
        "more than 4096 bytes",
    ),
    (
        "hoarder",
        "stateful",
        r#"while read -r line; do state=x${line#*'"state":"'}; state=${state%%'"'*}
           case $line in *'"state":null'*) state=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx;; esac
           state=$state$state$state$state; state=$state$state$state$state
           state=$state$state; echo "{\"text\": \"x\", \"state\": \"$state\"}"; done"#,
        "limits",
        "in a row",
    ),
    (
        "sleeper",
        "pure",
        r#"while read -r line; do case $line in *'"n":0'*) sleep 100;; esac
           echo '{"text": "x"}'; done"#,
        "limits",
        "call_ms_max",
    ),
];

/// The tool of a world with this one.
fn world(name: &str, effect: &str, body: &str) -> World {
    let world = plugged(&[(name, effect, body)]);
    let number = r#""n":{"type":"integer"#;
    let bounded = format!("{number}\",\"minimum\":0,\"maximum\":5");
    world.edit(&format!("plugged/{name}.sh"), &format!("{number}\""), &bounded);
    world.edit("plugged/environment.toml", "call_ms_max = 20000", "call_ms_max = 1000");
    world
}

#[test]
fn a_broken_tool_fails_for_what_is_broken_in_it() {
    for (name, effect, body, promise, word) in BROKEN {
        let world = world(name, effect, body);
        let outcome = world.plumb(&["tool", "check", "plugged"]);
        let said = &outcome.stdout;
        assert_eq!(outcome.code, 1, "{name}: {said}{}", outcome.stderr);
        let line =
            said.lines().find(|line| line.contains(&format!("BROKEN    {promise}")));
        let line =
            line.unwrap_or_else(|| panic!("{name} does not break {promise}: {said}"));
        assert!(line.contains(word), "{name}: {line}");
        // Whether two commands fall into one second nobody can say.
        let is_shown = said.contains(&format!("plumb tool call {name} '{{"));
        assert!(is_shown || name == "seconds", "{name}: {said}");
        assert!(outcome.stderr.contains(name), "{}", outcome.stderr);
    }
}

#[test]
fn what_is_printed_shows_the_breach_when_it_is_pasted() {
    for wanted in ["counter", "gossip", "sharer", "seed", "folder"] {
        let (name, effect, body, promise, _) =
            BROKEN.into_iter().find(|it| it.0 == wanted).expect("it is listed");
        let world = world(name, effect, body);
        let said = world.plumb(&["tool", "check", "plugged"]).stdout;
        let (_, after) = said.split_once(&format!("BROKEN    {promise}")).expect(name);
        let mut commands = after.lines().skip(1).map(str::trim);
        let mut pasted = || {
            let command = commands.next().expect("two commands");
            assert!(command.contains("plumb tool call "), "{name}: {said}");
            world.shell(command)
        };
        let (one, two) = (pasted(), pasted());
        assert_eq!((one.code, two.code), (0, 0), "{name}: {}{}", one.stderr, two.stderr);
        assert_ne!(one.stdout, two.stdout, "{name}: {said}");
    }
}

#[test]
fn what_no_command_shows_is_printed_as_calls() {
    // Only one that has answered more than any command makes it.
    let body = r#"i=0; while read -r line; do i=$((i+1)); text=new
        [ $i -gt 18 ] && text=tired; echo "{\"text\": \"$text\"}"; done"#;
    let world = world("tired", "pure", body);
    let said = world.plumb(&["tool", "check", "plugged"]).stdout;
    assert!(said.contains("BROKEN    determinism") && said.contains("a while later"));
    assert!(said.contains("from a fresh start") && said.contains(r#"{"args":{"#));
    assert!(!said.contains("plumb tool call"), "{said}");
}

#[test]
fn what_cannot_be_tried_is_said_and_is_no_breach() {
    let answers = r#"while read -r line; do echo '{"text": "x"}'; done"#;
    let refuses =
        r#"while read -r line; do echo '{"fault": "refused", "message": "no"}'; done"#;
    let huge = r#""exclusiveMinimum":9223372036854775807"#;
    let none = r#""properties":{},"required":[]"#;
    let n = r#""properties":{"n":{"type":"integer"}},"required":["n"]"#;
    for (body, schema, words) in [
        (
            answers,
            n.replace("integer\"", "string\",\"pattern\":\"^[0-9]{9}z$\""),
            "no arguments",
        ),
        (answers, n.replace("integer\"", &format!("integer\",{huge}")), "no arguments"),
        (answers, none.to_owned(), "kept      schema, limits, determinism"),
        (refuses, n.to_owned(), "none of "),
    ] {
        let world = plugged(&[("tool", "pure", body)]);
        world.edit("plugged/tool.sh", n, &schema);
        let said = world.ok(&["tool", "check", "plugged"]);
        assert!(said.contains(words), "{schema}: {said}");
        let is_kept = said.contains("kept");
        assert_eq!(is_kept, words.starts_with("kept"), "{schema}: {said}");
    }
    let world = plugged(&[("tool", "pure", answers)]);
    let said = world.ok(&["tool", "check", "plugged", "--args", r#"{"n": "x"}"#]);
    assert!(said.contains(r#"not tried {"n":"x"} does not fit"#), "{said}");
}

#[test]
fn a_schema_that_says_nothing_is_no_promise() {
    let world =
        plugged(&[("any", "pure", r#"while read -r l; do echo '{"text": "x"}'; done"#)]);
    let text = world.read("plugged/any.sh");
    let (_, body) = text.split_once('\n').expect("the first line is the spec");
    let spec =
        r#"echo '{"name":"any","description":"d","parameters":{"type":"object"}}'"#;
    world.write("plugged/any.sh", &format!("{spec}\n{body}"));
    let outcome = world.plumb(&["tool", "check", "plugged", "--json"]);
    // What is no object is turned away, and so there is something.
    assert_eq!(outcome.code, 1, "{}", outcome.stdout);
    assert!(outcome.stdout.contains("lets every object in"), "{}", outcome.stdout);
}

#[test]
fn sound_tools_keep_every_promise() {
    let world = World::new();
    for (folder, language, tool) in [("p", "python", "note"), ("s", "shell", "sum")] {
        world.ok(&["env", "new", folder, "--language", language]);
        let written = ["tool", "new", tool, "--language", language, "--into", folder];
        let said = world.ok(&written);
        let (_, lines) = said.split_once("[[tools]]").expect("it says what to write");
        let manifest = world.read(&format!("{folder}/environment.toml"));
        let manifest = format!("{manifest}\n[[tools]]{lines}");
        world.write(&format!("{folder}/environment.toml"), &manifest);
        let said = world.ok(&["tool", "check", folder]);
        let kept = "kept      schema, limits, determinism, no hidden state, fork, replay";
        assert_eq!(said.matches(kept).count(), 2, "{said}");
    }
    world.ok(&["tool", "check", "world", "search"]);
    world.fails(&["tool", "check", "world", "serach"], 2, &["there are: search"]);
}
