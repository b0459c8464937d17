use super::{Format, GameTable, Sample, parquet, read, write};
use grts_game::Matrix;
use std::path::Path;

fn full() -> GameTable {
    let payoffs = Matrix::from_rows(&[[0.1, -1.0 / 3.0, 1e-300], [2.5e30, 0.0, -7.0]]).unwrap();
    let ends = |by: f64| payoffs.as_slice().iter().map(|mean| mean + by).collect();
    let sample = Sample {
        count: vec![3, 4, 5, 6, 7, 1],
        variance: vec![0.25, 1.0 / 7.0, 0.0, 1e-9, 2.0, 0.0],
        interval: Some([ends(-0.3), ends(1.0 / 9.0)]),
    };
    let names = [vec!["red-0".to_owned(), "r\u{e9}d, \"1\"".to_owned()], (0..3).map(|j| format!("blue-{j}")).collect()];
    let strategies = [vec![0.1, 0.9], vec![1.0 / 3.0, 2.0 / 3.0, 0.0]];
    GameTable { payoffs, sample: Some(sample), names: Some(names), strategies: Some(strategies) }
}

/// What a file holds whose spread is a standard deviation: the square of it, which is rounded.
fn with_deviations(table: &GameTable) -> GameTable {
    let mut table = GameTable { strategies: None, ..table.clone() };
    let variances = table.sample.iter_mut().flat_map(|sample| &mut sample.variance);
    variances.for_each(|variance| *variance = variance.sqrt() * variance.sqrt());
    table
}

#[test]
fn every_format_returns_what_it_can_hold_to_the_bit() {
    let desk = tempfile::tempdir().unwrap();
    let table = full();
    let bare = GameTable::from(table.payoffs.clone());
    let keeps = [
        ("a.npz", table.clone(), "payoffs, counts, variances, intervals, names, strategies"),
        ("a.csv", with_deviations(&table), "payoffs, counts, standard deviations, intervals, names"),
        ("a.parquet", with_deviations(&table), "payoffs, counts, standard deviations, intervals, names"),
        ("a.npy", bare.clone(), "payoffs"),
        ("a.nfg", bare.clone(), "payoffs"),
    ];
    for (name, kept, parts) in keeps {
        let path = desk.path().join(name);
        assert_eq!(write(&path, &table).unwrap().join(", "), parts);
        let found = read(&path).unwrap();
        assert_eq!(found, kept, "{name}");
        let again = write(&path, &table).unwrap_err().to_string();
        assert!(again.ends_with("it exists"), "{again}");
        // What was read is written as the same bytes.
        let twin = desk.path().join(format!("twin-{name}"));
        write(&twin, &found).unwrap();
        assert!(std::fs::read(&path).unwrap() == std::fs::read(&twin).unwrap(), "{name}");
    }
}

#[test]
fn what_is_not_known_of_a_game_stays_absent() {
    let desk = tempfile::tempdir().unwrap();
    let bare = GameTable::from(full().payoffs);
    let without_intervals = with_deviations(&full());
    let without_intervals = GameTable {
        sample: without_intervals.sample.clone().map(|sample| Sample { interval: None, ..sample }),
        ..without_intervals
    };
    let indices = Some([2, 3].map(|n| (0..n).map(|idx: usize| idx.to_string()).collect()));
    for ending in ["npz", "csv", "parquet"] {
        let path = desk.path().join("bare").with_extension(ending);
        assert_eq!(write(&path, &bare).unwrap(), ["payoffs"]);
        let names = if ending == "npz" { None } else { indices.clone() };
        assert_eq!(read(&path).unwrap(), GameTable { names, ..bare.clone() }, "{ending}");
        let path = desk.path().join("plain").with_extension(ending);
        assert!(!write(&path, &without_intervals).unwrap().contains(&"intervals"));
        assert_eq!(read(&path).unwrap(), without_intervals, "{ending}");
    }
}

#[test]
fn rows_of_one_name_are_written_only_where_they_stay_apart() {
    let desk = tempfile::tempdir().unwrap();
    let mut table = full();
    table.names.as_mut().unwrap()[0][1] = "red-0".to_owned();
    for ending in ["csv", "parquet"] {
        let path = desk.path().join("twins").with_extension(ending);
        let refused = write(&path, &table).unwrap_err();
        assert!(refused.to_string().ends_with("two rows have the name `red-0`"), "{refused}");
        assert_eq!(refused.hint(), "write it as `.npz`");
        assert!(!path.exists());
    }
    let path = desk.path().join("twins.npz");
    write(&path, &table).unwrap();
    assert_eq!(read(&path).unwrap(), table);
}

