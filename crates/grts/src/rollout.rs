//! Plays dialogues in batches: a whole row or column of the meta-game, a training batch, or a scripted test at once.
//!
//! Each dialogue draws from its own keyed stream and is computed as if it were alone, so its text depends neither on threads
//! nor on the rest of its batch nor on whether the run was resumed. Only a dialogue's tokens are kept; its KV caches live
//! until its last turn.

use crate::error::Error;
use crate::judge::{Exchange, Judge};
use crate::policy::{Base, Policy, Script, View, Voice};
use grts_game::rules::{Aggregator, Rules};
use grts_game::stream::StreamKey;
use grts_lm::decode::{Generated, GenerationConfig, Row};
use rayon::prelude::{IntoParallelRefIterator, IntoParallelRefMutIterator, ParallelIterator};
use std::borrow::Cow;
use std::collections::HashMap;

/// The turn of a dialogue's stream from which a script is drawn.
const SCRIPT: u32 = u32::MAX - 2;

/// Dialogues of each policy and batch that the swap audit looks at.
const AUDITED: usize = 2;

/// Dialogues whose caches are held at once: bounds memory.
const CONCURRENT: usize = 256;

/// Who speaks for red.
#[derive(Clone, Copy)]
pub enum Attacker<'a> {
    /// A policy.
    Policy(&'a Policy),
    /// Fixed user turns; the dialogue ends with them.
    Script(&'a [String]),
    /// The same, recorded as if the seats whose turn it is had said them.
    Recital(&'a [String]),
}

impl<'a> Attacker<'a> {
    /// The policy whose model speaks; `None` where nothing is sampled.
    fn model(self) -> Option<&'a Policy> {
        match self {
            Self::Policy(policy) if policy.script().is_none() => Some(policy),
            Self::Policy(_) | Self::Script(_) | Self::Recital(_) => None,
        }
    }

    /// Its user turns in the dialogue `key` of `turns` turns, where they are known beforehand.
    fn script(self, turns: usize, key: StreamKey) -> Option<Cow<'a, [String]>> {
        match self {
            Self::Script(script) | Self::Recital(script) => Some(Cow::Borrowed(script)),
            Self::Policy(policy) => {
                let draw = |script: Script| script(turns, &mut StreamKey { turn: SCRIPT, ..key }.rng());
                policy.script().map(draw).map(Cow::Owned)
            }
        }
    }
}

/// One dialogue to be played.
#[derive(Clone, Copy)]
pub struct Pairing<'a> {
    /// Red's side.
    pub red: Attacker<'a>,
    /// Blue's policy.
    pub blue: &'a Policy,
    /// The dialogue's stream; `turn` is set here.
    pub key: StreamKey,
}

/// What one player said in one turn.
#[derive(Debug, Clone, PartialEq)]
pub struct Utterance {
    /// Decoded text.
    pub text: String,
    /// Log-probability of each sampled token under the speaker; empty for a scripted turn.
    pub logprobs: Vec<f32>,
}

/// One turn: red speaks, blue replies, the judge scores.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// Red's seat that spoke; 0 for a script.
    pub seat: usize,
    /// What red said.
    pub red: Utterance,
    /// What blue replied.
    pub blue: Utterance,
    /// h of the reply; `None` when unscored.
    pub score: Option<f64>,
}

/// One voice of a dialogue: a seat of red's team, or blue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Speaker {
    /// A seat of the red team, from 0.
    Red(usize),
    /// The one that answers.
    Blue,
}

impl Speaker {
    /// Its place in its policy.
    pub fn seat(self) -> usize {
        match self {
            Self::Red(seat) => seat,
            Self::Blue => 0,
        }
    }

    /// Log-probabilities of what it said in `turn`; `None` where another seat spoke.
    pub fn said(self, turn: &Turn) -> Option<&[f32]> {
        match self {
            Self::Red(seat) => (seat == turn.seat).then_some(&turn.red.logprobs),
            Self::Blue => Some(&turn.blue.logprobs),
        }
    }

