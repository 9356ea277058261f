//! What must hold of every world, whatever its plan and arrivals.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod plans;

use gateway_contract::PackingPolicy;
use optimizer_tuner::formula::ServiceLaw;
use simulator::arrivals::{ArrivalProcess, Counts, GammaRenewal, GammaWindows, Mmpp2, Poisson};
use simulator::lambda::{ServiceTable, billed_seconds};
use simulator::world::{self, Measurement, WorldConfig};

const REQUESTS: u64 = 20_000;
const FEE_USD: f64 = 2e-7;

fn run(
    packing: PackingPolicy,
    max_in_flight: u32,
    arrivals: &mut dyn ArrivalProcess,
    cv: f64,
) -> Measurement {
    let mut plan = plans::plan(packing, 8, 40);
    plan.max_in_flight = max_in_flight;
    let service = ServiceTable::of_plan(&plan, &plans::MODEL, cv, 0.004);
    plan.service_time_upper = plans::upper(&plan, &service);
    let config = WorldConfig {
        usd_per_second: vec![3e-5; plan.rungs.len()],
        plan,
        items_pmf: &[0.7, 0.2, 0.1],
        service: &service,
        fee_usd: FEE_USD,
        requests: REQUESTS,
        warm_up: 0,
        seed: 4,
    };
    world::run(&config, arrivals).unwrap()
}

fn sources() -> Vec<Box<dyn ArrivalProcess>> {
    vec![
        Box::new(Poisson::new(80.0)),
        Box::new(GammaWindows::new(80.0, 8.0, 0.5)),
        Box::new(Mmpp2::new([10.0, 200.0], [3.0, 1.0])),
        Box::new(GammaRenewal::new(80.0, 3.0)),
        Box::new(Counts::new(vec![100; 1_000], 1.0)),
    ]
}

#[test]
fn every_request_is_answered_and_every_item_is_in_one_batch() {
    for packing in [PackingPolicy::None, PackingPolicy::Fifo, PackingPolicy::Deadline] {
        for (at, arrivals) in sources().iter_mut().enumerate() {
            let measured = run(packing, 40, arrivals.as_mut(), 0.3);
            assert_eq!(
                (measured.requests(), measured.answered(), measured.shed()),
                (REQUESTS, REQUESTS, 0),
                "{at}"
            );
            let by_fill: u64 = measured.fills().iter().zip(0_u64..).map(|(count, fill)| count * fill).sum();
            assert_eq!(by_fill, measured.items(), "{packing:?} {at}");
            assert_eq!(measured.fills()[0], 0);
        }
    }
}

#[test]
fn invocations_in_flight_obey_littles_law_and_the_window() {
    for max_in_flight in [4, 40] {
        let measured = run(PackingPolicy::Fifo, max_in_flight, &mut Poisson::new(60.0), 0.2);
        let (in_flight, rate) = (measured.mean_in_flight(), measured.requests_per_second().value);
        let batches = measured.fills().iter().sum::<u64>() as f64 / measured.requests() as f64 * rate;
        let plan = plans::plan(PackingPolicy::Fifo, 8, 40);
        let service = ServiceTable::of_plan(&plan, &plans::MODEL, 0.2, 0.004);
        let of_fill = |fill: u32| service.billed_seconds(fill, plan.rung_for(fill)).mean() + 0.004;
        let total: f64 = measured.fills().iter().sum::<u64>() as f64;
        let mean: f64 = (1..)
            .zip(&measured.fills()[1..])
            .map(|(fill, &count)| count as f64 / total * of_fill(fill))
            .sum();
        assert!((in_flight.value / (batches * mean) - 1.0).abs() < 0.02, "{in_flight:?} {}", batches * mean);
        assert!(in_flight.value <= f64::from(max_in_flight));
    }
}

#[test]
fn cost_is_what_the_batches_were_billed() {
    // Without spread, the bill follows from the fills alone.
    let measured = run(PackingPolicy::Deadline, 40, &mut Poisson::new(60.0), 0.0);
    let plan = plans::plan(PackingPolicy::Deadline, 8, 40);
    let usd: f64 = (1..)
        .zip(&measured.fills()[1..])
        .map(|(fill, &count)| {
            let rung = &plan.rungs[plan.rung_for(fill)];
            let seconds = plans::MODEL.seconds(fill, rung.memory_mib, rung.process_count);
            count as f64 * (billed_seconds(seconds) * 3e-5 + FEE_USD)
        })
        .sum();
    let measured_usd = measured.usd_per_request().value * measured.requests() as f64;
    assert!((measured_usd / usd - 1.0).abs() < 1e-6, "{measured_usd} {usd}");
}

#[test]
fn a_trace_that_ends_ends_the_world() {
    let measured = run(PackingPolicy::Fifo, 40, &mut Counts::new(vec![5, 0, 7], 60.0), 0.1);
    assert_eq!((measured.requests(), measured.answered()), (12, 12));
}

#[test]
fn equal_seeds_give_equal_worlds() {
    let figures = || {
        let measured = run(PackingPolicy::Deadline, 6, &mut GammaWindows::new(50.0, 5.0, 1.0), 0.2);
        (measured.usd_per_request(), measured.latency_quantile(0.9), measured.fills().to_vec())
    };
    assert_eq!(figures(), figures());
}
