//! The progress bar: on a terminal one line that changes, else a line a minute.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use simulator::report::number::{dollars, duration};
use workers_profiler::session::Progress;

/// How often a log is told.
const PERIOD: Duration = Duration::from_secs(60);

/// Shows how far an experiment is.
#[derive(Debug)]
pub(super) struct Bar {
    bar: Option<ProgressBar>,
    told: Option<Instant>,
}

impl Bar {
    pub(super) fn new(is_terminal: bool) -> Self {
        const TEMPLATE: &str = "{bar:30} {pos}/{len} runs, {elapsed} gone, {wide_msg}";
        let bar = is_terminal.then(|| {
            let bar = ProgressBar::new(0);
            if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(500));
            bar
        });
        Self { bar, told: None }
    }

    pub(super) fn tell(&mut self, progress: &Progress<'_>) {
        let line = format!(
            "about {} left, {} so far: {} at {}",
            duration(progress.left.as_secs_f64().round()),
            dollars(progress.usd),
            progress.model,
            progress.point
        );
        if let Some(bar) = &self.bar {
            bar.set_length(progress.runs.1);
            bar.set_position(progress.runs.0);
            bar.set_message(line);
        } else if self.told.is_none_or(|told| told.elapsed() >= PERIOD) {
            self.told = Some(Instant::now());
            eprintln!("{}/{} runs, {line}", progress.runs.0, progress.runs.1);
        }
    }

    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
