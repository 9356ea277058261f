//! Published request traces: how many alarms, and where. The files are read from a folder, not kept here; without a
//! folder this part is left out.

use crate::plot;
use flate2::read::GzDecoder;
use optimizer_changepoint::{ChangePoint, DetectorKind, DetectorSettings};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// (name, file, raw steps that make one window, windows that are used at most)
const TRACES: [(&str, &str, usize, usize); 6] = [
    ("harmonybatch-app3", "harmonybatch_app3_rpm.csv", 1, usize::MAX),
    ("harmonybatch-app4", "harmonybatch_app4_rpm.csv", 1, usize::MAX),
    ("twitter-1s", "twitter_2021-08_days1-7_rps.txt.gz", 1, usize::MAX),
    ("twitter-5s", "twitter_2021-08_days1-7_rps.txt.gz", 5, usize::MAX),
    ("twitter-60s", "twitter_2021-08_days1-7_rps.txt.gz", 60, usize::MAX),
    ("square", "libra_square_rps.txt.gz", 1, usize::MAX),
];
/// Positions that are printed and kept at most.
const SHOWN: usize = 60;

/// One detector over one trace.
pub(crate) struct Replay {
    pub(crate) name: &'static str,
    pub(crate) detector: &'static str,
    pub(crate) windows: usize,
    pub(crate) alarms: usize,
    /// Window of the alarm, with what was found.
    pub(crate) changes: Vec<(usize, ChangePoint)>,
}

pub(crate) fn run(folder: &Path, plots: Option<&Path>) -> Vec<Replay> {
    let mut replays = Vec::new();
    for (name, file, group, most) in TRACES {
        let Some(raw) = read(&folder.join(file)) else {
            println!("trace {name}: `{file}` not found, left out");
            continue;
        };
        let counts: Vec<u64> = raw.chunks_exact(group).map(|chunk| chunk.iter().sum()).take(most).collect();
        for kind in [DetectorKind::Bocpd, DetectorKind::Cusum] {
            let (replay, means) = replay(name, kind, &counts);
            print(&replay);
            if let (Some(plots), DetectorKind::Bocpd) = (plots, kind) {
                let marks: Vec<(usize, ChangePoint)> = replay.changes.clone();
                std::fs::create_dir_all(plots).expect("the folder of plots can be made");
                std::fs::write(plots.join(format!("{name}.svg")), plot::svg(name, &counts, &means, &marks))
                    .expect("a plot can be written");
            }
            replays.push(replay);
        }
    }
    replays
}

fn replay(name: &'static str, kind: DetectorKind, counts: &[u64]) -> (Replay, Vec<f64>) {
    let mut detector = kind.build(&DetectorSettings::default());
    let (mut changes, mut means) = (Vec::new(), Vec::with_capacity(counts.len()));
    for (window, count) in counts.iter().enumerate() {
        if let Some(change) = detector.observe(*count) {
            changes.push((window, change));
        }
        means.push(detector.regime().rate.mean);
    }
    (Replay { name, detector: detector.name(), windows: counts.len(), alarms: changes.len(), changes }, means)
}

fn read(path: &Path) -> Option<Vec<u64>> {
    let mut text = String::new();
    let mut file = File::open(path).ok()?;
    if path.extension().is_some_and(|extension| extension == "gz") {
        GzDecoder::new(file).read_to_string(&mut text).ok()?;
    } else {
        file.read_to_string(&mut text).ok()?;
    }
    let numbers = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|part| !part.is_empty());
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts of a trace are small"
    )]
    numbers.map(|part| part.parse::<f64>().ok().map(|value| value as u64)).collect()
}

fn print(replay: &Replay) {
    println!(
        "trace {} by {}: {} alarms in {} windows ({:.2} per 10,000)",
        replay.name,
        replay.detector,
        replay.alarms,
        replay.windows,
        replay.alarms as f64 * 1e4 / replay.windows.max(1) as f64
    );
    for (window, change) in replay.changes.iter().take(if replay.windows < 2000 { SHOWN } else { 0 }) {
        println!(
            "    window {window}: {:?} {:.0} -> {:.0} ± {:.0}, began {} ago, p {:.3}",
            change.direction,
            change.before.mean,
            change.after.mean,
            change.after.standard_error,
            change.windows_ago,
            change.probability
        );
    }
}
