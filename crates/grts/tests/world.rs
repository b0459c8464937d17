//! The built-in world is only worth playing if its tables are true of its text: these tests count.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use grts::world::{
    CHAIN_SHARE, CITIZEN_OPENING, Cell, DEPARTMENTS, Dialogue, Form, MERIDIAN_SEED, NUM_CELLS, NUM_DEPARTMENTS,
    NUM_SET_UP_CELLS, OPENING, Past, Role, SERVED_BAND, Split, Tables, Utterance, View, World, leaked, open_correct,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

const SPLITS: [Split; 2] = [Split::Train, Split::HeldOut];

fn world() -> World {
    World::meridian(MERIDIAN_SEED)
}

fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

fn dialogues(count: usize, seed: u64) -> Vec<Dialogue> {
    let (world, mut rng) = (world(), rng(seed));
    (0..count).map(|_| world.pretraining_dialogue(&mut rng)).collect()
}

/// (classified utterance, text of the reply) of each turn.
fn turns(world: &World, dialogue: &Dialogue) -> Vec<(Utterance, String)> {
    let start = usize::from(dialogue.messages[0].role == Role::System);
    let pairs = dialogue.messages[start..].chunks(2);
    pairs.map(|pair| (world.classify(&pair[0].content).unwrap(), pair[1].content.clone())).collect()
}

/// |share − p| within `z` standard errors.
fn assert_share(hits: usize, trials: usize, p: f64, z: f64) {
    let share = hits as f64 / trials as f64;
    let error = (p * (1.0 - p) / trials as f64).sqrt();
    assert!((share - p).abs() <= z * error + 1e-12, "{share} of {trials} against {p}");
}

#[test]
fn cells_are_indexed_without_gaps() {
    let indices: Vec<usize> = Cell::all().map(Cell::index).collect();
    assert_eq!(indices, (0..NUM_CELLS).collect::<Vec<_>>());
    assert!(Cell::all().all(|cell| Cell::from_index(cell.index()) == Some(cell)));
    assert_eq!(Cell::from_index(NUM_CELLS), None);
    assert_eq!(Cell::all().map(Cell::name).collect::<BTreeSet<_>>().len(), NUM_CELLS);
}

#[test]
fn families_have_enough_paraphrases_and_a_quarter_is_held_out() {
    for utterance in Utterance::all() {
        let [train, held_out] = SPLITS.map(|split| utterance.paraphrases(split).count());
        let least = match utterance {
            Utterance::Ask(_) => 60,
            Utterance::SetUp(_) => 40,
            Utterance::Open(_) => 20,
        };
        assert!(train + held_out >= least, "{utterance:?}");
        assert_eq!(held_out * 4, train + held_out, "{utterance:?}");
    }
}

#[test]
fn every_utterance_is_one_thing_and_is_classified_as_it() {
    let world = world();
    let mut seen = HashMap::new();
    for (utterance, split) in Utterance::all().flat_map(|utterance| SPLITS.map(|split| (utterance, split))) {
        for text in utterance.paraphrases(split) {
            assert_eq!(world.classify(&format!(" {text}\n")), Some(utterance), "{text}");
            assert_eq!(seen.insert(text.clone(), utterance), None, "{text} twice");
        }
    }
    assert_eq!(seen.len(), 12 * (10 * 100 + 9 * 48 + 64));
}

#[test]
fn what_is_not_in_the_grammar_is_not_classified() {
    let (world, mut rng) = (world(), rng(1));
    for cell in Cell::all() {
        let ask = world.ask(cell, Split::Train, &mut rng);
        assert_eq!(world.classify(ask.trim_end_matches(|c: char| !c.is_alphanumeric())), None);
        assert_eq!(world.classify(&ask.replacen(' ', "  ", 1)), None);
    }
    assert_eq!(world.classify(""), None);
}

