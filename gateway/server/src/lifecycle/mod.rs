//! Start, reload, drain, stop: how a configuration becomes a running gateway and how that ends.

mod admin;
mod assembly;
mod extension;
mod fleet;
mod gateway;
mod serve;
mod watch;

pub use extension::{Extension, ExtensionError, Host, Stop};
pub(crate) use fleet::{Fleet, NotApplied, Steered};
pub use gateway::{Gateway, ReloadReport, StartError};
pub use serve::{ServeError, serve, serve_with};
