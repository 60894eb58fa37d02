//! One connection to a server.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use plumbline::{Limits, Observation};
use reqwest::Client;
use rmcp::model::{CallToolRequestParams, PaginatedRequestParams, Tool as Offer};
use rmcp::service::{ClientInitializeError, RunningService, ServiceError};
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::transport::{StreamableHttpClientTransport, Transport};
use rmcp::{RoleClient, serve_client};
use rustls::crypto::CryptoProvider;
use serde_json::Value;

use crate::answer;
use crate::replies::{Offence, Replies};
use crate::server::Address;

/// What an answer is wrapped in, and how much a text grows by being written as JSON.
const ENVELOPE_BYTES: usize = 64 << 10;
const ESCAPED_RATIO: usize = 6;
/// Tools of one server, and pages on which it lists them.
pub(crate) const OFFERS_MAX: usize = 1024;
const PAGES_MAX: usize = 64;
const CONNECT_WAIT: Duration = Duration::from_secs(10);

/// A connection that has shaken hands. Dropping it closes it, and ends the program that is
/// at the other end of it.
pub(crate) struct Session {
    service: Connection,
    /// What the server wrote that ended it.
    offence: Arc<OnceLock<Offence>>,
    /// Whether a call was given up before it was answered: whoever comes next would wait too.
    hangs: AtomicBool,
    stderr: Option<Box<dyn Fn() -> String + Send + Sync>>,
}

/// What a call came to.
pub(crate) enum Reply {
    Answered(Observation),
    /// The server wrote what is no answer; the connection is gone.
    Offence(Offence),
    /// The connection is gone.
    Broken(String),
}

impl Session {
    /// Connects. The error is in words.
    pub(crate) async fn open(address: &Address, limits: &Limits) -> Result<Self, String> {
        let bytes_max = limits
            .output_bytes_max
            .saturating_mul(ESCAPED_RATIO)
            .saturating_add(ENVELOPE_BYTES);
        match address {
            Address::Program { start, .. } => {
                let pipes = start().map_err(|error| error.to_string())?;
                let (replies, offence) =
                    Replies::new(pipes.reader, pipes.writer, bytes_max);
                let stderr = pipes.stderr;
                match shake_hands(replies, limits).await {
                    Ok(service) => {
                        let (hangs, stderr) = (AtomicBool::default(), Some(stderr));
                        Ok(Self { service, offence, hangs, stderr })
                    }
                    Err(message) => {
                        let message = offence.get().map_or(message, Offence::to_string);
                        Err(with_stderr(message, &stderr()))
                    }
                }
            }
            Address::Url(url) => {
                let client = client(url).map_err(|error| error.to_string())?;
                let config = StreamableHttpClientTransportConfig::with_uri(url.as_str())
                    .max_sse_event_size(bytes_max)
                    .max_json_response_size(bytes_max)
                    .reinit_on_expired_session(false);
                let transport =
                    StreamableHttpClientTransport::with_client(client, config);
                let service = shake_hands(transport, limits).await?;
                let (offence, hangs) = (Arc::default(), AtomicBool::default());
                Ok(Self { service, offence, hangs, stderr: None })
            }
        }
    }

    /// The tools it offers, said within `limits.call_ms_max`. The error is in words.
    pub(crate) async fn offers(&self, limits: &Limits) -> Result<Vec<Offer>, String> {
        let ms_max = limits.call_ms_max;
        let listed =
            tokio::time::timeout(Duration::from_millis(ms_max), self.listed()).await;
        let listed = listed.unwrap_or_else(|_| Err(silent("tools/list", ms_max)));
        listed.map_err(|message| with_stderr(message, &self.stderr()))
    }

    async fn listed(&self) -> Result<Vec<Offer>, String> {
        let mut offers = Vec::new();
        let mut cursor = None;
        for _ in 0..PAGES_MAX {
            let page = PaginatedRequestParams::default().with_cursor(cursor);
            let listed = self.service.list_tools(Some(page)).await;
            let listed = listed.map_err(|error| match self.offence.get() {
                Some(offence) => offence.to_string(),
                None => told(&error),
            })?;
            offers.extend(listed.tools);
            if offers.len() > OFFERS_MAX {
                break;
            }
            cursor = listed.next_cursor;
            if cursor.is_none() {
                return Ok(offers);
            }
        }
        Err(format!("it lists more than {OFFERS_MAX} tools or {PAGES_MAX} pages of them"))
    }

