//! What a worker says of its time → spans inside its invocation.
//!
//! **Rule.** Only lengths and offsets of the worker are used, never its clock. The handler is put in the middle of what the invocation leaves
//! of time: half of the rest before it, half after, since nothing tells the way there from the way back. A load that this invocation waited for ends
//! where the handler begins. Whatever would still stick out (a frozen sandbox, rounding, a broken report) is cut at the invocation's ends.

use std::sync::Arc;

use workers_protocol::{ItemErrorCode, WorkerSpan, WorkerSpanKind};

use super::batch::WorkerTold;
use super::context::SpanId;
use super::span::{Interval, Kind, Place, Span, Value, nanos};

/// Where load and handler lie within an invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Placed {
    load: Option<Interval>,
    handler: Interval,
}

fn place(invocation: Interval, handler: u64, init: Option<u64>) -> Placed {
    let all = invocation.nanos();
    let handler = handler.min(all);
    let load = init.map(|init| init.min(all - handler));
    let rest = all - handler - load.unwrap_or(0);
    let load_start = invocation.start + rest / 2;
    let start = load_start + load.unwrap_or(0);
    Placed {
        load: load.map(|_| Interval { start: load_start, end: start }),
        handler: Interval { start, end: start + handler },
    }
}

/// Spans of the worker under the invocation's.
pub(super) fn worker_spans(told: &WorkerTold, invocation: &Span, function: &Arc<str>) -> Vec<Span> {
    let placed = place(invocation.time, nanos(told.handler), told.init.map(nanos));
    let child = |name: &'static str, parent: SpanId, time: Interval| Span {
        id: SpanId::random(),
        parent: Some(parent),
        name: name.into(),
        kind: Kind::Internal,
        place: Place::Worker,
        time,
        attributes: Vec::new(),
        is_error: false,
        ..invocation.clone()
    };
    let mut spans: Vec<Span> = Vec::with_capacity(told.spans.len() + 2);
    if let (Some(time), Some(init)) = (placed.load, told.init) {
        let mut load = child("load", invocation.id, time);
        load.attributes.push(("penstock.init_us", Value::micros(init)));
        spans.push(load);
    }
    let mut handler = child("handler", invocation.id, placed.handler);
    handler.kind = Kind::Server;
    handler.parent_is_remote = true;
    handler.attributes = vec![
        ("faas.name", Value::Shared(function.clone())),
        ("faas.coldstart", told.init.is_some().into()),
        ("penstock.process_restarts", Value::Integer(told.process_restarts.into())),
    ];
    if told.spans_left_out > 0 {
        handler.attributes.push(("penstock.spans_left_out", Value::Integer(told.spans_left_out.into())));
    }
    let handler_id = handler.id;
    spans.push(handler);
    let first = spans.len();
    for told in &told.spans {
        // A span is told after the one that it is within.
        let around = told.within.and_then(|index| spans.get(first + index as usize));
        let (parent, bounds) = around.map_or((handler_id, placed.handler), |around| (around.id, around.time));
        let time = within(placed.handler.start, told, bounds);
        let mut span = child(name(told.kind), parent, time);
        span.attributes.push(("penstock.process", Value::count(told.process)));
        if told.items > 0 {
            span.attributes.push(("penstock.items", Value::Integer(told.items.into())));
        }
        if let Some(code) = told.error {
            span.is_error = true;
            span.attributes.push(("error.type", code_name(code).into()));
        }
        spans.push(span);
    }
    spans
}

/// A span's place, cut to that of the span around it.
fn within(origin: u64, told: &WorkerSpan, bounds: Interval) -> Interval {
    let start = origin.saturating_add(told.start_us.saturating_mul(1000)).clamp(bounds.start, bounds.end);
    let end = start.saturating_add(told.duration_us.saturating_mul(1000)).min(bounds.end);
    Interval { start, end }
}

fn name(kind: WorkerSpanKind) -> &'static str {
    match kind {
        WorkerSpanKind::Fork => "fork",
        WorkerSpanKind::Shard => "shard",
        WorkerSpanKind::Tokenize => "tokenize",
        WorkerSpanKind::Run => "run",
        WorkerSpanKind::Other => "other",
    }
}

fn code_name(code: ItemErrorCode) -> &'static str {
    match code {
        ItemErrorCode::InvalidInput => "invalid_input",
        ItemErrorCode::ModelFailed => "model_failed",
        ItemErrorCode::ProcessDied => "process_died",
        ItemErrorCode::ProcessHung => "process_hung",
        ItemErrorCode::OutOfMemory => "out_of_memory",
        ItemErrorCode::DeadlineExceeded => "deadline_exceeded",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::context::TraceId;
    use super::*;

    fn invocation(start: u64, end: u64) -> Span {
        Span {
            trace: TraceId::random(),
            id: SpanId::random(),
            parent: None,
            parent_is_remote: false,
            state: None,
            name: "Lambda/Invoke".into(),
            kind: Kind::Client,
            place: Place::Gateway,
            time: Interval { start, end },
            attributes: Vec::new(),
            links: Vec::new(),
            links_left_out: 0,
            is_error: false,
        }
    }

    #[test]
    fn the_handler_lies_in_the_middle_and_the_load_before_it() {
        let time = Interval { start: 1_000, end: 2_000 };
        assert_eq!(place(time, 600, None).handler, Interval { start: 1_200, end: 1_800 });
        let cold = place(time, 500, Some(300));
        assert_eq!(cold.load, Some(Interval { start: 1_100, end: 1_400 }));
        assert_eq!(cold.handler, Interval { start: 1_400, end: 1_900 });
        let longer = place(time, 5_000, Some(300));
        assert_eq!(longer.handler, time, "a handler that claims more than there was is cut");
        assert_eq!(longer.load.map(Interval::nanos), Some(0));
    }

    proptest! {
        #[test]
        fn nothing_sticks_out_of_its_invocation_whatever_the_worker_says(
            length in 0_u64..10_000_000_000,
            handler_us: u64,
            init_us: Option<u64>,
            spans in prop::collection::vec((any::<u64>(), any::<u64>(), any::<Option<u32>>(), 0_u32..9), 0..9),
        ) {
            let start = 1_700_000_000_000_000_000;
            let invocation = invocation(start, start + length);
            let told = WorkerTold {
                handler: Duration::from_micros(handler_us),
                init: init_us.map(Duration::from_micros),
                spans: spans
                    .into_iter()
                    .map(|(start_us, duration_us, within, near)| WorkerSpan {
                        kind: WorkerSpanKind::Run,
                        process: 1,
                        start_us,
                        duration_us,
                        items: 0,
                        within: within.map(|index| if index % 2 == 0 { near } else { index }),
                        error: None,
                    })
                    .collect(),
                ..WorkerTold::default()
            };
            let spans = worker_spans(&told, &invocation, &"f".into());
            for span in &spans {
                let parent = spans.iter().find(|other| Some(other.id) == span.parent).unwrap_or(&invocation);
                prop_assert!(span.time.start <= span.time.end);
                prop_assert!(parent.time.start <= span.time.start && span.time.end <= parent.time.end);
                prop_assert!(span.id != parent.id);
            }
        }
    }
}
