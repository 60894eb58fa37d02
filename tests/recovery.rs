use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::world::World;

const SAMPLES: &str = "200";

fn start(world: &World, run: &str) -> Child {
    let args = ["run", "world", "-m", "baseline", "-r", SAMPLES, "-c", "4", "-o", run];
    let mut command = world.command(&args);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("plumb starts")
}

/// Waits until a run has recorded this many bytes of steps.
fn wait_for_bytes(world: &World, run: &str, bytes: u64) {
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
    world.edit(
        "runs/a/steps.jsonl",
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
    world.fails(&["show", "runs/a"], 3, &["format 2.1 cannot be read"]);
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
