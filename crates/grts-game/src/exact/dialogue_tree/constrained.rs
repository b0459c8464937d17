//! Equilibrium when blue must serve honest people who talk like attackers (DESIGN §6), by sequence-form programs.
//!
//! Honest traffic is a fixed distribution over what users say, so the served share is linear in blue's realisation plan
//! and the game stays zero-sum over a smaller set of plans (Koller, Megiddo & von Stengel 1996, with one row added). Blue's
//! program and red's are solved apart; red's carries the constraint's multiplier μ. Neither is believed: the two
//! strategies are turned back into behaviour, and sweeps over the tree give what red can get at most against this blue and
//! what blue must give at least against this red and μ. Those two numbers bracket the value.
//!
//! Blue's optimal plans are many (anything that red would not attack may be left open), so among them the one that gives
//! least to a red that speaks at random is chosen: what nobody honest asks for is closed.

use super::{BluePlan, BlueStrategy, DialogueTree, RedPlan, RedStrategy};
use crate::GameError;
use crate::exact::distribution;
use crate::linear_program::LinearProgram;
use crate::matrix::dot;
use microlp::Variable;

/// Widest bracket of the value that still counts as proved, in units of the largest return.
const CERTIFIED: f64 = 1e-7;

/// By how much the choice among optimal plans may worsen the value.
const TIE_SLACK: f64 = 1e-12;

/// One thing honest people say, over one or more turns.
#[derive(Debug, Clone, PartialEq)]
pub struct HonestSequence {
    /// Relative frequency.
    pub weight: f64,
    /// The user's utterances; the reply to the last one decides whether the request was served.
    pub utterances: Vec<u32>,
}

/// Honest traffic and what it counts as help.
#[derive(Debug, Clone, PartialEq)]
pub struct HonestTraffic {
    /// What is said, how often. Weights are normalised.
    pub sequences: Vec<HonestSequence>,
    /// Replies that serve a request. A sequence cut short because the dialogue ended is not served.
    pub serving: Vec<u32>,
}

/// An equilibrium of the constrained game and its proof.
#[derive(Debug, Clone, PartialEq)]
pub struct ConstrainedEquilibrium {
    /// v*, the middle of the bracket.
    pub value: f64,
    /// What red can get at most against `blue`.
    pub upper: f64,
    /// What any blue that serves `h_min` must give at least against `red`.
    pub lower: f64,
    /// Red's strategy.
    pub red: RedStrategy,
    /// Blue's strategy.
    pub blue: BlueStrategy,
    /// μ ≥ 0: how fast v* rises with `h_min`; 0 where the constraint does not bind.
    pub multiplier: f64,
    /// Share of honest traffic that `blue` serves.
    pub served: f64,
}

/// The equilibrium in which blue serves at least the share `h_min` of honest traffic.
///
/// # Errors
/// `h_min` is negative, not finite, or more than any blue can serve; traffic that is empty, has bad weights or says what
/// the tree does not contain; or the programs fail to prove each other.
pub fn constrained_equilibrium(
    tree: &DialogueTree,
    traffic: &HonestTraffic,
    h_min: f64,
) -> Result<ConstrainedEquilibrium, GameError> {
    if !(h_min.is_finite() && h_min >= 0.0) {
        let allowed = "a share of at least 0".to_owned();
        return Err(GameError::Value { place: "`h_min`".to_owned(), value: h_min, allowed });
    }
    let constraint = Constraint { shares: tree.served_shares(traffic)?, h_min };
    let attainable = -tree.minimise(&constraint.shares.iter().map(|share| -share).collect::<Vec<_>>()).1;
    if h_min > attainable + 1e-12 {
        return Err(GameError::Infeasible { h_min, attainable });
    }
    let blue = blue_strategy(tree, &constraint)?;
    let (red, multiplier) = red_strategy(tree, &constraint)?;
    constraint.certify(tree, red, blue, multiplier)
}

/// Σ shares · blue's plan ≥ h_min.
struct Constraint {
    shares: Vec<f64>, // [reply]
    h_min: f64,
}

