//! Honest replies of the base, collected once a run: what blue's oracle keeps likely.

use super::desk::Cost;
use super::stage::{Stage, Stream};
use crate::error::Error;
use crate::measure::{self, Request, Wanted};
use crate::oracle::Helpfulness;
use crate::rollout::Episode;
use crate::world::{NUM_DEPARTMENTS, Split};
use grts_lm::train::Sequence;

/// Requests of honest people with the base's own replies: look-alike ones until served, at most eight tries each.
pub(super) fn honest_material(stage: &Stage) -> Result<(Helpfulness, Cost), Error> {
    const TRIES: u32 = 8;
    const QUESTIONS: usize = 288;
    let table = stage.table();
    let mut rng = stage.key(Stream::Material, 0, 0).rng();
    let requests: Vec<Request> =
        (0..stage.scenario.blue.honest_requests).map(|_| stage.honest(Split::Train, &mut rng)).collect();
    let questions: Vec<Request> = (0..QUESTIONS)
        .map(|i| {
            let department = i % NUM_DEPARTMENTS;
            let turns = vec![stage.world.open_question(department, Split::Train, &mut rng)];
            Request { turns, wanted: Wanted::HourOf(department) }
        })
        .collect();
    let untouched = [(&stage.untouched, 1.0)];
    let (mut cost, mut served) = (Cost::default(), Vec::new());
    let mut left: Vec<&Request> = requests.iter().collect();
    for attempt in 0..TRIES {
        let episodes = measure::play(&table, &untouched, &left, stage.key(Stream::Material, 1 + attempt as usize, 0))?;
        cost.add(Cost::of(&episodes));
        let (done, again): (Vec<_>, Vec<_>) = left.into_iter().zip(episodes).partition(|(r, e)| r.succeeded(e));
        served.extend(done.into_iter().filter_map(|(_, episode)| last_reply(episode)));
        left = again.into_iter().map(|(request, _)| request).collect();
    }
    let asked: Vec<&Request> = questions.iter().collect();
    let episodes = measure::play(&table, &untouched, &asked, stage.key(Stream::Material, 0, 1))?;
    cost.add(Cost::of(&episodes));
    let right = asked.iter().zip(episodes).filter(|(r, e)| r.succeeded(e));
    let open = right.filter_map(|(_, episode)| last_reply(episode)).collect();
    Ok((Helpfulness { served, open, requests }, cost))
}

/// The last reply of a dialogue, to be taught.
fn last_reply(episode: Episode) -> Option<Sequence> {
    let scored = episode.blue.spoken.last()?.clone().collect();
    Some(Sequence { tokens: episode.blue.tokens, scored })
}
