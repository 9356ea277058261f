//! Traces: which requests and batches are recorded, their spans, and their way to an OTLP collector.
//!
//! The engine knows nothing of this. A request carries a [`RequestTrace`]; the shell builds spans from what it knows anyway when a request or batch
//! is over, and hands them to a bounded queue. The worker reports when what ran in its answer, so that it needs neither exporter nor network.
//! Deliberately absent: anything on the way of a request that waits, and payloads in spans.

mod batch;
mod context;
mod export;
mod otlp;
mod request;
mod span;
mod tracer;
mod worker;

pub(crate) use batch::{BatchEnd, BatchTrace, Rider, WorkerTold};
pub use context::{SpanId, TraceContext, TraceId};
pub use export::{TraceError, TraceExporter, TraceSettings};
pub use request::{RequestEnd, RequestTrace};
pub use tracer::Tracer;