impl Constraint {
    fn certify(
        &self,
        tree: &DialogueTree,
        red: RedStrategy,
        blue: BlueStrategy,
        multiplier: f64,
    ) -> Result<ConstrainedEquilibrium, GameError> {
        let plan = blue.plan(tree);
        let upper = tree.respond_red(&plan).1;
        let served = dot(&self.shares, &plan.reach);
        let stakes = tree.stakes(&red.plan(tree));
        let priced: Vec<f64> =
            stakes.iter().zip(&self.shares).map(|(stake, share)| stake - multiplier * share).collect();
        let lower = tree.minimise(&priced).1 + multiplier * self.h_min;
        let unproved = (upper - lower).max(self.h_min - served);
        if unproved > CERTIFIED * tree.payoff_range().1 {
            return Err(GameError::LinearProgram(format!("{unproved:e} is left between red's and blue's value")));
        }
        let value = lower + (upper - lower) / 2.0;
        Ok(ConstrainedEquilibrium { value, upper, lower, red, blue, multiplier, served })
    }
}

impl DialogueTree {
    /// Per reply: the share of honest traffic that is served by it when blue's own plan leads there.
    fn served_shares(&self, traffic: &HonestTraffic) -> Result<Vec<f64>, GameError> {
        let weights: Vec<f64> = traffic.sequences.iter().map(|sequence| sequence.weight).collect();
        let mut shares = vec![0.0; self.replies.len()];
        for (weight, sequence) in distribution("honest sequence", &weights)?.into_iter().zip(&traffic.sequences) {
            let last = self.blue_nodes_after(&sequence.utterances);
            if last.is_empty() {
                return Err(GameError::UnknownTraffic { sequence: sequence.utterances.clone() });
            }
            let replies = last.into_iter().flat_map(|blue| self.blue_nodes[blue].replies.clone());
            let serving = replies.filter(|&reply| traffic.serving.contains(&self.replies[reply].utterance));
            serving.for_each(|reply| shares[reply] += weight);
        }
        Ok(shares)
    }

    /// Blue nodes at which the user has said exactly `utterances`, whatever blue replied on the way.
    fn blue_nodes_after(&self, utterances: &[u32]) -> Vec<usize> {
        let (mut open, mut heard) = (vec![0], Vec::new());
        for &utterance in utterances {
            let blues = open.into_iter().flat_map(|node: usize| self.red_nodes[node].blues.clone());
            heard = blues.filter(|&blue| self.blue_nodes[blue].utterance == utterance).collect();
            let replies = heard.iter().flat_map(|&blue| self.blue_nodes[blue].replies.clone());
            open = replies.filter_map(|reply| self.replies[reply].next).collect();
        }
        heard
    }
}

/// Blue's program: an optimal plan, then the tidiest of the optimal ones.
fn blue_strategy(tree: &DialogueTree, constraint: &Constraint) -> Result<BlueStrategy, GameError> {
    let optimal = blue_program(tree, constraint, None)?;
    let value = tree.respond_red(&optimal.plan(tree)).1;
    // If the second program fails numerically the optimal plan stands: only the choice among equals is lost.
    Ok(blue_program(tree, constraint, Some(value + TIE_SLACK)).unwrap_or(optimal))
}

/// Minimises red's best return; or, below a `ceiling` on it, what a red that speaks at random gets.
///
/// Variables: y_r ≥ 0 per reply, and w_{o,n} ≥ 0 per opening and red node, red's best return from there on. They need no
/// negative values because returns are never negative.
fn blue_program(tree: &DialogueTree, constraint: &Constraint, ceiling: Option<f64>) -> Result<BlueStrategy, GameError> {
    let mut program = LinearProgram::minimise();
    let random = match ceiling {
        Some(_) => tree.stakes(&RedStrategy::uniform(tree).plan(tree)),
        None => vec![0.0; tree.replies.len()],
    };
    let plan = add_blue_plan(tree, &random, &mut program);
    let served = constraint.shares.iter().zip(&plan).filter(|(share, _)| **share > 0.0);
    program.at_least(&served.map(|(&share, &y)| (y, share)).collect::<Vec<_>>(), constraint.h_min);
    let roots = (0..tree.openings.len()).map(|opening| {
        let price = if ceiling.is_some() { 0.0 } else { tree.openings[opening] };
        (add_red_values(tree, opening, price, &plan, &mut program), tree.openings[opening])
    });
    let roots: Vec<_> = roots.collect();
    if let Some(ceiling) = ceiling {
        program.at_most(&roots, ceiling);
    }
    Ok(BluePlan { reach: program.solve(&plan)? }.behaviour(tree))
}

/// Blue's plan with these prices on its replies: what leaves a blue node is what came to it.
pub(super) fn add_blue_plan(tree: &DialogueTree, prices: &[f64], program: &mut LinearProgram) -> Vec<Variable> {
    let plan: Vec<Variable> = prices.iter().map(|&price| program.non_negative(price)).collect();
    for node in &tree.blue_nodes {
        let mut terms: Vec<_> = node.replies.clone().map(|reply| (plan[reply], 1.0)).collect();
        let before = tree.red_nodes[node.parent].parent;
        terms.extend(before.map(|reply| (plan[reply], -1.0)));
        program.equals(&terms, if before.is_none() { 1.0 } else { 0.0 });
    }
    plan
}

