//! The traffic: two hours of each published trace, or generated workloads of the same kinds, at any mean rate.

use std::path::{Path, PathBuf};
use std::process::Command;

use simulator::arrivals::{ArrivalProcess, Shape, Trace, parse_counts, parse_times};

/// Seconds of a run.
pub const SECONDS: f64 = 7200.0;
/// Seed of the generated workloads.
const SEED: u64 = 20_211;

/// A load curve by name.
#[derive(Clone, Debug)]
pub struct Load {
    pub name: String,
    pub trace: Trace,
}

/// How a file counts.
#[derive(Clone, Copy)]
enum Format {
    /// A number a line or comma, of this many seconds each.
    Steps(f64),
    /// A time stamp in this column.
    Times(&'static str),
}

/// Name, file and format. Shorter ones are repeated. A step of the third kind stands for a minute of the functions that it was made from.
const FILES: [(&str, &str, Format); 10] = [
    ("twitter", "twitter_2021-08_days1-7_rps.txt.gz", Format::Steps(1.0)),
    ("harmony-app1", "harmonybatch_app1_rpm.csv", Format::Steps(60.0)),
    ("harmony-app3", "harmonybatch_app3_rpm.csv", Format::Steps(60.0)),
    ("infless-periodic", "infless_Periodic.txt", Format::Steps(60.0)),
    ("libra-square", "libra_square_rps.txt.gz", Format::Steps(1.0)),
    ("azure-llm", "azure_llm_2023_conv.csv.gz", Format::Times("TIMESTAMP")),
    ("harmony-app4", "harmonybatch_app4_rpm.csv", Format::Steps(60.0)),
    ("infless-bursty", "infless_Bursty.txt", Format::Steps(60.0)),
    ("infless-sporadic", "infless_Sporadic.txt", Format::Steps(60.0)),
    ("harmony-app2", "harmonybatch_app2_rpm.csv", Format::Steps(60.0)),
];

/// Generated kinds, in the order of their likes above.
const SHAPES: [Shape; 6] =
    [Shape::Diurnal, Shape::Steady, Shape::Steps, Shape::Periodic, Shape::Square, Shape::Spikes];

impl Load {
    /// Arrivals at this mean rate.
    pub fn arrivals(&self, mean_per_s: f64) -> Box<dyn ArrivalProcess> {
        Box::new(self.trace.scaled_to(mean_per_s).unwrap().arrivals())
    }

    fn new(name: &str, trace: &Trace) -> Self {
        let mut long = trace.clone();
        while long.seconds() < SECONDS {
            long = long.then(trace).unwrap();
        }
        Self { name: name.to_owned(), trace: long.cut(0.0, SECONDS).unwrap() }
    }
}

/// The traces of a folder, or generated ones.
pub fn load(folder: Option<&PathBuf>) -> Vec<Load> {
    let Some(folder) = folder else {
        let generated = |shape: &Shape| {
            let trace = shape.workload(10.0, SECONDS, SEED).unwrap();
            Load::new(&format!("generated-{}", shape.name()), &trace)
        };
        return SHAPES.iter().map(generated).collect();
    };
    FILES
        .iter()
        .map(|&(name, file, format)| {
            let text = text(&folder.join(file));
            let trace = match format {
                Format::Steps(seconds) => parse_counts(&text).and_then(|it| Trace::from_counts(it, seconds)),
                Format::Times(column) => {
                    parse_times(&text, Some(column), 1.0).and_then(|it| Trace::from_times(&it, 1.0))
                }
            };
            Load::new(name, &trace.unwrap_or_else(|error| panic!("{file}: {error}")))
        })
        .collect()
}

fn text(path: &Path) -> String {
    if path.extension().is_some_and(|extension| extension == "gz") {
        let output = Command::new("gzip").arg("-dc").arg(path).output().expect("gzip starts");
        assert!(output.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
        return String::from_utf8(output.stdout).unwrap();
    }
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
