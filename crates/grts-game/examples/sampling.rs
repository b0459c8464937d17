//! What `docs/benchmarks.md` says about sampled games: do the claims hold, and what do they cost?
//!
//! `cargo run --release -p grts-game --example sampling -- claims 10000` plays synthetic games of known truth and looks at
//! every certificate after every round; `-- cost 10` compares allocations over 10 seeds (`-- cost 10 0.05` at that ε only),
//! `-- profile 10` those that a run can choose between for the profile it ends with. Prints Markdown.

#[path = "../tests/known_truth/mod.rs"]
mod known_truth;

use grts_game::sampling::{Allocation, Certifier, Deviation, Draw, Region};
use grts_game::stream::pick;
use grts_game::{Equilibrium, Estimate, MetaGame, Player, nash};
use known_truth::{FAMILIES, Family, Trial, Truth, rng};
use rand_core::Rng;

const DELTA: f64 = 0.05;
/// Dialogues an entry gets before the first profile.
const FIRST: u64 = 8;
/// Dialogues an entry gets in a run.
const ENTRY: usize = 96;
/// A profile is asked for ε if its true NashConv is at most this share of it.
const CERTIFIABLE: f64 = 2.0 / 3.0;

fn main() -> Result<(), String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let count = arguments.get(1).and_then(|text| text.parse().ok());
    match (arguments.first().map(String::as_str), count) {
        (Some("claims"), Some(games)) => claims(games),
        (Some("cost"), Some(seeds)) => cost(seeds, arguments.get(2).and_then(|text| text.parse().ok())),
        (Some("profile"), Some(seeds)) => profile(seeds),
        _ => return Err("say `claims GAMES`, `cost SEEDS [EPSILON]` or `profile SEEDS`".to_owned()),
    }
    Ok(())
}

/// Shares of games in which a claim was wrong at any look.
fn claims(games: u64) {
    println!("| family | games | looks | certificate of a profile ever wrong | of the value | of any profile |");
    println!("|---|---|---|---|---|---|");
    let mut totals = [0; 5];
    for (idx, family) in FAMILIES.into_iter().enumerate() {
        let mut counts = [0; 5];
        for game in (0..games).filter(|game| *game as usize % FAMILIES.len() == idx) {
            let (looks, missed) = one_game(family, game);
            let found = [1, looks, u64::from(missed[0]), u64::from(missed[1]), u64::from(missed[2])];
            (0..5).for_each(|i| counts[i] += found[i]);
        }
        print_claims(&format!("{family:?}"), &counts);
        (0..5).for_each(|i| totals[i] += counts[i]);
    }
    print_claims("all", &totals);
}

fn print_claims(name: &str, [games, looks, profile, value, any]: &[u64; 5]) {
    let share = |missed: &u64| {
        let Estimate { mean, low, high, .. } = Estimate::proportion(*missed, *games);
        format!("{:.2} % [{:.2}, {:.2}]", 100.0 * mean, 100.0 * low, 100.0 * high)
    };
    println!("| {name} | {games} | {looks} | {} | {} | {} |", share(profile), share(value), share(any));
}

/// A campaign of 60 rounds on a game of 2 to 8 policies a side: looks, and which of the three claims was ever wrong. The
/// third, for any profile, is looked at after every tenth round.
fn one_game(family: Family, seed: u64) -> (u64, [bool; 3]) {
    let mut rng = rng(seed, 1);
    let mut side = || 2 + (rng.next_u64() % 7) as usize;
    let shape = [side(), side()];
    let truth = Truth::new(family, shape, &mut rng);
    let [rows, cols] = truth.shape();
    let value = nash::solve(&truth.payoffs).expect("a finite matrix").value;
    let mut trial = Trial::new(&truth, DELTA, FIRST);
    let (mut looks, mut missed) = (0, [false; 3]);
    for round in 0..60 {
        trial.round(16 + trial.dialogues / 16, &mut rng).expect("a valid game");
        let Some((profile, certificate)) = trial.campaign.certified() else { continue };
        let holds = |claim: &Estimate, truth: f64| claim.low <= truth + 1e-9 && truth <= claim.high + 1e-9;
        looks += 1;
        missed[0] |= !holds(&certificate.nash_conv, truth.nash_conv(profile));
        missed[1] |= !holds(&certificate.value, value);
        if round % 10 != 9 {
            continue; // 64 intervals and a linear program take longer than all the rest
        }
        let region = Region::anytime(&trial.game, DELTA, rows * cols).expect("a valid game");
        let empirical = trial.game.payoffs().and_then(|means| nash::solve(&means)).expect("a valid game");
        missed[2] |= !holds(&region.nash_conv(&empirical), truth.nash_conv(&empirical));
    }
    (looks, missed)
}

