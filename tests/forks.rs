use std::net::TcpListener;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::recovery::wait_for_bytes;
use crate::refusals::answer_request;
use crate::world::{World, search};

const QUESTION: &str = "Who built the Tide Mill?";

/// A run of one trajectory, `q4`: a search that leads astray, one that does not, and a wrong
/// answer. The script `then.jsonl` answers rightly where the first search is not on the path.
fn misled() -> World {
    let world = World::new();
    let task = json!({ "id": "q4", "prompt": QUESTION });
    world.write_lines("tasks.jsonl", &[task]);
    let (astray, right) = (search("bell foundry"), search("Tide Mill"));
    let line = |replies: &[&str]| json!({ "question": QUESTION, "replies": replies });
    let wrong = "<answer>Nobody</answer>";
    world.write_lines("run.jsonl", &[line(&[&astray, &right, wrong])]);
    world.write_lines(
        "then.jsonl",
        &[
            line(&[&astray, &right, wrong]),
            line(&[&right, "<answer>Hanne Voss</answer>"]),
            line(&[&astray, wrong]),
        ],
    );
    world.ok(&[
        "run",
        "world",
        "--tasks",
        "tasks.jsonl",
        "-m",
        "scripted:run.jsonl",
        "-o",
        "runs/a",
    ]);
    world
}

fn fork(world: &World, args: &[&str]) -> Value {
    let all =
        [&["fork", "runs/a"], args, &["-m", "scripted:then.jsonl", "--json"]].concat();
    serde_json::from_str(&world.ok(&all)).expect("JSON")
}

fn success(arm: &Value) -> (u64, u64) {
    let success = &arm["success"];
    let number = |name: &str| success[name].as_u64().expect("a number");
    (number("successes"), number("trials"))
}

#[test]
fn another_message_in_a_steps_place_changes_the_success() {
    let world = misled();
    world.write("other.txt", &format!("{}\n", search("Tide Mill")));
    let args = ["q4:0", "--replace", "other.txt", "-r", "8", "-o", "runs/f"];
    let report = fork(&world, &args);
    let arm = &report["counterfactual"][0];
    assert_eq!((success(&report["factual"]), success(arm)), ((0, 8), (8, 8)));
    let change = &arm["change_in_success"];
    assert_eq!(change["value"], 1.0);
    // Newcombe's interval of 8/8 against 0/8: 1 − √2 · 0.3244.
    let low = change["low"].as_f64().expect("a number");
    assert!((low - 0.5412).abs() < 1e-3, "{low}");
    // What was sampled is a run like any other.
    let replayed = world.ok(&["replay", "runs/f", "--execute"]);
    assert!(replayed.contains("no divergence"), "{replayed}");
    let shown = world.ok(&["show", "runs/f"]);
    assert!(shown.contains("counterfactuals of q4:2 in runs/a"), "{shown}");
    world.ok(&["label", "runs/f"]);
    world.ok(&["audit", "runs/f"]);
    let args =
        ["fork", "runs/a", "q4:0", "--replace", "other.txt", "-m", "scripted:then.jsonl"];
    let table = world.ok(&args);
    assert!(
        table.contains("in 1 of 2 arms all samples are word for word the same"),
        "{table}"
    );
    assert!(table.contains("runs/a-fork-"), "it has a name of its own: {table}");
    world.fails(
        &["fork", "runs/a", "q4:0", "--replace", "other.txt", "-o", "runs/f"],
        2,
        &["runs/f", "holds another run", "the policy was"],
    );
    world.write("other.txt", &search("the Mill"));
    let other = [&args[..], &["-r", "8", "-o", "runs/f"]].concat();
    world.fails(&other, 2, &["runs/f", "holds another run", "step 1 is not"]);
}

#[test]
fn a_step_left_out_keeps_the_rest_unless_it_is_sampled_again() {
    let world = misled();
    let kept = fork(&world, &["q4:0", "--drop", "-r", "4", "-o", "runs/kept"]);
    assert_eq!(success(&kept["counterfactual"][0]), (4, 4));
    assert_eq!(kept["counterfactual"][0]["worth"], "harmful");
    // The step after it was kept and the answer sampled anew: two steps a trajectory.
    let steps = world.steps("runs/kept");
    let seconds = steps.iter().filter(|line| line["type"] == "node");
    assert_eq!(seconds.count(), 3 + 4 + 4, "two prefixes, and four answers to each");
    let args = ["q4:0", "--drop", "--rest", "resampled", "-r", "6", "-o", "runs/again"];
    let again = fork(&world, &args);
    // From the beginning: the script's three variants are in play.
    let (right, trials) = success(&again["counterfactual"][0]);
    assert!(right < trials && trials == 6, "{again}");
}

