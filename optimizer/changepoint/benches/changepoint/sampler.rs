//! Seeded counts of a given mean and index of dispersion: inversion of the exact distribution function, so that no
//! approximation of a sampler gets into the false-alarm rates. Negative binomial; Poisson at dispersion 1.

use optimizer_changepoint::likelihood::ln_likelihood;

/// SplitMix64 (Steele, Lea, Flood 2014): enough for inversion sampling, and reproducible anywhere.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1).
    pub(crate) fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// The distribution function of counts with one mean and dispersion.
#[derive(Debug, Clone)]
pub(crate) struct Counts {
    cumulative: Vec<f64>,
}

impl Counts {
    pub(crate) fn new(mean: f64, dispersion: f64) -> Self {
        let mut cumulative = Vec::new();
        let (mut sum, mut ln_factorial, mut count) = (0.0, 0.0, 0.0_f64);
        while sum < 1.0 - 1e-14 && count < mean + 100.0 * ((dispersion * mean).sqrt() + dispersion) {
            if count > 0.0 {
                ln_factorial += count.ln();
            }
            sum += (ln_likelihood(count, mean, dispersion) - ln_factorial).exp();
            cumulative.push(sum);
            count += 1.0;
        }
        Self { cumulative }
    }

    pub(crate) fn draw(&self, random: &mut Random) -> u64 {
        let u = random.uniform();
        let index = self.cumulative.partition_point(|value| *value <= u);
        index.min(self.cumulative.len() - 1) as u64
    }

    /// Counts that can be drawn are below this.
    pub(crate) fn len(&self) -> usize {
        self.cumulative.len()
    }
}
