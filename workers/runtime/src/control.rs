//! The channel between supervisor and zygote: small fixed-size messages over a `SOCK_SEQPACKET` pair.
//!
//! The supervisor makes the socket pair of a new model process and sends one end along with [`Order::Fork`], so it can write
//! work into its own end before the process exists. Deliberately absent: payloads (they never pass through the zygote).

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair};

use crate::sys;

/// Supervisor → zygote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Fork a model process that serves the socket that comes with this message.
    Fork {
        /// Name of the process for both sides; never used twice.
        slot: u64,
    },
    /// Kill this process. Sent to the zygote, as only the parent knows that the process id is not yet somebody else's.
    Kill {
        /// Its name.
        slot: u64,
    },
}

/// Zygote → supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// The model is loaded.
    Ready {
        /// Anonymous resident memory of the zygote, bytes: what a process that it forks starts with.
        anonymous_bytes: u64,
        /// All resident memory of the zygote, bytes.
        resident_bytes: u64,
    },
    /// A process was forked.
    Forked {
        /// Its name.
        slot: u64,
        /// Its process id.
        pid: i32,
    },
    /// A process could not be forked.
    ForkFailed {
        /// Its name.
        slot: u64,
        /// Why.
        errno: i32,
    },
    /// A process has ended and is reaped.
    Exited {
        /// Its name.
        slot: u64,
        /// Signal that ended it, or 0.
        signal: i32,
    },
}

const MESSAGE_BYTES: usize = 24;

/// One end of the channel.
#[derive(Debug)]
pub(crate) struct ControlSocket(OwnedFd);

impl ControlSocket {
    /// Makes both ends.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn pair() -> nix::Result<(Self, Self)> {
        let (a, b) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        Ok((Self(a), Self(b)))
    }

    /// Sends an order, with the descriptor that belongs to it.
    ///
    /// # Errors
    /// The kernel's; `EPIPE` when the zygote is gone.
    pub(crate) fn send_order(&self, order: Order, descriptor: Option<BorrowedFd<'_>>) -> nix::Result<()> {
        let (tag, slot) = match order {
            Order::Fork { slot } => (1, slot),
            Order::Kill { slot } => (2, slot),
        };
        self.send(pack(tag, slot, 0), descriptor)
    }

    /// Sends a notice.
    ///
    /// # Errors
    /// The kernel's; `EPIPE` when the supervisor is gone.
    pub(crate) fn send_notice(&self, notice: Notice) -> nix::Result<()> {
        let message = match notice {
            Notice::Ready { anonymous_bytes, resident_bytes } => pack(1, anonymous_bytes, resident_bytes),
            Notice::Forked { slot, pid } => pack(2, slot, u64::from(pid.cast_unsigned())),
            Notice::ForkFailed { slot, errno } => pack(3, slot, u64::from(errno.cast_unsigned())),
            Notice::Exited { slot, signal } => pack(4, slot, u64::from(signal.cast_unsigned())),
        };
        self.send(message, None)
    }

    /// Waits for an order. `None`: the supervisor is gone.
    ///
    /// # Errors
    /// The kernel's, or `EBADMSG` for a message that is none of ours.
    pub(crate) fn receive_order(&self) -> nix::Result<Option<(Order, Option<OwnedFd>)>> {
        let Some((tag, slot, _, descriptor)) = self.receive(MsgFlags::empty())? else {
            return Ok(None);
        };
        match tag {
            1 => Ok(Some((Order::Fork { slot }, descriptor))),
            2 => Ok(Some((Order::Kill { slot }, None))),
            _ => Err(Errno::EBADMSG),
        }
    }

    /// Waits for a notice. `None`: the zygote is gone.
    ///
    /// # Errors
    /// The kernel's, or `EBADMSG` for a message that is none of ours.
    pub(crate) fn receive_notice(&self) -> nix::Result<Option<Notice>> {
        self.notice(MsgFlags::empty())
    }

    /// Takes a notice that is already there; `EAGAIN` if none is.
    ///
    /// # Errors
    /// As [`Self::receive_notice`].
    pub(crate) fn try_receive_notice(&self) -> nix::Result<Option<Notice>> {
        self.notice(MsgFlags::MSG_DONTWAIT)
    }

    fn notice(&self, flags: MsgFlags) -> nix::Result<Option<Notice>> {
        let Some((tag, a, b, _)) = self.receive(flags)? else {
            return Ok(None);
        };
        let small = || u32::try_from(b).map(u32::cast_signed).map_err(|_| Errno::EBADMSG);
        Ok(Some(match tag {
            1 => Notice::Ready { anonymous_bytes: a, resident_bytes: b },
            2 => Notice::Forked { slot: a, pid: small()? },
            3 => Notice::ForkFailed { slot: a, errno: small()? },
            4 => Notice::Exited { slot: a, signal: small()? },
            _ => return Err(Errno::EBADMSG),
        }))
    }

    fn send(&self, message: [u8; MESSAGE_BYTES], descriptor: Option<BorrowedFd<'_>>) -> nix::Result<()> {
        let raw = descriptor.map(|descriptor| [descriptor.as_raw_fd()]);
        let rights = raw.as_ref().map(|raw| ControlMessage::ScmRights(raw));
        let slices = [IoSlice::new(&message)];
        retry(|| {
            sendmsg::<()>(self.0.as_raw_fd(), &slices, rights.as_slice(), MsgFlags::MSG_NOSIGNAL, None)
                .map(drop)
        })
    }

    fn receive(&self, flags: MsgFlags) -> nix::Result<Option<Received>> {
        let mut message = [0_u8; MESSAGE_BYTES];
        let (len, descriptor) = retry(|| sys::receive_with_descriptor(self.0.as_fd(), &mut message, flags))?;
        match len {
            0 => Ok(None),
            MESSAGE_BYTES => {
                let field = |index: usize| {
                    let bytes = message[index * 8..index * 8 + 8].try_into();
                    u64::from_le_bytes(bytes.expect("a range of eight bytes"))
                };
                Ok(Some((field(0), field(1), field(2), descriptor)))
            }
            _ => Err(Errno::EBADMSG),
        }
    }
}

