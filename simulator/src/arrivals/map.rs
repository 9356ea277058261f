//! Markovian arrival processes from their matrices, of which the Markov-modulated Poisson process is the one with a diagonal D1.
//!
//! Rule: in state i the process waits an exponential time of rate −D0\[i\]\[i\]; then it moves to j without an arrival with chance
//! D0\[i\]\[j\] / −D0\[i\]\[i\], or with one with chance D1\[i\]\[j\] / −D0\[i\]\[i\]. It begins in its stationary law.
//! Reference: Neuts, "A versatile Markovian point process", 1979.

use nalgebra::{DMatrix, DVector};

use super::{ArrivalError, ArrivalProcess};
use crate::random::Random;

/// Rows may miss zero by this share of their rate: published matrices are rounded.
const ROW_TOLERANCE: f64 = 1e-3;

/// One way out of a state.
#[derive(Clone, Copy, Debug)]
struct Move {
    /// Chance of this or an earlier way.
    cumulative: f64,
    to: usize,
    is_arrival: bool,
}

#[derive(Clone, Debug)]
struct State {
    rate: f64,
    moves: Vec<Move>,
}

/// A Markovian arrival process.
#[derive(Clone, Debug)]
pub struct Map {
    states: Vec<State>,
    stationary: Vec<f64>,
    mean_rps: f64,
    state: Option<usize>,
    at: f64,
}

fn invalid(field: &'static str, reason: String) -> ArrivalError {
    ArrivalError::Value { field, reason }
}

impl Map {
    /// From the rates of moves without (`d0`) and with (`d1`) an arrival, per second.
    ///
    /// # Errors
    /// Matrices that are not square and alike, have entries of the wrong sign or rows of D0 + D1 that are not 0, or never bring an arrival.
    pub fn new(d0: &[Vec<f64>], d1: &[Vec<f64>]) -> Result<Self, ArrivalError> {
        let count = d0.len();
        for (field, matrix) in [("d0", d0), ("d1", d1)] {
            if count == 0 || matrix.len() != count || matrix.iter().any(|row| row.len() != count) {
                return Err(invalid(
                    field,
                    format!("must be a square of {count} rows, as `d0` and `d1` both are"),
                ));
            }
        }
        for i in 0..count {
            check_row(i, &d0[i], &d1[i])?;
        }
        let stationary = stationary(d0, d1)?;
        let mean_rps: f64 =
            stationary.iter().zip(d1).map(|(share, row)| share * row.iter().sum::<f64>()).sum();
        if mean_rps <= 0.0 {
            return Err(invalid("d1", "no state brings an arrival".to_owned()));
        }
        let states = (0..count).map(|i| state(i, &d0[i], &d1[i])).collect();
        Ok(Self { states, stationary, mean_rps, state: None, at: 0.0 })
    }

    /// A Poisson process whose rate is one of these per second, each for an exponential time of this mean in seconds, then another, all equally likely.
    ///
    /// # Errors
    /// Lists of different or no length, negative rates, stays that are not above 0.
    pub fn mmpp(rates_rps: &[f64], mean_stays_seconds: &[f64]) -> Result<Self, ArrivalError> {
        let count = rates_rps.len();
        if count == 0 || mean_stays_seconds.len() != count {
            let reason = format!("has {} values, `rates_rps` has {count}", mean_stays_seconds.len());
            return Err(invalid("mean_stays_seconds", reason));
        }
        if let Some(stay) = mean_stays_seconds.iter().find(|stay| !(**stay > 0.0 && stay.is_finite())) {
            return Err(invalid("mean_stays_seconds", format!("must be above 0, is {stay}")));
        }
        if let Some(rate) = rates_rps.iter().find(|rate| !(**rate >= 0.0 && rate.is_finite())) {
            return Err(invalid("rates_rps", format!("must be at least 0, is {rate}")));
        }
        let switch = |i: usize| if count > 1 { 1.0 / mean_stays_seconds[i] } else { 0.0 };
        let row = |i: usize| -> Vec<f64> {
            let other = switch(i) / (count - 1).max(1) as f64;
            (0..count).map(|j| if i == j { -rates_rps[i] - switch(i) } else { other }).collect()
        };
        let arrivals = |i: usize| (0..count).map(|j| if i == j { rates_rps[i] } else { 0.0 }).collect();
        let d1: Vec<Vec<f64>> = (0..count).map(arrivals).collect();
        Self::new(&(0..count).map(row).collect::<Vec<_>>(), &d1)
    }

    /// Mean arrivals per second.
    #[must_use]
    pub fn mean_rps(&self) -> f64 {
        self.mean_rps
    }

    /// The same process at another mean rate, its clock running faster or slower.
    #[must_use]
    pub fn scaled_to(mut self, mean_rps: f64) -> Self {
        let factor = mean_rps / self.mean_rps;
        self.states.iter_mut().for_each(|state| state.rate *= factor);
        self.mean_rps = mean_rps;
        self
    }
}

fn check_row(i: usize, d0: &[f64], d1: &[f64]) -> Result<(), ArrivalError> {
    let sum: f64 = d0.iter().chain(d1).sum();
    // A state that is never left has a row of zeros: nothing would ever happen again.
    if d0[i].is_nan() || d0[i] >= 0.0 {
        return Err(invalid("d0", format!("row {} must have a diagonal below 0, is {}", i + 1, d0[i])));
    }
    let off_diagonal = d0.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, rate)| rate);
    if off_diagonal.chain(d1).any(|rate| !(*rate >= 0.0 && rate.is_finite())) {
        return Err(invalid("d1", format!("row {}: rates of moves must be at least 0", i + 1)));
    }
    if sum.abs() > ROW_TOLERANCE * d0[i].abs() {
        return Err(invalid("d0", format!("row {} of D0 + D1 must sum to 0, is {sum}", i + 1)));
    }
    Ok(())
}

