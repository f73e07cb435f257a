//! Generates the server side of EventStoreDB's protocol from the `.proto` files that the published crate
//! `eventstore` carries, in the version that `Cargo.lock` names. No `protoc` is needed.

use std::error::Error;
use std::path::PathBuf;
use std::process::Command;

const PROTOCOL: [&str; 2] = ["streams.proto", "serverfeatures.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    let protos = protos()?;
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={}", protos.display());
    let files = protox::compile(PROTOCOL, [&protos])?;
    tonic_build::configure().build_client(false).include_file("protocol.rs").compile_fds(files)?;
    Ok(())
}

/// The folder with the `.proto` files of the crate that is built against.
fn protos() -> Result<PathBuf, Box<dyn Error>> {
    let metadata = Command::new(std::env::var("CARGO")?)
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--filter-platform",
            &std::env::var("TARGET")?,
        ])
        .current_dir(std::env::var("CARGO_MANIFEST_DIR")?)
        .output()?;
    if !metadata.status.success() {
        return Err(String::from_utf8_lossy(&metadata.stderr).into());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout)?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata names no packages")?;
    let package = packages.iter().find(|package| package["name"] == "eventstore");
    let manifest = package.and_then(|package| package["manifest_path"].as_str());
    let manifest = PathBuf::from(manifest.ok_or("the crate eventstore is not in the tree")?);
    Ok(manifest.parent().ok_or("its manifest has no folder")?.join("protos"))
}
