"""Closes the terminal of `msb exec` and prints its exit code.

    terminal_closed.py FOLDER SANDBOX      the project's folder, and a sandbox of it
"""

import os
import pty
import signal
import sys

# The timeout of a line, in seconds.
PATIENCE = 120
# Ignores SIGHUP.
SCRIPT = "trap '' HUP; echo ready; exec sleep 1000001"

child, terminal = pty.fork()
if child == 0:
    os.chdir(sys.argv[1])
    os.execvp("msb", ["msb", "exec", sys.argv[2], "--", "sh", "-c", SCRIPT])
signal.alarm(PATIENCE)
heard = b""
while b"ready" not in heard:
    heard += os.read(terminal, 4096)
os.close(terminal)
_, status = os.waitpid(child, 0)
print("exited", os.waitstatus_to_exitcode(status))
