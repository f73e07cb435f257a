//! The program `rota`: the service and its command line.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before anything speaks TLS: there is one provider, and nobody chooses another.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        eprintln!("rota: another TLS provider is installed already");
        return ExitCode::FAILURE;
    }
    cli::run()
}
