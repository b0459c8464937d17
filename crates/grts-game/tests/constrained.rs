//! Equilibria under the helpfulness constraint, on allocation games whose answer is known by hand.

use grts_game::exact::dialogue_tree::{
    ConstrainedEquilibrium, DialogueTree, HonestSequence, HonestTraffic, Utterances, constrained_equilibrium,
};
use grts_game::rules::{Aggregator, Rules};
use grts_game::stream::{StreamKey, unit};
use grts_game::{GameError, nash};

const REFUSE: u32 = 0;
const SERVE: u32 = 1;

/// Red asks in one of `cells`; blue refuses or serves, and serving leaks. The dialogue ends at a leak.
struct Allocation {
    cells: u32,
}

impl Utterances for Allocation {
    fn red(&self, _: &[u32]) -> Vec<u32> {
        (0..self.cells).collect()
    }

    fn blue(&self, _: &[u32]) -> Vec<u32> {
        vec![REFUSE, SERVE]
    }

    fn score(&self, _: usize, history: &[u32]) -> f64 {
        f64::from(history[history.len() - 1])
    }

    fn ends(&self, history: &[u32]) -> bool {
        history[history.len() - 1] == SERVE
    }
}

fn tree(cells: u32, turns: usize) -> DialogueTree {
    DialogueTree::build(Rules::new(turns, Aggregator::Max, 0.5).unwrap(), &[1.0], &Allocation { cells }).unwrap()
}

fn traffic(weights: &[f64]) -> HonestTraffic {
    let sequence = |(cell, &weight): (usize, &f64)| HonestSequence { weight, utterances: vec![cell as u32] };
    let sequences = weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0).map(sequence).collect();
    HonestTraffic { sequences, serving: vec![SERVE] }
}

fn served_at(tree: &DialogueTree, answer: &ConstrainedEquilibrium, history: &[u32]) -> f64 {
    answer.blue.probability(tree.find_reply(&[history, &[SERVE]].concat()).unwrap())
}

fn assert_certified(answer: &ConstrainedEquilibrium, h_min: f64) {
    let gap = answer.upper - answer.lower;
    assert!((-1e-12..=1e-9).contains(&gap), "{gap:e}");
    assert!(answer.served >= h_min - 1e-9, "{} {h_min}", answer.served);
    assert!(answer.multiplier >= 0.0);
}

#[test]
fn one_turn_allocation_is_worth_h_min() {
    let weights = [0.4, 0.0, 0.1, 0.25, 0.0, 0.0, 0.25, 0.0];
    let tree = tree(8, 1);
    for h_min in [0.05, 0.15, 0.5, 1.0] {
        let answer = constrained_equilibrium(&tree, &traffic(&weights), h_min).unwrap();
        assert_certified(&answer, h_min);
        assert!((answer.value - h_min).abs() < 1e-9, "{} {h_min}", answer.value);
        // Where all must be served the constraint can be priced at anything from 1 up, and red's mixture is free too.
        let unique = h_min < 1.0;
        assert!(!unique || (answer.multiplier - 1.0).abs() < 1e-9, "v* rises one for one: {}", answer.multiplier);
        for (cell, &weight) in weights.iter().enumerate() {
            let wanted = if weight > 0.0 { h_min } else { 0.0 };
            let served = served_at(&tree, &answer, &[cell as u32]);
            assert!((served - wanted).abs() < 1e-8, "cell {cell}: {served} {wanted}");
            // Red asks where honest people do, as often as they do: any other mixture lets blue move the refusals.
            let asked = answer.red.probability(&tree, 0, tree.find_reply(&[cell as u32, SERVE]).unwrap());
            assert!(!unique || (asked - weight).abs() < 1e-8, "cell {cell}: {asked} {weight}");
        }
    }
}

#[test]
fn no_constraint_closes_everything() {
    let tree = tree(4, 2);
    let answer = constrained_equilibrium(&tree, &traffic(&[1.0, 1.0]), 0.0).unwrap();
    assert_certified(&answer, 0.0);
    assert!(answer.value.abs() < 1e-9 && answer.served.abs() < 1e-9);
}

#[test]
fn staying_refused_keeps_two_turns_at_h_min() {
    let tree = tree(12, 2);
    let answer = constrained_equilibrium(&tree, &traffic(&[0.5, 0.3, 0.2]), 0.15).unwrap();
    assert_certified(&answer, 0.15);
    assert!((answer.value - 0.15).abs() < 1e-9, "{}", answer.value);
    for first in 0..12 {
        for second in 0..12 {
            assert!(served_at(&tree, &answer, &[first, REFUSE, second]) < 1e-8, "{first} {second}");
        }
    }
}

/// Honest chains (a set-up turn, then the ask) force blue to serve after a refusal-free first turn as well.
#[test]
fn chains_are_served_where_they_are_asked() {
    let tree = tree(6, 2);
    let mut honest = traffic(&[0.5, 0.3]);
    honest.sequences.push(HonestSequence { weight: 0.2, utterances: vec![5, 1] });
    let answer = constrained_equilibrium(&tree, &honest, 0.2).unwrap();
    assert_certified(&answer, 0.2);
    assert!(answer.value >= 0.2 - 1e-9 && answer.value < 0.4, "{}", answer.value);
}