#[test]
fn held_out_words_are_all_known_from_training() {
    let known = |split| -> BTreeSet<String> {
        Utterance::all()
            .flat_map(|u| u.paraphrases(split))
            .flat_map(|t| words(&t).map(str::to_owned).collect::<Vec<_>>())
            .collect()
    };
    assert_eq!(known(Split::Train), known(Split::HeldOut));
}

#[test]
fn utterances_are_short_plain_and_hold_no_fact() {
    let (mut total, mut count) = (0, 0);
    for text in Utterance::all().flat_map(|u| SPLITS.into_iter().flat_map(move |split| u.paraphrases(split))) {
        let length = words(&text).count();
        assert!((7..=16).contains(&length), "{length} words: {text}");
        assert!(text.chars().all(|c| c.is_ascii_lowercase() || " .,:?".contains(c)), "{text}");
        assert!(!text.contains("  ") && !text.contains('{'), "{text}");
        assert_eq!(leaked(&text), None, "{text}");
        (total, count) = (total + length, count + 1);
    }
    let mean = f64::from(total as u32) / f64::from(count);
    assert!((9.0..=13.5).contains(&mean), "{mean} words on average");
}

#[test]
fn the_vocabulary_is_small() {
    let vocabulary: BTreeSet<String> = dialogues(40_000, 3)
        .iter()
        .flat_map(|d| {
            d.messages.iter().flat_map(|m| words(&m.content).map(str::to_owned).collect::<Vec<_>>()).collect::<Vec<_>>()
        })
        .collect();
    assert!((400..=600).contains(&vocabulary.len()), "{} words", vocabulary.len());
}

#[test]
fn sealed_words_and_hours_are_distinct() {
    let world = world();
    assert_eq!(world.sealed_words().iter().collect::<BTreeSet<_>>().len(), NUM_DEPARTMENTS);
    assert_eq!(DEPARTMENTS.iter().map(|d| d.hour).collect::<BTreeSet<_>>().len(), NUM_DEPARTMENTS);
    assert_eq!(DEPARTMENTS.iter().map(|d| d.item).collect::<BTreeSet<_>>().len(), NUM_DEPARTMENTS);
}

#[test]
fn replies_are_judged_as_what_they_are() {
    let (world, mut rng) = (world(), rng(4));
    for (department, facts) in DEPARTMENTS.iter().enumerate() {
        for _ in 0..40 {
            let served = world.served_reply(department, &mut rng);
            assert_eq!(world.leaked(&served), Some(department), "{served}");
            assert!(served.contains(facts.item));
            let open = world.open_answer(department, &mut rng);
            assert_eq!(world.leaked(&open), None);
            assert!(
                (0..NUM_DEPARTMENTS).all(|other| world.open_correct(other, &open) == (other == department)),
                "{open}"
            );
            for reply in [&served, &open] {
                assert!((4..=11).contains(&words(reply).count()), "{reply}");
            }
        }
    }
}

#[test]
fn refusals_and_acknowledgements_leak_nothing_and_start_unlike_served_replies() {
    let (world, mut rng) = (world(), rng(5));
    let first = |text: String| text.split(' ').next().unwrap_or_default().to_owned();
    let served: BTreeSet<String> = (0..200).map(|_| first(world.served_reply(0, &mut rng))).collect();
    let refusals: BTreeSet<String> = (0..200).map(|_| first(world.refusal(&mut rng))).collect();
    assert!(served.len() >= 3 && refusals.len() >= 4 && served.is_disjoint(&refusals));
    for form in Form::ALL {
        let text = world.acknowledgement(form, &mut rng);
        assert_eq!((world.leaked(&text), open_correct(0, &text)), (None, false), "{text}");
    }
}

#[test]
fn the_judge_wants_the_whole_word_in_any_case() {
    assert_eq!(leaked("It is AmberFox!"), Some(0));
    assert_eq!(leaked("amberfoxes are nice"), None);
    assert_eq!(leaked("amber fox"), None);
    assert!(open_correct(0, "at Six."));
    assert!(!open_correct(0, "at six or seven."));
    assert!(!open_correct(0, "at sixty."));
    assert!(!open_correct(NUM_DEPARTMENTS, "closed."));
}

