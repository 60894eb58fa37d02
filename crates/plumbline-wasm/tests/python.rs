//! The sandbox with the real interpreter. Where that is absent, each test says so and ends:
//! `make python` fetches it.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test may panic and say why"
)]

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use plumbline::{Digest, Fault, Limits, Observation, Scratch, Tool, ToolError, ToolSpec};
use plumbline_wasm::{Progress, Python, PythonError, PythonSettings};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Where `make` puts what it fetches, and `plumb` what it builds.
fn cache() -> Option<PathBuf> {
    let given =
        |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    given("PLUMBLINE_CACHE")
        .or_else(|| given("XDG_CACHE_HOME").map(|dir| dir.join("plumbline")))
        .or_else(|| given("HOME").map(|dir| dir.join(".cache").join("plumbline")))
}

fn settings(cache: &Path) -> PythonSettings {
    PythonSettings {
        artefact: cache.join("python"),
        cache: cache.join("sandbox"),
        files: Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files")),
        preload: vec!["numpy".to_owned(), "pandas".to_owned()],
        states_bytes_max: 512 << 20,
    }
}

/// The sandbox that most tests share; `None`, and a line, where there is no interpreter.
fn python() -> Option<&'static Python> {
    static PYTHON: OnceLock<Option<Python>> = OnceLock::new();
    let python = PYTHON.get_or_init(|| {
        let say = |progress| match progress {
            Progress::Compiling { seconds } if seconds % 10 > 0 => {}
            progress => eprintln!("opening the sandbox: {progress:?}"),
        };
        match Python::open(&settings(&cache()?), vec![], &say) {
            Ok(python) => Some(python),
            Err(PythonError::Missing { .. }) => None,
            Err(error) => panic!("{error}"),
        }
    });
    if python.is_none() {
        eprintln!("skipped: there is no Python interpreter; `make python` fetches it");
    }
    python.as_ref()
}

/// Small enough that running into one takes a second.
fn limits() -> Limits {
    Limits {
        fuel_max: 1_500_000_000,
        memory_bytes_max: 256 << 20,
        output_bytes_max: 64 << 10,
        files_bytes_max: 1 << 20,
        call_ms_max: 300_000,
        ..Limits::default()
    }
}

/// An episode: a tool and its state.
#[derive(Clone)]
struct Episode<'p> {
    python: &'p Python,
    scratch: Scratch,
    limits: Limits,
}

impl<'p> Episode<'p> {
    fn new(python: &'p Python) -> Self {
        Self { python, scratch: Scratch::default(), limits: limits() }
    }

    fn run(&mut self, code: &str) -> Observation {
        let args = json!({ "code": code });
        runtime()
            .block_on(self.python.call(&args, &mut self.scratch, &self.limits))
            .unwrap()
    }

    fn echo(&mut self, code: &str) -> String {
        let observation = self.run(code);
        match observation.data()["echo"].as_str() {
            Some(echo) => echo.to_owned(),
            None => panic!("{code}: {observation:?}"),
        }
    }
}

fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Runtime::new().unwrap())
}

#[test]
fn a_cell_is_run_as_in_a_notebook() {
    let Some(python) = python() else { return };
    let mut episode = Episode::new(python);
    let observation =
        episode.run("import sys\nx = 20\nprint('out')\nsys.stderr.write('err')\nx + 1");
    let expected = json!({
        "stdout": "out\n", "stderr": "err", "echo": "21", "exception": null, "files": {},
    });
    assert_eq!(observation.data(), &expected);
    assert_eq!(observation.text(), "out\nerr\n21");
    assert_eq!(episode.echo("x * 2"), "40");
    assert_eq!(episode.run("None").text(), "(no output)");
    assert_eq!(episode.echo("_ + 1"), "41", "what was echoed last");

    // What the cell did before its exception stays.
    let observation = episode.run("y = 7\n\ndef f():\n    return 1 / 0\nf()");
    let exception = &observation.data()["exception"];
    assert_eq!(exception["type"], "ZeroDivisionError");
    assert_eq!(exception["line"], 4);
    let text = observation.text();
    assert!(text.contains("<cell 5>") && text.contains("return 1 / 0"), "{text}");
    assert!(!text.contains("kernel") && !text.contains("_plumbline"), "{text}");
    assert_eq!(episode.echo("y"), "7");
    // A line of the cell that called, not of the one that defined.
    let observation = episode.run("\nf()");
    assert_eq!(observation.data()["exception"]["line"], 2);
    let observation = episode.run("a = 1\nb = = 2");
    assert_eq!(observation.data()["exception"]["type"], "SyntaxError");
    assert_eq!(observation.data()["exception"]["line"], 2);

    let code = "class C:\n    pass\nimport pickle\npickle.loads(pickle.dumps(C())).__class__ is C";
    assert_eq!(episode.echo(code), "True", "classes of a cell are found by name");
}

