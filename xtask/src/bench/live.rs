//! Live runs under a policy: the local Lambda with a ladder of memory sizes, the gateway with a control loop, an open load that changes in
//! steps, and what the gateway said of itself meanwhile.
//!
//! Events come from the gateway's log, which stamps each; plans, trials and dollars from its admin listener, four times a second.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::build::Binaries;
use crate::measure::Metrics;
use crate::setup::Setup;
use crate::stack::{self, Ports};

/// How often the gateway is asked.
const POLL: Duration = Duration::from_millis(250);

/// A function of the local Lambda.
#[derive(Debug, Clone)]
pub(super) struct Function {
    /// Model name; the function is `penstock-NAME`.
    pub(super) model: String,
    /// Model folder.
    pub(super) folder: PathBuf,
    /// MiB, each a version with its alias.
    pub(super) memory_mib: Vec<u32>,
}

/// A running local Lambda, one vCPU of which is one core. Dropping it stops it.
#[derive(Debug)]
pub(super) struct LocalLambda {
    child: Child,
    ports: Ports,
    folder: PathBuf,
}

impl LocalLambda {
    /// Starts it and waits until it answers.
    pub(super) fn start(
        setup: &Setup,
        binaries: &Binaries,
        name: &str,
        functions: &[Function],
    ) -> Result<Self> {
        let folder = setup.cache().join("runs").join(name);
        fs::create_dir_all(&folder)?;
        let package = stack::package(setup, binaries, &folder)?;
        let ports = Ports::free()?;
        // A Lambda vCPU is a core here: sandboxes far beyond the cores would only slow each other down, as on Lambda they never do.
        let mut text = format!(
            "listen = \"127.0.0.1:{}\"\nstate_dir = {:?}\n\n[metering]\ncpu_scale = 1.0\n\n[limits]\naccount_concurrency = 20\n",
            ports.emulator,
            folder.join("emulator")
        );
        for function in functions {
            let _ = write!(
                text,
                "\n[[function]]\nname = \"penstock-{}\"\npackage_dir = {package:?}\nmemory_mib = {:?}\ntimeout_seconds = 60\nlinks = {{ model = {:?} }}\n",
                function.model, function.memory_mib, function.folder
            );
        }
        let config = folder.join("emulator.toml");
        fs::write(&config, text)?;
        let child = stack::spawn(
            &binaries.penstock,
            &["emulate", "--config"],
            &config,
            &folder.join("emulator.log"),
        )?;
        let mut lambda = Self { child, ports, folder };
        let health = format!("{}/_penstock/health", lambda.endpoint());
        wait_for(&mut lambda.child, &health, &lambda.folder)?;
        Ok(lambda)
    }

    /// Its address as a URL.
    pub(super) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.emulator)
    }

    /// Starts a gateway in front of it: `[models.MODEL.plan]` and `[models.MODEL.policy]` are given as lines.
    pub(super) fn gateway(
        &self,
        binaries: &Binaries,
        function: &Function,
        plan: &str,
        policy: &str,
    ) -> Result<Gateway> {
        // Other ports for each gateway: the former's may still linger.
        let ports = Ports { emulator: self.ports.emulator, ..Ports::free()? };
        let model = function.model.clone();
        let text = format!(
            "[listen]\npublic_address = \"127.0.0.1:{}\"\nadmin_address = \"127.0.0.1:{}\"\n\n[log]\nformat = \"json\"\n\n\
             [aws]\nregion = \"us-east-1\"\nendpoint_url = \"{}\"\ncredentials = \"static-test\"\n\n\
             [models.{model}]\nmanifest = {:?}\nfunction = \"penstock-{model}\"\n\n[models.{model}.plan]\n{plan}\n\n[models.{model}.policy]\n{policy}\n",
            ports.public,
            ports.admin,
            self.endpoint(),
            function.folder.join("model.toml"),
        );
        let config = self.folder.join("gateway.toml");
        fs::write(&config, text)?;
        let log = self.folder.join("gateway.log");
        let child = stack::spawn(&binaries.penstock, &["serve", "--config"], &config, &log)?;
        let mut gateway = Gateway { child, ports, model, log };
        let ready = format!("http://127.0.0.1:{}/v2/health/ready", ports.public);
        wait_for(&mut gateway.child, &ready, &self.folder)?;
        Ok(gateway)
    }
}

