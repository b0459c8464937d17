//! The run store from outside: what comes back, who is refused, and what a kill leaves.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use grts::error::{Error, ErrorKind};
use grts::scenario::Scenario;
use grts::store::{
    EntryRecord, EpisodeRecord, EventRecord, IterationRecord, Level, Manifest, Purpose, Records, RunDir, ScoreRecord,
    TurnRecord,
};
use grts_game::rules::Player;
use serde::{Deserialize, Serialize};

fn manifest() -> Manifest {
    Manifest::new(Scenario::builtin().unwrap())
}

fn episode(idx: u32) -> EpisodeRecord {
    let turns = (0..2).flat_map(|turn| {
        [Player::Red, Player::Blue].map(|player| TurnRecord {
            turn,
            player,
            text: format!("utterance {idx} `\"'é\n of turn {turn}"),
            num_tokens: 5 + turn,
        })
    });
    EpisodeRecord {
        iteration: Some(idx % 3).filter(|&i| i > 0),
        purpose: if idx.is_multiple_of(2) { Purpose::Payoff } else { Purpose::Grid },
        red: format!("red-{}", idx % 4),
        blue: "blue-0".to_owned(),
        episode_idx: idx,
        returns: (!idx.is_multiple_of(5)).then(|| 1.0 / f64::from(idx + 3)),
        cell: (idx % 2 == 1).then(|| "parks/direct".to_owned()),
        opening: "the sealed fact of parks".to_owned(),
        turns: turns.collect(),
        scores: vec![ScoreRecord { turn: 0, h: None }, ScoreRecord { turn: 1, h: Some(f64::from(idx) * 1e-7) }],
    }
}

fn records(episodes: u32) -> Records {
    let entry = |row| EntryRecord { iteration: 1, row, col: 2, count: 9, mean: 0.1 + 0.2, m2: 1e-17 };
    Records {
        episodes: (0..episodes).map(episode).collect(),
        entries: vec![entry(0), entry(1)],
        iterations: vec![IterationRecord {
            iteration: 1,
            record: serde_json::json!({"value": 0.1 + 0.2, "sigma": [1.0, 0.0], "stop": null}),
        }],
        events: vec![EventRecord { level: Level::Warning, text: "one entry is uncertain".into() }],
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Output {
    gains: Vec<f64>,
    single: f32,
    name: Option<String>,
}

fn output() -> Output {
    let gains = (1..200).map(|i| (f64::from(i) * 0.7).sin() / 3.0).chain([5e-324, -0.0]).collect();
    Output { gains, single: 0.1, name: None }
}

/// The error of an operation that must fail, as message and hint, and of usage.
fn refused<T: std::fmt::Debug>(result: Result<T, Error>) -> (String, String) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage, "{error:?}");
    (error.to_string(), error.hint())
}

#[test]
fn what_is_committed_comes_back_exactly() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deep/run");
    let mut run = RunDir::create_at(&path, &manifest()).unwrap();
    assert_eq!(run.unit::<Output>("play-0").unwrap(), None);
    run.commit_unit("play-0", &output(), &records(7)).unwrap();
    run.commit_unit("play-1", &output(), &Records::default()).unwrap();
    run.save_policy("red-1", |to| write(&to.join("adapter.bin"), b"weights")).unwrap();
    let digest = run.end_state_digest().unwrap();
    drop(run);

    let run = RunDir::open(&path).unwrap();
    assert_eq!(run.manifest(), &manifest());
    assert_eq!(run.unit::<Output>("play-0").unwrap(), Some(output()));
    assert_eq!(run.unit_keys().unwrap(), ["play-0", "play-1"]);
    assert_eq!(run.records("play-0").unwrap(), Some(records(7)));
    assert_eq!(run.records("play-1").unwrap(), Some(Records::default()));
    assert_eq!(run.records("play-2").unwrap(), None);
    assert_eq!(fs::read(run.policy_path("red-1").join("adapter.bin")).unwrap(), b"weights");
    assert_eq!(run.end_state_digest().unwrap(), digest);
    let negative_zero = run.unit::<Output>("play-0").unwrap().unwrap().gains.pop().unwrap();
    assert!(negative_zero.is_sign_negative());
}

