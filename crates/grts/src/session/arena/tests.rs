//! What blue owes honest people: the safest blue of all, which refuses everything, comes before the gate; who serves too little
//! may not begin a population, and is mended.

use super::{Players, Trained, honest_material};
use crate::oracle::{Aim, BlueOracle, Training};
use crate::policy::{Policy, Voice};
use crate::scenario::{Method, Scenario};
use crate::session::desk::{Desk, Reporter, Status, Steps, Watcher, stored};
use crate::session::stage::{Stage, Stream};
use crate::session::{config, evaluation};
use crate::store::{Manifest, RunDir};
use crate::world::Split;
use grts_game::solver::{Iteration, solve};
use grts_lm::Device;
use grts_lm::lora::{Adapter, LoraConfig};
use grts_lm::train::{AdamWConfig, Objective, Sequence, Trainer};
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

struct Silent;

impl Reporter for Silent {
    fn status(&mut self, _: &Status) {}
    fn iteration(&mut self, _: &Iteration, _: usize) {}
    fn note(&mut self, _: &str) {}
}

/// A new run of `scenario`, in a directory that goes when it is dropped, and its stage.
fn begun(scenario: &Scenario) -> (tempfile::TempDir, RunDir, Stage) {
    let directory = tempfile::tempdir().unwrap();
    let run = RunDir::create_at(&directory.path().join("run"), &Manifest::new(scenario.clone())).unwrap();
    (directory, run, Stage::set(scenario.clone(), Device::Cpu).unwrap())
}

/// Taught by examples to decline whatever honest people ask for.
fn always_refuse(stage: &Stage) -> Policy {
    const STEPS: usize = 24;
    const BATCH: usize = 32;
    let model = &stage.base.model;
    let mut rng = stage.key(Stream::Material, 0, 0).rng();
    let fresh = Adapter::new(LoraConfig::all_linear(4, 8.0), model.config(), &mut rng).unwrap();
    let mut trainer = Trainer::adapter(Arc::clone(model), &fresh, AdamWConfig::default());
    for _ in 0..STEPS {
        let mut refused = || {
            let mut office = Voice::new(&stage.base, 1);
            for said in stage.honest(Split::Train, &mut rng).turns {
                office.hear(&said).unwrap();
                office.recite(&stage.world.refusal(&mut rng)).unwrap();
            }
            let view = office.into_view();
            Sequence { scored: view.spoken.into_iter().flatten().collect(), tokens: view.tokens }
        };
        let batch: Vec<Sequence> = (0..BATCH).map(|_| refused()).collect();
        let likelihood = |_: usize, l: &[f32]| Objective { loss: 0.0, gradient: vec![-1.0 / BATCH as f32; l.len()] };
        trainer.step(&batch, 0.01, likelihood).unwrap();
    }
    Policy::new("refuser", trainer.to_adapter().unwrap())
}

/// The loop starts with the refuser as its only blue, and blue's oracle, at next to no rate, answers with the same again.
#[test]
fn a_blue_that_always_refuses_is_rejected_and_kept_on_disk_with_its_reason() {
    let mut scenario = Scenario::builtin().unwrap();
    scenario.method = Method::Heuristic;
    scenario.solver.iterations = 1;
    (scenario.solver.entry_dialogues, scenario.solver.gain_dialogues) = (32, 32);
    (scenario.blue.learning.steps, scenario.blue.learning.batch, scenario.blue.learning.learning_rate) = (1, 8, 1e-9);
    (scenario.evaluation.honest_dialogues, scenario.evaluation.open_dialogues) = (200, 60);
    let (_directory, run, stage) = begun(&scenario);
    let refuser = always_refuse(&stage);
    let asked = |policy: &Policy, entry| {
        evaluation::served(&stage, &[(policy, 1.0)], stage.key(Stream::Evaluation, 0, entry)).unwrap().0
    };
    let (served, before) = (asked(&refuser, 0), asked(&stage.untouched, 1));
    assert!(served.high < 0.05 && before.low > stage.scenario.game.h_min, "{served:?} {before:?}");

    let (interrupt, mut silent) = (AtomicBool::new(false), Silent);
    let desk = RefCell::new(Desk::new(run, Steps::default(), &interrupt, &mut silent));
    let mut players = Players::new(&stage, &desk).unwrap();
    let mut watcher = Watcher::new(&desk, &stage.scenario);
    let (reds, blues) = (vec![stage.untouched.clone()], vec![refuser]);
    let solution = solve(&mut players, reds, blues, &config(&stage), &mut watcher).unwrap();

    let ids = |policies: &[Policy]| policies.iter().map(|p| p.id.clone()).collect::<Vec<_>>();
    assert_eq!([ids(&solution.reds), ids(&solution.blues)], [vec!["base", "script"], vec!["refuser"]]);
    assert!(solution.game.estimate(1, 0).mean < 0.1, "{:?}: it is safe", solution.game.estimate(1, 0));
    let run = &desk.borrow().run;
    let rejected = stored::<Trained>(run, "blue/1").unwrap().unwrap().rejected.unwrap();
    assert!(rejected.starts_with("look-alike requests served 0.0"), "{rejected}");
    assert!(rejected.ends_with("of the required 0.15"), "{rejected}");
    assert_eq!(run.policy_ids().unwrap(), ["blue-1"]);
    let kept = asked(&stage.policy(run, "blue-1", 1).unwrap(), 2);
    assert!(kept.high < 0.05, "{kept:?}");
    let events = run.records("blue/1").unwrap().unwrap().events;
    assert_eq!(events[0].text, format!("blue-1 was rejected: {rejected}"));
}

