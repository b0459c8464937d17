//! Language models as arena and oracle of the one solver loop.

mod responses;
#[cfg(test)]
mod tests;

pub(super) use responses::{Assignment, Trained, halting, policy_id};

use super::desk::{Cost, Desk, unit};
use super::evaluation::records_of;
use super::material::honest_material;
use super::stage::{Stage, Stream, defect, mixture};
use crate::error::Error;
use crate::measure::Request;
use crate::oracle::{Attack, Descriptor, Diversity, Helpfulness, Measure, Practice, Repertoire, systematic};
use crate::policy::Policy;
use crate::rollout::{Attacker, Episode, Pairing};
use crate::scenario::{Learning, Method, RedDiversity};
use crate::semantic::{Archive, SemanticSpace};
use crate::store::{EntryRecord, Purpose, Records};
use grts_game::solver::{Arena, BestResponseOracle, Response, State, Verdict};
use grts_game::stream::StreamKey;
use grts_game::{Estimate, GameError, MetaGame, Moments};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::BTreeMap;

impl From<GameError> for Error {
    fn from(error: GameError) -> Self {
        defect(&error)
    }
}

/// Unit of the blue that a population begins with, where the untouched model may not.
pub(super) const FIRST_BLUE: &str = "first/blue";

/// Both players of a run.
pub(super) struct Players<'a, 'd> {
    pub(super) stage: &'a Stage,
    pub(super) desk: &'a RefCell<Desk<'d>>,
    helpfulness: Option<Helpfulness>,
    /// What members of red's population say, by their ids, as far as it is known.
    pub(super) attacks: BTreeMap<String, Descriptor>,
    /// What got through and what honest people ask, in words; empty but under `grts`.
    repertoire: Repertoire,
    /// Success of the untouched base on open questions: the measure of lost helpfulness.
    pub(super) initial_open: Option<Estimate>,
}

/// One played entry of the meta-game.
#[derive(Serialize, Deserialize)]
struct Played {
    row: usize,
    col: usize,
    moments: Moments,
}

/// What a response of red's should be different from.
enum Known<'a> {
    /// What its mixture says.
    Attacks(SemanticSpace<'a>, Archive),
    /// How its mixture's policies speak.
    Policies,
}

/// A measured probe of red.
pub(super) struct Probe {
    pub(super) asr: Estimate,
    pub(super) gain: Estimate,
}

impl<'a, 'd> Players<'a, 'd> {
    pub(super) fn new(stage: &'a Stage, desk: &'a RefCell<Desk<'d>>) -> Result<Self, Error> {
        let (attacks, repertoire) = (BTreeMap::new(), Repertoire::default());
        Ok(Self { stage, desk, helpfulness: None, attacks, repertoire, initial_open: None })
    }

    pub(super) fn begin(&self, label: &str) {
        self.desk.borrow_mut().begin(label);
    }

    /// Plays `count` dialogues of the mixture against the mixture (one side is usually a single policy).
    pub(super) fn dialogues(
        &self,
        reds: &[(&Policy, f64)],
        blues: &[(&Policy, f64)],
        count: usize,
        key: StreamKey,
    ) -> Result<Vec<Episode>, Error> {
        let draw = |mixture, entry| systematic(mixture, count, StreamKey { entry, ..key });
        let (reds, blues) = (draw(reds, u64::MAX), draw(blues, u64::MAX - 1));
        let pairings: Vec<Pairing<'_>> = reds
            .into_iter()
            .zip(blues)
            .enumerate()
            .map(|(i, (red, blue))| Pairing {
                red: Attacker::Policy(red),
                blue,
                key: StreamKey { episode: i as u32, ..key },
            })
            .collect();
        self.stage.table().play(&pairings)
    }

    /// Red's responses to other methods that one response to this method stands for: one frozen attacker gets them all at once.
    fn at_once(&self) -> usize {
        let scenario = &self.stage.scenario;
        if scenario.method.is_one_round() { scenario.solver.iterations } else { 1 }
    }

    /// Blue's: all at once too, unless a budget ends its training, round by round.
    fn blue_at_once(&self) -> usize {
        if self.stage.scenario.budget.is_counted() { 1 } else { self.at_once() }
    }

