//! Refuses ONNX files that keep weights outside themselves.
//!
//! An ONNX file may name other files for its weights, by any path; the model folder is to be closed. This walks the file's
//! protocol buffer just far enough to see whether a tensor says `EXTERNAL` or names external data, in the graph, in nested
//! graphs, in functions and in sparse tensors, and skips all weights. Field numbers: `onnx/onnx.proto`, IR version 10.
//! Deliberately absent: any other check of the graph, which the runtime makes.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

/// Nesting of graphs within graphs that is still followed; deeper files are refused.
const MAX_DEPTH: u32 = 64;

/// Why a file was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OnnxFileError {
    /// It cannot be read, or is cut off.
    #[error("model file cannot be read: {0}")]
    Read(#[from] io::Error),
    /// It is no protocol buffer.
    #[error("model file is not an ONNX file: {0}")]
    Malformed(&'static str),
    /// It keeps weights elsewhere.
    #[error("model file names external data; weights must be inside `model.onnx`")]
    ExternalData,
}

#[derive(Clone, Copy)]
enum Message {
    Model,
    Graph,
    Node,
    Attribute,
    Function,
    Tensor,
    SparseTensor,
}

/// What field `number` of a message holds, if it can lead to a tensor.
fn nested(message: Message, number: u64) -> Option<Message> {
    match (message, number) {
        (Message::Model, 7) | (Message::Attribute, 6 | 11) => Some(Message::Graph),
        (Message::Model, 25) => Some(Message::Function),
        (Message::Graph, 1) | (Message::Function, 7) => Some(Message::Node),
        (Message::Graph, 5) | (Message::Attribute, 5 | 10) | (Message::SparseTensor, 1 | 2) => {
            Some(Message::Tensor)
        }
        (Message::Graph, 15) | (Message::Attribute, 22 | 23) => Some(Message::SparseTensor),
        (Message::Node, 5) | (Message::Function, 11) => Some(Message::Attribute),
        _ => None,
    }
}

/// Fails if the file, or any tensor in it, keeps data outside.
pub(crate) fn refuse_external_data(path: &Path) -> Result<(), OnnxFileError> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    Walk { reader: BufReader::with_capacity(4096, file), left_in_file: len }.message(Message::Model, len, 0)
}

struct Walk {
    reader: BufReader<File>,
    left_in_file: u64,
}

impl Walk {
    fn message(&mut self, message: Message, len: u64, depth: u32) -> Result<(), OnnxFileError> {
        if depth > MAX_DEPTH {
            return Err(OnnxFileError::Malformed("graphs are nested too deeply"));
        }
        if len > self.left_in_file {
            return Err(OnnxFileError::Malformed("a field runs past the end"));
        }
        let end = self.left_in_file - len;
        while self.left_in_file > end {
            let key = self.varint()?;
            let (number, wire_type) = (key >> 3, key & 7);
            match wire_type {
                0 => {
                    let value = self.varint()?;
                    if matches!(message, Message::Tensor) && number == 14 && value == 1 {
                        return Err(OnnxFileError::ExternalData);
                    }
                }
                1 => self.skip(8)?,
                2 => self.delimited(message, number, depth)?,
                5 => self.skip(4)?,
                _ => return Err(OnnxFileError::Malformed("unknown field kind")),
            }
            if self.left_in_file < end {
                return Err(OnnxFileError::Malformed("a field runs past its message"));
            }
        }
        Ok(())
    }

    fn delimited(&mut self, message: Message, number: u64, depth: u32) -> Result<(), OnnxFileError> {
        let len = self.varint()?;
        if matches!(message, Message::Tensor) && number == 13 {
            return Err(OnnxFileError::ExternalData);
        }
        match nested(message, number) {
            Some(inner) => self.message(inner, len, depth + 1),
            None => self.skip(len),
        }
    }

    fn varint(&mut self) -> Result<u64, OnnxFileError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let mut byte = [0];
            self.reader.read_exact(&mut byte)?;
            self.left_in_file = self.left_in_file.saturating_sub(1);
            value |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(OnnxFileError::Malformed("a number is too long"))
    }

    fn skip(&mut self, len: u64) -> Result<(), OnnxFileError> {
        let offset = i64::try_from(len).ok().filter(|_| len <= self.left_in_file);
        let offset = offset.ok_or(OnnxFileError::Malformed("a field runs past the end"))?;
        self.reader.seek_relative(offset)?;
        self.left_in_file -= len;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2, u8::try_from(content.len()).unwrap()];
        out.extend_from_slice(content);
        out
    }

    fn check(content: &[u8]) -> Result<(), OnnxFileError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        refuse_external_data(file.path())
    }

    /// A model whose graph has one initializer with the given content.
    fn with_initializer(tensor: &[u8]) -> Vec<u8> {
        field(7, &field(5, tensor))
    }

    #[test]
    fn weights_inside_the_file_are_accepted() {
        check(&with_initializer(&field(9, &[0; 16]))).unwrap();
    }

    #[test]
    fn external_data_of_an_initializer_is_refused() {
        let location = [14 << 3, 1];
        assert!(matches!(check(&with_initializer(&location)), Err(OnnxFileError::ExternalData)));
        assert!(matches!(check(&with_initializer(&field(13, b"x"))), Err(OnnxFileError::ExternalData)));
    }

    #[test]
    fn external_data_in_a_nested_graph_is_refused() {
        let attribute = field(6, &field(5, &field(13, b"x")));
        let model = field(7, &field(1, &field(5, &attribute)));
        assert!(matches!(check(&model), Err(OnnxFileError::ExternalData)));
    }

    #[test]
    fn cut_off_and_foreign_files_are_refused() {
        let mut model = with_initializer(&field(9, &[0; 16]));
        model.truncate(model.len() - 3);
        assert!(matches!(check(&model), Err(OnnxFileError::Malformed(_) | OnnxFileError::Read(_))));
        assert!(check(b"\x7fELF not a model at all").is_err());
    }
}
