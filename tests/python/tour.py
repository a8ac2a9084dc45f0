"""Handshake, a command with streamed output, a file written and read. Prints one result per line."""

import sys

from agent import Agent, Refused

agent = Agent(sys.argv[1])
print(f"ids {agent.end - agent.start}")
assert agent.ready["ready_time_ns"] > 0, agent.ready

# Output is streamed: the command continues only after its first line has arrived.
other = Agent(sys.argv[1])
waits = "i=0; until [ -e /tmp/go ] || [ $i = 600 ]; do i=$((i + 1)); sleep 0.1; done"
arrived, output = 0, b""
for kind, value in agent.exec("sh", "-c", f"echo one; {waits}; [ -e /tmp/go ] && echo two; echo err >&2; exit 7"):
    if kind == "stdout":
        arrived += 1
        output += value
        if output == b"one\n":
            assert other.run("touch", "/tmp/go")[0] == 0
    elif kind == "exited":
        print(f"exited {value}")
other.close()
print(f"output {output!r}")
print(f"streamed {arrived >= 2}")

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