#[test]
fn a_unit_is_committed_once_and_must_read_back() {
    let directory = tempfile::tempdir().unwrap();
    let mut run = RunDir::create_in(directory.path(), &manifest()).unwrap();
    run.commit_unit("a", &1, &Records::default()).unwrap();
    let again = run.commit_unit("a", &2, &Records::default()).unwrap_err();
    assert_eq!(again.to_string(), "unit `a` is committed already");
    assert_eq!(run.unit::<i32>("a").unwrap(), Some(1));
    let (message, _) = refused(run.unit::<String>("a"));
    assert!(message.contains("holds unit `a` in a form that this `grts` cannot read"), "{message}");

    let nan = run.commit_unit("b", &f64::NAN, &Records::default()).unwrap_err();
    assert_eq!(nan.kind(), ErrorKind::Failed);
    let mut broken = records(1);
    broken.episodes[0].scores[0].h = Some(f64::NAN);
    let nan = run.commit_unit("b", &1, &broken).unwrap_err();
    assert_eq!(nan.to_string(), "a score is `NaN`, which is not a finite number");
    assert_eq!(run.unit_keys().unwrap(), ["a"]);
}

#[test]
fn seconds_are_summed_over_handles() {
    let directory = tempfile::tempdir().unwrap();
    let mut run = RunDir::create_in(directory.path(), &manifest()).unwrap();
    assert_eq!(run.elapsed().unwrap(), 0.0);
    std::thread::sleep(Duration::from_millis(20));
    run.commit_unit("a", &1, &Records::default()).unwrap();
    let path = run.path().to_owned();
    drop(run);
    let mut run = RunDir::open(&path).unwrap();
    let first = run.elapsed().unwrap();
    assert!((0.02..10.0).contains(&first), "{first}");
    run.commit_unit("b", &1, &Records::default()).unwrap();
    assert!(run.elapsed().unwrap() > first);
}

#[test]
fn ten_thousand_episodes_take_less_than_a_second() {
    let directory = tempfile::tempdir().unwrap();
    let mut run = RunDir::create_in(directory.path(), &manifest()).unwrap();
    let records = records(10_000);
    let start = Instant::now();
    run.commit_unit("big", &1, &records).unwrap();
    let seconds = start.elapsed().as_secs_f64();
    // Three times the target, because the machine of a test may be shared.
    assert!(seconds < 3.0, "{seconds} s");
    assert_eq!(run.records("big").unwrap(), Some(records));
}

#[test]
fn runs_are_named_after_their_settings() {
    let directory = tempfile::tempdir().unwrap();
    let parent = directory.path().join("runs");
    let name = format!("meridian-{}", manifest().scenario.fingerprint().unwrap());
    for expected in [name.clone(), format!("{name}-2"), format!("{name}-3")] {
        let run = RunDir::create_in(&parent, &manifest()).unwrap();
        assert_eq!(run.path(), parent.join(expected));
    }
}

#[test]
fn nothing_is_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mine");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("thesis.txt"), "years").unwrap();
    let (message, hint) = refused(RunDir::create_at(&path, &manifest()));
    let shown = path.display();
    assert_eq!(message, format!("run directory `{shown}` exists and is not empty"));
    assert_eq!(hint, format!("go on with `grts resume {shown}`, or use another `--run-dir`"));
    let left: Vec<_> = fs::read_dir(&path).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["thesis.txt"]);

    let file = directory.path().join("file");
    fs::write(&file, "text").unwrap();
    refused(RunDir::create_at(&file, &manifest()));
    assert_eq!(fs::read_to_string(&file).unwrap(), "text");
}

#[test]
fn an_empty_directory_or_a_creation_killed_before_its_settings_may_be_used() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("run.lock"), "1").unwrap();
    fs::write(path.join("run.toml.partial"), "# Wri").unwrap();
    RunDir::create_at(&path, &manifest()).unwrap();
    assert!(!path.join("run.toml.partial").exists());
}

