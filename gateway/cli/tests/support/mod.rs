//! What tests against the real worker share.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The manifest of a model that gives back four numbers.
pub(crate) const MANIFEST: &str = "name = 'identity'\nversion = '1'\nengine = 'identity'\n\
    [[inputs]]\nname = 'x'\ndatatype = 'FP32'\nshape = [4]\n[[outputs]]\nname = 'y'\ndatatype = 'FP32'\nshape = [4]\n";

/// The worker's binary, built if only this package was.
fn bootstrap() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let path = Path::new(env!("CARGO_BIN_EXE_penstock")).with_file_name("bootstrap");
        if !path.exists() {
            let target = path.parent().and_then(Path::parent).unwrap();
            let build = Command::new(env!("CARGO"))
                .args(["build", "--offline", "-p", "workers-runtime", "--bin", "bootstrap", "--target-dir"])
                .arg(target)
                .status();
            assert!(build.unwrap().success(), "the worker cannot be built");
        }
        path
    })
}

/// Puts the worker's package and the model's folder into `folder`; gives both.
pub(crate) fn function_in(folder: &Path) -> (PathBuf, PathBuf) {
    let (package, model) = (folder.join("package"), folder.join("model"));
    std::fs::create_dir(&package).unwrap();
    std::fs::create_dir(&model).unwrap();
    std::fs::copy(bootstrap(), package.join("bootstrap")).unwrap();
    std::fs::write(model.join("model.toml"), MANIFEST).unwrap();
    (package, model)
}
