//! Studies: what they say is what is run, and what is wrong with them is told with its line.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use simulator::report;
use simulator::report::data::{Report, Role};
use simulator::study::{self, CellRecord, PolicyName, Prepared, Problem, Purpose, Study};

const STUDY: &str = r#"
title = "Ten minutes <of> traffic"
seeds = 2
policies = ["penstock", "unbatched_3008", "unbatched_best"]

[model]
profile = "minilm-16"
slo_ms = 200

[arrivals]
kind = "trace"
file = "counts.txt"
step_seconds = 60

[break_even]
requests_per_s = [2, 8]
hours = 0.05
"#;

fn files(name: &str) -> Result<String, String> {
    match name {
        "counts.txt" => Ok("300\n600\n300\n300\n900\n600\n600\n300\n300\n600\n".to_owned()),
        "broken.txt" => Ok("300\n6x0\n".to_owned()),
        "broken.toml" => Ok("name = \"m\"\n[service]\nitem_ms = -3\n[memory]\nbase_mib = 100\n".to_owned()),
        _ => Err("no such file".to_owned()),
    }
}

fn prepare(text: &str) -> Result<Prepared, Problem> {
    Prepared::new("s.toml", text, Study::from_toml("s.toml", text)?, &files)
}

fn records(prepared: &Prepared) -> Vec<CellRecord> {
    prepared.cells().iter().map(|cell| study::run(prepared, cell).unwrap()).collect()
}

fn whole() -> Report {
    let prepared = prepare(STUDY).unwrap();
    study::report(&prepared, &records(&prepared))
}

fn told(text: &str) -> String {
    prepare(text).unwrap_err().to_string()
}

#[test]
fn every_policy_answers_the_same_requests() {
    let prepared = prepare(STUDY).unwrap();
    let cells = prepared.cells();
    assert_eq!(cells.len(), 3 * 2 + 2);
    let traffic = cells.iter().filter(|cell| cell.purpose == Purpose::Traffic && cell.seed == 1);
    let requests: Vec<u64> = traffic.map(|cell| study::run(&prepared, cell).unwrap().requests).collect();
    assert!(requests.iter().all(|&count| count == 4800), "{requests:?}");
}

#[test]
fn batching_is_cheaper_than_3008_mib_for_each_request_and_the_month_carries_its_host() {
    let report = whole();
    let of = |name: &str| report.policies.iter().find(|policy| policy.name == name).unwrap();
    let (penstock, alone) = (of("penstock"), of("unbatched_3008"));
    assert_eq!((penstock.role, alone.role), (Role::Chosen, Role::Baseline));
    let (ours, theirs) = (penstock.figures.usd_per_million, alone.figures.usd_per_million);
    assert!(ours.max < theirs.min, "{ours:?} {theirs:?}");
    assert!(ours.mean > report.floor_usd_per_million);
    let month = report::monthly(&report, penstock);
    assert!((month.host_usd - 0.0168 * 730.0).abs() < 1e-9);
    assert!(report::monthly(&report, alone).host_usd == 0.0);
    let answered: u64 = penstock.detail.steps.iter().map(|step| step.answered).sum();
    assert_eq!(answered, 4800, "steps hold every answer");
}

#[test]
fn equal_studies_give_equal_reports_in_any_order_of_runs() {
    let prepared = prepare(STUDY).unwrap();
    let mut all = records(&prepared);
    let first = study::report(&prepared, &all);
    all.reverse();
    assert_eq!(first, study::report(&prepared, &all));
    assert_eq!(first, whole());
}

#[test]
fn records_survive_being_kept_as_json() {
    let prepared = prepare(STUDY).unwrap();
    let record = study::run(&prepared, &prepared.cells()[0]).unwrap();
    let again: CellRecord = serde_json::from_str(&serde_json::to_string(&record).unwrap()).unwrap();
    // Numbers are read again to the last digit but one.
    let near = |a: f64, b: f64| (a - b).abs() <= 1e-12 * a.abs();
    assert!(near(again.usd_per_million(), record.usd_per_million()) && near(again.p50_ms, record.p50_ms));
    assert_eq!(
        (&again.key, again.requests, again.within_slo),
        (&record.key, record.requests, record.within_slo)
    );
    let (kept, told) = (again.detail.unwrap(), record.detail.unwrap());
    assert_eq!(
        (kept.fills, kept.steps.len(), kept.plans.len()),
        (told.fills, told.steps.len(), told.plans.len())
    );
    assert!(kept.latency.iter().zip(&told.latency).all(|(a, b)| near(a.0, b.0) && near(a.1, b.1)));
}

