//! Batched decoding: the texts of a shard through a decoder, several at a time.
//!
//! **Problem.** Writing a token costs nearly the same for one text as for several, since the weights are read once either way; but
//! texts differ in length, at both ends, and the cache of each costs memory.
//!
//! **Rule.** Up to `max_rows` texts are *active*: rows of one cache, padded on the left so that their next columns line up. One step
//! writes a token in each row. Rows that end leave at once, the cache then shrinks to those that go on. When at most half of the
//! rows are taken, waiting texts are admitted: their prompts are read in runs of similar length (`shard::cut`, as for any other
//! padded model), and the new rows join the cache.
//!
//! **Why not** admit whenever a row is free: each joining or leaving copies the cache once, about the cost of a step's own copying;
//! by halves it is amortised. Why not wait until all have ended: the longest text would run alone for long.
//!
//! **Bounds.** The cache holds at most `max_rows` rows of `max_length + max_tokens_limit` columns, twice while rows join or leave.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Instant;

use workers_protocol::GenerationSpec;

use super::sequence::Sequence;
use crate::engine::{Decoder, EngineError, Source, Step};
use crate::shard::cut;
use crate::wire::Usage;

/// Texts on their way through a decoder.
pub(super) struct Round<'a, D: Decoder> {
    decoder: &'a mut D,
    spec: &'a GenerationSpec,
    waiting: VecDeque<Sequence>,
    /// Rows of the cache, in its order.
    active: Vec<Sequence>,
    cache: Option<D::Cache>,
    columns: usize,
    /// What it took since it was last taken.
    pub(super) usage: Usage,
}

impl<'a, D: Decoder> Round<'a, D> {
    /// A round over texts with at least one token each.
    pub(super) fn new(decoder: &'a mut D, spec: &'a GenerationSpec, mut texts: Vec<Sequence>) -> Self {
        texts.sort_by_key(|text| text.prompt.len());
        Self {
            decoder,
            spec,
            waiting: texts.into(),
            active: Vec::new(),
            cache: None,
            columns: 0,
            usage: Usage::default(),
        }
    }

    /// Whether every text has ended.
    pub(super) fn is_done(&self) -> bool {
        self.waiting.is_empty() && self.active.is_empty()
    }

    /// Reads prompts or writes one token in each row. Gives the texts that ended.
    ///
    /// # Errors
    /// The decoder's. The round is then over: what is left is to be had from [`Self::into_texts`].
    pub(super) fn advance(&mut self) -> Result<Vec<Sequence>, EngineError> {
        let max_rows = self.spec.max_rows as usize;
        if !self.waiting.is_empty() && self.active.len() <= max_rows / 2 {
            self.admit(max_rows)
        } else {
            self.write()
        }
    }

    /// All texts that have not been given yet, ended ones among them after an error.
    pub(super) fn into_texts(self) -> Vec<Sequence> {
        self.active.into_iter().chain(self.waiting).collect()
    }

    fn admit(&mut self, max_rows: usize) -> Result<Vec<Sequence>, EngineError> {
        let first = self.active.len();
        let count = self.waiting.len().min(max_rows - first);
        self.active.extend(self.waiting.drain(..count));
        let mut sources: Vec<Source> =
            (0..first).map(|row| Source { cache: 0, row, length: self.active[row].cached() }).collect();
        let mut caches: Vec<D::Cache> = self.cache.take().into_iter().collect();
        let mut columns = self.columns;
        let lengths: Vec<u32> = self.active[first..]
            .iter()
            .map(|text| u32::try_from(text.prompt.len()).unwrap_or(u32::MAX))
            .collect();
        for run in cut::runs(&lengths) {
            let rows = first + run.start..first + run.end;
            let longest = self.active[rows.end - 1].prompt.len();
            let lengths = self.active[rows.clone()].iter().map(|text| text.prompt.len());
            let cache = caches.len();
            sources.extend(lengths.enumerate().map(|(row, length)| Source { cache, row, length }));
            caches.push(self.read_prompts(rows, longest)?);
            columns = longest; // of use only if this cache stays the only one
        }
        self.settle(caches, &sources, columns)
    }

