//! Where the programs under test are: beside this test's own executable, built when they are missing or old.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

/// The programs.
const PROGRAMS: [&str; 3] = ["mcpd", "mcpctl", "mcpd-fixture"];

/// What they are made from, relative to the workspace.
const SOURCES: [&str; 7] = ["Cargo.toml", "Cargo.lock", "config", "proto", "daemon", "ctl", "tests/src"];

/// Its time is that of the last build: what is newer than it was not built.
const STAMP: &str = ".mcpd-tests-built";

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
    // Under wine there is no cargo: whoever cross-compiles builds the programs too.
    if cfg!(not(windows)) && is_stale(&directory) {
        build(&directory);
    }
    directory
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace")
}

fn is_stale(directory: &Path) -> bool {
    let built = directory.join(STAMP).metadata().and_then(|metadata| metadata.modified()).ok();
    let missing = |name: &&str| !directory.join(format!("{name}{}", std::env::consts::EXE_SUFFIX)).exists();
    built.is_none()
        || PROGRAMS.iter().any(missing)
        || SOURCES.iter().any(|source| newest(&workspace().join(source)) > built)
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
    if !is_stale(directory) {
        return;
    }
    let began = SystemTime::now();
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
    if !target.join("CACHEDIR.TAG").exists() && !target.join(".rustc_info.json").exists() {
        // target/TRIPLE/PROFILE
        if let (Some(triple), Some(above)) = (target.file_name(), target.parent()) {
            command.arg("--target").arg(triple);
            target = above;
        }
    }
    // What cargo tells a test about its package is not for other packages: build scripts that watch these variables
    // would run again each time.
    for (name, _) in std::env::vars_os() {
        let own = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];
        if own.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    let status = command.arg("--target-dir").arg(target).status().expect("cargo can be run");
    assert!(status.success(), "the programs under test do not build");
    let stamped = std::fs::File::create(directory.join(STAMP)).and_then(|stamp| stamp.set_modified(began));
    stamped.expect("target is writable");
}
