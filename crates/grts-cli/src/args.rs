//! What can be typed.
//!
//! Only the text is checked here: spelling and range of each argument. What needs a file is the business of the
//! commands, and what a scenario may say is the library's. Few settings have an argument, since each is a second way to
//! say what the scenario file says; those that have one are the ones that change between two runs of one scenario.

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};
use grts::comparison::Arm;
use grts::models::{Device, Dtype};
use grts::scenario::Method;
use grts_game::MetaSolver;
use grts_game::rules::Player;
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
Exit codes: 0 done, 1 failed, 2 wrong usage or input, 3 the model hub is unreachable, 130 interrupted with the run saved.
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
    /// Attack or defend against a finished run with fresh learners that never saw it
    Probe(Probe),
    /// Attack the final blue of a run with the attackers of another
    Attack(Attack),
    /// Play one game by several methods at an equal budget and measure all of them alike
    Compare(Compare),
    /// Continue a text with a model or adapter, to try it by hand
    Generate(Generate),
    /// Write a model with an adapter merged in, or the payoffs of a run, for other programs
    Export(Export),
    /// Measure how fast a model decodes, reads and learns here
    Bench(Bench),
    /// Solve a zero-sum matrix game from a file
    Nash(Nash),
    /// Show the shape of a game, a run's or a file's: what is strength in it and what goes round
    Geometry(Geometry),
}

/// What the commands share that measure or train.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub struct Common {
    /// Where models compute: `cpu`, `cuda` or `cuda:N`
    #[arg(long, value_name = "DEVICE", default_value_t)]
    pub device: Device,
    /// Print one JSON object instead of the table
    #[arg(long)]
    pub json: bool,
}

/// What is drawn by a command that asks a finished run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub struct Fresh {
    /// Seed of all that is drawn
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u64).range(..=LARGEST_SEED))]
    pub seed: u64,
    /// Fresh dialogues of attackers with the blue, each time that they are measured
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = value_parser!(u64).range(2..=LARGEST_COUNT))]
    pub dialogues: u64,
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
    /// Where it computes and what it prints.
    #[command(flatten)]
    pub common: Common,
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
    /// Where it computes and what it prints.
    #[command(flatten)]
    pub common: Common,
}

/// Arguments of `grts eval`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  grts eval runs/meridian-1a2b3c4d --seed 5 --dialogues 2000
  grts eval runs/meridian-1a2b3c4d --blue average   the mean of its adapters, in place of the mixture
Writes nothing. Another seed is another sample; no seed repeats a dialogue of the run itself.")]
pub struct Eval {
    /// Directory of a finished run
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// Blue policy of the run to measure alone, a name below its `policies/` or `base`; without it the final mixture
    #[arg(long, value_name = "ID")]
    pub blue: Option<String>,
    /// Quote the most central attack of each strategy; without it no text of a dialogue is shown
    #[arg(long)]
    pub show_attacks: bool,
    /// What is drawn.
    #[command(flatten)]
    pub fresh: Fresh,
    /// Where it computes and what it prints.
    #[command(flatten)]
    pub common: Common,
}

/// Arguments of `grts probe`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  grts probe runs/meridian-1a2b3c4d                       three fresh attackers against the final blue
  grts probe runs/meridian-1a2b3c4d --blue average        against one adapter, the mean of the mixture's
  grts probe runs/meridian-1a2b3c4d --against red --seeds 1
The exploiters learn from the base with seeds and settings of their own; the strongest is measured again on dialogues that
did not choose it. Their gain is a lower bound of exploitability. Adapters are kept below the run's `policies/`, and the
same command goes on after Ctrl-C.")]
pub struct Probe {
    /// Directory of a finished run
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// Side whose final mixture is exploited
    #[arg(long, value_name = "SIDE", default_value = "blue")]
    pub against: Side,
    /// Blue policy of the run that plays alone, a name below its `policies/` or `base`; without it the final mixture
    #[arg(long, value_name = "ID")]
    pub blue: Option<String>,
    /// Exploiters to train
    #[arg(long, value_name = "K", default_value_t = 3, value_parser = value_parser!(u64).range(1..=1000))]
    pub seeds: u64,
    /// Budget of each: so many times the steps and searched dialogues of the solver's own responses
    #[arg(long, value_name = "B", default_value_t = 2.0, value_parser = budget)]
    pub budget: f64,
    /// What is drawn.
    #[command(flatten)]
    pub fresh: Fresh,
    /// Where it computes and what it prints.
    #[command(flatten)]
    pub common: Common,
}

