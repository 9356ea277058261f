//! Joins change-points and surrogates: cost and latency by formula, when to explore, hold and roll back.
#![forbid(unsafe_code)]

pub mod formula;
