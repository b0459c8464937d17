//! Matrix games with published values, and games built to break solvers. Every answer also proves its own regret.

use grts_game::stream::{StreamKey, unit};
use grts_game::{Matrix, nash};
use rand_core::Rng;

fn rng(entry: u64) -> impl Rng {
    StreamKey { seed: 11, iteration: 0, purpose: 0, entry, episode: 0, turn: 0 }.rng()
}

fn uniform(rows: usize, cols: usize, rng: &mut impl Rng) -> Matrix {
    Matrix::from_fn(rows, cols, |_, _| 2.0 * unit(rng) - 1.0).unwrap()
}

/// Solves, and checks that both strategies are distributions and that no one can gain 1e-9 of the payoff range.
fn certify(payoffs: &Matrix, name: &str) -> nash::Equilibrium {
    let answer = nash::solve(payoffs).unwrap_or_else(|error| panic!("{name}: {error}"));
    for strategy in [&answer.row, &answer.col] {
        assert!(strategy.iter().all(|&p| p >= 0.0), "{name}");
        assert!((strategy.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{name}");
    }
    let (low, high) = payoffs.range();
    assert!(answer.nash_conv <= 1e-9 * (high - low), "{name}: {:e}", answer.nash_conv);
    assert!(low <= answer.value && answer.value <= high, "{name}");
    answer
}

fn assert_close(found: &[f64], wanted: &[f64]) {
    assert_eq!(found.len(), wanted.len());
    assert!(found.iter().zip(wanted).all(|(x, y)| (x - y).abs() < 1e-9), "{found:?} is not {wanted:?}");
}

#[test]
fn biased_rock_paper_scissors() {
    // OpenSpiel's `matrix_brps`: a win over rock, paper, scissors pays 25, 50, 5.
    let game = Matrix::from_rows(&[[0.0, -25.0, 50.0], [25.0, 0.0, -5.0], [-50.0, 5.0, 0.0]]).unwrap();
    let answer = certify(&game, "brps");
    assert_close(&answer.row, &[1.0 / 16.0, 10.0 / 16.0, 5.0 / 16.0]);
    assert_close(&answer.col, &[1.0 / 16.0, 10.0 / 16.0, 5.0 / 16.0]);
    assert!(answer.value.abs() < 1e-9);
}

#[test]
fn small_games_with_known_answers() {
    let pennies = certify(&Matrix::from_rows(&[[1.0, -1.0], [-1.0, 1.0]]).unwrap(), "pennies");
    assert_close(&pennies.row, &[0.5, 0.5]);
    // Saddle point at (1, 0).
    let saddle = certify(&Matrix::from_rows(&[[1.0, 5.0], [3.0, 4.0]]).unwrap(), "saddle");
    assert_close(&saddle.row, &[0.0, 1.0]);
    assert_close(&saddle.col, &[1.0, 0.0]);
    assert_eq!(saddle.value, 3.0);
    // One side without a choice.
    let row = certify(&Matrix::from_rows(&[[4.0, -2.0, 7.0]]).unwrap(), "1 × n");
    assert_eq!((row.value, row.col), (-2.0, vec![0.0, 1.0, 0.0]));
    let col = certify(&Matrix::from_rows(&[[4.0], [-2.0], [7.0]]).unwrap(), "n × 1");
    assert_eq!((col.value, col.row), (7.0, vec![0.0, 0.0, 1.0]));
    let constant = certify(&Matrix::from_rows(&[[2.5; 3]; 2]).unwrap(), "constant");
    assert_eq!((constant.value, constant.nash_conv), (2.5, 0.0));
}

#[test]
fn random_games_of_every_shape() {
    for (idx, (rows, cols)) in [(2, 2), (3, 7), (10, 10), (40, 13), (50, 50), (100, 100)].into_iter().enumerate() {
        for repeat in 0..if rows < 50 { 20 } else { 3 } {
            certify(&uniform(rows, cols, &mut rng(1000 * idx as u64 + repeat)), &format!("{rows} × {cols} #{repeat}"));
        }
    }
}

#[test]
fn degenerate_games() {
    let mut rng = rng(9);
    let n = 60;
    let rank1 = {
        let (u, v): (Vec<f64>, Vec<f64>) = (0..n).map(|_| (unit(&mut rng) - 0.5, unit(&mut rng) - 0.5)).unzip();
        Matrix::from_fn(n, n, |i, j| u[i] * v[j]).unwrap()
    };
    certify(&rank1, "rank 1");
    let base = uniform(n, n, &mut rng);
    certify(&Matrix::from_fn(2 * n, 2 * n, |i, j| base.get(i / 2, j / 2)).unwrap(), "duplicate rows and columns");
    certify(&Matrix::from_fn(n, n, |i, j| f64::from((i * 7 + j * 3) % 5 == 0)).unwrap(), "many ties");
    certify(&Matrix::from_fn(n, n, |i, j| f64::from(i == j)).unwrap(), "identity");
    certify(&Matrix::from_fn(n, n, |i, j| (i as f64 - j as f64).signum()).unwrap(), "bigger number wins");
    let cyclic =
        Matrix::from_fn(61, 61, |i, j| [0.0, 1.0, -1.0][usize::from(i != j) + usize::from((61 + j - i) % 61 > 30)]);
    certify(&cyclic.unwrap(), "cyclic");
    let sampled = Matrix::from_fn(n, n, |_, _| (unit(&mut rng) * 128.0).floor() / 128.0).unwrap();
    certify(&sampled, "sampled rates");
}

#[test]
fn payoffs_of_every_scale_and_offset() {
    let base = uniform(20, 20, &mut rng(5));
    let reference = nash::solve(&base).unwrap().value;
    for (scale, offset) in [(1e-12, 0.0), (1e-300, 0.0), (1e12, 0.0), (1e300, 0.0), (1.0, 1e9), (1e-3, -1e6)] {
        let game = Matrix::from_fn(20, 20, |i, j| scale * base.get(i, j) + offset).unwrap();
        let answer = certify(&game, &format!("scale {scale:e} offset {offset:e}"));
        let error = ((answer.value - offset) / scale - reference).abs();
        assert!(error < 1e-6, "{scale:e} {offset:e}: {error:e}");
    }
    let huge = Matrix::from_rows(&[[f64::MAX, -f64::MAX], [-f64::MAX, f64::MAX]]).unwrap();
    let answer = nash::solve(&huge).unwrap();
    assert_close(&answer.row, &[0.5, 0.5]);
    assert_eq!((answer.value, answer.nash_conv), (0.0, 0.0));
}

#[test]
fn a_profile_that_is_no_equilibrium_shows_its_regret() {
    let pennies = Matrix::from_rows(&[[1.0, -1.0], [-1.0, 1.0]]).unwrap();
    let profile = nash::Equilibrium::of_profile(&pennies, vec![1.0, 0.0], vec![0.75, 0.25]);
    // Red already has its best row (0.5); blue would go to −1.
    assert_eq!((profile.value, profile.nash_conv), (0.5, 1.5));
}
