//! How much faster a replay is than the recording was, with the default local model.
//!
//! A few episodes of multi-hop questions are recorded with the model, and replayed, by the
//! command as its users run it. The recording counts from the first step on, without loading
//! the model; the replay counts whole, with starting the process and opening the tools.
//!
//! Asserted: a replay takes at most a twentieth of the recording. Skipped where the model is
//! not in the user's cache.

#![allow(clippy::print_stdout, reason = "a benchmark prints")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use serde_json::Value;

const RECORDING_OVER_REPLAYING_MIN: f64 = 20.0;
const MODEL: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";

fn cache() -> Option<PathBuf> {
    let given =
        |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    given("PLUMBLINE_CACHE")
        .or_else(|| given("XDG_CACHE_HOME").map(|dir| dir.join("plumbline")))
        .or_else(|| given("HOME").map(|dir| dir.join(".cache/plumbline")))
}

/// Runs `plumb` at the repository's root; what it prints.
fn plumb(args: &[&str]) -> Result<String, Box<dyn Error>> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plumb"));
    let output = command.args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Seconds of recording and of replaying, and the steps there were.
fn measure(run: &Path) -> Result<(f64, f64, u64), Box<dyn Error>> {
    let run = run.to_str().ok_or("a path of UTF-8")?;
    let record =
        ["run", "multihop-qa", "--policy", "llama:default", "--limit", "2", "--samples"];
    let more = ["2", "--steps-max", "4", "--seed", "7", "--json", "--out", run];
    let report: Value = serde_json::from_str(&plumb(&[&record[..], &more].concat())?)?;
    let recording = report["seconds"].as_f64().ok_or("no time was told")?;
    let begun = Instant::now();
    let replayed = plumb(&["replay", run, "--json"])?;
    let replaying = begun.elapsed().as_secs_f64();
    let replayed: Value = serde_json::from_str(&replayed)?;
    assert_eq!(replayed["divergences"], 0, "{replayed}");
    Ok((recording, replaying, replayed["steps"].as_u64().ok_or("no steps were told")?))
}

fn main() -> Result<(), Box<dyn Error>> {
    let cache = cache().unwrap_or_default();
    if !cache.join("models").join(MODEL).is_file() {
        println!("skipped: the default model is not in the cache: make model");
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let (recording, replaying, steps) = measure(&dir.path().join("run"))?;
    let times = recording / replaying;
    println!(
        "{steps} steps recorded in {recording:.1} s, replayed in {replaying:.2} s: \
         {times:.0} times faster"
    );
    assert!(times >= RECORDING_OVER_REPLAYING_MIN, "{times:.1} times");
    Ok(())
}
