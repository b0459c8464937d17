//! `grts generate`: a model or adapter, tried by hand.
//!
//! The text appears on stdout while it is made. With `--json` there is one object at the end instead, which has what a
//! program compares: token ids and their log-probabilities.

use crate::args::Generate;
use crate::{output, signals};
use grts::error::Error;
use grts::generate::{self, Pace, Request, Said};
use grts::models;

/// Loads, continues the prompt, prints.
pub fn run(arguments: &Generate) -> Result<(), Error> {
    const HINT: &str = "send stdout where there is space and ask again";
    signals::exit_on_ctrl_c()?;
    let (adapter, place) = (arguments.adapter.as_deref(), (arguments.dtype.into(), arguments.device));
    let speaker = models::load(&arguments.model, adapter, place, &mut output::say)?;
    let mut written = Ok(());
    let mut show = |piece: &str| {
        if !arguments.json && written.is_ok() {
            written = output::piece(piece);
        }
    };
    let (said, pace) = generate::generate(&speaker, &request(arguments), &mut show)?;
    output::taken(written, HINT)?;
    // The text is there already; what is missing is the end of its line.
    let printed = output::result(&said, arguments.json, || "\n".to_owned(), HINT);
    output::say(&speed(&said, pace));
    printed
}

fn request(arguments: &Generate) -> Request {
    Request {
        prompt: arguments.prompt.clone(),
        chat: arguments.chat,
        max_tokens: arguments.max_tokens as usize,
        temperature: arguments.temperature,
        top_p: arguments.top_p,
        top_k: arguments.top_k.map(|k| k as usize),
        seed: arguments.seed,
    }
}

fn speed(said: &Said, pace: Pace) -> String {
    let (read, new) = (said.prompt_tokens.len(), said.tokens.len());
    let first = format!("{read} tokens read and the first of {new} drawn in {:.3} s", pace.prompt);
    if pace.rest == 0.0 {
        return first;
    }
    format!("{first}, then {:.0} tokens/s", (new - 1) as f64 / pace.rest)
}
