//! What is measured: one table of rows, sizes and contenders, read by the parent and by grts' own worker.

use anyhow::{Context as _, Result};
use clap::ValueEnum;

/// A row as it is asked for on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Row {
    /// Greedy decoding of the tiny model, f32.
    DecodeTiny,
    /// Greedy decoding of the 0.5B shape.
    DecodeHalf,
    /// One training step: the whole tiny model; LoRA on the 0.5B shape.
    Train,
    /// The same LoRA step with and without checkpointing.
    Checkpointing,
    /// Eight adapters in one batch beside the base alone.
    Adapters,
    /// Dialogues of three turns between eight red and eight blue adapters.
    Dialogues,
    /// Resident memory of 64 adapters.
    Memory,
    /// Sentence vectors of all-MiniLM-L6-v2.
    Embedder,
}

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    Grts,
    Torch,
    Transformers,
    LlamaCpp,
    SentenceTransformers,
}

/// A peer at a precision; grts takes the row's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contender {
    pub peer: Peer,
    pub precision: &'static str,
}

/// One row with its sizes.
#[derive(Debug, Clone)]
pub struct Job {
    pub row: Row,
    pub name: &'static str,
    /// Folder of the model below `models/`.
    pub model: &'static str,
    /// Rows of a batch; the number of adapters where memory is measured.
    pub batches: &'static [usize],
    /// Tokens of a prompt, or of a training sequence.
    pub prompt: usize,
    /// Tokens to generate a row (and a turn, in dialogues).
    pub new: usize,
    /// Timed training steps, after one that warms up.
    pub steps: usize,
    /// Precision of grts.
    pub precision: &'static str,
    pub contenders: &'static [Contender],
}

const GRTS: Contender = Contender { peer: Peer::Grts, precision: "" };
const TORCH: Contender = Contender { peer: Peer::Torch, precision: "f32" };
const TORCH_BF16: Contender = Contender { peer: Peer::Torch, precision: "bf16" };
const HF: Contender = Contender { peer: Peer::Transformers, precision: "f32" };
const HF_BF16: Contender = Contender { peer: Peer::Transformers, precision: "bf16" };
const LLAMA_CPP: Contender = Contender { peer: Peer::LlamaCpp, precision: "f32" };
const LLAMA_CPP_BF16: Contender = Contender { peer: Peer::LlamaCpp, precision: "bf16" };

const SENTENCES: Contender = Contender { peer: Peer::SentenceTransformers, precision: "f32" };

/// Sizes of a row that `--quick` does not shorten.
const BASE: Job = Job {
    row: Row::DecodeTiny,
    name: "",
    model: "tiny",
    batches: &[32],
    prompt: 16,
    new: 32,
    steps: 3,
    precision: "f32",
    contenders: &[GRTS],
};

/// LoRA on the 0.5B shape.
const TRAIN_HALF: Job = Job { row: Row::Train, model: "half-qwen2", batches: &[4], prompt: 128, ..BASE };

/// The same on one long dialogue: what is kept of a short one is little beside the model, and shards of some hundred tokens bound it.
const CHECKPOINTING_HALF: Job = Job { row: Row::Checkpointing, batches: &[1], prompt: 2048, ..TRAIN_HALF };

const JOBS: [Job; 13] = [
    Job { name: "decode-tiny", batches: &[1, 8, 32, 128], new: 64, contenders: &[GRTS, TORCH, HF, LLAMA_CPP], ..BASE },
    Job {
        row: Row::DecodeHalf,
        name: "decode-half",
        model: "half-qwen2",
        batches: &[1, 8, 32, 128],
        new: 24,
        precision: "bf16",
        contenders: &[GRTS, TORCH_BF16, LLAMA_CPP_BF16],
        ..BASE
    },
    Job { row: Row::Train, name: "train-tiny", batches: &[64], prompt: 128, contenders: &[GRTS, HF], ..BASE },
    Job { name: "train-half-f32", contenders: &[GRTS, HF], ..TRAIN_HALF },
    Job { name: "train-half-bf16", precision: "bf16", contenders: &[GRTS, HF_BF16], ..TRAIN_HALF },
    Job { name: "checkpointing-half-f32", ..CHECKPOINTING_HALF },
    Job { name: "checkpointing-half-bf16", precision: "bf16", ..CHECKPOINTING_HALF },
    Job { row: Row::Adapters, name: "adapters-tiny", ..BASE },
    Job { row: Row::Adapters, name: "adapters-half", model: "half-qwen2", new: 8, precision: "bf16", ..BASE },
    Job { row: Row::Dialogues, name: "dialogues", batches: &[64], new: 16, contenders: &[GRTS, HF], ..BASE },
    Job { row: Row::Memory, name: "memory-tiny", batches: &[64], contenders: &[GRTS, HF], ..BASE },
    Job {
        row: Row::Memory,
        name: "memory-half",
        model: "half-qwen2",
        batches: &[64],
        precision: "bf16",
        contenders: &[GRTS, HF_BF16],
        ..BASE
    },
    Job {
        row: Row::Embedder,
        name: "embedder",
        model: "minilm",
        batches: &[1000],
        contenders: &[GRTS, SENTENCES],
        ..BASE
    },
];

impl Job {
    /// The jobs of `rows`, or all of them.
    pub fn all(rows: &[Row], quick: bool) -> Vec<Self> {
        let wanted = |job: &&Self| rows.is_empty() || rows.contains(&job.row);
        JOBS.iter().filter(wanted).map(|job| job.sized(quick)).collect()
    }

    /// The job called `name`.
    pub fn named(name: &str, quick: bool) -> Result<Self> {
        let found = JOBS.iter().find(|job| job.name == name);
        Ok(found.with_context(|| format!("no row is called `{name}`"))?.sized(quick))
    }

    fn sized(&self, quick: bool) -> Self {
        let mut job = self.clone();
        if quick {
            job.steps = 1;
            job.new = job.new.min(8);
            job.batches = if job.batches.len() > 1 { &[1, 8] } else { job.batches };
        }
        job
    }
}

impl Peer {
    /// Name in samples and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Grts => "grts",
            Self::Torch => "torch",
            Self::Transformers => "transformers",
            Self::LlamaCpp => "llama.cpp",
            Self::SentenceTransformers => "sentence-transformers",
        }
    }

    /// The script below `xtask/peers/`; grts has none.
    pub fn script(self) -> Option<&'static str> {
        match self {
            Self::Grts => None,
            Self::Torch => Some("peer_torch.py"),
            Self::Transformers => Some("peer_transformers.py"),
            Self::LlamaCpp => Some("peer_llama_cpp.py"),
            Self::SentenceTransformers => Some("peer_sentence.py"),
        }
    }
}
