//! What must hold of the formula as a whole.

use std::time::Duration;

use gateway_contract::{PackingPolicy, ServiceTimeTable};

use super::{
    ArrivalLaw, ColdStarts, ItemsPerRequest, LogNormal, PlanShape, Prediction, RateMemory, RungPrices,
    ServiceLaw, predict,
};

/// 10 ms and 5 ms an item on rung 0, half of it on rung 1; 2 ms beside it.
struct Linear;

impl ServiceLaw for Linear {
    fn billed_seconds(&self, items: u32, rung: usize) -> LogNormal {
        LogNormal::from_mean((0.010 + 0.005 * f64::from(items)) / (1.0 + rung as f64), 0.1)
    }

    fn overhead_seconds(&self, _items: u32, _rung: usize) -> f64 {
        0.002
    }
}

fn shape(packing: PackingPolicy, max_batch_size: u32, max_queue_delay_ms: u64) -> PlanShape {
    let upper = (1..=max_batch_size).map(|n| (n, Duration::from_secs_f64(0.016 + 0.006 * f64::from(n))));
    PlanShape {
        packing,
        max_batch_size,
        max_queue_delay: Duration::from_millis(max_queue_delay_ms),
        slo_latency: Duration::from_millis(300),
        deadline_margin: Duration::from_millis(3),
        service_time_upper: ServiceTimeTable::new(upper.collect()).unwrap(),
        rung_max_items: vec![max_batch_size],
        max_in_flight: 1_000,
    }
}

fn prices(rungs: usize) -> RungPrices {
    RungPrices { usd_per_second: (0..rungs).map(|rung| 3e-5 * (1.0 + rung as f64)).collect(), fee_usd: 2e-7 }
}

fn of(law: &ArrivalLaw, shape: &PlanShape) -> Prediction {
    predict(law, shape, &Linear, &prices(shape.rung_max_items.len()), 0.99).unwrap()
}

fn laws() -> Vec<ArrivalLaw> {
    let second = Duration::from_secs(1);
    let mut laws = vec![
        ArrivalLaw::poisson(0.01),
        ArrivalLaw::poisson(20.0),
        ArrivalLaw::poisson(5_000.0),
        ArrivalLaw::over_dispersed(1.0, 30.0, second),
        ArrivalLaw::over_dispersed(80.0, 4.0, 5 * second),
    ];
    laws.push(ArrivalLaw { rate_memory: RateMemory::Fading(second / 20), ..laws[3].clone() });
    let several = ItemsPerRequest::new(vec![4.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5]).unwrap();
    let with_items = |law: &ArrivalLaw| ArrivalLaw { items_per_request: several.clone(), ..law.clone() };
    laws.extend([with_items(&laws[1]), with_items(&laws[4])]);
    laws
}

#[test]
fn the_fill_under_a_fixed_delay_is_one_and_a_poisson_number() {
    let prediction = of(&ArrivalLaw::poisson(30.0), &shape(PackingPolicy::Fifo, 64, 100));
    let mut probability = (-3.0_f64).exp();
    for n in 1..20_usize {
        assert!((prediction.fill_pmf[n] - probability).abs() < 1e-3, "{n}");
        probability *= 3.0 / n as f64;
    }
    assert!((prediction.mean_fill - 4.0).abs() < 2e-3);
    assert!((prediction.invocations_per_second - 30.0 / 4.0).abs() < 5e-3);
}

#[test]
fn batches_of_one_are_the_requests_themselves() {
    let law = ArrivalLaw::over_dispersed(10.0, 5.0, Duration::from_secs(1));
    let service = Linear.billed_seconds(1, 0);
    for plan in [shape(PackingPolicy::None, 8, 0), shape(PackingPolicy::Fifo, 1, 50)] {
        let prediction = of(&law, &plan);
        let usd = service.expected_billed() * 3e-5 + 2e-7;
        assert!((prediction.mean_fill - 1.0).abs() < 1e-12);
        assert!((prediction.usd_per_request / usd - 1.0).abs() < 1e-12);
        let p99 = service.quantile(0.99) + 0.002;
        assert!((prediction.latency_quantile_seconds / p99 - 1.0).abs() < 1e-3);
        assert!((prediction.window.mean_in_flight - 10.0 * (service.mean() + 0.002)).abs() < 1e-9);
    }
}

#[test]
fn a_flood_fills_every_batch() {
    let prediction = of(&ArrivalLaw::poisson(5_000.0), &shape(PackingPolicy::Fifo, 16, 100));
    assert!((prediction.mean_fill - 16.0).abs() < 1e-3);
    // The last of sixteen arrives 15 gaps of 0.2 ms after the first: almost all latency is service.
    let service = Linear.billed_seconds(16, 0).quantile(0.99) + 0.002;
    assert!((prediction.latency_quantile_seconds - service - 0.0015).abs() < 0.0015);
}

