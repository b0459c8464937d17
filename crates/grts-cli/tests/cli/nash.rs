//! `nash`: games from files, solved; and files that hold none.

use crate::Desk;
use serde_json::Value;

const PENNIES: &str = "1,-1\n-1,1\n";

fn json(desk: &Desk, arguments: &[&str]) -> Value {
    let said = desk.grts(arguments);
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));
    serde_json::from_str(&said.stdout).unwrap()
}

#[test]
fn a_game_is_solved_by_every_rule() {
    let desk = Desk::new();
    desk.write("pennies.csv", PENNIES);
    for solver in grts_game::MetaSolver::ALL {
        let answer = json(&desk, &["nash", "pennies.csv", "--json", "--solver", solver.name()]);
        let keys: Vec<_> = answer.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["col", "exploitability", "row", "seconds", "solver", "value"]);
        assert_eq!(answer["solver"], solver.name());
    }
    let answer = json(&desk, &["nash", "pennies.csv", "--json"]);
    assert_eq!((&answer["value"], &answer["exploitability"]), (&Value::from(0.0), &Value::from(0.0)));
    assert_eq!(answer["row"], serde_json::json!([0.5, 0.5]));
}

/// Radius of Hoeffding's bound for two entries of 8 returns: √(ln(6/0.05) / 16) = 0.547. Row 1 is worth at least 0.203.
#[test]
fn the_table_names_what_is_played_and_what_sampling_leaves_open() {
    let desk = Desk::new();
    desk.write("long.csv", "row,col,mean,n,sd\nred-0,blue-0,0.25,8,0.1\nred-1,blue-0,0.75,8,0.1\n");
    let said = desk.grts(&["nash", "long.csv"]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let (head, rest) = said.stdout.split_once('\n').unwrap();
    assert!(head.starts_with("2 × 1 game, solver `nash`, "), "{head}");
    assert_eq!(
        rest,
        "\nvalue     0.75\nNashConv  0e0 of these means; in the game that they were sampled from:\n          \
         0.000 to 0.797, 95 % certain if sample sizes were fixed beforehand\n          \
         0.000 to 0.000 by bootstrap, likely and not guaranteed\n\n\
         row player: 1 of 2 played\n  red-1        1.000000\n\ncolumn player: 1 of 1 played\n  blue-0       1.000000\n"
    );
    desk.write("points.csv", "row,col,mean,n,sd\nred-0,blue-0,250,8,1\nred-1,blue-0,750,8,1\n");
    let sampled = &json(&desk, &["nash", "points.csv", "--json"])["sampled"];
    assert_eq!((&sampled["certified"], &sampled["bootstrap"]["n"]), (&Value::Null, &Value::from(16)));
    assert!(desk.grts(&["nash", "points.csv"]).stdout.contains("\n          no bound, since single payoffs may lie "));
}

#[test]
fn a_file_without_a_game_is_refused_with_the_place() {
    let desk = Desk::new();
    let cases = [
        ("nan.csv", "1,2\n3,NaN\n", "error: game `nan.csv`: entry (1, 1): `NaN` is not a finite number\n"),
        ("inf.csv", "inf,2\n", "error: game `inf.csv`: entry (0, 0): `inf` is not a finite number\n"),
        ("empty.csv", "", "error: game `empty.csv`: matrix is empty\n"),
        ("game.txt", PENNIES, "error: game `game.txt`: the format cannot be told from the name\n"),
    ];
    for (name, text, problem) in cases {
        desk.write(name, text);
        let said = desk.refusal(&["nash", name]);
        assert!(said.starts_with(problem) && said.contains("hint: "), "{said}");
    }
    assert!(desk.refusal(&["nash", "absent.npy"]).starts_with("error: cannot read `absent.npy`"));
    desk.write("pennies.csv", PENNIES);
    let said = desk.refusal(&["nash", "pennies.csv", "--solver", "nahs"]);
    assert!(said.contains("[possible values: nash, max_entropy_nash, regret_matching_plus, "), "{said}");
}
