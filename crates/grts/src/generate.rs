//! One text continued by one model: the way to try a base or an adapter by hand.
//!
//! The text is handed out while it grows. It is generated in short stretches for that, which changes nothing: what a row
//! says does not depend on how its passes are cut, and one stream of random numbers goes through all of them.

use crate::error::Error;
use crate::models::Speaker;
use grts_lm::Affixes;
use grts_lm::decode::{Context, Generated, GenerationConfig, Row};
use grts_lm::sampling::Sampling;
use grts_lm::text::{Message, Role};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::Serialize;
use std::time::Instant;

/// Tokens between two pieces of text.
const STRETCH: usize = 8;

/// What is asked of the model.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The text to go on from.
    pub prompt: String,
    /// Whether the prompt is a user's message, to be wrapped by the chat template.
    pub chat: bool,
    /// Most tokens to add.
    pub max_tokens: usize,
    /// Divides the logits; 0 always takes the most likely token.
    pub temperature: f32,
    /// Keep the smallest set of tokens that reaches this probability.
    pub top_p: f32,
    /// Keep the k most likely tokens.
    pub top_k: Option<usize>,
    /// Seed of the draws.
    pub seed: u64,
}

/// What the model said.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Said {
    /// Token ids of the prompt, with all that the template or tokenizer puts around it.
    pub prompt_tokens: Vec<u32>,
    /// New token ids, the ending one included where there is one.
    pub tokens: Vec<u32>,
    /// Natural log of each new token's probability, before temperature and truncation.
    pub logprobs: Vec<f32>,
    /// The new tokens as text, special ones left out.
    pub text: String,
    /// Whether the model ended by itself.
    pub finished: bool,
}

/// Seconds up to the first token, and for all after it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pace {
    /// Reading the prompt and drawing the first token.
    pub prompt: f64,
    /// The other tokens.
    pub rest: f64,
}

/// Continues the prompt; `piece` gets the text as it grows.
///
/// # Errors
/// [`Error::Model`] for a prompt that the model cannot read: no template, nothing to read, longer than the context.
pub fn generate(speaker: &Speaker, request: &Request, piece: &mut dyn FnMut(&str)) -> Result<(Said, Pace), Error> {
    let mut said = Said { prompt_tokens: prompt(speaker, request)?, ..Said::default() };
    let mut context = Context::new(&speaker.base.model);
    context.extend(&said.prompt_tokens);
    let mut rng = ChaCha8Rng::seed_from_u64(request.seed);
    let (mut pace, mut shown) = (Pace::default(), 0);
    while !said.finished && said.tokens.len() < request.max_tokens {
        let started = Instant::now();
        let first = said.tokens.is_empty();
        let count = if first { 1 } else { STRETCH.min(request.max_tokens - said.tokens.len()) };
        let new = stretch(speaker, request, &mut context, &mut rng, count)?;
        *(if first { &mut pace.prompt } else { &mut pace.rest }) += started.elapsed().as_secs_f64();
        let full = new.tokens.len() < count && !new.finished;
        said.take(new);
        said.text = speaker.base.text.decode(&said.tokens).map_err(|e| Error::engine(&e))?;
        shown = show(&said.text, shown, piece);
        if full || context.tokens().len() >= speaker.base.model.config().context() {
            break;
        }
    }
    piece(said.text.get(shown..).unwrap_or_default());
    Ok((said, pace))
}

impl Said {
    fn take(&mut self, new: Generated) {
        self.tokens.extend(new.tokens);
        self.logprobs.extend(new.logprobs);
        self.finished = new.finished;
    }
}

fn prompt(speaker: &Speaker, request: &Request) -> Result<Vec<u32>, Error> {
    let base = &speaker.base;
    let tokens = if request.chat {
        let message = Message { role: Role::User, content: request.prompt.clone() };
        let hint = "leave out `--chat`, or add a `chat_template.jinja`";
        base.text.encode_chat(&[message], true).map_err(|e| speaker.refuses(e, hint))?
    } else {
        let affixes = Affixes::load(&speaker.directory).map_err(|e| Error::engine(&e))?;
        let text = base.text.encode(&request.prompt).map_err(|e| Error::engine(&e))?;
        [affixes.before, text, affixes.after].concat()
    };
    let context = base.model.config().context();
    match tokens.len() {
        0 => Err(speaker.refuses("there is nothing to read in the prompt", "give `--prompt` some text")),
        n if n >= context => {
            let problem = format!("the prompt has {n} tokens, and its context of {context} must hold an answer too");
            Err(speaker.refuses(problem, "shorten the prompt"))
        }
        _ => Ok(tokens),
    }
}

fn stretch(
    speaker: &Speaker,
    request: &Request,
    context: &mut Context,
    rng: &mut ChaCha8Rng,
    max_tokens: usize,
) -> Result<Generated, Error> {
    let sampling = Sampling { temperature: request.temperature, top_k: request.top_k, top_p: request.top_p };
    let config = GenerationConfig { sampling, max_tokens, stop: speaker.base.model.stop().to_vec() };
    let mut rows = [Row { context, adapter: speaker.adapter.as_ref(), rng: rng.clone() }];
    let mut generated = speaker.base.model.generate(&mut rows, &config).map_err(|e| Error::engine(&e))?;
    let [row] = rows;
    *rng = row.rng;
    Ok(generated.pop().unwrap_or_default())
}

/// Hands out what is new and settled: a letter of several tokens is not there until its last one is.
fn show(text: &str, shown: usize, piece: &mut dyn FnMut(&str)) -> usize {
    match text.get(shown..) {
        Some(new) if !text.ends_with(char::REPLACEMENT_CHARACTER) => {
            piece(new);
            text.len()
        }
        _ => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::{Request, generate, show};
    use crate::models::{self, Device, Dtype};

    #[test]
    fn pieces_make_up_the_text_and_stretches_do_not_change_it() {
        let speaker = models::load("builtin", None, (Dtype::F32, Device::Cpu), &mut |_| ()).unwrap();
        let asked = |max_tokens| {
            let prompt = "Hello, when is the harbour office open?".to_owned();
            let request =
                Request { prompt, chat: true, max_tokens, temperature: 1.0, top_p: 0.95, top_k: Some(50), seed: 4 };
            let mut pieces = String::new();
            let (said, _) = generate(&speaker, &request, &mut |piece| pieces.push_str(piece)).unwrap();
            assert_eq!(pieces, said.text);
            assert_eq!(said.tokens.len(), said.logprobs.len());
            said
        };
        let long = asked(40);
        // Cut elsewhere: the same draws from the same stream.
        let n = long.tokens.len().min(11);
        assert_eq!(asked(n).tokens, long.tokens[..n]);
    }

    #[test]
    fn half_a_letter_is_not_shown() {
        let mut out = String::new();
        assert_eq!(show("ab\u{FFFD}", 1, &mut |piece| out.push_str(piece)), 1);
        assert_eq!(show("abé", 1, &mut |piece| out.push_str(piece)), 4);
        assert_eq!(out, "bé");
    }
}
