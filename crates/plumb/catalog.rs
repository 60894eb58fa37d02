//! Every policy, tool and verifier there is: one `match` each. The only file with
//! `#[cfg(feature = …)]`: a name that is not compiled in still stands here, and answers with
//! the command that would build it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use plumbline::export::Column;
use plumbline::policies::{Baseline, Scripted};
use plumbline::puzzles::Puzzle;
use plumbline::{Effect, Environment, EnvironmentParts, Limits, Policy, Tool};

use crate::doctor::Component;
use crate::failure::{Blame, Failure, Kind, Result};
use crate::manifest::{CorpusManifest, EnvironmentFolder, ToolManifest, read_toml};
use crate::settings::{PolicyChoice, nearest};

pub(crate) mod verifier;

pub(crate) use verifier::{judge, verifiers};

/// Programs of other people's.
#[cfg(feature = "process")]
pub(crate) mod process;

#[cfg(not(feature = "process"))]
pub(crate) mod process {
    use plumbline::Verifier;

    use super::*;
    use crate::manifest::GuestManifest;

    pub(super) async fn tool(
        _: &ToolManifest,
        _: &Path,
        _: &Limits,
    ) -> Result<Arc<dyn Tool>> {
        Err(not_built("a tool of type process", "process"))
    }

    pub(super) async fn verifier(
        _: &GuestManifest,
        _: &Path,
        _: &Limits,
    ) -> Result<Box<dyn Verifier>> {
        Err(not_built("a verifier of type process", "process"))
    }

    pub(crate) async fn kept_from() -> std::result::Result<String, String> {
        Err("needs tools of type process".to_owned())
    }
}

/// Python, and components of other people's.
#[cfg(feature = "wasm")]
mod component;
#[cfg(feature = "wasm")]
mod python;

#[cfg(not(feature = "wasm"))]
mod python {
    use super::*;

    pub(super) async fn tool(
        _: Option<PathBuf>,
        _: Option<Vec<String>>,
        _: Vec<Arc<dyn Tool>>,
        _: bool,
    ) -> Result<Arc<dyn Tool>> {
        Err(not_built("the tool python", "wasm"))
    }
}

#[cfg(not(feature = "wasm"))]
mod component {
    use plumbline::Verifier;

    use super::*;
    use crate::manifest::GuestManifest;

    pub(super) async fn tool(
        _: &ToolManifest,
        _: &Path,
        _: &Limits,
    ) -> Result<Arc<dyn Tool>> {
        Err(not_built("a tool of type wasm", "wasm"))
    }

    pub(super) async fn verifier(
        _: &GuestManifest,
        _: &Path,
        _: &Limits,
    ) -> Result<Box<dyn Verifier>> {
        Err(not_built("a verifier of type wasm", "wasm"))
    }
}

/// What code in a sandbox can call.
mod calls;
use calls::called;

/// What a replay need not open.
mod external;
pub(crate) use external::{RecordedTool, external_tools};

/// MCP, either way.
#[cfg(feature = "mcp")]
pub(crate) mod mcp;

#[cfg(not(feature = "mcp"))]
pub(crate) mod mcp {
    use super::*;

    pub(super) async fn tools(
        _: &ToolManifest,
        _: &Path,
        _: &Limits,
    ) -> Result<Vec<Arc<dyn Tool>>> {
        Err(not_built("a tool of type mcp", "mcp"))
    }

    pub(crate) async fn serve(_: &Environment, _: &serde_json::Value) -> Result<()> {
        Err(not_built("plumb mcp", "mcp"))
    }
}

