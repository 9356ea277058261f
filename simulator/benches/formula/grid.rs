//! The cells: load × dispersion × service × plan.

use std::time::Duration;

use gateway_contract::{
    Architecture, Mebibytes, ModelId, PackingPolicy, PlanRevision, PriceTable, RetryLimits, Rung,
    ServiceTimeTable, ServingPlan,
};
use optimizer_tuner::formula::{ArrivalLaw, ItemsPerRequest, RungPrices, ServiceLaw};
use simulator::arrivals::{ArrivalProcess, GammaRenewal, GammaWindows, Mmpp2, Poisson};
use simulator::lambda::{CreditModel, ServiceTable};
use simulator::random::Random;

/// What the caller sees beside the billed time: network and encoding.
const OVERHEAD_SECONDS: f64 = 0.004;
/// Spread of the service time.
const SERVICE_CV: f64 = 0.12;

/// Which figures a cell counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The aims.
    Grid,
    /// Few places in flight.
    Window,
    /// Not the arrivals that the formula assumes.
    OtherArrivals,
}

#[derive(Clone, Debug)]
enum Source {
    /// As the law says.
    Law,
    Switching([f64; 2], [f64; 2]),
    Renewal(f64),
}

/// One cell.
pub(crate) struct Cell {
    pub(crate) name: String,
    pub(crate) part: Part,
    pub(crate) law: ArrivalLaw,
    pub(crate) plan: ServingPlan,
    pub(crate) service: ServiceTable,
    pub(crate) prices: RungPrices,
    pub(crate) requests: u64,
    source: Source,
}

impl Cell {
    pub(crate) fn arrivals(&self) -> Box<dyn ArrivalProcess> {
        let rate = self.law.requests_per_second;
        match self.source {
            Source::Law if self.law.dispersion <= 1.0 => Box::new(Poisson::new(rate)),
            Source::Law => Box::new(GammaWindows::new(
                rate,
                self.law.dispersion,
                self.law.dispersion_window.as_secs_f64(),
            )),
            Source::Switching(rates, stays) => Box::new(Mmpp2::new(rates, stays)),
            Source::Renewal(cv) => Box::new(GammaRenewal::new(rate, cv)),
        }
    }
}

/// A model: seconds per item and per process, objective.
struct Model {
    name: &'static str,
    credit: CreditModel,
    slo: f64,
}

/// A kind of plan.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    packing: PackingPolicy,
    max_batch_size: u32,
    /// As a share of the objective.
    delay: f64,
    /// Largest fill, memory, processes; the last covers all.
    rungs: &'static [(u32, u32, u32)],
    items: &'static [f64],
}

const ONE: &[f64] = &[1.0];
const SEVERAL: &[f64] = &[0.5, 0.2, 0.15, 0.1, 0.0, 0.0, 0.0, 0.05];
/// Geometric, mean 3.3: some requests exceed the bound by themselves.
const WIDE: [f64; 60] = {
    let mut weights = [1.0; 60];
    let mut at = 1;
    while at < 60 {
        weights[at] = weights[at - 1] * 0.7;
        at += 1;
    }
    weights
};
const PLAIN: &[(u32, u32, u32)] = &[(10_000, 1769, 1)];
const LADDER: &[(u32, u32, u32)] = &[(2, 1769, 1), (8, 3538, 2), (10_000, 7076, 4)];

fn models() -> [Model; 3] {
    let credit = |item_seconds, process_seconds| CreditModel {
        fixed_seconds: 0.006,
        process_seconds,
        item_seconds,
        is_quantised: false,
    };
    [
        Model { name: "light", credit: credit(0.000_4, 0.000_2), slo: 0.1 },
        Model { name: "minilm", credit: credit(0.012, 0.001), slo: 0.2 },
        Model { name: "bert", credit: credit(0.050, 0.003), slo: 0.5 },
    ]
}

fn kinds() -> [Kind; 9] {
    let kind = |name, packing, max_batch_size, delay, rungs, items| Kind {
        name,
        packing,
        max_batch_size,
        delay,
        rungs,
        items,
    };
    [
        kind("none", PackingPolicy::None, 1, 0.0, PLAIN, ONE),
        kind("fifo 8, short", PackingPolicy::Fifo, 8, 0.1, PLAIN, ONE),
        kind("fifo 32, long", PackingPolicy::Fifo, 32, 0.5, LADDER, ONE),
        kind("deadline 64", PackingPolicy::Deadline, 64, 1.0, PLAIN, ONE),
        kind("deadline 64, rungs", PackingPolicy::Deadline, 64, 1.0, LADDER, ONE),
        kind("deadline 16, delay", PackingPolicy::Deadline, 16, 0.4, LADDER, ONE),
        kind("deadline 32, several items", PackingPolicy::Deadline, 32, 1.0, LADDER, SEVERAL),
        kind("fifo 16, several items", PackingPolicy::Fifo, 16, 0.3, PLAIN, SEVERAL),
        kind("deadline 24, wide requests", PackingPolicy::Deadline, 24, 0.6, LADDER, &WIDE),
    ]
}

/// All cells.
pub(crate) fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for model in &models() {
        for kind in kinds() {
            for rate in [1.0, 5.0, 20.0, 64.0, 300.0] {
                for dispersion in [1.0, 3.0, 10.0] {
                    cells.push(cell(model, kind, rate, dispersion));
                }
            }
        }
    }
    for model in &models() {
        for kind in kinds().into_iter().take(5) {
            for rate in [20.0, 64.0] {
                cells.extend(
                    [0.5, 0.75].map(|use_of_window| narrow(cell(model, kind, rate, 1.0), use_of_window)),
                );
                cells.push(renewal(cell(model, kind, rate, 1.0), 2.0));
                cells.push(switching(cell(model, kind, rate, 1.0)));
            }
        }
    }
    cells
}

