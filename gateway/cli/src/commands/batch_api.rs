//! Bulk jobs inside `penstock serve`: what their routes ask of the gateway, answered by `gateway-server`.
//!
//! Deliberately absent: any rule. What jobs may have beside live traffic is decided in `gateway-policy`, and how they are run in `gateway-bulk`.

use std::sync::Arc;
use std::time::Duration;

use gateway_bulk::estimate::{InputSketch, PlanBounds, learned_chunk_items};
use gateway_bulk::routes::{
    BodyCodec, BodyFault, BodyRequest, Endpoint, Gate, Gateway, JobProgress, JobTelemetry, NotServed,
    RouteSettings, Target, start,
};
use gateway_bulk::{AnsweredTensor, ChunkPlan, JobState, LineTensor, OperatingPoint, Store};
use gateway_invoker::LambdaInvoker;
use gateway_policy::share::{Share, ShareSettings};
use gateway_server::config::BulkConfig;
use gateway_server::http::HttpConfig;
use gateway_server::http::lines::{self, LineError, LineRequest};
use gateway_server::http::openai::Embedder;
use gateway_server::inference::OutputTensor;
use gateway_server::lifecycle::{Extension, ExtensionError, Host};
use gateway_server::registry::ServedModel;
use gateway_server::telemetry::JobMetrics;

/// How often live traffic is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Longest that a job's chunk may take: so long may live traffic wait for its place, and a cancel for its effect.
const LONGEST_CHUNK: Duration = Duration::from_secs(30);
/// Longest silence while a file is being sent.
const UPLOAD_PATIENCE: Duration = Duration::from_secs(30);

/// Opens the store, takes up what an earlier process left, and gives the routes; nothing without `bulk.directory`.
pub(crate) async fn extend(host: Host, invoker: LambdaInvoker) -> Result<Extension, ExtensionError> {
    let settings = host.settings();
    let Some((config, directory)) =
        settings.bulk.as_ref().and_then(|bulk| Some((bulk, bulk.directory.clone()?)))
    else {
        return Ok(Extension::default());
    };
    let store = match &config.database_url {
        Some(url) => Store::open(url).await,
        None => Store::open_directory(&directory).await,
    };
    let store = store?;
    let gate = Gate::new(ShareSettings {
        capacity: host.concurrency(),
        weight: config.weight,
        max_parallelism: config.max_parallelism,
        ..ShareSettings::default()
    });
    let routes = RouteSettings {
        directory,
        max_jobs: config.max_jobs,
        max_parallelism: config.max_parallelism,
        max_file_bytes: config.max_file_bytes,
        max_stored_bytes: config.max_stored_bytes,
        file_retention: Duration::from_secs(u64::from(config.file_retention_hours) * 3600),
        upload_patience: UPLOAD_PATIENCE,
        lease: settings.lease,
    };
    let gateway = Arc::new(Served {
        metrics: Metrics(JobMetrics::new(host.catalogue().clone())),
        config: config.clone(),
        host: host.clone(),
    });
    let watching = tokio::spawn(watch(host, gate.clone()));
    let (routes, service) = start(store, routes, gateway, gate, invoker).await?;
    let admin_routes = service.operator_routes();
    let stop = Box::pin(async move {
        service.stop().await;
        watching.abort();
    });
    Ok(Extension { routes, admin_routes, stop })
}

/// Tells the gate of live traffic.
async fn watch(host: Host, gate: Gate) {
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        if let Some(live) = host.live_load().await {
            gate.live(&live);
        }
        gate.set_capacity(host.concurrency());
    }
}

/// The gateway as jobs see it.
struct Served {
    host: Host,
    config: BulkConfig,
    metrics: Metrics,
}

