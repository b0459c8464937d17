//! The tabular twin against closed forms, against the full game on offices small enough to unfold, and against the
//! blues that everybody knows: the untouched one and the one that refuses everything.

use grts::twin::{Attack, BlueTable, Masses, Rates, Twin, TwinSolution};
use grts::world::{Cell, MERIDIAN_SEED, NUM_CELLS, World};
use grts_game::GameError;
use grts_game::exact::dialogue_tree::{
    BlueStrategy, DialogueTree, HonestSequence, HonestTraffic, Utterances, constrained_equilibrium,
};
use grts_game::rules::{Aggregator, Rules};
use grts_game::stream::{StreamKey, unit};
use std::time::{Duration, Instant};

const REFUSE: u32 = 0;
const SERVE: u32 = 1;
const NOD: u32 = 2;

fn world() -> World {
    World::meridian(MERIDIAN_SEED)
}

fn assert_near(found: f64, wanted: f64, tolerance: f64, what: &str) {
    assert!((found - wanted).abs() <= tolerance, "{what}: {found} instead of {wanted}");
}

/// Honest masses of a small office. Cell 0 has no set-up turn; the last cell carries nobody.
struct Office {
    ask: Vec<f64>,
    chain: Vec<f64>,
    has_set_up: Vec<bool>,
}

impl Office {
    fn new(ask: &[f64], chain: &[f64]) -> Self {
        Self { ask: ask.to_vec(), chain: chain.to_vec(), has_set_up: (0..ask.len()).map(|cell| cell > 0).collect() }
    }

    fn twin(&self, turns: usize) -> Result<Twin, GameError> {
        let Self { ask, chain, has_set_up } = self;
        Twin::from_masses(Masses { ask, chain, has_set_up }, turns)
    }

    fn num_cells(&self) -> u32 {
        self.ask.len() as u32
    }

    fn tree(&self, turns: usize) -> DialogueTree {
        DialogueTree::build(Rules::new(turns, Aggregator::Max, 1.0).unwrap(), &[1.0], self).unwrap()
    }

    /// Honest people of `turns` turns: a chain that does not fit is left out.
    fn traffic(&self, turns: usize) -> HonestTraffic {
        let (mut sequences, cells) = (Vec::new(), self.num_cells());
        for (cell, (&weight, &chain)) in (0..cells).zip(self.ask.iter().zip(&self.chain)) {
            sequences.push(HonestSequence { weight, utterances: vec![cell] });
            if chain > 0.0 && turns >= 2 {
                sequences.push(HonestSequence { weight: chain, utterances: vec![cells + cell, cell] });
            }
        }
        HonestTraffic { sequences, serving: vec![SERVE] }
    }

    /// Probability that a table replies as `history` ends.
    fn weight(&self, blue: &BlueTable, history: &[u32]) -> f64 {
        let (before, last) = history.split_at(history.len() - 2);
        if last[1] == NOD {
            return 1.0;
        }
        let rates = if before.chunks(2).any(|round| round[1] == REFUSE) { &blue.refused } else { &blue.fresh };
        let prepared = before.chunks(2).next_back().is_some_and(|round| round[0] == last[0] + self.num_cells());
        let rate = if prepared { &rates.chain } else { &rates.ask }[last[0] as usize];
        if last[1] == SERVE { rate } else { 1.0 - rate }
    }
}

/// The full game: every ask and every set-up in every turn.
impl Utterances for Office {
    fn red(&self, _: &[u32]) -> Vec<u32> {
        let cells = self.num_cells();
        let set_ups = (0..cells).filter(|&cell| self.has_set_up[cell as usize]);
        (0..cells).chain(set_ups.map(|cell| cells + cell)).collect()
    }

    fn blue(&self, history: &[u32]) -> Vec<u32> {
        if history[history.len() - 1] >= self.num_cells() { vec![NOD] } else { vec![REFUSE, SERVE] }
    }

    fn score(&self, _: usize, history: &[u32]) -> f64 {
        f64::from(u8::from(history[history.len() - 1] == SERVE))
    }

    fn ends(&self, history: &[u32]) -> bool {
        history[history.len() - 1] == SERVE
    }
}

