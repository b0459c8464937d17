//! Safetensors files: one, or shards with an index; read tensor by tensor, written whole.

use crate::weights::Parameter;
use crate::{Error, Result};
use safetensors::tensor::{Dtype, Metadata, View};
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// The tensors of a directory (or of one file), none of them read yet.
pub(crate) struct Checkpoint {
    shards: Vec<Shard>,
    optional_prefix: &'static str,
    /// What to name in an error about a tensor that is nowhere.
    whole: PathBuf,
}

struct Shard {
    path: PathBuf,
    file: Mutex<File>,
    metadata: Metadata,
    /// Where the values begin in the file.
    data: u64,
}

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

impl Checkpoint {
    /// Opens `model.safetensors`, or every shard that `model.safetensors.index.json` names. A name may lack `optional_prefix`.
    pub(crate) fn open(directory: &Path, optional_prefix: &'static str) -> Result<Self> {
        let (single, index) = (directory.join(SINGLE), directory.join(INDEX));
        if single.is_file() || !index.is_file() {
            return Ok(Self { optional_prefix, ..Self::open_file(&single)? });
        }
        let text = std::fs::read_to_string(&index).map_err(Error::io("read", &index))?;
        let json: serde_json::Value = serde_json::from_str(&text).map_err(|e| Error::format(&index, e.to_string()))?;
        let map = json["weight_map"].as_object().ok_or_else(|| Error::format(&index, "`weight_map` is missing"))?;
        let mut names: Vec<&str> = map.values().filter_map(serde_json::Value::as_str).collect();
        names.sort_unstable();
        names.dedup();
        if let Some(name) = names.iter().find(|name| Path::new(name).components().count() != 1) {
            return Err(Error::format(&index, format!("`weight_map` names `{name}`, which is not a file beside it")));
        }
        let shards = names.iter().map(|name| Shard::open(&directory.join(name))).collect::<Result<_>>()?;
        Ok(Self { shards, optional_prefix, whole: index })
    }

    /// Opens one file.
    pub(crate) fn open_file(path: &Path) -> Result<Self> {
        Ok(Self { shards: vec![Shard::open(path)?], optional_prefix: "", whole: path.to_owned() })
    }

    /// Every tensor's name.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        self.shards.iter().flat_map(|shard| shard.metadata.tensors().into_keys()).collect()
    }

    /// Tensor `name` as `f32`; `asker` is who wants it to have `shape`.
    pub(crate) fn read(&self, name: &str, shape: &[usize], asker: &str) -> Result<Vec<f32>> {
        let names = [Some(name), name.strip_prefix(self.optional_prefix)];
        let found = names
            .into_iter()
            .flatten()
            .find_map(|name| self.shards.iter().find_map(|shard| Some((shard, shard.metadata.info(name)?))));
        let Some((shard, info)) = found else {
            return Err(Error::format(&self.whole, format!("tensor `{name}` is missing")));
        };
        let refuse = |reason: String| Err(Error::format(&shard.path, format!("tensor `{name}` {reason}")));
        if info.shape != shape {
            return refuse(format!("has shape {:?}, {asker} asks for {shape:?}", info.shape));
        }
        let bytes = shard.bytes(info.data_offsets)?;
        let data = match to_f32(info.dtype, &bytes) {
            Some(data) => data,
            None => return refuse(format!("is {:?}; f32, f16 or bf16 is read", info.dtype)),
        };
        match data.iter().position(|x| !x.is_finite()) {
            Some(at) => refuse(format!("holds {} at index {at}", data[at])),
            None => Ok(data),
        }
    }
}

impl Shard {
    fn open(path: &Path) -> Result<Self> {
        let incomplete = |why: String| {
            Error::format(path, format!("not a complete safetensors file ({why}); copy or download it again"))
        };
        let mut file = File::open(path).map_err(Error::io("read", path))?;
        let length = file.metadata().map_err(Error::io("read", path))?.len();
        let mut head = Vec::new();
        file.by_ref().take(8).read_to_end(&mut head).map_err(Error::io("read", path))?;
        let size = head.as_slice().try_into().map(u64::from_le_bytes).unwrap_or(u64::MAX);
        if size > length.saturating_sub(8) {
            return Err(incomplete(format!("{length} bytes, too few for its header")));
        }
        file.by_ref().take(size).read_to_end(&mut head).map_err(Error::io("read", path))?;
        let metadata: Metadata = serde_json::from_slice(&head[8..]).map_err(|e| incomplete(e.to_string()))?;
        let data = 8 + size;
        let end = metadata.tensors().values().map(|info| info.data_offsets.1).max().unwrap_or(0) as u64;
        if data + end != length {
            return Err(incomplete(format!("{length} bytes, {} are due", data + end)));
        }
        Ok(Self { path: path.to_owned(), file: Mutex::new(file), metadata, data })
    }

    fn bytes(&self, (from, to): (usize, usize)) -> Result<Vec<u8>> {
        let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut bytes = vec![0; to - from];
        let read = file.seek(SeekFrom::Start(self.data + from as u64)).and_then(|_| file.read_exact(&mut bytes));
        read.map_err(Error::io("read", &self.path))?;
        Ok(bytes)
    }
}

fn to_f32(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    match dtype {
        Dtype::F32 => Some(bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()),
        Dtype::BF16 => Some(bytes.as_chunks::<2>().0.iter().map(|b| half::bf16::from_le_bytes(*b).to_f32()).collect()),
        Dtype::F16 => Some(bytes.as_chunks::<2>().0.iter().map(|b| half::f16::from_le_bytes(*b).to_f32()).collect()),
        _ => None,
    }
}

struct F32<'a>(&'a Parameter);

impl View for F32<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }
    fn shape(&self) -> &[usize] {
        &self.0.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        self.0.data.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>().into()
    }
    fn data_len(&self) -> usize {
        4 * self.0.data.len()
    }
}

/// Writes tensors as an f32 safetensors file that `transformers` and `peft` accept (`format: pt`).
pub(crate) fn write_safetensors(path: &Path, parameters: &[Parameter]) -> Result<()> {
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let views = parameters.iter().map(|p| (p.name.as_str(), F32(p)));
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(|e| Error::format(path, e.to_string()))?;
    std::fs::write(path, bytes).map_err(Error::io("write", path))
}
