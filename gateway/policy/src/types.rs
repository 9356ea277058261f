//! What goes into the engine and what comes out of it.

use std::time::Duration;

use gateway_contract::{BatchId, ItemFailure, ModelId, PlanRevision, RequestId, Timestamp};

/// All that the engine knows of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestMeta {
    /// Given by the shell, unique for the life of the engine.
    pub id: RequestId,
    /// The model asked for.
    pub model: ModelId,
    /// Items, at least 1.
    pub items: u32,
    /// Encoded bytes of the items in a batch's request.
    pub item_bytes: ItemBytes,
    /// Estimated encoded bytes of one item's answer.
    pub response_bytes_per_item: u32,
    /// Length class: items of one class cost about the same, and batch together with little padding.
    pub class: u16,
    /// 0 is most urgent.
    pub priority: u8,
    /// When the caller stops waiting (hard: 504); `None`: never.
    pub deadline: Option<Timestamp>,
}

/// Encoded bytes of a request's items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ItemBytes {
    /// All items have this size.
    Uniform(u32),
    /// One size per item.
    Each(Box<[u32]>),
}

/// Why a request was not admitted. Nothing of it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// No plan for this model.
    UnknownModel,
    /// No items, sizes that do not fit the items, an id that is in flight, or more items or bytes than the whole queue may hold.
    InvalidRequest,
    /// `queue_capacity_items` or `queue_capacity_bytes` reached: shed. Try again after about `retry_after`.
    QueueFull {
        /// Estimated time until there is room.
        retry_after: Duration,
    },
    /// An item alone exceeds `max_request_payload_bytes`.
    ItemTooLarge {
        /// Its position in the request.
        item: u32,
    },
    /// The deadline is before the earliest possible answer.
    DeadlineUnreachable,
    /// The engine drains.
    Draining,
}

/// A run of consecutive items of one request inside a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The request.
    pub request: RequestId,
    /// First item of the run within the request.
    pub first_item: u32,
    /// Items of the run, at least 1.
    pub items: u32,
}

/// Run this batch. Exactly one [`BatchOutcome`] must come back for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispatch {
    /// Names this attempt.
    pub batch: BatchId,
    /// The model.
    pub model: ModelId,
    /// The plan that formed it.
    pub revision: PlanRevision,
    /// Alias that runs it.
    pub qualifier: std::sync::Arc<str>,
    /// Memory behind that alias.
    pub memory_mib: gateway_contract::Mebibytes,
    /// Model processes to run it in.
    pub process_count: u32,
    /// Its items, in order.
    pub parts: Vec<Part>,
    /// Number of items: the sum over `parts`.
    pub items: u32,
    /// It runs on the plan's canary instead of its rung.
    pub is_canary: bool,
    /// It runs alone on the plan's hold-out, to be measured.
    pub is_hold_out: bool,
    /// Why it was closed.
    pub reason: CloseReason,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// The batch that this is a retry or a half of.
    pub parent: Option<BatchId>,
    /// When the last caller in it stops waiting; `None`: one waits for ever. Nothing need run after it.
    pub latest_deadline: Option<Timestamp>,
    /// Upper service time that the plan expects for this fill.
    pub service_time_upper: Duration,
}

/// Make a no-op invocation: a batch of no items. [`crate::Engine::handle_call`] must be told once how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentCall {
    /// Names this call; counted with the batches.
    pub call: BatchId,
    /// The model.
    pub model: ModelId,
    /// Alias that is called.
    pub qualifier: std::sync::Arc<str>,
    /// Memory behind that alias.
    pub memory_mib: gateway_contract::Mebibytes,
    /// Model processes that the environment is to have.
    pub process_count: u32,
    /// What for.
    pub purpose: CallPurpose,
}

/// Why an environment is called without items.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallPurpose {
    /// To start another one, since batches wait for those at work.
    Start,
    /// To keep one that is idle.
    Keep,
}

