//! One error type for the game crate: every message names the place in the game and the value found there.
//!
//! It carries no cause from outside, because this crate touches nothing outside: what arenas and oracles can fail at
//! is their own error type, into which this one converts.

/// What can be wrong with a game, or with the attempt to solve it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GameError {
    /// Something that must have at least one element has none.
    #[error("{what} is empty")]
    Empty {
        /// `matrix`, `red population`, …
        what: &'static str,
    },
    /// A size that contradicts another one.
    #[error("{place}: expected {expected} values, found {found}")]
    Shape {
        /// Where, for example `row 3`.
        place: String,
        /// Size required there.
        expected: usize,
        /// Size found.
        found: usize,
    },
    /// A number that is not finite or lies outside what its place allows.
    #[error("{place}: `{value}` is not {allowed}")]
    Value {
        /// Where, for example `entry (2, 5)`.
        place: String,
        /// The number found.
        value: f64,
        /// What would have been right, for example `a finite number`.
        allowed: String,
    },
    /// An index beyond the populations.
    #[error("entry ({row}, {col}) lies outside a meta-game of {rows} by {cols}")]
    NoSuchEntry {
        /// Row asked for.
        row: usize,
        /// Column asked for.
        col: usize,
        /// Rows there are.
        rows: usize,
        /// Columns there are.
        cols: usize,
    },
    /// The matrix is asked for before every entry has a sample.
    #[error("entry ({row}, {col}) was never played")]
    NeverPlayed {
        /// Row of the first such entry.
        row: usize,
        /// Its column.
        col: usize,
    },
    /// `turns = 0`.
    #[error("`turns = 0`: a dialogue needs at least one turn; set `turns` to 1 or more")]
    NoTurns,
    /// `red_team = 0`.
    #[error("`red_team = 0`: a team needs at least one seat; set `red_team` to 1 or more")]
    NoSeats,
    /// A relay in which some seats never get a turn.
    #[error("`red_team = {seats}` seats, but a relay of `turns = {turns}` has a turn for the first {turns} only")]
    IdleSeats {
        /// Seats asked for.
        seats: usize,
        /// Turns there are.
        turns: usize,
    },
    /// A seat that would have to choose between different utterances without knowing which.
    #[error(
        "seat {seat} cannot tell {history:?} from another history, and has other utterances there: let what red can say \
         depend on what the seat hears"
    )]
    Indistinct {
        /// Seat, from 0.
        seat: usize,
        /// One of the two histories.
        history: Vec<u32>,
    },
    /// More joint plans than a linear program should hold.
    #[error("the team has more than {limit} joint plans: solve it by its oracle, which does not list them")]
    TooManyPlans {
        /// Most plans that are listed.
        limit: usize,
    },
    /// The dialogue rules give a speaker nothing to say.
    #[error("{player} has no utterance after the history {history:?}")]
    Speechless {
        /// `red` or `blue`.
        player: &'static str,
        /// Utterances so far, red's first.
        history: Vec<u32>,
    },
    /// An information set at which there is nothing to do.
    #[error("the information set `{information}` has no actions")]
    NoActions {
        /// What the player knows there.
        information: String,
    },
    /// A player that forgets: sequence form needs perfect recall.
    #[error(
        "the information set `{information}` is reached after different moves of its own player, or with different \
         numbers of actions: let its text hold all that the player did and saw"
    )]
    ImperfectRecall {
        /// What the player knows there.
        information: String,
    },
    /// No blue policy serves as much honest traffic as asked.
    #[error("`h_min = {h_min}` cannot be met: the largest share of honest traffic that blue can serve is {attainable}")]
    Infeasible {
        /// Share asked for.
        h_min: f64,
        /// Largest share of any policy.
        attainable: f64,
    },
    /// Honest traffic says something that no dialogue of the tree contains.
    #[error("honest sequence {sequence:?} is not part of the dialogue tree")]
    UnknownTraffic {
        /// The user's utterances.
        sequence: Vec<u32>,
    },
    /// An iteration that has to settle did not, or has nothing to settle at.
    #[error("no convergence: {what}")]
    NoConvergence {
        /// What was computed.
        what: &'static str,
    },
    /// Every attempt left more regret than rounding explains.
    #[error("no equilibrium was found: the best profile leaves a NashConv of {nash_conv:e} of the payoff range")]
    NoEquilibrium {
        /// Share of the payoff range that is left.
        nash_conv: f64,
    },
    /// The linear program failed, or its answer does not prove itself.
    #[error("the linear program gave no equilibrium: {0}")]
    LinearProgram(String),
}
