//! The grey box: one window's decision. Everything rests on the belief and the law of arrivals; nothing is searched by trying.

use gateway_contract::WindowStats;

use super::Tuner;
use crate::event::{Phase, SwitchReason, TunerAction};
use crate::formula::ArrivalLaw;
use crate::search::{Found, Scored, Search, Situation};
use crate::service::belief::RungPoint;

/// Windows after a switch in which only danger or a change of load leads to another.
const SETTLE_WINDOWS: u64 = 10;
/// Windows between searches when nothing asks for one.
const SEARCH_EVERY: u64 = 15;
/// A rate that has moved by this share asks for a search.
const RATE_MOVED: f64 = 0.07;
/// The plan in force is at risk when so many times the allowed late answers are expected of it: the best plan is often just within.
const AT_RISK: f64 = 1.25;
/// Time over which the cost of a switch must pay off, seconds.
const PAY_OFF_S: f64 = 600.0;

impl Tuner {
    pub(super) fn decide(&mut self, stats: &WindowStats, is_warming: bool) {
        if self.is_blind(stats) {
            return;
        }
        let Some(belief) = self.belief.clone() else {
            self.phase = Phase::Learning;
            return;
        };
        if !is_warming {
            self.adjust_caution(stats);
        }
        if self.guard() {
            return;
        }
        if self.phase == Phase::RollingBack {
            self.phase = Phase::Holding;
        }
        self.watch_canary();
        let Some(law) = self.arrivals.law() else { return };
        if !self.should_search(&law) {
            return;
        }
        let reason = self.searched.is_due.take().unwrap_or(SwitchReason::Better);
        let (windows, vetoes) = (self.windows, self.vetoes.clone());
        let vetoed = |place: RungPoint| vetoes.get(&place).is_some_and(|&until| windows < until);
        let (settings, economics) = (self.settings.clone(), self.economics.clone());
        let situation = Situation {
            settings: &settings,
            base: &self.base,
            economics: &economics,
            knowledge: &self.knowledge,
            belief: &belief,
            law: &law,
            caution: self.caution,
            vetoed: &vetoed,
        };
        let Some(search) = Search::new(&situation) else { return };
        let found = search.run();
        self.hold_outs.set_place(found.unbatched.map(|unbatched| unbatched.place));
        let incumbent = self.point.as_ref().and_then(|point| search.score(point));
        self.choose(&search, &found, incumbent, reason, &law);
        let per_second = law.requests_per_second;
        self.note(&search, found, law);
        if self.canary.is_none() {
            self.tempt(&search, per_second);
        }
    }

    fn should_search(&self, law: &ArrivalLaw) -> bool {
        let moved = self.searched.law.as_ref().is_none_or(|before| {
            (law.requests_per_second / before.requests_per_second).ln().abs() > RATE_MOVED
        });
        moved || self.searched.is_due.is_some() || self.windows >= self.searched.window + SEARCH_EVERY
    }

    /// Switches, refreshes or keeps.
    fn choose(
        &mut self,
        search: &Search<'_>,
        found: &Found,
        incumbent: Option<Scored>,
        reason: SwitchReason,
        law: &ArrivalLaw,
    ) {
        let Some(best) = &found.best else { return };
        let is_given_up = self
            .given_up
            .as_ref()
            .is_some_and(|(point, until)| self.windows < *until && *point == best.point);
        let is_settling = self.windows < self.window_of_last_switch + SETTLE_WINDOWS;
        let allowed_late = search.allowed_late();
        // Just outside is no danger, by itself.
        let is_near = |late_share: f64| late_share > allowed_late && late_share <= AT_RISK * allowed_late;
        let at_risk =
            incumbent.as_ref().is_some_and(|it| !it.is_feasible && !is_near(it.expected.late_share))
                && best.is_feasible;
        let gain = incumbent.as_ref().map(|it| it.score - best.score);
        let pay_off = {
            let earned = best.expected.usd_per_million * 1e-6 * law.requests_per_second * PAY_OFF_S;
            (search.switch_usd(best, |memory_mib| self.is_warm(memory_mib)) / earned.max(1e-12)).min(1.0)
        };
        let is_better = gain.is_none_or(|gain| gain > self.settings.dead_band + pay_off)
            && best.is_feasible | incumbent.is_none();
        let is_free = !is_settling || reason == SwitchReason::ChangePoint || self.point.is_none();
        let is_other = self.point.as_ref() != Some(&best.point);
        if is_other && !is_given_up && best.is_known && (at_risk || (is_better && is_free)) {
            let reason = if self.point.is_none() {
                SwitchReason::Learned
            } else if at_risk && reason != SwitchReason::ChangePoint {
                SwitchReason::ObjectiveAtRisk
            } else {
                reason
            };
            if let Some(table) = search.upper_table(&best.point) {
                self.end_canary_as_abandoned();
                let before = incumbent.as_ref().map(Scored::candidate);
                let runner_up = found.runner_up.as_ref().map(Scored::candidate);
                self.switch(best, table, reason, before, runner_up);
                self.phase = Phase::Holding;
                if !best.is_feasible {
                    self.emit(TunerAction::Infeasible { late_share: best.expected.late_share });
                }
                self.searched.incumbent = Some(best.clone());
            }
            return;
        }
        if let Some(table) = self.point.as_ref().and_then(|point| search.upper_table(point)) {
            self.refresh(table);
        }
        if let Some(incumbent) = &incumbent
            && is_other
            && reason == SwitchReason::ChangePoint
        {
            let (incumbent, challenger) = (incumbent.candidate(), best.candidate());
            self.emit(TunerAction::Kept { incumbent, challenger });
        }
        self.searched.incumbent = incumbent;
    }

    /// Remembers what the search rested on and found.
    fn note(&mut self, search: &Search<'_>, found: Found, law: ArrivalLaw) {
        self.searched.window = self.windows;
        self.searched.law = Some(law);
        self.searched.drift = self.knowledge.drift_ln();
        self.searched.caution = self.caution;
        self.searched.found = found;
        self.searched.batch_usd.clear();
        if let Some(point) = &self.point {
            let mut first = 1;
            self.searched.batch_usd.push(0.0);
            for &(last, place) in &point.rungs {
                for items in first..=last {
                    self.searched.batch_usd.push(search.batch_usd(place, items).unwrap_or(0.0));
                }
                first = last + 1;
            }
        }
    }

    /// Nothing usable is observed although batches are sent, run or not: the configured plan serves.
    fn is_blind(&mut self, stats: &WindowStats) -> bool {
        let silent = self.windows - self.window_of_last_observation;
        let is_blind = silent > u64::from(self.settings.guard.blind_after_windows)
            && (stats.batches + stats.throttled + stats.failed > 0 || self.phase == Phase::Blind);
        if is_blind && self.phase != Phase::Blind {
            self.end_canary_as_abandoned();
            self.phase = Phase::Blind;
            self.emit(TunerAction::Blind { windows: u32::try_from(silent).unwrap_or(u32::MAX) });
            self.return_to_base();
        }
        if !is_blind && self.phase == Phase::Blind {
            self.phase = if self.belief.is_some() { Phase::Holding } else { Phase::Learning };
            self.searched.is_due = Some(SwitchReason::Learned);
        }
        is_blind
    }
}
