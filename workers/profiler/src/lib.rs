//! Sweeps a deployed function over memory × process count × items, through the real Lambda API, one invocation at a time.
//!
//! Memory is chosen by the alias `mem-<MiB>`, process count and items travel in the payload, so a sweep writes nothing to Lambda's control
//! plane. Each invocation becomes a [`Record`], one JSON object a line. Deliberately absent: making functions or aliases, parallel
//! invocations (they would share the cores of a local machine), deciding what is best, and plots.
#![forbid(unsafe_code)]

mod input;
mod lambda;
mod random;
mod record;
mod report_line;
mod stopping;
mod sweep;
mod texts;

pub use input::{InputError, Inputs};
pub use lambda::{Connection, Lambda, LambdaError, Reply};
pub use record::Record;
pub use report_line::Billing;
pub use stopping::relative_width;
pub use sweep::{GivenUp, Operating, Progress, Summary, SweepError, SweepSettings, sweep};
pub use texts::Texts;
