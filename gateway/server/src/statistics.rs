//! Counters behind the statistics extension, one set a model. Relaxed atomics: each is a sum, no two need to agree.
//!
//! A front end moves `success`, `fail`, `queue` and the three `compute_*`, once a request, from the receipt and its own clock; the driver
//! moves only what [`ModelStatistics::record_execution`] moves, once an invocation.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A count and the nanoseconds that belong to it.
#[derive(Debug, Default)]
pub struct CountAndTime {
    count: AtomicU64,
    nanos: AtomicU64,
}

impl CountAndTime {
    /// Adds `count` occurrences that took `time` together.
    pub fn add(&self, count: u64, time: Duration) {
        self.count.fetch_add(count, Ordering::Relaxed);
        self.nanos.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Count and nanoseconds so far.
    #[must_use]
    pub fn get(&self) -> (u64, u64) {
        (self.count.load(Ordering::Relaxed), self.nanos.load(Ordering::Relaxed))
    }
}

/// Counters of one model. Source of the names: Triton's statistics extension.
#[derive(Debug, Default)]
pub struct ModelStatistics {
    /// Successful requests, arrival to answer.
    pub success: CountAndTime,
    /// Failed requests, arrival to answer.
    pub fail: CountAndTime,
    /// Requests' wait in the queue.
    pub queue: CountAndTime,
    /// Requests' decoding and packing.
    pub compute_input: CountAndTime,
    /// Requests' time in invocations.
    pub compute_infer: CountAndTime,
    /// Requests' scattering and encoding.
    pub compute_output: CountAndTime,
    /// Items answered.
    pub inference_count: AtomicU64,
    /// Invocations that answered.
    pub execution_count: AtomicU64,
    last_inference_unix_ms: AtomicU64,
    batches: Mutex<BTreeMap<u32, CountAndTime>>,
}

impl ModelStatistics {
    /// Counts an invocation of `items` items that took `time`.
    pub fn record_execution(&self, items: u32, time: Duration) {
        self.execution_count.fetch_add(1, Ordering::Relaxed);
        self.inference_count.fetch_add(u64::from(items), Ordering::Relaxed);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        self.last_inference_unix_ms.store(u64::try_from(now).unwrap_or(u64::MAX), Ordering::Relaxed);
        let mut batches = self.batches.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        batches.entry(items).or_default().add(1, time);
    }

    /// Milliseconds since 1970 of the last answer; 0 if none.
    #[must_use]
    pub fn last_inference_unix_ms(&self) -> u64 {
        self.last_inference_unix_ms.load(Ordering::Relaxed)
    }

    /// Invocations by batch size, ascending: `(items, count, nanoseconds)`.
    #[must_use]
    pub fn batches(&self) -> Vec<(u32, u64, u64)> {
        let batches = self.batches.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        batches
            .iter()
            .map(|(&items, time)| {
                let (count, nanos) = time.get();
                (items, count, nanos)
            })
            .collect()
    }
}
