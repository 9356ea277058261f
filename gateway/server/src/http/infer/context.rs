//! What the readers of a request share: bounds, where they are, and what they found wrong.
//!
//! serde carries only texts out of a failed read. The finding itself (code, field) is left here and picked up afterwards.

use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::Error;
use workers_protocol::Datatype;

use crate::http::HttpConfig;
use crate::http::errors::{ApiError, Code};

/// Longest part of a parser's message that is given back: it may quote the request.
const MAX_QUOTED_BYTES: usize = 200;

/// State of one read.
pub(super) struct ParseContext<'c> {
    pub(super) config: &'c HttpConfig,
    /// Bytes of JSON being read.
    json_bytes: usize,
    place: Cell<Place>,
    found: RefCell<Option<ApiError>>,
}

/// A field of the request.
#[derive(Clone, Copy)]
pub(super) enum Place {
    /// A top-level field, or the request itself if empty.
    Top(&'static str),
    /// A field of `inputs[index]`.
    Input(usize, &'static str),
    /// A field of `outputs[index]`.
    Output(usize, &'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (list, index, field) = match *self {
            Self::Top("") => return f.write_str("the request"),
            Self::Top(field) => return write!(f, "`{field}`"),
            Self::Input(index, field) => ("inputs", index, field),
            Self::Output(index, field) => ("outputs", index, field),
        };
        match field {
            "" => write!(f, "`{list}[{index}]`"),
            _ => write!(f, "`{list}[{index}].{field}`"),
        }
    }
}

impl<'c> ParseContext<'c> {
    pub(super) fn new(config: &'c HttpConfig, json_bytes: usize) -> Self {
        Self { config, json_bytes, place: Cell::new(Place::Top("")), found: RefCell::new(None) }
    }

    /// Says what is read next.
    pub(super) fn enter(&self, place: Place) {
        self.place.set(place);
    }

    /// Notes a finding at the current place and ends the read.
    pub(super) fn fail<R: Error>(&self, code: Code, text: fmt::Arguments<'_>) -> R {
        *self.found.borrow_mut() = Some(ApiError::new(code, format!("{} {text}", self.place.get())));
        R::custom("")
    }

    /// Bytes that decoded elements may need, at most and for sure.
    pub(super) fn decoded_size_bound(&self, datatype: Datatype, elements: u64) -> usize {
        let most_elements = usize::try_from(elements).unwrap_or(usize::MAX).min(self.json_bytes / 2 + 1);
        match datatype.element_bytes() {
            Some(size) => most_elements.saturating_mul(size),
            None => self.json_bytes.min(most_elements.saturating_mul(32)),
        }
    }

    /// What a failed read is answered with.
    pub(super) fn explain(&self, error: &serde_json::Error) -> ApiError {
        if let Some(found) = self.found.borrow_mut().take() {
            return found;
        }
        let mut text = error.to_string();
        if text.len() > MAX_QUOTED_BYTES {
            let position = format!("… at line {} column {}", error.line(), error.column());
            text.truncate(text.floor_char_boundary(MAX_QUOTED_BYTES));
            text.push_str(&position);
        }
        let place = self.place.get();
        match error.classify() {
            serde_json::error::Category::Data => {
                ApiError::new(Code::InvalidRequest, format!("{place}: {text}"))
            }
            serde_json::error::Category::Syntax
            | serde_json::error::Category::Eof
            | serde_json::error::Category::Io => {
                ApiError::new(Code::InvalidJson, format!("{place}: malformed JSON: {text}"))
            }
        }
    }
}
