//! α-rank: the stationary distribution of a chain over what everybody plays (Omidshafiei et al. 2019).
//!
//! At any time each population plays one policy; now and then a mutant appears in one of them and takes over or dies out,
//! the likelier the more it gains. The known implementation hands the chain to an eigenvalue solver and fails from α =
//! 1000 on, where transition probabilities underflow. State reduction (Grassmann, Taksar & Heyman 1985) subtracts nothing.
//! For a finite α it works on the *logarithms* of the probabilities, so any α is as good as any other.
//!
//! In the limit of an infinite α only steps are left that lose nothing: 1 for a gain, 1/population for a tie. In a
//! zero-sum game every state leads to one and the same set of states that is never left (Biggar & Shames 2023; a tie is a
//! step both ways, so it can only make that set larger). All mass is there, no small number is needed to find it, and
//! the work grows with the cube of that set and not of the game.

use crate::{GameError, Matrix};

/// States beyond which an answer would take more than about a minute.
pub(crate) const MOST_STATES: usize = 2500;
/// Gains, as a share of the payoff range, that are rounding.
const TIED: f64 = 1e-12;

/// How mutants are selected.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Selection {
    /// Ranking intensity, per unit of payoff; `None` is the limit of an infinite one.
    pub alpha: Option<f64>,
    /// Size of each population.
    pub population: u32,
}

/// Mass of every pair of a red and a blue policy, `rows × cols`, one population a side.
///
/// # Errors
/// More than 2,500 pairs, or in the limit more than 2,500 that are played at all.
pub fn of_pairs(payoffs: &Matrix, selection: &Selection) -> Result<Matrix, GameError> {
    let (rows, cols) = (payoffs.rows(), payoffs.cols());
    let neighbours = |from: usize| {
        let (row, col) = (from / cols, from % cols);
        let other_rows = (0..rows).filter(|other| *other != row).map(|other| other * cols + col);
        other_rows.chain((0..cols).filter(|other| *other != col).map(|other| row * cols + other)).collect()
    };
    let gain = |from: usize, to: usize| {
        let change = payoffs.as_slice()[to] - payoffs.as_slice()[from];
        if from % cols == to % cols { change } else { -change }
    };
    let chain = Chain { states: rows * cols, range: range(payoffs), neighbours: &neighbours, gain: &gain };
    Matrix::new(rows, cols, chain.mass(selection)?)
}

/// Mass of every agent of one population that plays itself. `payoffs` are antisymmetric; a mutant gains what it gets from
/// the resident less what the resident gets from it.
///
/// # Errors
/// As [`of_pairs`], for agents.
pub fn of_population(payoffs: &Matrix, selection: &Selection) -> Result<Vec<f64>, GameError> {
    let states = payoffs.rows();
    let neighbours = |from: usize| (0..states).filter(|to| *to != from).collect();
    let gain = |from: usize, to: usize| payoffs.get(to, from) - payoffs.get(from, to);
    Chain { states, range: range(payoffs), neighbours: &neighbours, gain: &gain }.mass(selection)
}

fn range(payoffs: &Matrix) -> f64 {
    let (low, high) = payoffs.range();
    high - low
}

/// What can follow what, by one mutant.
struct Chain<'a> {
    states: usize,
    range: f64,                                  // of the payoffs
    neighbours: &'a dyn Fn(usize) -> Vec<usize>, // of a state; neighbours of each other
    gain: &'a dyn Fn(usize, usize) -> f64,       // of the mutant that leads from one to the other
}

