//! Claims about sampled games against games of known truth, and what they cost.

mod known_truth;

use grts_game::sampling::{Allocation, Bound, Certifier, Deviation, Draw, Region, bootstrap};
use grts_game::stream::unit;
use grts_game::{Equilibrium, Estimate, GameError, MetaGame, Moments, Player, nash};
use known_truth::{FAMILIES, Family, Trial, Truth, rng};

const DELTA: f64 = 0.05;

fn holds(claim: &Estimate, truth: f64) -> bool {
    claim.low <= truth + 1e-9 && truth <= claim.high + 1e-9
}

/// Every family, every look of every campaign: certificates hold whenever one stops. `examples/sampling.rs` does the
/// same with more games.
#[test]
fn certificates_hold_at_any_time() {
    let games = 150;
    let mut wrong = [0; 3];
    for seed in 0..games {
        let mut rng = rng(seed, 11);
        let truth = Truth::new(FAMILIES[seed as usize % FAMILIES.len()], [4, 3], &mut rng);
        let value = nash::solve(&truth.payoffs).unwrap().value;
        let mut trial = Trial::new(&truth, DELTA, 4);
        let mut missed = [false; 3];
        for _ in 0..40 {
            trial.round(16 + trial.dialogues / 16, &mut rng).unwrap();
            let Some((profile, certificate)) = trial.campaign.certified() else { continue };
            missed[0] |= !holds(&certificate.nash_conv, truth.nash_conv(profile));
            missed[1] |= !holds(&certificate.value, value);
            let region = Region::anytime(&trial.game, DELTA, truth.payoffs.as_slice().len()).unwrap();
            let empirical = nash::solve(&trial.game.payoffs().unwrap()).unwrap();
            missed[2] |= !holds(&region.nash_conv(&empirical), truth.nash_conv(&empirical));
        }
        wrong.iter_mut().zip(missed).for_each(|(count, missed)| *count += u32::from(missed));
    }
    assert!(wrong.iter().all(|&count| f64::from(count) <= DELTA * games as f64), "{wrong:?} of {games}");
}

/// The same check with intervals that claim too much must fail, or it would show nothing.
#[test]
fn claims_without_a_level_are_found_out() {
    let games = 60;
    let wrong = (0..games).filter(|&seed| {
        let mut rng = rng(seed, 12);
        let truth = Truth::new(Family::Tied, [4, 4], &mut rng);
        let mut trial = Trial::new(&truth, 16.0, 4); // δ = 1 for each deviation
        (0..60).any(|_| {
            trial.round(16 + trial.dialogues / 16, &mut rng).unwrap();
            trial
                .campaign
                .certified()
                .is_some_and(|(profile, certificate)| !holds(&certificate.nash_conv, truth.nash_conv(profile)))
        })
    });
    assert!(wrong.count() > 6);
}

/// Dialogues per entry until a uniform allocation certifies ε for its safest profile.
fn uniform(truth: &Truth, epsilon: f64, seed: u64) -> usize {
    let (mut rng, mut game) = (rng(seed, 13), truth.unplayed());
    let [rows, cols] = truth.shape();
    let mut each = 0;
    loop {
        let more = 32.max(each / 8);
        each += more;
        for (row, col) in (0..rows).flat_map(|row| (0..cols).map(move |col| (row, col))) {
            (0..more).for_each(|_| game.record(row, col, truth.play(row, col, &mut rng)).unwrap());
        }
        let (low, high) = Region::anytime(&game, DELTA, rows * cols).unwrap().secure().unwrap().value;
        if high - low <= epsilon {
            return each * rows * cols;
        }
    }
}

#[test]
fn adaptive_sampling_needs_a_third_of_uniform_or_less() {
    let skill = Truth::new(Family::Skill, [20, 20], &mut rng(1, 14));
    for (name, truth) in [("skill", skill), ("recorded", Truth::recorded())] {
        let mut trial = Trial::new(&truth, DELTA, 8);
        let mut rng = rng(2, 15);
        let epsilon = 0.1;
        while trial.campaign.certified().is_none_or(|(_, found)| found.nash_conv.high > epsilon) {
            trial.round(1024.max(trial.dialogues / 16), &mut rng).unwrap();
        }
        let (profile, _) = trial.campaign.certified().unwrap();
        assert!(truth.nash_conv(profile) <= epsilon);
        let uniform = uniform(&truth, epsilon, 1);
        assert!(3 * trial.dialogues <= uniform, "{name}: {} of {uniform}", trial.dialogues);
    }
}

