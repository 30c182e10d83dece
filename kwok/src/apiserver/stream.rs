//! The shell of a watch: waits for writes, for the next bookmark and for the end, and sends what there is.

use super::{server::Inner, store::GroupResource, verbs::watch::Watch};
use bytes::Bytes;
use futures::Stream;
use std::{collections::VecDeque, convert::Infallible, sync::Weak, time::Duration};
use tokio::{
    sync::watch,
    time::{Sleep, sleep},
};
use tokio_util::sync::CancellationToken;

/// How often a watcher that wants bookmarks gets one (the API server's watch cache: about a minute).
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);

struct Watcher {
    /// Weak, so that an open watch does not keep a dropped server alive.
    server: Weak<Inner>,
    storage: GroupResource,
    watch: Watch,
    written: watch::Receiver<u64>,
    shutdown: CancellationToken,
    waiting: VecDeque<Bytes>,
    ended: bool,
    deadline: std::pin::Pin<Box<Sleep>>,
    bookmark: std::pin::Pin<Box<Sleep>>,
}

/// What a watcher woke up for.
enum Wake {
    Written,
    Bookmark,
    End,
}

/// The lines of a watch, from `first` on.
pub(crate) fn lines(
    server: &std::sync::Arc<Inner>,
    watch: Watch,
    first: Vec<Bytes>,
    written: watch::Receiver<u64>,
) -> impl Stream<Item = Result<Bytes, Infallible>> + use<> {
    let watcher = Watcher {
        server: std::sync::Arc::downgrade(server),
        storage: watch.call.resource.storage.clone(),
        deadline: Box::pin(sleep(watch.timeout)),
        bookmark: Box::pin(sleep(BOOKMARK_EVERY)),
        shutdown: server.shutdown.clone(),
        waiting: first.into(),
        ended: false,
        watch,
        written,
    };
    futures::stream::unfold(watcher, |mut watcher| async move {
        let line = watcher.next().await?;
        Some((Ok(line), watcher))
    })
}

impl Watcher {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.waiting.pop_front() {
                return Some(line);
            }
            if self.ended || self.shutdown.is_cancelled() {
                return None;
            }
            self.written.borrow_and_update();
            if self.fetch()? {
                continue;
            }
            match self.wait().await {
                Wake::Written => {}
                Wake::Bookmark => self.send_bookmark(),
                Wake::End => return None,
            }
        }
    }

    /// Takes what has happened; answers whether to look again at once. `None` when the server is gone.
    fn fetch(&mut self) -> Option<bool> {
        let server = self.server.upgrade()?;
        let now = server.clock.now();
        let state = server.lock();
        let batch = self.watch.next(&state, now);
        self.waiting.extend(batch.lines);
        self.ended = batch.is_last;
        Some(self.ended || !self.waiting.is_empty() || self.watch.is_behind(&state))
    }

    async fn wait(&mut self) -> Wake {
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => Wake::End,
            changed = self.written.changed() => if changed.is_ok() { Wake::Written } else { Wake::End },
            () = &mut self.deadline => Wake::End,
            () = &mut self.bookmark, if self.watch.bookmarks => Wake::Bookmark,
        }
    }

    fn send_bookmark(&mut self) {
        tracing::trace!(resource = %self.storage, "bookmark");
        self.bookmark = Box::pin(sleep(BOOKMARK_EVERY));
        self.waiting.push_back(self.watch.bookmark(false));
    }
}
