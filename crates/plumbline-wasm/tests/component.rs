//! Components: written as text here, so that no compiler is needed, and from Python and
//! JavaScript where the tools that make components of those are there.

#![allow(clippy::print_stdout, reason = "a test that is skipped says so")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use plumbline::{
    Action, Digest, Effect, Evidence, Fault, Limits, Node, NodeId, Observation, Proposal,
    Scratch, Step, Task, TaskId, Tool, Tree, Verdict, label,
};
use plumbline_wasm::{Component, ComponentSettings, Components, Grants};
use serde_json::{Value, json};
use tempfile::TempDir;

#[allow(dead_code, reason = "shared with the tests of the command, which grant more")]
mod text;

/// A folder with components, and what opens them.
struct Bench {
    dir: TempDir,
    components: Components,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let components = Components::new(&dir.path().join("cache")).expect("an engine");
        Self { dir, components }
    }

    fn open(&self, text: &str, effect: Effect) -> Result<Component, String> {
        let path = self.dir.path().join("tool.wasm");
        std::fs::write(&path, wat::parse_str(text).expect("a component"))
            .expect("a file");
        self.open_file(path, effect)
    }

    fn open_file(&self, path: PathBuf, effect: Effect) -> Result<Component, String> {
        let (grants, files) = (Grants::default(), Arc::default());
        let settings = ComponentSettings { path, effect, grants, files, name: None };
        self.components.open(&settings, &limits()).map_err(|error| error.to_string())
    }
}

fn limits() -> Limits {
    Limits {
        fuel_max: 200_000_000,
        memory_bytes_max: 256 << 20,
        output_bytes_max: 64 << 10,
        files_bytes_max: 64 << 10,
        ..Limits::default()
    }
}

async fn call(tool: &Component, scratch: &mut Scratch, args: Value) -> Observation {
    tool.call(&args, scratch, &limits()).await.expect("it comes to an observation")
}

#[tokio::test]
async fn a_component_counts_in_the_scratch_and_nowhere_else() {
    let bench = Bench::new();
    let tool = bench.open(&text::counter(), Effect::Stateful).expect("a tool");
    assert_eq!(tool.spec().name, "count");
    let mut scratch = Scratch::default();
    let count = async |scratch: &mut Scratch| {
        call(&tool, scratch, json!({})).await.text().to_owned()
    };
    assert_eq!(count(&mut scratch).await, "1");
    let mut fork = scratch.clone();
    assert_eq!(count(&mut scratch).await, "2");
    assert_eq!(count(&mut scratch).await, "3");
    assert_eq!(count(&mut fork).await, "2", "a fork goes on from where it was made");
    assert_eq!(count(&mut Scratch::default()).await, "1");
    let pure = bench.open(&text::counter(), Effect::Pure).expect("a tool");
    let broke = call(&pure, &mut Scratch::default(), json!({})).await;
    assert!(broke.text().contains("declared pure and set a state"), "{broke:?}");
}