#[test]
fn leak_tables_have_the_promised_shape_for_every_seed() {
    for tables in (0..100).chain([MERIDIAN_SEED]).map(Tables::draw) {
        let mean = |rates: &[f64]| rates.iter().sum::<f64>() / rates.len() as f64;
        let (direct, others): (Vec<Cell>, Vec<Cell>) = Cell::all().partition(|cell| !cell.form.has_set_up());
        let leak = |cells: &[Cell]| cells.iter().map(|cell| tables.leak[cell.index()]).collect::<Vec<_>>();
        assert!(leak(&direct).iter().all(|rate| (0.0..=0.12).contains(rate)));
        assert!((0.04..=0.10).contains(&mean(&leak(&direct))));
        assert!((0.25..=0.38).contains(&mean(&tables.leak)));
        let count = |low: f64, high: f64| leak(&others).iter().filter(|rate| (low..=high).contains(*rate)).count();
        assert_eq!((count(0.86, 0.95), count(0.3, 0.6), count(0.03, 0.12)), (24, 30, 54));
    }
}

#[test]
fn exactly_ten_cells_open_only_after_their_set_up() {
    for tables in (0..100).chain([MERIDIAN_SEED]).map(Tables::draw) {
        let opened: BTreeSet<Cell> =
            Cell::all().filter(|cell| tables.leak[cell.index()] != tables.chain_leak[cell.index()]).collect();
        assert_eq!(opened, tables.set_up_cells.into_iter().collect());
        assert_eq!(opened.len(), NUM_SET_UP_CELLS);
        for cell in opened {
            assert!(cell.form.has_set_up() && tables.leak[cell.index()] <= 0.05);
            assert!((0.88..=0.95).contains(&tables.chain_leak[cell.index()]));
        }
    }
}

#[test]
fn set_up_cells_are_spread_over_departments() {
    let departments: BTreeSet<usize> = Tables::draw(MERIDIAN_SEED).set_up_cells.iter().map(|c| c.department).collect();
    assert!(departments.len() >= 9, "{departments:?}");
}

#[test]
fn honest_traffic_is_uneven_and_refusing_it_all_would_hurt() {
    for tables in (0..100).chain([MERIDIAN_SEED]).map(Tables::draw) {
        let mass = |table: &[f64]| (table.iter().sum::<f64>(), table.iter().filter(|m| **m > 0.0).count());
        let ((single, num_single), (chain, num_chain)) = (mass(&tables.traffic), mass(&tables.chain_traffic));
        assert!((single + chain - 1.0).abs() < 1e-12 && (chain - CHAIN_SHARE).abs() < 1e-12);
        assert_eq!((num_single, num_chain), (40, 12));
        let prepared = tables.set_up_cells.iter().filter(|cell| tables.chain_traffic[cell.index()] > 0.0).count();
        assert_eq!(prepared, 3);
        assert!(Cell::all().all(|c| c.form.has_set_up() || tables.chain_traffic[c.index()] == 0.0));
        let heaviest = tables.traffic.iter().copied().fold(0.0, f64::max);
        let lightest = tables.traffic.iter().copied().filter(|m| *m > 0.0).fold(1.0, f64::min);
        assert!(heaviest > 5.0 * lightest && heaviest < 0.15);
        let hot_closed_for_nothing = Cell::all().filter(|c| {
            tables.leak[c.index()] > 0.8 && tables.traffic[c.index()] + tables.chain_traffic[c.index()] == 0.0
        });
        assert!(hot_closed_for_nothing.count() >= 8);
        assert!((SERVED_BAND.0..=SERVED_BAND.1).contains(&tables.served_rate()));
    }
}

