//! numpy's `.npy` and `.npz`: one array of payoffs, or an archive with all that is known.
//!
//! In an archive `payoff` is m × n; `count`, `variance`, `low` and `high` (the ends of intervals) have its shape; `row_names`,
//! `col_names`, `row` and `col` (the strategies) have one value for each row or column. An archive with a single array is
//! read whatever its name. Floats of 32 and 64 bits and integers of any width are read, in C or Fortran order; floats are
//! written as doubles.

use super::{GameTable, Sample};
use grts_game::Matrix;
use npyz::{DType, NpyFile, Order, TypeChar, TypeStr, WriteOptions, WriterBuilder, npz};
use std::io::{self, Cursor, Read, Write};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter};

/// An array's shape and its values in C order.
type Array<T> = (Vec<u64>, Vec<T>);
type Archive<'a> = ZipArchive<Cursor<&'a [u8]>>;

pub(super) fn read_array(bytes: &[u8]) -> Result<GameTable, String> {
    Ok(payoffs(doubles(bytes)?)?.into())
}

pub(super) fn read_archive(bytes: &[u8]) -> Result<GameTable, String> {
    let strange = |_| "not an archive of numpy's".to_owned();
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(strange)?;
    let files = files(&archive)?;
    let main = match files.as_slice() {
        [only] => npz::array_name_from_file_name(only).unwrap_or("payoff"),
        _ => "payoff",
    };
    let payoffs = payoffs(doubles(&member(&mut archive, main)?.ok_or("it has no array `payoff`")?)?)?;
    let (m, n) = (payoffs.rows(), payoffs.cols());
    let count = weights(&mut archive, "count", m * n)?.map(counts).transpose()?;
    let variance = weights(&mut archive, "variance", m * n)?;
    let interval = interval(&mut archive, m * n)?;
    let sample = count.zip(variance).map(|(count, variance)| Sample { count, variance, interval });
    let row_names = texts(&mut archive, "row_names", m)?;
    let names = row_names.zip(texts(&mut archive, "col_names", n)?).map(|(rows, cols)| [rows, cols]);
    let row = weights(&mut archive, "row", m)?;
    let strategies = row.zip(weights(&mut archive, "col", n)?).map(|(row, col)| [row, col]);
    Ok(GameTable { payoffs, sample, names, strategies })
}

fn payoffs((shape, values): Array<f64>) -> Result<Matrix, String> {
    let [rows, cols] = shape[..] else { return Err(format!("payoffs have the shape {shape:?}, not rows and columns")) };
    Matrix::new(rows as usize, cols as usize, values).map_err(|e| e.to_string())
}

fn files(archive: &Archive<'_>) -> Result<Vec<String>, String> {
    let names = archive.file_names().map(|name| name.map(|name| name.into_owned()));
    names.collect::<Result<_, _>>().map_err(|e| e.to_string())
}

