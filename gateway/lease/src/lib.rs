//! One decider among several gateways: leases with fencing, over S3, files or PostgreSQL.
//!
//! *Problem.* Gateways that share traffic should learn once and serve one plan. Whoever decides may be killed, cut off, or stopped for minutes and
//! then go on as if nothing had been.
//! *Rule.* A record in a shared store names who leads, under an epoch that only ascends, with a beat that each write raises, and carries what the
//! leader publishes. Every write is conditional: it replaces exactly the record that the writer has seen, or nothing. The leader writes three times
//! within a lease. Who sees the same epoch and beat for a whole lease, by its own clock, takes over under the next epoch. A leader whose last write
//! that succeeded *began* nine tenths of a lease ago decides no more, so that it has stopped before anybody else can begin; and whatever an old one
//! still tries to write is refused, because the record is not the one that it has seen.
//! *Why not wall clocks.* Hosts disagree on the time; each here measures only how long *it* has seen nothing change.
//! *Bounds.* A leader that dies is replaced within a lease and a third. One that ends in order gives its lease up, and is replaced at the next look. The clock
//! is the kernel's monotonic one, which goes on while a process is stopped.
//! *Reference.* C. Gray, D. Cheriton, "Leases: an efficient fault-tolerant mechanism for distributed file cache consistency", SOSP 1989; M. Kleppmann,
//! "How to do distributed locking", 2016 (fencing tokens).
#![forbid(unsafe_code)]

mod lease;
mod record;
mod store;

pub use lease::{Lease, Seen};
pub use record::{Head, Record};
pub use store::{Found, Store, StoreError, Tag};
