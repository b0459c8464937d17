//! What the measures of a game's shape cost: `cargo run --release -p grts-game --example geometry`.

use grts_game::alpha_rank::{Selection, of_pairs};
use grts_game::exact::families::game_of_skill;
use grts_game::geometry::{Agents, Settings, nash_clusters, survey, survey_exact};
use grts_game::stream::{StreamKey, unit};
use grts_game::{GameError, Matrix, MetaGame, Moments};
use std::time::Instant;

/// A meta-game of a run of the built-in world: shares of 96 dialogues.
fn recorded() -> Result<MetaGame, GameError> {
    let mut game = MetaGame::new((0.0, 1.0))?;
    let rows = include_str!("../tests/fixtures/meridian-21x21.csv").lines();
    for (row, line) in rows.enumerate() {
        game.add_row();
        for (col, share) in line.split(',').filter_map(|text| text.parse::<f64>().ok()).enumerate() {
            (game.num_cols()..=col).for_each(|_| _ = game.add_col());
            game.merge(row, col, Moments { count: 96, mean: share, m2: 96.0 * share * (1.0 - share) })?;
        }
    }
    Ok(game)
}

fn timed<T>(what: &str, compute: impl FnOnce() -> Result<T, GameError>, describe: impl FnOnce(T) -> String) {
    let begun = Instant::now();
    let found = compute().map_or_else(|error| error.to_string(), describe);
    println!("{what:<42} {:8.3} s  {found}", begun.elapsed().as_secs_f64());
}

fn main() -> Result<(), GameError> {
    let (skill, run) = (game_of_skill(300, 1)?, recorded()?);
    let ladder = Matrix::from_fn(300, 300, |i, j| j as f64 - i as f64)?;
    let mut rng = StreamKey { seed: 5, iteration: 0, purpose: 0, entry: 3, episode: 0, turn: 0 }.rng();
    let pairs = Matrix::from_fn(64, 64, |_, _| unit(&mut rng))?;
    let layers = |count: usize| format!("{count} layers");
    let clusters = |payoffs: &Matrix| Ok(nash_clusters(&Agents::of(payoffs)?)?.len());
    timed("game of skill, 300: survey", || survey_exact(&skill), |found| layers(found.clusters.len()));
    timed("game of skill, 300: Nash clusters", || clusters(&skill), layers);
    timed("ladder, 300: Nash clusters", || clusters(&ladder), layers);
    timed("random 64 × 64, 4,096 pairs: Nash clusters", || clusters(&pairs), layers);
    let settings = Settings { resamples: 200, seed: 1 };
    timed("recorded 21 × 21: survey, 200 draws", || survey(&run, &settings), |found| layers(found.clusters.len()));
    let limit = Selection { alpha: None, population: 50 };
    let played = |mass: Matrix| format!("{} of 441 pairs", mass.as_slice().iter().filter(|mass| **mass > 0.0).count());
    timed("recorded 21 × 21: α-rank", || of_pairs(&run.payoffs()?, &limit), played);
    Ok(())
}
