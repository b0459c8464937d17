//! `grts geometry` on a run and on files whose payoffs were written by hand: no model, no play.

use crate::Desk;
use grts::scenario::Scenario;
use grts::store::{EntryRecord, Manifest, Records, RunDir};
use grts_game::geometry::Survey;

/// A run with so many of 96 dialogues successful in each entry.
pub fn create(desk: &Desk, successes: &[[u32; 3]]) {
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
    assert!(
        said.stdout.contains("\nPOLICIES ")
            && said.stdout.contains("\n  red 0 ")
            && said.stdout.contains("\n  blue 2 "),
        "{}",
        said.stdout
    );
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

#[test]
fn a_file_has_the_shape_of_its_game() {
    let desk = Desk::new();
    let read =
        |file: &str| -> Survey { serde_json::from_str(&desk.grts(&["geometry", file, "--json"]).stdout).unwrap() };
    desk.write("rps.csv", "0,-1,1\n1,0,-1\n-1,1,0\n");
    assert!(
        desk.grts(&["geometry", "rps.csv"]).stdout.starts_with("3 red by 3 blue policies, 3 agents; no intervals\n")
    );
    let rps = read("rps.csv");
    assert_eq!((rps.agents, rps.resamples, rps.clusters.len()), (3, 0, 1));
    assert!(rps.transitive_share.mean < 1e-12, "all of it goes round");
    // The same samples in a run and in a file have the same survey.
    create(&desk, &[[80, 10, 5], [20, 60, 5]]);
    let mut lines = "row,col,mean,n,sd\n".to_owned();
    for (row, successes) in [[80.0, 10.0, 5.0], [20.0, 60.0, 5.0]].iter().enumerate() {
        for (col, won) in successes.iter().enumerate() {
            let mean: f64 = won / 96.0;
            let sd = (96.0 * mean * (1.0 - mean) / 95.0).sqrt();
            lines += &format!("red {row},blue {col},{mean},96,{sd}\n");
        }
    }
    desk.write("sampled.csv", &lines);
    let (run, file) = (read("run"), read("sampled.csv"));
    assert_eq!((file.resamples, file.clusters.len()), (200, run.clusters.len()));
    let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
    assert!(near(file.transitive_share.mean, run.transitive_share.mean));
    assert!(near(file.transitive_share.low, run.transitive_share.low));
    desk.write("unplayed.csv", "row,col,mean,n,sd\na,x,0.5,0,0\n");
    let said = desk.refusal(&["geometry", "unplayed.csv"]);
    assert!(said.starts_with("error: game `unplayed.csv`: ") && said.contains("hint: give each entry "), "{said}");
    assert!(desk.refusal(&["geometry", "absent.csv"]).starts_with("error: "));
}
