//! Search for the hyperparameters: argmin's L-BFGS with the exact gradient, from a few fixed starts.
//!
//! *Rule:* every start runs until gradient or cost stop moving (without those tolerances the line search spends ten
//! times the evaluations on the last digits); the cheapest point ever evaluated wins, so that a line search that
//! gives up loses nothing. A thorough search also tries each coordinate as an irrelevant one: the usual local optimum
//! takes noise for the effect of a coordinate. Starts are fixed, not random: equal data give an equal fit.
//!
//! Deliberately absent: the likelihood itself (see `likelihood`).

use super::likelihood::{Evaluation, FORBIDDEN, Likelihood};
use argmin::core::{CostFunction, Error, Executor, Gradient};
use argmin::solver::linesearch::MoreThuenteLineSearch;
use argmin::solver::quasinewton::LBFGS;
use nalgebra::DVector;
use std::cell::RefCell;

/// Curvature pairs that L-BFGS remembers.
const MEMORY: usize = 7;
/// The search stops where the gradient of the cost (nats by unit of a logarithm) is shorter than this …
const GRADIENT_TOLERANCE: f64 = 1e-2;
/// … or a step gains less than this many nats.
const COST_TOLERANCE: f64 = 1e-6;
/// Length scales that the starts take in turn; the first is the usual answer on a unit cube.
const START_LENGTH_SCALES: [f64; 4] = [0.7, 0.2, 2.0, 0.07];
/// With more starts than this the search is a thorough one …
const USUAL_STARTS: usize = 2;
/// … which begins again from the best parameters with this added to the logarithm of one length scale after another …
const LENGTHENING: f64 = 1.5;
/// … and this to that of the noise, which has to explain what the coordinate did.
const NOISE_RAISE: f64 = 0.7;
/// Noise variance at which the starts begin.
const START_NOISE_VARIANCE: f64 = 0.02;

/// The cheapest parameters found, with what was evaluated there.
#[derive(Debug, Clone)]
pub(crate) struct Optimum {
    pub(crate) parameters: DVector<f64>,
    pub(crate) evaluation: Evaluation,
}

/// The likelihood as argmin sees it. It asks for cost and gradient at the same place one after the other, and both
/// come from one factorisation: hence the memory of the last evaluation.
struct Problem<'a> {
    likelihood: &'a Likelihood<'a>,
    last: RefCell<Option<Optimum>>,
    best: &'a RefCell<Optimum>,
}

impl Problem<'_> {
    fn evaluate(&self, parameters: &DVector<f64>) -> Evaluation {
        if let Some(last) = self.last.borrow().as_ref()
            && last.parameters == *parameters
        {
            return last.evaluation.clone();
        }
        let evaluation = self.likelihood.evaluate(parameters);
        let found = Optimum { parameters: parameters.clone(), evaluation: evaluation.clone() };
        if found.evaluation.cost < self.best.borrow().evaluation.cost {
            self.best.replace(found.clone());
        }
        self.last.replace(Some(found));
        evaluation
    }
}

impl CostFunction for Problem<'_> {
    type Param = DVector<f64>;
    type Output = f64;

    fn cost(&self, parameters: &DVector<f64>) -> Result<f64, Error> {
        Ok(self.evaluate(parameters).cost)
    }
}

impl Gradient for Problem<'_> {
    type Param = DVector<f64>;
    type Gradient = DVector<f64>;

    fn gradient(&self, parameters: &DVector<f64>) -> Result<DVector<f64>, Error> {
        Ok(self.evaluate(parameters).gradient)
    }
}

/// Searches from the given parameters, if any, and from `starts` fixed ones. `None` if none could be evaluated.
pub(crate) fn search(
    likelihood: &Likelihood<'_>,
    warm_start: Option<DVector<f64>>,
    starts: usize,
    max_iterations: u64,
) -> Option<Optimum> {
    let count = likelihood.parameter_count();
    let nowhere = Evaluation { cost: FORBIDDEN, gradient: DVector::zeros(count), mean: 0.0 };
    let best = RefCell::new(Optimum { parameters: DVector::zeros(count), evaluation: nowhere });
    let fixed = START_LENGTH_SCALES.iter().take(starts).map(|length_scale| {
        let mut start = DVector::from_element(count, length_scale.ln());
        start[0] = 0.0;
        start[count - 1] = START_NOISE_VARIANCE.ln();
        start
    });
    for start in warm_start.into_iter().chain(fixed) {
        run(likelihood, start, max_iterations, &best);
    }
    if starts > USUAL_STARTS {
        for coordinate in 1..count - 1 {
            let mut start = best.borrow().parameters.clone();
            start[coordinate] += LENGTHENING;
            start[count - 1] += NOISE_RAISE;
            run(likelihood, start, max_iterations, &best);
        }
    }
    let best = best.into_inner();
    (best.evaluation.cost < FORBIDDEN).then_some(best)
}

/// One run of L-BFGS. Its own result is not needed: `best` has seen every evaluation, also those of a failed run.
fn run(likelihood: &Likelihood<'_>, start: DVector<f64>, max_iterations: u64, best: &RefCell<Optimum>) {
    let solver = LBFGS::new(MoreThuenteLineSearch::new(), MEMORY)
        .with_tolerance_grad(GRADIENT_TOLERANCE)
        .and_then(|solver| solver.with_tolerance_cost(COST_TOLERANCE));
    let Ok(solver) = solver else { return };
    let problem = Problem { likelihood, last: RefCell::new(None), best };
    let outcome =
        Executor::new(problem, solver).configure(|state| state.param(start).max_iters(max_iterations)).run();
    // A line search that finds no descent ends in an error; what it evaluated before counts.
    drop(outcome);
}
