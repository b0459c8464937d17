//! Matrix games through the loop: published games, random ones, the baselines, and what ends a run.

use grts_game::exact::matrix_game::MatrixGame;
use grts_game::solver::{
    self, Arena, BestResponseOracle, Config, Iteration, Observer, Order, Response, Solution, State, StopReason, Verdict,
};
use grts_game::stream::{StreamKey, unit};
use grts_game::{Estimate, GameError, Matrix, MetaGame, Player};

fn run(payoffs: Matrix, config: &Config) -> (MatrixGame, Solution<usize, usize>, Vec<Iteration>) {
    let (mut game, mut iterations) = (MatrixGame::new(payoffs), Vec::new());
    let solution = solver::solve(&mut game, vec![0], vec![0], config, &mut iterations).unwrap();
    (game, solution, iterations)
}

/// NashConv of the final profile in the whole game, from its strategies alone.
fn nash_conv(game: &MatrixGame, solution: &Solution<usize, usize>) -> f64 {
    let equilibrium = &solution.equilibrium;
    game.nash_conv(&solution.reds, &equilibrium.row, &solution.blues, &equilibrium.col)
}

fn random(n: usize, entry: u64) -> Matrix {
    let mut rng = StreamKey { seed: 3, iteration: 0, purpose: 0, entry, episode: 0, turn: 0 }.rng();
    Matrix::from_fn(n, n, |_, _| 2.0 * unit(&mut rng) - 1.0).unwrap()
}

fn brps() -> Matrix {
    Matrix::from_rows(&[[0.0, -25.0, 50.0], [25.0, 0.0, -5.0], [-50.0, 5.0, 0.0]]).unwrap()
}

/// Colonel Blotto: `coins` over `fields`, payoff the sign of fields won minus fields lost.
fn blotto(coins: usize, fields: usize) -> Matrix {
    fn splits(coins: usize, fields: usize) -> Vec<Vec<usize>> {
        if fields == 1 {
            return vec![vec![coins]];
        }
        let with =
            |first: usize| splits(coins - first, fields - 1).into_iter().map(move |rest| [vec![first], rest].concat());
        (0..=coins).flat_map(with).collect()
    }
    let actions = splits(coins, fields);
    let won =
        |a: &[usize], b: &[usize]| -> i64 { a.iter().zip(b).map(|(x, y)| i64::from(x > y) - i64::from(x < y)).sum() };
    Matrix::from_fn(actions.len(), actions.len(), |i, j| won(&actions[i], &actions[j]).signum() as f64).unwrap()
}

/// Kuhn poker as 27 × 64 pure strategies (game value −1/18, Kuhn 1950).
///
/// Red, per card: pass then fold, pass then call, or bet. Blue, per card: reply to a pass (check or bet) and to a bet
/// (fold or call).
fn kuhn() -> Matrix {
    let payoff = |red: usize, blue: usize| {
        let deals = (0..3).flat_map(|a| (0..3).map(move |b| (a, b))).filter(|(a, b)| a != b);
        deals
            .map(|(a, b)| {
                let (act, reply) = (red / 3_usize.pow(a) % 3, blue / 4_usize.pow(b) % 4);
                let showdown = if a > b { 1.0 } else { -1.0 };
                match (act, reply & 1, reply >> 1) {
                    (2, _, 0) => 1.0,
                    (2, _, _) => 2.0 * showdown,
                    (_, 0, _) => showdown,
                    (0, _, _) => -1.0,
                    _ => 2.0 * showdown,
                }
            })
            .sum::<f64>()
            / 6.0
    };
    Matrix::from_fn(27, 64, payoff).unwrap()
}

#[test]
fn biased_rock_paper_scissors_ends_at_its_equilibrium() {
    for config in [Config::psro(20, 1e-9), Config::grts(20, 1e-9)] {
        let (game, solution, _) = run(brps(), &config);
        assert_eq!(solution.stop_reason, StopReason::Converged);
        assert!(nash_conv(&game, &solution) <= 1e-9);
        for (policies, weights) in
            [(&solution.reds, &solution.equilibrium.row), (&solution.blues, &solution.equilibrium.col)]
        {
            for (&policy, weight) in policies.iter().zip(weights) {
                assert!((weight - [1.0, 10.0, 5.0][policy] / 16.0).abs() < 1e-9, "{policies:?} {weights:?}");
            }
        }
    }
}

