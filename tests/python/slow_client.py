"""Clients of the relay that are attached to a job: one that never reads, and one that receives all.

    slow_client.py SOCKET ID BYTES      the relay, a job that prints this many bytes after a line of input, its number
"""

import itertools
import sys

from agent import SESSION_START, Agent

SOCKET, JOB, BYTES = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


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
reader.send(identity, 0, "core.exec.stdin", {"data": b"go\n"})
received = 0
for turn in itertools.count():
    _, _, kind, payload = reader.receive()
    if kind == "core.exec.stdout":
        received += len(payload["data"])
        reader.send(identity, 0, "core.exec.output.ack", {"bytes": received})
    elif kind == "core.exec.exited":
        assert payload["code"] == 5, payload
        break
    else:
        assert kind == "core.exec.stdin.ack", (kind, payload)
assert received == BYTES, received

# The other one did not delay the job. It has its window, the end of the output, and the number of bytes in between.
kept, skipped = 0, 0
while True:
    _, _, kind, payload = slow.receive()
    if kind == "core.exec.stdout":
        kept += len(payload["data"])
    elif kind == "core.job.output.skipped":
        skipped += payload["bytes"]
    elif kind == "core.exec.exited":
        break
assert kept + skipped == BYTES and skipped > 0, (kept, skipped)
print("skipped some")
