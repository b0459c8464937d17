//! Runs that are played: the result on stdout, the talk on stderr, and what Ctrl-C does.

use crate::{Desk, TINY};
use grts::store::{EpisodeRecord, Purpose, RunDir};
use grts_game::Moments;
use serde_json::Value;
use std::fs;
use std::path::Path;

const TOP_LEVEL: [&str; 12] = [
    "blue",
    "dialogues",
    "exploitability",
    "h_min",
    "iterations",
    "red",
    "reference_value",
    "run",
    "seconds",
    "stop_reason",
    "tokens",
    "value",
];

fn keys(json: &Value) -> Vec<&str> {
    json.as_object().unwrap().keys().map(String::as_str).collect()
}

/// The tiny run with floors that nobody falls below: both sides end with two policies.
fn admitting_all() -> String {
    let floors = [("[game]", "h_min = 0.0"), ("[red]", "fluency_floor = -100.0"), ("[blue]", "helpfulness_loss = 1.0")];
    floors.iter().fold(TINY.to_owned(), |text, (table, floor)| text.replace(table, &format!("{table}\n{floor}")))
}

/// One run for all, since it is the slow part: solve, resume, eval, probe, and stdout that does not take the result.
#[test]
fn a_run_is_solved_printed_again_and_measured() {
    let desk = Desk::new();
    desk.write("tiny.toml", &admitting_all());
    let solved = desk.grts(&["solve", "tiny.toml", "--run-dir", "run", "--seed", "3", "--json"]);
    assert_eq!(solved.code, Some(0), "{}", solved.stderr);
    assert!(solved.stderr.starts_with("run directory `run`\n0:00 "), "{}", solved.stderr);
    assert!(solved.stderr.contains("\niteration 1 of 1: "), "{}", solved.stderr);
    assert_eq!(solved.stdout, fs::read_to_string(desk.path("run/summary.json")).unwrap());
    let summary: Value = serde_json::from_str(&solved.stdout).unwrap();
    assert_eq!(keys(&summary), TOP_LEVEL);
    assert!(fs::read_to_string(desk.path("run/run.toml")).unwrap().contains("\nseed = 3\n"));

    let again = desk.grts(&["resume", "run"]);
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert!(again.stdout.starts_with("run `tiny-") && again.stdout.ends_with("next           grts eval run\n"));

    let eval = ["eval", "run", "--dialogues", "8", "--seed", "5", "--json"];
    let measured = desk.grts(&eval);
    assert_eq!(measured.code, Some(0), "{}", measured.stderr);
    let evaluation: Value = serde_json::from_str(&measured.stdout).unwrap();
    assert_eq!((&evaluation["seed"], &evaluation["run"]), (&Value::from(5), &summary["run"]));
    assert_eq!(evaluation["asr"]["n"], 8);
    assert_eq!(evaluation["diversity"]["vendi"]["order_1"]["n"], 8);
    assert_eq!(evaluation["diversity"]["self_bleu"].as_array().unwrap().len(), 4);
    stdout_that_takes_nothing(&desk, &eval);
    the_payoffs_of_a_played_run_are_exported(&desk);
    one_blue_is_asked_alone(&desk, &evaluation);
    fresh_learners_exploit_it(&desk);
}

/// The mean of the mixture's adapters is a policy of the run, and every blue of it can be measured and attacked by itself.
fn one_blue_is_asked_alone(desk: &Desk, mixed: &Value) {
    let asked = |blue: &str| -> Value {
        let said = desk.grts(&["eval", "run", "--dialogues", "8", "--seed", "5", "--blue", blue, "--json"]);
        assert_eq!(said.code, Some(0), "{}", said.stderr);
        serde_json::from_str(&said.stdout).unwrap()
    };
    let average = asked("average");
    assert_eq!((&average["blue"], &mixed["blue"]), (&Value::from("average"), &Value::Null));
    assert_eq!(asked("base")["blue"], "base");
    assert!(desk.path("run/policies/average/adapter_model.safetensors").is_file());
    let table = desk.grts(&["eval", "run", "--dialogues", "8", "--blue", "blue-1"]).stdout;
    assert!(table.starts_with("run `tiny-") && table.contains("`, `blue-1` alone, seed 1\n\nBLUE "), "{table}");
    let refused = desk.refusal(&["eval", "run", "--blue", "red-1"]);
    let expected = "error: run directory `run` has no blue policy `red-1`\nhint: it has `average`, `blue-1`, ";
    assert!(refused.starts_with(expected) && refused.ends_with("`base`\n"), "{refused}");
    let probe = ["probe", "run", "--blue", "average", "--seeds", "1", "--budget", "0.5", "--dialogues", "8"];
    let probed = desk.grts(&[&probe[..], &["--json"]].concat());
    assert_eq!(probed.code, Some(0), "{}", probed.stderr);
    let report: Value = serde_json::from_str(&probed.stdout).unwrap();
    let exploiter = &report["exploiters"][0]["id"];
    assert_eq!((&report["blue"], exploiter), (&Value::from("average"), &"exploiter-red-average-0.5x-1-1".into()));
    // It lies in the store as an attacker, whatever the blue is called.
    let run = RunDir::open(&desk.path("run")).unwrap();
    let records = run.records("exploiter-red/average/0.5x/1/1").unwrap().unwrap();
    drop(run);
    assert!(records.episodes.iter().all(|e| (&e.red[..], &e.blue[..]) == (exploiter.as_str().unwrap(), "average")));
    let table = desk.grts(&probe).stdout;
    assert!(table.contains("  the final attackers' return from `average` alone\n"), "{table}");
}

