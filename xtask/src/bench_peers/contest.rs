//! One row: rounds in which every contender has its turn, each in a fresh process.

use super::environment::{Environment, last_line};
use super::job::{Contender, Job, Peer};
use super::sample::{Report, Sample};
use anyhow::{Context as _, Result, bail};
use std::process::{Command, Stdio};

/// Runs `job` and adds its samples to `report`. A contender that fails once is out, with a line that says why.
pub fn run(job: &Job, environment: &Environment, quick: bool, report: &mut Report) -> Result<()> {
    let mut contenders = job.contenders.to_vec();
    for round in 0..report.rounds {
        let mut failed = Vec::new();
        for contender in &contenders {
            let who = format!("{} {} {}", job.name, contender.peer.name(), contender.precision);
            eprintln!("round {}/{}: {}", round + 1, report.rounds, who.trim_end());
            let command = command(job, *contender, environment, quick)?;
            match command.context("it could not be installed").and_then(|c| measure(c, report.threads)) {
                Ok(samples) => keep(samples, round, report),
                Err(error) => {
                    skip(&mut report.skipped, format!("{}: {error:#}", who.trim_end()));
                    failed.push(*contender);
                }
            }
        }
        contenders.retain(|c| !failed.contains(c));
    }
    Ok(())
}

fn keep(samples: Vec<Sample>, round: usize, report: &mut Report) {
    for sample in samples {
        match &sample.skipped {
            Some(reason) => skip(&mut report.skipped, format!("{} {}: {reason}", sample.row, sample.peer)),
            None => report.samples.push(Sample { round, ..sample }),
        }
    }
}

fn skip(skipped: &mut Vec<String>, line: String) {
    if !skipped.contains(&line) {
        eprintln!("skipped: {line}");
        skipped.push(line);
    }
}

/// The process that measures `contender`; `None` when it is not installed.
fn command(job: &Job, contender: Contender, environment: &Environment, quick: bool) -> Result<Option<Command>> {
    let Some(script) = contender.peer.script() else {
        let mut command = Command::new(std::env::current_exe().context("cannot find this program's own file")?);
        command.args(["bench-peers", "--worker", job.name]).args(quick.then_some("--quick"));
        return Ok(Some(command));
    };
    if contender.peer == Peer::LlamaCpp && !environment.llama_cpp {
        return Ok(None);
    }
    Ok(environment.script(script).map(|mut command| {
        let batches = job.batches.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        command.arg("--model").arg(environment.models.join(job.model));
        command.args(["--row", job.name, "--batches", &batches, "--precision", contender.precision]);
        for (name, value) in [("--prompt", job.prompt), ("--new", job.new), ("--steps", job.steps)] {
            command.arg(name).arg(value.to_string());
        }
        command
    }))
}

/// Runs `command` with `threads` threads and reads its lines.
fn measure(mut command: Command, threads: usize) -> Result<Vec<Sample>> {
    for variable in ["RAYON_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"] {
        command.env(variable, threads.to_string());
    }
    command
        .env("HF_HUB_OFFLINE", "1")
        .env("TOKENIZERS_PARALLELISM", "false")
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null());
    let output = command.output().context("cannot start it")?;
    if !output.status.success() {
        bail!("{}", last_line(&output.stderr).unwrap_or_else(|| output.status.to_string()));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().filter(|l| l.starts_with('{'));
    lines.map(|l| serde_json::from_str(l).with_context(|| format!("not a sample: {l}"))).collect()
}
