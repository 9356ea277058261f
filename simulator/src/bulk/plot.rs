//! Time and dollars of a job by batch size, as an SVG drawing that stands alone.

use plotters::prelude::*;

/// A curve over batch sizes.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// In the legend.
    pub label: String,
    /// Batch size and value, ascending; one point: a level line.
    pub points: Vec<(f64, f64)>,
}

const SIZE: (u32, u32) = (760, 420);
/// Told apart also by people who see fewer colours (Okabe and Ito).
const COLORS: [RGBColor; 5] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 86, 86),
];

/// Draws curves over batch sizes; both axes are logarithmic where `is_log`, else the values' axis begins at zero.
///
/// # Errors
/// What the drawing library says; a drawing into memory fails only without extent.
pub fn svg(title: &str, y_label: &str, is_log: bool, curves: &[Curve]) -> Result<String, String> {
    let mut text = String::new();
    draw(&mut text, title, y_label, is_log, curves).map_err(|error| error.to_string())?;
    Ok(text)
}

fn draw(
    text: &mut String,
    title: &str,
    y_label: &str,
    is_log: bool,
    curves: &[Curve],
) -> Result<(), Box<dyn std::error::Error>> {
    let values = || curves.iter().flat_map(|curve| curve.points.iter());
    let place = |value: f64| if is_log { value.max(1e-12).log10() } else { value };
    let (left, right) = extent(values().map(|point| point.0.log10()));
    let (low, high) = extent(values().map(|point| place(point.1)));
    let low = if is_log { low - 0.1 } else { 0.0 };
    let area = SVGBackend::with_string(text, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 18))
        .margin(14)
        .x_label_area_size(44)
        .y_label_area_size(78)
        .build_cartesian_2d(left - 0.03..right + 0.03, low..high + (high - low) * 0.08 + 1e-9)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .label_style(("sans-serif", 15))
        .axis_desc_style(("sans-serif", 16))
        .x_desc("items per batch, log scale")
        .y_desc(if is_log { format!("{y_label}, log scale") } else { y_label.to_owned() })
        .x_label_formatter(&|at| format!("{:.0}", 10_f64.powf(*at)))
        .y_label_formatter(&|at| short(if is_log { 10_f64.powf(*at) } else { *at }))
        .draw()?;
    for (curve, color) in curves.iter().zip(COLORS.iter().cycle()) {
        let style = color.stroke_width(2);
        let level = curve.points.len() == 1;
        let points: Vec<(f64, f64)> = if level {
            let y = place(curve.points[0].1);
            vec![(left, y), (right, y)]
        } else {
            curve.points.iter().map(|&(x, y)| (x.log10(), place(y))).collect()
        };
        if level {
            chart.draw_series(DashedLineSeries::new(points, 8, 5, style))?
        } else {
            chart.draw_series(LineSeries::new(points, style))?
        }
        .label(curve.label.clone())
        .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 22, y)], style));
    }
    chart
        .configure_series_labels()
        .label_font(("sans-serif", 15))
        .position(SeriesLabelPosition::MiddleRight)
        .background_style(WHITE.mix(0.85))
        .border_style(RGBColor(200, 200, 200))
        .draw()?;
    area.present()?;
    Ok(())
}

fn short(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 1.0 => format!("{v:.1}"),
        v => format!("{v:.3}"),
    }
}

fn extent(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_curve_is_drawn_and_named() {
        let curve =
            |label: &str, points: &[(f64, f64)]| Curve { label: label.to_owned(), points: points.to_vec() };
        let text = svg(
            "time",
            "seconds",
            true,
            &[curve("parallel", &[(50.0, 20.0), (1000.0, 40.0)]), curve("monolithic", &[(50.0, 800.0)])],
        )
        .unwrap();
        assert!(text.starts_with("<svg") && text.contains("parallel") && text.contains("monolithic"));
    }
}
