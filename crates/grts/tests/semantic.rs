//! The semantic space on the built-in world: is what lies together of one kind?
//!
//! `GRTS_EMBEDDER=DIR cargo test --release -p grts --test semantic -- --nocapture` asks it of a directory of
//! `sentence-transformers` instead of the base.

use grts::models::builtin;
use grts::policy::Base;
use grts::semantic::{Embedder, SemanticSpace};
use grts::world::{MERIDIAN_SEED, World};
use grts_game::Estimate;
use grts_lm::bert::SentenceEncoder;
use std::path::Path;

/// Held-out paraphrases of each cell.
const PARAPHRASES: usize = 4;

#[test]
fn nearest_neighbours_share_form_or_department() {
    let base = Base::load(&builtin().unwrap()).unwrap();
    let world = World::meridian(MERIDIAN_SEED);
    let asks: Vec<_> = world.grid(PARAPHRASES, 1).into_iter().filter(|case| !case.chain).collect();
    let texts: Vec<&str> = asks.iter().map(|case| case.user_turns[0].as_str()).collect();
    let encoder = std::env::var_os("GRTS_EMBEDDER").map(|d| SentenceEncoder::load(Path::new(&d)).unwrap());
    let embedder = encoder.as_ref().map_or(Embedder::Base(&base), Embedder::Sentences);
    let space = SemanticSpace::new(embedder, &texts).unwrap();
    let vectors = space.embed(&texts).unwrap();
    let cosine = |i: usize, j: usize| vectors[i].iter().zip(&vectors[j]).map(|(a, b)| a * b).sum::<f64>();
    let (mut either, mut form, mut department) = (0, 0, 0);
    for i in 0..texts.len() {
        let others = (0..texts.len()).filter(|&j| texts[j] != texts[i]);
        let nearest = others.max_by(|&a, &b| cosine(i, a).total_cmp(&cosine(i, b))).unwrap();
        let (own, near) = (asks[i].cell, asks[nearest].cell);
        either += u64::from(own.form == near.form || own.department == near.department);
        form += u64::from(own.form == near.form);
        department += u64::from(own.department == near.department);
    }
    let n = texts.len() as u64;
    for (name, count) in [("form or department", either), ("form", form), ("department", department)] {
        let Estimate { mean, low, high, .. } = Estimate::proportion(count, n);
        println!("nearest neighbour shares {name}: {mean:.3} [{low:.3}, {high:.3}], n = {n}");
    }
    assert!(either as f64 >= 0.8 * n as f64, "{either} of {n}");
}
