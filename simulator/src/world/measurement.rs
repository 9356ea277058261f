//! What a world measured, in segments, so that each figure comes with its own standard error.
//!
//! Rule (batch means): the requests are cut into [`SEGMENTS`] runs of equal number. Runs are long against every memory of the world, so
//! their figures are nearly independent, and the spread between them gives the error of the whole.
//! Reference: Law and Kelton, "Simulation Modeling and Analysis", chapter on batch means.

use std::time::Duration;

use super::LatencyHistogram;

/// Runs of requests that are measured apart.
pub(super) const SEGMENTS: usize = 20;

/// A figure and its standard error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The figure, over all requests.
    pub value: f64,
    /// Its standard error, from the spread between segments.
    pub standard_error: f64,
}

#[derive(Clone, Debug, Default)]
struct Segment {
    requests: u64,
    batches: u64,
    items: u64,
    usd: f64,
    late: u64,
    busy_nanos: f64,
    nanos: f64,
    latency: LatencyHistogram,
}

/// Everything that was measured.
#[derive(Clone, Debug)]
pub struct Measurement {
    segments: Vec<Segment>,
    fills: Vec<u64>,
    warm_up: u64,
    per_segment: u64,
    slo_nanos: u64,
    current: Option<usize>,
    in_flight: u32,
    shed: u64,
}

impl Measurement {
    pub(crate) fn new(warm_up: u64, requests: u64, max_batch_size: u32, slo: Duration) -> Self {
        Self {
            segments: vec![Segment::default(); SEGMENTS],
            fills: vec![0; max_batch_size as usize + 1],
            warm_up,
            per_segment: requests.div_ceil(SEGMENTS as u64).max(1),
            slo_nanos: u64::try_from(slo.as_nanos()).unwrap_or(u64::MAX),
            current: None,
            in_flight: 0,
            shed: 0,
        }
    }

    fn segment_of(&self, id: u64) -> Option<usize> {
        let measured = id.checked_sub(self.warm_up)?;
        usize::try_from(measured / self.per_segment).ok().filter(|&at| at < SEGMENTS)
    }

    #[inline]
    pub(crate) fn on_arrival(&mut self, id: u64) {
        self.current = self.segment_of(id);
        if let Some(segment) = self.current {
            self.segments[segment].requests += 1;
        }
    }

    pub(crate) fn on_shed(&mut self) {
        self.shed += 1;
    }

    #[inline]
    pub(crate) fn on_time(&mut self, nanos: u64) {
        if let Some(segment) = self.current {
            self.segments[segment].busy_nanos += nanos as f64 * f64::from(self.in_flight);
            self.segments[segment].nanos += nanos as f64;
        }
    }

    #[inline]
    pub(crate) fn on_dispatch(&mut self, items: u32, usd: f64) {
        self.in_flight += 1;
        if let Some(segment) = self.current {
            self.segments[segment].batches += 1;
            self.segments[segment].items += u64::from(items);
            self.segments[segment].usd += usd;
            self.fills[items as usize] += 1;
        }
    }

    #[inline]
    pub(crate) fn on_finish(&mut self) {
        self.in_flight -= 1;
    }

    #[inline]
    pub(crate) fn on_answer(&mut self, id: u64, latency_nanos: u64) {
        if let Some(segment) = self.segment_of(id) {
            self.segments[segment].late += u64::from(latency_nanos > self.slo_nanos);
            self.segments[segment].latency.record(latency_nanos);
        }
    }

    fn ratio(&self, top: impl Fn(&Segment) -> f64, bottom: impl Fn(&Segment) -> f64) -> Estimate {
        let used: Vec<(f64, f64)> =
            self.segments.iter().map(|it| (top(it), bottom(it))).filter(|it| it.1 > 0.0).collect();
        let (tops, bottoms): (f64, f64) =
            used.iter().fold((0.0, 0.0), |sum, it| (sum.0 + it.0, sum.1 + it.1));
        let value = tops / bottoms;
        let count = used.len() as f64;
        // Of a ratio of sums: the spread of top − value·bottom.
        let square: f64 = used.iter().map(|it| (it.0 - value * it.1).powi(2)).sum();
        let standard_error = (square * count / (count - 1.0).max(1.0)).sqrt() / bottoms;
        Estimate { value, standard_error }
    }

    /// Requests measured.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.segments.iter().map(|segment| segment.requests).sum()
    }

    /// Measured requests that were answered.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.segments.iter().map(|segment| segment.latency.total()).sum()
    }

    /// Items that measured batches held.
    #[must_use]
    pub fn items(&self) -> u64 {
        self.segments.iter().map(|segment| segment.items).sum()
    }

    /// Requests refused, warm-up included.
    #[must_use]
    pub fn shed(&self) -> u64 {
        self.shed
    }

    /// Batches by fill.
    #[must_use]
    pub fn fills(&self) -> &[u64] {
        &self.fills
    }

    /// Items per batch.
    #[must_use]
    pub fn mean_fill(&self) -> Estimate {
        self.ratio(|it| it.items as f64, |it| it.batches as f64)
    }

    /// Dollars per request.
    #[must_use]
    pub fn usd_per_request(&self) -> Estimate {
        self.ratio(|it| it.usd, |it| it.requests as f64)
    }

    /// Share of requests above the objective.
    #[must_use]
    pub fn share_outside_slo(&self) -> Estimate {
        self.ratio(|it| it.late as f64, |it| it.latency.total() as f64)
    }

    /// Mean invocations in flight.
    #[must_use]
    pub fn mean_in_flight(&self) -> Estimate {
        self.ratio(|it| it.busy_nanos, |it| it.nanos)
    }

    /// Requests per second.
    #[must_use]
    pub fn requests_per_second(&self) -> Estimate {
        self.ratio(|it| it.requests as f64 * 1e9, |it| it.nanos)
    }

    /// A latency quantile in seconds.
    #[must_use]
    pub fn latency_quantile(&self, probability: f64) -> Estimate {
        let mut all = LatencyHistogram::default();
        self.segments.iter().for_each(|segment| all.merge(&segment.latency));
        let value = all.quantile(probability);
        let parts: Vec<f64> = self
            .segments
            .iter()
            .filter(|segment| segment.latency.total() > 0)
            .map(|segment| segment.latency.quantile(probability))
            .collect();
        let count = parts.len() as f64;
        let mean = parts.iter().sum::<f64>() / count;
        let square: f64 = parts.iter().map(|part| (part - mean).powi(2)).sum();
        Estimate { value, standard_error: (square / (count * (count - 1.0).max(1.0))).sqrt() }
    }
}