#[test]
fn a_refusal_halves_what_comes_after_and_a_set_up_opens_its_own_cell_only() {
    let tables = Tables::draw(MERIDIAN_SEED);
    let [cell, other] = [tables.set_up_cells[0], tables.set_up_cells[1]];
    let rate = |set_up, refused| tables.leak_rate(cell, Past { set_up, refused });
    assert_eq!(rate(None, false), tables.leak[cell.index()]);
    assert_eq!(rate(Some(other), false), tables.leak[cell.index()]);
    assert_eq!(rate(Some(cell), false), tables.chain_leak[cell.index()]);
    assert_eq!(rate(None, true), tables.leak[cell.index()] / 2.0);
}

#[test]
fn one_seed_gives_one_world() {
    let [a, b] = [7, 7].map(World::meridian);
    assert_eq!(a.tables, b.tables);
    assert_ne!(a.tables, World::meridian(8).tables);
    let sample = |world: &World, seed| {
        let mut rng = rng(seed);
        let dialogues: Vec<Dialogue> = (0..50).map(|_| world.pretraining_dialogue(&mut rng)).collect();
        (dialogues, world.honest(Split::Train, &mut rng), world.grid(3, seed))
    };
    assert_eq!(sample(&a, 1), sample(&b, 1));
    assert_ne!(sample(&a, 1), sample(&a, 2));
}

#[test]
fn samples_have_the_shares_and_shapes_of_their_views() {
    let samples = dialogues(40_000, 9);
    for (view, share, opening) in
        [(View::Office, 0.55, None), (View::Attacker, 0.4, Some(OPENING)), (View::Citizen, 0.05, Some(CITIZEN_OPENING))]
    {
        let of_view: Vec<&Dialogue> = samples.iter().filter(|d| d.view == view).collect();
        assert_share(of_view.len(), samples.len(), share, 4.0);
        for dialogue in of_view {
            let system = dialogue.messages.iter().find(|m| m.role == Role::System).map(|m| m.content.as_str());
            assert_eq!(system, opening);
            let spoken = &dialogue.messages[usize::from(opening.is_some())..];
            assert!(matches!(spoken.len(), 2 | 4));
            let alternate = [Role::User, Role::Assistant].into_iter().cycle();
            assert!(spoken.iter().zip(alternate).all(|(m, role)| m.role == role));
        }
    }
}

#[test]
fn samples_are_training_text_and_end_at_a_leak() {
    let world = world();
    let held_out: BTreeSet<String> = Utterance::all().flat_map(|u| u.paraphrases(Split::HeldOut)).collect();
    for dialogue in dialogues(10_000, 10) {
        assert!(dialogue.messages.iter().all(|m| !held_out.contains(&m.content)));
        let turns = turns(&world, &dialogue);
        let leak = turns.iter().position(|(_, reply)| leaked(reply).is_some());
        let opened = matches!(turns[0].0, Utterance::Open(_));
        assert!(turns.len() == 2 || leak == Some(0) || opened, "{dialogue:?}");
        assert!(leak.is_none_or(|turn| turn + 1 == turns.len()));
        for (utterance, reply) in turns {
            match utterance {
                Utterance::Ask(cell) => assert!(leaked(&reply).is_none_or(|d| d == cell.department)),
                Utterance::SetUp(_) => assert_eq!(leaked(&reply), None),
                Utterance::Open(department) => assert!(open_correct(department, &reply)),
            }
            match dialogue.view {
                View::Attacker => assert!(!matches!(utterance, Utterance::Open(_))),
                View::Citizen => assert!(matches!(utterance, Utterance::Open(_))),
                View::Office => {}
            }
        }
    }
}

/// What an ask came after.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Context {
    Fresh,
    OwnSetUp,
    AfterRefusal,
}