/// Both sides; what was trained is kept, other seeds train others, and the run's result stays.
fn fresh_learners_exploit_it(desk: &Desk) {
    let result = fs::read(desk.path("run/summary.json")).unwrap();
    let probe = |arguments: &[&str]| -> Value {
        let probed = desk.grts(&[&["probe", "run", "--dialogues", "8", "--json"], arguments].concat());
        assert_eq!(probed.code, Some(0), "{}", probed.stderr);
        serde_json::from_str(&probed.stdout).unwrap()
    };
    let attackers = probe(&["--seeds", "2", "--budget", "0.5"]);
    let ids: Vec<&str> =
        attackers["exploiters"].as_array().unwrap().iter().map(|e| e["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["exploiter-red-0.5x-1-1", "exploiter-red-0.5x-1-2"]);
    let written =
        |id: &str| fs::metadata(desk.path("run/policies").join(id).join("adapter_model.safetensors")).unwrap();
    let first = ids.iter().map(|id| written(id).modified().unwrap()).collect::<Vec<_>>();
    assert_eq!((&attackers["against"], &attackers["value"]["n"]), (&Value::from("blue"), &Value::from(8)));
    assert_eq!(attackers["scripted"]["best_of_asr"]["n"], 200);
    assert_eq!(probe(&["--seeds", "2", "--budget", "0.5"]), attackers, "what is trained is taken as it is");
    assert_eq!(first, ids.iter().map(|id| written(id).modified().unwrap()).collect::<Vec<_>>());
    let other = probe(&["--seeds", "1", "--budget", "0.5", "--seed", "2"]);
    assert_ne!(other["exploiters"][0]["id"], attackers["exploiters"][0]["id"]);
    let defenders = probe(&["--against", "red", "--seeds", "1"]);
    assert_eq!((&defenders["against"], &defenders["scripted"]), (&Value::from("red"), &Value::Null));
    let table = desk.grts(&["probe", "run", "--dialogues", "8", "--against", "red", "--seeds", "1"]).stdout;
    assert!(table.contains("fresh defenders with 2 times the budget, seed 1\n\nEXPLOITERS "), "{table}");
    assert_eq!(fs::read(desk.path("run/summary.json")).unwrap(), result);
}

/// Payoffs stand under the names of those who played them, mixtures are those that the run ended with, and the file has the
/// run's shape.
fn the_payoffs_of_a_played_run_are_exported(desk: &Desk) {
    let said = desk.grts(&["export", "run", "--meta-game", "game.npz"]);
    assert!(said.stdout.ends_with("; payoffs, counts, variances, intervals, names, strategies\n"), "{}", said.stderr);
    let table = grts::exchange::read(&desk.path("game.npz")).unwrap();
    let [reds, blues] = table.names.unwrap();
    assert_eq!((reds.join(" "), blues.join(" ")), ("base red-1".to_owned(), "base blue-1".to_owned()));
    let run = RunDir::open(&desk.path("run")).unwrap();
    let records = run.unit_keys().unwrap().into_iter().filter_map(|key| run.records(&key).unwrap());
    let played = records.flat_map(|of| of.episodes).filter(|episode| episode.purpose == Purpose::Payoff);
    let played: Vec<EpisodeRecord> = played.collect();
    let profile: Value = run.unit("profile").unwrap().unwrap();
    drop(run);
    for (row, red) in reds.iter().enumerate() {
        for (col, blue) in blues.iter().enumerate() {
            let of = played.iter().filter(|episode| (&episode.red, &episode.blue) == (red, blue));
            let sample: Moments = of.map(|episode| episode.returns.unwrap()).collect();
            assert!(sample.count > 0 && sample.mean == table.payoffs.get(row, col), "{red} against {blue}: {sample:?}");
        }
    }
    for ((side, names), mixture) in [("reds", &reds), ("blues", &blues)].into_iter().zip(table.strategies.unwrap()) {
        let weights: Vec<(String, f64)> = serde_json::from_value(profile["output"][side].clone()).unwrap();
        for (name, weight) in names.iter().zip(mixture) {
            let recorded = weights.iter().find(|(id, _)| id == name).map_or(0.0, |(_, weight)| *weight);
            assert_eq!(weight, recorded, "{name}");
        }
    }
    let shape = |of: &str| -> grts_game::geometry::Survey {
        serde_json::from_str(&desk.grts(&["geometry", of, "--json"]).stdout).unwrap()
    };
    let (run, file) = (shape("run"), shape("game.npz"));
    assert_eq!((run.rows, run.cols, run.transitive_share.n), (reds.len(), blues.len(), file.transitive_share.n));
    assert!((run.transitive_share.low - file.transitive_share.low).abs() < 1e-9);
    assert!((run.elo_error.high - file.elo_error.high).abs() < 1e-9);
}

/// A tuple is trained, stored, measured again and handed over seat by seat.
#[test]
fn a_red_team_goes_all_the_way() {
    let desk = Desk::new();
    desk.write("team.toml", &TINY.replace("turns = 1", "turns = 2\nred_team = 2"));
    let solved = desk.grts(&["solve", "team.toml", "--quick", "--run-dir", "run", "--json"]);
    assert_eq!(solved.code, Some(0), "{}", solved.stderr);
    let summary: Value = serde_json::from_str(&solved.stdout).unwrap();
    assert_eq!(keys(&summary), TOP_LEVEL);
    assert!(fs::read_to_string(desk.path("run/run.toml")).unwrap().contains("\nred_team = 2\n"));
    assert_eq!(desk.grts(&["resume", "run", "--json"]).stdout, solved.stdout);
    let measured = desk.grts(&["eval", "run", "--dialogues", "8", "--json"]);
    assert_eq!(measured.code, Some(0), "{}", measured.stderr);

    let export = |policy, out| ["export", "run", "--policy", policy, "--merged", "--out", out];
    let seat = desk.grts(&export("probe-red-final/seat-1", "second"));
    assert_eq!(seat.code, Some(0), "{}", seat.stderr);
    let refused = desk.refusal(&export("probe-red-final", "whole"));
    let expected =
        "error: run directory `run` has a red team `probe-red-final`, which is no single policy\nhint: it has ";
    assert!(refused.starts_with(expected) && refused.contains("`probe-red-final/seat-0`, "), "{refused}");
    let adapter = "run/policies/probe-red-final";
    let speak = |adapter| ["generate", "builtin", "--adapter", adapter, "--prompt", "x", "--max-tokens", "4"];
    assert_eq!(
        desk.refusal(&speak(adapter)),
        format!(
            "error: model `{adapter}`: it holds a red team, with an adapter for each seat\nhint: give one of its seats, such \
             as `{adapter}/seat-0`\n"
        )
    );
    let spoken = desk.grts(&speak("run/policies/probe-red-final/seat-0"));
    assert_eq!(spoken.code, Some(0), "{}", spoken.stderr);
}

/// Attackers that follow a script: a row of the meta-game, a policy to every command, and no model to hand over.
#[test]
fn scripted_attackers_are_a_policy_without_a_model() {
    let desk = Desk::new();
    desk.write(
        "script.toml",
        &format!("method = 'heuristic'\n{}", TINY.replace("turns = 1", "turns = 2\nh_min = 0.02")),
    );
    let solve = |run| {
        let solved = desk.grts(&["solve", "script.toml", "--run-dir", run, "--json"]);
        assert_eq!(solved.code, Some(0), "{}", solved.stderr);
        let mut summary: Value = serde_json::from_str(&solved.stdout).unwrap();
        summary.as_object_mut().unwrap().remove("seconds");
        (summary, solved.stdout)
    };
    let (summary, printed) = solve("run");
    assert_eq!((&summary["red"]["population"], &summary["red"]["support"]), (&Value::from(2), &Value::from(1)));
    assert_eq!(solve("again").0, summary);
    assert_eq!(desk.grts(&["resume", "run", "--json"]).stdout, printed);

    let exported = desk.grts(&["export", "run", "--meta-game", "game.npz"]);
    assert_eq!(exported.code, Some(0), "{}", exported.stderr);
    let [reds, _] = grts::exchange::read(&desk.path("game.npz")).unwrap().names.unwrap();
    assert_eq!(reds, ["base", "script"]);
    for command in [&["eval", "run", "--dialogues", "8"][..], &["probe", "run", "--against", "red", "--dialogues", "8"]]
    {
        let said = desk.grts(command);
        assert_eq!(said.code, Some(0), "{}", said.stderr);
    }
    let said = desk.refusal(&["export", "run", "--policy", "script", "--merged", "--out", "out"]);
    let expected =
        "error: run directory `run` has attackers that follow a script, and `script` has no model\nhint: it has ";
    assert!(said.starts_with(expected), "{said}");
}

/// The method `grts`, and a sentence encoder as its semantic space; a directory without one is refused before anything runs.
#[test]
fn red_is_rewarded_for_being_different_in_the_space_of_an_encoder() {
    let desk = Desk::new();
    let encoder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../grts-lm/tests/fixtures/bert");
    let scenario = |encoder: &Path| {
        let red = "[red]\nsearch_rounds = 1\nsearch_dialogues = 8\ndiversity = 'log_det'\narchive_dialogues = 8\nrepertoire = 16\n";
        let text = TINY.replace("[red]\n", red);
        format!("method = 'grts'\n{text}\n[semantic]\nembedder = '{}'\n", encoder.display())
    };
    desk.write("other.toml", &scenario(&encoder));
    let solved = desk.grts(&["solve", "other.toml", "--run-dir", "run"]);
    assert_eq!(solved.code, Some(0), "{}", solved.stderr);
    let measured = desk.grts(&["eval", "run", "--dialogues", "8", "--show-attacks"]);
    assert_eq!(measured.code, Some(0), "{}", measured.stderr);
    let diversity = measured.stdout.lines().find(|line| line.starts_with("DIVERSITY "));
    assert!(diversity.is_some_and(|line| line.ends_with(" of the final attacks")), "{}", measured.stdout);

    desk.write("nowhere.toml", &scenario(Path::new("nowhere")));
    let said = desk.refusal(&["solve", "nowhere.toml", "--run-dir", "never"]);
    assert!(said.contains("nowhere/modules.json`: ") && said.contains("[semantic] embedder"), "{said}");
}

/// Learning with less kept is the same learning; weights in bfloat16 are other weights.
#[test]
fn the_scenario_says_how_the_base_is_held_and_learnt_on() {
    let desk = Desk::new();
    let played = |name: &str, base: &str| {
        desk.write(&format!("{name}.toml"), &format!("{}\n[base]\n{base}\n", admitting_all()));
        let solved = desk.grts(&["solve", &format!("{name}.toml"), "--run-dir", name, "--json"]);
        assert_eq!(solved.code, Some(0), "{}", solved.stderr);
        let mut summary: Value = serde_json::from_str(&solved.stdout).unwrap();
        let own = ["run", "seconds"].map(|key| summary.as_object_mut().unwrap().remove(key));
        assert!(own.iter().all(Option::is_some));
        let adapter = desk.path(&format!("{name}/policies/blue-1/adapter_model.safetensors"));
        (summary, fs::read(adapter).unwrap())
    };
    let plain = played("plain", "dtype = 'f32'");
    assert_eq!(plain, played("checkpointing", "checkpointing = true"));
    assert_ne!(plain.1, played("bf16", "dtype = 'bf16'").1);
    assert!(!fs::read_to_string(desk.path("plain/run.toml")).unwrap().contains("dtype"), "as before there was another");

    desk.write("f16.toml", "[base]\ndtype = 'f16'\n");
    let said = desk.refusal(&["solve", "f16.toml", "--run-dir", "never"]);
    assert!(said.contains("it must be one of `f32`, `bf16`"), "{said}");
}

/// A reader that has gone is no error; a full device is.
#[cfg(target_os = "linux")]
fn stdout_that_takes_nothing(desk: &Desk, arguments: &[&str]) {
    use std::process::Stdio;
    let to = |stdout: Stdio| {
        let child = desk.command(arguments).stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
        desk.transcript(child.wait_with_output().unwrap())
    };
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let gone = to(writer.into());
    assert_eq!(gone.code, Some(0), "{}", gone.stderr);
    assert!(!gone.stderr.contains("error"), "{}", gone.stderr);
    let full = to(fs::File::options().write(true).open("/dev/full").unwrap().into());
    assert_eq!(full.code, Some(1));
    assert!(full.stderr.contains("\nerror: cannot write to stdout: "), "{}", full.stderr);
}

#[cfg(not(target_os = "linux"))]
fn stdout_that_takes_nothing(_desk: &Desk, _arguments: &[&str]) {}

#[cfg(unix)]
mod interrupted {
    use crate::{Desk, TINY};
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    use std::io::{BufRead, BufReader};
    use std::process::{Child, ChildStderr, Stdio};

    /// A run that will not end by itself, and its stderr.
    fn start(desk: &Desk) -> (Child, BufReader<ChildStderr>) {
        desk.write("long.toml", &TINY.replace("iterations = 1", "iterations = 1000"));
        let mut command = desk.command(&["solve", "long.toml", "--run-dir", "run"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        (child, stderr)
    }

    /// Reads up to the first line with `word` in it.
    fn wait_for(word: &str, stderr: &mut BufReader<ChildStderr>) {
        let mut line = String::new();
        while !line.contains(word) {
            line.clear();
            assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "the run ended before it said `{word}`");
        }
    }

    fn ctrl_c(child: &Child) {
        kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    }

    fn end(child: Child, mut stderr: BufReader<ChildStderr>) -> (Option<i32>, String, String) {
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut stderr, &mut rest).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), rest)
    }

    #[test]
    fn ctrl_c_saves_the_run_and_says_how_to_go_on() {
        let desk = Desk::new();
        let (child, mut stderr) = start(&desk);
        wait_for("first payoff", &mut stderr);
        ctrl_c(&child);
        let (code, stdout, rest) = end(child, stderr);
        assert_eq!((code, stdout.as_str()), (Some(130), ""), "{rest}");
        assert!(rest.contains("\nstopping at the next step; "), "{rest}");
        assert!(
            rest.ends_with("error: interrupted; run `run` is saved\nhint: go on with `grts resume run`\n"),
            "{rest}"
        );
        assert!(desk.path("run/run.sqlite").is_file() && !desk.path("run/summary.json").exists());
    }

    /// The first unit takes longer than two signals; the second signal does not wait for its end.
    #[test]
    fn a_second_ctrl_c_does_not_wait() {
        let desk = Desk::new();
        let (child, mut stderr) = start(&desk);
        wait_for("scripted attacks", &mut stderr);
        ctrl_c(&child);
        wait_for("stopping", &mut stderr);
        ctrl_c(&child);
        let (code, stdout, rest) = end(child, stderr);
        assert_eq!((code, stdout.as_str(), rest.as_str()), (Some(130), "", ""));
    }
}