impl Drop for LocalLambda {
    fn drop(&mut self) {
        // Nothing can be reported from here, and a process that is gone is what is wanted.
        let _ = stack::end(&mut self.child, Duration::from_secs(5));
    }
}

fn wait_for(child: &mut Child, url: &str, folder: &Path) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait()? {
            bail!("a process ended with {status}; logs in {}", folder.display());
        }
        if stack::get(url).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    bail!("{url} did not answer within a minute; logs in {}", folder.display())
}

/// A running gateway that serves one model. Dropping it stops it.
#[derive(Debug)]
pub(super) struct Gateway {
    child: Child,
    ports: Ports,
    model: String,
    log: PathBuf,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // As above; it drains first.
        let _ = stack::end(&mut self.child, Duration::from_secs(15));
    }
}

/// A load that changes in steps.
#[derive(Debug, Clone)]
pub(super) struct Steps<'a> {
    /// Requests per second, and for how many seconds.
    pub(super) rates: Vec<(f64, f64)>,
    /// JSON lines with `text`.
    pub(super) texts: &'a Path,
    /// Seed of the arrivals.
    pub(super) seed: u64,
}

/// A client that sends an open load.
#[derive(Debug)]
pub(super) struct OpenLoad {
    client: Child,
    output: PathBuf,
}

impl OpenLoad {
    /// Starts it against `address` (HOST:PORT); each request will stand in `output`.
    pub(super) fn start(
        setup: &Setup,
        python: &Path,
        address: &str,
        model: &str,
        steps: &Steps<'_>,
        output: &Path,
    ) -> Result<Self> {
        let rates: Vec<String> =
            steps.rates.iter().map(|(rate, seconds)| format!("{rate}:{seconds}")).collect();
        let mut client = Command::new(python);
        client.arg(setup.workspace().join("xtask/clients/steps.py"));
        client.args(["--url", address, "--model", model, "--texts"]).arg(steps.texts);
        client.args(["--steps", &rates.join(","), "--seed", &steps.seed.to_string(), "--output"]).arg(output);
        let client = client.stdout(Stdio::piped()).spawn().context("cannot start the client")?;
        Ok(Self { client, output: output.to_owned() })
    }

    fn is_running(&mut self) -> Result<bool> {
        Ok(self.client.try_wait()?.is_none())
    }

    /// Waits for its end. Gives when it began, seconds since the epoch, and every request.
    pub(super) fn finish(mut self) -> Result<(f64, Vec<Sent>)> {
        let status = self.client.wait()?;
        ensure!(status.success(), "the client ended with {status}");
        let first = std::io::read_to_string(self.client.stdout.take().context("the client's output")?)?;
        let begin: Value = serde_json::from_str(first.trim()).context("the client's first line")?;
        Ok((begin["begin"].as_f64().context("the client's begin")?, lines(&self.output)?))
    }
}

/// One request.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Sent {
    /// Intended start, seconds since the epoch.
    pub(super) at: f64,
    /// From there to the answer.
    pub(super) seconds: f64,
    /// Why it failed.
    pub(super) failure: Option<String>,
}

/// What the gateway said at one time.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    /// Seconds since the epoch.
    pub(super) at: f64,
    /// Dollars of Lambda so far, warm-ups and probes included.
    pub(super) usd: f64,
    /// Requests answered with a result so far.
    pub(super) answered: f64,
    /// The whole answer of `GET /control/models/MODEL`.
    pub(super) control: Value,
}

/// What came of a run.
#[derive(Debug)]
pub(super) struct Run {
    /// When the load began, seconds since the epoch.
    pub(super) begin: f64,
    /// Every request.
    pub(super) sent: Vec<Sent>,
    /// What the gateway said.
    pub(super) samples: Vec<Sample>,
    /// The tuner's events with their time, seconds since the epoch.
    pub(super) events: Vec<(f64, Value)>,
    /// The gateway's own windows of the last quarter of an hour, as `GET /control/models/MODEL/history` has them.
    pub(super) windows: Vec<Value>,
}

