//! Kuhn and Leduc poker through the loop, against OpenSpiel's curves, and best responses against brute force.

use grts_game::exact::poker::{Kuhn, Leduc};
use grts_game::exact::sequence_form::{ExtensiveGame, Node, SequenceForm, SequenceGame, Strategy};
use grts_game::solver::{self, Config, Iteration, Solution};
use grts_game::stream::{StreamKey, unit};
use grts_game::{GameError, MetaSolver, Player};

fn run(form: &SequenceForm, config: &Config) -> (Solution<Strategy, Strategy>, Vec<Iteration>) {
    let mut iterations = Vec::new();
    let (reds, blues) = (vec![form.uniform(Player::Red)], vec![form.uniform(Player::Blue)]);
    let solution = solver::solve(&mut SequenceGame::new(form), reds, blues, config, &mut iterations).unwrap();
    (solution, iterations)
}

/// A behaviour drawn at random from the stream of this entry.
fn random(form: &SequenceForm, player: Player, entry: u64) -> Strategy {
    let key = StreamKey { seed: 11, iteration: 0, purpose: 0, entry, episode: 0, turn: 0 };
    let weight = |information: &str, action: usize| {
        let episode = information.bytes().fold(7_u32, |code, byte| code.wrapping_mul(31).wrapping_add(u32::from(byte)));
        unit(&mut StreamKey { episode, turn: action as u32, ..key }.rng()).powi(3)
    };
    form.strategy(player, &form.behaviour(player, weight).unwrap())
}

/// The curves of `xtask/golden/known_games.py`: responses to the uniform mixture of all responses so far.
#[test]
fn fictitious_play_follows_the_published_curves() {
    let fixture: serde_json::Value = serde_json::from_str(include_str!("fixtures/open_spiel.json")).unwrap();
    for (name, form) in
        [("kuhn", SequenceForm::unfold(&Kuhn).unwrap()), ("leduc", SequenceForm::unfold(&Leduc).unwrap())]
    {
        let published: Vec<f64> = serde_json::from_value(fixture["uniform_nash_conv"][name].clone()).unwrap();
        let (_, iterations) = run(&form, &Config::fictitious_play(published.len(), 0.0));
        assert!(published.len() > 30);
        for (record, nash_conv) in iterations.iter().zip(published) {
            let found = record.gap.unwrap();
            assert!((found - nash_conv).abs() < 1e-9, "{name} at {}: {found}, not {nash_conv}", record.index);
        }
    }
}

#[test]
fn kuhn_poker_is_solved_in_six_iterations() {
    let form = SequenceForm::unfold(&Kuhn).unwrap();
    let (solution, iterations) = run(&form, &Config::psro(20, 1e-12));
    assert!((iterations[0].gap.unwrap() - 11.0 / 12.0).abs() < 1e-12);
    assert!(solution.gap.unwrap() < 1e-12 && solution.iterations <= 7, "{}", solution.iterations);
    assert!((solution.equilibrium.value + 1.0 / 18.0).abs() < 1e-12);
    // The equilibria of Kuhn 1950: red bets the king three times as often as the jack, blue calls with the queen 1 in 3.
    let red = form.behaviour_of(Player::Red, &Strategy::mixture(&solution.reds, &solution.equilibrium.row));
    let blue = form.behaviour_of(Player::Blue, &Strategy::mixture(&solution.blues, &solution.equilibrium.col));
    let at = |player, information: &str| {
        (0..form.num_information_sets(player)).find(|&idx| form.information(player, idx) == information).unwrap()
    };
    let bets = |card: &str| red.probability(&form, Player::Red, at(Player::Red, card), 1);
    let answers = |information: &str| blue.probability(&form, Player::Blue, at(Player::Blue, information), 1);
    assert!(bets("0") <= 1.0 / 3.0 + 1e-9 && (bets("2") - 3.0 * bets("0")).abs() < 1e-9 && bets("1") < 1e-9);
    assert!((answers("1b") - 1.0 / 3.0).abs() < 1e-9 && (answers("0p") - 1.0 / 3.0).abs() < 1e-9);
}

