//! Logit quantal response equilibrium of a zero-sum game.
//!
//! It is the saddle point of the game with entropies of weight τ = 1/λ added, hence unique; the optimistic multiplicative
//! weights of Cen, Wei & Chi (2021, algorithm 2) approach it by a factor 1 − ητ a step, from any start and in any game,
//! where tracing the branch from λ = 0 by Newton's method would need a step-size control.

use super::dynamics::softmax;
use crate::regret::Board;

/// Largest change of a log-weight in a step, per ητ, that counts as arrived.
const ARRIVED: f64 = 1e-13;

/// p ∝ exp(λ M q) and q ∝ exp(−λ Mᵀ p) for payoffs in [0, 1].
pub(super) fn logit(board: &Board, rationality: f64) -> (Vec<f64>, Vec<f64>) {
    let tau = 1.0 / rationality;
    // Payoffs less ½ are at most ½ in size; a constant changes no strategy.
    let eta = (1.0 / (2.0 * tau + 1.0)).min(0.5);
    let most = (60.0 / (eta * tau)).ceil() as u64;
    let (m, n) = (board.by_row.rows(), board.by_row.cols());
    let (mut row, mut col) = (vec![0.0; m], vec![0.0; n]); // log-weights, up to a constant
    let (mut of_rows, mut of_cols) = payoffs(board, &row, &col);
    for _ in 0..most {
        let ahead = (drawn(&row, &of_rows, eta, tau, 1.0), drawn(&col, &of_cols, eta, tau, -1.0));
        (of_rows, of_cols) = payoffs(board, &ahead.0, &ahead.1);
        let next = (drawn(&row, &of_rows, eta, tau, 1.0), drawn(&col, &of_cols, eta, tau, -1.0));
        let change = largest_change(&row, &next.0).max(largest_change(&col, &next.1));
        (row, col) = next;
        if change <= ARRIVED * eta * tau {
            break;
        }
    }
    (softmax(row.iter().copied()), softmax(col.iter().copied()))
}

fn payoffs(board: &Board, row: &[f64], col: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let (row, col) = (softmax(row.iter().copied()), softmax(col.iter().copied()));
    (board.row_payoffs(&col), board.col_payoffs(&row))
}

/// Log-weights drawn a step of η towards the response; their largest is 0.
fn drawn(logs: &[f64], payoffs: &[f64], eta: f64, tau: f64, sign: f64) -> Vec<f64> {
    let moved: Vec<f64> =
        logs.iter().zip(payoffs).map(|(x, u)| (1.0 - eta * tau) * x + eta * sign * (u - 0.5)).collect();
    let largest = moved.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    moved.into_iter().map(|x| x - largest).collect()
}

fn largest_change(old: &[f64], new: &[f64]) -> f64 {
    old.iter().zip(new).fold(0.0, |most, (x, y)| f64::max(most, (x - y).abs()))
}
