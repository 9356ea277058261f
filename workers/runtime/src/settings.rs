//! What the environment says. Read once, in `main`; nothing else looks at the environment.

use std::path::PathBuf;

/// Everything that can be set from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Host and port of the Lambda Runtime API (`AWS_LAMBDA_RUNTIME_API`).
    pub runtime_api: String,
    /// The model folder (`PENSTOCK_MODEL_DIR`, else `$LAMBDA_TASK_ROOT/model`).
    pub model_dir: PathBuf,
    /// The ONNX Runtime library (`ORT_DYLIB_PATH`, else `$LAMBDA_TASK_ROOT/lib/libonnxruntime.so`).
    pub onnx_runtime: PathBuf,
    /// Memory of the function, MiB (`AWS_LAMBDA_FUNCTION_MEMORY_SIZE`); 0 if unknown, then no process is killed for its size.
    pub memory_mib: u64,
    /// Whether the identity engine obeys fault words (`PENSTOCK_IDENTITY_FAULTS=1`). For tests.
    pub identity_faults: bool,
    /// Where chunks may lie that come by reference (`PENSTOCK_CHUNKS`, `s3://bucket/prefix`); `None`: nowhere, they are refused.
    pub chunks: Option<String>,
    /// What to log (`RUST_LOG`), default warnings and errors.
    pub log_filter: String,
}

impl Settings {
    /// Reads the settings through `lookup`, usually the process environment.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let task_root = PathBuf::from(lookup("LAMBDA_TASK_ROOT").unwrap_or_else(|| "/var/task".into()));
        let path =
            |name: &str, default: &str| lookup(name).map_or_else(|| task_root.join(default), PathBuf::from);
        Self {
            runtime_api: lookup("AWS_LAMBDA_RUNTIME_API").unwrap_or_default(),
            model_dir: path("PENSTOCK_MODEL_DIR", "model"),
            onnx_runtime: path("ORT_DYLIB_PATH", "lib/libonnxruntime.so"),
            memory_mib: lookup("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
                .and_then(|value| value.parse().ok())
                .unwrap_or(0),
            identity_faults: lookup("PENSTOCK_IDENTITY_FAULTS").as_deref() == Some("1"),
            chunks: lookup("PENSTOCK_CHUNKS").filter(|value| !value.is_empty()),
            log_filter: lookup("RUST_LOG").unwrap_or_else(|| "warn".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_default_to_the_task_root() {
        let settings = Settings::from_lookup(|name| (name == "LAMBDA_TASK_ROOT").then(|| "/task".into()));
        assert_eq!(settings.model_dir, PathBuf::from("/task/model"));
        assert_eq!(settings.onnx_runtime, PathBuf::from("/task/lib/libonnxruntime.so"));
        assert!(!settings.identity_faults);
    }
}