/// A policy by the name users type: `llama:…`, `openai:…`, `scripted:FILE`, `baseline`.
pub(crate) async fn policy(
    choice: PolicyChoice<'_>,
    json: bool,
) -> Result<Arc<dyn Policy>> {
    let name = choice.name;
    let (kind, rest) = name.split_once(':').unwrap_or((name, ""));
    match kind {
        "baseline" if rest.is_empty() => Ok(Arc::new(Baseline::default())),
        "scripted" => {
            Ok(Arc::new(Scripted::from_file(Path::new(rest)).blame(Kind::Input)?))
        }
        "llama" => llama(rest, choice, json).await,
        "openai" => openai(rest, choice),
        _ => {
            let known = ["llama", "openai", "scripted", "baseline"];
            let near = nearest(kind, known.into_iter());
            let hint = near.map_or_else(
                || ".".to_owned(),
                |near| format!("; did you mean {near:?}?"),
            );
            let message = format!(
                "no policy is called {name:?}{hint} There are: llama:MODEL, openai:MODEL@URL, \
                 scripted:FILE, baseline"
            );
            Err(Failure::say(Kind::Usage, message))
        }
    }
}

/// An environment with its tools, their data indexed. One index serves every tool over a
/// corpus.
pub(crate) async fn environment(
    folder: &EnvironmentFolder,
    limits: &Limits,
    json: bool,
) -> Result<Environment> {
    environment_of_run(folder, limits, &[], json).await
}

/// The same for a run that recorded its external tools, which are opened only if called.
pub(crate) async fn environment_of_run(
    folder: &EnvironmentFolder,
    limits: &Limits,
    recorded: &[RecordedTool],
    json: bool,
) -> Result<Environment> {
    let manifest = &folder.manifest;
    let mut corpora = Corpora::default();
    let mut engines = Engines::default();
    let mut tools: Vec<Arc<dyn Tool>> = Vec::with_capacity(manifest.tools.len());
    // Tools of other people's that need what they kept.
    let mut stateful: Vec<String> = Vec::new();
    let keeps = |tool: &Arc<dyn Tool>| tool.effect() == Effect::Stateful;
    let name = |tool: &Arc<dyn Tool>| tool.spec().name.clone();
    let is_later = |tool: &&ToolManifest| !recorded.is_empty() && tool.is_external();
    for (index, tool) in manifest.tools.iter().enumerate() {
        if is_later(&tool) {
            continue;
        }
        let placed = |failure: Failure| folder.blame_tool(index, failure);
        let tool = match tool {
            ToolManifest::Search { .. } | ToolManifest::Open { .. } => {
                corpora.tool(tool, &folder.dir, json).await?
            }
            ToolManifest::Sql { databases, writable, rows_shown } => {
                engines.sql(&folder.dir.join(databases), *writable, *rows_shown).await?
            }
            ToolManifest::Describe { databases, writable } => {
                engines.describe(&folder.dir.join(databases), *writable).await?
            }
            ToolManifest::Solve { size } => solve(size)?,
            ToolManifest::Puzzle { game } => Arc::new(Puzzle::new(*game)),
            ToolManifest::Python { files, preload, calls } => {
                let files = files.as_ref().map(|files| folder.dir.join(files));
                let calls = called(calls, &tools, &stateful)?;
                python::tool(files, preload.clone(), calls, json).await?
            }
            ToolManifest::Process { .. } => {
                process::tool(tool, &folder.dir, limits).await.map_err(placed)?
            }
            ToolManifest::Wasm { .. } => {
                component::tool(tool, &folder.dir, limits).await.map_err(placed)?
            }
            ToolManifest::Mcp { .. } => {
                let served = mcp::tools(tool, &folder.dir, limits).await;
                let served = served.map_err(placed)?;
                stateful.extend(served.iter().filter(|tool| keeps(tool)).map(name));
                tools.extend(served);
                continue;
            }
        };
        let is_others = matches!(
            manifest.tools[index],
            ToolManifest::Process { .. } | ToolManifest::Wasm { .. }
        );
        stateful.extend((is_others && keeps(&tool)).then(|| name(&tool)));
        tools.push(tool);
    }
    let later = manifest.tools.iter().filter(is_later).cloned().collect();
    external::insert(&mut tools, recorded, later, &folder.dir, limits);
    Ok(Environment::new(EnvironmentParts {
        name: manifest.name.clone(),
        prompt: folder.prompt.clone(),
        protocol: manifest.protocol,
        thought_chars_max: manifest.thought_chars_max,
        limits: limits.clone(),
        tools,
    })?)
}

