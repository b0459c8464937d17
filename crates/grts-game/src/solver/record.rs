//! What the loop tells about itself: plain records, from which every report is a pure function.

use crate::Estimate;
use serde::{Deserialize, Serialize};

/// What becomes of a response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// It enters the population.
    Admitted,
    /// It violates its player's constraint and never enters; its gain is recorded but certifies nothing, because a
    /// feasible response might gain more.
    Rejected {
        /// Which constraint, and by how much.
        reason: String,
    },
    /// It gains nothing and does nothing that a mixture of the population does not do, and so does not enter. It is
    /// feasible, so its gain certifies.
    Redundant {
        /// The figures that say so.
        reason: String,
    },
    /// It is a policy that the population already holds, which therefore does not grow.
    Duplicate {
        /// Index of that policy.
        of: usize,
    },
}

/// A response without its policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResponseRecord {
    /// Gain over the value, to the responder.
    pub gain: Estimate,
    /// What became of it.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// One turn of the loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Iteration {
    /// From 0.
    pub index: usize,
    /// Return to red under the two meta-strategies below, which are those of the iteration's last solve; in the record
    /// that converges, those of the certified profile.
    pub value: f64,
    /// Residual regret of those meta-strategies inside the meta-game (restricted exploitability): about 0 by
    /// construction under the Nash rule, and no evidence of safety.
    pub nash_conv: f64,
    /// Upper end of what both sides gained together: the certified distance from equilibrium. `None` when a response was
    /// rejected, or the rule is rectified Nash.
    pub gap: Option<f64>,
    /// Red's response.
    pub red: ResponseRecord,
    /// Blue's response.
    pub blue: ResponseRecord,
    /// Red's meta-strategy: the mixture that blue responded to.
    pub red_strategy: Vec<f64>,
    /// Blue's meta-strategy. Red responded to it if the order is simultaneous or the iteration converged.
    pub blue_strategy: Vec<f64>,
    /// Red policies when the strategies were computed.
    pub num_reds: usize,
    /// Blue policies, likewise.
    pub num_blues: usize,
}

/// Why the loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The certified gap is at most ε.
    Converged,
    /// Tokens, dialogues or time are used up (said by the observer).
    Budget,
    /// As many iterations as configured.
    Iterations,
    /// Somebody asked for it (said by the observer).
    Interrupted,
}

#[cfg(test)]
mod tests {
    use super::{ResponseRecord, StopReason, Verdict};
    use crate::Estimate;

    #[test]
    fn records_read_well_in_json() {
        let record = ResponseRecord { gain: Estimate::exact(0.5), verdict: Verdict::Duplicate { of: 3 } };
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(text, r#"{"gain":{"mean":0.5,"low":0.5,"high":0.5,"n":1},"verdict":"duplicate","of":3}"#);
        assert_eq!(serde_json::from_str::<ResponseRecord>(&text).unwrap(), record);
        assert_eq!(serde_json::to_string(&StopReason::Converged).unwrap(), r#""converged""#);
    }
}
