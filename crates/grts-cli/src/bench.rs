//! `grts bench`: how fast a model decodes, reads and learns on this machine, beside what the machine can do.

use crate::args::Bench;
use crate::{output, signals, table};
use grts::bench::{self, Machine, Rate, Report, Settings, Turn};
use grts::error::Error;
use grts::models::{self, Dtype};

/// Loads, measures, prints.
pub fn run(arguments: &Bench) -> Result<(), Error> {
    signals::exit_on_ctrl_c()?;
    let (adapter, dtype) = (arguments.adapter.as_deref(), Dtype::from(arguments.dtype));
    let speaker = models::load(&arguments.model, adapter, (dtype, arguments.common.device), &mut output::say)?;
    let settings = Settings {
        batches: arguments.batch.iter().map(|batch| *batch as usize).collect(),
        prompt_tokens: arguments.prompt_tokens as usize,
        new_tokens: arguments.new_tokens as usize,
        dtype,
        device: arguments.common.device,
    };
    let report = bench::run(&speaker, &settings, &mut output::say)?;
    let hint = "send stdout where there is space and measure again";
    output::result(&report, arguments.common.json, || text(&report), hint)
}

fn text(report: &Report) -> String {
    let limits = report.machine.as_ref().map_or_else(|| format!("on `{}`", report.device), machine);
    let mut lines = vec![header(report), limits, String::new()];
    lines.push(row("", ["tokens/s", "of FLOP/s", "of memory"], ""));
    for decode in &report.decode {
        let cells = [rate(decode.tokens_per_second), share(decode.flops_share), share(decode.bandwidth_share)];
        lines.push(row(&format!("decode, batch {}", decode.batch), cells.each_ref().map(String::as_str), ""));
    }
    lines.push(whole("prefill", &report.prefill, "8 prompts together"));
    lines.push(whole("LoRA step", &report.train, "8 sequences, forward and back"));
    lines.push(String::new());
    if let Some(bytes) = report.peak_memory {
        lines.push(format!("peak memory   {:.0} MiB", bytes as f64 / f64::from(1 << 20)));
    }
    lines.push(format!("dialogue      {}", dialogue(&report.dialogue)));
    lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn header(report: &Report) -> String {
    let weights = table::grouped(report.parameters as u64);
    let dtype = format!("{:?}", report.dtype).to_lowercase();
    let (prompt, new) = (report.prompt_tokens, report.new_tokens);
    format!("`{}`: {weights} weights in {dtype}; prompts of {prompt} tokens, {new} new ones", report.model)
}

fn machine(machine: &Machine) -> String {
    let Machine { threads, bandwidth, flops } = machine;
    let (memory, products) = (bandwidth / 1e9, flops / 1e9);
    format!("this machine: {threads} threads, {memory:.1} GB/s from memory, {products:.0} GFLOP/s in cache")
}

fn whole(name: &str, of: &Rate, note: &str) -> String {
    row(name, [&rate(of.tokens_per_second), &share(of.flops_share), ""], note)
}

fn row(name: &str, [first, second, third]: [&str; 3], note: &str) -> String {
    format!("{name:<20}{first:>12}{second:>12}{third:>12}  {note}")
}

fn rate(tokens: f64) -> String {
    table::grouped(tokens.round() as u64)
}

fn share(of: Option<f64>) -> String {
    of.map_or_else(String::new, |of| format!("{of:.2}"))
}

fn dialogue(turns: &[Turn]) -> String {
    let turn = |(i, turn): (usize, &Turn)| format!("turn {}: {} tokens, {} read", i + 1, turn.tokens, turn.read);
    turns.iter().enumerate().map(turn).collect::<Vec<_>>().join("; ")
}
