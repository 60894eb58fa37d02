//! A server: how it is reached, and which of its tools are taken.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use plumbline::{Digest, Effect, Limits, Tool, ToolSpec};
use rmcp::model::Tool as Offer;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;

use crate::McpError;
use crate::session::{OFFERS_MAX, Session};
use crate::tool::McpTool;

/// Bytes of a description that a model is told.
const DESCRIPTION_BYTES_MAX: usize = 8 << 10;
const NAME_CHARS_MAX: usize = 64;
/// Servers that are kept running for states to go on from. How many episodes go on at once
/// nobody here knows: where they are more, a state finds that its server made way for those of
/// others, and its calls are told to a fresh one. What is kept costs memory: a server of
/// Node's some 70 MB.
const BRANCHES_MAX: usize = 32;
/// Pure calls that are made at once, each over a connection of its own.
const AT_ONCE_MAX: usize = 16;

/// Starts a program.
pub type Start = Box<dyn Fn() -> std::io::Result<Pipes> + Send + Sync>;

/// A running program.
pub struct Pipes {
    /// What it writes.
    pub reader: Box<dyn AsyncRead + Send + Unpin>,
    /// What it reads.
    pub writer: Box<dyn AsyncWrite + Send + Unpin>,
    /// Tells the end of what it wrote to standard error. Dropping it ends the program.
    pub stderr: Box<dyn Fn() -> String + Send + Sync>,
}

/// Where a server is.
pub enum Address {
    /// A program that is started, and spoken to over its pipes.
    Program {
        /// What it is called in messages: its command.
        name: String,
        /// Digest of the program and of its files.
        digest: Digest,
        /// Starts one. Called again when it breaks, and for every state that is forked.
        start: Start,
    },
    /// A server that listens there for streamable HTTP.
    Url(String),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Program { name, .. } => f.write_str(name),
            Address::Url(url) => f.write_str(url),
        }
    }
}

/// A server, and what is made of its tools.
pub struct ServerSettings {
    /// Where it is.
    pub address: Address,
    /// What the answers of its tools rest on.
    pub effect: Effect,
    /// Tools whose answers rest on something else, by the server's names.
    pub effects: BTreeMap<String, Effect>,
    /// The tools that are taken, by the server's names; all of them unless said.
    pub only: Option<Vec<String>>,
    /// What the names of its tools begin with here.
    pub prefix: String,
}

/// A server that has been spoken with.
pub struct Server {
    address: Address,
    /// Where its calls stand in the scratch.
    pub(crate) key: String,
    /// Connections for pure tools, each of which one call has at a time.
    idle: Mutex<Vec<Session>>,
    pub(crate) turns: Semaphore,
    /// The connection for external tools.
    shared: tokio::sync::Mutex<Option<Arc<Session>>>,
    /// Connections by the digest of the calls that were made over them; the last used is
    /// last.
    branches: Mutex<Vec<(Digest, Session)>>,
}