    /// What blue trains against: the mixture with a trembling hand, which plays every attacker of the population at times,
    /// so that what was closed once is not forgotten, and the untrained one as often as all of them, so that what nobody
    /// found yet stays in sight. A single frozen attacker stays alone. A repertoire has half of the population's share, which is
    /// returned beside the others.
    fn with_exploration<'p>(
        &'p self,
        mixture: &[(&'p Policy, f64)],
        reds: &'p [Policy],
    ) -> (Vec<(&'p Policy, f64)>, f64) {
        if self.stage.scenario.method.is_one_round() {
            return (mixture.to_vec(), 0.0);
        }
        let share = self.stage.scenario.blue.exploration;
        let recited = if self.repertoire.attacks().is_empty() { 0.0 } else { 0.25 * share };
        let played = mixture.iter().map(|(policy, weight)| (*policy, weight * (1.0 - share)));
        let known = reds.iter().map(|policy| (policy, (0.5 * share - recited) / reds.len() as f64));
        let all = played.chain(known).chain([(&self.stage.untouched, 0.5 * share)]);
        (all.filter(|(_, weight)| *weight > 0.0).collect(), recited)
    }

    /// The assignment of one iteration of the loop.
    fn task<'p>(
        &self,
        unit: String,
        learning: Learning,
        opponents: &'p [(&'p Policy, f64)],
        iteration: usize,
        [training, gate]: [Stream; 2],
    ) -> Assignment<'p> {
        Assignment {
            unit,
            learning,
            search_dialogues: self.stage.scenario.red.search_dialogues * self.at_once(),
            opponents,
            training: self.stage.key(training, iteration, 0),
            gate: self.stage.key(gate, iteration, 0),
            measurement: self.stage.key(Stream::Gain, iteration, training as u64),
            dialogues: self.stage.scenario.solver.gain_dialogues,
            purpose: Purpose::Gain,
            iteration: Some(iteration),
        }
    }

    /// What is gone of the run in iteration `i`: 1 in the last one, or where the budget ends.
    fn spent(&self, i: usize) -> f64 {
        let scenario = &self.stage.scenario;
        let iterations = match scenario.method.is_one_round() {
            true => 0.0, // rounds are as many as the budget has room for
            false => i as f64 / (scenario.solver.iterations - 1).max(1) as f64,
        };
        iterations.max(self.desk.borrow().cost.share_of(&scenario.budget)).min(1.0)
    }

    /// What being different earns in iteration `i`: linear from the setting to 0 at the end of the run.
    pub(super) fn diversity_weight(&self, i: usize) -> f64 {
        match self.stage.scenario.method {
            Method::Grts => self.stage.scenario.red.diversity_weight * (1.0 - self.spent(i)),
            _ => 0.0,
        }
    }

    /// What red's next response should be different from; `None` when that earns nothing.
    fn known(&self, i: usize, reds: &[(&Policy, f64)], blues: &[(&Policy, f64)]) -> Result<Option<Known<'a>>, Error> {
        if self.diversity_weight(i) <= 0.0 {
            return Ok(None);
        }
        let red = &self.stage.scenario.red;
        if red.diversity == RedDiversity::PolicySpace {
            return Ok(Some(Known::Policies));
        }
        let (texts, _) = unit(self.desk, &format!("archive/{}", i + 1), || {
            let episodes = self.dialogues(reds, blues, red.archive_dialogues, self.stage.key(Stream::Archive, i, 0))?;
            let said = episodes.iter().flat_map(|e| &e.turns).map(|turn| turn.red.text.clone());
            Ok((said.collect::<Vec<_>>(), Cost::of(&episodes), Records::default()))
        })?;
        let space = self.stage.space()?;
        let vectors = space.embed(&texts.iter().map(String::as_str).collect::<Vec<_>>())?;
        let archive = match red.diversity {
            RedDiversity::LogDet => Archive::log_det(&vectors)?,
            _ => Archive::Neighbours { vectors, count: red.neighbours },
        };
        Ok(Some(Known::Attacks(space, archive)))
    }

    pub(super) fn returns(&self, episodes: &[Episode]) -> Result<Estimate, Error> {
        let (low, high) = self.stage.rules.payoff_range();
        Ok(Estimate::bounded(&moments(episodes)?, low, high))
    }

    /// Honest replies of the base, collected once: what blue's oracle keeps likely. Under `grts` the requests enter the
    /// repertoire too: blue owes honest people a share in all, and may serve it in the wordings that no red says.
    fn collect(&mut self) -> Result<(), Error> {
        if self.helpfulness.is_some() {
            return Ok(());
        }
        self.desk.borrow_mut().begin("honest replies of the base");
        let stage = self.stage;
        let (helpfulness, _) = unit(self.desk, "material", || {
            let (helpfulness, cost) = honest_material(stage)?;
            Ok((helpfulness, cost, Records::default()))
        })?;
        if stage.scenario.method == Method::Grts {
            let room = stage.scenario.red.repertoire;
            self.repertoire.learn(&overheard(&helpfulness.requests, room / 2), room);
        }
        self.helpfulness = Some(helpfulness);
        Ok(())
    }

    /// Makes ready to train blue, whose untouched base answers plain questions as `initial_open` says.
    pub(super) fn prepare_blue(&mut self, initial_open: Estimate) -> Result<(), Error> {
        self.initial_open = Some(initial_open);
        self.collect()
    }

    /// Where blue's population begins: the untouched model, or, where that surely serves too little, one that serves enough.
    pub(super) fn first_blue(&mut self, over_refusal: Estimate) -> Result<Policy, Error> {
        let h_min = self.stage.scenario.game.h_min;
        if over_refusal.complement().high >= h_min {
            return Ok(self.stage.untouched.clone());
        }
        self.collect()?;
        self.desk.borrow_mut().begin("a first blue that serves enough");
        let key = |i| self.stage.key(Stream::FirstBlue, i, 0);
        let task = Assignment {
            unit: FIRST_BLUE.to_owned(),
            learning: self.stage.scenario.blue.learning.clone(),
            search_dialogues: 0,
            opponents: &[(&self.stage.untouched, 1.0)],
            training: key(0),
            gate: key(1),
            measurement: key(2),
            dialogues: self.stage.scenario.solver.gain_dialogues,
            purpose: Purpose::Gain,
            iteration: None,
        };
        let (trained, policy) = self.serving_blue(&task)?;
        match trained.rejected {
            None => Ok(policy),
            Some(reason) => Err(Error::Failed {
                problem: format!("no blue was found that serves `h_min` = {h_min}: {reason}"),
                hint: "lower `[game] h_min`, or give `[blue]` more `steps`".to_owned(),
            }),
        }
    }

    /// ASR and gain of a fresh attacker, trained from the base with a stream of its own.
    pub(super) fn probe_red(&mut self, name: &str, blues: &[(&Policy, f64)], value: Estimate) -> Result<Probe, Error> {
        self.desk.borrow_mut().begin(&format!("probe: a fresh attacker against the {name} blue"));
        let probe = &self.stage.scenario.probe;
        let learning = Learning { steps: probe.steps, beta: probe.beta, ..self.stage.scenario.red.learning.clone() };
        let entry = u64::from(name == "final");
        let key = |i| self.stage.key(Stream::ProbeRed, i, entry << 48);
        let task = Assignment {
            unit: format!("probe-red/{name}"),
            learning,
            search_dialogues: self.stage.scenario.red.search_dialogues,
            opponents: blues,
            training: key(0),
            gate: key(1),
            measurement: key(2),
            dialogues: probe.dialogues,
            purpose: Purpose::Probe,
            iteration: None,
        };
        let (trained, _) = self.train_red(&task, None, None)?;
        let gain = Estimate::weighted(&[(1.0, trained.returns), (-1.0, value)]);
        Ok(Probe { asr: trained.returns, gain })
    }

    /// Gain of a fresh defender against red's final mixture; 0 when none was feasible, since blue can always stay.
    pub(super) fn probe_blue(&mut self, reds: &[(&Policy, f64)], value: Estimate) -> Result<Estimate, Error> {
        self.collect()?;
        self.desk.borrow_mut().begin("probe: a fresh defender against the final attackers");
        let probe = &self.stage.scenario.probe;
        let learning = Learning { steps: probe.steps, ..self.stage.scenario.blue.learning.clone() };
        let key = |i| self.stage.key(Stream::ProbeBlue, i, 0);
        let task = Assignment {
            unit: "probe-blue/final".to_owned(),
            learning,
            search_dialogues: 0,
            opponents: reds,
            training: key(0),
            gate: key(1),
            measurement: key(2),
            dialogues: probe.dialogues,
            purpose: Purpose::Probe,
            iteration: None,
        };
        let (trained, _) = self.train_blue(&task, &Practice::against(reds), None)?;
        Ok(match trained.rejected {
            None => Estimate::weighted(&[(1.0, value), (-1.0, trained.returns)]),
            Some(_) => Estimate { n: trained.returns.n, ..Estimate::exact(0.0) },
        })
    }
}