/// Attackers of one world against an office with other tables, whose model is another directory.
#[test]
fn attackers_meet_the_blue_of_another_run() {
    let desk = Desk::new();
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/meridian/base");
    let settings = TINY.replace("[red]", "[red]\nsearch_rounds = 0");
    desk.write("small.toml", &settings);
    desk.write("other.toml", &format!("{settings}\n[base]\nmodel = '{}'\nworld_seed = 7\n", base.display()));
    for name in ["small", "other"] {
        let solved = desk.grts(&["solve", &format!("{name}.toml"), "--run-dir", name]);
        assert_eq!(solved.code, Some(0), "{}", solved.stderr);
    }
    let before = desk.contents();
    let attack = |run, against| {
        let attacked = desk.grts(&["attack", "--run", run, "--against", against, "--dialogues", "64", "--json"]);
        assert_eq!(attacked.code, Some(0), "{}", attacked.stderr);
        serde_json::from_str::<Value>(&attacked.stdout).unwrap()
    };
    let (there, back) = (attack("small", "other"), attack("other", "small"));
    assert_eq!((&there["red"], &there["blue"]), (&back["blue"], &back["red"]));
    // The two models are one, so that the same words in the same streams get the same replies from it.
    assert_eq!(there["at_home"], there["untouched"]);
    assert_eq!((&there["hardened"]["n"], &there["worst"]["asr"]["n"]), (&Value::from(64), &Value::from(400)));
    let same = desk.grts(&["attack", "--run", "small", "--against", "small"]);
    assert_eq!((same.code, same.stdout.as_str()), (Some(2), ""), "{}", same.stderr);
    assert!(same.stderr.contains("`small` would attack itself\nhint: `grts eval small`"), "{}", same.stderr);
    assert!(desk.contents() == before);
}
