//! The report: one page that needs nothing but itself. Drawn by what draws the simulator's.

mod figures;
mod tables;

use std::fmt::Write as _;

use simulator::profile::Fitted;
use simulator::report::draw::{drawing, escape, page, section};
use simulator::report::number::{dollars, percent, plain};
use workers_profiler::{Experiment, Point};

use super::figures::Figures;
use super::recommend::Recommendation;

/// How well a law could be fitted to a model.
#[derive(Debug)]
pub(super) struct FitNote {
    pub(super) model: String,
    /// The reason if it could not.
    pub(super) fitted: Result<Fitted, String>,
}

/// Everything that is shown.
#[derive(Debug)]
pub(super) struct Report<'a> {
    pub(super) experiment: &'a Experiment,
    pub(super) points: Vec<Figures>,
    pub(super) recommendations: Vec<Recommendation>,
    pub(super) fits: Vec<FitNote>,
    /// Points without a result, by model, with the reason.
    pub(super) given_up: Vec<(String, Point, String)>,
    /// Dollars spent on Lambda.
    pub(super) usd: f64,
    /// Of cost, in the balanced recommendation.
    pub(super) weight: f64,
}

/// The page.
pub(super) fn html(report: &Report<'_>) -> String {
    let mut body = head(report);
    body.push_str(&section("Recommendations", &tables::recommendations(report)));
    for figure in figures::all(report) {
        body.push_str(&section(&figure.heading, &drawing(&figure)));
    }
    body.push_str(&section("Does 1,024 MiB hold as the best?", &tables::at_1024(report)));
    body.push_str(&section("Every point", &tables::points(report)));
    body.push_str(&section("The law of each model", &tables::fits(report)));
    if !report.given_up.is_empty() {
        body.push_str(&section("Points without a result", &tables::given_up(report)));
    }
    body.push_str(&section("How it was measured", &setup(report)));
    page(&format!("Profile: {}", report.experiment.name), &body)
}

fn head(report: &Report<'_>) -> String {
    let simulated = report.points.iter().filter(|point| point.simulated).count();
    let measured = report.points.len() - simulated;
    let also = match simulated {
        0 => "Nothing in it is simulated.".to_owned(),
        _ => format!(
            "{} more points are beyond the machine that it ran on: they were <strong>simulated</strong> by the law fitted to the measured \
             ones, and are marked wherever they are shown.",
            plain(simulated as f64)
        ),
    };
    format!(
        "<header><h1>Profile: {}</h1><p>{} operating points of {} models were measured through the Lambda API for {}. {also} \
         Made by penstock {}.</p></header>\n",
        escape(&report.experiment.name),
        plain(measured as f64),
        report.experiment.models.len(),
        dollars(report.usd),
        env!("CARGO_PKG_VERSION"),
    )
}

fn setup(report: &Report<'_>) -> String {
    let (experiment, runs) = (report.experiment, &report.experiment.runs);
    let stop = match runs.stop_width {
        width if width > 0.0 => format!(
            "a point ends early when the 95 % interval of its warm mean is narrower than {} of it",
            percent(width)
        ),
        _ => "no early end".to_owned(),
    };
    let machine = experiment.machine.map_or("everything was measured".to_owned(), |machine| {
        format!(
            "points beyond {} vCPUs or {} invocations at once were simulated",
            plain(machine.vcpus),
            machine.concurrency
        )
    });
    let rows = [
        ("Runs", format!("at most {} a point, {} of them cold; {stop}", runs.per_point, runs.cold())),
        ("Cold runs", "each in a version published for it alone: it differs from all others by an environment variable, so nobody has used an environment of it".to_owned()),
        ("Warm runs", format!("after {} warm-up with the point's own batch in each visit of five runs; a run that met a cold environment is recorded and not counted", runs.warm_up)),
        ("Order", format!("by model; within it in rounds shuffled by seed {}", experiment.seed)),
        ("Pause", format!("{} ms before each run, so that it finds the CPU quota of an idle environment", runs.pause.as_millis())),
        ("Machine", machine),
        ("Where", experiment.connection.endpoint_url.clone().unwrap_or_else(|| "AWS".to_owned())),
        ("Prices", format!("us-east-1 list prices for {}, INIT billed, fee per request included", if experiment.is_arm { "arm64" } else { "x86_64" })),
    ];
    let mut out = String::from("<dl>");
    for (name, value) in rows {
        let _ = write!(out, "<dt>{name}</dt><dd>{}</dd>", escape(&value));
    }
    out + "</dl>"
}

/// A number of items in words.
fn items(count: u32) -> String {
    if count == 1 { "1 item".to_owned() } else { format!("{} items", plain(f64::from(count))) }
}