/// w_{o,n} ≥ Σ_{replies of b} (return · y, or w after the reply) for each blue node b that red can choose at n; returns
/// w at the root, whose objective coefficient is `price`.
fn add_red_values(
    tree: &DialogueTree,
    opening: usize,
    price: f64,
    plan: &[Variable],
    program: &mut LinearProgram,
) -> Variable {
    let price_at = |node: usize| if node == 0 { price } else { 0.0 };
    let values: Vec<_> = (0..tree.red_nodes.len()).map(|node| program.non_negative(price_at(node))).collect();
    for (node, &value) in tree.red_nodes.iter().zip(&values) {
        for blue in &tree.blue_nodes[node.blues.clone()] {
            let mut terms = vec![(value, 1.0)];
            for reply in blue.replies.clone() {
                match tree.replies[reply].next {
                    Some(next) => terms.push((values[next], -1.0)),
                    None if tree.returns[opening][reply] > 0.0 => {
                        terms.push((plan[reply], -tree.returns[opening][reply]))
                    }
                    None => {}
                }
            }
            program.at_least(&terms, 0.0);
        }
    }
    values[0]
}

/// Red's program, the dual: maximise blue's least priced cost plus μ · h_min.
///
/// Variables: x_{o,b} ≥ 0 per opening and blue node (the plan), q_b free per blue node (blue's least cost from there on),
/// μ ≥ 0.
fn red_strategy(tree: &DialogueTree, constraint: &Constraint) -> Result<(RedStrategy, f64), GameError> {
    let mut program = LinearProgram::maximise();
    let multiplier = program.non_negative(constraint.h_min);
    let plan: Vec<Vec<Variable>> = tree.openings.iter().map(|_| add_red_plan(tree, &mut program)).collect();
    let costs = add_blue_costs(tree, &mut program);
    for (idx, reply) in tree.replies.iter().enumerate() {
        let mut terms = cost_terms(tree, idx, &costs);
        if constraint.shares[idx] > 0.0 {
            terms.push((multiplier, constraint.shares[idx]));
        }
        let stakes = tree.openings.iter().zip(&tree.returns).zip(&plan);
        let stakes = stakes.map(|((opening, returns), x)| (x[reply.parent], -opening * returns[idx]));
        terms.extend(stakes.filter(|(_, stake)| *stake != 0.0));
        program.at_most(&terms, 0.0);
    }
    let mut wanted = vec![multiplier];
    wanted.extend(plan.iter().flatten());
    let found = program.solve(&wanted)?;
    let reach = found[1..].chunks(tree.blue_nodes.len()).map(<[f64]>::to_vec).collect();
    Ok((RedPlan { reach }.behaviour(tree), found[0].max(0.0)))
}

/// q_b; the objective is their sum over the blue nodes at the start.
pub(super) fn add_blue_costs(tree: &DialogueTree, program: &mut LinearProgram) -> Vec<Variable> {
    let first = |blue: usize| if tree.blue_nodes[blue].parent == 0 { 1.0 } else { 0.0 };
    (0..tree.blue_nodes.len()).map(|blue| program.free(first(blue))).collect()
}

/// q before a reply less all q after it: with the reply's stake taken off, at most 0.
pub(super) fn cost_terms(tree: &DialogueTree, reply: usize, costs: &[Variable]) -> Vec<(Variable, f64)> {
    let later = tree.replies[reply].next.map_or(0..0, |node| tree.red_nodes[node].blues.clone());
    let before = (costs[tree.replies[reply].parent], 1.0);
    std::iter::once(before).chain(later.map(|blue| (costs[blue], -1.0))).collect()
}

/// One opening's plan: what leaves a red node is what came to it.
fn add_red_plan(tree: &DialogueTree, program: &mut LinearProgram) -> Vec<Variable> {
    let plan: Vec<Variable> = tree.blue_nodes.iter().map(|_| program.non_negative(0.0)).collect();
    for node in &tree.red_nodes {
        let mut terms: Vec<_> = node.blues.clone().map(|blue| (plan[blue], 1.0)).collect();
        terms.extend(node.parent.map(|reply| (plan[tree.replies[reply].parent], -1.0)));
        program.equals(&terms, if node.parent.is_none() { 1.0 } else { 0.0 });
    }
    plan
}