#[cfg(not(all(
    feature = "search",
    feature = "sql",
    feature = "solve",
    feature = "wasm",
    feature = "http",
    feature = "llama",
    feature = "parquet",
    feature = "process",
    feature = "mcp"
)))]
fn not_built(what: &str, feature: &str) -> Failure {
    let message = format!(
        "{what} is not in this build; build it with: \
         cargo build --release --features {feature}"
    );
    Failure::say(Kind::Missing, message)
}

/// A file of columns in the making.
#[cfg(feature = "parquet")]
pub(crate) struct Columns(plumbline_parquet::TableWriter);

#[cfg(feature = "parquet")]
impl Columns {
    pub(crate) fn create(path: &Path, columns: &[Column]) -> Result<Self> {
        let writer = plumbline_parquet::TableWriter::create(path, columns);
        writer.map(Self).blame(Kind::External)
    }

    pub(crate) fn push(&mut self, row: &str) -> Result<()> {
        self.0.push(row).blame(Kind::External)
    }

    pub(crate) fn finish(self) -> Result<()> {
        self.0.finish().blame(Kind::External)
    }
}

/// There can be none.
#[cfg(not(feature = "parquet"))]
pub(crate) enum Columns {}

#[cfg(not(feature = "parquet"))]
impl Columns {
    pub(crate) fn create(_: &Path, _: &[Column]) -> Result<Self> {
        Err(not_built("Parquet", "parquet"))
    }

    pub(crate) fn push(&mut self, _: &str) -> Result<()> {
        match *self {}
    }

    pub(crate) fn finish(self) -> Result<()> {
        match self {}
    }
}

/// The corpora an environment's tools work over, each opened once.
#[cfg(feature = "search")]
#[derive(Default)]
struct Corpora {
    opened: std::collections::BTreeMap<PathBuf, Arc<plumbline_search::Index>>,
}

#[cfg(feature = "search")]
impl Corpora {
    async fn tool(
        &mut self,
        tool: &ToolManifest,
        dir: &Path,
        json: bool,
    ) -> Result<Arc<dyn Tool>> {
        use plumbline_search::{Open, Search, SearchSettings};
        Ok(match tool {
            ToolManifest::Search { corpus, top_k, passage_chars_max } => {
                let index = self.index(&dir.join(corpus), json).await?;
                let settings = SearchSettings {
                    top_k: top_k.unwrap_or(3),
                    top_k_max: 10,
                    passage_chars_max: passage_chars_max.unwrap_or(500),
                };
                Arc::new(Search::new(index, settings))
            }
            ToolManifest::Open { corpus } => {
                Arc::new(Open::new(self.index(&dir.join(corpus), json).await?))
            }
            other => unreachable!("{other:?} works over no corpus"),
        })
    }

    async fn index(
        &mut self,
        corpus: &Path,
        json: bool,
    ) -> Result<Arc<plumbline_search::Index>> {
        if let Some(index) = self.opened.get(corpus) {
            return Ok(Arc::clone(index));
        }
        let manifest: CorpusManifest = read_toml(&corpus.join("corpus.toml"))?;
        let documents = corpus.join(&manifest.documents);
        let cache = cache_dir()?.join("indexes");
        let index = tokio::task::spawn_blocking(move || {
            open_index(&manifest, &documents, &cache, json)
        })
        .await
        .blame(Kind::External)??;
        self.opened.insert(corpus.to_owned(), Arc::clone(&index));
        Ok(index)
    }
}

