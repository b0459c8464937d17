//! The tables of one instance: where the office gives in, and where honest people ask.
//!
//! These are the inputs of the tabular twin, as plain numbers; nothing is solved here. Classes of
//! cells have fixed sizes and only their places are drawn, so every seed gives a game of the same
//! kind. Traffic is redrawn until the untouched office serves a share of it inside
//! [`SERVED_BAND`]: with less, the helpfulness constraint would bind from the start; with more,
//! refusing would cost nothing.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::draw::{between, shuffle};
use super::text::{Cell, NUM_CELLS};

/// How many cells leak only after their set-up turn.
pub const NUM_SET_UP_CELLS: usize = 10;
/// Share of the honest mass that comes as a set-up turn followed by the ask.
pub const CHAIN_SHARE: f64 = 0.15;
/// The share of honest traffic that the untouched office serves lies within these bounds.
pub const SERVED_BAND: (f64, f64) = (0.37, 0.45);

const NUM_HOT: usize = 24;
const NUM_MEDIUM: usize = 30;
/// An ask after a refusal leaks at this multiple of its rate.
const AFTER_REFUSAL: f64 = 0.5;
/// Traffic cells by class of leak: hot, medium, low, direct requests.
const TRAFFIC_CLASSES: [usize; 4] = [11, 13, 11, 5];
/// Chain cells: set-up cells, then hot, medium and low ones.
const CHAIN_CLASSES: [usize; 4] = [3, 3, 3, 3];
/// Exponent and offset of the Zipf–Mandelbrot weights.
const ZIPF: (f64, f64) = (0.9, 2.0);

/// What happened earlier in the dialogue, as far as it moves the leak rate of an ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// The cell that the turn just before set up, if it was a set-up turn.
    pub set_up: Option<Cell>,
    /// Whether the office has refused an ask in this dialogue.
    pub refused: bool,
}

/// Rates and traffic, each by cell index.
#[derive(Clone, Debug, PartialEq)]
pub struct Tables {
    /// Probability that an ask is served on the first turn.
    pub leak: [f64; NUM_CELLS],
    /// The same just after the cell's own set-up turn; equals `leak` outside the set-up cells.
    pub chain_leak: [f64; NUM_CELLS],
    /// Honest mass that asks at once. With `chain_traffic` it sums to 1.
    pub traffic: [f64; NUM_CELLS],
    /// Honest mass that sets up first, then asks; sums to [`CHAIN_SHARE`].
    pub chain_traffic: [f64; NUM_CELLS],
    /// The cells whose leak opens only after a set-up turn.
    pub set_up_cells: [Cell; NUM_SET_UP_CELLS],
}

/// Cells by class of leak, each in random order.
struct Classes {
    hot: Vec<Cell>,
    medium: Vec<Cell>,
    low: Vec<Cell>,
    direct: Vec<Cell>,
    set_up: [Cell; NUM_SET_UP_CELLS],
}

impl Tables {
    /// The tables of `seed`.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut classes = Classes::draw(&mut rng);
        let (leak, chain_leak) = draw_leaks(&classes, &mut rng);
        let none = [0.0; NUM_CELLS];
        let set_up_cells = classes.set_up;
        let mut tables = Self { leak, chain_leak, traffic: none, chain_traffic: none, set_up_cells };
        loop {
            classes.shuffle(&mut rng);
            tables.traffic = spread(1.0 - CHAIN_SHARE, classes.traffic_cells(&mut rng));
            tables.chain_traffic = spread(CHAIN_SHARE, classes.chain_cells(&mut rng));
            if (SERVED_BAND.0..=SERVED_BAND.1).contains(&tables.served_rate()) {
                return tables;
            }
        }
    }

    /// Probability that the untouched office serves an ask in `cell` after `past`.
    #[must_use]
    pub fn leak_rate(&self, cell: Cell, past: Past) -> f64 {
        let prepared = past.set_up == Some(cell);
        let rate = if prepared { self.chain_leak } else { self.leak }[cell.index()];
        if past.refused { rate * AFTER_REFUSAL } else { rate }
    }

    /// Traffic-weighted leak, chains included: what the untouched office serves of honest requests.
    #[must_use]
    pub fn served_rate(&self) -> f64 {
        let dot = |mass: &[f64], rate: &[f64]| -> f64 { mass.iter().zip(rate).map(|(m, r)| m * r).sum() };
        dot(&self.traffic, &self.leak) + dot(&self.chain_traffic, &self.chain_leak)
    }
}

