//! The gamescape: the convex hull of what policies do to their opponents (Balduzzi et al. 2019).
//!
//! A policy is its row of payoffs, and mixtures of policies are the points between. The hull's dimension says in how many
//! ways policies differ; it is drawn in the plane in which they differ most. A new policy that widens the hull does
//! something that no mixture of old ones does, which is what [`crate::diversity::hull_distance`] measures.

use super::split::dense;
use crate::{GameError, Matrix};

/// Share of the largest singular value below which a direction is rounding.
const FLAT: f64 = 1e-10;

/// Policies in the plane of their largest differences.
#[derive(Debug, Clone, PartialEq)]
pub struct Gamescape {
    /// Affine dimension of the rows: 0 if all are equal.
    pub dimension: usize,
    /// Coordinates of every row in that plane, the payoffs' unit.
    pub points: Vec<[f64; 2]>,
    /// Rows on the hull of those points, counter-clockwise.
    pub hull: Vec<usize>,
    /// Area of the hull in the plane.
    pub area: f64,
}

/// The gamescape of the rows of a matrix.
///
/// # Errors
/// The decomposition did not converge.
pub fn gamescape(payoffs: &Matrix) -> Result<Gamescape, GameError> {
    let mut centred = dense(payoffs);
    for mut column in centred.column_iter_mut() {
        let mean = column.mean();
        column.add_scalar_mut(-mean);
    }
    let failed = || GameError::NoConvergence { what: "singular value decomposition" };
    let parts = centred.try_svd(true, false, f64::EPSILON, 0).ok_or_else(failed)?;
    let (values, u) = (parts.singular_values, parts.u.ok_or_else(failed)?);
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
    let largest = values[order[0]];
    let dimension = values.iter().filter(|value| **value > FLAT * largest).count();
    let axis = |rank: usize, row: usize| order.get(rank).map_or(0.0, |&k| u[(row, k)] * values[k]);
    let points: Vec<[f64; 2]> = (0..payoffs.rows()).map(|row| [axis(0, row), axis(1, row)]).collect();
    let hull = hull(&points);
    let area = area(&points, &hull);
    Ok(Gamescape { dimension, points, hull, area })
}

/// Twice the signed area of the triangle.
fn turn(a: [f64; 2], b: [f64; 2], c: [f64; 2]) -> f64 {
    (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
}

/// Indices of the corners, counter-clockwise from the leftmost (monotone chain, Andrew 1979).
fn hull(points: &[[f64; 2]]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_by(|&a, &b| points[a][0].total_cmp(&points[b][0]).then(points[a][1].total_cmp(&points[b][1])));
    order.dedup_by(|a, b| points[*a] == points[*b]);
    if order.len() < 3 {
        return order;
    }
    let chain = |sorted: &mut dyn Iterator<Item = usize>| {
        let mut chain: Vec<usize> = Vec::new();
        for idx in sorted {
            while let [.., a, b] = chain[..] {
                if turn(points[a], points[b], points[idx]) > 0.0 {
                    break;
                }
                chain.pop();
            }
            chain.push(idx);
        }
        chain.pop();
        chain
    };
    let mut corners = chain(&mut order.iter().copied());
    corners.extend(chain(&mut order.iter().rev().copied()));
    corners
}

fn area(points: &[[f64; 2]], hull: &[usize]) -> f64 {
    let Some(&first) = hull.first() else { return 0.0 };
    hull.windows(2).map(|edge| turn(points[first], points[edge[0]], points[edge[1]])).sum::<f64>() / 2.0
}