/// Arguments of `grts attack`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: `grts attack --run runs/small --against runs/large`
The two runs may have different base models and different worlds. Trains nothing and writes nothing.")]
pub struct Attack {
    /// Directory of the finished run whose attackers attack
    #[arg(long, value_name = "RUN")]
    pub run: PathBuf,
    /// Directory of the finished run whose blue is attacked
    #[arg(long, value_name = "RUN")]
    pub against: PathBuf,
    /// What is drawn.
    #[command(flatten)]
    pub fresh: Fresh,
    /// Where it computes and what it prints.
    #[command(flatten)]
    pub common: Common,
}

/// Arguments of `grts compare`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  grts compare                                            eight methods, three seeds: hours on two cores
  grts compare --methods psro,grts --seeds 1 --quick      the same questions, small, in some minutes
  grts compare --methods psro,grts --h-min 0.05,0.15,0.3  exploitability against helpfulness
Every method may spend the same tokens on play and training. Then each blue meets fresh attackers, scripted ones, and the
worst attackers that any method found. The directory holds ordinary runs, `comparison.json`, `runs` and `cross-play` as .csv
and .parquet, and pictures. The same command goes on after Ctrl-C, and adds methods or seeds to what is there.")]
pub struct Compare {
    /// Scenario file; its `[budget]` bounds every method, and keys that it leaves out are those of `grts solve`
    #[arg(value_name = "SCENARIO.toml")]
    pub scenario: Option<PathBuf>,
    /// Directory of the comparison, made if it is missing
    #[arg(long, value_name = "DIR", default_value = "comparison")]
    pub dir: PathBuf,
    /// Methods, with commas between
    #[arg(long, value_name = "M", value_delimiter = ',', value_parser = arm_names(), default_values_t = Arm::ALL.map(Arm::name).map(str::to_owned))]
    pub methods: Vec<String>,
    /// Seeds: the scenario's and those that follow it
    #[arg(long, value_name = "K", default_value_t = 3, value_parser = value_parser!(u64).range(1..=1000))]
    pub seeds: u64,
    /// Shares of look-alike requests that blue must serve, with commas between; the scenario's without it
    #[arg(long, value_name = "H", value_delimiter = ',', value_parser = share)]
    pub h_min: Vec<f64>,
    /// Tokens that a method may spend on play and training, in place of the scenario's
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..=LARGEST_SEED))]
    pub tokens: Option<u64>,
    /// Fresh attackers trained against each blue
    #[arg(long, value_name = "K", default_value_t = 2, value_parser = value_parser!(u64).range(1..=1000))]
    pub exploiters: u64,
    /// Budget of each: so many times the steps and searched dialogues of the methods' own responses
    #[arg(long, value_name = "B", default_value_t = 2.0, value_parser = budget)]
    pub exploiter_budget: f64,
    /// Cut every budget: the same comparison with less play and wider intervals
    #[arg(long)]
    pub quick: bool,
    /// Where it computes and what it prints.
    #[command(flatten)]
    pub common: Common,
}

/// Arguments of `grts generate`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  grts generate builtin --chat --prompt 'When does the harbour office open?' --temperature 0
  grts generate builtin --adapter runs/a/policies/blue-1 --chat --prompt 'Hello' --seed 3 --json
  grts generate Qwen/Qwen3-0.6B --dtype bf16 --chat --prompt 'Hello'

