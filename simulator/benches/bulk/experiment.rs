//! Every batch size of the publication: the monolith, an environment for each batch, and as many as the optimizer wants for this size.

use std::path::Path;

use gateway_contract::Mebibytes;
use optimizer_tuner::bulk::{Wish, choose};
use serde_json::{Value, json};
use simulator::bulk::Cut;
use simulator::bulk::plot::{Curve, svg};

use crate::choice::Choice;
use crate::subject::{Figures, REVIEWS, Subject, cut_of};

/// As published.
pub(crate) const BATCHES: [u32; 9] = [50, 100, 125, 200, 250, 333, 500, 625, 1000];

pub(crate) struct Row {
    pub(crate) batch: u32,
    pub(crate) monolith: Figures,
    /// As many environments as batches.
    pub(crate) each: Figures,
    pub(crate) planned: Figures,
    /// What the optimizer said of it: seconds and dollars.
    predicted: (f64, f64),
}

impl Row {
    pub(crate) fn json(&self) -> Value {
        let of = |figures: &Figures| {
            json!({
                "parallelism": figures.parallelism,
                "seconds": figures.seconds,
                "usd": figures.usd,
                "init_usd": figures.init_usd,
                "environments": figures.environments,
                "throttles": figures.throttles,
                "time_cut": figures.time_cut(&self.monolith),
                "cost_ratio": figures.cost_ratio(&self.monolith),
                "efficiency": figures.efficiency(&self.monolith),
            })
        };
        json!({
            "batch": self.batch,
            "monolith": of(&self.monolith),
            "environment_for_each_batch": of(&self.each),
            "planned": of(&self.planned),
            "predicted_seconds": self.predicted.0,
            "predicted_usd": self.predicted.1,
        })
    }
}

pub(crate) fn measure(subject: &Subject, memory: Mebibytes) -> Vec<Row> {
    let row = |batch: u32| {
        let cut = |parallelism| Cut { chunk_items: batch, process_count: 1, memory, parallelism };
        let batches = (REVIEWS as u32).div_ceil(batch);
        let bounds = subject.bounds(memory, (batch, batch));
        let job = subject.job(Wish::default());
        let plan = choose(&subject.knowledge, &job, &bounds, &subject.account.economics).unwrap().plan;
        assert_eq!(plan.cut.chunk_items, batch);
        Row {
            batch,
            monolith: subject.run(cut(1)),
            each: subject.run(cut(batches)),
            planned: subject.run(cut_of(&plan.cut)),
            predicted: (plan.seconds.expected, plan.usd.expected),
        }
    };
    BATCHES.into_iter().map(row).collect()
}

/// By items of an invocation: what so many reviews on so many environments are to save and cost against one environment.
pub(crate) fn slice(subject: &Subject, memory: Mebibytes, reviews: usize, parallelism: u32) -> Value {
    let run = |chunk_items, parallelism| {
        subject.run_some(reviews, Cut { chunk_items, process_count: 1, memory, parallelism })
    };
    let monolith = run(50, 1);
    let by_batch = [5, 10, 25, 50].map(|batch| {
        let figures = run(batch, parallelism);
        let row = json!({
            "seconds": figures.seconds,
            "time_cut": figures.time_cut(&monolith),
            "cost_ratio": figures.cost_ratio(&monolith),
        });
        (batch.to_string(), row)
    });
    Value::Object(by_batch.into_iter().collect())
}

pub(crate) fn show(subject: &Subject, memory: Mebibytes, rows: &[Row]) {
    println!("\n{} over {REVIEWS} reviews at {memory}", subject.name);
    println!(
        "{:>5} | {:>10} {:>8} | {:>5} {:>8} {:>7} {:>7} {:>6} | {:>5} {:>8} {:>7} {:>7} {:>6} {:>14}",
        "batch",
        "monolith s",
        "$",
        "each",
        "s",
        "cut %",
        "cost",
        "eff.",
        "plan",
        "s",
        "cut %",
        "cost",
        "eff.",
        "said s / $"
    );
    for row in rows {
        let of = |figures: &Figures| {
            format!(
                "{:>5} {:>8.2} {:>7.2} {:>7.4} {:>6.3}",
                figures.parallelism,
                figures.seconds,
                figures.time_cut(&row.monolith) * 100.0,
                figures.cost_ratio(&row.monolith),
                figures.efficiency(&row.monolith)
            )
        };
        println!(
            "{:>5} | {:>10.1} {:>8.5} | {} | {} {:>6.1} {:.5}",
            row.batch,
            row.monolith.seconds,
            row.monolith.usd,
            of(&row.each),
            of(&row.planned),
            row.predicted.0,
            row.predicted.1
        );
    }
}

pub(crate) fn plot(subject: &Subject, rows: &[Row], choice: &Choice, folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    let curve = |label: &str, value: &dyn Fn(&Row) -> f64| Curve {
        label: label.to_owned(),
        points: rows.iter().map(|row| (f64::from(row.batch), value(row))).collect(),
    };
    let of = |value: fn(&Figures) -> f64| {
        let mut curves = vec![
            curve("monolithic", &|row| value(&row.monolith)),
            curve("an environment for each batch", &|row| value(&row.each)),
            curve("environments planned for the size", &|row| value(&row.planned)),
        ];
        let points = vec![(f64::from(choice.cut.chunk_items.max(50)), value(&choice.pick))];
        curves.push(Curve { label: "size and environments chosen".to_owned(), points });
        curves
    };
    let title = |what: &str| format!("{}: {what} of {REVIEWS} reviews", subject.name);
    let drawings = [
        ("time", svg(&title("time"), "seconds", true, &of(|figures| figures.seconds))),
        ("cost", svg(&title("cost"), "US cents", false, &of(|figures| figures.usd * 100.0))),
    ];
    for (what, drawing) in drawings {
        std::fs::write(folder.join(format!("bulk-{}-{what}.svg", subject.name)), drawing.unwrap()).unwrap();
    }
}
