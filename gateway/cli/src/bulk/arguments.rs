//! What can be said about a job on the command line.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use gateway_bulk::ModelManifest;
use gateway_bulk::{BulkError, DataFormat, Engine, InputSpec, Location, OutputSpec, StepFunctions};

use super::StoreArguments;
use crate::commands::ConfigArguments;

/// Arguments of `bulk run`.
#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    #[command(flatten)]
    pub(super) config: ConfigArguments,
    #[command(flatten)]
    pub(super) store: StoreArguments,
    /// Model of the configuration.
    #[arg(long, value_name = "NAME")]
    pub(super) model: String,
    /// The data set: a path or `s3://bucket/key`; JSON Lines, CSV or Parquet.
    #[arg(long, value_name = "PLACE")]
    input: String,
    /// Where answers go: a path or `s3://bucket/key`.
    #[arg(long, value_name = "PLACE")]
    output: String,
    /// Where lines without an answer go, with number and reason; default: the output's name with `.errors.jsonl`.
    #[arg(long, value_name = "PLACE")]
    errors: Option<String>,
    /// Format of the input; default by its ending.
    #[arg(long, value_name = "jsonl|csv|parquet", value_parser = format)]
    format: Option<DataFormat>,
    /// Format of the output; default by its ending.
    #[arg(long, value_name = "jsonl|csv|parquet", value_parser = format)]
    output_format: Option<DataFormat>,
    /// Column (or JSON member) that is the model's input; `INPUT=COLUMN,COLUMN,…` for several inputs or columns. May be repeated. Without it a
    /// line of JSON is a whole inference request, and a table needs columns named like the model's inputs.
    #[arg(long = "column", value_name = "[INPUT=]COLUMN")]
    columns: Vec<String>,
    /// Column (or JSON member) that names a line; lines without one are named by their number.
    #[arg(long, value_name = "COLUMN", default_value = "id")]
    id_column: String,
    /// Write answers in the order of the input.
    #[arg(long)]
    sorted: bool,
    /// Items of an invocation at most; default: chosen, by `--profile` or by what the job's own first chunks teach.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) chunk_items: Option<u32>,
    /// Model processes of an environment; default: chosen like `--chunk-items`, else the plan's.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(super) processes: Option<u32>,
    /// Memory size, MiB, by its alias `mem-…`, or several to choose from. Default: the plan's.
    #[arg(long, value_name = "MIB,…", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(128..=10_240))]
    pub(super) memory: Vec<u32>,
    /// Alias or version instead of `mem-…`.
    #[arg(long, value_name = "NAME")]
    pub(super) qualifier: Option<String>,
    /// Parallel invocations at most; default: chosen up to the plan's `max_in_flight`.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) parallelism: Option<u32>,
    /// What is known of the model: a profile's file. Without it the job's own first chunks teach it. Chunk, processes, memory and parallelism are then
    /// chosen for the wishes below.
    #[arg(long, value_name = "FILE")]
    pub(super) profile: Option<PathBuf>,
    /// Wish: done within this time, such as `10m`. The cheapest plan that holds it is chosen.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(super) finish_within: Option<Duration>,
    /// Dollars that must not be passed; where something is chosen also a wish: the fastest plan that holds it.
    #[arg(long, value_name = "USD")]
    pub(super) max_usd: Option<f64>,
    /// Give up what is left after this time, such as `24h`.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(super) expires_in: Option<Duration>,
    /// Who runs the chunks: this process, or a state machine of AWS Step Functions (a Distributed Map) with the same function, chunks and files.
    #[arg(long, value_enum, value_name = "ENGINE", default_value_t = EngineName::Local)]
    engine: EngineName,
    /// ARN of the state machine; `deploy/cloudformation/bulk.yaml` makes one.
    #[arg(long, value_name = "ARN", env = "PENSTOCK_STATE_MACHINE", hide_env_values = true)]
    state_machine: Option<String>,
    /// `s3://bucket/prefix` for chunks and answers while the state machine runs; the function's `PENSTOCK_CHUNKS`, or below it.
    #[arg(long, value_name = "PLACE", env = "PENSTOCK_BULK_WORK", hide_env_values = true)]
    work: Option<String>,
    /// Chunks, of a hundred, that may fail in the state machine before its execution ends; the rest is run by this process.
    #[arg(long, value_name = "PERCENT", default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=100))]
    tolerated_failures: u32,
    /// Say what it would take, and invoke nothing.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Go on with this job, instead of looking for one of the same input and output.
    #[arg(long, value_name = "JOB")]
    pub(super) resume: Option<String>,
    /// Begin anew, even if a job of the same input and output can go on.
    #[arg(long, conflicts_with = "resume")]
    pub(super) new: bool,
    /// Write what it took as JSON here.
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
}

