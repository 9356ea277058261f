//! Counters of what ran and what it cost, per version and memory size. They outlive the versions: a bill does not shrink.

use crate::billing::{Architecture, MIB_MS_PER_GB_SECOND, PriceTable};
use crate::sync::lock;
use crate::versions::FunctionVersion;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// The counters of one fleet.
#[derive(Debug)]
pub(crate) struct Account {
    function: String,
    version: String,
    memory_mib: u32,
    architecture: Architecture,
    invocations: AtomicU64,
    function_errors: AtomicU64,
    cold_starts: AtomicU64,
    throttles: AtomicU64,
    billed_ms: AtomicU64,
}

impl Account {
    /// Counts one execution.
    pub(crate) fn executed(&self, billed_ms: u64, was_cold: bool, failed: bool) {
        self.invocations.fetch_add(1, Ordering::Relaxed);
        self.billed_ms.fetch_add(billed_ms, Ordering::Relaxed);
        self.cold_starts.fetch_add(u64::from(was_cold), Ordering::Relaxed);
        self.function_errors.fetch_add(u64::from(failed), Ordering::Relaxed);
    }

    /// Counts one request that was not admitted.
    pub(crate) fn throttled(&self) {
        self.throttles.fetch_add(1, Ordering::Relaxed);
    }
}

/// All accounts.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    accounts: Mutex<Vec<Arc<Account>>>,
}

/// One line of the bill.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct BillRow {
    function: String,
    version: String,
    memory_mib: u32,
    architecture: Architecture,
    invocations: u64,
    function_errors: u64,
    cold_starts: u64,
    throttles: u64,
    billed_ms: u64,
    gb_seconds: f64,
    /// At the first tier's price; the totals apply the tiers.
    duration_usd: f64,
    requests_usd: f64,
}

/// The bill since the emulator started.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Bill {
    rows: Vec<BillRow>,
    invocations: u64,
    function_errors: u64,
    cold_starts: u64,
    throttles: u64,
    gb_seconds: f64,
    duration_usd: f64,
    requests_usd: f64,
    total_usd: f64,
    usd_per_million_invocations: Option<f64>,
}

impl Ledger {
    /// Opens an account for `version`.
    pub(crate) fn open(&self, version: &FunctionVersion) -> Arc<Account> {
        let account = Arc::new(Account {
            function: version.name.clone(),
            version: version.version.clone(),
            memory_mib: version.memory_mib,
            architecture: version.architecture,
            invocations: AtomicU64::new(0),
            function_errors: AtomicU64::new(0),
            cold_starts: AtomicU64::new(0),
            throttles: AtomicU64::new(0),
            billed_ms: AtomicU64::new(0),
        });
        lock(&self.accounts).push(Arc::clone(&account));
        account
    }

    /// The bill at `prices`.
    pub(crate) fn bill(&self, prices: &PriceTable) -> Bill {
        let accounts = lock(&self.accounts).clone();
        let rows: Vec<BillRow> =
            accounts.iter().map(|account| row(account, prices)).filter(BillRow::is_used).collect();
        let mut use_by_architecture = BTreeMap::new();
        for row in &rows {
            *use_by_architecture.entry(row.architecture).or_insert(0_u128) +=
                u128::from(row.memory_mib) * u128::from(row.billed_ms);
        }
        let sum = |of: fn(&BillRow) -> u64| rows.iter().map(of).sum::<u64>();
        let invocations = sum(|row| row.invocations);
        let duration_usd =
            use_by_architecture.iter().map(|(of, mib_ms)| prices.duration_usd(*of, *mib_ms)).sum::<f64>();
        let requests_usd = prices.requests_usd(invocations);
        let total_usd = duration_usd + requests_usd;
        Bill {
            invocations,
            function_errors: sum(|row| row.function_errors),
            cold_starts: sum(|row| row.cold_starts),
            throttles: sum(|row| row.throttles),
            gb_seconds: use_by_architecture.values().map(|mib_ms| gb_seconds(*mib_ms)).sum(),
            duration_usd,
            requests_usd,
            total_usd,
            usd_per_million_invocations: (invocations > 0).then(|| total_usd / invocations as f64 * 1e6),
            rows,
        }
    }
}

impl BillRow {
    fn is_used(&self) -> bool {
        self.invocations > 0 || self.throttles > 0
    }
}

fn row(account: &Account, prices: &PriceTable) -> BillRow {
    let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let mib_ms = u128::from(account.memory_mib) * u128::from(of(&account.billed_ms));
    BillRow {
        function: account.function.clone(),
        version: account.version.clone(),
        memory_mib: account.memory_mib,
        architecture: account.architecture,
        invocations: of(&account.invocations),
        function_errors: of(&account.function_errors),
        cold_starts: of(&account.cold_starts),
        throttles: of(&account.throttles),
        billed_ms: of(&account.billed_ms),
        gb_seconds: gb_seconds(mib_ms),
        duration_usd: prices.duration_usd(account.architecture, mib_ms),
        requests_usd: prices.requests_usd(of(&account.invocations)),
    }
}

fn gb_seconds(mib_ms: u128) -> f64 {
    mib_ms as f64 / MIB_MS_PER_GB_SECOND as f64
}
