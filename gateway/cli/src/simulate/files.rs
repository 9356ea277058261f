//! The files that a study names: read once, unpacked, and fingerprinted.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// Files of a study.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
    from_here: Vec<String>,
    texts: RefCell<BTreeMap<String, String>>,
}

impl Files {
    /// Names are looked for in `folder`, but for those of `from_here`.
    pub(super) fn new(folder: PathBuf, from_here: Vec<String>) -> Self {
        Self { folder, from_here, texts: RefCell::default() }
    }

    /// The text of a file; the reason if there is none.
    pub(super) fn read(&self, name: &str) -> Result<String, String> {
        if let Some(text) = self.texts.borrow().get(name) {
            return Ok(text.clone());
        }
        let is_from_here = self.from_here.iter().any(|known| known == name);
        let path = if is_from_here { PathBuf::from(name) } else { self.folder.join(name) };
        let text = unpacked(&path)?;
        self.texts.borrow_mut().insert(name.to_owned(), text.clone());
        Ok(text)
    }

    /// Tells studies apart: what they say, what they read, and the version that runs them.
    pub(super) fn fingerprint(&self, essence: &str) -> String {
        let mut hash = Sha256::new();
        let texts = self.texts.borrow();
        let parts = [env!("CARGO_PKG_VERSION"), essence].into_iter();
        for part in parts.chain(texts.iter().flat_map(|(name, text)| [name.as_str(), text.as_str()])) {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}

fn unpacked(path: &Path) -> Result<String, String> {
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    let bytes = if path.extension().is_some_and(|ending| ending == "gz") {
        let mut unpacked = Vec::new();
        let read = flate2::read::MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut unpacked);
        read.map_err(|error| format!("is no gzip file: {error}"))?;
        unpacked
    } else {
        bytes
    };
    String::from_utf8(bytes).map_err(|_| "is no text (UTF-8)".to_owned())
}
