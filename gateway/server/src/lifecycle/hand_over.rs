//! An upgrade without a service manager: the new process asks the running one for its listening sockets over a Unix socket.
//!
//! *Order.* The new one gets duplicates of the sockets, starts as a whole and looks whether its functions answer. Once it is ready it accepts and says so;
//! the old one accepts no more, gives up the state directory and its jobs, answers what it has, and exits with 0. Connections that wait in the kernel's queue belong
//! to the socket, which one of the two always holds: none is refused. If the new one ends before it has said so, its end of the conversation closes and
//! the old one serves on as if nothing had been. Learned state and jobs have one owner throughout: a lock on the directory, and a lease on each job,
//! both of which the old one gives back before the new one can take them.
//! *Who may.* The path has mode 0600, and either side hangs up on a peer with another user id (root excepted).

use std::io::{self, BufRead, BufReader, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::sockets::Sockets;

/// Version of this conversation.
const PROTOCOL: u32 = 1;
/// A running gateway answers at once, unless it hands over to somebody else already.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Longest time that a new process may take to be ready: its first probes may meet cold starts.
const READY_LIMIT: Duration = Duration::from_secs(120);
/// Longest message; a sentence of a kind that is not known is cut off.
const MESSAGE_BYTES: usize = 4096;

/// Why sockets were not handed over.
#[derive(Debug, thiserror::Error)]
pub enum HandOverError {
    /// The path, or the conversation over it.
    #[error("hand-over by `{}`: {source}", .path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// What came of it.
        source: io::Error,
    },
    /// Somebody else's process.
    #[error("hand-over by `{}`: the process at the other end has user id {uid}, not this one's", .path.display())]
    Stranger {
        /// The path.
        path: PathBuf,
        /// Of the peer.
        uid: u32,
    },
    /// Not a gateway, or one of another kind.
    #[error("hand-over by `{}`: {reason}", .path.display())]
    Unfit {
        /// The path.
        path: PathBuf,
        /// What it said.
        reason: String,
    },
}

/// What the old process says with the sockets.
#[derive(Debug, Serialize, Deserialize)]
struct Offer {
    penstock_hand_over: u32,
    pid: u32,
}

/// The running gateway, as its successor sees it.
pub(super) struct Predecessor {
    path: PathBuf,
    stream: UnixStream,
    pub(super) pid: u32,
}

impl Predecessor {
    /// Asks whoever listens at `path` for its sockets; `None`: nobody does. Blocks, ten seconds at the longest.
    ///
    /// # Errors
    /// There is somebody who does not give them.
    pub(super) fn ask(path: &Path) -> Result<Option<(Self, Sockets)>, HandOverError> {
        let stream = match UnixStream::connect(path) {
            Ok(stream) => stream,
            // Never there, or left behind by a process that is gone.
            Err(error)
                if [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused].contains(&error.kind()) =>
            {
                return Ok(None);
            }
            Err(source) => return Err(HandOverError::Io { path: path.to_owned(), source }),
        };
        check_peer(path, &stream)?;
        let failed = |source| HandOverError::Io { path: path.to_owned(), source };
        let unfit = |reason: String| HandOverError::Unfit { path: path.to_owned(), reason };
        stream.set_read_timeout(Some(ANSWER_LIMIT)).map_err(failed)?;
        let (text, descriptors) = receive(&stream).map_err(failed)?;
        let offer: Offer = serde_json::from_slice(&text)
            .map_err(|error| unfit(format!("what answers is no gateway: {error}")))?;
        if offer.penstock_hand_over != PROTOCOL {
            let (theirs, ours) = (offer.penstock_hand_over, PROTOCOL);
            return Err(unfit(format!(
                "it speaks version {theirs} of the hand-over, this build {ours}: stop it first"
            )));
        }
        let [public, admin] = <[OwnedFd; 2]>::try_from(descriptors)
            .map_err(|given| unfit(format!("it gave {} sockets instead of 2", given.len())))?;
        let sockets = Sockets {
            public: Some(TcpListener::from(public)),
            admin: Some(TcpListener::from(admin)),
            are_shared: true,
        };
        Ok(Some((Self { path: path.to_owned(), stream, pid: offer.pid }, sockets)))
    }