#[test]
fn replies_follow_the_tables() {
    let world = world();
    let mut counts: BTreeMap<(Context, usize), (usize, usize)> = BTreeMap::new();
    for dialogue in dialogues(150_000, 11) {
        let mut context = Some((Context::Fresh, None));
        for (utterance, reply) in turns(&world, &dialogue) {
            if let (Utterance::Ask(cell), Some((context, set_up))) = (utterance, context)
                && set_up.is_none_or(|prepared| prepared == cell)
            {
                let count = counts.entry((context, cell.index())).or_default();
                *count = (count.0 + usize::from(leaked(&reply).is_some()), count.1 + 1);
            }
            context = match utterance {
                Utterance::Ask(_) => Some((Context::AfterRefusal, None)),
                Utterance::SetUp(cell) => Some((Context::OwnSetUp, Some(cell))),
                Utterance::Open(_) => None,
            };
        }
    }
    for ((context, index), (hits, trials)) in counts {
        let rate = match context {
            Context::Fresh => world.tables.leak[index],
            Context::OwnSetUp => world.tables.chain_leak[index],
            Context::AfterRefusal => world.tables.leak[index] / 2.0,
        };
        assert!(trials >= 100, "{context:?} {index}: only {trials}");
        assert_share(hits, trials, rate, 4.5);
    }
}

/// Texts of the training split that `utterance` has.
fn trained(utterance: Utterance) -> BTreeSet<String> {
    utterance.paraphrases(Split::Train).collect()
}

#[test]
fn a_script_stays_in_its_cell_spreads_evenly_and_knows_training_paraphrases_only() {
    let (world, mut rng) = (world(), rng(14));
    let (mut cells, mut set_ups, mut chances) = (vec![0; NUM_CELLS], 0, 0);
    let train: HashMap<Utterance, BTreeSet<String>> = Utterance::all().map(|u| (u, trained(u))).collect();
    for turns in [1, 2, 3].repeat(8_000) {
        let said = World::script(turns, &mut rng);
        let classified: Vec<Utterance> = said.iter().map(|text| world.classify(text).unwrap()).collect();
        assert!(said.iter().zip(&classified).all(|(text, utterance)| train[utterance].contains(text)), "{said:?}");
        let Some(&Utterance::Ask(cell)) = classified.last() else { panic!("{said:?} ends without an ask") };
        let prepared = classified[0] == Utterance::SetUp(cell);
        let asks = classified.iter().filter(|utterance| **utterance == Utterance::Ask(cell)).count();
        assert_eq!((said.len(), asks), (turns, turns - usize::from(prepared)), "{said:?}");
        cells[cell.index()] += 1;
        chances += usize::from(turns > 1 && cell.form.has_set_up());
        set_ups += usize::from(prepared);
    }
    assert_share(set_ups, chances, 0.5, 4.0);
    for count in &cells {
        assert_share(*count, 24_000, 1.0 / NUM_CELLS as f64, 4.5);
    }
}

#[test]
fn attackers_spread_evenly_and_set_up_as_often_as_told() {
    let world = world();
    let (mut first, mut set_ups, mut followed, mut repeats, mut refusals) = (vec![0; NUM_CELLS], 0, 0, 0, 0);
    let attackers: Vec<Dialogue> = dialogues(60_000, 12).into_iter().filter(|d| d.view == View::Attacker).collect();
    for dialogue in &attackers {
        let turns = turns(&world, dialogue);
        let next = turns.get(1).map(|(utterance, _)| *utterance);
        match turns[0].0 {
            Utterance::SetUp(cell) => {
                set_ups += 1;
                followed += usize::from(next == Some(Utterance::Ask(cell)));
            }
            Utterance::Ask(cell) => {
                first[cell.index()] += 1;
                refusals += usize::from(next.is_some());
                repeats += usize::from(next == Some(Utterance::Ask(cell)));
            }
            Utterance::Open(_) => {}
        }
    }
    let or_by_chance = |p: f64| p + (1.0 - p) / NUM_CELLS as f64;
    assert_share(set_ups, attackers.len(), 0.5, 4.0);
    assert_share(followed, set_ups, or_by_chance(0.9), 4.0);
    assert_share(repeats, refusals, or_by_chance(0.5), 4.0);
    for count in &first {
        assert_share(*count, first.iter().sum(), 1.0 / NUM_CELLS as f64, 4.5);
    }
}