#[cfg(feature = "search")]
fn open_index(
    manifest: &CorpusManifest,
    documents: &Path,
    cache: &Path,
    json: bool,
) -> Result<Arc<plumbline_search::Index>> {
    use plumbline_search::{Corpus, Index, IndexError, Progress};
    let blame = |error: IndexError| {
        let kind = match &error {
            IndexError::Corpus(_) => Kind::Input,
            _ => Kind::External,
        };
        Failure::new(kind, error)
    };
    let corpus =
        Corpus::open(documents).map_err(|error| blame(IndexError::Corpus(error)))?;
    if let Some(expected) = &manifest.sha256 {
        let found = crate::manifest::sha256(documents)?;
        if !found.eq_ignore_ascii_case(expected) {
            eprintln!(
                "warning: {} is not the file its corpus.toml names: sha256 {found}",
                documents.display()
            );
        }
    }
    let progress =
        crate::progress::Progress::new("indexing (MB)", corpus.bytes() / 1_000_000, json);
    let index = Index::open_or_build(&corpus, cache, &|state| match state {
        Progress::Waiting => progress.set(0, |_| "waiting for another process".into()),
        Progress::Indexing { documents, bytes, .. } => {
            progress.set(bytes / 1_000_000, |_| format!("{documents} documents"));
        }
        Progress::Finishing => {
            progress.set(corpus.bytes() / 1_000_000, |_| "writing".into());
        }
    });
    progress.finish();
    index.map_err(blame)
}

#[cfg(not(feature = "search"))]
#[derive(Default)]
struct Corpora;

#[cfg(not(feature = "search"))]
impl Corpora {
    async fn tool(
        &mut self,
        _: &ToolManifest,
        _: &Path,
        _: bool,
    ) -> Result<Arc<dyn Tool>> {
        Err(not_built("the tools search and open", "search"))
    }
}

/// The databases that an environment's tools work over. One engine serves every tool over a
/// folder, so that all of them see what one of them wrote.
#[cfg(feature = "sql")]
#[derive(Default)]
struct Engines {
    opened: std::collections::BTreeMap<(PathBuf, bool), Arc<plumbline_sql::Engine>>,
}

#[cfg(feature = "sql")]
impl Engines {
    async fn sql(
        &mut self,
        databases: &Path,
        writable: bool,
        rows_shown: Option<u32>,
    ) -> Result<Arc<dyn Tool>> {
        use plumbline_sql::{Sql, SqlSettings};
        let settings = SqlSettings { rows_shown: rows_shown.unwrap_or(20) };
        Ok(Arc::new(Sql::new(self.engine(databases, writable).await?, settings)))
    }

    async fn describe(
        &mut self,
        databases: &Path,
        writable: bool,
    ) -> Result<Arc<dyn Tool>> {
        let engine = self.engine(databases, writable).await?;
        Ok(Arc::new(plumbline_sql::Describe::new(engine)))
    }

    async fn engine(
        &mut self,
        folder: &Path,
        writable: bool,
    ) -> Result<Arc<plumbline_sql::Engine>> {
        use plumbline_sql::{Databases, Engine};
        let key = (folder.to_owned(), writable);
        if let Some(engine) = self.opened.get(&key) {
            return Ok(Arc::clone(engine));
        }
        let (folder, cache) = (folder.to_owned(), cache_dir()?.join("databases"));
        let open = move || Databases::open(&folder, &cache);
        let databases = tokio::task::spawn_blocking(open).await.blame(Kind::External)?;
        let databases = databases.blame(Kind::Input)?;
        let engine = Arc::new(match writable {
            true => Engine::writable(databases),
            false => Engine::read_only(databases),
        });
        self.opened.insert(key, Arc::clone(&engine));
        Ok(engine)
    }
}

#[cfg(not(feature = "sql"))]
#[derive(Default)]
struct Engines;

#[cfg(not(feature = "sql"))]
impl Engines {
    async fn sql(&mut self, _: &Path, _: bool, _: Option<u32>) -> Result<Arc<dyn Tool>> {
        Err(not_built("the tool sql", "sql"))
    }

    async fn describe(&mut self, _: &Path, _: bool) -> Result<Arc<dyn Tool>> {
        Err(not_built("the tool describe", "sql"))
    }
}

#[cfg(feature = "solve")]
fn solve(size: &plumbline::program::Size) -> Result<Arc<dyn Tool>> {
    use plumbline_solve::{Solve, SolveSettings};
    Ok(Arc::new(Solve::new(SolveSettings { size: size.clone() })))
}

#[cfg(not(feature = "solve"))]
fn solve(_size: &plumbline::program::Size) -> Result<Arc<dyn Tool>> {
    Err(not_built("the tool solve", "solve"))
}

