//! What must hold under any load and any fault, and random worlds to try it in.
//!
//! [`Reference`] is a second, slower account of the data plane's promises, told from outside; [`Watch`] feeds it from a deployment, adds up money and
//! counts beside it, and takes a fingerprint of the log. A [`World`] is what a seed stands for; [`check`] runs one and says what did not hold. One
//! that fails is made smaller ([`World::shrink`]), and its seed becomes a named test.
//! Deliberately absent: contents of requests and answers. They never reach the engine; the gateway's own tests follow them.

mod check;
mod digest;
mod ledger;
mod reference;
mod rules;
mod watch;
mod world;

pub use check::{Verdict, check, check_twice};
pub use reference::Reference;
pub use rules::{Findings, Rule, Violation};
pub use watch::Watch;
pub use world::{Load, Steering, World, WorldModel};
