use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use plumbline::store::FORMAT;
use serde_json::Value;

use crate::world::World;

const SAMPLES: &str = "200";

fn start(world: &World, run: &str) -> Child {
    let args = ["run", "world", "-m", "baseline", "-r", SAMPLES, "-c", "4", "-o", run];
    let mut command = world.command(&args);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("plumb starts")
}

/// Waits until a run has recorded this many bytes of steps.
pub(crate) fn wait_for_bytes(world: &World, run: &str, bytes: u64) {
    let path = world.path(&format!("{run}/steps.jsonl"));
    let began = Instant::now();
    while fs::metadata(&path).map_or(0, |file| file.len()) < bytes {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "{} does not grow",
            path.display()
        );
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Every task has all its samples, every trajectory its ending, and no step stands twice.
fn assert_whole(world: &World, run: &str) {
    let mut nodes = std::collections::BTreeSet::new();
    let (mut first_steps, mut endings) = (0, 0);
    for line in world.steps(run) {
        if line["type"] == "node" {
            let seed = line["proposal"]["seed"].to_string();
            assert!(
                nodes.insert((line["task"].to_string(), seed)),
                "a step stands twice: {line}"
            );
            first_steps += usize::from(line["parent"] == Value::Null);
        } else {
            endings += 1;
        }
    }
    assert_eq!((first_steps, endings), (800, 800), "four tasks, {SAMPLES} samples each");
}

#[test]
fn killed_at_any_moment_the_same_command_finishes_the_run() {
    let world = World::new();
    // Different moments: in the first tree, in the middle, near the end.
    for (index, bytes) in [1u64, 20_000, 150_000, 400_000].into_iter().enumerate() {
        let run = format!("runs/{index}");
        let mut child = start(&world, &run);
        wait_for_bytes(&world, &run, bytes);
        child.kill().expect("kill -9");
        child.wait().expect("it is dead");
        let before = world.read(&format!("{run}/steps.jsonl"));
        let args =
            ["run", "world", "-m", "baseline", "-r", SAMPLES, "-c", "4", "-o", &run];
        world.ok(&args);
        let after = world.read(&format!("{run}/steps.jsonl"));
        let whole = before.rfind('\n').map_or(0, |end| end + 1);
        assert!(after.starts_with(&before[..whole]), "what was recorded is lost");
        assert_whole(&world, &run);
        world.ok(&["replay", &run, "--execute"]);
    }
}

#[test]
fn an_interrupt_stops_cleanly_and_the_same_command_resumes() {
    let world = World::new();
    let mut child = start(&world, "runs/a");
    wait_for_bytes(&world, "runs/a", 20_000);
    let interrupted = std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .expect("kill is there");
    assert!(interrupted.success());
    let status = child.wait().expect("it ends by itself");
    // It may have been done before the signal came.
    assert!([Some(0), Some(5)].contains(&status.code()), "{status:?}");
    assert!(world.read("runs/a/steps.jsonl").ends_with('\n'), "no line is torn");
    world.ok(&[
        "run", "world", "-m", "baseline", "-r", SAMPLES, "-c", "4", "-o", "runs/a",
    ]);
    assert_whole(&world, "runs/a");
}

#[test]
fn a_torn_last_line_is_dropped_and_its_step_taken_again() {
    let world = World::new();
    let script = world.right_script();
    let args = ["run", "world", "-m", &script, "-c", "1", "-o", "runs/a"];
    world.ok(&args);
    let whole = world.read("runs/a/steps.jsonl");
    // Cut anywhere, even inside a character's escape or the first line.
    for cut in [whole.len() - 1, whole.len() / 2, whole.len() / 3, 200, 10, 0] {
        world.write("runs/a/steps.jsonl", &whole[..cut]);
        world.ok(&["show", "runs/a"]);
        world.ok(&args);
        assert_eq!(world.read("runs/a/steps.jsonl"), whole, "cut at {cut}");
    }
}

#[test]
fn any_other_bad_line_is_named_and_nothing_is_overwritten() {
    let world = World::new();
    let script = world.right_script();
    let args = ["run", "world", "-m", &script, "-o", "runs/a"];
    world.ok(&args);
    world.forge(
        "runs/a",
        "steps.jsonl",
        "\"node\":2,\"parent\":1",
        "\"node\":7,\"parent\":1",
    );
    let damaged = world.read("runs/a/steps.jsonl");
    world.fails(&args, 3, &["steps.jsonl:", "node 7", "should be node 2"]);
    assert_eq!(world.read("runs/a/steps.jsonl"), damaged);
    world.write(
        "runs/a/steps.jsonl",
        &damaged.replacen("{\"type\":\"node\"", "{\"typ", 1),
    );
    world.fails(&["show", "runs/a"], 3, &["steps.jsonl:2:"]);
}

#[test]
fn a_run_of_a_newer_format_is_refused() {
    let world = World::new();
    let script = world.right_script();
    world.ok(&["run", "world", "-m", &script, "-o", "runs/a"]);
    world.edit("runs/a/run.json", "\"major\": 1", "\"major\": 2");
    world.fails(&["show", "runs/a"], 3, &[&format!("format 2.{} cannot", FORMAT.minor)]);
}

#[test]
fn the_same_folder_for_another_run_is_refused() {
    let world = World::new();
    let script = world.right_script();
    world.ok(&["run", "world", "-m", &script, "-o", "runs/a"]);
    let other = ["run", "world", "-m", &script, "--seed", "9", "-o", "runs/a"];
    world.fails(&other, 2, &["holds another run", "the seed was 0 and is now 9"]);
    world.write("stuff/file", "x");
    world.fails(&["run", "world", "-m", &script, "-o", "stuff"], 2, &["not a run"]);
}

#[test]
fn two_writers_at_once_are_refused() {
    let world = World::new();
    let mut child = start(&world, "runs/a");
    wait_for_bytes(&world, "runs/a", 1);
    let second = world.plumb(&[
        "run", "world", "-m", "baseline", "-r", SAMPLES, "-c", "4", "-o", "runs/a",
    ]);
    let done = child.wait().expect("it ends");
    assert!(done.success());
    // Either it was refused, or the first was done by then and it kept everything.
    if second.code != 0 {
        assert_eq!(second.code, 2, "{}", second.stderr);
        assert!(second.stderr.contains("another process"), "{}", second.stderr);
    }
    assert_whole(&world, "runs/a");
}

#[test]
fn a_failed_step_is_tried_again_when_asked() {
    let world = World::new();
    // A script that runs out fails as a model would: after one step.
    let short = world.script(&[&crate::world::search("mill")]);
    let first = world.plumb(&["run", "world", "-m", &short, "-n", "1", "-o", "runs/a"]);
    assert_eq!(first.code, 5, "{}{}", first.stdout, first.stderr);
    assert!(first.stdout.contains("1 aborted by the model"), "{}", first.stdout);
    let ending = world.steps("runs/a").pop().expect("an ending");
    assert_eq!(ending["ending"]["type"], "aborted");
    // Aborted is not a low score.
    assert!(first.stdout.contains("nothing is scored"), "{}", first.stdout);
}

/// An endpoint that nothing listens on: a port that was bound, then let go.
fn dead_endpoint() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    format!("openai:m@http://127.0.0.1:{port}/v1")
}

