//! Messages over pipes, one a line. A line of any length or content may come: what it is good
//! for, whoever reads says. (The transport of `rmcp` passes over what it cannot read, so that
//! whoever waits for it waits until the clock ends it.)

use std::io;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use rmcp::service::{RxJsonRpcMessage, ServiceRole};
use serde::Serialize;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::Mutex;

/// Some programs begin their text with it.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Lines up to a bound. Whoever gives up waiting for one loses nothing of it.
pub(crate) struct Lines<R> {
    reader: BufReader<R>,
    bytes_max: usize,
    /// What has come of the next line.
    line: Vec<u8>,
    /// Whether the rest of a line goes by that was too long.
    is_skipping: bool,
}

/// A line goes on past its bound.
#[derive(Debug, PartialEq)]
pub(crate) struct TooLong;

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(crate) fn new(reader: R, bytes_max: usize) -> Self {
        let reader = BufReader::new(reader);
        Self { reader, bytes_max, line: Vec::new(), is_skipping: false }
    }

    /// The next line; none at the end, which a line that has none of its own is no part of.
    /// One that is too long is told as soon as it is, and then passed over.
    pub(crate) async fn next(&mut self) -> Option<Result<Vec<u8>, TooLong>> {
        loop {
            let read = self.reader.fill_buf().await.ok()?;
            if read.is_empty() {
                return None;
            }
            let end = read.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(read.len(), |end| end + 1);
            if !self.is_skipping {
                self.line.extend_from_slice(&read[..taken]);
            }
            self.reader.consume(taken);
            let is_too_long = self.line.len() > self.bytes_max;
            if is_too_long || self.is_skipping {
                self.line.clear();
                self.is_skipping = end.is_none();
            }
            if is_too_long {
                return Some(Err(TooLong));
            }
            if end.is_some() && !self.line.is_empty() {
                return Some(Ok(std::mem::take(&mut self.line)));
            }
        }
    }
}

/// Why a line is no message.
#[derive(Debug, PartialEq)]
pub(crate) enum Unread {
    /// It is no JSON.
    Text,
    /// It is JSON. The id is null where it has none.
    Json { id: Value },
}

/// Reads a line; none where nothing stands in it that anybody has to know: a blank line, or a
/// notification of a kind of its own.
pub(crate) fn read<Role: ServiceRole>(
    line: &[u8],
) -> Result<Option<RxJsonRpcMessage<Role>>, Unread> {
    let text = std::str::from_utf8(line).map_err(|_| Unread::Text)?;
    let text = text.trim_start_matches(BYTE_ORDER_MARK).trim();
    if text.is_empty() {
        return Ok(None);
    }
    if let Ok(message) = serde_json::from_str(text) {
        return Ok(Some(message));
    }
    let value: Value = serde_json::from_str(text).map_err(|_| Unread::Text)?;
    if value.get("id").is_none() && value["method"].is_string() {
        return Ok(None);
    }
    let id = value.get("id").filter(|id| id.is_string() || id.is_number());
    Err(Unread::Json { id: id.cloned().unwrap_or_default() })
}

/// What writes messages, whole ones in turn.
#[derive(Clone)]
pub(crate) struct Writer(Arc<Mutex<Option<Pipe>>>);

type Pipe = Box<dyn AsyncWrite + Send + Unpin>;

impl Writer {
    pub(crate) fn new(pipe: Pipe) -> Self {
        Self(Arc::new(Mutex::new(Some(pipe))))
    }

    /// Writes a message. Once begun it is to be seen through: half a line spoils the next.
    pub(crate) fn write(
        &self,
        message: &impl Serialize,
    ) -> BoxFuture<'static, io::Result<()>> {
        let line = serde_json::to_vec(message);
        let pipe = Arc::clone(&self.0);
        let write = async move {
            let mut line = line?;
            line.push(b'\n');
            let mut pipe = pipe.lock().await;
            let pipe = pipe.as_mut().ok_or(io::ErrorKind::NotConnected)?;
            pipe.write_all(&line).await?;
            pipe.flush().await
        };
        write.boxed()
    }

    pub(crate) async fn close(&self) {
        self.0.lock().await.take();
    }
}

#[cfg(test)]
mod tests {
    use rmcp::RoleClient;
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn lines_up_to_the_bound_pass_and_one_beyond_it_is_passed_over() {
        let mut lines = Lines::new(&b"abc\nabcde\n\nab\nabcdefgh"[..], 4);
        let mut all = Vec::new();
        while let Some(line) = lines.next().await {
            all.push(line.map(|line| String::from_utf8(line).expect("text")));
        }
        let line = |text: &str| Ok(text.to_owned());
        assert_eq!(
            all,
            [line("abc\n"), Err(TooLong), line("\n"), line("ab\n"), Err(TooLong)]
        );
    }

    #[test]
    fn a_line_is_a_message_or_nothing_to_anybody_or_unread() {
        for (line, expected) in [
            (r#"{"jsonrpc": "2.0", "id": 1, "result": {}}"#, Ok(true)),
            ("\u{feff}{\"jsonrpc\": \"2.0\", \"id\": 1, \"result\": {}}\r", Ok(true)),
            (r#"{"jsonrpc": "2.0", "method": "x/y"}"#, Ok(true)),
            (r#"{"jsonrpc": "2.0", "method": "x/y", "params": 3}"#, Ok(false)),
            (" \r", Ok(false)),
            ("Server ready.", Err(Unread::Text)),
            (r#"{"jsonrpc": "2.0", "id": 1, "resu"#, Err(Unread::Text)),
            ("3", Err(Unread::Json { id: Value::Null })),
            (r#"{"jsonrpc": "2.0", "id": 7}"#, Err(Unread::Json { id: json!(7) })),
            (r#"{"id": 7, "result": {}}"#, Err(Unread::Json { id: json!(7) })),
        ] {
            let said = read::<RoleClient>(line.as_bytes());
            assert_eq!(said.map(|message| message.is_some()), expected, "{line}");
        }
        let said = read::<RoleClient>(b"{\"\xff\": 1}");
        assert_eq!(said.err(), Some(Unread::Text));
    }
}
