//! The policies that serving systems use or that were published, as controllers of a deployment: what Penstock is measured against.
//!
//! | policy | file | source |
//! |---|---|---|
//! | unbatched at 1,769 MiB, at 3,008, at its best size | [`mod@static_plans`] | common practice |
//! | KServe-style | [`mod@static_plans`] | KServe's inference batcher |
//! | Triton-style | [`mod@static_plans`] | Triton's dynamic batcher |
//! | BATCH | [`batch`] | Ali et al., SC 2020 |
//! | MBS-style | [`mbs`] | Ali et al., VLDB 2022 |
//! | HarmonyBatch, one application on CPU functions | [`harmony_batch`] | Chen et al., IWQoS 2024 |
//! | black box with change-points | production tuner, `PolicyKind::BlackBox` | Cai et al., 2023 |
//! | Penstock | production tuner, `PolicyKind::GreyBox` | |
//!
//! Each is given what its publication measures beforehand, without error: the true service law ([`Known`](crate::bounds::Known)). What it has
//! to see first are arrivals. All choose among the same published memory sizes, and warm environments before a plan serves as the production
//! control loop does.
//!
//! Deliberately absent: GPUs, several buffers by request size (one size class reduces MBS to one buffer), groups of applications.

pub mod batch;
pub mod harmony_batch;
pub mod mbs;
pub mod mmpp;
mod periodic;
pub mod static_plans;
mod timed_batches;

pub use periodic::{Chosen, Periodic, Planner};
pub use static_plans::{StaticPlan, best_unbatched, kserve, triton};
pub use timed_batches::{TimedBatches, TimedPlan};
