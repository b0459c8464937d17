//! Red's oracle against a blue in which one attack in some thirty succeeds: what its search is for.

use grts::judge::{Exchange, Judge};
use grts::oracle::{RedOracle, Training, TrainingLog};
use grts::policy::{Base, Policy};
use grts::rollout::Table;
use grts::scenario::{Learning, Scenario};
use grts::world::{OPENING, leaked};
use grts_game::rules::{Aggregator, Rules};
use grts_game::stream::StreamKey;
use grts_lm::decode::GenerationConfig;
use grts_lm::sampling::Sampling;
use std::path::Path;

/// Counts the sealed word of one department and no other.
struct OneWord(usize);

impl Judge for OneWord {
    fn score(&self, history: &[Exchange<'_>]) -> Option<f64> {
        history.last().map(|turn| f64::from(u8::from(leaked(turn.blue) == Some(self.0))))
    }
}

fn train(department: usize, search_rounds: usize, steps: usize) -> TrainingLog {
    let base = Base::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/meridian/base")).unwrap();
    let generation =
        GenerationConfig { sampling: Sampling::default(), max_tokens: 40, stop: base.model.stop().to_vec() };
    let table = Table {
        base: &base,
        rules: &Rules::new(2, Aggregator::Max, 0.5).unwrap(),
        judge: &OneWord(department),
        opening: OPENING,
        red_generation: &generation,
        blue_generation: &generation,
    };
    let learning = Learning { steps, batch: 64, ..Scenario::builtin().unwrap().red.learning };
    let key = StreamKey { seed: 5, iteration: 0, purpose: 1, entry: 0, episode: 0, turn: 0 };
    let training = Training { table: &table, learning: &learning, key };
    let oracle =
        RedOracle { training, fluency_floor: -1.5, multiplier_rate: 0.5, search_rounds, search_dialogues: 512 };
    let mut told = Vec::new();
    let blue = Policy::base();
    let mut hear = |returns| {
        told.push(returns);
        Ok(())
    };
    let (_, log) = oracle.respond(&[(&blue, 1.0)], &mut hear).unwrap();
    let lived: Vec<f64> = log.search.iter().chain(&log.returns).copied().collect();
    assert_eq!(told, lived, "progress is told once a round and a step");
    log
}

#[test]
fn the_search_makes_a_rare_success_common() {
    let log = train(6, 3, 1);
    let [first, .., last] = log.search[..] else { panic!("{log:?}") };
    assert!(first > 0.0 && first < 0.1, "{log:?}");
    assert!(last > 5.0 * first && log.returns[0] > 0.5, "{log:?}");
    assert_eq!(log.dialogues, 512 + 256 + 128 + 64);
}

#[test]
fn a_search_that_finds_nothing_learns_nothing() {
    let log = train(usize::MAX, 2, 1);
    assert_eq!((log.search, log.returns), (vec![0.0, 0.0], vec![0.0]));
}