#[test]
fn a_creation_killed_after_its_settings_is_completed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run");
    for leave_database in [true, false] {
        drop(RunDir::create_at(&path, &manifest()).unwrap());
        fs::remove_dir(path.join("policies")).unwrap();
        if !leave_database {
            fs::remove_file(path.join("run.sqlite")).unwrap();
        }
        let mut run = RunDir::open(&path).unwrap();
        run.commit_unit("a", &1, &Records::default()).unwrap();
        run.save_policy("p", |_| Ok(())).unwrap();
        drop(run);
        fs::remove_dir_all(&path).unwrap();
    }
}

#[test]
fn what_is_no_run_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run");
    let shown = path.display().to_string();
    assert_eq!(refused(RunDir::open(&path)).0, format!("run directory `{shown}` does not exist"));
    fs::create_dir(&path).unwrap();
    assert_eq!(refused(RunDir::open(&path)).0, format!("run directory `{shown}` has no `run.toml`"));
    fs::remove_dir(&path).unwrap();

    let mut run = RunDir::create_at(&path, &manifest()).unwrap();
    run.commit_unit("a", &output(), &records(500)).unwrap();
    drop(run);
    let database = path.join("run.sqlite");
    let good = fs::read(&database).unwrap();
    let damaged = |bytes: &[u8]| {
        fs::write(&database, bytes).unwrap();
        let (message, hint) = refused(RunDir::open(&path));
        assert_eq!(hint, "restore it from a copy, or start a new run with `grts solve`");
        assert!(fs::read(&database).unwrap() == bytes, "a damaged file is left as it is: {message}");
        message.strip_prefix(&format!("run directory `{shown}` ")).unwrap().to_owned()
    };
    assert_eq!(damaged(b""), "has an empty `run.sqlite`");
    assert!(damaged(&[b'x'; 5000]).starts_with("has a damaged `run.sqlite`"));
    assert!(damaged(&good[..good.len() / 2]).starts_with("has a damaged `run.sqlite`"));
    let mut newer = good.clone();
    newer[60..64].copy_from_slice(&99_u32.to_be_bytes());
    fs::write(&database, &newer).unwrap();
    let (message, hint) = refused(RunDir::open(&path));
    assert!(message.contains("has schema version 99; this `grts` knows versions up to 1"), "{message}");
    assert_eq!(hint, "use the version of `grts` that wrote it, or a newer one");
    fs::remove_file(&database).unwrap();
    assert!(refused(RunDir::open(&path)).0.ends_with("has no `run.sqlite`"));
    fs::write(&database, &good).unwrap();
    assert_eq!(RunDir::open(&path).unwrap().unit::<Output>("a").unwrap(), Some(output()));
}

#[test]
fn an_edited_manifest_is_checked_like_a_scenario() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run");
    drop(RunDir::create_at(&path, &manifest()).unwrap());
    let file = path.join("run.toml");
    let text = fs::read_to_string(&file).unwrap();
    let fault = |from: &str, to: &str| {
        assert!(text.contains(from), "{text}");
        fs::write(&file, text.replace(from, to)).unwrap();
        let (message, hint) = refused(RunDir::open(&path));
        let line = 1 + text[..text.find(from).unwrap()].matches('\n').count();
        let place = format!("`{}` line {line}: ", file.display());
        (message.replace(&place, ""), hint)
    };
    assert_eq!(
        fault("turns = 2", "turns = 0").0,
        "`[scenario.game] turns` is `0`; it must be at least 1 and at most 64"
    );
    let (message, hint) = fault("h_min = ", "hmin = ");
    assert_eq!(message, "`[scenario.game]` has no key `hmin`");
    assert_eq!(hint, "did you mean `h_min`?");
    assert_eq!(fault("seed = 1", "sed = 1").0, "`[scenario]` has no key `sed`");
    assert!(fault("[versions]", "[version]").0.contains("section `[versions]`"));
}

#[test]
fn a_second_handle_is_refused_while_the_first_lives() {
    let directory = tempfile::tempdir().unwrap();
    let run = RunDir::create_in(directory.path(), &manifest()).unwrap();
    let path = run.path().to_owned();
    let (message, hint) = refused(RunDir::open(&path));
    let me = std::process::id();
    assert_eq!(message, format!("run directory `{}` is in use by process {me}", path.display()));
    assert_eq!(hint, "wait until it ends or stop it, or use another `--run-dir`");
    drop(run);
    RunDir::open(&path).unwrap();
}

