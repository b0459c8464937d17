//! A run that is killed or interrupted and then resumed is the run that was never touched.
//!
//! The binary is killed from outside, with the signal that nothing can catch, because only that stops a run between any
//! two instructions; a simulated crash stops where its author thought of. What is compared is the whole end state, by
//! the store's own digest, and the summary but for `seconds`. Not shown here: that a run survives a loss of power,
//! which needs a file system that forgets what was not synced.

#![cfg(unix)]

use grts::scenario::Scenario;
use grts::store::{Manifest, RunDir};
use grts_game::stream::{StreamKey, unit};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Over in seconds. The constraints are loose, so that both populations grow and a resumed run has adapters to load.
const SCENARIO: &str = "
name = 'kill'
[game]
h_min = 0.02
[solver]
iterations = 2
epsilon = 0.0
entry_dialogues = 8
gain_dialogues = 8
[certify]
epsilon = 0.0
dialogues = 600
[red]
search_rounds = 2
search_dialogues = 32
steps = 2
batch = 8
[blue]
steps = 2
batch = 8
honest_batch = 4
helpfulness_loss = 0.3
[probe]
steps = 2
dialogues = 10
[evaluation]
honest_dialogues = 20
open_dialogues = 20
grid_paraphrases = 2
";

/// The same with an adapter for each of two seats, of which either may speak in any turn.
fn team_scenario() -> String {
    SCENARIO.replace("h_min = 0.02", "h_min = 0.02\nred_team = 2\nschedule = 'drawn'")
}

/// The same with two candidates a response, and a reward, a choice and an admission that look at diversity. Eight dialogues
/// say little about fluency, so its floor is low: red's population is to grow.
fn diverse_scenario() -> String {
    let scenario = SCENARIO.replace("name = 'kill'", "name = 'kill'\nmethod = 'grts'");
    scenario.replace("[red]", "[red]\nfluency_floor = -4.0")
}

const KILLS: u32 = 20;
const TEAM_KILLS: u32 = 8;
const DIVERSE_KILLS: u32 = 8;
/// The longest life of a process that will be killed, in durations of the reference: longer than its longest unit.
const LONGEST_LIFE: f64 = 0.7;
const SHORTEST_LIFE: Duration = Duration::from_millis(5);

/// What a run comes to.
#[derive(Debug, PartialEq)]
struct End {
    digest: String,
    /// Without `seconds`.
    summary: Value,
}

/// The run that nobody touched.
struct Reference {
    end: End,
    duration: Duration,
}

fn reference() -> &'static Reference {
    static REFERENCE: OnceLock<Reference> = OnceLock::new();
    REFERENCE.get_or_init(|| Reference::of(&Desk::new()))
}

impl Reference {
    fn of(desk: &Desk) -> Self {
        let start = Instant::now();
        desk.play(desk.solve("run"));
        Self { duration: start.elapsed(), end: desk.end("run") }
    }
}

/// One test at a time, because instants are shares of the duration that the reference had by itself.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A directory with the scenario, for runs.
struct Desk {
    directory: TempDir,
}

impl Desk {
    fn new() -> Self {
        Self::with(SCENARIO)
    }

    fn with(scenario: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("kill.toml"), scenario).unwrap();
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// `grts` with stderr in a file, which no full pipe can hold up.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_grts"));
        command.args(arguments).current_dir(self.directory.path());
        command.stdout(Stdio::null()).stderr(File::create(self.path("stderr")).unwrap());
        command
    }

    fn stderr(&self) -> String {
        fs::read_to_string(self.path("stderr")).unwrap()
    }

    fn solve(&self, run: &str) -> Command {
        self.command(&["solve", "kill.toml", "--run-dir", run, "--json"])
    }

    fn resume(&self, run: &str) -> Command {
        self.command(&["resume", run, "--json"])
    }

    /// What a user would type next: `resume`, or `solve` if the run has not come to exist.
    fn go_on(&self, run: &str) -> Command {
        if self.path(run).join("run.toml").exists() {
            return self.resume(run);
        }
        let refused = self.resume(run).status().unwrap();
        assert_eq!(refused.code(), Some(2), "{}", self.stderr());
        self.solve(run)
    }

    fn play(&self, mut command: Command) {
        let status = command.status().unwrap();
        assert!(status.success(), "{status}: {}", self.stderr());
    }

    /// Goes on with a run and kills it after `life`; `false` if it was finished before.
    fn kill(&self, run: &str, life: Duration) -> bool {
        let mut child = self.go_on(run).spawn().unwrap();
        wait(&mut child, life);
        child.kill().unwrap();
        let status = child.wait().unwrap();
        let killed = status.signal() == Some(Signal::SIGKILL as i32);
        assert!(killed || status.success(), "{status}: {}", self.stderr());
        killed
    }

    /// How far a run has come: 2 policies an iteration, 3 probes.
    fn num_policies(&self, run: &str) -> usize {
        fs::read_dir(self.path(run).join("policies")).map_or(0, Iterator::count)
    }

    fn end(&self, run: &str) -> End {
        let path = self.path(run);
        let text = fs::read_to_string(path.join("summary.json")).unwrap();
        let mut summary: Value = serde_json::from_str(&text).unwrap();
        assert!(summary.as_object_mut().unwrap().remove("seconds").is_some_and(|s| s.is_f64()));
        End { digest: RunDir::open(&path).unwrap().end_state_digest().unwrap(), summary }
    }
}

