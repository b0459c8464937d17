//! The tables of `grts compare`: a line a method, means over seeds. A heading has the width of an estimate; what it stands for is
//! in the README.

use super::{Row, aligned, estimate, grouped, plain, shares};
use grts::comparison::{Averages, Comparison, CrossPlay, mean_success, met};
use grts_game::Estimate;
use std::path::Path;

/// A figure of a method.
type Column = (&'static str, fn(&Averages) -> String);

const BLOCKS: [(&str, [Column; 4]); 4] = [
    (
        "FINAL BLUE",
        [
            ("strongest attacker", |of| shares(of.strongest_probe)),
            ("worst of all reds", |of| maybe(of.worst_red)),
            ("hottest cell", |of| shares(of.worst_cell)),
            ("best of 16", |of| shares(of.best_of_asr)),
        ],
    ),
    (
        "",
        [
            ("scripted attacks", |of| shares(of.grid)),
            ("free leaks left", |of| shares(of.leaks_left)),
            ("open facts told", |of| shares(of.open_facts)),
            ("look-alikes served", |of| shares(of.look_alikes_served)),
        ],
    ),
    (
        "RED, UNTOUCHED BLUE",
        [
            ("attack success", |of| shares(of.red_asr)),
            ("Vendi score", |of| estimate(of.vendi, |x| format!("{x:.2}"))),
            ("Self-BLEU 4", |of| shares(of.self_bleu)),
            ("leaking cells found", |of| shares(of.coverage)),
        ],
    ),
    (
        "BUDGET",
        [
            ("tokens", |of| grouped(of.tokens.mean.round() as u64)),
            ("attacker at half", |of| maybe(of.strongest_probe_at_half)),
            ("red's fluency", |of| estimate(of.fluency, |x| format!("{x:.2}"))),
            ("seeds", |of| of.seeds.to_string()),
        ],
    ),
];

/// All tables of a comparison in `directory`.
pub fn of_comparison(comparison: &Comparison, directory: &Path) -> String {
    let several = comparison.methods.iter().any(|of| of.h_min != comparison.methods[0].h_min);
    let name = |of: &Averages| {
        if several { format!("{} h{}", of.method.name(), of.h_min) } else { of.method.name().to_owned() }
    };
    let blocks = BLOCKS.iter().map(|(title, columns)| {
        let mut rows = vec![Row::head(title, columns.map(|(name, _)| name))];
        rows.extend(comparison.methods.iter().map(|of| Row::new(name(of), columns.map(|(_, value)| value(of)), "")));
        aligned(&rows)
    });
    let blocks: Vec<String> = blocks.collect();
    let mut targets: Vec<String> =
        comparison.methods.iter().map(|of| format!("v* is {:.3} at h_min {}", of.reference_value, of.h_min)).collect();
    targets.dedup();
    format!(
        "{}; lower is better for blue\n\n{}\n{}\nruns and tables  {}\n",
        targets.join(", "),
        blocks.join("\n"),
        crossed(&comparison.cross_play),
        directory.display()
    )
}

fn maybe(of: Option<Estimate>) -> String {
    of.map_or_else(|| "not measured".to_owned(), shares)
}

/// Mean ASR of each method's worst attacker (lines) against each method's blue (columns).
fn crossed(pairs: &[CrossPlay]) -> String {
    const WIDTH: usize = 7;
    let arms = met(pairs);
    let line = |name: &str, values: Vec<String>| {
        let values: String = values.into_iter().map(|value| format!("{value:>WIDTH$}")).collect();
        format!("{name:<28}{values}\n")
    };
    let numbered = (1..=arms.len()).map(|n| format!("blue {n}")).collect();
    let mut text = line("CROSS-PLAY, WORST RED", numbered);
    for (n, &red) in (1..).zip(&arms) {
        text += &line(
            &format!("{n} {}", red.name()),
            arms.iter().map(|&blue| plain(mean_success(pairs, red, blue))).collect(),
        );
    }
    text
}
