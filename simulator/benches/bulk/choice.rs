//! What the optimizer picks with the size of a batch left to it, at equal memory and with every memory size; and whether any fixed size is
//! better: faster for no more dollars.

use std::time::{Duration, Instant};

use gateway_contract::Mebibytes;
use optimizer_tuner::bulk::{BulkBounds, BulkCut, BulkPlan, Wish, choose, estimate};
use serde_json::{Value, json};

use crate::experiment::Row;
use crate::subject::{Figures, Subject, cut_of};

/// Dollars that are called the same, as a factor of those that the fixed size is expected to cost.
const SAME_USD: f64 = 1.002;

pub(crate) struct Choice {
    pub(crate) cut: BulkCut,
    pub(crate) pick: Figures,
    /// By fixed size, by turns with an environment for each batch and with environments planned: its figures; and what the optimizer makes of the same
    /// dollars with the size left to it.
    same_dollars: Vec<(u32, Figures, BulkCut, Figures)>,
    deadlines: Vec<(u64, BulkPlan, Figures)>,
    took_ms: f64,
}

impl Choice {
    /// Most of a fixed size's time that its dollars need with the size left to the optimizer: below 1 it beats each. First with the
    /// environments that were planned for the size, then with one for each batch.
    pub(crate) fn worst_share(&self) -> (f64, f64) {
        let worst = |skip: usize| {
            let every = self.same_dollars.iter().skip(skip).step_by(2);
            every.map(|(_, fixed, _, own)| own.seconds / fixed.seconds).fold(0.0, f64::max)
        };
        (worst(1), worst(0))
    }

    pub(crate) fn show(&self) {
        let cut = |cut: &BulkCut| {
            format!(
                "{} items x {} environments, {} process(es) at {}",
                cut.chunk_items, cut.parallelism, cut.process_count, cut.memory_mib
            )
        };
        println!(
            "the optimizer picks {}: {:.2} s for ${:.5} ({:.0} ms to choose)",
            cut(&self.cut),
            self.pick.seconds,
            self.pick.usd,
            self.took_ms
        );
        for (size, fixed, own_cut, own) in &self.same_dollars {
            println!(
                "  {size:>4} items x {:>3} environments: {:.2} s for ${:.5}; for the same dollars {}: {:.2} s for ${:.5}",
                fixed.parallelism,
                fixed.seconds,
                fixed.usd,
                cut(own_cut),
                own.seconds,
                own.usd
            );
        }
        for (within_s, plan, figures) in &self.deadlines {
            println!(
                "  within {within_s} s, any memory: {}, said {:.1} s ${:.5}, came to {:.1} s ${:.5}",
                cut(&plan.cut),
                plan.seconds.expected,
                plan.usd.expected,
                figures.seconds,
                figures.usd
            );
        }
    }

    pub(crate) fn json(&self) -> Value {
        let of = |cut: &BulkCut, figures: &Figures| {
            json!({
                "chunk_items": cut.chunk_items,
                "parallelism": cut.parallelism,
                "process_count": cut.process_count,
                "memory_mib": cut.memory_mib.0,
                "seconds": figures.seconds,
                "usd": figures.usd,
            })
        };
        let same: Vec<Value> = self
            .same_dollars
            .iter()
            .map(|(size, fixed, cut, own)| {
                json!({
                    "batch": size,
                    "parallelism": fixed.parallelism,
                    "seconds": fixed.seconds,
                    "usd": fixed.usd,
                    "chosen": of(cut, own),
                })
            })
            .collect();
        let deadlines: Vec<Value> = self
            .deadlines
            .iter()
            .map(|(within_s, plan, figures)| {
                json!({
                    "finish_within_s": within_s,
                    "predicted_seconds": plan.seconds.expected,
                    "predicted_usd": plan.usd.expected,
                    "ran": of(&plan.cut, figures),
                })
            })
            .collect();
        json!({
            "pick": of(&self.cut, &self.pick),
            "same_dollars": same,
            "deadlines": deadlines,
            "choose_ms": self.took_ms,
            "worst_time_share_of_planned_sizes": self.worst_share().0,
            "worst_time_share_of_environment_for_each_batch": self.worst_share().1,
        })
    }
}

pub(crate) fn measure(subject: &Subject, memory: Mebibytes, rows: &[Row]) -> Choice {
    let bounds = subject.bounds(memory, (1, 10_000));
    let economics = &subject.account.economics;
    let began = Instant::now();
    let cut = choose(&subject.knowledge, &subject.job(Wish::default()), &bounds, economics).unwrap().plan.cut;
    let took_ms = began.elapsed().as_secs_f64() * 1e3;
    let same = |(batch, figures): (u32, Figures)| {
        let fixed = BulkCut {
            chunk_items: batch,
            process_count: 1,
            memory_mib: memory,
            parallelism: figures.parallelism,
        };
        let job = subject.job(Wish::default());
        let usd = estimate(&subject.knowledge, &job, fixed, &bounds, economics).unwrap().usd.expected;
        let wish = Wish { finish_within: None, max_usd: Some(usd * SAME_USD) };
        let expected = BulkBounds { confidence: 0.5, ..bounds.clone() };
        let cut = choose(&subject.knowledge, &subject.job(wish), &expected, economics).unwrap().plan.cut;
        (batch, figures, cut, subject.run(cut_of(&cut)))
    };
    let any = BulkBounds {
        memory_mib: [1024, 1769, 3008, 3538, 5307, 7076, 10_240].map(Mebibytes).to_vec(),
        ..BulkBounds::default()
    };
    let within = |seconds: u64| {
        let wish = Wish { finish_within: Some(Duration::from_secs(seconds)), max_usd: None };
        let plan = choose(&subject.knowledge, &subject.job(wish), &any, economics).unwrap().plan;
        (seconds, plan, subject.run(cut_of(&plan.cut)))
    };
    Choice {
        cut,
        pick: subject.run(cut_of(&cut)),
        same_dollars: rows
            .iter()
            .flat_map(|row| [(row.batch, row.each), (row.batch, row.planned)])
            .map(same)
            .collect(),
        deadlines: [20, 60, 300].into_iter().map(within).collect(),
        took_ms,
    }
}
