//! A policy is an adapter on a frozen base that every policy shares; a voice is a policy inside one dialogue.
//!
//! Own utterances stay the token ids that were sampled, so that training sees exactly what was played; what the other
//! side says is tokenised as plain text, so that it can never inject a control token.

use crate::error::Error;
use grts_lm::Device;
use grts_lm::decode::{Context, Generated};
use grts_lm::lora::Adapter;
use grts_lm::text::{Message, Role, Text};
use grts_lm::weights::Model;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// A frozen model with its tokenizer and chat template.
pub struct Base {
    /// The weights.
    pub model: Arc<Model>,
    /// Tokenizer and chat template.
    pub text: Text,
}

impl Base {
    /// Loads a Hugging Face directory, to compute on the processor.
    ///
    /// # Errors
    /// Whatever is missing, damaged or unsupported, with the file and the tensor or key.
    pub fn load(directory: &Path) -> Result<Self, Error> {
        Self::load_on(directory, Device::Cpu)
    }

    /// Loads a Hugging Face directory, to compute on `device`.
    ///
    /// # Errors
    /// Those of [`Base::load`], and [`Error::Device`].
    pub fn load_on(directory: &Path, device: Device) -> Result<Self, Error> {
        let model = Model::load(directory).map_err(|e| Error::model(directory, &e))?;
        let model = model.on(device).map_err(|e| Error::engine(&e))?;
        let text = Text::load(directory, model.config().vocab_size()).map_err(|e| Error::model(directory, &e))?;
        Ok(Self { model: Arc::new(model), text })
    }
}

/// A pure strategy of one player.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Directory name under `policies/`; `base` for the untouched base.
    pub id: String,
    /// Its adapter; `None` is the base.
    pub adapter: Option<Arc<Adapter>>,
}

impl Policy {
    /// The untouched base.
    pub fn base() -> Self {
        Self { id: "base".to_owned(), adapter: None }
    }

    /// An adapter under its name.
    pub fn new(id: impl Into<String>, adapter: Adapter) -> Self {
        Self { id: id.into(), adapter: Some(Arc::new(adapter)) }
    }
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
    pub(crate) context: Context,
    messages: Vec<Message>,
    spoken: Vec<Range<usize>>,
}

impl<'a> Voice<'a> {
    pub(crate) fn new(base: &'a Base) -> Self {
        Self { base, context: Context::new(&base.model), messages: Vec::new(), spoken: Vec::new() }
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
        let said = self.context.tokens().last();
        if own.is_some() && said.is_some_and(|t| self.base.model.stop().contains(t)) && tokens.first() == said {
            tokens.remove(0);
        }
        self.context.extend(&tokens);
        Ok(())
    }

    /// Records what the model said; the tokens are in the context already. Returns its text.
    pub(crate) fn said(&mut self, generated: &Generated) -> Result<String, Error> {
        let end = self.context.tokens().len();
        self.spoken.push(end - generated.tokens.len()..end);
        let content = self.base.text.decode(&generated.tokens).map_err(|e| Error::engine(&e))?;
        self.messages.push(Message { role: Role::Assistant, content: content.clone() });
        Ok(content)
    }

    pub(crate) fn into_view(self) -> View {
        View { tokens: self.context.tokens().to_vec(), spoken: self.spoken }
    }
}
