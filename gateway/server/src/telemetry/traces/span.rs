//! A finished span, before it is written in any format.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::context::{SpanId, TraceId};

/// A span that is over.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Span {
    pub(super) trace: TraceId,
    pub(super) id: SpanId,
    pub(super) parent: Option<SpanId>,
    /// The parent is another process's.
    pub(super) parent_is_remote: bool,
    pub(super) state: Option<Arc<str>>,
    pub(super) name: Cow<'static, str>,
    pub(super) kind: Kind,
    pub(super) place: Place,
    pub(super) time: Interval,
    pub(super) attributes: Vec<(&'static str, Value)>,
    pub(super) links: Vec<Link>,
    /// Links beyond the bound.
    pub(super) links_left_out: u32,
    pub(super) is_error: bool,
}

/// The role of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Internal,
    Server,
    Client,
}

/// Whose span it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Gateway,
    Worker,
}

/// Another span that has to do with this one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Link {
    pub(super) trace: TraceId,
    pub(super) span: SpanId,
    pub(super) attributes: Vec<(&'static str, Value)>,
}

/// An attribute's value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(Cow<'static, str>),
    Shared(Arc<str>),
    Integer(i64),
    Number(f64),
    Flag(bool),
}

impl Value {
    /// A count; what does not fit is cut.
    pub(super) fn count(count: impl TryInto<i64>) -> Self {
        Self::Integer(count.try_into().unwrap_or(i64::MAX))
    }

    /// Whole microseconds.
    pub(super) fn micros(time: Duration) -> Self {
        Self::count(time.as_micros())
    }
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

/// Begin and end, nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interval {
    pub(super) start: u64,
    pub(super) end: u64,
}

impl Interval {
    pub(super) fn nanos(self) -> u64 {
        self.end.saturating_sub(self.start)
    }
}

/// The wall clock's reading of instants. One per group of spans that must agree: a clock that is set meanwhile moves them together.
#[derive(Clone, Copy, Debug)]
pub(super) struct WallClock {
    instant: Instant,
    nanos: u64,
}

impl WallClock {
    pub(super) fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { instant: Instant::now(), nanos: nanos(since) }
    }

    pub(super) fn at(self, instant: Instant) -> u64 {
        match instant.checked_duration_since(self.instant) {
            Some(later) => self.nanos.saturating_add(nanos(later)),
            None => self.nanos.saturating_sub(nanos(self.instant.saturating_duration_since(instant))),
        }
    }

    pub(super) fn interval(self, start: Instant, end: Instant) -> Interval {
        let start = self.at(start);
        Interval { start, end: self.at(end).max(start) }
    }
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
