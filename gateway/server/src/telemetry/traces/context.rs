//! W3C trace context: the headers `traceparent` and `tracestate`, read and written.
//!
//! Reference: W3C Recommendation "Trace Context", 23 November 2021. A header that does not hold is passed over, as if it had not come.

use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};
use std::sync::Arc;

use http::HeaderMap;
use rand::RngExt as _;

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
/// Longest trace state that is passed on, bytes: the least that the recommendation asks for.
const MAX_STATE_BYTES: usize = 512;

/// Names a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceId(NonZeroU128);

/// Names a span within its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanId(NonZeroU64);

/// A span, named for others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// Its trace.
    pub trace: TraceId,
    /// The span.
    pub span: SpanId,
    /// Whether whoever began the trace records it.
    pub is_sampled: bool,
    /// What tracing systems on the way have noted; opaque.
    pub state: Option<Arc<str>>,
}

impl TraceId {
    pub(super) fn random() -> Self {
        Self(NonZeroU128::new(rand::rng().random()).unwrap_or(NonZeroU128::MIN))
    }

    pub(super) fn to_bytes(self) -> [u8; 16] {
        self.0.get().to_be_bytes()
    }

    /// The lower half, which every tracing system draws at random.
    pub(super) fn low(self) -> u64 {
        let [.., a, b, c, d, e, f, g, h] = self.to_bytes();
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }
}

impl SpanId {
    pub(super) fn random() -> Self {
        Self(NonZeroU64::new(rand::rng().random()).unwrap_or(NonZeroU64::MIN))
    }

    pub(super) fn to_bytes(self) -> [u8; 8] {
        self.0.get().to_be_bytes()
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl TraceContext {
    /// What the headers say.
    #[must_use]
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let mut parents = headers.get_all(TRACEPARENT).iter();
        let (parent, None) = (parents.next()?, parents.next()) else { return None };
        Some(Self { state: read_state(headers), ..Self::parse(parent.to_str().ok()?)? })
    }

    /// Reads a `traceparent`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (version, rest) = (hex(text.get(..2)?)?, text.get(2..)?);
        let (fields, more) = (rest.get(..53)?, &rest[53..]);
        // Later versions may say more behind another dash; `ff` is none.
        let fits = if version == 0 { more.is_empty() } else { more.is_empty() || more.starts_with('-') };
        let mut parts = fields.split('-');
        let (Some(""), Some(trace), Some(span), Some(flags), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return None;
        };
        let lengths = (trace.len(), span.len(), flags.len()) == (32, 16, 2);
        if version == 0xff || !fits || !lengths {
            return None;
        }
        Some(Self {
            trace: TraceId(NonZeroU128::new(hex(trace)?)?),
            span: SpanId(NonZeroU64::new(u64::try_from(hex(span)?).ok()?)?),
            is_sampled: hex(flags)? & 1 == 1,
            state: None,
        })
    }

    /// Writes a `traceparent` of version 00.
    #[must_use]
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-{:02x}", self.trace, self.span, u8::from(self.is_sampled))
    }
}

/// Lower-case hexadecimal digits.
fn hex(text: &str) -> Option<u128> {
    let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    digits.then(|| u128::from_str_radix(text, 16).ok())?
}

/// All lines of the trace state as one, unless they are too long or hold what a header cannot.
fn read_state(headers: &HeaderMap) -> Option<Arc<str>> {
    let mut state = String::new();
    for line in headers.get_all(TRACESTATE) {
        let line = line.to_str().ok()?.trim();
        if line.is_empty() {
            continue;
        }
        if !state.is_empty() {
            state.push(',');
        }
        state.push_str(line);
    }
    (!state.is_empty() && state.len() <= MAX_STATE_BYTES).then(|| state.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_trace_context_round_trips() {
        for text in [GOOD, "00-0af7651916cd43dd8448eb211c80319c-00000000000000ff-00"] {
            assert_eq!(TraceContext::parse(text).unwrap().traceparent(), text);
        }
        let later =
            TraceContext::parse("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03-more").unwrap();
        assert_eq!(later.traceparent(), GOOD, "a later version is read as far as it is known");
    }

    #[test]
    fn what_is_no_trace_context_is_passed_over() {
        for bad in [
            "",
            "00-abc-def-01",
            "nonsense",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-extra",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01x",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333-001",
            "00-0af7651916cd43dd8448eb211c80319cb7ad6b7169203331---01",
            "0é-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(TraceContext::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn trace_state_is_joined_bounded_and_opaque() {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, GOOD.parse().unwrap());
        assert_eq!(TraceContext::read(&headers).unwrap().state, None);
        headers.append(TRACESTATE, "a=1,b=2".parse().unwrap());
        headers.append(TRACESTATE, " c@d=3 ".parse().unwrap());
        assert_eq!(TraceContext::read(&headers).unwrap().state.as_deref(), Some("a=1,b=2,c@d=3"));
        headers.append(TRACESTATE, "x".repeat(600).parse().unwrap());
        assert_eq!(TraceContext::read(&headers).unwrap().state, None, "dropped whole, never cut");
        headers.append(TRACEPARENT, GOOD.parse().unwrap());
        assert_eq!(TraceContext::read(&headers), None, "two parents are none");
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "\\PC{0,80}", tail in "[0-9a-f-]{40,60}") {
            let _ = TraceContext::parse(&text);
            let _ = TraceContext::parse(&format!("00-{tail}"));
        }
    }
}
