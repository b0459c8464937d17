//! Arguments that cannot be meant, and the help that says what can.

use crate::{Desk, Transcript};

/// The first paragraph of what clap says.
fn usage_error(arguments: &[&str]) -> String {
    let said = Desk::new().refusal(arguments);
    said.split("\n\n").next().unwrap_or_default().to_owned()
}

#[test]
fn wrong_arguments_are_refused_with_exit_code_2() {
    let cases: [(&[&str], &str); 13] = [
        (&["slove"], "error: unrecognized subcommand 'slove'"),
        (&["solve", "--fast"], "error: unexpected argument '--fast' found"),
        (&["solve", "--seed", "-1"], "error: unexpected argument '-1' found"),
        (
            &["solve", "--seed", "9223372036854775808"],
            "error: invalid value '9223372036854775808' for '--seed <N>': \
             9223372036854775808 is not in 0..=9223372036854775807",
        ),
        (
            &["solve", "--iterations", "0"],
            "error: invalid value '0' for '--iterations <N>': 0 is not in 1..=1000000000",
        ),
        (
            &["solve", "--method", "psor"],
            "error: invalid value 'psor' for '--method <M>'\n  \
             [possible values: psro, grts, fictitious_play, self_play, single_attacker, heuristic]",
        ),
        (&["resume"], "error: the following required arguments were not provided:\n  <RUN>"),
        (
            &["eval", "runs/a", "--dialogues", "1"],
            "error: invalid value '1' for '--dialogues <N>': 1 is not in 2..=1000000000",
        ),
        (
            &["generate", "builtin", "--prompt", "x", "--temperature", "hot"],
            "error: invalid value 'hot' for '--temperature <T>': a number of at least 0 is needed",
        ),
        (
            &["generate", "builtin", "--prompt", "x", "--top-p", "0"],
            "error: invalid value '0' for '--top-p <P>': a number above 0 and at most 1 is needed",
        ),
        (
            &["export", "builtin", "--out", "x"],
            "error: the following required arguments were not provided:\n  --merged",
        ),
        (
            &["bench", "builtin", "--device", "gpu"],
            "error: invalid value 'gpu' for '--device <DEVICE>': `cpu`, `cuda` or `cuda:N` is needed",
        ),
        (&["bench", "builtin", "--batch", "1,0"], "error: invalid value '0' for '--batch <B>': 0 is not in 1..=4096"),
    ];
    for (arguments, expected) in cases {
        assert_eq!(usage_error(arguments), expected, "{arguments:?}");
    }
}

#[test]
fn no_command_shows_the_commands() {
    let said = Desk::new().refusal(&[]);
    for command in ["solve", "resume", "eval", "generate", "export", "bench", "nash", "geometry"] {
        assert!(said.contains(&format!("\n  {command} ")), "{said}");
    }
}

#[test]
fn every_command_has_help_with_an_example() {
    let cases: [(&[&str], &str, &str); 9] = [
        (&["--help"], "Usage: grts <COMMAND>", "Example: `grts solve --quick`"),
        (&["solve", "--help"], "Usage: grts solve [OPTIONS] [SCENARIO.toml]", "grts solve --quick --seed 7"),
        (&["resume", "--help"], "Usage: grts resume [OPTIONS] <RUN>", "Example: `grts resume runs/meridian-1a2b3c4d`"),
        (
            &["eval", "--help"],
            "Usage: grts eval [OPTIONS] <RUN>",
            "Examples:\n  grts eval runs/meridian-1a2b3c4d --seed 5",
        ),
        (
            &["generate", "--help"],
            "Usage: grts generate [OPTIONS] --prompt <TEXT> <MODEL>",
            "\n  grts generate builtin --chat --prompt ",
        ),
        (
            &["export", "--help"],
            "Usage: grts export [OPTIONS] <MODEL|RUN>",
            "\n  grts export runs/a --meta-game game.npz",
        ),
        (&["bench", "--help"], "Usage: grts bench [OPTIONS] <MODEL>", "Example: `grts bench builtin --batch 1,32 "),
        (&["nash", "--help"], "Usage: grts nash [OPTIONS] <FILE>", "\n  grts nash game.npy  "),
        (&["geometry", "--help"], "Usage: grts geometry [OPTIONS] <RUN|FILE>", "\n  grts geometry game.npz  "),
    ];
    for (arguments, usage, example) in cases {
        let Transcript { code, stdout, stderr } = Desk::new().grts(arguments);
        assert_eq!((code, stderr.as_str()), (Some(0), ""));
        assert!(stdout.contains(usage) && stdout.contains(example), "{stdout}");
    }
}

#[test]
fn help_of_solve_names_every_option() {
    let help = Desk::new().grts(&["solve", "--help"]).stdout;
    for option in ["--quick", "--seed <N>", "--method <M>", "--iterations <N>", "--run-dir <DIR>", "--json"] {
        assert!(help.contains(&format!(" {option}")), "{option} is missing in {help}");
    }
}

#[test]
fn version_is_one_line() {
    let expected = format!("grts {}\n", env!("CARGO_PKG_VERSION"));
    let Transcript { code, stdout, stderr } = Desk::new().grts(&["--version"]);
    assert_eq!((code, stdout, stderr), (Some(0), expected, String::new()));
}
