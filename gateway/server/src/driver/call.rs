//! One no-op invocation that the engine asked for: it starts an environment beside batches that wait, or keeps an idle one. Runs in its own task.

use std::sync::Arc;

use gateway_contract::PriceTable;
use gateway_invoker::{InvocationReply, InvokeError, WarmUp};
use gateway_policy::{CallPurpose, EnvironmentCall};

use super::{Invoke, ModelRuntime};

/// A call to make.
pub(super) struct CallJob {
    pub(super) call: EnvironmentCall,
    pub(super) model: Arc<ModelRuntime>,
    pub(super) prices: Arc<PriceTable>,
}

/// A call that is back.
pub(super) struct CallDone {
    pub(super) call: EnvironmentCall,
    pub(super) model: Arc<ModelRuntime>,
    /// Whether an environment has answered it.
    pub(super) ran: bool,
    /// Dollars of it.
    pub(super) cost_usd: f64,
}

impl CallJob {
    /// Makes it. Never fails: what did not answer has started nothing that could be relied on.
    pub(super) async fn run<S: Invoke>(self, invoker: S) -> CallDone {
        let Self { call, model, prices } = self;
        let served = (&*model.manifest.name, &*model.manifest.version);
        let mut warm_up =
            WarmUp::new(model.function.clone(), call.qualifier.clone(), served, call.process_count);
        warm_up.header.batch = call.call.0;
        let result = tokio::time::timeout(WarmUp::LIMIT, warm_up.run(&invoker, 1))
            .await
            .ok()
            .and_then(|mut all| all.pop());
        let (ran, metering) = match &result {
            Some(Ok(InvocationReply { metering, .. })) => (true, Some(metering)),
            Some(Err(error)) => (false, InvokeError::metering(error)),
            None => (false, None),
        };
        let cost_usd = metering.map_or(0.0, |metering| {
            let memory = metering.memory.unwrap_or(call.memory_mib);
            prices.invocation_usd(model.architecture, memory, metering.billed)
        });
        model.metrics.called(call_label(call.purpose), if ran { "ok" } else { "unclear" }, cost_usd);
        CallDone { call, model, ran, cost_usd }
    }
}

const fn call_label(purpose: CallPurpose) -> &'static str {
    match purpose {
        CallPurpose::Start => "start",
        CallPurpose::Keep => "keep",
    }
}