#[test]
fn what_is_no_game_is_named_with_its_place() {
    let desk = tempfile::tempdir().unwrap();
    let cases = [
        ("a.txt", "1", "the format cannot be told from the name"),
        ("empty.csv", "", "matrix is empty"),
        ("nan.csv", "1,2\n3,NaN\n", "entry (1, 1): `NaN` is not a finite number"),
        ("inf.csv", "1,inf\n3,4\n", "entry (0, 1): `inf` is not a finite number"),
        ("ragged.csv", "1,2\n3\n", "row 1: expected 2 values, found 1"),
        ("word.csv", "1,2\n3,x\n", "entry (1, 1): `x` is not a number"),
        ("mean.csv", "row,col,mean\na,x,inf\n", "entry (`a`, `x`): `inf` is not a finite number"),
        ("n.csv", "row,col,mean,n,sd\na,x,1,-2,0\n", "entry (`a`, `x`): `-2` is not a count"),
        ("sd.csv", "row,col,mean,n,sd\na,x,1,2,-1\n", "entry (`a`, `x`): `-1` is not a standard deviation"),
        ("ends.csv", "col,row,mean,n,sd,low,high\nx,a,1,2,1,3,2\n", "entry (`a`, `x`): `3` to `2` is not an interval"),
        ("long.csv", "row,col,mean\na,x,1\na,y,2\nb,x,3\n", "entry (`b`, `y`) is missing"),
        ("twice.csv", "row,col,mean\na,x,1\na,x,2\n", "entry (`a`, `x`) is given twice"),
        ("bad.npy", "no array", "not an array of numpy's"),
        ("bad.npz", "no archive", "not an archive of numpy's"),
        ("bad.parquet", "no table at all", "not a table in Parquet"),
        ("bad.nfg", "EFG 2 R", "not a game in Gambit's strategic form"),
        ("short.nfg", "NFG 1 R \"t\" { \"a\" \"b\" } { 2 2 }\n\n1 -1 2 -2 3\n", "expected 8 payoffs, found 5"),
        (
            "sum.nfg",
            "NFG 1 R \"t\" { \"a\" \"b\" } { 1 2 }\n\n1 -1 2 2\n",
            "entry (0, 1): payoffs 2 and 2 do not sum to 0",
        ),
    ];
    for (name, text, problem) in cases {
        let path = desk.path().join(name);
        std::fs::write(&path, text).unwrap();
        let said = read(&path).unwrap_err().to_string();
        assert!(said.contains(problem), "{name}: {said}");
    }
}

/// Other programs' files: integers for names, floats for means, columns in another order, nullable ones, unknown ones.
#[test]
fn the_table_that_pandas_writes_is_read() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let table = read(&fixtures.join("pandas.parquet")).unwrap();
    assert_eq!(table.payoffs.as_slice(), [0.25, 0.5, 0.75, 1.0, -0.5, 0.125]);
    assert_eq!(table.names, Some([vec!["3".to_owned(), "1".to_owned()], ["x", "y", "é"].map(str::to_owned).to_vec()]));
    let sample = table.sample.unwrap();
    assert_eq!((sample.count, sample.interval), (vec![8, 8, 8, 4, 4, 4], None));
    assert_eq!(sample.variance, [0.25, 0.25, 0.25, 0.0, 0.0, 0.0]);
    for (name, problem) in [
        ("missing.parquet", "column `mean`: a value is missing"),
        ("words.parquet", "column `mean`: it holds texts, not numbers"),
        ("wide.parquet", "column `row`: it is missing"),
        ("zstd.parquet", "zstd"),
    ] {
        let said = read(&fixtures.join(name)).unwrap_err().to_string();
        assert!(said.contains(problem), "{name}: {said}");
    }
}

/// Whatever is cut off or changed in a file, the answer is a game or an error and never a panic.
#[test]
fn a_damaged_table_is_an_answer_and_no_panic() {
    let bytes = parquet::bytes(&full()).unwrap();
    assert_eq!(Format::of(Path::new("a.PARQUET")).unwrap(), Format::Parquet);
    let mut refused = 0;
    for at in 0..bytes.len() {
        refused += usize::from(parquet::read(bytes[..at].to_vec()).is_err());
        for by in [1, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] ^= by;
            let _ = parquet::read(damaged);
        }
    }
    assert_eq!(refused, bytes.len(), "a table that is cut off is refused");
}
