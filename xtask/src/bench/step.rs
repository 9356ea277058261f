//! A step of the load under a live gateway: 5 → 60 → 5 requests a second, with a change-point detector and without one.
//!
//! *Windows to detect*: from the step to the tuner's change-point event, in windows, rounded up. *Seconds to the new plan*: from the step to the
//! first plan switch after it being in force; where the tuner saw the step and kept its plan, to its event. *Cost over best*: dollars per request in the settled part behind a step, over those of the
//! cheapest fixed plan at that load by replay of the sweep; beside it the same for the plan in force by the same replay, which leaves out
//! what the machine's other work does to a live run.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::live::{LocalLambda, Run, Steps};
use super::optimizer::{Subject, Tools, plans};
use super::replay::{Plan, Sweep};
use crate::setup::Setup;
use crate::table;

const LOW: f64 = 5.0;
const HIGH: f64 = 60.0;
/// Seconds behind a step that count as the switch; what follows is settled.
const SWITCH_S: f64 = 30.0;
const WINDOW_S: f64 = 1.0;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Seconds at the low load before the first step, in which the tuner learns.
    #[arg(long, default_value_t = 180.0)]
    learn_seconds: f64,
    /// Seconds at each load behind a step.
    #[arg(long, default_value_t = 120.0)]
    step_seconds: f64,
    /// Detectors, one run each.
    #[arg(long, value_delimiter = ',', default_value = "bocpd,none")]
    detectors: Vec<String>,
}

/// A step: when it comes, when the load ends, and the load behind it.
struct Step {
    at_s: f64,
    end_s: f64,
    rate: f64,
}

/// Runs it.
pub(crate) fn run(setup: &Setup, arguments: &Arguments, json: Option<&Path>) -> Result<()> {
    let tools = Tools::build(setup)?;
    let subject = Subject::named("minilm")?;
    let sweep = Sweep::read(&subject.sweep(setup, &tools, false, false)?)?;
    let texts = tools.texts(setup)?;
    let (learn, step) = (arguments.learn_seconds, arguments.step_seconds);
    let load = Steps { rates: vec![(LOW, learn), (HIGH, step), (LOW, step)], texts: &texts, seed: 1 };
    let steps = [
        Step { at_s: learn, end_s: learn + step, rate: HIGH },
        Step { at_s: learn + step, end_s: learn + 2.0 * step, rate: LOW },
    ];
    let mut all = Vec::new();
    for detector in &arguments.detectors {
        eprintln!("step: {LOW} → {HIGH} → {LOW} requests/s, detector `{detector}`");
        let function = subject.function(setup)?;
        let lambda = LocalLambda::start(setup, &tools.binaries, "step", std::slice::from_ref(&function))?;
        let gateway =
            lambda.gateway(&tools.binaries, &function, &subject.plan(), &subject.policy(detector))?;
        let run = gateway.run(setup, &tools.python, &load)?;
        drop(gateway);
        all.push((detector.clone(), figures(&run, &sweep, &steps, subject.slo_s())?));
    }
    show(&all);
    super::write_json(json, &report(all))
}

/// The first detector's figures at the top, the others beside them by name.
fn report(all: Vec<(String, Value)>) -> Value {
    let mut all = all.into_iter();
    let mut report = match all.next() {
        Some((name, mut figures)) => {
            figures["detector"] = Value::from(name);
            figures
        }
        None => json!({}),
    };
    for (name, figures) in all {
        report[name] = figures;
    }
    report
}

fn figures(run: &Run, sweep: &Sweep, steps: &[Step], slo_s: f64) -> Result<Value> {
    let (first, last) = (steps.first().context("a step")?, steps.last().context("a step")?);
    let each: Vec<Value> =
        steps.iter().map(|step| one_step(run, sweep, step, slo_s)).collect::<Result<_>>()?;
    // A step without a value leaves the whole without one.
    let worst = |key: &str| {
        let values: Option<Vec<f64>> = each.iter().map(|step| step[key].as_f64()).collect();
        values.map(|values| values.into_iter().fold(f64::NEG_INFINITY, f64::max))
    };
    let trials = run.actions("trial_started").filter(|(at_s, _)| *at_s >= first.at_s).count();
    let (failures, first_failure) = run.failures();
    Ok(json!({
        "windows_to_detect": worst("windows_to_detect"),
        "trials_after_step": trials,
        "cost_after_step_over_best": worst("cost_over_best"),
        "plan_after_step_over_best": worst("plan_over_best"),
        "outside_slo_share": run.late_share(first.at_s, last.end_s, slo_s),
        "outside_slo_share_in_switch": worst("outside_slo_share_in_switch"),
        "outside_slo_share_before": run.late_share(0.0, first.at_s, slo_s),
        "seconds_to_new_plan": worst("seconds_to_new_plan"),
        "false_alarms": run.actions("change_point").count().saturating_sub(each.iter().filter(|step| !step["windows_to_detect"].is_null()).count()),
        "requests": run.sent.len(),
        "failures": failures,
        "first_failure": first_failure,
        "steps": each,
        "plans": plans(run),
        "events": run.events.iter().map(|(at, event)| json!({ "at_s": at - run.begin, "what": event["what"] })).collect::<Vec<_>>(),
    }))
}