fn cell(model: &Model, kind: Kind, rate: f64, dispersion: f64) -> Cell {
    let mut plan = plan(model, kind);
    let service = ServiceTable::of_plan(&plan, &model.credit, SERVICE_CV, OVERHEAD_SECONDS);
    plan.service_time_upper = upper(&plan, &service);
    let price = PriceTable::default().usd_per_gb_second(Architecture::X86_64, 0.0);
    let prices = RungPrices {
        usd_per_second: plan.rungs.iter().map(|rung| rung.memory_mib.gibibytes() * price).collect(),
        fee_usd: PriceTable::default().request_usd(),
    };
    let law = ArrivalLaw {
        items_per_request: ItemsPerRequest::new(kind.items.to_vec()).expect("weights"),
        ..ArrivalLaw::over_dispersed(rate, dispersion, Duration::from_secs(1))
    };
    Cell {
        name: format!("{} {} {rate}/s D={dispersion}", model.name, kind.name),
        part: Part::Grid,
        law,
        plan,
        service,
        prices,
        requests: if dispersion > 5.0 { 800_000 } else { 400_000 },
        source: Source::Law,
    }
}

fn plan(model: &Model, kind: Kind) -> ServingPlan {
    let seconds = Duration::from_secs_f64;
    ServingPlan {
        model: ModelId(0),
        revision: PlanRevision(1),
        parent: None,
        packing: kind.packing,
        max_batch_size: kind.max_batch_size,
        max_queue_delay: seconds(model.slo * kind.delay),
        max_in_flight: 1_000,
        queue_capacity_items: 1_000_000,
        queue_capacity_bytes: 1 << 40,
        max_request_payload_bytes: 1 << 40,
        max_response_payload_bytes: 1 << 40,
        slo_latency: seconds(model.slo),
        deadline_margin: seconds(0.005),
        canary: None,
        hold_out: None,
        environments: None,
        service_time_upper: ServiceTimeTable::new(vec![(1, Duration::ZERO)]).expect("one point"),
        rungs: kind
            .rungs
            .iter()
            .enumerate()
            .map(|(at, &(max_items, memory, process_count))| Rung {
                max_items: max_items.max(if at + 1 == kind.rungs.len() { kind.max_batch_size } else { 0 }),
                qualifier: format!("r{at}"),
                memory_mib: Mebibytes(memory),
                process_count,
            })
            .collect(),
        retry: RetryLimits {
            budget_ratio: 0.1,
            budget_min_per_second: 10.0,
            max_attempts: 3,
            max_unknown_outcome_retries: 1,
            backoff_base: Duration::from_millis(20),
            backoff_max: Duration::from_secs(1),
        },
    }
}

/// The 99 % quantile of service by fill, made to ascend.
fn upper(plan: &ServingPlan, service: &ServiceTable) -> ServiceTimeTable {
    let mut longest = 0.0_f64;
    let points = (1..=plan.max_batch_size).map(|items| {
        let rung = plan.rung_for(items);
        let seconds =
            service.billed_seconds(items, rung).quantile(0.99) + service.overhead_seconds(items, rung);
        longest = longest.max(seconds);
        (items, Duration::from_secs_f64(longest))
    });
    ServiceTimeTable::new(points.collect()).expect("ascending")
}

/// As few places that this share of them is taken.
fn narrow(mut cell: Cell, use_of_window: f64) -> Cell {
    let shape = optimizer_tuner::formula::PlanShape::from(&cell.plan);
    let wide = optimizer_tuner::formula::predict(&cell.law, &shape, &cell.service, &cell.prices, 0.99)
        .expect("valid");
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small number of places")]
    let places = (wide.window.mean_in_flight / use_of_window).ceil().max(1.0) as u32;
    cell.plan.max_in_flight = places;
    cell.part = Part::Window;
    cell.name = format!("{} window {places}", cell.name);
    cell
}

/// Bursts shorter than most batches: gaps with this coefficient of variation.
fn renewal(mut cell: Cell, cv: f64) -> Cell {
    cell.source = Source::Renewal(cv);
    cell.name = format!("{} renewals cv {cv}", cell.name);
    described_by_counts(cell)
}

/// Four fifths of the time at half the mean rate, one fifth at three times the mean; stays of 8 and 2 s.
fn switching(mut cell: Cell) -> Cell {
    let rate = cell.law.requests_per_second;
    cell.source = Source::Switching([0.5 * rate, 3.0 * rate], [8.0, 2.0]);
    cell.name = format!("{} switching", cell.name);
    described_by_counts(cell)
}

/// The law as a gateway would find it: by counting arrivals in windows of 250 ms and of 4 s.
fn described_by_counts(mut cell: Cell) -> Cell {
    let (short, long) = (Duration::from_millis(20), Duration::from_secs(4));
    let rate = cell.law.requests_per_second;
    let at = |window: Duration| (window, dispersion(cell.arrivals().as_mut(), window.as_secs_f64()));
    cell.law = ArrivalLaw::from_two_windows(rate, at(short), at(long));
    cell.part = Part::OtherArrivals;
    cell
}

/// Index of dispersion of the counts of 400,000 arrivals.
fn dispersion(arrivals: &mut dyn ArrivalProcess, window: f64) -> f64 {
    let mut random = Random::new(77);
    let (mut counts, mut current, mut end) = (Vec::new(), 0.0, window);
    for _ in 0..400_000 {
        let at = arrivals.next(&mut random).expect("endless");
        while at >= end {
            counts.push(current);
            current = 0.0;
            end += window;
        }
        current += 1.0;
    }
    let mean = counts.iter().sum::<f64>() / counts.len() as f64;
    counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / counts.len() as f64 / mean
}
