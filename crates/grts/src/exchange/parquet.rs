//! Parquet: one line for each entry ([`super::long`]), column by column, as pandas, polars and DuckDB keep tables.
//!
//! The columns are read and written one by one through the `parquet` crate's own interface; its way through Arrow would
//! bring twice as many crates for seven columns. Written is one row group, compressed with snappy, without a missing
//! value. Read is what other programs write for such a table: numbers and texts of any width, optional columns in which
//! nothing is missing, columns that we do not know.

use super::GameTable;
use super::long::{self, Draws, Line};
use ::parquet::basic::{Compression, ConvertedType};
use ::parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use ::parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use ::parquet::errors::ParquetError;
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use ::parquet::schema::parser::parse_message_type;
use bytes::Bytes;
use std::fmt::Display;
use std::panic;
use std::sync::Arc;

/// How each of the columns is declared, in the order of [`long::COLUMNS`].
const TYPES: [&str; 7] = [
    "BYTE_ARRAY row (UTF8)",
    "BYTE_ARRAY col (UTF8)",
    "DOUBLE mean",
    "INT64 n",
    "DOUBLE sd",
    "DOUBLE low",
    "DOUBLE high",
];

/// Values that are read at once.
const BATCH: usize = 8192;

pub(super) fn bytes(table: &GameTable) -> Result<Vec<u8>, String> {
    let lines = long::lines(table)?;
    written(&lines, long::width(table)).map_err(|e| e.to_string())
}

fn written(lines: &[Line], width: usize) -> Result<Vec<u8>, ParquetError> {
    let fields: String = TYPES[..width].iter().map(|field| format!("REQUIRED {field}; ")).collect();
    let schema = Arc::new(parse_message_type(&format!("message meta_game {{ {fields} }}"))?);
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut file = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties))?;
    let mut group = file.next_row_group()?;
    put::<ByteArrayType>(&mut group, lines.iter().map(|line| ByteArray::from(line.row.as_str())))?;
    put::<ByteArrayType>(&mut group, lines.iter().map(|line| ByteArray::from(line.col.as_str())))?;
    put::<DoubleType>(&mut group, lines.iter().map(|line| line.mean))?;
    let draws: Vec<Draws> = lines.iter().filter_map(|line| line.sample).collect();
    if width > 3 {
        let counts = draws.iter().map(|entry| i64::try_from(entry.n)).collect::<Result<Vec<_>, _>>();
        put::<Int64Type>(&mut group, counts.map_err(|e| ParquetError::External(e.into()))?)?;
        put::<DoubleType>(&mut group, draws.iter().map(|entry| entry.sd))?;
    }
    if width > 5 {
        let end = |end: usize| draws.iter().filter_map(move |entry| Some(entry.interval?[end]));
        put::<DoubleType>(&mut group, end(0))?;
        put::<DoubleType>(&mut group, end(1))?;
    }
    group.close()?;
    file.into_inner()
}

/// Writes the next column.
fn put<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
    values: impl IntoIterator<Item = T::T>,
) -> Result<(), ParquetError> {
    if let Some(mut column) = group.next_column()? {
        column.typed::<T>().write_batch(&values.into_iter().collect::<Vec<_>>(), None, None)?;
        column.close()?;
    }
    Ok(())
}

/// Reads a table. The library asserts what a damaged file may break, and it must not take the program with it.
pub(super) fn read(bytes: Vec<u8>) -> Result<GameTable, String> {
    let damaged = || "not a table in Parquet (its parts contradict each other)".to_owned();
    panic::catch_unwind(|| of_bytes(bytes)).unwrap_or_else(|_| Err(damaged()))
}

fn of_bytes(bytes: Vec<u8>) -> Result<GameTable, String> {
    let file = SerializedFileReader::new(Bytes::from(bytes)).map_err(|e| format!("not a table in Parquet ({e})"))?;
    let find = |name: &str| column(&file, name).map_err(|problem| in_column(name, problem));
    let names = |name: &str| find(name)?.ok_or("it is missing").and_then(Column::texts).map_err(|e| in_column(name, e));
    let numbers = |name: &str| find(name)?.map(Column::numbers).transpose().map_err(|e| in_column(name, e));
    let (rows, cols) = (names("row")?, names("col")?);
    let means = numbers("mean")?.ok_or_else(|| in_column("mean", "it is missing"))?;
    let counts = find("n")?.map(Column::counts).transpose().map_err(|e| in_column("n", e))?;
    let [sds, lows, highs] = [numbers("sd")?, numbers("low")?, numbers("high")?];
    let lengths = [Some(cols.len()), Some(means.len()), counts.as_ref().map(Vec::len)];
    let lengths = lengths.into_iter().chain([&sds, &lows, &highs].map(|found| found.as_ref().map(Vec::len)));
    if lengths.flatten().any(|length| length != rows.len()) {
        return Err("its columns have different lengths".to_owned());
    }
    let sample = |at: usize| {
        let interval = lows.as_ref().zip(highs.as_ref()).map(|(low, high)| [low[at], high[at]]);
        counts.as_ref().zip(sds.as_ref()).map(|(n, sd)| Draws { n: n[at], sd: sd[at], interval })
    };
    let lines = rows.into_iter().zip(cols).zip(means).enumerate();
    long::table(lines.map(|(at, ((row, col), mean))| Ok(Line { row, col, mean, sample: sample(at) })))
}

