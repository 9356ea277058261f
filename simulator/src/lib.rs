//! The second shell: the production planes in virtual time against a model of Lambda.
#![forbid(unsafe_code)]
