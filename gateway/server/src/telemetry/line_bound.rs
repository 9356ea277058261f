//! Bounds the log as a whole: of one place in the code at most so many warnings and errors a minute are written, then one line with the number of the others.
//!
//! A last resort behind whatever a place does itself, so that no storm of any kind, in any crate, fills a disk. It counts by call site, since
//! nothing else is known of lines to come. Information is never held back, nor is detail, which somebody has asked for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus::IntCounter;
use tracing::callsite::Identifier;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// The time in which lines are counted together.
const WINDOW: Duration = Duration::from_secs(60);
/// How often windows that have ended are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Of the lines about lines that were not written; they pass in any case.
const TARGET: &str = "penstock::log";

/// Counts lines by place.
#[derive(Debug)]
pub(crate) struct LineBound {
    max_per_window: u32,
    places: Mutex<HashMap<Identifier, Place>>,
    warnings: IntCounter,
    errors: IntCounter,
}

#[derive(Debug)]
struct Place {
    metadata: &'static Metadata<'static>,
    since: Instant,
    told: u32,
    suppressed: u64,
}

/// The bound as a part of the subscriber.
#[derive(Clone, Debug)]
pub(crate) struct LineBoundLayer(pub(crate) Arc<LineBound>);

impl LineBound {
    pub(crate) fn new(max_per_window: u32, suppressed: &prometheus::IntCounterVec) -> Self {
        let counter = |level| suppressed.with_label_values(&[level]);
        Self { max_per_window, places: Mutex::default(), warnings: counter("warn"), errors: counter("error") }
    }

    /// Whether a line of this place may be written.
    fn passes(&self, now: Instant, metadata: &'static Metadata<'static>) -> bool {
        let counter = match *metadata.level() {
            Level::ERROR => &self.errors,
            Level::WARN => &self.warnings,
            Level::INFO | Level::DEBUG | Level::TRACE => return true,
        };
        if metadata.target() == TARGET {
            return true;
        }
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let place = places.entry(metadata.callsite()).or_insert(Place {
            metadata,
            since: now,
            told: 0,
            suppressed: 0,
        });
        if now.duration_since(place.since) >= WINDOW {
            (place.since, place.told) = (now, 0);
        }
        if place.told < self.max_per_window {
            place.told += 1;
            return true;
        }
        place.suppressed += 1;
        counter.inc();
        false
    }

    /// Places with lines that were not written, and how many. `now`: of windows that have ended; `None`: of all.
    fn suppressed(&self, now: Option<Instant>) -> Vec<(&'static Metadata<'static>, u64)> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |place: &Place| now.is_none_or(|now| now.duration_since(place.since) >= WINDOW);
        let over = places.values_mut().filter(|place| place.suppressed > 0 && is_over(place));
        over.map(|place| (place.metadata, std::mem::take(&mut place.suppressed))).collect()
    }

    /// Tells of lines that were not written.
    pub(crate) fn tell(&self, now: Option<Instant>) {
        for (metadata, suppressed) in self.suppressed(now) {
            tracing::warn!(
                target: TARGET,
                level = %metadata.level(), place = metadata.target(), line = metadata.line(), suppressed,
                "suppressed lines of one place: it said more than {} a minute", self.max_per_window
            );
        }
    }

    /// Tells from time to time; never ends.
    pub(crate) async fn tell_for_ever(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            self.tell(Some(Instant::now()));
        }
    }
}

impl<S: Subscriber> Layer<S> for LineBoundLayer {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        self.0.passes(Instant::now(), event.metadata())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use prometheus::{IntCounterVec, Opts};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// What was written.
    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Page {
        fn lines(&self, with: &str) -> usize {
            let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
            text.lines().filter(|line| line.contains(with)).count()
        }
    }

    #[test]
    fn a_place_that_repeats_itself_is_cut_and_the_rest_told_as_a_number() {
        let counters = IntCounterVec::new(Opts::new("suppressed", "for a test"), &["level"]).unwrap();
        let bound = Arc::new(LineBound::new(3, &counters));
        let page = Page::default();
        let writer = page.clone();
        let subscriber = tracing_subscriber::registry()
            .with(tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || writer.clone()))
            .with(LineBoundLayer(bound.clone()));
        tracing::subscriber::with_default(subscriber, || {
            for n in 0..1000 {
                tracing::warn!(n, "the same again");
                tracing::info!(n, "information");
            }
            tracing::error!("another place");
            bound.tell(Some(Instant::now()));
            assert_eq!(page.lines("suppressed"), 0, "the window has not ended");
            bound.tell(Some(Instant::now() + WINDOW));
            bound.tell(None);
        });
        assert_eq!(page.lines("the same again"), 3);
        assert_eq!(page.lines("another place"), 1);
        assert_eq!(page.lines("information"), 1000, "only warnings and errors are held back");
        assert_eq!((page.lines("suppressed lines"), page.lines("suppressed=997")), (1, 1));
        assert_eq!(counters.with_label_values(&["warn"]).get(), 997);
    }

    #[test]
    fn a_new_window_lets_lines_pass_again() {
        let counters = IntCounterVec::new(Opts::new("suppressed", "for a test"), &["level"]).unwrap();
        let bound = LineBound::new(1, &counters);
        let seen = Arc::new(Mutex::new(None));
        let keep = seen.clone();
        struct Keep(Arc<Mutex<Option<&'static Metadata<'static>>>>);
        impl<S: Subscriber> Layer<S> for Keep {
            fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
                *self.0.lock().unwrap() = Some(event.metadata());
            }
        }
        let subscriber = tracing_subscriber::registry().with(Keep(keep));
        tracing::subscriber::with_default(subscriber, || tracing::error!("one"));
        let metadata = seen.lock().unwrap().unwrap();
        let now = Instant::now();
        assert!(bound.passes(now, metadata) && !bound.passes(now, metadata));
        assert!(bound.passes(now + WINDOW, metadata) && !bound.passes(now + WINDOW, metadata));
        assert_eq!(bound.suppressed(None).iter().map(|(_, count)| *count).collect::<Vec<_>>(), [2]);
    }
}
