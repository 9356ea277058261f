//! The wait for a place in the in-flight window, and how full the window is.
//!
//! Rule: batches come at ν per second and stay S, so ν·E\[S\] places are taken on average. The chance that none is free is Erlang's C formula for
//! `max_in_flight` servers, and the wait then is exponential with mean E\[S\]/(c − a), halved (1 + CV²)/2 for a service that varies less
//! than an exponential one: the usual M/G/c approximation. At a bursty rate both are worked out per rate and mixed.
//!
//! Bounds: batches that wait for a place go on filling, so near full use the window relieves itself and this overstates the wait. Above
//! [`SATURATION`] of the places the prediction is marked; a search should treat that as outside its bounds.
//! Reference: Erlang, 1917; Lee and Longton, 1959, for the general service time.

use super::counts::ArrivalTable;
use super::fill::FillLaw;

/// Share of the window from which on a prediction is not to be trusted.
pub const SATURATION: f64 = 0.85;

/// The wait for a place, at a random batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WindowWait {
    /// Chance that a batch waits.
    pub chance: f64,
    /// Mean seconds that it waits then.
    pub mean_seconds: f64,
    /// Mean invocations in flight.
    pub mean_in_flight: f64,
    /// Highest mean use of the window at any rate that brings more than 1 % of the batches; 1: all places always taken.
    pub utilisation: f64,
}

impl WindowWait {
    /// The wait of the batches of `fill` in a window of `max_in_flight`, with these mean and coefficient of variation of service.
    #[must_use]
    pub fn new(
        table: &ArrivalTable,
        fill: &FillLaw,
        max_in_flight: u32,
        service_seconds: f64,
        service_cv: f64,
    ) -> Self {
        let places = f64::from(max_in_flight.max(1));
        let mut wait = Self {
            mean_in_flight: fill.batches_per_second * service_seconds,
            ..Self::default()
        };
        if fill.groups.is_empty() {
            let shares: f64 = table.nodes.iter().map(|node| node.rate * node.time_share).sum();
            for node in &table.nodes {
                wait.add(node.rate * node.time_share / shares, node.time_share, fill, places, service_seconds, service_cv);
            }
        }
        for group in &fill.groups {
            wait.add(group.share, table.nodes[group.node].time_share, fill, places, service_seconds, service_cv);
        }
        if wait.chance > 0.0 {
            wait.mean_seconds /= wait.chance;
        }
        wait
    }

    /// Whether the window is too full for this to be trusted.
    #[must_use]
    pub fn is_saturated(&self) -> bool {
        self.utilisation > SATURATION
    }

    /// Four equally likely waits that stand for the exponential law.
    pub(crate) fn points(&self) -> [f64; 4] {
        [0.125_f64, 0.375, 0.625, 0.875].map(|p| -(1.0 - p).ln() * self.mean_seconds * 1.06)
    }

    fn add(&mut self, share: f64, time_share: f64, fill: &FillLaw, places: f64, seconds: f64, cv: f64) {
        let load = share * fill.batches_per_second / time_share.max(1e-12) * seconds;
        let use_of_window = load / places;
        if share > 0.01 {
            self.utilisation = self.utilisation.max(use_of_window);
        }
        let bounded = load.min(0.98 * places);
        let chance = erlang_c(places, bounded);
        self.chance += share * chance;
        self.mean_seconds += share * chance * seconds / (places - bounded) * 0.5 * (1.0 + cv * cv);
    }
}

/// Chance that all of `places` servers are busy at a load of `load` of them.
fn erlang_c(places: f64, load: f64) -> f64 {
    if load < 0.3 * places && places > 40.0 {
        return 0.0;
    }
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
    fn two_servers_have_the_textbook_value() {
        // C(2, a) = a²/(2 + a)
        let load = 1.2_f64;
        assert!((erlang_c(2.0, load) - load * load / (2.0 + load)).abs() < 1e-12);
    }
}