#[test]
fn files_are_mounted_written_and_reported() {
    let Some(python) = python() else { return };
    let mut episode = Episode::new(python);
    episode.scratch = Scratch::of_inputs(&json!({"files": ["people.csv"]}));
    let code = "import pandas as pd\npeople = pd.read_csv('/data/people.csv')\nint(people.age.sum())";
    assert_eq!(episode.echo(code), "101");
    let observation = episode.run("people.to_csv('copy.csv', index=False)");
    let written =
        std::fs::read(settings(Path::new("")).files.unwrap().join("people.csv"));
    let written = written.unwrap();
    let kept = json!({"bytes": written.len(), "sha256": Digest::of(&written)});
    assert_eq!(observation.data()["files"], json!({ "/scratch/copy.csv": kept }));
    assert_eq!(
        episode.scratch.get("python").unwrap()["files"]["/scratch/copy.csv"],
        kept
    );
    let observation = episode.run("open('copy.csv').readline()");
    assert_eq!(observation.data()["files"], json!({}), "read, not written");
    // What is open stays open, at its place, from cell to cell and into a fork.
    episode.run("file = open('/data/people.csv')\nfile.readline()");
    let mut fork = episode.clone();
    assert_eq!(episode.echo("file.readline()"), fork.echo("file.readline()"));
    let observation = episode.run("pd.read_csv('people.csv')");
    let text = observation.text();
    assert!(text.ends_with("there is /data/people.csv"), "{text}");

    let mut stranger = Episode::new(python);
    stranger.scratch = Scratch::of_inputs(&json!({"files": ["absent.csv"]}));
    let args = json!({"code": "1"});
    let called = stranger.python.call(&args, &mut stranger.scratch, &stranger.limits);
    let error = runtime().block_on(called).unwrap_err().to_string();
    assert!(error.contains("absent.csv") && error.contains("people.csv"), "{error}");
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Escapes {
    case: Vec<Escape>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Escape {
    name: String,
    code: String,
    ends: String,
    shows: Option<String>,
    hides: Option<String>,
}

/// Every try in `escapes.toml` ends as it says there, twice alike, and the next step works.
#[test]
fn nothing_gets_out() {
    let Some(python) = python() else { return };
    let text = include_str!("escapes.toml");
    let Escapes { case: cases } = toml::from_str(text).unwrap();
    assert!(cases.len() >= 60);
    let mut base = Episode::new(python);
    base.run("kept = 41");
    let mut wrong = Vec::new();
    for case in cases {
        let mut episode = base.clone();
        let began = Instant::now();
        let observation = episode.run(&case.code);
        let seconds = began.elapsed().as_secs_f32();
        let text = observation.text();
        let exception = observation.data()["exception"]["type"].as_str();
        let ends = match (observation.as_fault(), exception) {
            (None, None) => "output",
            (None, Some(exception)) => exception,
            (Some(Fault::Limit), _) => "limit",
            (Some(Fault::Trap), _) => "trap",
            (Some(fault), _) => panic!("{}: {fault:?}", case.name),
        };
        let shows = case.shows.as_deref().is_none_or(|part| text.contains(part));
        let hides = case.hides.as_deref().is_none_or(|part| !text.contains(part));
        if observation.as_fault().is_some() {
            assert_eq!(episode.scratch.digest(), base.scratch.digest(), "{}", case.name);
        }
        let next = episode.run("kept + 1");
        let works = next.data()["echo"] == "42";
        if ends != case.ends || !shows || !hides || !works {
            let text: String = text.chars().take(600).collect();
            let next = next.text();
            wrong.push(format!(
                "{}: ends {ends}, expected {}; next {next:?}; {seconds:.1} s\n{text}\n",
                case.name, case.ends
            ));
        }
        if std::env::var_os("PLUMBLINE_TIMES").is_some() {
            eprintln!("{seconds:6.2} s  {} {ends}", case.name);
        }
    }
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
}

/// Cells that make state of every kind, and depend on it.
const CELLS: [&str; 14] = [
    "x = globals().get('x', 0) + 1\nx",
    "import random\nrandom.random()",
    "import numpy as np\nnp.random.rand()",
    "import pandas as pd\nframe = pd.DataFrame({'a': range(1000)})\nframe.a.sum()",
    "held = globals().get('held', []) + [bytes(2_000_000)]\nlen(held)",
    "open('log', 'a').write('line')\nopen('log').read()",
    "{hash(str(i)) % 7 for i in range(5)}, object()",
    "import os\nos.urandom(4), id(object())",
    "import time\ntime.time(), time.perf_counter()",
    "import collections\ncounts = collections.Counter('abracadabra')\ncounts",
    "1 / 0",
    "while True: pass",
    "held = None\nimport gc\ngc.collect()",
    "import uuid\nuuid.uuid4(), np.random.default_rng().random()",
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(6) })]

    /// A fork gives what running all its cells again gives: observations, digests.
    #[test]
    fn forking_is_running_again(
        trunk in prop::collection::vec(0..CELLS.len(), 1..4),
        branches in prop::collection::vec(prop::collection::vec(0..CELLS.len(), 1..3), 2..3),
    ) {
        let Some(python) = python() else { return Ok(()) };
        let mut quick = limits();
        quick.fuel_max = 300_000_000;
        let mut episode = Episode { limits: quick, ..Episode::new(python) };
        for cell in &trunk {
            episode.run(CELLS[*cell]);
        }
        let forked: Vec<(Vec<Observation>, Digest)> = branches
            .iter()
            .map(|branch| {
                let mut fork = episode.clone();
                let observations = branch.iter().map(|cell| fork.run(CELLS[*cell])).collect();
                (observations, fork.scratch.digest())
            })
            .collect();
        for (branch, expected) in branches.iter().zip(forked) {
            let mut again = Episode { scratch: Scratch::default(), ..episode.clone() };
            for cell in &trunk {
                again.run(CELLS[*cell]);
            }
            prop_assert_eq!(again.scratch.digest(), episode.scratch.digest());
            let observations: Vec<Observation> = branch
                .iter()
                .map(|cell| {
                    python.forget();
                    again.run(CELLS[*cell])
                })
                .collect();
            prop_assert_eq!((observations, again.scratch.digest()), expected);
        }
    }
}

