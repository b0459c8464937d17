//! Tests that need the connection: faults that cannot be caused from outside.

use std::path::Path;

use grts_game::rules::Player;

use super::{EntryRecord, EpisodeRecord, Manifest, Purpose, Records, RunDir, TurnRecord};
use crate::error::{Error, ErrorKind};
use crate::scenario::Scenario;

fn run(directory: &Path) -> RunDir {
    let manifest = Manifest::new(Scenario::builtin().unwrap());
    RunDir::create_at(&directory.join("run"), &manifest).unwrap()
}

fn episode(text: &str) -> EpisodeRecord {
    let turn = |player| TurnRecord { turn: 0, player, text: text.to_owned(), num_tokens: 3 };
    EpisodeRecord {
        iteration: Some(0),
        purpose: Purpose::Train,
        red: "r".to_owned(),
        blue: "b".to_owned(),
        episode_idx: 0,
        returns: Some(0.0),
        cell: None,
        opening: "o".to_owned(),
        turns: vec![turn(Player::Red), turn(Player::Blue)],
        scores: Vec::new(),
    }
}

fn count(run: &RunDir, table: &str) -> i64 {
    let sql = format!("SELECT COUNT(*) FROM {table}");
    run.connection.query_row(&sql, (), |row| row.get(0)).unwrap()
}

#[test]
fn a_full_disk_is_named_and_keeps_what_was_committed() {
    let directory = tempfile::tempdir().unwrap();
    let mut run = run(directory.path());
    run.commit_unit("small", &1, &Records::default()).unwrap();
    let digest = run.end_state_digest().unwrap();
    let pages: i64 = run.connection.query_row("PRAGMA page_count", (), |r| r.get(0)).unwrap();
    let limited = format!("PRAGMA max_page_count = {}", pages + 2);
    run.connection.query_row(&limited, (), |_| Ok(())).unwrap();

    let big = Records { episodes: vec![episode(&"x".repeat(100_000))], ..Records::default() };
    let error = run.commit_unit("big", &2, &big).unwrap_err();
    assert!(matches!(error, Error::DiskFull { .. }), "{error:?}");
    assert_eq!(error.kind(), ErrorKind::Usage);
    let path = run.path().display();
    assert_eq!(error.to_string(), format!("no space left on `{path}/run.sqlite`"));
    assert_eq!(error.hint(), format!("free space, then `grts resume {path}`"));

    assert_eq!(run.unit::<i32>("small").unwrap(), Some(1));
    assert_eq!(run.unit::<i32>("big").unwrap(), None);
    assert_eq!(run.end_state_digest().unwrap(), digest);
    run.connection.query_row("PRAGMA max_page_count = 100000", (), |_| Ok(())).unwrap();
    run.commit_unit("big", &2, &big).unwrap();
}

#[test]
fn a_unit_that_fails_half_way_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut run = run(directory.path());
    let entry = EntryRecord { iteration: 0, row: 0, col: 0, count: 1, mean: 0.5, m2: 0.0 };
    let records =
        Records { episodes: vec![episode("hello")], entries: vec![entry.clone(), entry], ..Records::default() };
    let error = run.commit_unit("twice", &1, &records).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Failed);
    assert_eq!(run.unit_keys().unwrap(), [""; 0]);
    assert_eq!((count(&run, "episodes"), count(&run, "turns")), (0, 0));
}

#[test]
fn a_transaction_that_is_dropped_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut run = run(directory.path());
    let transaction = run.connection.transaction().unwrap();
    transaction.execute("INSERT INTO units VALUES (1, 'a', '1', 0.0)", ()).unwrap();
    let records = Records { episodes: vec![episode("hello")], ..Records::default() };
    records.insert(&transaction, 1).unwrap();
    drop(transaction);
    let path = run.path().to_owned();
    drop(run);
    let run = RunDir::open(&path).unwrap();
    assert_eq!(run.unit::<i32>("a").unwrap(), None);
    assert_eq!((count(&run, "units"), count(&run, "episodes")), (0, 0));
}

#[test]
fn a_commit_is_synced_in_the_write_ahead_log() {
    let directory = tempfile::tempdir().unwrap();
    let run = run(directory.path());
    let pragma = |name: &str| -> String {
        let sql = format!("SELECT CAST({name} AS TEXT) FROM pragma_{name}");
        run.connection.query_row(&sql, (), |row| row.get(0)).unwrap()
    };
    assert_eq!((pragma("journal_mode").as_str(), pragma("synchronous").as_str()), ("wal", "2"));
}

#[test]
fn the_digest_ignores_layout_time_and_order_but_no_content() {
    let directory = tempfile::tempdir().unwrap();
    let mut run = run(directory.path());
    let records = Records { episodes: vec![episode("a"), episode("b")], ..Records::default() };
    run.commit_unit("one", &1, &records).unwrap();
    run.commit_unit("two", &2, &records).unwrap();
    let digest = run.end_state_digest().unwrap();
    let change = |sql: &str| {
        run.connection.pragma_update(None, "foreign_keys", false).unwrap();
        run.connection.execute_batch(sql).unwrap();
        run.end_state_digest().unwrap()
    };
    let neutral = [
        "UPDATE units SET seconds = seconds + 1",
        "UPDATE units SET seq = 40 - seq; UPDATE episodes SET unit = 40 - unit",
        "UPDATE scores SET episode = episode + 90; UPDATE turns SET episode = episode + 90; \
         UPDATE episodes SET id = id + 90",
        "INSERT INTO events SELECT NULL, seq, 'info', 'resumed' FROM units",
        "VACUUM",
    ];
    for sql in neutral {
        assert_eq!(change(sql), digest, "{sql}");
    }
    let mut seen = vec![digest];
    let telling = [
        "UPDATE units SET output = '3' WHERE key = 'two'",
        "UPDATE units SET key = 'three' WHERE key = 'two'",
        "UPDATE episodes SET returns = 1e-300 WHERE id = 91",
        "UPDATE episodes SET returns = NULL WHERE id = 91",
        "UPDATE turns SET text = 'c' WHERE episode = 92 AND player = 'red'",
        "UPDATE turns SET text = iif(episode = 91, 'b', 'a') WHERE player = 'blue' AND episode < 93",
        "INSERT INTO scores VALUES (91, 0, NULL)",
        "UPDATE scores SET h = 0.0",
        "INSERT INTO entries SELECT seq, 0, 0, 0, 1, 0.0, 0.0 FROM units",
        "INSERT INTO iterations SELECT seq, 0, '{}' FROM units",
    ];
    for sql in telling {
        let digest = change(sql);
        assert!(!seen.contains(&digest), "{sql}");
        seen.push(digest);
    }
}
