//! The sandboxes of one version: which one is used next, which are ended, which exist. The most recently used one is used
//! first, so that the others can age. Starting and running is the executor's work.

use crate::ledger::Account;
use crate::sandbox::{Sandbox, SandboxState};
use crate::sync::lock;
use crate::versions::FunctionVersion;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The sandboxes of one version.
pub(crate) struct Fleet {
    pub(crate) version: FunctionVersion,
    pub(crate) account: Arc<Account>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    retired: bool,
    idle: Vec<(Arc<Sandbox>, Instant)>,
    all: BTreeMap<u64, Arc<Sandbox>>,
}

impl Fleet {
    /// A fleet without sandboxes.
    pub(crate) fn new(version: FunctionVersion, account: Arc<Account>) -> Arc<Self> {
        Arc::new(Self { version, account, state: Mutex::default() })
    }

    /// The idle sandbox that was used last.
    pub(crate) fn take_idle(&self) -> Option<Arc<Sandbox>> {
        lock(&self.state).idle.pop().map(|(sandbox, _)| sandbox)
    }

    /// Adds a sandbox that was just started. False when the fleet is retired: the caller ends it after its invocation.
    pub(crate) fn add(&self, sandbox: &Arc<Sandbox>) {
        lock(&self.state).all.insert(sandbox.id, Arc::clone(sandbox));
    }

    /// Puts a sandbox back after its invocation.
    pub(crate) fn give_back(&self, sandbox: Arc<Sandbox>) {
        let mut state = lock(&self.state);
        if state.retired {
            drop(state);
            sandbox.kill();
            return;
        }
        if state.all.contains_key(&sandbox.id) && sandbox.state() != SandboxState::Dead {
            state.idle.push((sandbox, Instant::now()));
        }
    }

    /// Forgets a sandbox that has ended.
    pub(crate) fn forget(&self, id: u64) {
        let mut state = lock(&self.state);
        state.all.remove(&id);
        state.idle.retain(|(sandbox, _)| sandbox.id != id);
    }

    /// Ends sandboxes that have been idle for `keep_alive`.
    pub(crate) fn reap(&self, keep_alive: Duration, now: Instant) {
        let expired: Vec<_> = {
            let mut state = lock(&self.state);
            let is_expired = |since: Instant| now.saturating_duration_since(since) >= keep_alive;
            state.idle.extract_if(.., |(_, since)| is_expired(*since)).collect()
        };
        for (sandbox, _) in expired {
            sandbox.kill();
        }
    }

    /// Ends idle sandboxes now and busy ones after their invocation.
    pub(crate) fn retire(&self) {
        let idle = {
            let mut state = lock(&self.state);
            state.retired = true;
            std::mem::take(&mut state.idle)
        };
        for (sandbox, _) in idle {
            sandbox.kill();
        }
    }

    /// Ends all sandboxes at once.
    pub(crate) fn kill_all(&self) {
        let all: Vec<_> = {
            let mut state = lock(&self.state);
            state.retired = true;
            state.idle.clear();
            state.all.values().cloned().collect()
        };
        for sandbox in all {
            sandbox.kill();
        }
    }

    /// All sandboxes with what they do.
    pub(crate) fn sandboxes(&self) -> Vec<(Arc<Sandbox>, SandboxState)> {
        let all: Vec<_> = lock(&self.state).all.values().cloned().collect();
        all.into_iter().map(|sandbox| (Arc::clone(&sandbox), sandbox.state())).collect()
    }
}
