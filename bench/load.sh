#!/bin/sh
# Loads the release build of rota over HTTP and prints how it bears up. See README.md beside this file.
#
#   bench/load.sh [--quick] [--credentials N] [--rounds N] [--seconds N] [--rotate hopae|native]
#                 [--ledger CREDENTIALS] [--soak SECONDS]
#   bench/load.sh --edge [--quick] [--credentials N] [--rounds N] [--seconds N]
#   bench/load.sh --postgres [--quick] [--credentials N] [--rounds N] [--seconds N]
set -eu
cd "$(dirname "$0")/.."
need() {
    command -v "$1" >/dev/null && return
    echo "load.sh: $1 is missing: apt-get install $2" >&2
    exit 1
}
need wrk wrk
load=load
case "${1:-}" in
--edge) load=edge ;;
--postgres)
    load=postgres
    need pgbench postgresql-contrib
    ;;
esac
[ "$load" = load ] || shift
cargo build --release --quiet --bin rota
cargo build --release --quiet -p rota-benches --bins
exec python3 "bench/$load.py" "${CARGO_TARGET_DIR:-target}/release/rota" "$@"
