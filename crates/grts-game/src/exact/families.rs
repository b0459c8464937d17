//! Families of matrix games whose solution path is known: what the solver and the geometry are measured on.
//!
//! Every entry comes from the stream that is named in its constructor, so a game is its parameters and nothing else.

use crate::stream::{StreamKey, unit};
use crate::{GameError, Matrix};

/// Colonel Blotto: `coins` over `fields`; the return is the sign of fields won minus fields lost.
///
/// Rows and columns are the ways to divide the coins, in lexicographic order.
///
/// # Errors
/// There are no fields.
pub fn blotto(coins: usize, fields: usize) -> Result<Matrix, GameError> {
    Ok(margins(coins, fields)?.map(|margin| if margin == 0.0 { 0.0 } else { margin.signum() }))
}

/// The same with the margin itself as the return: fields won minus fields lost, divided by the largest that there is.
/// With three fields it is the same game.
///
/// # Errors
/// There are no fields.
pub fn blotto_by_margin(coins: usize, fields: usize) -> Result<Matrix, GameError> {
    let margins = margins(coins, fields)?;
    let largest = margins.range().1.max(1.0);
    Ok(margins.map(|margin| margin / largest))
}

fn margins(coins: usize, fields: usize) -> Result<Matrix, GameError> {
    if fields == 0 {
        return Err(GameError::Empty { what: "list of fields" });
    }
    let actions = divisions(coins, fields);
    let won = |a: &[usize], b: &[usize]| -> f64 {
        let margin: i64 = a.iter().zip(b).map(|(x, y)| i64::from(x > y) - i64::from(x < y)).sum();
        margin as f64
    };
    Matrix::from_fn(actions.len(), actions.len(), |i, j| won(&actions[i], &actions[j]))
}

/// All ways to divide `coins` over `fields` (at least one).
fn divisions(coins: usize, fields: usize) -> Vec<Vec<usize>> {
    if fields == 1 {
        return vec![vec![coins]];
    }
    let with =
        |first: usize| divisions(coins - first, fields - 1).into_iter().map(move |rest| [vec![first], rest].concat());
    (0..=coins).flat_map(with).collect()
}

/// A random game of skill, `n × n`, antisymmetric: ½(W_ij − W_ji) + S_i − S_j divided by its largest entry (Czarnecki et
/// al. 2020), with W and S uniform on [0, 1): ⅘ of it is skill.
///
/// # Errors
/// `n` is 0.
pub fn game_of_skill(n: usize, seed: u64) -> Result<Matrix, GameError> {
    let mut rng = StreamKey { seed, iteration: 0, purpose: 0, entry: n as u64, episode: 0, turn: 0 }.rng();
    let skills: Vec<f64> = (0..n).map(|_| unit(&mut rng)).collect();
    let luck = Matrix::from_fn(n, n, |_, _| unit(&mut rng))?;
    let returns = |i, j| 0.5 * (luck.get(i, j) - luck.get(j, i)) + (skills[i] - skills[j]);
    let raw = Matrix::from_fn(n, n, returns)?;
    let largest = raw.range().1;
    Ok(if largest > 0.0 { raw.map(|value| value / largest) } else { raw })
}
