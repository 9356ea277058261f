//! How well the formula predicts what the production engine does.
//!
//! Hypothesis: over a grid of load and plan, cost per request within 3 % and p99 of latency within 5 % (each for 95 % of the cells).
//! Baseline: the engine itself in virtual time, on the same arrival law. Each cell simulates enough requests that the standard error of
//! the simulation (batch means, 20 segments) stays well below the aim; it is printed, and the worst is in the figures.
//! Grid: load × dispersion (gamma-mixed, counted in windows of 1 s) × service law × plan. Beside the grid, and not part of its
//! figures: narrow windows, and arrivals that are *not* what the formula assumes (a switching rate, renewals), described to it
//! only by their rate and the dispersion of their counts in two windows, as a gateway would measure them.
//!
//! `cargo bench -p simulator --bench formula -- [--json FILE] [--seed S] [--quick] [--all] [--speed]`
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock and writes its figures")]

#[path = "formula/grid.rs"]
mod grid;
#[path = "formula/speed.rs"]
mod speed;

use optimizer_tuner::formula::{PlanShape, Prediction, predict};
use simulator::world::{self, Measurement, WorldConfig};

use crate::grid::{Cell, Part};

/// The latency that is compared.
const PERCENTILE: f64 = 0.99;

/// What of a row is compared.
type Figure = fn(&Row) -> f64;

/// Errors of one cell.
struct Row {
    name: String,
    part: Part,
    fill: f64,
    cost: f64,
    p99: f64,
    cost_standard_error: f64,
    p99_standard_error: f64,
    late: (f64, f64),
    utilisation: f64,
    requests: u64,
    values: (f64, f64),
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let has = |name: &str| arguments.iter().any(|it| it == name);
    let after = |name: &str| arguments.iter().position(|it| it == name).and_then(|at| arguments.get(at + 1));
    let seed: u64 = after("--seed").map_or(1, |it| it.parse().expect("`--seed` takes a whole number"));
    let scale = if has("--quick") { 0.1 } else { 1.0 };
    let started = speed::cpu_seconds();
    if has("--speed") {
        print_speed(&speed::measure());
        return;
    }
    let rows: Vec<Row> = grid::cells()
        .iter()
        .enumerate()
        .map(|(at, cell)| compare(cell, seed * 1_000_003 + at as u64, scale))
        .collect();
    let seconds = speed::cpu_seconds() - started;
    report(&rows, has("--all"));
    let requests: u64 = rows.iter().map(|row| row.requests).sum();
    println!(
        "{requests} requests simulated in {seconds:.1} s of processor time, prediction included: {:.2} M/s",
        requests as f64 / seconds / 1e6
    );
    let speed = speed::measure();
    print_speed(&speed);
    if let Some(file) = after("--json") {
        std::fs::write(file, json(&rows, &speed, seed)).expect("the file of `--json` can be written");
    }
}

fn print_speed(speed: &speed::Speed) {
    println!(
        "a candidate {:.2} us (fill and cost; Poisson {:.2} us), late share {:.1} us, p99 {:.1} us; table {:.2} ms, for 512 items {:.2} ms",
        speed.candidate_us,
        speed.poisson_candidate_us,
        speed.late_share_us,
        speed.quantile_us,
        speed.table_ms,
        speed.large_table_ms
    );
}

/// Simulates and predicts one cell.
fn compare(cell: &Cell, seed: u64, scale: f64) -> Row {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of requests")]
    let requests = (cell.requests as f64 * scale) as u64;
    let config = WorldConfig {
        plan: cell.plan.clone(),
        items_pmf: cell.law.items_per_request.pmf(),
        service: &cell.service,
        usd_per_second: cell.prices.usd_per_second.clone(),
        fee_usd: cell.prices.fee_usd,
        requests,
        warm_up: requests / 50,
        seed,
    };
    let measured = world::run(&config, cell.arrivals().as_mut()).expect("the plan is valid");
    let shape = PlanShape::from(&cell.plan);
    let predicted =
        predict(&cell.law, &shape, &cell.service, &cell.prices, PERCENTILE).expect("the law is valid");
    row(cell, &measured, &predicted)
}

fn row(cell: &Cell, measured: &Measurement, predicted: &Prediction) -> Row {
    let (cost, p99) = (measured.usd_per_request(), measured.latency_quantile(PERCENTILE));
    Row {
        name: cell.name.clone(),
        part: cell.part,
        fill: predicted.mean_fill / measured.mean_fill().value - 1.0,
        cost: predicted.usd_per_request / cost.value - 1.0,
        p99: predicted.latency_quantile_seconds / p99.value - 1.0,
        cost_standard_error: cost.standard_error / cost.value,
        p99_standard_error: p99.standard_error / p99.value,
        late: (predicted.share_outside_slo, measured.share_outside_slo().value),
        utilisation: predicted.window.utilisation,
        requests: measured.requests(),
        values: (measured.mean_fill().value, p99.value),
    }
}

