//! A policy is an adapter on a frozen base that every policy shares, or a tuple of adapters, one for each seat of the red team;
//! a voice is a policy inside one dialogue. One policy has no model at all: a script, which learns nothing and is what red is
//! without learning.
//!
//! A seat hears the whole dialogue as one conversation in which the team is one side, so what it reads does not say who spoke
//! before. But keys and values belong to the adapter that read the text: every seat reads it for itself, when its turn
//! comes. Own utterances stay the token ids that were sampled, so that training sees exactly what was played; what the other
//! side says is tokenised as plain text, so that it can never inject a control token.

use crate::error::Error;
use crate::scenario::Dtype;
use grts_lm::decode::{Context, Generated};
use grts_lm::lora::Adapter;
use grts_lm::text::{Message, Role, Text};
use grts_lm::weights::Model;
use grts_lm::{Device, Precision};
use rand_chacha::ChaCha8Rng;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A frozen model with its tokenizer and chat template.
pub struct Base {
    /// The weights.
    pub model: Arc<Model>,
    /// Tokenizer and chat template.
    pub text: Text,
    /// Whether those that learn on it keep only each layer's input.
    pub checkpointing: bool,
}

impl From<Dtype> for Precision {
    fn from(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => Self::F32,
            Dtype::Bf16 => Self::Bf16,
        }
    }
}

impl Base {
    /// Both, loaded; learners keep everything.
    pub fn new(model: Model, text: Text) -> Self {
        Self { model: Arc::new(model), text, checkpointing: false }
    }

    /// Loads a Hugging Face directory in 32-bit floats, to compute on the processor.
    ///
    /// # Errors
    /// Whatever is missing, damaged or unsupported, with the file and the tensor or key.
    pub fn load(directory: &Path) -> Result<Self, Error> {
        Self::load_as(directory, Dtype::F32, Device::Cpu)
    }

    /// Loads a Hugging Face directory, its weights held as `dtype`, to compute on `device`.
    ///
    /// # Errors
    /// Those of [`Base::load`], and [`Error::Device`].
    pub fn load_as(directory: &Path, dtype: Dtype, device: Device) -> Result<Self, Error> {
        let model = Model::load_as(directory, dtype.into()).map_err(|e| Error::model(directory, &e))?;
        let model = model.on(device).map_err(|e| Error::engine(&e))?;
        let text = Text::load(directory, model.config().vocab_size()).map_err(|e| Error::model(directory, &e))?;
        Ok(Self::new(model, text))
    }
}

/// What an attacker says in a dialogue of so many turns, drawn from the generator; it hears nothing.
pub type Script = fn(usize, &mut ChaCha8Rng) -> Vec<String>;

/// A pure strategy of one player: an adapter for each of its seats, or a script. Blue has one seat, red as many as its team.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Directory name under `policies/`; `base` for the untouched base and `script` for a script, which have none.
    pub id: String,
    speech: Speech,
}

/// How a policy comes by what it says.
#[derive(Debug, Clone)]
enum Speech {
    /// By seat; none is the base at every seat.
    Adapters(Vec<Arc<Adapter>>),
    /// For the whole side at once, whoever is on.
    Script(Script),
}

impl Policy {
    /// The untouched base, for any number of seats.
    pub fn base() -> Self {
        Self::team("base", [])
    }

    /// An attacker that follows `script`.
    pub fn scripted(script: Script) -> Self {
        Self { id: SCRIPT.to_owned(), speech: Speech::Script(script) }
    }

    /// The adapter of a single seat under its name.
    pub fn new(id: impl Into<String>, adapter: Adapter) -> Self {
        Self::team(id, [adapter])
    }

    /// The adapters of a team's seats, in their order, under one name.
    pub fn team(id: impl Into<String>, adapters: impl IntoIterator<Item = Adapter>) -> Self {
        Self { id: id.into(), speech: Speech::Adapters(adapters.into_iter().map(Arc::new).collect()) }
    }

    /// One policy in place of a mixture of policies with one seat: the mean of their adapters by weight. `None` where all of them are
    /// the base.
    ///
    /// # Errors
    /// The adapters have not one shape.
    pub fn average(id: impl Into<String>, mixture: &[(&Self, f64)]) -> Result<Option<Self>, Error> {
        let adapters = mixture.iter().filter_map(|(policy, weight)| Some((policy.adapter(0)?.as_ref(), *weight)));
        let mean = Adapter::mean(adapters).map_err(|e| Error::engine(&e))?;
        Ok(mean.map(|adapter| Self::new(id, adapter)))
    }

    /// The adapter that speaks at `seat`; `None` is the base, or no model where [`Policy::script`] is some.
    pub fn adapter(&self, seat: usize) -> Option<&Arc<Adapter>> {
        self.adapters().get(seat)
    }

    /// Seats with an adapter; 0 for the base and for a script.
    pub fn num_adapters(&self) -> usize {
        self.adapters().len()
    }

    /// What it follows, if it is no model.
    pub fn script(&self) -> Option<Script> {
        match self.speech {
            Speech::Script(script) => Some(script),
            Speech::Adapters(_) => None,
        }
    }

    fn adapters(&self) -> &[Arc<Adapter>] {
        match &self.speech {
            Speech::Adapters(adapters) => adapters,
            Speech::Script(_) => &[],
        }
    }

