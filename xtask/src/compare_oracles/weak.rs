//! Weak oracles: a response is a few noisy steps from a random policy, as a learner's would be.
//!
//! A policy is a distribution over the game's pure strategies. A step looks at a few of them, drawn at random, estimates
//! what each is worth against the opponent's mixture, with noise, and moves the policy a little towards the best; a
//! diversity term has its say in which is best. Both scores are mapped to [0, 1] over the candidates of the step, so that
//! neither's scale decides, and the term's weight falls with the iteration.

use super::mixed;
use grts_game::diversity::{expected_cardinality, hull_distance, policy_space_distance};
use grts_game::solver::{Arena, BestResponseOracle, Response, State, Verdict};
use grts_game::stream::{StreamKey, unit};
use grts_game::{Estimate, GameError, Matrix, MetaGame, nash};
use rand_core::Rng;

/// A distribution over pure strategies.
pub type Policy = Vec<f64>;

/// Steps of one response in all, candidates of a step, and how far a step goes.
const STEPS: usize = 20;
const CANDIDATES: usize = 4;
const RATE: f64 = 0.1;

/// Half width of the uniform noise on a candidate's worth, in units of the payoff range.
const NOISE: f64 = 0.1;

/// Weight of the diversity term at first, and the iterations in which it halves.
const WEIGHT: f64 = 0.5;
const HALF_LIFE: f64 = 10.0;

/// Policies that a pipeline trains at once.
const WORKERS: usize = 4;

/// How a weak response is found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// By its worth alone (Lanctot et al. 2017).
    Plain,
    /// Several at once, each against the mixture that knows those before it (McAleer et al. 2020).
    Pipeline,
    /// With the expected cardinality of the population's payoffs (Perez-Nieves et al. 2021).
    Cardinality,
    /// With the distance from the hull of the population's payoffs (Liu et al. 2021).
    Hull,
    /// With the divergence from the nearest policy of the population (Yao et al. 2023).
    PolicySpace,
}

impl Method {
    pub const ALL: [Self; 5] = [Self::Plain, Self::Pipeline, Self::Cardinality, Self::Hull, Self::PolicySpace];

    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Pipeline => "pipeline of 4",
            Self::Cardinality => "expected cardinality",
            Self::Hull => "hull distance",
            Self::PolicySpace => "policy-space distance",
        }
    }
}

/// Arena (exact) and oracle (weak) of one matrix game.
pub struct WeakOracle<'a> {
    /// Per side: payoffs to that side, its own strategies as rows.
    sides: [Matrix; 2],
    payoffs: &'a Matrix,
    method: Method,
    seed: u64,
    noise: f64,
    /// Policies that a pipeline is training, per side, the next one to be handed out first.
    training: [Vec<Policy>; 2],
}

/// What a step is judged by.
struct Judge<'p> {
    worth: Vec<f64>, // per pure strategy, against the opponent's mixture
    against: Matrix, // per pure strategy and opponent
    population: &'p [Policy],
    rows: Vec<Vec<f64>>, // [policy][opponent]
    weight: f64,
}

impl<'a> WeakOracle<'a> {
    pub fn new(payoffs: &'a Matrix, method: Method, seed: u64) -> Result<Self, GameError> {
        let blue = Matrix::from_fn(payoffs.cols(), payoffs.rows(), |col, row| -payoffs.get(row, col))?;
        let (low, high) = payoffs.range();
        let (sides, training) = ([payoffs.clone(), blue], [Vec::new(), Vec::new()]);
        Ok(Self { sides, payoffs, method, seed, noise: NOISE * (high - low), training })
    }

    /// The first policy of a side.
    pub fn start(&self, side: usize) -> Policy {
        self.random(side, &mut self.key(side, 0, u32::MAX).rng())
    }

    fn key(&self, side: usize, iteration: usize, turn: u32) -> StreamKey {
        let iteration = iteration as u32;
        StreamKey { seed: self.seed, iteration, purpose: 7, entry: side as u64, episode: 0, turn }
    }

    /// Uniform over the distributions.
    fn random(&self, side: usize, rng: &mut impl Rng) -> Policy {
        let draws: Vec<f64> = (0..self.sides[side].rows()).map(|_| -(1.0 - unit(rng)).ln()).collect();
        let sum: f64 = draws.iter().sum();
        draws.into_iter().map(|draw| draw / sum).collect()
    }

