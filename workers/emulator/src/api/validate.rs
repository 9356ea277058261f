//! Ranges and forms of configuration values, with the service's wording. Pure.

use super::ApiError;
use crate::billing::Architecture;
use std::collections::BTreeMap;

/// Runtimes that can be run here.
const EMULATED_RUNTIMES: [&str; 2] = ["provided.al2023", "provided.al2"];

/// Other runtimes that the service knows.
const KNOWN_RUNTIMES: [&str; 22] = [
    "nodejs18.x",
    "nodejs20.x",
    "nodejs22.x",
    "nodejs24.x",
    "python3.9",
    "python3.10",
    "python3.11",
    "python3.12",
    "python3.13",
    "python3.14",
    "java8.al2",
    "java11",
    "java17",
    "java21",
    "java25",
    "dotnet8",
    "dotnet10",
    "ruby3.2",
    "ruby3.3",
    "ruby3.4",
    "go1.x",
    "provided",
];

/// Bytes of all environment variables together.
const MAXIMUM_ENVIRONMENT_BYTES: usize = 4096;

/// Environment variables that the service sets itself.
const RESERVED_VARIABLES: [&str; 20] = [
    "_HANDLER",
    "_X_AMZN_TRACE_ID",
    "AWS_DEFAULT_REGION",
    "AWS_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_LAMBDA_RUNTIME_API",
    "LAMBDA_TASK_ROOT",
    "LAMBDA_RUNTIME_DIR",
    "AWS_LAMBDA_MAX_CONCURRENCY",
    "AWS_LAMBDA_METADATA_API",
];

/// A number within a range, in the words of the service's model.
fn within(value: i64, member: &str, least: i64, most: i64) -> Result<u32, ApiError> {
    if value < least {
        let constraint = format!("Member must have value greater than or equal to {least}");
        return Err(ApiError::validation(value, member, &constraint));
    }
    if value > most {
        let constraint = format!("Member must have value less than or equal to {most}");
        return Err(ApiError::validation(value, member, &constraint));
    }
    u32::try_from(value).map_err(|_| ApiError::validation(value, member, "Member must be an integer"))
}

/// Memory in MiB, from 128 to the account's ceiling. The model itself ends at 32768; between the two the service's own logic refuses.
pub(super) fn memory(value: i64, ceiling_mib: u32) -> Result<u32, ApiError> {
    if (i64::from(ceiling_mib) + 1..=32_768).contains(&value) {
        return Err(ApiError::invalid_parameter(format!(
            "'MemorySize' value failed to satisfy constraint: Member must have value less than or equal to {ceiling_mib}"
        )));
    }
    within(value, "memorySize", 128, 32_768)
}

/// Time-out in seconds, 1..=900.
pub(super) fn timeout(value: i64) -> Result<u32, ApiError> {
    within(value, "timeout", 1, 900)
}

/// Ephemeral storage in MiB, 512..=10240 (accepted and shown, not limited).
pub(super) fn ephemeral_storage(value: i64) -> Result<u32, ApiError> {
    within(value, "ephemeralStorage.size", 512, 10_240)
}

/// A runtime that can be run here.
pub(super) fn runtime(value: Option<&str>) -> Result<String, ApiError> {
    let value = value.ok_or_else(|| {
        ApiError::invalid_parameter(
            "Runtime and Handler are mandatory parameters for functions created with deployment packages.",
        )
    })?;
    if EMULATED_RUNTIMES.contains(&value) {
        return Ok(value.to_owned());
    }
    if KNOWN_RUNTIMES.contains(&value) {
        let emulated = EMULATED_RUNTIMES.join(", ");
        let message = format!(
            "The runtime {value} is not emulated here: use one of [{emulated}] with an executable bootstrap."
        );
        return Err(ApiError::invalid_parameter(message));
    }
    let known: Vec<&str> = EMULATED_RUNTIMES.into_iter().chain(KNOWN_RUNTIMES).collect();
    Err(ApiError::invalid_parameter(format!(
        "Value {value} at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: [{}] or be a valid ARN",
        known.join(", ")
    )))
}

