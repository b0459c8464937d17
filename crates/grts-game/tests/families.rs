//! Blotto and games of skill through the loop, beside the anchors of an independent implementation.

use grts_game::exact::families::{blotto, blotto_by_margin, game_of_skill};
use grts_game::exact::matrix_game::MatrixGame;
use grts_game::solver::{self, Config, Iteration, StopReason};
use grts_game::{GameError, Matrix};

fn run(payoffs: Matrix) -> Vec<Iteration> {
    let mut iterations = Vec::new();
    let solution =
        solver::solve(&mut MatrixGame::new(payoffs), vec![0], vec![0], &Config::psro(80, 1e-9), &mut iterations);
    assert_eq!(solution.unwrap().stop_reason, StopReason::Converged);
    iterations
}

/// Anchor: below 1e-9 at 25 from pure strategy 0.
#[test]
fn blotto_takes_as_long_as_the_anchor() {
    let iterations = run(blotto(10, 3).unwrap());
    assert_eq!(iterations[0].gap, Some(2.0));
    assert!(iterations.len() - 1 <= 25, "{}", iterations.len() - 1);
    assert_eq!([3, 4, 5].map(|fields| blotto(10, fields).unwrap().rows()), [66, 286, 1001]);
    assert_eq!(blotto(3, 0), Err(GameError::Empty { what: "list of fields" }));
}

/// Anchors: below 1e-9 at 21 and at 24, give or take a tenth.
#[test]
fn blotto_by_margin_takes_as_long_as_the_anchor() {
    assert_eq!(blotto_by_margin(10, 3), blotto(10, 3));
    for (fields, anchor) in [(4, 21.0), (5, 24.0)] {
        let payoffs = blotto_by_margin(10, fields).unwrap();
        assert_eq!(payoffs.range(), (-1.0, 1.0));
        let iterations = run(payoffs).len() - 1;
        assert!((iterations as f64 / anchor - 1.0).abs() <= 0.1, "{fields} fields: {iterations}");
    }
    assert_eq!(blotto_by_margin(0, 2).unwrap().range(), (0.0, 0.0));
}

/// Anchor: below 1e-9 at 43 to 52 over three seeds, give or take a tenth.
#[test]
fn games_of_skill_take_as_long_as_the_anchor() {
    for seed in 0..3 {
        let payoffs = game_of_skill(1000, seed).unwrap();
        assert!((0..1000).all(|i| (0..i).all(|j| payoffs.get(i, j) == -payoffs.get(j, i))));
        assert_eq!(payoffs.range(), (-1.0, 1.0));
        let iterations = run(payoffs);
        assert!((39..=57).contains(&(iterations.len() - 1)), "seed {seed}: {}", iterations.len() - 1);
    }
    assert_eq!(game_of_skill(0, 1), Err(GameError::Empty { what: "matrix" }));
}
