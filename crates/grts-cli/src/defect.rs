//! The last net: a panic is our defect, and a user gets a sentence about it and not a stack.
//!
//! No path that a user can reach should panic, so nothing is handled here, only told. The hook speaks where it happens,
//! on whichever thread; the exit code is made where the thread's panic arrives, so that the lock of a run is released
//! on the way.

use std::io::Write;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};

/// Exit code of a defect.
const FAILED: u8 = 1;

/// Replaces the standard panic message.
pub fn install() {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        let _ = std::io::stderr().write_all(message(payload(info), &place).as_bytes());
    }));
}

/// The exit code of `command`, or that of a defect if it panics.
pub fn contain(command: impl FnOnce() -> u8) -> u8 {
    // What the command borrowed is not looked at again.
    panic::catch_unwind(AssertUnwindSafe(command)).unwrap_or(FAILED)
}

fn payload<'a>(info: &'a PanicHookInfo<'_>) -> &'a str {
    info.payload_as_str().unwrap_or("a panic without a message")
}

fn message(what: &str, place: &str) -> String {
    let (version, system, machine) = (env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH);
    format!(
        "error: grts met a defect: {what} (at {place})\n\
         hint: report this line with the command, `grts {version}` on {system} {machine}, and the run's `run.toml`; \
         what the run had committed is saved\n"
    )
}

#[cfg(test)]
mod tests {
    use super::{contain, message};

    #[test]
    fn a_panic_becomes_exit_code_1() {
        assert_eq!(contain(|| 3), 3);
        assert_eq!(contain(|| std::panic::resume_unwind(Box::new("quietly"))), 1);
    }

    #[test]
    fn the_message_says_what_to_report() {
        let text = message("index out of bounds", "src/table.rs:3:9");
        let (error, hint) = text.split_once('\n').unwrap();
        assert_eq!(error, "error: grts met a defect: index out of bounds (at src/table.rs:3:9)");
        assert!(hint.starts_with("hint: report this line with the command, `grts 0."), "{hint}");
        assert!(hint.ends_with("saved\n"));
    }
}
