//! Configuration of the emulator, parsed from TOML into validated types before a port is bound. No environment variables,
//! and no silent acceptance: an unknown key is an error with its position.

use crate::billing::{Architecture, PriceTable};
use crate::faults::FaultRule;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read `{path}`: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The text is not TOML, has an unknown key, or a value of the wrong type.
    #[error("invalid configuration: {0}")]
    Syntax(#[from] toml::de::Error),
    /// A value is outside its range.
    #[error("invalid value of `{key}`: {reason}")]
    Value {
        /// The key, with the table it is in.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Everything that the emulator can be told.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EmulatorConfig {
    /// Loopback address of the API; port 0 picks a free one. Default `127.0.0.1:9001`.
    pub listen: SocketAddr,
    /// Region in ARNs and in the functions' environment. Default `us-east-1`.
    pub region: String,
    /// Twelve digits in ARNs. Default `000000000000`.
    pub account_id: String,
    /// Folder for unpacked code; the default is a temporary folder that is removed at the end.
    pub state_dir: Option<PathBuf>,
    /// Seed of request ids, alias weights and probabilistic faults; the default is taken from the clock.
    pub seed: Option<u64>,
    /// Whether the functions' log lines are written to the emulator's own log (level INFO). Default false.
    pub forward_logs: bool,
    /// Account limits.
    pub limits: LimitsConfig,
    /// CPU share and memory limit of sandboxes.
    pub metering: MeteringConfig,
    /// How long things take and sandboxes live.
    pub lifecycle: LifecycleConfig,
    /// Price table.
    pub prices: PriceTable,
    /// Functions that exist from the start.
    pub function: Vec<FunctionConfig>,
    /// Fault script.
    pub fault: Vec<FaultRule>,
}

impl Default for EmulatorConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 9001)),
            region: "us-east-1".to_owned(),
            account_id: "000000000000".to_owned(),
            state_dir: None,
            seed: None,
            forward_logs: false,
            limits: LimitsConfig::default(),
            metering: MeteringConfig::default(),
            lifecycle: LifecycleConfig::default(),
            prices: PriceTable::default(),
            function: Vec::new(),
            fault: Vec::new(),
        }
    }
}

/// Limits of the account, as AWS grants them by default.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Concurrent executions in all. Default 1000; a small machine wants far fewer.
    pub account_concurrency: u32,
    /// Synchronous requests a second per unit of concurrency. Default 10; 0 switches the rule off.
    pub requests_per_second_per_concurrency: u32,
    /// New environments per function and 10 s. Default 1000; 0 switches the rule off.
    pub environments_per_10_seconds: u32,
    /// Calls a second of the configuration API. Default 0, which switches the rule off (AWS: 15).
    pub control_plane_requests_per_second: u32,
    /// Largest memory that a function may have, MiB, 128..=10240. Default 10240; AWS gives new accounts 3008.
    pub memory_ceiling_mib: u32,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            account_concurrency: 1000,
            requests_per_second_per_concurrency: 10,
            environments_per_10_seconds: 1000,
            control_plane_requests_per_second: 0,
            memory_ceiling_mib: 10_240,
        }
    }
}

/// Which mechanism meters the sandboxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MeteringMode {
    /// The best that the machine permits: `cgroup_v1`, `cgroup_v2`, else `duty_cycle`.
    Auto,
    /// Control groups, version 1 hierarchies.
    CgroupV1,
    /// Control groups, unified hierarchy.
    CgroupV2,
    /// Stop and continue signals; needs no permission, and is coarse.
    DutyCycle,
    /// No metering: every sandbox takes what it wants.
    None,
}

/// CPU share and memory limit of sandboxes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MeteringConfig {
    /// Mechanism. Default `auto`.
    pub mode: MeteringMode,
    /// How many cores of this machine one Lambda vCPU is. Default 0.25, so that several vCPUs fit on two cores; more makes
    /// functions faster and the sum of quotas harder to honour.
    pub cpu_scale: f64,
    /// CFS period in µs. Default 20000, as measured on Lambda. Lengthened where the quota would fall below the kernel's
    /// minimum of 1 ms.
    pub quota_period_us: u64,
}

