"""Holds the built program to what auditors rely on, with verifiers that nobody here wrote.

    python run.py PATH-TO-ROTA [rounds]

The verifiers are aics-tlog, metamorphic-log and tamperlog, and the witness is aics-witness, all from PyPI; `./test`
installs them. Every tool must agree, and each must refuse a twin that was corrupted: a check that can't fail checks
nothing. What is shown:

1. signatures, inclusion of every event of a run, consistency over kills, a restart, an erasure, a change of keys, and
   `rota copy`;
2. a witness that sees every checkpoint over kills in the middle of writing has no evidence of a second history;
3. nor has it over faults of the disk, put into the system calls with strace, while rota itself has another witness cosign;
4. cosignatures that rota collects hold for stock verifiers, and a stock client of witnesses is cosigned by rota's own;
5. a backup that is put back is not served until its loss is recorded, and then under another name;
6. an evidence pack holds for whoever has neither rota nor a network, and its corrupted twins do not.
"""

import base64
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

import aics_tlog
import aics_witness.feeder
import metamorphic_log
import tamperlog

OPERATOR = "operator-key-of-the-auditors-test-0123456789"
BIN = pathlib.Path(sys.executable).parent


class Rota:
    """A rota in a folder of its own."""

    def __init__(self, program, folder, settings=None):
        self.program, self.folder, self.process, self.url = program, folder, None, None
        self.settings = settings or {}

    def environment(self):
        kept = {k: v for k, v in os.environ.items() if not k.startswith("ROTA_")}
        return {**kept, "ROTA_OPERATOR_KEY": OPERATOR, "ROTA_STORE": f"sqlite:{self.folder}/rota.db", "RUST_LOG": "error", **self.settings}

    def start(self, under=(), may_fail=False):
        self.url = None
        self.process = subprocess.Popen(
            [*under, self.program, "serve", "--listen", "127.0.0.1:0", "--ledger-origin", "ledger.test/auditors"]
            if not (self.folder / "renamed").exists()
            else [*under, self.program, "serve", "--listen", "127.0.0.1:0"],
            env=self.environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL if may_fail else None, text=True,
            cwd=self.folder,
        )
        for line in self.process.stdout:
            if line.startswith("rota is serving on "):
                self.url = line.split()[-1]
                threading.Thread(target=self.process.stdout.read, daemon=True).start()
                return self
        if may_fail:
            return self
        raise SystemExit("rota did not start")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0, "rota stops cleanly"

    def ask(self, method, path, body=None, headers=(), expect=None):
        request = urllib.request.Request(self.url + path, method=method)
        request.add_header("Authorization", f"Bearer {OPERATOR}")
        for name, value in headers:
            request.add_header(name, value)
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                status, content, headers = answer.status, answer.read(), answer.headers
        except urllib.error.HTTPError as error:
            status, content, headers = error.code, error.read(), error.headers
        if expect is not None:
            assert status == expect, (method, path, status, content)
        return status, content, headers

    def get(self, path):
        return self.ask("GET", path, expect=200)[1]

    def checkpoint(self):
        return self.get("/ledger/checkpoint").decode()

    def keys(self):
        return json.loads(self.get("/v1/ledger/key"))

    def change(self, name="w"):
        """A change with its receipt: position and receipt."""
        _, _, headers = self.ask("POST", "/v1/workspaces", {"name": name}, [("Prefer", "ledger-proof")], 201)
        return int(headers["Rota-Position"]), base64.b64decode(headers["Rota-Receipt"]).decode()


def head(note):
    origin, size, root = note.split("\n")[:3]
    return origin, int(size), base64.b64decode(root)


def refused(check, *arguments):
    """Whether a check refuses: by saying no, or by raising."""
    try:
        return check(*arguments) is False
    except Exception:
        return True


def flip(hashes):
    first = bytearray(hashes[0])
    first[0] ^= 1
    return [bytes(first), *hashes[1:]]


