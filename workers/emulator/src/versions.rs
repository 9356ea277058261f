//! What an immutable function version consists of, and unpacking its code. `$LATEST` is a sequence of such values: every
//! update makes a new one. No state changes here.

use crate::billing::Architecture;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Largest unpacked package, bytes.
const MAXIMUM_UNPACKED_BYTES: u64 = 250 << 20;

/// Code, unpacked. Its folder is removed with the last version and sandbox that use it.
#[derive(Debug)]
pub(crate) struct CodePackage {
    /// Folder that has `bootstrap`.
    pub(crate) folder: PathBuf,
    /// SHA-256 of the package, base64.
    pub(crate) sha256: String,
    /// Size of the package, bytes.
    pub(crate) bytes: u64,
}

impl Drop for CodePackage {
    fn drop(&mut self) {
        if !self.folder.as_os_str().is_empty() {
            // Links in the folder are removed, not what they point to.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// One immutable version, or one state of `$LATEST`.
#[derive(Debug, Clone)]
pub(crate) struct FunctionVersion {
    pub(crate) name: String,
    /// ARN of the function, without a qualifier.
    pub(crate) arn: String,
    /// `$LATEST` or a number.
    pub(crate) version: String,
    pub(crate) description: String,
    pub(crate) runtime: String,
    pub(crate) role: String,
    pub(crate) handler: String,
    pub(crate) memory_mib: u32,
    pub(crate) timeout_seconds: u32,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) architecture: Architecture,
    pub(crate) ephemeral_storage_mib: u32,
    pub(crate) code: std::sync::Arc<CodePackage>,
    pub(crate) last_modified: String,
    pub(crate) revision_id: String,
}

impl FunctionVersion {
    /// Whether publishing `self` after `published` would make a version that differs in nothing.
    pub(crate) fn same_content(&self, published: &Self) -> bool {
        let content = |version: &Self| {
            (
                version.code.sha256.clone(),
                version.runtime.clone(),
                version.role.clone(),
                version.handler.clone(),
                (version.memory_mib, version.timeout_seconds, version.ephemeral_storage_mib),
                version.environment.clone(),
                version.architecture,
            )
        };
        content(self) == content(published)
    }

    /// The `FunctionConfiguration` of the API, without the states.
    pub(crate) fn configuration(&self, qualified_arn: bool) -> ConfigurationView<'_> {
        ConfigurationView { version: self, qualified_arn }
    }
}

/// A version as the API shows it.
pub(crate) struct ConfigurationView<'a> {
    version: &'a FunctionVersion,
    qualified_arn: bool,
}

impl ConfigurationView<'_> {
    /// The JSON object.
    pub(crate) fn to_json(&self) -> serde_json::Map<String, serde_json::Value> {
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct View<'a> {
            function_name: &'a str,
            function_arn: String,
            runtime: &'a str,
            role: &'a str,
            handler: &'a str,
            code_size: u64,
            description: &'a str,
            timeout: u32,
            memory_size: u32,
            last_modified: &'a str,
            code_sha256: &'a str,
            version: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            environment: Option<serde_json::Value>,
            tracing_config: serde_json::Value,
            revision_id: &'a str,
            package_type: &'a str,
            architectures: [&'a str; 1],
            ephemeral_storage: serde_json::Value,
            snap_start: serde_json::Value,
            logging_config: serde_json::Value,
        }
        let version = self.version;
        let suffix = if self.qualified_arn { format!(":{}", version.version) } else { String::new() };
        let view = View {
            function_name: &version.name,
            function_arn: format!("{}{suffix}", version.arn),
            runtime: &version.runtime,
            role: &version.role,
            handler: &version.handler,
            code_size: version.code.bytes,
            description: &version.description,
            timeout: version.timeout_seconds,
            memory_size: version.memory_mib,
            last_modified: &version.last_modified,
            code_sha256: &version.code.sha256,
            version: &version.version,
            environment: (!version.environment.is_empty())
                .then(|| serde_json::json!({ "Variables": version.environment })),
            tracing_config: serde_json::json!({ "Mode": "PassThrough" }),
            revision_id: &version.revision_id,
            package_type: "Zip",
            architectures: [version.architecture.as_str()],
            ephemeral_storage: serde_json::json!({ "Size": version.ephemeral_storage_mib }),
            snap_start: serde_json::json!({ "ApplyOn": "None", "OptimizationStatus": "Off" }),
            logging_config: serde_json::json!({ "LogFormat": "Text", "LogGroup": format!("/aws/lambda/{}", version.name) }),
        };
        match serde_json::to_value(view) {
            Ok(serde_json::Value::Object(object)) => object,
            _ => serde_json::Map::new(),
        }
    }
}

/// Why a package was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PackageError {
    #[error("Could not unzip uploaded file. Please check your file, then try to upload again.")]
    NotAZip,
    #[error("Unzipped size must be smaller than {MAXIMUM_UNPACKED_BYTES} bytes")]
    TooLarge,
    #[error("cannot store the package: {0}")]
    Storage(#[from] std::io::Error),
}