fn in_column(name: &str, problem: impl Display) -> String {
    format!("column `{name}`: {problem}")
}

/// Values of one of the types that a game can have.
enum Column {
    Texts(Vec<String>),
    Integers(Vec<i64>),
    Numbers(Vec<f64>),
}

impl Column {
    fn texts(self) -> Result<Vec<String>, &'static str> {
        match self {
            Self::Texts(values) => Ok(values),
            Self::Integers(values) => Ok(values.into_iter().map(|value| value.to_string()).collect()),
            Self::Numbers(_) => Err("it holds fractions, not names"),
        }
    }

    /// As doubles; integers beyond 2⁵³ are rounded.
    fn numbers(self) -> Result<Vec<f64>, &'static str> {
        match self {
            Self::Numbers(values) => Ok(values),
            Self::Integers(values) => Ok(values.into_iter().map(|value| value as f64).collect()),
            Self::Texts(_) => Err("it holds texts, not numbers"),
        }
    }

    fn counts(self) -> Result<Vec<u64>, String> {
        let Self::Integers(values) = self else { return Err("it holds no integers".to_owned()) };
        let count = |value: i64| u64::try_from(value).map_err(|_| format!("`{value}` is not a count"));
        values.into_iter().map(count).collect()
    }

    fn append(&mut self, more: Self) {
        match (self, more) {
            (Self::Texts(all), Self::Texts(more)) => all.extend(more),
            (Self::Integers(all), Self::Integers(more)) => all.extend(more),
            (Self::Numbers(all), Self::Numbers(more)) => all.extend(more),
            // A column has one type in all row groups.
            (all, more) => *all = more,
        }
    }
}

/// The column of that name, if there is one.
fn column(file: &SerializedFileReader<Bytes>, name: &str) -> Result<Option<Column>, String> {
    let schema = file.metadata().file_metadata().schema_descr();
    let Some(place) = schema.columns().iter().position(|column| column.path().string() == name) else {
        return Ok(None);
    };
    let kind = schema.column(place).converted_type();
    let mut all: Option<Column> = None;
    for group in 0..file.num_row_groups() {
        let chunk_of = file.metadata().row_group(group).column(place);
        let offsets = [chunk_of.data_page_offset(), chunk_of.compressed_size()];
        if offsets.into_iter().chain(chunk_of.dictionary_page_offset()).any(|offset| offset < 0) {
            return Err("it lies outside the file".to_owned());
        }
        let reader = file.get_row_group(group).and_then(|group| group.get_column_reader(place));
        let more = chunk(reader.map_err(|e| e.to_string())?, kind)?;
        match &mut all {
            Some(all) => all.append(more),
            None => all = Some(more),
        }
    }
    Ok(all)
}

/// The part of a column that lies in one row group.
fn chunk(reader: ColumnReader, kind: ConvertedType) -> Result<Column, String> {
    use ConvertedType::{ENUM, INT_8, INT_16, INT_32, INT_64, NONE, UINT_8, UINT_16, UINT_32, UINT_64, UTF8};
    match (reader, kind) {
        (ColumnReader::ByteArrayColumnReader(reader), UTF8 | ENUM) => {
            drain(reader, |text| Ok(text.as_utf8()?.to_owned())).map(Column::Texts)
        }
        (ColumnReader::DoubleColumnReader(reader), NONE) => drain(reader, Ok).map(Column::Numbers),
        (ColumnReader::FloatColumnReader(reader), NONE) => drain(reader, |x| Ok(f64::from(x))).map(Column::Numbers),
        (ColumnReader::Int32ColumnReader(reader), UINT_32) => {
            drain(reader, |x| Ok(i64::from(x as u32))).map(Column::Integers)
        }
        (ColumnReader::Int32ColumnReader(reader), NONE | INT_8 | INT_16 | INT_32 | UINT_8 | UINT_16) => {
            drain(reader, |x| Ok(i64::from(x))).map(Column::Integers)
        }
        (ColumnReader::Int64ColumnReader(reader), NONE | INT_64 | UINT_64) => drain(reader, Ok).map(Column::Integers),
        _ => Err("it holds neither numbers nor texts".to_owned()),
    }
}

/// All values of a column chunk; a missing one is an error.
fn drain<T: DataType, U>(
    mut reader: ColumnReaderImpl<T>,
    convert: impl Fn(T::T) -> Result<U, ParquetError>,
) -> Result<Vec<U>, String> {
    let (mut all, mut values, mut defined, mut repeated) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    loop {
        let read = reader.read_records(BATCH, Some(&mut defined), Some(&mut repeated), &mut values);
        let (records, present, levels) = read.map_err(|e| e.to_string())?;
        if present < records || levels > records {
            return Err("a value is missing, or there are several in a line".to_owned());
        }
        if records == 0 {
            return Ok(all);
        }
        for value in values.drain(..) {
            all.push(convert(value).map_err(|e| e.to_string())?);
        }
        defined.clear();
        repeated.clear();
    }
}
