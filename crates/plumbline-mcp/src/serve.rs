//! Our tools for any MCP client, over standard input and output.

use std::io;

use futures::future::BoxFuture;
use plumbline::{Observation, ToolSpec};
use rmcp::handler::server::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ClientJsonRpcMessage,
    ContentBlock, ErrorCode, ErrorData, Implementation, ListToolsResult,
    PaginatedRequestParams, ServerCapabilities, ServerConfig, ServerJsonRpcMessage,
    Tool as Offer,
};
use rmcp::service::RequestContext;
use rmcp::transport::{Transport, stdio};
use rmcp::{RoleServer, serve_server};
use serde_json::{Value, json};
use tokio::io::Stdin;
use tokio::sync::{mpsc, oneshot};

use crate::line::{self, Lines, TooLong, Unread, Writer};

/// Bytes of one line that a client may write.
const LINE_BYTES_MAX: usize = 4 << 20;

/// A call of a client's. Whoever takes it answers it; one that is dropped was refused.
#[derive(Debug)]
pub struct Call {
    /// The tool, which need not exist.
    pub tool: String,
    /// The arguments, which need not fit.
    pub args: Value,
    /// Takes what it came to.
    pub answer: oneshot::Sender<Observation>,
}

/// Offers tools over standard input and output until the client leaves. Calls go to `calls`.
/// The error is in words.
pub async fn serve(specs: &[ToolSpec], calls: mpsc::Sender<Call>) -> Result<(), String> {
    let desk = Desk { offers: specs.iter().map(offer).collect(), calls };
    let (done, served) = oneshot::channel();
    // On one thread, tasks begin in the order in which they were made: so a client that does not
    // wait for answers has its calls made in the order in which it wrote them.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let served = runtime.map_err(|error| error.to_string()).and_then(|runtime| {
            let served = runtime.block_on(attend(desk));
            runtime.shutdown_background();
            served
        });
        // Nobody may wait for it any more.
        let _ = done.send(served);
    });
    served.await.unwrap_or_else(|error| Err(error.to_string()))
}

async fn attend(desk: Desk) -> Result<(), String> {
    let (reader, writer) = stdio();
    let lines = Lines::new(reader, LINE_BYTES_MAX);
    let requests =
        Requests { lines, writer: Writer::new(Box::new(writer)), refusal: None };
    let service = serve_server(desk, requests).await;
    let service = service.map_err(|error| error.to_string())?;
    service.waiting().await.map(|_| ()).map_err(|error| error.to_string())
}

/// What a client writes. A line that cannot be read is answered with an error, for the client
/// may wait for it, and the next one is read.
struct Requests {
    lines: Lines<Stdin>,
    writer: Writer,
    /// The error that is being written. Whoever gives up waiting for a request leaves it here.
    refusal: Option<BoxFuture<'static, io::Result<()>>>,
}

impl Transport<RoleServer> for Requests {
    type Error = io::Error;

    fn send(
        &mut self,
        message: ServerJsonRpcMessage,
    ) -> impl Future<Output = io::Result<()>> + Send + 'static {
        self.writer.write(&message)
    }

    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        loop {
            if let Some(refusal) = &mut self.refusal {
                let written = refusal.await;
                self.refusal = None;
                written.ok()?;
            }
            let (code, id, message) = match self.lines.next().await? {
                Ok(line) => match line::read::<RoleServer>(&line) {
                    Ok(None) => continue,
                    Ok(message) => return message,
                    Err(Unread::Text) => (
                        ErrorCode::PARSE_ERROR,
                        Value::Null,
                        "a line that is no JSON".into(),
                    ),
                    Err(Unread::Json { id }) => {
                        (ErrorCode::INVALID_REQUEST, id, "JSON that is no message".into())
                    }
                },
                Err(TooLong) => {
                    let message = format!("a line of more than {LINE_BYTES_MAX} bytes");
                    (ErrorCode::PARSE_ERROR, Value::Null, message)
                }
            };
            // JSON-RPC wants an id of null where there is none, which `rmcp` cannot write.
            let error = json!({ "code": code.0, "message": message });
            let refusal = json!({ "jsonrpc": "2.0", "id": id, "error": error });
            self.refusal = Some(self.writer.write(&refusal));
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        self.writer.close().await;
        Ok(())
    }
}

struct Desk {
    offers: Vec<Offer>,
    calls: mpsc::Sender<Call>,
}

fn offer(spec: &ToolSpec) -> Offer {
    let schema = spec.parameters.as_object().cloned().unwrap_or_default();
    Offer::new(spec.name.clone(), spec.description.clone(), schema)
}

impl ServerHandler for Desk {
    fn get_info(&self) -> ServerConfig {
        let tools = ServerCapabilities::builder().enable_tools().build();
        let mut config = ServerConfig::new(tools);
        config.server_info = Implementation::new("plumbline", env!("CARGO_PKG_VERSION"));
        config
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.offers.clone()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let (answer, answered) = oneshot::channel();
        let args = Value::Object(request.arguments.unwrap_or_default());
        let call = Call { tool: request.name.into_owned(), args, answer };
        let gone = || ErrorData::internal_error("the tools are gone", None);
        self.calls.send(call).await.map_err(|_| gone())?;
        let observation = answered.await.map_err(|_| gone())?;
        let content = vec![ContentBlock::text(observation.text())];
        Ok(match &observation {
            Observation::Output { data, .. } => {
                let mut result = CallToolResult::success(content);
                // The protocol wants an object there.
                result.structured_content = data.is_object().then(|| data.clone());
                result
            }
            Observation::Fault { .. } => CallToolResult::error(content),
        }
        .into())
    }
}
