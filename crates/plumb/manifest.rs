//! Reads an environment's folder: manifest, prompt, tasks, gold.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use plumbline::protocol::Protocol;
use plumbline::puzzles::Game;
use plumbline::store::RunHeader;
use plumbline::{Effect, Gold, Limits, Task, TaskId};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use crate::failure::{Failure, Kind, Result};

/// `environment.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    /// What users call the environment.
    pub(crate) name: String,
    /// One sentence for `plumb env list`.
    pub(crate) description: String,
    /// How calls and answers are written.
    pub(crate) protocol: Protocol,
    /// Characters of reasoning that a constrained message may begin with.
    #[serde(default)]
    pub(crate) thought_chars_max: u32,
    /// The verifiers that `plumb label` runs.
    #[serde(default)]
    pub(crate) verifiers: Vec<VerifierManifest>,
    /// The bounds of each episode.
    #[serde(default)]
    pub(crate) limits: Limits,
    /// The tools.
    pub(crate) tools: Vec<ToolManifest>,
}

/// One tool of an environment.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum ToolManifest {
    /// BM25 search over a corpus.
    Search {
        /// The corpus's folder, relative to the manifest.
        corpus: PathBuf,
        /// Documents a search returns, unless the call says otherwise.
        #[serde(default)]
        top_k: Option<u32>,
        /// Characters of each document that are shown.
        #[serde(default)]
        passage_chars_max: Option<u32>,
    },
    /// Reads a whole document of a corpus.
    Open {
        /// The corpus's folder, relative to the manifest.
        corpus: PathBuf,
    },
    /// A puzzle, whose position the task gives.
    Puzzle {
        /// Which one.
        game: Game,
    },
    /// Runs one SQL statement on the database that the task names.
    Sql {
        /// The folder of databases, relative to the manifest.
        databases: PathBuf,
        /// Whether each branch may change a copy of its own.
        #[serde(default)]
        writable: bool,
        /// Rows of a result that the model is shown.
        #[serde(default)]
        rows_shown: Option<u32>,
    },
    /// Tells what there is in the database that the task names.
    Describe {
        /// The folder of databases, relative to the manifest.
        databases: PathBuf,
        /// Whether each branch may change a copy of its own: as for the tool `sql`.
        #[serde(default)]
        writable: bool,
    },
    /// Solves linear and integer programs.
    Solve {
        /// How large a model may be.
        #[serde(default)]
        size: plumbline::program::Size,
    },
    /// Python in a sandbox.
    Python {
        /// The folder that tasks' files are in, relative to the manifest.
        #[serde(default)]
        files: Option<PathBuf>,
        /// Modules that are imported before the first cell; numpy and pandas unless said.
        #[serde(default)]
        preload: Option<Vec<String>>,
        /// Tools that stand before this one in the manifest, which code can call.
        #[serde(default)]
        calls: Vec<String>,
    },
    /// A program that answers JSON lines.
    Process {
        /// The program and its arguments; one that names a file beside the manifest brings it
        /// along.
        command: Vec<String>,
        /// Files and folders it reads, relative to the manifest: it runs beside copies.
        #[serde(default)]
        files: Vec<PathBuf>,
        /// Environment variables it is given; only where its effect is external.
        #[serde(default)]
        variables: Vec<String>,
        /// Whether it may reach the network; only where its effect is external.
        #[serde(default)]
        network: bool,
        /// What its answers rest on.
        effect: Effect,
        /// What the model calls it, in place of the name it says.
        #[serde(default)]
        name: Option<String>,
    },
    /// A component of the world `plumbline:tool`.
    Wasm {
        /// Its file, relative to the manifest.
        component: PathBuf,
        /// What its answers rest on: pure or stateful.
        effect: Effect,
        /// Files and folders it may read, relative to the manifest; no others are there.
        #[serde(default)]
        files: Vec<PathBuf>,
        /// Whether it may read a clock, which starts in 2026 and moves as it is read.
        #[serde(default)]
        clock: bool,
        /// Whether it may draw random bytes, the same in every call.
        #[serde(default)]
        randomness: bool,
        /// What the model calls it, in place of the name it says.
        #[serde(default)]
        name: Option<String>,
    },
    /// Every tool of an MCP server: a program, or one that listens at an address.
    Mcp {
        /// The program and its arguments, as for `process`.
        #[serde(default)]
        command: Vec<String>,
        /// Where a server listens, in place of a program.
        #[serde(default)]
        url: Option<String>,
        /// Files and folders it works on, relative to the manifest: copies of its own.
        #[serde(default)]
        files: Vec<PathBuf>,
        /// Environment variables it is given; only where every effect is external.
        #[serde(default)]
        variables: Vec<String>,
        /// Whether it may reach the network; only where every effect is external.
        #[serde(default)]
        network: bool,
        /// What the answers of its tools rest on.
        effect: Effect,
        /// Tools whose answers rest on something else, by the server's names.
        #[serde(default)]
        effects: BTreeMap<String, Effect>,
        /// The tools that are taken, by the server's names; all of them unless said.
        #[serde(default)]
        only: Option<Vec<String>>,
        /// What the names of its tools begin with here.
        #[serde(default)]
        prefix: String,
    },
}