#[tokio::test]
async fn what_a_component_does_wrong_is_a_fault() {
    let bench = Bench::new();
    for (body, fault, word) in [
        ("(loop $l (br $l)) unreachable", Fault::Limit, "200000000 units of fuel"),
        ("unreachable", Fault::Trap, "unreachable"),
        (
            "(if (i32.eq (memory.grow (i32.const 16000)) (i32.const -1)) (then unreachable)) \
             (call $ok (i32.const 1))",
            Fault::Limit,
            "268435456 bytes of memory",
        ),
        ("(call $ok (i32.const 65537))", Fault::Limit, "65537 bytes; at most 65536"),
        ("(call $ok (i32.const 2000000))", Fault::Trap, "broke"),
        (
            "(drop (memory.grow (i32.const 40))) (call $ok (i32.const 2000000))",
            Fault::Limit,
            "its answer or its state has more than 1179648 bytes",
        ),
        (
            "(i32.store8 (i32.const 8192) (i32.const 255)) (call $ok (i32.const 1))",
            Fault::Trap,
            "utf-8",
        ),
        ("(call $recurse)", Fault::Trap, "stack"),
        ("(call $data)", Fault::Trap, "its data is no JSON"),
        ("(call $refuse)", Fault::Refused, "aaaa"),
        (
            "(call $set (i32.const 8192) (i32.const 70000)) (call $ok (i32.const 1))",
            Fault::Limit,
            "its state has 70000 bytes",
        ),
        (
            "(drop (memory.grow (i32.const 40))) \
             (call $set (i32.const 8192) (i32.const 2000000)) (call $ok (i32.const 1))",
            Fault::Limit,
            "its answer or its state has more than 1179648 bytes",
        ),
        (
            "(call $set (i32.const 8192) (i32.const 4)) (call $ok (i32.const 1))",
            Fault::Trap,
            "its state is no JSON",
        ),
    ] {
        let tool = bench.open(&text::tool(body), Effect::Stateful).expect("a tool");
        let mut scratch = Scratch::default();
        let observed = call(&tool, &mut scratch, json!({})).await;
        assert_eq!(observed.as_fault(), Some(fault), "{body}: {observed:?}");
        assert!(
            observed.text().to_lowercase().contains(&word.to_lowercase()),
            "{body}: {observed:?}"
        );
        assert_eq!(scratch.digest(), Scratch::default().digest(), "{body}");
        assert_eq!(call(&tool, &mut scratch, json!({})).await, observed, "{body}");
    }
}

#[tokio::test]
async fn what_is_no_tool_is_not_opened() {
    let bench = Bench::new();
    let refused = |text: &str| bench.open(text, Effect::Pure).err().expect("no tool");
    assert!(refused("(component)").contains("world plumbline:tool"));
    let module = refused("(module)");
    assert!(module.contains("wasm-tools component new"), "{module}");
    let hang = text::tool("unreachable")
        .replace("(i32.const 16))", "(loop $l (br $l)) unreachable)");
    assert!(refused(&hang).contains("fuel"), "{}", refused(&hang));
    let external = bench.open(&text::counter(), Effect::External).err().expect("none");
    assert!(external.contains("pure or stateful"), "{external}");
}

fn tree() -> Tree {
    let mut tree = Tree::new(TaskId("t".to_owned()));
    let (text, action) = ("x".to_owned(), Action::Answer { text: "x".to_owned() });
    let proposal = Proposal { text, action, seed: 0, tokens: None, elided: vec![] };
    let step = Step { proposal, observations: vec![], scratch: Digest::of(b"") };
    tree.push(Arc::new(Node { parent: None, step })).expect("the first step");
    tree
}

impl Bench {
    async fn judged(&self, body: &str) -> Result<Vec<Verdict>, String> {
        let path = self.dir.path().join("verifier.wasm");
        let bytes = wat::parse_str(text::verifier(body)).expect("a component");
        std::fs::write(&path, bytes).expect("a file");
        let verifier = self.components.open_verifier(&path, None, &limits());
        let verifier = verifier.map_err(|error| error.to_string())?;
        let task =
            Task { id: TaskId("t".into()), prompt: "p".into(), inputs: json!(null) };
        let said = label(&verifier, &task, None, &tree()).await;
        said.map_err(|error| error.to_string())
    }
}

#[tokio::test]
async fn a_component_judges_steps() {
    let bench = Bench::new();
    let said = bench.judged("(call $say)").await.expect("a verdict");
    assert_eq!(said.len(), 1);
    assert!(said[0].verifier.0.starts_with("fixed@1+"), "{said:?}");
    assert_eq!(said[0].evidence, [Evidence::Step { node: NodeId(0) }]);
    assert_eq!(bench.judged("(call $say)").await, Ok(said));
    let tool = bench.open(&text::verifier("(call $say)"), Effect::Pure).err();
    let tool = tool.expect("a verifier is no tool");
    assert!(tool.contains("world plumbline:tool"), "{tool}");
    let path = bench.dir.path().join("tool.wasm");
    std::fs::write(&path, wat::parse_str(text::counter()).expect("a component"))
        .expect("a file");
    let verifier = bench.components.open_verifier(&path, None, &limits()).err();
    let verifier = verifier.expect("a tool is no verifier").to_string();
    assert!(verifier.contains("world plumbline:verifier"), "{verifier}");
}

