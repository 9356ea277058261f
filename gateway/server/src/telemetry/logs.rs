//! Log output: `tracing` to standard error, for people or as JSON lines. Payloads are never logged.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;

use crate::config::{LogConfig, LogFormat};

/// Installs the subscriber. `RUST_LOG`-like directives come from the configuration, not from the environment.
///
/// # Errors
/// When the filter cannot be parsed, or a subscriber is already installed.
pub fn install(config: &LogConfig) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let filter = EnvFilter::try_new(&config.filter)?;
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_timer(SystemTime);
    match config.format {
        LogFormat::Human => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    }
}
