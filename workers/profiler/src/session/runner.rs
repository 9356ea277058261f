//! The runs themselves: order, visits, and what is done about failures.

use std::collections::BTreeMap;
use std::time::Instant;

use super::budget::Tally;
use super::state::{ModelState, PointState};
use super::{Ending, Progress, Session, SessionError, inputs, remove_of};
use crate::Inputs;
use crate::estimate::Estimate;
use crate::invocation::{Run, RunKind};
use crate::journal::Journal;
use crate::measure::{self, micros};
use crate::random::Random;
use crate::versions::Versions;

/// Failed runs of a point after which it is given up.
const FAILURES_PER_POINT: u32 = 2;
/// Given-up points in a row after which the rest of the same memory and process count is.
const POINTS_GIVEN_UP: u32 = 2;
/// Warm runs of a visit that may meet a cold environment: with many at once it takes a few until all are there. More, and they do not stay.
const MISSES_PER_VISIT: u32 = 20;

/// Runs what the journal lacks, within the budget. Versions are removed model by model; whoever calls this also calls [`remove`], whatever it answers.
///
/// # Errors
/// As [`SessionError`]. A point that fails is no error: the journal names it.
pub async fn run(session: Session<'_>, journal: &mut Journal) -> Result<Ending, SessionError> {
    let experiment = session.experiment;
    let mut runner = Runner {
        versions: Versions::new(session.lambda, &experiment.name),
        random: Random::new(experiment.seed),
        batch: journal.runs().len() as u64 * 1000,
        states: experiment
            .models
            .iter()
            .map(|model| ModelState::new(experiment, model, journal, session.predict))
            .collect(),
        tally: Tally::of(journal.runs()),
        session,
        journal,
    };
    for place in 0..experiment.models.len() {
        if let Some(ending) = runner.model(place).await? {
            return Ok(ending);
        }
    }
    let measured = runner.journal.runs().iter().any(Run::is_true_to_kind);
    match runner.journal.given_up().first() {
        Some((_, _, reason)) if !measured => Err(SessionError::Nothing(reason.clone())),
        _ => Ok(Ending::Finished),
    }
}

struct Runner<'a, 'j> {
    session: Session<'a>,
    journal: &'j mut Journal,
    versions: Versions,
    random: Random,
    /// Numbers the requests.
    batch: u64,
    tally: Tally,
    states: Vec<ModelState>,
}

impl Runner<'_, '_> {
    /// One model to its end, or `Some` ending before it.
    async fn model(&mut self, place: usize) -> Result<Option<Ending>, SessionError> {
        let experiment = self.session.experiment;
        let model = &experiment.models[place];
        let mut order = self.states[place].first_round(&mut self.random);
        if order.is_empty() {
            return Ok(None);
        }
        let mut inputs = inputs(experiment, model)?;
        self.borrow_latest(&model.function).await?;
        let mut failed_in_row: BTreeMap<(u32, u32), u32> = BTreeMap::new();
        while !order.is_empty() {
            for &at in &order {
                let point = self.states[place].points[at].point;
                let failed = failed_in_row.entry((point.memory_mib, point.process_count)).or_default();
                if *failed >= POINTS_GIVEN_UP {
                    self.give_up(
                        place,
                        at,
                        "other points of this memory and process count failed".to_owned(),
                    )?;
                    continue;
                }
                if let Some(ending) = self.visit(place, at, &mut inputs).await? {
                    return Ok(Some(ending));
                }
                *failed = if self.states[place].points[at].is_given_up { *failed + 1 } else { 0 };
                self.tell(place, at);
            }
            order = self.states[place].open();
            self.random.shuffle(&mut order);
        }
        remove_of(&self.versions, &model.function, self.journal).await?;
        Ok(None)
    }

    /// Notes what `$LATEST` is before it is changed, and clears away what an earlier session left.
    async fn borrow_latest(&mut self, function: &str) -> Result<(), SessionError> {
        let (found, is_marked) = self.versions.original(function).await?;
        match (self.journal.original(function), is_marked) {
            (None, true) => return Err(SessionError::Marked { function: function.to_owned() }),
            // The function may have been given other memory between two sessions; what it has now is its own.
            (Some(known), false) if *known == found => {}
            (_, false) => self.journal.add_original(found)?,
            (Some(_), true) => {}
        }
        let kept: Vec<String> = self.versions.ours(function).await?;
        for version in kept {
            self.versions.delete(function, &version).await?;
        }
        self.states.iter_mut().for_each(|state| state.warm_versions.clear());
        Ok(())
    }