/// The first of `requests` as an attacker may say them, who hears what honest people ask: worth nothing until one gets through.
fn overheard(requests: &[Request], count: usize) -> Vec<Attack> {
    requests.iter().take(count).map(|request| Attack { said: request.turns.clone(), worth: 0.0 }).collect()
}

/// The same learning for so many times the steps.
fn times(learning: &Learning, responses: usize) -> Learning {
    Learning { steps: learning.steps * responses, ..learning.clone() }
}

/// Moments of the returns; a dialogue whose return is unscored is left out.
pub(super) fn moments(episodes: &[Episode]) -> Result<Moments, Error> {
    let mut moments = Moments::default();
    for returns in episodes.iter().filter_map(|e| e.returns) {
        moments.push(returns);
    }
    if moments.count == 0 {
        return Err(defect(&"no dialogue of a batch could be scored"));
    }
    Ok(moments)
}

impl Arena<Policy, Policy> for Players<'_, '_> {
    type Error = Error;

    fn payoff_range(&self) -> (f64, f64) {
        self.stage.rules.payoff_range()
    }

    fn play(&mut self, iteration: usize, reds: &[Policy], blues: &[Policy], game: &mut MetaGame) -> Result<(), Error> {
        let count = self.stage.scenario.solver.entry_dialogues;
        let missing = game.missing(count as u64);
        if missing.is_empty() {
            return Ok(());
        }
        self.desk.borrow_mut().begin(&format!("payoffs of {} × {} policies", reds.len(), blues.len()));
        let key = format!("payoffs/{iteration}/{}x{}", reds.len(), blues.len());
        let (played, _) = unit(self.desk, &key, || {
            let key = |row: usize, col: usize, i: usize| {
                let key = self.stage.key(Stream::Payoff, iteration, (row as u64) << 32 | col as u64);
                StreamKey { episode: i as u32, ..key }
            };
            let pairings: Vec<Pairing<'_>> = missing
                .iter()
                .flat_map(|&(row, col)| {
                    let pairing = move |i| (row, col, i);
                    (0..count).map(pairing)
                })
                .map(|(row, col, i)| Pairing {
                    red: Attacker::Policy(&reds[row]),
                    blue: &blues[col],
                    key: key(row, col, i),
                })
                .collect();
            let episodes = self.stage.table().play(&pairings)?;
            let mut records = Records::default();
            let mut out = Vec::new();
            for (&(row, col), episodes) in missing.iter().zip(episodes.chunks(count)) {
                let moments = moments(episodes)?;
                let more = records_of(episodes, Purpose::Payoff, Some(iteration), &reds[row].id, &blues[col].id);
                records.episodes.extend(more.episodes);
                records.entries.push(entry_record(iteration, row, col, &moments));
                out.push(Played { row, col, moments });
            }
            Ok((out, Cost::of(&episodes), records))
        })?;
        for entry in played {
            game.merge(entry.row, entry.col, entry.moments)?;
        }
        let mut desk = self.desk.borrow_mut();
        let value = game.payoffs().and_then(|m| grts_game::nash::solve(&m))?.value;
        if desk.status.value.is_none() {
            let first = game.estimate(0, 0);
            desk.note(&format!("first payoff: attack success {}", responses::tell(first)));
        }
        desk.status.value = Some(value);
        Ok(())
    }
}

