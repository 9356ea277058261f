//! What a report says of its prices and assumptions, with sources and dates; and what was asked.

use super::break_even::Server;
use super::prepared::Prepared;
use super::prices::ArchitectureName;
use super::traffic::words;
use crate::report::data::Fact;
use crate::report::number::{dollars, duration, milliseconds, percent, plain};

const LAMBDA_PRICES: &str = "AWS Lambda list price, us-east-1, November 2026";
const EC2_PRICES: &str = "EC2 on-demand list price, us-east-1, July 2026";
const GIVEN: &str = "given in the study";

fn fact(name: &str, value: String, source: &str) -> Fact {
    Fact { name: name.to_owned(), value, source: source.to_owned() }
}

/// The server that fleets are made of, unless the study names another.
pub(super) fn usual_server(architecture: ArchitectureName) -> Server {
    let (name, usd_per_hour) = match architecture {
        ArchitectureName::X86_64 => ("c7i.large", 0.08925),
        ArchitectureName::Arm64 => ("c8g.large", 0.079_76),
    };
    Server { name: name.to_owned(), vcpus: 2, usd_per_hour }
}

/// Prices and assumptions.
pub(super) fn facts(prepared: &Prepared) -> Vec<Fact> {
    let study = prepared.study();
    let economics = study.prices.economics();
    let per_gb_second =
        economics.prices.usd_per_gb_second(economics.architecture, economics.month_gb_seconds);
    let lambda = if study.prices.are_list_prices() { LAMBDA_PRICES } else { GIVEN };
    let account = prepared.account();
    let mut facts = vec![
        fact(
            &format!("Lambda, {}", economics.architecture.name()),
            format!("${per_gb_second:.10} per GB-second, billed by the millisecond, INIT included"),
            lambda,
        ),
        fact(
            "Lambda, requests",
            format!("{} per million", dollars(economics.prices.usd_per_million_requests)),
            lambda,
        ),
        fact(
            "Left out",
            "free tier, savings plans, data transfer, logs".to_owned(),
            "they are the same for every policy, or depend on the account",
        ),
        fact(
            "Gateway's host",
            format!(
                "{} × {} at {} an hour",
                study.gateway.count,
                study.gateway.name,
                dollars(study.gateway.usd_per_hour)
            ),
            if study.gateway == super::prices::GatewaySection::default() { EC2_PRICES } else { GIVEN },
        ),
        fact(
            "CPU of a function",
            "1,769 MiB buy one vCPU, handed out as a quota per 20 ms".to_owned(),
            "AWS Lambda documentation; published measurements of throttling, March 2025",
        ),
        fact(
            "Idle environments",
            format!("are kept for {}", duration(study.account.keep_alive_s)),
            "not documented by AWS; commonly measured",
        ),
        fact(
            "Concurrency",
            format!(
                "{} environments, {} new ones per 10 s",
                plain(f64::from(study.account.concurrency)),
                plain(f64::from(account.limits.environments_per_10_s))
            ),
            "AWS Lambda quotas, 2026",
        ),
        fact(
            "Round trip to Lambda",
            format!("{} beyond the function", milliseconds(study.account.network_ms)),
            "assumed: gateway and function in one region",
        ),
    ];
    if let Some(section) = &study.break_even {
        let server = section.server.clone();
        let source = if server.is_some() { GIVEN } else { EC2_PRICES };
        let server = server.unwrap_or_else(|| usual_server(study.prices.architecture));
        facts.push(fact(
            "Server to compare with",
            format!(
                "{}: {} vCPUs, ${} an hour; a vCPU as fast as Lambda's",
                server.name, server.vcpus, server.usd_per_hour
            ),
            source,
        ));
        facts.push(fact(
            "Lambda Managed Instances",
            "instance price + 15 %, $0.20 per million requests, at least three instances, no scale to zero"
                .to_owned(),
            "AWS Lambda pricing, 2026",
        ));
    }
    facts
}

/// What was asked.
pub(super) fn setup(prepared: &Prepared) -> Vec<(String, String)> {
    let study = prepared.study();
    let start = prepared.base();
    let rung = start.rungs.last().map_or(String::new(), |rung| {
        format!("{} MiB, {} process(es)", rung.memory_mib.0, rung.process_count)
    });
    let known = prepared.known();
    let one = crate::bounds::KnownPlace { memory_mib: gateway_contract::Mebibytes(1769), process_count: 1 };
    let alone = known.billed(one, 1).mean();
    let sizes: Vec<String> = study.account.memory_mib.iter().map(u32::to_string).collect();
    let seeds: Vec<String> = prepared.seeds().map(|seed| seed.to_string()).collect();
    let left_out: Vec<&str> = study
        .policies
        .iter()
        .filter(|policy| !prepared.fits(**policy))
        .map(|policy| policy.portrait().label)
        .collect();
    let mut setup = vec![
        ("Model", prepared.profile_origin().to_owned()),
        (
            "One item alone at 1,769 MiB",
            format!("{} of the function's time, warm", milliseconds(alone * 1e3)),
        ),
        ("Traffic", words(&study.arrivals)),
        ("Length", duration(prepared.seconds())),
        (
            "Promise (SLO)",
            format!(
                "{} of requests within {}",
                percent(study.model.slo_percentile),
                milliseconds(study.model.slo_ms)
            ),
        ),
        (
            "Plan at the start",
            format!(
                "{rung}, at most {} items a batch, at most {} of waiting",
                start.max_batch_size,
                milliseconds(start.max_queue_delay.as_secs_f64() * 1e3)
            ),
        ),
        ("Memory sizes to choose from, MiB", sizes.join(", ")),
        ("Seeds", seeds.join(", ")),
    ];
    if !left_out.is_empty() {
        setup.push(("Left out", format!("{}: the model does not fit there", left_out.join(", "))));
    }
    setup.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
