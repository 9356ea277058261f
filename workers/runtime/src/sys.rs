//! The only unsafe code of the worker: `fork`, the passing of a file descriptor, and the memory of a runtime tensor as bytes.
//!
//! Everything else that touches the operating system goes through safe wrappers of `nix` and `std`.
//! Deliberately absent: shared memory objects and semaphores (Lambda has no `/dev/shm`), threads, signal handlers.
#![expect(unsafe_code, reason = "fork, descriptor passing and raw tensor memory have no safe interface")]

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use nix::unistd::{ForkResult, Pid};
use ort::value::DynTensor;

/// Which side of a fork this is.
pub(crate) enum Fork {
    /// The caller goes on; the child has this process id.
    Parent(Pid),
    /// The new process.
    Child,
}

/// Forks. To be called only while this process has no thread of ours: the child gets the calling thread alone, and a lock
/// that another thread held would stay locked in it for ever.
///
/// # Errors
/// The kernel's: too many processes, or not enough memory for page tables.
pub(crate) fn fork_single_threaded() -> nix::Result<Fork> {
    // SAFETY: `main` and the zygote, the only callers, start no thread; ONNX Runtime with one intra-op and one inter-op
    // thread keeps at most an idle one, which holds no lock. So the child may run any code.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(Fork::Parent(child)),
        ForkResult::Child => Ok(Fork::Child),
    }
}

/// Receives one message and the descriptor that may come with it. A length of 0 says that the other side is gone.
///
/// # Errors
/// The kernel's; `EAGAIN` when `flags` holds `MSG_DONTWAIT` and nothing is there.
pub(crate) fn receive_with_descriptor(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    flags: MsgFlags,
) -> nix::Result<(usize, Option<OwnedFd>)> {
    let mut space = nix::cmsg_space!(RawFd);
    let mut slices = [IoSliceMut::new(buffer)];
    let message =
        recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut space), flags | MsgFlags::MSG_CMSG_CLOEXEC)?;
    let mut received = None;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = control {
            for descriptor in descriptors {
                // SAFETY: the kernel has just made this descriptor for us; nobody else owns it. One that is overwritten
                // here is closed by the drop of its owner.
                received = Some(unsafe { OwnedFd::from_raw_fd(descriptor) });
            }
        }
    }
    Ok((message.bytes, received))
}

/// The bytes of a tensor in CPU memory. Empty for strings, whose elements do not lie in one piece.
pub(crate) fn tensor_bytes(tensor: &DynTensor) -> &[u8] {
    let (Some(len), pointer) = (tensor.size(), tensor.data_ptr().cast::<u8>()) else {
        return &[];
    };
    if len == 0 || pointer.is_null() || !tensor.memory_info().is_cpu_accessible() {
        return &[];
    }
    // SAFETY: ONNX Runtime says that the tensor's buffer is `len` bytes at `pointer`, readable from the CPU, and alive as
    // long as the tensor, which the result borrows. Any byte pattern is a valid `u8`; `DynTensor::new` zeroes what it makes.
    unsafe { std::slice::from_raw_parts(pointer, len) }
}

/// The bytes of a tensor in CPU memory, to be written. Empty for strings.
pub(crate) fn tensor_bytes_mut(tensor: &mut DynTensor) -> &mut [u8] {
    let (Some(len), pointer) = (tensor.size(), tensor.data_ptr_mut().cast::<u8>()) else {
        return &mut [];
    };
    if len == 0 || pointer.is_null() || !tensor.memory_info().is_cpu_accessible() {
        return &mut [];
    }
    // SAFETY: as in `tensor_bytes`; the tensor is borrowed mutably, so nothing else reads or writes the buffer meanwhile.
    unsafe { std::slice::from_raw_parts_mut(pointer, len) }
}

/// Ends this process at once, without destructors: those of a library that was loaded before a fork are not meant to run twice.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` has no preconditions.
    unsafe { nix::libc::_exit(code) }
}
