//! The built-in world: the city office of Meridian.
//!
//! A newcomer's first run, and CI, need a game whose answer is known. So the world is written down
//! as tables (who holds which word, in which cell the office gives in, where honest people ask) and
//! everything else is read off them: the text a small model is pre-trained on, the judge, the
//! honest traffic, the held-out grid, the inputs of the tabular twin. The alternative, a corpus on
//! disk, could not say what the true leak rate of a cell is.
//!
//! The module is pure: it knows no tensor, no file, no clock, and draws only from the generator it
//! is handed. It solves nothing. What must not leak is a made-up word; nothing here is harmful.

mod city;
mod dialogue;
mod draw;
mod forms;
mod grid;
mod replies;
mod script;
mod tables;
mod text;

use rand_chacha::ChaCha8Rng;

pub use city::{DEPARTMENTS, Department, NUM_DEPARTMENTS, leaked, open_correct, sealed_words};
pub use dialogue::{CITIZEN_OPENING, Dialogue, Message, OPENING, Role, View};
pub use forms::{Form, NUM_FORMS};
pub use grid::{GridCase, HonestRequest};
pub use tables::{CHAIN_SHARE, NUM_SET_UP_CELLS, Past, SERVED_BAND, Tables};
pub use text::{Cell, NUM_CELLS, Split, Utterance};

/// The seed of the world that is shipped: the checkpoint in `assets/` was trained on its tables.
pub const MERIDIAN_SEED: u64 = 2025;

/// One drawn instance: fixed city and grammar, seeded tables.
#[derive(Clone, Debug)]
pub struct World {
    /// The seed that the tables were drawn from.
    pub seed: u64,
    /// Leak rates and honest traffic, the inputs of the tabular twin.
    pub tables: Tables,
    lexicon: text::Lexicon,
}

impl World {
    /// The city of Meridian with tables drawn from `seed` (see [`MERIDIAN_SEED`]).
    #[must_use]
    pub fn meridian(seed: u64) -> Self {
        Self { seed, tables: Tables::draw(seed), lexicon: text::Lexicon::build() }
    }

    /// What `text` is, by exact membership among all utterances of both splits (outer blanks are
    /// ignored). `None` means ungrammatical or in no form.
    #[must_use]
    pub fn classify(&self, text: &str) -> Option<Utterance> {
        self.lexicon.classify(text)
    }

    /// The sealed words, by department.
    #[must_use]
    pub fn sealed_words(&self) -> [&'static str; NUM_DEPARTMENTS] {
        sealed_words()
    }

    /// The exact judge: the department whose sealed word stands in `reply` as a whole word.
    #[must_use]
    pub fn leaked(&self, reply: &str) -> Option<usize> {
        leaked(reply)
    }

    /// Whether `reply` tells the opening hour of `department` and no other hour.
    #[must_use]
    pub fn open_correct(&self, department: usize, reply: &str) -> bool {
        open_correct(department, reply)
    }

    /// A request for the sealed word of `cell`.
    pub fn ask(&self, cell: Cell, split: Split, rng: &mut ChaCha8Rng) -> String {
        text::draw(Utterance::Ask(cell), split, rng)
    }

    /// The set-up turn of `cell`, which asks for nothing yet; `None` for a direct request.
    pub fn set_up(&self, cell: Cell, split: Split, rng: &mut ChaCha8Rng) -> Option<String> {
        cell.form.has_set_up().then(|| text::draw(Utterance::SetUp(cell), split, rng))
    }

    /// A question for the opening hours of `department`.
    pub fn open_question(&self, department: usize, split: Split, rng: &mut ChaCha8Rng) -> String {
        text::draw(Utterance::Open(department), split, rng)
    }

    /// A reply that gives the sealed word of `department` away.
    pub fn served_reply(&self, department: usize, rng: &mut ChaCha8Rng) -> String {
        replies::fill(draw::pick(rng, &replies::SERVED), department)
    }

    /// A reply that declines.
    pub fn refusal(&self, rng: &mut ChaCha8Rng) -> String {
        draw::pick(rng, &replies::REFUSALS).to_owned()
    }

    /// The reply to a set-up turn in `form`.
    pub fn acknowledgement(&self, form: Form, rng: &mut ChaCha8Rng) -> String {
        draw::pick(rng, &replies::acknowledgements(form)).to_owned()
    }

    /// A reply that tells the opening hour of `department`.
    pub fn open_answer(&self, department: usize, rng: &mut ChaCha8Rng) -> String {
        replies::fill(draw::pick(rng, &replies::OPEN_ANSWERS), department)
    }

    /// The share of honest traffic that the untouched office serves: the traffic-weighted leak.
    #[must_use]
    pub fn base_served_rate(&self) -> f64 {
        self.tables.served_rate()
    }
}
