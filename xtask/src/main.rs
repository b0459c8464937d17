//! Work on the project itself: train the shipped base, check the structure, compare with peers.
//!
//! `cargo xtask` lists the tasks. Nothing here is needed to use `grts`.

mod bench_nash;
mod bench_peers;
mod check_exchange;
mod compare_oracles;
mod cuda_check;
mod known_games;
mod pretrain;
mod tidy;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Tasks for people who work on grts")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Measure the solution of matrix games beside HiGHS.
    BenchNash(bench_nash::Settings),
    /// Measure the language engine beside PyTorch, transformers with peft, and llama.cpp.
    BenchPeers(bench_peers::Settings),
    /// Open the files of `grts` in numpy, pandas, Gambit and OpenSpiel, and theirs in `grts`.
    CheckExchange,
    /// Build with CUDA, whose compiler and libraries are fetched once; no GPU is needed.
    CudaCheck(cuda_check::Settings),
    /// Compare diversity terms under a weak oracle on games with known payoffs.
    CompareOracles(compare_oracles::Settings),
    /// Print the curve of the loop on a game with a known one.
    KnownGames(known_games::Settings),
    /// Train the base model of the built-in world and write it as a Hugging Face directory.
    Pretrain(pretrain::Settings),
    /// Check that imports run in one direction only.
    Tidy,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().task {
        Task::BenchNash(settings) => bench_nash::run(&settings),
        Task::BenchPeers(settings) => bench_peers::run(&settings),
        Task::CheckExchange => check_exchange::run(),
        Task::CudaCheck(settings) => cuda_check::run(&settings),
        Task::CompareOracles(settings) => compare_oracles::run(&settings),
        Task::KnownGames(settings) => known_games::run(&settings),
        Task::Pretrain(settings) => pretrain::run(&settings),
        Task::Tidy => tidy::run(),
    }
}
