//! Items from a file: JSON lines with a field per input, or a CSV table with a column per input.
//!
//! Read once and kept as the bytes that travel. Deliberately absent: files larger than memory, and labels.

use std::path::{Path, PathBuf};

use serde_json::Value;
use workers_protocol::{Datatype, TensorSpec};

use crate::input::shape;
use crate::random::Random;

/// A data file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// It cannot be read.
    #[error("cannot read the data `{}`: {reason}", path.display())]
    Read {
        /// Its path.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A line that gives no item.
    #[error("`{}`, line {line}: {reason}", path.display())]
    Line {
        /// Its path.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// Why.
        reason: String,
    },
    /// Not one item.
    #[error("`{}` has no items", path.display())]
    Empty {
        /// Its path.
        path: PathBuf,
    },
}

/// Bytes of each input, of one item.
type Row = Vec<Vec<u8>>;

/// Items in a seeded order that begins again at its end.
#[derive(Clone, Debug)]
pub(crate) struct Rows {
    rows: Vec<Row>,
    next: usize,
    inputs: usize,
}

impl Rows {
    /// Reads a file. `field` names the field of the first input, others go by the inputs' names.
    pub(crate) fn read(
        path: &Path,
        field: Option<&str>,
        specs: &[TensorSpec],
        seed: u64,
    ) -> Result<Self, DataError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| DataError::Read { path: path.to_path_buf(), reason: error.to_string() })?;
        let names: Vec<&str> = specs
            .iter()
            .enumerate()
            .map(|(place, spec)| field.filter(|_| place == 0).unwrap_or(&spec.name))
            .collect();
        let is_table = path.extension().is_some_and(|ending| ending == "csv");
        let found =
            if is_table { from_table(&text, &names, specs) } else { from_lines(&text, &names, specs) };
        let mut rows =
            found.map_err(|(line, reason)| DataError::Line { path: path.to_path_buf(), line, reason })?;
        if rows.is_empty() {
            return Err(DataError::Empty { path: path.to_path_buf() });
        }
        Random::new(seed).shuffle(&mut rows);
        Ok(Self { rows, next: 0, inputs: specs.len() })
    }

    /// Bytes of each input for the next `items` items.
    pub(crate) fn take(&mut self, items: u32) -> Vec<Vec<u8>> {
        let mut taken = vec![Vec::new(); self.inputs];
        for _ in 0..items {
            let row = &self.rows[self.next];
            taken.iter_mut().zip(row).for_each(|(all, one)| all.extend_from_slice(one));
            self.next = (self.next + 1) % self.rows.len();
        }
        taken
    }
}

type Found = Result<Vec<Row>, (usize, String)>;

fn from_lines(text: &str, names: &[&str], specs: &[TensorSpec]) -> Found {
    let mut rows = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let fail = |reason: String| (number + 1, reason);
        let value: Value = serde_json::from_str(line).map_err(|error| fail(error.to_string()))?;
        let inputs = names.iter().zip(specs).map(|(name, spec)| {
            let field = value.get(name).ok_or_else(|| format!("no field `{name}`"))?;
            bytes_of(field, spec).map_err(|reason| format!("`{name}`: {reason}"))
        });
        rows.push(inputs.collect::<Result<Row, String>>().map_err(fail)?);
    }
    Ok(rows)
}

fn from_table(text: &str, names: &[&str], specs: &[TensorSpec]) -> Found {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().map_err(|error| (1, error.to_string()))?.clone();
    let mut places = Vec::new();
    for name in names {
        let place = header.iter().position(|column| column == *name);
        places.push(place.ok_or_else(|| (1, format!("no column `{name}`")))?);
    }
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| (1, error.to_string()))?;
        #[expect(clippy::cast_possible_truncation, reason = "a line number of a file in memory")]
        let line = record.position().map_or(0, |position| position.line() as usize);
        let inputs = places.iter().zip(specs).map(|(&place, spec)| {
            let cell = record.get(place).unwrap_or_default();
            let is_text = spec.datatype == Datatype::Bytes;
            // Numbers stand in a cell as JSON has them.
            let value = if is_text {
                Value::from(cell)
            } else {
                serde_json::from_str(cell).map_err(|error| error.to_string())?
            };
            bytes_of(&value, spec)
        });
        rows.push(inputs.collect::<Result<Row, String>>().map_err(|reason| (line, reason))?);
    }
    Ok(rows)
}

/// A value, or nested lists of them, as the bytes of one item.
fn bytes_of(value: &Value, spec: &TensorSpec) -> Result<Vec<u8>, String> {
    let mut elements = Vec::new();
    flatten(value, &mut elements);
    let wanted: u32 = shape(spec).iter().product();
    if elements.len() != wanted as usize {
        return Err(format!("has {} values, {wanted} are needed", elements.len()));
    }
    let mut bytes = Vec::new();
    for element in elements {
        if spec.datatype == Datatype::Bytes {
            let text = element.as_str().ok_or("must be text")?;
            bytes.extend_from_slice(&u32::try_from(text.len()).map_err(|_| "is too long")?.to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
        } else {
            push_number(&mut bytes, element, spec.datatype)?;
        }
    }
    Ok(bytes)
}

fn flatten<'a>(value: &'a Value, into: &mut Vec<&'a Value>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| flatten(value, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            into.push(value)
        }
    }
}

