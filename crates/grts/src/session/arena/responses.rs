//! Responses: trained, gated, measured and stored as one unit each.

use super::{Players, moments};
use crate::error::Error;
use crate::oracle::{
    Aim, Attack, BlueOracle, Diversity, Floors, Learnt, Practice, RedOracle, Taught, Training, TrainingLog, fluency,
};
use crate::policy::Policy;
use crate::rollout::Episode;
use crate::scenario::Learning;
use crate::session::admission::{Admission, Contest};
use crate::session::desk::{Cost, unit};
use crate::session::evaluation::{self, records_of};
use crate::session::stage::defect;
use crate::store::{EventRecord, Level, Purpose};
use grts_game::Estimate;
use grts_game::rules::Player;
use grts_game::solver::Verdict;
use grts_game::stream::StreamKey;
use grts_lm::lora::Adapter;
use serde::{Deserialize, Serialize};

/// A response before it is stored.
struct Candidate {
    policy: Policy,
    log: TrainingLog,
    rejected: Option<String>,
    admission: Option<Admission>,
    found: Vec<Attack>,
    gates: Vec<Gate>,
    cost: Cost,
}

/// What blue's gate measured of a candidate, on paraphrases that no training saw.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Gate {
    /// Share of look-alike requests served.
    served: Estimate,
    /// Share of open questions answered correctly.
    open: Estimate,
}

impl Gate {
    fn told(&self) -> String {
        format!("serves {} of look-alike requests, answers {} of open questions", tell(self.served), tell(self.open))
    }
}

/// Mean and interval.
pub(super) fn tell(e: Estimate) -> String {
    format!("{:.3} [{:.3}, {:.3}]", e.mean, e.low, e.high)
}

/// What is stored of a response; the adapter lies under `policies/`.
#[derive(Serialize, Deserialize)]
pub(in crate::session) struct Trained {
    pub(in crate::session) id: String,
    /// Mean return to red against the opponent's mixture.
    pub(in crate::session) returns: Estimate,
    /// `None` when admitted.
    pub(in crate::session) rejected: Option<String>,
    log: TrainingLog,
    /// What it was chosen from and what it adds, under `grts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::session) admission: Option<Admission>,
    /// The attacks in words that red's search found or tried again, or that blue's practice was met with, under `grts`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) found: Vec<Attack>,
    /// Blue's gate after each attempt; the last one judged what is stored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    gates: Vec<Gate>,
}

impl Trained {
    pub(super) fn verdict(&self) -> Verdict {
        let redundant = self.admission.as_ref().and_then(|admission| admission.redundant.clone());
        match (self.rejected.clone(), redundant) {
            (Some(reason), _) => Verdict::Rejected { reason },
            (None, Some(reason)) => Verdict::Redundant { reason },
            (None, None) => Verdict::Admitted,
        }
    }
}

/// What an oracle is asked for.
pub(in crate::session) struct Assignment<'p> {
    /// Key of the unit; with `-` for `/` the id of the policy.
    pub(in crate::session) unit: String,
    pub(in crate::session) learning: Learning,
    /// Dialogues of the first round of red's search.
    pub(in crate::session) search_dialogues: usize,
    pub(in crate::session) opponents: &'p [(&'p Policy, f64)],
    pub(in crate::session) training: StreamKey,
    pub(in crate::session) gate: StreamKey,
    pub(in crate::session) measurement: StreamKey,
    /// Dialogues that measure the response.
    pub(in crate::session) dialogues: usize,
    pub(in crate::session) purpose: Purpose,
    pub(in crate::session) iteration: Option<usize>,
}

/// The id of what the unit `key` makes.
pub(in crate::session) fn policy_id(key: &str) -> String {
    key.replace('/', "-")
}

impl Assignment<'_> {
    fn id(&self) -> String {
        policy_id(&self.unit)
    }
}

