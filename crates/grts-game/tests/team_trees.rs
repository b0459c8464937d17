//! The red team on dialogue trees: the loop against the TMECor by linear programming, the oracle against brute force.

mod random_dialogue;

use grts_game::exact::dialogue_tree::{
    BluePlan, BlueStrategy, DialogueTree, Hearing, RedPlan, RedStrategy, TeamEquilibrium, TeamStrategy, TeamTree,
    TreeGame, Utterances, team_equilibrium,
};
use grts_game::rules::{Aggregator, Rules, Schedule, Team};
use grts_game::solver::{self, Config, Iteration, Solution, StopReason};
use grts_game::{GameError, Matrix, nash};
use random_dialogue::RandomDialogue;

const AGGREGATORS: [Aggregator; 4] = [Aggregator::Max, Aggregator::Mean, Aggregator::Sum, Aggregator::Last];
const SCHEDULES: [Schedule; 3] = [Schedule::Relay, Schedule::Parallel, Schedule::Drawn];

/// Turns, seats, schedule.
type Shape = (usize, usize, Schedule);

fn rules((turns, seats, schedule): Shape, aggregator: Aggregator) -> Rules {
    Rules::new(turns, aggregator, 0.5).unwrap().with_team(Team::new(seats, schedule).unwrap()).unwrap()
}

/// A random tree on which red can say the same after every history of one length.
fn tree(seed: u64, shape: Shape) -> DialogueTree {
    let openings: Vec<f64> = (0..=seed % 2).map(|opening| 1.0 + opening as f64).collect();
    let dialogue = RandomDialogue { same_menus: true, ..RandomDialogue::new(seed) };
    DialogueTree::build(rules(shape, AGGREGATORS[seed as usize % 4]), &openings, &dialogue).unwrap()
}

type TeamSolution = Solution<TeamStrategy, BlueStrategy>;

fn solve(team: &TeamTree<'_>, config: &Config) -> (TeamSolution, Vec<Iteration>) {
    let (reds, blues) = (vec![TeamStrategy::first(team)], vec![BlueStrategy::uniform(team.tree())]);
    let mut iterations = Vec::new();
    let solution = solver::solve(&mut TreeGame::new(team), reds, blues, config, &mut iterations).unwrap();
    (solution, iterations)
}

/// What the loop's profile leaves to both sides in the whole game.
fn nash_conv(team: &TeamTree<'_>, solution: &TeamSolution) -> f64 {
    let red = team.mixture(&solution.reds, &solution.equilibrium.row);
    let blue = BluePlan::mixture(team.tree(), &solution.blues, &solution.equilibrium.col);
    team.respond_red(&blue).1 - team.tree().respond_blue(&red).1
}

#[test]
fn a_team_of_one_is_the_old_game_to_the_bit() {
    for seed in 0..12 {
        let shape = (1 + seed as usize % 3, 1, SCHEDULES[seed as usize % 3]);
        let tree = tree(seed, shape);
        for (hearing, config) in [(Hearing::All, Config::psro(2000, 1e-10)), (Hearing::Own, Config::grts(2000, 1e-10))]
        {
            let (reds, blues) = (vec![RedStrategy::first(&tree)], vec![BlueStrategy::uniform(&tree)]);
            let mut alone = Vec::new();
            let old = solver::solve(&mut TreeGame::new(&tree), reds, blues, &config, &mut alone).unwrap();
            let team = TeamTree::new(&tree, hearing).unwrap();
            let (solution, together) = solve(&team, &config);
            assert_eq!(together, alone, "tree {seed}");
            assert_eq!((&solution.blues, &solution.game), (&old.blues, &old.game));
            for (strategy, old) in solution.reds.iter().zip(&old.reds) {
                assert_eq!(strategy.plan(&team), old.plan(&tree));
            }
        }
    }
}

