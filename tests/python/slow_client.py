"""Clients of the relay that are attached to a job: one that never reads, and one that reads all.

    slow_client.py SOCKET ID TURNS BYTES      the relay, a job, and how often it prints this many bytes after a line of input
"""

import sys

from agent import SESSION_START, Agent

SOCKET, JOB, TURNS, BYTES = sys.argv[1], *map(int, sys.argv[2:])


def attach():
    client = Agent(SOCKET)
    identity = next(client.ids)
    client.send(identity, SESSION_START, "core.job.attach", {"job": JOB})
    of, _, kind, attached = client.receive()
    assert (of, kind) == (identity, "core.job.attached"), (of, kind, attached)
    assert attached["stdin"] and not attached["tty"], attached
    return client, identity


slow, _ = attach()
reader, identity = attach()
received = 0
for turn in range(1, TURNS + 1):
    reader.send(identity, 0, "core.exec.stdin", {"data": b"go\n"})
    while received < turn * BYTES:
        _, _, kind, payload = reader.receive()
        if kind == "core.exec.stdout":
            received += len(payload["data"])
            reader.send(identity, 0, "core.exec.output.ack", {"bytes": received})
        else:
            assert kind == "core.exec.stdin.ack", (kind, payload)
reader.send(identity, 0, "core.exec.stdin", {"data": b""})
while kind != "core.exec.exited":
    _, _, kind, payload = reader.receive()
    assert kind in ("core.exec.stdin.ack", "core.exec.exited"), (kind, payload)
assert payload["code"] == 5, payload

# The other one did not delay the job. It has its window, the end of the output, and the number of bytes in between.
kept, skipped, kind = 0, 0, None
while kind != "core.exec.exited":
    _, _, kind, payload = slow.receive()
    if kind == "core.exec.stdout":
        kept += len(payload["data"])
    elif kind == "core.job.output.skipped":
        skipped += payload["bytes"]
assert kept + skipped == TURNS * BYTES and skipped > 0, (kept, skipped)
print("skipped some")
