"""Processes that are killed or stopped."""

import os
import signal
import time

from faults import Host, case, check


def lost(host, folder, said):
    """Brings the project up again and returns the number of acknowledged writes that are lost."""
    host.up()
    kept = int(host.run("exec", "web", "--", "cat", f"{folder}/count").ok())
    check(kept >= said, f"{said} was acknowledged, {kept} is there")
    return f"{said} acknowledged writes, 0 lost"


def kill_during_writes(msb, kind, folder):
    host = Host(msb)
    host.up()
    writer = host.writer(folder)
    time.sleep(4)
    host.kill(kind)
    said = host.acknowledged(writer)
    host.wait_for("the end of the sandbox", lambda: host.state("web")["state"] != "running", 30)
    return host, lost(host, folder, said)


for KIND in ("supervisor", "qemu", " share "):
    for FOLDER in ("/root", "/data", "/shared"):
        NAME = {"supervisor": "the supervisor", "qemu": "the virtual machine", " share ": "the file server"}[KIND]
        PLACE = {"/root": "its disk", "/data": "a volume", "/shared": "a mount"}[FOLDER]

        @case(f"kill -9 of {NAME} while a guest writes to {PLACE}")
        def _(msb, kind=KIND, folder=FOLDER):
            return kill_during_writes(msb, kind, folder)


@case("kill -9 of the virtual machine, with `restart always`")
def _(msb):
    host = Host(msb, restart="always")
    host.up()
    before = host.state("web")["restarts"]
    host.kill("qemu")
    host.wait_for("a restart", lambda: (host.state("web") or {}).get("restarts", 0) > before)
    return host, "restarted by its policy"


@case("a stopped supervisor (SIGSTOP), as after a suspend")
def _(msb):
    host = Host(msb)
    host.up()
    pids = host.kill("supervisor", signal.SIGSTOP)
    began = time.monotonic()
    listed = host.run("ps")
    took = time.monotonic() - began
    listed.ok()
    host.run("exec", "web", "--", "true", timeout=60)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    return host, f"ps answered after {took:.1f} s; all went on after SIGCONT"


@case("someone kills every process of the project")
def _(msb):
    host = Host(msb)
    host.up()
    host.kill("supervisor")
    host.wait_for("the end of the machines", lambda: not host.pids("qemu"))
    shown = host.state("web")
    check(shown["state"] != "running", f"shown as {shown['state']}")
    return host, f"shown as {shown['state']}, and `up` restores it"
