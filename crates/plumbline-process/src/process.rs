//! One running program, asked one line at a time.

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::FutureExt;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;

use crate::Confinement;
use crate::program::Folder;

/// Bytes of standard error that are kept, the last ones.
const STDERR_BYTES_KEPT: usize = 4096;
/// How long a program whose output has ended may take to end itself, so that its exit status
/// can be told.
const ENDING_WAIT: Duration = Duration::from_secs(1);

/// A program that runs, its folder, and its pipes. Dropping it ends it.
pub struct Process {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    stderr: Stderr,
    /// Ends with the program: it holds the other end.
    listening: JoinHandle<()>,
    /// Whether it was given the whole of its last line.
    is_in_step: bool,
    /// Removed after the program has been told to end.
    _folder: Folder,
    /// Lines it has answered.
    pub(crate) answered: u64,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Silence {
    /// The program ended.
    Ended(Option<ExitStatus>),
    /// The line goes on past its bound.
    TooLong,
    /// The pipe failed.
    Pipe(std::io::Error),
}

impl Process {
    /// Starts a command line in a folder of its own, with the user's variables it is promised.
    pub(crate) fn start(
        argv: &[String],
        promised: &[String],
        folder: Folder,
        confinement: Confinement,
    ) -> std::io::Result<Self> {
        let mut command = Command::new(&argv[0]);
        command.args(&argv[1..]).current_dir(folder.path()).env_clear();
        let within = confinement.folder_within(folder.path());
        command.envs(variables(within, promised));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // What a terminal sends its programs (an interrupt) is not meant for it.
        let mut child = command.process_group(0).kill_on_drop(true).spawn()?;
        let stdin = child.stdin.take().expect("it is piped");
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let stderr = Stderr::default();
        let heard = child.stderr.take().expect("it is piped");
        let listening = tokio::spawn(listen(heard, stderr.clone()));
        let (is_in_step, answered, _folder) = (true, 0, folder);
        Ok(Self {
            child,
            stdin,
            stdout,
            stderr,
            listening,
            is_in_step,
            _folder,
            answered,
        })
    }

    /// Its pipes, for whoever speaks another protocol with it, and what ends it when dropped.
    pub fn into_parts(self) -> (BufReader<ChildStdout>, ChildStdin, Running) {
        let Self { child, stdin, stdout, stderr, _folder, .. } = self;
        (stdout, stdin, Running { stderr, _child: child, _folder })
    }

    /// The next line it writes, without its end.
    pub(crate) async fn line(&mut self, bytes_max: usize) -> Result<Vec<u8>, Silence> {
        line(&mut self.stdout, &mut self.child, bytes_max).await
    }

    /// Writes a line and reads the answer. Both at once: a program that writes before it has
    /// read would block both sides.
    pub(crate) async fn ask(
        &mut self,
        request: &[u8],
        bytes_max: usize,
    ) -> Result<Vec<u8>, Silence> {
        let Self { child, stdin, stdout, is_in_step, .. } = self;
        *is_in_step = false;
        let write = async {
            // Whoever reads the answer learns why this failed.
            *is_in_step = stdin.write_all(request).await.is_ok();
            std::future::pending::<Infallible>().await
        };
        let line = tokio::select! {
            line = line(stdout, child, bytes_max) => line?,
            never = write => match never {},
        };
        self.answered += 1;
        Ok(line)
    }

    /// Whether it waits for a line: it has read the last one and written nothing since its
    /// answer, nor ended.
    pub(crate) fn is_waiting(&mut self) -> bool {
        self.is_in_step && self.stdout.fill_buf().now_or_never().is_none()
    }

    /// Whether it wrote more than it was asked for.
    pub(crate) fn has_more(&mut self) -> bool {
        matches!(self.stdout.fill_buf().now_or_never(), Some(Ok([_, ..])))
    }

    /// The end of what it wrote to standard error: all of it, where it has just ended.
    pub(crate) async fn stderr(&mut self) -> String {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            // What it left behind may hold its end open.
            let _ = tokio::time::timeout(ENDING_WAIT, &mut self.listening).await;
        }
        self.stderr.text()
    }
}

/// What keeps a program running. Dropping it ends the program and removes its folder.
pub struct Running {
    stderr: Stderr,
    _child: Child,
    _folder: Folder,
}

impl Running {
    /// The end of what it wrote to standard error.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }
}

/// The last of what a program wrote to standard error.
#[derive(Clone, Default)]
struct Stderr(Arc<Mutex<Vec<u8>>>);

impl Stderr {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.kept()).into_owned()
    }

    fn kept(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().expect("nothing panics while it holds this lock")
    }
}

async fn line(
    stdout: &mut BufReader<ChildStdout>,
    child: &mut Child,
    bytes_max: usize,
) -> Result<Vec<u8>, Silence> {
    let mut line = Vec::new();
    let read = stdout.take(bytes_max as u64 + 1).read_until(b'\n', &mut line).await;
    read.map_err(Silence::Pipe)?;
    if line.last() == Some(&b'\n') {
        line.pop();
        return Ok(line);
    }
    if line.len() > bytes_max {
        return Err(Silence::TooLong);
    }
    let ended = tokio::time::timeout(ENDING_WAIT, child.wait()).await;
    Err(Silence::Ended(ended.ok().and_then(Result::ok)))
}

/// Reads standard error to its end, and keeps the last of it.
async fn listen(mut heard: ChildStderr, stderr: Stderr) {
    let mut buffer = [0; STDERR_BYTES_KEPT];
    while let Ok(bytes @ 1..) = heard.read(&mut buffer).await {
        let mut kept = stderr.kept();
        kept.extend_from_slice(&buffer[..bytes]);
        let surplus = kept.len().saturating_sub(STDERR_BYTES_KEPT);
        kept.drain(..surplus);
    }
}

/// The variables a program is given: where to find programs, what makes answers reproduce,
/// and those it was promised.
fn variables(folder: &Path, promised: &[String]) -> Vec<(String, OsString)> {
    let own = |name: &str, value: &OsStr| (name.to_owned(), value.to_owned());
    let mut variables = vec![
        own("HOME", folder.as_os_str()),
        own("TMPDIR", folder.as_os_str()),
        own("LC_ALL", OsStr::new("C.UTF-8")),
        own("TZ", OsStr::new("UTC")),
        own("PYTHONHASHSEED", OsStr::new("0")),
        // A line that waits in a buffer for company would never be answered.
        own("PYTHONUNBUFFERED", OsStr::new("1")),
        own("PYTHONDONTWRITEBYTECODE", OsStr::new("1")),
    ];
    let inherited = promised.iter().map(String::as_str).chain(["PATH"]);
    variables.extend(
        inherited.filter_map(|name| Some((name.to_owned(), std::env::var_os(name)?))),
    );
    variables
}
