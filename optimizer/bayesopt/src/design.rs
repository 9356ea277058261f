//! Space-filling designs on the unit cube. Deliberately absent: the meaning of the coordinates (see `space`).

use crate::random::Generator;

/// Designs drawn by [`maximin_latin_hypercube`]; more spread the points a little better.
const DRAWS: usize = 20;

/// A Latin hypercube: `count` points of `dimension` coordinates in (0, 1), of which every coordinate has exactly one
/// value in each of `count` equal strata, at a random place inside (McKay, Beckman and Conover, 1979).
#[must_use]
pub fn latin_hypercube(count: usize, dimension: usize, generator: &mut Generator) -> Vec<Vec<f64>> {
    let mut points = vec![vec![0.0; dimension]; count];
    let mut strata: Vec<usize> = (0..count).collect();
    for coordinate in 0..dimension {
        generator.shuffle(&mut strata);
        for (point, &stratum) in points.iter_mut().zip(&strata) {
            let inside = generator.uniform().clamp(1e-9, 1.0 - 1e-9);
            point[coordinate] = (stratum as f64 + inside) / count as f64;
        }
    }
    points
}

/// Of several Latin hypercubes the one whose closest pair is farthest apart.
pub(crate) fn maximin_latin_hypercube(
    count: usize,
    dimension: usize,
    generator: &mut Generator,
) -> Vec<Vec<f64>> {
    let mut best = latin_hypercube(count, dimension, generator);
    let mut widest = closest_pair(&best);
    for _ in 1..DRAWS {
        let design = latin_hypercube(count, dimension, generator);
        let distance = closest_pair(&design);
        if distance > widest {
            (best, widest) = (design, distance);
        }
    }
    best
}

/// Squared distance of the closest two points; infinite for fewer than two.
fn closest_pair(points: &[Vec<f64>]) -> f64 {
    let mut closest = f64::INFINITY;
    for (index, a) in points.iter().enumerate() {
        for b in &points[index + 1..] {
            closest = closest.min(a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum());
        }
    }
    closest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stratum_of_every_coordinate_holds_one_point() {
        let design = maximin_latin_hypercube(16, 5, &mut Generator::from_seed(3));
        for coordinate in 0..5 {
            let mut strata: Vec<f64> =
                design.iter().map(|point| (point[coordinate] * 16.0).floor()).collect();
            strata.sort_by(f64::total_cmp);
            assert_eq!(strata, (0..16).map(f64::from).collect::<Vec<_>>());
        }
    }

    #[test]
    fn empty_designs_are_empty() {
        assert!(maximin_latin_hypercube(0, 3, &mut Generator::from_seed(3)).is_empty());
        assert_eq!(latin_hypercube(2, 0, &mut Generator::from_seed(3)), vec![Vec::<f64>::new(); 2]);
    }
}
