//! The page: self-contained HTML with its style sheet and drawings inside, light and dark by the reader's setting.
//!
//! Deliberately absent: scripts, fonts and pictures from elsewhere.

use std::fmt::Write as _;

use super::data::{Fact, Report, Role, Spread};
use super::escape;
use super::number::{about_percent, dollars, duration, milliseconds, percent, plain};
use super::plot::{self, Dash, Figure, Key};
use super::savings::{monthly, saved_share};
use super::summary::{headlines, keeps_slo};

const STYLE: &str = include_str!("page.css");

/// The whole page.
#[must_use]
pub fn html(report: &Report) -> String {
    let mut body = String::new();
    body.push_str(&head(report));
    body.push_str(&tiles(report));
    body.push_str(&section("Results", &results(report)));
    for figure in figures(report) {
        body.push_str(&section(&figure.heading, &drawing(&figure)));
    }
    if let Some(found) = &report.break_even {
        let figure = plot::break_even(report, found);
        let mut inner = drawing(&figure);
        inner.push_str("<ul>");
        for crossing in &found.crossings {
            let _ = write!(inner, "<li>{}</li>", escape(&crossing.sentence()));
        }
        inner.push_str("</ul><dl>");
        for curve in &found.curves {
            let _ = write!(inner, "<dt>{}</dt><dd>{}</dd>", escape(&curve.label), escape(&curve.about));
        }
        inner.push_str("</dl>");
        body.push_str(&section(&figure.heading, &inner));
    }
    body.push_str(&section("What was asked", &setup(&report.setup)));
    body.push_str(&section("The policies", &policies(report)));
    body.push_str(&section("Prices and assumptions", &facts(&report.facts)));
    page(&report.title, &body)
}

/// A page around sections, with the style sheet inside.
#[must_use]
pub fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n\
         <body>\n<main>\n{body}</main>\n</body>\n</html>\n",
        escape(title)
    )
}

fn figures(report: &Report) -> Vec<Figure> {
    vec![
        plot::load(report),
        plot::cost(report),
        plot::split(report),
        plot::month(report),
        plot::latency(report),
        plot::plan(report),
        plot::fills(report),
    ]
}

fn head(report: &Report) -> String {
    format!(
        "<header><h1>{}</h1><p>A simulation of {} of traffic, {} requests per second on average and {} in the busiest minute, \
         served under the promise that {} of requests are answered within {}. Each policy ran with {} seed{}; curves show the first. \
         Made by {}.</p></header>\n",
        escape(&report.title),
        duration(report.seconds),
        plain(report.mean_requests_per_s),
        plain(report.peak_requests_per_s),
        percent(report.objective.percentile),
        milliseconds(report.objective.slo_ms),
        report.seeds.len(),
        if report.seeds.len() == 1 { "" } else { "s" },
        escape(&report.made_by),
    )
}

fn tiles(report: &Report) -> String {
    let mut out = String::from("<div class=\"tiles\">");
    for headline in headlines(report) {
        let _ = write!(
            out,
            "<div><strong>{}</strong><span>{}</span></div>",
            escape(&headline.figure),
            escape(&headline.words)
        );
    }
    out + "</div>\n"
}

/// A section under a heading.
#[must_use]
pub fn section(heading: &str, inner: &str) -> String {
    format!("<section>\n<h2>{}</h2>\n{inner}\n</section>\n", escape(heading))
}

/// A figure with its caption and legend.
#[must_use]
pub fn drawing(figure: &Figure) -> String {
    let mut out =
        format!("<figure>\n<figcaption>{}</figcaption>\n<ul class=\"keys\">", escape(&figure.caption));
    for Key { hue, dash, label } in &figure.keys {
        let dashed = match dash {
            Dash::Solid => "",
            Dash::Dashed => " dashed",
            Dash::Dotted => " dotted",
            Dash::Dots => " dot",
            Dash::Rings => " ring",
        };
        let _ = write!(
            out,
            "<li><i class=\"line{dashed}\" style=\"--c:var(--{})\"></i>{}</li>",
            hue.variable(),
            escape(label)
        );
    }
    out.push_str("</ul>\n<div class=\"drawings\">\n");
    out.push_str(&figure.drawings.join("\n"));
    out + "\n</div>\n</figure>"
}

