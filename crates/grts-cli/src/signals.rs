//! Ctrl-C and file-size limits: two signals whose default is to kill, here a saved run and an error.
//!
//! A run that is killed loses nothing but the unit in flight, so the point of catching Ctrl-C is the sentence that says
//! how to go on. SIGTERM and SIGHUP keep their meaning: whoever sends them wants the process gone, `nohup` relies on
//! the second being ignored, and the store survives both.

use grts::error::Error;
use std::io::Write;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Exit code after Ctrl-C: 128 + SIGINT, as shells report it.
pub const INTERRUPTED: u8 = 130;

/// A flag that the first Ctrl-C sets; the second ends the process at once. `again` is what goes on with the work.
pub fn flag_on_ctrl_c(again: &str) -> Result<Arc<AtomicBool>, Error> {
    let flag = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&flag);
    let sentence = format!("stopping at the next step; Ctrl-C again stops at once, and {again} goes on either way");
    on_ctrl_c(move || {
        if seen.swap(true, Ordering::Relaxed) {
            process::exit(INTERRUPTED.into());
        }
        say(&sentence);
    })?;
    Ok(flag)
}

/// Ends the process on the first Ctrl-C: for commands that write nothing.
pub fn exit_on_ctrl_c() -> Result<(), Error> {
    on_ctrl_c(|| {
        say("error: interrupted; nothing was written");
        process::exit(INTERRUPTED.into());
    })
}

fn on_ctrl_c(act: impl FnMut() + Send + 'static) -> Result<(), Error> {
    ctrlc::set_handler(act).map_err(|error| Error::Failed {
        problem: format!("cannot listen for Ctrl-C: {error}"),
        hint: "start `grts` from a shell that does not forbid signal handlers".to_owned(),
    })
}

/// On a line of its own, because a terminal has just echoed `^C` and may show a bar.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "\n{line}");
}

/// Blocks SIGXFSZ in this thread and all that it will start: a write past the limit then fails with EFBIG, which the
/// library reports as a full disk. Blocking does what ignoring would and needs no `unsafe`.
#[cfg(unix)]
pub fn turn_file_limits_into_errors() {
    use nix::sys::signal::{SigSet, Signal};
    let mut set = SigSet::empty();
    set.add(Signal::SIGXFSZ);
    // It cannot fail for a valid set; if it did, the default action would remain.
    let _ = set.thread_block();
}

/// Other systems have no such signal.
#[cfg(not(unix))]
pub fn turn_file_limits_into_errors() {}
