//! A run cut into minutes: what arrived, what was answered, what it cost.

use std::time::Duration;

use gateway_contract::WindowStats;
use optimizer_tuner::formula::ArrivalLaw;

/// Arrivals of one minute, as they turned out.
#[derive(Clone, Debug, PartialEq)]
pub struct MinuteArrivals {
    /// Start, seconds.
    pub from_s: f64,
    /// Requests.
    pub requests: u64,
    /// The law that fits them; `None`: nothing arrived.
    pub law: Option<ArrivalLaw>,
}

/// What one minute came to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MinuteOutcome {
    /// Dollars.
    pub usd: f64,
    /// Requests that ended, in any way.
    pub ended: u64,
    /// Of those, not answered within the objective.
    pub late: u64,
}

/// Cuts windows into stretches of `length` and fits each one's law: its rate, and its dispersion by windows and by bins.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
pub fn minute_arrivals(windows: &[WindowStats], length: Duration) -> Vec<MinuteArrivals> {
    stretches(windows, length)
        .map(|(from_s, stretch)| {
            let requests: u64 = stretch.iter().map(|window| window.requests).sum();
            let seconds: f64 = stretch.iter().map(|window| window.length.as_secs_f64()).sum();
            let law = (requests > 0 && seconds > 0.0).then(|| {
                let rate = requests as f64 / seconds;
                let long = dispersion(stretch.iter().map(|window| (window.requests as f64, 1.0)));
                let bins: f64 = stretch.iter().map(|window| f64::from(window.bins.bins)).sum();
                let squared: f64 = stretch.iter().map(|window| window.bins.squared as f64).sum();
                let mean = requests as f64 / bins.max(1.0);
                let short = (squared / bins.max(1.0) - mean * mean) / mean;
                let (window, bin) = (stretch[0].length, stretch[0].bins.length);
                if long > 1.05 && short > 1.01 && bins >= 20.0 && bin < window {
                    ArrivalLaw::from_two_windows(rate, (bin, short), (window, long))
                } else {
                    ArrivalLaw::over_dispersed(rate, long.max(1.0), window)
                }
            });
            MinuteArrivals { from_s, requests, law }
        })
        .collect()
}

/// Cuts windows into stretches of `length`.
#[must_use]
pub fn minute_outcomes(windows: &[WindowStats], length: Duration) -> Vec<MinuteOutcome> {
    let sum = |stretch: &[WindowStats]| {
        stretch.iter().fold(MinuteOutcome::default(), |sum, window| {
            let ended = window.answered + window.failed + window.shed;
            MinuteOutcome {
                usd: sum.usd + window.cost_usd,
                ended: sum.ended + ended,
                late: sum.late + ended - window.within_slo.min(ended),
            }
        })
    };
    stretches(windows, length).map(|(_, stretch)| sum(stretch)).collect()
}

fn stretches(windows: &[WindowStats], length: Duration) -> impl Iterator<Item = (f64, &[WindowStats])> {
    let one = windows.first().map_or(Duration::from_secs(1), |window| window.length);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of windows")]
    let per = (length.as_secs_f64() / one.as_secs_f64().max(1e-9)).round().max(1.0) as usize;
    let starts = move |index: usize| (index * per) as f64 * one.as_secs_f64();
    windows.chunks(per).enumerate().map(move |(index, stretch)| (starts(index), stretch))
}

/// Variance over mean.
fn dispersion(counts: impl Iterator<Item = (f64, f64)>) -> f64 {
    let (mut n, mut sum, mut squared) = (0.0, 0.0, 0.0);
    for (count, weight) in counts {
        n += weight;
        sum += weight * count;
        squared += weight * count * count;
    }
    let mean = sum / f64::max(n, 1.0);
    (squared / f64::max(n, 1.0) - mean * mean) / mean.max(1e-12)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(requests: u64) -> WindowStats {
        WindowStats {
            requests,
            answered: requests,
            within_slo: requests.saturating_sub(1),
            cost_usd: 0.5,
            length: Duration::from_secs(1),
            ..WindowStats::default()
        }
    }

    #[test]
    fn minutes_keep_every_request_late_answer_and_dollar() {
        let windows: Vec<WindowStats> = (0..150).map(|n| window(10 + n % 3)).collect();
        let length = Duration::from_secs(60);
        let (arrivals, outcomes) = (minute_arrivals(&windows, length), minute_outcomes(&windows, length));
        assert_eq!((arrivals.len(), outcomes.len()), (3, 3));
        assert_eq!(arrivals.iter().map(|it| it.requests).sum::<u64>(), 150 * 11);
        assert_eq!(outcomes.iter().map(|it| it.late).sum::<u64>(), 150);
        assert!((outcomes.iter().map(|it| it.usd).sum::<f64>() - 75.0).abs() < 1e-9);
        assert!((arrivals[1].from_s - 60.0).abs() < 1e-9);
        let law = arrivals[0].law.as_ref().unwrap();
        assert!((law.requests_per_second - 11.0).abs() < 1e-9 && (law.dispersion - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_minute_without_requests_has_no_law() {
        assert_eq!(minute_arrivals(&[window(0)], Duration::from_secs(60))[0].law, None);
    }
}
