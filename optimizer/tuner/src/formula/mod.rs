//! Cost and latency of a plan by formula.
