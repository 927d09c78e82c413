//! Where the programs under test are: beside this test's own executable, built when they are missing or old.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

/// The programs and the folders (relative to the workspace) that they are made from.
const PROGRAMS: [(&str, &[&str]); 3] = [
    ("mcpd", &["config", "proto", "daemon"]),
    ("mcpctl", &["config", "proto", "ctl"]),
    ("mcpd-fixture", &["tests/src", "tests/Cargo.toml"]),
];

/// The daemon.
#[must_use]
pub fn mcpd() -> PathBuf {
    program("mcpd")
}

/// The client.
#[must_use]
pub fn mcpctl() -> PathBuf {
    program("mcpctl")
}

/// The program that misbehaves on demand.
#[must_use]
pub fn fixture() -> PathBuf {
    program("mcpd-fixture")
}

fn program(name: &str) -> PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(prepare).join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

/// The directory with the programs, all of them up to date. `MCPD_TEST_BIN_DIR` names one to take as it is.
fn prepare() -> PathBuf {
    if let Some(directory) = std::env::var_os("MCPD_TEST_BIN_DIR") {
        return directory.into();
    }
    let me = std::env::current_exe().expect("a test knows its own path");
    // target/PROFILE/deps/NAME-HASH
    let directory = me.ancestors().nth(2).expect("cargo puts tests into target/PROFILE/deps").to_path_buf();
    let stale = PROGRAMS.iter().any(|(name, sources)| is_stale(&directory, name, sources));
    // Under wine there is no cargo: whoever cross-compiles builds the programs too.
    if stale && cfg!(not(windows)) {
        build(&directory);
    }
    directory
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace")
}

fn is_stale(directory: &Path, name: &str, sources: &[&str]) -> bool {
    let built = directory.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    let Ok(built) = built.metadata().and_then(|metadata| metadata.modified()) else { return true };
    let lock = workspace().join("Cargo.lock");
    sources
        .iter()
        .map(|source| workspace().join(source))
        .chain([lock])
        .any(|path| newest(&path) > Some(built))
}

/// The time of the newest file in and under `path`; `None` when there is nothing.
fn newest(path: &Path) -> Option<SystemTime> {
    if path.is_dir() {
        return path.read_dir().ok()?.flatten().filter_map(|entry| newest(&entry.path())).max();
    }
    path.metadata().ok()?.modified().ok()
}

/// Builds the programs into the directory that this test runs from.
fn build(directory: &Path) {
    // Several tests may start at once (nextest): one builds, the others wait and find it done.
    let lock = std::fs::File::create(directory.join(".mcpd-tests-build.lock")).expect("target is writable");
    lock.lock().expect("the file system has locks");
    let profile = directory.file_name().and_then(|name| name.to_str()).unwrap_or("debug");
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace()).args([
        "build",
        "--bins",
        "-p",
        "mcpd",
        "-p",
        "mcpctl",
        "-p",
        "mcpd-tests",
    ]);
    command.args(["--profile", if profile == "debug" { "dev" } else { profile }]);
    let mut target = directory.parent().expect("target/PROFILE");
    if !target.join("CACHEDIR.TAG").exists() {
        // target/TRIPLE/PROFILE
        if let (Some(triple), Some(above)) = (target.file_name(), target.parent()) {
            command.arg("--target").arg(triple);
            target = above;
        }
    }
    let status = command.arg("--target-dir").arg(target).status().expect("cargo can be run");
    assert!(status.success(), "the programs under test do not build");
}