/// An execution role: only its form is checked.
pub(super) fn role(value: Option<&str>) -> Result<String, ApiError> {
    let value = value.unwrap_or_default();
    let form = value.split(':').collect::<Vec<_>>();
    let holds = matches!(form.as_slice(), ["arn", partition, "iam", "", account, resource]
        if partition.starts_with("aws") && account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit()) && resource.starts_with("role/"));
    let pattern = "Member must satisfy regular expression pattern: arn:(aws[a-zA-Z-]*)?:iam::\\d{12}:role/?[a-zA-Z_0-9+=,.@\\-_/]+";
    holds.then(|| value.to_owned()).ok_or_else(|| ApiError::validation(value, "role", pattern))
}

/// At most one architecture; x86_64 where none is given.
pub(super) fn architecture(values: Option<&[String]>) -> Result<Architecture, ApiError> {
    let constraint = "Member must satisfy constraint: [Member must satisfy enum value set: [x86_64, arm64]]";
    let refused = |values: &[String]| {
        ApiError::validation(format!("[{}]", values.join(", ")), "architectures", constraint)
    };
    match values {
        None => Ok(Architecture::X86),
        Some([one]) if one == "x86_64" => Ok(Architecture::X86),
        Some([one]) if one == "arm64" => Ok(Architecture::Arm),
        Some(other) => Err(refused(other)),
    }
}

/// Environment variables: no reserved names, plain names, 4 KB in all.
pub(super) fn environment(variables: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, ApiError> {
    let reserved: Vec<&str> =
        variables.keys().map(String::as_str).filter(|name| RESERVED_VARIABLES.contains(name)).collect();
    if !reserved.is_empty() {
        return Err(ApiError::invalid_parameter(format!(
            "Lambda was unable to configure your environment variables because the environment variables you have provided \
             contains reserved keys that are currently not supported for modification. Reserved keys used in this request: {}",
            reserved.join(", ")
        )));
    }
    let plain = |name: &str| {
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && name.starts_with(|first: char| first.is_ascii_alphabetic())
    };
    if let Some(name) = variables.keys().find(|name| !plain(name)) {
        let pattern = "Map keys must satisfy constraint: [Member must satisfy regular expression pattern: [a-zA-Z]([a-zA-Z0-9_])+]";
        return Err(ApiError::validation(name, "environment.variables", pattern));
    }
    let bytes: usize = variables.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > MAXIMUM_ENVIRONMENT_BYTES {
        return Err(ApiError::invalid_parameter(format!(
            "Lambda was unable to configure your environment variables because the environment variables you have provided \
             exceeded the 4KB limit. String measured: {bytes} bytes"
        )));
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(error: ApiError) -> String {
        format!("{error:?}")
    }

    #[test]
    fn memory_and_timeout_have_the_services_ranges() {
        assert_eq!(
            (memory(128, 10_240), memory(10_240, 10_240), timeout(1), timeout(900)),
            (Ok(128), Ok(10_240), Ok(1), Ok(900))
        );
        let low = text(memory(64, 10_240).unwrap_err());
        assert!(low.contains("Value '64' at 'memorySize' failed to satisfy constraint: Member must have value greater than or equal to 128"), "{low}");
        assert!(text(memory(10_241, 10_240).unwrap_err()).contains("InvalidParameterValueException"));
        assert!(text(memory(3009, 3008).unwrap_err()).contains("less than or equal to 3008"));
        assert!(timeout(0).is_err() && timeout(901).is_err() && memory(40_000, 10_240).is_err());
    }

    #[test]
    fn runtimes_are_told_apart() {
        assert!(runtime(Some("provided.al2023")).is_ok());
        assert!(text(runtime(Some("python3.12")).unwrap_err()).contains("not emulated"));
        assert!(text(runtime(Some("cobol")).unwrap_err()).contains("or be a valid ARN"));
        assert!(runtime(None).is_err());
    }

    #[test]
    fn reserved_and_excessive_variables_are_refused() {
        let of = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        assert!(environment(of("MODEL", "x")).is_ok());
        assert!(text(environment(of("AWS_REGION", "x")).unwrap_err()).contains("reserved keys"));
        assert!(environment(of("1x", "x")).is_err());
        assert!(text(environment(of("BIG", &"x".repeat(5000))).unwrap_err()).contains("4KB"));
    }

    #[test]
    fn roles_have_a_form() {
        assert!(role(Some("arn:aws:iam::000000000000:role/any")).is_ok());
        assert!(role(Some("any")).is_err() && role(None).is_err());
    }
}