impl Default for MeteringConfig {
    fn default() -> Self {
        Self { mode: MeteringMode::Auto, cpu_scale: 0.25, quota_period_us: 20_000 }
    }
}

/// How long things take and sandboxes live.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LifecycleConfig {
    /// Idle time in ms after which a sandbox is ended. Default 600000.
    pub keep_alive_ms: u64,
    /// Longest INIT in ms before it is aborted and run again inside the first invocation. Default 10000.
    pub init_limit_ms: u64,
    /// Whether idle sandboxes are frozen. Default true.
    pub freeze: bool,
    /// How long in ms an environment stays thawed after an invocation. Default 2, so that a busy one is not frozen and
    /// thawed between back-to-back invocations; 0 freezes at once, as AWS does.
    pub freeze_grace_ms: u64,
    /// How long in ms a created or updated function is `Pending` or `InProgress`. Default 300.
    pub update_delay_ms: u64,
    /// Pause in ms before the first retry of an asynchronous invocation; the second waits twice as long. Default 60000.
    pub event_retry_ms: u64,
}

impl Default for LifecycleConfig {
    fn default() -> Self {
        Self {
            keep_alive_ms: 600_000,
            init_limit_ms: 10_000,
            freeze: true,
            freeze_grace_ms: 2,
            update_delay_ms: 300,
            event_retry_ms: 60_000,
        }
    }
}

/// A function that exists from the start, used in place (nothing is zipped or copied).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FunctionConfig {
    /// Name.
    pub name: String,
    /// Folder that has `bootstrap`.
    pub package_dir: PathBuf,
    /// Memory sizes in MiB: each becomes a version and the alias `mem-<size>`; the first is also `$LATEST`'s. Default 1024.
    #[serde(default = "default_memory_mib")]
    pub memory_mib: Vec<u32>,
    /// Environment variables.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Time-out, 1..=900 s. Default 30.
    #[serde(default = "default_timeout_seconds")]
    pub timeout_seconds: u32,
    /// Architecture, for prices only. Default `x86_64`.
    #[serde(default = "default_architecture")]
    pub architecture: Architecture,
    /// Extra files or folders that appear beside the package's own: name → path.
    #[serde(default)]
    pub links: BTreeMap<String, PathBuf>,
    /// Reserved concurrency. Default none.
    #[serde(default)]
    pub reserved_concurrency: Option<u32>,
}

fn default_memory_mib() -> Vec<u32> {
    vec![1024]
}

fn default_timeout_seconds() -> u32 {
    30
}

fn default_architecture() -> Architecture {
    Architecture::X86
}