/// Dialogues until each way of sampling certifies ε, or `only` that one.
fn cost(seeds: u64, only: Option<f64>) {
    let epsilons = || [0.2, 0.1, 0.05].into_iter().filter(|epsilon| only.is_none_or(|only| only == *epsilon));
    println!("| game | ε | uniform, region | uniform, deviations | adaptive | adaptive / better uniform |");
    println!("|---|---|---|---|---|---|");
    for epsilon in epsilons() {
        row("skill 20 × 20", epsilon, seeds, |seed| Truth::new(Family::Skill, [20, 20], &mut rng(seed, 2)));
    }
    for epsilon in epsilons() {
        row("recorded 21 × 21", epsilon, seeds, |_| Truth::recorded());
    }
}

fn row(name: &str, epsilon: f64, seeds: u64, game: impl Fn(u64) -> Truth) {
    let mut costs: [Vec<f64>; 4] = Default::default();
    for seed in 0..seeds {
        let truth = game(seed);
        let region = uniform_region(&truth, epsilon, &mut rng(seed, 3));
        let deviations = uniform_deviations(&truth, epsilon, &mut rng(seed, 4));
        let adaptive = adaptive(&truth, epsilon, &mut rng(seed, 5));
        let ratio = adaptive / region.min(deviations);
        [region, deviations, adaptive, ratio].into_iter().zip(&mut costs).for_each(|(cost, all)| all.push(cost));
    }
    let [region, deviations, adaptive, ratio] = &costs;
    println!(
        "| {name} | {epsilon} | {} | {} | {} | {} |",
        told(region, 0),
        told(deviations, 0),
        told(adaptive, 0),
        told(ratio, 3)
    );
}

/// Mean with its interval.
fn told(costs: &[f64], digits: usize) -> String {
    let Estimate { mean, low, high, .. } = Estimate::student(costs);
    format!("{mean:.digits$} [{low:.digits$}, {high:.digits$}]")
}

/// Dialogues until the equilibrium of a run's means is certified: 96 dialogues an entry are played and paid for before.
fn profile(seeds: u64) {
    println!("| ε | seeds | uniform, entries | uniform, deviations | adaptive | adaptive / better uniform |");
    println!("|---|---|---|---|---|---|");
    let truth = Truth::recorded();
    for epsilon in [0.3, 0.2, 0.15, 0.12] {
        let mut costs: [Vec<f64>; 4] = Default::default();
        for seed in 0..seeds {
            let mut game = truth.unplayed();
            fill(&truth, &mut game, ENTRY, &mut rng(seed, 6), |_, _, _| ());
            let profile = nash::solve(&game.payoffs().expect("played")).expect("a valid game");
            if truth.nash_conv(&profile) > CERTIFIABLE * epsilon {
                continue; // what is not so cannot be certified, and what is barely so takes for ever
            }
            let entries = entries(&truth, game, &profile, epsilon, &mut rng(seed, 7));
            let [uniform, adaptive] = [Allocation::Uniform, Allocation::Adaptive]
                .map(|allocation| deviations(&truth, &profile, epsilon, allocation, &mut rng(seed, 8)));
            let ratio = adaptive / uniform.min(entries);
            [entries, uniform, adaptive, ratio].into_iter().zip(&mut costs).for_each(|(cost, all)| all.push(cost));
        }
        let [entries, uniform, adaptive, ratio] = &costs;
        let (entries, uniform, adaptive, ratio) =
            (told(entries, 0), told(uniform, 0), told(adaptive, 0), told(ratio, 3));
        println!("| {epsilon} | {} of {seeds} | {entries} | {uniform} | {adaptive} | {ratio} |", costs[0].len());
    }
}

/// As many for every entry; the intervals of the region use the dialogues of the run too.
fn entries(truth: &Truth, mut game: MetaGame, profile: &Equilibrium, epsilon: f64, rng: &mut impl Rng) -> f64 {
    let [rows, cols] = truth.shape();
    let mut each = 0;
    while Region::anytime(&game, DELTA, rows * cols).expect("a valid game").nash_conv(profile).high > epsilon {
        let more = 8.max(each / 32);
        each += more;
        fill(truth, &mut game, more, rng, |_, _, _| ());
    }
    (each * rows * cols) as f64
}

/// The stage of a run, in its rounds.
fn deviations(truth: &Truth, profile: &Equilibrium, epsilon: f64, allocation: Allocation, rng: &mut impl Rng) -> f64 {
    let [rows, cols] = truth.shape();
    let mut certifier = Certifier::new(profile, (0.0, 1.0), DELTA, rows + cols).expect("a valid profile");
    let mut dialogues = 0;
    while certifier.certificate().nash_conv.high > epsilon {
        for draw in certifier.plan(512.max(dialogues / 16), allocation, rng) {
            certifier.record(&draw, truth.play(draw.row, draw.col, rng)).expect("a valid return");
            dialogues += 1;
        }
    }
    dialogues as f64
}

