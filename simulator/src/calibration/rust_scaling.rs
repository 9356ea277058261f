//! Twenty bcrypt hashes by rayon in one Rust function of 1 to 6 vCPUs (published by AWS), and the CPUs that a function sees by memory.
//!
//! One number an architecture: the CPU work of all hashes. Workers are spread like processes; a hash is not divided.

use std::collections::BTreeMap;

use gateway_contract::Mebibytes;

use super::{Columns, Comparison, whole};
use crate::lambda::{BatchShape, visible_cpus};
use crate::profile::{Cell, ProfileError, ServiceWork, minimise, relative_errors};

const HASHES: u32 = 20;

/// Compares with the table of `arch,memory_mb,workers,warm_ms_20_bcrypt`.
///
/// # Errors
/// Missing columns, values that are no numbers.
pub fn rust_scaling(text: &str) -> Result<Vec<Comparison>, ProfileError> {
    let table = Columns::read(text);
    let numbers = table.numbers(["memory_mb", "workers", "warm_ms_20_bcrypt"])?;
    let mut by_arch: BTreeMap<&str, Vec<Cell>> = BTreeMap::new();
    for ([arch], [memory, workers, ms]) in table.texts(["arch"])?.into_iter().zip(numbers) {
        let batch =
            BatchShape { items: HASHES, process_count: whole(workers), units: 0, shard_padded_units: 0 };
        let cell = Cell { memory: Mebibytes(whole(memory)), batch, seconds: ms / 1e3 };
        by_arch.entry(arch).or_default().push(cell);
    }
    Ok(by_arch.into_iter().map(|(arch, cells)| compare(arch, &cells)).collect())
}

fn compare(arch: &str, cells: &[Cell]) -> Comparison {
    let of = |values: &[f64]| ServiceWork {
        item_seconds: values[0],
        // The quota decides over seconds here, not over one period.
        is_quantised: false,
        ..ServiceWork::default()
    };
    let loss = |values: &[f64]| {
        cells.iter().map(|cell| (of(values).cell_seconds(cell) / cell.seconds).ln().abs()).sum::<f64>()
    };
    let law = of(&minimise(&[0.08], loss));
    Comparison {
        source: format!("AWS Rust sample on Lambda, {arch}"),
        quantity: "20 hashes on 1 to 6 workers, 1536 to 10240 MB".to_owned(),
        law: format!("{:.1} ms of CPU a hash", law.item_seconds * 1e3),
        errors: law.errors(cells),
        held_out: None,
        note: "worst: on arm 10240 MB, where the law gives one of six workers four hashes and the measured run was as fast as if hashes could be \
               divided; on x86 4096 MB, which lies far from its own neighbours as published",
    }
}

/// Compares the visible CPUs with the table of `memory_mb_from,memory_mb_to,vcpus_seen`: both ends of each range.
///
/// # Errors
/// Missing columns, values that are no numbers.
pub fn visible_cpu_tiers(text: &str) -> Result<Vec<Comparison>, ProfileError> {
    let rows = Columns::read(text).numbers(["memory_mb_from", "memory_mb_to", "vcpus_seen"])?;
    let ends = rows.iter().flat_map(|[from, to, seen]| [(*from, *seen), (*to, *seen)]);
    let pairs = ends.map(|(memory, seen)| (f64::from(visible_cpus(Mebibytes(whole(memory)))), seen));
    Ok(vec![Comparison {
        source: "CPUs seen by memory on Lambda".to_owned(),
        quantity: "both ends of each range".to_owned(),
        law: "table".to_owned(),
        errors: relative_errors(pairs),
        held_out: None,
        note: "",
    }])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_visible_cpus_are_the_published_ones() {
        let text = "memory_mb_from,memory_mb_to,vcpus_seen\n128,3008,2\n3009,5307,3\n8846,10240,6\n";
        assert!(visible_cpu_tiers(text).unwrap()[0].errors.worst < 1e-12);
        let wrong = visible_cpu_tiers(&text.replace(",3\n", ",4\n")).unwrap();
        assert!(wrong[0].errors.worst > 0.2);
    }

    #[test]
    fn work_that_follows_the_credit_fits() {
        let text = "arch,memory_mb,workers,warm_ms_20_bcrypt\na,1769,1,2000\na,3538,2,1000\na,8845,5,400\nb,1769,1,1000\n";
        let found = rust_scaling(text).unwrap();
        assert_eq!(found.len(), 2);
        assert!(found[0].errors.worst < 0.01, "{found:?}");
    }
}
