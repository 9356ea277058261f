//! Tells when the configuration file or a manifest may have changed: by the kernel's notices, or by looking where there are none.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{EventKind, PollWatcher, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

/// Editors write in several steps; what follows within this time is one change.
const SETTLE: Duration = Duration::from_millis(250);
/// How often to look where the kernel gives no notices.
const POLL_EVERY: Duration = Duration::from_secs(2);

/// Sends when a watched file may have changed.
pub(super) struct FileWatch {
    changes: mpsc::Receiver<()>,
    /// A change was noticed and has not settled: whoever stops waiting in between finds it again.
    is_unsettled: bool,
    _watcher: Box<dyn Watcher + Send>,
}

impl FileWatch {
    /// Watches the folders of `files`, because editors and deployments replace files instead of writing into them.
    pub(super) fn start(files: &[PathBuf]) -> Option<Self> {
        let names: BTreeSet<PathBuf> =
            files.iter().filter_map(|file| std::path::absolute(file).ok()).collect();
        let folders: BTreeSet<PathBuf> =
            names.iter().filter_map(|file| file.parent().map(Path::to_owned)).collect();
        let (sender, changes) = mpsc::channel(1);
        let notice = move |event: notify::Result<notify::Event>| {
            let Ok(event) = event else { return };
            let is_change = !matches!(event.kind, EventKind::Access(_));
            if is_change && event.paths.iter().any(|path| names.contains(path)) {
                let _ = sender.try_send(()); // one pending notice says it all
            }
        };
        let mut watcher: Box<dyn Watcher + Send> = match RecommendedWatcher::new(
            notice.clone(),
            notify::Config::default(),
        ) {
            Ok(watcher) => Box::new(watcher),
            Err(error) => {
                tracing::warn!(%error, "the kernel gives no notice of file changes; looking every two seconds");
                let config =
                    notify::Config::default().with_poll_interval(POLL_EVERY).with_compare_contents(true);
                Box::new(PollWatcher::new(notice, config).ok()?)
            }
        };
        for folder in &folders {
            if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                tracing::warn!(folder = %folder.display(), %error, "changes of files in this folder go unnoticed; SIGHUP still reloads");
            }
        }
        Some(Self { changes, is_unsettled: false, _watcher: watcher })
    }

    /// Returns after a change has settled; never, if the watcher is gone. Nothing is lost when it is dropped before that.
    pub(super) async fn changed(&mut self) {
        if !self.is_unsettled {
            if self.changes.recv().await.is_none() {
                std::future::pending::<()>().await;
            }
            self.is_unsettled = true;
        }
        tokio::time::sleep(SETTLE).await;
        while self.changes.try_recv().is_ok() {}
        self.is_unsettled = false;
    }
}