    /// Says that this process serves; returns once the other one has heard it and accepts no more. Blocks.
    ///
    /// # Errors
    /// The other one has gone, or has given up waiting and serves on.
    pub(super) fn ready(mut self) -> Result<(), HandOverError> {
        let said = self.stream.write_all(b"ready\n");
        let heard = said.and_then(|()| {
            let mut line = String::new();
            BufReader::new(&self.stream).read_line(&mut line).map(|_| line)
        });
        match heard {
            Ok(line) if line == "yours\n" => Ok(()),
            Ok(_) => {
                let reason = "the running gateway did not wait for this one and serves on".to_owned();
                Err(HandOverError::Unfit { path: self.path, reason })
            }
            Err(source) => Err(HandOverError::Io { path: self.path, source }),
        }
    }
}

/// A new process that is ready and waits to be told that all is its own.
pub(super) struct Successor {
    stream: UnixStream,
    pub(super) pid: Option<i32>,
}

impl Successor {
    /// Leaves the sockets to it.
    ///
    /// # Errors
    /// It has gone: serve on.
    pub(super) fn accept(mut self) -> io::Result<()> {
        self.stream.write_all(b"yours\n")
    }
}

/// The running gateway's end: waits for a successor. Dropping it closes the path's socket; the path stays, because it may be another's already.
pub(super) struct HandOver {
    successors: mpsc::Receiver<Successor>,
    task: JoinHandle<()>,
}

impl HandOver {
    /// Listens at `path`, instead of whoever did before.
    ///
    /// # Errors
    /// The path cannot be used.
    pub(super) fn listen(path: &Path, sockets: Arc<[OwnedFd; 2]>) -> Result<Self, HandOverError> {
        let failed = |source| HandOverError::Io { path: path.to_owned(), source };
        let listener = bind(path).map_err(failed)?;
        let listener = tokio::net::UnixListener::from_std(listener).map_err(failed)?;
        let (sender, successors) = mpsc::channel(1);
        let path = path.to_owned();
        let task = tokio::spawn(async move {
            loop {
                let stream = match listener.accept().await {
                    Ok((stream, _)) => stream.into_std(),
                    Err(error) => Err(error),
                };
                let (path, sockets) = (path.clone(), sockets.clone());
                let spoken = tokio::task::spawn_blocking(move || converse(&path, stream, &sockets)).await;
                match spoken {
                    Ok(Ok(successor)) => {
                        if sender.send(successor).await.is_err() {
                            return;
                        }
                    }
                    Ok(Err(error)) => tracing::warn!(%error, "no hand-over; this process serves on"),
                    Err(error) => tracing::error!(%error, "no hand-over; this process serves on"),
                }
            }
        });
        Ok(Self { successors, task })
    }

    /// The next process that is ready to take over.
    pub(super) async fn successor(&mut self) -> Successor {
        match self.successors.recv().await {
            Some(successor) => successor,
            None => std::future::pending().await,
        }
    }
}

impl Drop for HandOver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Binds beside the path and renames: there is no moment without a socket, and none in which others may use it.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let beside = PathBuf::from(beside);
    let _ = std::fs::remove_file(&beside); // of a process with the same id that died here
    let listener = UnixListener::bind(&beside)?;
    let ready = std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o600))
        .and_then(|()| listener.set_nonblocking(true))
        .and_then(|()| std::fs::rename(&beside, path));
    if let Err(error) = ready {
        let _ = std::fs::remove_file(&beside);
        return Err(error);
    }
    Ok(listener)
}

/// Gives the sockets and waits until the other one is ready. Blocks.
fn converse(
    path: &Path,
    stream: io::Result<UnixStream>,
    sockets: &[OwnedFd; 2],
) -> Result<Successor, HandOverError> {
    let failed = |source| HandOverError::Io { path: path.to_owned(), source };
    let stream = stream.map_err(failed)?;
    stream.set_nonblocking(false).map_err(failed)?;
    check_peer(path, &stream)?;
    let pid = rustix::net::sockopt::socket_peercred(&stream).ok().map(|peer| peer.pid.as_raw_nonzero().get());
    stream.set_read_timeout(Some(READY_LIMIT)).map_err(failed)?;
    let offer = Offer { penstock_hand_over: PROTOCOL, pid: std::process::id() };
    let text = serde_json::to_vec(&offer).map_err(|error| failed(error.into()))?;
    send(&stream, &text, sockets).map_err(failed)?;
    tracing::info!(pid, "a new process has the listening sockets too; it takes over when it is ready");
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line).map_err(failed)?;
    match line.as_str() {
        "ready\n" => Ok(Successor { stream, pid }),
        "" => Err(HandOverError::Unfit {
            path: path.to_owned(),
            reason: "the new process ended before it was ready".to_owned(),
        }),
        _ => Err(HandOverError::Unfit { path: path.to_owned(), reason: "it did not say `ready`".to_owned() }),
    }
}