impl Gateway for Served {
    fn target(&self, endpoint: &Endpoint, name: &str) -> Result<Target, NotServed> {
        let (model, configured) = self.host.model(name).ok_or_else(|| NotServed::Unknown(name.to_owned()))?;
        if *endpoint == Endpoint::Embeddings && Embedder::of(&model.manifest).is_none() {
            return Err(NotServed::Unfit(format!(
                "model `{name}` does not embed: it would need one text input and one output, a vector of floats"
            )));
        }
        let plan = &model.plan;
        let largest =
            plan.rungs.last().ok_or_else(|| NotServed::Unfit(format!("model `{name}` has no plan")))?;
        let chunk_items = match self.config.chunk_items {
            0 => plan.max_batch_size,
            items => items,
        };
        let codec: Arc<dyn BodyCodec> = Arc::new(Bodies {
            endpoint: endpoint.clone(),
            http: self.host.http().clone(),
            model: model.clone(),
        });
        Ok(Target {
            point: OperatingPoint {
                function: configured.function,
                qualifier: largest.qualifier.clone(),
                memory_mib: largest.memory_mib.0,
                process_count: largest.process_count,
            },
            chunk: ChunkPlan {
                max_items: chunk_items.max(1),
                max_request_bytes: plan.max_request_payload_bytes,
            },
            architecture: configured.architecture,
            prices: Arc::new(self.host.settings().prices.clone()),
            manifest: Arc::new(model.manifest.clone()),
            codec,
        })
    }

    fn chunk_items(&self, name: &str, target: &Target, sketch: &InputSketch) -> Option<u32> {
        if self.config.chunk_items != 0 {
            return None;
        }
        let state = self.host.learned(name)?;
        let bounds = PlanBounds {
            memory_mib: Vec::new(),
            process_count: None,
            chunk_items: None,
            parallelism: self.config.max_parallelism,
            longest_chunk: LONGEST_CHUNK.min(self.host.settings().invoker.invoke_timeout / 2),
        };
        let (point, manifest) = (&target.point, &target.manifest);
        learned_chunk_items(&state, sketch, point, &bounds, manifest, &target.prices, target.architecture)
    }

    fn telemetry(&self) -> &dyn JobTelemetry {
        &self.metrics
    }
}

/// Bodies as the live routes read and write them.
struct Bodies {
    endpoint: Endpoint,
    http: Arc<HttpConfig>,
    model: Arc<ServedModel>,
}

impl BodyCodec for Bodies {
    fn read(&self, body: &[u8]) -> Result<BodyRequest, BodyFault> {
        let read = match self.endpoint {
            Endpoint::Embeddings => lines::read_embeddings(body, &self.model, &self.http),
            Endpoint::Infer { .. } => lines::read_infer(body, &self.model, &self.http),
        };
        let LineRequest { items, inputs, form } = read.map_err(fault)?;
        let tensor = |input: gateway_server::inference::InputTensor| LineTensor {
            item_shape: input.item_shape.to_vec(),
            data: input.data,
            item_ends: input.item_ends,
        };
        Ok(BodyRequest { items, inputs: inputs.into_iter().map(tensor).collect(), form })
    }

    fn write(&self, form: &[u8], outputs: &[AnsweredTensor], items: u32) -> Result<Vec<u8>, BodyFault> {
        let tensor = |output: &AnsweredTensor| OutputTensor {
            datatype: output.datatype,
            item_shape: output.item_shape.iter().copied().collect(),
            data: output.data.clone(),
        };
        let mut outputs: Vec<OutputTensor> = outputs.iter().map(tensor).collect();
        let written = match self.endpoint {
            Endpoint::Infer { .. } => lines::write_infer(&self.model, form, outputs, items),
            Endpoint::Embeddings => match outputs.pop() {
                Some(output) => lines::write_embeddings_body(&self.model, form, &output, items),
                None => {
                    let message = "the answer lacks an output".to_owned();
                    return Err(BodyFault { code: "internal", message });
                }
            },
        };
        written.map_err(fault)
    }
}

fn fault(error: LineError) -> BodyFault {
    BodyFault { code: error.code, message: error.message }
}

/// Jobs as the catalogue counts them.
struct Metrics(JobMetrics);

impl JobTelemetry for Metrics {
    fn jobs(&self, state: JobState, count: usize) {
        self.0.active(state.name(), count);
    }

    fn progressed(&self, model: &str, progress: &JobProgress) {
        let JobProgress { completed, failed, items, usd, billed, gb_seconds, invocations, throttled } =
            *progress;
        self.0.lines(model, completed, failed, items);
        self.0.billed(model, invocations, usd, billed, gb_seconds);
        self.0.throttled(model, throttled);
    }

    fn ended(&self, model: &str, state: JobState, age: Duration) {
        self.0.ended(model, state.name(), age);
    }

    fn cancelled(&self, phase: JobState) {
        self.0.cancelled(phase.name());
    }

    fn share(&self, share: Share, in_flight: u32) {
        self.0.share(share, in_flight);
    }
}
