"""`msb attach` on terminals of its own: detaching, attaching again, sizes, a killed client, two clients at once.

    attach.py FOLDER SANDBOX ID      the project's folder, a sandbox of it, and its job: a shell with a terminal
"""

import fcntl
import os
import pty
import signal
import struct
import sys
import termios

# The timeout of a line, in seconds.
PATIENCE = 120
FOLDER, SANDBOX, JOB = sys.argv[1:]
DETACH = b"\x10\x11"


class Client:
    """An `msb attach` on a terminal."""

    def __init__(self, rows, columns, *options):
        start, go = os.pipe()
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.close(go)
            os.read(start, 1)
            os.chdir(FOLDER)
            os.execvp("msb", ["msb", "attach", SANDBOX, JOB, *options])
        os.close(start)
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, size)
        os.write(go, b"x")
        os.close(go)
        self.heard = b""

    def hear(self, word):
        """Reads until a line is this word; the terminal also echoes the input."""
        signal.alarm(PATIENCE)
        line = f"\n{word}\r\n".encode()
        while line not in self.heard:
            self.heard += os.read(self.terminal, 4096)
        # The next line begins at the end of this one.
        self.heard = b"\n" + self.heard.split(line, 1)[1]

    def type(self, line):
        os.write(self.terminal, line.encode() + b"\r")

    def detach(self, keys=DETACH):
        os.write(self.terminal, keys)
        return self.wait()

    def wait(self):
        """Reads the rest; returns the exit code."""
        signal.alarm(PATIENCE)
        try:
            while os.read(self.terminal, 4096):
                pass
        except OSError:
            pass
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)


def set_up(client, word):
    """Waits until the shell runs a line."""
    client.type(f"echo {word[:1]}''{word[1:]}")
    client.hear(word)


first = Client(31, 101)
set_up(first, "first")
first.type("X=41; stty size")
first.hear("31 101")
print("detached", first.detach())

second = Client(42, 137)
set_up(second, "second")
second.type("echo $((X + 1)); until [ \"$(stty size)\" = \"42 137\" ]; do sleep 0.1; done; stty size")
second.hear("42")
second.hear("42 137")
os.kill(second.pid, signal.SIGKILL)
print("killed", second.wait())

# The shell has the output of earlier clients, and its variables.
third = Client(30, 90, "--detach-keys", "ctrl-],x")
third.hear("second")
third.type("echo $((X + 2))")
third.hear("43")
fourth = Client(30, 90)
set_up(fourth, "fourth")
third.hear("fourth")
# Keys that detach another client are input here.
os.write(third.terminal, b"\x1d")
print("other keys", third.detach(b"\x1dx"))
fourth.type("echo $((X + 3))")
fourth.hear("44")
fourth.type("exit 7")
print("exited", fourth.wait())
