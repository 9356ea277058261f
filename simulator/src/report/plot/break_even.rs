//! What a month costs by load, on Lambda and on servers that are always on.

use super::axis::Axis;
use super::chart::{Chart, Dash, Line, Mark};
use super::ink::Hue;
use super::{Figure, Key, WIDE};
use crate::report::data::{BreakEven, Report};
use crate::report::number::{dollars, plain};

pub(crate) fn break_even(report: &Report, found: &BreakEven) -> Figure {
    let hue = |place: usize| match u8::try_from(place) {
        Ok(0) | Err(_) => Hue::Chosen,
        Ok(place) => Hue::Other(place - 1),
    };
    let keys = found.curves.iter().enumerate();
    let keys: Vec<Key> = keys
        .map(|(place, curve)| Key {
            hue: hue(place),
            dash: if place >= 2 { Dash::Dashed } else { Dash::Solid },
            label: curve.label.clone(),
        })
        .collect();
    let lines = found.curves.iter().zip(&keys).enumerate().map(|(place, (curve, key))| Line {
        hue: key.hue,
        points: curve.points.clone(),
        dash: key.dash,
        width: if place == 0 { 3 } else { 2 },
    });
    let lines: Vec<Line> = lines.collect::<Vec<_>>().into_iter().rev().collect();
    let all = || found.curves.iter().flat_map(|curve| curve.points.iter().copied());
    let here = report.mean_requests_per_s;
    let mark = Mark {
        at: here,
        words: format!("this traffic: {} req/s", plain(here)),
        is_on_x: true,
        words_at: 0.1,
    };
    let chart = Chart {
        width: WIDE,
        height: 400,
        x: Axis::log("requests per second, mean, log scale", all().map(|point| point.0).chain([here]), plain),
        y: Axis::log("dollars per month, log scale", all().map(|point| point.1), dollars),
        lines,
        marks: vec![mark],
        description: "Dollars per month by load, Lambda against servers".to_owned(),
    };
    Figure {
        heading: "From which load on servers would be cheaper".to_owned(),
        caption: format!(
            "A month of 730 hours, all hosts included, list prices. The traffic keeps its ratio of busiest minute to mean ({}).",
            plain(report.peak_requests_per_s / here.max(1e-9))
        ),
        keys,
        drawings: vec![chart.svg()],
    }
}
