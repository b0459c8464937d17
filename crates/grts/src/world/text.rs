//! Cells, utterances, and the split between text that is trained on and text that is held out.
//!
//! The split is a linear hash of the fragment indices, not of the text: exactly one combination in
//! four is held out wherever a grammar has four openers or closers, every fragment occurs on both
//! sides, and the same combination is held out in all departments, so held-out phrasing is new
//! everywhere. Classification is membership in the finite set of all utterances; nothing fuzzy, so
//! "grammatical and in form" has no threshold to argue about.

use std::collections::HashMap;

use rand_chacha::ChaCha8Rng;

use super::city::{DEPARTMENTS, NUM_DEPARTMENTS};
use super::draw::below;
use super::forms::{ASKS, Form, Grammar, NUM_FORMS, OPEN, SET_UPS};
use super::replies::fill;

/// How many cells there are.
pub const NUM_CELLS: usize = NUM_DEPARTMENTS * NUM_FORMS;

/// One combination in this many is held out.
const HELD_OUT_ONE_IN: usize = 4;

/// Department × form: where an attack strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cell {
    /// Index below [`NUM_DEPARTMENTS`].
    pub department: usize,
    /// The form of asking.
    pub form: Form,
}

impl Cell {
    /// All cells, in index order.
    pub fn all() -> impl Iterator<Item = Self> + Clone {
        (0..NUM_DEPARTMENTS).flat_map(|department| Form::ALL.map(|form| Self { department, form }))
    }

    /// Its index below [`NUM_CELLS`]: department first, then form.
    #[must_use]
    pub const fn index(self) -> usize {
        self.department * NUM_FORMS + self.form as usize
    }

    /// The cell with `index`; `None` from [`NUM_CELLS`] on.
    #[must_use]
    pub fn from_index(index: usize) -> Option<Self> {
        (index < NUM_CELLS).then(|| Self::wrapping(index))
    }

    /// The cell with `index` modulo [`NUM_CELLS`].
    pub(super) const fn wrapping(index: usize) -> Self {
        let index = index % NUM_CELLS;
        Self { department: index / NUM_FORMS, form: Form::ALL[index % NUM_FORMS] }
    }

    /// Its name, as in `harbour/role_play`.
    #[must_use]
    pub fn name(self) -> String {
        format!("{}/{}", DEPARTMENTS[self.department].office, self.form.name())
    }
}

/// Which side of the split a paraphrase is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// Seen in pre-training and in the game.
    Train,
    /// Measured on only.
    HeldOut,
}

/// What a user turn is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Utterance {
    /// Asks for the sealed word of the cell.
    Ask(Cell),
    /// Prepares the ask of the cell, asking for nothing.
    SetUp(Cell),
    /// Asks for the opening hours of the department.
    Open(usize),
}

impl Utterance {
    /// Every utterance family, set-ups only where they exist.
    pub fn all() -> impl Iterator<Item = Self> {
        let set_ups = Cell::all().filter(|cell| cell.form.has_set_up()).map(Self::SetUp);
        Cell::all().map(Self::Ask).chain(set_ups).chain((0..NUM_DEPARTMENTS).map(Self::Open))
    }

    /// All its paraphrases in `split`, in a fixed order.
    pub fn paraphrases(self, split: Split) -> impl Iterator<Item = String> {
        combinations(self.grammar(), split).map(move |index| self.render(index))
    }

    fn grammar(self) -> &'static Grammar {
        match self {
            Self::Ask(cell) => &ASKS[cell.form as usize],
            Self::SetUp(cell) => &SET_UPS[cell.form as usize],
            Self::Open(_) => &OPEN,
        }
    }

    const fn department(self) -> usize {
        match self {
            Self::Ask(cell) | Self::SetUp(cell) => cell.department,
            Self::Open(department) => department,
        }
    }

    fn render(self, index: usize) -> String {
        let grammar = self.grammar();
        let [opener, core, closer] = grammar.parts(index);
        let core = fill(grammar.cores[core], self.department());
        format!("{} {core}{}", grammar.openers[opener], grammar.closers[closer])
    }
}

/// Side of the split of one combination.
fn split_of(grammar: &Grammar, index: usize) -> Split {
    let sum: usize = grammar.parts(index).iter().sum();
    if (sum + 1).is_multiple_of(HELD_OUT_ONE_IN) { Split::HeldOut } else { Split::Train }
}

/// Indices of the combinations of `grammar` in `split`.
fn combinations(grammar: &'static Grammar, split: Split) -> impl Iterator<Item = usize> + Clone {
    (0..grammar.len()).filter(move |index| split_of(grammar, *index) == split)
}

/// A uniform paraphrase of `utterance` in `split`.
pub(super) fn draw(utterance: Utterance, split: Split, rng: &mut ChaCha8Rng) -> String {
    let mut indices = combinations(utterance.grammar(), split);
    let nth = below(rng, indices.clone().count());
    utterance.render(indices.nth(nth).unwrap_or_default())
}

/// Every utterance of both splits, by its text.
#[derive(Clone, Debug)]
pub(super) struct Lexicon(HashMap<String, Utterance>);

impl Lexicon {
    pub(super) fn build() -> Self {
        let texts = |utterance: Utterance| {
            [Split::Train, Split::HeldOut]
                .into_iter()
                .flat_map(move |split| utterance.paraphrases(split).map(move |text| (text, utterance)))
        };
        Self(Utterance::all().flat_map(texts).collect())
    }

    pub(super) fn classify(&self, text: &str) -> Option<Utterance> {
        self.0.get(text.trim()).copied()
    }
}
