//! What each setting may be: one table, so that a reader sees every limit at once.
//!
//! Limits are checked on the text of the file, before any typed value exists, because only there the
//! line and the spelling of the user are still known. The table is complete by test: a number
//! without a row here fails the test suite. It says what is meaningful, not what is sensible.

use std::ops::{Bound, RangeBounds};

use grts_game::MetaSolver;
use grts_game::rules::{Aggregator, Schedule};
use grts_game::sampling::Allocation;
use serde::Serialize;

use super::settings::{Dtype, MetaStrategy, Method, RedDiversity};

/// An interval with open or closed ends.
pub(super) type Range = (Bound<f64>, Bound<f64>);

const COUNT: Range = (Bound::Included(1.0), Bound::Included(1e9));
/// A variance needs two samples.
const SAMPLE: Range = (Bound::Included(2.0), Bound::Included(1e9));
const SHARE: Range = (Bound::Included(0.0), Bound::Included(1.0));
const POSITIVE: Range = (Bound::Excluded(0.0), Bound::Unbounded);
const NOT_NEGATIVE: Range = (Bound::Included(0.0), Bound::Unbounded);

/// Sections (`""` is the top level), key, allowed range.
const RANGES: &[(&[&str], &str, Range)] = &[
    (&[""], "seed", NOT_NEGATIVE),
    (&["base"], "world_seed", NOT_NEGATIVE),
    (&["game"], "turns", (Bound::Included(1.0), Bound::Included(64.0))),
    (&["game"], "red_team", (Bound::Included(1.0), Bound::Included(64.0))),
    (&["game"], "threshold", (Bound::Excluded(0.0), Bound::Included(1.0))),
    (&["game"], "h_min", (Bound::Included(0.0), Bound::Excluded(1.0))),
    (&["solver"], "iterations", COUNT),
    (&["solver", "certify"], "epsilon", NOT_NEGATIVE),
    (&["solver"], "slack", NOT_NEGATIVE),
    (&["solver"], "entry_dialogues", SAMPLE),
    (&["solver"], "gain_dialogues", SAMPLE),
    (&["certify"], "dialogues", COUNT),
    (&["red", "blue"], "steps", COUNT),
    (&["red", "blue"], "batch", SAMPLE),
    (&["red", "blue"], "learning_rate", (Bound::Excluded(0.0), Bound::Included(1.0))),
    (&["red", "blue"], "lora_rank", (Bound::Included(1.0), Bound::Included(1024.0))),
    (&["red", "blue"], "lora_alpha", POSITIVE),
    (&["red", "blue", "probe"], "beta", NOT_NEGATIVE),
    (&["red", "blue"], "clip", (Bound::Excluded(0.0), Bound::Excluded(1.0))),
    (&["red", "blue"], "epochs", (Bound::Included(1.0), Bound::Included(100.0))),
    (&["red", "blue"], "minibatches", (Bound::Included(1.0), Bound::Included(100.0))),
    (&["red", "blue"], "max_tokens", (Bound::Included(1.0), Bound::Included(4096.0))),
    (&["red", "blue"], "temperature", (Bound::Excluded(0.0), Bound::Included(10.0))),
    (&["red"], "fluency_floor", (Bound::Unbounded, Bound::Included(0.0))),
    (&["red"], "search_rounds", (Bound::Included(0.0), Bound::Included(100.0))),
    (&["red"], "search_dialogues", COUNT),
    (&["red"], "diversity_weight", NOT_NEGATIVE),
    (&["red"], "neighbours", COUNT),
    (&["red"], "archive_dialogues", SAMPLE),
    (&["red"], "repertoire", (Bound::Included(0.0), Bound::Included(1e6))),
    (&["red"], "entropy_floor", NOT_NEGATIVE),
    (&["red"], "distinct_floor", SHARE),
    (&["red"], "reference_floor", (Bound::Unbounded, Bound::Included(0.0))),
    (&["red"], "repeats_ceiling", SHARE),
    (&["blue"], "final_rate", (Bound::Excluded(0.0), Bound::Included(1.0))),
    (&["blue"], "exploration", SHARE),
    (&["blue"], "honest_batch", COUNT),
    (&["blue"], "honest_requests", COUNT),
    (&["blue"], "concessions", (Bound::Included(0.0), Bound::Included(1e6))),
    (&["red", "blue"], "multiplier_rate", NOT_NEGATIVE),
    (&["blue"], "helpfulness_loss", SHARE),
    (&["probe"], "steps", COUNT),
    (&["probe"], "dialogues", SAMPLE),
    (&["evaluation"], "honest_dialogues", SAMPLE),
    (&["evaluation"], "open_dialogues", SAMPLE),
    // The hottest cell is chosen on one half of the paraphrases and measured on the other.
    (&["evaluation"], "grid_paraphrases", SAMPLE),
    (&["budget"], "tokens", (Bound::Included(1.0), Bound::Unbounded)),
    (&["budget"], "dialogues", (Bound::Included(1.0), Bound::Unbounded)),
    (&["budget"], "seconds", (Bound::Included(1.0), Bound::Unbounded)),
];

