"""What it costs to guard the door of a service: forward-auth, token exchanges and signed requests beside a bare GET.

Started by load.sh --edge. Only the standard library is used.
"""

import argparse
import base64
import hashlib
import hmac
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from load import OPERATOR_KEY, SEEDERS, Load, Server, bare_server, call, made, report

LUA = str(Path(__file__).with_name("edge.lua"))
CONNECTIONS = (32, 256)
NAMES = {
    "client": ("clientId", "clientSecret"),
    "exchange": ("apiKey", "apiSecret"),
    "signing": ("integratorKey", "secret"),
}
FLUIDE = "X-Fluide-Client-Id: fluide-developer"


class Edge(Load):
    """A load whose requests are written anew before each run: signatures are good for 300 seconds."""

    lua = LUA

    def __init__(self, name, file, connections, requests, server=None):
        super().__init__(name, str(file), connections, server=server)
        self.requests = requests

    def run(self, server, seconds):
        Path(self.file).write_text("".join("\t".join(request) + "\n" for request in self.requests()))
        super().run(server, seconds)


def issue(server, admin, kind, count):
    """Issues credentials of a kind, from many connections. Their public ids and secrets."""
    found, lock = [], threading.Lock()

    def work(share):
        own, connection = [], server.connect()
        for number in range(share):
            body = {"kind": kind, "name": f"{kind} {number}"}
            secrets = made(call(connection, "POST", "/v1/credentials", admin, body))["secrets"]
            own.append(tuple(secrets[name] for name in NAMES[kind]))
        with lock:
            found.extend(own)

    workers = [threading.Thread(target=work, args=(-(-count // SEEDERS),)) for _ in range(SEEDERS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if len(found) < count:
        raise SystemExit("edge: not every credential was issued")
    return found


def basic(pair):
    return "Authorization: Basic " + base64.b64encode(":".join(pair).encode()).decode()


def signed(pair, method, path):
    """The headers of a request that is signed now."""
    millis = str(int(time.time() * 1_000))
    digest = hmac.new(pair[1].encode(), f"{millis}.{method}.{path}.".encode(), hashlib.sha256).hexdigest()
    return [f"X-Integrator-Key: {pair[0]}", f"X-Timestamp: {millis}", f"X-Signature: sha256={digest}"]


def exchanged(server, pair):
    """The headers of a session."""
    headers = dict(line.split(": ") for line in keys(pair))
    connection = server.connect()
    connection.request("POST", "/api/v1/authorize/token", None, headers)
    response = connection.getresponse()
    token = made((response.status, response.read().decode()))["accessToken"]
    return [f"Authorization: Bearer {token}", f"X-Fluide-Api-Key: {pair[0]}", FLUIDE]


def keys(pair):
    return [f"X-Fluide-Api-Key: {pair[0]}", f"X-Fluide-Api-Secret: {pair[1]}", FLUIDE]


def original(method, path):
    return [f"X-Forwarded-Method: {method}", f"X-Forwarded-Uri: {path}", "X-Forwarded-Host: shop.example"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--quick", action="store_true", help="3 rounds of 3 s")
    parser.add_argument("--credentials", type=int, default=10_000, help="of each kind")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=int)
    options = parser.parse_args()
    rounds, seconds = options.rounds or (3 if options.quick else 5), options.seconds or (3 if options.quick else 10)

    with TemporaryDirectory() as folder:
        server = Server(options.program, folder)
        bare = bare_server(options.program)
        try:
            connection = server.connect()
            workspace = made(call(connection, "POST", "/v1/workspaces", OPERATOR_KEY, {"name": "edge"}))["id"]
            body = {"name": "admin", "roles": ["admin"], "mode": "prod"}
            admin = made(call(connection, "POST", f"/v1/workspaces/{workspace}/keys", OPERATOR_KEY, body))["key"]
            clients = issue(server, admin, "client", options.credentials)
            integrators = issue(server, admin, "signing", options.credentials)
            exchangers = issue(server, admin, "exchange", options.credentials)
            sessions = [exchanged(server, pair) for pair in exchangers[:1_000]]
            print(f"{len(clients)} credentials of each kind; {rounds} rounds of {seconds} s\n")
            ask, own, asked = f"/v1/forward-auth?workspaceId={workspace}", "/v1/integrator/", "/orders?id=1"
            kinds = {
                "bare GET": lambda: [("GET", "/")],
                "forward-auth, Basic": lambda: [("GET", ask, basic(pair), *original("GET", asked)) for pair in clients],
                "forward-auth, session": lambda: [("GET", ask, *session) for session in sessions],
                "forward-auth, signed": lambda: [
                    ("GET", ask, *signed(pair, "GET", asked), *original("GET", asked)) for pair in integrators
                ],
                "token exchange": lambda: [("POST", "/api/v1/authorize/token", *keys(pair)) for pair in exchangers],
                "signed GET": lambda: [("GET", own, *signed(pair, "GET", own)) for pair in integrators],
            }
            loads = [
                Edge(name, Path(folder) / f"edge-{index}-{count}", count, requests, bare if name == "bare GET" else None)
                for count in CONNECTIONS
                for index, (name, requests) in enumerate(kinds.items())
            ]
            for _ in range(rounds):
                for load in loads:
                    load.run(server, seconds)
            gets = {load.connections: load for load in loads if load.name == "bare GET"}
            failed = report(loads, gets)
        finally:
            server.stop()
            bare.stop()
    if failed:
        raise SystemExit(f"edge: {failed} answers were not 2xx")


main()