impl AsFd for ControlSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Tag, two values, and the descriptor that came along.
type Received = (u64, u64, u64, Option<OwnedFd>);

fn pack(tag: u64, a: u64, b: u64) -> [u8; MESSAGE_BYTES] {
    let mut message = [0; MESSAGE_BYTES];
    message[..8].copy_from_slice(&tag.to_le_bytes());
    message[8..16].copy_from_slice(&a.to_le_bytes());
    message[16..].copy_from_slice(&b.to_le_bytes());
    message
}

/// Calls again what a signal interrupted.
pub(crate) fn retry<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_carries_its_descriptor() {
        let (supervisor, zygote) = ControlSocket::pair().unwrap();
        let (passed, kept) =
            socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::empty()).unwrap();
        supervisor.send_order(Order::Fork { slot: 7 }, Some(passed.as_fd())).unwrap();
        drop(passed);
        let (order, received) = zygote.receive_order().unwrap().unwrap();
        assert_eq!(order, Order::Fork { slot: 7 });
        nix::unistd::write(received.unwrap(), b"hi").unwrap();
        let mut buffer = [0; 2];
        nix::unistd::read(&kept, &mut buffer).unwrap();
        assert_eq!(&buffer, b"hi");
    }

    #[test]
    fn notices_round_trip_and_the_end_is_seen() {
        let (supervisor, zygote) = ControlSocket::pair().unwrap();
        assert_eq!(supervisor.try_receive_notice(), Err(Errno::EAGAIN));
        let notices = [
            Notice::Ready { anonymous_bytes: 1 << 40, resident_bytes: 2 << 40 },
            Notice::Forked { slot: 3, pid: 4 },
            Notice::ForkFailed { slot: 5, errno: 12 },
            Notice::Exited { slot: 6, signal: 9 },
        ];
        for notice in notices {
            zygote.send_notice(notice).unwrap();
            assert_eq!(supervisor.receive_notice().unwrap(), Some(notice));
        }
        drop(zygote);
        assert_eq!(supervisor.receive_notice(), Ok(None));
    }
}
