//! How sparingly a plan uses execution environments: what the engine is told about INIT, waiting and keeping.
//!
//! The engine does the waiting and the calling (`gateway/policy`); here is what that rests on. *Waiting*: a part of the late answers that the objective allows.
//! *Keeping*: an idle environment is called until the calls have cost as much as its INIT (ski rental). Deliberately absent: how many environments a load
//! needs, which shows by itself, and what cold starts add to a plan's cost (`formula/fleet.rs`).

use std::time::Duration;

use gateway_contract::EnvironmentPolicy;

use crate::settings::{PolicyKind, TunerSettings};
use crate::warm_up::STAYS_WARM;

/// INIT before one was seen: Lambda breaks it off after so long.
const INIT_LIMIT: Duration = Duration::from_secs(10);
/// Of the late answers that the objective allows, the share that waiting for an environment may cause.
const WAITING: f64 = 0.3;
/// What a call to a warm environment is billed beside the fee, seconds.
const CALL_S: f64 = 0.002;
/// Most calls that keep an idle environment: at five minutes each some three days.
const MOST_CALLS: f64 = 1000.0;

/// Of the configured plan, before anything is known. `None`: environments are not to be waited for.
#[must_use]
pub fn before_learning(settings: &TunerSettings) -> Option<EnvironmentPolicy> {
    (settings.environments.waits && settings.policy == PolicyKind::GreyBox).then_some(EnvironmentPolicy {
        init: INIT_LIMIT,
        waiting_share: WAITING * (1.0 - settings.slo_percentile),
        stays_warm: STAYS_WARM,
        keep_calls: 0,
    })
}

/// Of a chosen plan whose slowest size has an INIT of `init_s` seconds at `usd_per_second`; a call costs `request_usd` beside its time.
pub(crate) fn learned(
    settings: &TunerSettings,
    init_s: f64,
    usd_per_second: f64,
    request_usd: f64,
) -> Option<EnvironmentPolicy> {
    let before = before_learning(settings)?;
    Some(EnvironmentPolicy {
        init: Duration::from_secs_f64(init_s.clamp(0.0, 900.0)),
        keep_calls: keep_calls(settings, init_s, usd_per_second, request_usd),
        ..before
    })
}

/// Calls that cost what one INIT does.
pub(crate) fn keep_calls(
    settings: &TunerSettings,
    init_s: f64,
    usd_per_second: f64,
    request_usd: f64,
) -> u32 {
    let calls = init_s * usd_per_second / (CALL_S * usd_per_second + request_usd).max(1e-15);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
    let calls = calls.clamp(0.0, MOST_CALLS) as u32;
    if settings.environments.keeps { calls } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::EnvironmentSettings;

    const GB_SECOND_USD: f64 = 0.000_016_666_7;

    #[test]
    fn a_long_init_is_worth_many_calls_and_a_short_one_few() {
        let calls = |init_s, gigabytes: f64| {
            keep_calls(&TunerSettings::default(), init_s, gigabytes * GB_SECOND_USD, 2e-7)
        };
        assert!(calls(8.0, 10.0) >= 250, "{}", calls(8.0, 10.0));
        assert!((5..30).contains(&calls(0.35, 0.5)), "{}", calls(0.35, 0.5));
        assert_eq!(calls(0.0, 1.0), 0);
    }

    #[test]
    fn what_is_switched_off_is_neither_waited_for_nor_kept() {
        let off = |waits, keeps| TunerSettings {
            environments: EnvironmentSettings { waits, keeps },
            ..TunerSettings::default()
        };
        assert_eq!(learned(&off(false, true), 8.0, 1e-4, 2e-7), None);
        assert_eq!(learned(&off(true, false), 8.0, 1e-4, 2e-7).map(|it| it.keep_calls), Some(0));
    }
}
