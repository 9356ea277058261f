//! What a plan needs to know of the model's function, behind one trait.

use gateway_contract::Mebibytes;

use crate::service::belief::{Predicted, RungPoint};

/// Work of one chunk.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Work {
    /// Items, at least 1.
    pub items: u32,
    /// Mean work units of an item; `None`: the usual.
    pub units_per_item: Option<f64>,
}

/// Service time, cold start and memory of a model's function.
pub trait ServiceKnowledge {
    /// Handler's seconds of one warm chunk.
    fn service(&self, point: RungPoint, work: Work) -> Predicted;

    /// Seconds of INIT: waited for and billed.
    fn init_s(&self, memory: Mebibytes) -> f64;

    /// Whether so many processes fit into the memory.
    fn fits(&self, point: RungPoint) -> bool;

    /// Seconds billed beyond the handler.
    fn billing_extra_s(&self) -> f64;

    /// Seconds of the caller's round trip beyond the handler, mean.
    fn overhead_s(&self) -> f64;
}
