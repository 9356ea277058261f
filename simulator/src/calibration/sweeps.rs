//! Our own functions on the local Lambda: sweeps of memory, processes and batch, as the profiler writes them.
//!
//! Fitted once to all places, and once to every other memory size to be compared at the others.

use super::{Comparison, deep_speech::describe};
use crate::profile::{Cell, ProfileError, ServiceWork, Sweep};

const THROTTLED: &str = "a run's place in the 20 ms period, and what the runtime used up of its quota before, are not in the law: a batch of about one quota \
                         takes no time or a period more";

/// Compares with a sweep: places with credit for all busy processes, and throttled ones.
///
/// # Errors
/// Lines that are no records, too few places.
pub fn sweep(name: &str, text: &str) -> Result<Vec<Comparison>, ProfileError> {
    let sweep = Sweep::parse(text)?;
    let (cells, fitted) = (sweep.cells(), sweep.fit(name)?);
    let mut sizes: Vec<u32> = cells.iter().map(|cell| cell.memory.0).collect();
    sizes.dedup();
    let is_seen = |cell: &Cell| {
        // With two sizes only, one is learned from and the other compared.
        sizes.iter().position(|size| *size == cell.memory.0).is_some_and(|at| at % 2 == 1)
    };
    let (seen, unseen): (Vec<Cell>, Vec<Cell>) = cells.iter().partition(|cell| is_seen(cell));
    let half = match seen.is_empty() || unseen.is_empty() {
        true => None,
        false => Some(ServiceWork::fit(&seen, false)?),
    };
    let profile = &fitted.profile;
    let law = format!(
        "{}; spread {:.2}, INIT {:.2} s + {:.2} s of CPU",
        describe(&profile.service),
        profile.service.coefficient_of_variation,
        profile.init.floor_seconds,
        profile.init.cpu_seconds
    );
    let mut found = Vec::new();
    for (is_throttled, what, note) in
        [(false, "credit for all busy processes", ""), (true, "throttled", THROTTLED)]
    {
        let of = |cells: &[Cell]| -> Vec<Cell> {
            cells.iter().copied().filter(|cell| cell.is_throttled() == is_throttled).collect()
        };
        let (all, unseen) = (of(&cells), of(&unseen));
        if all.is_empty() {
            continue;
        }
        found.push(Comparison {
            source: format!("local Lambda, {name}"),
            quantity: format!("medians, {} to {} MiB, {what}", sizes[0], sizes[sizes.len() - 1]),
            law: law.clone(),
            errors: profile.service.errors(&all),
            held_out: half.filter(|_| !unseen.is_empty()).map(|half| half.errors(&unseen)),
            note,
        });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_that_follows_the_credit_is_reproduced_at_unseen_sizes() {
        let mut text = String::new();
        for memory in [1769_u32, 3538, 7076] {
            for items in [1_u32, 4, 16] {
                let us = 6000 + items * 4000;
                text += &format!(
                    "{{\"memory_mib\":{memory},\"process_count\":1,\"items\":{items},\"handler_us\":{us}}}\n"
                );
            }
        }
        let found = sweep("x", &text).unwrap().remove(0);
        assert!(found.held_out.unwrap().worst < 0.02, "{found:?}");
    }
}