#[test]
fn the_page_is_complete_and_needs_nothing_but_itself() {
    let page = report::html(&whole());
    for part in [
        "Load",
        "Cost over time",
        "Latency against the SLO",
        "Plan over time",
        "How full batches were",
        "gateway&#39;s host included",
        "servers would be cheaper",
        "requests per second",
        "time since the start, minutes",
        "dollars per million requests",
        "latency, ms",
        "items in an invocation",
        "dollars per month",
        "batch size, items",
        "processes",
        "memory, MiB",
        "queue delay, ms",
        "Prices and assumptions",
        "list price",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert!(page.contains("Ten minutes &lt;of&gt; traffic") && !page.contains("<of>"));
    assert!(page.matches("<svg").count() >= 11);
    let links = ["<script", "src=", "href=", "url(", "@import", "could not be drawn", "NaN", "#0102"];
    let elsewhere = page.replace("http://www.w3.org/2000/svg", "");
    assert!(!elsewhere.contains("http"), "a link to elsewhere");
    for link in links {
        assert!(!page.contains(link), "{link}");
    }
}

#[test]
fn the_table_has_a_line_for_each_policy() {
    let text = report::text(&whole());
    for label in ["Penstock", "Unbatched, 3008 MiB", "Unbatched, best memory", "$/million"] {
        assert!(text.contains(label), "{label}\n{text}");
    }
}

#[test]
fn loads_are_simulated_at_about_the_asked_rate() {
    let report = whole();
    let curve = &report.break_even.unwrap().curves[0];
    let (first, last) = (curve.points[0].0, curve.points.last().unwrap().0);
    assert!((first / 2.0 - 1.0).abs() < 0.5, "{first}");
    // Curves go on to ten times the largest simulated load.
    assert!((last / 80.0 - 1.0).abs() < 0.5, "{last}");
}

#[test]
fn what_is_wrong_is_told_with_its_file_and_line() {
    let with = |from: &str, to: &str| told(&STUDY.replace(from, to));
    assert_eq!(with("slo_ms = 200", "slo_ms = -1"), "s.toml:8: `slo_ms`: must be above 0, is -1");
    assert_eq!(with("counts.txt", "broken.txt"), "broken.txt:2: `6x0` is no count of at least 0");
    assert_eq!(with("counts.txt", "none.txt"), "none.txt: no such file");
    let profile = with("\"minilm-16\"", "\"broken.toml\"");
    assert_eq!(profile, "broken.toml:3: `item_ms`: must be a number of at least 0, is -3");
    let unknown = with("slo_ms = 200", "slo_ms = 200\nslo = 3");
    assert!(unknown.starts_with("s.toml:9: `slo`: unknown field"), "{unknown}");
    let policy = with("\"penstock\"", "\"penstok\"");
    assert!(policy.starts_with("s.toml:4: ") && policy.contains("unknown variant `penstok`"), "{policy}");
    let name = with("\"minilm-16\"", "\"gpt\"");
    assert!(name.starts_with("s.toml: `profile`: no example is named `gpt`"), "{name}");
    assert!(with("hours = 0.05", "hours = 0").starts_with("s.toml:17: `hours`: must be above 0"));
    assert!(with("[2, 8]", "[8, 2]").contains("ascending"));
    assert!(
        with("\"unbatched_best\"]", "\"penstock\"]")
            .starts_with("s.toml:4: `policies`: names a policy twice")
    );
    let step = with("step_seconds = 60", "step_seconds = 0");
    assert!(step.contains("step_seconds"), "{step}");
}

#[test]
fn a_model_that_fits_no_size_is_refused() {
    let text = STUDY.replace("\"minilm-16\"", "\"large\"") + "\n[account]\nmemory_mib = [1024, 1769]\n";
    let problem = told(&text);
    assert!(problem.contains("the model needs"), "{problem}");
}

#[test]
fn every_policy_that_can_be_named_can_be_run() {
    let names = PolicyName::ALL.map(|policy| format!("{:?}", policy.name())).join(", ");
    let text = STUDY
        .replace("\"penstock\", \"unbatched_3008\", \"unbatched_best\"", &names)
        .replace("seeds = 2", "seeds = 1");
    let prepared = prepare(&text).unwrap();
    let report = study::report(&prepared, &records(&prepared));
    assert_eq!(report.policies.len(), PolicyName::ALL.len());
    for policy in &report.policies {
        assert!(policy.figures.usd_per_million.mean > report.floor_usd_per_million, "{}", policy.name);
    }
}