impl Gateway {
    /// Sends the load to its end and watches.
    pub(super) fn run(&self, setup: &Setup, python: &Path, steps: &Steps<'_>) -> Result<Run> {
        let address = format!("127.0.0.1:{}", self.ports.public);
        let output = self.log.with_file_name("requests.jsonl");
        let mut load = OpenLoad::start(setup, python, &address, &self.model, steps, &output)?;
        let mut samples = Vec::new();
        while load.is_running()? {
            samples.extend(self.sample());
            std::thread::sleep(POLL);
        }
        samples.extend(self.sample());
        let (begin, sent) = load.finish()?;
        Ok(Run { begin, sent, samples, events: self.events()?, windows: self.windows()? })
    }

    /// `None` when it does not answer just now.
    fn sample(&self) -> Option<Sample> {
        let admin = format!("http://127.0.0.1:{}", self.ports.admin);
        let metrics = Metrics::parse(&stack::get(&format!("{admin}/metrics")).ok()?);
        let control = stack::get(&format!("{admin}/control/models/{}", self.model)).ok()?;
        let model = [("model", &*self.model)];
        Some(Sample {
            at: SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs_f64(),
            usd: metrics.sum("penstock_cost_usd_total", &model),
            answered: metrics.sum("penstock_requests_total", &[model[0], ("code", "ok")]),
            control: serde_json::from_str(&control).ok()?,
        })
    }

    fn windows(&self) -> Result<Vec<Value>> {
        let history = stack::get(&format!(
            "http://127.0.0.1:{}/control/models/{}/history",
            self.ports.admin, self.model
        ))?;
        let mut history: Value = serde_json::from_str(&history)?;
        Ok(history["windows"].as_array_mut().map(std::mem::take).unwrap_or_default())
    }

    fn events(&self) -> Result<Vec<(f64, Value)>> {
        let log: Vec<Value> = lines(&self.log)?;
        let event = |line: &Value| {
            let event = serde_json::from_str(line["event"].as_str()?).ok()?;
            Some((seconds_of(line["timestamp"].as_str()?)?, event))
        };
        Ok(log.iter().filter_map(event).collect())
    }
}

/// Reads JSON lines; lines that are none are passed over.
pub(super) fn lines<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// Seconds since the epoch of `2026-11-22T04:05:06.789Z`.
fn seconds_of(stamp: &str) -> Option<f64> {
    let (date, time) = stamp.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.split('-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    // Days from civil, Howard Hinnant's algorithm: years begin in March, so that the leap day is their last.
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days =
        year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468;
    let mut time = time.split(':').map(|part| part.parse::<f64>().ok());
    let (hours, minutes, seconds) = (time.next()??, time.next()??, time.next()??);
    Some(days as f64 * 86_400.0 + hours * 3600.0 + minutes * 60.0 + seconds)
}

impl Run {
    /// Share of requests that failed or took longer than the objective, of those intended between two times from the load's begin.
    pub(super) fn late_share(&self, from_s: f64, to_s: f64, slo_s: f64) -> f64 {
        let those = self.sent.iter().filter(|sent| (from_s..to_s).contains(&(sent.at - self.begin)));
        let (mut late, mut all) = (0.0, 0.0);
        for sent in those {
            all += 1.0;
            late += f64::from(u8::from(sent.failure.is_some() || sent.seconds > slo_s));
        }
        late / all
    }

    /// Share of requests that the gateway itself counts as late, failed or shed in its last `seconds`: without the client's own time.
    pub(super) fn late_share_at_gateway(&self, seconds: f64) -> f64 {
        let number = |window: &Value, key: &str| window[key].as_f64().unwrap_or(0.0);
        let last = self.windows.last().map_or(0.0, |window| number(window, "ended_s"));
        let (mut within, mut all) = (0.0, 0.0);
        for window in self.windows.iter().filter(|window| number(window, "ended_s") > last - seconds) {
            within += number(window, "within_slo");
            all += number(window, "answered") + number(window, "failed") + number(window, "shed");
        }
        1.0 - within / all
    }

    /// Dollars per million answered requests between two times from the load's begin.
    pub(super) fn usd_per_million(&self, from_s: f64, to_s: f64) -> f64 {
        let at = |second: f64| self.samples.iter().rfind(|sample| sample.at - self.begin <= second);
        let (Some(from), Some(to)) = (at(from_s).or(self.samples.first()), at(to_s)) else { return f64::NAN };
        (to.usd - from.usd) / (to.answered - from.answered) * 1e6
    }

    /// Failures, with the first of them.
    pub(super) fn failures(&self) -> (usize, Option<&str>) {
        let mut failures = self.sent.iter().filter_map(|sent| sent.failure.as_deref());
        let first = failures.next();
        (failures.count() + usize::from(first.is_some()), first)
    }

    /// Events of an action, with the second from the load's begin.
    pub(super) fn actions<'a>(&'a self, action: &'a str) -> impl Iterator<Item = (f64, &'a Value)> {
        let those = self.events.iter().filter(move |(_, event)| event["what"]["action"] == action);
        those.map(|(at, event)| (at - self.begin, &event["what"]))
    }

    /// Each plan in force with the second from the load's begin at which it was first seen, canaries and closing times left aside.
    pub(super) fn plans(&self) -> Vec<(f64, Value)> {
        let mut plans: Vec<(f64, Value)> = Vec::new();
        for sample in &self.samples {
            let mut plan = sample.control["plan"].clone();
            if let Some(fields) = plan.as_object_mut() {
                fields.remove("canary");
                fields.remove("revision");
            }
            if plans.last().is_none_or(|(_, last)| *last != plan) {
                plans.push((sample.at - self.begin, plan));
            }
        }
        plans
    }
}

