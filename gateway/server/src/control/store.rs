//! Learned state and the last good plan of each model on the disk.
//!
//! One file a model. Its first line names the format and the SHA-256 of the rest, which is JSON. A file is written beside its place,
//! flushed to the disk, and renamed over the old one, so that a crash leaves the old or the new, never half of each. A file that
//! does not hold is moved aside to `NAME.corrupt`: the configured plan serves, and nothing is lost that a person might want to see.
//! Deliberately absent: who may write (`claim.rs`), and anything but local files (`state_copy.rs`).

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use optimizer_tuner::TunerState;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::point::StoredPlan;

/// First word of a file; the number is the version of this format.
const MAGIC: &str = "penstock-state-1 sha256=";

/// What is kept of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredState {
    /// Its name in URLs.
    pub(super) model: String,
    /// Name and version in its manifest: another model's service times are of no use.
    pub(super) manifest: (String, String),
    /// The function that ran it.
    pub(super) function: String,
    /// The last plan that served well, if the tuner chose one.
    pub(super) plan: Option<StoredPlan>,
    /// What the tuner learned.
    pub(super) tuner: TunerState,
}

/// Why there is no state.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    /// The file cannot be read or moved.
    #[error("cannot read: {0}")]
    Unreadable(#[from] std::io::Error),
    /// It was cut off, changed, or is not ours.
    #[error("{reason}; kept as `{}`", .aside.display())]
    Corrupt { reason: String, aside: PathBuf },
}

/// The folder.
#[derive(Clone, Debug)]
pub(super) struct Store {
    directory: PathBuf,
}

impl Store {
    /// Makes the folder if it is not there.
    pub(super) fn open(directory: &Path) -> std::io::Result<Self> {
        fs::create_dir_all(directory)?;
        Ok(Self { directory: directory.to_owned() })
    }

    /// Model names are checked by the configuration: no separators, no leading dot.
    fn path(&self, model: &str) -> PathBuf {
        self.directory.join(format!("{model}.state"))
    }

    /// Reads a model's state; `None`: there is none yet.
    pub(super) fn load(&self, model: &str) -> Result<Option<StoredState>, LoadError> {
        let path = self.path(model);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            read => read?,
        };
        match decode(&bytes, model) {
            Ok(state) => Ok(Some(state)),
            Err(reason) => Err(self.set_aside(model, reason)?),
        }
    }

    /// Moves a file that cannot be used out of the way.
    pub(super) fn set_aside(&self, model: &str, reason: String) -> std::io::Result<LoadError> {
        let aside = self.directory.join(format!("{model}.state.corrupt"));
        fs::rename(self.path(model), &aside)?;
        Ok(LoadError::Corrupt { reason, aside })
    }

    /// Writes a model's state, all of it or nothing, and gives the file's content.
    pub(super) fn save(&self, state: &StoredState) -> std::io::Result<Vec<u8>> {
        let path = self.path(&state.model);
        let temporary = self.directory.join(format!("{}.state.new", state.model));
        let mut file = File::create(&temporary)?;
        let bytes = encode(state)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        File::open(&self.directory)?.sync_all()?; // the rename itself
        Ok(bytes)
    }
}

/// A file's content.
pub(super) fn encode(state: &StoredState) -> std::io::Result<Vec<u8>> {
    let body = serde_json::to_vec(state).map_err(std::io::Error::other)?;
    let mut bytes = format!("{MAGIC}{}\n", hex(&body)).into_bytes();
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

/// Reads what [`Store::save`] wrote of a model.
pub(super) fn decode(bytes: &[u8], model: &str) -> Result<StoredState, String> {
    let end = bytes.iter().position(|&byte| byte == b'\n').ok_or("it has no first line")?;
    let (head, body) = (&bytes[..end], &bytes[end + 1..]);
    let sum = head.strip_prefix(MAGIC.as_bytes()).ok_or("it is not a state file of this version")?;
    if sum != hex(body).as_bytes() {
        return Err("its checksum does not hold".to_owned());
    }
    let state: StoredState =
        serde_json::from_slice(body).map_err(|error| format!("its content does not fit: {error}"))?;
    if state.model == model { Ok(state) } else { Err(format!("it is of model `{}`", state.model)) }
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
