use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use plumbline::store::FORMAT;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A folder with one environment, `world`, over five documents and four questions.
pub(crate) struct World {
    dir: TempDir,
}

/// What a command came to.
pub(crate) struct Outcome {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

const DOCUMENTS: [(&str, &str, &str); 5] = [
    ("mill", "The Tide Mill", "The Tide Mill at Orrin was built by Hanne Voss in 1788."),
    (
        "voss",
        "Hanne Voss",
        "Hanne Voss was a millwright. She was born in the town of Felling.",
    ),
    (
        "felling",
        "Felling",
        "Felling is a town on the River Sorn, known for its bell foundry.",
    ),
    ("orrin", "Orrin", "Orrin is a harbour town. Its lighthouse was lit in 1802."),
    ("sorn", "River Sorn", "The River Sorn rises in the Grey Hills and is 91 km long."),
];

const QUESTIONS: [(&str, &str, &str, &[&str]); 4] = [
    ("q1", "Where was the builder of the Tide Mill born?", "Felling", &["mill", "voss"]),
    ("q2", "When was the lighthouse of Orrin lit?", "1802", &["orrin"]),
    (
        "q3",
        "How long is the river that Felling stands on?",
        "91 km",
        &["felling", "sorn"],
    ),
    ("q4", "Who built the Tide Mill?", "Hanne Voss", &["mill"]),
];

impl World {
    pub(crate) fn new() -> Self {
        let world = Self { dir: tempfile::tempdir().expect("a temporary folder") };
        let lines = DOCUMENTS
            .map(|(id, title, text)| json!({"id": id, "title": title, "text": text}));
        world.write_lines("corpus/documents.jsonl", &lines);
        world.write(
            "corpus/corpus.toml",
            "name = \"world\"\ndescription = \"d\"\nsource = \"s\"\nlicence = \"CC0-1.0\"\n\
             documents = \"documents.jsonl\"\n",
        );
        let tasks =
            QUESTIONS.map(|(id, prompt, _, _)| json!({"id": id, "prompt": prompt}));
        world.write_lines("world/tasks.jsonl", &tasks);
        let gold = QUESTIONS.map(|(id, _, answer, supporting)| {
            json!({"id": id, "answer": answer, "supporting": supporting, "groups": {"hops": supporting.len()}})
        });
        world.write_lines("world/gold.jsonl", &gold);
        world.write("world/prompt.md", "Answer the question.\n\n{{tools}}\n");
        world.write(
            "world/environment.toml",
            "name = \"world\"\ndescription = \"five documents\"\nprotocol = \"hermes\"\n\
             verifiers = [\"well-formed\", \"repeat\", \"retrieval-gain\", \"answer-support\", \
             \"answer-correct\"]\n[limits]\nsteps_max = 5\n\
             [[tools]]\ntype = \"search\"\ncorpus = \"../corpus\"\ntop_k = 1\n\
             [[tools]]\ntype = \"open\"\ncorpus = \"../corpus\"\n",
        );
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a file in the world"))
            .expect("a folder");
        fs::write(path, text).expect("a file");
    }

    pub(crate) fn write_lines(&self, name: &str, values: &[Value]) {
        let lines: String = values.iter().map(|value| format!("{value}\n")).collect();
        self.write(name, &lines);
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("a file that is there")
    }

    /// Changes a file in place.
    pub(crate) fn edit(&self, name: &str, from: &str, to: &str) {
        let text = self.read(name);
        assert!(text.contains(from), "{name} holds {from:?}");
        self.write(name, &text.replace(from, to));
    }

    /// Changes a recorded file as if a program of format 1.2 had written it so: that had no
    /// checksums, nor a list of what files hold.
    pub(crate) fn forge(&self, run: &str, file: &str, from: &str, to: &str) {
        let name = format!("{run}/{file}");
        self.edit(&name, from, to);
        let text = self.read(&name);
        let lines = text.split_inclusive('\n').map(|line| {
            match line.rsplit_once(",\"crc32\":\"") {
                Some((object, _)) => format!("{object}}}\n"),
                None => line.to_owned(),
            }
        });
        let text: String = lines.collect();
        let text = match text.rsplit_once(",\n  \"crc32\": \"") {
            Some((object, _)) => format!("{object}\n}}\n"),
            None => text,
        };
        let minor = |space: &str, minor: u32| format!("\"minor\":{space}{minor}");
        let older = |text: String, space: &str| {
            text.replacen(&minor(space, FORMAT.minor), &minor(space, 2), 1)
        };
        self.write(&name, &older(older(text, ""), " "));
        // It may be gone already.
        let _ = fs::remove_file(self.path(&format!("{run}/contents.jsonl")));
    }

    /// A script in which every question is answered by these messages.
    pub(crate) fn script(&self, replies: &[&str]) -> String {
        self.write_lines("script.jsonl", &[json!({ "replies": replies })]);
        "scripted:script.jsonl".to_owned()
    }

    /// A script that searches, opens and answers each question rightly.
    pub(crate) fn right_script(&self) -> String {
        let lines = QUESTIONS.map(|(_, question, answer, supporting)| {
            let mut replies = vec![search(question)];
            replies.extend(
                supporting.iter().map(|id| call("open", &json!({ "title": id }))),
            );
            replies.push(format!("<answer>{answer}</answer>"));
            json!({ "question": question, "replies": replies })
        });
        self.write_lines("script.jsonl", &lines);
        "scripted:script.jsonl".to_owned()
    }

