//! Scenario files: what is accepted, what is refused, and how it is said.

use std::path::{Path, PathBuf};

use grts::error::{Error, ErrorKind};
use grts::scenario::{Embedder, MetaStrategy, Method, Model, Scenario};
use grts_game::MetaSolver;
use grts_game::rules::{Aggregator, Schedule, Team};

fn parse(text: &str) -> Result<Scenario, Error> {
    Scenario::parse(text, Path::new("/data/my.toml"))
}

/// Message and hint of the fault in `text`.
fn fault(text: &str) -> String {
    let error = parse(text).expect_err(text);
    assert_eq!(error.kind(), ErrorKind::Usage);
    format!("{error} | {}", error.hint())
}

#[test]
fn the_empty_text_is_the_builtin_scenario() {
    let builtin = Scenario::builtin().unwrap();
    assert_eq!(parse("").unwrap(), builtin);
    assert_eq!((builtin.name.as_str(), builtin.seed), ("meridian", 1));
    assert_eq!((builtin.method, builtin.base.model.clone()), (Method::Psro, Model::Builtin));
    assert_eq!((builtin.game.turns, builtin.game.aggregator), (2, Aggregator::Max));
    assert_eq!((builtin.game.threshold, builtin.game.h_min), (0.5, 0.15));
    assert_eq!((builtin.red.learning.beta, builtin.blue.learning.beta, builtin.probe.beta), (0.03, 0.02, 0.02));
    assert_eq!((builtin.blue.honest_batch, builtin.red.fluency_floor), (128, -1.5));
    assert_eq!(builtin.budget.tokens, None);
}

#[test]
fn keys_given_replace_the_defaults_and_nothing_else() {
    let scenario = parse(
        "seed = 0x10\nmethod = 'self_play'\n[game]\nh_min = 0\n[red]\nsteps = 1_000\n\
         [blue]\nbeta = 1\n[budget]\nseconds = 60\n",
    )
    .unwrap();
    let mut expected = Scenario::builtin().unwrap();
    expected.seed = 16;
    expected.method = Method::SelfPlay;
    expected.game.h_min = 0.0;
    expected.red.learning.steps = 1000;
    expected.blue.learning.beta = 1.0;
    expected.budget.seconds = Some(60);
    assert_eq!(scenario, expected);
    assert_eq!(parse("game.turns = 3").unwrap().game.turns, 3);
}

#[test]
fn toml_round_trip_is_exact() {
    let text = "[blue]\nlearning_rate = 0.1234567890123456789\n[budget]\ntokens = 9007199254740993";
    let scenario = parse(text).unwrap();
    assert_eq!(parse(&scenario.to_toml().unwrap()).unwrap(), scenario);
}

#[test]
fn a_model_directory_starts_at_the_scenario_file() {
    let model = |text: &str| parse(&format!("[base]\nmodel = '{text}'")).unwrap().base.model;
    assert_eq!(model("m/base"), Model::Directory(PathBuf::from("/data/m/base")));
    assert_eq!(model("/opt/base"), Model::Directory(PathBuf::from("/opt/base")));
    assert_eq!(model("builtin"), Model::Builtin);
    let embedder = |text: &str| parse(&format!("[semantic]\nembedder = '{text}'")).unwrap().semantic.embedder;
    assert_eq!(embedder("m/encoder"), Embedder::Directory(PathBuf::from("/data/m/encoder")));
    assert_eq!(embedder("base"), Embedder::Base);
}