impl Server {
    /// Connects to a server and has it list its tools, each within `limits.call_ms_max`, and
    /// gives a tool for each that is taken.
    pub async fn open(
        settings: ServerSettings,
        limits: &Limits,
    ) -> Result<Vec<Arc<dyn Tool>>, McpError> {
        let ServerSettings { address, effect, effects, only, prefix } = settings;
        let name = address.to_string();
        if let Address::Url(url) = &address
            && !is_http(url)
        {
            let message = "its url must be one of http or https".to_owned();
            return Err(McpError::Tools { server: name, message });
        }
        let connect = async {
            let session = Session::open(&address, limits).await?;
            let offers = session.offers(limits).await?;
            Ok::<_, String>((session, offers))
        };
        let unreachable =
            |message| McpError::Unreachable { server: name.clone(), message };
        let (session, offers) = connect.await.map_err(unreachable)?;
        let refused = |message| McpError::Tools { server: name.clone(), message };
        let named = effects.keys().chain(only.iter().flatten());
        if let Some(missing) =
            { named }.find(|name| !offers.iter().any(|o| o.name == **name))
        {
            let names: Vec<&str> = offers.iter().map(|offer| &*offer.name).collect();
            let message =
                format!("it has no tool {missing:?}; it has: {}", names.join(", "));
            return Err(refused(message));
        }
        let is_taken = |offer: &Offer| {
            only.as_ref().is_none_or(|only| only.iter().any(|name| *name == offer.name))
        };
        let digest = match &address {
            Address::Program { digest, .. } => *digest,
            Address::Url(url) => Digest::of(url.as_bytes()),
        };
        let taken: Vec<Offer> = offers.into_iter().filter(is_taken).collect();
        let effect_of = |offer: &Offer| *effects.get(&*offer.name).unwrap_or(&effect);
        let specs: Vec<ToolSpec> = taken
            .iter()
            .map(|offer| spec(offer, &prefix, digest, effect_of(offer)))
            .collect::<Result<_, _>>()
            .map_err(refused)?;
        if specs.is_empty() {
            return Err(refused(format!("it offers no tool of at most {OFFERS_MAX}")));
        }
        let key = format!("mcp {}", Digest::of_json(&(digest, &prefix)).short());
        let server = Arc::new(Self {
            address,
            key,
            idle: Mutex::new(vec![session]),
            turns: Semaphore::new(AT_ONCE_MAX),
            shared: tokio::sync::Mutex::default(),
            branches: Mutex::default(),
        });
        let tools = specs.into_iter().zip(&taken).map(|(spec, offer)| {
            let (name, effect) = (offer.name.to_string(), effect_of(offer));
            let tool = McpTool { spec, effect, name, server: Arc::clone(&server) };
            Arc::new(tool) as Arc<dyn Tool>
        });
        Ok(tools.collect())
    }

