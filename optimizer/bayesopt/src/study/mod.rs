//! The study: asks for trials, is told their outcomes, remembers everything, can be saved and restored.
//!
//! *Rule:* first a maximin Latin hypercube, then the highest score of the acquisition function. Several trials may be
//! under way; outcomes may be told in any order. The whole state is one serialisable value: a restored study asks what
//! the saved one would have asked. State that passes through text must keep every bit of its numbers (for JSON with
//! serde: feature `float_roundtrip`).
//!
//! Deliberately absent: a stopping rule and a clock: who asks decides how often.

mod belief;
mod search;
mod settings;

pub use settings::{Finished, Measurement, Outcome, StudyError, StudySettings, Trial};

use crate::acquisition::{self, AcquisitionFunction, Belief};
use crate::design::maximin_latin_hypercube;
use crate::random::Generator;
use crate::space::SearchSpace;
use belief::FittedModels;
use search::Search;
use serde::{Deserialize, Serialize};

/// Random points tried as replacement of a design point that another one coincides with.
const REPLACEMENT_DRAWS: usize = 100;

/// A trial with its outcome, once it has one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: u64,
    pub(crate) point: Vec<f64>,
    pub(crate) outcome: Option<Outcome>,
}

/// Everything a study knows. It serialises with any serde format that keeps the bits of an `f64`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StudyState {
    space: SearchSpace,
    settings: StudySettings,
    generator: Generator,
    /// Points of the first design that were not asked for yet, the next one last.
    design: Vec<Vec<f64>>,
    records: Vec<Record>,
    next_id: u64,
    models: FittedModels,
}

/// An ask/tell optimization of one objective, to be minimised, under constraints.
#[derive(Debug)]
pub struct Study {
    state: StudyState,
    function: Box<dyn AcquisitionFunction>,
}

impl Study {
    /// A study of the given space.
    ///
    /// # Errors
    /// [`StudyError::UnknownAcquisition`].
    pub fn new(space: SearchSpace, settings: StudySettings) -> Result<Self, StudyError> {
        let mut generator = Generator::from_seed(settings.seed);
        let design = design(&space, settings.initial_trials.max(1), &mut generator);
        Self::restore(StudyState {
            space,
            settings,
            generator,
            design,
            records: Vec::new(),
            next_id: 0,
            models: FittedModels::default(),
        })
    }

    /// The study that was saved.
    ///
    /// # Errors
    /// [`StudyError`] if the state contradicts itself, say after it was edited.
    pub fn restore(state: StudyState) -> Result<Self, StudyError> {
        let name = &state.settings.acquisition;
        let function = acquisition::by_name(name)
            .ok_or_else(|| StudyError::UnknownAcquisition { name: name.clone() })?;
        for point in state.design.iter().chain(state.records.iter().map(|record| &record.point)) {
            state.space.check(point)?;
        }
        for record in &state.records {
            if let Some(Outcome::Measured(measurement)) = &record.outcome {
                measurement.validate(state.settings.constraint_count)?;
            }
        }
        Ok(Self { state, function })
    }

    /// Everything it knows, to be saved.
    #[must_use]
    pub fn save(&self) -> StudyState {
        self.state.clone()
    }

    /// The next point to test.
    ///
    /// # Errors
    /// [`StudyError::Exhausted`] if every point was tried and may not be repeated; [`StudyError::Fit`] if a model could
    /// not be made.
    pub fn ask(&mut self) -> Result<Trial, StudyError> {
        while let Some(point) = self.state.design.pop() {
            if !self.is_excluded(&point) {
                return Ok(self.begin(point));
            }
        }
        let lattice = self.state.space.lattice(self.state.settings.lattice_cap);
        self.search(lattice.as_deref())
    }

    /// The next point to test among the given ones, say those that are known to be safe. As long as the first design
    /// is not done, it is the one closest to the design's next point.
    ///
    /// # Errors
    /// As [`Self::ask`], and [`StudyError::Space`] if a candidate is not a point of the space.
    pub fn ask_among(&mut self, candidates: &[Vec<f64>]) -> Result<Trial, StudyError> {
        candidates.iter().try_for_each(|point| self.state.space.check(point))?;
        if let Some(wanted) = self.state.design.pop() {
            let wanted = self.state.space.encode_checked(&wanted);
            let distance = |point: &[f64]| -> f64 {
                let columns = self.state.space.encode_checked(point);
                columns.iter().zip(&wanted).map(|(a, b)| (a - b) * (a - b)).sum()
            };
            let allowed = candidates.iter().filter(|point| !self.is_excluded(point));
            let closest = allowed.min_by(|a, b| distance(a).total_cmp(&distance(b)));
            return closest.cloned().map(|point| self.begin(point)).ok_or(StudyError::Exhausted);
        }
        self.search(Some(candidates))
    }

