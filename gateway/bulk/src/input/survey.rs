//! The first pass over an input: how many lines, is an id repeated, and (if asked) does every line decode.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::duplicates::{Duplicate, DuplicateFinder};
use super::{Blob, Place, RawLine, line_id, lines};
use crate::{BulkError, InputSpec, JobFailure, LineCodec, LineProblem};

/// What the first pass found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Survey {
    /// Lines that are not blank.
    pub(crate) lines: u64,
    /// A repeated id.
    pub(crate) duplicate: Option<Duplicate>,
    /// Lines that do not decode, the first few; only if decoding was asked for.
    pub(crate) problems: Vec<LineProblem>,
}

/// Reads all of an input once. `codec`: decode each line too. `seen` is moved on as it goes; `stop` ends it early (`None`).
pub(crate) fn survey(
    blob: &Blob,
    spec: &InputSpec,
    codec: Option<&dyn LineCodec>,
    spill: &Path,
    seen: &AtomicU64,
    stop: &AtomicBool,
) -> Result<Option<Survey>, BulkError> {
    let mut reader = lines(blob, spec, Place::default())?;
    let mut ids = DuplicateFinder::new(spill)?;
    let mut survey = Survey::default();
    let mut line = RawLine::default();
    while reader.next(&mut line)? {
        let number = line.line + 1;
        survey.lines += 1;
        match line_id(&line.json, &spec.id_field) {
            Some(id) => ids.add(&id, number)?,
            None => ids.add(&number.to_string(), number)?,
        }
        if let Some(codec) = codec
            && survey.problems.len() < JobFailure::MAX_PROBLEMS
        {
            let fault = line.fault.take().or_else(|| codec.decode(number, &line.json).err());
            let problem = |fault: crate::LineFault| LineProblem {
                line: number,
                code: fault.code.to_owned(),
                message: fault.message,
            };
            survey.problems.extend(fault.map(problem));
        }
        if survey.lines.is_multiple_of(4096) {
            seen.store(survey.lines, Ordering::Relaxed);
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
        }
    }
    seen.store(survey.lines, Ordering::Relaxed);
    survey.duplicate = ids.finish()?;
    Ok(Some(survey))
}