#[test]
fn the_opener_waits_the_whole_delay() {
    // One request a minute: each is alone, and waits 80 ms.
    let prediction = of(&ArrivalLaw::poisson(1.0 / 60.0), &shape(PackingPolicy::Fifo, 8, 80));
    let expected = 0.080 + Linear.billed_seconds(1, 0).quantile(0.99) + 0.002;
    assert!((prediction.latency_quantile_seconds / expected - 1.0).abs() < 3e-3);
}

#[test]
fn a_deadline_plan_keeps_its_objective() {
    // Upper service times lie two deviations above the mean, so at most a few in a hundred openers are late, whatever the load.
    for law in laws() {
        let prediction = of(&law, &shape(PackingPolicy::Deadline, 32, 10_000));
        assert!(prediction.share_outside_slo < 0.01, "{law:?}: {}", prediction.share_outside_slo);
        assert!(prediction.latency_quantile_seconds <= 0.300);
    }
}

#[test]
fn fills_sum_to_one_and_items_are_conserved() {
    for law in laws() {
        for packing in [PackingPolicy::None, PackingPolicy::Fifo, PackingPolicy::Deadline] {
            for max_batch_size in [1, 2, 3, 4, 10, 11, 64] {
                let prediction = of(&law, &shape(packing, max_batch_size, 120));
                let sum: f64 = prediction.fill_pmf.iter().sum();
                let context = format!("{law:?} {packing:?} {max_batch_size}");
                assert!((sum - 1.0).abs() < 1e-6, "{context}: {sum}");
                assert!(prediction.fill_pmf.iter().all(|&p| (-1e-9..=1.0 + 1e-9).contains(&p)), "{context}");
                let items = prediction.mean_fill * prediction.invocations_per_second;
                let offered = law.requests_per_second * law.items_per_request.mean();
                assert!((items / offered - 1.0).abs() < 1e-9, "{context}");
                assert!(
                    prediction.usd_per_request.is_finite() && prediction.usd_per_request > 0.0,
                    "{context}"
                );
                assert!(prediction.latency_quantile_seconds > 0.0, "{context}");
            }
        }
    }
}

#[test]
fn longer_delays_and_larger_bounds_fill_more_and_cost_less() {
    for law in laws() {
        let mean = |bound, delay| of(&law, &shape(PackingPolicy::Fifo, bound, delay));
        let by_delay: Vec<Prediction> = [5, 20, 80, 250].map(|delay| mean(32, delay)).into();
        let by_bound: Vec<Prediction> = [11, 16, 24, 48].map(|bound| mean(bound, 100)).into();
        for predictions in [by_delay, by_bound] {
            for pair in predictions.windows(2) {
                assert!(pair[1].mean_fill >= pair[0].mean_fill - 1e-3, "{law:?}");
                assert!(pair[1].usd_per_request <= pair[0].usd_per_request * (1.0 + 1e-4), "{law:?}");
            }
        }
    }
}

#[test]
fn the_tail_of_latency_falls_and_meets_its_quantile() {
    for law in laws() {
        let prediction = of(&law, &shape(PackingPolicy::Deadline, 16, 150));
        let tails: Vec<f64> =
            (0..60).map(|step| prediction.latency.upper_tail(f64::from(step) * 0.01)).collect();
        assert!(tails.windows(2).all(|pair| pair[1] <= pair[0] + 1e-6), "{law:?} {tails:?}");
        assert!((tails[0] - 1.0).abs() < 1e-6);
        for probability in [0.5, 0.95, 0.999] {
            let at = prediction.latency.quantile(probability);
            let (below, above) =
                (prediction.latency.upper_tail(at * 0.999), prediction.latency.upper_tail(at * 1.001));
            assert!(below >= 1.0 - probability && above <= 1.0 - probability, "{law:?} {probability}");
        }
    }
}

#[test]
fn a_rung_is_paid_only_by_the_fills_that_use_it() {
    let law = ArrivalLaw::poisson(30.0);
    let plain = shape(PackingPolicy::Fifo, 16, 100);
    let split = PlanShape { rung_max_items: vec![3, 16], ..plain.clone() };
    let prediction = of(&law, &split);
    let by_hand: f64 = (1..=16_u32)
        .map(|n| {
            let rung = split.rung_for(n);
            let usd = Linear.billed_seconds(n, rung).expected_billed() * 3e-5 * (1.0 + rung as f64) + 2e-7;
            prediction.fill_pmf[n as usize] * usd
        })
        .sum();
    assert!((prediction.usd_per_request / (by_hand / prediction.mean_fill) - 1.0).abs() < 1e-12);
    assert!((prediction.mean_fill - of(&law, &plain).mean_fill).abs() < 1e-12);
}

