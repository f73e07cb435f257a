# `just` lists the recipes; each is one line that also works without just.

_default:
    @just --list --unsorted

# Serves a ledger in ./rota-data on 127.0.0.1:8700
run *args:
    cargo run --release --locked -- serve {{args}}

# Formatting, lints and every test, as ./test does; arguments go to cargo test
test *args:
    ./test {{args}}

# Clippy, warnings are errors
lint:
    cargo clippy --workspace --all-targets --locked -- -D warnings

# Formats the code
fmt:
    cargo fmt --all

# Licences, bans and advisories, if cargo-deny and cargo-audit are there
check:
    .ci/run

# Floors, naive programs and rota side by side: `just bench`, or one of them: `just bench commit`
bench name="":
    cargo bench --locked -p rota-benches {{ if name == "" { "" } else { "--bench " + name } }}

# Rotations and verifications in a closed loop, in one process: how many a second, and how long they take
load:
    cargo bench --locked -p rota-benches --bench commit