#[test]
fn every_sample_without_a_first_step_is_counted_and_kept() {
    let world = World::new();
    let policy = dead_endpoint();
    let args = ["run", "world", "-m", &policy, "-n", "1", "-r", "3", "-o", "runs/a"];
    let first = world.plumb(&args);
    assert_eq!(first.code, 5, "{}{}", first.stdout, first.stderr);
    assert!(first.stdout.contains("3 aborted by the endpoint"), "{}", first.stdout);
    let recorded = world.read("runs/a/steps.jsonl");
    let again = world.plumb(&args);
    assert!(again.stdout.contains("3 aborted by the endpoint"), "{}", again.stdout);
    assert_eq!(world.read("runs/a/steps.jsonl"), recorded, "nothing is tried again");
}

#[test]
fn a_recorded_sibling_goes_on_where_others_never_began() {
    let world = World::new();
    let script = world.right_script();
    let args = ["run", "world", "-m", &script, "-n", "1", "-r", "3", "-c", "1"];
    world.ok(&[&args[..], &["-o", "runs/a"]].concat());
    // As kill -9 leaves it: the first step of one sample, and no more.
    let whole = world.read("runs/a/steps.jsonl");
    let cut: String = whole.split_inclusive('\n').take(2).collect();
    world.write("runs/a/steps.jsonl", &cut);
    // Its policy is gone: all three samples are aborted, one of them after its first step.
    let policy = dead_endpoint();
    let header: Value =
        serde_json::from_str(&world.read("runs/a/run.json")).expect("JSON");
    let port = policy.split_once('@').expect("an address").1;
    let dry = world.ok(&[
        "run",
        "world",
        "-m",
        &policy,
        "-n",
        "1",
        "-r",
        "3",
        "--dry-run",
        "--json",
    ]);
    let dry: Value = serde_json::from_str(&dry).expect("JSON");
    let (was, is) = (header["policy"].clone(), dry["header"]["policy"].clone());
    world.forge("runs/a", "run.json", &was.to_string(), &is.to_string());
    let outcome = world.plumb(&[
        "run", "world", "-m", &policy, "-n", "1", "-r", "3", "-c", "1", "-o", "runs/a",
    ]);
    assert_eq!(outcome.code, 5, "{port}: {}{}", outcome.stdout, outcome.stderr);
    assert!(outcome.stdout.contains("3 aborted by the endpoint"), "{}", outcome.stdout);
    let endings: Vec<Value> = world
        .steps("runs/a")
        .into_iter()
        .filter(|line| line["type"] == "ending")
        .collect();
    let of_nodes = endings.iter().filter(|ending| ending["node"] == 0).count();
    let unborn = endings.iter().filter(|ending| ending["seed"].is_u64()).count();
    assert_eq!((of_nodes, unborn), (1, 2), "{endings:?}");
}

