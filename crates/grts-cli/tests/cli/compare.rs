//! Comparisons: a directory of runs that the same command goes on with, and tables that say the same in every format.

use crate::{Desk, TINY};
use serde_json::Value;
use std::fs;

fn words<'a>(methods: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let fixed = ["compare", "tiny.toml", "--dir", "all", "--seeds", "1", "--exploiters", "1"];
    [&fixed[..], &["--exploiter-budget", "0.5", "--methods", methods], more].concat()
}

#[test]
fn methods_are_compared_and_added() {
    let desk = Desk::new();
    let settings = TINY.replace("[red]", "[red]\nsearch_rounds = 0");
    desk.write("tiny.toml", &format!("{settings}\n[budget]\ntokens = 20000\n"));
    let first = desk.grts(&words("psro,heuristic", &["--json"]));
    assert_eq!(first.code, Some(0), "{}", first.stderr);
    let told: Value = serde_json::from_str(&first.stdout).unwrap();
    let stored: Value = serde_json::from_str(&fs::read_to_string(desk.path("all/comparison.json")).unwrap()).unwrap();
    assert_eq!(told, stored);
    assert_eq!(told["runs"].as_array().unwrap().len(), 2);
    for run in told["runs"].as_array().unwrap() {
        assert_eq!(run["stop_reason"], "budget", "{run}");
        assert!(run["tokens"].as_u64().unwrap() >= 20_000);
        // The worst of all methods' attackers is the worst of the two that this blue met.
        let met = told["cross_play"].as_array().unwrap().iter().filter(|pair| pair["blue"] == run["method"]);
        let worst = met.map(|pair| pair["asr"]["mean"].as_f64().unwrap()).fold(0.0, f64::max);
        assert_eq!(run["blue"]["worst_red"]["mean"].as_f64(), Some(worst));
    }
    assert_eq!(told["cross_play"].as_array().unwrap().len(), 4);
    let lines = |name: &str| fs::read_to_string(desk.path(name)).unwrap().lines().count();
    assert_eq!((lines("all/runs.csv"), lines("all/cross-play.csv")), (3, 5));

    // A third method is added; the two that ended stay as they are, and are done before it begins.
    let written = |method: &str| fs::metadata(desk.path(&format!("all/{method}-h0.15-s1/summary.json"))).unwrap();
    let before = written("psro").modified().unwrap();
    let grown = desk.grts(&words("grts,psro,heuristic", &[]));
    assert_eq!(grown.code, Some(0), "{}", grown.stderr);
    assert_eq!(written("psro").modified().unwrap(), before);
    assert!(
        grown.stdout.starts_with("v* is 0.150 at h_min 0.15; lower is better for blue\n\nFINAL BLUE "),
        "{}",
        grown.stdout
    );
    assert!(grown.stdout.contains("\n3 grts "), "{}", grown.stdout);
    assert!(grown.stderr.contains(": 3800/6000"), "two runs of three, but for their cross-play: {}", grown.stderr);
    let again: Value = serde_json::from_str(&desk.grts(&words("psro,heuristic", &["--json"])).stdout).unwrap();
    assert_eq!(again, told, "what was measured is taken as it is");

    // Other settings do not mix with what is there.
    let refused = desk.refusal(&words("psro", &["--tokens", "30000"]));
    assert!(refused.contains("`all/psro-h0.15-s1` was begun with other settings"), "{refused}");
}

#[test]
fn an_equal_budget_is_asked_for() {
    let desk = Desk::new();
    desk.write("tiny.toml", TINY);
    let refused = desk.refusal(&words("psro", &[]));
    assert!(refused.contains("methods are compared at an equal budget") && refused.contains("`--tokens`"), "{refused}");
}