/// A team whose seats all hear everything is one player of perfect recall, however many seats it has.
#[test]
fn seats_that_hear_everything_are_worth_one() {
    for (seed, schedule) in SCHEDULES.iter().cycle().take(12).enumerate() {
        let (turns, seed) = (2 + seed % 2, seed as u64);
        let alone = tree(seed, (turns, 1, Schedule::Relay));
        let value = team_equilibrium(&TeamTree::new(&alone, Hearing::All).unwrap()).map(|found| found.value);
        let (single, _) = solve(&TeamTree::new(&alone, Hearing::All).unwrap(), &Config::psro(2000, 1e-11));
        assert!(value.map_or(true, |value| (value - single.equilibrium.value).abs() <= 1e-9), "tree {seed}");
        let tree = tree(seed, (turns, 2, *schedule));
        let team = TeamTree::new(&tree, Hearing::All).unwrap();
        let (solution, _) = solve(&team, &Config::psro(2000, 1e-11));
        assert!(nash_conv(&team, &solution) <= 1e-9);
        assert!((solution.equilibrium.value - single.equilibrium.value).abs() <= 1e-9, "tree {seed}, {schedule:?}");
    }
}

const PRIVATE: [Shape; 6] = [
    (2, 2, Schedule::Relay),
    (3, 2, Schedule::Relay),
    (3, 3, Schedule::Relay),
    (2, 2, Schedule::Drawn),
    (2, 3, Schedule::Drawn),
    (2, 2, Schedule::Parallel),
];

#[test]
fn the_loop_reaches_the_value_of_the_linear_program() {
    let (mut proved, mut private) = (0, 0);
    for (seed, &shape) in PRIVATE.iter().cycle().take(36).enumerate() {
        let tree = tree(seed as u64, shape);
        let team = TeamTree::new(&tree, Hearing::Own).unwrap();
        let config = if seed % 2 == 0 { Config::psro(4000, 1e-10) } else { Config::grts(4000, 1e-10) };
        let (solution, _) = solve(&team, &config);
        assert_eq!(solution.stop_reason, StopReason::Converged, "tree {seed}, {shape:?}");
        assert!(nash_conv(&team, &solution) <= 1e-9, "tree {seed}, {shape:?}");
        let found = match team_equilibrium(&team) {
            Ok(found) => found,
            Err(GameError::TooManyPlans { .. }) => continue,
            Err(error) => panic!("tree {seed}, {shape:?}: {error}"),
        };
        let TeamEquilibrium { value, upper, lower, .. } = found;
        assert!(upper - lower <= 1e-9 && lower <= upper + 1e-12, "tree {seed}, {shape:?}: [{lower}, {upper}]");
        assert!((solution.equilibrium.value - value).abs() <= 1e-9, "tree {seed}, {shape:?}: {value}");
        proved += 1;
        let hearing_all = TeamTree::new(&tree, Hearing::All).unwrap();
        let more = hearing_all.respond_red(&found.blue.plan(&tree)).1;
        assert!(more >= upper - 1e-12);
        private += usize::from(more > upper + 1e-3);
    }
    println!("{proved} trees against the linear program, hearing is worth something against blue in {private}");
    assert!(proved >= 28 && private >= 8, "{proved} {private}");
}

/// Every joint plan of a team, for a tree of one opening.
fn every_plan(team: &TeamTree<'_>) -> Vec<TeamStrategy> {
    let sizes: Vec<usize> = (0..team.num_information_sets()).map(|set| team.utterances(set).len()).collect();
    let digit = |code: usize, set: usize| code / sizes[..set].iter().product::<usize>() % sizes[set];
    (0..sizes.iter().product()).map(|code| TeamStrategy::new(team, |_, set| digit(code, set))).collect()
}

/// A mixture of blues, one reply at each history more likely than the others.
fn some_blue(tree: &DialogueTree, seed: u64) -> BluePlan {
    let dice = RandomDialogue { coarse: false, ..RandomDialogue::new(seed) };
    BlueStrategy::new(tree, |history| dice.draw(7, history).powi(8)).plan(tree)
}