#[test]
fn a_run_that_lost_its_steps_or_its_header_is_refused() {
    let world = World::new();
    let script = world.right_script();
    let args = ["run", "world", "-m", &script, "-o", "runs/a"];
    world.ok(&args);
    fs::rename(world.path("runs/a/run.json"), world.path("header")).expect("it is moved");
    world.fails(&args, 2, &["holds steps", "no run.json"]);
    fs::rename(world.path("header"), world.path("runs/a/run.json")).expect("moved back");
    fs::remove_file(world.path("runs/a/steps.jsonl")).expect("it is removed");
    for command in [&["replay", "runs/a", "--execute"][..], &["label", "runs/a"]] {
        world.fails(command, 3, &["steps.jsonl", "missing"]);
    }
}

#[test]
fn other_tasks_are_refused_and_another_prompt_is_told_of() {
    let world = World::new();
    let script = world.right_script();
    world.ok(&["run", "world", "-m", &script, "-n", "3", "-o", "runs/a"]);
    world.edit("world/prompt.md", "Answer the question.", "Say banana.");
    let labelled = world.plumb(&["label", "runs/a"]);
    assert_eq!(labelled.code, 0, "{}", labelled.stderr);
    assert!(labelled.stderr.contains("its prompt"), "{}", labelled.stderr);
    // A task that the run did not have is none of its business.
    world.edit(
        "world/tasks.jsonl",
        "Who built the Tide Mill?",
        "Who made the Tide Mill?",
    );
    world.ok(&["label", "runs/a"]);
    world.edit(
        "world/tasks.jsonl",
        "lighthouse of Orrin lit",
        "lighthouse of Orrin built",
    );
    for command in ["label", "replay", "audit"] {
        world.fails(&[command, "runs/a"], 3, &["tasks.jsonl", "not the tasks"]);
    }
}
