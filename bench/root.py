"""How long DuckDB takes to compute the root of RFC 6962 over a folder of Parquet that rota has exported.

    target/python/bin/python bench/root.py FOLDER
"""

import sys
import time
from pathlib import Path

import duckdb

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "python"))
from parquet import root_by_sql  # noqa: E402

events = f"read_parquet('{sys.argv[1]}/*/*.parquet')"
for _ in range(3):
    with duckdb.connect() as db:
        count = db.execute(f"SELECT count(*) FROM {events}").fetchone()[0]
        started = time.monotonic()
        root = root_by_sql(db, events)
        seconds = time.monotonic() - started
    print(f"{count} events, root {root}: {seconds:.1f} s, {seconds / count * 1e6:.2f} s a million")
