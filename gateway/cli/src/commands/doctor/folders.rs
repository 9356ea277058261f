//! The models' folders: whether the files are those that the manifests name.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use gateway_server::config::{Loaded, ModelSettings};
use sha2::{Digest, Sha256};

use super::finding::Findings;

pub(super) fn look(loaded: &Loaded, findings: &mut Findings) {
    for model in &loaded.settings.models {
        folder(model, findings);
    }
}

fn folder(model: &ModelSettings, findings: &mut Findings) {
    let check = format!("models.{}.manifest", model.name);
    let folder = model.manifest_path.parent().unwrap_or(Path::new(""));
    let manifest = &model.manifest;
    let weights = manifest.file.as_deref().zip(manifest.sha256.as_deref());
    let tokenizer = manifest.tokenizer.as_ref().map(|spec| (spec.file.as_str(), spec.sha256.as_str()));
    let (mut same, mut absent) = (0, 0);
    for (name, expected) in weights.into_iter().chain(tokenizer) {
        let path = folder.join(name);
        match digest(&path) {
            Ok(found) if found == expected => same += 1,
            Ok(found) => findings.problem(
                check.clone(),
                format!(
                    "`{}` is not the file that the manifest names: its SHA-256 is {found}",
                    path.display()
                ),
                "copy the folder anew from where it was built; a worker with this file does not start",
            ),
            // The gateway itself needs the manifest alone.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => absent += 1,
            Err(error) => findings.problem(
                check.clone(),
                format!("`{}` cannot be read: {error}", path.display()),
                "let the gateway's user read it",
            ),
        }
    }
    let text =
        format!("{} {}: {same} files as named, {absent} not on this host", manifest.name, manifest.version);
    findings.ok(check, text);
}

fn digest(path: &Path) -> std::io::Result<String> {
    let (mut file, mut digest, mut buffer) = (File::open(path)?, Sha256::new(), vec![0; 1 << 20]);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        digest.update(&buffer[..read]);
    }
    Ok(digest.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}
