//! What a study found, for people: a table for the terminal, and a page with plots that needs nothing but itself.
//!
//! [`data`] is also what is written as JSON. Deliberately absent: running anything, and files.

pub mod data;
pub mod number;
mod page;
mod plot;
mod savings;
mod summary;
mod table;

pub mod draw {
    //! What pages of plots are made of, for reports of other things.
    pub use super::escape;
    pub use super::page::{drawing, page, section};
    pub use super::plot::{Axis, Chart, Dash, Figure, Hue, Key, Line, Mark, Scale, WIDE};
}

pub use page::html;
pub use savings::{Monthly, monthly, saved_share};
pub use table::text;

/// Text as it may stand in HTML and in attributes.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(letter),
        }
    }
    // A number and its unit stay on one line.
    out.replace(" %", "\u{a0}%").replace(" ms", "\u{a0}ms")
}
