"""Guests that fail, or take all they can get."""

import time

from faults import Host, case, check


@case("a guest's kernel panics")
def _(msb):
    host = Host(msb)
    host.up()
    host.run("exec", "web", "--", "sh", "-c", "echo 1 > /proc/sys/kernel/sysrq; echo c > /proc/sysrq-trigger")
    host.wait_for("its end", lambda: host.state("web")["state"] != "running")
    check(host.state("other")["state"] == "running", "the neighbour has ended")
    return host, "its end is shown: " + next(line for line in host.run("ps", "--all").ok().splitlines() if "web" in line)


@case("a guest without memory")
def _(msb):
    host = Host(msb)
    host.up()
    done = host.run("exec", "web", "--", "sh", "-c", "exec tail /dev/zero", timeout=120)
    check(done.code != 0, "nothing happened")
    alive = host.run("exec", "web", "--", "echo", "alive").ok().strip()
    check(alive == "alive", alive)
    return host, f"the command exited with {done.code}; the sandbox went on"


@case("a fork bomb in a guest")
def _(msb):
    host = Host(msb)
    host.up()
    bomb = host.start("exec", "web", "--", "sh", "-c", "b() { b | b & }; b; sleep 5")
    time.sleep(8)
    check(host.run("exec", "other", "--", "echo", "alive").ok().strip() == "alive", "the neighbour does not answer")
    bomb.kill()
    bomb.communicate()
    stopped = host.run("stop", "-t", "5s", "web")
    check(stopped.code == 0, stopped.err)
    return host, "the neighbour answered, and it could be stopped"


@case("a flood of 1 GB of output")
def _(msb):
    host = Host(msb)
    host.up()
    flood = host.start("exec", "-d", "web", "--", "sh", "-c", "yes 'a line of a flood' | head -c 1000000000")
    host.finish(flood).ok()
    began = time.monotonic()
    host.run("exec", "other", "--", "true").ok()
    took = time.monotonic() - began
    time.sleep(5)
    logs = sum(path.stat().st_size for path in host.home.glob("sandboxes/*/logs/*"))
    check(logs < 200 << 20, f"logs of {logs} bytes")
    return host, f"the neighbour answered after {took:.1f} s; logs of {logs >> 20} MiB"