/// Every rule by its name, through the loop. A rule that reads payoffs alone comes to populations that no longer grow, and
/// then nobody gains more in the whole game than inside the matrix, which is what the rule leaves there. The others are held
/// to what is known of them.
#[test]
fn every_rule_goes_as_far_on_kuhn_poker_as_it_can() {
    let form = SequenceForm::unfold(&Kuhn).unwrap();
    let (low, high) = form.payoff_range();
    for rule in MetaSolver::ALL {
        let config = Config { meta_strategy: rule, ..Config::psro(40, 1e-12) };
        let (solution, iterations) = run(&form, &config);
        let red = Strategy::mixture(&solution.reds, &solution.equilibrium.row);
        let blue = Strategy::mixture(&solution.blues, &solution.equilibrium.col);
        let nash_conv = form.nash_conv(&red, &blue);
        let inside = solution.equilibrium.nash_conv;
        let last = iterations.last().unwrap();
        let grew = last.num_reds < solution.reds.len() || last.num_blues < solution.blues.len();
        let limit = match rule {
            MetaSolver::Nash | MetaSolver::MaxEntropyNash => 1e-12,
            MetaSolver::RegretMatchingPlus { .. } => 1e-3,
            MetaSolver::FictitiousPlay { .. } | MetaSolver::WeakenedFictitiousPlay { .. } => 0.01,
            MetaSolver::ProjectedReplicator { .. } | MetaSolver::LogitQre { .. } => 0.02,
            MetaSolver::Uniform => 0.1,
            MetaSolver::AlphaRank { .. } | MetaSolver::RectifiedNash => 0.2,
            MetaSolver::Latest => high - low,
        };
        assert!((0.0..=limit).contains(&nash_conv.max(0.0)), "{}: {nash_conv:e}", rule.name());
        match rule {
            MetaSolver::Uniform => assert!(nash_conv > 1e-3 && nash_conv < iterations[0].gap.unwrap() / 5.0),
            MetaSolver::Latest => assert!(nash_conv > 0.1, "{nash_conv}: self-play goes round"),
            MetaSolver::RectifiedNash => {
                assert!(inside < 1e-12 && iterations.iter().all(|record| record.gap.is_none()))
            }
            _ => assert!(!grew && (nash_conv - inside).abs() < 1e-9, "{}: {nash_conv:e} {inside:e}", rule.name()),
        }
    }
}

/// Anchor of an independent implementation: NashConv of the population at 5, 10 and 20.
#[test]
fn leduc_under_nash_follows_the_anchor() {
    let form = SequenceForm::unfold(&Leduc).unwrap();
    let sizes = [Player::Red, Player::Blue].map(|player| form.num_information_sets(player));
    assert_eq!((sizes, form.num_sequences(Player::Red), form.num_leaves()), ([468, 468], 1093, 5520));
    let (solution, iterations) = run(&form, &Config::psro(21, 1e-12));
    // Nash meta-strategies are not unique, so the curve is held to a tenth.
    for (at, anchor) in [(0, 4.747_222), (5, 4.90), (10, 3.31), (20, 2.06)] {
        let found = iterations[at].gap.unwrap();
        assert!((found / anchor - 1.0).abs() < 0.1, "at {at}: {found}, not {anchor}");
    }
    let red = Strategy::mixture(&solution.reds, &solution.equilibrium.row);
    let blue = Strategy::mixture(&solution.blues, &solution.equilibrium.col);
    assert!((form.value(&red, &blue) - solution.equilibrium.value).abs() < 1e-9);
}

/// All 64 pure strategies of a side of Kuhn poker.
fn all_pure(form: &SequenceForm, player: Player) -> Vec<Strategy> {
    let pure = |code: usize| {
        let place = |information: &str| (0..6).find(|&idx| form.information(player, idx) == information).unwrap();
        let weight =
            |information: &str, action: usize| if code >> place(information) & 1 == action { 1.0 } else { 0.0 };
        form.strategy(player, &form.behaviour(player, weight).unwrap())
    };
    (0..64).map(pure).collect()
}

#[test]
fn best_responses_agree_with_brute_force() {
    let form = SequenceForm::unfold(&Kuhn).unwrap();
    let (reds, blues) = (all_pure(&form, Player::Red), all_pure(&form, Player::Blue));
    for entry in 0..20 {
        let (red, blue) = (random(&form, Player::Red, entry), random(&form, Player::Blue, entry));
        let best = reds.iter().map(|pure| form.value(pure, &blue)).fold(f64::NEG_INFINITY, f64::max);
        let worst = blues.iter().map(|pure| form.value(&red, pure)).fold(f64::INFINITY, f64::min);
        let ((best_red, high), (best_blue, low)) = (form.respond_red(&blue), form.respond_blue(&red));
        assert!((high - best).abs() < 1e-12 && (low - worst).abs() < 1e-12);
        assert!((form.value(&best_red, &blue) - high).abs() < 1e-12);
        assert!((form.value(&red, &best_blue) - low).abs() < 1e-12);
    }
}