/// Four cells: asks in two of them, chains in two, one of which has no asks.
fn small_office() -> Office {
    Office::new(&[0.4, 0.0, 0.3, 0.0], &[0.0, 0.1, 0.2, 0.0])
}

/// (whether it is a chain, cell, mass), normalised to what fits.
fn honest_requests(ask: &[f64], chain: &[f64], turns: usize) -> Vec<(bool, usize, f64)> {
    let asks = ask.iter().enumerate().map(|(cell, &mass)| (false, cell, mass));
    let chains = chain.iter().enumerate().map(|(cell, &mass)| (true, cell, mass)).filter(|_| turns >= 2);
    let mut requests: Vec<_> = asks.chain(chains).filter(|(_, _, mass)| *mass > 0.0).collect();
    let total: f64 = requests.iter().map(|(_, _, mass)| mass).sum();
    requests.iter_mut().for_each(|(_, _, mass)| *mass /= total);
    requests
}

/// What a blue that serves `h_min` must give at least against `red`: it serves the requests that red imitates least
/// for their honest mass first (a fractional knapsack), and nobody else.
fn least_loss(requests: &[(bool, usize, f64)], red: &[Attack], h_min: f64) -> f64 {
    let attacked = |chain, cell| -> f64 {
        red.iter().filter(|attack| (attack.chain, attack.cell) == (chain, cell)).map(|attack| attack.weight).sum()
    };
    let mut offers: Vec<(f64, f64)> =
        requests.iter().map(|&(chain, cell, mass)| (attacked(chain, cell), mass)).collect();
    offers.sort_by(|a, b| (a.0 / a.1).total_cmp(&(b.0 / b.1)));
    let (mut loss, mut missing) = (0.0, h_min);
    for (weight, mass) in offers {
        let share = (missing / mass).clamp(0.0, 1.0);
        loss += share * weight;
        missing -= share * mass;
    }
    assert!(missing < 1e-12, "{missing} cannot be served");
    loss
}

/// Both sides are best responses to each other, found without any linear program.
fn assert_equilibrium(twin: &Twin, requests: &[(bool, usize, f64)], found: &TwinSolution, h_min: f64) {
    let price = twin.price(&found.blue()).unwrap();
    assert_near(price.best_response, found.value, 1e-9, "red's best response to blue");
    assert_near(least_loss(requests, &found.red, h_min), found.value, 1e-9, "blue's best response to red");
    assert!(price.served >= h_min - 1e-9, "{} is served of {h_min}", price.served);
    assert_near(price.served, found.served, 1e-9, "served share");
    assert_near(found.red.iter().map(|attack| attack.weight).sum(), 1.0, 1e-9, "red's mixture");
    assert!(found.lower <= found.value && found.value <= found.upper, "{} {}", found.lower, found.upper);
    assert!(found.upper - found.lower <= 1e-9, "{} {}", found.lower, found.upper);
}

#[test]
fn the_value_is_h_min_whatever_the_turns() {
    let world = world();
    for turns in [1, 2, 3] {
        let start = Instant::now();
        let twin = Twin::new(&world, turns).unwrap();
        let found = twin.solve(0.15).unwrap();
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());

        // All honest requests can be imitated, so blue holds them at one rate and red cannot tell them apart.
        assert_near(found.value, 0.15, 1e-9, "v*");
        assert_near(found.multiplier, 1.0, 1e-9, "v* rises one for one");
        let requests = honest_requests(&world.tables.traffic, &world.tables.chain_traffic, turns);
        assert_eq!(requests.len(), if turns == 1 { 40 } else { 52 });
        assert_equilibrium(&twin, &requests, &found, 0.15);
        assert_eq!(found.red.len(), requests.len());
        for (attack, (chain, cell, mass)) in found.red.iter().zip(&requests) {
            assert_eq!((attack.chain, attack.cell), (*chain, *cell));
            assert_near(attack.weight, *mass, 1e-8, "red asks as often as honest people do");
            let served = if *chain { &found.served_chain_by_cell } else { &found.served_by_cell };
            assert_near(served[*cell], 0.15, 1e-8, "blue serves at one rate");
        }
        for cell in 0..NUM_CELLS {
            assert!(world.tables.traffic[cell] > 0.0 || found.served_by_cell[cell] == 0.0, "cell {cell} is closed");
        }
    }
}

