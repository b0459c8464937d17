//! Self-BLEU against sacreBLEU, on what `xtask/golden/self_bleu.py` recorded.

use grts::semantic::{SelfBleu, words};
use serde_json::Value;

#[test]
fn self_bleu_is_that_of_sacrebleu() {
    let text = include_str!("fixtures/self_bleu.json");
    let fixture: Value = serde_json::from_str(text).unwrap();
    let cases = fixture["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 4);
    for case in cases {
        let texts: Vec<String> = serde_json::from_value(case["texts"].clone()).unwrap();
        let cut: Vec<Vec<String>> = serde_json::from_value(case["words"].clone()).unwrap();
        for (text, cut) in texts.iter().zip(cut) {
            assert_eq!(words(text), cut, "{text}");
        }
        let expected: Vec<f64> = serde_json::from_value(case["self_bleu"].clone()).unwrap();
        let all: Vec<usize> = (0..texts.len()).collect();
        let found = SelfBleu::new(&texts.iter().map(String::as_str).collect::<Vec<_>>()).of(&all, 2..=5);
        for (order, (found, expected)) in (2..).zip(found.iter().zip(expected)) {
            assert!((found - expected).abs() < 1e-9, "{texts:?}, order {order}: {found} for {expected}");
        }
    }
}

#[test]
fn a_subset_is_scored_as_if_it_were_all() {
    let texts = ["a b c d", "a b c e", "x y", "a b c d", "q"];
    let whole = SelfBleu::new(&texts);
    let part = SelfBleu::new(&[texts[0], texts[1], texts[4]]);
    assert_eq!(whole.of(&[0, 1, 4], 2..=5), part.of(&[0, 1, 2], 2..=5));
    assert_eq!(whole.distinct(&[0, 3], 2), 0.5);
    assert_eq!(whole.distinct(&[4], 2), 0.0);
}