impl ToolManifest {
    /// Whether nothing that it gives has to be had again.
    pub(crate) fn is_external(&self) -> bool {
        match self {
            ToolManifest::Process { effect, .. } => *effect == Effect::External,
            ToolManifest::Mcp { effect, effects, .. } => {
                effects.values().chain([effect]).all(|it| *it == Effect::External)
            }
            _ => false,
        }
    }

    /// What the model calls the tool, where the manifest decides that.
    pub(crate) fn name(&self) -> Option<&str> {
        Some(match self {
            ToolManifest::Search { .. } => "search",
            ToolManifest::Open { .. } => "open",
            ToolManifest::Sql { .. } => "sql",
            ToolManifest::Describe { .. } => "describe",
            ToolManifest::Solve { .. } => "solve",
            ToolManifest::Puzzle { game } => game.name(),
            ToolManifest::Python { .. } => "python",
            ToolManifest::Process { name, .. } | ToolManifest::Wasm { name, .. } => {
                return name.as_deref();
            }
            ToolManifest::Mcp { .. } => return None,
        })
    }
}

/// One verifier of an environment: one of ours by name, or one that it brings along.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum VerifierManifest {
    /// The name that users type.
    Named(String),
    /// Somebody else's.
    Guest(GuestManifest),
}

/// A verifier of other people's.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum GuestManifest {
    /// A program that answers JSON lines.
    Process {
        /// The program and its arguments; one that names a file beside the manifest brings it
        /// along.
        command: Vec<String>,
        /// Files and folders it reads, relative to the manifest: it runs beside copies.
        #[serde(default)]
        files: Vec<PathBuf>,
        /// What users call it, in place of the name it says.
        #[serde(default)]
        name: Option<String>,
    },
    /// A component of the world `plumbline:verifier`.
    Wasm {
        /// Its file, relative to the manifest.
        component: PathBuf,
        /// What users call it, in place of the name it says.
        #[serde(default)]
        name: Option<String>,
    },
}

impl<'de> Deserialize<'de> for VerifierManifest {
    fn deserialize<D: Deserializer<'de>>(
        source: D,
    ) -> std::result::Result<Self, D::Error> {
        source.deserialize_any(NameOrTable)
    }
}

/// Reads a verifier of a manifest, by whether it is a text or a table.
struct NameOrTable;