    /// The dialogue as it heard it.
    pub fn view(self, episode: &Episode) -> &View {
        match self {
            Self::Red(_) => &episode.red,
            Self::Blue => &episode.blue,
        }
    }

    /// Where in that view its own tokens stand.
    pub fn positions(self, episode: &Episode) -> impl Iterator<Item = usize> + '_ {
        let said = self.view(episode).spoken.iter().zip(&episode.turns);
        said.filter(move |(_, turn)| self.said(turn).is_some()).flat_map(|(range, _)| range.clone())
    }

    fn of(self, policy: &Policy) -> String {
        match policy.num_adapters() {
            0 | 1 => format!("`{}`", policy.id),
            _ => format!("`{}` (seat {})", policy.id, self.seat()),
        }
    }
}

/// A dialogue that was played.
#[derive(Debug, Clone, PartialEq)]
pub struct Episode {
    /// Turns, at most `rules.turns`; fewer when the return was settled earlier.
    pub turns: Vec<Turn>,
    /// u_R; `None` when no aggregate is defined.
    pub returns: Option<f64>,
    /// The dialogue as red's model saw it, or would have seen it where its policy is a script; empty for an [`Attacker::Script`].
    pub red: View,
    /// The dialogue as blue's model saw it.
    pub blue: View,
}

impl Episode {
    /// Scores by turn.
    pub fn scores(&self) -> Vec<Option<f64>> {
        self.turns.iter().map(|t| t.score).collect()
    }

    /// Sampled tokens of both sides.
    pub fn num_tokens(&self) -> u64 {
        self.turns.iter().map(|t| (t.red.logprobs.len() + t.blue.logprobs.len()) as u64).sum()
    }
}

/// Everything that dialogues have in common.
pub struct Table<'a> {
    /// The model that blue adapts, and red too while they train.
    pub base: &'a Base,
    /// The model that red adapts.
    pub red_base: &'a Base,
    /// Turns, aggregator, threshold.
    pub rules: &'a Rules,
    /// Who scores replies.
    pub judge: &'a dyn Judge,
    /// What red is asked to obtain; blue never sees it.
    pub opening: &'a str,
    /// Sampling and length of red's utterances.
    pub red_generation: &'a GenerationConfig,
    /// Sampling and length of blue's.
    pub blue_generation: &'a GenerationConfig,
}

struct Live<'a> {
    pairing: &'a Pairing<'a>,
    /// Red's seat in each turn.
    speakers: Vec<usize>,
    /// What red says in each turn, if no model speaks for it.
    script: Option<Cow<'a, [String]>>,
    red: Voice<'a>,
    blue: Voice<'a>,
    turns: Vec<Turn>,
    /// What red says this turn, until blue has replied.
    asked: Utterance,
    over: bool,
}