/// Two utterances and two replies each time.
struct Binary(u64);

impl Utterances for Binary {
    fn red(&self, _: &[u32]) -> Vec<u32> {
        vec![0, 1]
    }
    fn blue(&self, _: &[u32]) -> Vec<u32> {
        vec![0, 1]
    }
    fn score(&self, opening: usize, history: &[u32]) -> f64 {
        RandomDialogue { coarse: false, ..RandomDialogue::new(self.0) }.draw(opening as u32, history)
    }
}

fn binary(seed: u64, shape: Shape) -> DialogueTree {
    DialogueTree::build(rules(shape, AGGREGATORS[seed as usize % 4]), &[1.0], &Binary(seed)).unwrap()
}

#[test]
fn no_joint_plan_beats_the_team_s_response() {
    // The last has 2^12 plans, most of them equal where they matter.
    for shape in [(2, 2, Schedule::Relay), (3, 3, Schedule::Relay), (3, 2, Schedule::Relay), (2, 2, Schedule::Drawn)] {
        for seed in 0..4 {
            let tree = binary(seed, shape);
            let team = TeamTree::new(&tree, Hearing::Own).unwrap();
            let plans = every_plan(&team);
            for other in 0..3 {
                let blue = some_blue(&tree, 50 + 10 * seed + other);
                let (response, value) = team.respond_red(&blue);
                assert!((tree.value(&response.plan(&team), &blue) - value).abs() < 1e-12);
                let best = plans.iter().map(|plan| tree.value(&plan.plan(&team), &blue)).fold(0.0, f64::max);
                assert!((best - value).abs() < 1e-12, "{shape:?}, tree {seed}: {best} against {value}");
            }
        }
    }
}

/// The same value from the whole normal form: every joint plan against every pure blue.
#[test]
fn the_linear_program_agrees_with_the_normal_form() {
    for seed in 0..4 {
        let tree = binary(seed, (2, 2, Schedule::Relay));
        let team = TeamTree::new(&tree, Hearing::Own).unwrap();
        let mut asked: Vec<Vec<u32>> = (0..tree.num_replies()).map(|reply| tree.history(reply)).collect();
        asked.iter_mut().for_each(|history| _ = history.pop());
        asked.dedup();
        assert_eq!(asked.len(), 10);
        let says = |code: usize, history: &[u32]| {
            let (&reply, before) = history.split_last().unwrap();
            let at = asked.iter().position(|asked| asked == before).unwrap();
            if code >> at & 1 == reply as usize { 1.0 } else { 0.0 }
        };
        let blues = (0..1 << 10).map(|code| BlueStrategy::new(&tree, |history| says(code, history)).plan(&tree));
        let blues: Vec<BluePlan> = blues.collect();
        let reds: Vec<RedPlan> = every_plan(&team).iter().map(|plan| plan.plan(&team)).collect();
        let payoffs = Matrix::from_fn(reds.len(), blues.len(), |row, col| tree.value(&reds[row], &blues[col]));
        let (whole, program) = (nash::solve(&payoffs.unwrap()).unwrap(), team_equilibrium(&team).unwrap());
        assert!((whole.value - program.value).abs() <= 1e-9, "tree {seed}: {} {}", whole.value, program.value);
        assert_eq!(program.num_plans, 4, "what the second seat does not hear makes no plans");
    }
}

/// Blue guesses a bit; then two seats name one each, and win by naming the same one, not the guessed one.
struct SecretBit;

impl Utterances for SecretBit {
    fn red(&self, history: &[u32]) -> Vec<u32> {
        if history.is_empty() { vec![9] } else { vec![0, 1] }
    }
    fn blue(&self, history: &[u32]) -> Vec<u32> {
        if history.len() == 1 { vec![0, 1] } else { vec![9] }
    }
    fn score(&self, _: usize, history: &[u32]) -> f64 {
        match *history {
            [_, guess, first, _, second, _] => f64::from(u8::from(first == second && first != guess)),
            _ => 0.0,
        }
    }
}