#[test]
fn a_deviation_that_cannot_be_best_gets_no_more_dialogues() {
    // Red's rows against the pure column: 0.9, 0.5, 0.1.
    let truth = Truth::new(Family::Tied, [3, 1], &mut rng(0, 16));
    let payoffs = grts_game::Matrix::from_rows(&[[0.9], [0.5], [0.1]]).unwrap();
    let truth = Truth { payoffs, ..truth };
    let profile = nash::solve(&truth.payoffs).unwrap();
    let mut certifier = Certifier::new(&profile, (0.0, 1.0), DELTA, 4).unwrap();
    let mut rng = rng(0, 17);
    let mut counts = [0; 3];
    for _ in 0..40 {
        for draw in certifier.plan(64, Allocation::Adaptive, &mut rng) {
            certifier.record(&draw, truth.play(draw.row, draw.col, &mut rng)).unwrap();
            if draw.deviation.is_some_and(|deviation| deviation.player == Player::Red) {
                counts[draw.row] += 1;
            }
        }
    }
    assert!(counts[0] > 8 * counts[1] && counts[1] >= counts[2], "{counts:?}");
    let found = certifier.certificate();
    assert!(found.nash_conv.high < 0.2 && holds(&found.value, 0.9), "{found:?}");
    assert_eq!(found.nash_conv.n, 40 * 64);
}

#[test]
fn a_uniform_plan_asks_every_deviation_as_often() {
    let profile = Equilibrium { row: vec![0.5, 0.5], col: vec![0.2, 0.3, 0.5], value: 0.0, nash_conv: 0.0 };
    let mut certifier = Certifier::new(&profile, (0.0, 1.0), DELTA, 5).unwrap();
    let (mut rng, mut counts) = (rng(0, 27), [[0; 3]; 2]);
    for size in [7, 1, 15] {
        let plan = certifier.plan(size, Allocation::Uniform, &mut rng);
        assert_eq!(plan.len(), size);
        for draw in plan {
            let Deviation { player, policy } = draw.deviation.unwrap();
            assert_eq!(policy, if player == Player::Red { draw.row } else { draw.col });
            counts[usize::from(player == Player::Blue)][policy] += 1;
            certifier.record(&draw, 0.0).unwrap();
        }
    }
    assert_eq!(counts, [[5, 5, 0], [5, 4, 4]]); // 23 of 5, red first
}

#[test]
fn a_new_policy_keeps_what_is_known() {
    let truth = Truth::new(Family::Uniform, [5, 4], &mut rng(3, 18));
    let smaller = grts_game::Matrix::from_fn(4, 4, |i, j| truth.payoffs.get(i, j)).unwrap();
    let small = Truth { payoffs: smaller, ..Truth::new(Family::Uniform, [4, 4], &mut rng(0, 0)) };
    let mut rng = rng(4, 19);
    let mut trial = Trial::new(&small, DELTA, 8);
    trial.campaign =
        grts_game::sampling::Campaign::new(grts_game::sampling::Settings { delta: DELTA, first: 8, policies: 9 });
    while trial.campaign.certified().is_none_or(|(_, found)| found.nash_conv.high > 0.15) {
        trial.round(256, &mut rng).unwrap();
    }
    let (cold, epochs) = (trial.dialogues, trial.campaign.epochs());
    trial.game.add_row();
    trial.truth = &truth;
    let explored = trial.round(256, &mut rng).unwrap();
    assert!(explored.iter().all(|draw| draw.row == 4 && draw.deviation.is_none()));
    assert_eq!(explored.len(), 8 * 4);
    let first = trial.round(64, &mut rng).unwrap();
    let of_new = |draw: &&Draw| draw.deviation == Some(Deviation { player: Player::Red, policy: 4 });
    assert!(first.iter().filter(of_new).count() >= 32);
    while trial.campaign.certified().is_none_or(|(_, found)| found.nash_conv.high > 0.15) {
        trial.round(256, &mut rng).unwrap();
    }
    let warm = trial.dialogues - cold;
    assert_eq!(trial.campaign.epochs(), epochs);
    assert!(2 * warm < cold, "{warm} after {cold}");
    let (profile, _) = trial.campaign.certified().unwrap();
    assert_eq!((profile.row.len(), profile.col.len()), (5, 4));
    assert!(truth.nash_conv(profile) <= 0.15);
}