#[test]
fn kuhn_poker_is_worth_minus_one_eighteenth() {
    for config in [Config::psro(100, 1e-9), Config::grts(100, 1e-9)] {
        let (game, solution, _) = run(kuhn(), &config);
        assert_eq!(solution.stop_reason, StopReason::Converged);
        assert!((solution.equilibrium.value + 1.0 / 18.0).abs() < 1e-9, "{}", solution.equilibrium.value);
        assert!(nash_conv(&game, &solution) <= 1e-9);
    }
}

#[test]
fn random_games_end_at_equilibrium() {
    for entry in 0..10 {
        let n = if entry < 8 { 5 + 3 * entry as usize } else { 50 };
        for order in [Order::Simultaneous, Order::Alternating] {
            let config = Config { order, ..Config::psro(2 * n, 1e-9) };
            let (game, solution, iterations) = run(random(n, entry), &config);
            assert_eq!(solution.stop_reason, StopReason::Converged, "{n} {order:?}");
            let regret = nash_conv(&game, &solution);
            assert!(regret <= 1e-9, "{n} {order:?}: {regret:e}");
            assert!(regret <= solution.gap.unwrap() + 1e-12, "the certified gap holds");
            // Every iteration but the last widens a population, so there are at most 2n of them.
            assert!(iterations.len() < 2 * n && iterations.len() == solution.iterations);
        }
    }
}

#[test]
fn every_recorded_gap_is_the_regret_of_the_recorded_profile() {
    let payoffs = random(20, 99);
    let (game, solution, iterations) = run(payoffs, &Config::psro(60, 1e-9));
    for record in &iterations {
        let (reds, blues) = (&solution.reds[..record.num_reds], &solution.blues[..record.num_blues]);
        let regret = game.nash_conv(reds, &record.red_strategy, blues, &record.blue_strategy);
        assert!((record.gap.unwrap() - regret).abs() < 1e-12, "iteration {}", record.index);
    }
}

/// GAMES.md: 25 iterations to < 1e-9 from pure strategy 0, and NashConv .70 after ten.
#[test]
fn blotto_takes_as_long_as_the_anchor() {
    let (_, solution, iterations) = run(blotto(10, 3), &Config::psro(60, 1e-9));
    assert_eq!(solution.stop_reason, StopReason::Converged);
    assert!((23..=28).contains(&solution.iterations), "{}", solution.iterations);
    assert_eq!(iterations[0].gap, Some(2.0));
    assert!(solution.equilibrium.value.abs() < 1e-9);
}

