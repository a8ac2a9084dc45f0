"""128 clients at the same time: none receives another's frames, the 129th is refused, and a client that does not read
does not slow the others. Prints JSON: the times of the others' commands without it and with it.

    many.py SOCKET [ROUNDS] [CLIENTS]
"""

import json
import sys
import threading
import time

from agent import Agent, Refused, SESSION_START

path = sys.argv[1]
rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
count = int(sys.argv[3]) if len(sys.argv) > 3 else 128


def connect():
    """Connects; the slot of a client that has left is free a moment later."""
    for _ in range(1200):
        try:
            return Agent(path)
        except Refused:
            time.sleep(0.05)
    return Agent(path)


def talk(agent, number, times, errors):
    try:
        for turn in range(rounds):
            word = f"client {number} turn {turn}"
            began = time.monotonic()
            code, out, err = agent.run("sh", "-c", 'echo "$1"; cat; exit 3', "sh", word, stdin=word.encode())
            times.append(time.monotonic() - began)
            # run() has checked that every frame is of the open session.
            assert (code, out, err) == (3, f"{word}\n{word}".encode(), b""), (code, out, err)
    except Exception as error:  # noqa: BLE001: every failure of a thread is reported
        errors.append(f"client {number}: {error!r}")


def all_talk(agents):
    times, errors = [], []
    threads = [threading.Thread(target=talk, args=(agent, number, times, errors)) for number, agent in enumerate(agents)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors[:3]
    times.sort()
    return times


def quantile(times, share):
    return round(times[min(len(times) - 1, int(share * len(times)))] * 1000, 1)


agents = [connect() for _ in range(count)]
assert len({agent.start for agent in agents}) == count, "two clients have the same ids"
refused = ""
if count == 128:
    try:
        Agent(path)
    except Refused as error:
        refused = str(error)

everybody = all_talk(agents)
lazy, others = agents[0], agents[1:]
without = all_talk(others)
# More than the relay buffers for a client that does not read.
lazy.send(next(lazy.ids), SESSION_START, "core.exec.request", {"cmd": "cat", "args": ["/dev/zero"]})
beside = all_talk(others)
for agent in agents:
    agent.close()
# All slots are free again.
again = [connect() for _ in range(count)]
assert again[-1].run("echo", "mine") == (0, b"mine\n", b"")

print(json.dumps({
    "clients": count,
    "refused": refused,
    "execs": len(everybody) + len(without) + len(beside),
    "without_ms": {"p50": quantile(without, 0.5), "p99": quantile(without, 0.99)},
    "beside_ms": {"p50": quantile(beside, 0.5), "p99": quantile(beside, 0.99)},
}))