/// In the order in which messages list them.
const METHODS: [Method; 6] =
    [Method::Psro, Method::Grts, Method::FictitiousPlay, Method::SelfPlay, Method::SingleAttacker, Method::Heuristic];
const DIVERSITIES: [RedDiversity; 3] = [RedDiversity::Novelty, RedDiversity::LogDet, RedDiversity::PolicySpace];
const AGGREGATORS: [Aggregator; 4] = [Aggregator::Max, Aggregator::Mean, Aggregator::Sum, Aggregator::Last];
const ALLOCATIONS: [Allocation; 2] = [Allocation::Adaptive, Allocation::Uniform];

const SCHEDULES: [Schedule; 3] = [Schedule::Relay, Schedule::Parallel, Schedule::Drawn];

/// The allowed range of a number; `None` for a key that is not a number.
pub(super) fn range(section: &str, key: &str) -> Option<Range> {
    let row = RANGES.iter().find(|(sections, name, _)| sections.contains(&section) && *name == key);
    row.map(|(_, _, range)| *range)
}

/// Whether `value` is finite and inside `range`.
pub(super) fn allows(range: Range, value: f64) -> bool {
    value.is_finite() && range.contains(&value)
}

/// The range in words: `at least 1 and below 5`.
pub(super) fn in_words((low, high): Range) -> String {
    let low = match low {
        Bound::Included(x) => Some(format!("at least {x}")),
        Bound::Excluded(x) => Some(format!("above {x}")),
        Bound::Unbounded => None,
    };
    let high = match high {
        Bound::Included(x) => Some(format!("at most {x}")),
        Bound::Excluded(x) => Some(format!("below {x}")),
        Bound::Unbounded => None,
    };
    match (low, high) {
        (Some(low), Some(high)) => format!("{low} and {high}"),
        (Some(one), None) | (None, Some(one)) => format!("{one} and finite"),
        (None, None) => "finite".to_owned(),
    }
}

/// The words a key accepts; `None` for a key that accepts any text.
pub(super) fn choices(section: &str, key: &str) -> Option<Vec<String>> {
    match (section, key) {
        ("", "method") => Some(words(&METHODS)),
        ("base", "dtype") => Some(words(&[Dtype::F32, Dtype::Bf16])),
        ("game", "aggregator") => Some(words(&AGGREGATORS)),
        ("red", "diversity") => Some(words(&DIVERSITIES)),
        ("game", "schedule") => Some(words(&SCHEDULES)),
        ("certify", "allocation") => Some(words(&ALLOCATIONS)),
        ("solver", "meta_strategy") => Some(words(&MetaSolver::ALL.map(MetaStrategy))),
        _ => None,
    }
}

/// The words as the file spells them.
fn words<T: Serialize>(all: &[T]) -> Vec<String> {
    let spelled = all.iter().filter_map(|one| toml::Value::try_from(one).ok());
    spelled.filter_map(|value| value.as_str().map(str::to_owned)).collect()
}

/// What is wrong with the text of a key, and the way out; `None` if nothing is.
pub(super) fn text_fault(section: &str, key: &str, text: &str) -> Option<(String, String)> {
    match (section, key) {
        ("", "name") if !is_name(text) => Some((
            "it must be 1 to 64 letters, digits, `-`, `_` or `.`, and not begin with `.`".into(),
            "the name becomes part of the run directory's name".into(),
        )),
        ("base", "model") if text.is_empty() => {
            Some(("it must not be empty".into(), "write `\"builtin\"` or the path of a model directory".into()))
        }
        ("semantic", "embedder") if text.is_empty() => Some((
            "it must not be empty".into(),
            "write `\"base\"` or the path of a sentence-transformers directory".into(),
        )),
        _ => None,
    }
}

/// Whether `text` can be a component of a path on every file system.
pub(crate) fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=64).contains(&text.len()) && !text.starts_with('.') && text.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::{RANGES, range};
    use crate::scenario::template;

    #[test]
    fn every_number_has_a_range_and_every_range_a_number() {
        let template = template().unwrap();
        let mut numbers = 0;
        let mut visit = |section: &str, table: &toml::Table| {
            for (key, value) in table.iter().filter(|(_, v)| v.is_integer() || v.is_float()) {
                assert!(range(section, key).is_some(), "[{section}] {key} = {value} has no range");
                numbers += 1;
            }
        };
        visit("", &template);
        for (section, value) in &template {
            if let Some(table) = value.as_table() {
                visit(section, table);
            }
        }
        assert_eq!(numbers, RANGES.iter().map(|(sections, ..)| sections.len()).sum::<usize>());
    }
}
