//! `export --meta-game` on runs whose payoffs were written by hand; a run that was played is exported in `play`.

use crate::Desk;
use crate::geometry::create;
use grts::exchange::{self, GameTable, Sample};
use grts::scenario::Scenario;
use grts::store::{EntryRecord, EpisodeRecord, Manifest, Purpose, Records, RunDir};
use grts_game::{Estimate, Moments};
use serde_json::json;

const WON: [[u32; 3]; 2] = [[80, 10, 5], [20, 60, 5]];

#[test]
fn what_was_played_is_in_the_file() {
    let desk = Desk::new();
    create(&desk, &WON);
    let said = desk.grts(&["export", "run", "--meta-game", "game.npz"]);
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));
    let line = "`game.npz`: 2 red × 3 blue policies, 576 dialogues; payoffs, counts, variances, intervals\n";
    assert_eq!(said.stdout, line);
    let GameTable { payoffs, sample, names, strategies } = exchange::read(&desk.path("game.npz")).unwrap();
    let Sample { count, variance, interval } = sample.unwrap();
    let moments = |won: u32| -> Moments { (0..96).map(|k| f64::from(u8::from(k < won))).collect() };
    let [low, high] = interval.unwrap();
    for (at, won) in WON.into_iter().flatten().enumerate() {
        let mean = f64::from(won) / 96.0;
        assert_eq!((payoffs.as_slice()[at], count[at]), (mean, 96));
        assert!((variance[at] - moments(won).variance()).abs() < 1e-15);
        let Estimate { low: wanted_low, high: wanted_high, .. } = Estimate::proportion(u64::from(won), 96);
        assert!((low[at] - wanted_low).abs() < 1e-12 && (high[at] - wanted_high).abs() < 1e-12);
    }
    assert_eq!((names, strategies), (None, None), "nothing is made up");
    let said = desk.grts(&["export", "run", "--meta-game", "game.nfg", "--json"]);
    let holds: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(holds, json!({"cols": 3, "dialogues": 576, "file": "game.nfg", "holds": ["payoffs"], "rows": 2}));
    // Each format is the same game to `nash`.
    let value = |file: &str| -> serde_json::Value {
        let said = desk.grts(&["nash", file, "--json"]);
        serde_json::from_str::<serde_json::Value>(&said.stdout).unwrap()["value"].clone()
    };
    for file in ["game.csv", "game.parquet", "game.npy"] {
        assert_eq!(desk.grts(&["export", "run", "--meta-game", file]).code, Some(0));
    }
    for file in ["game.csv", "game.parquet", "game.npy", "game.nfg"] {
        assert_eq!(value(file), value("game.npz"), "{file}");
    }
}

/// A dialogue of a pairing that belongs to an entry.
fn episode(red: &str, blue: &str) -> EpisodeRecord {
    EpisodeRecord {
        iteration: Some(0),
        purpose: Purpose::Payoff,
        red: red.to_owned(),
        blue: blue.to_owned(),
        episode_idx: 0,
        returns: Some(0.5),
        cell: None,
        opening: String::new(),
        turns: Vec::new(),
        scores: Vec::new(),
    }
}

fn entry(row: u32, col: u32) -> EntryRecord {
    EntryRecord { iteration: 0, row, col, count: 2, mean: f64::from(row) / 4.0 + f64::from(col) / 2.0, m2: 0.0 }
}

#[test]
fn names_come_from_the_dialogues_and_mixtures_from_the_end() {
    let desk = Desk::new();
    let mut run = RunDir::create_at(&desk.path("run"), &Manifest::new(Scenario::builtin().unwrap())).unwrap();
    let pairing = |red, blue| [episode(red, blue), episode(red, blue)];
    let first =
        Records { entries: vec![entry(0, 0)], episodes: pairing("base", "base").to_vec(), ..Records::default() };
    run.commit_unit("payoffs/0/1x1", &0, &first).unwrap();
    let second = Records {
        entries: vec![entry(0, 1), entry(1, 0), entry(1, 1)],
        episodes: [pairing("base", "blue-2"), pairing("red-1", "base"), pairing("red-1", "blue-2")].concat(),
        ..Records::default()
    };
    run.commit_unit("payoffs/1/2x2", &0, &second).unwrap();
    let profile =
        json!({"output": {"reds": [["red-1", 1.0]], "blues": [["base", 0.25], ["blue-2", 0.75]]}, "cost": {}});
    run.commit_unit("profile", &profile, &Records::default()).unwrap();
    drop(run);
    let said = desk.grts(&["export", "run", "--meta-game", "game.npz"]);
    assert!(said.stdout.ends_with("; payoffs, counts, variances, intervals, names, strategies\n"), "{}", said.stdout);
    let table = exchange::read(&desk.path("game.npz")).unwrap();
    let names = [["base", "red-1"], ["base", "blue-2"]].map(|side| side.map(str::to_owned).to_vec());
    assert_eq!((table.names, table.strategies), (Some(names), Some([vec![0.0, 1.0], vec![0.25, 0.75]])));
    assert_eq!(table.payoffs.as_slice(), [0.0, 0.5, 0.25, 0.75]);
    desk.grts(&["export", "run", "--meta-game", "game.csv"]);
    let text = std::fs::read_to_string(desk.path("game.csv")).unwrap();
    assert!(text.starts_with("row,col,mean,n,sd,low,high\nbase,base,0,2,0,0,"), "{text}");
}

#[test]
fn what_cannot_be_exported_is_said_and_nothing_is_written() {
    let desk = Desk::new();
    create(&desk, &WON);
    let refusals = [
        ("game.xlsx", "error: game `game.xlsx`: the format cannot be told from the name\nhint: `.npy`, `.npz`, "),
        ("game", "error: game `game`: the format cannot be told from the name\nhint: "),
        ("taken.npz", "error: game `taken.npz`: it exists\nhint: name another file; nothing is written over\n"),
        ("nowhere/game.npz", "error: cannot write `nowhere/game.npz`: "),
    ];
    desk.write("taken.npz", "mine");
    for (file, expected) in refusals {
        let said = desk.refusal(&["export", "run", "--meta-game", file]);
        assert!(said.starts_with(expected), "{said}");
    }
    let expected = "error: run directory `absent` does not exist\n";
    assert!(desk.refusal(&["export", "absent", "--meta-game", "game.npz"]).starts_with(expected));
    let both = desk.refusal(&["export", "run", "--meta-game", "game.npz", "--merged", "--out", "model"]);
    assert!(both.starts_with("error: the argument '--meta-game <FILE>' cannot be used with"), "{both}");
}

#[test]
fn a_run_that_misses_payoffs_is_not_exported() {
    let desk = Desk::new();
    create(&desk, &[]);
    let expected = |problem: &str| {
        format!(
            "error: run directory `run` has no complete payoff matrix ({problem})\n\
             hint: let it play on: `grts resume run`\n"
        )
    };
    assert_eq!(desk.refusal(&["export", "run", "--meta-game", "game.npz"]), expected("matrix is empty"));
    let mut run = RunDir::open(&desk.path("run")).unwrap();
    let records = Records { entries: vec![entry(0, 0), entry(1, 1)], ..Records::default() };
    run.commit_unit("payoffs/0", &0, &records).unwrap();
    drop(run);
    let problem = "entry (0, 1) was never played";
    assert_eq!(desk.refusal(&["export", "run", "--meta-game", "game.npz"]), expected(problem));
}