fn state(i: usize, d0: &[f64], d1: &[f64]) -> State {
    let silent = d0.iter().enumerate().filter(|(j, _)| *j != i).map(|(to, rate)| (to, *rate, false));
    let with = d1.iter().enumerate().map(|(to, rate)| (to, *rate, true));
    // The likeliest way first: it is found first.
    let mut ways: Vec<(usize, f64, bool)> = silent.chain(with).filter(|(_, rate, _)| *rate > 0.0).collect();
    ways.sort_by(|a, b| b.1.total_cmp(&a.1));
    let rate: f64 = ways.iter().map(|(_, rate, _)| rate).sum();
    let mut sum = 0.0;
    let moves = ways.into_iter().map(|(to, way, is_arrival)| {
        sum += way / rate;
        Move { cumulative: sum, to, is_arrival }
    });
    State { moves: moves.collect(), rate }
}

/// π with π·(D0 + D1) = 0 and sum 1.
fn stationary(d0: &[Vec<f64>], d1: &[Vec<f64>]) -> Result<Vec<f64>, ArrivalError> {
    let count = d0.len();
    // The last balance equation follows from the others; the sum takes its place.
    let matrix = DMatrix::from_fn(count, count, |row, column| {
        if row + 1 == count { 1.0 } else { d0[column][row] + d1[column][row] }
    });
    let right = DVector::from_fn(count, |row, _| if row + 1 == count { 1.0 } else { 0.0 });
    let found = matrix.lu().solve(&right).filter(|law| law.iter().all(|share| *share > -1e-6));
    let law = found.ok_or_else(|| invalid("d0", "the states do not all reach each other".to_owned()))?;
    Ok(law.iter().map(|share| share.max(0.0)).collect())
}

impl ArrivalProcess for Map {
    #[inline]
    fn next(&mut self, random: &mut Random) -> Option<f64> {
        let mut at_state = match self.state {
            Some(state) => state,
            None => {
                let mut left = random.unit();
                let is_here = |share: &f64| {
                    left -= share;
                    left <= 0.0
                };
                self.stationary.iter().position(is_here).unwrap_or(0)
            }
        };
        loop {
            let state = &self.states[at_state];
            self.at += random.exponential(state.rate);
            let draw = random.unit();
            let last = state.moves.len() - 1;
            let way = state.moves.iter().position(|way| draw <= way.cumulative).unwrap_or(last);
            at_state = state.moves[way].to;
            if state.moves[way].is_arrival {
                self.state = Some(at_state);
                return Some(self.at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arrivals::tests::dispersion;

    #[test]
    fn a_map_has_the_mean_and_the_lag_correlation_of_its_matrices() {
        // Alternates: an arrival of rate 10 leads to one of rate 1, and back. Mean gap 0.55 s, gaps of neighbours differ.
        let d0 = vec![vec![-10.0, 0.0], vec![0.0, -1.0]];
        let d1 = vec![vec![0.0, 10.0], vec![1.0, 0.0]];
        let mut map = Map::new(&d0, &d1).unwrap();
        assert!((map.mean_rps() - 2.0 / 1.1).abs() < 1e-9);
        let mut random = Random::new(4);
        let times: Vec<f64> = (0..100_000).filter_map(|_| map.next(&mut random)).collect();
        assert!((times[99_999] / 1e5 - 0.55).abs() < 0.01);
        let gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let product = gaps.windows(2).map(|pair| (pair[0] - 0.55) * (pair[1] - 0.55)).sum::<f64>() / 1e5;
        // Covariance of neighbours: (0.1 − 0.55)·(1 − 0.55).
        assert!((product + 0.2025).abs() < 0.02, "{product}");
    }

    #[test]
    fn a_switching_rate_of_many_states_keeps_its_mean_when_scaled() {
        let map = Map::mmpp(&[5.0, 50.0, 0.0], &[4.0, 1.0, 2.0]).unwrap();
        let expected = (5.0 * 4.0 + 50.0) / 7.0;
        assert!((map.mean_rps() / expected - 1.0).abs() < 1e-9, "{}", map.mean_rps());
        let (mean, index) = dispersion(&mut map.scaled_to(20.0), 1.0, 40_000);
        assert!((mean / 20.0 - 1.0).abs() < 0.05 && index > 5.0, "{mean} {index}");
    }

    #[test]
    fn one_state_is_poisson() {
        let (mean, index) = dispersion(&mut Map::mmpp(&[8.0], &[1.0]).unwrap(), 1.0, 40_000);
        assert!((mean / 8.0 - 1.0).abs() < 0.01 && (index - 1.0).abs() < 0.03, "{mean} {index}");
    }

    #[test]
    fn bad_matrices_say_what_is_wrong() {
        let error = |d0: &[Vec<f64>], d1: &[Vec<f64>]| Map::new(d0, d1).unwrap_err().to_string();
        assert!(error(&[vec![-1.0, 1.0]], &[vec![0.0]]).starts_with("`d0`: must be a square"));
        assert!(error(&[vec![1.0]], &[vec![1.0]]).contains("diagonal below 0"));
        assert!(error(&[vec![-2.0]], &[vec![1.0]]).contains("must sum to 0, is -1"));
        assert!(error(&[vec![-1.0]], &[vec![f64::NAN]]).contains("at least 0"));
        assert!(Map::mmpp(&[1.0], &[1.0, 2.0]).is_err() && Map::mmpp(&[0.0], &[1.0]).is_err());
    }
}