#[test]
fn every_step_left_out_in_turn_tells_harmful_from_useless_and_undecided() {
    let world = misled();
    let args = ["fork", "runs/a", "q4", "--delete-each", "-m", "scripted:then.jsonl"];
    let table = world.ok(&[&args[..], &["-r", "16", "-o", "runs/many"]].concat());
    let line = |step: &str| {
        let found = table.lines().find(|line| line.starts_with(step));
        found.unwrap_or_else(|| panic!("{step:?} is missing in\n{table}")).to_owned()
    };
    assert!(line("as recorded").contains("0/16"), "{table}");
    assert!(line("step 0: drop").contains("16/16"), "{table}");
    assert!(line("step 0: drop").contains("harmful"), "{table}");
    assert!(line("step 1: drop").contains("useless"), "{table}");
    let few = world.ok(&[&args[..], &["-r", "3", "-o", "runs/few"]].concat());
    let second = few.lines().find(|line| line.starts_with("step 1"));
    assert!(second.is_some_and(|line| line.contains("undecided")), "{few}");
    world.ok(&["replay", "runs/many", "--execute"]);
}

#[test]
fn a_forged_observation_is_what_the_policy_sees_and_no_divergence() {
    let world = misled();
    world.write("forged.txt", "[1] The Tide Mill: built by Nobody.\n");
    let args = ["q4:1", "--observation", "forged.txt", "-r", "2", "-o", "runs/f"];
    let report = fork(&world, &args);
    assert_eq!(success(&report["counterfactual"][0]).1, 2);
    let steps = world.read("runs/f/steps.jsonl");
    assert!(steps.contains("built by Nobody"), "the record holds what was seen");
    let replayed = world.ok(&["replay", "runs/f", "--execute"]);
    assert!(replayed.contains("no divergence"), "{replayed}");
    let leaf = report["counterfactual"][0]["trajectories"][0].as_str().expect("a name");
    let shown = world.ok(&["show", "runs/f", leaf]);
    assert!(shown.contains("=> (forged) [1] The Tide Mill: built by Nobody."), "{shown}");
    // A verdict may rest on what was forged: there is no call to make again.
    world.ok(&["label", "runs/f"]);
    world.ok(&["replay", "runs/f", "--execute"]);
    world.ok(&["audit", "runs/f"]);
    // What its call gave is recorded too, and compared.
    world.edit("corpus/documents.jsonl", "was built by Hanne", "was build by Hanne");
    world.fails(
        &["replay", "runs/f"],
        1,
        &["step 1", "observation 0 differs", "build by"],
    );
    world.fails(
        &["fork", "runs/f", "q4:1", "--drop"],
        2,
        &["step", "is forged", "made from"],
    );
}

/// What the trajectories of a run say, whatever order they were made in.
fn told(world: &World, run: &str) -> Vec<String> {
    let lines = world.steps(run).into_iter();
    let mut told: Vec<String> = lines
        .map(|line| {
            json!([line["type"], line["proposal"], line["observations"], line["ending"]])
        })
        .map(|line| line.to_string())
        .collect();
    told.sort();
    told
}

#[test]
fn killed_at_any_moment_the_same_command_finishes_the_fork() {
    let world = misled();
    let args = |out: &'static str| {
        let fork = ["fork", "runs/a", "q4", "--delete-each", "-m", "baseline"];
        [&fork[..], &["-r", "300", "-c", "4", "--json", "-o", out]].concat()
    };
    let report = |said: &str| {
        let mut report: Value = serde_json::from_str(said).expect("JSON");
        report["run"] = Value::Null;
        // Their numbers tell of the order in which they were made.
        for arm in ["/factual", "/counterfactual/0", "/counterfactual/1"] {
            let arm = report.pointer_mut(arm).expect("an arm");
            let names = arm["trajectories"].as_array().map(Vec::len);
            arm["trajectories"] = json!(names);
        }
        report
    };
    let whole = report(&world.ok(&args("runs/whole")));
    assert_eq!(whole["factual"]["success"]["trials"], 300);
    for (out, bytes) in
        [("runs/0", 1), ("runs/1", 20_000), ("runs/2", 150_000), ("runs/3", 400_000)]
    {
        let mut command = world.command(&args(out));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("plumb starts");
        wait_for_bytes(&world, out, bytes);
        child.kill().expect("kill -9");
        child.wait().expect("it is dead");
        assert_eq!(report(&world.ok(&args(out))), whole, "killed at {bytes} bytes");
        assert_eq!(told(&world, out), told(&world, "runs/whole"));
        // Once more it has nothing to do, and says the same.
        let steps = world.read(&format!("{out}/steps.jsonl"));
        assert_eq!(report(&world.ok(&args(out))), whole);
        assert_eq!(world.read(&format!("{out}/steps.jsonl")), steps);
        let replayed = world.ok(&["replay", out, "--execute"]);
        assert!(replayed.contains("no divergence"), "{replayed}");
    }
}