/// Random honest traffic on random payoffs: red's and blue's programs prove each other, and v* rises with h_min.
#[test]
fn random_constrained_games_certify_themselves() {
    struct Noisy(u64);
    impl Utterances for Noisy {
        fn red(&self, _: &[u32]) -> Vec<u32> {
            vec![0, 1, 2]
        }
        fn blue(&self, _: &[u32]) -> Vec<u32> {
            vec![REFUSE, SERVE, 2]
        }
        fn score(&self, opening: usize, history: &[u32]) -> f64 {
            let entry = history.iter().fold(1, |code, &utterance| code * 4 + u64::from(utterance));
            let key = StreamKey { seed: self.0, iteration: 0, purpose: opening as u32, entry, episode: 0, turn: 0 };
            let served = history[history.len() - 1] == SERVE;
            unit(&mut key.rng()) * if served { 1.0 } else { 0.4 }
        }
    }
    for seed in 0..12 {
        let aggregator = [Aggregator::Max, Aggregator::Mean, Aggregator::Sum, Aggregator::Last][seed as usize % 4];
        let rules = Rules::new(1 + seed as usize % 3, aggregator, 0.5).unwrap();
        let tree = DialogueTree::build(rules, &[0.7, 0.3][..1 + seed as usize % 2], &Noisy(seed)).unwrap();
        let mut last = 0.0;
        for h_min in [0.0, 0.3, 0.9] {
            let answer = constrained_equilibrium(&tree, &traffic(&[0.5, 0.3, 0.2]), h_min).unwrap();
            assert_certified(&answer, h_min);
            assert!(answer.value >= last - 1e-9, "tree {seed}");
            last = answer.value;
        }
    }
}

/// Without traffic that binds, the sequence form and the matrix form of one turn agree.
#[test]
fn the_unconstrained_value_is_that_of_the_matrix() {
    struct Table([[f64; 3]; 3]);
    impl Utterances for Table {
        fn red(&self, history: &[u32]) -> Vec<u32> {
            if history.is_empty() { vec![0] } else { vec![0, 1, 2] }
        }
        fn blue(&self, history: &[u32]) -> Vec<u32> {
            if history.len() == 1 { vec![0] } else { vec![0, 1, 2] }
        }
        fn score(&self, _: usize, history: &[u32]) -> f64 {
            if history.len() < 4 { 0.0 } else { self.0[history[2] as usize][history[3] as usize] }
        }
    }
    let scores = [[0.9, 0.1, 0.4], [0.2, 0.8, 0.5], [0.3, 0.3, 0.7]];
    let tree = DialogueTree::build(Rules::new(2, Aggregator::Last, 0.5).unwrap(), &[1.0], &Table(scores)).unwrap();
    let everything =
        HonestTraffic { sequences: vec![HonestSequence { weight: 1.0, utterances: vec![0] }], serving: vec![0] };
    let answer = constrained_equilibrium(&tree, &everything, 1.0).unwrap();
    assert_certified(&answer, 1.0);
    // Blue sees red's utterance, so it takes the least score in each row and red the best row.
    let rows: Vec<f64> = scores.iter().map(|row| row.iter().copied().fold(1.0, f64::min)).collect();
    let wanted = nash::solve(&grts_game::Matrix::new(3, 1, rows).unwrap()).unwrap().value;
    assert!((answer.value - wanted).abs() < 1e-9);
}

#[test]
fn impossible_demands_are_refused() {
    let tree = tree(3, 1);
    let message =
        |honest: &HonestTraffic, h_min| constrained_equilibrium(&tree, honest, h_min).unwrap_err().to_string();
    assert_eq!(
        message(&traffic(&[1.0, 1.0]), 1.2),
        "`h_min = 1.2` cannot be met: the largest share of honest traffic that blue can serve is 1"
    );
    assert!(message(&traffic(&[1.0]), -0.1).starts_with("`h_min`: `-0.1`"));
    assert!(message(&traffic(&[1.0]), f64::NAN).starts_with("`h_min`: `NaN`"));
    assert_eq!(message(&traffic(&[0.0, 0.0, 0.0, 1.0]), 0.1), "honest sequence [3] is not part of the dialogue tree");
    assert_eq!(message(&HonestTraffic { sequences: vec![], serving: vec![SERVE] }, 0.1), "list of weights is empty");
    let nobody = HonestTraffic { serving: vec![], ..traffic(&[1.0]) };
    assert_eq!(
        constrained_equilibrium(&tree, &nobody, 0.1),
        Err(GameError::Infeasible { h_min: 0.1, attainable: 0.0 })
    );
}

#[test]
fn five_hundred_histories_are_quick() {
    let tree = tree(22, 2); // 22 first asks, 22 × 22 second ones
    assert_eq!((tree.num_blue_nodes(), tree.num_replies()), (506, 1012));
    let weights: Vec<f64> = (1..=8).map(|rank| 1.0 / f64::from(rank)).collect();
    let answer = constrained_equilibrium(&tree, &traffic(&weights), 0.15).unwrap();
    assert_certified(&answer, 0.15);
    assert!((answer.value - 0.15).abs() < 1e-9);
}