/// Who runs the chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum EngineName {
    Local,
    StepFunctions,
}

fn format(text: &str) -> Result<DataFormat, String> {
    DataFormat::from_name(text).ok_or_else(|| "must be jsonl, csv or parquet".to_owned())
}

/// `90`, `90s`, `10m`, `2h`, `1d`.
fn time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time such as 90s, 10m or 2h");
    let digits = text.trim_end_matches(|unit: char| unit.is_ascii_alphabetic());
    let seconds = match &text[digits.len()..] {
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err(wrong()),
    };
    let value: f64 = digits.parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(value * seconds).map_err(|_| wrong())
}

fn by_ending(place: &Location, option: &str) -> Result<DataFormat, BulkError> {
    place.extension().and_then(DataFormat::from_name).ok_or_else(|| BulkError::Usage {
        reason: format!("the ending of `{place}` says no format: use {option}"),
    })
}

/// Local paths as they are from everywhere, so that the same job is found from another folder.
fn place(text: &str) -> Result<Location, BulkError> {
    Ok(match Location::parse(text)? {
        Location::Local(path) => Location::Local(
            std::path::absolute(&path)
                .map_err(|source| BulkError::Io { what: format!("find `{}`", path.display()), source })?,
        ),
        remote @ Location::S3(_) => remote,
    })
}

impl RunArguments {
    pub(super) fn input(&self, manifest: &ModelManifest) -> Result<InputSpec, BulkError> {
        let location = place(&self.input)?;
        let format = self.format.map_or_else(|| by_ending(&location, "--format"), Ok)?;
        let mut columns: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for column in &self.columns {
            let (input, list) = column.split_once('=').unwrap_or(("", column));
            let list = list.split(',').map(|name| name.trim().to_owned());
            columns.entry(input.trim().to_owned()).or_default().extend(list);
        }
        if columns.is_empty() && format != DataFormat::Jsonl {
            columns.extend(manifest.inputs.iter().map(|spec| (spec.name.clone(), vec![spec.name.clone()])));
        }
        Ok(InputSpec { location, format, id_field: self.id_column.clone(), columns })
    }

    pub(super) fn output(&self) -> Result<OutputSpec, BulkError> {
        let location = place(&self.output)?;
        let format = self.output_format.map_or_else(|| by_ending(&location, "--output-format"), Ok)?;
        Ok(OutputSpec { location, format, is_sorted: self.sorted })
    }

    /// Who is to run the chunks.
    pub(super) fn engine(&self) -> Result<Engine, BulkError> {
        if self.engine == EngineName::Local {
            return Ok(Engine::Local);
        }
        let missing =
            |option: &str| BulkError::Usage { reason: format!("`--engine step-functions` needs `{option}`") };
        if self.max_usd.is_some() {
            let reason = "`--max-usd` needs `--engine local`: what a state machine has spent is known only when it has ended";
            return Err(BulkError::Usage { reason: reason.to_owned() });
        }
        let work = self.work.clone().ok_or_else(|| missing("--work"))?;
        match Location::parse(&work)? {
            Location::S3(_) => {}
            Location::Local(_) => {
                let reason = format!("`--work` must be s3://bucket/prefix, it is `{work}`");
                return Err(BulkError::Usage { reason });
            }
        }
        Ok(Engine::StepFunctions(StepFunctions {
            state_machine: self.state_machine.clone().ok_or_else(|| missing("--state-machine"))?,
            work: work.trim_end_matches('/').to_owned(),
            tolerated_failure_percentage: self.tolerated_failures,
        }))
    }

    pub(super) fn errors(&self) -> Result<Location, BulkError> {
        place(&self.errors.clone().unwrap_or_else(|| format!("{}.errors.jsonl", self.output)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_units() {
        for (text, seconds) in [("90", 90), ("90s", 90), ("10m", 600), ("1.5h", 5400), ("1d", 86_400)] {
            assert_eq!(time(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in ["", "m", "-1s", "10 m", "1w"] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }
}
