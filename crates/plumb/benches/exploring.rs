//! What growing trees saves, with the default local model.
//!
//! A tree of 3 × 3 × 3 is grown, and beside it 27 episodes of as many steps one after the other:
//! the same question under other ids, so that nothing but the instructions is shared. Then one
//! method judges the steps of a run that another one has judged.
//!
//! Asserted: the tree takes at most 0.35 of the time; the second method samples at most 0.3 of
//! the tokens that it would have had to sample alone. Skipped where the model is not in the
//! user's cache.

#![allow(clippy::print_stdout, reason = "a benchmark prints")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

const TREE_OVER_EPISODES_MAX: f64 = 0.35;
const FRESH_MAX: f64 = 0.3;
const MODEL: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
const EPISODES: usize = 27;

fn cache() -> Option<PathBuf> {
    let given =
        |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    given("PLUMBLINE_CACHE")
        .or_else(|| given("XDG_CACHE_HOME").map(|dir| dir.join("plumbline")))
        .or_else(|| given("HOME").map(|dir| dir.join(".cache/plumbline")))
}

/// Runs `plumb` at the repository's root, and reads its report.
fn plumb(args: &[&str]) -> Result<Value, Box<dyn Error>> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plumb"));
    command.args(args).arg("--json").current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = command.output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The first question of multi-hop QA, under as many ids.
fn questions(dir: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let tasks = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("environments/multihop-qa/tasks.jsonl");
    let tasks = std::fs::read_to_string(tasks)?;
    let task: Value = serde_json::from_str(tasks.lines().next().ok_or("no task")?)?;
    let line = |index| {
        let id = format!("copy-{index}");
        json!({ "id": id, "prompt": task["prompt"] }).to_string() + "\n"
    };
    let path = dir.join("questions.jsonl");
    std::fs::write(&path, (0..EPISODES).map(line).collect::<String>())?;
    Ok(path)
}

fn tree(dir: &Path) -> Result<(), Box<dyn Error>> {
    let policy = ["--policy", "llama:default", "--steps-max", "3", "--seed", "5"];
    let seconds = |more: &[&str], out: &str| -> Result<(f64, Value), Box<dyn Error>> {
        let out = dir.join(out);
        let out = ["--out", out.to_str().ok_or("a path of UTF-8")?];
        let args = [&["run", "multihop-qa"][..], &policy, more, &out].concat();
        let report = plumb(&args)?;
        Ok((report["seconds"].as_f64().ok_or("no time was told")?, report))
    };
    let (growing, report) = seconds(&["--limit", "1", "--tree", "3,3,3"], "tree")?;
    let questions = questions(dir)?;
    let questions = questions.to_str().ok_or("a path of UTF-8")?;
    let (alone, _) = seconds(&["--tasks", questions, "--concurrency", "1"], "episodes")?;
    let ratio = growing / alone;
    println!(
        "a tree of 3 x 3 x 3: {growing:.1} s, {} steps; {EPISODES} episodes one after the \
         other: {alone:.1} s; ratio {ratio:.2}",
        report["steps"]
    );
    assert!(ratio <= TREE_OVER_EPISODES_MAX, "{ratio:.2}");
    Ok(())
}

fn methods(dir: &Path) -> Result<(), Box<dyn Error>> {
    let out = dir.join("methods");
    let out = ["--out", out.to_str().ok_or("a path of UTF-8")?];
    let explore = ["explore", "multihop-qa", "--policy", "llama:default", "--limit", "2"];
    let small = ["--steps-max", "3", "--samples", "2", "--rollouts", "4"];
    let methods = ["--method", "math-shepherd", "--method", "omegaprm"];
    let report = plumb(&[&explore[..], &small, &methods, &out].concat())?;
    let sampled = &report["methods"][1]["ledger"]["sampled"];
    let count = |which: &str| sampled[which].as_f64().ok_or("no tokens were told");
    let (fresh, reused) = (count("fresh")?, count("reused")?);
    let share = fresh / (fresh + reused).max(1.0);
    println!(
        "omegaprm after math-shepherd: {fresh} tokens sampled, {reused} found; {:.0} % of \
         what it takes alone",
        100.0 * share
    );
    assert!(share <= FRESH_MAX, "{share:.2}");
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let cache = cache().unwrap_or_default();
    if !cache.join("models").join(MODEL).is_file() {
        println!("skipped: the default model is not in the cache: make model");
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    tree(dir.path())?;
    methods(dir.path())
}
