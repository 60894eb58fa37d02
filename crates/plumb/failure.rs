//! Failures of the command, and the exit codes they map to.

use std::fmt::Display;
use std::process::ExitCode;

use plumbline::store::{ReadError, WriteError};
use plumbline::{EnvironmentError, VerifierError};

/// What the command came to when it did not do what was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: Kind,
    source: anyhow::Error,
    is_reported: bool,
}

/// Whose turn it is to do something about a failure. The numbers are the exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The command worked and found something: a divergence, a failed check.
    Finding = 1,
    /// The command line or the settings are wrong.
    Usage = 2,
    /// A file we were given is bad.
    Input = 3,
    /// A component is not there; the message says how to get it.
    Missing = 4,
    /// Something outside failed: disk, endpoint.
    External = 5,
}

pub(crate) type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    pub(crate) fn new(kind: Kind, source: impl Into<anyhow::Error>) -> Self {
        Self { kind, source: source.into(), is_reported: false }
    }

    pub(crate) fn say(kind: Kind, message: impl Display) -> Self {
        Self::new(kind, anyhow::anyhow!("{message}"))
    }

    /// The same of a command that has printed its report: to a program that says it already.
    pub(crate) fn reported(self) -> Self {
        Self { is_reported: true, ..self }
    }

    pub(crate) fn is_reported(&self) -> bool {
        self.is_reported
    }

    /// Several failures as one, of the kind of the first.
    pub(crate) fn all(failures: Vec<Failure>) -> Result<()> {
        let Some(first) = failures.first() else { return Ok(()) };
        let messages: Vec<String> = failures.iter().map(Failure::message).collect();
        Err(Failure::say(first.kind, messages.join("\n")))
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.kind as u8)
    }

    /// The message with everything it was caused by that it does not say itself.
    pub(crate) fn message(&self) -> String {
        let mut message = String::new();
        for cause in self.source.chain().map(ToString::to_string) {
            match message.as_str() {
                "" => message = cause,
                said if said.contains(&cause) => {}
                _ => message = format!("{message}: {cause}"),
            }
        }
        message
    }
}

/// Says whose turn it is when this fails.
pub(crate) trait Blame<T> {
    fn blame(self, kind: Kind) -> Result<T>;
}

impl<T, E: Into<anyhow::Error>> Blame<T> for std::result::Result<T, E> {
    fn blame(self, kind: Kind) -> Result<T> {
        self.map_err(|error| Failure::new(kind, error))
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        let kind = match &error {
            ReadError::Io { .. } => Kind::External,
            ReadError::NotARun { .. } => Kind::Usage,
            ReadError::Line { .. } | ReadError::Version { .. } => Kind::Input,
        };
        Failure::new(kind, error)
    }
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        let kind = match &error {
            WriteError::Locked { .. } => Kind::Usage,
            WriteError::Foreign { .. } => Kind::Input,
            WriteError::Io { .. } | WriteError::Poisoned { .. } => Kind::External,
        };
        Failure::new(kind, error)
    }
}

impl From<VerifierError> for Failure {
    fn from(error: VerifierError) -> Self {
        let kind = match &error {
            VerifierError::Task { .. } => Kind::Input,
            VerifierError::Failed { .. } => Kind::External,
        };
        Failure::new(kind, error)
    }
}

impl From<EnvironmentError> for Failure {
    fn from(error: EnvironmentError) -> Self {
        Failure::new(Kind::Input, error)
    }
}

/// A failure of the system's at a path.
pub(crate) fn at(path: &std::path::Path) -> impl Fn(std::io::Error) -> Failure {
    move |error| Failure::say(Kind::External, format!("{}: {error}", path.display()))
}
