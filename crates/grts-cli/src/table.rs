//! The result as a person reads it: one table, plain text, every estimate with its 95 % interval.
//!
//! A number without its meaning invites the wrong conclusion, so each line ends with what it is, and exploitability
//! says that it is a lower bound. Shares are fractions, as in the scenario and in JSON, so that a value can be compared
//! with `h_min` by eye. The table leaves out sample sizes; `--json` has everything.

mod compared;

pub use compared::of_comparison;

use grts::semantic::SMALLEST_BLEU;
use grts::session::{AttackReport, CellReport, Diversity, Evaluation, ProbeReport};
use grts::summary::{BlueReport, Outcome, Summary};
use grts_game::Estimate;
use grts_game::geometry::Survey;
use grts_game::rules::Player;
use grts_game::solver::StopReason;
use std::path::Path;

/// Cells of the grid that `grts eval` lists.
const HOTTEST: usize = 10;

/// The final table of a run at `path`, with what can be typed next.
pub fn of_outcome(outcome: &Outcome, path: &Path) -> String {
    let summary = &outcome.summary;
    let (initial, last) = (&summary.blue.initial, &summary.blue.r#final);
    let mut blue = vec![Row::head("BLUE", ["before", "after"])];
    blue.extend(measures(summary.h_min).into_iter().map(|(name, of, note)| {
        let cells = [shares(of(initial)), shares(of(last))];
        Row::new(name, cells, &note)
    }));
    let turns = initial.asr_by_turn.iter().zip(&last.asr_by_turn).enumerate();
    let by_turn = turns.map(|(t, (a, b))| Row::new(format!("  by turn {}", t + 1), [shares(*a), shares(*b)], ""));
    blue.splice(2..2, by_turn);
    let next = format!("run directory  {0}\nnext           grts eval {0}\n", path.display());
    format!(
        "{}\n\n{}\n{}\n{}\n{next}",
        header(summary),
        aligned(&blue),
        aligned(&game(outcome)),
        aligned(&red(summary))
    )
}

/// The table of `grts eval`.
pub fn of_evaluation(evaluation: &Evaluation) -> String {
    let mut rows = vec![Row::head("BLUE", ["measured again"])];
    rows.push(Row::new("attack success", [shares(evaluation.asr)], "final attackers, whole dialogue"));
    let turns = evaluation.asr_by_turn.iter().enumerate();
    rows.extend(turns.map(|(t, asr)| Row::new(format!("  by turn {}", t + 1), [shares(*asr)], "")));
    rows.extend([
        Row::new("scripted attacks", [shares(evaluation.grid_asr)], GRID),
        Row::new("hottest cell", [shares(evaluation.worst_cell_asr)], WORST),
        Row::new("open facts told", [shares(evaluation.helpfulness)], OPEN),
        Row::new("look-alikes refused", [shares(evaluation.over_refusal)], "honest requests that read like attacks"),
    ]);
    rows.extend(diversity(&evaluation.diversity));
    let mut cells: Vec<&CellReport> = evaluation.cells.iter().collect();
    cells.sort_by(|a, b| b.asr.mean.total_cmp(&a.asr.mean));
    rows.extend([Row::head("", [""]), Row::head("HOTTEST CELLS", ["attack success"])]);
    rows.extend(
        cells
            .iter()
            .take(HOTTEST)
            .map(|c| Row::new(c.cell.clone(), [shares(c.asr)], if c.chain { "after a set-up turn" } else { "" })),
    );
    let blue = evaluation.blue.as_ref().map_or_else(|| "final blue".to_owned(), |id| format!("`{id}` alone"));
    format!("run `{}`, {blue}, seed {}\n\n{}", evaluation.run, evaluation.seed, aligned(&rows))
}

/// Strategies that `grts eval` lists.
const STRATEGIES: usize = 10;

fn diversity(of: &Diversity) -> Vec<Row<1>> {
    let counts = |of| estimate(of, |x| format!("{x:.2}"));
    let measures = &of.measures;
    let mut rows = vec![
        Row::head("", [""]),
        Row::head("DIVERSITY", ["of the final attacks"]),
        Row::new("Vendi score", [counts(measures.vendi.order_1)], "effective number of different attacks"),
        Row::new("  order 2", [counts(measures.vendi.order_2)], "the same, rare ones counting less"),
        Row::new("  order infinity", [counts(measures.vendi.order_infinity)], "by the most common kind alone"),
        Row::new("expected cardinality", [counts(measures.expected_cardinality)], "of a determinantal sample"),
        Row::new("mean cosine", [shares(measures.mean_cosine)], "between two attacks"),
        Row::new("distinct word pairs", [shares(measures.distinct_2)], "of all word pairs"),
        Row::new("coverage", [shares(measures.coverage)], "share of the cells asked in"),
    ];
    rows.extend((SMALLEST_BLEU..).zip(&measures.self_bleu).map(|(order, bleu)| {
        let note = format!("words repeated from other attacks, up to {order} in a row");
        Row::new(format!("Self-BLEU {order}"), [shares(*bleu)], &note)
    }));
    rows.extend([Row::head("", [""]), Row::head("STRATEGIES", ["share of attacks"])]);
    rows.extend(of.strategies.iter().take(STRATEGIES).map(|strategy| {
        let quoted = strategy.attack.as_ref().map_or_else(String::new, |text| format!(": {text}"));
        let note = format!("succeeds {}{quoted}", shares(strategy.asr));
        Row::new(strategy.name.clone(), [shares(strategy.share)], &note)
    }));
    rows.push(Row::new("in no cluster", [shares(of.unclustered)], ""));
    rows
}

/// The table of `grts probe`.
pub fn of_probe(report: &ProbeReport) -> String {
    let (learners, measure) = match report.against {
        Player::Blue => ("attackers", "attack success"),
        Player::Red => ("defenders", "attacks let through"),
    };
    let mut rows = vec![Row::head("EXPLOITERS", [measure])];
    rows.extend(report.exploiters.iter().map(|e| {
        let note = format!("{} steps, rate {:.1e}, beta {:.3}", e.steps, e.learning_rate, e.beta);
        let note = e.rejected.as_ref().map_or(note.clone(), |reason| format!("{note}; does not count: {reason}"));
        Row::new(e.id.clone(), [shares(e.returns)], &note)
    }));
    rows.extend([Row::head("", [""]), Row::head("MEASURED AGAIN", [""])]);
    let between = match &report.blue {
        None => "red's return between the final mixtures".to_owned(),
        Some(id) => format!("the final attackers' return from `{id}` alone"),
    };
    rows.push(Row::new("value", [shares(report.value)], &between));
    match &report.strongest {
        Some(strongest) => rows.extend([
            Row::new("strongest", [shares(strongest.returns)], &strongest.id),
            Row::new("gain", [signed(strongest.gain)], "over the value; a lower bound of exploitability"),
        ]),
        None => rows.push(Row::new("strongest", ["none".to_owned()], "every exploiter broke its constraint")),
    }
    if let Some(scripted) = &report.scripted {
        let tries = format!("{} dialogues of the whole red population, one of which succeeds", scripted.tries);
        rows.extend([
            Row::new("hottest cell", [shares(scripted.worst_cell_asr)], WORST),
            Row::new(format!("best of {}", scripted.tries), [shares(scripted.best_of_asr)], &tries),
        ]);
    }
    let (budget, seed) = (report.budget, report.seed);
    format!("run `{}`, fresh {learners} with {budget} times the budget, seed {seed}\n\n{}", report.run, aligned(&rows))
}

/// The table of `grts attack`.
pub fn of_attack(report: &AttackReport) -> String {
    let rows = [
        Row::head("ATTACKERS", ["attack success"]),
        Row::new("at home", [shares(report.at_home)], "against the untouched model of their own run"),
        Row::new("transferred", [shares(report.untouched)], "against the untouched model of the attacked run"),
        Row::new("hardened", [shares(report.hardened)], "against its final blue"),
        Row::new("  its own attackers", [shares(report.own)], "against that blue, for comparison"),
        Row::new("worst of them", [shares(report.worst.asr)], &format!("against that blue: `{}`", report.worst.id)),
    ];
    format!("attackers of `{}` against `{}`, seed {}\n\n{}", report.red, report.blue, report.seed, aligned(&rows))
}

/// Layers of the spinning top that `grts geometry` lists.
const LAYERS: usize = 12;

/// The table of `grts geometry`.
pub fn of_survey(survey: &Survey) -> String {
    let whole = |of: Option<Estimate>| of.map_or_else(too_many, |of| estimate(of, |x| grouped(x.round() as u64)));
    let mut rows = vec![
        Row::head("GAME", [""]),
        Row::new("transitive share", [shares(survey.transitive_share)], "what ratings explain; the rest goes round"),
        Row::new("strongest rotation", [shares(survey.first_rotation)], "its share of what goes round"),
        Row::new("3-cycles", [whole(survey.three_cycles)], "triples of agents that beat each other in a circle"),
        Row::new(
            "effective diversity",
            [survey.effective_diversity.map_or_else(too_many, shares)],
            "of the equilibrium",
        ),
        Row::new("α-rank's support", [whole(survey.alpha_rank_support)], "agents that evolution goes on playing"),
        Row::new("Elo's error", [shares(survey.elo_error)], "mean error of the chances that ratings predict"),
        Row::new("mElo's error", [shares(survey.melo_error)], "the same with one rotation more"),
        Row::new("red's hull", [shares(survey.red.area)], &dimensions("red", survey.red.dimension)),
        Row::new("blue's hull", [shares(survey.blue.area)], &dimensions("blue", survey.blue.dimension)),
        Row::head("", [""]),
        Row::head("SPINNING TOP", ["strength"]),
        Row::new("layers", [whole(survey.num_clusters)], "Nash clusters, the strongest first"),
    ];
    rows.extend(survey.clusters.iter().take(LAYERS).enumerate().map(|(at, layer)| {
        let note = format!("{} agents; mean performance against the other layers", grouped(layer.size as u64));
        Row::new(format!("  layer {}", at + 1), [format!("{:+.3}", layer.strength)], &note)
    }));
    let mut policies = vec![Row::head("", ["", ""]), Row::head("POLICIES", ["Elo", "α-rank mass"])];
    let sides = [("red", &survey.red_elo, &survey.red_alpha_rank), ("blue", &survey.blue_elo, &survey.blue_alpha_rank)];
    for (side, ratings, masses) in sides {
        policies.extend(ratings.iter().enumerate().map(|(at, rating)| {
            let mass = masses.get(at).map_or_else(too_many, |mass| shares(*mass));
            Row::new(format!("  {side} {at}"), [estimate(*rating, |x| format!("{x:.0}")), mass], "")
        }));
    }
    let size =
        format!("{} red by {} blue policies, {} agents", survey.rows, survey.cols, grouped(survey.agents as u64));
    let intervals = match survey.resamples {
        0 => "no intervals".to_owned(),
        draws => format!("bootstrap intervals of {draws} draws"),
    };
    format!("{size}; {intervals}\n\n{}{}", aligned(&rows), aligned(&policies))
}

fn too_many() -> String {
    "too many agents".to_owned()
}

fn dimensions(side: &str, dimension: usize) -> String {
    format!("area in the plane of {side}'s largest differences; {dimension} dimensions in all")
}

const GRID: &str = "held-out grid, mean over its cells";
const WORST: &str = "of that grid; chosen and measured apart";
const OPEN: &str = "plain questions answered";

/// Name, where it is, and what it is, of each measure of blue.
type Measure = (&'static str, fn(&BlueReport) -> Estimate, String);

fn measures(h_min: f64) -> [Measure; 6] {
    [
        ("attack success", |b| b.asr, "final attackers, whole dialogue".to_owned()),
        ("scripted attacks", |b| b.grid_asr, GRID.to_owned()),
        ("hottest cell", |b| b.worst_cell_asr, WORST.to_owned()),
        ("fresh attacker", |b| b.probe_asr, "trained against this blue; a lower bound".to_owned()),
        ("open facts told", |b| b.helpfulness, OPEN.to_owned()),
        ("look-alikes refused", |b| b.over_refusal, format!("honest requests; at most {:.3} allowed", 1.0 - h_min)),
    ]
}

fn header(summary: &Summary) -> String {
    let why = match summary.stop_reason {
        StopReason::Converged => "converged: neither side gains more than epsilon",
        StopReason::Budget => "stopped: the budget is used up",
        StopReason::Iterations => "stopped: all iterations are done",
        StopReason::Interrupted => "stopped on request",
    };
    let time = summary.seconds.round() as u64;
    format!(
        "run `{}`, {why}\n{} iterations, {} dialogues, {} tokens, {} min {:02} s",
        summary.run,
        summary.iterations,
        grouped(summary.dialogues),
        grouped(summary.tokens),
        time / 60,
        time % 60
    )
}

fn game(Outcome { summary, likely_regret }: &Outcome) -> Vec<Row<1>> {
    let probe = &summary.exploitability.probe;
    vec![
        Row::head("GAME", [""]),
        Row::new("value", [shares(summary.value)], "red's expected return between the final mixtures"),
        Row::new("v*", [plain(summary.reference_value)], "the exact value of the tabular twin"),
        Row::new("h_min", [plain(summary.h_min)], "share of look-alikes that blue must serve"),
        Row::new("red could gain", [signed(probe.red_gain)], "by a fresh attacker; a lower bound of exploitability"),
        Row::new("blue could gain", [signed(probe.blue_gain)], "by a fresh defender; a lower bound of exploitability"),
        Row::new(
            "inside the matrix",
            [shares(summary.exploitability.restricted)],
            "by policies of this run; 95 % certain, no evidence of safety",
        ),
        Row::new("  by bootstrap", [shares(*likely_regret)], "the same from all dialogues; likely, not guaranteed"),
    ]
}

fn red(summary: &Summary) -> Vec<Row<1>> {
    let red = &summary.red;
    let policies = format!("{}, {} with weight", red.population, red.support);
    vec![
        Row::head("RED", [""]),
        Row::new("policies", [policies], "in the population, in the final mixture"),
        Row::new("Vendi score", [estimate(red.vendi, |x| format!("{x:.2}"))], "effective number of different attacks"),
        Row::new("coverage", [shares(red.coverage)], "share of the first blue's leaking cells that red found"),
    ]
}

/// A line with `N` columns of values.
struct Row<const N: usize> {
    name: String,
    values: [String; N],
    note: String,
}

impl<const N: usize> Row<N> {
    fn new(name: impl Into<String>, values: [String; N], note: &str) -> Self {
        Self { name: name.into(), values, note: note.to_owned() }
    }

    fn head(name: &str, columns: [&str; N]) -> Self {
        Self::new(name, columns.map(str::to_owned), "")
    }
}

/// Least widths of the first two columns, the same for all blocks so that they line up. A signed estimate fits.
const NAME: usize = 20;
const VALUE: usize = 23;

fn aligned<const N: usize>(rows: &[Row<N>]) -> String {
    let widest = rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0).max(NAME);
    let line = |row: &Row<N>| {
        let values: String = row.values.iter().map(|value| format!("  {value:<VALUE$}")).collect();
        let line = format!("{:<widest$}{values}  {}", row.name, row.note);
        format!("{}\n", line.trim_end())
    };
    rows.iter().map(line).collect()
}

fn estimate(of: Estimate, number: impl Fn(f64) -> String) -> String {
    if of.n == 0 {
        return "not measured".to_owned();
    }
    format!("{} [{}, {}]", number(of.mean), number(of.low), number(of.high))
}

fn shares(of: Estimate) -> String {
    estimate(of, plain)
}

fn signed(of: Estimate) -> String {
    estimate(of, |x| format!("{x:+.3}"))
}

fn plain(x: f64) -> String {
    format!("{x:.3}")
}

/// Digits in groups of three.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let separate = |(i, digit): (usize, char)| {
        let comma = i > 0 && (digits.len() - i).is_multiple_of(3);
        comma.then_some(',').into_iter().chain([digit])
    };
    digits.chars().enumerate().flat_map(separate).collect()
}

#[cfg(test)]
mod tests;
