//! Dialogues over finite utterance sets, as an explicit tree: the sentence-level game of DESIGN §1 made exact.
//!
//! Nature draws an opening that red sees and blue does not; red and blue then alternate for at most T rounds; every reply
//! of blue is scored; the aggregated scores are the return. All utterances are public, so blue's information is the
//! history, red's the history and the opening, and both recall everything: behaviour strategies suffice (Kuhn 1953). Red as
//! a team whose seats may hear less than that is `team`.
//!
//! The tree of public histories is stored once, breadth first (a parent precedes its children), with one return per
//! opening at its ends. Red's edges are the blue nodes they lead to, blue's edges are the replies, so a strategy is one
//! number per edge and dynamic programming is a sweep over an array. The cost: the whole tree is in memory, and red's
//! utterances cannot depend on the opening, which would show it to blue.

mod constrained;
mod game;
mod response;
mod strategy;
mod team;

pub use constrained::{ConstrainedEquilibrium, HonestSequence, HonestTraffic, constrained_equilibrium};
pub use game::{RedSide, TreeGame};
pub use strategy::{BluePlan, BlueStrategy, RedPlan, RedStrategy};
pub use team::{Hearing, TeamEquilibrium, TeamStrategy, TeamTree, team_equilibrium};

use super::distribution;
use crate::GameError;
use crate::rules::Rules;
use std::ops::Range;

/// What can be said, and how it is judged. A history alternates, red's utterance first; utterances are numbers.
pub trait Utterances {
    /// What red can say after `history` (of even length); at least one thing, all different.
    fn red(&self, history: &[u32]) -> Vec<u32>;

    /// What blue can reply after `history` (of odd length); likewise.
    fn blue(&self, history: &[u32]) -> Vec<u32>;

    /// Score in [0, 1] of the reply that ends `history`, when red was asked to obtain `opening`.
    fn score(&self, opening: usize, history: &[u32]) -> f64;

    /// Whether the dialogue ends after `history` (of even length) although turns are left.
    fn ends(&self, _history: &[u32]) -> bool {
        false
    }
}

/// A public history after which red speaks.
#[derive(Debug, Clone, PartialEq)]
struct RedNode {
    parent: Option<usize>, // the reply that led here
    blues: Range<usize>,   // blue nodes, one per utterance of red
}

/// A public history after which blue speaks.
#[derive(Debug, Clone, PartialEq)]
struct BlueNode {
    parent: usize, // red node
    utterance: u32,
    replies: Range<usize>,
}

/// A public history that ends with blue's reply.
#[derive(Debug, Clone, PartialEq)]
struct Reply {
    parent: usize, // blue node
    utterance: u32,
    next: Option<usize>, // red node; none where the dialogue ends
}

/// A dialogue game held in full.
#[derive(Debug, Clone, PartialEq)]
pub struct DialogueTree {
    rules: Rules,
    openings: Vec<f64>, // probabilities
    red_nodes: Vec<RedNode>,
    blue_nodes: Vec<BlueNode>,
    replies: Vec<Reply>,
    returns: Vec<Vec<f64>>, // [opening][reply]; 0 where the dialogue goes on
}

/// A red node still to be expanded, with what was said and scored on the way.
struct Open {
    node: usize,
    history: Vec<u32>,
    scores: Vec<Vec<Option<f64>>>, // [opening][turn]
}

impl DialogueTree {
    /// Unfolds the game. `openings` are the weights of the openings, normalised to probabilities here.
    ///
    /// # Errors
    /// No openings, or weights that are negative, not finite or all 0; a speaker without utterances; a score outside
    /// [0, 1].
    pub fn build(rules: Rules, openings: &[f64], utterances: &impl Utterances) -> Result<Self, GameError> {
        let openings = distribution("opening", openings)?;
        let returns = vec![Vec::new(); openings.len()];
        let root = RedNode { parent: None, blues: 0..0 };
        let (red_nodes, blue_nodes, replies) = (vec![root], Vec::new(), Vec::new());
        let scores = vec![Vec::new(); openings.len()];
        let mut tree = Self { rules, openings, red_nodes, blue_nodes, replies, returns };
        let mut queue = std::collections::VecDeque::from([Open { node: 0, history: Vec::new(), scores }]);
        while let Some(open) = queue.pop_front() {
            queue.extend(tree.expand(open, utterances)?);
        }
        Ok(tree)
    }