#[test]
fn an_export_says_what_was_changed_and_forged() {
    let world = misled();
    world.write("forged.txt", "[1] The Tide Mill: built by Nobody.\n");
    let args = ["q4:1", "--observation", "forged.txt", "-r", "2", "-o", "runs/f"];
    fork(&world, &args);
    world.ok(&["label", "runs/f"]);
    let export = |format: &str, out: &str, more: &[&str]| -> Value {
        let line = ["export", "runs/f", "--format", format, "--out", out];
        world.ok(&[&line[..], more].concat());
        let header = world.read(&format!("{out}/{format}.header.json"));
        serde_json::from_str(&header).expect("JSON")
    };
    let header = export("atif", "out", &[]);
    let forged = &header["counterfactual"]["forged"];
    assert!(forged["node"].is_u64() && forged.get("executed").is_none(), "{header}");
    let atif = world.read("out/atif.jsonl");
    assert_eq!(atif.matches("\"forged\":true").count(), 2, "{atif}");
    let header = export("trl", "out", &[]);
    assert_eq!(header["counts"]["refused"]["forged"], 2, "{header}");
    let header = export("trl", "all", &["--forged"]);
    assert_eq!(header["counts"]["refused"].get("forged"), None, "{header}");
    // Steps that trajectories share are shared when they come back.
    let steps = world.steps("runs/f").into_iter().filter(|line| line["type"] == "node");
    let report = world.ok(&["import", "atif", "out/atif.jsonl", "--out", "again"]);
    let count = format!("steps                   {}\n", steps.count());
    assert!(report.contains(&count), "{report}");
}

#[test]
fn a_fork_whose_policy_is_down_says_so_and_is_taken_up_again() {
    let world = misled();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let policy = format!("openai:m@http://{address}/v1");
    let args = ["fork", "runs/a", "q4:0", "--drop", "-r", "2", "-c", "1", "-m", &policy];
    let args = [&args[..], &["-o", "runs/f"]].concat();
    let down = world.plumb(&args);
    assert_eq!(down.code, 5, "{}", down.stderr);
    for word in ["the first said: ", &address.to_string(), "the same command"] {
        assert!(down.stderr.contains(word), "{}", down.stderr);
    }
    assert!(!down.stdout.contains("word for word"), "{}", down.stdout);
    let listener = TcpListener::bind(address).expect("the port is free again");
    let server = std::thread::spawn(move || {
        (0..4).for_each(|_| {
            answer_request(&listener, "<answer>Hanne Voss</answer>");
        });
    });
    let up = world.ok(&args);
    assert_eq!(up.matches("2/2").count(), 2, "{up}");
    assert!(!up.contains("stopped from outside"), "{up}");
    server.join().expect("both samples of both arms were asked for");
    world.ok(&["replay", "runs/f"]);
}

#[test]
fn what_cannot_be_forked_is_refused() {
    let world = misled();
    let refused = |args: &[&str], code, words: &[&str]| {
        world.fails(&[&["fork", "runs/a"], args].concat(), code, words);
    };
    refused(&["q4:0"], 2, &["--replace", "--drop"]);
    refused(&["q4:9", "--drop"], 2, &["no such step"]);
    refused(&["q5:0", "--drop"], 2, &["no task"]);
    refused(&["q4", "--drop"], 2, &["name a step"]);
    refused(&["q4:0", "--replace", "none.txt"], 3, &["none.txt"]);
    world.write("x.txt", "x");
    refused(&["q4:2", "--observation", "x.txt"], 2, &["step 2 has no observation"]);
    refused(&["q4", "--delete-each", "--rest", "resampled"], 2, &["keeps the rest"]);
    world.edit("corpus/documents.jsonl", "known for its bell", "famed for its bell");
    refused(&["q4:1", "--drop"], 1, &["cannot be restored", "step 0", "famed"]);
    world.edit("corpus/documents.jsonl", "famed for its bell", "known for its bell");
    // What comes after the change, too, where nothing stands in its way.
    world.edit("corpus/documents.jsonl", "was built by Hanne", "was build by Hanne");
    let then = ["-m", "scripted:then.jsonl", "-r", "1", "-o", "runs/f"];
    let differs = ["cannot be restored", "step 1", "build by"];
    refused(&[&["q4:0", "--drop"], &then[..]].concat(), 1, &differs);
    refused(&[&["q4:1", "--observation", "x.txt"], &then[..]].concat(), 1, &differs);
    let kept = ["q4:0", "--observation", "x.txt", "--rest", "kept"];
    refused(&[&kept[..], &then].concat(), 1, &differs);
    world.write("world/gold.jsonl", "");
    refused(&["q4:1", "--drop"], 3, &["no gold"]);
}