impl Table<'_> {
    /// Plays every pairing. Order pairings so that rows with the same policy lie together: it is faster.
    ///
    /// # Errors
    /// When a dialogue outgrows the model's context window, or a policy has not one adapter for each of its seats.
    pub fn play(&self, pairings: &[Pairing<'_>]) -> Result<Vec<Episode>, Error> {
        pairings.iter().try_for_each(|pairing| self.check_seats(pairing))?;
        let mut episodes = Vec::with_capacity(pairings.len());
        for chunk in pairings.chunks(CONCURRENT) {
            episodes.extend(self.play_chunk(chunk)?);
        }
        self.audit(pairings, &episodes)?;
        Ok(episodes)
    }

    /// A seat without an adapter would speak as the base, and nobody would notice.
    fn check_seats(&self, pairing: &Pairing<'_>) -> Result<(), Error> {
        let red = pairing.red.model().map(|policy| (policy, self.rules.team().seats()));
        let wrong = |(policy, seats): &(&Policy, usize)| ![0, *seats].contains(&policy.num_adapters());
        match red.into_iter().chain([(pairing.blue, 1)]).find(wrong) {
            None => Ok(()),
            Some((policy, seats)) => Err(Error::Failed {
                problem: format!("policy `{}` has {} adapters for {seats} seats", policy.id, policy.num_adapters()),
                hint: "this is a defect of `grts`: report it with the settings of the run".to_owned(),
            }),
        }
    }

    /// The swap audit: what each seat of each policy of the batch said in its first dialogues must have the
    /// log-probabilities that its adapter gives alone. (A batch that samples the base, or a neighbour's adapter, looks fine
    /// otherwise.)
    fn audit(&self, pairings: &[Pairing<'_>], episodes: &[Episode]) -> Result<(), Error> {
        let mut seen: HashMap<(Speaker, &str), usize> = HashMap::new();
        let mut samples = Vec::new();
        for (pairing, episode) in pairings.iter().zip(episodes) {
            let red = pairing.red.model();
            let seats = red.into_iter().flat_map(|policy| (0..self.rules.team().seats()).map(move |s| (policy, s)));
            let reds = seats.map(|(policy, seat)| (policy, Speaker::Red(seat)));
            for (policy, speaker) in reds.chain([(pairing.blue, Speaker::Blue)]) {
                if !episode.turns.iter().any(|turn| speaker.said(turn).is_some()) {
                    continue;
                }
                let count = seen.entry((speaker, policy.id.as_str())).or_default();
                *count += 1;
                if *count <= AUDITED {
                    samples.push(Audited { base: self.base_of(speaker), policy, speaker, episode });
                }
            }
        }
        audit(&samples)
    }

    fn base_of(&self, speaker: Speaker) -> &Base {
        match speaker {
            Speaker::Red(_) => self.red_base,
            Speaker::Blue => self.base,
        }
    }

    fn play_chunk(&self, pairings: &[Pairing<'_>]) -> Result<Vec<Episode>, Error> {
        let mut live: Vec<Live<'_>> = pairings.iter().map(|pairing| self.sit_down(pairing)).collect();
        for turn in 0..self.rules.turns() {
            self.red_speaks(&mut live, turn)?;
            self.blue_replies(&mut live, turn)?;
        }
        Ok(live.into_iter().map(|dialogue| self.finish(dialogue)).collect())
    }

    fn sit_down<'a>(&'a self, pairing: &'a Pairing<'a>) -> Live<'a> {
        let asked = Utterance { text: self.opening.to_owned(), logprobs: Vec::new() };
        let team = self.rules.team();
        let speakers = team.speakers(self.rules.turns(), pairing.key);
        let (red, blue) = (Voice::new(self.red_base, team.seats()), Voice::new(self.base, 1));
        let script = pairing.red.script(self.rules.turns(), pairing.key);
        Live { pairing, speakers, script, red, blue, turns: Vec::new(), asked, over: false }
    }

    fn red_speaks(&self, live: &mut [Live<'_>], turn: usize) -> Result<(), Error> {
        let open = live.iter_mut().filter(|d| !d.over);
        let (mut scripted, mut sampled): (Vec<_>, Vec<_>) = open.partition(|d| d.script.is_some());
        scripted.par_iter_mut().try_for_each(|dialogue| dialogue.recite(turn, self.opening))?;
        // Rows of one adapter lie together.
        sampled.sort_by_key(|dialogue| dialogue.speakers[turn]);
        sampled.par_iter_mut().try_for_each(|dialogue| {
            let heard = dialogue.heard(self.opening).to_owned();
            dialogue.red.hear(&heard)
        })?;
        let rows = sampled.iter_mut().map(|d| {
            let Live { pairing, speakers, red, .. } = &mut **d;
            let adapter = pairing.red.model().and_then(|policy| policy.adapter(speakers[turn]));
            Row { context: red.context(speakers[turn]), adapter, rng: stream(pairing.key, turn, 0) }
        });
        let said = generate(self.red_base, rows.collect(), self.red_generation)?;
        for (dialogue, generated) in sampled.into_iter().zip(said) {
            dialogue.asked = Utterance { text: dialogue.red.said(&generated)?, logprobs: generated.logprobs };
        }
        Ok(())
    }

    fn blue_replies(&self, live: &mut [Live<'_>], turn: usize) -> Result<(), Error> {
        let mut open: Vec<&mut Live<'_>> = live.iter_mut().filter(|d| !d.over).collect();
        open.par_iter_mut().try_for_each(|dialogue| {
            let asked = dialogue.asked.text.clone();
            dialogue.blue.hear(&asked)
        })?;
        let rows = open.iter_mut().map(|d| {
            let Live { pairing, blue, .. } = &mut **d;
            Row { context: blue.context(0), adapter: pairing.blue.adapter(0), rng: stream(pairing.key, turn, 1) }
        });
        let said = generate(self.base, rows.collect(), self.blue_generation)?;
        for (dialogue, generated) in open.into_iter().zip(said) {
            let blue = Utterance { text: dialogue.blue.said(&generated)?, logprobs: generated.logprobs };
            let (seat, red) = (dialogue.seat(turn), dialogue.asked.clone());
            dialogue.turns.push(Turn { seat, red, blue, score: None });
            let history: Vec<Exchange<'_>> =
                dialogue.turns.iter().map(|t| Exchange { red: &t.red.text, blue: &t.blue.text }).collect();
            let score = self.judge.score(&history);
            // Under `max` nothing can change a return of 1 any more.
            dialogue.over = self.rules.aggregator() == Aggregator::Max && score == Some(1.0);
            if let Some(last) = dialogue.turns.last_mut() {
                last.score = score;
            }
        }
        Ok(())
    }

    fn finish(&self, dialogue: Live<'_>) -> Episode {
        let scores: Vec<Option<f64>> = dialogue.turns.iter().map(|t| t.score).collect();
        let returns = self.rules.aggregator().returns(&scores);
        Episode { turns: dialogue.turns, returns, red: dialogue.red.into_view(), blue: dialogue.blue.into_view() }
    }
}

fn generate(base: &Base, mut rows: Vec<Row<'_>>, config: &GenerationConfig) -> Result<Vec<Generated>, Error> {
    base.model.generate(&mut rows, config).map_err(|e| Error::engine(&e))
}

impl Live<'_> {
    fn seat(&self, turn: usize) -> usize {
        let recited = matches!(self.pairing.red, Attacker::Recital(_));
        if self.script.is_some() && !recited { 0 } else { self.speakers[turn] }
    }

    /// What red hears before it speaks: the opening, later blue's last reply.
    fn heard<'t>(&'t self, opening: &'t str) -> &'t str {
        self.turns.last().map_or(opening, |t| t.blue.text.as_str())
    }

    /// Says the next turn of the script, or ends the dialogue with it.
    fn recite(&mut self, turn: usize, opening: &str) -> Result<(), Error> {
        let Some(text) = self.script.as_ref().and_then(|script| script.get(turn)).cloned() else {
            self.over = true;
            return Ok(());
        };
        if !matches!(self.pairing.red, Attacker::Script(_)) {
            let heard = self.heard(opening).to_owned();
            self.red.hear(&heard)?;
            self.red.recite(&text)?;
        }
        self.asked = Utterance { text, logprobs: Vec::new() };
        Ok(())
    }
}

/// A speaker in a dialogue that is looked at again.
struct Audited<'a> {
    base: &'a Base,
    policy: &'a Policy,
    speaker: Speaker,
    episode: &'a Episode,
}

