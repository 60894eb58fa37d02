//! What the sandbox costs, beside the same in native Python, in the same minute.
//!
//! Asserted, of medians: a fresh `print(1)` takes at most 0.2 of `python3 -c 'print(1)'`; a
//! fresh step that uses pandas at most 0.02 of `python3 -c 'import pandas'` (where the native
//! Python has pandas: `PLUMBLINE_PANDAS` may name a folder that holds it); a fork of an
//! interpreter with a frame of 50 MB under 20 ms. And 1,000 episodes leave no growth: of
//! memory less than a tenth, of file handles none.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints")]

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use plumbline::{Limits, Observation, Scratch, Tool};
use plumbline_wasm::{Python, PythonError, PythonSettings};
use serde_json::json;
use tokio::runtime::Runtime;

const NATIVE: &str = "/usr/bin/python3";
const PRINT_RATIO_MAX: f64 = 0.2;
const PANDAS_RATIO_MAX: f64 = 0.02;
const FORK_MS_MAX: f64 = 20.0;
const GROWTH_MAX: f64 = 0.1;
const FRAME: &str = "import pandas as pd; int(pd.DataFrame({'a': range(100)}).a.sum())";
const EPISODES: usize = 1_000;

fn cache() -> PathBuf {
    let given =
        |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    given("PLUMBLINE_CACHE")
        .or_else(|| given("XDG_CACHE_HOME").map(|dir| dir.join("plumbline")))
        .or_else(|| given("HOME").map(|dir| dir.join(".cache").join("plumbline")))
        .unwrap()
}

struct Bench {
    runtime: Runtime,
    python: Python,
    limits: Limits,
}

impl Bench {
    fn step(&self, scratch: &mut Scratch, code: &str) -> Observation {
        let args = json!({ "code": code });
        let called = self.python.call(&args, scratch, &self.limits);
        let observation = self.runtime.block_on(called).unwrap();
        let data = observation.data();
        assert!(data.is_object() && data["exception"].is_null(), "{observation:?}");
        observation
    }

    /// Times one cell on a copy of a state, so many times, in milliseconds, sorted.
    fn time(&self, count: usize, scratch: &Scratch, code: &str) -> Vec<f64> {
        sorted(count, || {
            let mut scratch = scratch.clone();
            self.step(&mut scratch, code);
        })
    }
}

