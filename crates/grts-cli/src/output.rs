//! The two streams: stdout carries the result and nothing else, stderr everything that is said about it.
//!
//! A reader that closes stdout early (`| head`) has what it wanted, so that is no error; stdout that cannot take the
//! result is one. What cannot be said on stderr is not said: there is nobody left to tell.

use crate::signals::INTERRUPTED;
use grts::error::{Error, ErrorKind};
use serde::Serialize;
use std::io::{self, Write};

/// Prints the result: `value` as one JSON object where `json` asks for it, else the text.
///
/// `hint` is the way out if stdout cannot take it.
pub fn result<T: Serialize>(value: &T, json: bool, text: impl FnOnce() -> String, hint: &str) -> Result<(), Error> {
    let text = if json { as_json(value)? } else { text() };
    taken(write(&mut io::stdout().lock(), &text), hint)
}

/// Prints a part of a result that is still growing.
pub fn piece(text: &str) -> io::Result<()> {
    write(&mut io::stdout().lock(), text)
}

/// What a write to stdout means.
pub fn taken(written: io::Result<()>, hint: &str) -> Result<(), Error> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::Failed { problem: format!("cannot write to stdout: {error}"), hint: hint.to_owned() })
        }
        _ => Ok(()),
    }
}

/// One line of talk on stderr.
pub fn say(line: &str) {
    let _ = write(&mut io::stderr().lock(), &format!("{line}\n"));
}

/// In the same spelling as the files of a run, so that `summary.json` and stdout are the same bytes.
fn as_json<T: Serialize>(value: &T) -> Result<String, Error> {
    let value = serde_json::to_value(value).map_err(|error| Error::Failed {
        problem: format!("the result cannot be written as JSON: {error}"),
        hint: "report this with the run's `run.toml`".to_owned(),
    })?;
    Ok(format!("{value:#}\n"))
}

fn write(to: &mut impl Write, text: &str) -> io::Result<()> {
    to.write_all(text.as_bytes())?;
    to.flush()
}

/// Says an error and the way out on stderr.
pub fn tell(error: &Error) {
    let _ = write(&mut io::stderr().lock(), &in_words(&error.to_string(), &error.hint()));
}

fn in_words(message: &str, hint: &str) -> String {
    let hint = if hint.is_empty() { String::new() } else { format!("hint: {hint}\n") };
    format!("error: {message}\n{hint}")
}

/// The exit code that tells a script what it can do.
pub fn exit_code(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Failed => 1,
        ErrorKind::Usage => 2,
        ErrorKind::Unreachable => 3,
        ErrorKind::Interrupted => INTERRUPTED,
    }
}

#[cfg(test)]
mod tests {
    use super::{as_json, in_words};

    #[test]
    fn errors_have_a_hint_only_where_there_is_one() {
        assert_eq!(in_words("no `x`", "add `x`"), "error: no `x`\nhint: add `x`\n");
        assert_eq!(in_words("no `x`", ""), "error: no `x`\n");
    }

    #[test]
    fn json_ends_with_one_line_break() {
        assert_eq!(as_json(&[1]).unwrap(), "[\n  1\n]\n");
    }
}
