//! Colours by name: what is drawn carries a placeholder, and the page's style sheet gives it a colour for light and for dark.

use plotters::style::RGBColor;

/// A colour of the style sheet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ink {
    /// Text beside axes.
    Text,
    /// Lines behind the data.
    Grid,
    /// Axes.
    Axis,
    /// Of a series.
    Series(Hue),
}

/// The colour of a series, the same in all plots of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hue {
    /// The chosen policy.
    Chosen,
    /// A baseline or another thing to compare with, by its place.
    Other(u8),
    /// A bound, by its place.
    Bound(u8),
    /// A part of a whole, by its place.
    Part(u8),
    /// The objective and other limits.
    Limit,
}

/// Colours for other things.
const OTHERS: u8 = 8;
/// Colours for bounds.
const BOUNDS: u8 = 4;
/// Colours for parts.
const PARTS: u8 = 4;

impl Hue {
    /// The variable of the style sheet.
    #[must_use]
    pub fn variable(self) -> String {
        match self {
            Self::Chosen => "chosen".to_owned(),
            Self::Other(place) => format!("other-{}", place % OTHERS),
            Self::Bound(place) => format!("bound-{}", place % BOUNDS),
            Self::Part(place) => format!("part-{}", place % PARTS),
            Self::Limit => "limit".to_owned(),
        }
    }
}

impl Ink {
    /// What is drawn in its stead. The values mean nothing; they only have to differ.
    pub(super) fn color(self) -> RGBColor {
        match self {
            Self::Text => RGBColor(1, 2, 3),
            Self::Grid => RGBColor(1, 2, 4),
            Self::Axis => RGBColor(1, 2, 5),
            Self::Series(Hue::Chosen) => RGBColor(1, 2, 7),
            Self::Series(Hue::Other(place)) => RGBColor(1, 3, place % OTHERS),
            Self::Series(Hue::Bound(place)) => RGBColor(1, 4, place % BOUNDS),
            Self::Series(Hue::Part(place)) => RGBColor(1, 5, place % PARTS),
            Self::Series(Hue::Limit) => RGBColor(1, 2, 6),
        }
    }

    fn variable(self) -> String {
        match self {
            Self::Text => "text".to_owned(),
            Self::Grid => "grid".to_owned(),
            Self::Axis => "axis".to_owned(),
            Self::Series(hue) => hue.variable(),
        }
    }
}

/// Puts the style sheet's colours into a drawing.
pub(super) fn dye(svg: &str) -> String {
    let others = (0..OTHERS).map(|place| Ink::Series(Hue::Other(place)));
    let bounds = (0..BOUNDS).map(|place| Ink::Series(Hue::Bound(place)));
    let parts = (0..PARTS).map(|place| Ink::Series(Hue::Part(place)));
    let plain = [Ink::Text, Ink::Grid, Ink::Axis, Ink::Series(Hue::Limit), Ink::Series(Hue::Chosen)];
    plain.into_iter().chain(others).chain(bounds).chain(parts).fold(svg.to_owned(), |svg, ink| {
        let RGBColor(r, g, b) = ink.color();
        svg.replace(&format!("#{r:02X}{g:02X}{b:02X}"), &format!("var(--{})", ink.variable()))
    })
}