#[test]
fn limits_are_reached_at_the_same_place_every_time() {
    let Some(python) = python() else { return };
    let code = "import json\nlen(json.dumps([str(i) for i in range(2000)]))";
    let is_enough = |fuel_max: u64| {
        python.forget();
        let mut episode = Episode::new(python);
        episode.limits.fuel_max = fuel_max;
        let observation = episode.run(code);
        assert!(observation.as_fault().is_none_or(|fault| fault == Fault::Limit));
        observation.as_fault().is_none()
    };
    let need = || {
        let (mut too_little, mut enough) = (0, 1_500_000_000);
        while enough - too_little > 1 {
            let middle = (too_little + enough) / 2;
            if is_enough(middle) { enough = middle } else { too_little = middle }
        }
        enough
    };
    assert_eq!(need(), need());
}

/// The started interpreter is a cache as well: without it everything is the same.
#[test]
fn the_image_changes_nothing_but_time() {
    let Some(python) = python() else { return };
    let shared = settings(&cache().unwrap());
    let folder = tempfile::tempdir().unwrap();
    // The compiled module alone, which takes minutes to make.
    let mut images = Vec::new();
    for entry in std::fs::read_dir(&shared.cache).unwrap() {
        let from = entry.unwrap().path();
        if from.join("start.memory").exists() {
            images.push(from);
        } else if from.join("module.cwasm").exists() {
            let to = folder.path().join(from.file_name().unwrap());
            std::fs::create_dir(&to).unwrap();
            for name in ["module.cwasm", "manifest.json"] {
                std::fs::copy(from.join(name), to.join(name)).unwrap();
            }
        }
    }
    let private = PythonSettings { cache: folder.path().to_owned(), ..shared };
    let open = || {
        let started = std::sync::atomic::AtomicBool::new(false);
        let python = Python::open(&private, vec![], &|progress| {
            assert!(!matches!(progress, Progress::Compiling { .. }));
            started.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        (python.unwrap(), started.into_inner())
    };
    let (without, started) = open();
    assert!(started, "there was no image");
    let codes = [CELLS[1], CELLS[3], CELLS[6], CELLS[7], CELLS[8], CELLS[13]];
    let observe = |python: &Python| {
        let mut episode = Episode::new(python);
        let observations: Vec<Observation> =
            codes.iter().map(|code| episode.run(code)).collect();
        (observations, episode.scratch.digest())
    };
    let expected = observe(python);
    assert_eq!(observe(&without), expected);
    let image = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().path().join("start.memory"))
        .find(|path| path.exists())
        .unwrap();
    let bytes = std::fs::read(&image).unwrap();
    let is_known = images.iter().any(|folder| {
        folder.file_name() == image.parent().unwrap().file_name()
            && std::fs::read(folder.join("start.memory")).unwrap() == bytes
    });
    assert!(is_known, "an interpreter starts the same way every time");

    let (with, started) = open();
    assert!(!started, "it was kept");
    assert_eq!(observe(&with), expected);
    drop((with, without));
    // Damage is noticed, and what was damaged is made again.
    let mut damaged = bytes.clone();
    damaged[20 << 20] ^= 1;
    std::fs::write(&image, damaged).unwrap();
    let (repaired, started) = open();
    assert!(started);
    assert_eq!(observe(&repaired), expected);
    assert_eq!(std::fs::read(&image).unwrap(), bytes);
}

#[test]
fn a_call_that_nobody_waits_for_ends() {
    let Some(python) = python() else { return };
    let mut episode = Episode::new(python);
    episode.limits.fuel_max = u64::MAX / 2;
    episode.limits.call_ms_max = 300;
    let args = json!({"code": "while True: pass"});
    let cores = std::thread::available_parallelism().unwrap().get();
    // As many as may run at once: if one did not end, nothing could run after them.
    for _ in 0..cores {
        let called = python.call(&args, &mut episode.scratch, &episode.limits);
        let error = runtime().block_on(called).unwrap_err().to_string();
        assert!(error.contains("call_ms_max"), "{error}");
    }
    let called = python.call(&args, &mut episode.scratch, &episode.limits);
    let dropped = async { tokio::time::timeout(Duration::from_millis(50), called).await };
    assert!(runtime().block_on(dropped).is_err());
    episode.limits.call_ms_max = 60_000;
    assert_eq!(episode.echo("1 + 1"), "2");
}

#[test]
fn episodes_run_beside_each_other() {
    let Some(python) = python() else { return };
    let runs: Vec<_> = (0..12)
        .map(|i| async move {
            let mut scratch = Scratch::default();
            let mut text = String::new();
            for code in [format!("x = {i}"), "y = x + 1".into(), "x, y".into()] {
                let args = json!({ "code": code });
                let observation =
                    python.call(&args, &mut scratch, &limits()).await.unwrap();
                text = observation.text().to_owned();
            }
            (i, text)
        })
        .map(|run| runtime().spawn(run))
        .collect();
    for run in runs {
        let (i, text) = runtime().block_on(run).unwrap();
        assert_eq!(text, format!("({i}, {})", i + 1));
    }
}

/// Adds two numbers, or fails as told.
struct Add(ToolSpec);

#[async_trait]
impl Tool for Add {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    async fn call(
        &self,
        args: &Value,
        scratch: &mut Scratch,
        _: &Limits,
    ) -> Result<Observation, ToolError> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let number = |name: &str| args[name].as_i64().unwrap_or(0);
        scratch.set("add", json!("dropped"));
        match number("a") {
            13 => Ok(Observation::fault(Fault::Refused, "not with 13")),
            99 => Err(ToolError::Engine { tool: "add".into(), message: "broken".into() }),
            a => {
                let data = json!({"sum": a + number("b")});
                Ok(Observation::Output { text: data.to_string(), data })
            }
        }
    }
}

