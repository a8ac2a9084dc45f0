"""Handshake, a command whose output streams, a file written and read. Prints what it found, one fact a line."""

import sys
import time

from agent import Agent, Refused

agent = Agent(sys.argv[1])
print(f"ids {agent.end - agent.start}")
assert agent.ready["ready_time_ns"] > 0, agent.ready

# What is printed arrives when it is printed, and not all at the end.
began, arrived, output = time.monotonic(), [], b""
for kind, value in agent.exec("sh", "-c", "echo one; sleep 1; echo two; echo err >&2; exit 7"):
    if kind == "stdout":
        arrived.append(time.monotonic() - began)
        output += value
    elif kind == "exited":
        print(f"exited {value}")
print(f"output {output!r}")
print(f"streamed {len(arrived) >= 2 and arrived[-1] - arrived[0] >= 0.5}")

data = bytes(range(256)) * 8192
code, echoed, _ = agent.run("cat", stdin=data)
print(f"cat {code} {echoed == data}")
agent.write_file("/tmp/from-python", data, mode=0o600)
print(f"file {agent.read_file('/tmp/from-python') == data}")
_, stat, _ = agent.run("stat", "-c", "%a %s", "/tmp/from-python")
print(f"stat {stat.decode().strip()}")
code, out, _ = agent.run("sh", "-c", "echo $A; pwd; id -u", env=["A=b"], cwd="/tmp", user="1000")
print(f"env {out.decode().split()}")
try:
    agent.run("/no/such/program")
except Refused as error:
    print("refused")