fn push_number(bytes: &mut Vec<u8>, value: &Value, datatype: Datatype) -> Result<(), String> {
    #[expect(clippy::cast_possible_truncation, reason = "single precision is what was asked for")]
    let float = || value.as_f64().map(|number| number as f32).ok_or("must be a number");
    let whole = || value.as_i64().or_else(|| value.as_bool().map(i64::from)).ok_or("must be a whole number");
    let out_of_range = |_| "is out of range".to_owned();
    match datatype {
        Datatype::Fp32 => bytes.extend_from_slice(&float()?.to_le_bytes()),
        Datatype::Fp64 => bytes.extend_from_slice(&value.as_f64().ok_or("must be a number")?.to_le_bytes()),
        Datatype::Int64 => bytes.extend_from_slice(&whole()?.to_le_bytes()),
        Datatype::Int32 => {
            bytes.extend_from_slice(&i32::try_from(whole()?).map_err(out_of_range)?.to_le_bytes())
        }
        Datatype::Int16 => {
            bytes.extend_from_slice(&i16::try_from(whole()?).map_err(out_of_range)?.to_le_bytes())
        }
        Datatype::Int8 => {
            bytes.extend_from_slice(&i8::try_from(whole()?).map_err(out_of_range)?.to_le_bytes())
        }
        Datatype::Uint8 | Datatype::Bool => bytes.push(u8::try_from(whole()?).map_err(out_of_range)?),
        Datatype::Uint16 => {
            bytes.extend_from_slice(&u16::try_from(whole()?).map_err(out_of_range)?.to_le_bytes())
        }
        Datatype::Uint32 => {
            bytes.extend_from_slice(&u32::try_from(whole()?).map_err(out_of_range)?.to_le_bytes())
        }
        Datatype::Uint64 => {
            bytes.extend_from_slice(&u64::try_from(whole()?).map_err(out_of_range)?.to_le_bytes())
        }
        Datatype::Fp16 | Datatype::Bf16 | Datatype::Bytes => {
            return Err("half-precision inputs cannot be read from a data file".to_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(datatype: Datatype, shape: &[i64]) -> TensorSpec {
        TensorSpec { name: "x".to_owned(), datatype, shape: shape.to_vec() }
    }

    fn read(name: &str, text: &str, field: Option<&str>, spec: TensorSpec) -> Result<Rows, DataError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        Rows::read(&path, field, &[spec], 1)
    }

    #[test]
    fn texts_of_either_form_are_taken_round_and_round() {
        let lines = "{\"text\": \"ab\", \"label\": 1}\n\n{\"text\": \"cde\"}\n";
        let mut rows = read("a.jsonl", lines, Some("text"), spec(Datatype::Bytes, &[1])).unwrap();
        let data = rows.take(4).remove(0);
        assert_eq!(data.len(), 2 * (4 + 2) + 2 * (4 + 3), "each twice, with its length before it");
        let table = "label,text\n1,\"a, b\"\n0,c\n";
        let mut rows = read("a.csv", table, Some("text"), spec(Datatype::Bytes, &[1])).unwrap();
        assert_eq!(rows.take(2).remove(0).len(), 8 + 5);
    }

    #[test]
    fn numbers_have_the_inputs_type_and_shape() {
        let mut rows =
            read("a.jsonl", "{\"x\": [[1, 2], [3, 4.5]]}", None, spec(Datatype::Fp32, &[2, 2])).unwrap();
        let data = rows.take(1).remove(0);
        assert_eq!(data[12..], 4.5_f32.to_le_bytes());
        let mut rows = read("a.csv", "x\n\"[1,2]\"\n", None, spec(Datatype::Int64, &[2])).unwrap();
        assert_eq!(rows.take(1).remove(0).len(), 16);
    }

    #[test]
    fn a_line_that_gives_no_item_is_named() {
        let refused = |text: &str, of: TensorSpec| read("a.jsonl", text, None, of).unwrap_err().to_string();
        assert!(
            refused("{\"x\": [1]}", spec(Datatype::Fp32, &[2]))
                .contains("line 1: `x`: has 1 values, 2 are needed")
        );
        assert!(
            refused("{\"x\": \"a\"}\n{\"y\": 1}", spec(Datatype::Bytes, &[1]))
                .contains("line 2: no field `x`")
        );
        assert!(refused("\n", spec(Datatype::Bytes, &[1])).contains("no items"));
        assert!(refused("{\"x\": 300}", spec(Datatype::Uint8, &[1])).contains("out of range"));
    }
}
