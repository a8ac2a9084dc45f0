"""Several clients at once, and odd ones."""

import subprocess
import time

from faults import Host, case, check


@case("two `up` at once")
def _(msb):
    host = Host(msb)
    both = [host.start("up", "-d", "--wait") for _ in range(2)]
    codes = [host.finish(process) for process in both]
    check(any(done.code == 0 for done in codes), codes[0].err + codes[1].err)
    for done in codes:
        check("panicked" not in done.err, done.err)
    return host, f"exit codes {sorted(done.code for done in codes)}"


@case("`up` with `down`")
def _(msb):
    host = Host(msb)
    up = host.start("up", "-d", "--wait")
    time.sleep(0.7)
    down = host.start("down")
    codes = [host.finish(up).code, host.finish(down).code]
    check(101 not in codes, "a panic")
    return host, f"exit codes {codes}"


@case("20 readers during `up`")
def _(msb):
    host = Host(msb)
    up = host.start("up", "-d", "--wait")
    readers = [host.start("ps", "--json") for _ in range(20)]
    for reader in readers:
        host.finish(reader).ok()
    host.finish(up).ok()
    return host, "all of them answered"


@case("few descriptors")
def _(msb):
    host = Host(msb)
    said = []
    for limit in (8, 12, 16, 24, 32):
        done = host.run("up", "-d", "--wait", prefix=("prlimit", f"--nofile={limit}:{limit}"))
        if done.code:
            said.append(done.fails())
    check(said, "no limit is too low")
    return host, said[-1]


@case("output to a closed pipe, 20 columns, a locale without UTF-8, NO_COLOR")
def _(msb):
    host = Host(msb)
    host.up()
    closed = subprocess.run(
        f"'{msb}' ps | true", shell=True, cwd=host.folder, env=host.environment, capture_output=True, timeout=60,
    )
    check(b"panicked" not in closed.stderr, closed.stderr.decode())
    odd = {"COLUMNS": "20", "LANG": "C", "LC_ALL": "POSIX", "NO_COLOR": "1"}
    for arguments in (("ps",), ("plan",), ("inspect", "web"), ("doctor",)):
        done = host.run(*arguments, environment=odd)
        check(done.code == 0 and "\x1b" not in done.out + done.err, done.err)
    return host, "each command exited with 0, without colors"


@case("a volume that two sandboxes write")
def _(msb):
    host = Host(msb)
    text = (host.folder / "Sandboxfile").read_text()
    (host.folder / "Sandboxfile").write_text(text.replace(
        'sandbox "other" {', 'sandbox "other" { mount "data" to="/data";'
    ))
    said = host.run("up", "-d", "--wait").fails("data")
    (host.folder / "Sandboxfile").write_text(text)
    return host, said
