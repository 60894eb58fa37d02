//! How far a run is: a bar on a terminal, a plain line now and then when piped.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Between two lines when standard error is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Between two changes of the bar's message.
const BAR_EVERY: Duration = Duration::from_millis(100);

/// Progress over a known number of things, on standard error.
#[derive(Debug)]
pub(crate) enum Progress {
    Bar { bar: ProgressBar, last: Mutex<Instant> },
    Lines { what: &'static str, total: u64, began: Instant, last: Mutex<Instant> },
    Silent,
}

impl Progress {
    /// Progress over `total` things; silent where output is for a machine.
    pub(crate) fn new(what: &'static str, total: u64, json: bool) -> Self {
        if json {
            return Self::Silent;
        }
        if !std::io::stderr().is_terminal() {
            let now = Instant::now();
            return Self::Lines { what, total, began: now, last: Mutex::new(now) };
        }
        let bar = ProgressBar::new(total);
        let style = ProgressStyle::with_template(
            "{prefix} {bar:24} {pos}/{len} {elapsed_precise} {msg}",
        );
        bar.set_style(style.expect("the template is a constant"));
        bar.set_prefix(what);
        bar.enable_steady_tick(Duration::from_millis(200));
        Self::Bar { bar, last: Mutex::new(Instant::now()) }
    }

    /// Says that `done` things are done. The message is only made when it is shown.
    pub(crate) fn set(&self, done: u64, message: impl Fn(Duration) -> String) {
        match self {
            Self::Bar { bar, last } => {
                bar.set_position(done);
                if is_due(last, BAR_EVERY) {
                    bar.set_message(message(bar.elapsed()));
                }
            }
            Self::Lines { what, total, began, last } => {
                if is_due(last, LINE_EVERY) {
                    eprintln!("{what} {done}/{total} {}", message(began.elapsed()));
                }
            }
            Self::Silent => {}
        }
    }

    /// Removes the bar: what follows is the result.
    pub(crate) fn finish(&self) {
        if let Self::Bar { bar, .. } = self {
            bar.finish_and_clear();
        }
    }
}

fn is_due(last: &Mutex<Instant>, every: Duration) -> bool {
    let mut last = last.lock().expect("nothing panics while it holds this lock");
    let due = last.elapsed() >= every;
    if due {
        *last = Instant::now();
    }
    due
}
