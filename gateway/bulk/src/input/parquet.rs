//! Parquet: a row becomes an object of the wanted columns; positions are row numbers. Only those columns are read, in batches of rows.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::DataType;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::blob::Blob;
use super::{Lines, Place, RawLine, wanted_columns};
use crate::codec::push_string;
use crate::{BulkError, InputSpec, LineFault};

/// Rows decoded at a time.
const BATCH_ROWS: usize = 1024;

/// Reader of Parquet rows.
pub(super) struct ParquetLines {
    blob: Blob,
    reader: ParquetRecordBatchReader,
    batch: Option<(RecordBatch, usize)>,
    line: u64,
}

impl ParquetLines {
    pub(super) fn new(blob: &Blob, spec: &InputSpec, from: Place) -> Result<Self, BulkError> {
        let unreadable = |error: &dyn std::fmt::Display| blob.unreadable(error);
        let builder =
            ParquetRecordBatchReaderBuilder::try_new(blob.clone()).map_err(|error| unreadable(&error))?;
        let present: Vec<String> =
            builder.schema().fields().iter().map(|field| field.name().clone()).collect();
        let mut roots = Vec::new();
        for wanted in wanted_columns(spec) {
            match present.iter().position(|name| name == wanted) {
                Some(index) => roots.push(index),
                None if wanted == spec.id_field => {} // rows are then named by their numbers
                None => return Err(unreadable(&format_args!("it has no column `{wanted}`"))),
            }
        }
        let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
        // Whole row groups before the place are never read.
        let (mut groups, mut skip) = (Vec::new(), from.position);
        for (index, group) in builder.metadata().row_groups().iter().enumerate() {
            let rows = u64::try_from(group.num_rows()).unwrap_or(0);
            if groups.is_empty() && skip >= rows {
                skip -= rows;
            } else {
                groups.push(index);
            }
        }
        let reader = builder
            .with_projection(mask)
            .with_row_groups(groups)
            .with_offset(usize::try_from(skip).unwrap_or(usize::MAX))
            .with_batch_size(BATCH_ROWS)
            .build()
            .map_err(|error| unreadable(&error))?;
        Ok(Self { blob: blob.clone(), reader, batch: None, line: from.line })
    }
}

impl Lines for ParquetLines {
    fn next(&mut self, line: &mut RawLine) -> Result<bool, BulkError> {
        loop {
            if let Some((batch, row)) = &mut self.batch
                && *row < batch.num_rows()
            {
                line.fault = push_row(&mut line.json, batch, *row).err();
                *row += 1;
                line.line = self.line;
                self.line += 1;
                line.end = self.line;
                return Ok(true);
            }
            match self.reader.next() {
                None => return Ok(false),
                Some(Ok(batch)) => self.batch = Some((batch, 0)),
                Some(Err(error)) => return Err(self.blob.unreadable(error)),
            }
        }
    }
}

fn push_row(out: &mut Vec<u8>, batch: &RecordBatch, row: usize) -> Result<(), LineFault> {
    out.clear();
    out.push(b'{');
    for (index, (field, column)) in batch.schema_ref().fields().iter().zip(batch.columns()).enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_string(out, field.name());
        out.push(b':');
        push_value(out, column, row)
            .map_err(|reason| LineFault::invalid(format!("`{}` {reason}", field.name())))?;
    }
    out.push(b'}');
    Ok(())
}

fn push_display(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    out.extend_from_slice(value.to_string().as_bytes());
}

fn push_float(out: &mut Vec<u8>, value: f64) -> Result<(), String> {
    if !value.is_finite() {
        return Err("is NaN or infinite".to_owned());
    }
    push_display(out, value);
    Ok(())
}

#[expect(clippy::wildcard_enum_match_arm, reason = "of arrow's many types a few are inputs of models")]
fn push_value(out: &mut Vec<u8>, column: &ArrayRef, row: usize) -> Result<(), String> {
    if column.is_null(row) {
        out.extend_from_slice(b"null");
        return Ok(());
    }
    match column.data_type() {
        DataType::Utf8 => push_string(out, column.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => push_string(out, column.as_string::<i64>().value(row)),
        DataType::Utf8View => push_string(out, column.as_string_view().value(row)),
        DataType::Boolean => push_display(out, column.as_boolean().value(row)),
        DataType::Int8 => push_display(out, column.as_primitive::<Int8Type>().value(row)),
        DataType::Int16 => push_display(out, column.as_primitive::<Int16Type>().value(row)),
        DataType::Int32 => push_display(out, column.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => push_display(out, column.as_primitive::<Int64Type>().value(row)),
        DataType::UInt8 => push_display(out, column.as_primitive::<UInt8Type>().value(row)),
        DataType::UInt16 => push_display(out, column.as_primitive::<UInt16Type>().value(row)),
        DataType::UInt32 => push_display(out, column.as_primitive::<UInt32Type>().value(row)),
        DataType::UInt64 => push_display(out, column.as_primitive::<UInt64Type>().value(row)),
        DataType::Float32 => {
            let value = column.as_primitive::<Float32Type>().value(row);
            if !value.is_finite() {
                return Err("is NaN or infinite".to_owned());
            }
            push_display(out, value); // the shortest text of this precision
        }
        DataType::Float64 => push_float(out, column.as_primitive::<Float64Type>().value(row))?,
        DataType::List(_) => push_list(out, &column.as_list::<i32>().value(row))?,
        DataType::LargeList(_) => push_list(out, &column.as_list::<i64>().value(row))?,
        DataType::FixedSizeList(_, _) => push_list(out, &column.as_fixed_size_list().value(row))?,
        other => return Err(format!("is of type {other}, which is no input of a model")),
    }
    Ok(())
}

fn push_list(out: &mut Vec<u8>, values: &ArrayRef) -> Result<(), String> {
    out.push(b'[');
    for index in 0..values.len() {
        if index > 0 {
            out.push(b',');
        }
        push_value(out, &Arc::clone(values), index)?;
    }
    out.push(b']');
    Ok(())
}
