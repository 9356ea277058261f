//! Signals of commands that end in order: the first asks them to, the second ends the process at once.

use tokio::signal::unix::{SignalKind, signal};

/// Exit code after a signal.
pub(crate) const EXIT_INTERRUPTED: u8 = 130;

/// Calls `ask` and says `asked` at the first signal; says `at_once` and exits at the second.
///
/// # Errors
/// When signals cannot be listened to.
pub(crate) fn on_signals(
    ask: impl FnOnce() + Send + 'static,
    asked: &'static str,
    at_once: &'static str,
) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        let mut ask = Some(ask);
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            let Some(ask) = ask.take() else {
                eprintln!("penstock: {at_once}");
                std::process::exit(i32::from(EXIT_INTERRUPTED));
            };
            ask();
            eprintln!("penstock: {asked}");
        }
    });
    Ok(())
}
