//! Tables of records for data frames: one line a record, one column a field, as CSV and as Parquet.
//!
//! What a record is, its own serialisation says: nested fields are joined with `.`, elements of a list are numbered from 1,
//! and an estimate becomes four columns. So a table cannot differ from the JSON beside it. A field that a record does not
//! have is empty in CSV and null in Parquet.

use super::{refused, replace};
use crate::error::Error;
use ::csv::Writer;
use ::parquet::basic::Compression;
use ::parquet::data_type::{ByteArray, ByteArrayType, DoubleType};
use ::parquet::errors::ParquetError;
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;
use serde::Serialize;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

/// Columns in the order in which records name them first.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    names: Vec<String>,
    /// By line, then by column.
    lines: Vec<Vec<Option<Value>>>,
}

impl Frame {
    /// One line for each record.
    ///
    /// # Errors
    /// [`Error::Failed`] for a record that is not a JSON object.
    pub fn of<T: Serialize>(records: &[T]) -> Result<Self, Error> {
        let mut frame = Self { names: Vec::new(), lines: Vec::new() };
        for record in records {
            let value = serde_json::to_value(record).map_err(|e| Error::Failed {
                problem: format!("a record cannot be written as a line of a table: {e}"),
                hint: "report this with the command".to_owned(),
            })?;
            let mut line = vec![None; frame.names.len()];
            frame.flatten(&mut line, String::new(), value);
            frame.lines.push(line);
        }
        let width = frame.names.len();
        frame.lines.iter_mut().for_each(|line| line.resize(width, None));
        Ok(frame)
    }

    fn flatten(&mut self, line: &mut Vec<Option<Value>>, name: String, value: Value) {
        let below = |key: &str| if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") };
        match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    self.flatten(line, below(&key), value);
                }
            }
            Value::Array(elements) => {
                for (index, value) in (1..).zip(elements) {
                    self.flatten(line, below(&format!("{index}")), value);
                }
            }
            Value::Null => {}
            value => {
                let column = self.names.iter().position(|known| *known == name).unwrap_or_else(|| {
                    self.names.push(name);
                    self.names.len() - 1
                });
                line.resize(line.len().max(column + 1), None);
                line[column] = Some(value);
            }
        }
    }

    /// Writes the table beside its place and then moves it there, over an earlier one; the ending of the name says how.
    ///
    /// # Errors
    /// [`Error::Game`] for an ending other than `.csv` and `.parquet`; [`Error::Io`] or [`Error::DiskFull`].
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let bytes = match path.extension().and_then(|ending| ending.to_str()) {
            Some("csv") => self.csv(),
            Some("parquet") => self.parquet().map_err(|e| e.to_string()),
            _ => Err("the format cannot be told from the name".to_owned()),
        };
        let bytes = bytes.map_err(|problem| refused(path, problem, "`.csv` and `.parquet` are known"))?;
        replace(path, &bytes)
    }

    fn csv(&self) -> Result<Vec<u8>, String> {
        let mut out = Writer::from_writer(Vec::new());
        out.write_record(&self.names).map_err(|e| e.to_string())?;
        for line in &self.lines {
            out.write_record(line.iter().map(text)).map_err(|e| e.to_string())?;
        }
        out.into_inner().map_err(|e| e.to_string())
    }

    fn parquet(&self) -> Result<Vec<u8>, ParquetError> {
        let numeric: Vec<bool> = (0..self.names.len()).map(|column| self.is_numeric(column)).collect();
        let declared = self.names.iter().zip(&numeric).map(|(name, numeric)| {
            let name = name.replace('.', "_");
            if *numeric { format!("OPTIONAL DOUBLE {name}; ") } else { format!("OPTIONAL BYTE_ARRAY {name} (UTF8); ") }
        });
        let schema = Arc::new(parse_message_type(&format!("message table {{ {} }}", declared.collect::<String>()))?);
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let mut file = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties))?;
        let mut group = file.next_row_group()?;
        for (column, numeric) in numeric.into_iter().enumerate() {
            let present = || self.lines.iter().filter_map(|line| line[column].as_ref());
            let levels: Vec<i16> = self.lines.iter().map(|line| i16::from(line[column].is_some())).collect();
            let Some(mut writer) = group.next_column()? else { break };
            if numeric {
                let values: Vec<f64> = present().filter_map(Value::as_f64).collect();
                writer.typed::<DoubleType>().write_batch(&values, Some(&levels), None)?;
            } else {
                let texts: Vec<ByteArray> = present().map(|v| ByteArray::from(plain(v).as_str())).collect();
                writer.typed::<ByteArrayType>().write_batch(&texts, Some(&levels), None)?;
            }
            writer.close()?;
        }
        group.close()?;
        file.into_inner()
    }

    fn is_numeric(&self, column: usize) -> bool {
        self.lines.iter().filter_map(|line| line[column].as_ref()).all(Value::is_number)
    }
}

fn text(value: &Option<Value>) -> String {
    value.as_ref().map(plain).unwrap_or_default()
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::Frame;
    use serde_json::json;

    fn frame() -> Frame {
        let first = json!({"method": "psro, plain", "asr": {"mean": 0.25, "n": 4}, "by_turn": [0.5]});
        let second = json!({"method": "grts", "asr": {"mean": 0.125, "n": 8}, "by_turn": [0.5, 1.0], "extra": null});
        Frame::of(&[first, second]).unwrap()
    }

    #[test]
    fn a_column_a_field_and_empty_where_there_is_none() {
        let lines = "asr.mean,asr.n,by_turn.1,method,by_turn.2\n0.25,4,0.5,\"psro, plain\",\n0.125,8,0.5,grts,1.0\n";
        assert_eq!(String::from_utf8(frame().csv().unwrap()).unwrap(), lines);
    }

    #[test]
    fn parquet_holds_the_same() {
        use ::parquet::file::reader::{FileReader, SerializedFileReader};
        let bytes = bytes::Bytes::from(frame().parquet().unwrap());
        let rows: Vec<String> = SerializedFileReader::new(bytes)
            .unwrap()
            .get_row_iter(None)
            .unwrap()
            .map(|row| row.unwrap().to_string())
            .collect();
        assert_eq!(
            rows,
            [
                r#"{asr_mean: 0.25, asr_n: 4.0, by_turn_1: 0.5, method: "psro, plain", by_turn_2: null}"#,
                r#"{asr_mean: 0.125, asr_n: 8.0, by_turn_1: 0.5, method: "grts", by_turn_2: 1.0}"#,
            ]
        );
    }
}
