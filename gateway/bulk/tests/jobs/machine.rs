//! A state machine in this process: takes the chunks of a manifest as the deployed one does, by the same input, and obeys the same rules of tolerance.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gateway_bulk::{ExecutionFuture, Executions};
use gateway_invoker::{Execution, Invocation, Status};
use tower::Service;

use crate::support::Function;

/// Runs chunks with a scripted function.
#[derive(Clone)]
pub(crate) struct Machine {
    function: Function,
    executions: Arc<Mutex<BTreeMap<String, Status>>>,
    pub(crate) starts: Arc<AtomicUsize>,
    /// Chunks that were skipped, as their answer was there.
    pub(crate) skipped: Arc<AtomicUsize>,
    /// How it ends instead of well, from the next execution on.
    pub(crate) ends_with: Arc<Mutex<Option<(&'static str, usize)>>>,
    /// Waits before each chunk while this holds.
    pub(crate) is_held: Arc<AtomicBool>,
}

impl Machine {
    pub(crate) fn new(function: &Function) -> Self {
        Self {
            function: function.clone(),
            executions: Arc::default(),
            starts: Arc::default(),
            skipped: Arc::default(),
            ends_with: Arc::default(),
            is_held: Arc::default(),
        }
    }

    pub(crate) fn starts(&self) -> usize {
        self.starts.load(Ordering::SeqCst)
    }

    pub(crate) fn status(&self, name: &str) -> Option<Status> {
        self.executions.lock().unwrap().get(name).cloned()
    }

    fn is_running(&self, name: &str) -> bool {
        self.status(name) == Some(Status::Running)
    }

    async fn execute(self, name: String, input: serde_json::Value) {
        let manifest = format!("/{}", input["manifest"].as_str().unwrap());
        let entries: Vec<BTreeMap<String, String>> =
            serde_json::from_slice(&std::fs::read(manifest).unwrap()).unwrap();
        let ends_with = *self.ends_with.lock().unwrap();
        let mut failures = 0;
        for (n, entry) in entries.iter().enumerate() {
            while self.is_held.load(Ordering::SeqCst) && self.is_running(&name) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            if let Some((error, after)) = ends_with
                && n == after
            {
                return self.end(&name, error);
            }
            if !self.is_running(&name) {
                return;
            }
            let path = |kind: &str| PathBuf::from(entry[kind].strip_prefix("file://").unwrap());
            if path("answer").exists() {
                self.skipped.fetch_add(1, Ordering::SeqCst);
                continue;
            }
            let invocation = Invocation {
                function: input["function"].as_str().unwrap().into(),
                qualifier: "".into(),
                payload: std::fs::read(path("request")).unwrap(),
            };
            match self.function.clone().call(invocation).await {
                Ok(reply) => write(&path("answer"), &reply.payload),
                Err(_) => failures += 1,
            }
        }
        let tolerated = input["tolerated_failure_percentage"].as_u64().unwrap();
        if failures * 100 > tolerated * entries.len() as u64 {
            return self.end(&name, "States.ExceedToleratedFailureThreshold");
        }
        self.executions.lock().unwrap().insert(name, Status::Succeeded);
    }

    fn end(&self, name: &str, error: &str) {
        let ended = Status::Ended { error: error.to_owned(), cause: "as scripted".to_owned() };
        self.executions.lock().unwrap().insert(name.to_owned(), ended);
    }
}

fn write(path: &Path, data: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, data).unwrap();
}

impl Executions for Machine {
    fn start<'a>(&'a self, name: &'a str, input: &'a str) -> ExecutionFuture<'a, ()> {
        Box::pin(async move {
            let is_new = self.executions.lock().unwrap().insert(name.to_owned(), Status::Running).is_none();
            assert!(is_new, "`{name}` was started twice");
            self.starts.fetch_add(1, Ordering::SeqCst);
            let input = serde_json::from_str(input).unwrap();
            tokio::spawn(self.clone().execute(name.to_owned(), input));
            Ok(())
        })
    }

    fn look<'a>(&'a self, name: &'a str) -> ExecutionFuture<'a, Option<Execution>> {
        Box::pin(async move { Ok(self.status(name).map(|status| Execution { status, items: Some((0, 0)) })) })
    }

    fn stop<'a>(&'a self, name: &'a str, _: &'a str) -> ExecutionFuture<'a, ()> {
        Box::pin(async move {
            if self.is_running(name) {
                self.end(name, "Stopped");
            }
            Ok(())
        })
    }
}
