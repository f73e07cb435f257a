"""One ledger on PostgreSQL, served by one and by three replicas, beside pgbench and the naive program.

Started by load.sh --postgres. Only the standard library is used. The PostgreSQL is one of its own, with every flush
that a real one does, on the disk of TMPDIR.
"""

import argparse
import base64
import json
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from load import Load, Server, bare_server, check_valid, seed, spread

CALLERS = 32
REPLICAS = 3


class Postgres:
    """A cluster of its own, on a free port of the loopback, as another user than root."""

    def __init__(self, folder):
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
        if not found:
            sys.exit("postgres: PostgreSQL is missing: apt-get install postgresql")
        self.bin, self.folder = found[-1], Path(folder) / "postgres"
        self.folder.mkdir()
        self.user = {}
        if os.geteuid() == 0:
            account = pwd.getpwnam("postgres")
            self.user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
            os.chmod(folder, 0o755)
            shutil.chown(self.folder, "postgres", "postgres")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        data = self.folder / "data"
        self.run([self.bin / "initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-D", data])
        settings = ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={self.folder}",
                    "-c", "max_connections=200", "-c", "shared_buffers=256MB"]
        with open(self.folder / "log", "wb") as log:
            self.process = subprocess.Popen([self.bin / "postgres", "-D", data, "-p", str(self.port), *settings],
                                            stdout=log, stderr=log, cwd=self.folder, **self.user)
        ready = data / "postmaster.pid"
        until = time.monotonic() + 60
        while not (ready.exists() and "ready" in ready.read_text()):
            if self.process.poll() is not None or time.monotonic() > until:
                sys.exit(f"postgres: it did not start: {(self.folder / 'log').read_text()}")
            time.sleep(0.05)

    def run(self, command):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self.folder, **self.user)

    def database(self, name):
        self.run([self.bin / "createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", name])
        return f"postgres://postgres@127.0.0.1:{self.port}/{name}"

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=60)


class Inserts:
    """pgbench, one row of an event's size in each transaction."""

    name = f"pgbench, one row, {CALLERS}"

    def __init__(self, postgres, folder):
        self.url, self.runs = postgres.database("inserts"), []
        create = "CREATE TABLE rows (position bigserial PRIMARY KEY, leaf bytea NOT NULL)"
        subprocess.run(["psql", "-q", "-c", create, self.url], check=True)
        self.script = Path(folder) / "insert.sql"
        self.script.write_text("INSERT INTO rows (leaf) VALUES (decode(repeat('ab', 400), 'hex'));\n")

    def run(self, seconds):
        command = ["pgbench", "-n", "-M", "prepared", "-f", self.script, "-c", str(CALLERS), "-j", "2", "-T", str(seconds)]
        output = subprocess.run([*command, self.url], check=True, capture_output=True, text=True).stdout
        self.runs.append(float(re.search(r"tps = ([\d.]+)", output)[1]))


