//! Where and how a job runs: what was asked for, what is chosen from a profile or to be learned from the first chunks, and the configured plan for the
//! rest.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use gateway_bulk::ModelManifest;
use gateway_bulk::estimate::{BulkCut, BulkPlan, InputSketch, PlanBounds, Wish, plan, predict, read_profile};
use gateway_bulk::{ChunkPlan, Learn, OperatingPoint};
use gateway_contract::PriceTable;
use gateway_invoker::provision::alias_name;
use gateway_server::config::{Loaded, ModelSettings};
use simulator::report::number::{dollars, duration};

use super::arguments::RunArguments;

/// Part of the invoker's time-out that a chunk may take: what is above it may be cut off.
const CHUNK_SHARE: f64 = 0.5;

/// How a job is run.
pub(super) struct Chosen {
    pub(super) point: OperatingPoint,
    pub(super) chunk: ChunkPlan,
    pub(super) parallelism: u32,
    /// What is still to be chosen, from what the job's own first chunks teach.
    pub(super) learn: Option<Learn>,
    /// What it is predicted to take, if a profile says.
    pub(super) predicted: Option<BulkPlan>,
    /// The best of another memory size or process count.
    pub(super) runner_up: Option<BulkPlan>,
}

/// Chooses.
pub(super) fn choose(
    arguments: &RunArguments,
    loaded: &Loaded,
    model: &ModelSettings,
    manifest: &Arc<ModelManifest>,
    sketch: Option<&InputSketch>,
) -> Result<Chosen> {
    let largest = model.plan.rungs.last().context("the model's plan has no rung")?;
    let mut point = OperatingPoint {
        function: model.function.clone(),
        qualifier: largest.qualifier.clone(),
        memory_mib: largest.memory_mib.0,
        process_count: arguments.processes.unwrap_or(largest.process_count),
    };
    if let Some(&memory) = arguments.memory.first() {
        point.memory_mib = memory;
        point.qualifier = alias_name(gateway_contract::Mebibytes(memory));
    }
    let mut max_items = arguments.chunk_items.unwrap_or(model.plan.max_batch_size);
    let mut parallelism = arguments.parallelism.unwrap_or(model.plan.max_in_flight);
    let (mut predicted, mut runner_up, mut learn) = (None, None, None);
    let is_given =
        arguments.chunk_items.is_some() && arguments.processes.is_some() && arguments.parallelism.is_some();
    let bounds = bounds(arguments, loaded, point.memory_mib, model);
    if let Some(path) = &arguments.profile {
        let sketch = sketch.context("a plan needs a look at the input")?;
        let text = std::fs::read_to_string(path).with_context(|| format!("profile `{}`", path.display()))?;
        let profile = read_profile(&text).with_context(|| format!("profile `{}`", path.display()))?;
        let prices: &PriceTable = &loaded.settings.prices;
        if is_given {
            let cut = BulkCut {
                chunk_items: max_items,
                process_count: point.process_count,
                memory_mib: gateway_contract::Mebibytes(point.memory_mib),
                parallelism,
            };
            let plan = predict(&profile, sketch, cut, &bounds, manifest, prices, model.architecture)?;
            predicted = Some(plan);
        } else {
            let wish = Wish { finish_within: arguments.finish_within, max_usd: arguments.max_usd };
            let choice = plan(&profile, sketch, wish, &bounds, manifest, prices, model.architecture)?;
            let cut = choice.plan.cut;
            max_items = cut.chunk_items;
            parallelism = cut.parallelism;
            point.process_count = cut.process_count;
            if point.memory_mib != cut.memory_mib.0 || arguments.memory.len() > 1 {
                point.memory_mib = cut.memory_mib.0;
                point.qualifier = alias_name(cut.memory_mib);
            }
            (predicted, runner_up) = (Some(choice.plan), choice.runner_up);
        }
    } else if is_given && arguments.finish_within.is_some() {
        bail!(
            "with `--chunk-items`, `--processes` and `--parallelism` there is nothing left to choose for `--finish-within`"
        );
    } else if !is_given && (arguments.finish_within.is_some() || arguments.chunk_items.is_none()) {
        learn = Some(Learn { bounds, qualifier: arguments.qualifier.clone() });
    }
    if let Some(qualifier) = &arguments.qualifier {
        point.qualifier.clone_from(qualifier);
    }
    let chunk = ChunkPlan { max_items, max_request_bytes: model.plan.max_request_payload_bytes };
    Ok(Chosen { point, chunk, parallelism, learn, predicted, runner_up })
}

fn bounds(arguments: &RunArguments, loaded: &Loaded, memory_mib: u32, model: &ModelSettings) -> PlanBounds {
    let mut memory = if arguments.memory.is_empty() { vec![memory_mib] } else { arguments.memory.clone() };
    memory.sort_unstable();
    memory.dedup();
    PlanBounds {
        memory_mib: memory,
        process_count: arguments.processes,
        chunk_items: arguments.chunk_items,
        parallelism: arguments.parallelism.unwrap_or(model.plan.max_in_flight),
        longest_chunk: loaded
            .settings
            .invoker
            .invoke_timeout
            .mul_f64(CHUNK_SHARE)
            .min(Duration::from_secs(300)),
    }
}

impl Chosen {
    /// For people.
    pub(super) fn text(&self, sketch: &InputSketch) -> String {
        let about = if sketch.is_exact { "" } else { "about " };
        let mut text = format!(
            "input: {about}{} lines, {:.1} items a line, {:.0} bytes an item in a request\n\
             plan: chunks of {} items in {} processes of {} MiB (`{}`), {} at a time\n",
            sketch.lines,
            sketch.items_per_line,
            sketch.request_bytes_per_item,
            self.chunk.max_items,
            self.point.process_count,
            self.point.memory_mib,
            self.point.qualifier,
            self.parallelism
        );
        if sketch.faulty_share > 0.0 {
            text.push_str(&format!(
                "of the lines looked at, {:.1} % cannot be decoded\n",
                sketch.faulty_share * 100.0
            ));
        }
        match (&self.predicted, &self.learn) {
            (Some(plan), _) => text.push_str(&forecast("predicted", plan)),
            (None, Some(_)) => text.push_str(
                "that is the configured plan, until the job's own first chunks (at most a twentieth of it) have taught what the model takes: a run then \
                 says time and dollars, and the plan for the rest. Before anything is invoked only `--profile` can say them\n",
            ),
            (None, None) => text.push_str("no prediction: give `--profile` for time and dollars\n"),
        }
        if let Some(plan) = &self.runner_up {
            text.push_str(&forecast("runner-up", plan));
        }
        text
    }
}

fn forecast(label: &str, plan: &BulkPlan) -> String {
    let cut = plan.cut;
    format!(
        "{label}: {} ({} to {}) for {} ({} to {}, INIT {}), {} invocations on {} environments; {} items, {} processes, {} MiB\n",
        duration(plan.seconds.expected),
        duration(plan.seconds.low),
        duration(plan.seconds.high),
        dollars(plan.usd.expected),
        dollars(plan.usd.low),
        dollars(plan.usd.high),
        dollars(plan.init_usd),
        plan.invocations,
        plan.environments,
        cut.chunk_items,
        cut.process_count,
        cut.memory_mib.0
    )
}
