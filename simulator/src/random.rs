//! Random numbers from one seed: a small generator and the laws that the worlds need.
//!
//! xoshiro256++, seeded by splitmix64. Not for secrets.
//! Reference: Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2021; Marsaglia and Tsang, "A simple method for
//! generating gamma variables", 2000; Marsaglia, 1964, for the polar method.

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Random {
    state: [u64; 4],
    spare_normal: Option<f64>,
}

impl Random {
    /// The stream of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut at = seed;
        let mut next = || {
            at = at.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = at;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ (z >> 31)
        };
        Self { state: [next(), next(), next(), next()], spare_normal: None }
    }

    /// A stream of its own, named by a number: what one part draws does not move the others.
    #[must_use]
    pub fn fork(&mut self, name: u64) -> Self {
        Self::new(self.next_u64() ^ name.wrapping_mul(0xD605_BBB5_8C8A_BBBD))
    }

    /// Uniform over all 64-bit numbers.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// Uniform in (0, 1): neither end.
    #[inline]
    pub fn unit(&mut self) -> f64 {
        ((self.next_u64() >> 12) as f64 + 0.5) * (1.0 / 4_503_599_627_370_496.0)
    }

    /// Exponential with this rate.
    #[inline]
    pub fn exponential(&mut self, rate: f64) -> f64 {
        -self.unit().ln() / rate
    }

    /// Standard normal.
    #[inline]
    pub fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare_normal.take() {
            return spare;
        }
        loop {
            let (u, v) = (2.0 * self.unit() - 1.0, 2.0 * self.unit() - 1.0);
            let s = u * u + v * v;
            if s < 1.0 {
                let factor = (-2.0 * s.ln() / s).sqrt();
                self.spare_normal = Some(v * factor);
                return u * factor;
            }
        }
    }

    /// Gamma with this shape (above 0) and mean.
    pub fn gamma(&mut self, shape: f64, mean: f64) -> f64 {
        if shape < 1.0 {
            let boosted = self.gamma(shape + 1.0, shape + 1.0);
            return boosted * self.unit().powf(1.0 / shape) * mean / shape;
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 && self.unit().ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v * mean / shape;
            }
        }
    }

    /// Poisson with this mean: by products below 30, by halving above.
    pub fn poisson(&mut self, mean: f64) -> u64 {
        if mean > 30.0 {
            // The k-th arrival of a unit-rate process, k about 7/8 of the mean, splits the count.
            let k = (mean * 0.875).floor();
            let at = self.gamma(k, k);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a whole number of at most the mean"
            )]
            let first = k as u64;
            return if at > mean {
                self.binomial(first - 1, mean / at)
            } else {
                first + self.poisson(mean - at)
            };
        }
        let (mut count, mut product) = (0, self.unit());
        let limit = (-mean).exp();
        while product > limit {
            count += 1;
            product *= self.unit();
        }
        count
    }

    fn binomial(&mut self, trials: u64, probability: f64) -> u64 {
        (0..trials).map(|_| u64::from(self.unit() < probability)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(draw: impl FnMut() -> f64) -> (f64, f64) {
        let values: Vec<f64> = std::iter::repeat_with(draw).take(200_000).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64;
        (mean, variance)
    }

    #[test]
    fn laws_have_their_moments() {
        let mut random = Random::new(1);
        let (mean, variance) = moments(|| random.normal());
        assert!(mean.abs() < 0.01 && (variance - 1.0).abs() < 0.02);
        for shape in [0.11, 0.5, 3.0, 150.0] {
            let (mean, variance) = moments(|| random.gamma(shape, 2.0));
            assert!((mean / 2.0 - 1.0).abs() < 0.03, "{shape}: {mean}");
            assert!((variance * shape / 4.0 - 1.0).abs() < 0.06, "{shape}: {variance}");
        }
        for rate in [0.3, 12.0, 200.0] {
            let (mean, variance) = moments(|| random.poisson(rate) as f64);
            assert!((mean / rate - 1.0).abs() < 0.01 && (variance / rate - 1.0).abs() < 0.03, "{rate}");
        }
    }

    #[test]
    fn equal_seeds_give_equal_streams_and_forks_differ() {
        let (mut one, mut other) = (Random::new(7), Random::new(7));
        assert_eq!(one.next_u64(), other.next_u64());
        assert_ne!(one.fork(1).next_u64(), other.fork(2).next_u64());
    }
}