    /// Reads the prompts of some rows, which are not in a cache yet, and chooses their first tokens.
    fn read_prompts(&mut self, rows: Range<usize>, longest: usize) -> Result<D::Cache, EngineError> {
        let texts = &self.active[rows.clone()];
        let mut step = Step::new(texts.len(), longest, longest);
        for text in texts {
            let padding = longest - text.prompt.len();
            step.push_mask(padding, text.prompt.len());
            step.tokens.extend(std::iter::repeat_n(0, padding));
            step.tokens.extend(text.prompt.iter().map(|&token| i64::from(token)));
            step.positions.extend(std::iter::repeat_n(0, padding));
            step.positions.extend((0_i64..).take(text.prompt.len()));
            self.usage.work_units += text.prompt.len() as u64;
        }
        self.usage.padded_units += (texts.len() * longest) as u64;
        let before = self.usage.compute_us;
        let cache = self.read(step, None, rows)?;
        self.usage.prefill_us += self.usage.compute_us - before;
        Ok(cache)
    }

    /// Writes one token in each row.
    fn write(&mut self) -> Result<Vec<Sequence>, EngineError> {
        let rows = self.active.len();
        let columns = self.columns + 1;
        let mut step = Step::new(rows, 1, columns);
        for text in &self.active {
            let own = text.cached() + 1;
            step.push_mask(columns - own, own);
            step.tokens.push(i64::from(text.last_token()));
            step.positions.push(i64::try_from(text.cached()).unwrap_or(i64::MAX));
        }
        self.usage.work_units += rows as u64;
        self.usage.padded_units += rows as u64;
        let cache = self.cache.take();
        let cache = self.read(step, cache, 0..rows)?;
        let sources: Vec<Source> = (0..)
            .zip(&self.active)
            .map(|(row, text)| Source { cache: 0, row, length: text.cached() })
            .collect();
        self.settle(vec![cache], &sources, columns)
    }

    /// Runs the decoder over some rows and chooses a token for each.
    fn read(
        &mut self,
        step: Step,
        cache: Option<D::Cache>,
        rows: Range<usize>,
    ) -> Result<D::Cache, EngineError> {
        let started = Instant::now();
        let read = self.decoder.read(step, cache);
        self.usage.compute_us += u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let (logits, cache) = read?;
        let vocabulary = logits.len() / rows.len().max(1);
        if vocabulary == 0 {
            return Err(EngineError::Contract("the decoder gave no logits".into()));
        }
        for (text, logits) in self.active[rows].iter_mut().zip(logits.chunks_exact(vocabulary)) {
            let before = text.written.len();
            text.choose(logits, self.spec);
            self.usage.generated_tokens += (text.written.len() - before) as u64;
        }
        Ok(cache)
    }

    /// Lets ended rows go and joins the others in one cache. `columns` are those of the only cache, if there is but one.
    fn settle(
        &mut self,
        mut caches: Vec<D::Cache>,
        sources: &[Source],
        columns: usize,
    ) -> Result<Vec<Sequence>, EngineError> {
        let going = |text: &&Sequence| text.finish.is_none();
        if self.active.iter().all(|text| text.finish.is_none()) && caches.len() == 1 {
            (self.cache, self.columns) = (caches.pop(), columns);
            return Ok(Vec::new());
        }
        let rows: Vec<Source> = sources
            .iter()
            .zip(&self.active)
            .filter(|(_, text)| going(text))
            .map(|(source, _)| *source)
            .collect();
        let columns = rows.iter().map(|source| source.length).max().unwrap_or(0);
        if !rows.is_empty() {
            let started = Instant::now();
            self.cache = Some(self.decoder.gather(&caches, &rows, columns)?);
            self.usage.compute_us += u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        }
        self.columns = columns;
        let (ended, active) =
            std::mem::take(&mut self.active).into_iter().partition(|text| text.finish.is_some());
        self.active = active;
        Ok(ended)
    }
}

impl Step {
    fn new(rows: usize, width: usize, columns: usize) -> Self {
        Self {
            rows,
            width,
            tokens: Vec::with_capacity(rows * width),
            positions: Vec::with_capacity(rows * width),
            mask: Vec::with_capacity(rows * columns),
        }
    }

    fn push_mask(&mut self, padding: usize, own: usize) {
        self.mask.extend(std::iter::repeat_n(0, padding));
        self.mask.extend(std::iter::repeat_n(1, own));
    }
}
