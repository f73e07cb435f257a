#!/bin/sh
# Loads the release build of rota over HTTP and prints how it bears up. See README.md beside this file.
#
#   bench/load.sh [--quick] [--credentials N] [--rounds N] [--seconds N] [--rotate hopae|native]
#                 [--ledger CREDENTIALS] [--soak SECONDS]
#   bench/load.sh --edge [--quick] [--credentials N] [--rounds N] [--seconds N]
set -eu
cd "$(dirname "$0")/.."
if ! command -v wrk >/dev/null; then
    echo "load.sh: wrk is missing: apt-get install wrk" >&2
    exit 1
fi
cargo build --release --quiet --bin rota
load=bench/load.py
if [ "${1:-}" = --edge ]; then
    load=bench/edge.py
    shift
fi
exec python3 "$load" "${CARGO_TARGET_DIR:-target}/release/rota" "$@"