impl EmulatorConfig {
    /// Parses and validates `text`; relative paths stay relative to the working directory.
    ///
    /// # Errors
    /// [`ConfigError`] with the position of a syntax error or the name of the offending key.
    pub fn from_toml_str(text: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text)?;
        config.validate()?;
        Ok(config)
    }

    /// Reads `path`; relative paths inside are taken relative to the file's folder.
    ///
    /// # Errors
    /// [`ConfigError`], also when the file cannot be read.
    pub fn from_toml_file(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        let mut config: Self = toml::from_str(&text)?;
        // Sandboxes run in folders of their own, so nothing may stay relative to this process's.
        let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let base = whole.parent().unwrap_or_else(|| Path::new("."));
        let absolute = |path: &mut PathBuf| *path = base.join(&*path);
        for function in &mut config.function {
            absolute(&mut function.package_dir);
            function.links.values_mut().for_each(absolute);
        }
        config.state_dir.iter_mut().for_each(absolute);
        config.validate()?;
        Ok(config)
    }

    /// Checks the ranges that types cannot express.
    ///
    /// # Errors
    /// [`ConfigError::Value`] with the first offending key.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let check = |holds: bool, key: &str, reason: &str| match holds {
            true => Ok(()),
            false => Err(ConfigError::Value { key: key.to_owned(), reason: reason.to_owned() }),
        };
        check(self.listen.ip().is_loopback(), "listen", "must be a loopback address")?;
        let digits = self.account_id.len() == 12 && self.account_id.bytes().all(|byte| byte.is_ascii_digit());
        check(digits, "account_id", "must be twelve digits")?;
        let scale = self.metering.cpu_scale;
        check(scale > 0.0 && scale <= 16.0, "metering.cpu_scale", "must be above 0 and at most 16 cores")?;
        let period = self.metering.quota_period_us;
        check(
            (1_000..=1_000_000).contains(&period),
            "metering.quota_period_us",
            "must be within 1000..=1000000",
        )?;
        check(self.limits.account_concurrency > 0, "limits.account_concurrency", "must be at least 1")?;
        let ceiling = (128..=10_240).contains(&self.limits.memory_ceiling_mib);
        check(ceiling, "limits.memory_ceiling_mib", "must be within 128..=10240")?;
        for (index, function) in self.function.iter().enumerate() {
            let key = |name: &str| format!("function[{index}].{name}");
            let sizes = &function.memory_mib;
            let range = !sizes.is_empty() && sizes.iter().all(|size| (128..=10_240).contains(size));
            check(range, &key("memory_mib"), "must list sizes within 128..=10240 MiB")?;
            let timeout = (1..=900).contains(&function.timeout_seconds);
            check(timeout, &key("timeout_seconds"), "must be within 1..=900")?;
            let bootstrap = function.package_dir.join("bootstrap");
            let missing = format!("`{}` does not exist", bootstrap.display());
            check(bootstrap.exists(), &key("package_dir"), &missing)?;
            for (name, path) in &function.links {
                let missing = format!("`{}` does not exist", path.display());
                check(path.exists(), &key(&format!("links.{name}")), &missing)?;
                let plain = !name.is_empty() && !name.contains('/') && name != "." && name != "..";
                check(plain, &key(&format!("links.{name}")), "the name must be a plain file name")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_gives_the_documented_defaults() {
        let config = EmulatorConfig::from_toml_str("").unwrap();
        assert_eq!(config.listen.port(), 9001);
        assert_eq!(config.limits.account_concurrency, 1000);
        assert!((config.metering.cpu_scale - 0.25).abs() < f64::EPSILON);
        assert_eq!(config.lifecycle.init_limit_ms, 10_000);
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_it_and_its_place() {
        let error = EmulatorConfig::from_toml_str("[metering]\ncpu_scael = 1.0\n").unwrap_err().to_string();
        assert!(error.contains("cpu_scael") && error.contains("line 2"), "{error}");
    }

    #[test]
    fn values_out_of_range_are_refused_by_name() {
        let refused = |text: &str| EmulatorConfig::from_toml_str(text).unwrap_err().to_string();
        assert!(refused("listen = '0.0.0.0:9001'").contains("`listen`"));
        assert!(refused("account_id = '12'").contains("`account_id`"));
        assert!(refused("[metering]\ncpu_scale = 0.0").contains("cpu_scale"));
        let function = "[[function]]\nname = 'f'\npackage_dir = '/nonexistent'\nmemory_mib = [64]";
        assert!(refused(function).contains("function[0].memory_mib"));
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("package")).unwrap();
        std::fs::write(dir.path().join("package/bootstrap"), "").unwrap();
        let file = dir.path().join("emulator.toml");
        std::fs::write(&file, "[[function]]\nname = 'f'\npackage_dir = 'package'\nmemory_mib = [512, 1024]")
            .unwrap();
        let config = EmulatorConfig::from_toml_file(&file).unwrap();
        assert_eq!(config.function[0].package_dir, dir.path().join("package"));
        assert_eq!(config.function[0].memory_mib, [512, 1024]);
    }
}