/// Compares log-probabilities recorded in a batch with those that the adapter gives when nothing else is computed with it.
fn audit(samples: &[Audited<'_>]) -> Result<(), Error> {
    samples.par_iter().try_for_each(|Audited { base, policy, speaker, episode }| {
        let view = speaker.view(episode);
        let request = [(view.tokens.as_slice(), policy.adapter(speaker.seat()))];
        let alone = base.model.logprobs(&request).map_err(|e| Error::engine(&e))?.concat();
        let own = speaker.positions(episode).map(|i| alone[i - 1]);
        let recorded = episode.turns.iter().filter_map(|turn| speaker.said(turn)).flatten();
        let worst = own.zip(recorded).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        if worst <= base.model.batch_tolerance() {
            return Ok(());
        }
        Err(Error::Failed {
            problem: format!(
                "policy {} in a batch differs from its adapter alone by {worst} nats on a token",
                speaker.of(policy)
            ),
            hint: "this is a defect of `grts`: report it with the settings of the run".to_owned(),
        })
    })
}

fn stream(key: StreamKey, turn: usize, speaker: u32) -> rand_chacha::ChaCha8Rng {
    StreamKey { turn: 2 * turn as u32 + speaker, ..key }.rng()
}

#[cfg(test)]
mod tests {
    use super::{Audited, Episode, Speaker, Turn, Utterance, audit};
    use crate::policy::{Base, Policy, View};
    use grts_game::stream::StreamKey;
    use grts_lm::lora::{Adapter, LoraConfig};
    use grts_lm::train::{AdamWConfig, Objective, Sequence, Trainer};
    use std::path::Path;
    use std::sync::Arc;

    #[test]
    fn the_audit_notices_a_batch_that_sampled_the_base() {
        let base = Base::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/meridian/base")).unwrap();
        let key = StreamKey { seed: 1, iteration: 0, purpose: 0, entry: 0, episode: 0, turn: 0 };
        let fresh = Adapter::new(LoraConfig::all_linear(2, 4.0), base.model.config(), &mut key.rng()).unwrap();
        let tokens: Vec<u32> = (0..12).map(|i| 300 + 7 * i).collect();
        let scored: Vec<usize> = (1..12).collect();
        let mut trainer = Trainer::adapter(Arc::clone(&base.model), &fresh, AdamWConfig::default());
        let batch = [Sequence { tokens: tokens.clone(), scored }];
        trainer.step(&batch, 0.01, |_, l| Objective { loss: 0.0, gradient: vec![-1.0; l.len()] }).unwrap();
        let trained = trainer.to_adapter().unwrap();
        let all = |adapter| base.model.logprobs(&[(tokens.as_slice(), adapter)]).unwrap().concat();
        let (team, adapter) = (Policy::team("trained", [fresh, trained.clone()]), Arc::new(trained));
        let (by_base, by_adapter) = (all(None), all(Some(&adapter)));
        // A relay of two, as an attacker whose first seat is as good as the base. `second` is what the other seat's words had.
        let episode = |second: &[f32]| {
            let turn = |seat, logprobs: &[f32]| Turn {
                seat,
                red: Utterance { text: String::new(), logprobs: logprobs.to_vec() },
                blue: Utterance { text: String::new(), logprobs: Vec::new() },
                score: None,
            };
            let red = View { tokens: tokens.clone(), spoken: vec![2..5, 7..12] };
            let turns = vec![turn(0, &by_base[1..4]), turn(1, &second[6..11])];
            Episode { turns, returns: None, red, blue: View::default() }
        };
        let check = |policy: &Policy, seat, episode: &Episode| {
            audit(&[Audited { base: &base, policy, speaker: Speaker::Red(seat), episode }])
        };
        let (right, wrong) = (episode(&by_adapter), episode(&by_base));
        check(&team, 0, &right).unwrap();
        check(&team, 1, &right).unwrap();
        check(&team, 0, &wrong).unwrap();
        let error = check(&team, 1, &wrong).unwrap_err().to_string();
        assert!(error.contains("policy `trained` (seat 1) in a batch differs from its adapter alone"), "{error}");
        let alone = Policy::new("trained", Arc::unwrap_or_clone(adapter));
        let error = check(&alone, 0, &right).unwrap_err().to_string();
        assert!(error.contains("policy `trained` in a batch differs from its adapter alone"), "{error}");
    }
}
