//! TMECor by linear programming: the team's distribution over joint plans against blue's realisation plan.
//!
//! It is the reference for the loop and no way to solve games: plans are listed, one row each, and their number grows
//! exponentially. Plans that differ only where the team's own choices never lead are listed once (*reduced* plans). Openings
//! are apart: every seat knows the opening and blue does not, so a joint plan is a plan for each opening, and the marginals
//! of the team's distribution by opening say all that returns depend on. As in `constrained`, each side has its own program
//! and the answer is bracketed by best responses, here the team's own.

use super::TeamTree;
use crate::GameError;
use crate::exact::dialogue_tree::constrained::{add_blue_costs, add_blue_plan, cost_terms};
use crate::exact::dialogue_tree::{BluePlan, BlueStrategy, RedPlan};
use crate::linear_program::{LinearProgram, normalised};
use microlp::Variable;

/// Widest bracket of the value that still counts as proved, in units of the largest return.
const CERTIFIED: f64 = 1e-8;

/// Plans that are listed at most.
const LIMIT: usize = 20_000;

/// A team-maxmin equilibrium with correlation, and its proof.
#[derive(Debug, Clone, PartialEq)]
pub struct TeamEquilibrium {
    /// The middle of the bracket.
    pub value: f64,
    /// What the team can get at most against `blue`.
    pub upper: f64,
    /// What blue must give at least against `red`.
    pub lower: f64,
    /// The plan of the team's distribution over joint plans.
    pub red: RedPlan,
    /// Blue's strategy.
    pub blue: BlueStrategy,
    /// Reduced joint plans for each opening.
    pub num_plans: usize,
}

/// The equilibrium of the team against blue.
///
/// # Errors
/// More than 20,000 reduced joint plans, or programs that fail to prove each other.
pub fn team_equilibrium(team: &TeamTree<'_>) -> Result<TeamEquilibrium, GameError> {
    let plans = team.joint_plans()?;
    let (blue, red) = (blue_strategy(team, &plans)?, red_plan(team, &plans)?);
    let upper = team.respond_red(&blue.plan(team.tree)).1;
    let lower = team.tree.respond_blue(&red).1;
    let unproved = upper - lower;
    if unproved > CERTIFIED * team.tree.payoff_range().1 {
        return Err(GameError::LinearProgram(format!("{unproved:e} is left between the team's and blue's value")));
    }
    Ok(TeamEquilibrium { value: lower + unproved / 2.0, upper, lower, red, blue, num_plans: plans.len() })
}

impl TeamTree<'_> {
    /// The reduced joint plans of one opening, each as its probability of coming to each blue node.
    fn joint_plans(&self) -> Result<Vec<Vec<f64>>, GameError> {
        let (mut open, mut plans) = (vec![vec![None; self.sets.len()]], Vec::new());
        while let Some(mut choices) = open.pop() {
            let visits = self.visits(|set| choices[set]);
            let come_to = self.positions.iter().zip(&visits).filter(|(_, visit)| **visit > 0.0);
            let undecided = come_to.map(|(position, _)| position.set).find(|&set| choices[set].is_none());
            match undecided {
                Some(set) => {
                    for choice in (0..self.sets[set].utterances.len()).rev() {
                        choices[set] = Some(choice);
                        open.push(choices.clone());
                    }
                }
                None => plans.push(self.reach(&choices.iter().map(|choice| choice.unwrap_or(0)).collect::<Vec<_>>())),
            }
            if plans.len() + open.len() > LIMIT {
                return Err(GameError::TooManyPlans { limit: LIMIT });
            }
        }
        Ok(plans)
    }
}

/// Minimises Σ_o P(o) w_o where w_o ≥ the return of every joint plan against blue's plan. Returns are never negative.
fn blue_strategy(team: &TeamTree<'_>, plans: &[Vec<f64>]) -> Result<BlueStrategy, GameError> {
    let tree = team.tree;
    let mut program = LinearProgram::minimise();
    let plan = add_blue_plan(tree, &vec![0.0; tree.replies.len()], &mut program);
    for (&opening, returns) in tree.openings.iter().zip(&tree.returns) {
        let best = program.non_negative(opening);
        for reach in plans {
            let mut terms = vec![(best, 1.0)];
            let stakes = tree.replies.iter().zip(returns).map(|(reply, value)| -reach[reply.parent] * value);
            terms.extend(plan.iter().copied().zip(stakes).filter(|(_, stake)| *stake != 0.0));
            program.at_least(&terms, 0.0);
        }
    }
    Ok(BluePlan { reach: program.solve(&plan)? }.behaviour(tree))
}

/// Maximises blue's least cost over a distribution on the joint plans for each opening.
fn red_plan(team: &TeamTree<'_>, plans: &[Vec<f64>]) -> Result<RedPlan, GameError> {
    let tree = team.tree;
    let mut program = LinearProgram::maximise();
    let mut weights: Vec<Vec<Variable>> = Vec::new();
    for _ in &tree.openings {
        let weight: Vec<Variable> = plans.iter().map(|_| program.non_negative(0.0)).collect();
        program.equals(&weight.iter().map(|&weight| (weight, 1.0)).collect::<Vec<_>>(), 1.0);
        weights.push(weight);
    }
    let costs = add_blue_costs(tree, &mut program);
    for (idx, reply) in tree.replies.iter().enumerate() {
        let mut terms = cost_terms(tree, idx, &costs);
        for ((opening, returns), weight) in tree.openings.iter().zip(&tree.returns).zip(&weights) {
            let stakes = plans.iter().map(|reach| -opening * returns[idx] * reach[reply.parent]);
            terms.extend(weight.iter().copied().zip(stakes).filter(|(_, stake)| *stake != 0.0));
        }
        program.at_most(&terms, 0.0);
    }
    let found = program.solve(&weights.concat())?;
    let mut reach = vec![vec![0.0; tree.blue_nodes.len()]; tree.openings.len()];
    for (reach, weight) in reach.iter_mut().zip(found.chunks(plans.len())) {
        for (plan, weight) in plans.iter().zip(normalised(weight)) {
            reach.iter_mut().zip(plan).for_each(|(sum, term)| *sum += weight * term);
        }
    }
    Ok(RedPlan { reach })
}
