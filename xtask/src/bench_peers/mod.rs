//! Measures `grts-lm` beside PyTorch, transformers with peft, and llama.cpp, in one run on one machine.
//!
//! Every measurement is a process of its own, grts' included: memory peaks are then comparable, no library warms another's
//! caches, and one that crashes is a line instead of the end. Contenders alternate round by round, so that whatever else
//! the machine does meets all of them; ratios are taken inside a round, and the table shows their median. The price
//! is that each process loads its model again. What cannot be measured is skipped with its reason, never estimated.

mod contest;
pub mod environment;
mod grts_rows;
mod job;
mod limits;
mod models;
pub mod sample;
mod table;

use anyhow::{Context as _, Result};
use clap::Args;
use environment::Environment;
use job::{Job, Row};
use std::path::{Path, PathBuf};

/// Everything that this command makes lies here, below the workspace's root.
const HOME: &str = "target/peers";

#[derive(Args)]
pub struct Settings {
    /// Rows to measure, separated by commas; all of them when absent.
    #[arg(long, value_enum, value_delimiter = ',')]
    rows: Vec<Row>,
    /// Rounds in which the contenders alternate; 5, or 2 with `--quick`.
    #[arg(long)]
    rounds: Option<usize>,
    /// Fewer batch sizes and tokens: shows that everything works, and little more.
    #[arg(long)]
    quick: bool,
    /// Threads of every contender.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Where every sample and every ratio is written as JSON.
    #[arg(long, default_value = "target/peers/results.json")]
    out: PathBuf,
    /// Measure one row of grts in this process and print its samples.
    #[arg(long, hide = true)]
    worker: Option<String>,
}

pub fn run(settings: &Settings) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")?;
    let home = root.join(HOME);
    if let Some(row) = &settings.worker {
        return grts_rows::run(&Job::named(row, settings.quick)?, &models::directory(&home));
    }
    let jobs = Job::all(&settings.rows, settings.quick);
    let mut report =
        sample::Report::new(settings.rounds.unwrap_or(if settings.quick { 2 } else { 5 }), settings.threads);
    std::fs::create_dir_all(&home).with_context(|| format!("cannot create `{}`", home.display()))?;
    let environment = Environment::prepare(root, &home, &jobs, &mut report.skipped);
    models::prepare(&home, &environment, &jobs, &mut report.skipped)?;
    if jobs.iter().any(|job| job.row == Row::Embedder) {
        models::export_encoder(&environment, &models::directory(&home).join("minilm"))?;
    }
    report.limits = Some(limits::Limits::measure());
    for job in &jobs {
        contest::run(job, &environment, settings.quick, &mut report)?;
        report.save(&settings.out)?;
    }
    print!("{}", table::markdown(&report));
    Ok(())
}
