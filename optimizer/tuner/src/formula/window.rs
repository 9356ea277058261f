//! The wait for a place in the in-flight window, and how full the window is.
//!
//! Problem: a batch that closes while `max_in_flight` invocations run waits, and goes on filling meanwhile. Queueing formulas for independent
//! arrivals overstate that wait several times over: batches do not arrive independently, each begins to gather when the last one has left.
//!
//! Rule. A batch must wait if the one that left c batches before it (c = `max_in_flight`) is still running: W = (S − X)⁺, S the
//! service time and X the c intervals in between, each a gathering time and an exponential wait for the next request. Since what waits goes
//! into the same batch, no queue of batches builds up, and this first-order term is nearly all. X is a shifted gamma variable: c
//! gathering times and c exponentials (more where batches fill, whose gathering is itself a sum of exponentials); then P(W > 0), E\[W\] and
//! E\[W²\] are sums of incomplete gamma functions over quantiles of S. Where nothing gathers (no batching, or bounds of one) requests
//! do queue independently: Erlang's C formula, and an exponential wait of E\[S\]/(c − a)·(1 + CV²)/2.
//! A batch that waited has grown by the arrivals meanwhile; its latency is taken at that size.
//!
//! Bounds: above [`SATURATION`] of the places the prediction is marked; a search should treat that as outside its bounds.
//! Reference: Erlang, 1917; Lee and Longton, 1959, for the general service time; Abramowitz and Stegun, 6.5, for the incomplete gamma function.

use super::counts::ArrivalTable;
use super::fill::FillLaw;
use super::service::LogNormal;
use super::special::gamma_lower;
use super::starts::Group;

/// Share of the window from which on a prediction is not to be trusted.
pub const SATURATION: f64 = 0.8;

/// Strata of an exponential wait, and their width in means: the last begins at 5.4 means.
const EXPONENTIAL_STRATA: u32 = 19;
const STRATUM: f64 = 0.3;
/// E[W²]/E[W]² of a uniform law, and points for it.
const UNIFORM_SQUARE: f64 = 4.0 / 3.0;
const UNIFORM_POINTS: u32 = 8;
/// Medians of the quarters of a normal law, spread to its variance.
const NORMAL_POINTS: [f64; 4] = [-1.34, -0.45, 0.45, 1.34];

/// Equally likely service times that stand for their law.
const SERVICE_POINTS: u32 = 12;

/// The wait for a place, at a random batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WindowWait {
    /// Chance that a batch waits.
    pub chance: f64,
    /// Mean seconds that it waits then.
    pub mean_seconds: f64,
    /// Standard deviation of those seconds.
    pub std_seconds: f64,
    /// Mean invocations in flight.
    pub mean_in_flight: f64,
    /// Highest mean use of the window at any rate that brings more than 1 % of the batches; 1: all places always taken.
    pub utilisation: f64,
    /// Requests per second that join a batch while it waits; zero where none can.
    pub(crate) joining: f64,
}

impl WindowWait {
    /// The wait of the batches of `fill` in a window of `max_in_flight`, with this law of seconds in flight.
    #[must_use]
    pub fn new(table: &ArrivalTable, fill: &FillLaw, max_in_flight: u32, service: LogNormal) -> Self {
        let places = f64::from(max_in_flight.max(1));
        let seconds = service.mean();
        let mut sums = Sums::default();
        let mut utilisation = 0.0_f64;
        let mut add = |share: f64, node: usize, group: Option<&Group>| {
            let node = table.nodes[node];
            let load = share * fill.batches_per_second / node.time_share.max(1e-12) * seconds;
            if share > 0.01 {
                utilisation = utilisation.max(load / places);
            }
            if load * 8.0 < places && places > 16.0 {
                return;
            }
            let here = match group {
                Some(group) => {
                    let per_batch = fill.max_batch_size as f64 / table.law.items_per_request.mean();
                    gathered(group, node.rate, per_batch, places, service)
                }
                None => queued(places, load.min(0.98 * places), service),
            };
            sums.add(share, here);
        };
        for (at, node) in table.nodes.iter().enumerate().filter(|_| fill.groups.is_empty()) {
            add(node.rate * node.time_share / fill.requests_per_second, at, None);
        }
        fill.groups.iter().for_each(|group| add(group.share, group.node, Some(group)));
        let mean_seconds = sums.first / sums.chance.max(1e-12);
        let square = sums.second / sums.chance.max(1e-12);
        Self {
            chance: sums.chance.clamp(0.0, 1.0),
            mean_seconds,
            std_seconds: (square - mean_seconds * mean_seconds).max(0.0).sqrt(),
            mean_in_flight: fill.batches_per_second * seconds,
            utilisation,
            joining: if fill.groups.is_empty() { 0.0 } else { fill.requests_per_second },
        }
    }

    /// Whether the window is too full for this to be trusted.
    #[must_use]
    pub fn is_saturated(&self) -> bool {
        self.utilisation > SATURATION
    }

