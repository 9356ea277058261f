//! A gamma-distributed rate as a handful of rates with weights: Gauss quadrature for the law that a *request* sees.
//!
//! Problem: with over-dispersed arrivals the rate itself is random. Fill, cost and latency are not linear in it, so its mean is not enough.
//!
//! Rule: a gamma law of shape r, seen at the instant of a request, is a gamma law of shape r + 1 (each rate weighs by the requests that it
//! brings). The n-point Gauss rule of that law (generalised Laguerre, α = r) is exact for polynomials up to degree 2n − 1. Nodes are the
//! eigenvalues of the rule's Jacobi matrix, found by bisection on Sturm counts; weights are the Christoffel numbers 1/Σ pₖ²(x).
//! Over *time* a node weighs by its share of requests divided by its rate; what is missing to 1 is time at a rate of about zero.
//!
//! Why not equal quantiles: a gamma law of shape 0.1 lives near zero and far out at once; quantiles waste themselves on the former.
//! Reference: Golub and Welsch, "Calculation of Gauss quadrature rules", 1969; Givens, 1954, for the bisection.

/// Most nodes that a rule has here.
pub(crate) const MAX_NODES: usize = 8;

/// One rate of the mixture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct RateNode {
    /// Requests per second.
    pub(crate) rate: f64,
    /// Share of time at this rate.
    pub(crate) time_share: f64,
}

/// The nodes of a gamma-distributed rate with this mean and standard deviation; one node for a fixed rate.
pub(crate) fn rate_nodes(mean: f64, std: f64) -> Vec<RateNode> {
    let cv = std / mean;
    let count = match cv {
        _ if cv < 1e-3 => return vec![RateNode { rate: mean, time_share: 1.0 }],
        _ if cv < 0.15 => 4,
        _ if cv < 0.6 => 6,
        _ => MAX_NODES,
    };
    let shape = 1.0 / (cv * cv);
    let scale = mean / shape;
    let nodes = laguerre(count, shape);
    nodes
        .iter()
        .map(|&(x, weight)| RateNode { rate: scale * x, time_share: weight * mean / (scale * x) })
        .collect()
}

/// Nodes and weights (sum 1) for the density x^α e^(−x)/Γ(α+1).
fn laguerre(count: usize, alpha: f64) -> Vec<(f64, f64)> {
    let diagonal = |k: usize| 2.0 * k as f64 + 1.0 + alpha;
    let off_squared = |k: usize| k as f64 * (k as f64 + alpha);
    let below = |x: f64| {
        let (mut negative, mut pivot) = (0, 1.0_f64);
        for k in 0..count {
            pivot = diagonal(k) - x - if k == 0 { 0.0 } else { off_squared(k) / pivot };
            if pivot.abs() < 1e-300 {
                pivot = -1e-300;
            }
            negative += usize::from(pivot < 0.0);
        }
        negative
    };
    let last = diagonal(count - 1) + 2.0 * off_squared(count).sqrt();
    (0..count)
        .map(|rank| {
            let (mut low, mut high) = (0.0, last);
            for _ in 0..64 {
                let middle = 0.5 * (low + high);
                if below(middle) > rank {
                    high = middle;
                } else {
                    low = middle;
                }
            }
            let x = 0.5 * (low + high);
            (x, christoffel(count, x, diagonal, off_squared))
        })
        .collect()
}

fn christoffel(
    count: usize,
    x: f64,
    diagonal: impl Fn(usize) -> f64,
    off_squared: impl Fn(usize) -> f64,
) -> f64 {
    let (mut before, mut here, mut sum) = (0.0, 1.0_f64, 1.0);
    for k in 0..count - 1 {
        let next = ((x - diagonal(k)) * here - off_squared(k).sqrt() * before) / off_squared(k + 1).sqrt();
        before = here;
        here = next;
        sum += here * here;
    }
    1.0 / sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_has_the_moments_of_the_gamma_law() {
        for alpha in [0.05, 0.5, 3.0, 150.0] {
            let nodes = laguerre(6, alpha);
            let moment = |power: i32| nodes.iter().map(|(x, w)| w * x.powi(power)).sum::<f64>();
            let mut exact = 1.0;
            for power in 0..6_i32 {
                assert!((moment(power) / exact - 1.0).abs() < 1e-8, "{alpha} {power}");
                exact *= alpha + 1.0 + f64::from(power);
            }
        }
    }

    #[test]
    fn time_shares_keep_the_mean_and_never_exceed_one() {
        for (mean, std) in [(1.0, 3.0), (20.0, 6.0), (300.0, 25.0)] {
            let nodes = rate_nodes(mean, std);
            let share: f64 = nodes.iter().map(|node| node.time_share).sum();
            let rate: f64 = nodes.iter().map(|node| node.time_share * node.rate).sum();
            let square: f64 = nodes.iter().map(|node| node.time_share * node.rate * node.rate).sum();
            assert!(share <= 1.0 + 1e-9 && (rate / mean - 1.0).abs() < 1e-9);
            assert!(((square - mean * mean) / (std * std) - 1.0).abs() < 1e-6);
        }
    }
}
