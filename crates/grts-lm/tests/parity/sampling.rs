//! Temperature, top-k and top-p against the logits processors of `transformers`.

use crate::{floats, json, largest_difference};
use grts_lm::sampling::Sampling;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use serde_json::Value;

const PROBABILITY: f32 = 1e-5;

fn cases() -> Vec<(Sampling, Vec<f32>, Vec<f32>, Value)> {
    let golden = json("sampling.json");
    let cases = golden["cases"].as_array().unwrap().iter().map(|case| {
        let sampling = Sampling {
            temperature: case["temperature"].as_f64().unwrap() as f32,
            top_k: case["top_k"].as_u64().map(|k| k as usize),
            top_p: case["top_p"].as_f64().unwrap() as f32,
        };
        (sampling, floats(&case["logits"]), floats(&case["probabilities"]), case["name"].clone())
    });
    cases.collect()
}

#[test]
fn probabilities_are_those_of_transformers() {
    let cases = cases();
    assert_eq!(cases.len(), 5);
    for (sampling, logits, expected, name) in cases {
        let got = sampling.probabilities(&logits);
        let off = largest_difference(&got, &expected);
        assert!(off <= PROBABILITY, "{name}: off by {off}");
        let zeros = |p: &[f32]| p.iter().map(|x| *x == 0.0).collect::<Vec<_>>();
        assert_eq!(zeros(&got), zeros(&expected), "{name}: other tokens are left out");
    }
}

/// 4 standard deviations of a frequency of 20,000 draws are at most 0.0142.
#[test]
fn draws_follow_the_probabilities() {
    const DRAWS: usize = 20_000;
    for (sampling, logits, expected, name) in cases() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut frequencies = vec![0.0; logits.len()];
        let mut scratch = Vec::new();
        for _ in 0..DRAWS {
            frequencies[sampling.draw(&logits, &mut rng, &mut scratch).0 as usize] += 1.0 / DRAWS as f32;
        }
        assert!(frequencies.iter().zip(&expected).all(|(f, p)| *f == 0.0 || *p > 0.0), "{name}: a token left out");
        let off = largest_difference(&frequencies, &expected);
        assert!(off < 0.0142, "{name}: a frequency is off by {off}");
    }
}