#[cfg(not(feature = "http"))]
fn openai(_rest: &str, _choice: PolicyChoice<'_>) -> Result<Arc<dyn Policy>> {
    Err(not_built("the policy openai", "http"))
}

#[cfg(not(feature = "llama"))]
async fn llama(
    _rest: &str,
    _choice: PolicyChoice<'_>,
    _json: bool,
) -> Result<Arc<dyn Policy>> {
    Err(not_built("the policy llama", "llama"))
}

#[cfg(feature = "http")]
fn openai(rest: &str, choice: PolicyChoice<'_>) -> Result<Arc<dyn Policy>> {
    use plumbline_http::{ApiKey, Endpoint, EndpointSettings};
    let mut endpoint =
        EndpointSettings::parse(rest, choice.sampling).blame(Kind::Usage)?;
    endpoint.concurrency_max = choice.concurrency;
    let key = ApiKey::from_env(&endpoint.key_env).blame(Kind::Usage)?;
    Ok(Arc::new(Endpoint::new(endpoint, key).blame(Kind::External)?))
}

#[cfg(feature = "llama")]
async fn llama(
    name: &str,
    choice: PolicyChoice<'_>,
    json: bool,
) -> Result<Arc<dyn Policy>> {
    use plumbline_llama::{Llama, LlamaError, LlamaSettings, resolve};
    let blame = |error: LlamaError| {
        let kind = match &error {
            LlamaError::MissingModel { .. } => Kind::Missing,
            LlamaError::NoGguf { .. }
            | LlamaError::WrongHash { .. }
            | LlamaError::Corrupt { .. }
            | LlamaError::Vocabulary { .. } => Kind::Input,
            LlamaError::Settings(_) => Kind::Usage,
            _ => Kind::External,
        };
        Failure::new(kind, error)
    };
    let cache = cache_dir()?;
    // A file, or `default`; what is neither may be a repository on the hub.
    let path = match resolve(name, &cache) {
        Err(LlamaError::MissingModel { .. }) if is_repository(name) => {
            download(name, &cache.join("models"), json).await?
        }
        found => found.map_err(blame)?,
    };
    let mut llama = LlamaSettings::new(path);
    llama.sampling = choice.sampling;
    llama.constrain = choice.constrain;
    llama.reuse = choice.reuse;
    llama.sequences_max = choice.concurrency.max(choice.samples).min(SEQUENCES_MAX);
    llama.cache_tokens =
        llama.cache_tokens.max(llama.sequences_max * SEQUENCE_CACHE_TOKENS);
    let loaded = tokio::task::spawn_blocking(move || Llama::load(llama)).await;
    Ok(Arc::new(loaded.blame(Kind::External)?.map_err(blame)?))
}

/// Sequences a local model decodes at once: beyond this a batch gains nothing on a CPU.
#[cfg(feature = "llama")]
const SEQUENCES_MAX: u32 = 32;
/// Cache for each of them: a trajectory of some steps, and what others may reuse.
#[cfg(feature = "llama")]
const SEQUENCE_CACHE_TOKENS: u32 = 2048;

/// Whether a model's name can be `OWNER/REPO[:FILE]` and is no path.
#[cfg(feature = "llama")]
fn is_repository(name: &str) -> bool {
    let repo = name.split(':').next().unwrap_or(name);
    let is_path = repo.starts_with(['/', '.', '~']) || repo.ends_with(".gguf");
    !is_path && repo.split('/').filter(|part| !part.is_empty()).count() == 2
}

