//! What lies in the store: who leads, and what it publishes.

use serde::{Deserialize, Serialize};

/// Who leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Ascends with each leader: the fencing token.
    pub epoch: u64,
    /// Ascends with each write of a leader.
    pub beat: u64,
    /// The leader; `None`: it has given the lease up.
    pub holder: Option<String>,
}

/// A head with what was published under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Who leads.
    pub head: Head,
    /// Anything.
    pub body: Vec<u8>,
}

/// First word of a record in a file or an object; the number is the version of this format.
const MAGIC: &str = "penstock-lease-1 ";

impl Record {
    /// One line for the head, then the body.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let head = serde_json::to_string(&self.head).unwrap_or_default();
        let mut bytes = format!("{MAGIC}{head}\n").into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let end = bytes.iter().position(|&byte| byte == b'\n').ok_or("it has no first line")?;
        let head = bytes[..end].strip_prefix(MAGIC.as_bytes()).ok_or("it is no lease of this version")?;
        let head = serde_json::from_slice(head).map_err(|error| format!("its head does not fit: {error}"))?;
        Ok(Self { head, body: bytes[end + 1..].to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_whole_and_anything_else_is_refused() {
        let head = Head { epoch: 3, beat: 9, holder: Some("host-1".to_owned()) };
        let record = Record { head, body: b"two\nlines".to_vec() };
        assert_eq!(Record::decode(&record.encode()), Ok(record.clone()));
        for bytes in [&b""[..], b"penstock-lease-2 {}\n", b"penstock-lease-1 {\"epoch\":-1}\n", b"mail"] {
            assert!(Record::decode(bytes).is_err(), "{bytes:?}");
        }
    }
}
