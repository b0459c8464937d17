//! Rules that play the game against themselves, on payoffs in [0, 1].

use crate::dense::product;
use crate::regret::{Board, proportional};

/// All weight on one policy.
pub(super) fn pure(n: usize, chosen: usize) -> Vec<f64> {
    (0..n).map(|idx| f64::from(u8::from(idx == chosen))).collect()
}

/// First index of the largest value.
fn best(values: impl Iterator<Item = f64>) -> usize {
    let largest = |best: (usize, f64), item: (usize, f64)| if item.1 > best.1 { item } else { best };
    values.enumerate().fold((0, f64::NEG_INFINITY), largest).0
}

pub(super) fn fictitious_play(board: &Board, steps: u32) -> (Vec<f64>, Vec<f64>) {
    let (m, n) = (board.by_row.rows(), board.by_row.cols());
    let (mut row_counts, mut col_counts) = (pure(m, 0), pure(n, 0));
    // Payoffs against all that the opponent has played, summed.
    let (mut of_rows, mut of_cols) = (board.by_col.row(0).to_vec(), board.by_row.row(0).to_vec());
    for _ in 0..steps {
        let (row, col) = (best(of_rows.iter().copied()), best(of_cols.iter().map(|payoff| -payoff)));
        row_counts[row] += 1.0;
        col_counts[col] += 1.0;
        of_rows.iter_mut().zip(board.by_col.row(col)).for_each(|(sum, payoff)| *sum += payoff);
        of_cols.iter_mut().zip(board.by_row.row(row)).for_each(|(sum, payoff)| *sum += payoff);
    }
    (proportional(&row_counts), proportional(&col_counts))
}

/// p ∝ exp(scores), safe from overflow.
pub(super) fn softmax(scores: impl Iterator<Item = f64> + Clone) -> Vec<f64> {
    let largest = scores.clone().fold(f64::NEG_INFINITY, f64::max);
    proportional(&scores.map(|score| (score - largest).exp()).collect::<Vec<_>>())
}

pub(super) fn weakened_fictitious_play(
    board: &Board,
    steps: u32,
    decay: f64,
    temperature: f64,
) -> (Vec<f64>, Vec<f64>) {
    let (m, n) = (board.by_row.rows(), board.by_row.cols());
    let (mut row, mut col) = (vec![1.0 / m as f64; m], vec![1.0 / n as f64; n]);
    for step in 1..=steps {
        let t = f64::from(step) + 1.0; // the start counts as the first response
        let (weight, cold) = (t.powf(-decay), t.sqrt() / temperature);
        let row_response = softmax(board.row_payoffs(&col).iter().map(|payoff| cold * payoff));
        let col_response = softmax(board.col_payoffs(&row).iter().map(|payoff| -cold * payoff));
        let mix = |old: &mut Vec<f64>, new: &[f64]| old.iter_mut().zip(new).for_each(|(x, y)| *x += weight * (y - *x));
        mix(&mut row, &row_response);
        mix(&mut col, &col_response);
    }
    (proportional(&row), proportional(&col))
}

pub(super) fn projected_replicator(board: &Board, steps: u32, step: f64, exploration: f64) -> (Vec<f64>, Vec<f64>) {
    let (m, n) = (board.by_row.rows(), board.by_row.cols());
    let (mut row, mut col) = (vec![1.0 / m as f64; m], vec![1.0 / n as f64; n]);
    let (mut row_total, mut col_total) = (vec![0.0; m], vec![0.0; n]);
    for count in 0..steps.max(1) {
        let (of_rows, of_cols) = (board.row_payoffs(&col), board.col_payoffs(&row));
        let value = product(&of_rows, &row);
        row = replicated(&row, of_rows.iter().map(|payoff| step * (payoff - value)), exploration);
        col = replicated(&col, of_cols.iter().map(|payoff| step * (value - payoff)), exploration);
        if 2 * count >= steps {
            row_total.iter_mut().zip(&row).for_each(|(sum, weight)| *sum += weight);
            col_total.iter_mut().zip(&col).for_each(|(sum, weight)| *sum += weight);
        }
    }
    (proportional(&row_total), proportional(&col_total))
}

/// One Euler step of the replicator equation, projected to the nearest distribution above the floor.
fn replicated(strategy: &[f64], growth: impl Iterator<Item = f64>, exploration: f64) -> Vec<f64> {
    let floor = exploration / (strategy.len() + 1) as f64;
    let moved: Vec<f64> = strategy.iter().zip(growth).map(|(weight, rate)| weight * (1.0 + rate) - floor).collect();
    let total = 1.0 - floor * strategy.len() as f64;
    // Euclidean projection to the simplex of that total (Held, Wolfe & Crowder 1974): cut all weights by one amount.
    let mut sorted = moved.clone();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let (mut sum, mut cut) = (0.0, 0.0);
    for (idx, weight) in sorted.iter().enumerate() {
        sum += weight;
        let proposed = (sum - total) / (idx + 1) as f64;
        if *weight > proposed {
            cut = proposed;
        }
    }
    moved.iter().map(|weight| (weight - cut).max(0.0) + floor).collect()
}

#[cfg(test)]
mod tests {
    use super::replicated;

    #[test]
    fn the_projection_is_the_nearest_distribution_above_the_floor() {
        let found = replicated(&[0.9, 0.05, 0.05], [0.5, -3.0, 0.0].into_iter(), 0.04);
        // 1.35, −0.1, 0.05 with all weights at least 0.01: the second and third stand on the floor.
        let wanted = [0.98, 0.01, 0.01];
        assert!(found.iter().zip(wanted).all(|(x, y)| (x - y).abs() < 1e-15), "{found:?}");
        let inside = replicated(&[0.5, 0.3, 0.2], [0.0; 3].into_iter(), 1e-6);
        assert!(inside.iter().zip([0.5, 0.3, 0.2]).all(|(x, y)| (x - y).abs() < 1e-15), "{inside:?}");
    }
}