    /// Reads what [`Policy::save`] wrote for `seats` seats.
    ///
    /// # Errors
    /// [`Error::Model`] for a seat that is missing or damaged.
    pub fn load(id: &str, directory: &Path, seats: usize, base: &Base) -> Result<Self, Error> {
        let read = |path: PathBuf| Adapter::load(&path, base.model.config()).map_err(|e| Error::model(&path, &e));
        let paths: Vec<PathBuf> = match seats {
            1 => vec![directory.to_owned()],
            _ => (0..seats).map(|seat| seat_path(directory, seat)).collect(),
        };
        Ok(Self::team(id, paths.into_iter().map(read).collect::<Result<Vec<_>, _>>()?))
    }

    /// Writes the adapters in PEFT layout: a single one into `directory` itself, those of a team into `seat-0`, `seat-1`, …
    /// in it.
    ///
    /// # Errors
    /// Whatever the file system refuses.
    pub fn save(&self, directory: &Path, base: &Base) -> Result<(), Error> {
        let write = |adapter: &Adapter, to: &Path| {
            adapter.save(to, base.model.config(), "grts/meridian-base").map_err(|e| Error::engine(&e))
        };
        if let [adapter] = self.adapters() {
            return write(adapter, directory);
        }
        self.adapters().iter().enumerate().try_for_each(|(seat, adapter)| {
            let to = seat_path(directory, seat);
            std::fs::create_dir(&to).map_err(|e| Error::io("create", &to, e))?;
            write(adapter, &to)
        })
    }
}

/// Id of a policy that follows a script.
pub(crate) const SCRIPT: &str = "script";

/// Id of the mean of blue's final mixture.
pub(crate) const AVERAGE: &str = "average";

/// Where the adapter of a team's `seat` lies inside the directory of its tuple.
pub(crate) fn seat_path(directory: &Path, seat: usize) -> PathBuf {
    directory.join(format!("seat-{seat}"))
}

/// What one player has read and said, as token ids; `spoken[t]` are its own tokens of turn t.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct View {
    /// The whole dialogue as this player's model sees it.
    pub tokens: Vec<u32>,
    /// Ranges of its own utterances in `tokens`, the ending token included.
    pub spoken: Vec<Range<usize>>,
}

/// One player's side of a dialogue in progress.
pub(crate) struct Voice<'a> {
    base: &'a Base,
    contexts: Vec<Context>, // by seat, each as far as that seat has read
    tokens: Vec<u32>,
    messages: Vec<Message>,
    spoken: Vec<Range<usize>>,
}

impl<'a> Voice<'a> {
    pub(crate) fn new(base: &'a Base, seats: usize) -> Self {
        let contexts = vec![Context::new(&base.model); seats];
        Self { base, contexts, tokens: Vec::new(), messages: Vec::new(), spoken: Vec::new() }
    }

    /// Takes in what the other side said and makes ready to answer.
    pub(crate) fn hear(&mut self, content: &str) -> Result<(), Error> {
        let own = self.messages.len().checked_sub(1);
        self.messages.push(Message { role: Role::User, content: content.to_owned() });
        let text = &self.base.text;
        let tokens = match own {
            None => text.encode_chat(&self.messages, true),
            Some(own) => text.encode_continuation(&self.messages, own),
        };
        let mut tokens = tokens.map_err(|e| Error::engine(&e))?;
        // The template closes an utterance with the token that the model has already said.
        let said = self.tokens.last();
        if own.is_some() && said.is_some_and(|t| self.base.model.stop().contains(t)) && tokens.first() == said {
            tokens.remove(0);
        }
        self.tokens.extend(tokens);
        Ok(())
    }

    /// What `seat` answers from: what it has read, with all that it has still to read.
    pub(crate) fn context(&mut self, seat: usize) -> &mut Context {
        let context = &mut self.contexts[seat];
        let read = context.tokens().len();
        context.extend(&self.tokens[read..]);
        context
    }

    /// Records what a seat's model said; the tokens are in its context already. Returns its text.
    pub(crate) fn said(&mut self, generated: &Generated) -> Result<String, Error> {
        let start = self.tokens.len();
        self.tokens.extend(&generated.tokens);
        self.spoken.push(start..self.tokens.len());
        let content = self.base.text.decode(&generated.tokens).map_err(|e| Error::engine(&e))?;
        self.messages.push(Message { role: Role::Assistant, content: content.clone() });
        Ok(content)
    }

    /// Records what a script says as if a model had said it, so that it can be asked how likely it was. No context takes it in.
    pub(crate) fn recite(&mut self, content: &str) -> Result<(), Error> {
        let own = self.messages.len();
        self.messages.push(Message { role: Role::Assistant, content: content.to_owned() });
        let start = self.tokens.len();
        self.tokens.extend(self.base.text.encode(content).map_err(|e| Error::engine(&e))?);
        let closing = self.base.text.encode_continuation(&self.messages, own).map_err(|e| Error::engine(&e))?;
        self.tokens.extend(closing.first().filter(|t| self.base.model.stop().contains(t)));
        self.spoken.push(start..self.tokens.len());
        Ok(())
    }

    pub(crate) fn into_view(self) -> View {
        View { tokens: self.tokens, spoken: self.spoken }
    }
}
