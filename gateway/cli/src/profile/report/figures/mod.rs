//! The plots of the report. A model has one colour in all of them; dots are measured, rings are simulated.

mod memory;
mod pareto;
mod series;
mod shape;

use simulator::report::draw::Figure;

use super::Report;

/// All plots that have something to show.
pub(super) fn all(report: &Report<'_>) -> Vec<Figure> {
    let figures = [
        memory::by_memory(report),
        shape::by_items(report),
        memory::cold_and_warm(report),
        shape::concurrency(report),
        pareto::pareto(report),
        shape::speed_up(report),
        memory::generation(report),
    ];
    figures.into_iter().flatten().collect()
}