#[test]
fn a_policy_is_whole_or_absent() {
    let directory = tempfile::tempdir().unwrap();
    let run = RunDir::create_in(directory.path(), &manifest()).unwrap();
    let path = run.path().to_owned();
    run.save_policy("p", |to| write(&to.join("a.bin"), b"old")).unwrap();
    let failed = run.save_policy("p", |to| {
        write(&to.join("a.bin"), b"half")?;
        Err(Error::Failed { problem: "stopped".into(), hint: String::new() })
    });
    assert_eq!(failed.unwrap_err().to_string(), "stopped");
    assert_eq!(fs::read(run.policy_path("p").join("a.bin")).unwrap(), b"old");
    run.save_policy("p", |to| write(&to.join("b.bin"), b"new")).unwrap();
    assert!(!run.policy_path("p").join("a.bin").exists());
    assert_eq!(names(&path.join("policies")), ["p"]);
    for id in ["", "../p", ".p", "a/b"] {
        assert_eq!(run.save_policy(id, |_| Ok(())).unwrap_err().kind(), ErrorKind::Failed);
    }

    let digest = run.end_state_digest().unwrap();
    drop(run);
    let leftover = path.join("policies/.partial-q");
    fs::create_dir(&leftover).unwrap();
    fs::write(leftover.join("a.bin"), "half").unwrap();
    fs::write(path.join("summary.json.partial"), "{").unwrap();
    let run = RunDir::open(&path).unwrap();
    assert_eq!(names(&path.join("policies")), ["p"]);
    assert!(!path.join("summary.json.partial").exists());
    assert_eq!(run.end_state_digest().unwrap(), digest);
    run.save_policy("p", |to| write(&to.join("b.bin"), b"neu")).unwrap();
    assert_ne!(run.end_state_digest().unwrap(), digest);
}

#[test]
fn the_summary_is_replaced_whole() {
    let directory = tempfile::tempdir().unwrap();
    let run = RunDir::create_in(directory.path(), &manifest()).unwrap();
    for value in [0.25, 0.5] {
        let summary = serde_json::json!({ "value": value });
        run.write_summary(&summary).unwrap();
        let text = fs::read_to_string(run.path().join("summary.json")).unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), summary);
    }
}

