//! CSV: a matrix of numbers without a header, or one line for each entry ([`super::long`]), which is what is written.

use super::GameTable;
use super::long::{self, COLUMNS, Draws, Line};
use ::csv::{ReaderBuilder, StringRecord, Writer};
use grts_game::Matrix;
use std::str::FromStr;

pub(super) fn text(table: &GameTable) -> Result<Vec<u8>, String> {
    let mut out = Writer::from_writer(Vec::new());
    out.write_record(&COLUMNS[..long::width(table)]).map_err(|e| e.to_string())?;
    for Line { row, col, mean, sample } in long::lines(table)? {
        let mut fields = vec![row, col, mean.to_string()];
        if let Some(Draws { n, sd, interval }) = sample {
            fields.extend([n.to_string(), sd.to_string()]);
            fields.extend(interval.into_iter().flatten().map(|end| end.to_string()));
        }
        out.write_record(&fields).map_err(|e| e.to_string())?;
    }
    out.into_inner().map_err(|e| e.to_string())
}

pub(super) fn read(bytes: &[u8]) -> Result<GameTable, String> {
    let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).trim(::csv::Trim::All).from_reader(bytes);
    let records = reader.records().collect::<Result<Vec<_>, _>>().map_err(|e| e.to_string())?;
    match records.first() {
        Some(header) if COLUMNS[..3].iter().all(|name| header.iter().any(|field| field == *name)) => {
            let places = COLUMNS.map(|name| header.iter().position(|field| field == name));
            long::table(records[1..].iter().map(|record| line(record, places)))
        }
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

/// One entry; `places` says where each of [`COLUMNS`] stands, if it is there.
fn line(record: &StringRecord, places: [Option<usize>; 7]) -> Result<Line, String> {
    let [row, col, mean, n, sd, low, high] =
        places.map(|place| place.map(|place| record.get(place).unwrap_or_default()));
    let (row, col) = (row.unwrap_or_default().to_owned(), col.unwrap_or_default().to_owned());
    let place = format!("entry (`{row}`, `{col}`)");
    let number = |text: &str, what: &str| parsed::<f64>(text, &place, what);
    let interval = match low.zip(high) {
        Some((low, high)) => Some([number(low, "a number")?, number(high, "a number")?]),
        None => None,
    };
    let sample = match n.zip(sd) {
        Some((n, sd)) => {
            Some(Draws { n: parsed(n, &place, "a count")?, sd: number(sd, "a standard deviation")?, interval })
        }
        None => None,
    };
    Ok(Line { mean: number(mean.unwrap_or_default(), "a number")?, row, col, sample })
}

fn parsed<T: FromStr>(text: &str, place: &str, what: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{place}: `{text}` is not {what}"))
}
