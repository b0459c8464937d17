//! Run directories that are taken, in use, full, or none.

use crate::{Desk, TINY};
use grts::scenario::Scenario;
use grts::store::{Manifest, RunDir};
use std::fs;

fn create(desk: &Desk, name: &str) -> RunDir {
    RunDir::create_at(&desk.path(name), &Manifest::new(Scenario::builtin().unwrap())).unwrap()
}

#[test]
fn a_run_in_use_is_left_alone() {
    let desk = Desk::new();
    let held = create(&desk, "run");
    let expected = format!(
        "error: run directory `run` is in use by process {}\n\
         hint: wait until it ends or stop it, or use another `--run-dir`\n",
        std::process::id()
    );
    assert_eq!(desk.refusal(&["resume", "run"]), expected);
    assert_eq!(desk.refusal(&["eval", "run"]), expected);
    drop(held);
}

#[test]
fn an_existing_run_is_not_started_again() {
    let desk = Desk::new();
    drop(create(&desk, "run"));
    assert_eq!(
        desk.refusal(&["solve", "--run-dir", "run"]),
        "error: run directory `run` exists and is not empty\n\
         hint: go on with `grts resume run`, or use another `--run-dir`\n"
    );
}

#[test]
fn foreign_files_are_not_written_over() {
    let desk = Desk::new();
    fs::create_dir(desk.path("mine")).unwrap();
    desk.write("mine/run.sqlite", "something else");
    assert!(desk.refusal(&["solve", "--run-dir", "mine"]).contains("`mine` exists and is not empty"));
    desk.write("file", "text");
    assert!(desk.refusal(&["solve", "--run-dir", "file"]).starts_with("error: "));
    assert!(desk.refusal(&["solve", "--run-dir", "file/run"]).starts_with("error: cannot create "));
}

#[test]
fn what_is_no_run_cannot_be_resumed_or_measured() {
    let desk = Desk::new();
    fs::create_dir(desk.path("empty")).unwrap();
    for command in ["resume", "eval"] {
        assert_eq!(
            desk.refusal(&[command, "nowhere"]),
            "error: run directory `nowhere` does not exist\n\
             hint: check the path, or start a run with `grts solve`\n"
        );
        assert_eq!(
            desk.refusal(&[command, "empty"]),
            "error: run directory `empty` has no `run.toml`\nhint: start a run with `grts solve`\n"
        );
    }
}

#[test]
fn an_unfinished_run_cannot_be_measured() {
    let desk = Desk::new();
    drop(create(&desk, "run"));
    let said = desk.grts(&["eval", "run"]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""));
    let expected = "error: run directory `run` is not finished, so it has no final mixtures to measure\n\
                    hint: `grts resume run` first\n";
    assert!(said.stderr.ends_with(expected), "{}", said.stderr);
}

#[test]
fn a_damaged_manifest_names_its_line() {
    let desk = Desk::new();
    drop(create(&desk, "run"));
    let text = fs::read_to_string(desk.path("run/run.toml")).unwrap();
    desk.write("run/run.toml", &text.replace("\nturns = 2", "\nturns = 0"));
    let said = desk.refusal(&["resume", "run"]);
    assert!(said.contains("`run/run.toml` line ") && said.contains("`[scenario.game] turns` is `0`"), "{said}");
}

/// The limit on the size of a file stands for the full disk: the same error, without a disk to fill.
#[cfg(unix)]
#[test]
fn a_full_disk_is_an_error_and_not_a_kill() {
    let desk = Desk::new();
    desk.write("tiny.toml", TINY);
    let limited = r#"ulimit -f 128; exec "$0" solve tiny.toml --run-dir run"#;
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", limited, env!("CARGO_BIN_EXE_grts")]).current_dir(desk.path(""));
    let said = desk.transcript(shell.output().unwrap());
    assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""), "{}", said.stderr);
    assert!(said.stderr.contains("\nerror: no space left on `run"), "{}", said.stderr);
    assert!(said.stderr.ends_with("\nhint: free space, then `grts resume run`\n"), "{}", said.stderr);
}
