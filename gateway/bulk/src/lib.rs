//! Bulk jobs: a data set through a model, fanned out over parallel invocations.
#![forbid(unsafe_code)]
