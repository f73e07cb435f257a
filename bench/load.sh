#!/bin/sh
# Loads the release build of rota over HTTP and prints how it bears up. See README.md beside this file.
#
#   bench/load.sh [--quick] [--credentials N] [--rounds N] [--seconds N] [--rotate hopae|native]
#                 [--ledger CREDENTIALS] [--soak SECONDS]
set -eu
cd "$(dirname "$0")/.."
if ! command -v wrk >/dev/null; then
    echo "load.sh: wrk is missing: apt-get install wrk" >&2
    exit 1
fi
cargo build --release --quiet --bin rota
exec python3 bench/load.py "${CARGO_TARGET_DIR:-target}/release/rota" "$@"