fn adaptive(truth: &Truth, epsilon: f64, rng: &mut impl Rng) -> f64 {
    let mut trial = Trial::new(truth, DELTA, FIRST);
    loop {
        trial.round(512.max(trial.dialogues / 32), rng).expect("a valid game");
        if let Some((profile, certificate)) = trial.campaign.certified()
            && certificate.nash_conv.high <= epsilon
        {
            assert!(truth.nash_conv(profile) <= epsilon, "a false claim: possible in 5 % of runs, so look at the rate");
            return trial.dialogues as f64;
        }
    }
}

/// As many dialogues for every entry, and the profile that the region says is safest.
fn uniform_region(truth: &Truth, epsilon: f64, rng: &mut impl Rng) -> f64 {
    let [rows, cols] = truth.shape();
    let mut game = truth.unplayed();
    let mut each = 0;
    loop {
        let more = 16.max(each / 32);
        each += more;
        fill(truth, &mut game, more, rng, |_, _, _| ());
        let region = Region::anytime(&game, DELTA, rows * cols).expect("a valid game");
        let (low, high) = region.secure().expect("a valid game").value;
        if high - low <= epsilon {
            return (each * rows * cols) as f64;
        }
    }
}

/// As many dialogues for every entry, used for the same certificate as the adaptive ones: a deviation's stream takes, by
/// the profile's weights, returns of its entries that were played since the profile was fixed.
fn uniform_deviations(truth: &Truth, epsilon: f64, rng: &mut impl Rng) -> f64 {
    let [rows, cols] = truth.shape();
    let mut game = truth.unplayed();
    fill(truth, &mut game, FIRST as usize, rng, |_, _, _| ());
    let (mut each, mut begun) = (FIRST as usize, FIRST as usize);
    for epoch in 1.. {
        let profile = nash::solve(&game.payoffs().expect("played")).expect("a valid game");
        let mut certifier = certifier(&profile, epoch, rows + cols);
        let mut pools: Pools = vec![[vec![], vec![]]; rows * cols];
        let mut feeding = feedings(rows, cols);
        loop {
            let more = 4.max(each / 32);
            each += more;
            fill(truth, &mut game, more, rng, |row, col, value| {
                pools[row * cols + col].iter_mut().for_each(|pool| pool.push(value));
            });
            feed(&mut feeding, &profile, &mut pools, &mut certifier, rng);
            let found = certifier.certificate().nash_conv;
            if found.high <= epsilon {
                return (each * rows * cols) as f64;
            }
            if each >= 2 * begun && found.mean >= 0.4 * found.high {
                begun = each;
                break;
            }
        }
    }
    unreachable!("epochs do not end")
}

fn certifier(profile: &Equilibrium, epoch: u32, policies: usize) -> Certifier {
    let k = f64::from(epoch);
    Certifier::new(profile, (0.0, 1.0), DELTA / (k * (k + 1.0)), policies).expect("a valid profile")
}

/// Plays `each` dialogues of every entry.
fn fill(truth: &Truth, game: &mut MetaGame, each: usize, rng: &mut impl Rng, mut told: impl FnMut(usize, usize, f64)) {
    let [rows, cols] = truth.shape();
    for (row, col) in (0..rows).flat_map(|row| (0..cols).map(move |col| (row, col))) {
        for _ in 0..each {
            let value = truth.play(row, col, rng);
            game.record(row, col, value).expect("a valid return");
            told(row, col, value);
        }
    }
}

/// Draws returns for every deviation until the entry that is drawn has none left; that draw waits for the next ones, since
/// another in its place would be drawn by other weights.
fn feed(
    feeding: &mut [Feeding],
    profile: &Equilibrium,
    pools: &mut Pools,
    certifier: &mut Certifier,
    rng: &mut impl Rng,
) {
    for Feeding { deviation, waiting } in feeding {
        loop {
            let (side, row, col) = match deviation.player {
                Player::Red => (0, deviation.policy, waiting.take().unwrap_or_else(|| pick(rng, &profile.col))),
                Player::Blue => (1, waiting.take().unwrap_or_else(|| pick(rng, &profile.row)), deviation.policy),
            };
            let Some(value) = pools[row * profile.col.len() + col][side].pop() else {
                *waiting = Some(if side == 0 { col } else { row });
                break;
            };
            certifier.record(&Draw { row, col, deviation: Some(*deviation) }, value).expect("a valid return");
        }
    }
}

/// Unused returns of every entry, for red's deviations and for blue's.
type Pools = Vec<[Vec<f64>; 2]>;

/// A deviation's stream, and the opponent that it has drawn but not met.
struct Feeding {
    deviation: Deviation,
    waiting: Option<usize>,
}

fn feedings(rows: usize, cols: usize) -> Vec<Feeding> {
    let of = |player, policies| (0..policies).map(move |policy| Deviation { player, policy });
    let all = of(Player::Red, rows).chain(of(Player::Blue, cols));
    all.map(|deviation| Feeding { deviation, waiting: None }).collect()
}
