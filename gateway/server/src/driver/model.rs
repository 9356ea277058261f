//! What the driver knows of each model, as an immutable snapshot that a reload replaces.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use gateway_contract::{Architecture, ModelId, PriceTable, ServingPlan};
use workers_protocol::{LAMBDA_PAYLOAD_LIMIT_BYTES, ModelManifest, WorkUnit, encoded_item_len};

use crate::inference::InputTensor;
use crate::statistics::ModelStatistics;
use crate::telemetry::ModelMetrics;

/// One model while it is served.
#[derive(Debug)]
pub struct ModelRuntime {
    /// Its id in the engine.
    pub id: ModelId,
    /// Its name in URLs.
    pub name: String,
    /// Function name or ARN.
    pub function: Arc<str>,
    /// For prices.
    pub architecture: Architecture,
    /// What its `model.toml` says.
    pub manifest: ModelManifest,
    /// Its plan.
    pub plan: ServingPlan,
    /// Deadline of requests that name none; `None`: they wait for ever.
    pub default_timeout: Option<Duration>,
    /// Counters behind the statistics extension.
    pub statistics: Arc<ModelStatistics>,
    /// Its metrics.
    pub metrics: ModelMetrics,
    /// Largest encoded answer per item seen or known, bytes.
    pub response_item_bytes: Arc<ResponseEstimate>,
}

/// All served models.
#[derive(Debug, Default)]
pub struct ModelSet {
    /// By id.
    pub models: BTreeMap<ModelId, Arc<ModelRuntime>>,
    /// Prices in force.
    pub prices: Arc<PriceTable>,
}

/// What is assumed of an answer whose size the manifest does not say, before one was seen.
const UNKNOWN_RESPONSE_ITEM_BYTES: u32 = 1024;

/// Encoded bytes of one item's answer: exact where the manifest fixes the shapes, else learned from answers (largest seen).
#[derive(Debug)]
pub struct ResponseEstimate(AtomicU32);

impl ResponseEstimate {
    /// Starts from what the manifest says.
    #[must_use]
    pub fn new(manifest: &ModelManifest) -> Self {
        let fixed: Option<usize> = manifest
            .outputs
            .iter()
            .map(|output| {
                let size = output.datatype.element_bytes()?;
                output
                    .shape
                    .iter()
                    .try_fold(size, |bytes, &dim| bytes.checked_mul(usize::try_from(dim).ok()?))
            })
            .sum();
        let rank = manifest.outputs.iter().map(|output| output.shape.len()).max().unwrap_or(0);
        let bytes = fixed.map_or(UNKNOWN_RESPONSE_ITEM_BYTES, |raw| {
            u32::try_from(encoded_item_len(raw, manifest.outputs.len(), rank)).unwrap_or(u32::MAX)
        });
        Self(AtomicU32::new(bytes))
    }

    /// Bytes per item to plan with.
    #[must_use]
    pub fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// An answer of `bytes` for `items` items came.
    pub fn observe(&self, bytes: usize, items: u32) {
        let each = u32::try_from(bytes / items.max(1) as usize).unwrap_or(u32::MAX);
        self.0.fetch_max(each, Ordering::Relaxed);
    }

    /// An answer for `items` items did not fit: each is at least this large on the average.
    pub fn observe_too_large(&self, items: u32) {
        self.observe(LAMBDA_PAYLOAD_LIMIT_BYTES, items);
    }
}

impl ModelRuntime {
    /// Encoded bytes of each item of a request.
    #[must_use]
    pub fn item_bytes(&self, inputs: &[InputTensor], items: u32) -> gateway_policy::ItemBytes {
        let rank = inputs.iter().map(|input| input.item_shape.len()).max().unwrap_or(0);
        let encoded =
            |raw: usize| u32::try_from(encoded_item_len(raw, inputs.len(), rank)).unwrap_or(u32::MAX);
        if items == 1 || inputs.iter().all(|input| input.item_ends.is_none()) {
            let raw: usize =
                inputs.iter().map(|input| input.data.len()).sum::<usize>() / items.max(1) as usize;
            return gateway_policy::ItemBytes::Uniform(encoded(raw));
        }
        let each = (0..items)
            .map(|item| encoded(inputs.iter().map(|input| input.item_range(item, items).len()).sum()));
        gateway_policy::ItemBytes::Each(each.collect())
    }

    /// Length class of a request: items whose cost does not follow their size are all of one class; others are binned by
    /// the binary logarithm of their bytes, so that a class spans a factor of two.
    #[must_use]
    pub fn class(&self, inputs: &[InputTensor], items: u32) -> u16 {
        match self.manifest.work.unit {
            WorkUnit::Items => 0,
            WorkUnit::Tokens | WorkUnit::Bytes => {
                let raw: usize = inputs.iter().map(|input| input.data.len()).sum();
                let each = u32::try_from(raw / items.max(1) as usize).unwrap_or(u32::MAX);
                u16::try_from(each.checked_ilog2().unwrap_or(0)).unwrap_or(0)
            }
        }
    }
}
