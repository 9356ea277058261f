//! A model process: forked off the zygote with the loaded model, it serves shards from one socket until that closes.
//!
//! Blocking and single-threaded. It never looks at other processes; whoever holds the other end decides when it is hung or too
//! large. Deliberately absent: time-outs (the process may be frozen between invocations at any point).

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use bytes::Bytes;
use nix::sys::resource::{UsageWho, getrusage};

use crate::memory;
use crate::model_loop::ModelLoop;
use crate::shard::prepare::warm_up_shard;
use crate::wire::{MAX_FRAME_BYTES, PREFIX_BYTES, Part, Shard};

/// Parts between two looks at the resident set: a look costs some 10 µs, as much as a small shard.
const PARTS_PER_MEMORY_SAMPLE: u32 = 32;
/// A part that computed for longer than this has its resident set looked at anyway, microseconds.
const LONG_PART_US: u64 = 5_000;

/// Serves until the other end closes.
///
/// # Errors
/// The socket's, or a frame that is none.
pub(crate) fn serve(model: &mut ModelLoop, socket: OwnedFd) -> io::Result<()> {
    let mut stream = UnixStream::from(socket);
    let mut meter = Meter::new();
    while let Some(frame) = read_frame(&mut stream)? {
        let shard = Shard::decode(frame).map_err(io::Error::other)?;
        if shard.items == 0 {
            let warm_up = warm_up_shard(model.manifest());
            model.run(&warm_up, |_| io::Result::Ok(()))?;
            let mut part = Part { task: shard.task, last: true, ..Part::default() };
            meter.read(&mut part);
            stream.write_all(&part.encode())?;
            continue;
        }
        model.run(&shard, |mut part| {
            meter.read(&mut part);
            stream.write_all(&part.encode())
        })?;
    }
    Ok(())
}

fn read_frame(stream: &mut UnixStream) -> io::Result<Option<Bytes>> {
    let mut prefix = [0; PREFIX_BYTES];
    match stream.read_exact(&mut prefix) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let len = u32::from_le_bytes(prefix) as usize;
    if len > MAX_FRAME_BYTES {
        return Err(io::Error::other("frame too long"));
    }
    let mut frame = vec![0; len];
    stream.read_exact(&mut frame)?;
    Ok(Some(frame.into()))
}

/// What this process uses.
struct Meter {
    cpu_us: u64,
    parts: u32,
    resident_bytes: u64,
}

impl Meter {
    fn new() -> Self {
        Self { cpu_us: own_cpu_us(), parts: 0, resident_bytes: 0 }
    }

    fn read(&mut self, part: &mut Part) {
        let cpu_us = own_cpu_us();
        part.usage.cpu_us = cpu_us.saturating_sub(std::mem::replace(&mut self.cpu_us, cpu_us));
        if self.parts.is_multiple_of(PARTS_PER_MEMORY_SAMPLE) || part.usage.compute_us > LONG_PART_US {
            self.resident_bytes = memory::Resident::of("self").map_or(0, |resident| resident.all_bytes);
        }
        self.parts = self.parts.wrapping_add(1);
        part.usage.resident_bytes = self.resident_bytes;
    }
}

fn own_cpu_us() -> u64 {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else {
        return 0;
    };
    [usage.user_time(), usage.system_time()]
        .iter()
        .map(|time| u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec()).unwrap_or(0))
        .sum()
}