#[cfg(unix)]
#[test]
fn everything_is_closed_to_others() {
    use std::os::unix::fs::PermissionsExt;
    fn check(path: &Path, seen: &mut usize) {
        let metadata = fs::metadata(path).unwrap();
        let expected = if metadata.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(metadata.permissions().mode() & 0o777, expected, "{}", path.display());
        *seen += 1;
        if metadata.is_dir() {
            fs::read_dir(path).unwrap().for_each(|entry| check(&entry.unwrap().path(), seen));
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run");
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let mut run = RunDir::create_at(&path, &manifest()).unwrap();
    run.commit_unit("a", &1, &records(3)).unwrap();
    run.write_summary(&serde_json::json!({})).unwrap();
    let made = run.save_policy("p", |to| {
        fs::create_dir(to.join("sub")).map_err(|e| Error::io("create", to, e))?;
        write(&to.join("sub/a.bin"), b"x")
    });
    made.unwrap();
    let mut seen = 0;
    check(&path, &mut seen);
    // Settings, lock, summary, database with log and index, four of the policy, and the run itself.
    assert_eq!(seen, 11);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_under_a_policy_or_by_file_size_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let run = RunDir::create_in(directory.path(), &manifest()).unwrap();
    let (message, hint) = refused(run.save_policy("p", |_| write(Path::new("/dev/full"), b"x")));
    assert_eq!(message, "no space left on `/dev/full`");
    assert_eq!(hint, format!("free space, then `grts resume {}`", run.path().display()));
    drop(run);

    // A process of its own, because the limit on the size of files holds for all of one.
    let script = "trap '' XFSZ; ulimit -f 400; exec \"$@\"";
    let path = directory.path().join("limited");
    let status = child("sh", &["-c", script, "sh"], "fill", &path).status().unwrap();
    assert!(status.success());
    let run = RunDir::open(&path).unwrap();
    let keys = run.unit_keys().unwrap();
    assert!(!keys.is_empty());
    assert_eq!(run.unit::<usize>(&keys[keys.len() - 1]).unwrap(), Some(keys.len() - 1));
}

#[test]
fn a_run_killed_at_many_instants_ends_as_an_unbroken_one() {
    let directory = tempfile::tempdir().unwrap();
    let unbroken = directory.path().join("unbroken");
    work(&unbroken, Duration::ZERO);
    let broken = directory.path().join("broken");
    let this = std::env::current_exe().unwrap();
    let mut kills = 0;
    for attempt in 0..200_u64 {
        let mut worker = child(this.to_str().unwrap(), &[], "work", &broken).spawn().unwrap();
        // Spread over start, creation, saving and committing, in no regular order; growing, so that
        // a slow machine gets there too.
        std::thread::sleep(Duration::from_millis(1 + attempt * 7 % 20 + attempt / 4));
        worker.kill().unwrap();
        if worker.wait().unwrap().success() {
            break;
        }
        kills += 1;
    }
    let broken = RunDir::open(&broken).unwrap();
    let unbroken = RunDir::open(&unbroken).unwrap();
    assert!(kills >= 10, "only {kills} kills");
    assert_eq!(broken.unit_keys().unwrap(), unbroken.unit_keys().unwrap());
    assert_eq!(broken.end_state_digest().unwrap(), unbroken.end_state_digest().unwrap());
}

const UNITS: u32 = 60;

/// A run in small: each unit saves a policy, then commits a function of the unit before.
fn work(path: &Path, pause: Duration) {
    let opened = if path.join("run.toml").exists() { RunDir::open(path) } else { RunDir::create_at(path, &manifest()) };
    let mut run = opened.unwrap();
    let mut state = 0.5_f64;
    for idx in 0..UNITS {
        let key = format!("unit-{idx}");
        state = match run.unit::<f64>(&key).unwrap() {
            Some(done) => done,
            None => {
                let next = 3.7 * state * (1.0 - state);
                let saved = run.save_policy(&format!("p-{idx}"), |to| {
                    write(&to.join("a.bin"), &next.to_le_bytes())?;
                    std::thread::sleep(pause);
                    write(&to.join("b.bin"), &[7; 2000])
                });
                saved.unwrap();
                let mut records = records(20);
                records.episodes[0].returns = Some(next);
                run.commit_unit(&key, &next, &records).unwrap();
                next
            }
        };
    }
}

/// Not a test of its own: what the two tests above run in another process.
#[test]
fn in_another_process() {
    let Ok(path) = std::env::var("GRTS_TEST_RUN").map(PathBuf::from) else { return };
    match std::env::var("GRTS_TEST_TASK").unwrap().as_str() {
        "work" => work(&path, Duration::from_millis(3)),
        "fill" => fill(&path),
        other => panic!("no task {other}"),
    }
}

/// Commits until a file may not grow, and checks the error.
fn fill(path: &Path) {
    let mut run = RunDir::create_at(path, &manifest()).unwrap();
    let error =
        (0..1000_usize).find_map(|idx| run.commit_unit(&format!("{idx:04}"), &idx, &records(30)).err()).unwrap();
    assert!(matches!(error, Error::DiskFull { .. }), "{error:?}");
    assert_eq!(error.hint(), format!("free space, then `grts resume {}`", path.display()));
    assert_eq!(run.unit::<usize>("0000").unwrap(), Some(0));
    let summary = serde_json::json!({ "text": "x".repeat(1_000_000) });
    assert!(matches!(run.write_summary(&summary).unwrap_err(), Error::DiskFull { .. }));
    assert!(!path.join("summary.json").exists());
    assert!(!path.join("summary.json.partial").exists());
}

fn child(program: &str, before: &[&str], task: &str, run: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(before);
    if program == "sh" {
        command.arg(std::env::current_exe().unwrap());
    }
    command.args(["--exact", "in_another_process"]);
    command.env("GRTS_TEST_RUN", run).env("GRTS_TEST_TASK", task);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    fs::write(path, bytes).map_err(|error| Error::io("write", path, error))
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}