fn one_step(run: &Run, sweep: &Sweep, step: &Step, slo_s: f64) -> Result<Value> {
    let within = |at_s: f64| (step.at_s..step.end_s).contains(&at_s);
    let detected = run.actions("change_point").map(|(at_s, _)| at_s).find(|&at_s| within(at_s));
    // With a detector only a switch because of the change-point belongs to the step: what comes later was decided by what had been measured since.
    let is_due = |event: &Value| detected.is_none() || event["reason"] == "change_point";
    let switched = run.actions("switched").find(|(at_s, event)| within(*at_s) && is_due(event));
    let in_force = switched.as_ref().and_then(|(at_s, event)| {
        let revision = event["revision"].as_u64()?;
        let serves =
            |control: &Value| control["plan"]["revision"].as_u64().is_some_and(|now| now >= revision);
        let seen = run.samples.iter().map(|sample| (sample.at - run.begin, &sample.control));
        seen.filter(|(seen_s, _)| seen_s >= at_s)
            .find(|(_, control)| serves(control))
            .map(|(seen_s, _)| seen_s)
    });
    let (settled_s, end_s) = (step.at_s + SWITCH_S, step.end_s);
    let (best, best_cost) = sweep.best(step.rate, slo_s)?;
    let realised = run.usd_per_million(settled_s, end_s);
    let last = run.samples.iter().rfind(|sample| sample.at - run.begin < end_s);
    let plan = last.and_then(|sample| Plan::from_control(&sample.control["plan"]));
    let plan_cost = plan.as_ref().and_then(|plan| sweep.cost(plan, step.rate, slo_s));
    Ok(json!({
        "rate": step.rate,
        "windows_to_detect": detected.map(|at_s| ((at_s - step.at_s) / WINDOW_S).ceil()),
        "seconds_to_new_plan": in_force.or(detected).map(|at_s| at_s - step.at_s),
        "switch_reason": switched.map(|(_, event)| event["reason"].clone()),
        "usd_per_million": realised,
        "best_usd_per_million": best_cost.usd_per_million,
        "cost_over_best": realised / best_cost.usd_per_million,
        "plan_over_best": plan_cost.map(|cost| cost.usd_per_million / best_cost.usd_per_million),
        "best_plan": best.label(),
        "plan": plan.map(|plan| plan.label()),
        "outside_slo_share_in_switch": run.late_share(step.at_s, settled_s, slo_s),
        "outside_slo_share_settled": run.late_share(settled_s, end_s, slo_s),
    }))
}

fn show(all: &[(String, Value)]) {
    let keys = [
        "windows_to_detect",
        "seconds_to_new_plan",
        "trials_after_step",
        "cost_after_step_over_best",
        "plan_after_step_over_best",
        "outside_slo_share",
        "outside_slo_share_in_switch",
        "outside_slo_share_before",
        "false_alarms",
        "failures",
    ];
    let headings: Vec<&str> = std::iter::once("figure").chain(all.iter().map(|(name, _)| &**name)).collect();
    let cell = |value: &Value| value.as_f64().map_or_else(|| "–".to_owned(), |number| format!("{number:.4}"));
    let row = |key: &&str| {
        let cells = all.iter().map(|(_, figures)| cell(&figures[*key]));
        std::iter::once((*key).to_owned()).chain(cells).collect()
    };
    let rows: Vec<Vec<String>> = keys.iter().map(row).collect();
    println!("\n{}", table::format(&headings, &rows));
    for (name, figures) in all {
        for plan in figures["plans"].as_array().into_iter().flatten() {
            println!("{name}: {:>5} s  {}", plan["at_s"], plan["plan"].as_str().unwrap_or_default());
        }
    }
}