fn entry_record(iteration: usize, row: usize, col: usize, moments: &Moments) -> EntryRecord {
    let (iteration, row, col) = (iteration as u32, row as u32, col as u32);
    EntryRecord { iteration, row, col, count: moments.count as u32, mean: moments.mean, m2: moments.m2 }
}

impl BestResponseOracle<Policy, Policy> for Players<'_, '_> {
    type Error = Error;

    fn respond_red(&mut self, state: &State<'_, Policy, Policy>) -> Result<Response<Policy>, Error> {
        let i = state.iteration;
        if i > 0 && self.stage.scenario.method.is_one_round() {
            let of = state.reds.len() - 1;
            let (policy, verdict) = (state.reds[of].clone(), Verdict::Duplicate { of });
            return Ok(Response { policy, gain: Estimate::exact(0.0), verdict });
        }
        self.desk.borrow_mut().begin(&format!("iteration {}: red learns", i + 1));
        let blues = mixture(state.blues, &state.equilibrium.col);
        let learning = times(&self.stage.scenario.red.learning, self.at_once());
        let unit = format!("red/{}", i + 1);
        let reds = mixture(state.reds, &state.equilibrium.row);
        let known = self.known(i, &reds, &blues)?;
        let diversity = known.as_ref().map(|known| Diversity {
            weight: self.diversity_weight(i),
            measure: match known {
                Known::Attacks(space, archive) => Measure::Novelty(space, archive),
                Known::Policies => Measure::PolicySpace(&self.stage.base, &reds),
            },
        });
        let value = state.game.mixture_value(&state.equilibrium.row, &state.equilibrium.col);
        let contest = match self.stage.scenario.method {
            Method::Grts => Some(self.contest(state, &blues, value.mean)?),
            _ => None,
        };
        let task = self.task(unit, learning, &blues, i, [Stream::TrainRed, Stream::Gate]);
        let (trained, policy) = match self.stage.scenario.method {
            Method::Heuristic => self.scripted_red(&task)?,
            _ => self.train_red(&task, diversity.as_ref(), contest.as_ref())?,
        };
        if let Some(admission) = &trained.admission {
            self.attacks.insert(trained.id.clone(), admission.attacks.clone());
        }
        self.repertoire.learn(&trained.found, self.stage.scenario.red.repertoire);
        let gain = Estimate::weighted(&[(1.0, trained.returns), (-1.0, value)]);
        Ok(Response { policy, gain, verdict: trained.verdict() })
    }

