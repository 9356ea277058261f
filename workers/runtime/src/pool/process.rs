//! The supervisor's end of one model process: its socket, its work, what it has said.
//!
//! Never blocks. Deliberately absent: decisions; `dispatch` decides when a process is hung, too large or to be given work.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use bytes::Bytes;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, setsockopt, socketpair, sockopt};
use workers_protocol::ProcessReport;

use super::timeline::ShardMark;
use crate::wire::{MAX_FRAME_BYTES, PREFIX_BYTES, Part};

/// Socket buffer to ask for, bytes; the kernel gives what it allows. Larger means fewer wake-ups for large shards.
const SOCKET_BUFFER_BYTES: usize = 1 << 20;
/// Bytes to read at first, before the length of a part is known.
const FIRST_READ_BYTES: usize = 16 * 1024;

/// Items for one process, by position in the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Task {
    /// The items. Empty: a warm-up.
    pub(crate) items: Vec<u32>,
    /// Second try of an item whose first process was lost; runs alone, so that only a guilty item fails.
    pub(crate) alone: bool,
}

/// A task that a process is working on.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) number: u64,
    pub(super) task: Task,
    /// When it last said something, or began.
    pub(super) last_sign: Instant,
    /// How long it may be silent.
    pub(super) patience: Duration,
    /// Its place in the timeline.
    pub(super) mark: Option<ShardMark>,
}

/// A process that must be given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gone;

/// One model process.
#[derive(Debug)]
pub(super) struct ModelProcess {
    pub(super) slot: u64,
    /// When its fork was ordered.
    pub(super) ordered: Instant,
    /// Known once the zygote has said so.
    pub(super) pid: Option<i32>,
    pub(super) running: Option<Running>,
    /// What it did in this invocation.
    pub(super) report: ProcessReport,
    pub(super) took_part: bool,
    stream: UnixStream,
    outgoing: Vec<u8>,
    sent: usize,
    incoming: Vec<u8>,
}

impl ModelProcess {
    /// A process to be, and the end of its socket that it shall serve.
    pub(super) fn new(slot: u64, replaced: bool) -> nix::Result<(Self, OwnedFd)> {
        let (near, far) = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)?;
        for end in [&near, &far] {
            let _ = setsockopt(end, sockopt::SndBuf, &SOCKET_BUFFER_BYTES); // a wish
        }
        let stream = UnixStream::from(near);
        stream.set_nonblocking(true).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))?;
        let report = ProcessReport { replaced, ..ProcessReport::default() };
        let process = Self {
            slot,
            ordered: Instant::now(),
            pid: None,
            running: None,
            report,
            took_part: false,
            stream,
            outgoing: Vec::new(),
            sent: 0,
            incoming: Vec::new(),
        };
        Ok((process, far))
    }

    /// Whether an idle process has ended (or said something unasked, which is as bad).
    pub(super) fn has_closed(&self) -> bool {
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        !matches!(recv(self.stream.as_raw_fd(), &mut [0], flags), Err(Errno::EAGAIN))
    }

    /// Forgets the previous invocation.
    pub(super) fn start_invocation(&mut self) {
        self.report =
            ProcessReport { resident_bytes: self.report.resident_bytes, ..ProcessReport::default() };
        self.took_part = false;
    }

    /// Gives the process a task and begins to write its frame.
    pub(super) fn start(&mut self, running: Running, frame: Vec<u8>) -> Result<(), Gone> {
        self.running = Some(running);
        self.took_part = true;
        (self.outgoing, self.sent) = (frame, 0);
        self.flush()
    }

    /// Whether a part of the frame is still to be written.
    pub(super) fn wants_to_write(&self) -> bool {
        self.sent < self.outgoing.len()
    }

    /// Writes what the socket takes.
    pub(super) fn flush(&mut self) -> Result<(), Gone> {
        while self.wants_to_write() {
            match self.stream.write(&self.outgoing[self.sent..]) {
                Ok(len) => self.sent += len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(Gone),
            }
        }
        (self.outgoing, self.sent) = (Vec::new(), 0);
        Ok(())
    }

    /// Reads what is there. Gives the parts that are complete, and whether the process is still to be talked to.
    pub(super) fn read(&mut self) -> (Vec<Part>, Result<(), Gone>) {
        let mut parts = Vec::new();
        loop {
            let wanted = match self.missing() {
                Ok(0) => match self.take_part() {
                    Ok(part) => {
                        parts.push(part);
                        continue;
                    }
                    Err(gone) => return (parts, Err(gone)),
                },
                Ok(wanted) => wanted,
                Err(gone) => return (parts, Err(gone)),
            };
            let have = self.incoming.len();
            self.incoming.resize(have + wanted, 0);
            let read = self.stream.read(&mut self.incoming[have..]);
            self.incoming.truncate(have + read.as_ref().copied().unwrap_or(0));
            match read {
                Ok(0) => return (parts, Err(Gone)),
                Ok(len) if len < wanted && self.missing().is_ok_and(|missing| missing > 0) => {
                    return (parts, Ok(()));
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return (parts, Ok(())),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return (parts, Err(Gone)),
            }
            if self.incoming.is_empty() {
                return (parts, Ok(()));
            }
        }
    }

    /// Bytes to ask for until the next part may be complete; 0 if it is.
    fn missing(&self) -> Result<usize, Gone> {
        let Some(prefix) = self.incoming.first_chunk::<PREFIX_BYTES>() else {
            return Ok(FIRST_READ_BYTES);
        };
        let len = u32::from_le_bytes(*prefix) as usize;
        if len > MAX_FRAME_BYTES {
            return Err(Gone);
        }
        Ok((PREFIX_BYTES + len).saturating_sub(self.incoming.len()))
    }

    fn take_part(&mut self) -> Result<Part, Gone> {
        let prefix = self.incoming.first_chunk::<PREFIX_BYTES>().ok_or(Gone)?;
        let end = PREFIX_BYTES + u32::from_le_bytes(*prefix) as usize;
        let rest = self.incoming.split_off(end);
        let frame = Bytes::from(std::mem::replace(&mut self.incoming, rest));
        Part::decode(frame.slice(PREFIX_BYTES..)).map_err(|_| Gone)
    }
}

impl AsFd for ModelProcess {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
