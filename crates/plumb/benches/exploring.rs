//! What growing trees saves, with the default local model.
//!
//! A tree of 3 × 3 × 3 is grown, and beside it 27 episodes of as many steps one after the other:
//! the same question under other ids, so that nothing but the instructions is shared. Then
//! methods judge the steps of one run, one after the other.
//!
//! Asserted: the tree takes at most 0.35 of the time; a method that completes states as often as
//! the first one samples at most 0.3 of the tokens that it would have had to sample alone.
//! Printed alone: the same of two that sample otherwise. Skipped where the model is not in the
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

/// The first ones complete a state equally often; of the others one completes it up to four
/// times as often, and one grows its tree otherwise.
const METHODS: [&str; 5] =
    ["math-shepherd", "omegaprm", "mm-prm", "genprm", "treeps-rag"];
const ALIKE: usize = 3;
const EASY: [(&str, &str, &str); 3] = [
    ("born", "Was George Gershwin born in the United States? Answer yes or no.", "yes"),
    ("larger", "Which is larger, an elephant or a mouse?", "elephant"),
    ("capital", "What is the capital of France?", "Paris"),
];

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

/// The world of multi-hop QA with questions that the model sometimes answers rightly, so that
/// methods go beyond the completions of the question.
fn easy(dir: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shipped = root.join("environments/multihop-qa");
    let folder = dir.join("easy");
    std::fs::create_dir(&folder)?;
    std::fs::copy(shipped.join("prompt.md"), folder.join("prompt.md"))?;
    let corpora = root.join("corpora");
    let corpora = corpora.to_str().ok_or("a path of UTF-8")?;
    let manifest = std::fs::read_to_string(shipped.join("environment.toml"))?;
    let manifest = manifest.replace("../../corpora", corpora);
    std::fs::write(folder.join("environment.toml"), manifest)?;
    let (mut tasks, mut gold) = (String::new(), String::new());
    for (id, prompt, answer) in EASY {
        tasks += &format!("{}\n", json!({ "id": id, "prompt": prompt }));
        gold += &format!("{}\n", json!({ "id": id, "answer": answer }));
    }
    std::fs::write(folder.join("tasks.jsonl"), tasks)?;
    std::fs::write(folder.join("gold.jsonl"), gold)?;
    Ok(folder)
}

fn methods(dir: &Path) -> Result<(), Box<dyn Error>> {
    let (out, easy) = (dir.join("methods"), easy(dir)?);
    let path = |path: &Path| path.to_str().map(str::to_owned).ok_or("a path of UTF-8");
    let (out, easy) = (path(&out)?, path(&easy)?);
    let explore = ["explore", &easy, "--policy", "llama:default", "--out", &out];
    let small = ["--steps-max", "3", "--samples", "4", "--rollouts", "4"];
    let named = METHODS.iter().flat_map(|method| ["--method", method]);
    let args: Vec<&str> = explore.into_iter().chain(small).chain(named).collect();
    let report = plumb(&args)?;
    let rows = report["methods"].as_array().ok_or("no methods were told")?;
    let mut shares = Vec::with_capacity(rows.len());
    for (name, row) in METHODS.iter().zip(rows) {
        let sampled = &row["ledger"]["sampled"];
        let count = |which: &str| sampled[which].as_f64().ok_or("no tokens were told");
        let (fresh, reused) = (count("fresh")?, count("reused")?);
        let share = fresh / (fresh + reused).max(1.0);
        println!(
            "{name}: {} good, {} bad, {fresh} tokens sampled, {reused} found; {:.0} % of what \
             it takes alone",
            row["good"],
            row["bad"],
            100.0 * share
        );
        shares.push((name, share));
    }
    for (name, share) in &shares[1..ALIKE] {
        assert!(*share <= FRESH_MAX, "{name}: {share:.2}");
    }
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