/// Waits for the end of a process, at most `limit`.
fn wait(child: &mut Child, limit: Duration) {
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        let Some(left) = limit.checked_sub(start.elapsed()) else { return };
        sleep(left.min(Duration::from_millis(2)));
    }
}

/// Lives of the processes to be killed. Squares of uniform numbers: many die young, some outlive the longest unit, so
/// that runs get on.
fn lives(of: Duration) -> impl Iterator<Item = Duration> {
    let mut rng = StreamKey { seed: 1, iteration: 0, purpose: 0, entry: 0, episode: 0, turn: 0 }.rng();
    std::iter::repeat_with(move || SHORTEST_LIFE + of.mul_f64(LONGEST_LIFE * unit(&mut rng).powi(2)))
}

/// The second run has one thread where the reference has all cores: neither place nor schedule counts.
#[test]
fn two_runs_with_one_seed_agree() {
    let _alone = alone();
    let reference = reference();
    let (desk, other_desk) = (Desk::new(), Desk::new());
    let mut other = other_desk.solve("run");
    let mut other = other.args(["--seed", "2"]).env("RAYON_NUM_THREADS", "1").spawn().unwrap();
    let mut again = desk.solve("elsewhere");
    again.env("RAYON_NUM_THREADS", "1");
    desk.play(again);
    assert!(other.wait().unwrap().success(), "{}", other_desk.stderr());
    assert_eq!(desk.end("elsewhere"), reference.end);
    let other = other_desk.end("run");
    assert_ne!(other.digest, reference.end.digest);
    assert_ne!(other.summary["tokens"], reference.end.summary["tokens"]);
}

/// Kills runs until `kills` have hit, each run ending as the reference did; returns the numbers of policies that runs were
/// killed at.
fn survives(desk: &Desk, reference: &Reference, kills: u32) -> BTreeSet<usize> {
    let mut lives = lives(reference.duration);
    let (mut hits, mut runs) = (0, 0);
    let mut reached = BTreeSet::new();
    while hits < kills {
        runs += 1;
        let run = format!("run-{runs}");
        while hits < kills && desk.kill(&run, lives.next().unwrap()) {
            hits += 1;
            reached.insert(desk.num_policies(&run));
        }
        // One that has finished takes this for a request to print its result again.
        desk.play(desk.go_on(&run));
        assert_eq!(desk.end(&run), reference.end, "run {runs}, after {hits} kills in all");
    }
    reached
}

#[test]
fn twenty_kills_change_nothing() {
    let _alone = alone();
    let reached = survives(&Desk::new(), reference(), KILLS);
    assert!(reached.len() >= 3, "every kill fell on one part of the run: {reached:?} policies");
}

#[test]
fn a_team_survives_kills_too() {
    let _alone = alone();
    let scenario = team_scenario();
    let reference = Reference::of(&Desk::with(&scenario));
    assert_ne!(reference.end.digest, self::reference().end.digest);
    let desk = Desk::with(&scenario);
    survives(&desk, &reference, TEAM_KILLS);
    for (policy, seats) in [("red-1", true), ("probe-red-final", true), ("blue-1", false)] {
        let policy = desk.path("run-1/policies").join(policy);
        assert_eq!(policy.join("seat-1/adapter_config.json").exists(), seats);
        assert_eq!(policy.join("adapter_config.json").exists(), !seats);
    }
}

#[test]
fn a_run_that_chooses_for_diversity_survives_kills_too() {
    let _alone = alone();
    let desk = Desk::with(&diverse_scenario());
    let reference = Reference::of(&desk);
    let told = desk.stderr();
    assert!(told.contains("after the climb") && told.contains("(taken): gain "), "{told}");
    survives(&desk, &reference, DIVERSE_KILLS);
}

/// Creation takes milliseconds of a run, so kills over all of it seldom fall here.
#[test]
fn a_kill_during_creation_can_be_made_good() {
    let _alone = alone();
    let desk = Desk::new();
    let manifest = Manifest::new(Scenario::parse(SCENARIO, Path::new("kill.toml")).unwrap());
    let empty = RunDir::create_at(&desk.path("empty"), &manifest).unwrap().end_state_digest().unwrap();
    for milliseconds in (0..40).step_by(2) {
        let run = format!("run-{milliseconds}");
        assert!(desk.kill(&run, Duration::from_millis(milliseconds)));
        let path = desk.path(&run);
        let made = if path.join("run.toml").exists() {
            RunDir::open(&path).unwrap()
        } else {
            RunDir::create_at(&path, &manifest).unwrap()
        };
        assert_eq!(made.manifest().scenario, manifest.scenario);
        assert_eq!(made.end_state_digest().unwrap(), empty, "killed after {milliseconds} ms");
    }
}

#[test]
fn ctrl_c_saves_and_exits_130() {
    let _alone = alone();
    let reference = reference();
    let desk = Desk::new();
    let mut child = desk.solve("run").spawn().unwrap();
    sleep(reference.duration / 2);
    nix::sys::signal::kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{}", desk.stderr());
    assert!(desk.stderr().ends_with("\nhint: go on with `grts resume run`\n"), "{}", desk.stderr());
    assert!(!desk.path("run/summary.json").exists());
    desk.play(desk.resume("run"));
    assert_eq!(desk.end("run"), reference.end);
}