#[test]
fn code_can_call_tools() {
    if python().is_none() {
        return;
    }
    let parameters = json!({
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
        "additionalProperties": false,
    });
    let add = Add(ToolSpec {
        name: "add".into(),
        description: "Adds two numbers.".into(),
        parameters,
        pinned: Digest::of(b"add"),
    });
    let settings = settings(&cache().unwrap());
    let python = Python::open(&settings, vec![Arc::new(add)], &|_| {}).unwrap();
    assert!(python.spec().description.contains("tools.add(..)"));
    let mut episode = Episode::new(&python);
    let code = "from host import tools\ntools.add(2, b=3)['sum']";
    assert_eq!(episode.echo(code), "5");
    assert!(episode.scratch.get("add").is_none(), "what a tool leaves is dropped");
    let observation = episode.run("tools.add(13, 1)");
    assert_eq!(observation.data()["exception"]["type"], "ToolDenied");
    assert!(observation.text().contains("not with 13"));
    let observation = episode.run("tools.add('two', 1)");
    assert_eq!(observation.data()["exception"]["type"], "ToolArgumentError");
    let observation = episode.run("[tools.add(i, i) for i in range(200, 300)]");
    assert_eq!(observation.data()["exception"]["type"], "ToolBudgetExceeded");
    python.forget();
    assert_eq!(episode.echo("tools.add(2, b=4)['sum']"), "6", "after running all again");
    let digest = episode.scratch.digest();
    let args = json!({"code": "tools.add(99, 1)"});
    let called = python.call(&args, &mut episode.scratch, &episode.limits);
    let error = runtime().block_on(called).unwrap_err().to_string();
    assert_eq!(error, "tool add: broken");
    assert_eq!(episode.scratch.digest(), digest);
}