    /// Adds one round below a red node; returns the red nodes that it leads to.
    fn expand(&mut self, mut open: Open, utterances: &impl Utterances) -> Result<Vec<Open>, GameError> {
        let said = utterances.red(&open.history);
        let first = self.blue_nodes.len();
        self.red_nodes[open.node].blues = first..first + said.len();
        if said.is_empty() {
            return Err(GameError::Speechless { player: "red", history: open.history });
        }
        let mut next = Vec::new();
        for utterance in said {
            open.history.push(utterance);
            let heard = utterances.blue(&open.history);
            if heard.is_empty() {
                return Err(GameError::Speechless { player: "blue", history: open.history });
            }
            let first = self.replies.len();
            let replies = first..first + heard.len();
            self.blue_nodes.push(BlueNode { parent: open.node, utterance, replies });
            for reply in heard {
                open.history.push(reply);
                next.extend(self.add_reply(&open, utterances)?);
                open.history.pop();
            }
            open.history.pop();
        }
        Ok(next)
    }

    /// Adds the reply that ends `open.history` to the newest blue node; returns the red node after it, if any.
    fn add_reply(&mut self, open: &Open, utterances: &impl Utterances) -> Result<Option<Open>, GameError> {
        let history = &open.history;
        let mut scores = open.scores.clone();
        for (opening, scores) in scores.iter_mut().enumerate() {
            scores.push(Some(checked_score(utterances.score(opening, history), opening, history)?));
        }
        let is_end = history.len() == 2 * self.rules.turns() || utterances.ends(history);
        for (returns, scores) in self.returns.iter_mut().zip(&scores) {
            let end = self.rules.aggregator().returns(scores).filter(|_| is_end);
            returns.push(end.unwrap_or(0.0));
        }
        let utterance = history.last().copied().unwrap_or_default();
        let next = (!is_end).then_some(self.red_nodes.len());
        self.replies.push(Reply { parent: self.blue_nodes.len() - 1, utterance, next });
        Ok(next.map(|node| {
            self.red_nodes.push(RedNode { parent: Some(self.replies.len() - 1), blues: 0..0 });
            Open { node, history: history.clone(), scores }
        }))
    }

    /// The rules it was unfolded by.
    pub fn rules(&self) -> Rules {
        self.rules
    }

    /// Probability of each opening.
    pub fn openings(&self) -> &[f64] {
        &self.openings
    }

    /// Public histories after which blue speaks.
    pub fn num_blue_nodes(&self) -> usize {
        self.blue_nodes.len()
    }

    /// Public histories that end with a reply.
    pub fn num_replies(&self) -> usize {
        self.replies.len()
    }

    /// The utterances up to and including reply `reply`, red's first.
    pub fn history(&self, reply: usize) -> Vec<u32> {
        let mut history = self.history_before(self.replies[reply].parent);
        history.push(self.replies[reply].utterance);
        history
    }

    /// The utterances up to and including the one that leads to a blue node.
    fn history_before(&self, blue: usize) -> Vec<u32> {
        let node = &self.blue_nodes[blue];
        let mut history = self.red_nodes[node.parent].parent.map_or_else(Vec::new, |reply| self.history(reply));
        history.push(node.utterance);
        history
    }

    /// The reply that ends `history`, if the tree contains it.
    pub fn find_reply(&self, history: &[u32]) -> Option<usize> {
        let (mut node, mut found) = (Some(0), None);
        for round in history.chunks(2) {
            let &[said, heard] = round else { return None };
            let blue = self.red_nodes[node?].blues.clone().find(|&blue| self.blue_nodes[blue].utterance == said)?;
            let reply = self.blue_nodes[blue].replies.clone().find(|&reply| self.replies[reply].utterance == heard)?;
            (node, found) = (self.replies[reply].next, Some(reply));
        }
        found
    }

    /// Smallest and largest return there can be.
    fn payoff_range(&self) -> (f64, f64) {
        self.rules.payoff_range()
    }
}

fn checked_score(score: f64, opening: usize, history: &[u32]) -> Result<f64, GameError> {
    if (0.0..=1.0).contains(&score) {
        return Ok(score);
    }
    let place = format!("score after {history:?} for opening {opening}");
    Err(GameError::Value { place, value: score, allowed: "between 0 and 1".to_owned() })
}
