"""Checks a receipt (c2sp.org/tlog-proof@v1) with metamorphic-log: FILE, then the ledger's verifier key. Its twin with a
changed event must be refused. Prints what it found."""

import base64
import hashlib
import json
import sys

import metamorphic_log

head, checkpoint = open(sys.argv[1], encoding="utf-8").read().split("\n\n", 1)
lines = head.split("\n")
assert lines.pop(0) == "c2sp.org/tlog-proof@v1"
assert lines[0].startswith("extra ")
entry = base64.b64decode(lines.pop(0)[6:])
index = int(lines.pop(0).removeprefix("index "))
path = [base64.b64decode(line) for line in lines]


def holds(event):
    leaf = hashlib.sha256(b"\0" + event).digest()
    try:
        metamorphic_log.checkpoint_verify_inclusion(checkpoint, [sys.argv[2]], index, leaf, path)
    except Exception:
        return False
    return True


print(json.dumps({"index": index, "holds": holds(entry), "twinHolds": holds(entry + b" "), "event": json.loads(entry)}))