/// The one reference solution that does not pass: it tries 10^8 divisions, which takes more
/// fuel than `Limits` allow by default, and five seconds in native Python.
const TOO_LONG: [&str; 1] = ["MBPP/123"];

/// The data of others, which is not in the repository: `PLUMBLINE_DATA`, or beside it.
fn data() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let given = std::env::var_os("PLUMBLINE_DATA").map(PathBuf::from);
    given.or_else(|| Some(root.join("../shared/data"))).filter(|folder| folder.is_dir())
}

/// HumanEval and MBPP: every reference solution passes its tests. `examples/conformance.rs`
/// compares with native Python, program by program.
#[test]
fn reference_solutions_pass_their_tests() {
    let Some(python) = python() else { return };
    let Some(folder) = data().map(|data| data.join("code")).filter(|dir| dir.is_dir())
    else {
        eprintln!(
            "skipped: PLUMBLINE_DATA names no folder with code/humaneval_164.jsonl"
        );
        return;
    };
    let mut programs: Vec<(String, String)> = Vec::new();
    let tasks = |name: &str| -> Vec<Value> {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    for task in tasks("humaneval_164.jsonl") {
        let field = |name: &str| task[name].as_str().unwrap().to_owned();
        let (prompt, solution) = (field("prompt"), field("canonical_solution"));
        let (test, entry) = (field("test"), field("entry_point"));
        let code = format!("{prompt}{solution}\n{test}\ncheck({entry})\n");
        programs.push((field("task_id"), code));
    }
    for task in tasks("mbpp_1_510.jsonl") {
        let tests = task["test_list"].as_array().unwrap();
        let tests: Vec<&str> = tests.iter().map(|test| test.as_str().unwrap()).collect();
        let setup = task["test_setup_code"].as_str().unwrap_or_default();
        let (code, tests) = (task["code"].as_str().unwrap(), tests.join("\n"));
        programs.push((
            format!("MBPP/{}", task["task_id"]),
            format!("{code}\n{setup}\n{tests}"),
        ));
    }
    assert_eq!(programs.len(), 164 + 510);
    let mut failed = Vec::new();
    for (id, code) in &programs {
        let mut episode = Episode::new(python);
        // A tenth of the default: all others pass with it.
        let fuel_max = Limits::default().fuel_max / 10;
        episode.limits = Limits { fuel_max, call_ms_max: 300_000, ..Limits::default() };
        let observation = episode.run(code);
        let data = observation.data();
        if !data.is_object() || !data["exception"].is_null() {
            failed.push(id.as_str());
        }
    }
    assert_eq!(failed, TOO_LONG);
}

#[test]
fn a_figure_can_be_drawn_and_what_a_package_keeps_as_files_is_found() {
    let Some(python) = python() else { return };
    let mut episode = Episode::new(python);
    episode.limits = Limits::default();
    let code = "import matplotlib.pyplot as plt\n\
                plt.plot([1, 3, 2])\n\
                plt.title('tides')\n\
                plt.savefig('tides.png')\n\
                open('tides.png', 'rb').read(4)";
    assert_eq!(episode.echo(code), "b'\\x89PNG'");
    let code = "import os, matplotlib\n\
                os.listdir(matplotlib.get_data_path() + '/fonts')";
    assert_eq!(episode.echo(code), "['afm', 'pdfcorefonts', 'ttf']");
}

#[test]
fn what_is_missing_or_wrong_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let mut given = settings(Path::new("nowhere"));
    given.artefact = folder.path().to_owned();
    let error = |given: &PythonSettings| {
        Python::open(given, vec![], &|_| {}).err().unwrap().to_string()
    };
    assert!(error(&given).contains("make python"));
    for name in ["python-snapshot.wasm", "python-stdlib.zip"] {
        std::fs::write(folder.path().join(name), b"something else").unwrap();
    }
    let message = error(&given);
    assert!(
        message.contains("python-stdlib.zip") && message.contains("sha256"),
        "{message}"
    );
}
