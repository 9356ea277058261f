//! The way to AWS: credentials, region, the account's limits, and the clock that signatures rest on.

use std::time::{Duration, SystemTime};

use gateway_invoker::InvokerConfig;
use gateway_invoker::inspect::{Inspector, Skew};
use gateway_invoker::provision::{AccountLimits, ProvisionError};
use gateway_server::config::Loaded;

use super::finding::Findings;

/// AWS refuses signatures that are further off than five minutes; half of it is a clock that somebody should look at.
const SKEW_WARNING: Duration = Duration::from_secs(30);
const SKEW_PROBLEM: Duration = Duration::from_secs(150);
/// Temporary credentials that end sooner should have been renewed already.
const EXPIRY_WARNING: Duration = Duration::from_secs(300);

/// Whether there are credentials that may be tried.
pub(super) async fn credentials(aws: &InvokerConfig, findings: &mut Findings) -> bool {
    let place = aws.endpoint_url.as_deref();
    let access = match aws.access().await {
        Ok(access) => access,
        Err(error) => {
            let advice =
                "give the host a role, or set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";
            findings.problem("aws.credentials", format!("there are none: {error}"), advice);
            return false;
        }
    };
    match (&access.region, place) {
        (None, None) => {
            findings.problem("aws.region", "no region is named".to_owned(), "set `aws.region`, or AWS_REGION")
        }
        (region, place) => {
            let region = region.as_deref().unwrap_or("us-east-1");
            let place = place.map_or_else(String::new, |url| format!(", at {url} instead of AWS"));
            findings.ok("aws.region", format!("{region}{place}"));
        }
    }
    let key = &access.access_key_id;
    let left = access.expires_at.map(|at| at.duration_since(SystemTime::now()));
    match left {
        Some(Err(_)) => {
            let advice = "log in again, or see why the role's credentials are not renewed";
            findings.problem("aws.credentials", format!("key {key} has expired"), advice);
            return false;
        }
        Some(Ok(left)) if left < EXPIRY_WARNING => findings.warning(
            "aws.credentials",
            format!("key {key} expires in {} s", left.as_secs()),
            "see that whatever gave them renews them",
        ),
        Some(Ok(left)) => {
            findings.ok("aws.credentials", format!("key {key}, for {} minutes", left.as_secs() / 60))
        }
        None => findings.ok("aws.credentials", format!("key {key}, without an end")),
    }
    true
}

/// Asks for the account's limits: the first call, which shows whether the endpoint and the credentials hold.
pub(super) async fn account(
    inspector: &Inspector,
    loaded: &Loaded,
    findings: &mut Findings,
) -> Option<AccountLimits> {
    const CHECK: &str = "aws.account";
    match inspector.account_limits().await {
        Ok(limits) => {
            let (has, configured) = (limits.concurrency, loaded.config.control.account_concurrency);
            let text = format!("{has} sandboxes at a time, {} requests/s", limits.requests_per_second());
            if configured > has {
                findings.warning(
                    CHECK,
                    format!("{text}; `control.account_concurrency` is {configured}"),
                    format!("set it to {has}, divided by the gateways that share the account"),
                );
            } else {
                findings.ok(CHECK, text);
            }
            Some(limits)
        }
        Err(error @ ProvisionError::Denied { .. }) => {
            let advice = "allow lambda:GetAccountSettings, or set `control.account_concurrency` to what the account has";
            findings.warning(CHECK, error.to_string(), advice);
            None
        }
        Err(error) => {
            findings.problem(CHECK, error.to_string(), advice_on(&error));
            None
        }
    }
}

/// What to do about a call that failed.
pub(super) fn advice_on(error: &ProvisionError) -> &'static str {
    const KEY: &str = "these credentials are not AWS's, or not for this account: look at the key, the profile and the region";
    const CLOCK: &str = "the signature is refused: look at the clock (`timedatectl`) and at the secret key";
    match error {
        ProvisionError::Refused { message, .. } if is_of_clock(message) => CLOCK,
        ProvisionError::Refused { message, .. } if message.contains("ExpiredToken") => {
            "log in again, or see why the role's credentials are not renewed"
        }
        ProvisionError::Refused { message, .. }
            if ["UnrecognizedClient", "InvalidClientTokenId", "InvalidAccessKeyId"]
                .iter()
                .any(|code| message.contains(code)) =>
        {
            KEY
        }
        ProvisionError::Unreachable { .. } => {
            "look at `aws.endpoint_url`, the region, the route to it, and a proxy on the way"
        }
        ProvisionError::FunctionMissing { .. } => "deploy it, or mend `function` and the region",
        ProvisionError::Denied { .. } => "allow the action; what it would have shown was not looked at",
        ProvisionError::Busy { .. }
        | ProvisionError::Throttled { .. }
        | ProvisionError::Changed { .. }
        | ProvisionError::UpdateFailed { .. }
        | ProvisionError::MemoryRefused { .. }
        | ProvisionError::Refused { .. }
        | ProvisionError::Stopped
        | ProvisionError::NotRestored { .. } => "see the message",
    }
}

fn is_of_clock(message: &str) -> bool {
    ["InvalidSignature", "SignatureDoesNotMatch", "RequestTimeTooSkewed", "RequestExpired"]
        .iter()
        .any(|code| message.contains(code))
}

/// Judges the clock by the answers that came.
pub(super) fn clock(skew: Option<Skew>, findings: &mut Findings) {
    const ADVICE: &str =
        "run a time service (chrony, systemd-timesyncd); AWS refuses signatures five minutes off";
    let Some(skew) = skew else {
        return findings.warning(
            "clock",
            "no answer carried a date".to_owned(),
            "nothing is known of the clock",
        );
    };
    let way = match skew {
        Skew::Ahead(_) => "ahead of",
        Skew::Behind(_) => "behind",
    };
    let text = format!("{} s {way} the endpoint's", skew.size().as_secs());
    if skew.size() >= SKEW_PROBLEM {
        findings.problem("clock", text, ADVICE);
    } else if skew.size() >= SKEW_WARNING {
        findings.warning("clock", text, ADVICE);
    } else {
        findings.ok("clock", text);
    }
}
