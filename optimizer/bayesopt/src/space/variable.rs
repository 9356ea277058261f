//! One variable of a search space: its values, and where they lie on the unit interval.
//!
//! Deliberately absent: several variables together (see the parent).

use serde::{Deserialize, Serialize};

/// What a variable may be. A value is an `f64` in its own unit; that of a category is the position of its name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Variable {
    /// Whole numbers from `low` to `high`, both included.
    Integer {
        /// Smallest value; at least 1 if `log`.
        low: i64,
        /// Largest value.
        high: i64,
        /// Whether ratios matter rather than differences.
        log: bool,
    },
    /// Given values in ascending order, say memory sizes. They are placed by their logarithm if all are above zero.
    Ladder {
        /// The values, strictly ascending, at least one.
        rungs: Vec<f64>,
    },
    /// Real numbers from `low` to `high`.
    Real {
        /// Smallest value; above 0 if `log`.
        low: f64,
        /// Largest value, above `low`.
        high: f64,
        /// Whether ratios matter rather than differences.
        log: bool,
    },
    /// Names without an order.
    Category {
        /// The names, each once, at least one.
        names: Vec<String>,
    },
}

/// Largest absolute value of an integer variable: beyond it an `f64` does not hold every whole number.
const LARGEST_INTEGER: i64 = 1 << 53;
/// Step to a neighbour of a real value, as a share of its range.
const REAL_STEP: f64 = 0.05;

