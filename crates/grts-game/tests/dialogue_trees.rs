//! Random dialogue trees through the loop, and best responses against brute force.

mod random_dialogue;

use grts_game::exact::dialogue_tree::{
    BluePlan, BlueStrategy, DialogueTree, RedPlan, RedStrategy, TreeGame, Utterances,
};
use grts_game::rules::{Aggregator, Rules};
use grts_game::solver::{self, Config, StopReason};
use random_dialogue::RandomDialogue;

fn tree(seed: u64, openings: usize, turns: usize, aggregator: Aggregator) -> DialogueTree {
    let rules = Rules::new(turns, aggregator, 0.5).unwrap();
    let weights: Vec<f64> = (1..=openings).map(|weight| weight as f64).collect();
    DialogueTree::build(rules, &weights, &RandomDialogue::new(seed)).unwrap()
}

#[test]
fn the_loop_solves_random_trees() {
    let aggregators = [Aggregator::Max, Aggregator::Mean, Aggregator::Sum, Aggregator::Last];
    let mut solved = 0;
    for (seed, &aggregator) in aggregators.iter().cycle().take(24).enumerate() {
        let (openings, turns) = (1 + seed % 3, 1 + seed / 3 % 3);
        let tree = tree(seed as u64, openings, turns, aggregator);
        for config in [Config::psro(2000, 1e-10), Config::grts(2000, 1e-10)] {
            let (reds, blues) = (vec![RedStrategy::first(&tree)], vec![BlueStrategy::uniform(&tree)]);
            let solution = solver::solve(&mut TreeGame::new(&tree), reds, blues, &config, &mut ()).unwrap();
            assert_eq!(solution.stop_reason, StopReason::Converged, "tree {seed}");
            let red = RedPlan::mixture(&tree, &solution.reds, &solution.equilibrium.row);
            let blue = BluePlan::mixture(&tree, &solution.blues, &solution.equilibrium.col);
            let regret = tree.nash_conv(&red, &blue);
            assert!(regret <= 1e-9, "tree {seed}: {regret:e}");
            assert!((tree.value(&red, &blue) - solution.equilibrium.value).abs() <= 1e-9);
            solved += 1;
        }
    }
    assert_eq!(solved, 48);
}

/// A pure strategy per seed: at every information set one utterance has the largest draw and gets all weight.
fn pure_blue(tree: &DialogueTree, seed: u64) -> BlueStrategy {
    let dice = RandomDialogue { coarse: false, ..RandomDialogue::new(seed) };
    let best = |history: &[u32]| {
        let (last, before) = history.split_last().unwrap();
        let rivals = (0..3).filter(|&reply| tree.find_reply(&[before, &[reply]].concat()).is_some());
        rivals.max_by(|&a, &b| dice.draw(a, before).total_cmp(&dice.draw(b, before))) == Some(*last)
    };
    BlueStrategy::new(tree, |history| if best(history) { 1.0 } else { 0.0 })
}

/// One utterance of red takes all weight but for a trace of the others.
fn sharp_red(tree: &DialogueTree, seed: u64) -> RedStrategy {
    let dice = RandomDialogue { coarse: false, ..RandomDialogue::new(seed) };
    RedStrategy::new(tree, |opening, history| dice.draw(opening as u32, history).powi(40))
}

#[test]
fn no_strategy_beats_the_best_response() {
    for seed in 0..12 {
        let tree = tree(seed, 1 + seed as usize % 3, 1 + seed as usize % 3, Aggregator::Max);
        let blues: Vec<BlueStrategy> = (0..3).map(|k| pure_blue(&tree, 100 * seed + k)).collect();
        let reds: Vec<RedStrategy> = (0..3).map(|k| sharp_red(&tree, 100 * seed + k)).collect();
        let weights = [0.5, 0.2, 0.3];
        let (red, blue) = (RedPlan::mixture(&tree, &reds, &weights), BluePlan::mixture(&tree, &blues, &weights));
        let ((best_red, high), (best_blue, low)) = (tree.respond_red(&blue), tree.respond_blue(&red));
        // The responses are worth what they claim ...
        assert!((tree.value(&best_red.plan(&tree), &blue) - high).abs() < 1e-12);
        assert!((tree.value(&red, &best_blue.plan(&tree)) - low).abs() < 1e-12);
        // ... and nothing else is worth more.
        for rival in 0..200 {
            assert!(tree.value(&sharp_red(&tree, 7000 + rival).plan(&tree), &blue) <= high + 1e-12);
            assert!(tree.value(&red, &pure_blue(&tree, 7000 + rival).plan(&tree)) >= low - 1e-12);
        }
    }
}

