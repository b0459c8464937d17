//! Expected returns and exact best responses, by one backward sweep over the tree.
//!
//! Against a fixed opponent a player's return is linear in its own plan: a *stake* at every reply. The sweeps take those
//! stakes, so that prices on replies (the honest-traffic constraint) go through the same code. Ties go to the first
//! utterance, which makes responses pure and runs reproducible.

use super::{BluePlan, BlueStrategy, DialogueTree, RedPlan, RedStrategy};
use crate::matrix::dot;
use std::ops::Range;

impl DialogueTree {
    /// Expected return to red.
    pub fn value(&self, red: &RedPlan, blue: &BluePlan) -> f64 {
        dot(&self.stakes(red), &blue.reach)
    }

    /// Per reply: Σ_o P(o) · red's reach · return, which is what the reply costs blue when its own plan leads there.
    pub(super) fn stakes(&self, red: &RedPlan) -> Vec<f64> {
        let mut stakes = vec![0.0; self.replies.len()];
        for ((opening, returns), reach) in self.openings.iter().zip(&self.returns).zip(&red.reach) {
            for ((stake, reply), value) in stakes.iter_mut().zip(&self.replies).zip(returns) {
                *stake += opening * reach[reply.parent] * value;
            }
        }
        stakes
    }

    /// Red's best response to a plan of blue, and the return it gets.
    pub fn respond_red(&self, blue: &BluePlan) -> (RedStrategy, f64) {
        let (mut probabilities, mut total) = (Vec::new(), 0.0);
        for (opening, returns) in self.openings.iter().zip(&self.returns) {
            let stakes: Vec<f64> = returns.iter().zip(&blue.reach).map(|(value, reach)| value * reach).collect();
            let (choices, value) = self.maximise(&stakes);
            probabilities.push(choices);
            total += opening * value;
        }
        (RedStrategy { probabilities }, total)
    }

    /// Blue's best response to a plan of red, and the return red gets.
    pub fn respond_blue(&self, red: &RedPlan) -> (BlueStrategy, f64) {
        self.minimise(&self.stakes(red))
    }

    /// NashConv of two plans: what both could gain by their best responses.
    pub fn nash_conv(&self, red: &RedPlan, blue: &BluePlan) -> f64 {
        self.respond_red(blue).1 - self.respond_blue(red).1
    }

    /// One opening's sweep for red: per blue node 1 where red goes there, and the value at the root.
    fn maximise(&self, stakes: &[f64]) -> (Vec<f64>, f64) {
        let mut choices = vec![0.0; self.blue_nodes.len()];
        let mut values = vec![0.0; self.red_nodes.len()];
        for (idx, node) in self.red_nodes.iter().enumerate().rev() {
            let worth = |blue: usize| -> f64 {
                self.blue_nodes[blue].replies.clone().map(|reply| self.onward(reply, stakes, &values)).sum()
            };
            let (choice, value) = first_best(node.blues.clone(), |blue| -worth(blue));
            choices[choice] = 1.0;
            values[idx] = -value;
        }
        (choices, values[0])
    }

    /// Blue's sweep: the pure strategy of least Σ stakes · plan, and that sum.
    pub(super) fn minimise(&self, stakes: &[f64]) -> (BlueStrategy, f64) {
        let mut probabilities = vec![0.0; self.replies.len()];
        let mut values = vec![0.0; self.red_nodes.len()];
        for (idx, node) in self.red_nodes.iter().enumerate().rev() {
            let mut total = 0.0;
            for blue in &self.blue_nodes[node.blues.clone()] {
                let (choice, value) = first_best(blue.replies.clone(), |reply| self.onward(reply, stakes, &values));
                probabilities[choice] = 1.0;
                total += value;
            }
            values[idx] = total;
        }
        (BlueStrategy { probabilities }, values[0])
    }

    /// Stake of a reply and of everything after it, given the values of later red nodes.
    fn onward(&self, reply: usize, stakes: &[f64], values: &[f64]) -> f64 {
        stakes[reply] + self.replies[reply].next.map_or(0.0, |node| values[node])
    }
}

/// The first index of least cost, and the cost; the range is never empty.
pub(super) fn first_best(mut range: Range<usize>, cost: impl Fn(usize) -> f64) -> (usize, f64) {
    let start = range.next().unwrap_or_default();
    range.fold((start, cost(start)), |best, idx| {
        let cost = cost(idx);
        if cost < best.1 { (idx, cost) } else { best }
    })
}