#[test]
fn correlation_is_worth_what_it_is_worth() {
    let tree = DialogueTree::build(rules((3, 3, Schedule::Relay), Aggregator::Max), &[1.0], &SecretBit).unwrap();
    let value = |hearing| {
        let team = TeamTree::new(&tree, hearing).unwrap();
        let (solution, _) = solve(&team, &Config::psro(100, 1e-12));
        let program = team_equilibrium(&team).unwrap().value;
        assert!((solution.equilibrium.value - program).abs() < 1e-9);
        program
    };
    assert!((value(Hearing::Own) - 0.5).abs() < 1e-9, "the team draws the bit before the dialogue");
    assert!((value(Hearing::All) - 1.0).abs() < 1e-9, "who hears the guess names the other bit");
    // Seats that draw apart get a quarter at most: the product of two coins against either guess.
    let team = TeamTree::new(&tree, Hearing::Own).unwrap();
    let uniform = tree.respond_blue(&team.mixture(&every_plan(&team), &[0.25; 4])).1;
    assert!((uniform - 0.25).abs() < 1e-12);
}

/// In a relay the second seat does not know what it follows up; drawn seats do not know whether they follow themselves.
#[test]
fn the_same_words_are_worth_less_to_seats_that_do_not_hear() {
    struct Echo;
    impl Utterances for Echo {
        fn red(&self, _: &[u32]) -> Vec<u32> {
            vec![0, 1]
        }
        fn blue(&self, history: &[u32]) -> Vec<u32> {
            if history.len() == 1 { vec![0, 1] } else { vec![0] }
        }
        fn score(&self, _: usize, history: &[u32]) -> f64 {
            // The second utterance must repeat blue's reply to the first.
            f64::from(u8::from(history.len() == 4 && history[1] == history[2]))
        }
    }
    let value = |seats, schedule| {
        let tree = DialogueTree::build(rules((2, seats, schedule), Aggregator::Max), &[1.0], &Echo).unwrap();
        team_equilibrium(&TeamTree::new(&tree, Hearing::Own).unwrap()).unwrap().value
    };
    let expected = [
        (1, Schedule::Relay, 1.0),
        (2, Schedule::Parallel, 1.0),
        (2, Schedule::Relay, 0.5),
        (2, Schedule::Drawn, 0.75), // it is the same seat again half of the time
        (3, Schedule::Drawn, 2.0 / 3.0),
    ];
    for (seats, schedule, expected) in expected {
        let value = value(seats, schedule);
        assert!((value - expected).abs() < 1e-9, "{seats} seats, {schedule:?}: {value}");
    }
}

#[test]
fn what_a_seat_cannot_follow_is_refused() {
    struct Uneven;
    impl Utterances for Uneven {
        fn red(&self, history: &[u32]) -> Vec<u32> {
            if history.first() == Some(&1) { vec![0, 1] } else { vec![0, 1, 2] }
        }
        fn blue(&self, _: &[u32]) -> Vec<u32> {
            vec![0]
        }
        fn score(&self, _: usize, _: &[u32]) -> f64 {
            0.0
        }
    }
    let uneven = DialogueTree::build(rules((2, 2, Schedule::Relay), Aggregator::Max), &[1.0], &Uneven).unwrap();
    let error = TeamTree::new(&uneven, Hearing::Own).unwrap_err();
    assert_eq!(error, GameError::Indistinct { seat: 1, history: vec![1, 0] });
    assert!(error.to_string().starts_with("seat 1 cannot tell [1, 0] from another history"));
    assert!(TeamTree::new(&uneven, Hearing::All).is_ok());
    let large = tree(2, (3, 2, Schedule::Drawn));
    let error = team_equilibrium(&TeamTree::new(&large, Hearing::Own).unwrap()).unwrap_err();
    assert!(error.to_string().contains("more than 20000 joint plans"), "{error}");
}
