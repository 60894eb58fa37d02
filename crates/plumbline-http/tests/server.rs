//! A server that answers as it is told, and remembers what it was asked.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Response, Uri};
use futures::stream::{self, StreamExt};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What a server was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    /// The body as JSON; null where it is none.
    pub(crate) body: Value,
}

/// What a server answers.
pub(crate) enum Reply {
    /// A status, headers and a body.
    Full { status: u16, headers: Vec<(&'static str, String)>, body: Vec<u8> },
    /// A body that breaks off after so many bytes of those announced.
    Cut { body: Vec<u8>, bytes: usize, headers: Vec<(&'static str, String)>, status: u16 },
    /// A body without end.
    Endless,
    /// Nothing, for longer than a test waits.
    Silence,
}

impl Reply {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Reply::text(status, &body.to_string())
    }

    pub(crate) fn text(status: u16, body: &str) -> Self {
        Reply::Full { status, headers: vec![], body: body.as_bytes().to_vec() }
    }
}

/// A server that runs until it is dropped.
pub(crate) struct Server {
    /// `http://127.0.0.1:PORT`.
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

impl Server {
    /// Starts one. `answer` is given the number of requests before this one, and the request.
    pub(crate) async fn start(
        answer: impl Fn(usize, &Asked) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (log, answer) = (Arc::clone(&asked), Arc::new(answer));
        let handler = move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
            let body = serde_json::from_slice(&body).unwrap_or_default();
            let request = Asked { method, uri, headers, body };
            let before = {
                let mut log = log.lock().expect("no handler panics with the lock");
                log.push(request.clone());
                log.len() - 1
            };
            let answer = Arc::clone(&answer);
            async move { respond(answer(before, &request)).await }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let app = Router::new().fallback(handler);
        let task = tokio::spawn(async move {
            axum::serve(listener, app).await.expect("the listener stays open");
        });
        Self { url, asked, task }
    }

    /// Everything asked so far, in order.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no handler panics with the lock").clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An address where nothing listens.
pub(crate) async fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    format!("http://{}", listener.local_addr().expect("it is bound"))
}

async fn respond(reply: Reply) -> Response<Body> {
    let (status, headers, body) = match reply {
        Reply::Full { status, headers, body } => (status, headers, Body::from(body)),
        Reply::Cut { body, bytes, mut headers, status } => {
            headers.push(("content-length", body.len().to_string()));
            let broken = std::io::Error::other("the server fell over");
            let parts = [Ok(Bytes::copy_from_slice(&body[..bytes])), Err(broken)];
            // What is written must leave before the connection breaks, or nothing does.
            let parts = stream::iter(parts).then(|part| async {
                if part.is_err() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                part
            });
            (status, headers, Body::from_stream(parts))
        }
        Reply::Endless => {
            let chunk = Bytes::from_static(&[b' '; 16 * 1024]);
            let chunks =
                stream::repeat_with(move || Ok::<_, std::io::Error>(chunk.clone()));
            (200, vec![], Body::from_stream(chunks))
        }
        Reply::Silence => {
            tokio::time::sleep(Duration::from_secs(60)).await;
            (200, vec![], Body::empty())
        }
    };
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(body).expect("a status and headers that exist")
}