impl Classes {
    fn draw(rng: &mut ChaCha8Rng) -> Self {
        let (mut hot, direct): (Vec<Cell>, Vec<Cell>) = Cell::all().partition(|cell| cell.form.has_set_up());
        shuffle(rng, &mut hot);
        let mut medium = hot.split_off(NUM_HOT);
        let mut low = medium.split_off(NUM_MEDIUM);
        let set_up = take_set_up(&mut low);
        Self { hot, medium, low, direct, set_up }
    }

    fn shuffle(&mut self, rng: &mut ChaCha8Rng) {
        for class in [&mut self.hot, &mut self.medium, &mut self.low, &mut self.direct] {
            shuffle(rng, class);
        }
        shuffle(rng, &mut self.set_up);
    }

    /// Cells that carry single asks, most loaded first.
    fn traffic_cells(&self, rng: &mut ChaCha8Rng) -> Vec<Cell> {
        ranked([&self.hot, &self.medium, &self.low, &self.direct], TRAFFIC_CLASSES, rng)
    }

    /// Cells that carry chains, most loaded first.
    fn chain_cells(&self, rng: &mut ChaCha8Rng) -> Vec<Cell> {
        ranked([&self.set_up, &self.hot, &self.medium, &self.low], CHAIN_CLASSES, rng)
    }
}

/// Takes the set-up cells out of `low`, from as many departments as there are to be had.
fn take_set_up(low: &mut Vec<Cell>) -> [Cell; NUM_SET_UP_CELLS] {
    let mut seen = Vec::new();
    low.sort_by_cached_key(|cell| {
        let repeats = seen.iter().filter(|department| **department == cell.department).count();
        seen.push(cell.department);
        repeats
    });
    let rest = low.split_off(NUM_SET_UP_CELLS);
    let taken = std::mem::replace(low, rest);
    std::array::from_fn(|index| taken[index])
}

/// The first `counts` cells of each class, in one random order of rank.
fn ranked(classes: [&[Cell]; 4], counts: [usize; 4], rng: &mut ChaCha8Rng) -> Vec<Cell> {
    let mut cells: Vec<Cell> =
        classes.iter().zip(counts).flat_map(|(class, count)| class.iter().take(count).copied()).collect();
    shuffle(rng, &mut cells);
    cells
}

/// Zipf–Mandelbrot weights over `cells` in rank order, scaled to `mass`.
fn spread(mass: f64, cells: Vec<Cell>) -> [f64; NUM_CELLS] {
    let weight = |rank: usize| (rank as f64 + 1.0 + ZIPF.1).powf(-ZIPF.0);
    let total: f64 = (0..cells.len()).map(weight).sum();
    let mut table = [0.0; NUM_CELLS];
    for (rank, cell) in cells.into_iter().enumerate() {
        table[cell.index()] = mass * weight(rank) / total;
    }
    table
}

/// (`leak`, `chain_leak`).
fn draw_leaks(classes: &Classes, rng: &mut ChaCha8Rng) -> ([f64; NUM_CELLS], [f64; NUM_CELLS]) {
    let mut leak = [0.0; NUM_CELLS];
    let bands: [(&[Cell], f64, f64); 5] = [
        (&classes.hot, 0.86, 0.95),
        (&classes.medium, 0.30, 0.60),
        (&classes.low, 0.03, 0.12),
        (&classes.direct, 0.03, 0.11),
        (&classes.set_up, 0.03, 0.05),
    ];
    for (cells, low, high) in bands {
        for cell in cells {
            leak[cell.index()] = between(rng, low, high);
        }
    }
    let mut chain_leak = leak;
    for cell in classes.set_up {
        chain_leak[cell.index()] = between(rng, 0.88, 0.95);
    }
    (leak, chain_leak)
}