    /// Puts the Python sandbox of the user who runs the tests into the world's cache, if
    /// there is one: compiling it takes a minute, once. Says so where there is none.
    pub(crate) fn lend_python(&self, test: &str) -> bool {
        let given = |name: &str| {
            std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from)
        };
        let cache = given("PLUMBLINE_CACHE")
            .or_else(|| given("XDG_CACHE_HOME").map(|dir| dir.join("plumbline")))
            .or_else(|| given("HOME").map(|dir| dir.join(".cache").join("plumbline")))
            .filter(|cache| cache.join("python/python-stdlib.zip").is_file());
        let Some(cache) = cache else {
            println!("{test}: skipped, the cache has no Python sandbox: make python");
            return false;
        };
        fs::create_dir_all(self.path("cache")).expect("a folder");
        for part in ["python", "sandbox"] {
            fs::create_dir_all(cache.join(part)).expect("the user's cache is writable");
            let link = self.path("cache").join(part);
            std::os::unix::fs::symlink(cache.join(part), link).expect("a link");
        }
        true
    }

    /// `plumb` with these arguments, in the world's folder and with its own cache.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.in_folder(Command::new(env!("CARGO_BIN_EXE_plumb")));
        command.args(args);
        command
    }

    /// Any command, in the world's folder and with its own cache.
    pub(crate) fn in_folder(&self, mut command: Command) -> Command {
        command.current_dir(self.dir.path());
        command.env("PLUMBLINE_CACHE", self.path("cache")).env_remove("PLUMB_LOG");
        command
    }

    /// A script for a shell that finds `plumb`, as a user types it.
    pub(crate) fn shell(&self, script: &str) -> Outcome {
        let plumb = PathBuf::from(env!("CARGO_BIN_EXE_plumb"));
        let beside = plumb.parent().expect("it lies in a folder").display().to_string();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = self.in_folder(Command::new("bash"));
        shell.args(["-c", script]).env("PATH", format!("{beside}:{path}"));
        shell.output().expect("there is a bash").into()
    }

    pub(crate) fn plumb(&self, args: &[&str]) -> Outcome {
        self.command(args).output().expect("plumb starts").into()
    }

    /// `plumb` at the repository's root, where shipped environments are, with the world's
    /// cache.
    pub(crate) fn at_root(&self, args: &[&str]) -> Outcome {
        let mut command = self.command(args);
        command.current_dir(env!("CARGO_MANIFEST_DIR"));
        command.output().expect("plumb starts").into()
    }

    /// The same, with success required; returns standard output.
    #[track_caller]
    pub(crate) fn ok_at_root(&self, args: &[&str]) -> String {
        let Outcome { code, stdout, stderr } = self.at_root(args);
        assert_eq!(code, 0, "{args:?}\n{stdout}{stderr}");
        stdout
    }

    /// Runs and requires success; returns standard output.
    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let outcome = self.plumb(args);
        assert_eq!(outcome.code, 0, "{args:?}\n{}{}", outcome.stdout, outcome.stderr);
        outcome.stdout
    }

    /// Runs and requires an exit code and words on standard error.
    #[track_caller]
    pub(crate) fn fails(&self, args: &[&str], code: i32, words: &[&str]) {
        let outcome = self.plumb(args);
        let Outcome { stdout, stderr, .. } = &outcome;
        assert_eq!(outcome.code, code, "{args:?}\n{stdout}{stderr}");
        for word in words {
            assert!(stderr.contains(word), "{args:?}: {stderr:?} lacks {word:?}");
        }
    }

    /// The nodes and endings that a run holds, as they stand on disk.
    pub(crate) fn steps(&self, run: &str) -> Vec<Value> {
        let text = self.read(&format!("{run}/steps.jsonl"));
        let lines = text.lines().skip(1);
        lines.map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Has an example compose its files again, and requires that it would change none. Built by
/// `cargo test`, or `cargo build --release --workspace --examples`: running cargo in here
/// would build the solver once more, with other features.
#[track_caller]
pub(crate) fn composes(example: &str) {
    let beside = Path::new(env!("CARGO_BIN_EXE_plumb")).with_file_name("examples");
    let output = Command::new(beside.join(example))
        .arg("--check")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("the examples are built");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// A call in the words of the protocol `hermes`.
pub(crate) fn call(tool: &str, args: &Value) -> String {
    format!("<tool_call>\n{}\n</tool_call>", json!({ "name": tool, "arguments": args }))
}

pub(crate) fn search(query: &str) -> String {
    call("search", &json!({ "query": query }))
}

/// The folder with real data, where there is one; says so where there is none.
pub(crate) fn shared_data(test: &str) -> Option<PathBuf> {
    let given = std::env::var_os("PLUMBLINE_DATA").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let found = given.into_iter().chain([beside]).find(|dir| dir.is_dir());
    if found.is_none() {
        println!("{test}: skipped, there is no data: set PLUMBLINE_DATA");
    }
    found
}