    fn respond_blue(&mut self, state: &State<'_, Policy, Policy>) -> Result<Response<Policy>, Error> {
        self.collect()?;
        let i = state.iteration;
        self.desk.borrow_mut().begin(&format!("iteration {}: blue learns", i + 1));
        let reds = mixture(state.reds, &state.equilibrium.row);
        let learning = times(&self.stage.scenario.blue.learning_after(self.spent(i)), self.blue_at_once());
        // A response starts from the blue that is played most: what it has already closed stays closed.
        let most = mixture(state.blues, &state.equilibrium.col).into_iter().max_by(|a, b| a.1.total_cmp(&b.1));
        let start = most.map(|(p, _)| p);
        let unit = format!("blue/{}", i + 1);
        let task = self.task(unit, learning, &reds, i, [Stream::TrainBlue, Stream::Gate]);
        let (reds, recited) = self.with_exploration(&reds, state.reds);
        let practice = Practice { reds: &reds, attacks: self.repertoire.attacks(), recited };
        let (trained, policy) = self.train_blue(&task, &practice, start)?;
        self.repertoire.learn(&trained.found, self.stage.scenario.red.repertoire);
        let value = state.game.mixture_value(&state.equilibrium.row, &state.equilibrium.col);
        let gain = Estimate::weighted(&[(1.0, value), (-1.0, trained.returns)]);
        Ok(Response { policy, gain, verdict: trained.verdict() })
    }
}
