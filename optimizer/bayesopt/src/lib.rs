//! Bayesian optimization: search space, Gaussian process, acquisition functions, ask/tell study.
//!
//! Everything here is minimised. Deliberately absent: any knowledge of serving, a clock, entropy (seeds are
//! arguments), files, threads and logging. Equal inputs and seeds give equal answers.
//!
//! `README.md` beside this crate holds the mathematics and the measured figures.
#![forbid(unsafe_code)]

pub mod acquisition;
mod design;
pub mod gaussian_process;
pub mod normal;
pub mod random;
pub mod space;
pub mod study;

pub use acquisition::{AcquisitionFunction, Belief};
pub use design::latin_hypercube;
pub use gaussian_process::{
    Estimate, FitError, FitSettings, GaussianProcess, Hyperparameters, MeanRule, Observation, Posterior,
};
pub use random::Generator;
pub use space::{NamedVariable, SearchSpace, SpaceError, Variable};
pub use study::{Finished, Measurement, Outcome, Study, StudyError, StudySettings, StudyState, Trial};