/// The `share` quantile of the absolute values.
fn quantile(rows: &[&Row], share: f64, of: impl Fn(&Row) -> f64) -> f64 {
    let mut errors: Vec<f64> = rows.iter().map(|row| of(row).abs()).collect();
    errors.sort_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
    let at = ((errors.len() as f64 * share).ceil() as usize).clamp(1, errors.len()) - 1;
    errors[at]
}

fn report(rows: &[Row], all: bool) {
    for part in [Part::Grid, Part::Window, Part::OtherArrivals] {
        let mut of_part: Vec<&Row> = rows.iter().filter(|row| row.part == part).collect();
        if of_part.is_empty() {
            continue;
        }
        println!("\n{part:?}: {} cells; errors of the formula, in %", of_part.len());
        println!("{:<14}{:>9}{:>9}{:>9}", "", "median", "p95", "worst");
        let figures: [(&str, Figure); 5] = [
            ("mean fill", |row| row.fill),
            ("cost", |row| row.cost),
            ("p99", |row| row.p99),
            ("cost, s.e.", |row| row.cost_standard_error),
            ("p99, s.e.", |row| row.p99_standard_error),
        ];
        for (name, of) in figures {
            let at = |share| 100.0 * quantile(&of_part, share, of);
            println!("{name:<14}{:>9.2}{:>9.2}{:>9.2}", at(0.5), at(0.95), at(1.0));
        }
        for (name, of) in [("cost", figures[1].1), ("p99", figures[2].1)] {
            of_part.sort_by(|a, b| of(b).abs().total_cmp(&of(a).abs()));
            println!("worst by {name}:");
            let shown = if all { of_part.len() } else { 10 };
            for row in of_part.iter().take(shown) {
                println!(
                    "  {:<58} fill {:>7.2} cost {:>6.2}±{:.2} p99 {:>6.2}±{:.2}  late {:.4} ({:.4}) use {:.2} | fill {:.2} p99 {:.4}",
                    row.name,
                    100.0 * row.fill,
                    100.0 * row.cost,
                    100.0 * row.cost_standard_error,
                    100.0 * row.p99,
                    100.0 * row.p99_standard_error,
                    row.late.0,
                    row.late.1,
                    row.utilisation,
                    row.values.0,
                    row.values.1,
                );
            }
        }
    }
}

fn json(rows: &[Row], speed: &speed::Speed, seed: u64) -> String {
    let of = |part: Part| rows.iter().filter(|row| row.part == part).collect::<Vec<_>>();
    let (grid, window, other) = (of(Part::Grid), of(Part::Window), of(Part::OtherArrivals));
    let mut figures = vec![
        ("cost_error_p95", quantile(&grid, 0.95, |row| row.cost)),
        ("p99_error_p95", quantile(&grid, 0.95, |row| row.p99)),
        ("fill_error_p95", quantile(&grid, 0.95, |row| row.fill)),
        ("cost_error_median", quantile(&grid, 0.5, |row| row.cost)),
        ("p99_error_median", quantile(&grid, 0.5, |row| row.p99)),
        ("cost_error_worst", quantile(&grid, 1.0, |row| row.cost)),
        ("p99_error_worst", quantile(&grid, 1.0, |row| row.p99)),
        ("late_share_error_p95", quantile(&grid, 0.95, |row| row.late.0 - row.late.1)),
        ("cost_standard_error_p95", quantile(&grid, 0.95, |row| row.cost_standard_error)),
        ("p99_standard_error_p95", quantile(&grid, 0.95, |row| row.p99_standard_error)),
        ("window_cost_error_p95", quantile(&window, 0.95, |row| row.cost)),
        ("window_p99_error_p95", quantile(&window, 0.95, |row| row.p99)),
        ("other_arrivals_cost_error_p95", quantile(&other, 0.95, |row| row.cost)),
        ("other_arrivals_p99_error_p95", quantile(&other, 0.95, |row| row.p99)),
        ("cells", grid.len() as f64),
        ("seed", seed as f64),
        ("predict_us", speed.candidate_us),
        ("predict_poisson_us", speed.poisson_candidate_us),
        ("late_share_us", speed.late_share_us),
        ("quantile_us", speed.quantile_us),
        ("table_ms", speed.table_ms),
        ("large_table_ms", speed.large_table_ms),
    ];
    figures.dedup_by_key(|figure| figure.0);
    let fields: Vec<String> = figures.iter().map(|(key, value)| format!("\"{key}\": {value:.6}")).collect();
    format!("{{{}}}\n", fields.join(", "))
}
