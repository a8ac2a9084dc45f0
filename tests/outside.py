"""The servers of tests/outside: names, HTTP, and a few ports whose traffic is recorded."""

import os
import socket
import struct
import subprocess
import sys
import threading
import time

FOLDER = sys.argv[1]
# The servers end after this time, even if the test was killed.
LIFETIME_SECONDS = 900
NAME_SERVER = "203.0.113.53"
NAME_SERVER_6 = "2001:db8::53"
ADDRESSES = [
    "93.184.216.10", "93.184.216.11", "93.184.216.12", "93.184.216.66", "10.1.2.3", "192.168.7.7", "100.64.7.7",
    *(f"93.184.216.{host}" for host in range(20, 28)), "2606:2800::20",
    "169.254.169.254", "100.100.100.200", "168.63.129.16", "192.0.0.192", "2606:2800::10", "2606:2800::11", "fd00:ec2::254",
    "fd12::7", "64:ff9b::a01:203", "2002:a01:203::1", "64:ff9b::a9fe:a9fe",
]
# Those of the test's own servers.
TEST_ADDRESSES = ("93.184.216.2", "2606:2800::20")
A, CNAME, TXT, AAAA = 1, 5, 16, 28
ZONE = {
    "good.example.org": [(A, "93.184.216.10"), (AAAA, "2606:2800::10")],
    "shared.example.org": [(A, "93.184.216.10"), (AAAA, "2606:2800::10")],
    "status.example.org": [(A, "93.184.216.12")],
    "other.example.org": [(A, "93.184.216.11")],
    "rebind.example.org": [(A, "10.1.2.3"), (A, "169.254.169.254"), (A, "127.0.0.1"), (AAAA, "::ffff:10.1.2.3"),
                           (AAAA, "fd12::7"), (AAAA, "64:ff9b::a01:203")],
    "chain.example.org": [(CNAME, "secret.evil.test")],
    "secret.evil.test": [(A, "93.184.216.66")],
    "fine.example.org": [(CNAME, "cdn.example.net")],
    # Servers of the test itself: see tests/src/servers.rs.
    "api.example.org": [(A, "93.184.216.20"), (AAAA, "2606:2800::20")],
    "second.example.org": [(A, "93.184.216.20"), (AAAA, "2606:2800::20")],
    "tenant.example.org": [(A, "93.184.216.20"), (AAAA, "2606:2800::20")],
    "evil.example.org": [(A, "93.184.216.21")],
    "logs.example.org": [(A, "93.184.216.21")],
    "untrusted.example.org": [(A, "93.184.216.22")],
    "dev.example.org": [(A, "93.184.216.23")],
    "dev2.example.org": [(A, "93.184.216.23")],
    "pinned.example.org": [(A, "93.184.216.24")],
    "client.example.org": [(A, "93.184.216.25")],
    "old.example.org": [(A, "93.184.216.26")],
    "known.example.org": [(A, "93.184.216.27")],
    "cdn.example.net": [(A, "93.184.216.12")],
}
# Any number of names of one address, and names of thousands of addresses, for hoarding guests.
MANY, WIDE = ".many.test", ".wide.test"
WIDE_COUNT = 4000
UDP_ANSWER_BYTES_MAX = 1232
DAY_SECONDS = 24 * 60 * 60
# The port of a server that sends without end and reads nothing.
FULL_PORT = 19
# The port of a server that accepts connections and sends nothing.
SILENT_PORT = 9
lock = threading.Lock()


def seen(line):
    with lock, open(f"{FOLDER}/seen", "a") as file:
        file.write(line + "\n")


def wire_name(name):
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def zone_of(name):
    """Returns the records of a name; None if it does not exist."""
    if name.endswith(MANY):
        return [(A, "93.184.216.10")]
    if name.endswith(WIDE):
        first = int(name.removesuffix(WIDE)) * WIDE_COUNT
        return [(A, socket.inet_ntoa(struct.pack("!I", 0x0B000000 + first + i))) for i in range(WIDE_COUNT)]
    return ZONE.get(name)