/// Expected return by walking the whole game, with nothing of the sequence form but the behaviours.
fn walk<G: ExtensiveGame>(game: &G, state: &G::State, weight: &dyn Fn(Player, &str, usize) -> f64) -> f64 {
    let after = |action| walk(game, &game.after(state, action), weight);
    match game.node(state) {
        Node::End { returns } => returns,
        Node::Chance { probabilities } => {
            probabilities.iter().enumerate().filter(|(_, p)| **p > 0.0).map(|(k, p)| p * after(k)).sum()
        }
        Node::Decision { player, information, actions } => {
            (0..actions).map(|action| weight(player, &information, action) * after(action)).sum()
        }
    }
}

#[test]
fn values_agree_with_a_walk_through_the_game() {
    let form = SequenceForm::unfold(&Leduc).unwrap();
    let (red, blue) = (random(&form, Player::Red, 3), random(&form, Player::Blue, 4));
    let behaviours = [form.behaviour_of(Player::Red, &red), form.behaviour_of(Player::Blue, &blue)];
    let places: Vec<std::collections::HashMap<&str, usize>> = [Player::Red, Player::Blue]
        .map(|player| (0..468).map(|idx| (form.information(player, idx), idx)).collect())
        .into();
    let weight = |player: Player, information: &str, action: usize| {
        let side = usize::from(player == Player::Blue);
        behaviours[side].probability(&form, player, places[side][information], action)
    };
    let walked = walk(&Leduc, &Leduc.start(), &weight);
    assert!((form.value(&red, &blue) - walked).abs() < 1e-12, "{walked}");
    // A mixture of whole strategies is worth the mixture of their values.
    let reds = [red, random(&form, Player::Red, 5)];
    let mixed = Strategy::mixture(&reds, &[0.3, 0.7]);
    let expected = 0.3 * form.value(&reds[0], &blue) + 0.7 * form.value(&reds[1], &blue);
    assert!((form.value(&mixed, &blue) - expected).abs() < 1e-12);
    let again = form.strategy(Player::Red, &form.behaviour_of(Player::Red, &mixed));
    assert!((form.value(&again, &blue) - expected).abs() < 1e-12, "a mixture has an equivalent behaviour (Kuhn 1953)");
}

/// Red moves twice and then the game ends; `forgets` hides the first move from the second.
struct Twice {
    forgets: bool,
    actions: usize,
    returns: f64,
}

impl ExtensiveGame for Twice {
    type State = Vec<usize>;

    fn start(&self) -> Vec<usize> {
        Vec::new()
    }

    fn node(&self, moves: &Vec<usize>) -> Node {
        let information = if self.forgets { moves.len().to_string() } else { format!("{moves:?}") };
        match moves.len() {
            2 => Node::End { returns: self.returns },
            _ => Node::Decision { player: Player::Red, information, actions: self.actions },
        }
    }

    fn after(&self, moves: &Vec<usize>, action: usize) -> Vec<usize> {
        [moves.as_slice(), &[action]].concat()
    }
}

#[test]
fn malformed_games_are_refused() {
    let unfold = |forgets, actions, returns| SequenceForm::unfold(&Twice { forgets, actions, returns });
    assert_eq!(unfold(false, 2, 1.0).unwrap().num_sequences(Player::Red), 7);
    assert_eq!(unfold(true, 2, 1.0), Err(GameError::ImperfectRecall { information: "1".to_owned() }));
    assert_eq!(unfold(false, 0, 1.0), Err(GameError::NoActions { information: "[]".to_owned() }));
    assert!(unfold(false, 1, f64::NAN).unwrap_err().to_string().contains("`NaN` is not a finite number"));
    let form = unfold(false, 2, 1.0).unwrap();
    let negative = form.behaviour(Player::Red, |_, action| action as f64 - 0.5).unwrap_err().to_string();
    assert!(negative.starts_with("action at `[]` 0: `-0.5`"), "{negative}");
}
