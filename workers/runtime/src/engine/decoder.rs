//! The decoder trait: a model that reads tokens of several texts at once and remembers them in a cache.
//!
//! A cache holds columns for each of its rows. All rows have the same number of columns; where a text is shorter, the columns
//! on its left are padding that the mask switches off. So new columns of all rows are always the last ones.
//! Deliberately absent: which token is chosen, which row ends, and what an item is (see `generate`).

use super::EngineError;

/// New columns for all rows of a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// Rows.
    pub(crate) rows: usize,
    /// New columns of each row, 1 or more.
    pub(crate) width: usize,
    /// Tokens of the new columns, row-major; anything where the mask is 0.
    pub(crate) tokens: Vec<i64>,
    /// Place of each new column in its text, from 0; anything where the mask is 0.
    pub(crate) positions: Vec<i64>,
    /// 1 for columns that hold a token, 0 for padding; over the cached columns and the new ones, row-major.
    pub(crate) mask: Vec<i64>,
}

/// A row of a cache: its last `length` columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// Which cache.
    pub(crate) cache: usize,
    /// Which row of it.
    pub(crate) row: usize,
    /// How many columns, from the right.
    pub(crate) length: usize,
}

/// A model with a cache, run in this process with one thread.
pub(crate) trait Decoder {
    /// What it remembers of some rows.
    type Cache;

    /// Reads new columns. Gives the logits after the last column of each row, `rows × vocabulary`, and the cache with the new
    /// columns. Without a cache, the rows are new.
    ///
    /// # Errors
    /// [`EngineError::Run`] if the model failed on these rows (fewer may go well), [`EngineError::Contract`] if it gave something else.
    fn read(
        &mut self,
        step: Step,
        cache: Option<Self::Cache>,
    ) -> Result<(Vec<f32>, Self::Cache), EngineError>;

    /// A new cache of the given rows, in their order, each padded on its left to `columns`.
    ///
    /// # Errors
    /// [`EngineError::Run`] if there is no memory for it.
    fn gather(
        &mut self,
        caches: &[Self::Cache],
        rows: &[Source],
        columns: usize,
    ) -> Result<Self::Cache, EngineError>;
}
