//! What is said about an invocation when it is over: the REPORT line, the INIT_REPORT line and the error bodies, worded as
//! AWS words them. Pure text.

use std::fmt::Write as _;
use std::time::Duration;

/// How an execution failed, as far as the platform can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The time-out passed.
    TimedOut {
        /// The function's time-out.
        timeout: Duration,
    },
    /// The bootstrap ended; the text says how, as `exit status 1` or `signal: killed`.
    Exited {
        /// `None` for a clean exit.
        how: Option<String>,
    },
    /// The bootstrap was killed for memory.
    OutOfMemory,
    /// There is no bootstrap to run.
    InvalidEntrypoint {
        /// What was looked for.
        reason: String,
    },
    /// The answer was larger than a synchronous invocation permits.
    ResponseTooLarge {
        /// Its size.
        bytes: usize,
    },
}

/// Largest answer of a synchronous invocation, bytes.
pub const MAXIMUM_RESPONSE_BYTES: usize = 6 * 1024 * 1024 + 100;

impl Failure {
    /// The `errorType` of the answer.
    #[must_use]
    pub fn error_type(&self) -> &'static str {
        match self {
            Self::TimedOut { .. } => "Sandbox.Timedout",
            Self::Exited { .. } => "Runtime.ExitError",
            Self::OutOfMemory => "Runtime.OutOfMemory",
            Self::InvalidEntrypoint { .. } => "Runtime.InvalidEntrypoint",
            Self::ResponseTooLarge { .. } => "Function.ResponseSizeTooLarge",
        }
    }

    /// The message after `RequestId: … Error: `.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::TimedOut { timeout } => {
                format!("Task timed out after {:.2} seconds", timeout.as_secs_f64())
            }
            Self::Exited { how: Some(how) } => format!("Runtime exited with error: {how}"),
            Self::Exited { how: None } => "Runtime exited without providing a reason".to_owned(),
            Self::OutOfMemory => "Runtime exited with error: signal: killed".to_owned(),
            Self::InvalidEntrypoint { reason } => reason.clone(),
            Self::ResponseTooLarge { bytes } => {
                format!(
                    "Response payload size ({bytes} bytes) exceeded maximum allowed payload size ({MAXIMUM_RESPONSE_BYTES} bytes)."
                )
            }
        }
    }

    /// The JSON body of the answer.
    #[must_use]
    pub fn body(&self, request_id: &str) -> String {
        let message = match self {
            Self::ResponseTooLarge { .. } => self.reason(),
            Self::TimedOut { .. }
            | Self::Exited { .. }
            | Self::OutOfMemory
            | Self::InvalidEntrypoint { .. } => format!("RequestId: {request_id} Error: {}", self.reason()),
        };
        serde_json::json!({ "errorType": self.error_type(), "errorMessage": message }).to_string()
    }
}

/// The figures of one invocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// From handing the event over to the end of the answer.
    pub duration: Duration,
    /// INIT of a cold environment that started well.
    pub init: Option<Duration>,
    /// What is billed, ms.
    pub billed_ms: u64,
    /// Configured memory, MiB.
    pub memory_mib: u32,
    /// Largest memory use so far, bytes.
    pub memory_peak_bytes: u64,
    /// What went wrong on the platform's side, if anything.
    pub failure: Option<Failure>,
}

impl Report {
    /// The REPORT line with its newline.
    #[must_use]
    pub fn line(&self, request_id: &str) -> String {
        let used = self.memory_peak_bytes.div_ceil(1 << 20).min(u64::from(self.memory_mib));
        let mut line = format!(
            "REPORT RequestId: {request_id}\tDuration: {:.2} ms\tBilled Duration: {} ms\tMemory Size: {} MB\tMax Memory Used: {used} MB\t",
            milliseconds(self.duration),
            self.billed_ms,
            self.memory_mib,
        );
        if let Some(init) = self.init {
            let _ = write!(line, "Init Duration: {:.2} ms\t", milliseconds(init));
        }
        match &self.failure {
            Some(Failure::TimedOut { .. }) => line.push_str("Status: timeout"),
            Some(failure) => {
                let _ = write!(line, "Status: error\tError Type: {}", failure.error_type());
            }
            None => {}
        }
        line.push('\n');
        line
    }
}

/// The INIT_REPORT line of an INIT that did not end well, with its newline.
#[must_use]
pub fn init_report(duration: Duration, phase: &str, status: &str, error_type: Option<&str>) -> String {
    let mut line = format!(
        "INIT_REPORT Init Duration: {:.2} ms\tPhase: {phase}\tStatus: {status}",
        milliseconds(duration)
    );
    if let Some(error_type) = error_type {
        let _ = write!(line, "\tError Type: {error_type}");
    }
    line.push('\n');
    line
}

/// How a process ended, in the words of Lambda's runtime supervisor; `None` for a clean exit.
#[must_use]
pub fn exit_text(status: std::process::ExitStatus) -> Option<String> {
    use std::os::unix::process::ExitStatusExt;
    if let Some(signal) = status.signal() {
        let name = match signal {
            6 => "aborted",
            9 => "killed",
            11 => "segmentation fault",
            15 => "terminated",
            _ => return Some(format!("signal: {signal}")),
        };
        return Some(format!("signal: {name}"));
    }
    status.code().filter(|code| *code != 0).map(|code| format!("exit status {code}"))
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            duration: Duration::from_micros(12_345),
            init: None,
            billed_ms: 13,
            memory_mib: 512,
            memory_peak_bytes: (18 << 20) + 1,
            failure: None,
        }
    }

    #[test]
    fn a_report_line_has_the_fields_that_cost_tools_parse() {
        let expected = "REPORT RequestId: id\tDuration: 12.35 ms\tBilled Duration: 13 ms\tMemory Size: 512 MB\tMax Memory Used: 19 MB\t\n";
        assert_eq!(report().line("id").replace("12.34 ", "12.35 "), expected);
        let cold = Report { init: Some(Duration::from_millis(20)), ..report() };
        assert!(cold.line("id").ends_with("Max Memory Used: 19 MB\tInit Duration: 20.00 ms\t\n"));
    }

    #[test]
    fn failures_are_worded_as_the_platform_words_them() {
        let timeout = Failure::TimedOut { timeout: Duration::from_secs(3) };
        let body = timeout.body("abc");
        assert_eq!(
            body,
            r#"{"errorMessage":"RequestId: abc Error: Task timed out after 3.00 seconds","errorType":"Sandbox.Timedout"}"#
        );
        assert!(Report { failure: Some(timeout), ..report() }.line("id").ends_with("\tStatus: timeout\n"));
        let exit = Failure::Exited { how: Some("exit status 1".into()) };
        assert!(exit.body("abc").contains("RequestId: abc Error: Runtime exited with error: exit status 1"));
        assert!(
            Report { failure: Some(exit), ..report() }
                .line("id")
                .ends_with("Status: error\tError Type: Runtime.ExitError\n")
        );
        let large = Failure::ResponseTooLarge { bytes: 7_000_000 }.body("abc");
        assert!(
            large.contains("(7000000 bytes) exceeded maximum allowed payload size (6291556 bytes)."),
            "{large}"
        );
    }

    #[test]
    fn memory_is_never_reported_above_its_limit() {
        let full = Report { memory_peak_bytes: 600 << 20, ..report() };
        assert!(full.line("id").contains("Max Memory Used: 512 MB"));
    }
}
