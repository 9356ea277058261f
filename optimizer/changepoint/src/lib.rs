//! Online change-point detection over counts of arrivals per window, one detector a file.
#![forbid(unsafe_code)]
