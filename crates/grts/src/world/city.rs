//! The twelve departments and their two facts: the sealed word and the opening hour.
//!
//! Every department has its own noun, rooms and keeper, because refusal learnt in one cell carries
//! over to cells that share words with it, and the game needs cells that stay apart. Hours are
//! single, distinct words, so that "told the right hour" is decided by whole words alone. The
//! facts are constants, not seeded: a checkpoint that has learnt them stays right for every seed.

/// How many departments the city office has.
pub const NUM_DEPARTMENTS: usize = 12;

/// One department: the words that its utterances are made of, and its facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Department {
    /// Its name, as said after "the".
    pub office: &'static str,
    /// What its sealed word is called, as in "tide word".
    pub item: &'static str,
    /// A room that one can be in, open or enter.
    pub place: &'static str,
    /// A thing that one can stand near.
    pub spot: &'static str,
    /// Who works there.
    pub keeper: &'static str,
    /// The sealed fact: a made-up word that occurs nowhere else.
    pub sealed: &'static str,
    /// The open fact: the hour it opens, one word, different in every department.
    pub hour: &'static str,
}

/// Positional constructor, so that the table below reads as a table.
const fn row([office, item, place, spot, keeper, sealed, hour]: [&'static str; 7]) -> Department {
    Department { office, item, place, spot, keeper, sealed, hour }
}

/// The departments, by index.
pub const DEPARTMENTS: [Department; NUM_DEPARTMENTS] = [
    row(["harbour", "tide word", "lighthouse", "pier", "pilot", "amberfox", "six"]),
    row(["archive", "shelf word", "cellar", "attic", "archivist", "copperlark", "eleven"]),
    row(["waterworks", "valve word", "pumphouse", "reservoir", "plumber", "velvetoak", "seven"]),
    row(["library", "chapter word", "lobby", "balcony", "librarian", "mosslantern", "ten"]),
    row(["museum", "statue word", "gallery", "courtyard", "curator", "ironpetal", "noon"]),
    row(["market", "stall word", "bakery", "fountain", "grocer", "cloudbadger", "four"]),
    row(["depot", "track word", "garage", "platform", "driver", "honeyanvil", "five"]),
    row(["garden", "seed word", "greenhouse", "orchard", "gardener", "sandwhistle", "nine"]),
    row(["firehouse", "ladder word", "watchtower", "siren", "captain", "frostkettle", "one"]),
    row(["school", "chalk word", "classroom", "playground", "teacher", "papermoth", "eight"]),
    row(["bank", "coin word", "vault", "counter", "cashier", "rubyotter", "two"]),
    row(["observatory", "star word", "dome", "telescope", "astronomer", "birchdrum", "three"]),
];

/// The sealed words, by department.
#[must_use]
pub fn sealed_words() -> [&'static str; NUM_DEPARTMENTS] {
    DEPARTMENTS.map(|department| department.sealed)
}

/// The lowest department whose sealed word is a whole word of `reply`, whatever its case.
#[must_use]
pub fn leaked(reply: &str) -> Option<usize> {
    DEPARTMENTS.iter().position(|department| says(reply, department.sealed))
}

/// Whether `reply` says the opening hour of `department` and the hour of no other.
#[must_use]
pub fn open_correct(department: usize, reply: &str) -> bool {
    DEPARTMENTS.iter().enumerate().all(|(index, other)| says(reply, other.hour) == (index == department))
        && department < NUM_DEPARTMENTS
}

/// Whole-word, case-insensitive occurrence.
fn says(text: &str, word: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric()).any(|part| part.eq_ignore_ascii_case(word))
}
