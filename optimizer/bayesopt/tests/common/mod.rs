//! Published test functions with their optima, shared by tests and benchmark.

use optimizer_bayesopt::Variable;

/// A real variable on a linear scale.
pub(crate) fn real(low: f64, high: f64) -> Variable {
    Variable::Real { low, high, log: false }
}

/// Branin and Hoo (1972): three global minima of 0.397887.
pub(crate) fn branin(x: f64, y: f64) -> f64 {
    use std::f64::consts::PI;
    let bowl = y - 5.1 / (4.0 * PI * PI) * x * x + 5.0 / PI * x - 6.0;
    bowl * bowl + 10.0 * (1.0 - 1.0 / (8.0 * PI)) * x.cos() + 10.0
}

/// The minimum of [`branin`].
pub(crate) const BRANIN_OPTIMUM: f64 = 0.397_887_357_729_739;

/// Hartmann (1972) in six dimensions: global minimum −3.32237.
pub(crate) fn hartmann6(x: &[f64]) -> f64 {
    const ALPHA: [f64; 4] = [1.0, 1.2, 3.0, 3.2];
    const A: [[f64; 6]; 4] = [
        [10.0, 3.0, 17.0, 3.5, 1.7, 8.0],
        [0.05, 10.0, 17.0, 0.1, 8.0, 14.0],
        [3.0, 3.5, 1.7, 10.0, 17.0, 8.0],
        [17.0, 8.0, 0.05, 10.0, 0.1, 14.0],
    ];
    const P: [[f64; 6]; 4] = [
        [0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886],
        [0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991],
        [0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650],
        [0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381],
    ];
    let term = |i: usize| -> f64 { (0..6).map(|j| A[i][j] * (x[j] - P[i][j]).powi(2)).sum() };
    -(0..4).map(|i| ALPHA[i] * (-term(i)).exp()).sum::<f64>()
}

/// The minimum of [`hartmann6`].
pub(crate) const HARTMANN6_OPTIMUM: f64 = -3.322_368;

/// Gardner et al. (2014), first simulation: cos 2x cos y + sin x where cos x cos y − sin x sin y ≤ 0.5, on [0, 6]².
pub(crate) fn gardner(point: &[f64]) -> (f64, f64) {
    let (x, y) = (point[0], point[1]);
    ((2.0 * x).cos() * y.cos() + x.sin(), (x + y).cos() - 0.5)
}

/// The optimum of [`gardner`] on a grid of a thousandth of the range.
pub(crate) fn gardner_optimum() -> f64 {
    let mut best = f64::INFINITY;
    for i in 0..=1_000 {
        for j in 0..=1_000 {
            let (value, constraint) = gardner(&[f64::from(i) * 0.006, f64::from(j) * 0.006]);
            if constraint <= 0.0 {
                best = best.min(value);
            }
        }
    }
    best
}
