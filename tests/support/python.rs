//! Programs of others, from the Python registry: `./test` installs them below `target/`.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The interpreter that has the packages of `tests/python/requirements.txt`. Where the registry could not be reached
/// there is none, and a line says which test that skips.
pub fn python(test: &str) -> Option<PathBuf> {
    let found = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/bin/python");
    if found.exists() {
        return Some(found);
    }
    eprintln!("SKIPPED {test}: {} is not there; ./test makes it", found.display());
    None
}

/// Runs a program of `tests/python`. What it printed, as JSON.
#[track_caller]
pub fn run_python(python: &Path, program: &str, arguments: &[&str]) -> serde_json::Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(program);
    let ran = Command::new(python).arg(path).args(arguments).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{program}: {out}{err}");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{program}: {error}: {out}{err}"))
}
