//! A study: one model's traffic under several policies, from a TOML file to the values of a report.
//!
//! [`Study`] is the file; [`Prepared`] is a study with everything that it names; [`Cell`]s are its independent runs, each with a [`CellRecord`] as
//! its result; [`report`] puts the records together. Cells may run in any order and on any thread, and records may be kept and read again.
//! Deliberately absent: files, threads and progress (the command has them), several models on one account (scenarios have them).

mod account;
mod break_even;
mod cells;
mod facts;
mod hindsight;
mod model;
mod numbers;
mod policy;
mod prepared;
mod prices;
mod problem;
mod record;
mod runs;
mod spec;
mod together;
mod traffic;

pub use self::account::AccountSection;
pub use self::break_even::{BreakEvenSection, Server};
pub use self::cells::{Cell, Purpose};
pub use self::policy::PolicyName;
pub use self::prepared::{Prepared, ReadFile};
pub use self::prices::{ArchitectureName, GatewaySection, PricesSection};
pub use self::problem::Problem;
pub use self::record::CellRecord;
pub use self::runs::run;
pub use self::spec::{ModelSection, StartSection, Study};
pub use self::together::report;
