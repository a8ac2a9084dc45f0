"""A development server: app.py answers requests, and is loaded again as soon as it is saved.

It watches its own folder with inotify, as other servers with hot reload do. A file that cannot be loaded is reported,
and the version before goes on.
"""

import ctypes
import importlib
import os
import struct
import threading
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import app

FOLDER = os.path.dirname(os.path.abspath(__file__))
# <sys/inotify.h>. Editors write to the file, or move a new one into its place.
MODIFY, ATTRIB, CLOSE_WRITE, MOVED_TO, CREATE = 0x2, 0x4, 0x8, 0x80, 0x100
EVENT = struct.Struct("iIII")

libc = ctypes.CDLL(None, use_errno=True)


def watch(folder):
    """Returns the descriptor of a new watch."""
    descriptor = libc.inotify_init1(0)
    mask = MODIFY | ATTRIB | CLOSE_WRITE | MOVED_TO | CREATE
    if descriptor < 0 or libc.inotify_add_watch(descriptor, os.fsencode(folder), mask) < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), folder)
    return descriptor


def saved(watched):
    """Yields the names of saved files, several at once if they are."""
    while True:
        events, names = os.read(watched, 1 << 16), set()
        while events:
            length = EVENT.unpack_from(events)[3]
            names.add(os.fsdecode(events[EVENT.size : EVENT.size + length].rstrip(b"\0")))
            events = events[EVENT.size + length :]
        yield names


def reload_when_saved(watched):
    for names in saved(watched):
        if "app.py" not in names:
            continue
        try:
            importlib.invalidate_caches()
            importlib.reload(app)
        except Exception:
            traceback.print_exc()
            continue
        print("loaded app.py", flush=True)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body are two writes.
    disable_nagle_algorithm = True

    def do_GET(self):
        try:
            status, kind, body = app.answer(self.path)
        except Exception:
            status, kind, body = 500, "text/plain", traceback.format_exc()
        body = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    # Watched from before the first request on, so that no save is missed.
    threading.Thread(target=reload_when_saved, args=[watch(FOLDER)], daemon=True).start()
    address = ("", int(os.environ.get("PORT", "80")))
    print("serving", FOLDER, "on port", address[1], flush=True)
    ThreadingHTTPServer(address, Handler).serve_forever()