#[test]
fn unknown_keys_are_named_with_line_section_and_neighbour() {
    let cases = [
        (
            "seed = 1\n\n[game]\nturnz = 3\n",
            "`/data/my.toml` line 4: `[game]` has no key `turnz` | did you mean `turns`?",
        ),
        ("sede = 1", "`/data/my.toml` line 1: the top level has no key `sede` | did you mean `seed`?"),
        ("[sovler]\nepsilon = 1", "`/data/my.toml` line 1: the top level has no key `sovler` | did you mean `solver`?"),
        ("[budget]\ntoken = 5", "`/data/my.toml` line 2: `[budget]` has no key `token` | did you mean `tokens`?"),
        (
            "[red]\nfluency_flor = -1",
            "`/data/my.toml` line 2: `[red]` has no key `fluency_flor` | did you mean `fluency_floor`?",
        ),
        ("[game]\nred_teem = 2", "`/data/my.toml` line 2: `[game]` has no key `red_teem` | did you mean `red_team`?"),
        (
            "[blue]\nfluency_floor = -1.0",
            "`/data/my.toml` line 2: `[blue]` has no key `fluency_floor` | `fluency_floor` belongs to `[red]`",
        ),
        ("turns = 3", "`/data/my.toml` line 1: the top level has no key `turns` | `turns` belongs to `[game]`"),
        (
            "epsilon = 0",
            "`/data/my.toml` line 1: the top level has no key `epsilon` | `epsilon` belongs to `[certify]` or `[solver]`",
        ),
        (
            "[certify]\ndialogs = 9",
            "`/data/my.toml` line 2: `[certify]` has no key `dialogs` | did you mean `dialogues`?",
        ),
        (
            "[probe]\nxyz = 1",
            "`/data/my.toml` line 2: `[probe]` has no key `xyz` | its keys are `beta`, `dialogues`, `steps`",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(fault(text), expected);
    }
}

#[test]
fn bad_values_name_key_value_line_and_range() {
    let cases = [
        ("[game]\nturns = 0", "line 2: `[game] turns` is `0`; it must be at least 1 and at most 64"),
        ("[game]\nturns = -2", "line 2: `[game] turns` is `-2`; it must be at least 1 and at most 64"),
        ("[game]\nturns = 2.0", "line 2: `[game] turns` is `2.0`, of type float; it must be an integer"),
        ("[game]\nturns = 'two'", "line 2: `[game] turns` is `'two'`, of type string; it must be an integer"),
        ("[game]\nred_team = 0", "line 2: `[game] red_team` is `0`; it must be at least 1 and at most 64"),
        (
            "[game]\nschedule = 'realy'",
            "line 2: `[game] schedule` is `'realy'`; it must be one of `relay`, `parallel`, `drawn`",
        ),
        (
            "[game]\nred_team = 3\nh_min = 0.1",
            "line 2: `red_team = 3` seats, but a relay of `turns = 2` has a turn for the first 2 only",
        ),
        ("[game]\nh_min = 1.0", "line 2: `[game] h_min` is `1.0`; it must be at least 0 and below 1"),
        ("[game]\nh_min = -0.1", "line 2: `[game] h_min` is `-0.1`; it must be at least 0 and below 1"),
        ("[game]\nh_min = nan", "line 2: `[game] h_min` is `nan`; it must be at least 0 and below 1"),
        ("[game]\nthreshold = 0", "line 2: `[game] threshold` is `0`; it must be above 0 and at most 1"),
        ("[solver]\nepsilon = inf", "line 2: `[solver] epsilon` is `inf`; it must be at least 0 and finite"),
        ("[solver]\nepsilon = nan", "line 2: `[solver] epsilon` is `nan`; it must be at least 0 and finite"),
        ("[red]\nbatch = 0", "line 2: `[red] batch` is `0`; it must be at least 2 and at most 1000000000"),
        ("[red]\nfluency_floor = 1", "line 2: `[red] fluency_floor` is `1`; it must be at most 0 and finite"),
        ("[blue]\nclip = 1", "line 2: `[blue] clip` is `1`; it must be above 0 and below 1"),
        (
            "[blue]\nlearning_rate = -1e-3",
            "line 2: `[blue] learning_rate` is `-1e-3`; it must be above 0 and at most 1",
        ),
        ("[budget]\ntokens = 0", "line 2: `[budget] tokens` is `0`; it must be at least 1 and finite"),
        ("seed = -1", "line 1: `seed` is `-1`; it must be at least 0 and finite"),
        ("seed = 99999999999999999999", "line 1: `seed` is `99999999999999999999`; it must be at least 0 and finite"),
        ("game = 3", "line 1: `game` is `3`, of type integer; it must be a section"),
        ("[seed]\nx = 1", "line 1: `seed` is a section; it must be an integer"),
        (
            "name = ''",
            "line 1: `name` is `''`; it must be 1 to 64 letters, digits, `-`, `_` or `.`, and not begin with `.`",
        ),
        (
            "name = '../up'",
            "line 1: `name` is `'../up'`; it must be 1 to 64 letters, digits, `-`, `_` or `.`, and not begin with `.`",
        ),
        ("[base]\nmodel = ''", "line 2: `[base] model` is `''`; it must not be empty"),
        (
            "method = 'psor'",
            "line 1: `method` is `'psor'`; it must be one of `psro`, `grts`, `fictitious_play`, `self_play`, `single_attacker`, `heuristic`",
        ),
        ("[game]\naggregator = 1", "line 2: `[game] aggregator` is `1`, of type integer; it must be a string"),
        (
            "[certify]\ndialogues = 0",
            "line 2: `[certify] dialogues` is `0`; it must be at least 1 and at most 1000000000",
        ),
        ("[certify]\nepsilon = -1", "line 2: `[certify] epsilon` is `-1`; it must be at least 0 and finite"),
        (
            "[certify]\nallocation = 'adaptiv'",
            "line 2: `[certify] allocation` is `'adaptiv'`; it must be one of `adaptive`, `uniform`",
        ),
        (
            "[solver]\nmeta_strategy = 'nahs'",
            "line 2: `[solver] meta_strategy` is `'nahs'`; it must be one of `nash`, `max_entropy_nash`, `regret_matching_plus`, \
             `fictitious_play`, `weakened_fictitious_play`, `projected_replicator`, `alpha_rank`, `logit_qre`, `uniform`, \
             `latest`, `rectified_nash`",
        ),
    ];
    for (text, expected) in cases {
        let message = parse(text).expect_err(text).to_string();
        assert_eq!(message, format!("`/data/my.toml` {expected}"));
        assert!(!fault(text).ends_with("| "), "{text} has no way out");
    }
    assert!(fault("[solver]\nmeta_strategy = 'nahs'").ends_with("| did you mean `nash`?"));
    assert!(fault("method = 'psor'").ends_with("| did you mean `psro`?"));
    assert!(fault("[game]\nschedule = 'realy'").ends_with("| did you mean `relay`?"));
    let relay = fault("game.red_team = 2\ngame.turns = 1");
    assert!(relay.starts_with("`/data/my.toml` line 2: `red_team = 2` seats, but a relay of `turns = 1`"), "{relay}");
    assert!(relay.ends_with("| lower `[game] red_team`, raise `turns`, or take another `schedule`"), "{relay}");
    assert!(fault("[certify]\nallocation = 'adaptiv'").ends_with("| did you mean `adaptive`?"));
}

#[test]
fn every_rule_can_be_named_beside_psro_alone() {
    assert_eq!(Scenario::builtin().unwrap().solver.meta_strategy, None);
    for rule in MetaSolver::ALL {
        let scenario = parse(&format!("[solver]\nmeta_strategy = '{}'", rule.name())).unwrap();
        assert_eq!(scenario.solver.meta_strategy, Some(MetaStrategy(rule)));
        assert_eq!(parse(&scenario.to_toml().unwrap()).unwrap(), scenario);
    }
    let cases = [
        (
            "method = 'self_play'\nsolver.meta_strategy = 'nash'",
            "`/data/my.toml`: `[solver] meta_strategy` is `\"nash\"`; only `method = \"psro\"` has a choice, the other methods \
             are their rule | leave the key out, or set `method = \"psro\"`",
        ),
        (
            "[solver]\nmeta_strategy = 'alpha_rank'\niterations = 50",
            "`/data/my.toml`: `[solver] meta_strategy` is `\"alpha_rank\"`; it takes 50 policies a side, and 50 iterations may \
             reach 51 | set `[solver] iterations` to at most 49, or choose another rule",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(fault(text), expected);
    }
}

#[test]
fn the_first_fault_of_the_file_is_the_one_reported() {
    assert!(fault("[solver]\nepsilon = nan\n[game]\nturns = 0").contains("line 2: `[solver] epsilon`"));
}

#[test]
fn broken_toml_names_its_line() {
    assert!(fault("seed = 1\n[game\nturns = 2").starts_with("`/data/my.toml` line 2: not valid TOML"));
    assert!(fault("seed = 1\nseed = 2").starts_with("`/data/my.toml` line 2: not valid TOML"));
}

#[test]
fn the_fingerprint_follows_everything_but_the_name() {
    let print = |text: &str| parse(text).unwrap().fingerprint().unwrap();
    let base = print("");
    assert_eq!(base.len(), 8);
    assert!(base.chars().all(|c| c.is_ascii_hexdigit()));
    assert_eq!(base, print("name = 'other'"));
    let changes = [
        "seed = 2",
        "[game]\nturns = 3",
        "[blue]\nbeta = 0.021",
        "[solver]\nmeta_strategy = 'logit_qre'",
        "[budget]\ntokens = 1",
        "[base]\nmodel = 'm'",
    ];
    for change in changes {
        assert_ne!(base, print(change), "{change}");
    }
}

#[test]
fn a_team_is_read_and_written_and_a_team_of_one_leaves_no_trace() {
    let team = parse("[game]\nturns = 3\nred_team = 2\nschedule = 'drawn'").unwrap();
    assert_eq!((team.game.red_team, team.game.schedule), (2, Schedule::Drawn));
    assert_eq!(team.game.rules().unwrap().team(), Team::new(2, Schedule::Drawn).unwrap());
    assert_eq!(parse(&team.to_toml().unwrap()).unwrap(), team);
    let drawn = parse("[game]\nred_team = 3\nschedule = 'parallel'").unwrap();
    assert_ne!(drawn.fingerprint().unwrap(), team.fingerprint().unwrap());
    let one = parse("[game]\nred_team = 1\nschedule = 'relay'").unwrap();
    assert_eq!(one, Scenario::builtin().unwrap());
    let written = one.to_toml().unwrap();
    assert!(!written.contains("red_team") && !written.contains("schedule"), "{written}");
}

#[test]
fn blue_learns_at_a_rate_that_falls_to_its_final_share() {
    let mut blue = Scenario::builtin().unwrap().blue;
    assert_eq!(blue.learning_after(1.0), blue.learning, "by default it stays");
    (blue.learning.learning_rate, blue.final_rate) = (4e-3, 0.25);
    let rates = [0.0, 0.5, 1.0, 1.7].map(|spent| blue.learning_after(spent).learning_rate);
    assert_eq!(rates, [4e-3, 2.5e-3, 1e-3, 1e-3], "a budget may be overspent");
}

#[test]
fn quick_shrinks_budgets_and_keeps_the_game() {
    let full = Scenario::builtin().unwrap();
    let quick = full.clone().quick();
    assert!(quick.solver.iterations < full.solver.iterations);
    assert!(quick.blue.learning.steps < full.blue.learning.steps);
    assert!(quick.certify.dialogues < full.certify.dialogues);
    assert_eq!((&quick.game, &quick.base, quick.seed), (&full.game, &full.base, full.seed));
    assert_eq!(quick.clone().quick(), quick);
    assert_eq!(parse(&quick.to_toml().unwrap()).unwrap(), quick);
    let small = parse("[red]\nsteps = 2").unwrap().quick();
    assert_eq!(small.red.learning.steps, 2);
}
