"""Starts rota, fills it, loads it with wrk, and prints rates, ratios, latencies, CPU and flushes.

Started by load.sh. Only the standard library is used.
"""

import argparse
import http.client
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
SEEDERS = 64
OPERATOR_KEY = "operator-key-of-a-benchmark-0123456789abcdef"
LUA = Path(__file__).with_name("requests.lua")


class Process:
    """A server that prints its address, and ends when it is told to."""

    def __init__(self, command, environment=None):
        environment = {**os.environ, **(environment or {})}
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        match = re.search(r"http://([^:/]+):(\d+)", line)
        if not match:
            sys.exit(f"load: {command[0]} did not start: {line!r}")
        self.host, self.port = match[1], int(match[2])

    def connect(self):
        return http.client.HTTPConnection(self.host, self.port, timeout=60)

    def cpu_seconds(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def resident_mib(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024

    def counters(self):
        """Nothing is committed here."""
        return [0.0, 0.0]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60)


class Server(Process):
    """A rota, on a store of its own in this folder unless another is named."""

    def __init__(self, program, folder, store=None, settings=None):
        command = [program, "serve", "--listen", "127.0.0.1:0", "--store", store or f"sqlite:{folder}/rota.db"]
        super().__init__(command, {"ROTA_OPERATOR_KEY": OPERATOR_KEY, "RUST_LOG": "warn", **(settings or {})})

    def until_ready(self):
        """Waits until the views have caught up with the ledger."""
        while call(self.connect(), "GET", "/health/ready", None)[0] != 200:
            time.sleep(0.2)

    def counters(self):
        """Commits, and commands in them, so far."""
        status, text = call(self.connect(), "GET", "/metrics", OPERATOR_KEY)
        found = dict(re.findall(r"^(rota_\w+_total)(?:\{\})? (\S+)$", text, re.M))
        names = ("rota_commits_total", "rota_commands_recorded_total")
        return [float(found.get(name, 0)) for name in names]


def call(connection, method, path, key, body=None):
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    if body is not None:
        headers["Content-Type"] = "application/json"
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    response = connection.getresponse()
    return response.status, response.read().decode()


def made(answer):
    status, text = answer
    if status not in (200, 201):
        sys.exit(f"load: {status} {text}")
    return json.loads(text)


def seed(server, count):
    """Issues credentials through the API, from many connections. Their ids, public ids and secrets."""
    connection = server.connect()
    workspace = made(call(connection, "POST", "/v1/workspaces", OPERATOR_KEY, {"name": "load"}))["id"]
    keys = issue_keys(connection, workspace)

    def issue(connection, number):
        body = {"kind": "client", "name": f"app {number}"}
        answer = made(call(connection, "POST", "/v1/credentials", keys["admin"], body))
        secrets = answer["secrets"]
        return answer["credential"]["id"], secrets["clientId"], secrets["clientSecret"]

    return keys, in_parallel(server, count, issue)


def issue_keys(connection, workspace):
    """A workspace key for each role that is needed."""
    keys = {}
    for role in ("admin", "verifier"):
        body = {"name": role, "roles": [role], "mode": "prod"}
        keys[role] = made(call(connection, "POST", f"/v1/workspaces/{workspace}/keys", OPERATOR_KEY, body))["key"]
    return keys


def in_parallel(server, count, work):
    """What `work` gives for each number below `count`, from many connections."""
    done, lock = [], threading.Lock()

    def share(first):
        connection = server.connect()
        own = [work(connection, number) for number in range(first, count, SEEDERS)]
        with lock:
            done.extend(own)

    workers = [threading.Thread(target=share, args=(first,)) for first in range(SEEDERS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if len(done) < count:
        sys.exit("load: not every credential is there")
    return done


def learn(server, ids):
    """Rotates credentials of a ledger that was there before, from many connections, to learn their secrets."""
    connection = server.connect()
    workspace = made(call(connection, "GET", "/v1/workspaces", OPERATOR_KEY))["items"][0]["id"]
    keys = issue_keys(connection, workspace)

    def rotate(connection, number):
        answer = made(call(connection, "POST", f"/v1/credentials/{ids[number]}/rotate", OPERATOR_KEY, {}))
        secrets = answer["secrets"]
        return ids[number], secrets["clientId"], secrets["clientSecret"]

    return keys, in_parallel(server, len(ids), rotate)


def check_valid(server, key, credentials):
    """Answers to wrong secrets come faster: none of these may be wrong."""
    connection = server.connect()
    for _, public_id, secret in credentials[:: max(1, len(credentials) // 200)]:
        body = {"publicId": public_id, "secret": secret}
        if not made(call(connection, "POST", "/v1/verify", key, body))["active"]:
            sys.exit("load: a right secret was refused")


def bare_server(program):
    """A bare actix-web with two constant routes, from the same build."""
    return Process([str(Path(program).with_name("bare"))])


def flush_millis(folder, count=3_000):
    """Times of appending 4 KiB and flushing them, sorted, in milliseconds: the floor of whoever waits for a flush."""
    times = []
    with open(Path(folder) / "flushed", "wb", buffering=0) as file:
        for _ in range(count):
            file.write(b"x" * 4_096)
            start = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - start) * 1e3)
    return sorted(times)


class Load:
    """One kind of request at one number of connections."""

    lua = LUA

    def __init__(self, name, file, connections, commits=False, server=None):
        """With a server of its own it is loaded instead of rota."""
        self.name, self.file, self.connections, self.commits = name, file, connections, commits
        self.server, self.runs = server, []

    def run(self, server, seconds):
        server = self.server or server
        cpu, counters = server.cpu_seconds(), server.counters()
        url = f"http://{server.host}:{server.port}"
        command = ["wrk", "-t1", f"-c{self.connections}", f"-d{seconds}s", "-s", self.lua, url, self.file]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        figures = json.loads(re.search(r"^figures (.*)$", output, re.M)[1])
        requests = figures["requests"]
        commits, commands = (after - before for after, before in zip(server.counters(), counters))
        self.runs.append(
            {
                "rate": requests * 1e6 / figures["micros"],
                "p50": figures["p50"] / 1e3,
                "p99": figures["p99"] / 1e3,
                "max": figures["max"] / 1e3,
                "cpu": (server.cpu_seconds() - cpu) * 1e6 / max(requests, 1),
                "failed": figures["not2xx"] + figures["broken"],
                "flushes": commits / max(commands, 1),
                "rss": server.resident_mib(),
            }
        )

    def of(self, figure):
        return [run[figure] for run in self.runs]

    def ratios(self, other):
        return [own["rate"] / theirs["rate"] for own, theirs in zip(self.runs, other.runs)]


class Watch(threading.Thread):
    """Looks at the server's memory each second."""

    def __init__(self, server):
        super().__init__()
        self.server, self.samples, self.over = server, [], threading.Event()

    def run(self):
        while not self.over.wait(1):
            self.samples.append(self.server.resident_mib())


def soak(server, load, seconds):
    """One long run: nothing may fail, nobody may wait long, and memory may not grow."""
    watch = Watch(server)
    watch.start()
    load.run(server, seconds)
    watch.over.set()
    watch.join()
    run, later = load.runs[-1], watch.samples[9:] or watch.samples
    print(f"{load.name}, {load.connections} connections, {seconds} s: {run['rate']:.0f} req/s, "
          f"p50 {run['p50']:.2f} ms, p99 {run['p99']:.2f} ms, longest {run['max']:.1f} ms, failed {run['failed']}, "
          f"{1 / run['flushes']:.1f} commands a flush, CPU {run['cpu']:.1f} µs; RSS after 10 s {later[0]:.0f} MiB, "
          f"then {min(later):.0f} to {max(later):.0f}, at the end {later[-1]:.0f}")
    return run["failed"]


def spread(values, digits):
    low, high, middle = min(values), max(values), statistics.median(values)
    return f"{middle:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def report(loads, bare):
    head = ["", "req/s", "of bare GET", "p50 ms", "p99 ms", "max ms", "CPU µs", "commands/flush", "RSS MiB", "failed"]
    rows = [head]
    for load in loads:
        rows.append(
            [
                f"{load.name}, {load.connections}",
                spread(load.of("rate"), 0),
                spread(load.ratios(bare[load.connections]), 2),
                spread(load.of("p50"), 2),
                spread(load.of("p99"), 2),
                f"{max(load.of('max')):.0f}",
                spread(load.of("cpu"), 1),
                f"{1 / statistics.median(load.of('flushes')):.1f}" if load.commits else "",
                f"{max(load.of('rss')):.0f}",
                f"{sum(load.of('failed'))}",
            ]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    for row in rows:
        cells = [cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths))]
        print("  ".join(cells).rstrip())
    return sum(sum(load.of("failed")) for load in loads)


def generate(folder, credentials, sample):
    """Writes a ledger and gives the ids of some of its credentials, from all over it."""
    command = ["cargo", "bench", "--quiet", "-p", "rota-benches", "--bench", "growth", "--", "--write",
               f"{folder}/rota.db", str(credentials), str(sample)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return output.split()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--quick", action="store_true", help="3 rounds of 3 s")
    parser.add_argument("--credentials", type=int, default=20_000, help="to rotate; as many again are verified")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=int)
    parser.add_argument("--rotate", choices=["hopae", "native"], default="hopae", help="the route that rotates")
    parser.add_argument("--ledger", type=int, help="begin with a ledger of so many credentials")
    parser.add_argument("--soak", type=int, metavar="SECONDS", help="only rotate, at 32 and 256 connections")
    options = parser.parse_args()
    rounds, seconds = options.rounds or (3 if options.quick else 5), options.seconds or (3 if options.quick else 10)

    with tempfile.TemporaryDirectory() as folder:
        ids = generate(folder, options.ledger, 2 * options.credentials) if options.ledger else None
        server = Server(options.program, folder)
        bare = bare_server(options.program)
        try:
            server.until_ready()
            started = time.monotonic()
            keys, credentials = learn(server, ids) if ids else seed(server, 2 * options.credentials)
            print(f"{len(credentials)} credentials {'rotated' if ids else 'issued'} in {time.monotonic() - started:.0f} s; "
                  f"{rounds} rounds of {seconds} s\n")
            rotated, verified = credentials[: len(credentials) // 2], credentials[len(credentials) // 2 :]
            paths = {"hopae": "/connect/v1/apps/{1}/rotate-client-secret", "native": "/v1/credentials/{0}/rotate"}

            def write(name, lines):
                file = Path(folder) / name
                file.write_text("".join("\t".join(line) + "\n" for line in lines))
                return str(file)

            get = write("get", [("GET", "/", "", "")])
            rotate = write("rotate", [("POST", paths[options.rotate].format(*credential),
                                       f"Bearer {keys['admin']}", "") for credential in rotated])
            bodies = [json.dumps({"publicId": public, "secret": secret}) for _, public, secret in verified]
            authority = f"Bearer {keys['verifier']}"
            verify = write("verify", [("POST", "/v1/verify", authority, body) for body in bodies])
            post = write("post", [("POST", "/", authority, body) for body in bodies])
            flushes = flush_millis(folder)
            print(f"fdatasync of 4 KiB: p50 {flushes[len(flushes) // 2]:.2f} ms, "
                  f"p99 {flushes[len(flushes) * 99 // 100]:.2f} ms\n")
            if options.soak:
                name = f"rotate ({options.rotate})"
                failed = sum(soak(server, Load(name, rotate, count, True), options.soak) for count in (32, 256))
                if failed:
                    sys.exit(f"load: {failed} answers were not 2xx")
                return
            gets = {count: Load("bare GET", get, count, server=bare) for count in (1, 32, 256)}
            posts = {count: Load("bare POST of JSON", post, count, server=bare) for count in (32, 256)}
            loads = [*gets.values(), *posts.values()]
            loads += [Load(f"rotate ({options.rotate})", rotate, count, True) for count in (1, 32, 256)]
            loads += [Load("verify", verify, count) for count in (32, 256)]
            check_valid(server, keys["verifier"], verified)
            for _ in range(rounds):
                # Each beside the bare GET of as many connections.
                for load in sorted(loads, key=lambda load: load.connections):
                    load.run(server, seconds)
            check_valid(server, keys["verifier"], verified)
            failed = report(loads, gets)
            for load in loads:
                if load.name == "verify":
                    print(f"verify of bare POST, {load.connections}: {spread(load.ratios(posts[load.connections]), 2)}")
        finally:
            server.stop()
            bare.stop()
    if failed:
        sys.exit(f"load: {failed} answers were not 2xx")


if __name__ == "__main__":
    main()