fn results(report: &Report) -> String {
    let percentile = format!("p{}", plain(report.objective.percentile * 100.0));
    let mut out = format!(
        "<div class=\"wide\"><table><thead><tr><th>policy</th><th>$ per million requests</th><th>$ per month, host included</th><th>saved by \
         {}</th><th>answered within the SLO</th><th>median latency</th><th>{percentile} latency</th><th>items per \
         invocation</th><th>cold invocations</th><th>shed or failed</th></tr></thead><tbody>",
        report.policies.first().map_or(String::new(), |policy| escape(&policy.label))
    );
    for (place, policy) in report.policies.iter().enumerate() {
        let figures = &policy.figures;
        let saved = if place == 0 { None } else { saved_share(report, policy) };
        let kept = if keeps_slo(report, policy) { "" } else { " class=\"missed\" title=\"misses the SLO\"" };
        let role = match policy.role {
            Role::Chosen => " class=\"chosen\"",
            Role::Baseline => "",
            Role::Bound => " class=\"bound\"",
        };
        let _ = write!(
            out,
            "<tr{role}><th>{}</th><td>{}</td><td>{}</td><td>{}</td><td{kept}>{}{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(&policy.label),
            spread(&figures.usd_per_million),
            dollars(monthly(report, policy).usd()),
            saved.map_or("–".to_owned(), percent),
            percent(1.0 - figures.outside_slo_share.mean),
            if kept.is_empty() { "" } else { " ✗" },
            milliseconds(figures.p50_ms.mean),
            milliseconds(figures.at_percentile_ms.mean),
            plain(figures.mean_fill.mean),
            percent(figures.cold_share.mean),
            percent(figures.lost_share.mean),
        );
    }
    let _ = write!(
        out,
        "<tr class=\"bound\"><th>Physical floor</th><td>{}</td><td colspan=\"8\"></td></tr>",
        dollars(report.floor_usd_per_million)
    );
    out.push_str("</tbody></table></div><p class=\"note\">✗: misses the SLO. Shed and failed requests count as missed. ±: standard deviation between seeds. \
                  Bounds (in italics) know the future; nobody can run them. Physical floor: the CPU work of the items \
                  alone, at the price of a vCPU-second.</p>");
    out
}

fn spread(spread: &Spread) -> String {
    if spread.std > 0.0 {
        format!("{} <small>± {}</small>", dollars(spread.mean), about_percent(spread.std / spread.mean))
    } else {
        dollars(spread.mean)
    }
}

fn setup(pairs: &[(String, String)]) -> String {
    let mut out = String::from("<dl>");
    for (name, value) in pairs {
        let _ = write!(out, "<dt>{}</dt><dd>{}</dd>", escape(name), escape(value));
    }
    out + "</dl>"
}

fn policies(report: &Report) -> String {
    let mut out = String::from("<dl>");
    for policy in &report.policies {
        let _ = write!(out, "<dt>{}</dt><dd>{}</dd>", escape(&policy.label), escape(&policy.about));
    }
    out + "</dl>"
}

fn facts(facts: &[Fact]) -> String {
    let mut out = String::from(
        "<div class=\"wide\"><table class=\"facts\"><thead><tr><th>what</th><th>value</th><th>source</th></tr></thead><tbody>",
    );
    for fact in facts {
        let _ = write!(
            out,
            "<tr><th>{}</th><td>{}</td><td>{}</td></tr>",
            escape(&fact.name),
            escape(&fact.value),
            escape(&fact.source)
        );
    }
    out + "</tbody></table></div>"
}
