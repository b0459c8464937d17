//! Geometry on games whose shape is known, against brute force, and against OpenSpiel's ratings.

use grts_game::alpha_rank::{self, Selection};
use grts_game::exact::families::game_of_skill;
use grts_game::geometry::{
    self, Agents, Settings, Split, effective_diversity, elo, gamescape, nash_clusters, prediction_errors,
    relative_performances, three_cycles,
};
use grts_game::stream::{StreamKey, unit};
use grts_game::{Matrix, MetaGame, nash};

fn random(rows: usize, cols: usize, entry: u64) -> Matrix {
    let mut rng = StreamKey { seed: 5, iteration: 0, purpose: 0, entry, episode: 0, turn: 0 }.rng();
    Matrix::from_fn(rows, cols, |_, _| 2.0 * unit(&mut rng) - 1.0).unwrap()
}

fn antisymmetric(n: usize, entry: u64) -> Matrix {
    let raw = random(n, n, entry);
    Matrix::from_fn(n, n, |i, j| raw.get(i, j) - raw.get(j, i)).unwrap()
}

fn ladder(n: usize) -> Matrix {
    Matrix::from_fn(n, n, |i, j| j as f64 - i as f64).unwrap()
}

fn rps() -> Matrix {
    Matrix::from_rows(&[[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]).unwrap()
}

fn close(found: &[f64], wanted: &[f64], tolerance: f64) -> bool {
    found.len() == wanted.len() && found.iter().zip(wanted).all(|(a, b)| (a - b).abs() <= tolerance)
}

#[test]
fn pairs_play_both_sides() {
    let payoffs = random(3, 4, 0);
    let agents = Agents::of(&payoffs).unwrap();
    assert!(agents.are_pairs() && agents.len() == 12);
    for (i, j) in (0..12).flat_map(|i| (0..12).map(move |j| (i, j))) {
        let wanted = 0.5 * (payoffs.get(i / 4, j % 4) - payoffs.get(j / 4, i % 4));
        assert!((agents.payoff(i, j) - wanted).abs() < 1e-15 && agents.payoff(i, j) == -agents.payoff(j, i));
    }
    assert!(!Agents::of(&rps()).unwrap().are_pairs());
}

#[test]
fn the_split_is_exact_on_constructed_games() {
    // A ladder is all rating, rock-paper-scissors all circle.
    let (flat, round) = (Split::of(&ladder(6)).unwrap(), Split::of(&rps()).unwrap());
    assert_eq!((flat.transitive_share(), round.transitive_share()), (1.0, 0.0));
    assert!(close(&flat.red, &[2.5, 1.5, 0.5, -0.5, -1.5, -2.5], 1e-15) && flat.red == flat.blue);
    assert!(close(&round.rotations(), &[3.0_f64.sqrt(), 3.0_f64.sqrt(), 0.0], 1e-12));
    // Rating plus circle of given strengths comes apart again, square and rectangular.
    let both = Matrix::from_fn(3, 3, |i, j| 4.0 * ladder(3).get(i, j) + 2.0 * rps().get(i, j)).unwrap();
    let split = Split::of(&both).unwrap();
    assert!(close(split.cyclic.as_slice(), &rps().as_slice().iter().map(|x| 2.0 * x).collect::<Vec<_>>(), 1e-14));
    assert!((split.transitive_share() - 192.0 / (192.0 + 24.0)).abs() < 1e-14);
    let circle = [[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0]];
    let uneven = Matrix::from_fn(2, 3, |r, b| 7.0 + 3.0 * r as f64 + 2.0 * b as f64 + circle[r][b]).unwrap();
    let split = Split::of(&uneven).unwrap();
    assert!(close(&split.red, &[-1.5, 1.5], 1e-14) && close(&split.blue, &[2.0, 0.0, -2.0], 1e-14));
    assert!(close(split.cyclic.as_slice(), &circle.concat(), 1e-14) && (split.mean - 10.5).abs() < 1e-14);
}

/// The share is that of the game between agents, which is never written out to compute it.
#[test]
fn the_transitive_share_is_that_of_the_agents() {
    for payoffs in [random(4, 6, 1), antisymmetric(7, 2)] {
        let agents = Agents::of(&payoffs).unwrap();
        let k = agents.len();
        let rating = |i: usize| (0..k).map(|j| agents.payoff(i, j)).sum::<f64>() / k as f64;
        let cells = || (0..k).flat_map(|i| (0..k).map(move |j| (i, j)));
        let total: f64 = cells().map(|(i, j)| agents.payoff(i, j).powi(2)).sum();
        let flat: f64 = cells().map(|(i, j)| (rating(i) - rating(j)).powi(2)).sum();
        assert!((Split::of(&payoffs).unwrap().transitive_share() - flat / total).abs() < 1e-12);
    }
}

#[test]
fn a_ladder_is_a_chain_and_a_circle_is_one_cluster() {
    let clusters = nash_clusters(&Agents::of(&ladder(5)).unwrap()).unwrap();
    assert_eq!(clusters.iter().map(|c| c.members.clone()).collect::<Vec<_>>(), [[0], [1], [2], [3], [4]]);
    // Rock-paper-scissors with two rocks, above somebody whom everyone beats.
    let kind = [0, 1, 2, 0, 3];
    let beats = |i: usize, j: usize| match (kind[i], kind[j]) {
        (3, 3) => 0.0,
        (3, _) => -1.0,
        (_, 3) => 1.0,
        (a, b) => rps().get(a, b),
    };
    let agents = Agents::of(&Matrix::from_fn(5, 5, beats).unwrap()).unwrap();
    let clusters = nash_clusters(&agents).unwrap();
    assert_eq!((clusters[0].members.as_slice(), clusters[1].members.as_slice()), (&[0, 1, 2, 3][..], &[4][..]));
    // Of all equilibria the one of largest entropy: the two rocks share alike.
    let (sixth, third) = (1.0 / 6.0, 1.0 / 3.0);
    assert!(close(&clusters[0].weights, &[sixth, third, third, sixth], 1e-10), "{:?}", clusters[0].weights);
    assert!((effective_diversity(&agents, &clusters[0]) - 1.0 / 3.0).abs() < 1e-10);
    assert_eq!(effective_diversity(&agents, &clusters[1]), 0.0);
    let nobody_wins = Agents::of(&Matrix::from_fn(4, 4, |_, _| 0.0).unwrap()).unwrap();
    assert!(close(&nash_clusters(&nobody_wins).unwrap()[0].weights, &[0.25; 4], 1e-12));
}

#[test]
fn the_first_cluster_is_the_equilibrium_of_the_linear_program() {
    for entry in 0..10 {
        let n = 4 + 5 * entry as usize;
        let payoffs = antisymmetric(n, 100 + entry);
        let top = nash_clusters(&Agents::of(&payoffs).unwrap()).unwrap().swap_remove(0);
        let mut found = vec![0.0; n];
        top.members.iter().zip(&top.weights).for_each(|(&agent, &weight)| found[agent] = weight);
        // Random games have one equilibrium.
        assert!(close(&found, &nash::solve(&payoffs).unwrap().row, 1e-8), "{n}");
    }
    for entry in 0..5 {
        let payoffs = random(4 + entry as usize, 6, 200 + entry);
        let top = nash_clusters(&Agents::of(&payoffs).unwrap()).unwrap().swap_remove(0);
        let (mut row, mut col) = (vec![0.0; payoffs.rows()], vec![0.0; 6]);
        for (&pair, weight) in top.members.iter().zip(&top.weights) {
            row[pair / 6] += weight;
            col[pair % 6] += weight;
        }
        let exact = nash::solve(&payoffs).unwrap();
        assert!(close(&row, &exact.row, 1e-7) && close(&col, &exact.col, 1e-7));
        let product = |&pair: &usize| row[pair / 6] * col[pair % 6];
        assert!(close(&top.weights, &top.members.iter().map(product).collect::<Vec<_>>(), 1e-7), "largest entropy");
    }
}

/// Shares of few dialogues tie everywhere, so equilibria are many and pairs of policies alike.
#[test]
fn games_full_of_ties_have_clusters() {
    for (entry, dialogues) in [(0, 3), (1, 3), (2, 10), (3, 10)] {
        let shares = random(9, 11, 300 + entry);
        let share = |row, col| (dialogues as f64 * shares.get(row, col).abs().powi(3)).round() / dialogues as f64;
        let agents = Agents::of(&Matrix::from_fn(9, 11, share).unwrap()).unwrap();
        let clusters = nash_clusters(&agents).unwrap();
        assert_eq!(clusters.iter().map(|cluster| cluster.members.len()).sum::<usize>(), 99);
        for cluster in &clusters {
            assert!((cluster.weights.iter().sum::<f64>() - 1.0).abs() < 1e-4);
            // Nobody in it is beaten by the mixture, nor beats it.
            for &i in &cluster.members {
                let mixed: f64 =
                    cluster.members.iter().zip(&cluster.weights).map(|(&j, weight)| weight * agents.payoff(i, j)).sum();
                assert!(mixed.abs() < 1e-6, "{mixed:e}");
            }
        }
    }
}

/// Czarnecki et al. 2020, thm. 2: no cluster loses to a later one; and every agent is in exactly one.
#[test]
fn earlier_clusters_hold_their_own() {
    for payoffs in [antisymmetric(40, 7), random(5, 7, 8), game_of_skill(60, 3).unwrap()] {
        let agents = Agents::of(&payoffs).unwrap();
        let clusters = nash_clusters(&agents).unwrap();
        let mut all: Vec<usize> = clusters.iter().flat_map(|cluster| cluster.members.clone()).collect();
        all.sort_unstable();
        assert_eq!(all, (0..agents.len()).collect::<Vec<_>>());
        let performances = relative_performances(&agents, &clusters).unwrap();
        for (first, second) in (0..clusters.len()).flat_map(|second| (0..second).map(move |first| (first, second))) {
            assert!(performances.get(first, second) > -1e-6, "{first} against {second}");
        }
    }
}

#[test]
fn three_cycles_agree_with_counting() {
    assert_eq!(three_cycles(&Agents::of(&rps()).unwrap(), 0.0), 1);
    assert_eq!(three_cycles(&Agents::of(&ladder(9)).unwrap(), 0.0), 0);
    for payoffs in [antisymmetric(70, 9), random(6, 7, 10)] {
        let agents = Agents::of(&payoffs).unwrap();
        let n = agents.len();
        let beats = |i: usize, j: usize| agents.payoff(i, j) > 0.0;
        let mut counted = 0;
        for (i, j) in (0..n).flat_map(|j| (0..j).map(move |i| (i, j))) {
            for k in j + 1..n {
                let round = beats(i, j) && beats(j, k) && beats(k, i);
                counted += u64::from(round || (beats(j, i) && beats(k, j) && beats(i, k)));
            }
        }
        assert!(counted > 0 && three_cycles(&agents, 0.0) == counted);
    }
}

#[test]
fn elo_agrees_with_open_spiel() {
    let fixture: serde_json::Value = serde_json::from_str(include_str!("fixtures/open_spiel.json")).unwrap();
    let smoothing = fixture["elo"]["smoothing"].as_f64().unwrap();
    let cases = fixture["elo"]["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 6);
    for case in cases {
        let read = |key: &str| -> Vec<Vec<f64>> { serde_json::from_value(case[key].clone()).unwrap() };
        let (wins, draws) = (read("wins"), read("draws"));
        let n = wins.len();
        let score = |i: usize, j: usize| wins[i][j] + 0.5 * draws[i][j] + smoothing;
        let found = elo(&Matrix::from_fn(n, n, score).unwrap()).unwrap();
        let ratings: Vec<f64> = serde_json::from_value(case["ratings"].clone()).unwrap();
        assert!(close(&found, &ratings, 1e-9), "{found:?} {ratings:?}");
    }
    let unbeaten = Matrix::from_rows(&[[0.0, 3.0], [0.0, 0.0]]).unwrap();
    assert!(elo(&unbeaten).unwrap_err().to_string().contains("never win or never lose"));
    assert!(elo(&Matrix::from_rows(&[[0.0, -1.0], [2.0, 0.0]]).unwrap()).unwrap_err().to_string().contains("0 over 1"));
}

#[test]
fn alpha_rank_agrees_with_open_spiel() {
    let cases: Vec<serde_json::Value> = serde_json::from_str(include_str!("fixtures/alpha_rank.json")).unwrap();
    let mut compared = 0;
    for case in &cases {
        let payoffs: Vec<Vec<f64>> = serde_json::from_value(case["payoffs"].clone()).unwrap();
        let payoffs = Matrix::from_rows(&payoffs).unwrap();
        for answer in case["answers"].as_array().unwrap() {
            let population = answer["population"].as_u64().unwrap() as u32;
            let selection = Selection { alpha: answer["alpha"].as_f64(), population };
            let found = match case["kind"].as_str().unwrap() {
                "pairs" => alpha_rank::of_pairs(&payoffs, &selection).unwrap().as_slice().to_vec(),
                _ => alpha_rank::of_population(&payoffs, &selection).unwrap(),
            };
            let wanted: Vec<f64> = serde_json::from_value(answer["mass"].clone()).unwrap();
            assert!(close(&found, &wanted, 1e-9), "{selection:?}: {found:?} {wanted:?}");
            compared += 1;
        }
    }
    assert_eq!(compared, 39);
}

#[test]
fn alpha_rank_goes_on_playing_what_nobody_leaves() {
    let survey = |payoffs: &Matrix| geometry::survey_exact(payoffs).unwrap();
    let masses = |estimates: &[grts_game::Estimate]| estimates.iter().map(|mass| mass.mean).collect::<Vec<_>>();
    // Rock-paper-scissors above somebody whom everyone beats.
    let circle = Matrix::from_fn(4, 4, |i, j| match (i == 3, j == 3) {
        (true, true) => 0.0,
        (true, false) => -2.0,
        (false, true) => 2.0,
        _ => rps().get(i, j),
    });
    let found = survey(&circle.unwrap());
    let third = 1.0 / 3.0;
    assert!(close(&masses(&found.red_alpha_rank), &[third, third, third, 0.0], 1e-15));
    assert_eq!((found.alpha_rank_support.unwrap().mean, &found.red_alpha_rank), (3.0, &found.blue_alpha_rank));
    // Of two populations: a saddle is stable, pennies go round through all four pairs.
    let saddle = survey(&Matrix::from_rows(&[[1.0, 5.0], [3.0, 4.0]]).unwrap());
    assert_eq!((masses(&saddle.red_alpha_rank), masses(&saddle.blue_alpha_rank)), (vec![0.0, 1.0], vec![1.0, 0.0]));
    assert_eq!(saddle.alpha_rank_support.unwrap().mean, 1.0);
    let pennies = survey(&Matrix::from_rows(&[[1.0, 0.0], [0.0, 1.0]]).unwrap());
    assert_eq!((masses(&pennies.red_alpha_rank), pennies.alpha_rank_support.unwrap().mean), (vec![0.5, 0.5], 4.0));
    let large = survey(&random(65, 64, 11));
    assert!(large.red_alpha_rank.is_empty() && large.alpha_rank_support.is_none());
}

#[test]
fn one_rotation_is_what_multidimensional_elo_adds() {
    let logistic = |x: f64| 1.0 / (1.0 + (-x).exp());
    let chances = |circle: f64| {
        Matrix::from_fn(3, 3, |i, j| logistic(0.4 * ladder(3).get(i, j) + circle * rps().get(i, j))).unwrap()
    };
    let (flat, spun) = (prediction_errors(&chances(0.0), 1).unwrap(), prediction_errors(&chances(1.5), 1).unwrap());
    assert!(flat.0 < 1e-14 && flat.1 < 1e-14, "{flat:?}");
    assert!(spun.0 > 0.1 && spun.1 < 1e-14, "{spun:?}");
    assert!(prediction_errors(&Matrix::from_rows(&[[0.5, 1.0]]).unwrap(), 1).is_err());
}

#[test]
fn the_hull_of_a_square_is_the_square() {
    // Corners, the centre, and a doubled corner, in a plane of a larger space.
    let plane = [[0.0, 0.0], [4.0, 0.0], [4.0, 2.0], [0.0, 2.0], [2.0, 1.0], [4.0, 2.0]];
    let payoffs = Matrix::from_fn(6, 4, |row, col| {
        let [x, y] = plane[row];
        [x, y, 5.0, 5.0][col]
    });
    let found = gamescape(&payoffs.unwrap()).unwrap();
    assert_eq!(found.dimension, 2);
    assert!((found.area - 8.0).abs() < 1e-9, "{}", found.area);
    let mut corners = found.hull.clone();
    corners.sort_unstable();
    assert!(corners.len() == 4 && !corners.contains(&4), "{corners:?}");
    assert_eq!(gamescape(&ladder(5)).unwrap().dimension, 1);
    assert_eq!(gamescape(&Matrix::from_rows(&[[1.0, 2.0], [1.0, 2.0]]).unwrap()).unwrap().dimension, 0);
}

#[test]
fn intervals_come_from_the_samples() {
    let sampled = |dialogues: u64| {
        let mut game = MetaGame::new((0.0, 1.0)).unwrap();
        (0..4).for_each(|_| _ = game.add_row());
        (0..5).for_each(|_| _ = game.add_col());
        for (row, col) in game.missing(1) {
            for k in 0..dialogues {
                game.record(row, col, f64::from(u8::from(k % 7 <= (row + col) as u64 % 7))).unwrap();
            }
        }
        game
    };
    let take = |dialogues| geometry::survey(&sampled(dialogues), &Settings { resamples: 100, seed: 1 }).unwrap();
    let (few, many) = (take(70), take(7000));
    for (wide, narrow) in [
        (few.transitive_share, many.transitive_share),
        (few.red_elo[1], many.red_elo[1]),
        (few.red.area, many.red.area),
    ] {
        assert!(wide.low <= wide.mean && wide.mean <= wide.high);
        assert!(narrow.high - narrow.low < 0.5 * (wide.high - wide.low) && narrow.n == 20 * 7000);
    }
    assert_eq!(few, take(70), "a survey repeats");
    assert_ne!(few, geometry::survey(&sampled(70), &Settings { resamples: 100, seed: 2 }).unwrap());
    let text = serde_json::to_string(&few).unwrap();
    assert_eq!(serde_json::from_str::<geometry::Survey>(&text).unwrap(), few);
}

#[test]
fn a_game_of_skill_with_three_hundred_agents() {
    let survey = geometry::survey_exact(&game_of_skill(300, 1).unwrap()).unwrap();
    assert_eq!((survey.agents, survey.clusters.iter().map(|cluster| cluster.size).sum::<usize>()), (300, 300));
    assert!(survey.transitive_share.mean > 0.7 && survey.transitive_share.mean < 0.9);
    // Skill orders the layers, and the tip is smaller than the belly.
    assert!(survey.clusters[0].strength > 0.3 && survey.clusters.last().unwrap().strength < -0.3);
    let largest = survey.clusters.iter().map(|cluster| cluster.size).max().unwrap();
    assert!(survey.clusters[0].size < largest);
    assert_eq!((survey.red_elo == survey.blue_elo, survey.red_elo[0].low), (true, survey.red_elo[0].high));
}
