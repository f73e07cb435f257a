"""Reads a folder of Parquet as an analyst would, with DuckDB and with Polars, and computes the root of RFC 6962 over
the leaves with nothing of rota's. Prints what each of them found."""

import base64
import hashlib
import json
import sys

import duckdb
import polars


def root_by_sql(db, events):
    """The root over a table of events in SQL alone: a level of the tree at a time."""
    db.execute(f"CREATE TABLE level AS SELECT position i, unhex(sha256('\\x00'::BLOB || leaf)) h FROM {events}")
    while db.execute("SELECT count(*) FROM level").fetchone()[0] > 1:
        db.execute(
            "CREATE OR REPLACE TABLE level AS SELECT i // 2 i, CASE WHEN count(*) = 2 THEN "
            "unhex(sha256('\\x01'::BLOB || min_by(h, i) || max_by(h, i))) ELSE min_by(h, i) END h "
            "FROM level GROUP BY i // 2"
        )
    return db.execute("SELECT base64(h) FROM level").fetchone()[0]


def with_sql(files):
    db = duckdb.connect()
    db.execute(f"CREATE TABLE events AS SELECT * FROM read_parquet('{files}', hive_partitioning = true)")
    root = root_by_sql(db, "events")
    row = db.execute(
        "SELECT count(*), count(DISTINCT position), min(position), max(position), "
        "count(*) FILTER (type LIKE '%rotated%'), bool_and(leaf_hash = unhex(sha256('\\x00'::BLOB || leaf))), "
        "bool_and(strftime(time AT TIME ZONE 'UTC', '%Y-%m-%d') = day::VARCHAR) FROM events"
    ).fetchone()
    names = ["events", "positions", "first", "last", "rotations", "hashes", "days"]
    types = db.execute("SELECT column_name, column_type FROM (DESCRIBE events)").fetchall()
    return dict(zip(names, row)) | {"root": root, "types": dict(types)}


def with_polars(files):
    """The same with Polars and a stack of subtrees."""
    frame = polars.read_parquet(files, hive_partitioning=True).sort("position")
    stack = []
    for size, leaf in enumerate(frame["leaf"]):
        node = hashlib.sha256(b"\0" + leaf).digest()
        while size & 1:
            node = hashlib.sha256(b"\1" + stack.pop() + node).digest()
            size >>= 1
        stack.append(node)
    root = stack.pop()
    while stack:
        root = hashlib.sha256(b"\1" + stack.pop() + root).digest()
    by_day = frame.group_by("day").len().sort("day")
    return {
        "events": frame.height,
        "rotations": frame.filter(polars.col("type").str.contains("rotated")).height,
        "versions": frame["version"].drop_nulls().to_list(),
        "days": [[str(day), count] for day, count in by_day.iter_rows()],
        "root": base64.b64encode(root).decode(),
        "types": {name: str(kind) for name, kind in frame.schema.items()},
    }


if __name__ == "__main__":
    files = sys.argv[1] + "/*/*.parquet"
    print(json.dumps({"duckdb": with_sql(files), "polars": with_polars(files)}))
