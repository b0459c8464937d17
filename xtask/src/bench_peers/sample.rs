//! One measurement, all of them, and the file they are kept in.

use super::limits::Limits;
use super::table;
use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::Path;

/// What a contender prints as one line of JSON.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Sample {
    pub peer: String,
    pub row: String,
    /// Which way of doing it: a peer may print several, and the best counts.
    #[serde(default)]
    pub variant: String,
    #[serde(default)]
    pub precision: String,
    /// Rows of the batch.
    #[serde(default)]
    pub b: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_s: Option<f64>,
    /// Of one step, or of the whole piece of work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_bytes: Option<u64>,
    /// First tokens that row 0 said: the same from all who compute the same function.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub said: Vec<u32>,
    /// Least cosine between a vector of this peer and grts' of the same text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least_cosine: Option<f64>,
    /// How the peer says it was built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<String>,
    /// Weights of the model, for the roof of a decoding rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<usize>,
    /// Why there is no figure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
    /// Counted from 0; filled in by the parent.
    #[serde(default)]
    pub round: usize,
}

impl Sample {
    /// Work in a second: more is better.
    pub fn speed(&self) -> Option<f64> {
        self.tokens_per_s.or(self.seconds.map(|s| 1.0 / s))
    }
}

/// All samples of a run with what belongs to them.
#[derive(Debug)]
pub struct Report {
    pub rounds: usize,
    pub threads: usize,
    pub limits: Option<Limits>,
    pub samples: Vec<Sample>,
    /// Lines that say what was not measured, and why.
    pub skipped: Vec<String>,
}

impl Report {
    pub fn new(rounds: usize, threads: usize) -> Self {
        Self { rounds, threads, limits: None, samples: Vec::new(), skipped: Vec::new() }
    }

    /// Writes samples, ratios and skips; called after every row, so that an interrupted run keeps what it has.
    pub fn save(&self, path: &Path) -> Result<()> {
        let json = json!({
            "processor": processor(),
            "threads": self.threads,
            "rounds": self.rounds,
            "limits": self.limits,
            "ratios": table::lines(self),
            "skipped": self.skipped,
            "samples": self.samples,
        });
        std::fs::write(path, format!("{json:#}\n")).with_context(|| format!("cannot write `{}`", path.display()))
    }
}

/// The processor's name where Linux tells it.
pub fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|l| l.starts_with("model name"))?;
    Some(line.split(':').nth(1)?.trim().to_owned())
}

/// A field of Linux's `/proc/self/status` in bytes: `VmRSS` (resident now), `VmHWM` (its peak).
pub fn own_memory(field: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix(field)?.strip_prefix(':'))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// Middle value; the mean of the two middle ones for an even count. `None` for no values.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (sorted.len().checked_sub(1)? / 2, sorted.len() / 2);
    Some((sorted[low] + sorted[high]) / 2.0)
}
