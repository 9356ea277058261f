//! What can be wrong with a payload.

use crate::Datatype;

/// A payload that cannot be read. None of these is worth a retry of the same bytes.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ProtocolError {
    /// The other side speaks another version.
    #[error(
        "protocol version mismatch: this side speaks {ours}, the payload says {theirs}; deploy matching versions"
    )]
    VersionMismatch {
        /// Version of this build.
        ours: u32,
        /// Version that the payload names.
        theirs: u32,
    },
    /// Not JSON of the expected form.
    #[error("payload is not a valid message: {reason}")]
    Malformed {
        /// What the parser said.
        reason: String,
    },
    /// A tensor's `data` is not base64.
    #[error("tensor `{tensor}`: data is not base64")]
    Base64 {
        /// Its name.
        tensor: String,
    },
    /// A tensor holds more or fewer bytes than its shapes say.
    #[error("tensor `{tensor}` ({datatype}): shapes need {expected} bytes, data has {actual}")]
    DataLength {
        /// Its name.
        tensor: String,
        /// Its element type.
        datatype: Datatype,
        /// Bytes that the shapes ask for.
        expected: usize,
        /// Bytes present.
        actual: usize,
    },
    /// A BYTES tensor whose length prefixes run past its end, or a shape whose product overflows.
    #[error("tensor `{tensor}`: {reason}")]
    Corrupt {
        /// Its name.
        tensor: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A tensor does not hold one entry per item.
    #[error("tensor `{tensor}` holds {actual} items, the message names {expected}")]
    ItemCount {
        /// Its name.
        tensor: String,
        /// Items that the message names.
        expected: usize,
        /// Items in the tensor.
        actual: usize,
    },
    /// An answer that does not name exactly the items that were asked for.
    #[error("answer does not fit the request: {reason}")]
    WrongItems {
        /// What differs.
        reason: String,
    },
}
