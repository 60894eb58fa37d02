//! Runs the reference solutions of HumanEval and MBPP with their tests, in the sandbox and in
//! native Python, and lists every program that ends differently.
//!
//! ```text
//! cargo run --release -p plumbline-wasm --example conformance -- FOLDER [LIMIT]
//! ```
//!
//! FOLDER holds `humaneval_164.jsonl` and `mbpp_1_510.jsonl`.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "an example prints")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use plumbline::{Limits, Scratch, Tool};
use plumbline_wasm::{Python, PythonSettings};
use serde_json::{Value, json};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().expect("the folder of the data"));
    let limit = arguments.next().map_or(usize::MAX, |limit| limit.parse().unwrap());
    let cache =
        std::env::var_os("PLUMBLINE_CACHE").map(PathBuf::from).unwrap_or_else(|| {
            PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/plumbline")
        });
    let settings = PythonSettings {
        artefact: cache.join("python"),
        cache: cache.join("sandbox"),
        files: None,
        preload: vec!["numpy".to_owned(), "pandas".to_owned()],
        states_bytes_max: 64 << 20,
    };
    let python =
        Python::open(&settings, vec![], &|progress| println!("{progress:?}")).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for (name, program) in [
        ("humaneval_164.jsonl", humaneval as fn(&Value) -> (String, String)),
        ("mbpp_1_510.jsonl", mbpp),
    ] {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        let tasks: Vec<Value> = text
            .lines()
            .take(limit)
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let (mut alike, mut passed, mut sandboxed, mut native) = (0, 0, 0.0, 0.0);
        for task in &tasks {
            let (id, code) = program(task);
            let began = Instant::now();
            let args = json!({ "code": code });
            let mut scratch = Scratch::default();
            let limits = Limits { call_ms_max: 600_000, ..Limits::default() };
            let called = python.call(&args, &mut scratch, &limits);
            let observation = runtime.block_on(called).unwrap();
            sandboxed += began.elapsed().as_secs_f64();
            let data = observation.data();
            let here = match data["exception"]["type"].as_str() {
                Some(exception) => Some(exception.to_owned()),
                None if data.is_object() => None,
                None => Some(observation.text().to_owned()),
            };
            let began = Instant::now();
            let there = natively(&code);
            native += began.elapsed().as_secs_f64();
            passed += usize::from(here.is_none());
            if here == there {
                alike += 1;
            } else {
                println!("  {id}: sandbox {here:?}, native {there:?}");
            }
        }
        println!(
            "{name}: {} programs, {passed} pass in the sandbox, {alike} end as in native \
             Python; {sandboxed:.1} s, native {native:.1} s",
            tasks.len()
        );
    }
}

fn humaneval(task: &Value) -> (String, String) {
    let field = |name: &str| task[name].as_str().unwrap();
    let code = format!(
        "{}{}\n{}\ncheck({})\n",
        field("prompt"),
        field("canonical_solution"),
        field("test"),
        field("entry_point")
    );
    (field("task_id").to_owned(), code)
}

fn mbpp(task: &Value) -> (String, String) {
    let tests: Vec<&str> = task["test_list"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t.as_str().unwrap())
        .collect();
    let (setup, code) =
        (task["test_setup_code"].as_str(), task["code"].as_str().unwrap());
    let code = format!("{code}\n{}\n{}\n", setup.unwrap_or_default(), tests.join("\n"));
    (format!("MBPP/{}", task["task_id"]), code.replace('\r', ""))
}

/// The type of the exception that a program ends with in native Python.
fn natively(code: &str) -> Option<String> {
    let file =
        std::env::temp_dir().join(format!("conformance-{}.py", std::process::id()));
    std::fs::write(&file, code).unwrap();
    let output = Command::new("/usr/bin/python3").arg(Path::new(&file)).output().unwrap();
    std::fs::remove_file(&file).unwrap();
    if output.status.success() {
        return None;
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let last =
        errors.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let name = last.split(':').next().unwrap_or_default();
    Some(name.rsplit('.').next().unwrap_or_default().to_owned())
}