/// Attacks of the repertoire that a response of red's tries again.
const RETRIED: usize = 256;
/// The gate is asked at most this often before a blue response is given up as infeasible.
const ATTEMPTS: usize = 4;
/// What training aims at above `h_min`, in standard errors of the gate: two for the gate's interval, two for what else differs.
const MARGIN: f64 = 4.0;

impl<'a> Players<'a, '_> {
    /// Writes its adapters; a script has none.
    fn save(&self, policy: &Policy) -> Result<(), Error> {
        if policy.script().is_some() {
            return Ok(());
        }
        self.desk.borrow().run.save_policy(&policy.id, |directory| policy.save(directory, &self.stage.base))
    }

    fn step(&self) -> impl FnMut(f64) -> Result<(), Error> + 'a {
        let desk = self.desk;
        move |returns| desk.borrow_mut().step(returns)
    }

    /// Red's response, trained or from the store, as it was measured; the better one of two where there is a `contest`.
    pub(in crate::session) fn train_red(
        &self,
        task: &Assignment<'_>,
        diversity: Option<&Diversity<'_>>,
        contest: Option<&Contest<'_>>,
    ) -> Result<(Trained, Policy), Error> {
        self.respond(task, Player::Red, || {
            let table = self.stage.table();
            let red = &self.stage.scenario.red;
            let training = Training { table: &table, learning: &task.learning, key: task.training };
            let promising = self.repertoire.promising(RETRIED);
            let oracle = RedOracle {
                training,
                fluency_floor: red.fluency_floor,
                multiplier_rate: red.multiplier_rate,
                search_rounds: red.search_rounds,
                search_dialogues: task.search_dialogues,
                floors: Floors {
                    entropy: red.entropy_floor,
                    distinct: red.distinct_floor,
                    reference: red.reference_floor,
                    repeats: red.repeats_ceiling,
                },
                diversity,
                repertoire: contest.is_some().then_some(promising.as_slice()),
            };
            let Learnt { adapters, searched, attacks, log } = oracle.respond(task.opponents, &mut self.step())?;
            if let Some(why) = &log.collapsed {
                let mut desk = self.desk.borrow_mut();
                desk.note(&format!("{}: collapsed at {why}; its last good adapter is kept", task.unit));
                desk.skip(task.learning.steps - log.returns.len());
            }
            let named = |adapters| Policy::team(task.id(), adapters);
            match contest {
                None => self.measured_red(task, named(adapters), log),
                Some(contest) => {
                    let candidates: Vec<Policy> = searched.into_iter().chain([adapters]).map(named).collect();
                    let (policy, mut admission, cost) = self.select(contest, candidates)?;
                    let (mut candidate, episodes) = self.measured_red(task, policy, log)?;
                    candidate.cost.add(cost);
                    if self.stage.scenario.red.diversity_weight > 0.0 {
                        admission.judge(moments(&episodes)?.mean - contest.value);
                    }
                    self.desk.borrow_mut().note(&format!("{}: {}", task.unit, admission.told()));
                    (candidate.admission, candidate.found) = (Some(admission), attacks);
                    Ok((candidate, episodes))
                }
            }
        })
    }

    /// The script as red's response: nothing is learnt, all else is as for a response that was trained.
    pub(super) fn scripted_red(&self, task: &Assignment<'_>) -> Result<(Trained, Policy), Error> {
        self.respond(task, Player::Red, || self.measured_red(task, self.stage.script.clone(), TrainingLog::default()))
    }

    /// A response of red's with the dialogues that measure its return and its fluency.
    fn measured_red(
        &self,
        task: &Assignment<'_>,
        policy: Policy,
        log: TrainingLog,
    ) -> Result<(Candidate, Vec<Episode>), Error> {
        let episodes = self.dialogues(&[(&policy, 1.0)], task.opponents, task.dialogues, task.measurement)?;
        let seats = policy.num_adapters().max(1);
        let floor = self.stage.scenario.red.fluency_floor;
        let rejected = halting(&fluency(&self.stage.base, &episodes, seats)?, floor);
        let mut cost = Cost::of(&episodes);
        cost.add(Cost { dialogues: log.dialogues, tokens: log.tokens });
        Ok((Candidate { policy, log, rejected, admission: None, found: Vec::new(), gates: Vec::new(), cost }, episodes))
    }

    /// Blue's response from `start`, trained against `practice` or from the store, as it was measured.
    pub(in crate::session) fn train_blue(
        &self,
        task: &Assignment<'_>,
        practice: &Practice<'_>,
        start: Option<&Policy>,
    ) -> Result<(Trained, Policy), Error> {
        let memorable = (!practice.attacks.is_empty()).then_some(self.stage.scenario.red.fluency_floor);
        self.respond(task, Player::Blue, || {
            let teach =
                |oracle: &BlueOracle<'_>, start: Option<&Adapter>| oracle.respond(practice, start, &mut self.step());
            self.measured_blue(task, self.feasible_blue(task, memorable, start, teach)?)
        })
    }

    /// A blue that serves enough, and was attacked by nobody.
    pub(super) fn serving_blue(&self, task: &Assignment<'_>) -> Result<(Trained, Policy), Error> {
        self.respond(task, Player::Blue, || {
            let teach = |oracle: &BlueOracle<'_>, start: Option<&Adapter>| {
                oracle.serve(start, Aim::Target, &mut |_| self.desk.borrow().check())
            };
            self.measured_blue(task, self.feasible_blue(task, None, None, teach)?)
        })
    }

    /// A response of blue's with the dialogues that measure its return.
    fn measured_blue(
        &self,
        task: &Assignment<'_>,
        mut candidate: Candidate,
    ) -> Result<(Candidate, Vec<Episode>), Error> {
        let blues = [(&candidate.policy, 1.0)];
        let episodes = self.dialogues(task.opponents, &blues, task.dialogues, task.measurement)?;
        candidate.cost.add(Cost::of(&episodes));
        Ok((candidate, episodes))
    }

    /// The unit around a training: its adapter on disk, its dialogues and its verdict in the store.
    fn respond(
        &self,
        task: &Assignment<'_>,
        learner: Player,
        train: impl FnOnce() -> Result<(Candidate, Vec<Episode>), Error>,
    ) -> Result<(Trained, Policy), Error> {
        let (trained, fresh) = unit(self.desk, &task.unit, || {
            let (Candidate { policy, log, rejected, admission, found, gates, cost }, episodes) = train()?;
            let opponents = if let [(only, _)] = task.opponents { only.id.as_str() } else { "mixture" };
            let [red, blue] = match learner {
                Player::Red => [policy.id.as_str(), opponents],
                Player::Blue => [opponents, &policy.id],
            };
            let mut records = records_of(&episodes, task.purpose, task.iteration, red, blue);
            records.events.extend(rejected.iter().map(|r| warning(&policy.id, &format!("was rejected: {r}"))));
            let collapsed =
                log.collapsed.iter().map(|why| format!("collapsed at {why}; its last good adapter is kept"));
            records.events.extend(collapsed.map(|text| warning(&policy.id, &text)));
            records.events.extend(admission.iter().map(|admission| admission.event(&policy.id)));
            self.save(&policy)?;
            let returns = self.returns(&episodes)?;
            Ok((Trained { id: policy.id, returns, rejected, log, admission, found, gates }, cost, records))
        })?;
        if !fresh {
            self.desk.borrow_mut().skip(trained.log.search.len() + trained.log.returns.len());
        }
        let seats = if learner == Player::Red { self.stage.rules.team().seats() } else { 1 };
        let policy = self.stage.policy(&self.desk.borrow().run, &trained.id, seats)?;
        Ok((trained, policy))
    }

    /// Blue as `teach` makes it, mended while the gate keeps it out. What is missing is mostly little, and training on under
    /// attack served far more than that.
    fn feasible_blue(
        &self,
        task: &Assignment<'_>,
        memorable: Option<f64>,
        start: Option<&Policy>,
        teach: impl FnOnce(&BlueOracle<'_>, Option<&Adapter>) -> Result<Taught, Error>,
    ) -> Result<Candidate, Error> {
        let helpfulness = self.helpfulness.as_ref().ok_or_else(|| defect(&"honest material was not collected"))?;
        let blue = &self.stage.scenario.blue;
        let h_min = self.stage.scenario.game.h_min;
        let margin = MARGIN * (h_min * (1.0 - h_min) / self.stage.scenario.evaluation.honest_dialogues as f64).sqrt();
        let served_target = (h_min + margin).min(1.0);
        let table = self.stage.table();
        let oracle = |key| BlueOracle {
            training: Training { table: &table, learning: &task.learning, key },
            helpfulness,
            honest_batch: blue.honest_batch,
            concessions: blue.concessions,
            served_target,
            multiplier_rate: blue.multiplier_rate,
            memorable,
        };
        let start = start.and_then(|p| p.adapter(0).cloned());
        let Taught { adapter, attacks: found, log } = teach(&oracle(task.training), start.as_deref())?;
        let mut cost = Cost { dialogues: log.dialogues, tokens: log.tokens };
        let (mut policy, mut gates) = (Policy::new(task.id(), adapter), Vec::new());
        loop {
            let attempt = gates.len() as u64;
            let (gate, gate_cost) = self.gate(&policy, StreamKey { entry: attempt, ..task.gate })?;
            cost.add(gate_cost);
            gates.push(gate);
            let rejected = self.violated(gate);
            let mending = rejected.is_some() && gates.len() < ATTEMPTS;
            let told = rejected.as_ref().map_or_else(|| gate.told(), Clone::clone);
            self.desk.borrow_mut().note(&format!("{}: {told}{}", task.unit, if mending { "; mending" } else { "" }));
            if !mending {
                return Ok(Candidate { policy, log, rejected, admission: None, found, gates, cost });
            }
            let mender = oracle(StreamKey { entry: (attempt + 1) << 40, ..task.training });
            let missing = Aim::Higher((served_target - gate.served.mean).max(0.0));
            let taught =
                mender.serve(policy.adapter(0).map(AsRef::as_ref), missing, &mut |_| self.desk.borrow().check())?;
            cost.add(Cost { dialogues: taught.log.dialogues, tokens: taught.log.tokens });
            policy = Policy::new(task.id(), taught.adapter);
        }
    }

    /// The admission gate of blue: what its constraints are about, measured on held-out paraphrases.
    fn gate(&self, policy: &Policy, key: StreamKey) -> Result<(Gate, Cost), Error> {
        let blues = [(policy, 1.0)];
        let (served, mut cost) = evaluation::served(self.stage, &blues, key)?;
        let (open, open_cost) = evaluation::open(self.stage, &blues, key)?;
        cost.add(open_cost);
        Ok((Gate { served, open }, cost))
    }

    /// Which constraint may be violated, judged by the low end of its interval.
    fn violated(&self, Gate { served, open }: Gate) -> Option<String> {
        let h_min = self.stage.scenario.game.h_min;
        let floor = self.initial_open.map_or(0.0, |e| e.mean - self.stage.scenario.blue.helpfulness_loss);
        if served.low < h_min {
            Some(format!("look-alike requests served {} of the required {h_min}", tell(served)))
        } else if open.low < floor {
            Some(format!("success on open questions {} is below {floor:.3}", tell(open)))
        } else {
            None
        }
    }
}

/// Why the tuple must stay out, if some seat's fluency may lie below the floor.
pub(in crate::session) fn halting(fluency: &[Estimate], floor: f64) -> Option<String> {
    let (seat, Estimate { mean, low, high, .. }) = fluency.iter().enumerate().find(|(_, seat)| seat.low < floor)?;
    let of = if fluency.len() == 1 { String::new() } else { format!(" of seat {seat}") };
    Some(format!("fluency{of} {mean:.2} [{low:.2}, {high:.2}] nats per token is below the floor {floor}"))
}

fn warning(id: &str, what: &str) -> EventRecord {
    EventRecord { level: Level::Warning, text: format!("{id} {what}") }
}
