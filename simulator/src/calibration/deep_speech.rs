//! DeepSpeech on AWS Lambda: 24 memory sizes, 33 sizes of request, batches of 1 to 25 (published with the MBS system).
//!
//! Two fits. *By size of request*: four numbers for each, to every other memory size; the others are held out. *One law*: four numbers for all sizes
//! together, times the weight of a size, which is taken from the single place of 4096 MB and the largest batch.

use std::collections::BTreeMap;

use gateway_contract::Mebibytes;

use super::{Columns, Comparison, whole};
use crate::lambda::BatchShape;
use crate::profile::{Cell, ProfileError, ServiceWork, relative_errors};

const REFERENCE: Mebibytes = Mebibytes(4096);
const SINGLE: &str = "the worst are single requests, above all of the smallest size: they take up to 20 % longer than the line through the larger batches. One \
                      process gains nothing beyond 1.1 vCPU, as the law says";

/// Compares with the table of `memory_mb,request_type,batch,service_ms`.
///
/// # Errors
/// Missing columns, values that are no numbers, too few rows.
pub fn deep_speech(text: &str) -> Result<Vec<Comparison>, ProfileError> {
    let table = Columns::read(text);
    let mut by_size: BTreeMap<u32, Vec<Cell>> = BTreeMap::new();
    for [memory, size, batch, ms] in table.numbers(["memory_mb", "request_type", "batch", "service_ms"])? {
        let batch = BatchShape { items: whole(batch), process_count: 1, units: 0, shard_padded_units: 0 };
        let cell = Cell { memory: Mebibytes(whole(memory)), batch, seconds: ms / 1e3 };
        by_size.entry(whole(size)).or_default().push(cell);
    }
    Ok(vec![each_size(&by_size)?, one_law(&by_size)?])
}

fn each_size(by_size: &BTreeMap<u32, Vec<Cell>>) -> Result<Comparison, ProfileError> {
    let (mut seen, mut unseen, mut shares) = (Vec::new(), Vec::new(), Vec::new());
    for cells in by_size.values() {
        let mut sizes: Vec<Mebibytes> = cells.iter().map(|cell| cell.memory).collect();
        sizes.sort_unstable();
        sizes.dedup();
        let is_fitted =
            |cell: &Cell| sizes.iter().position(|size| *size == cell.memory).is_some_and(|at| at % 2 == 0);
        let (fitted, held_out): (Vec<Cell>, Vec<Cell>) = cells.iter().partition(|cell| is_fitted(cell));
        let law = ServiceWork::fit(&fitted, true)?;
        seen.extend(fitted.iter().map(|cell| (law.cell_seconds(cell), cell.seconds)));
        unseen.extend(held_out.iter().map(|cell| (law.cell_seconds(cell), cell.seconds)));
        shares.push(law.thread_parallel_share);
    }
    shares.sort_unstable_by(f64::total_cmp);
    Ok(Comparison {
        source: "MBS DeepSpeech on Lambda".to_owned(),
        quantity: format!("service time, {} sizes of request fitted apart", by_size.len()),
        law: format!("4 numbers a size; parallel share {:.2} (median)", shares[shares.len() / 2]),
        errors: relative_errors(seen),
        held_out: Some(relative_errors(unseen)),
        note: SINGLE,
    })
}

fn one_law(by_size: &BTreeMap<u32, Vec<Cell>>) -> Result<Comparison, ProfileError> {
    let reference = |cells: &[Cell]| {
        let here = cells.iter().filter(|cell| cell.memory == REFERENCE);
        here.max_by_key(|cell| cell.batch.items).map(|cell| cell.seconds)
    };
    let lightest = by_size.values().filter_map(|cells| reference(cells)).reduce(f64::min);
    let mut cells = Vec::new();
    for size in by_size.values() {
        let Some((seconds, lightest)) = reference(size).zip(lightest) else { continue };
        let weight = seconds / lightest;
        cells.extend(size.iter().map(|cell| Cell { seconds: cell.seconds / weight, ..*cell }));
    }
    // Every fourth place is enough for four numbers.
    let fitted: Vec<Cell> = cells.iter().copied().step_by(4).collect();
    let others = cells.iter().enumerate().filter(|(at, _)| at % 4 != 0);
    let held_out: Vec<Cell> = others.map(|(_, cell)| *cell).collect();
    let law = ServiceWork::fit(&fitted, true)?;
    Ok(Comparison {
        source: "MBS DeepSpeech on Lambda".to_owned(),
        quantity: "service time, one law for all sizes of request".to_owned(),
        law: describe(&law),
        errors: law.errors(&fitted),
        held_out: Some(law.errors(&held_out)),
        note: SINGLE,
    })
}

/// The numbers of a law, for a table.
pub(super) fn describe(law: &ServiceWork) -> String {
    let per_item = if law.unit_seconds > 0.0 {
        format!("{:.4} ms a unit", law.unit_seconds * 1e3)
    } else {
        format!("{:.2} ms an item", law.item_seconds * 1e3)
    };
    format!(
        "fixed {:.2} ms, {:.2} ms a process, {per_item}, parallel share {:.2}",
        law.fixed_seconds * 1e3,
        law.process_seconds * 1e3,
        law.thread_parallel_share
    )
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn a_surface_of_the_law_itself_is_reproduced_at_unseen_places() {
        let mut text = "memory_mb,request_type,batch,service_ms\n".to_owned();
        for memory in [1024_u32, 1280, 1792, 2048, 4096, 5120] {
            for size in 0..3_u32 {
                for batch in 1..=8_u32 {
                    let credit = (f64::from(memory) / 1769.0).min(1.0);
                    let ms = (50.0 + f64::from(batch) * 200.0 * f64::from(size + 1)) / credit;
                    writeln!(text, "{memory},{size},{batch},{ms}").unwrap();
                }
            }
        }
        let found = deep_speech(&text).unwrap();
        assert_eq!(found.len(), 2);
        for comparison in found {
            let unseen = comparison.held_out.unwrap();
            assert!(unseen.p95 < 0.05 && unseen.count > 50, "{comparison:?}");
        }
    }

    #[test]
    fn a_broken_row_is_named() {
        let error = deep_speech("memory_mb,request_type,batch,service_ms\n1024,0,one,3\n").unwrap_err();
        assert_eq!(error.to_string(), "line 2: `batch` is no number: `one`");
    }
}