impl Chain<'_> {
    fn mass(&self, selection: &Selection) -> Result<Vec<f64>, GameError> {
        let population = f64::from(selection.population);
        let Some(alpha) = selection.alpha else { return self.limit(population) };
        let all: Vec<usize> = (0..self.states).collect();
        let logs = self.rates(&all, f64::NEG_INFINITY, |gain| log_fixation(gain, alpha, population))?;
        Ok(exponentials(&stationary_logs(logs, self.states)))
    }

    /// `rate` of every step among `states`, `[from][to]`, and `none` where there is none.
    fn rates(&self, states: &[usize], none: f64, rate: impl Fn(f64) -> f64) -> Result<Vec<f64>, GameError> {
        let n = states.len();
        if n > MOST_STATES {
            let place = "states of α-rank, at most".to_owned();
            return Err(GameError::Shape { place, expected: MOST_STATES, found: n });
        }
        let mut place = vec![None; self.states];
        states.iter().enumerate().for_each(|(at, &state)| place[state] = Some(at));
        let mut rates = vec![none; n * n];
        for (at, &from) in states.iter().enumerate() {
            for to in (self.neighbours)(from) {
                if let Some(next) = place[to] {
                    rates[at * n + next] = rate((self.gain)(from, to));
                }
            }
        }
        Ok(rates)
    }

    /// The mass for α → ∞.
    fn limit(&self, population: f64) -> Result<Vec<f64>, GameError> {
        let tied = TIED * self.range;
        let kept = self.never_left(tied);
        let rate = |gain: f64| {
            if gain > tied {
                1.0
            } else if gain >= -tied {
                population.recip()
            } else {
                0.0
            }
        };
        let found = stationary(self.rates(&kept, 0.0, rate)?, kept.len());
        let mut mass = vec![0.0; self.states];
        kept.iter().zip(found).for_each(|(&state, weight)| mass[state] = weight);
        Ok(mass)
    }

    /// The states that every state leads to by steps that lose nothing, ascending. The search begins where the fewest
    /// such steps lead on, which is nearly always one of them, and moves to what does not lead back until everything does.
    fn never_left(&self, tied: f64) -> Vec<usize> {
        let ahead = |from: usize| self.neighbours_by(from, move |chain, to| (chain.gain)(from, to) >= -tied);
        let behind = |to: usize| self.neighbours_by(to, move |chain, from| (chain.gain)(from, to) >= -tied);
        let mut start = (0..self.states).min_by_key(|&from| ahead(from).len()).unwrap_or_default();
        loop {
            let (reached, reaching) = (self.closure(start, &ahead), self.closure(start, &behind));
            match (0..self.states).find(|&state| reached[state] && !reaching[state]) {
                Some(beyond) => start = beyond,
                None => return (0..self.states).filter(|&state| reached[state]).collect(),
            }
        }
    }

    fn neighbours_by(&self, of: usize, keep: impl Fn(&Self, usize) -> bool) -> Vec<usize> {
        (self.neighbours)(of).into_iter().filter(|&state| keep(self, state)).collect()
    }

    /// Whether each state can be come to from `start`.
    fn closure(&self, start: usize, next: &dyn Fn(usize) -> Vec<usize>) -> Vec<bool> {
        let (mut seen, mut open) = (vec![false; self.states], vec![start]);
        seen[start] = true;
        while let Some(from) = open.pop() {
            let fresh = next(from).into_iter().filter(|&to| !std::mem::replace(&mut seen[to], true));
            open.extend(fresh);
        }
        seen
    }
}

/// Mass of the rows and of the columns.
pub fn marginals(pairs: &Matrix) -> (Vec<f64>, Vec<f64>) {
    let sums = |lines: &Matrix| (0..lines.rows()).map(|line| lines.row(line).iter().sum()).collect();
    (sums(pairs), sums(&pairs.transpose()))
}

/// Logarithm of the chance that a mutant who gains `gain` takes over a population of `m` (Omidshafiei et al. 2019, eq. 7).
fn log_fixation(gain: f64, alpha: f64, m: f64) -> f64 {
    let x = alpha * gain.abs();
    if x * m < 1e-12 {
        return -m.ln();
    }
    let takes = f64::ln(-f64::exp_m1(-x)) - f64::ln(-f64::exp_m1(-m * x));
    if gain > 0.0 { takes } else { takes - (m - 1.0) * x }
}

/// The stationary distribution of an irreducible chain with these rates: states are removed one by one, each passing its
/// rates on to those left, and then given their weight in reverse.
fn stationary(mut rates: Vec<f64>, states: usize) -> Vec<f64> {
    for last in (1..states).rev() {
        let (left, row) = rates.split_at_mut(last * states);
        let leaving: f64 = row[..last].iter().sum();
        for from in left.chunks_exact_mut(states).filter(|from| from[last] > 0.0) {
            from[last] /= leaving;
            let into = from[last];
            from.iter_mut().zip(&row[..last]).for_each(|(direct, onward)| *direct += into * onward);
        }
    }
    let mut weights = vec![1.0; states];
    for last in 1..states {
        weights[last] = (0..last).map(|from| weights[from] * rates[from * states + last]).sum();
    }
    let total: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / total).collect()
}