#[test]
fn the_frontier_rises_with_h_min() {
    let world = world();
    let twin = Twin::new(&world, 2).unwrap();
    let requests = honest_requests(&world.tables.traffic, &world.tables.chain_traffic, 2);
    let mut last = 0.0;
    for h_min in [0.05, 0.1, 0.2, 0.3, 0.5] {
        let found = twin.solve(h_min).unwrap();
        assert_equilibrium(&twin, &requests, &found, h_min);
        assert!(found.value > last, "{h_min}: {} after {last}", found.value);
        assert_near(found.value, h_min, 1e-9, "frontier");
        last = found.value;
    }
    assert_near(twin.solve(0.0).unwrap().value, 0.0, 1e-9, "nobody need be served");
    assert_near(twin.solve(1.0).unwrap().value, 1.0, 1e-9, "everybody must be served");
}

#[test]
fn neither_the_base_nor_always_refuse_is_feasible_and_optimal() {
    let (world, h_min) = (world(), 0.15);
    for turns in [1, 2, 3] {
        let twin = Twin::new(&world, turns).unwrap();
        let value = twin.solve(h_min).unwrap().value;
        let base = twin.price(&BlueTable::base(&world)).unwrap();
        assert!(base.served >= h_min, "the base is feasible: {}", base.served);
        assert!(base.best_response > value + 0.7, "the base is far from optimal: {}", base.best_response);
        let closed = twin.price(&BlueTable::always_refuse(NUM_CELLS)).unwrap();
        assert_eq!((closed.best_response, closed.served), (0.0, 0.0), "always-refuse is safe and infeasible");
    }
}

/// The base's price by hand: what it leaks at once, and again at half the rate after a refusal.
#[test]
fn the_base_is_priced_by_its_hottest_cells() {
    let world = world();
    let hottest = |rates: &[f64]| rates.iter().copied().fold(0.0, f64::max);
    let (ask, chain) = (hottest(&world.tables.leak), hottest(&world.tables.chain_leak));
    let price = |turns| Twin::new(&world, turns).unwrap().price(&BlueTable::base(&world)).unwrap();
    assert_near(price(1).best_response, ask, 1e-12, "one ask");
    let twice = ask + (1.0 - ask) * ask / 2.0;
    assert_near(price(2).best_response, twice.max(chain), 1e-12, "two asks, or a chain");
    assert_near(price(2).served, world.base_served_rate(), 1e-12, "honest share");
    let singles: f64 = world.tables.traffic.iter().zip(&world.tables.leak).map(|(m, r)| m * r).sum();
    assert_near(price(1).served, singles / world.tables.traffic.iter().sum::<f64>(), 1e-12, "asks that fit");
}

#[test]
fn reduction_is_exact_on_small_offices() {
    let offices = [small_office(), Office::new(&[0.2, 0.5, 0.0], &[0.0, 0.0, 0.3])];
    for (office, turns) in [(&offices[0], 1), (&offices[0], 2), (&offices[1], 3)] {
        let (tree, traffic, twin) = (office.tree(turns), office.traffic(turns), office.twin(turns).unwrap());
        let requests = honest_requests(&office.ask, &office.chain, turns);
        for h_min in [0.1, 0.15, 0.6] {
            let full = constrained_equilibrium(&tree, &traffic, h_min).unwrap();
            let reduced = twin.solve(h_min).unwrap();
            assert_near(reduced.value, full.value, 1e-9, "value of the reduced game");
            assert_equilibrium(&twin, &requests, &reduced, h_min);
            // The reduced blue, refusing everywhere else, holds in the full game.
            let blue = BlueStrategy::new(&tree, |history| office.weight(&reduced.blue(), history)).plan(&tree);
            assert_near(tree.respond_red(&blue).1, full.value, 1e-9, "reduced blue in the full game");
        }
    }
}