/// In rock-paper-scissors self-play goes round for ever while fictitious play approaches (its average does).
#[test]
fn baselines_differ_in_their_meta_strategy_only() {
    let rps = || Matrix::from_rows(&[[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]).unwrap();
    let (_, solution, iterations) = run(rps(), &Config::self_play(300, 1e-9));
    assert_eq!(solution.stop_reason, StopReason::Iterations);
    assert!(iterations.iter().all(|record| record.gap == Some(2.0)));
    assert_eq!(solution.reds.len(), 3, "a repeated response is no new policy");

    let (_, solution, iterations) = run(rps(), &Config::fictitious_play(300, 1e-9));
    assert_eq!(solution.stop_reason, StopReason::Iterations);
    let gap = |at: usize| iterations[at].gap.unwrap();
    assert!(gap(299) < 0.2 && gap(299) > 0.0 && gap(299) < gap(30), "{}", gap(299));

    let (_, solution, _) = run(rps(), &Config::single_attacker());
    assert_eq!((solution.iterations, solution.reds, solution.blues), (1, vec![0, 1], vec![0, 2]));
}

#[test]
fn a_run_is_a_function_of_its_start() {
    let run = || run(random(30, 4), &Config::grts(60, 1e-9));
    let ((_, first, first_records), (_, second, second_records)) = (run(), run());
    assert_eq!(first, second);
    assert_eq!(first_records, second_records);
}

struct StopAt {
    asked: usize,
    limit: usize,
    records: Vec<Iteration>,
}

impl Observer for StopAt {
    fn iteration(&mut self, record: &Iteration) {
        self.records.push(record.clone());
    }

    fn should_stop(&mut self) -> Option<StopReason> {
        self.asked += 1;
        (self.asked > self.limit).then_some(StopReason::Budget)
    }
}

#[test]
fn an_observer_ends_the_loop_with_a_solved_meta_game() {
    for (limit, order) in (0..6).flat_map(|limit| [(limit, Order::Simultaneous), (limit, Order::Alternating)]) {
        let mut observer = StopAt { asked: 0, limit, records: Vec::new() };
        let config = Config { order, ..Config::psro(60, 1e-9) };
        let mut game = MatrixGame::new(random(30, 4));
        let solution = solver::solve(&mut game, vec![0], vec![0], &config, &mut observer).unwrap();
        assert_eq!(solution.stop_reason, StopReason::Budget);
        assert_eq!(solution.equilibrium.row.len(), solution.reds.len());
        assert_eq!(solution.equilibrium.col.len(), solution.blues.len());
        assert!(solution.equilibrium.nash_conv < 1e-9);
        assert_eq!(observer.records.len(), solution.iterations);
        // Never between the responses of an iteration: red's would stay unanswered.
        assert_eq!(solution.iterations, limit);
    }
}

#[test]
fn empty_populations_are_refused() {
    let mut game = MatrixGame::new(brps());
    let outcome = solver::solve(&mut game, vec![], vec![0], &Config::psro(3, 0.1), &mut ());
    assert_eq!(outcome, Err(GameError::Empty { what: "red population" }));
}

/// Matrix game whose arena may forget to play, and whose oracles' responses are judged by `judge`.
struct Judged<F> {
    inner: MatrixGame,
    plays: bool,
    judge: F,
}

impl<F> Arena<usize, usize> for Judged<F> {
    type Error = GameError;

    fn payoff_range(&self) -> (f64, f64) {
        self.inner.payoff_range()
    }

    fn play(
        &mut self,
        iteration: usize,
        reds: &[usize],
        blues: &[usize],
        game: &mut MetaGame,
    ) -> Result<(), GameError> {
        if self.plays { self.inner.play(iteration, reds, blues, game) } else { Ok(()) }
    }
}

impl<F: Fn(Player, Response<usize>) -> Response<usize>> BestResponseOracle<usize, usize> for Judged<F> {
    type Error = GameError;

    fn respond_red(&mut self, state: &State<'_, usize, usize>) -> Result<Response<usize>, GameError> {
        Ok((self.judge)(Player::Red, self.inner.respond_red(state)?))
    }

    fn respond_blue(&mut self, state: &State<'_, usize, usize>) -> Result<Response<usize>, GameError> {
        Ok((self.judge)(Player::Blue, self.inner.respond_blue(state)?))
    }
}

#[test]
fn a_rejected_response_is_recorded_and_never_admitted() {
    for order in [Order::Simultaneous, Order::Alternating] {
        let turned_away = || Verdict::Rejected { reason: "serves nobody".to_owned() };
        let judge = |player, response| match player {
            Player::Red => response,
            Player::Blue => Response { verdict: turned_away(), ..response },
        };
        let (mut game, mut records) = (Judged { inner: MatrixGame::new(brps()), plays: true, judge }, Vec::new());
        let config = Config { order, ..Config::psro(5, 1e-9) };
        let solution = solver::solve(&mut game, vec![0], vec![0], &config, &mut records).unwrap();
        assert_eq!(solution.stop_reason, StopReason::Iterations, "an infeasible response certifies nothing");
        assert_eq!((solution.blues, solution.gap, records.len()), (vec![0], None, 5));
        let blue = &records[1].blue;
        assert!(matches!(blue.verdict, Verdict::Rejected { .. }) && blue.gain.mean > 0.0);
    }
}

#[test]
fn a_redundant_response_is_not_admitted_and_certifies() {
    for order in [Order::Simultaneous, Order::Alternating] {
        for (gain, stop_reason) in [(0.0, StopReason::Converged), (0.1, StopReason::Iterations)] {
            let nothing_new = || Verdict::Redundant { reason: "nothing new".to_owned() };
            let judge = |_, _| Response { policy: 1, gain: Estimate::exact(gain), verdict: nothing_new() };
            let mut game = Judged { inner: MatrixGame::new(brps()), plays: true, judge };
            let config = Config { order, ..Config::psro(3, 1e-9) };
            let solution = solver::solve(&mut game, vec![0], vec![0], &config, &mut ()).unwrap();
            assert_eq!((solution.stop_reason, solution.gap), (stop_reason, Some(2.0 * gain)));
            assert_eq!((solution.reds, solution.blues), (vec![0], vec![0]));
        }
    }
}

#[test]
fn an_arena_that_forgets_an_entry_is_found_out() {
    let mut game = Judged { inner: MatrixGame::new(brps()), plays: false, judge: |_, response| response };
    let outcome = solver::solve(&mut game, vec![0], vec![0], &Config::psro(3, 0.1), &mut ());
    assert_eq!(outcome, Err(GameError::NeverPlayed { row: 0, col: 0 }));
}
