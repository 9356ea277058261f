//! Provisioning against the local Lambda, and against one that is busy, throttles, forbids or is changed by others meanwhile.
#![expect(clippy::unwrap_used, reason = "a test's set-up may panic")]

mod aliases;
mod faults;
mod support;

use std::path::Path;

/// Whatever a request passes through must not be able to change a function.
#[test]
fn nothing_that_serves_uses_the_provisioner() {
    for room in ["server", "policy"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(room).join("src");
        let mut folders = vec![folder];
        let mut files = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    files += 1;
                    let text = std::fs::read_to_string(&path).unwrap();
                    assert!(!text.contains("Provisioner"), "{}", path.display());
                }
            }
        }
        assert!(files > 0, "`{room}` has no sources where they are looked for");
    }
}