#[test]
fn prices_agree_with_the_full_tree() {
    for seed in 0..18 {
        let turns = 1 + seed as usize % 3;
        let office = if seed % 2 == 0 { small_office() } else { Office::new(&[0.2, 0.5, 0.0], &[0.0, 0.0, 0.3]) };
        let mut rng = StreamKey { seed, iteration: 0, purpose: 0, entry: 0, episode: 0, turn: 0 }.rng();
        // Rates well below 1, so that no single turn decides everything; chains that pay in some seeds and not in others.
        let most = if seed % 4 < 2 { 0.6 } else { 0.15 };
        let mut list = |most: f64| -> Vec<f64> { office.ask.iter().map(|_| most * unit(&mut rng)).collect() };
        let mut rates = || Rates { ask: list(most), chain: list(0.6) };
        let mut blue = BlueTable { fresh: rates(), refused: rates() };
        // A rate that nobody can ask for: cell 0 has no set-up turn.
        (blue.fresh.chain[0], blue.refused.chain[0]) = (1.0, 1.0);
        let tree = office.tree(turns);
        let plan = BlueStrategy::new(&tree, |history| office.weight(&blue, history)).plan(&tree);
        let price = office.twin(turns).unwrap().price(&blue).unwrap();
        assert_near(price.best_response, tree.respond_red(&plan).1, 1e-12, "best response");
        let served = honest_requests(&office.ask, &office.chain, turns).into_iter();
        let served =
            served.map(|(chain, cell, mass)| mass * if chain { &blue.fresh.chain } else { &blue.fresh.ask }[cell]);
        assert_near(price.served, served.sum(), 1e-12, "served share");
    }
}

#[test]
fn cells_stand_where_the_world_has_them() {
    let world = world();
    let base = BlueTable::base(&world);
    assert_eq!(base.fresh.ask, world.tables.leak);
    assert_eq!(base.fresh.chain, world.tables.chain_leak);
    let opened: Vec<usize> =
        (0..NUM_CELLS).filter(|&cell| base.fresh.chain[cell] > 5.0 * base.fresh.ask[cell]).collect();
    let mut wanted: Vec<usize> = world.tables.set_up_cells.iter().map(|cell| cell.index()).collect();
    wanted.sort_unstable();
    assert_eq!(opened, wanted);
    let found = Twin::new(&world, 2).unwrap().solve(0.15).unwrap();
    for attack in found.red.iter().filter(|attack| attack.chain) {
        assert!(Cell::from_index(attack.cell).unwrap().form.has_set_up(), "cell {}", attack.cell);
    }
}

#[test]
fn wrong_input_is_named() {
    let refused = |result: Result<Twin, GameError>| result.unwrap_err().to_string();
    assert_eq!(Twin::new(&world(), 0).unwrap_err(), GameError::NoTurns);
    let negative = Office::new(&[0.5, -0.1], &[0.0, 0.0]).twin(2);
    assert_eq!(refused(negative), "honest ask in cell 1: `-0.1` is not a mass of at least 0");
    let unprepared = Office::new(&[0.5, 0.1], &[0.2, 0.0]).twin(2);
    assert_eq!(refused(unprepared), "honest chain in cell 0: `0.2` is not 0, but the cell has no set-up turn");
    let short = Office::new(&[0.5, 0.1], &[0.2]).twin(2);
    assert_eq!(refused(short), "chain masses: expected 2 values, found 1");
    let chains_only = Office::new(&[0.0, 0.0], &[0.0, 1.0]);
    assert_eq!(refused(chains_only.twin(1)), "honest traffic that fits into the turns is empty");
    assert_near(chains_only.twin(2).unwrap().solve(0.4).unwrap().value, 0.4, 1e-9, "chains alone");

    let twin = small_office().twin(2).unwrap();
    assert_eq!(twin.solve(1.5).unwrap_err(), GameError::Infeasible { h_min: 1.5, attainable: 1.0 });
    assert!(twin.solve(f64::NAN).is_err() && twin.solve(-0.1).is_err());
    let mut blue = BlueTable::always_refuse(4);
    blue.refused.ask[2] = 1.5;
    let message = twin.price(&blue).unwrap_err().to_string();
    assert_eq!(message, "asks after a refusal, cell 2: `1.5` is not a probability");
    assert_eq!(
        twin.price(&BlueTable::always_refuse(3)).unwrap_err().to_string(),
        "first asks: expected 4 values, found 3"
    );
}
