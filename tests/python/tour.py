"""Handshake, a command with streamed output, a file written and read, writes held, a connection, and more. Prints one result per line."""

import sys
import threading
import time

from agent import SESSION_START, TERMINAL, Agent, Refused

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

# Writes are held for one client at a time, until it asks for the end or is gone.
holder = Agent(sys.argv[1])
for end in ("asks", "is gone"):
    frozen = holder.freeze()
    try:
        agent.freeze()
    except Refused as error:
        print(f"busy {'EBUSY' in str(error)}")
    results = []
    write = threading.Thread(target=lambda: results.append(other.run("sh", "-c", "echo held > /srv/held")))
    other = Agent(sys.argv[1])
    write.start()
    write.join(0.5)
    print(f"held {write.is_alive()}")
    if end == "asks":
        holder.thaw(frozen)
    else:
        holder.close()
    write.join()
    print(f"{end} {results[0][0]}")
    other.close()

# A connection to a server in the guest that no port publishes.
server = Agent(sys.argv[1])
server.send(server.start, SESSION_START, "core.exec.request", {"cmd": "nc", "args": "-l -p 7777 -e tr a-z A-Z".split()})
server.receive()
answers = agent.connect("localhost", 7777, b"hello from the host\n")
while answers[-1][0] == "core.tcp.failed":
    time.sleep(0.1)
    answers = agent.connect("localhost", 7777, b"hello from the host\n")
print(f"tcp {answers}")
server.close()
print(f"refused {agent.connect('127.0.0.1', 7778, b'')}")

identity = next(agent.ids)
agent.send(identity, 0, "core.touch", {})
_, flags, kind, touched = agent.receive()
print(f"touch {kind} {flags == TERMINAL} {touched['activity_seq'] > 5}")

# The form of file requests that clients of microsandbox send.
agent.write_file("/tmp/tagged", b"12345")
identity = next(agent.ids)
agent.send(identity, SESSION_START, "core.fs.request", {"op": {"Stat": {"path": "/tmp/tagged", "follow_symlink": True}}})
_, flags, kind, answer = agent.receive()
stat = answer["data"]["Stat"]
print(f"tagged {kind} {answer['ok']} {stat['kind']} {stat['size']}")
