//! What can be typed.
//!
//! Only the text is checked here: spelling and range of each argument. What needs a file is the business of the
//! commands, and what a scenario may say is the library's. Few settings have an argument, since each is a second way to
//! say what the scenario file says; those that have one are the ones that change between two runs of one scenario.

use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};
use grts::scenario::Method;
use std::path::PathBuf;

/// The largest integer that TOML, and so `run.toml`, can hold.
const LARGEST_SEED: u64 = i64::MAX as u64;
/// The scenario file's own limit of counts.
const LARGEST_COUNT: u64 = 1_000_000_000;

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "grts", version, propagate_version = true, subcommand_required = true, arg_required_else_help = true)]
#[command(
    about = "Solve the Red-teaming Game: attack a language model with learned attackers, harden it, measure both"
)]
#[command(after_help = "\
Example: `grts solve --quick` plays a small run of the built-in world in about two minutes.

Results go to stdout, progress and errors to stderr.
Exit codes: 0 done, 1 failed, 2 wrong usage or input, 3 a target is unreachable, 130 interrupted with the run saved.
For models that you own or are authorised to test.")]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a run: train attackers and defenders against each other and measure the result
    Solve(Solve),
    /// Go on with a run that was interrupted or killed
    Resume(Resume),
    /// Measure the final blue of a finished run again, with fresh dialogues
    Eval(Eval),
}

/// Arguments of `grts solve`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  grts solve                                  the built-in world
  grts solve --quick --seed 7                 a small budget, another seed
  grts solve my.toml --run-dir runs/first     a scenario of your own, in a directory of your choice")]
pub struct Solve {
    /// Scenario file; keys that it leaves out, or all without one, are those of the built-in world
    #[arg(value_name = "SCENARIO.toml")]
    pub scenario: Option<PathBuf>,
    /// Cut every budget: the same game with less play and wider intervals
    #[arg(long)]
    pub quick: bool,
    /// Seed of every random choice, in place of the scenario's
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(..=LARGEST_SEED))]
    pub seed: Option<u64>,
    /// Training scheme, in place of the scenario's
    #[arg(long, value_name = "M")]
    pub method: Option<MethodName>,
    /// Iterations at most, in place of the scenario's, also under `--quick`
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..=LARGEST_COUNT))]
    pub iterations: Option<u64>,
    /// New directory of the run; by default one is named and made below `runs/`
    #[arg(long, value_name = "DIR")]
    pub run_dir: Option<PathBuf>,
    /// Print one JSON object (`summary.json` of the run) instead of the table
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `grts resume`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: `grts resume runs/meridian-1a2b3c4d` ends in the same state as a run that was never stopped.
A run keeps its settings; a finished one prints its result again.")]
pub struct Resume {
    /// Run directory
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// Print one JSON object (`summary.json` of the run) instead of the table
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `grts eval`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: `grts eval runs/meridian-1a2b3c4d --seed 5 --dialogues 2000`
Writes nothing. Another seed is another sample; no seed repeats a dialogue of the run itself.")]
pub struct Eval {
    /// Directory of a finished run
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// Seed of the fresh dialogues
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u64).range(..=LARGEST_SEED))]
    pub seed: u64,
    /// Dialogues between the final attackers and the final blue
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = value_parser!(u64).range(2..=LARGEST_COUNT))]
    pub dialogues: u64,
    /// Print one JSON object instead of the table
    #[arg(long)]
    pub json: bool,
}

/// The methods as they are typed, spelled as in a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum MethodName {
    /// Best responses to the Nash mixture of the meta-game
    Psro,
    /// Best responses to the uniform mixture of all opponents so far
    FictitiousPlay,
    /// Best responses to the latest opponent only
    SelfPlay,
    /// One attacker with the whole budget, then blue trained on it
    SingleAttacker,
}

impl From<MethodName> for Method {
    fn from(name: MethodName) -> Self {
        match name {
            MethodName::Psro => Self::Psro,
            MethodName::FictitiousPlay => Self::FictitiousPlay,
            MethodName::SelfPlay => Self::SelfPlay,
            MethodName::SingleAttacker => Self::SingleAttacker,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Arguments, MethodName};
    use clap::{CommandFactory, ValueEnum};
    use grts::scenario::Method;

    #[test]
    fn the_definition_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn methods_are_spelled_as_in_a_scenario() {
        for name in MethodName::value_variants() {
            let typed = name.to_possible_value().unwrap().get_name().to_owned();
            let stored = serde_json::to_value(Method::from(*name)).unwrap();
            assert_eq!(stored, serde_json::Value::String(typed));
        }
    }
}
