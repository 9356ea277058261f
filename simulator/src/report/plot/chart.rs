//! A chart of lines over two labelled axes.
//!
//! Drawn by `plotters` (its SVG backend alone): axes, meshes, clipping and dashes are its work. Considered beside it: `charming` (its pages
//! load a script of a megabyte), `poloto` (one fixed look), drawing by hand (axes again). Legends are HTML, so that they can be read aloud and copied.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::axis::Axis;
use super::ink::{Hue, Ink, dye};

/// Height of letters beside axes, pixels.
const LETTERS: i32 = 15;

/// A line of a chart.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its colour.
    pub hue: Hue,
    /// Its points, in the axes' numbers.
    pub points: Vec<(f64, f64)>,
    /// How it is broken.
    pub dash: Dash,
    /// Pixels.
    pub width: u32,
}

/// How a line is broken, so that lines can be told apart without colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dash {
    /// Not at all.
    Solid,
    /// Long strokes.
    Dashed,
    /// Points.
    Dotted,
    /// No line, a dot at each point: `width` is the dot's radius.
    Dots,
    /// No line, a ring at each point: `width` is the ring's radius.
    Rings,
}

/// A value on one of the axes that a line marks, with words beside it.
#[derive(Clone, Debug)]
pub struct Mark {
    /// The value.
    pub at: f64,
    /// The words; may be empty.
    pub words: String,
    /// Whether it is a value of the level axis.
    pub is_on_x: bool,
    /// Where the words of an upright line stand: share of the height, 0 at the bottom.
    pub words_at: f64,
}

/// Everything of a chart.
#[derive(Clone, Debug)]
pub struct Chart {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// The level axis.
    pub x: Axis,
    /// The upright axis.
    pub y: Axis,
    /// Lines, the last on top.
    pub lines: Vec<Line>,
    /// Marked values.
    pub marks: Vec<Mark>,
    /// For people who do not see it.
    pub description: String,
}

pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub(super) type DrawResult = Result<(), Box<dyn std::error::Error>>;

/// Draws into a string. A drawing into memory cannot fail but for a chart without extent: then the reason stands in its place.
pub(super) fn svg(
    width: u32,
    height: u32,
    description: &str,
    draw: impl FnOnce(&Area<'_>) -> DrawResult,
) -> String {
    let mut text = String::new();
    let drawn = {
        let area = SVGBackend::with_string(&mut text, (width, height)).into_drawing_area();
        draw(&area).and_then(|()| area.present().map_err(Into::into))
    };
    if let Err(error) = drawn {
        return format!("<p>This plot could not be drawn: {}</p>", crate::report::escape(&error.to_string()));
    }
    let head = format!(
        r#"<svg role="img" aria-label="{}" width="{width}" height="{height}" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">"#,
        crate::report::escape(description)
    );
    let body =
        text.split_once("<svg").and_then(|(_, rest)| rest.split_once('>')).map_or("", |(_, body)| body);
    dye(&format!("{head}{body}"))
}

impl Chart {
    /// Draws it.
    #[must_use]
    pub fn svg(&self) -> String {
        svg(self.width, self.height, &self.description, |area| self.draw(area))
    }

    fn draw(&self, area: &Area<'_>) -> DrawResult {
        let mut context = ChartBuilder::on(area)
            .margin_top(12)
            .margin_right(30)
            .x_label_area_size(46)
            .y_label_area_size(74)
            .build_cartesian_2d(self.x.ruler(), self.y.ruler())?;
        context
            .configure_mesh()
            .bold_line_style(Ink::Grid.color())
            .light_line_style(TRANSPARENT)
            .axis_style(Ink::Axis.color())
            .label_style(("sans-serif", LETTERS).into_font().color(&Ink::Text.color()))
            .axis_desc_style(("sans-serif", LETTERS).into_font().color(&Ink::Text.color()))
            .x_label_formatter(&|place| (self.x.text)(self.x.value(*place)))
            .y_label_formatter(&|place| (self.y.text)(self.y.value(*place)))
            .x_desc(&self.x.label)
            .y_desc(&self.y.label)
            .draw()?;
        for mark in &self.marks {
            context.draw_series(self.mark(mark))?;
        }
        for line in &self.lines {
            let points: Vec<(f64, f64)> =
                line.points.iter().map(|&(x, y)| (self.x.place(x), self.y.place(y))).collect();
            let style = Ink::Series(line.hue).color().stroke_width(line.width);
            match line.dash {
                Dash::Solid => context.draw_series(LineSeries::new(points, style))?,
                Dash::Dashed => context.draw_series(DashedLineSeries::new(points, 8, 5, style))?,
                Dash::Dotted => context.draw_series(DashedLineSeries::new(points, 2, 4, style))?,
                Dash::Dots => {
                    let style = Ink::Series(line.hue).color().filled();
                    context.draw_series(points.into_iter().map(|at| Circle::new(at, line.width, style)))?
                }
                Dash::Rings => {
                    let style = Ink::Series(line.hue).color().stroke_width(2);
                    context.draw_series(points.into_iter().map(|at| Circle::new(at, line.width, style)))?
                }
            };
        }
        for mark in self.marks.iter().filter(|mark| !mark.words.is_empty()) {
            context.draw_series([self.words(mark)])?;
        }
        Ok(())
    }

    /// The line of a mark.
    fn mark(&self, mark: &Mark) -> DashedLineSeries<std::vec::IntoIter<(f64, f64)>, u32> {
        let ends = |axis: &Axis| (axis.place(axis.range.0), axis.place(axis.range.1));
        let points = if mark.is_on_x {
            let ((low, high), x) = (ends(&self.y), self.x.place(mark.at));
            vec![(x, low), (x, high)]
        } else {
            let ((low, high), y) = (ends(&self.x), self.y.place(mark.at));
            vec![(low, y), (high, y)]
        };
        DashedLineSeries::new(points, 4, 4, Ink::Series(Hue::Limit).color().stroke_width(1))
    }

    /// The words of a mark: beside an upright line, on the side of it with more room, or below the right end of a level one.
    fn words(&self, mark: &Mark) -> Text<'static, (f64, f64), String> {
        let style = |horizontal, vertical| {
            let font = ("sans-serif", LETTERS).into_font().color(&Ink::Series(Hue::Limit).color());
            font.pos(Pos::new(horizontal, vertical))
        };
        let (left, right) = (self.x.place(self.x.range.0), self.x.place(self.x.range.1));
        let gap = (right - left) * 0.008;
        if mark.is_on_x {
            let x = self.x.place(mark.at);
            let (low, high) = (self.y.place(self.y.range.0), self.y.place(self.y.range.1));
            let height = low + (high - low) * mark.words_at;
            let is_left = x - left < (right - left) * 0.6;
            let (at, anchor) = if is_left { (x + gap, HPos::Left) } else { (x - gap, HPos::Right) };
            Text::new(mark.words.clone(), (at, height), style(anchor, VPos::Top))
        } else {
            let (low, high) = (self.y.place(self.y.range.0), self.y.place(self.y.range.1));
            let at = (right - gap, self.y.place(mark.at) - (high - low) * 0.015);
            Text::new(mark.words.clone(), at, style(HPos::Right, VPos::Top))
        }
    }
}