impl<'de> Visitor<'de> for NameOrTable {
    type Value = VerifierManifest;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a verifier's name, or a table with its `type`")
    }

    fn visit_str<E>(self, name: &str) -> std::result::Result<VerifierManifest, E> {
        Ok(VerifierManifest::Named(name.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(
        self,
        table: A,
    ) -> std::result::Result<VerifierManifest, A::Error> {
        GuestManifest::deserialize(MapAccessDeserializer::new(table))
            .map(VerifierManifest::Guest)
    }
}

/// `corpus.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CorpusManifest {
    /// What the corpus is called.
    #[expect(dead_code, reason = "read so that a manifest without it is refused")]
    pub(crate) name: String,
    /// What it is.
    #[expect(dead_code, reason = "read so that a manifest without it is refused")]
    pub(crate) description: String,
    /// Where its texts come from.
    #[expect(dead_code, reason = "read so that a manifest without it is refused")]
    pub(crate) source: String,
    /// The licence of its texts.
    #[expect(dead_code, reason = "read so that a manifest without it is refused")]
    pub(crate) licence: String,
    /// The documents: a JSONL file or a folder, relative to the manifest.
    pub(crate) documents: PathBuf,
    /// What the JSONL file digests to; a mismatch is reported and does not stop a run.
    #[serde(default)]
    pub(crate) sha256: Option<String>,
}

/// An environment's folder, read.
#[derive(Debug)]
pub(crate) struct EnvironmentFolder {
    pub(crate) dir: PathBuf,
    pub(crate) manifest: Manifest,
    pub(crate) prompt: String,
}

impl EnvironmentFolder {
    /// Finds an environment by path, or by name under `environments/`.
    pub(crate) fn open(name: &str) -> Result<Self> {
        let dir = find(name)?;
        let manifest: Manifest = read_toml(&dir.join("environment.toml"))?;
        let prompt = read(&dir.join("prompt.md"))?;
        Ok(Self { dir, manifest, prompt })
    }

    /// The environment of a run: the one it carries if it was imported, else the one it
    /// names.
    pub(crate) fn of_run(run: &Path, header: &RunHeader) -> Result<Self> {
        let carried = run.join("environment");
        match carried.join("environment.toml").is_file() {
            true => Self::open(&carried.to_string_lossy()),
            false => Self::open(&header.environment),
        }
    }

    /// A failure over the manifest's tool of this index, with its place in front.
    pub(crate) fn blame_tool(&self, index: usize, failure: Failure) -> Failure {
        let path = self.dir.join("environment.toml");
        let text = fs::read_to_string(&path).unwrap_or_default();
        let mut tables = (1..).zip(text.lines()).filter(|it| it.1.trim() == "[[tools]]");
        let line =
            tables.nth(index).map_or(String::new(), |(line, _)| format!(":{line}"));
        let message = format!("{}{line}: {}", path.display(), failure.message());
        Failure::say(failure.kind(), message)
    }

    /// The environment's own tasks, or those of another file. Ids are unique.
    pub(crate) fn tasks(&self, file: Option<&Path>) -> Result<Vec<Task>> {
        let path = file.map_or_else(|| self.dir.join("tasks.jsonl"), Path::to_owned);
        let mut seen = BTreeSet::new();
        let mut tasks = Vec::new();
        for (line, task) in read_jsonl::<Task>(&path)? {
            if task.id.0.is_empty() || task.id.0.contains(['\n', ':']) {
                let message =
                    "field \"id\": must not be empty, nor hold ':' or a line end";
                return Err(bad_line(&path, line, message));
            }
            if !seen.insert(task.id.clone()) {
                let message =
                    format!("field \"id\": {:?} stands on an earlier line", task.id.0);
                return Err(bad_line(
                    &path,
                    line,
                    &format!("{message}; ids must be unique"),
                ));
            }
            tasks.push(task);
        }
        if tasks.is_empty() {
            let message = format!("{}: it holds no task", path.display());
            return Err(Failure::say(Kind::Input, message));
        }
        Ok(tasks)
    }

    /// The gold by task; empty where the environment has none.
    pub(crate) fn gold(&self) -> Result<BTreeMap<TaskId, Gold>> {
        let path = self.dir.join("gold.jsonl");
        let mut gold = BTreeMap::new();
        if !path.exists() {
            return Ok(gold);
        }
        for (line, value) in read_jsonl::<Value>(&path)? {
            let id = value.get("id").and_then(Value::as_str).map(str::to_owned);
            let id = id.ok_or_else(|| bad_line(&path, line, "field \"id\": missing"))?;
            let refused = ["answer", "aliases", "supporting"]
                .into_iter()
                .find_map(|field| misfit(field, value.get(field)));
            if let Some(message) = refused {
                return Err(bad_line(&path, line, &message));
            }
            if gold.insert(TaskId(id.clone()), Gold(value)).is_some() {
                let message = format!("field \"id\": {id:?} stands on an earlier line");
                return Err(bad_line(&path, line, &message));
            }
        }
        Ok(gold)
    }
}

/// Every environment under `environments/`, by name.
pub(crate) fn list() -> Result<Vec<EnvironmentFolder>> {
    let root = Path::new("environments");
    let entries = fs::read_dir(root).map_err(|error| {
        let message =
            format!("environments/: {error}; run plumb from the repository's root");
        Failure::say(Kind::Usage, message)
    })?;
    let mut names: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("environment.toml").is_file())
        .collect();
    names.sort();
    names.iter().map(|path| EnvironmentFolder::open(&path.to_string_lossy())).collect()
}