#[cfg(all(feature = "llama", feature = "http"))]
async fn download(name: &str, models: &Path, json: bool) -> Result<PathBuf> {
    use plumbline_http::{Hub, HubError, ModelName};
    let blame = |error: HubError| {
        let kind = match &error {
            HubError::Name(_) | HubError::Endpoint(_) | HubError::Token(_) => Kind::Usage,
            HubError::NoRepo { .. }
            | HubError::NoFile { .. }
            | HubError::Denied { .. } => Kind::Missing,
            _ => Kind::External,
        };
        Failure::new(kind, error)
    };
    let hub = Hub::from_env().map_err(blame)?;
    let model: ModelName = name.parse().map_err(blame)?;
    let progress = std::sync::OnceLock::new();
    let path = plumbline_http::download(&hub, &model, models, &|state| {
        let bar = progress.get_or_init(|| {
            crate::progress::Progress::new(
                "downloading (MB)",
                state.bytes_total / 1_000_000,
                json,
            )
        });
        bar.set(state.bytes / 1_000_000, |_| String::new());
    })
    .await;
    if let Some(bar) = progress.get() {
        bar.finish();
    }
    path.map_err(blame)
}

#[cfg(all(feature = "llama", not(feature = "http")))]
async fn download(_name: &str, _models: &Path, _json: bool) -> Result<PathBuf> {
    Err(not_built("downloading a model", "http"))
}

/// Where models, indexes and downloads are kept: `PLUMBLINE_CACHE`, else the user's cache.
pub(crate) fn cache_dir() -> Result<PathBuf> {
    let given =
        |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    given("PLUMBLINE_CACHE")
        .or_else(|| given("XDG_CACHE_HOME").map(|dir| dir.join("plumbline")))
        .or_else(|| given("HOME").map(|dir| dir.join(".cache").join("plumbline")))
        .ok_or_else(|| {
            Failure::say(Kind::Usage, "set PLUMBLINE_CACHE to a folder for caches")
        })
}

/// What there is and what is missing, for `plumb doctor`.
pub(crate) async fn components() -> Vec<Component> {
    let built = |name, is_built: bool, feature: &str| Component {
        name,
        state: if is_built {
            Ok("built in".to_owned())
        } else {
            Err(format!("cargo build --release --features {feature}"))
        },
    };
    vec![
        built("tools search, open", cfg!(feature = "search"), "search"),
        built("tools sql, describe", cfg!(feature = "sql"), "sql"),
        built("tool solve", cfg!(feature = "solve"), "solve"),
        built("tool python", cfg!(feature = "wasm"), "wasm"),
        built("tools of programs", cfg!(feature = "process"), "process"),
        built("tools of MCP", cfg!(feature = "mcp"), "mcp"),
        built("policy openai", cfg!(feature = "http"), "http"),
        built("policy llama", cfg!(feature = "llama"), "llama"),
        Component { name: "cache", state: writable_cache() },
        Component { name: "default model", state: default_model() },
        Component { name: "Python", state: interpreter() },
        Component { name: "programs", state: process::kept_from().await },
    ]
}

fn writable_cache() -> std::result::Result<String, String> {
    let dir = cache_dir().map_err(|failure| failure.message())?;
    let probe = dir.join(format!(".probe-{}", std::process::id()));
    let written =
        std::fs::create_dir_all(&dir).and_then(|()| std::fs::write(&probe, b""));
    // Nothing but an empty file is left behind if this fails.
    let _ = std::fs::remove_file(&probe);
    match written {
        Ok(()) => Ok(dir.display().to_string()),
        Err(error) => Err(format!("{}: {error}; set PLUMBLINE_CACHE", dir.display())),
    }
}

#[cfg(feature = "llama")]
fn default_model() -> std::result::Result<String, String> {
    let cache = cache_dir().map_err(|failure| failure.message())?;
    let path = plumbline_llama::resolve("default", &cache);
    path.map(|path| path.display().to_string()).map_err(|error| error.to_string())
}

#[cfg(not(feature = "llama"))]
fn default_model() -> std::result::Result<String, String> {
    Err("needs the policy llama".to_owned())
}

#[cfg(feature = "wasm")]
fn interpreter() -> std::result::Result<String, String> {
    let cache = cache_dir().map_err(|failure| failure.message())?;
    let found = plumbline_wasm::find_python(&cache.join("python"));
    found.map(|path| path.display().to_string()).map_err(|error| error.to_string())
}

#[cfg(not(feature = "wasm"))]
fn interpreter() -> std::result::Result<String, String> {
    Err("needs the tool python".to_owned())
}
