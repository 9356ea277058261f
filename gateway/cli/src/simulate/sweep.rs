//! All runs of a study over threads, with a bar that says how many are done and how long the rest will take.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use indicatif::{ProgressBar, ProgressStyle};
use simulator::study::{self, Cell, CellRecord, Prepared, Problem};

use super::SimulateError;
use super::resume::Resume;

/// Runs cells and keeps their records. After the first error no further run is begun.
pub(super) fn run(
    prepared: &Prepared,
    cells: &[Cell],
    threads: Option<usize>,
    resume: &mut Resume,
) -> Result<(), SimulateError> {
    let cpus = || std::thread::available_parallelism().map_or(1, usize::from);
    let threads = threads.unwrap_or_else(cpus).clamp(1, cells.len().max(1));
    let bar = bar(cells.len(), threads);
    let (next, (done, results)) = (AtomicUsize::new(0), mpsc::channel::<Result<CellRecord, Problem>>());
    let running = Mutex::new(Vec::new());
    let kept = std::thread::scope(|scope| {
        for _ in 0..threads {
            let (done, bar, next, running) = (done.clone(), &bar, &next, &running);
            scope.spawn(move || {
                while let Some(cell) = cells.get(next.fetch_add(1, Ordering::Relaxed)) {
                    show(bar, running, |names: &mut Vec<String>| names.push(cell.key()));
                    let result = study::run(prepared, cell);
                    show(bar, running, |names: &mut Vec<String>| names.retain(|name| *name != cell.key()));
                    // Nobody listens any more after an error.
                    if done.send(result).is_err() {
                        return;
                    }
                }
            });
        }
        drop(done);
        let kept = results.iter().try_for_each(|result| {
            resume.add(result?)?;
            bar.inc(1);
            Ok(())
        });
        if kept.is_err() {
            next.store(cells.len(), Ordering::Relaxed);
        }
        kept
    });
    bar.finish_and_clear();
    kept
}

/// Changes the names of what runs, and shows them.
fn show(bar: &ProgressBar, running: &Mutex<Vec<String>>, change: impl FnOnce(&mut Vec<String>)) {
    // A thread that panicked takes the whole command with it: what it left behind is of no use.
    if let Ok(mut names) = running.lock() {
        change(&mut names);
        bar.set_message(names.join(", "));
    }
}

fn bar(runs: usize, threads: usize) -> ProgressBar {
    const TEMPLATE: &str = "{bar:30} {pos}/{len} runs, {elapsed} gone, about {eta} left  {wide_msg}";
    let bar = ProgressBar::new(runs as u64);
    if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
        bar.set_style(style);
    }
    if runs > threads {
        bar.enable_steady_tick(std::time::Duration::from_millis(500));
    }
    bar
}
