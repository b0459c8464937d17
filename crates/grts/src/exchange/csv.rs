//! CSV: a matrix of numbers without a header, or one line for each entry (`row,col,mean,n,sd`), which is what is written.
//!
//! The long form says what each number is and carries its sample; pandas turns it into a matrix with `pivot`. Rows and
//! columns stand in the order of their first appearance.

use super::{GameTable, Sample};
use ::csv::{ReaderBuilder, StringRecord, Writer};
use grts_game::Matrix;
use std::collections::HashMap;
use std::str::FromStr;

pub(super) fn text(table: &GameTable) -> Result<Vec<u8>, String> {
    let payoffs = &table.payoffs;
    let name = |side: usize, idx: usize| match &table.names {
        Some(names) => names[side][idx].clone(),
        None => idx.to_string(),
    };
    let mut out = Writer::from_writer(Vec::new());
    let header = ["row", "col", "mean", "n", "sd"];
    let columns = if table.sample.is_some() { 5 } else { 3 };
    out.write_record(&header[..columns]).map_err(|e| e.to_string())?;
    for row in 0..payoffs.rows() {
        for col in 0..payoffs.cols() {
            let mut line = vec![name(0, row), name(1, col), payoffs.get(row, col).to_string()];
            if let Some(sample) = &table.sample {
                let at = row * payoffs.cols() + col;
                line.extend([sample.count[at].to_string(), sample.variance[at].sqrt().to_string()]);
            }
            out.write_record(&line).map_err(|e| e.to_string())?;
        }
    }
    out.into_inner().map_err(|e| e.to_string())
}

pub(super) fn read(bytes: &[u8]) -> Result<GameTable, String> {
    let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).trim(::csv::Trim::All).from_reader(bytes);
    let records = reader.records().collect::<Result<Vec<_>, _>>().map_err(|e| e.to_string())?;
    match records.first() {
        Some(header) if header.iter().take(3).eq(["row", "col", "mean"]) => long(header, &records[1..]),
        _ => wide(&records),
    }
}

fn wide(records: &[StringRecord]) -> Result<GameTable, String> {
    let mut rows = Vec::with_capacity(records.len());
    for (row, record) in records.iter().enumerate() {
        let number = |(col, text)| parsed::<f64>(text, &format!("entry ({row}, {col})"), "a number");
        rows.push(record.iter().enumerate().map(number).collect::<Result<Vec<_>, _>>()?);
    }
    Ok(Matrix::from_rows(&rows).map_err(|e| e.to_string())?.into())
}

#[derive(Default)]
struct Names {
    names: Vec<String>,
    places: HashMap<String, usize>,
}

impl Names {
    fn place(&mut self, name: &str) -> usize {
        *self.places.entry(name.to_owned()).or_insert_with(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        })
    }
}

fn long(header: &StringRecord, records: &[StringRecord]) -> Result<GameTable, String> {
    let sampled = header.iter().skip(3).eq(["n", "sd"]);
    let (mut rows, mut cols) = (Names::default(), Names::default());
    let mut entries = HashMap::new();
    for record in records {
        let field = |at: usize| record.get(at).unwrap_or_default();
        let (row, col) = (rows.place(field(0)), cols.place(field(1)));
        let place = format!("entry (`{}`, `{}`)", field(0), field(1));
        let mean: f64 = parsed(field(2), &place, "a number")?;
        if !mean.is_finite() {
            return Err(format!("{place}: `{mean}` is not a finite number"));
        }
        let sample = match sampled {
            true => (parsed(field(3), &place, "a count")?, deviation(field(4), &place)?),
            false => (0, 0.0),
        };
        if entries.insert((row, col), (mean, sample)).is_some() {
            return Err(format!("{place} is given twice"));
        }
    }
    let (mut means, mut count, mut variance) = (Vec::new(), Vec::new(), Vec::new());
    for (row, row_name) in rows.names.iter().enumerate() {
        for (col, col_name) in cols.names.iter().enumerate() {
            let missing = || format!("entry (`{row_name}`, `{col_name}`) is missing");
            let &(mean, (n, sd)) = entries.get(&(row, col)).ok_or_else(missing)?;
            means.push(mean);
            count.push(n);
            variance.push(sd * sd);
        }
    }
    let payoffs = Matrix::new(rows.names.len(), cols.names.len(), means).map_err(|e| e.to_string())?;
    let sample = sampled.then_some(Sample { count, variance });
    Ok(GameTable { payoffs, sample, names: Some([rows.names, cols.names]), strategies: None })
}

fn deviation(text: &str, place: &str) -> Result<f64, String> {
    let sd = text.parse().ok().filter(|sd: &f64| sd.is_finite() && *sd >= 0.0);
    sd.ok_or_else(|| format!("{place}: `{text}` is not a standard deviation"))
}

fn parsed<T: FromStr>(text: &str, place: &str, what: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{place}: `{text}` is not {what}"))
}
