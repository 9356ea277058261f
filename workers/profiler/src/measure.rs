//! One run: as many invocations at once as asked for, each written down with its bill.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tokio::task::JoinSet;
use workers_protocol::{Answer, Report};

use crate::estimate::Prices;
use crate::lambda::{Lambda, Reply};
use crate::{Inputs, Invocation, Point};

/// Largest request that Lambda takes, bytes.
pub(crate) const LARGEST_REQUEST: usize = 6 * 1024 * 1024;

/// What a run came to.
pub(crate) struct Burst {
    /// Milliseconds since 1970.
    pub(crate) started_ms: u64,
    /// From the first sent to the last answered, microseconds.
    pub(crate) total_us: u64,
    /// In the order they were sent.
    pub(crate) invocations: Vec<Invocation>,
}

/// Payloads for a run, or why there are none.
pub(crate) fn payloads(
    inputs: &mut Inputs,
    point: &Point,
    batch: &mut u64,
) -> Result<Vec<(u64, Vec<u8>)>, String> {
    let mut payloads = Vec::new();
    for _ in 0..point.concurrency {
        *batch += 1;
        let payload = inputs.payload(*batch, point.process_count, point.items);
        if payload.len() > LARGEST_REQUEST {
            return Err(format!(
                "{} items are {} bytes, more than the 6 MB of a request",
                point.items,
                payload.len()
            ));
        }
        payloads.push((*batch, payload));
    }
    Ok(payloads)
}

/// Sends them all at once and waits for the last answer.
pub(crate) async fn burst(
    lambda: &Lambda,
    function: &str,
    version: &str,
    point: &Point,
    payloads: Vec<(u64, Vec<u8>)>,
    prices: &Prices,
) -> Burst {
    let started_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| micros(since) / 1000);
    let begin = Instant::now();
    let mut tasks = JoinSet::new();
    for (place, (batch, payload)) in payloads.into_iter().enumerate() {
        let (lambda, function, version) = (lambda.clone(), function.to_owned(), version.to_owned());
        let (point, prices) = (*point, *prices);
        tasks.spawn(async move {
            let sent = Instant::now();
            let reply = lambda.invoke(&function, &version, payload).await;
            let invocation = match reply {
                Ok(reply) => invocation(&point, batch, &reply, &prices),
                Err(error) => Invocation {
                    version,
                    round_trip_us: micros(sent.elapsed()),
                    error: Some(error.to_string()),
                    ..Invocation::default()
                },
            };
            (place, invocation)
        });
    }
    // A task that panics leaves its place empty, which then says so.
    let lost = || Invocation { error: Some("the client failed".to_owned()), ..Invocation::default() };
    let mut invocations: Vec<Invocation> = (0..point.concurrency).map(|_| lost()).collect();
    while let Some(done) = tasks.join_next().await {
        if let Ok((place, invocation)) = done {
            invocations[place] = invocation;
        }
    }
    Burst { started_ms, total_us: micros(begin.elapsed()), invocations }
}

/// An answer as it is written down. Billed, even if it is no answer to what was asked.
fn invocation(point: &Point, batch: u64, reply: &Reply, prices: &Prices) -> Invocation {
    let billing = reply.billing;
    let billed = Invocation {
        version: reply.version.clone(),
        cold: billing.init_us.is_some(),
        init_us: billing.init_us,
        duration_us: billing.duration_us,
        billed_ms: billing.billed_ms,
        round_trip_us: micros(reply.round_trip),
        max_memory_used_mib: billing.max_memory_used_mib,
        cost_usd: prices.invocation_usd(point.memory_mib, billing.billed_ms as f64 / 1e3),
        ..Invocation::default()
    };
    let report = match checked(point, batch, reply) {
        Ok(report) => report,
        Err(reason) => return Invocation { error: Some(reason), ..billed },
    };
    let processes = &report.processes;
    Invocation {
        cold: report.cold || billed.cold,
        // The bill's INIT is what counts; where there is none (it ran out of time and was repeated) the worker's own is told.
        init_us: (report.cold || billed.cold).then(|| billing.init_us.unwrap_or(report.init_us)),
        handler_us: report.handler_us,
        tokenize_us: report.tokenize_us,
        prefill_us: processes.iter().map(|process| process.prefill_us).sum(),
        generated_tokens: processes.iter().map(|process| process.generated_tokens).sum(),
        process_compute_us: processes.iter().map(|process| process.compute_us).collect(),
        process_cpu_us: processes.iter().map(|process| process.cpu_us).collect(),
        process_items: processes.iter().map(|process| process.items).collect(),
        shard_padded_units: processes.iter().map(|process| process.padded_units).max().unwrap_or(0),
        ..billed
    }
}

fn checked(point: &Point, batch: u64, reply: &Reply) -> Result<Report, String> {
    let answer = Answer::decode(&reply.payload).map_err(|error| error.to_string())?;
    let ids: Vec<u64> = (0..u64::from(point.items)).collect();
    answer.check_answers(batch, &ids).map_err(|error| error.to_string())?;
    match answer.errors.first() {
        Some(first) => {
            Err(format!("{} of {} items failed: {}", answer.errors.len(), point.items, first.message))
        }
        None => Ok(answer.report),
    }
}

pub(crate) fn micros(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
