//! Why one item of a request got no value, in the words that the engine and the shell share.

/// Final failure of one item. The shell maps it to a status, a code and a public text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ItemFailure {
    /// The worker says that this input cannot be fed to the model.
    InvalidInput,
    /// The model failed on this item.
    ModelFailed,
    /// The model process died on this item, alone.
    ProcessDied,
    /// The model process hung on this item, alone.
    ProcessHung,
    /// The model process outgrew its memory on this item, alone.
    OutOfMemory,
    /// No time was left to run it.
    DeadlineExceeded,
    /// The invocation that held only this item ended in a function error.
    FunctionError,
    /// Throttled until the retry budget, the attempts or the time ran out.
    Throttled,
    /// The connection broke after sending, once more than may be retried; it may or may not have run.
    UnknownOutcome,
    /// Lambda refused the call for a reason that a retry does not mend (permissions, missing alias), or was out of reach.
    Refused,
    /// This item's answer alone exceeds the response limit.
    ResponseTooLarge,
    /// This item alone exceeds the request limit.
    RequestTooLarge,
}
