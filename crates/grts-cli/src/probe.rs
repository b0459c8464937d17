//! `grts probe`: fresh attackers or defenders, who saw nothing of a run, against its final mixture.
//!
//! Each of them takes about as long as a response of the run, so progress is shown and Ctrl-C keeps what is trained.

use crate::args::Probe;
use crate::progress::Progress;
use crate::{output, signals, table};
use grts::error::Error;
use grts::session::{self, ProbeSettings};
use grts::store::RunDir;

/// Trains, measures and prints.
pub fn run(arguments: &Probe) -> Result<(), Error> {
    let run = RunDir::open(&arguments.run)?;
    let count = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let settings = ProbeSettings {
        against: arguments.against.into(),
        blue: arguments.blue.clone(),
        exploiters: count(arguments.seeds),
        budget: arguments.budget,
        seed: arguments.fresh.seed,
        dialogues: count(arguments.fresh.dialogues),
        device: arguments.common.device,
    };
    let again = format!("`grts probe {}` with the same options", arguments.run.display());
    let interrupt = signals::flag_on_ctrl_c(&again)?;
    let mut progress = Progress::on_stderr();
    let probed = session::probe(run, &settings, &interrupt, &mut progress);
    progress.close();
    let report = probed?;
    let hint = "send stdout where there is space and probe again: what is trained is kept";
    output::result(&report, arguments.common.json, || table::of_probe(&report), hint)
}
