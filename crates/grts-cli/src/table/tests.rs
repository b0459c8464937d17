//! The tables as whole texts, because alignment is what can break.

use super::{grouped, of_evaluation, of_outcome};
use grts::semantic::{DiversityReport, Vendi};
use grts::session::{CellReport, Diversity, Evaluation, Strategy};
use grts::summary::{Blue, BlueReport, Exploitability, Outcome, ProbeGains, Red, Summary};
use grts_game::Estimate;
use grts_game::solver::StopReason;
use std::path::Path;

fn at(mean: f64) -> Estimate {
    Estimate { mean, low: mean - 0.05, high: mean + 0.05, n: 100 }
}

fn blue(asr: f64) -> BlueReport {
    BlueReport {
        asr: at(asr),
        asr_by_turn: vec![at(asr - 0.1), at(asr)],
        grid_asr: at(asr),
        worst_cell_asr: at(asr),
        probe_asr: at(asr),
        helpfulness: at(0.9),
        over_refusal: at(0.75),
    }
}

fn summary() -> Summary {
    Summary {
        run: "meridian-1a2b3c4d".to_owned(),
        stop_reason: StopReason::Iterations,
        iterations: 8,
        dialogues: 123_456,
        tokens: 7_654_321,
        seconds: 602.6,
        value: at(0.2),
        reference_value: 0.15,
        h_min: 0.15,
        exploitability: Exploitability {
            restricted: Estimate { low: 0.0, ..at(0.0) },
            probe: ProbeGains { red_gain: at(0.02), blue_gain: Estimate { n: 0, ..at(0.0) } },
        },
        blue: Blue { initial: blue(0.8), r#final: blue(0.25) },
        red: Red { population: 9, support: 4, vendi: at(12.0), coverage: at(0.5) },
    }
}

#[test]
fn the_final_table() {
    let expected = "\
run `meridian-1a2b3c4d`, stopped: all iterations are done
8 iterations, 123,456 dialogues, 7,654,321 tokens, 10 min 03 s

BLUE                  before                   after
attack success        0.800 [0.750, 0.850]     0.250 [0.200, 0.300]     final attackers, whole dialogue
  by turn 1           0.700 [0.650, 0.750]     0.150 [0.100, 0.200]
  by turn 2           0.800 [0.750, 0.850]     0.250 [0.200, 0.300]
scripted attacks      0.800 [0.750, 0.850]     0.250 [0.200, 0.300]     held-out grid, mean over its cells
hottest cell          0.800 [0.750, 0.850]     0.250 [0.200, 0.300]     of that grid; chosen and measured apart
fresh attacker        0.800 [0.750, 0.850]     0.250 [0.200, 0.300]     trained against this blue; a lower bound
open facts told       0.900 [0.850, 0.950]     0.900 [0.850, 0.950]     plain questions answered
look-alikes refused   0.750 [0.700, 0.800]     0.750 [0.700, 0.800]     honest requests; at most 0.850 allowed

GAME
value                 0.200 [0.150, 0.250]     red's expected return between the final mixtures
v*                    0.150                    the exact value of the tabular twin
h_min                 0.150                    share of look-alikes that blue must serve
red could gain        +0.020 [-0.030, +0.070]  by a fresh attacker; a lower bound of exploitability
blue could gain       not measured             by a fresh defender; a lower bound of exploitability
inside the matrix     0.000 [0.000, 0.050]     by policies of this run; 95 % certain, no evidence of safety
  by bootstrap        0.030 [0.010, 0.040]     the same from all dialogues; likely, not guaranteed

RED
policies              9, 4 with weight         in the population, in the final mixture
Vendi score           12.00 [11.95, 12.05]     effective number of different attacks
coverage              0.500 [0.450, 0.550]     share of the first blue's leaking cells that red found

run directory  runs/meridian-1a2b3c4d
next           grts eval runs/meridian-1a2b3c4d
";
    let likely_regret = Estimate { mean: 0.03, low: 0.01, high: 0.04, n: 100 };
    let outcome = Outcome { summary: summary(), likely_regret };
    assert_eq!(of_outcome(&outcome, Path::new("runs/meridian-1a2b3c4d")), expected);
}

#[test]
fn the_table_of_an_evaluation_lists_the_hottest_cells_first() {
    let cell = |name: &str, chain, asr| CellReport { cell: name.to_owned(), chain, asr: at(asr) };
    let mut cells: Vec<_> = (0..20).map(|i| cell("cold/direct", false, 0.01 * f64::from(i))).collect();
    cells.push(cell("parks/distractor", true, 0.6));
    let evaluation = Evaluation {
        blue: None,
        run: "meridian-1a2b3c4d".to_owned(),
        seed: 5,
        asr: at(0.2),
        asr_by_turn: vec![at(0.1), at(0.2)],
        grid_asr: at(0.1),
        worst_cell_asr: at(0.55),
        helpfulness: at(0.9),
        over_refusal: at(0.7),
        cells,
        diversity: Diversity {
            measures: DiversityReport {
                vendi: Vendi { order_1: at(9.0), order_2: at(7.0), order_infinity: at(3.0) },
                expected_cardinality: at(12.0),
                mean_cosine: at(0.1),
                self_bleu: vec![at(0.8), at(0.7), at(0.6), at(0.5)],
                distinct_2: at(0.2),
                coverage: at(0.3),
            },
            strategies: vec![Strategy {
                name: "parks/distractor".to_owned(),
                share: at(0.4),
                asr: at(0.2),
                attack: Some("quoted".to_owned()),
            }],
            unclustered: at(0.1),
        },
    };
    let text = of_evaluation(&evaluation);
    assert!(text.starts_with("run `meridian-1a2b3c4d`, final blue, seed 5\n\nBLUE                  measured again\n"));
    let diversity = "
DIVERSITY             of the final attacks
Vendi score           9.00 [8.95, 9.05]        effective number of different attacks
  order 2             7.00 [6.95, 7.05]        the same, rare ones counting less
  order infinity      3.00 [2.95, 3.05]        by the most common kind alone
expected cardinality  12.00 [11.95, 12.05]     of a determinantal sample
mean cosine           0.100 [0.050, 0.150]     between two attacks
distinct word pairs   0.200 [0.150, 0.250]     of all word pairs
coverage              0.300 [0.250, 0.350]     share of the cells asked in
Self-BLEU 2           0.800 [0.750, 0.850]     words repeated from other attacks, up to 2 in a row
Self-BLEU 3           0.700 [0.650, 0.750]     words repeated from other attacks, up to 3 in a row
Self-BLEU 4           0.600 [0.550, 0.650]     words repeated from other attacks, up to 4 in a row
Self-BLEU 5           0.500 [0.450, 0.550]     words repeated from other attacks, up to 5 in a row

STRATEGIES            share of attacks
parks/distractor      0.400 [0.350, 0.450]     succeeds 0.200 [0.150, 0.250]: quoted
in no cluster         0.100 [0.050, 0.150]
";
    assert!(text.contains(diversity), "{text}");
    let (_, hottest) = text.split_once("HOTTEST CELLS         attack success\n").unwrap();
    let lines: Vec<&str> = hottest.lines().collect();
    assert_eq!(lines.len(), 10);
    assert_eq!(lines[0], "parks/distractor      0.600 [0.550, 0.650]     after a set-up turn");
    assert_eq!(lines[1], "cold/direct           0.190 [0.140, 0.240]");
}

#[test]
fn digits_are_grouped_from_the_right() {
    assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
}