impl Variable {
    /// What is wrong with it, if anything.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        match self {
            Self::Integer { low, high, log } => {
                let range = -LARGEST_INTEGER..=LARGEST_INTEGER;
                if low > high {
                    Some("`low` is above `high`")
                } else if !(range.contains(low) && range.contains(high)) {
                    Some("a bound is beyond 2^53")
                } else if *log && *low < 1 {
                    Some("`low` of a logarithmic range is below 1")
                } else {
                    None
                }
            }
            Self::Ladder { rungs } => {
                if rungs.is_empty() {
                    Some("a ladder needs at least one rung")
                } else if rungs.iter().any(|rung| !rung.is_finite()) {
                    Some("a rung is not a finite number")
                } else if rungs.windows(2).any(|pair| pair[0] >= pair[1]) {
                    Some("the rungs are not strictly ascending")
                } else {
                    None
                }
            }
            Self::Real { low, high, log } => {
                if !(low.is_finite() && high.is_finite() && (high - low).is_finite()) {
                    Some("a bound is not a finite number")
                } else if low >= high {
                    Some("`low` is not below `high`")
                } else if *log && *low <= 0.0 {
                    Some("`low` of a logarithmic range is not above zero")
                } else {
                    None
                }
            }
            Self::Category { names } => {
                if names.is_empty() {
                    Some("a category needs at least one name")
                } else if (1..names.len()).any(|index| names[..index].contains(&names[index])) {
                    Some("a name occurs twice")
                } else {
                    None
                }
            }
        }
    }

    /// Number of values; `None` for a real variable.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        match self {
            Self::Integer { low, high, .. } => Some(high.abs_diff(*low) + 1),
            Self::Ladder { rungs } => Some(rungs.len() as u64),
            Self::Category { names } => Some(names.len() as u64),
            Self::Real { .. } => None,
        }
    }

    /// The value with the given position, from 0; for a variable with a [`Self::size`] above `index`.
    #[must_use]
    pub fn nth(&self, index: u64) -> Option<f64> {
        if index >= self.size()? {
            return None;
        }
        match self {
            Self::Integer { low, .. } => Some(*low as f64 + index as f64),
            Self::Ladder { rungs } => rungs.get(usize::try_from(index).ok()?).copied(),
            Self::Category { .. } => Some(index as f64),
            Self::Real { .. } => None,
        }
    }

    /// Whether the variable can take this value.
    #[must_use]
    pub fn contains(&self, value: f64) -> bool {
        match self {
            Self::Integer { low, high, .. } => {
                value.fract() == 0.0 && (*low as f64..=*high as f64).contains(&value)
            }
            Self::Ladder { rungs } => rungs.contains(&value),
            Self::Real { low, high, .. } => (*low..=*high).contains(&value),
            Self::Category { names } => value.fract() == 0.0 && value >= 0.0 && value < names.len() as f64,
        }
    }

    /// Columns that the variable takes in the model: one, or one for each name of a category of three or more.
    pub(crate) fn columns(&self) -> usize {
        match self {
            Self::Category { names } if names.len() > 2 => names.len(),
            Self::Integer { .. } | Self::Ladder { .. } | Self::Real { .. } | Self::Category { .. } => 1,
        }
    }

    /// Appends the columns of a value that [`Self::contains`] accepts.
    pub(crate) fn encode(&self, value: f64, columns: &mut Vec<f64>) {
        match self {
            Self::Category { names } if names.len() > 2 => {
                // Two different names are at distance one, as the ends of any other variable are.
                let mark = std::f64::consts::FRAC_1_SQRT_2;
                columns.extend((0..names.len()).map(|i| if i as f64 == value { mark } else { 0.0 }));
            }
            Self::Category { .. } => columns.push(value),
            Self::Integer { low, high, log } => {
                columns.push(place(value, *low as f64, *high as f64, *log));
            }
            Self::Real { low, high, log } => columns.push(place(value, *low, *high, *log)),
            Self::Ladder { rungs } => {
                let (low, high) = (rungs[0], rungs[rungs.len() - 1]);
                columns.push(place(value, low, high, low > 0.0));
            }
        }
    }

    /// The value whose columns are closest to the given ones; columns that are not numbers count as 0.
    pub(crate) fn decode(&self, columns: &[f64]) -> f64 {
        if let Self::Category { names } = self
            && names.len() > 2
        {
            let largest = (0..names.len()).rev().max_by(|&a, &b| columns[a].total_cmp(&columns[b]));
            return largest.unwrap_or(0) as f64;
        }
        let place = if columns[0].is_nan() { 0.0 } else { columns[0].clamp(0.0, 1.0) };
        match self {
            Self::Real { low, high, log } => unplace(place, *low, *high, *log).clamp(*low, *high),
            Self::Integer { low, high, log } => {
                let (low, high) = (*low as f64, *high as f64);
                unplace(place, low, high, *log).round().clamp(low, high)
            }
            Self::Category { names } => {
                if names.len() > 1 {
                    place.round()
                } else {
                    0.0
                }
            }
            Self::Ladder { rungs } => {
                let (low, high) = (rungs[0], rungs[rungs.len() - 1]);
                let distance = |rung: f64| (self::place(rung, low, high, low > 0.0) - place).abs();
                let closest = rungs.iter().copied().min_by(|a, b| distance(*a).total_cmp(&distance(*b)));
                closest.unwrap_or(low)
            }
        }
    }

    /// A value at a share in [0, 1) of all values, each value of a countable variable having an equal part: what a
    /// design or a random draw wants.
    pub(crate) fn at_share(&self, share: f64) -> f64 {
        let share = share.clamp(0.0, 1.0);
        if let Self::Integer { log: true, .. } | Self::Real { .. } = self {
            return self.decode(&[share]);
        }
        let size = self.size().unwrap_or(1);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of at most 1 of the size, and bounded by it in the next line"
        )]
        let index = (share * size as f64) as u64;
        self.nth(index.min(size - 1)).unwrap_or(0.0)
    }

    /// The values one step away.
    pub(crate) fn neighbours(&self, value: f64) -> Vec<f64> {
        match self {
            Self::Integer { low, high, .. } => {
                let (low, high) = (*low as f64, *high as f64);
                [value - 1.0, value + 1.0].into_iter().filter(|v| (low..=high).contains(v)).collect()
            }
            Self::Ladder { rungs } => {
                let below = rungs.iter().rev().find(|rung| **rung < value);
                let above = rungs.iter().find(|rung| **rung > value);
                below.into_iter().chain(above).copied().collect()
            }
            Self::Category { names } => {
                (0..names.len()).map(|index| index as f64).filter(|v| *v != value).collect()
            }
            Self::Real { low, high, log } => {
                let place = place(value, *low, *high, *log);
                let moved = [place - REAL_STEP, place + REAL_STEP].map(|moved| moved.clamp(0.0, 1.0));
                // At a bound the step leads nowhere, but for rounding.
                let leads_away = |moved: &f64| (moved - place).abs() > 1e-9;
                moved.into_iter().filter(leads_away).map(|moved| self.decode(&[moved])).collect()
            }
        }
    }
}

/// Where a value lies between two bounds, 0 to 1; a single point lies at 0.
fn place(value: f64, low: f64, high: f64, log: bool) -> f64 {
    let (value, low, high) = if log { (value.ln(), low.ln(), high.ln()) } else { (value, low, high) };
    if high > low { (value - low) / (high - low) } else { 0.0 }
}

fn unplace(place: f64, low: f64, high: f64, log: bool) -> f64 {
    if log { (low.ln() + place * (high.ln() - low.ln())).exp() } else { low + place * (high - low) }
}