/// Two red strategies mixed as wholes, on a tree where averaging their behaviour would be wrong.
#[test]
fn a_mixture_mixes_whole_strategies() {
    struct Twice;
    impl Utterances for Twice {
        fn red(&self, _: &[u32]) -> Vec<u32> {
            vec![0, 1]
        }
        fn blue(&self, _: &[u32]) -> Vec<u32> {
            vec![0]
        }
        fn score(&self, _: usize, history: &[u32]) -> f64 {
            // Scores when red says the same thing twice.
            if history.len() == 4 && history[0] == history[2] { 1.0 } else { 0.0 }
        }
    }
    let tree = DialogueTree::build(Rules::new(2, Aggregator::Max, 0.5).unwrap(), &[1.0], &Twice).unwrap();
    let stubborn = |what: u32| {
        RedStrategy::new(&tree, move |_, history| if history[history.len() - 1] == what { 1.0 } else { 0.0 })
    };
    let mixture = RedPlan::mixture(&tree, &[stubborn(0), stubborn(1)], &[0.5, 0.5]);
    let blue = BlueStrategy::uniform(&tree).plan(&tree);
    assert_eq!(tree.value(&mixture, &blue), 1.0);
    assert_eq!(tree.value(&mixture.behaviour(&tree).plan(&tree), &blue), 1.0);
    assert_eq!(tree.value(&RedStrategy::uniform(&tree).plan(&tree), &blue), 0.5);
}

/// Red knows which half of the city it wants; blue must guess. Hiding the opening is worth something to red.
#[test]
fn the_opening_is_hidden_from_blue() {
    struct Guess;
    impl Utterances for Guess {
        fn red(&self, _: &[u32]) -> Vec<u32> {
            vec![0]
        }
        fn blue(&self, _: &[u32]) -> Vec<u32> {
            vec![0, 1]
        }
        fn score(&self, opening: usize, history: &[u32]) -> f64 {
            f64::from(u8::from(history[1] as usize == opening))
        }
    }
    let tree = DialogueTree::build(Rules::new(1, Aggregator::Max, 0.5).unwrap(), &[3.0, 1.0], &Guess).unwrap();
    let (reply, value) = tree.respond_blue(&RedStrategy::first(&tree).plan(&tree));
    assert_eq!((value, reply.probability(1)), (0.25, 1.0));
}

#[test]
fn histories_are_found_again() {
    let tree = tree(5, 1, 3, Aggregator::Mean);
    for reply in 0..tree.num_replies() {
        assert_eq!(tree.find_reply(&tree.history(reply)), Some(reply));
    }
    assert_eq!(tree.find_reply(&[9, 0]), None);
    assert_eq!(tree.find_reply(&[0]), None);
}

#[test]
fn malformed_dialogues_are_refused() {
    struct Odd {
        silent: bool,
        score: f64,
    }
    impl Utterances for Odd {
        fn red(&self, _: &[u32]) -> Vec<u32> {
            vec![4]
        }
        fn blue(&self, _: &[u32]) -> Vec<u32> {
            if self.silent { vec![] } else { vec![0] }
        }
        fn score(&self, _: usize, _: &[u32]) -> f64 {
            self.score
        }
    }
    let message = |openings: &[f64], silent, score| {
        let rules = Rules::new(1, Aggregator::Max, 0.5).unwrap();
        DialogueTree::build(rules, openings, &Odd { silent, score }).unwrap_err().to_string()
    };
    assert_eq!(message(&[1.0], true, 0.0), "blue has no utterance after the history [4]");
    assert_eq!(message(&[1.0], false, 1.5), "score after [4, 0] for opening 0: `1.5` is not between 0 and 1");
    assert_eq!(message(&[1.0, -1.0], false, 0.0), "opening 1: `-1` is not a weight of at least 0");
    assert_eq!(message(&[], false, 0.0), "list of weights is empty");
    assert!(message(&[0.0], false, 0.0).contains("sum of the opening weights"));
}
