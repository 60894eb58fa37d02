//! The world `data-analysis`, with the real interpreter: its solutions, the verifiers of
//! Python on cases and on planted faults. Where the interpreter is absent, each test says so
//! and ends: `make python` fetches it.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a test may say why")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use plumbline::mutants::{Effect, Subject, mutation_score, python_cells};
use plumbline::protocol::Protocol;
use plumbline::verifiers::{
    AnswerCorrect, PythonException, PythonGrounded, PythonSilent, ValueReached,
};
use plumbline::{
    Action, Ending, Environment, EnvironmentParts, Episode, Gold, Limits, Node, Proposal,
    StepLabel, Task, TaskId, ToolCall, Tree, Verdict, Verifier, View, label,
    replay_evidence,
};
use plumbline_wasm::{Python, PythonError, PythonSettings};
use serde_json::{Value, json};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Where `make` puts what it fetches, and `plumb` what it builds.
fn cache() -> Option<PathBuf> {
    let given =
        |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    given("PLUMBLINE_CACHE")
        .or_else(|| given("XDG_CACHE_HOME").map(|dir| dir.join("plumbline")))
        .or_else(|| given("HOME").map(|dir| dir.join(".cache").join("plumbline")))
}

/// The shipped environment, put together without the command; `None`, and a line, where
/// there is no interpreter.
fn environment() -> Option<&'static Arc<Environment>> {
    static ENVIRONMENT: OnceLock<Option<Arc<Environment>>> = OnceLock::new();
    let environment = ENVIRONMENT.get_or_init(|| {
        let cache = cache()?;
        let settings = PythonSettings {
            artefact: cache.join("python"),
            cache: cache.join("sandbox"),
            files: Some(root().join("corpora/data-analysis/tables")),
            preload: ["numpy", "pandas", "scipy.stats"].map(str::to_owned).to_vec(),
            states_bytes_max: 1 << 30,
        };
        let say = |progress| eprintln!("opening the sandbox: {progress:?}");
        let python = match Python::open(&settings, vec![], &say) {
            Ok(python) => python,
            Err(PythonError::Missing { .. }) => return None,
            Err(error) => panic!("{error}"),
        };
        let environment = Environment::new(EnvironmentParts {
            name: "data-analysis".into(),
            prompt: "{{tools}}".into(),
            protocol: Protocol::Hermes,
            thought_chars_max: 0,
            limits: Limits::default(),
            tools: vec![Arc::new(python)],
        });
        Some(Arc::new(environment.expect("the parts fit")))
    });
    if environment.is_none() {
        eprintln!("skipped: there is no Python interpreter; `make python` fetches it");
    }
    environment.as_ref()
}

fn lines<T: serde::de::DeserializeOwned>(name: &str) -> Vec<T> {
    let text =
        std::fs::read_to_string(root().join("environments/data-analysis").join(name));
    let text = text.expect(name);
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// Every task with its gold and the cells of its solution.
fn tasks() -> Vec<(Task, Gold, Vec<String>)> {
    let golds: BTreeMap<String, Value> = lines::<Value>("gold.jsonl")
        .into_iter()
        .map(|gold| (gold["id"].as_str().expect("an id").to_owned(), gold))
        .collect();
    let with_gold = |task: Task| {
        let gold = Gold(golds[&task.id.0].clone());
        let solution = gold.solution().expect("a list of calls");
        let cells = solution.iter().map(|(tool, args)| {
            assert_eq!(*tool, "python");
            args["code"].as_str().expect("code").to_owned()
        });
        let cells = cells.collect();
        (task, gold, cells)
    };
    lines::<Task>("tasks.jsonl").into_iter().map(with_gold).collect()
}

/// The tree of an agent that runs cells, one a step, and then answers.
async fn ran(
    environment: &Environment,
    task: &Task,
    cells: &[&str],
    answer: impl FnOnce(&str) -> Option<String>,
) -> Tree {
    let mut episode = Episode::new(environment, &task.inputs, None);
    let mut tree = Tree::new(task.id.clone());
    let mut parent = None;
    let mut shown = String::new();
    let call = |code: &str| {
        let args = json!({ "code": code });
        ToolCall { id: "call_0".into(), tool: "python".into(), args }
    };
    for cell in cells {
        let action = Action::Calls { calls: vec![call(cell)] };
        let step = episode.act(proposal(action)).await.expect("the sandbox answers");
        let data = step.observations[0].data();
        shown = [&data["stdout"], &data["echo"]]
            .map(|part| part.as_str().unwrap_or(""))
            .join("\n");
        parent = Some(tree.push(Arc::new(Node { parent, step })).expect("its parent"));
    }
    if let Some(text) = answer(&shown) {
        let action = Action::Answer { text };
        let step = episode.act(proposal(action)).await.expect("it answers");
        parent = Some(tree.push(Arc::new(Node { parent, step })).expect("its parent"));
        tree.end(parent, Ending::Answered).expect("it has not ended yet");
    }
    tree
}

fn proposal(action: Action) -> Proposal {
    Proposal { text: "the message".into(), action, seed: 0, tokens: None, elided: vec![] }
}

fn verifier(name: &str, environment: &Arc<Environment>) -> Box<dyn Verifier> {
    let world = Arc::clone(environment);
    match name {
        "python-exception" => Box::new(PythonException::default()),
        "python-silent" => Box::new(PythonSilent::new(world)),
        "python-grounded" => Box::new(PythonGrounded::new(world)),
        "value-reached" => Box::new(ValueReached::new(world)),
        "answer-correct" => Box::new(AnswerCorrect::default()),
        _ => panic!("no verifier of Python is called {name}"),
    }
}

const VERIFIERS: [&str; 5] = [
    "python-exception",
    "python-silent",
    "python-grounded",
    "value-reached",
    "answer-correct",
];

async fn judged(
    verifiers: &[Box<dyn Verifier>],
    task: &Task,
    gold: Option<&Gold>,
    tree: &Tree,
) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for verifier in verifiers {
        let judged = label(verifier.as_ref(), task, gold, tree).await;
        verdicts.extend(judged.expect("the verifiers judge"));
    }
    verdicts
}

