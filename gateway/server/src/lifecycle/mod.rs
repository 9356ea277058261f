//! Start, reload, drain, stop: how a configuration becomes a running gateway and how that ends.

mod admin;
mod assembly;
mod extension;
mod fleet;
mod gateway;
mod hand_over;
mod notify;
mod serve;
mod sockets;
mod watch;

pub use extension::{Extension, ExtensionError, Host, Stop};
pub(crate) use fleet::{Fleet, NotApplied, Steered};
pub use gateway::{Gateway, ReloadReport, StartError};
pub use hand_over::HandOverError;
pub use serve::{ServeError, serve, serve_with};
pub use sockets::{SocketError, Sockets};