class Naive:
    """cqrs-es over postgres-es as they come."""

    name = f"cqrs-es and postgres-es, {CALLERS}"

    def __init__(self, postgres, program):
        self.url, self.program, self.runs = postgres.database("naive"), Path(program).with_name("naive_postgres"), []

    def run(self, seconds):
        command = [self.program, self.url, str(CALLERS), str(seconds)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        figures = json.loads(re.search(r"^figures (.*)$", output, re.M)[1])
        if figures["failed"]:
            sys.exit(f"postgres: {figures['failed']} commands of the naive program failed")
        self.runs.append(figures["rate"])


class Shared:
    """One kind of request, sent to some of the replicas at once, the connections divided among them. The others stand
    still meanwhile."""

    def __init__(self, what, files, servers, others):
        self.name = f"{what}, {len(servers)} replica{'s' * (len(servers) > 1)}, {CALLERS}"
        share = CALLERS // len(servers)
        self.others = others
        self.servers, self.runs, self.longest, self.p99 = servers, [], 0.0, []
        self.loads = [Load(what, file, share) for file, _ in zip(files, servers)]

    def run(self, seconds):
        threads = [threading.Thread(target=load.run, args=(server, seconds)) for load, server in zip(self.loads, self.servers)]
        for server in self.others:
            server.process.send_signal(signal.SIGSTOP)
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            for server in self.others:
                server.process.send_signal(signal.SIGCONT)
        self.runs.append(sum(load.runs[-1]["rate"] for load in self.loads))
        self.p99.append(max(load.runs[-1]["p99"] for load in self.loads))
        self.longest = max([self.longest, *(load.runs[-1]["max"] for load in self.loads)])

    def failed(self):
        return sum(sum(load.of("failed")) for load in self.loads)


class Bare:
    """The bare GET of as many connections."""

    name = f"bare GET, {CALLERS}"

    def __init__(self, server, file):
        self.server, self.load, self.runs = server, Load("bare", file, CALLERS), []

    def run(self, seconds):
        self.load.run(self.server, seconds)
        self.runs.append(self.load.runs[-1]["rate"])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--quick", action="store_true", help="3 rounds of 3 s")
    parser.add_argument("--credentials", type=int, default=10_000, help="to rotate; as many again are verified")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=int)
    options = parser.parse_args()
    rounds, seconds = options.rounds or (3 if options.quick else 5), options.seconds or (3 if options.quick else 10)

    with TemporaryDirectory() as folder:
        postgres = Postgres(folder)
        servers, bare = [], bare_server(options.program)
        try:
            url = postgres.database("ledger")
            master = base64.b64encode(secrets.token_bytes(32)).decode()
            for number in range(REPLICAS):
                settings = {"ROTA_MASTER_KEY": master, "ROTA_DATA_DIR": f"{folder}/replica-{number}"}
                servers.append(Server(options.program, folder, url, settings))
            keys, credentials = seed(servers[0], 2 * options.credentials)
            rotated, verified = credentials[: options.credentials], credentials[options.credentials :]

            def write(name, lines):
                file = Path(folder) / name
                file.write_text("".join("\t".join(line) + "\n" for line in lines))
                return str(file)

            # No two replicas are asked to rotate the same credential, as with a balancer that is fair to callers.
            rotate = [write(f"rotate-{number}", [("POST", f"/connect/v1/apps/{public}/rotate-client-secret", f"Bearer {keys['admin']}", "")
                                                 for _, public, _ in rotated[number::REPLICAS]]) for number in range(REPLICAS)]
            verify = [write(f"verify-{number}", [("POST", "/v1/verify", f"Bearer {keys['verifier']}",
                                                  json.dumps({"publicId": public, "secret": secret}))
                                                 for _, public, secret in verified]) for number in range(REPLICAS)]
            check_valid(servers[-1], keys["verifier"], verified)
            pgbench, naive, get = Inserts(postgres, folder), Naive(postgres, options.program), Bare(bare, write("get", [("GET", "/", "", "")]))
            ones = {"rotate": Shared("rotate", rotate, servers[:1], servers[1:]), "verify": Shared("verify", verify, servers[:1], servers[1:])}
            threes = {"rotate": Shared("rotate", rotate, servers, []), "verify": Shared("verify", verify, servers, [])}
            shared = [ones["rotate"], threes["rotate"], ones["verify"], threes["verify"]]
            programs = [pgbench, naive, get, *shared]
            for _ in range(rounds):
                for program in programs:
                    program.run(seconds)
            check_valid(servers[0], keys["verifier"], verified)
        finally:
            for server in servers:
                server.stop()
            bare.stop()
            postgres.stop()
    for program in programs:
        tail = f", p99 {statistics.median(program.p99):.1f} ms, longest {program.longest:.0f} ms, failed {program.failed()}" if program in shared else ""
        print(f"{program.name}: {spread(program.runs, 0)} a second{tail}")

    def ratio(what, one, other):
        print(f"{what}: {spread([own / theirs for own, theirs in zip(one.runs, other.runs)], 2)}")

    ratio("rotate with one replica to the naive program (goal 6)", ones["rotate"], naive)
    ratio("rotate with one replica to pgbench (goal 1.3)", ones["rotate"], pgbench)
    ratio("rotate with three replicas to one (goal 0.9)", threes["rotate"], ones["rotate"])
    ratio("verify with one replica to a bare GET", ones["verify"], get)
    ratio("verify with three replicas to one", threes["verify"], ones["verify"])
    failed = sum(program.failed() for program in shared)
    if failed:
        sys.exit(f"postgres: {failed} answers were not 2xx")


main()