/// What is wrong with a field of gold. A misspelt answer would otherwise score every right
/// one as wrong.
fn misfit(field: &str, value: Option<&Value>) -> Option<String> {
    let is_text =
        |value: &Value| value.as_str().is_some_and(|text| !text.trim().is_empty());
    let (holds, shape) = match (field, value) {
        ("answer", value) => (value.is_some_and(is_text), "a text that is not empty"),
        (_, None) => (true, ""),
        (_, Some(value)) => {
            let texts = value.as_array().is_some_and(|values| values.iter().all(is_text));
            (texts, "a list of texts, none empty")
        }
    };
    (!holds).then(|| format!("field {field:?}: must be {shape}"))
}

fn find(name: &str) -> Result<PathBuf> {
    let named = Path::new("environments").join(name);
    let given = PathBuf::from(name);
    for dir in [&given, &named] {
        if dir.join("environment.toml").is_file() {
            return Ok(dir.clone());
        }
    }
    if given.is_dir() {
        let message = format!("{name}: the folder has no environment.toml");
        return Err(Failure::say(Kind::Input, message));
    }
    let known: Vec<String> = list().map_or_else(
        |_| vec![],
        |folders| folders.into_iter().map(|folder| folder.manifest.name).collect(),
    );
    let nearest = crate::settings::nearest(name, known.iter().map(String::as_str));
    let hint =
        nearest.map_or_else(String::new, |near| format!("; did you mean {near:?}?"));
    let message = format!(
        "no environment is called {name:?}, and no folder{hint}; plumb env list names those \
         under environments/ of the folder you are in"
    );
    Err(Failure::say(Kind::Usage, message))
}

pub(crate) fn read(path: &Path) -> Result<String> {
    let bytes = fs::read(path).map_err(|error| {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::IsADirectory => {
                Kind::Input
            }
            _ => Kind::External,
        };
        Failure::say(kind, format!("{}: {error}", path.display()))
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..at].iter().filter(|b| **b == b'\n').count();
        let message = format!("byte {at} of the file is not UTF-8; save it as UTF-8");
        Failure::say(Kind::Input, format!("{}:{line}: {message}", path.display()))
    })
}

/// Reads a TOML file; an unknown key is an error that names the nearest known one.
pub(crate) fn read_toml<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = read(path)?;
    toml::from_str(&text).map_err(|error| {
        let line =
            error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
        let message = crate::settings::with_nearest(error.message());
        let said = text.lines().nth(line - 1).unwrap_or("").trim();
        let said = plumbline::cut(said.to_owned(), 80);
        Failure::say(Kind::Input, format!("{}:{line}: {said}: {message}", path.display()))
    })
}

/// Reads a file of JSON lines, with the number of each line. Empty lines are skipped.
pub(crate) fn read_jsonl<T: DeserializeOwned>(path: &Path) -> Result<Vec<(usize, T)>> {
    let text = read(path)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut values = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let value = serde_json::from_str(line).map_err(|error| {
            // Its own line number counts within the line.
            let error = error.to_string();
            let message = error.split(" at line ").next().unwrap_or(&error);
            bad_line(path, index + 1, &crate::settings::with_nearest(message))
        })?;
        values.push((index + 1, value));
    }
    Ok(values)
}

/// The SHA-256 of a file, read in pieces.
pub(crate) fn sha256(path: &Path) -> Result<String> {
    let digest = fs::File::open(path).and_then(plumbline::Digest::of_reader);
    let digest = digest.map_err(|error| {
        Failure::say(Kind::External, format!("{}: {error}", path.display()))
    })?;
    Ok(digest.to_string())
}

fn bad_line(path: &Path, line: usize, message: &str) -> Failure {
    Failure::say(Kind::Input, format!("{}:{line}: {message}", path.display()))
}