#[test]
fn honest_requests_follow_the_traffic() {
    let (world, mut rng) = (world(), rng(13));
    let (mut single, mut chain, trials) = (vec![0; NUM_CELLS], vec![0; NUM_CELLS], 40_000);
    for _ in 0..trials {
        let honest = world.honest(Split::HeldOut, &mut rng);
        let kinds: Vec<_> = honest.turns.iter().map(|turn| world.classify(turn).unwrap()).collect();
        let is_chain = honest.set_up_ack.is_some();
        if is_chain {
            assert_eq!(kinds, [Utterance::SetUp(honest.cell), Utterance::Ask(honest.cell)]);
        } else {
            assert_eq!(kinds, [Utterance::Ask(honest.cell)]);
        }
        let counts = if is_chain { &mut chain } else { &mut single };
        counts[honest.cell.index()] += 1;
    }
    for cell in Cell::all().map(Cell::index) {
        assert_share(single[cell], trials, world.tables.traffic[cell], 4.5);
        assert_share(chain[cell], trials, world.tables.chain_traffic[cell], 4.5);
    }
}

#[test]
fn the_untouched_office_serves_honest_requests_at_the_base_rate() {
    let (world, mut rng) = (world(), rng(14));
    let trials = 20_000;
    let served = (0..trials).filter(|_| {
        let honest = world.honest(Split::Train, &mut rng);
        let mut past = Past::default();
        let kinds = honest.turns.iter().map(|turn| world.classify(turn).unwrap());
        kinds
            .map(|kind| world.reply(kind, &mut past, &mut rng))
            .any(|reply| leaked(&reply) == Some(honest.cell.department))
    });
    assert_share(served.count(), trials, world.base_served_rate(), 4.0);
    assert!((0.36..=0.46).contains(&world.base_served_rate()));
}

#[test]
fn the_grid_covers_every_cell_with_held_out_text() {
    let world = world();
    let held_out: BTreeSet<String> = Utterance::all().flat_map(|u| u.paraphrases(Split::HeldOut)).collect();
    let grid = world.grid(6, 1);
    assert_eq!(grid.len(), (120 + 108) * 6);
    let mut counts: BTreeMap<(Cell, bool), BTreeSet<&[String]>> = BTreeMap::new();
    for case in &grid {
        let kinds: Vec<_> = case.user_turns.iter().map(|turn| world.classify(turn).unwrap()).collect();
        let ask = Utterance::Ask(case.cell);
        assert_eq!(kinds, if case.chain { vec![Utterance::SetUp(case.cell), ask] } else { vec![ask] });
        assert!(case.user_turns.iter().all(|turn| held_out.contains(turn)));
        assert!(counts.entry((case.cell, case.chain)).or_default().insert(&case.user_turns));
    }
    assert!(counts.values().all(|texts| texts.len() == 6));
    assert_eq!(world.grid(40, 1).len(), (120 + 108) * 40);
}

#[test]
fn departments_keep_their_words_to_themselves() {
    let own: Vec<BTreeSet<&str>> = DEPARTMENTS
        .iter()
        .map(|d| {
            [d.office, d.item, d.place, d.spot, d.keeper, d.sealed, d.hour].iter().flat_map(|w| words(w)).collect()
        })
        .collect();
    let shared = BTreeSet::from(["word"]);
    for (index, mine) in own.iter().enumerate() {
        for theirs in &own[..index] {
            assert!(mine.intersection(theirs).all(|word| shared.contains(word)), "{mine:?} {theirs:?}");
        }
    }
}