def answer(question, over_udp=True):
    labels, at = [], 12
    while question[at]:
        labels.append(question[at + 1:at + 1 + question[at]].decode())
        at += question[at] + 1
    kind = struct.unpack("!H", question[at + 1:at + 3])[0]
    name = ".".join(labels).lower()
    hoarded = name.endswith((MANY, WIDE))
    if not hoarded:
        seen(f"name {name}")
    records, owner = [], name
    while True:
        own = zone_of(owner) or []
        alias = next((value for known, value in own if known == CNAME), None)
        if alias is None:
            records += [(owner, known, value) for known, value in own if known == kind]
            break
        records.append((owner, CNAME, alias))
        owner = alias
    body = b""
    for owner, known, value in records:
        data = wire_name(value) if known == CNAME else socket.inet_pton(
            socket.AF_INET if known == A else socket.AF_INET6, value)
        # A name equal to the question's is a pointer to it.
        shown = b"\xc0\x0c" if hoarded else wire_name(owner)
        body += shown + struct.pack("!HHIH", known, 1, DAY_SECONDS if hoarded else 60, len(data)) + data
    flags, count = 0x8180 | (3 if zone_of(name) is None else 0), len(records)
    if over_udp and len(body) > UDP_ANSWER_BYTES_MAX:
        flags, count, body = flags | 0x0200, 0, b""
    return question[:2] + struct.pack("!HHHHH", flags, 1, count, 0, 0) + question[12:at + 5] + body


def serve_names(address):
    server = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((address, 53))
    while True:
        question, peer = server.recvfrom(4096)
        server.sendto(answer(question), peer)


def plain(address):
    return address.removeprefix("::ffff:")


def hand_over(stream, place):
    """Passes a connection on to the servers of the test, if it has some at the address."""
    if not place.startswith(TEST_ADDRESSES) or not os.path.exists(f"{FOLDER}/servers"):
        return False
    with socket.socket(socket.AF_UNIX) as servers:
        servers.connect(f"{FOLDER}/servers")
        socket.send_fds(servers, [place.encode()], [stream.fileno()])
    stream.close()
    return True


def serve_tcp(port):
    listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=512)

    def serve(stream):
        place = f"{plain(stream.getsockname()[0])} {port}"
        seen(f"tcp {place}")
        try:
            if hand_over(stream, place):
                return
            first = stream.recv(4096)
            if port == 53 and place == f"{NAME_SERVER} 53":
                while len(first) < 2 or len(first) < 2 + struct.unpack("!H", first[:2])[0]:
                    first += stream.recv(4096)
                asked = answer(first[2:], over_udp=False)
                stream.sendall(struct.pack("!H", len(asked)) + asked)
            elif first:
                seen(f"data {place} {first.hex()}")
                body = f"outside {place}"
                stream.sendall(f"HTTP/1.0 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        except OSError:
            pass
        stream.close()

    while True:
        threading.Thread(target=serve, args=[listener.accept()[0]], daemon=True).start()


def serve_full():
    """Sends without end on every connection and reads nothing."""
    listener = socket.create_server(("::", FULL_PORT), family=socket.AF_INET6, dualstack_ipv6=True, backlog=4096)
    kept = []

    def fill(stream):
        try:
            while True:
                stream.sendall(bytes(65536))
        except OSError:
            pass

    while True:
        kept.append(listener.accept()[0])
        threading.Thread(target=fill, args=[kept[-1]], daemon=True).start()


def serve_silent():
    """Keeps every connection and sends nothing."""
    listener = socket.create_server(("::", SILENT_PORT), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64)
    kept = []
    while True:
        kept.append(listener.accept()[0])


def serve_udp(address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    server = socket.socket(family, socket.SOCK_DGRAM)
    server.bind((address, port))
    while True:
        data, peer = server.recvfrom(4096)
        seen(f"udp {address} {port}")
        server.sendto(data, peer)


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True)


def main():
    while not os.path.exists("/sys/class/net/inside") and subprocess.run(
            ["ip", "link", "show", "inside"], capture_output=True).returncode:
        time.sleep(0.02)
    ip("link", "set", "lo", "up")
    ip("address", "add", f"{NAME_SERVER}/24", "dev", "inside")
    ip("address", "add", f"{NAME_SERVER_6}/64", "dev", "inside", "nodad")
    ip("link", "set", "inside", "up")
    for address in ADDRESSES:
        ip("address", "add", f"{address}/{128 if ':' in address else 32}", "dev", "lo",
           *(["nodad"] if ":" in address else []))
    jobs = [(serve_names, [NAME_SERVER]), (serve_names, [NAME_SERVER_6])]
    jobs += [(serve_tcp, [port]) for port in (53, 80, 443, 853, 8443)]
    jobs += [(serve_full, []), (serve_silent, [])]
    packets = ("93.184.216.20", "93.184.216.10", "93.184.216.11", "10.1.2.3", "2606:2800::10", "2606:2800::11", "fd12::7")
    jobs += [(serve_udp, [address, port]) for address in packets for port in (443, 5000)]
    for job, arguments in jobs:
        threading.Thread(target=job, args=arguments, daemon=True).start()
    time.sleep(0.2)
    open(f"{FOLDER}/ready", "w").close()
    time.sleep(LIFETIME_SECONDS)


main()
