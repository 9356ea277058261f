//! Answers as a table: a column `id` and one for each output of the model.
//!
//! In CSV an output of one element is a plain value, any other a JSON array. In Parquet an output of one element is a value of its type, a vector a
//! list of it, and anything of more dimensions a JSON text. Answers of whole requests have two columns: `id` and `response`, a JSON text.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use arrow_array::builder::{
    BooleanBuilder, Float32Builder, Float64Builder, Int64Builder, ListBuilder, StringBuilder, UInt64Builder,
};
use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use serde_json::Value;
use workers_protocol::{Datatype, ModelManifest, TensorSpec};

use crate::BulkError;
use crate::codec::id_text;

/// Rows of a batch that is handed to the Parquet writer.
const BATCH_ROWS: usize = 1024;
/// Rows of a row group: bounds the writer's memory.
const GROUP_ROWS: usize = 65_536;

fn failed(path: &Path) -> impl Fn(&dyn std::fmt::Display) -> BulkError {
    let path = path.display().to_string();
    move |error| BulkError::Output { reason: format!("`{path}`: {error}") }
}

/// Calls `row` with the id and the values of each line.
fn rows(
    from: &Path,
    names: &[String],
    is_plain: bool,
    mut row: impl FnMut(String, Vec<Value>) -> Result<(), BulkError>,
) -> Result<(), BulkError> {
    let wrong = failed(from);
    let mut source = BufReader::with_capacity(256 * 1024, File::open(from).map_err(|error| wrong(&error))?);
    let mut line = Vec::new();
    while source.read_until(b'\n', &mut line).map_err(|error| wrong(&error))? > 0 {
        let mut value: Value = serde_json::from_slice(&line).map_err(|error| wrong(&error))?;
        let id = id_text(value.get("id").or_else(|| value.get("custom_id"))).unwrap_or_default();
        let values = if is_plain {
            names.iter().map(|name| value.get_mut(name).map(Value::take).unwrap_or_default()).collect()
        } else {
            vec![Value::String(String::from_utf8_lossy(line.trim_ascii_end()).into_owned())]
        };
        row(id, values)?;
        line.clear();
    }
    Ok(())
}

fn names(manifest: &ModelManifest, is_plain: bool) -> Vec<String> {
    if is_plain {
        manifest.outputs.iter().map(|spec| spec.name.clone()).collect()
    } else {
        vec!["response".to_owned()]
    }
}

/// A value as text: strings as they are, a list of one element as that element.
fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(entries) if entries.len() == 1 => text_of(&entries[0]),
        Value::Null => String::new(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// Writes CSV.
pub(super) fn write_csv(
    from: &Path,
    to: &Path,
    manifest: &ModelManifest,
    is_plain: bool,
) -> Result<(), BulkError> {
    let wrong = failed(to);
    let names = names(manifest, is_plain);
    let mut writer = csv::Writer::from_path(to).map_err(|error| wrong(&error))?;
    let header = std::iter::once("id").chain(names.iter().map(String::as_str));
    writer.write_record(header).map_err(|error| wrong(&error))?;
    rows(from, &names, is_plain, |id, values| {
        let record = std::iter::once(id).chain(values.iter().map(text_of));
        writer.write_record(record).map_err(|error| failed(to)(&error))
    })?;
    let file = writer.into_inner().map_err(|error| wrong(&error.error()))?;
    file.sync_all().map_err(|error| wrong(&error))
}

/// How a column is kept.
#[derive(Clone, Copy)]
enum Kind {
    Bool,
    Signed,
    Unsigned,
    Single,
    Double,
    Text,
}

impl Kind {
    const fn of(datatype: Datatype) -> Self {
        match datatype {
            Datatype::Bool => Self::Bool,
            Datatype::Uint8 | Datatype::Uint16 | Datatype::Uint32 | Datatype::Uint64 => Self::Unsigned,
            Datatype::Int8 | Datatype::Int16 | Datatype::Int32 | Datatype::Int64 => Self::Signed,
            Datatype::Fp32 => Self::Single,
            Datatype::Fp64 => Self::Double,
            Datatype::Fp16 | Datatype::Bf16 | Datatype::Bytes => Self::Text,
        }
    }

    const fn data_type(self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Signed => DataType::Int64,
            Self::Unsigned => DataType::UInt64,
            Self::Single => DataType::Float32,
            Self::Double => DataType::Float64,
            Self::Text => DataType::Utf8,
        }
    }
}

/// A column: one element a row, or a list.
struct Column {
    name: String,
    kind: Kind,
    is_list: bool,
}

