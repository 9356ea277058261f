//! Which point to take: the cheapest item, the fastest batch, and a balance of both.
//!
//! *Rule*: per model, and per model and number of items, among warm points with one invocation at a time. Cheapest by dollars an item, fastest by
//! the handler's time; balanced by weight · cost / least cost + (1 − weight) · time / least time. Ties go to the faster: two costs within half a percent
//! are a tie, since billing rounds to a millisecond and machines differ by more. *Why shares of the least*: dollars and milliseconds have no common
//! unit; twice the cheapest and twice the fastest weigh alike.

use serde::Serialize;

use super::figures::Figures;

/// Costs within this share of each other are a tie.
const TIE_SHARE: f64 = 0.005;

/// Recommendations for a model, or for one number of items of it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Recommendation {
    pub(super) model: String,
    /// `None`: over all numbers of items.
    pub(super) items: Option<u32>,
    pub(super) cheapest: Figures,
    pub(super) fastest: Figures,
    pub(super) balanced: Figures,
    /// Cost of the best point with 1,024 MiB over the cheapest of all; `None` without such a point.
    pub(super) cost_at_1024_over_best: Option<f64>,
}

/// For every model over all items, then by items.
pub(super) fn recommendations(figures: &[Figures], weight: f64) -> Vec<Recommendation> {
    let mut models: Vec<&str> = figures.iter().map(|point| point.model.as_str()).collect();
    models.dedup();
    let mut found = Vec::new();
    for model in models {
        let of_model: Vec<&Figures> =
            figures.iter().filter(|point| point.model == model && point.point.concurrency == 1).collect();
        found.extend(recommend(model, None, &of_model, weight));
        let mut items: Vec<u32> = of_model.iter().map(|point| point.point.items).collect();
        items.sort_unstable();
        items.dedup();
        for items in items {
            let same: Vec<&Figures> =
                of_model.iter().copied().filter(|point| point.point.items == items).collect();
            found.extend(recommend(model, Some(items), &same, weight));
        }
    }
    found
}

fn recommend(model: &str, items: Option<u32>, points: &[&Figures], weight: f64) -> Option<Recommendation> {
    let least = |of: fn(&Figures) -> f64| points.iter().map(|point| of(point)).fold(f64::INFINITY, f64::min);
    let (least_cost, least_ms) = (least(|point| point.cost_per_item_usd), least(|point| point.handler_ms));
    let score = |point: &Figures| {
        weight * point.cost_per_item_usd / least_cost + (1.0 - weight) * point.handler_ms / least_ms
    };
    let at_1024 = points.iter().filter(|point| point.point.memory_mib == 1024);
    let cost_at_1024 = at_1024.map(|point| point.cost_per_item_usd).reduce(f64::min);
    Some(Recommendation {
        model: model.to_owned(),
        items,
        cheapest: best(points, |point| point.cost_per_item_usd)?,
        fastest: best(points, |point| point.handler_ms)?,
        balanced: best(points, score)?,
        cost_at_1024_over_best: cost_at_1024.map(|cost| cost / least_cost),
    })
}

/// The least by `of`; among ties the fastest, and among equally fast ones the cheapest.
fn best(points: &[&Figures], of: impl Fn(&Figures) -> f64) -> Option<Figures> {
    let least = points.iter().map(|point| of(point)).reduce(f64::min)?;
    let tied = points.iter().filter(|point| of(point) <= least * (1.0 + TIE_SHARE));
    let order = |a: &Figures, b: &Figures| {
        a.handler_ms.total_cmp(&b.handler_ms).then(a.cost_per_item_usd.total_cmp(&b.cost_per_item_usd))
    };
    tied.min_by(|a, b| order(a, b)).map(|&point| point.clone())
}

/// The points that no other beats in both time and cost, from fastest to cheapest.
pub(super) fn pareto_front<'a>(points: &[&'a Figures]) -> Vec<&'a Figures> {
    let mut sorted = points.to_vec();
    sorted.sort_by(|a, b| {
        a.handler_ms.total_cmp(&b.handler_ms).then(a.cost_per_item_usd.total_cmp(&b.cost_per_item_usd))
    });
    let mut front: Vec<&Figures> = Vec::new();
    for point in sorted {
        if front.last().is_none_or(|last| point.cost_per_item_usd < last.cost_per_item_usd) {
            front.push(point);
        }
    }
    front
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::point;
    use super::*;

    #[test]
    fn a_tie_in_cost_goes_to_the_faster() {
        let points =
            [point(512, 1, 80.0, 1.000e-6), point(1024, 1, 40.0, 1.003e-6), point(2048, 1, 20.0, 1.4e-6)];
        let found = &recommendations(&points, 0.5)[0];
        assert_eq!(found.cheapest.point.memory_mib, 1024);
        assert_eq!(found.fastest.point.memory_mib, 2048);
        assert!((found.cost_at_1024_over_best.unwrap() - 1.003).abs() < 1e-9);
    }

    #[test]
    fn the_weight_moves_the_balance_from_fast_to_cheap() {
        let points = [point(512, 1, 100.0, 1e-6), point(1024, 1, 52.0, 1.1e-6), point(4096, 1, 40.0, 4e-6)];
        let memory = |weight| recommendations(&points, weight)[0].balanced.point.memory_mib;
        assert_eq!((memory(0.0), memory(0.5), memory(1.0)), (4096, 1024, 512));
    }

    #[test]
    fn the_front_holds_what_nothing_beats() {
        let points = [
            point(512, 1, 100.0, 1e-6),
            point(600, 1, 90.0, 2e-6),
            point(700, 1, 95.0, 3e-6),
            point(1024, 1, 50.0, 1e-6),
        ];
        let front = pareto_front(&points.iter().collect::<Vec<_>>());
        assert_eq!(front.iter().map(|point| point.point.memory_mib).collect::<Vec<_>>(), [1024]);
    }

    #[test]
    fn each_number_of_items_has_its_own_row_after_the_models() {
        let points = [point(512, 1, 10.0, 1e-6), point(512, 8, 40.0, 4e-6)];
        let items: Vec<Option<u32>> = recommendations(&points, 0.5).iter().map(|row| row.items).collect();
        assert_eq!(items, [None, Some(1), Some(8)]);
    }
}
