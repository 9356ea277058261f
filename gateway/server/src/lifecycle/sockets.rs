//! Listening sockets that somebody else has bound: systemd's socket units, or the process before this one.
//!
//! Who does not own the socket cannot take it away: connections that arrive while one process ends and the next begins wait in the kernel's queue.
//! Deliberately absent: Unix and UDP sockets, since neither listener speaks them.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;

use listenfd::ListenFd;

/// `FileDescriptorName=` of the socket unit of the inference protocol.
const PUBLIC: &str = "public";
/// `FileDescriptorName=` of the socket unit of metrics and health.
const ADMIN: &str = "admin";

/// Why sockets that were passed cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The name says not what it is for.
    #[error(
        "a socket with the name `{name}` was passed (LISTEN_FDNAMES); the names are `public` and `admin`: set FileDescriptorName= in the socket unit"
    )]
    UnknownName {
        /// What was given.
        name: String,
    },
    /// The variable counts other names than sockets.
    #[error("{sockets} sockets were passed (LISTEN_FDS), but {names} names (LISTEN_FDNAMES)")]
    Unnamed {
        /// Count.
        sockets: usize,
        /// Count.
        names: usize,
    },
    /// One socket a name.
    #[error("two sockets with the name `{name}` were passed; one unit has one ListenStream=")]
    Twice {
        /// The name.
        name: &'static str,
    },
    /// It is not a TCP socket that listens.
    #[error("the socket `{name}` that was passed is not a listening TCP socket: {reason}")]
    Kind {
        /// Its name.
        name: &'static str,
        /// What it is instead.
        reason: String,
    },
}

/// Sockets that are bound already; what is missing is bound as configured.
#[derive(Debug, Default)]
pub struct Sockets {
    /// For the inference protocol.
    pub public: Option<TcpListener>,
    /// For metrics and health.
    pub admin: Option<TcpListener>,
    /// Whether another process accepts on them: this one is not to before it is ready.
    pub are_shared: bool,
}

impl Sockets {
    /// What a service manager has passed (`LISTEN_FDS`, `LISTEN_FDNAMES`). Removes the variables: call it before the process has threads.
    ///
    /// # Errors
    /// Sockets whose name or kind does not fit.
    pub fn from_environment() -> Result<Self, SocketError> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut passed = ListenFd::from_env();
        let names: Vec<&str> = names.split(':').filter(|name| !name.is_empty()).collect();
        if passed.len() == 0 {
            return Ok(Self::default());
        }
        if names.len() != passed.len() {
            return Err(SocketError::Unnamed { sockets: passed.len(), names: names.len() });
        }
        let mut sockets = Self::default();
        for (index, name) in names.into_iter().enumerate() {
            let (name, place) = match name {
                PUBLIC => (PUBLIC, &mut sockets.public),
                ADMIN => (ADMIN, &mut sockets.admin),
                other => return Err(SocketError::UnknownName { name: other.to_owned() }),
            };
            let taken = passed.take_tcp_listener(index);
            let listener = taken
                .map_err(|error| SocketError::Kind { name, reason: error.to_string() })?
                .filter(listens)
                .ok_or_else(|| SocketError::Kind { name, reason: "it does not listen".to_owned() })?;
            if place.replace(listener).is_some() {
                return Err(SocketError::Twice { name });
            }
        }
        Ok(sockets)
    }
}

fn listens(socket: &TcpListener) -> bool {
    rustix::net::sockopt::socket_acceptconn(socket.as_fd()).unwrap_or(false)
}

/// The address of a socket that was passed.
pub(super) fn address_of(socket: &TcpListener) -> io::Result<SocketAddr> {
    socket.local_addr()
}
