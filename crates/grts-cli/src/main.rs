//! `grts`: arguments become validated settings, settings become one call into the library, results become text.
//!
//! Everything that plays, learns or measures lives in the library, so that nothing is possible here that a program
//! cannot do too. What the command line adds is manners: data on stdout and talk on stderr, one message and one way out
//! for each error, an exit code that a script can act on, and no signal or defect that ends a run without a sentence.

mod args;
mod attack;
mod bench;
mod compare;
mod defect;
mod eval;
mod export;
mod generate;
mod geometry;
mod nash;
mod output;
mod probe;
mod progress;
mod resume;
mod signals;
mod solve;
mod table;

use args::{Arguments, Command};
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Before any thread exists, because threads inherit what is set here.
    signals::turn_file_limits_into_errors();
    defect::install();
    let arguments = Arguments::parse();
    ExitCode::from(defect::contain(|| obey(&arguments.command)))
}

/// Runs the command and returns the exit code.
fn obey(command: &Command) -> u8 {
    let result = match command {
        Command::Solve(arguments) => solve::run(arguments),
        Command::Resume(arguments) => resume::run(arguments),
        Command::Eval(arguments) => eval::run(arguments),
        Command::Probe(arguments) => probe::run(arguments),
        Command::Attack(arguments) => attack::run(arguments),
        Command::Compare(arguments) => compare::run(arguments),
        Command::Generate(arguments) => generate::run(arguments),
        Command::Export(arguments) => export::run(arguments),
        Command::Bench(arguments) => bench::run(arguments),
        Command::Nash(arguments) => nash::run(arguments),
        Command::Geometry(arguments) => geometry::run(arguments),
    };
    match result {
        Ok(()) => 0,
        Err(error) => {
            output::tell(&error);
            output::exit_code(error.kind())
        }
    }
}