/// Unpacks a zip into a new folder below `parent`; names that would leave the folder make it invalid.
///
/// # Errors
/// [`PackageError`]; nothing is left behind.
pub(crate) fn unpack(zip: &[u8], parent: &Path, label: &str) -> Result<CodePackage, PackageError> {
    let sha256 = base64_simd::STANDARD.encode_to_string(Sha256::digest(zip));
    let mut archive = zip::ZipArchive::new(Cursor::new(zip)).map_err(|_| PackageError::NotAZip)?;
    let folder = parent.join(label);
    fs::create_dir_all(&folder)?;
    // From here on an error drops the package, and with it the folder.
    let package = CodePackage { folder: folder.clone(), sha256, bytes: zip.len() as u64 };
    let mut unpacked = 0_u64;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(|_| PackageError::NotAZip)?;
        let path = folder.join(entry.enclosed_name().ok_or(PackageError::NotAZip)?);
        if entry.is_dir() {
            fs::create_dir_all(&path)?;
            continue;
        }
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        let mut file = fs::File::create(&path)?;
        let room = MAXIMUM_UNPACKED_BYTES.saturating_sub(unpacked);
        unpacked +=
            std::io::copy(&mut (&mut entry).take(room + 1), &mut file).map_err(|_| PackageError::NotAZip)?;
        if unpacked > MAXIMUM_UNPACKED_BYTES {
            return Err(PackageError::TooLarge);
        }
        // Zips made without modes get Lambda's own: readable, not executable.
        let mode = entry.unix_mode().unwrap_or(0o644);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode & 0o777))?;
    }
    Ok(package)
}

/// A package used in place: a folder of links to the entries of `package_dir` and to `links`.
///
/// # Errors
/// The system's, when a link cannot be made.
pub(crate) fn link_package(
    package_dir: &Path,
    links: &BTreeMap<String, PathBuf>,
    parent: &Path,
    label: &str,
) -> std::io::Result<CodePackage> {
    let folder = parent.join(label);
    fs::create_dir_all(&folder)?;
    let mut digest = Sha256::new();
    let mut bytes = 0;
    for entry in fs::read_dir(package_dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += metadata.len();
        digest.update(entry.file_name().as_encoded_bytes());
        digest.update(metadata.len().to_le_bytes());
        if !links.contains_key(&*entry.file_name().to_string_lossy()) {
            std::os::unix::fs::symlink(fs::canonicalize(entry.path())?, folder.join(entry.file_name()))?;
        }
    }
    for (name, target) in links {
        digest.update(name.as_bytes());
        digest.update(target.as_os_str().as_encoded_bytes());
        std::os::unix::fs::symlink(fs::canonicalize(target)?, folder.join(name))?;
    }
    Ok(CodePackage { folder, sha256: base64_simd::STANDARD.encode_to_string(digest.finalize()), bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use zip::write::SimpleFileOptions;

    fn zip_of(files: &[(&str, &str, u32)]) -> Vec<u8> {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, text, mode) in files {
            writer.start_file(*name, SimpleFileOptions::default().unix_permissions(*mode)).unwrap();
            writer.write_all(text.as_bytes()).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    #[test]
    fn a_package_keeps_its_files_and_modes() {
        let dir = tempfile::tempdir().unwrap();
        let zip = zip_of(&[("bootstrap", "#!", 0o755), ("lib/model.txt", "m", 0o644)]);
        let package = unpack(&zip, dir.path(), "one").unwrap();
        let mode = fs::metadata(package.folder.join("bootstrap")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
        assert_eq!(fs::read_to_string(package.folder.join("lib/model.txt")).unwrap(), "m");
        assert_eq!(package.bytes, zip.len() as u64);
        let folder = package.folder.clone();
        drop(package);
        assert!(!folder.exists(), "the folder goes with the package");
    }

    #[test]
    fn names_that_leave_the_folder_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(unpack(&zip_of(&[("../evil", "x", 0o644)]), dir.path(), "two").is_err());
        assert!(!dir.path().join("evil").exists() && !dir.path().join("two").exists());
        assert!(matches!(unpack(b"no zip", dir.path(), "three"), Err(PackageError::NotAZip)));
    }

    #[test]
    fn a_package_in_place_shows_its_entries_and_the_links() {
        let dir = tempfile::tempdir().unwrap();
        let package = dir.path().join("package");
        fs::create_dir(&package).unwrap();
        fs::write(package.join("bootstrap"), "#!").unwrap();
        let model = dir.path().join("some-model");
        fs::create_dir(&model).unwrap();
        fs::write(model.join("model.toml"), "x").unwrap();
        let links = BTreeMap::from([("model".to_owned(), model)]);
        let linked = link_package(&package, &links, dir.path(), "root").unwrap();
        assert_eq!(fs::read_to_string(linked.folder.join("bootstrap")).unwrap(), "#!");
        assert_eq!(fs::read_to_string(linked.folder.join("model/model.toml")).unwrap(), "x");
    }
}
