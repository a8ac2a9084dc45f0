"""What the server answers. Edit this file while it runs, and look at http://127.0.0.1:8089/hello again."""

import os

FOLDER = os.path.dirname(os.path.abspath(__file__))
VISITS = "/var/visits/count"


def answer(path):
    """Returns the status, the type and the text of the answer to a request."""
    if path == "/":
        with open(os.path.join(FOLDER, "index.html"), encoding="utf-8") as file:
            return 200, "text/html", file.read()
    if path == "/hello":
        return 200, "text/plain", f"Hello from ./src, visit {visit()}\n"
    return 404, "text/plain", f"nothing is at {path}\n"


def visit():
    """Counts a visit, in a volume that outlives the sandbox."""
    try:
        with open(VISITS, encoding="ascii") as file:
            visits = int(file.read()) + 1
    except FileNotFoundError:
        visits = 1
    with open(VISITS, "w", encoding="ascii") as file:
        file.write(str(visits))
    return visits
