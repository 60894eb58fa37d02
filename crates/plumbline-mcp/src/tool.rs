//! One tool of a server.

use std::sync::Arc;

use async_trait::async_trait;
use plumbline::{
    Digest, Effect, Fault, Limits, Observation, Scratch, Tool, ToolError, ToolSpec,
};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::replies::Offence;
use crate::server::Server;
use crate::session::{Reply, Session};

/// Calls that a server is told again at most, to bring it to a state.
const CALLS_MAX: usize = 256;

/// A tool of a server, as its [`Effect`] says.
pub(crate) struct McpTool {
    pub(crate) spec: ToolSpec,
    pub(crate) effect: Effect,
    /// What the server calls it.
    pub(crate) name: String,
    pub(crate) server: Arc<Server>,
}

#[async_trait]
impl Tool for McpTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn effect(&self) -> Effect {
        self.effect
    }

    fn turns(&self) -> Option<&Semaphore> {
        (self.effect == Effect::Pure).then_some(&self.server.turns)
    }

    fn forget(&self) {
        self.server.forget();
    }

    async fn call(
        &self,
        args: &Value,
        scratch: &mut Scratch,
        limits: &Limits,
    ) -> Result<Observation, ToolError> {
        match self.effect {
            Effect::Pure => self.call_pure(args, limits).await,
            Effect::Stateful => self.call_stateful(args, scratch, limits).await,
            Effect::External => Ok(self.call_external(args, limits).await),
        }
    }
}

impl McpTool {
    /// Asks over a connection of its own; if one breaks that others had before, once more over
    /// a fresh one.
    async fn call_pure(
        &self,
        args: &Value,
        limits: &Limits,
    ) -> Result<Observation, ToolError> {
        if let Some(session) = self.server.idle() {
            let reply = session.call(&self.name, args, limits).await;
            if let Reply::Answered(observation) = reply {
                self.server.put_back(session);
                return Ok(observation);
            }
        }
        let session = self.server.connect(limits).await.map_err(|e| self.gone(e))?;
        let reply = session.call(&self.name, args, limits).await;
        if let Reply::Answered(_) = reply {
            self.server.put_back(session);
        }
        Ok(broken(reply, limits))
    }

    async fn call_external(&self, args: &Value, limits: &Limits) -> Observation {
        let external = |message| Observation::fault(Fault::External, message);
        let session = match self.server.shared(limits).await {
            Ok(session) => session,
            Err(message) => return external(message),
        };
        match session.call(&self.name, args, limits).await {
            Reply::Answered(observation) => observation,
            Reply::Offence(Offence::TooLong) => too_long(limits),
            Reply::Offence(Offence::Astray(message)) | Reply::Broken(message) => {
                external(message)
            }
        }
    }

    /// Asks a server that was told what the scratch holds, and adds the call to it.
    async fn call_stateful(
        &self,
        args: &Value,
        scratch: &mut Scratch,
        limits: &Limits,
    ) -> Result<Observation, ToolError> {
        let key = self.server.key.as_str();
        let mut calls = scratch.get(key).cloned().unwrap_or_else(|| json!([]));
        let made = calls.as_array_mut().expect("nobody else writes under this key");
        if made.len() == CALLS_MAX {
            let message = format!("all {CALLS_MAX} calls of this server are used up");
            return Ok(Observation::fault(Fault::Limit, message));
        }
        let mut kept = self.server.take(Digest::of_json(&*made));
        let was_kept = kept.is_some();
        let mut session = match kept.take() {
            Some(session) => session,
            None => self.brought_to(made, limits).await?,
        };
        let mut reply = session.call(&self.name, args, limits).await;
        if was_kept && !matches!(reply, Reply::Answered(_)) {
            session = self.brought_to(made, limits).await?;
            reply = session.call(&self.name, args, limits).await;
        }
        let Reply::Answered(observation) = reply else {
            // The server is gone, and what it did last with it.
            return Ok(broken(reply, limits));
        };
        made.push(json!([self.name, args]));
        self.server.keep(Digest::of_json(&*made), session);
        scratch.set(key, calls);
        Ok(observation)
    }

    /// A fresh server that has been told these calls.
    async fn brought_to(
        &self,
        calls: &[Value],
        limits: &Limits,
    ) -> Result<Session, ToolError> {
        let session = self.server.connect(limits).await.map_err(|e| self.gone(e))?;
        for call in calls {
            let tool = call[0].as_str().expect("nobody else writes under this key");
            match session.call(tool, &call[1], limits).await {
                Reply::Answered(_) => {}
                Reply::Offence(_) | Reply::Broken(_) => {
                    let message =
                        format!("it broke at {tool}, which it had answered before");
                    return Err(self.gone(message));
                }
            }
        }
        Ok(session)
    }

    fn gone(&self, message: String) -> ToolError {
        ToolError::Engine { tool: self.spec.name.clone(), message }
    }
}

/// What a server that breaks over a call from a fresh start came to.
fn broken(reply: Reply, limits: &Limits) -> Observation {
    match reply {
        Reply::Answered(observation) => observation,
        Reply::Offence(Offence::TooLong) => too_long(limits),
        Reply::Offence(Offence::Astray(message)) => Observation::broken(message),
        Reply::Broken(_) => Observation::broken("its server ended the connection"),
    }
}

fn too_long(limits: &Limits) -> Observation {
    let max = limits.output_bytes_max;
    Observation::excess(format!("the answer has many more bytes than {max}"))
}
