//! Every rule on games with known answers; each answer's regret is recomputed by the crate, so it is only read here.

use grts_game::stream::{StreamKey, unit};
use grts_game::{Equilibrium, Matrix, MetaSolver, meta_solver, nash};

fn random(rows: usize, cols: usize, entry: u64) -> Matrix {
    let mut rng = StreamKey { seed: 5, iteration: 0, purpose: 0, entry, episode: 0, turn: 0 }.rng();
    Matrix::from_fn(rows, cols, |_, _| 2.0 * unit(&mut rng) - 1.0).unwrap()
}

fn rps() -> Matrix {
    Matrix::from_rows(&[[0.0, -25.0, 50.0], [25.0, 0.0, -5.0], [-50.0, 5.0, 0.0]]).unwrap()
}

fn close(found: &[f64], wanted: &[f64], tolerance: f64) {
    assert_eq!(found.len(), wanted.len());
    assert!(found.iter().zip(wanted).all(|(x, y)| (x - y).abs() <= tolerance), "{found:?} is not {wanted:?}");
}

/// Regret as a share of the payoff range.
fn share(payoffs: &Matrix, answer: &Equilibrium) -> f64 {
    let (low, high) = payoffs.range();
    answer.nash_conv / (high - low)
}

#[test]
fn rules_that_approach_equilibrium() {
    let limits = [
        ("nash", 1e-12),
        ("max_entropy_nash", 1e-12),
        ("rectified_nash", 1e-12),
        ("regret_matching_plus", 1e-4),
        ("fictitious_play", 0.03),
        ("weakened_fictitious_play", 0.03),
        ("projected_replicator", 0.05),
    ];
    for (name, limit) in limits {
        let solver = MetaSolver::named(name).unwrap();
        for (entry, (rows, cols)) in [(3, 3), (8, 5), (20, 25)].into_iter().enumerate() {
            for game in [random(rows, cols, entry as u64), rps()] {
                let answer = solver.solve(&game).unwrap();
                assert!(share(&game, &answer) <= limit, "{name} {rows} × {cols}: {:e}", share(&game, &answer));
                let sum = |strategy: &[f64]| strategy.iter().sum::<f64>();
                assert!((sum(&answer.row) - 1.0).abs() < 1e-12 && (sum(&answer.col) - 1.0).abs() < 1e-12);
            }
        }
    }
}

#[test]
fn names_are_unique_and_scales_do_not_matter() {
    let game = random(6, 7, 40);
    let far = Matrix::from_fn(6, 7, |i, j| 1e-9 * game.get(i, j) + 0.125).unwrap();
    for solver in MetaSolver::ALL {
        assert_eq!(MetaSolver::named(solver.name()), Some(solver));
        let (near, scaled) = (solver.solve(&game).unwrap(), solver.solve(&far).unwrap());
        close(&scaled.row, &near.row, 1e-3);
    }
    assert_eq!(MetaSolver::named("nahs"), None);
}

#[test]
fn the_most_random_equilibrium_treats_copies_alike() {
    // Rock-paper-scissors with three rocks: the rocks share rock's third.
    let kind = [0, 0, 0, 1, 2];
    let copies = Matrix::from_fn(5, 5, |i, j| [0.0, -1.0, 1.0][(3 + kind[j] - kind[i]) % 3]).unwrap();
    let answer = MetaSolver::MaxEntropyNash.solve(&copies).unwrap();
    let wanted = [1.0 / 9.0, 1.0 / 9.0, 1.0 / 9.0, 1.0 / 3.0, 1.0 / 3.0];
    close(&answer.row, &wanted, 1e-11);
    close(&answer.col, &wanted, 1e-11);
    assert!(answer.nash_conv <= 1e-12);
    // Nothing matters: everything is played alike.
    close(
        &MetaSolver::MaxEntropyNash.solve(&Matrix::from_rows(&[[2.0; 4]; 3]).unwrap()).unwrap().row,
        &[1.0 / 3.0; 3],
        1e-15,
    );
    // Red's rows 0 and 1 tie; row 2 ties in blue's first equilibrium strategy alone.
    let game = Matrix::from_rows(&[[0.0, 1.0], [0.0, 2.0], [0.0, -1.0]]).unwrap();
    let answer = MetaSolver::MaxEntropyNash.solve(&game).unwrap();
    assert_eq!((answer.value, answer.col), (0.0, vec![1.0, 0.0]));
    // Every mixture with p₁ + 2 p₂ ≥ p₃ is an equilibrium; uniform is one.
    close(&answer.row, &[1.0 / 3.0; 3], 1e-11);
}

