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

/// Solves, and checks that both strategies are distributions and that no one can gain 1e-12 of the payoff range.
fn certify(payoffs: &Matrix, name: &str) -> nash::Equilibrium {
    let answer = nash::solve(payoffs).unwrap_or_else(|error| panic!("{name}: {error}"));
    for strategy in [&answer.row, &answer.col] {
        assert!(strategy.iter().all(|&p| p >= 0.0), "{name}");
        assert!((strategy.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{name}");
    }
    let (low, high) = payoffs.range();
    assert!(answer.nash_conv <= 1e-12 * (high - low), "{name}: {:e}", answer.nash_conv);
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

/// What breaks solvers that neither rescale nor refine.
#[test]
fn ill_conditioned_games() {
    for n in (5..=12).chain([20, 31, 40]) {
        let sign = |i: usize, j: usize| if (i + j).is_multiple_of(2) { 1.0 } else { -1.0 };
        let hilbert = |i: usize, j: usize| 1.0 / (i + j + 1) as f64;
        certify(&Matrix::from_fn(n, n, hilbert).unwrap(), "Hilbert");
        certify(&Matrix::from_fn(n, n, |i, j| sign(i, j) * hilbert(i, j)).unwrap(), "Hilbert with alternating signs");
        let powers = Matrix::from_fn(n, n, |i, j| sign(i, j) * (i as f64 / n as f64).powi(j as i32));
        certify(&powers.unwrap(), "Vandermonde with alternating signs");
    }
    let mut rng = rng(21);
    let base = uniform(30, 30, &mut rng);
    let rows = Matrix::from_fn(30, 30, |i, j| base.get(i, j) * if i.is_multiple_of(2) { 1e12 } else { 1e-12 });
    certify(&rows.unwrap(), "rows of 1e12 and of 1e-12");
    for noise in [1e-9, 1e-10, 1e-12, 1e-13, 1e-15] {
        let near = Matrix::from_fn(40, 40, |i, j| base.get(i / 2, j / 2) + noise * unit(&mut rng)).unwrap();
        certify(&near, "near copies");
        let flat = Matrix::from_fn(40, 40, |_, _| 0.5 + noise * unit(&mut rng)).unwrap();
        certify(&flat, "near ties");
    }
    let wins = Matrix::from_fn(200, 200, |i, j| (i as f64 / 3.0 - j as f64 / 3.0).tanh()).unwrap();
    certify(&wins, "saturated skill");
}

/// Up to three copies of each row and column that differ by 1e-6 to 1e-16, and in every other case again by much less: what
/// double precision cannot tell apart.
#[test]
fn near_copies_of_rows_and_columns() {
    for case in 0..600 {
        let mut rng = rng(50_000 + case);
        let [rows, cols] = [(); 2].map(|()| 2 + (unit(&mut rng) * 14.0) as usize);
        let [down, across] = [(); 2].map(|()| 1 + (unit(&mut rng) * 3.0) as usize);
        let base = uniform(rows, cols, &mut rng);
        let noise = 10_f64.powf(-6.0 - 10.0 * unit(&mut rng));
        let less = if case % 2 == 0 { 0.0 } else { noise * 10_f64.powf(-10.0 * unit(&mut rng)) };
        let game = Matrix::from_fn(rows * down, cols * across, |i, j| {
            // Every third game has many equal differences.
            let step = if case % 3 == 0 { (3.0 * unit(&mut rng)).floor() } else { unit(&mut rng) };
            base.get(i / down, j / across) + noise * step + less * unit(&mut rng)
        });
        certify(&game.unwrap(), &format!("case {case}: {rows} × {cols}, noise {noise:e} and {less:e}"));
    }
}

#[test]
fn a_solved_game_that_grows_starts_warm() {
    let full = uniform(60, 60, &mut rng(31));
    let mut basis = nash::Basis::default();
    for n in (10..60).step_by(7) {
        let part = Matrix::from_fn(n, n + 1, |i, j| full.get(i, j)).unwrap();
        let warm = nash::solve_from(&part, &mut basis).unwrap();
        assert!(warm.nash_conv <= 2e-12 && (warm.value - certify(&part, "cold").value).abs() <= 2e-12);
    }
    // Shrunk again, and other payoffs altogether: the basis is only where the search begins.
    let other = uniform(7, 9, &mut rng(32));
    let warm = nash::solve_from(&other, &mut basis).unwrap();
    assert!((warm.value - certify(&other, "cold").value).abs() <= 2e-12);
    // From its own basis a solved game gives the same answer, to the bit.
    assert_eq!(nash::solve_from(&other, &mut basis.clone()).unwrap(), nash::solve_from(&other, &mut basis).unwrap());
}

#[test]
fn a_profile_that_is_no_equilibrium_shows_its_regret() {
    let pennies = Matrix::from_rows(&[[1.0, -1.0], [-1.0, 1.0]]).unwrap();
    let profile = nash::Equilibrium::of_profile(&pennies, vec![1.0, 0.0], vec![0.75, 0.25]);
    // Red already has its best row (0.5); blue would go to −1.
    assert_eq!((profile.value, profile.nash_conv), (0.5, 1.5));
}

#[test]
fn shares_of_a_few_dialogues_with_their_many_ties() {
    // What a loop that samples its entries solves: multiples of 1/n, often equal, rows and columns sometimes alike.
    for case in 0..2_000 {
        let mut rng = rng(1_000 + case);
        let [rows, cols] = [(); 2].map(|()| 1 + (unit(&mut rng) * 24.0) as usize);
        let dialogues = [1.0, 4.0, 32.0, 96.0][(unit(&mut rng) * 4.0) as usize];
        let rates: Vec<f64> = (0..rows).map(|_| 0.4 * unit(&mut rng)).collect();
        let mut game = Matrix::from_fn(rows, cols, |r, _| {
            let wins = (0..dialogues as usize).filter(|_| unit(&mut rng) < rates[r]).count();
            wins as f64 / dialogues
        })
        .unwrap();
        if case % 3 == 0 && rows > 2 {
            let copy: Vec<Vec<f64>> = (0..rows).map(|r| game.row(if r == 1 { 0 } else { r }).to_vec()).collect();
            game = Matrix::from_rows(&copy).unwrap();
        }
        let (low, high) = game.range();
        if low < high {
            certify(&game, &format!("case {case}"));
        }
    }
}

/// Counts, not seconds: a row and a column at a time, beside the same games solved cold.
#[test]
fn a_warm_start_guesses_nothing_and_changes_no_answer() {
    let full = uniform(60, 60, &mut rng(33));
    let (mut basis, mut warm_pivots, mut cold_work) = (nash::Basis::default(), 0, 0);
    for n in 20..60 {
        let part = Matrix::from_fn(n, n, |i, j| full.get(i, j)).unwrap();
        let mut fresh = nash::Basis::default();
        let (warm, cold) = (nash::solve_from(&part, &mut basis).unwrap(), nash::solve_from(&part, &mut fresh).unwrap());
        for (found, wanted) in [(&warm.row, &cold.row), (&warm.col, &cold.col)] {
            assert!(found.iter().zip(wanted).all(|(x, y)| (x - y).abs() < 1e-14), "{n}");
        }
        if n > 20 {
            assert_eq!(basis.effort().steps, 0, "{n}");
            warm_pivots += basis.effort().pivots;
            cold_work += fresh.effort().pivots + fresh.effort().steps as usize;
        }
    }
    assert!(5 * warm_pivots < cold_work, "{warm_pivots} pivots, {cold_work} pivots and steps");
    // Two rocks: which of them is played is not left to the basis.
    let rows = [[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0], [0.0, -1.0, 1.0]];
    let mut basis = nash::Basis::default();
    nash::solve_from(&Matrix::from_rows(&rows[1..]).unwrap(), &mut basis).unwrap();
    let both = Matrix::from_rows(&rows).unwrap();
    assert_eq!(nash::solve_from(&both, &mut basis).unwrap(), nash::solve(&both).unwrap());
    assert!(basis.effort().steps > 0);
}
