"""Asks every question of the auditors of a large ledger, packs the answers, and checks the packs without rota.

    python3 bench/questions.py target/release/rota [--events 1000000] [--checker PYTHON]

The ledger is made by rotating credentials of ten workspaces with wrk. Each report is asked about one credential, about one
workspace and about the deployment; times are those of whole answers of at most 1000 rows. `--checker` is a Python that
has metamorphic-log 0.1.11, such as target/verifiers/bin/python once ./test ran: it checks each pack by the
pack's own instructions.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlencode

from load import OPERATOR_KEY, Load, Server, call, in_parallel, made

WORKSPACES = 10
CREDENTIALS = 20_000
KINDS = ("client", "exchange", "signing")
# What is asked of all of them: questions about one credential, about a workspace, and about everything.
TIMES = {"credential": 20, "workspace": 5, "deployment": 2}


def fill(server, folder, events):
    """Issues credentials and rotates them until there are as many events. A workspace and a credential of it."""
    connection = server.connect()
    spaces = []
    for number in range(WORKSPACES):
        space = made(call(connection, "POST", "/v1/workspaces", OPERATOR_KEY, {"name": f"w{number}"}))["id"]
        policy = {"maxSecretAgeDays": 90, "maxGraceSeconds": 86_400}
        made(call(connection, "PUT", f"/v1/workspaces/{space}/policy", OPERATOR_KEY, policy))
        spaces.append(space)

    def issue(connection, number):
        body = {"kind": KINDS[number % len(KINDS)], "name": f"app {number}", "workspaceId": spaces[number % WORKSPACES]}
        answer = made(call(connection, "POST", "/v1/credentials", OPERATOR_KEY, body))
        return answer["credential"]["workspaceId"], answer["credential"]["id"]

    credentials = in_parallel(server, CREDENTIALS, issue)
    file = Path(folder) / "rotate"
    order = random.Random(1)
    for body in ('{"gracePeriodSeconds":3600}', '{"reason":"compromised"}', "{}"):
        lines = [f"POST\t/v1/credentials/{id}/rotate\tBearer {OPERATOR_KEY}\t{body}\n" for _, id in credentials]
        order.shuffle(lines)
        with open(file, "a") as out:
            out.writelines(lines)
    rotate = Load("rotate", str(file), 64, True)
    while (there := head(connection)) < events:
        rotate.run(server, 10 if events - there > 100_000 else 2)
    return order.choice(credentials)


def head(connection):
    """How many events there are."""
    return made(call(connection, "GET", "/v1/ledger/state", OPERATOR_KEY))["events"]


def questions(connection, workspace, credential):
    """Each report, as broadly as it can be asked, with each filter: where, its path."""
    for report in made(call(connection, "GET", "/v1/reports", OPERATOR_KEY))["items"]:
        takes = {parameter["name"]: parameter["meaning"] for parameter in report["parameters"]}
        if "credentialId" in takes:
            yield report["name"], "credential", {"credentialId": credential}
        if "required" not in takes.get("credentialId", ""):
            yield report["name"], "workspace", {"workspaceId": workspace}
            yield report["name"], "deployment", {}


def ask(server, position, name, query):
    """Milliseconds, and rows in all."""
    path = f"/v1/reports/{name}?{urlencode({**query, 'asOf': position})}"
    start = time.perf_counter()
    answer = made(call(server.connect(), "GET", path, OPERATOR_KEY))
    return (time.perf_counter() - start) * 1e3, answer["rowCount"]


def pack(program, server, folder, checker, name, arguments):
    """Seconds to make a pack, how many receipts and bytes it has, and seconds to check it without rota."""
    place = Path(folder) / f"pack-{name}"
    settings = {"ROTA_URL": f"http://{server.host}:{server.port}", "ROTA_KEY": OPERATOR_KEY}
    start = time.perf_counter()
    command = [program, "report", *arguments, "--pack", place]
    ran = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True)
    taken = time.perf_counter() - start
    if ran.returncode != 0:
        return [name, f"{taken:.2f}", "", "", ran.stderr.strip().split("\n")[0]]
    receipts = len(json.loads((place / "manifest.json").read_text())["receipts"])
    size = sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
    checked = ""
    if checker:
        page = (place / "VERIFY.md").read_text().split("```python\n")[1].split("```")[0]
        text = "\n".join(line.removeprefix("   ") for line in page.split("\n"))
        start = time.perf_counter()
        subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=place, check=True)
        subprocess.run([Path(checker).absolute(), "-I", "-c", text], cwd=place, check=True, stdout=subprocess.DEVNULL)
        checked = f"{time.perf_counter() - start:.2f}"
    return [name, f"{taken:.2f}", str(receipts), f"{size / 1e6:.1f}", checked]


def table(rows):
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths))]
        print("  ".join(cells).rstrip())
    print()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--checker")
    options = parser.parse_args()
    program = str(Path(options.program).absolute())
    with tempfile.TemporaryDirectory() as folder:
        server = Server(program, folder)
        try:
            started = time.monotonic()
            workspace, credential = fill(server, folder, options.events)
            server.until_ready()
            connection = server.connect()
            position = head(connection) - 1
            print(f"{position + 1} events after {time.monotonic() - started:.0f} s\n")
            rows = [["", "about", "rows", "p50 ms", "worst ms"]]
            for name, about, query in questions(connection, workspace, credential):
                asked = [ask(server, position, name, query) for _ in range(TIMES[about])]
                times = [millis for millis, _ in asked]
                count = str(asked[0][1])
                rows.append([name, about, count, f"{statistics.median(times):.1f}", f"{max(times):.1f}"])
            table(rows)
            print(f"RSS {server.resident_mib():.0f} MiB\n")
            at = ["--as-of", str(position)]
            packs = [
                ("every report about a credential", ["--all", "--credential", credential, *at]),
                ("secret-age of a workspace", ["secret-age", "--workspace", workspace, *at]),
                ("population of the deployment", ["population", *at]),
            ]
            rows = [["pack", "s to make", "receipts", "MB", "s to check"]]
            for name, arguments in packs:
                rows.append(pack(program, server, folder, options.checker, name, arguments))
            table(rows)
        finally:
            server.stop()


if __name__ == "__main__":
    sys.exit(main())