/// One element of a row: itself, or the only one in arrays of one.
fn lone(mut value: &Value) -> &Value {
    while let Value::Array(entries) = value {
        value = entries.first().unwrap_or(&Value::Null);
    }
    value
}

macro_rules! array {
    ($builder:ty, $is_list:expr, $values:expr, $read:expr) => {{
        let read = $read;
        if $is_list {
            let mut lists = ListBuilder::new(<$builder>::new());
            for value in $values {
                for entry in value.as_array().map(Vec::as_slice).unwrap_or_default() {
                    lists.values().append_option(read(entry));
                }
                lists.append(true);
            }
            Arc::new(lists.finish()) as ArrayRef
        } else {
            let mut cells = <$builder>::new();
            $values.iter().for_each(|value| cells.append_option(read(value)));
            Arc::new(cells.finish()) as ArrayRef
        }
    }};
}

#[expect(clippy::cast_possible_truncation, reason = "it was written from single precision")]
fn single(value: &Value) -> Option<f32> {
    lone(value).as_f64().map(|value| value as f32)
}

fn text(value: &Value) -> Option<String> {
    (!value.is_null()).then(|| text_of(value))
}

impl Column {
    fn all(manifest: &ModelManifest, is_plain: bool) -> Vec<Self> {
        if !is_plain {
            return vec![Self { name: "response".to_owned(), kind: Kind::Text, is_list: false }];
        }
        let column = |spec: &TensorSpec| {
            let is_one = spec.shape.iter().all(|&dim| dim == 1);
            let is_list = !is_one && spec.shape.len() == 1;
            let kind = if is_one || is_list { Kind::of(spec.datatype) } else { Kind::Text };
            Self { name: spec.name.clone(), kind, is_list }
        };
        manifest.outputs.iter().map(column).collect()
    }

    fn field(&self) -> Field {
        let item = self.kind.data_type();
        let data_type =
            if self.is_list { DataType::List(Arc::new(Field::new("item", item, true))) } else { item };
        Field::new(&self.name, data_type, true)
    }

    fn array(&self, values: &[Value]) -> ArrayRef {
        let is_list = self.is_list;
        match self.kind {
            Kind::Bool => array!(BooleanBuilder, is_list, values, |value| lone(value).as_bool()),
            Kind::Signed => array!(Int64Builder, is_list, values, |value| lone(value).as_i64()),
            Kind::Unsigned => array!(UInt64Builder, is_list, values, |value| lone(value).as_u64()),
            Kind::Single => array!(Float32Builder, is_list, values, single),
            Kind::Double => array!(Float64Builder, is_list, values, |value| lone(value).as_f64()),
            Kind::Text => array!(StringBuilder, is_list, values, text),
        }
    }
}

/// Writes Parquet.
pub(super) fn write_parquet(
    from: &Path,
    to: &Path,
    manifest: &ModelManifest,
    is_plain: bool,
) -> Result<(), BulkError> {
    let wrong = failed(to);
    let columns = Column::all(manifest, is_plain);
    let id = Field::new("id", DataType::Utf8, false);
    let fields: Vec<Field> = std::iter::once(id).chain(columns.iter().map(Column::field)).collect();
    let schema = Arc::new(Schema::new(fields));
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .build();
    let file = File::create(to).map_err(|error| wrong(&error))?;
    let mut writer =
        ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties)).map_err(|error| wrong(&error))?;
    let mut ids: Vec<String> = Vec::new();
    let mut cells: Vec<Vec<Value>> = columns.iter().map(|_| Vec::new()).collect();
    let mut flush = |ids: &mut Vec<String>, cells: &mut Vec<Vec<Value>>| -> Result<(), BulkError> {
        let mut arrays: Vec<ArrayRef> = vec![Arc::new(StringArray::from(std::mem::take(ids)))];
        arrays.extend(columns.iter().zip(cells.iter()).map(|(column, values)| column.array(values)));
        cells.iter_mut().for_each(Vec::clear);
        let batch = RecordBatch::try_new(Arc::clone(&schema), arrays).map_err(|error| failed(to)(&error))?;
        writer.write(&batch).map_err(|error| failed(to)(&error))
    };
    let names = names(manifest, is_plain);
    rows(from, &names, is_plain, |id, values| {
        ids.push(id);
        cells.iter_mut().zip(values).for_each(|(cells, value)| cells.push(value));
        if ids.len() == BATCH_ROWS { flush(&mut ids, &mut cells) } else { Ok(()) }
    })?;
    flush(&mut ids, &mut cells)?;
    let file = writer.into_inner().map_err(|error| wrong(&error))?;
    file.sync_all().map_err(|error| wrong(&error))
}