#[test]
fn the_same_returns_make_the_same_campaign() {
    let truth = Truth::new(Family::Skill, [6, 6], &mut rng(5, 20));
    let play = || {
        let mut rng = rng(6, 21);
        let mut trial = Trial::new(&truth, DELTA, 4);
        let plans: Vec<Vec<Draw>> = (0..20).map(|_| trial.round(100, &mut rng).unwrap()).collect();
        (plans, trial.campaign)
    };
    assert_eq!(play(), play());
}

fn sampled(truth: &Truth, each: usize, seed: u64) -> MetaGame {
    let (mut game, mut rng) = (truth.unplayed(), rng(seed, 22));
    let [rows, cols] = truth.shape();
    for (row, col) in (0..rows).flat_map(|row| (0..cols).map(move |col| (row, col))) {
        (0..each).for_each(|_| game.record(row, col, truth.play(row, col, &mut rng)).unwrap());
    }
    game
}

/// At a fixed size the region of Clopper–Pearson intervals is the narrower one; both hold their own mean.
#[test]
fn regions_of_a_fixed_size_and_of_any() {
    let truth = Truth::new(Family::Uniform, [5, 6], &mut rng(7, 23));
    let game = sampled(&truth, 96, 1);
    let profile = nash::solve(&game.payoffs().unwrap()).unwrap();
    let fixed = Region::fixed(&game, Bound::ClopperPearson, DELTA, 30).unwrap();
    let any = Region::anytime(&game, DELTA, 30).unwrap();
    for region in [&fixed, &any] {
        let claim = region.nash_conv(&profile);
        assert!(holds(&claim, truth.nash_conv(&profile)) && holds(&claim, claim.mean) && claim.n == 30 * 96);
        let secure = region.secure().unwrap();
        let profile = Equilibrium::of_profile(&truth.payoffs, secure.row, secure.col);
        let bound = region.nash_conv(&profile).high;
        assert!((bound - (secure.value.1 - secure.value.0)).abs() < 1e-7, "{bound} {:?}", secure.value);
        assert!(bound <= claim.high + 1e-7 && profile.nash_conv <= bound);
    }
    assert!(fixed.nash_conv(&profile).high < any.nash_conv(&profile).high);
    assert_eq!(
        Region::anytime(&game, DELTA, 29).unwrap_err().to_string(),
        "entries that share the error of a region: expected 29 values, found 30"
    );
}

/// 40 openings, 8 dialogues under each in every entry; each opening makes each row easier or harder by 0.35. What is claimed
/// of single entries, of all of them at once, and of an equilibrium holds if openings are counted, and not if dialogues are.
#[test]
fn claims_about_dialogues_that_share_openings() {
    let payoffs = grts_game::Matrix::from_rows(&[[0.4, 0.6, 0.5], [0.6, 0.4, 0.5], [0.45, 0.45, 0.6]]).unwrap();
    let truth = Truth { payoffs, ..Truth::new(Family::Tied, [3, 3], &mut rng(0, 0)) };
    let trials = 200;
    let (mut missed, mut entries) = ([0; 2], [0; 2]);
    for trial in 0..trials {
        let mut rng = rng(trial, 28);
        let shifts: Vec<[f64; 3]> =
            (0..40).map(|_| [0; 3].map(|_| if unit(&mut rng) < 0.5 { -0.35 } else { 0.35 })).collect();
        let mut games = [truth.unplayed(), truth.unplayed()];
        for (row, col) in (0..3).flat_map(|row| (0..3).map(move |col| (row, col))) {
            let mut under = |shift: &[f64; 3]| -> Moments {
                let chance = truth.payoffs.get(row, col) + shift[row];
                (0..8).map(|_| f64::from(unit(&mut rng) < chance)).collect()
            };
            let openings: Vec<Moments> = shifts.iter().map(&mut under).collect();
            games[0].merge(row, col, Moments::of_clusters(openings.iter().copied())).unwrap();
            openings.iter().for_each(|opening| games[1].merge(row, col, *opening).unwrap());
        }
        for (idx, game) in games.iter().enumerate() {
            let region = Region::fixed(game, Bound::ClopperPearson, DELTA, 9).unwrap();
            let inside = |i: usize, j: usize| {
                let mean = truth.payoffs.get(i, j);
                region.low().get(i, j) <= mean && mean <= region.high().get(i, j)
            };
            missed[idx] += u32::from(!(0..9).all(|at| inside(at / 3, at % 3)));
            entries[idx] +=
                (0..9).filter(|at| !holds(&game.estimate(at / 3, at % 3), truth.payoffs.get(at / 3, at % 3))).count();
            let profile = nash::solve(&game.payoffs().unwrap()).unwrap();
            let claim = region.nash_conv(&profile);
            assert!(idx == 1 || holds(&claim, truth.nash_conv(&profile)) && claim.n == 9 * 40);
        }
    }
    assert!(f64::from(missed[0]) <= DELTA * trials as f64 && missed[1] > 60, "{missed:?} of {trials}");
    let played = 9.0 * trials as f64;
    assert!(entries[0] as f64 <= 0.05 * played && entries[1] as f64 > 0.2 * played, "{entries:?} of {played}");
}

