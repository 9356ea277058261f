//! The tables of the report.

use std::fmt::Write as _;

use simulator::report::draw::escape;
use simulator::report::number::{dollars, milliseconds, percent, plain};

use super::{Report, items};
use crate::profile::figures::Figures;

fn table(head: &[&str], rows: impl Iterator<Item = (bool, Vec<String>)>) -> String {
    let mut out = String::from("<div class=\"wide\"><table><thead><tr>");
    for name in head {
        let _ = write!(out, "<th>{name}</th>");
    }
    out.push_str("</tr></thead><tbody>");
    for (is_chosen, cells) in rows {
        out.push_str(if is_chosen { "<tr class=\"chosen\">" } else { "<tr>" });
        for (place, cell) in cells.iter().enumerate() {
            let tag = if place == 0 { "th" } else { "td" };
            let _ = write!(out, "<{tag}>{}</{tag}>", escape(cell));
        }
        out.push_str("</tr>");
    }
    out + "</tbody></table></div>"
}

/// A point in a cell: where, how fast and how dear.
fn cell(point: &Figures) -> String {
    let mark = if point.simulated { " (simulated)" } else { "" };
    let processes = match point.point.process_count {
        1 => String::new(),
        count => format!(" × {count} processes"),
    };
    format!(
        "{} MiB{processes}, {}: {}, {} per million{mark}",
        plain(f64::from(point.point.memory_mib)),
        items(point.point.items),
        milliseconds(point.handler_ms),
        dollars(point.cost_per_item_usd * 1e6)
    )
}

pub(super) fn recommendations(report: &Report<'_>) -> String {
    let rows = report.recommendations.iter().map(|row| {
        let of = row.items.map_or("any number of items".to_owned(), items);
        (
            row.items.is_none(),
            vec![row.model.clone(), of, cell(&row.cheapest), cell(&row.fastest), cell(&row.balanced)],
        )
    });
    let head = ["model", "batches of", "cheapest item", "fastest batch", "balanced"];
    let note = format!(
        "<p class=\"note\">Warm, one invocation at a time. Dollars per million items, the request's fee included. Balanced: {} weight on cost over the least \
         cost, the rest on time over the least time. Costs within half a percent are a tie, and ties go to the faster.</p>",
        percent(report.weight)
    );
    format!("{}{note}", table(&head, rows).replace("<table>", "<table class=\"facts\">"))
}

pub(super) fn at_1024(report: &Report<'_>) -> String {
    let rows = report.recommendations.iter().filter_map(|row| {
        let (items_of, ratio) = (row.items?, row.cost_at_1024_over_best?);
        let verdict = match ratio {
            ..1.005 => "yes".to_owned(),
            ..1.05 => "nearly".to_owned(),
            _ => "no".to_owned(),
        };
        let over = percent(ratio - 1.0);
        Some((false, vec![row.model.clone(), items(items_of), verdict, over, cell(&row.cheapest)]))
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return "<p>No point has 1,024 MiB.</p>".to_owned();
    }
    let head = ["model", "batches of", "1,024 MiB is the cheapest", "dearer by", "the cheapest"];
    table(&head, rows.into_iter())
        + "<p class=\"note\">By the cost of an item at the best process count of each size. Nearly: within 5 %.</p>"
}

pub(super) fn points(report: &Report<'_>) -> String {
    let head = [
        "model",
        "MiB",
        "processes",
        "items",
        "at once",
        "warm ms",
        "± %",
        "billed ms",
        "$ per million items",
        "CPU ms",
        "INIT ms",
        "cold ms",
        "all of a warm run, ms",
        "all of a cold run, ms",
        "instances",
        "MiB used",
        "runs warm + cold",
    ];
    let number = |value: Option<f64>| value.map_or("–".to_owned(), plain);
    let rows = report.points.iter().map(|point| {
        let name = if point.simulated { format!("{} (simulated)", point.model) } else { point.model.clone() };
        let cells = vec![
            name,
            point.point.memory_mib.to_string(),
            point.point.process_count.to_string(),
            point.point.items.to_string(),
            point.point.concurrency.to_string(),
            plain(point.handler_ms),
            point.interval_width.map_or("–".to_owned(), |width| format!("{:.1}", width * 50.0)),
            plain(point.billed_ms),
            dollars(point.cost_per_item_usd * 1e6),
            if point.cpu_ms > 0.0 { plain(point.cpu_ms) } else { "–".to_owned() },
            number(point.init_ms),
            number(point.cold_ms()),
            plain(point.total_ms),
            number(point.cold_total_ms),
            number(point.instances_started),
            point.max_memory_used_mib.to_string(),
            format!("{} + {}", point.warm_runs, point.cold_runs),
        ];
        (false, cells)
    });
    table(&head, rows)
}

pub(super) fn fits(report: &Report<'_>) -> String {
    let head = [
        "model",
        "per process ms",
        "per item ms",
        "per work unit ms",
        "fixed ms",
        "spread",
        "INIT",
        "memory",
        "median error",
        "worst error",
    ];
    let rows = report.fits.iter().map(|note| match &note.fitted {
        Ok(fitted) => {
            let (service, init, memory) =
                (&fitted.profile.service, &fitted.profile.init, &fitted.profile.memory);
            let cells = vec![
                note.model.clone(),
                plain(service.process_seconds * 1e3),
                plain(service.item_seconds * 1e3),
                plain(service.unit_seconds * 1e3),
                plain(service.fixed_seconds * 1e3),
                percent(service.coefficient_of_variation),
                format!("{} s + {} s / vCPU", plain(init.floor_seconds), plain(init.cpu_seconds)),
                format!("{} + {} a process, MiB", plain(memory.base_mib), plain(memory.per_process_mib)),
                percent(fitted.errors.median),
                percent(fitted.errors.worst),
            ];
            (false, cells)
        }
        Err(reason) => (false, vec![note.model.clone(), format!("no law: {reason}")]),
    });
    table(&head, rows)
        + "<p class=\"note\">CPU milliseconds on one vCPU. The law is what the profile files hold: <code>penstock simulate --profile</code> reads them.</p>"
}

pub(super) fn given_up(report: &Report<'_>) -> String {
    let rows = report
        .given_up
        .iter()
        .map(|(model, point, reason)| (false, vec![model.clone(), point.to_string(), reason.clone()]));
    table(&["model", "point", "why"], rows).replace("<table>", "<table class=\"facts\">")
}
