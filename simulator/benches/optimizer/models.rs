//! The models: their load and objective, and what was measured of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use gateway_contract::Mebibytes;
use serde_json::Value;
use simulator::lambda::{CreditModel, Invocation, Replay};

/// One model under one load.
#[derive(Clone, Debug)]
pub struct Model {
    pub name: String,
    /// Requests per second, Poisson.
    pub rate: f64,
    /// Latency objective at the 99th percentile, seconds.
    pub slo_s: f64,
    pub replay: Arc<Replay>,
    /// What serves before anything is known: MiB.
    pub start_mib: u32,
}

/// Name, requests per second, objective in seconds.
const LOADS: [(&str, f64, f64); 3] =
    [("minilm", 20.0, 0.2), ("imdb-sentiment", 50.0, 0.1), ("distilbert", 5.0, 1.0)];

impl Model {
    /// `MODEL=FILE`: a JSON object a line, as a sweep writes it.
    pub fn from_sweep(argument: &str) -> Self {
        let (name, path) = argument.split_once('=').expect("--sweep MODEL=FILE");
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let (mut invocations, mut inits) = (Vec::new(), BTreeMap::<u32, Vec<f64>>::new());
        let mut used_mib = BTreeMap::<u32, u32>::new();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let record: Value =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{path}:{}: {error}", number + 1));
            let whole = |key: &str| record[key].as_u64().unwrap_or(0) as u32;
            let (memory_mib, process_count) = (whole("memory_mib"), whole("process_count"));
            let used = used_mib.entry(process_count).or_default();
            *used = (*used).max(whole("max_memory_used_mib"));
            if record["cold"].as_bool().unwrap_or(false) {
                inits.entry(memory_mib).or_default().push(record["init_us"].as_f64().unwrap_or(0.0) / 1e6);
            } else if whole("items") > 0 {
                let seconds = record["handler_us"].as_f64().unwrap_or(0.0) / 1e6;
                invocations.push(Invocation { memory_mib, process_count, items: whole("items"), seconds });
            }
        }
        assert!(!invocations.is_empty(), "{path}: no warm invocation");
        let init_s = inits.iter().map(|(&memory, all)| (memory, all.iter().sum::<f64>() / all.len() as f64));
        Self::new(name, Replay::new(invocations, init_s.collect(), used_mib))
    }

    /// Credit models of about the same work, for a run without a sweep.
    pub fn synthetic() -> Vec<Self> {
        let light = |process_seconds, item_seconds| CreditModel {
            fixed_seconds: 0.001,
            process_seconds,
            item_seconds,
            is_quantised: true,
        };
        let sizes: [u32; 6] = [512, 1024, 1769, 2048, 3008, 3538];
        [
            ("minilm", light(0.003, 0.004_5), &sizes[..]),
            ("imdb-sentiment", light(0.001, 0.000_1), &sizes[..]),
            ("distilbert", light(0.004, 0.03), &[3072, 3538][..]),
        ]
        .into_iter()
        .map(|(name, model, sizes)| {
            let mut all = Vec::new();
            for &memory_mib in sizes {
                for process_count in 1..=2 {
                    for items in [1, 2, 4, 8, 16, 32, 64, 128] {
                        for n in -10..=10 {
                            let mean = model.seconds(items, Mebibytes(memory_mib), process_count);
                            let seconds = mean * (1.0 + 0.01 * f64::from(n));
                            all.push(Invocation { memory_mib, process_count, items, seconds });
                        }
                    }
                }
            }
            Self::new(name, Replay::new(all, BTreeMap::new(), BTreeMap::from([(1, 200), (2, 240)])))
        })
        .collect()
    }

    fn new(name: &str, replay: Replay) -> Self {
        let load =
            LOADS.iter().find(|(known, ..)| *known == name).unwrap_or_else(|| panic!("no load for `{name}`"));
        let sizes = replay.memories();
        // The size that buys one vCPU, or the nearest above: what people start with.
        let start = sizes.iter().find(|size| size.0 >= 1769).or(sizes.last()).unwrap();
        Self {
            name: name.to_owned(),
            rate: load.1,
            slo_s: load.2,
            start_mib: start.0,
            replay: Arc::new(replay),
        }
    }
}
