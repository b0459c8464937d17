//! The one door to the linear-programming library.
//!
//! microlp (pure Rust, revised simplex) answers at a vertex, refines its basis in extended precision and takes an
//! absolute feasibility tolerance down to 1e-10, which an interior-point method does not reach. It reports no dual
//! values, so each player's strategy is its own program here, and the two prove each other. Callers scale their numbers
//! to about 1 first: the tolerance is absolute.

use crate::GameError;
use microlp::{ComparisonOp, OptimizationDirection, Problem, SolveOptions, Variable};

/// Largest violation of a constraint; the smallest that the library accepts.
const FEASIBILITY: f64 = 1e-10;

/// A minimisation or maximisation under construction.
pub(crate) struct LinearProgram {
    problem: Problem,
}

impl LinearProgram {
    pub(crate) fn minimise() -> Self {
        Self { problem: Problem::new(OptimizationDirection::Minimize) }
    }

    pub(crate) fn maximise() -> Self {
        Self { problem: Problem::new(OptimizationDirection::Maximize) }
    }

    /// A variable ≥ 0 with its coefficient in the objective.
    pub(crate) fn non_negative(&mut self, objective: f64) -> Variable {
        self.problem.add_var(objective, (0.0, f64::INFINITY))
    }

    /// A variable of any sign.
    pub(crate) fn free(&mut self, objective: f64) -> Variable {
        self.problem.add_var(objective, (f64::NEG_INFINITY, f64::INFINITY))
    }

    /// Σ terms ≤ `bound`.
    pub(crate) fn at_most(&mut self, terms: &[(Variable, f64)], bound: f64) {
        self.problem.add_constraint(terms, ComparisonOp::Le, bound);
    }

    /// Σ terms ≥ `bound`.
    pub(crate) fn at_least(&mut self, terms: &[(Variable, f64)], bound: f64) {
        self.problem.add_constraint(terms, ComparisonOp::Ge, bound);
    }

    /// Σ terms = `bound`.
    pub(crate) fn equals(&mut self, terms: &[(Variable, f64)], bound: f64) {
        self.problem.add_constraint(terms, ComparisonOp::Eq, bound);
    }

    /// An optimal vertex: the values of `variables`, in their order.
    pub(crate) fn solve(&self, variables: &[Variable]) -> Result<Vec<f64>, GameError> {
        let mut options = SolveOptions::default();
        options.tolerances.feasibility = FEASIBILITY;
        let outcome = self.problem.solve_with(options).map_err(|e| GameError::LinearProgram(e.to_string()))?;
        let solution = outcome.solution().ok_or_else(|| GameError::LinearProgram("no vertex found".to_owned()))?;
        Ok(variables.iter().map(|&variable| solution.var_value(variable)).collect())
    }
}

/// Non-negative and summing to 1, from numbers that are so but for rounding; uniform if nothing positive is left.
pub(crate) fn normalised(values: &[f64]) -> Vec<f64> {
    let sum: f64 = values.iter().map(|value| value.max(0.0)).sum();
    if sum > 0.0 {
        values.iter().map(|value| value.max(0.0) / sum).collect()
    } else {
        vec![1.0 / values.len() as f64; values.len()]
    }
}
