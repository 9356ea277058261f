//! What goes wrong, from one second to another: the fault script, and what of it holds now.
//!
//! Rule: a fault holds from its beginning to just before its end, for one model or for all. Several at once add up: factors multiply, and of
//! several shares each is drawn by itself. What a fault does to a batch is settled when the batch is dispatched.

use gateway_contract::{Mebibytes, ModelId};

use crate::lambda::ThrottleReason;

/// Something that goes wrong for a while.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fault {
    /// From, seconds.
    pub from_s: f64,
    /// To, seconds.
    pub to_s: f64,
    /// Whose; `None`: everybody's.
    pub model: Option<ModelId>,
    /// What.
    pub kind: FaultKind,
}

impl Fault {
    /// A fault of all models.
    #[must_use]
    pub fn new(from_s: f64, to_s: f64, kind: FaultKind) -> Self {
        Self { from_s, to_s, model: None, kind }
    }

    /// The same, of one model only.
    #[must_use]
    pub fn of(self, model: ModelId) -> Self {
        Self { model: Some(model), ..self }
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FaultKind {
    /// Every batch takes so many times as long.
    Slow(f64),
    /// So on one memory size only.
    SlowAt(Mebibytes, f64),
    /// No REPORT line comes: what is billed is an estimate.
    NoReport,
    /// Everything is throttled, with this reason.
    Throttled(ThrottleReason),
    /// Of so many batches (0 to 1) the answer is lost on its way: they ran and are billed, and the caller cannot know.
    LostResponses {
        /// Share of batches.
        share: f64,
    },
    /// So many batches (0 to 1) crash the function: billed, no answer, the environment is gone.
    FunctionErrors {
        /// Share of batches.
        share: f64,
    },
    /// So many items (0 to 1) fail, each by itself; their batch completes.
    PartialFailures {
        /// Share of items.
        share: f64,
    },
    /// So many requests (0 to 1) that arrive meanwhile have a first item that crashes the function, whenever it is in a batch.
    PoisonItems {
        /// Share of requests.
        share: f64,
    },
    /// No connection: nothing runs.
    Unreachable,
    /// Refused for good on this size: its alias is missing.
    RefusedAt(Mebibytes),
    /// Batches of more than so many items run out of memory.
    OutOfMemoryAbove {
        /// Largest fill that still runs.
        items: u32,
    },
    /// Answers are so many times as large as the gateway estimates.
    LargeAnswers(f64),
    /// Every environment is lost at the beginning, those in work once they are done; and until the end none is kept.
    ColdStorm,
    /// The gateway drains at the beginning, for good, with all its models.
    Drain,
}

/// What holds of a model at the moment.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Active {
    pub(super) slow: f64,
    pub(super) slow_at: Vec<(Mebibytes, f64)>,
    pub(super) no_report: bool,
    pub(super) throttled: Option<ThrottleReason>,
    pub(super) lost: f64,
    pub(super) crash: f64,
    pub(super) partial: f64,
    pub(super) poison: f64,
    pub(super) is_unreachable: bool,
    pub(super) refused_at: Vec<Mebibytes>,
    pub(super) out_of_memory_above: u32,
    pub(super) answers: f64,
    pub(super) keeps_none: bool,
}

impl Default for Active {
    fn default() -> Self {
        Self {
            slow: 1.0,
            slow_at: Vec::new(),
            no_report: false,
            throttled: None,
            lost: 0.0,
            crash: 0.0,
            partial: 0.0,
            poison: 0.0,
            is_unreachable: false,
            refused_at: Vec::new(),
            out_of_memory_above: u32::MAX,
            answers: 1.0,
            keeps_none: false,
        }
    }
}

/// The chance of at least one of two independent things.
fn either(one: f64, other: f64) -> f64 {
    1.0 - (1.0 - one) * (1.0 - other.clamp(0.0, 1.0))
}

impl Active {
    pub(super) fn add(&mut self, kind: FaultKind) {
        match kind {
            FaultKind::Slow(factor) => self.slow *= factor,
            FaultKind::SlowAt(memory, factor) => self.slow_at.push((memory, factor)),
            FaultKind::NoReport => self.no_report = true,
            FaultKind::Throttled(reason) => self.throttled = Some(reason),
            FaultKind::LostResponses { share } => self.lost = either(self.lost, share),
            FaultKind::FunctionErrors { share } => self.crash = either(self.crash, share),
            FaultKind::PartialFailures { share } => self.partial = either(self.partial, share),
            FaultKind::PoisonItems { share } => self.poison = either(self.poison, share),
            FaultKind::Unreachable => self.is_unreachable = true,
            FaultKind::RefusedAt(memory) => self.refused_at.push(memory),
            FaultKind::OutOfMemoryAbove { items } => {
                self.out_of_memory_above = self.out_of_memory_above.min(items);
            }
            FaultKind::LargeAnswers(factor) => self.answers *= factor,
            FaultKind::ColdStorm => self.keeps_none = true,
            FaultKind::Drain => {}
        }
    }

    /// Times as long as usual on this size.
    pub(super) fn slowness(&self, memory: Mebibytes) -> f64 {
        let here = self.slow_at.iter().filter(|(at, _)| *at == memory).map(|(_, factor)| factor);
        self.slow * here.product::<f64>()
    }
}