fn sorted(count: usize, mut run: impl FnMut()) -> Vec<f64> {
    let mut times: Vec<f64> = (0..count)
        .map(|_| {
            let began = Instant::now();
            run();
            let taken = began.elapsed().as_secs_f64() * 1e3;
            // What a call leaves to be done after its answer is not part of the next one.
            std::thread::sleep(Duration::from_millis(5));
            taken
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times
}

fn p50(times: &[f64]) -> f64 {
    times[times.len() / 2]
}

fn p95(times: &[f64]) -> f64 {
    times[times.len() * 95 / 100]
}

/// A program in native Python, if it runs there.
struct Native {
    code: &'static str,
    modules: Option<String>,
}

impl Native {
    fn new(code: &'static str, modules: Option<String>) -> Option<Self> {
        let native = Self { code, modules };
        native.run().then_some(native)
    }

    fn run(&self) -> bool {
        let mut command = Command::new(NATIVE);
        if let Some(folder) = &self.modules {
            command.env("PYTHONPATH", folder);
        }
        let output = command.args(["-c", self.code]).output();
        output.is_ok_and(|output| output.status.success())
    }
}

/// Times a fresh step and a native program by turns, so that what else the machine does
/// falls on both. Returns the ratio of their medians.
fn compare(bench: &Bench, code: &str, native: &Native, count: usize) -> f64 {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..count {
        ours.extend(bench.time(3, &Scratch::default(), code));
        theirs.extend(sorted(1, || {
            native.run();
        }));
    }
    ours.sort_by(f64::total_cmp);
    theirs.sort_by(f64::total_cmp);
    let (least, p50, p95) = (ours[0], p50(&ours), p95(&ours));
    println!("fresh {code:?}");
    println!(
        "  sandbox, least / p50 / p95           {least:8.2} / {p50:.2} / {p95:.2} ms"
    );
    let (least, median) = (theirs[0], theirs[theirs.len() / 2]);
    println!("  python3 -c {:?}, least / p50 {least:8.2} / {median:.2} ms", native.code);
    let ratio = p50 / median;
    println!("  ratio of medians                     {ratio:8.4}");
    ratio
}

fn main() {
    let cache = cache();
    let settings = PythonSettings {
        artefact: cache.join("python"),
        cache: cache.join("sandbox"),
        files: None,
        preload: vec!["numpy".to_owned(), "pandas".to_owned()],
        states_bytes_max: 512 << 20,
    };
    let began = Instant::now();
    let python =
        match Python::open(&settings, vec![], &|progress| println!("{progress:?}")) {
            Ok(python) => python,
            Err(error @ PythonError::Missing { .. }) => {
                println!("skipped: {error}");
                return;
            }
            Err(error) => panic!("{error}"),
        };
    println!(
        "open, from a warm cache                {:8.1} ms",
        began.elapsed().as_secs_f64() * 1e3
    );
    let runtime = Runtime::new().unwrap();
    let bench = Bench { runtime, python, limits: Limits::default() };
    let mut problems = Vec::new();
    fresh(&bench, &mut problems);
    pandas(&bench, &mut problems);
    later(&bench);
    fork(&bench, &mut problems);
    growth(&bench, &mut problems);
    assert!(problems.is_empty(), "{}", problems.join("; "));
}

fn fresh(bench: &Bench, problems: &mut Vec<String>) {
    let Some(native) = Native::new("print(1)", None) else {
        println!("skipped: there is no {NATIVE} to compare with");
        return;
    };
    let ratio = compare(bench, "print(1)", &native, 40);
    if ratio > PRINT_RATIO_MAX {
        problems.push(format!("a fresh step: {ratio:.3}, more than {PRINT_RATIO_MAX}"));
    }
}

fn pandas(bench: &Bench, problems: &mut Vec<String>) {
    let folder = std::env::var("PLUMBLINE_PANDAS").ok();
    let Some(native) = Native::new("import pandas", folder) else {
        println!(
            "skipped: {NATIVE} has no pandas; PLUMBLINE_PANDAS may name a folder with it"
        );
        return;
    };
    // The import alone, and the least that a step does with it: to see where the time goes.
    for code in [native.code, "import pandas as pd; pd.Series([1, 2]).sum()"] {
        compare(bench, code, &native, 9);
    }
    let ratio = compare(bench, FRAME, &native, 9);
    if ratio > PANDAS_RATIO_MAX {
        problems.push(format!("pandas: {ratio:.4}, more than {PANDAS_RATIO_MAX}"));
    }
}

/// A later step of an episode, and the same after everything is forgotten.
fn later(bench: &Bench) {
    let mut scratch = Scratch::default();
    for i in 0..5 {
        bench.step(&mut scratch, &format!("x{i} = list(range(1000))"));
    }
    let times = bench.time(50, &scratch, "len(x3)");
    println!(
        "sixth step, p50 / p95                  {:8.2} / {:.2} ms",
        p50(&times),
        p95(&times)
    );
    let again = sorted(10, || {
        bench.python.forget();
        bench.step(&mut scratch.clone(), "len(x3)");
    });
    println!("  its five cells run again, p50        {:8.2} ms", p50(&again));
}

fn fork(bench: &Bench, problems: &mut Vec<String>) {
    let mut scratch = Scratch::default();
    let code = "import numpy as np, pandas as pd\n\
                frame = pd.DataFrame({'a': np.arange(6_250_000, dtype='f8')})";
    let began = Instant::now();
    bench.step(&mut scratch, code);
    let made = began.elapsed().as_secs_f64() * 1e3;
    // The first child also waits until its parent is at rest.
    let began = Instant::now();
    bench.step(&mut scratch.clone(), "None");
    let first = began.elapsed().as_secs_f64() * 1e3;
    println!("a frame of 50 MB made                  {made:8.2} ms");
    println!("  its first fork, freezing included    {first:8.2} ms");
    let times = bench.time(50, &scratch, "None");
    println!(
        "  a fork, p50 / p95                    {:8.2} / {:.2} ms",
        p50(&times),
        p95(&times)
    );
    let read = bench.time(5, &scratch, "float(frame.a.sum())");
    println!("  a fork that reads all of it, p50     {:8.2} ms", p50(&read));
    for ms in [first, p50(&times)] {
        if ms >= FORK_MS_MAX {
            problems.push(format!("a fork: {ms:.1} ms, not under {FORK_MS_MAX}"));
        }
    }
}

fn growth(bench: &Bench, problems: &mut Vec<String>) {
    let mut before = (0, 0);
    let began = Instant::now();
    for episode in 0..EPISODES {
        let mut scratch = Scratch::default();
        bench.step(
            &mut scratch,
            &format!("x = [{episode}] * 100_000\nopen('f', 'w').write('x')"),
        );
        bench.step(&mut scratch, "len(x)");
        // By then as many interpreters are kept as ever will be.
        if episode == EPISODES / 4 {
            before = (memory(), handles());
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let after = (memory(), handles());
    println!("{EPISODES} episodes of two steps           {seconds:8.2} s");
    println!(
        "  memory, after a quarter and after all {} / {} MB",
        before.0 >> 20,
        after.0 >> 20
    );
    println!("  file handles                         {} / {}", before.1, after.1);
    let grown = after.0 as f64 / before.0.max(1) as f64 - 1.0;
    if grown >= GROWTH_MAX {
        problems.push(format!("memory grows by {grown:.2}"));
    }
    if after.1 > before.1 {
        problems.push("file handles grow".to_owned());
    }
}

/// Bytes this process holds, files in memory included; nothing where nobody says.
fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kb = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<usize>().ok()
    };
    let resident = kb("RssAnon:").unwrap_or(0) << 10;
    // What images hold is not mapped while nobody uses it.
    let held = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let held: u64 = held
        .filter(|entry| {
            let link = std::fs::read_link(entry.path()).unwrap_or_default();
            link.to_string_lossy().contains("memfd:plumbline")
        })
        .filter_map(|entry| std::fs::metadata(entry.path()).ok())
        .map(|metadata| allocated(&metadata))
        .sum();
    resident + held as usize
}

#[cfg(unix)]
fn allocated(metadata: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(metadata) * 512
}

#[cfg(not(unix))]
fn allocated(_: &std::fs::Metadata) -> u64 {
    0
}

fn handles() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}