A hub id is taken from the cache of `hf download` (HF_HOME, HF_HUB_CACHE) and fetched there if it is missing,
unless HF_HUB_OFFLINE is set.")]
pub struct Generate {
    /// Directory in Hugging Face layout, `builtin`, or a hub id `org/name`
    #[arg(value_name = "MODEL")]
    pub model: String,
    /// Adapter in PEFT layout to speak through
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<PathBuf>,
    /// Text to go on from
    #[arg(long, value_name = "TEXT")]
    pub prompt: String,
    /// Give the prompt as a user's message, by the model's chat template
    #[arg(long)]
    pub chat: bool,
    /// Tokens to add at most
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = value_parser!(u32).range(1..))]
    pub max_tokens: u32,
    /// Divides the logits; 0 always takes the most likely token
    #[arg(long, value_name = "T", default_value_t = 1.0, value_parser = temperature)]
    pub temperature: f32,
    /// Draw from the smallest set of tokens whose probability reaches P
    #[arg(long, value_name = "P", default_value_t = 1.0, value_parser = probability)]
    pub top_p: f32,
    /// Draw from the K most likely tokens
    #[arg(long, value_name = "K", value_parser = value_parser!(u32).range(1..))]
    pub top_k: Option<u32>,
    /// Seed of the draws
    #[arg(long, value_name = "S", default_value_t = 0, value_parser = value_parser!(u64).range(..=LARGEST_SEED))]
    pub seed: u64,
    /// How weights are held
    #[arg(long, value_name = "D", default_value = "f32")]
    pub dtype: DtypeName,
    /// Where the model computes: `cpu`, `cuda` or `cuda:N`
    #[arg(long, value_name = "DEVICE", default_value_t)]
    pub device: Device,
    /// Print one JSON object with token ids and log-probabilities instead of the text
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `grts export`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  grts export builtin --adapter runs/a/policies/blue-1 --merged --out hardened
  grts export runs/a --policy blue-1 --merged --out hardened
  grts export runs/a --meta-game game.npz
A model is written in Hugging Face layout, with weights in float32. A meta-game is written in the format of the file's
ending: .npz holds payoffs, counts, variances, 95 % intervals, the policies' names and, of a finished run, their final
mixtures; .csv and .parquet hold a line `row,col,mean,n,sd,low,high` for each entry; .nfg (Gambit) and .npy hold payoffs.
Nothing is written over.")]
pub struct Export {
    /// Directory in Hugging Face layout, `builtin`, or a hub id; with `--policy` or `--meta-game`, the directory of a run
    #[arg(value_name = "MODEL|RUN")]
    pub model: String,
    /// Adapter in PEFT layout
    #[arg(long, value_name = "DIR", conflicts_with = "policy")]
    pub adapter: Option<PathBuf>,
    /// Policy of the run, a name below its `policies/`
    #[arg(long, value_name = "ID")]
    pub policy: Option<String>,
    /// Write whole weights with the adapter in them
    #[arg(long, required_unless_present = "meta_game")]
    pub merged: bool,
    /// New directory of the model
    #[arg(long, value_name = "DIR", required_unless_present = "meta_game")]
    pub out: Option<PathBuf>,
    /// Write the payoffs of the run to this new file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["merged", "out", "adapter", "policy"])]
    pub meta_game: Option<PathBuf>,
    /// Print one JSON object instead of a line
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `grts bench`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: `grts bench builtin --batch 1,32 --prompt-tokens 64 --new-tokens 32`
Rates are medians of five rounds; shares are of the limits of this machine, measured in the same minute.
A share of memory bandwidth above 1 means that the weights stay in cache. Attention is not counted as work.
Run it on a machine that does nothing else.")]
pub struct Bench {
    /// Directory in Hugging Face layout, `builtin`, or a hub id `org/name`
    #[arg(value_name = "MODEL")]
    pub model: String,
    /// Adapter in PEFT layout to decode with and to train on
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<PathBuf>,
    /// Rows decoded together; several sizes with commas between
    #[arg(long, value_name = "B", value_delimiter = ',', default_values_t = [1, 8, 32, 128], value_parser = value_parser!(u32).range(1..=4096))]
    pub batch: Vec<u32>,
    /// Tokens of each prompt
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = value_parser!(u32).range(1..))]
    pub prompt_tokens: u32,
    /// Tokens added to each prompt
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = value_parser!(u32).range(1..))]
    pub new_tokens: u32,
    /// How weights are held
    #[arg(long, value_name = "D", default_value = "f32")]
    pub dtype: DtypeName,
    /// Where it computes and what it prints.
    #[command(flatten)]
    pub common: Common,
}

/// Arguments of `grts geometry`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  grts geometry runs/meridian-1a2b3c4d --json   the stored payoffs of a run
  grts geometry game.npz                        a game in any format of `grts nash`
