//! Requests per second that the arrival processes make, on one core, processor time.
//!
//! Hypothesis: making arrivals is a small part of a simulation, which aims at a million requests per second. Baseline: that aim.
//!
//! `cargo bench -p simulator --bench arrivals -- [--json FILE]`
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]
#![expect(clippy::disallowed_methods, reason = "a benchmark writes its figures")]

#[path = "machine/mod.rs"]
mod machine;

use machine::cpu_seconds;
use simulator::arrivals::spec::ArrivalSpec;
use simulator::arrivals::{Shape, Trace};
use simulator::random::Random;

const REQUESTS: u32 = 4_000_000;

/// Counts of a day by the second, about 60 each.
fn counts() -> String {
    let rates = Shape::Diurnal.workload(60.0, 86_400.0, 1).expect("a workload");
    let mut random = Random::new(1);
    let lines = rates.rates_rps().into_iter().map(|rate| random.poisson(rate).to_string());
    lines.collect::<Vec<_>>().join("\n")
}

fn main() {
    let text = counts();
    let read = |_: &str| Ok(text.clone());
    let trace = "kind = 'trace'\nfile = 'day'";
    let specs = [
        ("poisson", "kind = 'poisson'\nrate_rps = 50".to_owned()),
        ("gamma", "kind = 'gamma'\nrate_rps = 50\ncoefficient_of_variation = 2".to_owned()),
        ("gamma_windows", "kind = 'gamma_windows'\nrate_rps = 50\ndispersion = 5".to_owned()),
        ("mmpp", "kind = 'mmpp'\nrates_rps = [20, 80]\nmean_stays_seconds = [5, 5]".to_owned()),
        ("trace", trace.to_owned()),
        ("trace_thinned", format!("{trace}\nscale_to_rps = 20")),
        ("trace_scaled_up", format!("{trace}\nscale_to_rps = 300")),
        ("workload", "kind = 'workload'\nshape = 'diurnal'\nmean_rps = 60\nseconds = 86400".to_owned()),
    ];
    let mut fields = Vec::new();
    println!("{:<18}{:>12}", "arrivals", "million/s");
    for (name, text) in &specs {
        let spec: ArrivalSpec = toml::from_str(text).expect("a specification");
        let mut process = spec.build(&read).expect("arrivals").process;
        let mut random = Random::new(2);
        let begun = cpu_seconds();
        let (mut made, mut last) = (0_u32, 0.0);
        while made < REQUESTS
            && let Some(at) = process.next(&mut random)
        {
            made += 1;
            last = at;
        }
        let per_second = f64::from(made) / (cpu_seconds() - begun);
        assert!(last > 0.0, "{name}");
        println!("{name:<18}{:>12.1}", per_second / 1e6);
        fields.push(format!("\"{name}_per_second\": {per_second:.0}"));
    }
    let parsing = cpu_seconds();
    let parsed = simulator::arrivals::parse_counts(&text).and_then(|counts| Trace::from_counts(counts, 1.0));
    assert!(parsed.is_ok());
    println!("reading a trace of {} steps: {:.1} ms", text.lines().count(), 1e3 * (cpu_seconds() - parsing));
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|it| it == "--json") {
        let file = arguments.get(at + 1).expect("`--json` takes a file");
        std::fs::write(file, format!("{{{}}}\n", fields.join(", ")))
            .expect("the file of `--json` can be written");
    }
}
