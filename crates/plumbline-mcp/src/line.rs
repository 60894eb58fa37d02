//! A bound on the lines that a server writes. Without it a line that is too long would be
//! skipped, and whoever waits for it would wait until the clock ends it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

/// A reader that fails once a line goes on past its bound.
pub(crate) struct Lines<R> {
    reader: R,
    bytes_max: usize,
    /// Bytes since the last end of a line.
    bytes: usize,
    was_too_long: Arc<AtomicBool>,
}

impl<R> Lines<R> {
    /// The reader, and what tells whether it failed for that reason.
    pub(crate) fn new(reader: R, bytes_max: usize) -> (Self, Arc<AtomicBool>) {
        let was_too_long = Arc::default();
        let told = Arc::clone(&was_too_long);
        (Self { reader, bytes_max, bytes: 0, was_too_long }, told)
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Lines<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.reader).poll_read(context, buffer))?;
        for piece in buffer.filled()[before..].split_inclusive(|byte| *byte == b'\n') {
            self.bytes += piece.len();
            if self.bytes > self.bytes_max {
                self.was_too_long.store(true, Ordering::Release);
                let message = format!("a line of more than {} bytes", self.bytes_max);
                return Poll::Ready(Err(io::Error::other(message)));
            }
            if piece.ends_with(b"\n") {
                self.bytes = 0;
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn lines_up_to_the_bound_pass_and_one_beyond_it_fails() {
        let read = async |bytes: &'static [u8]| {
            let (mut lines, was_too_long) = Lines::new(bytes, 4);
            let read = lines.read_to_end(&mut Vec::new()).await;
            (read.is_ok(), was_too_long.load(Ordering::Acquire))
        };
        assert_eq!(read(b"abc\nabc\n\nab").await, (true, false));
        assert_eq!(read(b"abc\nabcde").await, (false, true));
    }
}
