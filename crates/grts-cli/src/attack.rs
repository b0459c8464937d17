//! `grts attack`: the attackers of one finished run against the blue of another.
//!
//! It writes nothing, so Ctrl-C ends it at once; both runs stay locked while it lasts.

use crate::args::Attack;
use crate::progress::Progress;
use crate::{output, signals, table};
use grts::error::Error;
use grts::session::{self, AttackSettings};
use grts::store::RunDir;

/// Plays and prints.
pub fn run(arguments: &Attack) -> Result<(), Error> {
    let red = RunDir::open(&arguments.run)?;
    if arguments.run.canonicalize().ok() == arguments.against.canonicalize().ok() {
        return Err(Error::Run {
            path: arguments.run.clone(),
            problem: "would attack itself".to_owned(),
            hint: format!("`grts eval {}` measures a run's own attackers", arguments.run.display()),
        });
    }
    let blue = RunDir::open(&arguments.against)?;
    signals::exit_on_ctrl_c()?;
    let dialogues = usize::try_from(arguments.fresh.dialogues).unwrap_or(usize::MAX);
    let settings = AttackSettings { seed: arguments.fresh.seed, dialogues, device: arguments.common.device };
    let mut progress = Progress::on_stderr();
    let attacked = session::attack(&red, &blue, &settings, &mut progress);
    progress.close();
    let report = attacked?;
    let hint = "send stdout where there is space and attack again";
    output::result(&report, arguments.common.json, || table::of_attack(&report), hint)
}