    /// Several points to test at once. Fewer come back only if no more are left.
    ///
    /// # Errors
    /// As [`Self::ask`], if not even one point is left.
    pub fn ask_batch(&mut self, count: usize) -> Result<Vec<Trial>, StudyError> {
        let mut trials = Vec::with_capacity(count);
        while trials.len() < count {
            match self.ask() {
                Ok(trial) => trials.push(trial),
                Err(StudyError::Exhausted) if !trials.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(trials)
    }

    /// Tells how a trial ended.
    ///
    /// # Errors
    /// [`StudyError::UnknownTrial`], [`StudyError::Number`] or [`StudyError::ConstraintCount`]; nothing is then learned.
    pub fn tell(&mut self, id: u64, outcome: Outcome) -> Result<(), StudyError> {
        if let Outcome::Measured(measurement) = &outcome {
            measurement.validate(self.state.settings.constraint_count)?;
        }
        let pending = |record: &&mut Record| record.id == id && record.outcome.is_none();
        let record = self.state.records.iter_mut().find(pending).ok_or(StudyError::UnknownTrial { id })?;
        record.outcome = Some(outcome);
        Ok(())
    }

    /// Learns of a point that the study did not ask for. Answers the id it is remembered by.
    ///
    /// # Errors
    /// [`StudyError::Space`] and as [`Self::tell`].
    pub fn observe(&mut self, point: &[f64], outcome: Outcome) -> Result<u64, StudyError> {
        self.state.space.check(point)?;
        if let Outcome::Measured(measurement) = &outcome {
            measurement.validate(self.state.settings.constraint_count)?;
        }
        let trial = self.begin(point.to_vec());
        self.tell(trial.id, outcome)?;
        Ok(trial.id)
    }

    /// The measured trial with the lowest measured objective among those measured feasible. Exact when measurements
    /// are; with noise it flatters, and [`Self::recommend`] is the one to follow.
    #[must_use]
    pub fn best(&self) -> Option<Finished> {
        self.finished()
            .filter(|finished| finished.measurement.is_feasible())
            .min_by(|a, b| a.measurement.objective.total_cmp(&b.measurement.objective))
    }

    /// The measured trial with the lowest *posterior mean* among those whose constraints have a posterior mean of at
    /// most zero: neighbours and noise are accounted for, so a lucky measurement does not win. `None` if there is none.
    ///
    /// # Errors
    /// [`StudyError::Fit`] if a model could not be made.
    pub fn recommend(&mut self) -> Result<Option<Finished>, StudyError> {
        let Some(belief) = self.belief()? else { return Ok(None) };
        let mean = |process: &crate::GaussianProcess, finished: &Finished| {
            process.predict(&self.state.space.encode_checked(&finished.point)).mean
        };
        let feasible = |finished: &Finished| belief.constraints.iter().all(|c| mean(c, finished) <= 0.0);
        let ranked =
            self.finished().filter(feasible).map(|finished| (mean(&belief.objective, &finished), finished));
        Ok(ranked.min_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, finished)| finished))
    }

    /// What is believed now; `None` as long as nothing was measured. Fits the hyperparameters if they are due.
    ///
    /// # Errors
    /// [`StudyError::Fit`] if a model could not be made.
    pub fn belief(&mut self) -> Result<Option<Belief>, StudyError> {
        let StudyState { space, records, settings, models, .. } = &mut self.state;
        Ok(belief::believe(space, records, settings.constraint_count, models)?)
    }

    /// The measured trials in the order of their ids.
    pub fn finished(&self) -> impl Iterator<Item = Finished> {
        self.state.records.iter().filter_map(|record| match &record.outcome {
            Some(Outcome::Measured(measurement)) => Some(Finished {
                id: record.id,
                point: record.point.clone(),
                measurement: measurement.clone(),
            }),
            Some(Outcome::Failed) | None => None,
        })
    }

    /// The trials without an outcome yet.
    pub fn pending(&self) -> impl Iterator<Item = Trial> {
        let pending = self.state.records.iter().filter(|record| record.outcome.is_none());
        pending.map(|record| Trial { id: record.id, point: record.point.clone() })
    }

    /// The space it searches.
    #[must_use]
    pub fn space(&self) -> &SearchSpace {
        &self.state.space
    }

    /// Its settings.
    #[must_use]
    pub fn settings(&self) -> &StudySettings {
        &self.state.settings
    }

    /// The best candidate by score, among the given points or anywhere.
    fn search(&mut self, candidates: Option<&[Vec<f64>]>) -> Result<Trial, StudyError> {
        let belief = if self.function.is_blind() { None } else { self.belief()? };
        let mut generator = self.state.generator.clone();
        let search = Search {
            space: &self.state.space,
            function: self.function.as_ref(),
            belief: belief.as_ref(),
            is_excluded: &|point| self.is_excluded(point),
        };
        let found = match candidates {
            Some(points) => search.among(points, &mut generator)?,
            None => search.anywhere(&mut generator)?,
        };
        self.state.generator = generator;
        found.map(|point| self.begin(point)).ok_or(StudyError::Exhausted)
    }

    /// Points under test are never asked for twice; finished ones only if they may be repeated, failed ones never.
    fn is_excluded(&self, point: &[f64]) -> bool {
        let repeats = self.state.settings.may_repeat;
        self.state.records.iter().any(|record| {
            record.point == point && !(repeats && matches!(record.outcome, Some(Outcome::Measured(_))))
        })
    }

    fn begin(&mut self, point: Vec<f64>) -> Trial {
        let id = self.state.next_id;
        self.state.next_id += 1;
        self.state.records.push(Record { id, point: point.clone(), outcome: None });
        Trial { id, point }
    }
}

/// Distinct points that fill the space, the first to be asked for last.
fn design(space: &SearchSpace, count: usize, generator: &mut Generator) -> Vec<Vec<f64>> {
    let mut points: Vec<Vec<f64>> = Vec::with_capacity(count);
    for shares in maximin_latin_hypercube(count, space.variables().len(), generator) {
        let mut point = space.at_shares(&shares);
        for _ in 0..REPLACEMENT_DRAWS {
            if !points.contains(&point) {
                points.push(point);
                break;
            }
            point = space.sample(generator);
        }
    }
    points.reverse();
    points
}
