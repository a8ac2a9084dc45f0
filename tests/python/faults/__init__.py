"""What the cases of tests/faults have in common: a project with its home, and checks."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

import home

SANDBOXFILE = """
project "faults"
volume "data"
sandbox "web" {
    image "%(image)s"
    memory "128M"
    start "sleep" "1000000"
    mount "data" to="/data"
    mount "./shared" to="/shared"
    restart "%(restart)s"
}
sandbox "other" { image "%(image)s"; memory "128M"; start "sleep" "1000000" }
"""

# Counts, and says each number after it is on disk.
WRITER = """
i=0
while :; do
    i=$((i+1))
    echo $i > %(folder)s/next && sync %(folder)s/next && mv %(folder)s/next %(folder)s/count && sync %(folder)s && echo $i
done
"""

CASES = []


def case(name):
    """Registers a case; its function returns what happened."""
    def register(function):
        CASES.append((name, function))
        return function
    return register


class Failed(Exception):
    pass


def check(condition, what):
    if not condition:
        raise Failed(what)


class Done:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def fails(self, *texts):
        """Asserts a failure whose message contains these texts, and returns its first line."""
        check(self.code not in (0, 101), f"exit {self.code}: {self.out}{self.err}")
        for text in texts:
            check(text in self.err, f"the message does not say {text!r}: {self.err}")
        check("panicked" not in self.err, self.err)
        lines = [line.strip() for line in self.err.splitlines() if line.strip()]
        return next((line for line in lines if line.startswith("error")), lines[0] if lines else "no message")

    def ok(self):
        check(self.code == 0, f"exit {self.code}: {self.out}{self.err}")
        return self.out


class Host:
    """A home and a project of their own."""

    # Those of the current case.
    made = []

    def __init__(self, msb, restart="no", prepare=None):
        self.msb = msb
        self.made.append(self)
        self.clients = []
        # What to do before the folder is removed.
        self.cleanup = contextlib.ExitStack()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="msb-faults-"))
        if prepare:
            prepare(self)
        self.home = self.folder / "home"
        self.environment = home.environment(self.home, LANG="C.UTF-8")
        (self.folder / "shared").mkdir()
        text = SANDBOXFILE % {"image": home.ROOT / "examples/quickstart/image", "restart": restart}
        (self.folder / "Sandboxfile").write_text(text)
        self.run("trust", "--yes").ok()

    def start(self, *arguments, environment=None, prefix=(), **options):
        client = subprocess.Popen(
            [*prefix, self.msb, *arguments], cwd=self.folder, env=dict(self.environment, **(environment or {})),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
        )
        self.clients.append(client)
        return client

    def finish(self, process, timeout=180):
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise Failed(f"hangs: {process.args}") from None
        return Done(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))

    def run(self, *arguments, timeout=180, **options):
        return self.finish(self.start(*arguments, **options), timeout)

    def up(self):
        self.run("up", "-d", "--wait").ok()

    def state(self, name):
        entries = json.loads(self.run("ps", "--all", "--json").ok())["sandboxes"]
        return next((entry for entry in entries if entry["name"] == name), None)

    def wait_for(self, what, condition, seconds=60):
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            if condition():
                return
            time.sleep(0.2)
        raise Failed(f"not within {seconds} s: {what}")

    def pids(self, kind):
        """The processes of this home: supervisors, or their children of a kind."""
        supervisors, children = home.processes(self.home)
        if kind == "supervisor":
            return list(supervisors)
        return [pid for pid, command in children.items() if kind in command]

    def kill(self, kind, number=signal.SIGKILL):
        pids = self.pids(kind)
        check(pids, f"there is no {kind}")
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return pids

    def writer(self, folder):
        """Starts a writer in the guest that says what is on disk. Returns the process."""
        return self.start("exec", "web", "--", "sh", "-c", WRITER % {"folder": folder})

    def acknowledged(self, process):
        """Returns the last number that a writer said."""
        out, _ = process.communicate(timeout=60)
        numbers = [int(line) for line in out.decode().split("\n")[:-1] if line.isdigit()]
        check(numbers, "the writer said nothing")
        return numbers[-1]

    def converges(self):
        """The next `up` completes, the next `down` leaves nothing."""
        self.run("up", "-d", "--wait").ok()
        check(self.run("exec", "web", "--", "echo", "alive").ok().strip() == "alive", "no answer after up")
        check("nothing to do" in self.finish(self.start("up", "-d")).err, "a second up has something to do")

    def end(self):
        down = self.run("down", "-v", "--yes")
        left = self.pids("supervisor") + self.pids("")
        check(down.code == 0, f"down: {down.err}")
        check(not left, f"processes are left: {left}")
        self.remove()

    def remove(self):
        """Kills what is left, and removes the folder."""
        self.kill_all()
        self.cleanup.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def kill_all(self):
        """Kills every process of this home, and waits for their end."""
        for client in self.clients:
            if client.poll() is None:
                client.kill()
        supervisors, children = home.processes(self.home)
        for pid in [*supervisors, *children]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.wait_for("the end of the processes", lambda: not any(home.processes(self.home)))