    /// A connection that nobody has, if one is kept. A call that is given up takes its own
    /// along.
    pub(crate) fn idle(&self) -> Option<Session> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::from_fn(|| idle.pop()).find(Session::is_open)
    }

    /// Keeps a connection for another pure call.
    pub(crate) fn put_back(&self, session: Session) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(session);
    }

    /// Closes every connection that nobody has.
    pub(crate) fn forget(&self) {
        while self.idle().is_some() {}
        self.branches().clear();
        // Whoever is connecting just now gets a fresh one anyway.
        if let Ok(mut shared) = self.shared.try_lock() {
            *shared = None;
        }
    }

    /// The connection for external tools; made anew if it broke, or hangs.
    pub(crate) async fn shared(&self, limits: &Limits) -> Result<Arc<Session>, String> {
        let mut shared = self.shared.lock().await;
        if let Some(session) = shared.as_ref().filter(|session| session.is_open()) {
            return Ok(Arc::clone(session));
        }
        let session = match self.idle() {
            Some(session) => session,
            None => self.connect(limits).await?,
        };
        let session = Arc::new(session);
        *shared = Some(Arc::clone(&session));
        Ok(session)
    }

    /// A connection of one's own.
    pub(crate) async fn connect(&self, limits: &Limits) -> Result<Session, String> {
        Session::open(&self.address, limits).await
    }

    /// The connection over which exactly these calls were made, if one is kept.
    pub(crate) fn take(&self, calls: Digest) -> Option<Session> {
        let mut branches = self.branches();
        let at = branches.iter().rposition(|(made, _)| *made == calls)?;
        let (_, session) = branches.remove(at);
        session.is_open().then_some(session)
    }

    /// Keeps a connection for whoever goes on from these calls.
    pub(crate) fn keep(&self, calls: Digest, session: Session) {
        let mut branches = self.branches();
        branches.push((calls, session));
        if branches.len() > BRANCHES_MAX {
            branches.remove(0);
        }
    }

    fn branches(&self) -> std::sync::MutexGuard<'_, Vec<(Digest, Session)>> {
        self.branches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_http(url: &str) -> bool {
    let url = reqwest::Url::parse(url);
    url.is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

/// What the model is told of a tool. The error says why it cannot be.
fn spec(
    offer: &Offer,
    prefix: &str,
    server: Digest,
    effect: Effect,
) -> Result<ToolSpec, String> {
    let name = format!("{prefix}{}", offer.name);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let chars = name.chars().count();
    if !(1..=NAME_CHARS_MAX).contains(&chars) || !name.chars().all(is_plain) {
        return Err(format!(
            "its tool {:?} must be called by 1 to {NAME_CHARS_MAX} letters, digits, '-', \
             '_' and '.'; `only` leaves it out",
            plumbline::cut(name, NAME_CHARS_MAX)
        ));
    }
    let description = offer.description.as_deref().or(offer.title.as_deref());
    let description = description.unwrap_or_default().to_owned();
    let parameters = Value::Object((*offer.input_schema).clone());
    if parameters.get("type").is_some_and(|ty| ty != "object") {
        let ty = &parameters["type"];
        return Err(format!(
            "the inputSchema of its tool {name} has the type {ty}, and must be of type \
             object; `only` leaves it out"
        ));
    }
    let pinned = Digest::of_json(&(server, effect, &name, &description, &parameters));
    let description = plumbline::cut(description, DESCRIPTION_BYTES_MAX);
    Ok(ToolSpec { name, description, parameters, pinned })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use plumbline::Scratch;
    use serde_json::json;
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream};

    use super::*;

    /// A server with the tool `count`, which says how often it was called.
    async fn count(pipe: DuplexStream) {
        let (reader, mut writer) = tokio::io::split(pipe);
        let mut lines = BufReader::new(reader).lines();
        let mut calls = 0;
        while let Ok(Some(line)) = lines.next_line().await {
            let request: Value = serde_json::from_str(&line).expect("JSON");
            let result = match request["method"].as_str().expect("a method") {
                "initialize" => {
                    let version = &request["params"]["protocolVersion"];
                    json!({ "protocolVersion": version, "capabilities": { "tools": {} },
                        "serverInfo": { "name": "count", "version": "1" } })
                }
                "tools/list" => json!({ "tools": [
                    { "name": "count", "inputSchema": { "type": "object" } }] }),
                "tools/call" => {
                    calls += 1;
                    json!({ "content": [{ "type": "text", "text": calls.to_string() }] })
                }
                _ => continue,
            };
            let answer =
                json!({ "jsonrpc": "2.0", "id": request["id"], "result": result });
            writer.write_all(format!("{answer}\n").as_bytes()).await.expect("it is read");
        }
    }

    #[tokio::test]
    async fn episodes_that_take_turns_keep_a_server_each() {
        let starts = Arc::new(AtomicUsize::new(0));
        let started = Arc::clone(&starts);
        let start = move || {
            started.fetch_add(1, Ordering::Relaxed);
            let (ours, theirs) = tokio::io::duplex(1 << 16);
            tokio::spawn(count(theirs));
            let (reader, writer) = tokio::io::split(ours);
            let (reader, writer) = (Box::new(reader), Box::new(writer));
            Ok(Pipes { reader, writer, stderr: Box::new(String::new) })
        };
        let settings = ServerSettings {
            address: Address::Program {
                name: "count".to_owned(),
                digest: Digest::of(b"count"),
                start: Box::new(start),
            },
            effect: Effect::Stateful,
            effects: BTreeMap::new(),
            only: None,
            prefix: String::new(),
        };
        let limits = Limits::default();
        let tools = Server::open(settings, &limits).await.expect("it opens");
        let mut episodes = vec![Scratch::default(); 24];
        for call in 1..=3 {
            for scratch in &mut episodes {
                let said = tools[0].call(&json!({}), scratch, &limits).await;
                assert_eq!(said.expect("an answer").text(), call.to_string());
            }
        }
        // One more listed the tools.
        assert_eq!(starts.load(Ordering::Relaxed), 25);
    }
}
