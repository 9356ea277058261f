//! The model folder: what it must look like before anything in it is trusted.
//!
//! `model.toml` names files inside the folder; the folder itself may be reached through a symbolic link, its files may not lead
//! out of it. Every file is compared with its SHA-256, which also catches a deployment that was cut off.
//! Cost of reading and hashing: 1.1 to 1.3 ms per MB on a CPU with SHA instructions, so some 110 of the 430 ms that MiniLM (90 MB)
//! takes to start; `RUST_LOG=info` prints the parts of the start.
//! Deliberately absent: downloads, caches, formats that can run code (pickle).

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use workers_protocol::{ManifestError, ModelManifest};

/// Largest model file, bytes: what fits Lambda's largest image beside everything else.
const MAX_MODEL_BYTES: u64 = 9 << 30;
/// Largest tokenizer file, bytes; the largest published ones are around 20 MB.
const MAX_TOKENIZER_BYTES: u64 = 128 << 20;
/// Largest manifest, bytes.
const MAX_MANIFEST_BYTES: u64 = 256 << 10;

/// A model folder that must not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The folder or a file in it cannot be read.
    #[error("model file `{path}`: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A wrong manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A path that leads out of the folder.
    #[error("model file `{path}` leads out of the model folder")]
    OutsideFolder {
        /// The file, as the manifest names it.
        path: PathBuf,
    },
    /// Too large, or no plain file.
    #[error("model file `{path}` is not a plain file of at most {limit} bytes")]
    NotAFile {
        /// The file.
        path: PathBuf,
        /// The bound, bytes.
        limit: u64,
    },
    /// Other bytes than the manifest says.
    #[error("model file `{path}` has SHA-256 {actual}, `model.toml` says {expected}")]
    Digest {
        /// The file.
        path: PathBuf,
        /// What the manifest says.
        expected: String,
        /// What the file has.
        actual: String,
    },
}

/// A model folder whose manifest has been read.
#[derive(Clone, Debug)]
pub struct ModelFolder {
    /// The manifest.
    pub manifest: ModelManifest,
    root: PathBuf,
}

/// Files of a folder that have been checked.
#[derive(Clone, Debug)]
pub struct CheckedFiles {
    /// The model file, if the engine needs one.
    pub model: Option<PathBuf>,
    /// The tokenizer file, if the model has one.
    pub tokenizer: Option<PathBuf>,
}

impl ModelFolder {
    /// Reads the manifest of a folder. Quick; looks at no other file.
    ///
    /// # Errors
    /// No such folder, or an unusable manifest.
    pub fn open(folder: &Path) -> Result<Self, ModelError> {
        let root =
            folder.canonicalize().map_err(|error| ModelError::Read { path: folder.to_owned(), error })?;
        let path = inside(&root, "model.toml", MAX_MANIFEST_BYTES)?;
        let text = std::fs::read_to_string(&path).map_err(|error| ModelError::Read { path, error })?;
        Ok(Self { manifest: ModelManifest::parse(&text)?, root })
    }

    /// Checks every file that the manifest names: inside the folder, a plain file, the right bytes. Reads them all.
    ///
    /// # Errors
    /// The first file that is not as it should be.
    pub fn check_files(&self) -> Result<CheckedFiles, ModelError> {
        let checked = |name: &str, sha256: &str, limit| -> Result<PathBuf, ModelError> {
            let path = inside(&self.root, name, limit)?;
            check_digest(&path, sha256)?;
            Ok(path)
        };
        let manifest = &self.manifest;
        let model = match (&manifest.file, &manifest.sha256) {
            (Some(file), Some(sha256)) => Some(checked(file, sha256, MAX_MODEL_BYTES)?),
            _ => None,
        };
        let tokenizer = manifest
            .tokenizer
            .as_ref()
            .map(|tokenizer| checked(&tokenizer.file, &tokenizer.sha256, MAX_TOKENIZER_BYTES))
            .transpose()?;
        Ok(CheckedFiles { model, tokenizer })
    }
}

/// The real path of a file that must lie in the real folder `root`.
fn inside(root: &Path, name: &str, limit: u64) -> Result<PathBuf, ModelError> {
    let read = |path: &Path, error| ModelError::Read { path: path.to_owned(), error };
    let path = root.join(name);
    let real = path.canonicalize().map_err(|error| read(&path, error))?;
    if !real.starts_with(root) {
        return Err(ModelError::OutsideFolder { path: name.into() });
    }
    let metadata = real.metadata().map_err(|error| read(&real, error))?;
    if !metadata.is_file() || metadata.len() > limit {
        return Err(ModelError::NotAFile { path: real, limit });
    }
    Ok(real)
}

fn check_digest(path: &Path, expected: &str) -> Result<(), ModelError> {
    let read = |error| ModelError::Read { path: path.to_owned(), error };
    let mut file = File::open(path).map_err(read)?;
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0_u8; 256 * 1024]);
    loop {
        match file.read(&mut buffer).map_err(read)? {
            0 => break,
            len => hasher.update(&buffer[..len]),
        }
    }
    let actual: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if actual == expected {
        return Ok(());
    }
    Err(ModelError::Digest { path: path.to_owned(), expected: expected.to_owned(), actual })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC_SHA256: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn folder(sha256: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let manifest = format!(
            "name='m'\nversion='1'\nengine='onnxruntime'\nfile='model.onnx'\nsha256='{sha256}'\n[[inputs]]\nname='x'\n\
             datatype='FP32'\nshape=[2]\n[[outputs]]\nname='y'\ndatatype='FP32'\nshape=[2]\n"
        );
        std::fs::write(folder.path().join("model.toml"), manifest).unwrap();
        folder
    }

    #[test]
    fn right_digest_is_accepted() {
        let folder = folder(ABC_SHA256);
        std::fs::write(folder.path().join("model.onnx"), "abc").unwrap();
        let files = ModelFolder::open(folder.path()).unwrap().check_files().unwrap();
        assert!(files.model.unwrap().ends_with("model.onnx"));
    }

    #[test]
    fn wrong_digest_is_refused() {
        let folder = folder(ABC_SHA256);
        std::fs::write(folder.path().join("model.onnx"), "abd").unwrap();
        let error = ModelFolder::open(folder.path()).unwrap().check_files().unwrap_err();
        assert!(matches!(error, ModelError::Digest { .. }), "{error}");
    }

    #[test]
    fn link_out_of_the_folder_is_refused_but_the_folder_may_be_a_link() {
        let (folder, elsewhere) = (folder(ABC_SHA256), tempfile::tempdir().unwrap());
        let link = elsewhere.path().join("link");
        std::os::unix::fs::symlink(folder.path(), &link).unwrap();
        std::fs::write(folder.path().join("model.onnx"), "abc").unwrap();
        ModelFolder::open(&link).unwrap().check_files().unwrap();

        std::fs::remove_file(folder.path().join("model.onnx")).unwrap();
        std::fs::write(elsewhere.path().join("abc"), "abc").unwrap();
        std::os::unix::fs::symlink(elsewhere.path().join("abc"), folder.path().join("model.onnx")).unwrap();
        let error = ModelFolder::open(&link).unwrap().check_files().unwrap_err();
        assert!(matches!(error, ModelError::OutsideFolder { .. }), "{error}");
    }
}