    /// The runs of a point that are due now.
    async fn visit(
        &mut self,
        place: usize,
        at: usize,
        inputs: &mut Inputs,
    ) -> Result<Option<Ending>, SessionError> {
        let runs = self.session.experiment.runs;
        for _ in 0..self.states[place].points[at].cold_due(&runs) {
            if let Some(ending) = self.ends(place, at, RunKind::Cold) {
                return Ok(Some(ending));
            }
            if self.run(place, at, RunKind::Cold, inputs).await?.is_none() {
                return Ok(None);
            }
        }
        let target = self.states[place].points[at].warm_target(&runs);
        let (mut warm_ups_due, mut misses) = (runs.warm_up, 0);
        while self.states[place].points[at].needs_warm(target, runs.stop_width) {
            let next = if warm_ups_due > 0 { RunKind::WarmUp } else { RunKind::Warm };
            if let Some(ending) = self.ends(place, at, next) {
                return Ok(Some(ending));
            }
            warm_ups_due = warm_ups_due.saturating_sub(1);
            match self.run(place, at, next, inputs).await? {
                // A failure may have cost the environment, and an environment that was gone is warm now.
                Some(false) => {
                    warm_ups_due = warm_ups_due.max(runs.warm_up.min(1));
                    misses += 1;
                }
                Some(true) => {}
                None => return Ok(None),
            }
            if misses > MISSES_PER_VISIT {
                self.give_up(place, at, "its environments do not stay warm".to_owned())?;
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// Why the next run may not be begun.
    fn ends(&self, place: usize, at: usize, kind: RunKind) -> Option<Ending> {
        if self.session.stop.is_asked() {
            return Some(Ending::Stopped);
        }
        let (state, point) = (&self.states[place], &self.states[place].points[at]);
        let next = point.next(&self.session.experiment.runs, &self.session.prices, state.scale(), kind);
        self.tally.exceeds(&self.session.experiment.budget, next).map(Ending::Budget)
    }

    /// One run, written down: whether it counts; `None`: the point is given up.
    async fn run(
        &mut self,
        place: usize,
        at: usize,
        kind: RunKind,
        inputs: &mut Inputs,
    ) -> Result<Option<bool>, SessionError> {
        let begin = Instant::now();
        let model = &self.session.experiment.models[place];
        let point = self.states[place].points[at].point;
        let payloads = match measure::payloads(inputs, &point, &mut self.batch) {
            Ok(payloads) => payloads,
            Err(reason) => {
                self.give_up(place, at, reason)?;
                return Ok(None);
            }
        };
        let version = self.version(place, &model.function, point.memory_mib, kind).await?;
        tokio::time::sleep(self.session.experiment.runs.pause).await;
        let burst = measure::burst(
            self.session.lambda,
            &model.function,
            &version,
            &point,
            payloads,
            &self.session.prices,
        )
        .await;
        if kind == RunKind::Cold {
            self.versions.delete(&model.function, &version).await?;
        }
        let run = Run {
            id: self.journal.runs().len() as u64,
            model: model.name.clone(),
            point,
            kind,
            simulated: false,
            started_ms: burst.started_ms,
            total_us: burst.total_us,
            spent_ms: micros(begin.elapsed()) / 1000,
            invocations: burst.invocations,
        };
        let state = &mut self.states[place].points[at];
        state.add(&run);
        let (is_answered, failures) = (run.is_answered(), state.failures);
        let counts = run.is_true_to_kind() || kind == RunKind::WarmUp && is_answered;
        let error = run.invocations.iter().find_map(|invocation| invocation.error.clone());
        self.tally.add(&run);
        self.journal.add_run(run)?;
        if failures >= FAILURES_PER_POINT {
            self.give_up(
                place,
                at,
                error.unwrap_or_else(|| "cold runs found warm environments, or warm ones cold".to_owned()),
            )?;
            return Ok(None);
        }
        Ok(Some(counts))
    }

    /// The version to run in: of its own for a cold run, kept for the others.
    async fn version(
        &mut self,
        place: usize,
        function: &str,
        memory_mib: u32,
        kind: RunKind,
    ) -> Result<String, SessionError> {
        if kind == RunKind::Cold {
            let tag = format!("cold {}", self.journal.runs().len());
            return Ok(self.versions.publish(function, memory_mib, &tag).await?);
        }
        if let Some(version) = self.states[place].warm_versions.get(&memory_mib) {
            return Ok(version.clone());
        }
        let version = self.versions.publish(function, memory_mib, &format!("warm {memory_mib}")).await?;
        self.states[place].warm_versions.insert(memory_mib, version.clone());
        Ok(version)
    }

    fn give_up(&mut self, place: usize, at: usize, reason: String) -> Result<(), SessionError> {
        let state: &mut PointState = &mut self.states[place].points[at];
        state.is_given_up = true;
        let (model, point) = (&self.session.experiment.models[place].name, state.point);
        Ok(self.journal.give_up(model, point, reason)?)
    }

    fn tell(&mut self, place: usize, at: usize) {
        let experiment = self.session.experiment;
        let left = self
            .states
            .iter()
            .fold(Estimate::default(), |sum, state| sum.plus(state.left(experiment, &self.session.prices)));
        let progress = Progress {
            model: &experiment.models[place].name,
            point: self.states[place].points[at].point,
            runs: (self.tally.runs, self.tally.runs + left.runs),
            usd: self.tally.usd,
            left: left.time,
        };
        (self.session.tell)(&progress);
    }
}