#[test]
fn what_a_certifier_refuses() {
    let profile = Equilibrium { row: vec![1.0], col: vec![0.5, 0.5], value: 0.0, nash_conv: 0.0 };
    assert!(matches!(Certifier::new(&profile, (0.0, 1.0), DELTA, 2), Err(GameError::Shape { found: 3, .. })));
    let mut certifier = Certifier::new(&profile, (0.0, 1.0), DELTA, 3).unwrap();
    let draw = |player, policy| Draw { row: 0, col: 1, deviation: Some(Deviation { player, policy }) };
    let message = |result: Result<(), GameError>| result.unwrap_err().to_string();
    for value in [f64::NAN, 1.5] {
        assert!(message(certifier.record(&draw(Player::Red, 0), value)).starts_with("entry (0, 1)"));
    }
    assert!(message(certifier.record(&draw(Player::Blue, 2), 0.5)).contains("outside a meta-game of 1 by 2"));
    assert_eq!(certifier.certificate().nash_conv, Estimate { mean: 0.0, low: 0.0, high: 1.0, n: 0 });
}

/// One entry of 200 dialogues: the bootstrap of its value is the binomial's own spread.
#[test]
fn bootstrap_of_one_entry_is_the_binomial() {
    let mut game = MetaGame::new((0.0, 1.0)).unwrap();
    game.add_row();
    game.add_col();
    (0..200).for_each(|i| game.record(0, 0, f64::from(i < 60)).unwrap());
    let profile = nash::solve(&game.payoffs().unwrap()).unwrap();
    let value = bootstrap::value(&game, 2000, &mut rng(8, 24)).unwrap();
    // 0.3 ± 1.96 √(0.3 · 0.7 / 200)
    assert!((value.low - 0.2365).abs() < 0.011 && (value.high - 0.3635).abs() < 0.011, "{value:?}");
    assert_eq!(value, bootstrap::value(&game, 2000, &mut rng(8, 24)).unwrap());
    let regret = bootstrap::nash_conv(&game, &profile, 2000, &mut rng(8, 24)).unwrap();
    assert_eq!(regret, Estimate { n: 200, ..Estimate::exact(0.0) });
}

/// Narrower than what is guaranteed, and near the truth more often than not.
#[test]
fn bootstrap_is_narrower_than_the_certificate() {
    let truth = Truth::new(Family::Graded, [6, 6], &mut rng(9, 25));
    let value = nash::solve(&truth.payoffs).unwrap().value;
    let games = 30;
    let near = (0..games).filter(|&seed| {
        let game = sampled(&truth, 96, seed);
        let profile = nash::solve(&game.payoffs().unwrap()).unwrap();
        let regret = bootstrap::nash_conv(&game, &profile, 100, &mut rng(seed, 26)).unwrap();
        let certain = Region::fixed(&game, Bound::EmpiricalBennett, DELTA, 36).unwrap().nash_conv(&profile);
        assert!(regret.high < certain.high && regret.high > 0.0);
        holds(&bootstrap::value(&game, 100, &mut rng(seed, 27)).unwrap(), value)
    });
    assert!(near.count() >= 24);
}