/// The same on logarithms; the answer is up to a constant.
fn stationary_logs(mut logs: Vec<f64>, states: usize) -> Vec<f64> {
    for last in (1..states).rev() {
        let (left, row) = logs.split_at_mut(last * states);
        let leaving = log_sum(&row[..last]);
        for from in left.chunks_exact_mut(states) {
            from[last] -= leaving;
            let into = from[last];
            if into > f64::NEG_INFINITY {
                from.iter_mut()
                    .zip(&row[..last])
                    .for_each(|(direct, onward)| *direct = log_add(*direct, into + onward));
            }
        }
    }
    let mut weights = vec![0.0; states];
    for last in 1..states {
        let reached: Vec<f64> = (0..last).map(|from| weights[from] + logs[from * states + last]).collect();
        weights[last] = log_sum(&reached);
    }
    weights
}

fn exponentials(logs: &[f64]) -> Vec<f64> {
    let total = log_sum(logs);
    logs.iter().map(|log| (log - total).exp()).collect()
}

fn log_add(a: f64, b: f64) -> f64 {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    if low == f64::NEG_INFINITY || high - low > 40.0 { high } else { high + f64::ln_1p((low - high).exp()) }
}

fn log_sum(logs: &[f64]) -> f64 {
    logs.iter().copied().fold(f64::NEG_INFINITY, log_add)
}

#[cfg(test)]
mod tests {
    use super::{Chain, Selection, TIED, of_pairs, stationary};
    use crate::Matrix;

    /// π P = π, with probabilities as they are, where they do not underflow.
    #[test]
    fn what_is_found_is_stationary() {
        let game = Matrix::from_fn(3, 4, |i, j| ((i * 5 + j * 3) % 7) as f64 / 7.0).unwrap();
        let (alpha, population) = (1.5, 5.0);
        let weights = of_pairs(&game, &Selection { alpha: Some(alpha), population: 5 }).unwrap();
        let takes_over = |gain: f64| match gain {
            0.0 => 1.0 / population,
            _ => (-alpha * gain).exp_m1() / (-population * alpha * gain).exp_m1(),
        };
        let flow = |from: [usize; 2], to: [usize; 2]| {
            let change = game.get(to[0], to[1]) - game.get(from[0], from[1]);
            weights.get(from[0], from[1]) * takes_over(if from[1] == to[1] { change } else { -change })
        };
        for (row, col) in (0..3).flat_map(|row| (0..4).map(move |col| (row, col))) {
            let rows = (0..3).filter(|other| *other != row).map(|other| [other, col]);
            let others: Vec<_> = rows.chain((0..4).filter(|other| *other != col).map(|other| [row, other])).collect();
            let inward: f64 = others.iter().map(|&other| flow(other, [row, col])).sum();
            let outward: f64 = others.iter().map(|&other| flow([row, col], other)).sum();
            assert!((inward - outward).abs() < 1e-14, "({row}, {col}): {inward} {outward}");
        }
    }

    #[test]
    fn a_chain_of_two_is_known() {
        assert_eq!(stationary(vec![0.0, 1.0, 3.0, 0.0], 2), [0.75, 0.25]);
    }

    /// From a state that leads away, the search goes on to those that are never left.
    #[test]
    fn what_is_never_left_is_found_from_anywhere() {
        // 0 → 1 ⇄ 2, and 0 ⇄ 3: fewest steps lead on from 3, which is not never left.
        let steps = [(0, 1), (1, 2), (2, 1), (0, 3), (3, 0)];
        let leads = |from, to| steps.contains(&(from, to));
        let neighbours = |of: usize| (0..4).filter(|&other| leads(of, other) || leads(other, of)).collect();
        let gain = |from, to| if leads(from, to) { 1.0 } else { -1.0 };
        let chain = Chain { states: 4, range: 2.0, neighbours: &neighbours, gain: &gain };
        assert_eq!(chain.never_left(TIED), [1, 2]);
        let swapped = |at: usize| [3, 1, 2, 0][at];
        let neighbours = |of: usize| neighbours(swapped(of)).into_iter().map(swapped).collect::<Vec<_>>();
        let gain = |from, to| gain(swapped(from), swapped(to));
        let chain = Chain { states: 4, range: 2.0, neighbours: &neighbours, gain: &gain };
        assert_eq!(chain.never_left(TIED), [1, 2]);
    }
}
