"""Runs inside a guest: fills the buffers of its supervisor.

    hoard.py names COUNT | answers COUNT | connections COUNT ADDRESS PORT | listen PORT
"""

import resource
import select
import socket
import struct
import sys
import time

GATEWAY = [line.split()[1] for line in open("/etc/resolv.conf") if line.startswith("nameserver")][0]
PATIENCE_SECONDS = 60
# The number of pending lookups.
AT_ONCE = 100


def question(number, name):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!HHHHHH", number & 0xFFFF, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", 1, 1)


def names(count):
    """Looks up many names of one address."""
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(5)
    client.connect((GATEWAY, 53))
    answered = 0
    for first in range(0, count, AT_ONCE):
        for number in range(first, min(first + AT_ONCE, count)):
            client.send(question(number, f"{number}.many.test"))
        try:
            for _ in range(first, min(first + AT_ONCE, count)):
                answered += client.recv(4096)[3] & 15 == 0
        except TimeoutError:
            pass
    print(f"{answered} of {count} names answered", flush=True)


def answers(count):
    """Looks up many names of thousands of addresses each."""
    answered = 0
    for number in range(count):
        with socket.create_connection((GATEWAY, 53), timeout=PATIENCE_SECONDS) as client:
            asked = question(number, f"{number}.wide.test")
            client.sendall(struct.pack("!H", len(asked)) + asked)
            with client.makefile("rb") as file:
                length = file.read(2)
                if len(length) == 2:
                    answer = file.read(struct.unpack("!H", length)[0])
                    answered += struct.unpack("!H", answer[6:8])[0] > 1000
    print(f"{answered} of {count} answers are large", flush=True)


def connections(count, address, port):
    """Opens many connections, fills their buffers, and reads nothing."""
    kept, poll = {}, select.poll()
    for _ in range(count):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex((address, port))
        kept[client.fileno()] = client
        poll.register(client, select.POLLOUT)
    written, block = 0, bytes(65536)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while kept and time.monotonic() < deadline and (ready := poll.poll(5000)):
        for number, _ in ready:
            try:
                written += kept[number].send(block)
            except BlockingIOError:
                pass
            except OSError:
                poll.unregister(number)
                kept.pop(number).close()
    print(f"{len(kept)} of {count} connections hold {written} bytes", flush=True)
    time.sleep(5)


def listen(port):
    """Accepts every connection and packet, fills the connections, and reads nothing."""
    listener = socket.create_server(("", port), backlog=4096)
    kept = []
    while True:
        stream = listener.accept()[0]
        stream.setblocking(False)
        try:
            while True:
                stream.send(bytes(65536))
        except OSError:
            kept.append(stream)


resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
what, *arguments = sys.argv[1:]
{"names": names, "answers": answers, "connections": connections, "listen": listen}[what](
    *[int(word) if word.isdigit() else word for word in arguments])