#[tokio::test]
async fn a_component_that_breaks_over_a_question_has_failed() {
    let bench = Bench::new();
    for (body, word) in [
        ("(loop $l (br $l)) unreachable", "200000000 units of fuel"),
        ("unreachable", "unreachable"),
        (
            "(if (i32.eq (memory.grow (i32.const 16000)) (i32.const -1)) (then unreachable)) \
             (call $say)",
            "268435456 bytes of memory",
        ),
        ("(call $recurse)", "stack"),
        ("(call $huge (i32.const 70000))", "70000 bytes; at most 65536"),
        ("(call $huge (i32.const 70))", "its answer is none"),
        ("(i32.store8 (i32.const 2050) (i32.const 255)) (call $say)", "utf-8"),
        // What it was not granted is there, and no way out.
        ("(drop (call $draw)) (call $say)", "wasi:random"),
    ] {
        let failed = bench.judged(body).await.expect_err(body);
        assert!(failed.starts_with("verifier fixed@1+"), "{body}: {failed}");
        assert!(failed.contains(word), "{body}: {failed}");
        assert_eq!(bench.judged(body).await, Err(failed), "{body}");
    }
}

/// A program of the user's PATH or of the folder that tests find such things in.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let guests = std::env::var_os("PLUMBLINE_GUESTS").unwrap_or_default();
    let folders = std::env::split_paths(&guests).flat_map(|folder| {
        [folder.join("bin"), folder.join("node_modules/.bin"), folder]
    });
    let mut found = folders.chain(std::env::split_paths(&path)).map(|dir| dir.join(name));
    found.find(|program| program.is_file())
}

/// Where the sources of the example components are.
fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/components")
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command.output().expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn python_becomes_a_component_whose_state_forks() {
    let Some(componentize) = program("componentize-py") else {
        println!(
            "component from Python: skipped, there is no componentize-py: make guests"
        );
        return;
    };
    let bench = Bench::new();
    let path = bench.dir.path().join("notes.wasm");
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("wit/tool.wit");
    run(Command::new(componentize)
        .current_dir(examples().join("notes-py"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .args(["-d".as_ref(), wit.as_os_str(), "-w".as_ref(), "tool".as_ref()])
        .args(["componentize", "--stub-wasi", "app", "-o"])
        .arg(&path));
    let tool = bench.open_file(path, Effect::Stateful).expect("a tool");
    let mut scratch = Scratch::default();
    let note = |text: &str| json!({ "note": text });
    assert_eq!(call(&tool, &mut scratch, note("one")).await.text(), "one");
    let mut fork = scratch.clone();
    assert_eq!(call(&tool, &mut scratch, note("two")).await.text(), "one\ntwo");
    let forked = call(&tool, &mut fork, note("drei")).await;
    assert_eq!((forked.text(), &forked.data()["notes"]), ("one\ndrei", &json!(2)));
}

#[tokio::test]
async fn javascript_becomes_a_component() {
    let (node, componentize) = (program("node"), program("componentize-js"));
    let (Some(node), Some(componentize)) = (node, componentize) else {
        println!("component from JavaScript: skipped, no componentize-js: make guests");
        return;
    };
    let bench = Bench::new();
    let dir = bench.dir.path();
    for file in ["roman.js", "build.mjs"] {
        let source = examples().join("roman-js").join(file);
        std::fs::copy(source, dir.join(file)).expect("an example");
    }
    let modules =
        componentize.ancestors().nth(2).expect("it lies in a folder of modules");
    std::os::unix::fs::symlink(modules, dir.join("node_modules")).expect("a link");
    let path = dir.join("roman.wasm");
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("wit/tool.wit");
    run(Command::new(node).current_dir(dir).arg("build.mjs").arg(wit).arg(&path));
    let tool = bench.open_file(path, Effect::Pure).expect("a tool");
    let args = json!({ "number": 1994 });
    let said = call(&tool, &mut Scratch::default(), args).await;
    assert_eq!((said.text(), &said.data()["roman"]), ("MCMXCIV", &json!("MCMXCIV")));
}