def check_signed(note, vkeys):
    for vkey in vkeys:
        aics = aics_tlog.verify_checkpoint(aics_tlog.parse_note(note), aics_tlog.parse_vkey(vkey))
        assert aics, note
        metamorphic_log.checkpoint_verify(note, [vkey])
        twin = note.replace("\n" + str(head(note)[1]) + "\n", "\n" + str(head(note)[1] + 1) + "\n")
        assert refused(metamorphic_log.checkpoint_verify, twin, [vkey]), "a changed checkpoint"


def check_consistent(rota, old, new, vkeys):
    (_, m, old_root), (_, n, new_root) = head(old), head(new)
    lines = rota.get(f"/v1/ledger/consistency?from={m}&to={n}").decode().split()
    proof = [base64.b64decode(line) for line in lines]
    assert aics_tlog.verify_consistency(m, n, old_root, new_root, proof)
    metamorphic_log.checkpoint_verify_consistency(old, new, vkeys, proof)
    tamperlog.verify_consistency(m, old_root, n, new_root, proof)
    if proof:
        bad = flip(proof)
        assert refused(aics_tlog.verify_consistency, m, n, old_root, new_root, bad)
        assert refused(metamorphic_log.checkpoint_verify_consistency, old, new, vkeys, bad)
        assert refused(tamperlog.verify_consistency, m, old_root, n, new_root, bad)


def parse_receipt(text):
    above, note = text.split("\n\n", 1)
    lines = above.split("\n")
    assert lines[0] == "c2sp.org/tlog-proof@v1", lines[0]
    index = int(lines[1].removeprefix("index "))
    return index, [base64.b64decode(line) for line in lines[2:]], note


def check_included(entry, receipt, vkeys):
    index, proof, note = parse_receipt(receipt)
    _, size, root = head(note)
    leaf = hashlib.sha256(b"\0" + entry).digest()
    metamorphic_log.checkpoint_verify_inclusion(note, vkeys, index, leaf, proof)
    assert aics_tlog.verify_inclusion(leaf, index, size, proof, root)
    tamperlog.verify_inclusion(index, size, leaf, proof, root)
    other = hashlib.sha256(b"\0" + entry + b" ").digest()
    assert refused(metamorphic_log.checkpoint_verify_inclusion, note, vkeys, index, other, proof)
    assert refused(aics_tlog.verify_inclusion, other, index, size, proof, root)
    assert refused(tamperlog.verify_inclusion, index, size, other, proof, root)
    return index