    /// Waits that stand for the law of the wait, with their weights. A narrow law has four points about its mean; a wide one is a mixture of
    /// a uniform and an exponential law with its variance.
    pub(crate) fn points(self) -> impl Iterator<Item = (f64, f64)> {
        let square = 1.0 + (self.std_seconds / self.mean_seconds.max(1e-12)).powi(2);
        let exponential = ((square - UNIFORM_SQUARE) / (2.0 - UNIFORM_SQUARE)).clamp(0.0, 1.0);
        let is_narrow = square < UNIFORM_SQUARE;
        let narrow = NORMAL_POINTS.map(|z| (0.25, (self.mean_seconds + z * self.std_seconds).max(0.0)));
        let uniform = (0..UNIFORM_POINTS).map(move |at| {
            let share = (f64::from(at) + 0.5) / f64::from(UNIFORM_POINTS);
            ((1.0 - exponential) / f64::from(UNIFORM_POINTS), 2.0 * share * self.mean_seconds)
        });
        let strata = (0..EXPONENTIAL_STRATA).map(move |at| {
            let from = f64::from(at) * STRATUM;
            let is_last = at + 1 == EXPONENTIAL_STRATA;
            let weight = (-from).exp() * if is_last { 1.0 } else { -(-STRATUM).exp_m1() };
            // The mean of what lies in the stratum.
            let within = if is_last { 1.0 } else { 1.0 - STRATUM / STRATUM.exp_m1() };
            (exponential * weight, (from + within) * self.mean_seconds)
        });
        let wide = uniform.chain(strata).filter(|point| point.0 > 0.0);
        narrow.into_iter().filter(move |_| is_narrow).chain(wide.filter(move |_| !is_narrow))
    }
}

/// P(W > 0), E[W] and E[W²].
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    chance: f64,
    first: f64,
    second: f64,
}

impl Sums {
    fn add(&mut self, share: f64, other: Self) {
        self.chance += share * other.chance;
        self.first += share * other.first;
        self.second += share * other.second;
    }
}

/// Batches that gather while they wait.
fn gathered(group: &Group, rate: f64, requests_per_full_batch: f64, places: f64, service: LogNormal) -> Sums {
    let mean = places * (group.gather_seconds + group.idle_seconds(rate));
    let shape = places * (1.0 + group.full * (requests_per_full_batch - 1.0).max(0.0));
    let scale = (1.0 / rate.max(1e-9)).min(mean / shape);
    let shift = mean - shape * scale;
    let mut sums = Sums::default();
    for point in 0..SERVICE_POINTS {
        let above = service.quantile((f64::from(point) + 0.5) / f64::from(SERVICE_POINTS)) - shift;
        if above <= 0.0 {
            continue;
        }
        let below = |more: f64| gamma_lower(shape + more, above / scale);
        let (p0, p1, p2) = (below(0.0), below(1.0), below(2.0));
        let (first, second) = (shape * scale, shape * (shape + 1.0) * scale * scale);
        let wait = Sums {
            chance: p0,
            first: (above * p0 - first * p1).max(0.0),
            second: (above * above * p0 - 2.0 * above * first * p1 + second * p2).max(0.0),
        };
        sums.add(1.0 / f64::from(SERVICE_POINTS), wait);
    }
    sums
}

/// Requests that queue one by one.
fn queued(places: f64, load: f64, service: LogNormal) -> Sums {
    let chance = erlang_c(places, load);
    let mean =
        service.mean() / (places - load) * 0.5 * (service.ln_std * service.ln_std).exp().clamp(1.0, 4.0);
    // Of M/D/1, by Takács: from the uniform rest of a service at low use to an exponential wait at full use.
    let use_of_window = load / places;
    let square = 2.0 * use_of_window + UNIFORM_SQUARE * (1.0 - use_of_window);
    Sums { chance, first: chance * mean, second: chance * square * mean * mean }
}

/// Chance that all of `places` servers are busy at a load of `load` of them.
fn erlang_c(places: f64, load: f64) -> f64 {
    let (mut blocked, mut server) = (1.0, 1.0);
    while server <= places {
        blocked = load * blocked / (server + load * blocked);
        server += 1.0;
    }
    blocked / (1.0 - load / places * (1.0 - blocked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_server_waits_with_the_chance_of_being_busy() {
        assert!((erlang_c(1.0, 0.7) - 0.7).abs() < 1e-12);
    }

    #[test]
    fn the_points_keep_the_mean_wait() {
        for std_seconds in [0.02, 0.08, 0.1, 0.2] {
            let wait = WindowWait { mean_seconds: 0.1, std_seconds, ..WindowWait::default() };
            let weight: f64 = wait.points().map(|point| point.0).sum();
            let mean: f64 = wait.points().map(|point| point.0 * point.1).sum();
            assert!((weight - 1.0).abs() < 1e-9 && (mean - 0.1).abs() < 1e-9, "{weight} {mean}");
        }
    }

    #[test]
    fn two_servers_have_the_textbook_value() {
        // C(2, a) = a²/(2 + a)
        let load = 1.2_f64;
        assert!((erlang_c(2.0, load) - load * load / (2.0 + load)).abs() < 1e-12);
    }
}
