//! Does `--features cuda` still build? Answered on a machine without a GPU, and without CUDA.
//!
//! The compiler, its headers and the libraries to link with are NVIDIA's own, in Python wheels; they are put below `target/` once.
//! Wheels hold what programs load, not what they are linked with: names without a version, and the driver's library. The
//! first are links; the second is compiled here from its header, every function answering that there is no device. So the
//! finished binary starts, and its refusal is part of the check. It is far from `.ci/run`: kernels alone take many minutes.

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use std::env;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// CUDA 13.0: the first whose wheels have `nvcc` itself; what is compiled with it runs with the driver of that version or later.
const WHEELS: [&str; 8] = [
    "nvidia-cuda-nvcc==13.0.88",
    "nvidia-cuda-crt==13.0.88",
    "nvidia-nvvm==13.0.88",
    "nvidia-cuda-runtime==13.0.96",
    "nvidia-cuda-cccl==13.0.85",
    "nvidia-cuda-nvrtc==13.0.88",
    "nvidia-cublas==13.0.2.14",
    "nvidia-curand==10.4.0.35",
];
/// What cuInit answers where there is no device.
const NO_DEVICE: u32 = 100;

/// How far to go.
#[derive(Debug, Args)]
pub struct Settings {
    /// Stop after type checks: kernels are compiled, nothing is linked or started
    #[arg(long)]
    check: bool,
    /// Compute capability to compile kernels for: 80 is A100, 90 is H100
    #[arg(long, default_value_t = 90)]
    compute_cap: u32,
    /// Jobs at once
    #[arg(long, default_value_t = 2)]
    jobs: u32,
}

/// Sets CUDA up, builds the command line with it, and asks it for a device.
pub fn run(settings: &Settings) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")?;
    let home = root.join("target/cuda");
    let toolkit = Toolkit { directory: home.join("wheels/nvidia/cu13") };
    toolkit.install(&home)?;
    let verb = if settings.check { "check" } else { "build" };
    // Whoever started this says which; else the one on the path, which sets the toolchain for the compilers below it too.
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root).args([verb, "--release", "--locked", "-p", "grts-cli", "--features", "cuda"]);
    cargo.arg("--target-dir").arg(home.join("target")).args(["--jobs", &settings.jobs.to_string()]);
    cargo.env("CUDA_COMPUTE_CAP", settings.compute_cap.to_string());
    cargo.env("CUDAFORGE_THREADS", settings.jobs.to_string());
    finish(toolkit.environment(&mut cargo)?)?;
    if settings.check {
        println!("`cargo {verb} --features cuda` passes; nothing was linked");
        return Ok(());
    }
    let binary = home.join("target/release/grts");
    let mut grts = Command::new(&binary);
    grts.args(["generate", "builtin", "--prompt", "x", "--device", "cuda:0"]).current_dir(root);
    let said = grts.env("LD_LIBRARY_PATH", toolkit.libraries()).output().context("cannot start the binary")?;
    let errors = String::from_utf8_lossy(&said.stderr);
    ensure!(said.status.code() == Some(2), "without a device the binary ends with {}: {errors}", said.status);
    ensure!(errors.starts_with("error: device `cuda:0`: "), "without a device the binary says: {errors}");
    println!("`{}` is built; without a device it says:\n{errors}", binary.display());
    Ok(())
}

/// CUDA in a folder.
struct Toolkit {
    directory: PathBuf,
}

impl Toolkit {
    fn libraries(&self) -> PathBuf {
        self.directory.join("lib")
    }

    /// Unless the same wheels are there.
    fn install(&self, home: &Path) -> Result<()> {
        let stamp = home.join("installed");
        let wanted = WHEELS.join("\n");
        if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
            return Ok(());
        }
        eprintln!("installing CUDA's compiler and libraries below `{}`: 1.2 GB", home.display());
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--no-deps", "--upgrade", "--target"]);
        finish(pip.arg(home.join("wheels")).args(WHEELS))?;
        self.name_libraries()?;
        self.build_driver()?;
        fs::write(&stamp, wanted).with_context(|| format!("cannot write `{}`", stamp.display()))
    }

    /// `libx.so` for each `libx.so.1`, which is what a linker looks for.
    fn name_libraries(&self) -> Result<()> {
        for entry in fs::read_dir(self.libraries()).context("the wheels have no libraries")? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let Some((short, _)) = name.split_once(".so.") else { continue };
            let link = self.libraries().join(format!("{short}.so"));
            if !short.contains(".alt") && !link.exists() {
                fs::copy(&path, &link).with_context(|| format!("cannot write `{}`", link.display()))?;
            }
        }
        Ok(())
    }

    /// The driver's library, every function of which says that there is no device.
    fn build_driver(&self) -> Result<()> {
        let header = self.directory.join("include/cuda.h");
        let text = fs::read_to_string(&header).with_context(|| format!("cannot read `{}`", header.display()))?;
        let mut source = String::new();
        for name in driver_functions(&text) {
            writeln!(source, "int {name}(void) {{ return {NO_DEVICE}; }}")?;
        }
        let path = self.directory.join("driver.c");
        fs::write(&path, source).with_context(|| format!("cannot write `{}`", path.display()))?;
        let library = self.libraries().join("libcuda.so.1");
        let mut cc = Command::new(env::var_os("CC").unwrap_or_else(|| "cc".into()));
        finish(cc.args(["-shared", "-fPIC", "-w", "-Wl,-soname,libcuda.so.1", "-o"]).arg(&library).arg(&path))?;
        let link = self.libraries().join("libcuda.so");
        fs::copy(&library, &link).map(drop).with_context(|| format!("cannot write `{}`", link.display()))
    }

    /// What build scripts look at.
    fn environment<'a>(&self, command: &'a mut Command) -> Result<&'a mut Command> {
        let nvcc = self.directory.join("bin");
        let search = env::var_os("PATH").unwrap_or_default();
        let search: OsString = env::join_paths(std::iter::once(nvcc.clone()).chain(env::split_paths(&search)))?;
        Ok(command
            .env("CUDA_HOME", &self.directory)
            .env("NVCC", nvcc.join("nvcc"))
            .env("PATH", search)
            .env("LIBRARY_PATH", self.libraries()))
    }
}

/// Every function that the header declares, under the names that programs are linked with (`cuMemAlloc` is `cuMemAlloc_v2`).
fn driver_functions(header: &str) -> Vec<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = header
        .split(|c| !is_name(c))
        .filter(|word| word.strip_prefix("cu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase())));
    let mut names: Vec<String> = words.map(str::to_owned).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn finish(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("cannot start `{program}`"))?;
    if !status.success() {
        bail!("`{program}` ended with {status}");
    }
    Ok(())
}
