//! What a server writes over its pipes. A line that answers nothing ends the connection at
//! once: it may stand in place of the answer that somebody waits for.
//!
//! Real servers greet on standard output, though the protocol forbids it. So what is no message
//! is passed over until a server's first message: nobody but the handshake waits then.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};

use rmcp::RoleClient;
use rmcp::model::{ClientJsonRpcMessage, JsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::Transport;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::line::{self, Lines, TooLong, Writer};

/// Bytes of a line that its server is shown by.
const SHOWN_BYTES_MAX: usize = 80;

/// A connection to a server over its pipes.
pub(crate) struct Replies {
    lines: Lines<Box<dyn AsyncRead + Send + Unpin>>,
    writer: Writer,
    /// Ids of what the server was asked and has not answered.
    asked: BTreeSet<String>,
    has_spoken: bool,
    offence: Arc<OnceLock<Offence>>,
}

/// What a server wrote that ended its connection.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Offence {
    /// A line that is too long to be read.
    TooLong,
    /// A line that answers nothing; the words show it.
    Astray(String),
}

impl fmt::Display for Offence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Offence::TooLong => f.write_str("its server wrote a line that is too long"),
            Offence::Astray(message) => f.write_str(message),
        }
    }
}

impl Replies {
    /// The connection, and what tells why the server's doing ended it, once it did.
    pub(crate) fn new(
        reader: Box<dyn AsyncRead + Send + Unpin>,
        writer: Box<dyn AsyncWrite + Send + Unpin>,
        line_bytes_max: usize,
    ) -> (Self, Arc<OnceLock<Offence>>) {
        let offence = Arc::default();
        let replies = Self {
            lines: Lines::new(reader, line_bytes_max),
            writer: Writer::new(writer),
            asked: BTreeSet::new(),
            has_spoken: false,
            offence: Arc::clone(&offence),
        };
        (replies, offence)
    }

    /// The message in a line, if there is one for anybody.
    fn read(&mut self, line: &[u8]) -> Result<Option<ServerJsonRpcMessage>, Offence> {
        let astray = |what: &str| {
            let begin = String::from_utf8_lossy(&line[..line.len().min(SHOWN_BYTES_MAX)]);
            let begin = begin.trim_end();
            Offence::Astray(format!("its server wrote {what}; it begins {begin:?}"))
        };
        let message = match line::read::<RoleClient>(line) {
            Ok(message) => message,
            Err(_) if !self.has_spoken => None,
            Err(_) => return Err(astray("a line that is no MCP message")),
        };
        let id = match &message {
            Some(JsonRpcMessage::Response(response)) => Some(&response.id),
            // Without an id it is about a line of ours that holds no question.
            Some(JsonRpcMessage::Error(error)) => error.id.as_ref(),
            _ => None,
        };
        if id.is_some_and(|id| !self.asked.remove(&id.to_string())) {
            return Err(astray("an answer to nothing that it was asked"));
        }
        self.has_spoken |= message.is_some();
        Ok(message)
    }
}

impl Transport<RoleClient> for Replies {
    type Error = io::Error;

    fn send(
        &mut self,
        message: ClientJsonRpcMessage,
    ) -> impl Future<Output = io::Result<()>> + Send + 'static {
        if let JsonRpcMessage::Request(request) = &message {
            self.asked.insert(request.id.to_string());
        }
        self.writer.write(&message)
    }

    async fn receive(&mut self) -> Option<ServerJsonRpcMessage> {
        loop {
            let read = match self.lines.next().await? {
                Ok(line) => self.read(&line),
                Err(TooLong) => Err(Offence::TooLong),
            };
            match read {
                Ok(None) => {}
                Ok(message) => return message,
                Err(offence) => {
                    // Nothing is read after the first one.
                    let _ = self.offence.set(offence);
                    return None;
                }
            }
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        self.writer.close().await;
        Ok(())
    }
}
