//! The team's exact best response, by branch and bound.
//!
//! If seats could tell all positions apart, one backward sweep would find the best plan; its value is a bound for the plans
//! that there are. Where that plan says different things at positions of one information set, the set is fixed to each of
//! its utterances in turn and the sweep is made again. A plan that contradicts itself nowhere is one that the seats can
//! follow, and the bound is then its value. Without private hearing the first sweep never contradicts itself.
//!
//! In the worst case this tries every joint plan, as any exact method must (the problem is NP-hard).

use super::TeamTree;
use crate::exact::dialogue_tree::response::first_best;
use crate::exact::dialogue_tree::{BluePlan, TeamStrategy};
use std::ops::Range;

impl TeamTree<'_> {
    /// The team's best response to a plan of blue, and the return it gets.
    pub fn respond_red(&self, blue: &BluePlan) -> (TeamStrategy, f64) {
        let (mut choices, mut total) = (Vec::new(), 0.0);
        for (opening, returns) in self.tree.openings.iter().zip(&self.tree.returns) {
            let stakes: Vec<f64> = returns.iter().zip(&blue.reach).map(|(value, reach)| value * reach).collect();
            let mut search = Search { team: self, stakes, fixed: vec![None; self.sets.len()], best: None };
            search.explore();
            let (plan, value) = search.best.unwrap_or_else(|| (vec![0; self.sets.len()], 0.0));
            choices.push(plan);
            total += opening * value;
        }
        (TeamStrategy { choices }, total)
    }
}

/// One opening's search.
struct Search<'a> {
    team: &'a TeamTree<'a>,
    stakes: Vec<f64>,          // return of each reply times blue's reach
    fixed: Vec<Option<usize>>, // by information set
    best: Option<(Vec<usize>, f64)>,
}

/// What each position would say if its speaker knew where it is, and the value from there on.
struct Sweep {
    choices: Vec<usize>,
    values: Vec<f64>,
}

impl Search<'_> {
    fn explore(&mut self) {
        let sweep = self.sweep();
        let value = self.mean(&sweep.values, self.team.roots.clone());
        if self.best.as_ref().is_some_and(|(_, best)| value <= *best) {
            return;
        }
        match self.settle(&sweep) {
            Ok(plan) => self.best = Some((plan, value)),
            Err((set, likely)) => {
                let utterances = self.team.sets[set].utterances.len();
                for step in 0..utterances {
                    self.fixed[set] = Some((likely + step) % utterances);
                    self.explore();
                }
                self.fixed[set] = None;
            }
        }
    }

    /// The backward sweep: every position as it would choose for itself, but for what is fixed.
    fn sweep(&self) -> Sweep {
        let num_positions = self.team.positions.len();
        let mut sweep = Sweep { choices: vec![0; num_positions], values: vec![0.0; num_positions] };
        for (at, position) in self.team.positions.iter().enumerate().rev() {
            let onward = |(reply, after): (usize, Range<usize>)| self.stakes[reply] + self.mean(&sweep.values, after);
            let worth = |choice: usize| -> f64 {
                self.team.replies(position, self.team.blue_after(position, choice)).map(onward).sum()
            };
            let (choice, value) = match self.fixed[position.set] {
                Some(choice) => (choice, worth(choice)),
                None => {
                    let all = 0..self.team.sets[position.set].utterances.len();
                    let (choice, cost) = first_best(all, |choice| -worth(choice));
                    (choice, -cost)
                }
            };
            (sweep.choices[at], sweep.values[at]) = (choice, value);
        }
        sweep
    }

    /// The sweep's choices by information set; or the first set that they contradict, with what it says first.
    ///
    /// Only positions that are come to count, and of those only where something is still to be won: elsewhere all
    /// utterances are equal, returns being never negative.
    fn settle(&self, sweep: &Sweep) -> Result<Vec<usize>, (usize, usize)> {
        let mut said: Vec<Option<usize>> = self.fixed.clone();
        let mut idle: Vec<Option<usize>> = vec![None; said.len()];
        let mut come_to = vec![false; sweep.choices.len()];
        come_to[self.team.roots.clone()].fill(true);
        for (at, position) in self.team.positions.iter().enumerate() {
            let (set, choice) = (position.set, sweep.choices[at]);
            idle[set].get_or_insert(choice);
            if !come_to[at] || sweep.values[at] <= 0.0 {
                continue;
            }
            if *said[set].get_or_insert(choice) != choice {
                return Err((set, said[set].unwrap_or(choice)));
            }
            for (_, after) in self.team.replies(position, self.team.blue_after(position, choice)) {
                come_to[after].fill(true);
            }
        }
        Ok(said.into_iter().zip(idle).map(|(said, idle)| said.or(idle).unwrap_or(0)).collect())
    }

    /// Value before chance chooses one of these positions; 0 where the dialogue is over.
    fn mean(&self, values: &[f64], positions: Range<usize>) -> f64 {
        match positions.len() {
            0 => 0.0,
            n => positions.map(|at| values[at]).sum::<f64>() / n as f64,
        }
    }
}