def entries_of(rota, prefix, size):
    entries = []
    for bundle in range((size + 255) // 256):
        width = min(256, size - bundle * 256)
        partial = f".p/{width}" if width < 256 else ""
        with urllib.request.urlopen(f"{rota.url}{prefix}/tile/entries/{bundle:03}{partial}") as answer:
            rest = answer.read()
        while rest:
            length = int.from_bytes(rest[:2])
            entries.append(rest[2 : 2 + length])
            rest = rest[2 + length :]
    return entries


def check_whole(rota, receipts, vkeys):
    """Everything by the capability path, as a stock verifier reads it, without any other authority."""
    prefix = rota.keys()["prefix"]
    with urllib.request.urlopen(f"{rota.url}{prefix}/checkpoint") as answer:
        note = answer.read().decode()
    _, size, root = head(note)
    entries = entries_of(rota, prefix, size)
    assert len(entries) == size, (len(entries), size)
    leaves = [hashlib.sha256(b"\0" + entry).digest() for entry in entries]
    assert tamperlog.merkle_root(leaves) == root
    assert tamperlog.merkle_root(leaves[:-2] + [leaves[-1], leaves[-2]]) != root
    reader = aics_tlog.HttpTileReader(rota.url + prefix)
    aics_tlog.audit_tiles(reader, size, root)
    wrong = bytes([root[0] ^ 1]) + root[1:]
    assert refused(lambda: aics_tlog.audit_tiles(reader, size, wrong)), "tiles under another root"
    for position, entry in enumerate(entries):
        proof = rota.get(f"/v1/ledger/proof/{position}?size={size}").decode()
        assert check_included(entry, proof, vkeys) == position
    for position, receipt in receipts:
        assert check_included(entries[position], receipt, vkeys) == position
    return note


def check_history(program, folder):
    rota = Rota(program, folder).start()
    vkeys = [key["vkey"] for key in rota.keys()["keys"]]
    receipts, notes = [], [rota.checkpoint()]
    for _ in range(3):
        receipts += [rota.change() for _ in range(90)]
        notes.append(rota.checkpoint())
        rota.kill()
        rota.start()
    rota.stop()
    rota.start()
    receipts += [rota.change() for _ in range(20)]
    notes.append(rota.checkpoint())
    receipts += erase(rota)
    notes.append(rota.checkpoint())
    for note in notes:
        check_signed(note, vkeys)
    for old, new in zip(notes, notes[1:]):
        check_consistent(rota, old, new, vkeys)
    notes.append(check_whole(rota, receipts, vkeys))
    print(f"    {len(receipts)} receipts and {head(notes[-1])[1]} events, over 3 kills, a restart and an erasure")

    rota.ask("POST", "/v1/ledger/keys", {"overlapSeconds": 2}, expect=200)
    both = [key["vkey"] for key in rota.keys()["keys"]]
    assert len(both) == 2 and both[0] == vkeys[0]
    note = rota.checkpoint()
    check_signed(note, both)
    check_consistent(rota, notes[-1], note, [vkeys[0]])
    time.sleep(2.2)
    rota.change()
    alone = rota.checkpoint()
    check_signed(alone, [both[1]])
    assert refused(metamorphic_log.checkpoint_verify, alone, [both[0]]), "the former key signs no more"
    aics = (aics_tlog.parse_note(note), aics_tlog.parse_vkey(both[1]))
    assert aics_tlog.verify_checkpoint(*aics)
    check_consistent(rota, notes[0], alone, both)
    check_consistent(rota, note, alone, [both[1]])
    print("    both keys signed for a while, then the new one alone")

    rota.stop()
    other = folder / "elsewhere"
    other.mkdir()
    shutil.copy(folder / "master.key", other / "master.key")
    command = [program, "copy", "--from", f"sqlite:{folder}/rota.db", "--to", f"sqlite:{other}/rota.db"]
    subprocess.run(command, check=True, env=rota.environment(), stdout=subprocess.DEVNULL)
    moved = Rota(program, other).start()
    after = moved.checkpoint()
    check_signed(after, [both[1]])
    check_consistent(moved, notes[0], after, both)
    moved.change()
    check_consistent(moved, after, moved.checkpoint(), [both[1]])
    check_whole(moved, [], [both[1]])
    moved.stop()
    print("    and `rota copy` carries it on")


def erase(rota):
    """Makes what is personal, with receipts, and erases it. They are to hold afterwards."""
    proof = [("Prefer", "ledger-proof")]

    def changed(path, body, status):
        _, content, headers = rota.ask("POST", path, body, proof, status)
        receipt = base64.b64decode(headers["Rota-Receipt"]).decode()
        return json.loads(content), (int(headers["Rota-Position"]), receipt)

    opened, first = changed("/v1/workspaces", {"name": "w"}, 201)
    issue = {"kind": "client", "name": "Anna Muster", "workspaceId": opened["id"]}
    issued, second = changed("/v1/credentials", issue, 201)
    path = f"/v1/credentials/{issued['credential']['id']}"
    _, third = changed(f"{path}/rotate", {"reason": "Anna has left"}, 200)
    read = lambda: json.loads(rota.get(path))["name"]
    assert read() == "Anna Muster"
    _, fourth = changed(f"{path}/erase-details", {}, 200)
    assert read() is None
    return [first, second, third, fourth]


class Witness:
    """aics-witness, to which every checkpoint goes."""

    def __init__(self, folder, origin, vkey, name="witness"):
        folder = folder / name
        folder.mkdir()
        self.config = str(folder / "witness.json")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        command = [BIN / "aics-witness", "init", "-c", self.config, "--name", f"{name}.test/w1"]
        quiet = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run([*command, "--listen", f"127.0.0.1:{self.port}"], **quiet)
        status = [BIN / "aics-witness", "status", "-c", self.config, "--json"]
        told = subprocess.run(status, check=True, capture_output=True, text=True).stdout
        self.vkey = next(word for word in json.dumps(json.loads(told)).split('"') if word.startswith(f"{name}.test/w1+"))
        add = [BIN / "aics-witness", "add-log", "-c", self.config, "--origin", origin, "--vkey", vkey]
        subprocess.run(add, **quiet)
        serve = [BIN / "aics-witness", "serve", "-c", self.config]
        self.process = subprocess.Popen(serve, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.size, self.seen = 0, 0
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.1)
        raise SystemExit(f"the witness {name} does not start")

    def show(self, rota, note):
        _, size, _ = head(note)
        proof = b"" if self.size == 0 else rota.get(f"/v1/ledger/consistency?from={self.size}&to={size}")
        status = self.post(f"old {self.size}\n".encode() + proof + b"\n" + note.encode())
        assert status == 200, f"the witness answers {status} to {self.size} -> {size}"
        self.size, self.seen = size, self.seen + 1

    def post(self, body):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/add-checkpoint", data=body, method="POST")
        for _ in range(100):
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    return answer.status
            except urllib.error.HTTPError as error:
                return error.code
            except urllib.error.URLError:
                time.sleep(0.1)
        raise SystemExit("the witness does not answer")

    def evidence(self):
        command = [BIN / "aics-witness", "evidence", "-c", self.config]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    def stop(self):
        self.process.kill()
        self.process.wait()


def check_kills(program, folder, rounds):
    rota = Rota(program, folder).start()
    keys = rota.keys()
    witness = Witness(folder, keys["origin"], keys["keys"][0]["vkey"])
    acknowledged, last = {}, None
    for _ in range(rounds):
        stop = threading.Event()

        def write():
            while not stop.is_set():
                try:
                    position, receipt = rota.change()
                    acknowledged[position] = receipt
                except Exception:
                    return

        writers = [threading.Thread(target=write) for _ in range(4)]
        for writer in writers:
            writer.start()
        until = time.monotonic() + random.uniform(0.05, 0.5)
        while time.monotonic() < until:
            last = rota.checkpoint()
            if head(last)[1] > witness.size:
                witness.show(rota, last)
        rota.kill()
        stop.set()
        for writer in writers:
            writer.join()
        rota.start()
        # Receipts that were given out a moment before the kill are of this history, too.
        for position in sorted(acknowledged)[-4:]:
            _, _, note = parse_receipt(acknowledged[position])
            if head(note)[1] > witness.size:
                witness.show(rota, note)
    witness.show(rota, rota.checkpoint())
    for position, receipt in acknowledged.items():
        check_included(rota.get(f"/v1/ledger/entries/{position}"), receipt, [keys["keys"][0]["vkey"]])
    assert witness.evidence() == [], witness.evidence()
    print(f"    {rounds} kills, {len(acknowledged)} acknowledged changes, {witness.seen} checkpoints witnessed, no evidence")
    rota.stop()

    # The witness does find a second history, when there is one.
    lone = folder / "lone"
    lone.mkdir()
    # What was last written may be in the log beside it.
    for path in folder.glob("rota.db*"):
        if path.name in ("rota.db", "rota.db-wal"):
            shutil.copy(path, lone / path.name)
    shutil.copy(folder / "master.key", lone / "master.key")
    # Both copies go on from here, each with the key: what a guard that lies beside one of them can't know.
    twins = [Rota(program, folder).start(), Rota(program, lone).start()]
    for twin in twins:
        twin.change()
    # What goes on by itself may have made one of them longer.
    for _ in range(100):
        first, second = (head(twin.checkpoint())[1] for twin in twins)
        if first == second:
            break
        twins[0 if first < second else 1].change()
    witness.show(twins[0], twins[0].checkpoint())
    forked = twins[1].checkpoint()
    body = f"old {witness.size}\n\n".encode() + forked.encode()
    assert head(forked)[1] == witness.size, (head(forked)[1], witness.size)
    status = witness.post(body)
    assert status in (409, 422), f"the witness answers {status} to another history"
    assert witness.evidence() != [], "a forked history is evidence"
    for twin in twins:
        twin.stop()
    witness.stop()


def policy_of(witness):
    return f"witness W1 {witness.vkey} http://127.0.0.1:{witness.port}\nquorum W1\n"


def wait_cosigned(rota, size):
    """Waits until the quorum has cosigned so many events."""
    for _ in range(300):
        state = json.loads(rota.get("/v1/ledger/state"))
        if state["cosigned"] and state["cosigned"]["size"] >= size:
            return
        time.sleep(0.1)
    raise SystemExit(f"nothing was cosigned: {state}")


# What a call gets, and which one of its thread's calls. A call that is to be the last one has the process killed.
FAULTS = [
    (calls, effect, when)
    for calls, effects in (
        ("fsync,fdatasync", ("error=EIO", "signal=KILL")),
        ("pwrite64,write", ("error=ENOSPC", "error=EIO", "signal=KILL")),
    )
    for effect in effects
    for when in ("3", "7", "12+", "25", "60")
]


def check_faults(program, folder, rounds):
    """Faults in the calls by which the store and the guard file are written."""
    if shutil.which("strace") is None:
        print("    SKIPPED: strace is not there")
        return
    rota = Rota(program, folder).start()
    keys = rota.keys()
    vkeys = [key["vkey"] for key in keys["keys"]]
    seen = Witness(folder, keys["origin"], vkeys[0], "seen")
    own = Witness(folder, keys["origin"], vkeys[0], "own")
    (folder / "witnesses").write_text(policy_of(own))
    rota.stop()
    rota.settings = {"ROTA_WITNESSES": str(folder / "witnesses"), "ROTA_ANCHOR_SECONDS": "1"}
    files = [part for name in ("rota.db", "rota.db-wal", "rota.db.guard") for part in ("-P", str(folder / name))]
    acknowledged, refusals, deaths = {}, 0, 0
    chosen = random.sample(FAULTS, min(rounds, len(FAULTS)))
    for calls, effect, when in chosen:
        under = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", *files, "-e", f"trace={calls}"]
        rota.start([*under, "-e", f"inject={calls}:{effect}:when={when}"], may_fail=True)
        stop = threading.Event()

        def write():
            nonlocal refusals
            while not stop.is_set():
                try:
                    position, receipt = rota.change()
                    acknowledged[position] = receipt
                except AssertionError:
                    refusals += 1
                    time.sleep(0.02)
                except Exception:
                    return

        writers = [threading.Thread(target=write) for _ in range(3)] if rota.url else []
        for writer in writers:
            writer.start()
        until = time.monotonic() + 1.5
        while time.monotonic() < until and rota.url and rota.process.poll() is None:
            try:
                note = rota.checkpoint()
                if head(note)[1] > seen.size:
                    seen.show(rota, note)
            except (AssertionError, OSError):
                time.sleep(0.02)
        deaths += rota.process.poll() is not None
        stop.set()
        rota.kill()
        for writer in writers:
            writer.join()
        rota.start()
        for position in sorted(acknowledged)[-4:]:
            _, _, note = parse_receipt(acknowledged[position])
            if head(note)[1] > seen.size:
                seen.show(rota, note)
        note = rota.checkpoint()
        if head(note)[1] > seen.size:
            seen.show(rota, note)
        rota.kill()
    rota.start()
    rota.change()
    wait_cosigned(rota, head(rota.checkpoint())[1])
    for position, receipt in acknowledged.items():
        check_included(rota.get(f"/v1/ledger/entries/{position}"), receipt, vkeys)
    assert seen.evidence() == [] and own.evidence() == [], (seen.evidence(), own.evidence())
    assert len(acknowledged) > 5 * rounds and refusals + deaths > 0, (len(acknowledged), refusals, deaths)
    print(
        f"    {len(chosen)} faults, {refusals} changes refused and {deaths} deaths by them, {len(acknowledged)} acknowledged, "
        f"{seen.seen} checkpoints witnessed, no evidence"
    )
    rota.stop()
    subprocess.run([program, "verify"], check=True, env=rota.environment(), stdout=subprocess.DEVNULL)
    seen.stop()
    own.stop()


def check_cosigned(program, folder):
    rota = Rota(program, folder).start()
    keys = rota.keys()
    vkey = keys["keys"][0]["vkey"]
    foreign = Witness(folder, keys["origin"], vkey, "foreign")
    (folder / "witnesses").write_text(policy_of(foreign))
    rota.stop()
    rota.settings = {"ROTA_WITNESSES": str(folder / "witnesses"), "ROTA_ANCHOR_SECONDS": "1"}
    rota.start()
    for _ in range(3):
        for _ in range(20):
            rota.change()
        wait_cosigned(rota, head(rota.checkpoint())[1])
        rota.kill()
        rota.start()
    (folder / "ledger.vkey").write_text(vkey)
    tiles = f"{rota.url}{rota.keys()['prefix']}/cosigned"
    for witness, holds in ((foreign.vkey, True), (other_witness(foreign.vkey), False)):
        command = [BIN / "aics-tlog", "verify-checkpoint", "--tiles", tiles, "--vkey-file", folder / "ledger.vkey"]
        command += ["--witness-key", witness, "--quorum", "1", "--max-age", "3600"]
        ran = subprocess.run(command, capture_output=True, text=True)
        assert (ran.returncode == 0) is holds, (holds, ran.stdout, ran.stderr)
    with urllib.request.urlopen(f"{tiles}/checkpoint") as answer:
        note = answer.read().decode()
    check_signed(note, [vkey])
    aics_tlog.audit_tiles(aics_tlog.HttpTileReader(tiles), head(note)[1], head(note)[2])
    proof = rota.get("/v1/ledger/proof/3?cosigned=true").decode()
    assert foreign.vkey.split("+")[0] in proof
    check_included(rota.get("/v1/ledger/entries/3"), proof, [vkey])
    assert foreign.evidence() == []
    print("    stock verifiers find the quorum, through 3 kills")

    # And the other way round: a stock client has its checkpoints cosigned by rota.
    own = folder / "own"
    made = [program, "witness", "init", "--dir", own, "--name", "own.test/w1", "--format", "json"]
    own_vkey = json.loads(subprocess.run(made, check=True, capture_output=True, text=True).stdout)["vkey"]
    subprocess.run([program, "witness", "add", "--dir", own, vkey], check=True, stdout=subprocess.DEVNULL)
    serve = [program, "witness", "serve", "--dir", own, "--listen", "127.0.0.1:0"]
    served = subprocess.Popen(serve, stdout=subprocess.PIPE, text=True, env=rota.environment())
    url = served.stdout.readline().split()[-1]
    client = aics_witness.feeder.WitnessClient(url, own_vkey, state_path=str(folder / "feeder.json"))

    def proof_of(old, new):
        if old in (0, new):
            return []
        return [base64.b64decode(line) for line in rota.get(f"/v1/ledger/consistency?from={old}&to={new}").split()]

    for _ in range(4):
        note = rota.checkpoint()
        line = client.submit(note, proof_of)
        both = aics_witness.feeder.merge_cosignatures(note, line)
        assert b"own.test/w1" in both
        metamorphic_log.checkpoint_verify(both.decode(), [vkey])
        rota.change()
    # What it forgot, rota's witness tells it.
    forgetful = aics_witness.feeder.WitnessClient(url, own_vkey)
    forgetful.submit(rota.checkpoint(), proof_of)
    size = head(rota.checkpoint())[1]
    assert head(note)[1] < size
    assert refused(forgetful.submit, note, proof_of), "an older checkpoint"
    served.terminate()
    assert served.wait(30) == 0
    rota.stop()
    foreign.stop()
    print("    and rota's witness cosigns for a stock client")


def other_witness(vkey):
    """A key that cosigned nothing, of the same form."""
    name, _, key = vkey.split("+", 2)
    raw = bytearray(base64.b64decode(key))
    raw[1] ^= 1
    fingerprint = hashlib.sha256(name.encode() + b"\n" + bytes(raw)).digest()[:4].hex()
    return f"{name}+{fingerprint}+{base64.b64encode(raw).decode()}"


def check_restored(program, folder):
    rota = Rota(program, folder).start()
    for _ in range(5):
        rota.change()
    rota.ask("POST", "/v1/admin/backup", {"path": str(folder / "backup.db")}, expect=200)
    rota.change()
    before = rota.checkpoint()
    rota.kill()
    for ending in ("", "-wal", "-shm"):
        (folder / f"rota.db{ending}").unlink(missing_ok=True)
    shutil.copy(folder / "backup.db", folder / "rota.db")
    rota.start()
    for method, path in (("POST", "/v1/workspaces"), ("GET", "/ledger/checkpoint"), ("POST", "/v1/verify")):
        body = {"name": "w"} if method == "POST" else None
        status, content, _ = rota.ask(method, path, body)
        assert status in (400, 503) if path == "/v1/verify" else status == 503, (path, status, content)
    rota.ask("POST", "/v1/ledger/restored", {}, expect=200)
    after = rota.checkpoint()
    assert head(after)[0] != head(before)[0]
    rota.change()
    rota.stop()
    (folder / "renamed").touch()
    rota.start()
    rota.change()
    rota.stop()
    print("    a backup that was put back is not served until its loss is recorded")


def check_pack(program, folder):
    rota = Rota(program, folder).start()
    kept = rota.checkpoint()
    (folder / "kept.checkpoint").write_text(kept)
    erase(rota)
    for _ in range(20):
        rota.change()
    pack = folder / "pack"
    make = [program, "report", "--all", "--pack", pack, "--kept", folder / "kept.checkpoint"]
    keys = {"ROTA_URL": rota.url, "ROTA_KEY": OPERATOR}
    subprocess.run(make, check=True, env={**rota.environment(), **keys}, stdout=subprocess.DEVNULL)
    vkeys = [key["vkey"] for key in rota.keys()["keys"]]
    rota.stop()

    # The two commands of its own instructions, without a network.
    page = (pack / "VERIFY.md").read_text().split("```python\n")[1].split("```")[0]
    checker = folder / "check.py"
    checker.write_text("\n".join(line.removeprefix("   ") for line in page.split("\n")))
    alone = ["unshare", "--user", "--map-root-user", "--net"]
    if subprocess.run([*alone, "true"], capture_output=True).returncode != 0:
        alone = []

    def holds(command):
        return subprocess.run([*alone, *command], cwd=pack, capture_output=True, env={"PATH": os.environ["PATH"]}).returncode == 0

    sums, proofs = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], [sys.executable, "-I", checker]
    assert holds(sums) and holds(proofs)
    # And with the other verifiers.
    receipts = sorted(pack.glob("receipts/*.tlog-proof"))
    for path in receipts:
        index = int(path.name.split(".")[0])
        entry = (pack / f"entries/{index}.json").read_bytes()
        assert check_included(entry, path.read_text(), vkeys) == index
    (connected,) = pack.glob("consistency/*.txt")
    old, new = ((pack / f"consistency/{size}.checkpoint").read_text() for size in connected.stem.split("-"))
    assert old == kept and new == (pack / "checkpoint").read_text()
    (_, m, old_root), (_, n, new_root) = head(old), head(new)
    proof = [base64.b64decode(line) for line in connected.read_text().split()]
    assert aics_tlog.verify_consistency(m, n, old_root, new_root, proof)
    tamperlog.verify_consistency(m, old_root, n, new_root, proof)
    # Each kind of file has a twin with one bit changed.
    twins = [receipts[-1], pack / f"entries/{index}.json", connected, pack / "checkpoint", pack / "reports/population.json"]
    for path in twins:
        whole = path.read_bytes()
        for at in (len(whole) // 3, len(whole) // 2):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            assert not holds(sums), path
            assert path.parent.name == "reports" or not holds(proofs), path
        path.write_bytes(whole)
    assert holds(sums) and holds(proofs)
    network = "without a network" if alone else "(the network can't be taken away here)"
    print(f"    {len(receipts)} receipts in a pack of all reports hold {network}, and {2 * len(twins)} twins do not")


def main():
    program = str(pathlib.Path(sys.argv[1]).resolve())
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 12
    checks = (
        (check_history, ()),
        (check_kills, (rounds,)),
        (check_faults, (rounds,)),
        (check_cosigned, ()),
        (check_restored, ()),
        (check_pack, ()),
    )
    for check, arguments in checks:
        with tempfile.TemporaryDirectory() as folder:
            print(f"{check.__name__.replace('_', ' ')}:", flush=True)
            check(program, pathlib.Path(folder), *arguments)
    print("every verifier agrees")


if __name__ == "__main__":
    main()
