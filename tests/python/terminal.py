"""`msb exec -t` on a terminal of its own: its size, a new size, Ctrl-C, the end of input, and the exit code.

    terminal.py FOLDER SANDBOX      the project's folder, and a sandbox of it
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
# The shell's prompt.
PROMPT = b"at> "


def resize(descriptor, rows, columns):
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


# The size is set before the command reads it.
start, go = os.pipe()
child, terminal = pty.fork()
if child == 0:
    os.close(go)
    os.read(start, 1)
    os.chdir(sys.argv[1])
    os.execvp("msb", ["msb", "exec", "-t", sys.argv[2], "--", "sh"])
resize(terminal, 31, 101)
os.write(go, b"x")
os.close(start)
heard = b""


def hear(word):
    """Reads until a line is this word; the terminal also echoes the input after the prompt."""
    global heard
    signal.alarm(PATIENCE)
    while f"\n{word}\r\n".encode() not in heard:
        heard += os.read(terminal, 4096)
    # The next line begins at the end of this one.
    heard = b"\n" + heard.split(f"\n{word}\r\n".encode(), 1)[1]


def hear_prompt():
    """Reads until the shell's next prompt: earlier input goes to the running command."""
    global heard
    signal.alarm(PATIENCE)
    while PROMPT not in heard:
        heard += os.read(terminal, 4096)
    heard = heard.split(PROMPT, 1)[1]


def type_line(line):
    os.write(terminal, line.encode() + b"\r")


# In two parts, so that its echo is not taken for the prompt.
type_line("PS1='at''> '")
hear_prompt()
type_line("stty size")
hear("31 101")
hear_prompt()
resize(terminal, 42, 137)
# The new size is sent asynchronously, so the command polls it.
type_line("until [ \"$(stty size)\" = \"42 137\" ]; do sleep 0.1; done; stty size")
hear("42 137")
hear_prompt()
# A single process prints and then waits, so that Ctrl-C cannot arrive between two processes.
type_line("sh -c 'echo $((40 + 2)); exec sleep 1000'")
hear("42")
os.write(terminal, b"\x03")
hear_prompt()
type_line("echo code $?")
hear("code 130")
hear_prompt()
# The shell reads no more input after the first word, so the next line is the command's.
type_line("echo $((20 + 3)); cat; echo over $((1 + 1))")
hear("23")
type_line("typed")
# From the terminal, then from the command.
hear("typed")
hear("typed")
os.write(terminal, b"\x04")
hear("over 2")
hear_prompt()
type_line("exit 7")
try:
    while os.read(terminal, 4096):
        pass
except OSError:
    pass
_, status = os.waitpid(child, 0)
print("exited", os.waitstatus_to_exitcode(status))
