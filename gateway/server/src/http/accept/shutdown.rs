//! How a listener ends, in three steps that the caller times.
//!
//! A client that keeps its connection may send the next request at the very moment in which the server closes it, and then cannot know whether it was
//! taken. So it is told with an answer, by `connection: close`, that there will be no further one; only who asks nothing is closed without a word.

use tokio_util::sync::CancellationToken;

/// Tells a listener and its connections to end. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    leaving: CancellationToken,
    closed: CancellationToken,
    finished: CancellationToken,
}

impl Shutdown {
    /// From now on each answer of HTTP/1 is the last of its connection. Everything is still accepted and served.
    pub fn leave(&self) {
        self.leaving.cancel();
    }

    /// Accepts no more. Connections that are there may send what they have, until they are told that an answer was the last.
    pub fn close(&self) {
        self.leave();
        self.closed.cancel();
    }

    /// Closes connections as soon as they answer nothing.
    pub fn finish(&self) {
        self.close();
        self.finished.cancel();
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.is_cancelled()
    }

    /// Returns once it accepts no more.
    pub async fn closed(&self) {
        self.closed.cancelled().await;
    }

    pub(super) async fn finished(&self) {
        self.finished.cancelled().await;
    }
}