    fn judge<'p>(
        &self,
        side: usize,
        own: &'p [Policy],
        theirs: &[Policy],
        mixture: &[f64],
        iteration: usize,
    ) -> Result<Judge<'p>, GameError> {
        let payoffs = &self.sides[side];
        let columns: Vec<Vec<f64>> = theirs.iter().map(|policy| payoffs.mul_vec(policy)).collect();
        let against = Matrix::from_fn(payoffs.rows(), theirs.len(), |pure, k| columns[k][pure])?;
        let rows = own.iter().map(|policy| against.vec_mul(policy)).collect();
        let weight = WEIGHT * 0.5_f64.powf(iteration as f64 / HALF_LIFE);
        Ok(Judge { worth: payoffs.mul_vec(&mixed(theirs, mixture)), against, population: own, rows, weight })
    }

    fn respond(
        &mut self,
        side: usize,
        own: &[Policy],
        theirs: &[Policy],
        state: (usize, &[f64]),
    ) -> Result<Policy, GameError> {
        let (iteration, mixture) = state;
        if self.method == Method::Pipeline {
            return self.advance(side, own, theirs, iteration);
        }
        let rng = &mut self.key(side, iteration, 0).rng();
        let judge = self.judge(side, own, theirs, mixture, iteration)?;
        let mut policy = self.random(side, rng);
        for _ in 0..STEPS {
            self.step(&mut policy, &judge, rng)?;
        }
        Ok(policy)
    }

    /// One round of the pipeline: every policy in training learns against the equilibrium of the population and of those
    /// before it; the first one is handed out.
    fn advance(
        &mut self,
        side: usize,
        own: &[Policy],
        theirs: &[Policy],
        iteration: usize,
    ) -> Result<Policy, GameError> {
        let rng = &mut self.key(side, iteration, 0).rng();
        while self.training[side].len() < WORKERS {
            let fresh = self.random(side, rng);
            self.training[side].push(fresh);
        }
        for level in 0..WORKERS {
            let before = |population: &[Policy], training: &[Policy]| {
                population.iter().chain(training.iter().take(level)).cloned().collect::<Vec<_>>()
            };
            let own = before(own, &self.training[side]);
            let theirs = before(theirs, &self.training[1 - side]);
            let columns: Vec<Vec<f64>> = theirs.iter().map(|policy| self.sides[side].mul_vec(policy)).collect();
            let meta = Matrix::from_fn(own.len(), theirs.len(), |i, k| dot(&own[i], &columns[k]))?;
            let judge = self.judge(side, &own, &theirs, &nash::solve(&meta)?.col, iteration)?;
            let mut policy = std::mem::take(&mut self.training[side][level]);
            for _ in 0..STEPS / WORKERS {
                self.step(&mut policy, &judge, rng)?;
            }
            self.training[side][level] = policy;
        }
        Ok(self.training[side].remove(0))
    }

    /// Moves a policy towards the best of a few pure strategies.
    fn step(&self, policy: &mut Policy, judge: &Judge<'_>, rng: &mut impl Rng) -> Result<(), GameError> {
        let num_strategies = policy.len() as f64;
        let candidates: Vec<usize> = (0..CANDIDATES).map(|_| (unit(rng) * num_strategies) as usize).collect();
        let moved = |pure: usize| -> Policy {
            let kept = policy.iter().map(|p| (1.0 - RATE) * p);
            kept.enumerate().map(|(idx, p)| if idx == pure { p + RATE } else { p }).collect()
        };
        let worth = candidates.iter().map(|&pure| judge.worth[pure] + self.noise * (2.0 * unit(rng) - 1.0)).collect();
        let mut scores = onto_unit(worth);
        if let Some(measure) = judge.diversity(self.method) {
            let diversity = candidates.iter().map(|&pure| measure(&moved(pure))).collect::<Result<_, _>>()?;
            scores.iter_mut().zip(onto_unit(diversity)).for_each(|(score, term)| *score += judge.weight * term);
        }
        let best = (1..CANDIDATES).fold(0, |best, at| if scores[at] > scores[best] { at } else { best });
        *policy = moved(candidates[best]);
        Ok(())
    }
}

/// How much a policy would add to the population.
type Measure<'a> = dyn Fn(&Policy) -> Result<f64, GameError> + 'a;

impl Judge<'_> {
    fn diversity(&self, method: Method) -> Option<Box<Measure<'_>>> {
        let row = |policy: &Policy| self.against.vec_mul(policy);
        match method {
            Method::Plain | Method::Pipeline => None,
            Method::Cardinality => Some(Box::new(move |policy| {
                let rows = [self.rows.as_slice(), &[row(policy)]].concat();
                Ok(expected_cardinality(&Matrix::from_rows(&rows)?))
            })),
            Method::Hull => Some(Box::new(move |policy| hull_distance(&Matrix::from_rows(&self.rows)?, &row(policy)))),
            Method::PolicySpace => Some(Box::new(|policy| Ok(policy_space_distance(policy, self.population)))),
        }
    }
}

/// Values as shares of their own range; all alike are 0.
fn onto_unit(values: Vec<f64>) -> Vec<f64> {
    let (low, high) = values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), &x| (lo.min(x), hi.max(x)));
    values.into_iter().map(|value| if high > low { (value - low) / (high - low) } else { 0.0 }).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

impl Arena<Policy, Policy> for WeakOracle<'_> {
    type Error = GameError;

    fn payoff_range(&self) -> (f64, f64) {
        self.payoffs.range()
    }

    fn play(&mut self, _: usize, reds: &[Policy], blues: &[Policy], game: &mut MetaGame) -> Result<(), GameError> {
        for (row, col) in game.missing(1) {
            game.record(row, col, dot(&reds[row], &self.payoffs.mul_vec(&blues[col])))?;
        }
        Ok(())
    }
}

impl BestResponseOracle<Policy, Policy> for WeakOracle<'_> {
    type Error = GameError;

    fn respond_red(&mut self, state: &State<'_, Policy, Policy>) -> Result<Response<Policy>, GameError> {
        let mixture = &state.equilibrium.col;
        let policy = self.respond(0, state.reds, state.blues, (state.iteration, mixture))?;
        let value = dot(&policy, &self.payoffs.mul_vec(&mixed(state.blues, mixture)));
        Ok(admitted(policy, value - state.equilibrium.value))
    }

    fn respond_blue(&mut self, state: &State<'_, Policy, Policy>) -> Result<Response<Policy>, GameError> {
        let mixture = &state.equilibrium.row;
        let policy = self.respond(1, state.blues, state.reds, (state.iteration, mixture))?;
        let value = dot(&policy, &self.payoffs.vec_mul(&mixed(state.reds, mixture)));
        Ok(admitted(policy, state.equilibrium.value - value))
    }
}

fn admitted(policy: Policy, gain: f64) -> Response<Policy> {
    Response { policy, gain: Estimate::exact(gain), verdict: Verdict::Admitted }
}
