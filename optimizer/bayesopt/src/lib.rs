//! Bayesian optimization: search space, Gaussian process, acquisition functions, ask/tell study.
#![forbid(unsafe_code)]
