//! The verifier: a component of the world `plumbline:verifier`.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use plumbline::verifiers::{Guest, Introduction};
use plumbline::{
    Digest, Effect, Limits, NodeId, Sight, Tree, Verdict, Verifier, VerifierError,
    VerifierId,
};
use tokio::sync::Semaphore;
use wasmtime::Engine;
use wasmtime::component::Linker;

use super::bindings::judging::VerifierPre;
use super::grants::{Host, Seen};
use super::{Cancel, Components, Stopped, compiled, read, run};
use crate::ComponentError;

/// A verifier that a component answers for: each question by an instance of its own, which is
/// given the question and nothing else.
///
/// One that traps, uses up its fuel or its memory, or answers what is none has failed, and has
/// said nothing.
pub struct ComponentVerifier {
    guest: Guest,
    engine: Engine,
    ready: VerifierPre<Host>,
    limits: Limits,
    turns: Arc<Semaphore>,
    places: Arc<Semaphore>,
}

impl Components {
    /// Compiles a component that is a verifier, or finds it compiled, and asks it what it is.
    /// A name stands in place of the one it says. Blocks, as [`open`](Self::open) does.
    pub fn open_verifier(
        &self,
        path: &std::path::Path,
        name: Option<&str>,
        limits: &Limits,
    ) -> Result<ComponentVerifier, ComponentError> {
        let refused = |message: String| {
            let path = path.to_owned();
            ComponentError::Component { path, message }
        };
        let bytes = read(path)?;
        let digest = Digest::of(&bytes);
        let component = compiled::component(&self.engine, &bytes, digest, &self.cache)
            .map_err(|error| refused(format!("{error:#}")))?;
        let mut linker = Linker::new(&self.engine);
        let linked = linker
            .define_unknown_imports_as_traps(&component)
            .and_then(|()| linker.instantiate_pre(&component))
            .and_then(VerifierPre::new);
        let ready = linked.map_err(|error| {
            refused(format!(
                "it is no component of the world plumbline:verifier: {error:#}"
            ))
        })?;
        let said = run(&self.engine, host(limits), limits, Arc::default(), |store| {
            ready.instantiate(&mut *store)?.call_describe(store)
        });
        let (said, _) = said.map_err(|stopped| {
            let stopped = stopped.said(limits);
            refused(format!("it cannot say what it is: {stopped}"))
        })?;
        let guest = Introduction::parse(said.as_bytes())
            .and_then(|introduction| Guest::new(&introduction, name, digest))
            .map_err(refused)?;
        let (engine, limits) = (self.engine.clone(), limits.clone());
        let (turns, places) = (Arc::clone(&self.turns), Arc::clone(&self.places));
        Ok(ComponentVerifier { guest, engine, ready, limits, turns, places })
    }
}

fn host(limits: &Limits) -> Host {
    // It imports neither scratch nor files: whatever it may go by is in the question.
    let (state, inputs) = (None, String::new());
    Host::new(Seen { state, inputs, files: Arc::default() }, Effect::Pure, limits)
}

impl ComponentVerifier {
    /// Has a fresh instance answer, on a thread that may block.
    async fn answer(&self, question: String) -> Result<String, String> {
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.expect("it is never closed");
        let is_cancelled = Arc::new(AtomicBool::new(false));
        let engine = self.engine.clone();
        let _cancel =
            Cancel { engine: engine.clone(), is_cancelled: Arc::clone(&is_cancelled) };
        let (ready, limits) = (self.ready.clone(), self.limits.clone());
        let answered = tokio::task::spawn_blocking(move || {
            let _place = place;
            let ran = run(&engine, host(&limits), &limits, is_cancelled, |store| {
                ready.instantiate(&mut *store)?.call_judge(store, &question)
            });
            let (answer, _) = ran.map_err(|stopped: Stopped| stopped.said(&limits))?;
            let (bytes, bytes_max) = (answer.len(), limits.output_bytes_max);
            match bytes <= bytes_max {
                true => Ok(answer),
                false => {
                    Err(format!("its answer has {bytes} bytes; at most {bytes_max}"))
                }
            }
        });
        answered.await.unwrap_or_else(|error| Err(error.to_string()))
    }
}

#[async_trait]
impl Verifier for ComponentVerifier {
    fn id(&self) -> &VerifierId {
        self.guest.id()
    }

    fn sight(&self) -> Sight {
        self.guest.sight()
    }

    async fn judge(
        &self,
        tree: &Tree,
        nodes: &[NodeId],
        seen: plumbline::Seen<'_>,
    ) -> Result<Vec<Verdict>, VerifierError> {
        let _turn = self.turns.acquire().await.expect("nobody closes it");
        let asked = self.answer(self.guest.question(tree, nodes, seen));
        let ms_max = self.limits.call_ms_max;
        let answered = tokio::time::timeout(Duration::from_millis(ms_max), asked).await;
        let answered = answered.unwrap_or_else(|_| {
            Err(format!("it gave no answer within call_ms_max = {ms_max} ms"))
        });
        let verdicts = answered.and_then(|answer| {
            self.guest.verdicts(answer.as_bytes(), tree, nodes, seen.task)
        });
        verdicts.map_err(|message| self.guest.failed(seen.task, nodes, message))
    }
}