/// Why a batch was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CloseReason {
    /// `max_batch_size` reached.
    Full,
    /// Byte bounds reached.
    Bytes,
    /// The oldest item waited `max_queue_delay`.
    Delay,
    /// An earliest deadline came near.
    Deadline,
    /// The packing policy does not wait.
    Immediate,
    /// The engine drains.
    Drain,
    /// A retry of a batch.
    Retry,
    /// Half of a failed batch.
    Bisect,
}

/// How a dispatched batch ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchOutcome {
    /// The worker answered per item. `failed` names positions within the batch, ascending; all others have values.
    Completed {
        /// Items without a value.
        failed: Vec<(u32, ItemFailure)>,
    },
    /// 429: not executed.
    Throttled {
        /// As Lambda asked.
        retry_after: Option<Duration>,
    },
    /// The function failed as a whole (crash, time-out, out of memory, garbage answer): bisect.
    FunctionError,
    /// The payload exceeded a limit.
    TooLarge(TooLarge),
    /// 5xx or a connection that broke after sending: it may have run.
    Unknown,
    /// Not executed: no connection, or refused.
    Refused {
        /// A retry cannot mend it (permissions, missing function or alias, version mismatch).
        permanent: bool,
    },
}

/// Which payload was too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TooLarge {
    /// The request: not executed.
    Request,
    /// The answer: executed, answer lost.
    Response,
}

/// How a request ended. Given exactly once per admitted request that was not cancelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestOutcome {
    /// Every item is resolved. `failed` names items within the request, ascending; all others have values, which the shell
    /// kept from the batches' answers. Empty: complete success.
    Answered {
        /// Items without a value.
        failed: Vec<(u32, ItemFailure)>,
    },
    /// The hard deadline passed first; or, under overload, it was about to: more waits than fits and this could not be
    /// answered in time.
    DeadlineExceeded,
}

/// Why the engine wants to be called at [`crate::Engine::poll_timeout`]'s time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WakeReason {
    /// A batch closes.
    BatchCloses,
    /// A hard deadline passes.
    RequestDeadline,
    /// A back-off ends.
    RetryReady,
    /// An idle environment is to be called.
    EnvironmentCall,
}

/// Something worth counting. The shell maps these to metrics in one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A batch was formed for the first time (not a retry or half).
    BatchClosed {
        /// Its id.
        batch: BatchId,
        /// Its model.
        model: ModelId,
        /// Its items.
        items: u32,
        /// Its encoded bytes.
        bytes: u64,
        /// Why.
        reason: CloseReason,
        /// Wait of its oldest item.
        oldest_wait: Duration,
    },
    /// A batch goes out again.
    Retried {
        /// Its model.
        model: ModelId,
        /// Why.
        reason: RetryReason,
    },
    /// A retry was wanted but the budget, the attempts or the time had run out.
    RetryDenied {
        /// Its model.
        model: ModelId,
        /// Why it was wanted.
        reason: RetryReason,
    },
    /// A failed batch was cut in two.
    Bisected {
        /// Its model.
        model: ModelId,
        /// Items of the failed batch.
        items: u32,
    },
    /// An outcome for a batch that is not in flight, or an answer for an item that has one.
    DuplicateSuppressed,
    /// A queued request left before it was packed.
    CancelledInQueue {
        /// Its model.
        model: ModelId,
    },
    /// A hard deadline passed, or could no longer be met.
    DeadlineExceeded {
        /// Its model.
        model: ModelId,
        /// Whether it still waited in the queue.
        in_queue: bool,
    },
    /// A new batch went out later than it closed, since all environments were at work.
    WaitedForEnvironment {
        /// Its model.
        model: ModelId,
        /// Its items.
        items: u32,
        /// For how long.
        waited: Duration,
    },
    /// The in-flight window moved.
    WindowChanged {
        /// Its model.
        model: ModelId,
        /// New bound of parallel invocations.
        window: u32,
    },
}

/// Why a batch goes out again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RetryReason {
    /// It was throttled.
    Throttled,
    /// Its outcome is unknown.
    UnknownOutcome,
    /// Lambda was out of reach.
    Unreachable,
}
