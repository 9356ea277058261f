//! The search space: named variables of mixed kinds, and points in it.
//!
//! A *point* is one value for each variable, in the variable's own unit and in the order of the space. A model sees
//! it *encoded*: every variable placed on the unit interval, categories of three or more names one column each.
//!
//! Deliberately absent: constraints between variables. Who has some passes the allowed points to the study.

mod variable;

pub use variable::Variable;

use crate::random::Generator;
use serde::{Deserialize, Serialize};

/// A variable with the name that errors and reports call it by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NamedVariable {
    /// Its name, unique in the space.
    pub name: String,
    /// What it may be.
    pub variable: Variable,
}

/// Why a space or a point of it was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SpaceError {
    /// A space needs a variable.
    #[error("a search space needs at least one variable")]
    Empty,
    /// A variable contradicts itself.
    #[error("variable `{name}`: {fault}")]
    Variable {
        /// The variable.
        name: String,
        /// What is wrong.
        fault: &'static str,
    },
    /// Two variables have one name.
    #[error("variable `{name}` occurs twice")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// A point has another number of values than the space has variables.
    #[error("a point has {found} values, expected {expected}")]
    Length {
        /// Values of the point.
        found: usize,
        /// Variables of the space.
        expected: usize,
    },
    /// A value is none of its variable's.
    #[error("variable `{name}` cannot be {value}")]
    Value {
        /// The variable.
        name: String,
        /// The value.
        value: f64,
    },
}

/// Named variables, checked. Serialised as their list, and checked again when read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<NamedVariable>", into = "Vec<NamedVariable>")]
pub struct SearchSpace {
    variables: Vec<NamedVariable>,
}

impl TryFrom<Vec<NamedVariable>> for SearchSpace {
    type Error = SpaceError;

    fn try_from(variables: Vec<NamedVariable>) -> Result<Self, SpaceError> {
        if variables.is_empty() {
            return Err(SpaceError::Empty);
        }
        for (index, NamedVariable { name, variable }) in variables.iter().enumerate() {
            if let Some(fault) = variable.fault() {
                return Err(SpaceError::Variable { name: name.clone(), fault });
            }
            if variables[..index].iter().any(|earlier| earlier.name == *name) {
                return Err(SpaceError::Duplicate { name: name.clone() });
            }
        }
        Ok(Self { variables })
    }
}

impl From<SearchSpace> for Vec<NamedVariable> {
    fn from(space: SearchSpace) -> Self {
        space.variables
    }
}

impl SearchSpace {
    /// A space of the given variables.
    ///
    /// # Errors
    /// [`SpaceError`] names the variable that is wrong.
    pub fn new<N: Into<String>>(
        variables: impl IntoIterator<Item = (N, Variable)>,
    ) -> Result<Self, SpaceError> {
        let named =
            variables.into_iter().map(|(name, variable)| NamedVariable { name: name.into(), variable });
        Self::try_from(named.collect::<Vec<_>>())
    }

    /// The variables in order.
    #[must_use]
    pub fn variables(&self) -> &[NamedVariable] {
        &self.variables
    }

    /// Columns of an encoded point.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.variables.iter().map(|named| named.variable.columns()).sum()
    }

    /// Whether the point has a value for each variable that it can take.
    ///
    /// # Errors
    /// [`SpaceError::Length`] or [`SpaceError::Value`].
    pub fn check(&self, point: &[f64]) -> Result<(), SpaceError> {
        if point.len() != self.variables.len() {
            return Err(SpaceError::Length { found: point.len(), expected: self.variables.len() });
        }
        for (named, &value) in self.variables.iter().zip(point) {
            if !named.variable.contains(value) {
                return Err(SpaceError::Value { name: named.name.clone(), value });
            }
        }
        Ok(())
    }

    /// The point as a model sees it: [`Self::dimension`] columns in [0, 1].
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn encode(&self, point: &[f64]) -> Result<Vec<f64>, SpaceError> {
        self.check(point)?;
        Ok(self.encode_checked(point))
    }

    /// [`Self::encode`] for a point that is known to be one of the space.
    pub(crate) fn encode_checked(&self, point: &[f64]) -> Vec<f64> {
        let mut columns = Vec::with_capacity(self.dimension());
        for (named, &value) in self.variables.iter().zip(point) {
            named.variable.encode(value, &mut columns);
        }
        columns
    }

    /// The point of the space closest to the given columns; columns beyond [0, 1] are brought back to it.
    ///
    /// # Errors
    /// [`SpaceError::Length`] if there are not [`Self::dimension`] columns.
    pub fn decode(&self, columns: &[f64]) -> Result<Vec<f64>, SpaceError> {
        if columns.len() != self.dimension() {
            return Err(SpaceError::Length { found: columns.len(), expected: self.dimension() });
        }
        let mut rest = columns;
        let decoded = self.variables.iter().map(|named| {
            let (own, others) = rest.split_at(named.variable.columns());
            rest = others;
            named.variable.decode(own)
        });
        Ok(decoded.collect())
    }

    /// Number of points; `None` with a real variable, or beyond 2⁶⁴.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        self.variables.iter().try_fold(1u64, |size, named| size.checked_mul(named.variable.size()?))
    }

    /// Every point, the last variable changing fastest; `None` if there are more than `cap`, or a real variable.
    #[must_use]
    pub fn lattice(&self, cap: usize) -> Option<Vec<Vec<f64>>> {
        let size = self.size().filter(|&size| size <= cap as u64)?;
        let point = |index: u64| {
            let mut rest = index;
            let mut point: Vec<f64> = self
                .variables
                .iter()
                .rev()
                .map(|named| {
                    let size = named.variable.size().unwrap_or(1);
                    let value = named.variable.nth(rest % size).unwrap_or(0.0);
                    rest /= size;
                    value
                })
                .collect();
            point.reverse();
            point
        };
        Some((0..size).map(point).collect())
    }

    /// A random point: every value of a countable linear variable is equally likely, every ratio of a logarithmic one.
    pub fn sample(&self, generator: &mut Generator) -> Vec<f64> {
        self.variables.iter().map(|named| named.variable.at_share(generator.uniform())).collect()
    }

    /// The point at a place of the unit cube with one coordinate for each *variable*, as designs have it. Missing
    /// coordinates count as 0.
    #[must_use]
    pub fn at_shares(&self, shares: &[f64]) -> Vec<f64> {
        let shares = shares.iter().copied().chain(std::iter::repeat(0.0));
        self.variables.iter().zip(shares).map(|(named, share)| named.variable.at_share(share)).collect()
    }

    /// The points one step away in one variable: next whole number or rung, any other name, or 5 % of a real range.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn neighbours(&self, point: &[f64]) -> Result<Vec<Vec<f64>>, SpaceError> {
        self.check(point)?;
        let mut neighbours = Vec::new();
        for (index, named) in self.variables.iter().enumerate() {
            for value in named.variable.neighbours(point[index]) {
                let mut neighbour = point.to_vec();
                neighbour[index] = value;
                neighbours.push(neighbour);
            }
        }
        Ok(neighbours)
    }
}
