//! Parquet: the columns of the CSV file, typed; lists as lists, and the time as a timestamp.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow_array::builder::{
    ArrayBuilder, BooleanBuilder, Float64Builder, ListBuilder, StringBuilder, TimestampMillisecondBuilder,
    UInt32Builder, UInt64Builder,
};
use arrow_array::{ArrayRef, RecordBatch};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use crate::invocation::{Invocation, Run};

/// Rows held at a time.
const ROWS: usize = 8192;

pub(super) fn write<'a>(path: &Path, runs: impl Iterator<Item = &'a Run>) -> Result<(), ParquetError> {
    let mut columns = Columns::default();
    let empty = columns.take()?;
    let compression = Compression::ZSTD(ZstdLevel::default());
    let properties = WriterProperties::builder().set_compression(compression).build();
    let mut writer = ArrowWriter::try_new(File::create(path)?, empty.schema(), Some(properties))?;
    for run in runs {
        for (place, invocation) in run.invocations.iter().enumerate() {
            columns.add(run, invocation, place);
        }
        if columns.run.len() >= ROWS {
            writer.write(&columns.take()?)?;
        }
    }
    writer.write(&columns.take()?)?;
    writer.close()?;
    Ok(())
}

#[derive(Default)]
struct Columns {
    run: UInt64Builder,
    started: TimestampMillisecondBuilder,
    model: StringBuilder,
    version: StringBuilder,
    memory_mib: UInt32Builder,
    process_count: UInt32Builder,
    items: UInt32Builder,
    concurrency: UInt32Builder,
    kind: StringBuilder,
    cold: BooleanBuilder,
    simulated: BooleanBuilder,
    init_ms: Float64Builder,
    duration_ms: Float64Builder,
    billed_ms: UInt64Builder,
    handler_ms: Float64Builder,
    round_trip_ms: Float64Builder,
    tokenize_ms: Float64Builder,
    prefill_ms: Float64Builder,
    generated_tokens: UInt64Builder,
    process_compute_ms: ListBuilder<Float64Builder>,
    process_cpu_ms: ListBuilder<Float64Builder>,
    process_items: ListBuilder<UInt32Builder>,
    shard_padded_units: UInt64Builder,
    max_memory_used_mib: UInt32Builder,
    cost_usd: Float64Builder,
    cost_per_item_usd: Float64Builder,
    run_total_ms: Float64Builder,
    run_instances_started: UInt32Builder,
    run_cost_usd: Float64Builder,
    error: StringBuilder,
    place: UInt32Builder,
}

fn ms(us: u64) -> f64 {
    us as f64 / 1e3
}

fn small(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

impl Columns {
    fn add(&mut self, run: &Run, invocation: &Invocation, place: usize) {
        let point = &run.point;
        self.run.append_value(run.id);
        self.started.append_value(i64::try_from(run.started_ms).unwrap_or(i64::MAX));
        self.model.append_value(&run.model);
        self.version.append_value(&invocation.version);
        self.memory_mib.append_value(point.memory_mib);
        self.process_count.append_value(point.process_count);
        self.items.append_value(point.items);
        self.concurrency.append_value(point.concurrency);
        self.kind.append_value(run.kind.name());
        self.cold.append_value(invocation.cold);
        self.simulated.append_value(run.simulated);
        self.init_ms.append_option(invocation.init_us.map(ms));
        self.duration_ms.append_value(ms(invocation.duration_us));
        self.billed_ms.append_value(invocation.billed_ms);
        self.handler_ms.append_value(ms(invocation.handler_us));
        self.round_trip_ms.append_value(ms(invocation.round_trip_us));
        self.tokenize_ms.append_value(ms(invocation.tokenize_us));
        self.prefill_ms.append_value(ms(invocation.prefill_us));
        self.generated_tokens.append_value(invocation.generated_tokens);
        self.process_compute_ms.append_value(invocation.process_compute_us.iter().map(|&us| Some(ms(us))));
        self.process_cpu_ms.append_value(invocation.process_cpu_us.iter().map(|&us| Some(ms(us))));
        self.process_items.append_value(invocation.process_items.iter().map(|&items| Some(items)));
        self.shard_padded_units.append_value(invocation.shard_padded_units);
        self.max_memory_used_mib.append_value(invocation.max_memory_used_mib);
        self.cost_usd.append_value(invocation.cost_usd);
        self.cost_per_item_usd.append_value(invocation.cost_usd / f64::from(point.items));
        self.run_total_ms.append_value(ms(run.total_us));
        self.run_instances_started.append_value(small(run.instances_started()));
        self.run_cost_usd.append_value(run.cost_usd());
        self.error.append_option(invocation.error.as_deref());
        self.place.append_value(small(place));
    }

    /// The rows so far, which are forgotten here.
    fn take(&mut self) -> Result<RecordBatch, ParquetError> {
        let started: ArrayRef = Arc::new(self.started.finish().with_timezone("UTC"));
        let arrays: [ArrayRef; super::table::COLUMNS.len()] = [
            self.run.finish_arc(),
            started,
            self.model.finish_arc(),
            self.version.finish_arc(),
            self.memory_mib.finish_arc(),
            self.process_count.finish_arc(),
            self.items.finish_arc(),
            self.concurrency.finish_arc(),
            self.kind.finish_arc(),
            self.cold.finish_arc(),
            self.simulated.finish_arc(),
            self.init_ms.finish_arc(),
            self.duration_ms.finish_arc(),
            self.billed_ms.finish_arc(),
            self.handler_ms.finish_arc(),
            self.round_trip_ms.finish_arc(),
            self.tokenize_ms.finish_arc(),
            self.prefill_ms.finish_arc(),
            self.generated_tokens.finish_arc(),
            self.process_compute_ms.finish_arc(),
            self.process_cpu_ms.finish_arc(),
            self.process_items.finish_arc(),
            self.shard_padded_units.finish_arc(),
            self.max_memory_used_mib.finish_arc(),
            self.cost_usd.finish_arc(),
            self.cost_per_item_usd.finish_arc(),
            self.run_total_ms.finish_arc(),
            self.run_instances_started.finish_arc(),
            self.run_cost_usd.finish_arc(),
            self.error.finish_arc(),
            self.place.finish_arc(),
        ];
        let named = super::table::COLUMNS.into_iter().zip(arrays);
        // A column that could be without a value must be nullable even in a part that has all of them.
        let is_nullable = |name: &str| matches!(name, "init_ms" | "error");
        let columns = named.map(|(name, array)| (name, array, is_nullable(name)));
        Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
    }
}

/// A builder's array, shared.
trait FinishArc {
    fn finish_arc(&mut self) -> ArrayRef;
}

impl<B: ArrayBuilder> FinishArc for B {
    fn finish_arc(&mut self) -> ArrayRef {
        ArrayBuilder::finish(self)
    }
}