/// The untouched model serves some 0.43 of what it is asked: enough for most, and too little where more than half is asked for.
#[test]
fn a_population_begins_with_a_blue_that_serves_enough() {
    let mut scenario = Scenario::builtin().unwrap();
    scenario.solver.gain_dialogues = 32;
    (scenario.evaluation.honest_dialogues, scenario.evaluation.open_dialogues) = (400, 60);
    for (h_min, first) in [(0.3, "base"), (0.55, "first-blue")] {
        scenario.game.h_min = h_min;
        let (_directory, run, stage) = begun(&scenario);
        let (interrupt, mut silent) = (AtomicBool::new(false), Silent);
        let desk = RefCell::new(Desk::new(run, Steps::default(), &interrupt, &mut silent));
        let mut players = Players::new(&stage, &desk).unwrap();
        let served = |policy: &Policy, entry| {
            evaluation::served(&stage, &[(policy, 1.0)], stage.key(Stream::Evaluation, 0, entry)).unwrap().0
        };
        let blue = players.first_blue(served(&stage.untouched, 0).complement()).unwrap();
        assert_eq!(blue.id, first);
        let fresh = served(&blue, 1);
        assert!(fresh.high > h_min, "{fresh:?} of {h_min}");
    }
}

/// They fill half of the room, so that what really got through has the other half; other methods keep nothing.
#[test]
fn red_may_say_what_honest_people_ask() {
    let mut scenario = Scenario::builtin().unwrap();
    (scenario.blue.honest_requests, scenario.red.repertoire) = (8, 6);
    for (method, overheard) in [(Method::Grts, 3), (Method::Psro, 0)] {
        scenario.method = method;
        let (_directory, run, stage) = begun(&scenario);
        let (interrupt, mut silent) = (AtomicBool::new(false), Silent);
        let desk = RefCell::new(Desk::new(run, Steps::default(), &interrupt, &mut silent));
        let mut players = Players::new(&stage, &desk).unwrap();
        players.collect().unwrap();
        let requests = players.helpfulness.iter().flat_map(|helpfulness| &helpfulness.requests);
        let mut asked: Vec<_> = requests.take(overheard).map(|request| request.turns.clone()).collect();
        asked.reverse(); // the latest first
        let known: Vec<_> = players.repertoire.attacks().iter().map(|attack| attack.said.clone()).collect();
        assert_eq!(known, asked);
    }
}

/// A tenth more of the look-alike requests than it serves, and not many more.
#[test]
fn what_is_missing_is_mended() {
    const MISSING: f64 = 0.1;
    let stage = Stage::set(Scenario::builtin().unwrap(), Device::Cpu).unwrap();
    let table = stage.table();
    let (helpfulness, _) = honest_material(&stage).unwrap();
    let learning = stage.scenario.blue.learning.clone();
    let oracle = BlueOracle {
        training: Training { table: &table, learning: &learning, key: stage.key(Stream::FirstBlue, 0, 0) },
        helpfulness: &helpfulness,
        honest_batch: 64,
        concessions: 0,
        served_target: 0.0,
        multiplier_rate: 0.0,
        memorable: None,
    };
    let log = oracle.serve(None, Aim::Higher(MISSING), &mut |_| Ok(())).unwrap().log;
    let shares = log.constraint;
    let (last, before) = shares.split_last().unwrap();
    assert!(shares.len() < learning.steps, "{shares:?}");
    assert!(*last >= shares[0] + MISSING && *last < shares[0] + 2.0 * MISSING, "{shares:?}");
    assert!(before.iter().skip(1).all(|share| *share < shares[0] + MISSING), "{shares:?}: it stops once that is there");
    assert_eq!(log.dialogues, 4 * 64 * shares.len() as u64);
}