Reads payoffs only: no model is loaded and nothing is played. Intervals are bootstrap intervals: they show how far a
measure moves with the payoffs' sampling error, and they are no bounds. A file has them if it says how each payoff was
sampled (`n`, `sd` in a .csv or .parquet, `count` and `variance` in a .npz); sampled payoffs that all lie in 0 to 1 count as shares.")]
pub struct Geometry {
    /// Run directory, or a file with a game
    #[arg(value_name = "RUN|FILE")]
    pub game: PathBuf,
    /// Games drawn for the intervals; 0 for none
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = value_parser!(u32).range(..=100_000))]
    pub resamples: u32,
    /// Seed of those draws
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u64).range(..=LARGEST_SEED))]
    pub seed: u64,
    /// Print one JSON object instead of the table
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `grts nash`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  grts nash game.npy                                  numpy's array of payoffs to the row player
  grts nash game.nfg --solver max_entropy_nash --json
Formats by ending: .npy, .npz (`payoff`, or the only array), .csv (a matrix of numbers, or lines `row,col,mean`),
.parquet (columns `row`, `col`, `mean`), .nfg (Gambit's payoff form). The column player receives the negative payoffs.
NashConv, `exploitability` in the JSON, is what both players together could gain; OpenSpiel's figure is half of it. If the
file says how payoffs were sampled (`n,sd`; `count` and `variance`), its interval in the true game is printed too (`sampled`).
`seconds` is the time of the solution alone. All but the Nash solvers stop short of an equilibrium, and NashConv says how far.")]
pub struct Nash {
    /// File with a game
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Rule for the strategies
    #[arg(long, value_name = "NAME", default_value = "nash", value_parser = solver_names())]
    pub solver: String,
    /// Print one JSON object instead of the table
    #[arg(long)]
    pub json: bool,
}

fn solver_names() -> PossibleValuesParser {
    PossibleValuesParser::new(MetaSolver::ALL.map(MetaSolver::name))
}

fn arm_names() -> PossibleValuesParser {
    PossibleValuesParser::new(Arm::ALL.map(Arm::name))
}

fn share(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|share| (0.0..1.0).contains(share));
    number.ok_or_else(|| "a number from 0 to below 1 is needed".to_owned())
}

fn temperature(text: &str) -> Result<f32, String> {
    let number = text.parse::<f32>().ok().filter(|t| t.is_finite() && *t >= 0.0);
    number.ok_or_else(|| "a number of at least 0 is needed".to_owned())
}

fn budget(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|b| (0.01..=1000.0).contains(b));
    number.ok_or_else(|| "a number from 0.01 to 1000 is needed".to_owned())
}

fn probability(text: &str) -> Result<f32, String> {
    let number = text.parse::<f32>().ok().filter(|p| *p > 0.0 && *p <= 1.0);
    number.ok_or_else(|| "a number above 0 and at most 1 is needed".to_owned())
}

/// The types of weights as they are typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DtypeName {
    /// 32-bit floats
    F32,
    /// bfloat16, with 32-bit sums
    Bf16,
}

impl From<DtypeName> for Dtype {
    fn from(name: DtypeName) -> Self {
        match name {
            DtypeName::F32 => Self::F32,
            DtypeName::Bf16 => Self::Bf16,
        }
    }
}

/// The sides as they are typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Side {
    /// The defender: fresh attackers are trained
    Blue,
    /// The attackers: fresh defenders are trained
    Red,
}

impl From<Side> for Player {
    fn from(side: Side) -> Self {
        match side {
            Side::Blue => Self::Blue,
            Side::Red => Self::Red,
        }
    }
}

/// The methods as they are typed, spelled as in a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum MethodName {
    /// Best responses to the Nash mixture of the meta-game
    Psro,
    /// The same, red rewarded for being different
    Grts,
    /// Best responses to the uniform mixture of all opponents so far
    FictitiousPlay,
    /// Best responses to the latest opponent only
    SelfPlay,
    /// One attacker with the whole budget, then blue trained on it
    SingleAttacker,
    /// Attackers that follow a script, then blue trained on them
    Heuristic,
}

impl From<MethodName> for Method {
    fn from(name: MethodName) -> Self {
        match name {
            MethodName::Psro => Self::Psro,
            MethodName::Grts => Self::Grts,
            MethodName::FictitiousPlay => Self::FictitiousPlay,
            MethodName::SelfPlay => Self::SelfPlay,
            MethodName::SingleAttacker => Self::SingleAttacker,
            MethodName::Heuristic => Self::Heuristic,
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
