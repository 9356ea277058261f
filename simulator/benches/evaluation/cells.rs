//! What is evaluated: traces × rates × profiles × objectives, and which of these a run covers.

use serde_json::{Value, json};

use crate::traces::Load;

/// Mean requests per second.
pub const RATES: [f64; 4] = [3.0, 20.0, 64.0, 300.0];

/// Profile, and its two objectives in seconds: one with room, one tight.
pub const MODELS: [(&str, f64, f64); 5] = [
    ("scikit-learn", 0.1, 0.03),
    ("minilm-16", 0.2, 0.05),
    ("minilm-128", 0.4, 0.12),
    ("bert", 0.5, 0.15),
    ("large", 0.6, 0.25),
];

/// One case.
#[derive(Clone, Debug)]
pub struct Cell {
    pub trace: Load,
    pub rate: f64,
    pub model: &'static str,
    pub slo_s: f64,
    pub is_tight: bool,
}

impl Cell {
    pub fn name(&self) -> String {
        let tight = if self.is_tight { " (tight)" } else { "" };
        format!("{} {}/s {} {:.0} ms{tight}", self.trace.name, self.rate, self.model, self.slo_s * 1e3)
    }

    pub fn json(&self) -> Value {
        json!({
            "trace": self.trace.name,
            "requests_per_second": self.rate,
            "profile": self.model,
            "slo_ms": self.slo_s * 1e3,
            "is_tight": self.is_tight,
        })
    }
}

/// Which cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// A few, for a minute.
    Quick,
    /// Six traces, each with every profile and objective, the rate rotating, so that each rate meets each trace, profile and objective.
    Rotating,
    /// Everything.
    All,
}

/// Most plans that the oracle chooses from on these.
pub const QUICK_CANDIDATES: usize = 12;
/// Quick: trace by its place, rate, profile, whether tight. The longest first.
const QUICK: [(usize, f64, usize, bool); 6] = [
    (0, 64.0, 3, true),
    (0, 20.0, 1, false),
    (1, 3.0, 4, false),
    (1, 20.0, 2, true),
    (3, 20.0, 0, false),
    (4, 3.0, 3, false),
];

/// Traces that the usual set takes, from the first on; `All` takes every one.
const USUAL_TRACES: usize = 6;

/// The cells, trace by trace, so that a run that is broken off has something of every rate, profile and objective.
pub fn choose(traces: &[Load], coverage: Coverage) -> Vec<Cell> {
    let cell = |trace: usize, rate: f64, model: usize, is_tight: bool| {
        let (name, slack_s, tight_s) = MODELS[model];
        let slo_s = if is_tight { tight_s } else { slack_s };
        Cell { trace: traces[trace % traces.len()].clone(), rate, model: name, slo_s, is_tight }
    };
    if coverage == Coverage::Quick {
        return QUICK.iter().map(|&(trace, rate, model, tight)| cell(trace, rate, model, tight)).collect();
    }
    let taken = if coverage == Coverage::All { traces.len() } else { traces.len().min(USUAL_TRACES) };
    let mut cells = Vec::new();
    for trace in 0..taken {
        for model in 0..MODELS.len() {
            for is_tight in [false, true] {
                for (index, &rate) in RATES.iter().enumerate() {
                    let turn = (trace + model + 2 * usize::from(is_tight)) % RATES.len();
                    if coverage == Coverage::All || turn == index {
                        cells.push(cell(trace, rate, model, is_tight));
                    }
                }
            }
        }
    }
    cells
}
