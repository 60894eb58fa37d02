//! The verifier: a program that is asked over JSON lines.

use std::time::Duration;

use async_trait::async_trait;
use plumbline::verifiers::{Guest, Introduction};
use plumbline::{
    Limits, NodeId, Seen, Sight, Tree, Verdict, Verifier, VerifierError, VerifierId,
};

use crate::crew::{Crew, Line};
use crate::error::heard;
use crate::{ProcessError, Program};

/// A verifier that a program answers for. Several of it run at once, and any may be ended
/// between two questions: all it may go by is in the question.
///
/// One that ends, hangs or answers what is none has failed, and has said nothing.
pub struct ProcessVerifier {
    guest: Guest,
    crew: Crew<Introduction>,
    limits: Limits,
}

impl ProcessVerifier {
    /// Starts a program and hears what it is, within `limits.call_ms_max`. A name stands in
    /// place of the one it says.
    pub async fn open(
        program: Program,
        name: Option<&str>,
        limits: &Limits,
    ) -> Result<Self, ProcessError> {
        let crew = Crew::open(program, Introduction::parse, limits).await?;
        let pinned = crew.program().digest();
        let guest = Guest::new(crew.hello(), name, pinned).map_err(|message| {
            let command = crew.program().shown();
            ProcessError::Settings { command, message }
        })?;
        Ok(Self { guest, crew, limits: limits.clone() })
    }
}

#[async_trait]
impl Verifier for ProcessVerifier {
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
        seen: Seen<'_>,
    ) -> Result<Vec<Verdict>, VerifierError> {
        let mut question = self.guest.question(tree, nodes, seen);
        question.push('\n');
        let line = Line {
            bytes: question.as_bytes(),
            answer_bytes_max: self.limits.output_bytes_max,
            is_repeatable: true,
        };
        let read = |answer: &[u8]| self.guest.verdicts(answer, tree, nodes, seen.task);
        let _turn = self.crew.turns().acquire().await.expect("nobody closes it");
        let asked = self.crew.ask(&line, &self.limits, read);
        let ms_max = self.limits.call_ms_max;
        let answered = tokio::time::timeout(Duration::from_millis(ms_max), asked).await;
        let failed = |message| self.guest.failed(seen.task, nodes, message);
        match answered {
            Ok(Ok(Ok(verdicts))) => Ok(verdicts),
            Ok(Ok(Err(broke))) => {
                Err(failed(format!("{}{}", broke.message, heard(&broke.stderr))))
            }
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => {
                Err(failed(format!("it gave no answer within call_ms_max = {ms_max} ms")))
            }
        }
    }
}