#[test]
fn bursts_that_outlast_a_batch_fill_it_as_a_mixture_of_rates() {
    // A rate that lasts a minute: each batch sees one rate. By requests, the mean of 1 + λ·delay weighs each rate by its requests.
    let law = ArrivalLaw::over_dispersed(10.0, 1.0 + 10.0 * 60.0 * 0.25, Duration::from_secs(60));
    assert!((law.rate_std() - 5.0).abs() < 1e-9);
    let prediction = of(&law, &shape(PackingPolicy::Fifo, 64, 100));
    // Batches per second at rate λ: λ/(1 + 0.1λ), over a gamma law of shape 4 and mean 10.
    let density = |rate: f64| (rate / 2.5).powi(3) * (-rate / 2.5).exp() / 6.0 / 2.5;
    let batches: f64 = (1..100_000)
        .map(|step| f64::from(step) * 1e-3)
        .map(|rate| density(rate) * rate / (1.0 + 0.1 * rate) * 1e-3)
        .sum();
    assert!(
        (prediction.invocations_per_second / batches - 1.0).abs() < 5e-3,
        "{} {batches}",
        prediction.invocations_per_second
    );
}

#[test]
fn a_narrow_window_makes_batches_wait_and_says_so() {
    let law = ArrivalLaw::poisson(40.0);
    let wide = shape(PackingPolicy::Fifo, 8, 20);
    let narrow = PlanShape { max_in_flight: 1, ..wide.clone() };
    let (wide, narrow) = (of(&law, &wide), of(&law, &narrow));
    assert!(wide.window.chance < 1e-6 && !wide.window.is_saturated());
    assert!(narrow.window.chance > 0.05 && narrow.latency_quantile_seconds > wide.latency_quantile_seconds);
    let flooded = PlanShape { max_in_flight: 1, ..shape(PackingPolicy::None, 1, 0) };
    assert!(of(&ArrivalLaw::poisson(100.0), &flooded).window.is_saturated());
}

#[test]
fn cold_starts_add_their_share() {
    let law = ArrivalLaw::poisson(20.0);
    let shape = shape(PackingPolicy::None, 1, 0);
    let prediction = of(&law, &shape);
    let cold = ColdStarts { chance: 0.02, init_seconds: 0.5, unbilled_seconds: 0.1 };
    let tail = cold.upper_tail(&prediction.latency, 0.3);
    assert!((tail - 0.02).abs() < 1e-6);
    let table = super::ArrivalTable::new(&law, 1, Duration::ZERO).unwrap();
    let curve = super::CloseCurve::new(&table, PackingPolicy::None, Duration::ZERO, Duration::ZERO, |_| {
        Duration::ZERO
    });
    let mut fill = super::FillLaw::with_capacity(1);
    let gathering =
        super::Gathering { table: &table, curve: &curve, max_batch_size: 1, max_queue_delay: Duration::ZERO };
    fill.set(&gathering);
    assert!((cold.usd_per_request(&fill, 3e-5) - 0.02 * 0.5 * 3e-5).abs() < 1e-15);
}

#[test]
fn laws_and_plans_that_make_no_sense_are_refused() {
    let plan = shape(PackingPolicy::Fifo, 8, 20);
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(predict(&ArrivalLaw::poisson(rate), &plan, &Linear, &prices(1), 0.99).is_err());
    }
    assert!(predict(&ArrivalLaw::poisson(1.0), &plan, &Linear, &prices(2), 0.99).is_err());
}

#[test]
fn nothing_breaks_at_the_edges() {
    let ms = Duration::from_millis;
    let windows = [ms(1), ms(3_600_000)];
    let items = [vec![1.0], vec![0.0, 0.0, 1.0], vec![1.0; 40]];
    for rate in [1e-6, 3.0, 3e4] {
        for dispersion in [0.2, 1.0 + 1e-9, 2.0, 1e3] {
            for window in windows {
                for weights in &items {
                    for rate_memory in
                        [RateMemory::Window, RateMemory::Fading(ms(20)), RateMemory::Fading(ms(60_000))]
                    {
                        let law = ArrivalLaw {
                            rate_memory,
                            items_per_request: ItemsPerRequest::new(weights.clone()).unwrap(),
                            ..ArrivalLaw::over_dispersed(rate, dispersion, window)
                        };
                        for max_queue_delay_ms in [0, 30, 100_000] {
                            for packing in [PackingPolicy::Fifo, PackingPolicy::Deadline] {
                                let mut plan = shape(packing, 24, max_queue_delay_ms);
                                plan.max_in_flight = 3;
                                let prediction = of(&law, &plan);
                                let context = format!("{law:?} {packing:?} {max_queue_delay_ms}");
                                let sum: f64 = prediction.fill_pmf.iter().sum();
                                assert!((sum - 1.0).abs() < 1e-4, "{context}: {sum}");
                                assert!(
                                    (0.999_999..=24.000_1).contains(&prediction.mean_fill),
                                    "{context}: {}",
                                    prediction.mean_fill
                                );
                                assert!(prediction.usd_per_request.is_finite(), "{context}");
                                assert!(prediction.latency_quantile_seconds.is_finite(), "{context}");
                                assert!(
                                    (0.0..=1.0 + 1e-9).contains(&prediction.share_outside_slo),
                                    "{context}"
                                );
                                assert!(prediction.window.utilisation.is_finite(), "{context}");
                                assert!(prediction.window.mean_seconds.is_finite(), "{context}");
                            }
                        }
                    }
                }
            }
        }
    }
}
