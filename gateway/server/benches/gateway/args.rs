//! The command line.

use crate::load::Target;
use crate::servers::Kind;

/// What to do.
pub enum Mode {
    /// Measure everything.
    Measure,
    /// Be one of the servers.
    Serve(Kind),
    /// Only load a server that runs already.
    Load(Target),
}

/// All options.
pub struct Args {
    pub mode: Mode,
    /// Where the figures go, beside the table.
    pub json: Option<std::path::PathBuf>,
    /// Seconds of each phase of a round.
    pub seconds: f64,
    pub rounds: usize,
    /// Runtime threads of each server.
    pub threads: usize,
    /// Keep-alive connections of the load generator.
    pub connections: usize,
    /// Requests per second; `None`: as fast as answers come.
    pub rate: Option<f64>,
}

impl Args {
    pub fn from_command_line() -> Result<Self, String> {
        let mut args = Self {
            mode: Mode::Measure,
            json: None,
            seconds: 3.0,
            rounds: 3,
            threads: 1,
            connections: 64,
            rate: None,
        };
        let mut target = None;
        let (mut model, mut input) = ("identity".to_owned(), "x".to_owned());
        let mut is_bench = false;
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            if word == "--bench" {
                is_bench = true; // what cargo adds
                continue;
            }
            let mut value = || words.next().ok_or_else(|| format!("`{word}` needs a value"));
            match word.as_str() {
                "--json" => args.json = Some(value()?.into()),
                "--seconds" => args.seconds = number(&value()?)?,
                "--rounds" => args.rounds = number(&value()?)?,
                "--threads" => args.threads = number(&value()?)?,
                "--connections" => args.connections = number(&value()?)?,
                "--rate" => args.rate = Some(number(&value()?)?),
                "--serve" => args.mode = Mode::Serve(Kind::from_name(&value()?)?),
                "--load" => target = Some(value()?),
                "--model" => model = value()?,
                "--input" => input = value()?,
                _ => return Err(format!("unknown option `{word}`")),
            }
        }
        if let Some(url) = target {
            args.mode = Mode::Load(Target::inference(&url, &model, &input));
        } else if !is_bench && matches!(args.mode, Mode::Measure) && args.json.is_none() {
            // Run as a test of itself: only that it works.
            (args.seconds, args.rounds) = (0.2, 1);
        }
        Ok(args)
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is not a number that fits"))
}
