//! `grts eval`: measures the final blue of a finished run again, with dialogues that nothing was trained or chosen on.
//!
//! It writes nothing, so Ctrl-C ends it at once; the run stays locked while it lasts, since a resume could replace
//! the policies under it.

use crate::args::Eval;
use crate::progress::Progress;
use crate::{output, signals, table};
use grts::error::Error;
use grts::session::{self, EvaluationSettings};
use grts::store::RunDir;

/// Measures and prints.
pub fn run(arguments: &Eval) -> Result<(), Error> {
    let run = RunDir::open(&arguments.run)?;
    signals::exit_on_ctrl_c()?;
    let dialogues = usize::try_from(arguments.fresh.dialogues).unwrap_or(usize::MAX);
    let settings = EvaluationSettings {
        blue: arguments.blue.clone(),
        seed: arguments.fresh.seed,
        dialogues,
        device: arguments.common.device,
        quote: arguments.show_attacks,
    };
    let mut progress = Progress::on_stderr();
    let measured = session::evaluate(&run, &settings, &mut progress);
    progress.close();
    let evaluation = measured?;
    let hint = "send stdout where there is space and measure again";
    output::result(&evaluation, arguments.common.json, || table::of_evaluation(&evaluation), hint)
}
