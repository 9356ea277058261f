//! Log output: `tracing` to standard error, for people or as JSON lines. Payloads are never logged.

use std::sync::Arc;

use tracing_subscriber::fmt::time::SystemTime;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use super::Catalogue;
use super::line_bound::{LineBound, LineBoundLayer};
use crate::config::{LogConfig, LogFormat};

/// Installs the subscriber. `RUST_LOG`-like directives come from the configuration, not from the environment. Gives what bounds repeated lines, to
/// be asked for what it held back.
///
/// # Errors
/// When the filter cannot be parsed, or a subscriber is already installed.
pub(crate) fn install(
    config: &LogConfig,
    catalogue: &Catalogue,
) -> Result<Arc<LineBound>, Box<dyn std::error::Error + Send + Sync>> {
    let filter = EnvFilter::try_new(&config.filter)?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_timer(SystemTime);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match config.format {
        LogFormat::Human => Box::new(lines.with_ansi(false)),
        LogFormat::Json => Box::new(lines.json().flatten_event(true)),
    };
    let bound = Arc::new(LineBound::new(config.max_repeats_per_minute, &catalogue.log_lines_suppressed));
    tracing_subscriber::registry().with(lines).with(filter).with(LineBoundLayer(bound.clone())).try_init()?;
    Ok(bound)
}
