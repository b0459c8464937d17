//! From samples to ratios, and from ratios to a page: a pure function of the report.
//!
//! A ratio is taken between two processes of the same round; its median over rounds is the result, and its extremes
//! stand beside it. Above 1 grts is better: faster, or smaller where the column says memory.

use super::sample::{Report, Sample, median, processor};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// grts beside one way of doing the same.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    pub row: String,
    pub b: usize,
    /// grts' median, in `unit`.
    pub grts: f64,
    pub grts_precision: String,
    /// Peer, precision, variant.
    pub other: String,
    /// Its median, in `unit`.
    pub figure: f64,
    pub unit: &'static str,
    /// Median, least and largest ratio over the rounds.
    pub ratio: [f64; 3],
    /// The same for peaks of memory, where both are known.
    pub memory: Option<[f64; 3]>,
    /// Of the peer's variants, this is the one to beat.
    pub best: bool,
    /// Rounds in which both began with the same tokens; absent where tokens are not compared.
    pub agreed: Option<[usize; 2]>,
    /// Where vectors are compared: the least cosine over all texts and rounds.
    pub least_cosine: Option<f64>,
    /// grts' share of what the machine can do at most.
    pub share: Option<f64>,
}

/// Who said it, apart from the round.
type Key = (String, usize, String, String, String);

fn key(s: &Sample) -> Key {
    (s.row.clone(), s.b, s.peer.clone(), s.precision.clone(), s.variant.clone())
}

/// One line for each batch size and each variant of each peer.
pub fn lines(report: &Report) -> Vec<Line> {
    let mut seen = BTreeSet::new();
    let mut out: Vec<Line> = Vec::new();
    for other in &report.samples {
        let Some(subject) = report.samples.iter().find(|s| s.peer == "grts" && s.row == other.row && s.b == other.b)
        else {
            continue;
        };
        if key(subject) != key(other) && seen.insert(key(other)) {
            out.extend(line(report, subject, other));
        }
    }
    mark_best(&mut out);
    let order = |row: &str| report.samples.iter().position(|s| s.row == row);
    out.sort_by_key(|l| (order(&l.row), l.b));
    out
}

fn line(report: &Report, subject: &Sample, other: &Sample) -> Option<Line> {
    let all = |of: &Sample| report.samples.iter().filter(|s| key(s) == key(of)).collect::<Vec<_>>();
    let (ours, theirs) = (all(subject), all(other));
    let pairs: Vec<(&Sample, &Sample)> =
        ours.iter().filter_map(|o| theirs.iter().find(|t| t.round == o.round).map(|t| (*o, *t))).collect();
    let speed = spread(pairs.iter().filter_map(|(o, t)| Some(o.speed()? / t.speed()?)));
    let memory = spread(pairs.iter().filter_map(|(o, t)| Some(t.peak_bytes? as f64 / o.peak_bytes? as f64)));
    let (unit, figure) = figure_of(subject);
    let said = pairs.iter().filter(|(o, t)| !o.said.is_empty() && !t.said.is_empty());
    let agreed = said.clone().filter(|(o, t)| o.said == t.said).count();
    let medians = |samples: &[&Sample]| median(&samples.iter().filter_map(|s| figure(s)).collect::<Vec<_>>());
    let grts = medians(&ours)?;
    let roof = report.limits.zip(subject.weights).and_then(|(l, w)| l.decode(w as f64, &subject.precision, subject.b));
    Some(Line {
        row: other.row.clone(),
        b: other.b,
        grts,
        grts_precision: subject.precision.clone(),
        other: [&other.peer, &other.precision, &other.variant].map(String::as_str).join(" ").trim().to_owned(),
        figure: medians(&theirs)?,
        unit,
        ratio: speed.or(memory)?,
        memory,
        best: false,
        agreed: (said.clone().count() > 0).then(|| [agreed, said.count()]),
        least_cosine: theirs.iter().filter_map(|t| t.least_cosine).reduce(f64::min),
        share: roof.map(|roof| grts / roof),
    })
}

/// Median, least, largest.
fn spread(values: impl Iterator<Item = f64>) -> Option<[f64; 3]> {
    let values: Vec<f64> = values.collect();
    let (least, largest) = values.iter().fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
    Some([median(&values)?, least, largest])
}

type Figure = fn(&Sample) -> Option<f64>;

fn figure_of(sample: &Sample) -> (&'static str, Figure) {
    match sample {
        Sample { tokens_per_s: Some(_), .. } => ("tokens/s", |s| s.tokens_per_s),
        Sample { seconds: Some(_), .. } => ("s", |s| s.seconds),
        _ => ("MB", |s| s.peak_bytes.map(|b| b as f64 / 1e6)),
    }
}

/// Marks the line with the smallest ratio among those of one row, batch and family: torch and transformers are one.
fn mark_best(lines: &mut [Line]) {
    let family = |l: &Line| {
        let mut words = l.other.split(' ');
        let (peer, precision) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let peer = if peer == "transformers" { "torch" } else { peer };
        let own = if peer == "grts" { l.other.as_str() } else { precision };
        format!("{} {} {peer} {own}", l.row, l.b)
    };
    let keys: Vec<String> = lines.iter().map(family).collect();
    for i in 0..lines.len() {
        lines[i].best = (0..lines.len()).all(|j| keys[i] != keys[j] || lines[i].ratio[0] <= lines[j].ratio[0]);
    }
}

/// The page: the best of each peer in the table, everything else in the JSON.
pub fn markdown(report: &Report) -> String {
    let mut out = format!(
        "{}, {} threads, median of {} interleaved rounds [least, largest]. Above 1 grts is better.\n\n\
         | row | B | grts | share of limit | best of the other | | ratio | memory ratio | same tokens |\n\
         |---|---|---|---|---|---|---|---|---|\n",
        processor().unwrap_or_else(|| "unnamed processor".into()),
        report.threads,
        report.rounds
    );
    for l in lines(report).iter().filter(|l| l.best) {
        let memory = if l.unit == "MB" { None } else { l.memory };
        let share = l.share.map_or("–".to_owned(), |share| format!("{:.0} %", 100.0 * share));
        let cosine = || l.least_cosine.map_or("–".to_owned(), |cosine| format!("cosine ≥ {cosine:.7}"));
        let agreed = l.agreed.map_or_else(cosine, |[same, all]| format!("{same} of {all}"));
        let _ = writeln!(
            out,
            "| {} | {} | {} {} {} | {share} | {} {} | {} | {} | {} | {agreed} |",
            l.row,
            l.b,
            number(l.grts),
            l.unit,
            l.grts_precision,
            number(l.figure),
            l.unit,
            l.other,
            ratio(Some(l.ratio)),
            ratio(memory)
        );
    }
    for line in &report.skipped {
        let _ = write!(out, "\nskipped: {line}\n");
    }
    out
}

fn number(x: f64) -> String {
    if x < 100.0 { format!("{x:.2}") } else { format!("{x:.0}") }
}

fn ratio(spread: Option<[f64; 3]>) -> String {
    spread.map_or("–".to_owned(), |[mid, low, high]| format!("**{mid:.2}** [{low:.2}, {high:.2}]"))
}
