//! The standard normal law, exact far into its tails: density, distribution, quantile, and the two logarithms that
//! expected improvement needs. Deliberately absent: sampling (see `random`).

use std::f64::consts::{FRAC_1_SQRT_2, PI, SQRT_2};

/// ln √(2π).
const LN_SQRT_2_PI: f64 = 0.918_938_533_204_672_7;

/// Density at `z`.
#[must_use]
pub fn density(z: f64) -> f64 {
    (-0.5 * z * z - LN_SQRT_2_PI).exp()
}

/// Probability of a draw at or below `z`.
#[must_use]
pub fn distribution(z: f64) -> f64 {
    0.5 * libm::erfc(-z * FRAC_1_SQRT_2)
}

/// Natural logarithm of [`distribution`], finite for every finite `z`.
#[must_use]
pub fn ln_distribution(z: f64) -> f64 {
    if z > -20.0 { distribution(z).ln() } else { -0.5 * z * z - LN_SQRT_2_PI + mills_ratio(-z).ln() }
}

/// The `z` below which a draw lies with the given probability; infinite at 0 and 1, NaN outside [0, 1].
///
/// Acklam's rational approximation (relative error 1.2e-9), then one step of Halley's method.
#[must_use]
pub fn quantile(probability: f64) -> f64 {
    if !(0.0..=1.0).contains(&probability) {
        return f64::NAN;
    }
    if probability == 0.0 {
        return f64::NEG_INFINITY;
    }
    if probability == 1.0 {
        return f64::INFINITY;
    }
    if probability > 0.5 {
        return -quantile(1.0 - probability);
    }
    let rough = rough_quantile(probability);
    let error = (distribution(rough) - probability) / density(rough);
    rough - error / (1.0 + 0.5 * rough * error)
}

/// Logarithm of h(z) = φ(z) + z·Φ(z), the expected improvement in units of the standard deviation.
///
/// Far left the two terms cancel; there h(z) = φ(z)·(1 − t·M(t)) with t = −z and Mills' ratio M (Ament et al.,
/// "Unexpected improvements to expected improvement", 2023).
#[must_use]
pub fn ln_improvement(z: f64) -> f64 {
    if z > -1.0 {
        return (density(z) + z * distribution(z)).ln();
    }
    let t = -z;
    let remainder = if t < 20.0 {
        1.0 - t * mills_ratio(t)
    } else {
        let inverse = 1.0 / (t * t);
        inverse * (1.0 - inverse * (3.0 - inverse * (15.0 - 105.0 * inverse)))
    };
    -0.5 * z * z - LN_SQRT_2_PI + remainder.ln()
}

/// Mills' ratio (1 − Φ(t)) / φ(t) for t ≥ 0.
fn mills_ratio(t: f64) -> f64 {
    if t < 20.0 {
        (PI / 2.0).sqrt() * libm::erfc(t / SQRT_2) * (0.5 * t * t).exp()
    } else {
        let inverse = 1.0 / (t * t);
        (1.0 - inverse * (1.0 - inverse * (3.0 - inverse * 15.0))) / t
    }
}

/// Acklam's approximation for probabilities up to one half.
fn rough_quantile(probability: f64) -> f64 {
    const CENTRE_TOP: [f64; 6] = [
        -39.696_830_286_653_76,
        220.946_098_424_520_5,
        -275.928_510_446_968_7,
        138.357_751_867_269,
        -30.664_798_066_147_16,
        2.506_628_277_459_239,
    ];
    const CENTRE_BOTTOM: [f64; 6] = [
        -54.476_098_798_224_06,
        161.585_836_858_040_9,
        -155.698_979_859_886_6,
        66.801_311_887_719_72,
        -13.280_681_552_885_72,
        1.0,
    ];
    const TAIL_TOP: [f64; 6] = [
        -0.007_784_894_002_430_293,
        -0.322_396_458_041_136_5,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const TAIL_BOTTOM: [f64; 5] = [
        0.007_784_695_709_041_462,
        0.322_467_129_070_039_8,
        2.445_134_137_142_996,
        3.754_408_661_907_416,
        1.0,
    ];
    let polynomial = |coefficients: &[f64], at: f64| coefficients.iter().fold(0.0, |sum, c| sum * at + c);
    if probability < 0.024_25 {
        let at = (-2.0 * probability.ln()).sqrt();
        polynomial(&TAIL_TOP, at) / polynomial(&TAIL_BOTTOM, at)
    } else {
        let centred = probability - 0.5;
        let at = centred * centred;
        centred * polynomial(&CENTRE_TOP, at) / polynomial(&CENTRE_BOTTOM, at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distribution_meets_tabled_values() {
        assert!((distribution(1.96) - 0.975_002_104_851_779_7).abs() < 1e-14);
        assert!((distribution(-8.0) / 6.220_960_574_271_785e-16 - 1.0).abs() < 1e-10);
        // ln Φ(−40), from the continued fraction of Mills' ratio.
        assert!((ln_distribution(-40.0) + 804.608_442_013_753_8).abs() < 1e-6);
    }

    #[test]
    fn quantile_inverts_the_distribution() {
        for step in 1..1_000 {
            let probability = f64::from(step) / 1_000.0;
            assert!((distribution(quantile(probability)) - probability).abs() < 1e-14);
        }
        for exponent in [-300, -100, -20, -10] {
            let probability = 10f64.powi(exponent);
            assert!((distribution(quantile(probability)) / probability - 1.0).abs() < 1e-9, "1e{exponent}");
        }
        assert!(quantile(1.5).is_nan());
    }

    #[test]
    fn logarithms_are_smooth_where_their_formulas_change() {
        for (function, edge) in
            [(ln_improvement as fn(f64) -> f64, -1.0), (ln_improvement, -20.0), (ln_distribution, -20.0)]
        {
            let (left, right) = (function(edge - 1e-9), function(edge + 1e-9));
            assert!((left - right).abs() < 1e-6, "{edge}: {left} {right}");
        }
    }
}