/// A plan in few words.
pub(super) fn plan_label(plan: &Value) -> String {
    let rungs = plan["rungs"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rung = |rung: &Value| {
        format!("≤{}: {} MiB × {}", rung["max_items"], rung["memory_mib"], rung["process_count"])
    };
    let rungs: Vec<String> = rungs.iter().map(rung).collect();
    format!(
        "up to {} items, {:.0} ms; {}",
        plan["max_batch_size"],
        plan["max_queue_delay_ms"].as_f64().unwrap_or(f64::NAN),
        rungs.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_stamps_are_seconds_since_the_epoch() {
        assert_eq!(seconds_of("1970-01-01T00:00:00Z"), Some(0.0));
        assert_eq!(seconds_of("2024-02-29T12:00:00.5Z"), Some(1_709_208_000.5));
        assert_eq!(seconds_of("2026-11-22T04:05:06.25Z"), Some(1_795_320_306.25));
        assert_eq!(seconds_of("yesterday"), None);
    }

    fn run() -> Run {
        let sent =
            |at, seconds, failure: Option<&str>| Sent { at, seconds, failure: failure.map(str::to_owned) };
        let sample = |at, usd, answered, batch: u32| Sample {
            at,
            usd,
            answered,
            control: serde_json::json!({ "plan": { "max_batch_size": batch, "revision": at, "rungs": [] } }),
        };
        Run {
            begin: 100.0,
            sent: vec![sent(101.0, 0.1, None), sent(102.0, 0.3, None), sent(111.0, 0.1, Some("gone"))],
            samples: vec![
                sample(100.0, 0.0, 0.0, 8),
                sample(110.0, 2e-6, 2.0, 8),
                sample(120.0, 8e-6, 4.0, 16),
            ],
            events: vec![(104.0, serde_json::json!({ "what": { "action": "switched" } }))],
            windows: vec![window(1.0, 10, 0), window(119.0, 3, 1), window(120.0, 4, 0)],
        }
    }

    fn window(ended_s: f64, answered: u64, late: u64) -> Value {
        serde_json::json!({ "ended_s": ended_s, "answered": answered, "within_slo": answered - late, "failed": 1, "shed": 0 })
    }

    #[test]
    fn the_gateways_own_late_share_is_of_its_last_windows() {
        assert!((run().late_share_at_gateway(60.0) - 3.0 / 9.0).abs() < 1e-9);
    }

    #[test]
    fn late_failed_and_dear_requests_are_told() {
        let run = run();
        assert!((run.late_share(0.0, 10.0, 0.2) - 0.5).abs() < 1e-12);
        assert!((run.late_share(10.0, 20.0, 0.2) - 1.0).abs() < 1e-12);
        assert!((run.usd_per_million(10.0, 20.0) - 3.0).abs() < 1e-9);
        assert_eq!(run.failures(), (1, Some("gone")));
    }

    #[test]
    fn plans_change_with_what_they_say_and_not_with_their_number() {
        let plans = run().plans();
        assert_eq!(plans.len(), 2);
        assert!((plans[1].0 - 20.0).abs() < 1e-9);
        assert_eq!(run().actions("switched").map(|(at, _)| at).collect::<Vec<_>>(), [4.0]);
    }
}