    /// Calls one of its tools. Boxed, for the compiler cannot see by itself that it may be sent
    /// whatever the lifetimes are.
    pub(crate) fn call<'a>(
        &'a self,
        tool: &'a str,
        args: &'a Value,
        limits: &'a Limits,
    ) -> BoxFuture<'a, Reply> {
        let mut request = CallToolRequestParams::new(tool.to_owned());
        request.arguments = args.as_object().cloned();
        let reply = async move {
            let unanswered = Unanswered(&self.hangs);
            let result = self.service.call_tool(request).await;
            std::mem::forget(unanswered);
            match result {
                Ok(result) => Reply::Answered(answer::observation(result, limits)),
                Err(ServiceError::McpError(error)) => {
                    Reply::Answered(answer::refusal(&error))
                }
                Err(ServiceError::UnexpectedResponse) => {
                    let message = "its server's answer is no result of a tool: it takes a \
                                   list `content` of texts, images and the like";
                    Reply::Answered(Observation::broken(message))
                }
                Err(error) => {
                    let (offence, stderr) = (self.offence.get(), self.stderr());
                    tracing::warn!(tool, %error, ?offence, %stderr, "an MCP server broke");
                    match offence {
                        Some(offence) => Reply::Offence(offence.clone()),
                        None => Reply::Broken(told(&error)),
                    }
                }
            }
        };
        reply.boxed()
    }

    /// Whether the other end can still be heard.
    pub(crate) fn is_open(&self) -> bool {
        !self.service.is_closed()
            && !self.service.is_transport_closed()
            && !self.hangs.load(Ordering::Acquire)
    }

    fn stderr(&self) -> String {
        self.stderr.as_ref().map(|stderr| stderr()).unwrap_or_default()
    }
}

/// Says so if nobody waits for an answer any more.
struct Unanswered<'s>(&'s AtomicBool);

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

type Connection = RunningService<RoleClient, ()>;

/// Boxed, for the compiler cannot see through what is in it that it may be sent to another
/// thread. The error is in words.
fn shake_hands(
    transport: impl Transport<RoleClient> + 'static,
    limits: &Limits,
) -> BoxFuture<'static, Result<Connection, String>> {
    let ms_max = limits.call_ms_max;
    let wait = Duration::from_millis(ms_max);
    let shaken = tokio::time::timeout(wait, serve_client((), transport));
    let words = move |shaken| match shaken {
        Ok(Ok(connection)) => Ok(connection),
        // What the library adds is the name of a type.
        Ok(Err(ClientInitializeError::TransportError { error, .. })) => {
            Err(error.error.to_string())
        }
        Ok(Err(error)) => Err(ClientInitializeError::to_string(&error)),
        Err(_) => Err(silent("initialize", ms_max)),
    };
    shaken.map(words).boxed()
}

/// What to do about a server that does not answer a question of the protocol.
fn silent(method: &str, ms_max: u64) -> String {
    format!(
        "it did not answer `{method}` within call_ms_max = {ms_max} ms: it must be an MCP \
         server; one that takes longer to start needs a larger call_ms_max"
    )
}

/// A failure in words, without the library's types.
fn told(error: &ServiceError) -> String {
    match error {
        ServiceError::TransportSend(error) => error.error.to_string(),
        ServiceError::TransportClosed => "its server ended the connection".to_owned(),
        ServiceError::UnexpectedResponse => {
            "its answer to `tools/list` is no list of tools: each takes a `name` and an \
             `inputSchema`"
                .to_owned()
        }
        error => error.to_string(),
    }
}

fn with_stderr(message: String, stderr: &str) -> String {
    match stderr.trim() {
        "" => message,
        said => format!("{message}; it wrote to standard error: {said}"),
    }
}

fn client(url: &str) -> Result<Client, reqwest::Error> {
    // The `rustls` that reqwest is built with here has no default of its own. Whoever
    // installed one before us, another thread included, is welcome.
    if CryptoProvider::get_default().is_none() {
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let host = reqwest::Url::parse(url).ok();
    let host = host.as_ref().and_then(|url| url.host_str()).unwrap_or_default();
    let is_local = host == "localhost" || host.starts_with("127.") || host == "[::1]";
    let builder = || {
        let builder = Client::builder()
            .user_agent(concat!("plumbline/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_WAIT);
        if is_local { builder.no_proxy() } else { builder }
    };
    match builder().build() {
        // A container without certificates can still talk to a server without TLS.
        Err(_) if url.starts_with("http://") => builder().tls_certs_only([]).build(),
        built => built,
    }
}
