//! `grts geometry` on a run whose payoffs were written by hand: no model, no play.

use crate::Desk;
use grts::scenario::Scenario;
use grts::store::{EntryRecord, Manifest, Records, RunDir};
use grts_game::geometry::Survey;

/// A run with `dialogues` of 96 successful in each entry.
fn create(desk: &Desk, successes: &[[u32; 3]]) {
    let mut run = RunDir::create_at(&desk.path("run"), &Manifest::new(Scenario::builtin().unwrap())).unwrap();
    for (row, successes) in successes.iter().enumerate() {
        let entry = |(col, &won): (usize, &u32)| {
            let mean = f64::from(won) / 96.0;
            EntryRecord {
                iteration: 0,
                row: row as u32,
                col: col as u32,
                count: 96,
                mean,
                m2: 96.0 * mean * (1.0 - mean),
            }
        };
        let records = Records { entries: successes.iter().enumerate().map(entry).collect(), ..Records::default() };
        run.commit_unit(&format!("payoffs/{row}"), &row, &records).unwrap();
    }
}

#[test]
fn a_run_has_a_shape() {
    let desk = Desk::new();
    create(&desk, &[[80, 10, 5], [20, 60, 5], [1, 1, 1]]);
    let said = desk.grts(&["geometry", "run", "--resamples", "50"]);
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));
    let first = "3 red by 3 blue policies, 9 agents; bootstrap intervals of 50 draws\n\nGAME\ntransitive share      0.";
    assert!(said.stdout.starts_with(first), "{}", said.stdout);
    assert!(said.stdout.contains("\nELO\n  red 0") && said.stdout.contains("\n  blue 2"), "{}", said.stdout);
    let read = |arguments: &[&str]| -> Survey { serde_json::from_str(&desk.grts(arguments).stdout).unwrap() };
    let survey = read(&["geometry", "run", "--json"]);
    assert_eq!((survey.resamples, survey.transitive_share.n), (200, 9 * 96));
    assert!(survey.transitive_share.low < survey.transitive_share.mean);
    // The blue that leaks nearly nothing to anyone is the best of its side, the red that gets nothing the worst.
    assert!(survey.blue_elo[2].mean > survey.blue_elo[0].mean && survey.red_elo[2].mean < survey.red_elo[1].mean);
    assert_eq!(survey.clusters.iter().map(|layer| layer.size).sum::<usize>(), 9);
    assert_eq!(survey, read(&["geometry", "run", "--json"]), "a survey repeats");
    let bare = read(&["geometry", "run", "--json", "--resamples", "0"]);
    assert_eq!((bare.resamples, bare.transitive_share.low), (0, bare.transitive_share.mean));
}

#[test]
fn a_run_without_payoffs_has_none() {
    let desk = Desk::new();
    create(&desk, &[]);
    let expected = "error: run directory `run` has no complete payoff matrix (matrix is empty)\n\
                    hint: let it play on: `grts resume run`\n";
    let said = desk.grts(&["geometry", "run"]);
    assert_eq!((said.code, said.stdout.as_str(), said.stderr.as_str()), (Some(2), "", expected));
}
