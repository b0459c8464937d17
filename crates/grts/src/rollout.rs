//! Plays dialogues in batches: a whole row or column of the meta-game, a training batch, or a scripted test at once.
//!
//! Each dialogue draws from its own keyed stream and is computed as if it were alone, so its text depends neither on threads
//! nor on the rest of its batch nor on whether the run was resumed. Only a dialogue's tokens are kept; its KV caches live
//! until its last turn.

use crate::error::Error;
use crate::judge::{Exchange, Judge};
use crate::policy::{Base, Policy, View, Voice};
use grts_game::rules::{Aggregator, Player, Rules};
use grts_game::stream::StreamKey;
use grts_lm::decode::{Generated, GenerationConfig, Row};
use rayon::prelude::{IntoParallelRefIterator, IntoParallelRefMutIterator, ParallelIterator};
use std::collections::HashMap;

/// Dialogues of each policy and batch that the swap audit looks at.
const AUDITED: usize = 2;

/// Dialogues whose caches are held at once: bounds memory.
const CONCURRENT: usize = 256;

/// Who speaks for red.
#[derive(Clone, Copy)]
pub enum Attacker<'a> {
    /// A learned policy.
    Policy(&'a Policy),
    /// Fixed user turns; the dialogue ends with them.
    Script(&'a [String]),
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
    /// What red said.
    pub red: Utterance,
    /// What blue replied.
    pub blue: Utterance,
    /// h of the reply; `None` when unscored.
    pub score: Option<f64>,
}

/// A dialogue that was played.
#[derive(Debug, Clone, PartialEq)]
pub struct Episode {
    /// Turns, at most `rules.turns`; fewer when the return was settled earlier.
    pub turns: Vec<Turn>,
    /// u_R; `None` when no aggregate is defined.
    pub returns: Option<f64>,
    /// The dialogue as red's model saw it (empty for a script).
    pub red: View,
    /// The dialogue as blue's model saw it.
    pub blue: View,
}

impl Episode {
    /// Scores by turn.
    pub fn scores(&self) -> Vec<Option<f64>> {
        self.turns.iter().map(|t| t.score).collect()
    }

    /// Log-probabilities of everything `player` sampled, in order.
    pub fn logprobs(&self, player: Player) -> Vec<f32> {
        let said = |t: &Turn| match player {
            Player::Red => t.red.logprobs.clone(),
            Player::Blue => t.blue.logprobs.clone(),
        };
        self.turns.iter().flat_map(said).collect()
    }

    /// Sampled tokens of both sides.
    pub fn num_tokens(&self) -> u64 {
        self.turns.iter().map(|t| (t.red.logprobs.len() + t.blue.logprobs.len()) as u64).sum()
    }
}

/// Everything that dialogues have in common.
pub struct Table<'a> {
    /// The model that both sides adapt.
    pub base: &'a Base,
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
    /// When a dialogue outgrows the model's context window.
    pub fn play(&self, pairings: &[Pairing<'_>]) -> Result<Vec<Episode>, Error> {
        let mut episodes = Vec::with_capacity(pairings.len());
        for chunk in pairings.chunks(CONCURRENT) {
            episodes.extend(self.play_chunk(chunk)?);
        }
        self.audit(pairings, &episodes)?;
        Ok(episodes)
    }

    /// The swap audit: what each policy of the batch said in its first dialogues must have the log-probabilities that
    /// its adapter gives alone. (A batch that samples the base, or a neighbour's adapter, looks fine otherwise.)
    fn audit(&self, pairings: &[Pairing<'_>], episodes: &[Episode]) -> Result<(), Error> {
        let mut seen: HashMap<(Player, &str), usize> = HashMap::new();
        let mut samples = Vec::new();
        for (pairing, episode) in pairings.iter().zip(episodes) {
            let red = match pairing.red {
                Attacker::Policy(policy) => Some((Player::Red, policy, &episode.red)),
                Attacker::Script(_) => None,
            };
            for (player, policy, view) in red.into_iter().chain([(Player::Blue, pairing.blue, &episode.blue)]) {
                let count = seen.entry((player, &policy.id)).or_default();
                *count += 1;
                if *count <= AUDITED && !view.spoken.is_empty() {
                    samples.push(Audited { policy, view, recorded: episode.logprobs(player) });
                }
            }
        }
        audit(self.base, &samples)
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
        let (red, blue) = (Voice::new(self.base), Voice::new(self.base));
        Live { pairing, red, blue, turns: Vec::new(), asked, over: false }
    }

    fn red_speaks(&self, live: &mut [Live<'_>], turn: usize) -> Result<(), Error> {
        let mut scripted = Vec::new();
        let mut sampled: Vec<&mut Live<'_>> = Vec::new();
        for dialogue in live.iter_mut().filter(|d| !d.over) {
            match dialogue.pairing.red {
                Attacker::Script(_) => scripted.push(dialogue),
                Attacker::Policy(_) => sampled.push(dialogue),
            }
        }
        for dialogue in scripted {
            let Attacker::Script(script) = dialogue.pairing.red else { continue };
            match script.get(turn) {
                Some(text) => dialogue.asked = Utterance { text: text.clone(), logprobs: Vec::new() },
                None => dialogue.over = true,
            }
        }
        // Red hears the opening first, later blue's last reply.
        sampled.par_iter_mut().try_for_each(|dialogue| {
            let heard = dialogue.turns.last().map_or(self.opening, |t| t.blue.text.as_str()).to_owned();
            dialogue.red.hear(&heard)
        })?;
        let rows = sampled.iter_mut().map(|d| {
            let Live { pairing, red, .. } = &mut **d;
            let adapter = match pairing.red {
                Attacker::Policy(policy) => policy.adapter.as_ref(),
                Attacker::Script(_) => None,
            };
            Row { context: &mut red.context, adapter, rng: stream(pairing.key, turn, 0) }
        });
        let said = self.generate(rows.collect(), self.red_generation)?;
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
            Row {
                context: &mut blue.context,
                adapter: pairing.blue.adapter.as_ref(),
                rng: stream(pairing.key, turn, 1),
            }
        });
        let said = self.generate(rows.collect(), self.blue_generation)?;
        for (dialogue, generated) in open.into_iter().zip(said) {
            let blue = Utterance { text: dialogue.blue.said(&generated)?, logprobs: generated.logprobs };
            let red = dialogue.asked.clone();
            dialogue.turns.push(Turn { red, blue, score: None });
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

    fn generate(&self, mut rows: Vec<Row<'_>>, config: &GenerationConfig) -> Result<Vec<Generated>, Error> {
        self.base.model.generate(&mut rows, config).map_err(|e| Error::engine(&e))
    }

    fn finish(&self, dialogue: Live<'_>) -> Episode {
        let scores: Vec<Option<f64>> = dialogue.turns.iter().map(|t| t.score).collect();
        let returns = self.rules.aggregator().returns(&scores);
        Episode { turns: dialogue.turns, returns, red: dialogue.red.into_view(), blue: dialogue.blue.into_view() }
    }
}

/// A dialogue that is looked at again.
struct Audited<'a> {
    policy: &'a Policy,
    view: &'a View,
    recorded: Vec<f32>,
}

/// Compares log-probabilities recorded in a batch with those that the adapter gives when nothing else is computed with it.
fn audit(base: &Base, samples: &[Audited<'_>]) -> Result<(), Error> {
    samples.par_iter().try_for_each(|Audited { policy, view, recorded }| {
        let request = [(view.tokens.as_slice(), policy.adapter.as_ref())];
        let alone = base.model.logprobs(&request).map_err(|e| Error::engine(&e))?.concat();
        let own = view.spoken.iter().cloned().flatten().map(|i| alone[i - 1]);
        let worst = own.zip(recorded).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        if worst <= base.model.batch_tolerance() {
            return Ok(());
        }
        Err(Error::Failed {
            problem: format!(
                "policy `{}` in a batch differs from its adapter alone by {worst} nats on a token",
                policy.id
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
    use super::{Audited, audit};
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
        let policy = Policy::new("trained", trainer.to_adapter().unwrap());
        let view = View { tokens: tokens.clone(), spoken: std::iter::once(4..12).collect() };
        let recorded = |policy: &Policy| {
            let all = base.model.logprobs(&[(tokens.as_slice(), policy.adapter.as_ref())]).unwrap().concat();
            all[3..].to_vec()
        };
        let sample = |spoke: &Policy| [Audited { policy: &policy, view: &view, recorded: recorded(spoke) }];
        audit(&base, &sample(&policy)).unwrap();
        let error = audit(&base, &sample(&Policy::base())).unwrap_err();
        assert!(error.to_string().contains("policy `trained` in a batch differs from its adapter alone"), "{error}");
    }
}