#[tokio::test(flavor = "multi_thread")]
async fn every_solution_prints_its_gold_and_nobody_objects() {
    let Some(environment) = environment() else { return };
    let verifiers = VERIFIERS.map(|name| verifier(name, environment));
    let mut problems = Vec::new();
    let tasks = tasks();
    assert!(tasks.len() >= 40);
    for (task, gold, cells) in &tasks {
        let cells: Vec<&str> = cells.iter().map(String::as_str).collect();
        let answer = gold.answers()[0];
        let tree = ran(environment, task, &cells, |shown| {
            if !shown.contains(answer) {
                problems.push(format!("{}: {answer} is not in {shown}", task.id));
            }
            Some(answer.to_owned())
        })
        .await;
        let verdicts = judged(&verifiers, task, Some(gold), &tree).await;
        let bad = verdicts.iter().filter(|v| v.label == Some(StepLabel::Bad));
        problems.extend(bad.map(|v| format!("{}: {} {}", task.id, v.verifier, v.reason)));
        let reached = verdicts.iter().any(|verdict| {
            verdict.verifier.name() == "value-reached"
                && verdict.label == Some(StepLabel::Good)
        });
        if !reached {
            problems.push(format!("{}: no step reaches the gold", task.id));
        }
        let replayed = replay_evidence(environment, task, &tree, &verdicts).await;
        let (divergence, calls) = replayed.expect("the evidence is executed");
        assert!(divergence.is_none() && calls > 0, "{}: {divergence:?}", task.id);
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

/// Takes minutes: a planted fault is run, and then run again by each verifier.
#[tokio::test(flavor = "multi_thread")]
async fn planted_faults_are_found_and_no_ops_left_alone() {
    let Some(environment) = environment() else { return };
    let tasks = tasks();
    let pairs: Vec<(&Task, &Gold)> =
        tasks.iter().map(|(task, gold, _)| (task, gold)).collect();
    let score = async |pairs: &[(&Task, &Gold)], names: &[&str]| {
        let verifiers: Vec<_> =
            names.iter().map(|name| verifier(name, environment)).collect();
        let (verifiers, view) = (verifiers.as_slice(), View::StrictLocal);
        let subject = Subject { environment, verifiers, view };
        mutation_score(&subject, pairs, |_| ()).await.expect("nothing fails")
    };
    let all = score(&pairs, &VERIFIERS).await;
    assert_eq!((all.tasks, all.left_out), (pairs.len() as u64, 0));
    let rate = |effect| all.total(effect).rate().expect("some are planted");
    assert!(rate(Effect::Fault) >= 0.9, "{:#?}", all.rows);
    assert!(rate(Effect::NoOp) < 0.05, "{:#?}", all.rows);
    assert!(all.total(Effect::Fault).planted >= 250, "{:#?}", all.rows);
    assert!(all.total(Effect::NoOp).planted >= 150, "{:#?}", all.rows);
    // Whether a result was computed can be seen without the gold.
    let online = score(&pairs[..2], &["python-grounded"]).await;
    let row = online.rows[&(Effect::Fault, "hard-coded")];
    assert!(row.planted > 0 && row.hits == row.planted, "{row:?}");
}

/// A case: the files, what is expected, the cells, and the answer where one is judged.
struct Case {
    place: String,
    files: Vec<String>,
    expected: String,
    cells: Vec<String>,
    answer: Option<String>,
    gold: Option<Gold>,
}

/// The cases of a verifier: fences of Python whose first line is `# FILES | EXPECTED`. Cells
/// are divided by `# %%`; the last is judged, or the answer where `# answer: TEXT` ends the
/// case. `# gold: TEXT` gives the gold.
fn cases(verifier: &str) -> Vec<Case> {
    let folder = root().join("tests/cases").join(verifier);
    let mut cases = Vec::new();
    let entries = std::fs::read_dir(folder).expect("the cases");
    let paths: BTreeSet<PathBuf> =
        entries.map(|entry| entry.expect("a case").path()).collect();
    for path in paths {
        let text = std::fs::read_to_string(&path).expect("UTF-8");
        for fence in text.split("```python\n").skip(1) {
            let (block, _) = fence.split_once("```").expect("a fence ends");
            let (head, code) = block.split_once('\n').expect("a case has cells");
            let (files, expected) = head.split_once(" | ").expect("a case has a margin");
            let line = |word: &str| {
                let found = code.lines().find_map(|line| line.strip_prefix(word));
                found.map(str::to_owned)
            };
            let code: String = code
                .lines()
                .filter(|l| !l.starts_with("# answer: ") && !l.starts_with("# gold: "))
                .map(|line| format!("{line}\n"))
                .collect();
            let gold = line("# gold: ").map(|answer| {
                Gold(json!({ "answer": answer, "comparator": { "type": "dabench" } }))
            });
            let files = files.trim_start_matches("# ").split_whitespace();
            cases.push(Case {
                place: format!("{}: {block}", path.display()),
                files: files.map(str::to_owned).collect(),
                expected: expected.trim().to_owned(),
                cells: python_cells(&code).into_iter().map(str::to_owned).collect(),
                answer: line("# answer: "),
                gold,
            });
        }
    }
    cases
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cases_are_judged_as_their_margins_say() {
    let Some(environment) = environment() else { return };
    let mut wrong = Vec::new();
    let mut count = 0;
    for name in &VERIFIERS[..4] {
        let verifier = verifier(name, environment);
        for case in cases(name) {
            count += 1;
            let task = Task {
                id: TaskId("t".into()),
                prompt: "?".into(),
                inputs: json!({ "files": case.files }),
            };
            let cells: Vec<&str> = case.cells.iter().map(String::as_str).collect();
            let tree = ran(environment, &task, &cells, |_| case.answer.clone()).await;
            let verdicts =
                label(verifier.as_ref(), &task, case.gold.as_ref(), &tree).await;
            let verdicts = verdicts.expect("the verifiers judge");
            let last = tree.leaves().first().copied().expect("a step");
            let verdict = verdicts.iter().find(|verdict| verdict.node == last);
            let found = verdict.map_or_else(|| "-".to_owned(), margin);
            if found != case.expected {
                let reason = verdict.map_or("", |verdict| verdict.reason.as_str());
                wrong.push(format!("{}\n    found {found}: {reason}", case.place));
            }
            let replayed = replay_evidence(environment, &task, &tree, &verdicts).await;
            let (divergence, _) = replayed.expect("the evidence is executed");
            assert!(divergence.is_none(), "{}: {divergence:?}", case.place);
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(count >= 50, "{count} cases");
}

/// A verdict as the margin has it: its label and what was found.
fn margin(verdict: &Verdict) -> String {
    let mut found = verdict.label.map_or("-", |label| label.as_str()).to_owned();
    match &verdict.value {
        Value::String(name) => found.push_str(&format!(" {name}")),
        Value::Array(names) => {
            for name in names {
                found.push_str(&format!(" {}", name.as_str().unwrap_or("?")));
            }
        }
        value => {
            let share = value.as_f64().unwrap_or(-1.0);
            found.push_str(&format!(" {}", (share * 100.0).round() / 100.0));
        }
    }
    found
}