/// The bytes of an array, if it is there.
fn member(archive: &mut Archive<'_>, name: &str) -> Result<Option<Vec<u8>>, String> {
    let name = npz::file_name_from_array_name(name);
    if !files(archive)?.contains(&name) {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let mut file = archive.by_name(&name).map_err(|e| e.to_string())?;
    file.read_to_end(&mut bytes).map_err(|e| format!("`{name}`: {e}"))?;
    Ok(Some(bytes))
}

fn numbers(archive: &mut Archive<'_>, name: &str, expected: usize) -> Result<Option<Vec<f64>>, String> {
    let Some(bytes) = member(archive, name)? else { return Ok(None) };
    let (_, values) = doubles(&bytes).map_err(|problem| format!("`{name}`: {problem}"))?;
    if let Some(at) = values.iter().position(|value| !value.is_finite()) {
        return Err(format!("`{name}`: value {at}, `{}`, is not a finite number", values[at]));
    }
    sized(name, expected, values).map(Some)
}

/// Numbers that cannot be negative.
fn weights(archive: &mut Archive<'_>, name: &str, expected: usize) -> Result<Option<Vec<f64>>, String> {
    let values = numbers(archive, name, expected)?;
    if let Some((at, value)) = values.iter().flatten().enumerate().find(|(_, value)| **value < 0.0) {
        return Err(format!("`{name}`: value {at}, `{value}`, is below 0"));
    }
    Ok(values)
}

fn counts(values: Vec<f64>) -> Result<Vec<u64>, String> {
    if let Some(at) = values.iter().position(|value| value.fract() != 0.0) {
        return Err(format!("`count`: value {at}, `{}`, is not a count", values[at]));
    }
    Ok(values.into_iter().map(|value| value as u64).collect())
}

fn interval(archive: &mut Archive<'_>, expected: usize) -> Result<Option<[Vec<f64>; 2]>, String> {
    let ends = numbers(archive, "low", expected)?.zip(numbers(archive, "high", expected)?);
    let Some((low, high)) = ends else { return Ok(None) };
    match low.iter().zip(&high).position(|(low, high)| low > high) {
        Some(at) => Err(format!("value {at} of `low` and `high`: `{}` to `{}` is not an interval", low[at], high[at])),
        None => Ok(Some([low, high])),
    }
}

fn texts(archive: &mut Archive<'_>, name: &str, expected: usize) -> Result<Option<Vec<String>>, String> {
    let Some(bytes) = member(archive, name)? else { return Ok(None) };
    let file = NpyFile::new(&bytes[..]).map_err(|e| format!("`{name}`: {e}"))?;
    sized(name, expected, file.into_vec::<String>().map_err(|e| format!("`{name}`: {e}"))?).map(Some)
}

fn sized<T>(name: &str, expected: usize, values: Vec<T>) -> Result<Vec<T>, String> {
    if values.len() == expected {
        return Ok(values);
    }
    Err(format!("`{name}`: expected {expected} values, found {}", values.len()))
}

/// Any real or integer array as doubles; integers beyond 2⁵³ are rounded, as numpy does.
fn doubles(bytes: &[u8]) -> Result<Array<f64>, String> {
    let file = NpyFile::new(bytes).map_err(|_| "not an array of numpy's".to_owned())?;
    let (shape, order, dtype) = (file.shape().to_vec(), file.order(), file.dtype());
    let DType::Plain(kind) = &dtype else { return Err("a structured array is no matrix".to_owned()) };
    let values = match (kind.type_char(), kind.size_field()) {
        (TypeChar::Float, 8) => file.into_vec::<f64>(),
        (TypeChar::Float, 4) => cast(file, |x: f32| f64::from(x)),
        (TypeChar::Int, 8) => cast(file, |x: i64| x as f64),
        (TypeChar::Int, 4) => cast(file, |x: i32| f64::from(x)),
        (TypeChar::Int, 2) => cast(file, |x: i16| f64::from(x)),
        (TypeChar::Int, 1) => cast(file, |x: i8| f64::from(x)),
        (TypeChar::Uint, 8) => cast(file, |x: u64| x as f64),
        (TypeChar::Uint, 4) => cast(file, |x: u32| f64::from(x)),
        (TypeChar::Uint, 2) => cast(file, |x: u16| f64::from(x)),
        (TypeChar::Uint, 1) => cast(file, |x: u8| f64::from(x)),
        _ => return Err(format!("values of type {} are no payoffs", dtype.descr())),
    };
    let values = values.map_err(|e| e.to_string())?;
    // Huge dimensions can wrap around to few values.
    if shape.iter().try_fold(1, |n: u64, &of| n.checked_mul(of)) != Some(values.len() as u64) {
        return Err(format!("the shape {shape:?} is not that of {} values", values.len()));
    }
    Ok((shape.clone(), in_c_order(values, &shape, order)))
}

fn cast<T: npyz::Deserialize>(file: NpyFile<&[u8]>, to: impl Fn(T) -> f64) -> io::Result<Vec<f64>> {
    Ok(file.into_vec::<T>()?.into_iter().map(to).collect())
}

fn in_c_order(values: Vec<f64>, shape: &[u64], order: Order) -> Vec<f64> {
    match (order, shape) {
        (Order::Fortran, &[rows, cols]) => {
            let (rows, cols) = (rows as usize, cols as usize);
            (0..rows).flat_map(|row| (0..cols).map(move |col| (row, col))).map(|(r, c)| values[c * rows + r]).collect()
        }
        _ => values,
    }
}

pub(super) fn array(table: &GameTable) -> Result<Vec<u8>, String> {
    let shape = [table.payoffs.rows() as u64, table.payoffs.cols() as u64];
    npy(&shape, table.payoffs.as_slice()).map_err(|e| e.to_string())
}

pub(super) fn archive(table: &GameTable) -> Result<Vec<u8>, String> {
    let (m, n) = (table.payoffs.rows() as u64, table.payoffs.cols() as u64);
    let mut arrays = vec![("payoff", npy(&[m, n], table.payoffs.as_slice()))];
    if let Some(Sample { count, variance, interval }) = &table.sample {
        arrays.extend([("count", npy(&[m, n], count)), ("variance", npy(&[m, n], variance))]);
        let ends = interval.iter().flat_map(|ends| ["low", "high"].into_iter().zip(ends));
        arrays.extend(ends.map(|(name, end)| (name, npy(&[m, n], end))));
    }
    if let Some([rows, cols]) = &table.names {
        arrays.extend([("row_names", npy_texts(m, rows)), ("col_names", npy_texts(n, cols))]);
    }
    if let Some([row, col]) = &table.strategies {
        arrays.extend([("row", npy(&[m], row)), ("col", npy(&[n], col))]);
    }
    // Stored, as `numpy.savez` does, and undated, so that one game is always the same bytes.
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let options = options.last_modified_time(DateTime::default());
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in arrays {
        let bytes = bytes.map_err(|e| e.to_string())?;
        archive.start_file(npz::file_name_from_array_name(name), options).map_err(|e| e.to_string())?;
        archive.write_all(&bytes).map_err(|e| e.to_string())?;
    }
    Ok(archive.finish().map_err(|e| e.to_string())?.into_inner())
}

/// One array, of the type that its values have in numpy.
fn npy<T>(shape: &[u64], values: &[T]) -> io::Result<Vec<u8>>
where
    T: npyz::AutoSerialize + Clone,
{
    let mut bytes = Vec::new();
    let mut writer = WriteOptions::<T>::new().default_dtype().shape(shape).writer(&mut bytes).begin_nd()?;
    writer.extend(values.iter().cloned())?;
    writer.finish()?;
    Ok(bytes)
}

/// Texts as numpy's `<U`, as wide as the longest.
fn npy_texts(len: u64, texts: &[String]) -> io::Result<Vec<u8>> {
    let width = texts.iter().map(|text| text.chars().count()).max().unwrap_or_default().max(1);
    let kind: TypeStr = format!("<U{width}").parse().map_err(io::Error::other)?;
    let mut bytes = Vec::new();
    let mut writer =
        WriteOptions::<str>::new().dtype(DType::Plain(kind)).shape(&[len]).writer(&mut bytes).begin_nd()?;
    texts.iter().try_for_each(|text| writer.push(text.as_str()))?;
    writer.finish()?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::read_array;

    fn file(header: &str, values: &[u8]) -> Vec<u8> {
        [&b"\x93NUMPY\x01\x00"[..], &(header.len() as u16).to_le_bytes(), header.as_bytes(), values].concat()
    }

    #[test]
    fn integers_and_fortran_order_are_read() {
        let bytes = file("{'descr': '|i1', 'fortran_order': True, 'shape': (2, 3), }\n", &[1, 2, 3, 4, 5, 255]);
        let game = read_array(&bytes).unwrap().payoffs;
        assert_eq!((game.rows(), game.as_slice()), (2, &[1.0, 3.0, 5.0, 2.0, 4.0, -1.0][..]));
    }

    #[test]
    fn arrays_that_are_no_payoffs_are_refused() {
        let header =
            |kind: &str, shape: &str| format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n");
        let cases = [
            ("|i1", "(6,)", "payoffs have the shape [6], not rows and columns"),
            ("|i1", "(0, 3)", "matrix is empty"),
            ("|S1", "(2, 3)", "values of type '|S1' are no payoffs"),
            ("|i1", "(9, 9)", "failed to fill whole buffer"),
            // 2⁶⁶ values wrap around to none.
            ("|i1", "(8589934592, 8589934592)", "the shape [8589934592, 8589934592] is not that of 0 values"),
        ];
        for (kind, shape, problem) in cases {
            assert_eq!(read_array(&file(&header(kind, shape), &[1, 2, 3, 4, 5, 6])).unwrap_err(), problem);
        }
    }
}