fn check_peer(path: &Path, stream: &UnixStream) -> Result<(), HandOverError> {
    let peer = rustix::net::sockopt::socket_peercred(stream)
        .map_err(|source| HandOverError::Io { path: path.to_owned(), source: source.into() })?;
    if is_trusted(peer.uid.as_raw(), rustix::process::geteuid().as_raw()) {
        Ok(())
    } else {
        Err(HandOverError::Stranger { path: path.to_owned(), uid: peer.uid.as_raw() })
    }
}

/// Root may do without being asked what it likes; others only with their own.
const fn is_trusted(peer: u32, own: u32) -> bool {
    peer == own || peer == 0
}

fn send(stream: &UnixStream, text: &[u8], sockets: &[OwnedFd; 2]) -> io::Result<()> {
    let descriptors = [sockets[0].as_fd(), sockets[1].as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("no room for two descriptors"));
    }
    let sent = rustix::net::sendmsg(stream, &[IoSlice::new(text)], &mut control, SendFlags::NOSIGNAL)?;
    if sent == text.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

fn receive(stream: &UnixStream) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut text = vec![0; MESSAGE_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let got = rustix::net::recvmsg(stream, &mut [IoSliceMut::new(&mut text)], &mut control, flags)?;
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(given) = message {
            descriptors.extend(given);
        }
    }
    text.truncate(got.bytes);
    Ok((text, descriptors))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sockets() -> (Arc<[OwnedFd; 2]>, [std::net::SocketAddr; 2]) {
        let both = [TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap()];
        let addresses = [both[0].local_addr().unwrap(), both[1].local_addr().unwrap()];
        (Arc::new(both.map(OwnedFd::from)), addresses)
    }

    #[test]
    fn only_the_same_user_and_root_are_trusted() {
        assert!(is_trusted(1000, 1000) && is_trusted(0, 1000));
        assert!(!is_trusted(1001, 1000) && !is_trusted(1000, 0));
    }

    #[tokio::test]
    async fn a_successor_gets_the_same_sockets_and_the_path_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hand-over.sock");
        assert!(Predecessor::ask(&path).unwrap().is_none(), "nobody runs");
        let (held, addresses) = sockets();
        let mut hand_over = HandOver::listen(&path, held).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let asked = path.clone();
        let new = tokio::task::spawn_blocking(move || {
            let (predecessor, sockets) = Predecessor::ask(&asked).unwrap().unwrap();
            let given = [sockets.public.unwrap(), sockets.admin.unwrap()];
            predecessor.ready().unwrap();
            given.map(|socket| socket.local_addr().unwrap())
        });
        hand_over.successor().await.accept().unwrap();
        assert_eq!(new.await.unwrap(), addresses);
        drop(hand_over);
        tokio::time::sleep(Duration::from_millis(50)).await; // its task ends when it is next polled
        assert!(Predecessor::ask(&path).unwrap().is_none(), "a path without a process is nobody");
    }

    #[tokio::test]
    async fn a_successor_that_ends_before_it_is_ready_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hand-over.sock");
        let (held, _) = sockets();
        let mut hand_over = HandOver::listen(&path, held).unwrap();
        let ask =
            |path: PathBuf| tokio::task::spawn_blocking(move || Predecessor::ask(&path).unwrap().unwrap());
        drop(ask(path.clone()).await.unwrap());
        let waited = tokio::time::timeout(Duration::from_millis(200), hand_over.successor()).await;
        assert!(waited.is_err(), "nobody was ready");
        // The next one is served as the first was.
        let (next, _) = ask(path.clone()).await.unwrap();
        let ready = tokio::task::spawn_blocking(move || next.ready());
        hand_over.successor().await.accept().unwrap();
        ready.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn what_is_no_gateway_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("other.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let other = std::thread::spawn(move || listener.accept().unwrap().0.write_all(b"220 mail\n"));
        let asked = path.clone();
        let asked = tokio::task::spawn_blocking(move || Predecessor::ask(&asked).map(|_| ())).await.unwrap();
        let text = asked.unwrap_err().to_string();
        assert!(text.contains("other.sock") && text.contains("no gateway"), "{text}");
        other.join().unwrap().unwrap();
    }
}
