//! Processes made of processes: one after another, several at once, the times of recorded requests.

use super::{ArrivalError, ArrivalProcess, above_zero};
use crate::random::Random;

/// A process that may be moved between threads.
pub type BoxedArrivals = Box<dyn ArrivalProcess + Send>;

/// One process after another, each for its own time.
pub struct Splice {
    parts: Vec<(BoxedArrivals, f64)>,
    part: usize,
    /// When the part began.
    from: f64,
}

impl Splice {
    /// Processes, each from its own beginning for so many seconds; the last may be for ever (infinity).
    ///
    /// # Errors
    /// No part; a time that is not above 0.
    pub fn new(parts: Vec<(BoxedArrivals, f64)>) -> Result<Self, ArrivalError> {
        if parts.is_empty() {
            return Err(ArrivalError::Value { field: "parts", reason: "no part".to_owned() });
        }
        for (_, seconds) in &parts {
            above_zero("seconds", seconds.min(f64::MAX))?;
        }
        Ok(Self { parts, part: 0, from: 0.0 })
    }
}

impl ArrivalProcess for Splice {
    fn next(&mut self, random: &mut Random) -> Option<f64> {
        loop {
            let (process, seconds) = self.parts.get_mut(self.part)?;
            match process.next(random).filter(|at| at < seconds) {
                Some(at) => return Some(self.from + at),
                None => {
                    self.from += *seconds;
                    self.part += 1;
                }
            }
        }
    }
}

/// Several processes at once.
pub struct Merge {
    sources: Vec<(BoxedArrivals, Option<f64>)>,
    has_begun: bool,
}

impl Merge {
    /// All of these.
    ///
    /// # Errors
    /// No source.
    pub fn new(sources: Vec<BoxedArrivals>) -> Result<Self, ArrivalError> {
        if sources.is_empty() {
            return Err(ArrivalError::Value { field: "sources", reason: "no source".to_owned() });
        }
        Ok(Self { sources: sources.into_iter().map(|source| (source, None)).collect(), has_begun: false })
    }
}

impl ArrivalProcess for Merge {
    fn next(&mut self, random: &mut Random) -> Option<f64> {
        if !self.has_begun {
            self.has_begun = true;
            for (source, coming) in &mut self.sources {
                *coming = source.next(random);
            }
        }
        // Of equal times the first source's comes first.
        let coming = self.sources.iter().enumerate().filter_map(|(at, (_, coming))| Some((at, (*coming)?)));
        let (at, time) = coming.min_by(|a, b| a.1.total_cmp(&b.1))?;
        let (source, coming) = &mut self.sources[at];
        *coming = source.next(random);
        Some(time)
    }
}

/// Recorded times, thinned.
#[derive(Clone, Debug)]
pub struct Times {
    times: Vec<f64>,
    place: usize,
    kept: f64,
}

impl Times {
    /// Requests at these seconds, ascending, each kept with this chance.
    ///
    /// # Errors
    /// A chance that is not above 0 and at most 1; times that are not ascending from 0 or above.
    pub fn new(times: Vec<f64>, kept: f64) -> Result<Self, ArrivalError> {
        if !(kept > 0.0 && kept <= 1.0) {
            let reason = format!("recorded times can only be thinned, by at most 1, not by {kept}");
            return Err(ArrivalError::Value { field: "scale", reason });
        }
        let is_ascending = times.windows(2).all(|pair| pair[0] <= pair[1]);
        if !is_ascending || times.first().is_some_and(|first| first.is_nan() || *first < 0.0) {
            return Err(ArrivalError::Value { field: "file", reason: "times must ascend from 0".to_owned() });
        }
        Ok(Self { times, place: 0, kept })
    }
}

impl ArrivalProcess for Times {
    #[inline]
    fn next(&mut self, random: &mut Random) -> Option<f64> {
        loop {
            let at = *self.times.get(self.place)?;
            self.place += 1;
            if self.kept >= 1.0 || random.unit() < self.kept {
                return Some(at);
            }
        }
    }
}

impl<P: ArrivalProcess + ?Sized> ArrivalProcess for Box<P> {
    #[inline]
    fn next(&mut self, random: &mut Random) -> Option<f64> {
        (**self).next(random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arrivals::Poisson;
    use crate::arrivals::tests::dispersion;

    fn all(process: &mut dyn ArrivalProcess) -> Vec<f64> {
        let mut random = Random::new(1);
        std::iter::from_fn(|| process.next(&mut random)).collect()
    }

    fn times(times: &[f64]) -> BoxedArrivals {
        Box::new(Times::new(times.to_vec(), 1.0).unwrap())
    }

    #[test]
    fn parts_follow_each_other_and_are_cut() {
        let mut splice = Splice::new(vec![(times(&[1.0, 9.0]), 5.0), (times(&[0.5, 2.0]), 1.0)]).unwrap();
        assert_eq!(all(&mut splice), [1.0, 5.5]);
        let steady: BoxedArrivals = Box::new(Poisson::new(5.0));
        let mut endless = Splice::new(vec![(times(&[]), 2.0), (steady, f64::INFINITY)]).unwrap();
        assert!(endless.next(&mut Random::new(1)).unwrap() > 2.0);
        assert!(Splice::new(Vec::new()).is_err() && Splice::new(vec![(times(&[]), 0.0)]).is_err());
    }

    #[test]
    fn sources_are_merged_in_order() {
        let mut merge = Merge::new(vec![times(&[1.0, 3.0]), times(&[2.0]), times(&[])]).unwrap();
        assert_eq!(all(&mut merge), [1.0, 2.0, 3.0]);
        let poisson = |rate| -> BoxedArrivals { Box::new(Poisson::new(rate)) };
        let mut merge = Merge::new(vec![poisson(3.0), poisson(5.0)]).unwrap();
        let (mean, index) = dispersion(&mut merge, 1.0, 20_000);
        assert!((mean / 8.0 - 1.0).abs() < 0.02 && (index - 1.0).abs() < 0.05, "{mean} {index}");
    }

    #[test]
    fn recorded_times_are_thinned_and_not_stretched() {
        let all_times: Vec<f64> = (0..10_000).map(f64::from).collect();
        let kept = all(&mut Times::new(all_times.clone(), 0.25).unwrap()).len();
        assert!((2_300..2_700).contains(&kept), "{kept}");
        assert!(Times::new(all_times, 1.5).is_err() && Times::new(vec![2.0, 1.0], 1.0).is_err());
    }
}
