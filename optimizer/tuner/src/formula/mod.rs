//! Cost and latency of a plan by formula: no simulation, microseconds a plan.
//!
//! Problem: after a change of load, of prices or of the model's speed, the cheapest plan that keeps the objective is wanted at once, out of
//! thousands of candidates. Only the service time has to be learned; everything else is arithmetic on the law of arrivals.
//!
//! ```text
//! cost per request = ( E[billed(F)] · price + fee ) · E[K] / E[F]         F items in a batch, K items of a request
//! latency          = wait for the batch to close + wait for a place + service(F) + network
//! ```
//!
//! | file | what it gives | depends on | cost |
//! |---|---|---|---|
//! | `arrival` | [`ArrivalLaw`]: rate, burstiness and how long it lasts, items per request | – | |
//! | `mixing`, `panjer`, `counts` | [`ArrivalTable`]: P(n items within t) | arrival law | once per law: 0.2 to 0.6 ms |
//! | `closing` | [`CloseCurve`]: close time by fill | + upper service times, objective | once per table of upper times |
//! | `fill`, `starts` | [`FillLaw`]: law of batch fill | + bound, delay | half a microsecond (Poisson) to two |
//! | `service`, `cost` | [`CostTable`]: dollars by fill | service law, price | once per function and process count |
//! | `latency`, `served`, `window` | [`LatencyLaw`], [`WindowWait`] | all of it | late share 10 to 20 µs, quantile 100 µs |
//!
//! (Processor time on a busy shared core: `cargo bench -p simulator --bench formula -- --speed`. How well all of this predicts the
//! production engine: the same command without `--speed`, and the README of `simulator`.)
//!
//! **How a search uses it.** One [`ArrivalTable`] per decision, one [`CloseCurve`] and one [`CostTable`] per (memory, process
//! count). For `fifo` plans the curve is the same for all functions, so one [`FillLaw`] per (bound, delay) serves every
//! rung assignment: each is a sum of slices of cost tables. For `deadline` plans the curve follows the slowest rung, so the law of fill
//! is shared by all plans with the same upper times. Each [`FillLaw::set`] reuses its memory; nothing is allocated in the loop. Latency
//! comes last, for candidates cheaper than the best that keeps the objective.
//!
//! [`predict`] does all of it for one plan. Deliberately absent: hard deadlines, throttling, retries, length classes, byte bounds.

mod arrival;
mod closing;
mod cold;
mod cost;
mod counts;
mod fill;
mod fleet;
mod latency;
mod mixing;
mod panjer;
mod predict;
mod served;
mod service;
mod special;
mod starts;
#[cfg(test)]
mod tests;
mod window;

pub use arrival::{ArrivalLaw, FormulaError, ItemsPerRequest, RateMemory};
pub use closing::CloseCurve;
pub use cold::ColdStarts;
pub use cost::CostTable;
pub use counts::ArrivalTable;
pub use fill::{FillLaw, Gathering};
pub use fleet::{Evenness, Fleet};
pub use latency::LatencyLaw;
pub use predict::{PlanShape, Prediction, RungPrices, predict};
pub use service::{LogNormal, ServiceLaw};
pub use window::{SATURATION, WindowWait};