/// No other equilibrium, found by mixing two vertices, has more entropy.
#[test]
fn entropy_is_maximal_among_known_equilibria() {
    let base = random(6, 6, 50);
    let game = Matrix::from_fn(12, 12, |i, j| base.get(i % 6, j % 6)).unwrap();
    let entropy = |p: &[f64]| -> f64 { p.iter().filter(|x| **x > 0.0).map(|x| -x * x.ln()).sum() };
    let best = MetaSolver::MaxEntropyNash.solve(&game).unwrap();
    let vertex = nash::solve(&game).unwrap();
    assert!(best.nash_conv <= 2e-12);
    for share in [0.0, 0.3, 0.5, 0.8] {
        let other: Vec<f64> =
            (0..12).map(|i| share * vertex.row[i] + (1.0 - share) * vertex.row[(i + 6) % 12]).collect();
        assert!(Equilibrium::of_profile(&game, other.clone(), vertex.col.clone()).nash_conv <= 2e-12);
        assert!(entropy(&best.row) >= entropy(&other) - 1e-10);
    }
}

#[test]
fn quantal_response_is_a_fixed_point_between_uniform_and_nash() {
    for (entry, rationality) in [0.1, 1.0, 30.0, 1000.0].into_iter().enumerate() {
        let game = random(5, 7, 60 + entry as u64);
        let (low, high) = game.range();
        let answer = MetaSolver::LogitQre { rationality }.solve(&game).unwrap();
        let lambda = rationality / (high - low);
        let weights: Vec<f64> = game.mul_vec(&answer.col).iter().map(|u| (lambda * (u - answer.value)).exp()).collect();
        let total: f64 = weights.iter().sum();
        close(&answer.row, &weights.iter().map(|w| w / total).collect::<Vec<_>>(), 1e-10);
    }
    let game = random(5, 5, 70);
    close(&MetaSolver::LogitQre { rationality: 1e-9 }.solve(&game).unwrap().row, &[0.2; 5], 1e-9);
    let sharp = MetaSolver::LogitQre { rationality: 1e4 }.solve(&game).unwrap();
    close(&sharp.row, &nash::solve(&game).unwrap().row, 1e-2);
}

#[test]
fn alpha_rank_stands_any_intensity() {
    let solve = |alpha, game: &Matrix| MetaSolver::AlphaRank { alpha, population: 50 }.solve(game).unwrap();
    // Pennies: the four pairs form one cycle, so all are alike at every intensity.
    let pennies = Matrix::from_rows(&[[1.0, -1.0], [-1.0, 1.0]]).unwrap();
    for alpha in [Some(0.1), Some(10.0), Some(1e3), Some(1e6), None] {
        close(&solve(alpha, &pennies).row, &[0.5, 0.5], 1e-9);
    }
    // A strict saddle takes all in the limit.
    let saddle = Matrix::from_rows(&[[1.0, 5.0], [3.0, 4.0]]).unwrap();
    for alpha in [Some(1e3), Some(1e5), None] {
        let answer = solve(alpha, &saddle);
        close(&answer.row, &[0.0, 1.0], 1e-9);
        close(&answer.col, &[1.0, 0.0], 1e-9);
    }
    // The finite answers approach the limit.
    let game = random(4, 5, 80);
    let limit = solve(None, &game);
    close(&solve(Some(3e4), &game).row, &limit.row, 1e-6);
    let large = random(51, 50, 81);
    let said = MetaSolver::AlphaRank { alpha: Some(1.0), population: 50 }.solve(&large).unwrap_err().to_string();
    assert_eq!(said, "states of α-rank, at most: expected 2500 values, found 2550");
    // In the limit only what is never left counts: here one of 2,550 pairs.
    let strict = Matrix::from_fn(51, 50, |i, j| if i == 7 { j as f64 } else { -1.0 - i as f64 }).unwrap();
    close(&solve(None, &strict).col, &[&[1.0][..], &[0.0; 49]].concat(), 0.0);
}

#[test]
fn rectified_opponents_are_those_that_a_policy_beats() {
    let game = rps();
    let equilibrium = nash::solve(&game).unwrap();
    let opponents = meta_solver::rectified(&game, &equilibrium);
    close(&opponents[0], &[1.0 / 6.0, 0.0, 5.0 / 6.0], 1e-12);
    close(&opponents[1], &[1.0 / 11.0, 10.0 / 11.0, 0.0], 1e-12);
}

#[test]
fn settings_outside_their_range_are_refused() {
    let game = rps();
    for (solver, name) in [
        (MetaSolver::LogitQre { rationality: f64::NAN }, "`rationality`"),
        (MetaSolver::AlphaRank { alpha: Some(-1.0), population: 50 }, "`alpha`"),
        (MetaSolver::WeakenedFictitiousPlay { steps: 1, decay: 1.5, temperature: 0.1 }, "`decay`"),
        (MetaSolver::ProjectedReplicator { steps: 1, step: 0.0, exploration: 0.1 }, "`step`"),
    ] {
        let said = solver.solve(&game).unwrap_err().to_string();
        assert!(said.starts_with(name), "{said}");
    }
}
