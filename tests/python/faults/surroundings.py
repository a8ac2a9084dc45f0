"""Power cuts, clocks that jump, and hosts that lack what msb needs."""

import fcntl
import os
import pathlib
import struct
import subprocess
import time

from faults import Failed, Host, case, check

DISK_BYTES = 2 << 30
# FS_IOC_SHUTDOWN of linux/fs.h with the flag NOLOGFLUSH: nothing more is written, not even the journal.
SHUTDOWN, NO_LOG_FLUSH = 0x8004587D, 2


def on_own_disk(host):
    """Puts the folder of a host on a file system of its own."""
    image = host.folder.with_suffix(".img")
    image.touch()
    os.truncate(image, DISK_BYTES)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    host.cleanup.callback(image.unlink)
    mount(host)
    host.cleanup.callback(subprocess.run, ["umount", "--lazy", host.folder], check=True)


def mount(host):
    subprocess.run(["mount", "-o", "loop", host.folder.with_suffix(".img"), host.folder], check=True)


def cut_power(host):
    """Drops what has not been synced, ends all processes, and mounts the file system again."""
    # Without this control, a cut that drops nothing would say nothing.
    unsynced = host.folder / "unsynced"
    unsynced.write_text("lost")
    descriptor = os.open(host.folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(descriptor, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
    finally:
        os.close(descriptor)
    host.kill_all()
    # Machines end a moment after their supervisors, whose children they no longer are.
    umount = lambda: subprocess.run(["umount", host.folder], capture_output=True).returncode == 0
    host.wait_for("the end of the last process", umount)
    mount(host)
    check(not unsynced.exists() or not unsynced.read_text(), "the cut has dropped nothing")


@case("a power cut while guests write")
def _(msb):
    host = Host(msb, prepare=on_own_disk)
    # What the test itself has written is no part of the fault.
    os.sync()
    host.up()
    folders = ("/root", "/data", "/shared")
    writers = {folder: host.writer(folder) for folder in folders}
    time.sleep(5)
    cut_power(host)
    said = {folder: host.acknowledged(writer) for folder, writer in writers.items()}
    host.up()
    for folder in folders:
        kept = int(host.run("exec", "web", "--", "cat", f"{folder}/count").ok())
        check(kept >= said[folder], f"{folder}: {said[folder]} was acknowledged, {kept} is there")
    return host, f"{sum(said.values())} acknowledged writes to a disk, a volume and a mount, 0 lost"


@case("power cuts during the first `up`")
def _(msb):
    moments = (0.05, 0.15, 0.3, 0.5, 0.8, 1.2, 2.0, 3.0)
    for moment in moments:
        host = Host(msb, prepare=on_own_disk)
        os.sync()
        up = host.start("up", "-d", "--wait")
        time.sleep(moment)
        cut_power(host)
        host.finish(up)
        if moment != moments[-1]:
            host.converges()
            host.end()
    return host, f"the next `up` completes, after each of {len(moments)}"


@case("power cuts after an `up`, a snapshot and a `down`")
def _(msb):
    host = Host(msb, prepare=on_own_disk)
    os.sync()
    host.up()
    cut_power(host)
    host.converges()
    host.run("snapshot", "create", "web", "kept").ok()
    cut_power(host)
    check(host.run("run", "--quiet", "snapshot:kept", "--", "echo", "booted").ok().strip() == "booted", "it does not boot")
    host.up()
    host.run("down").ok()
    cut_power(host)
    left = [name for name in ("web", "other") if host.state(name)]
    check(not left, f"{left} are there again")
    host.run("snapshot", "rm", "kept").ok()
    return host, "what a command had reported was so"


@case("a clock that jumps")
def _(msb):
    library = next(pathlib.Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    if library is None:
        raise Failed("install the package faketime")
    host = Host(msb)
    clock = host.folder / "clock"
    clock.write_text("+0\n")
    host.environment.update(
        LD_PRELOAD=str(library), FAKETIME_TIMESTAMP_FILE=str(clock), FAKETIME_NO_CACHE="1", DONT_FAKE_MONOTONIC="1",
    )
    host.up()
    for jump in ("+400d", "-400d", "+0"):
        clock.write_text(jump + "\n")
        seen = host.run("exec", "web", "--", "echo", "alive").ok().strip()
        check(seen == "alive", f"{jump}: {seen!r}")
        for command in (("ps",), ("metrics",), ("logs", "--tail", "1"), ("restart", "other"), ("plan",)):
            check("panicked" not in host.run(*command, timeout=60).err, f"{jump}: {command}")
        check(host.state("web")["state"] == "running", f"{jump}: not running")
    return host, "sandboxes went on, commands answered, restarts worked at +400 and -400 days"


@case("a registry whose name is unknown")
def _(msb):
    return pulls(msb, {}, "registry.invalid")


@case("a proxy that is not there")
def _(msb):
    return pulls(msb, {"HTTPS_PROXY": "http://127.0.0.1:9"}, "127.0.0.1:9")


def pulls(msb, variables, text):
    """Runs `up` with an image that must be pulled."""
    host = Host(msb)
    original = (host.folder / "Sandboxfile").read_text()
    host.up()
    (host.folder / "Sandboxfile").write_text(original + '\nsandbox "more" { image "registry.invalid/app:1" }\n')
    said = host.run("up", "-d", "--trust", environment=variables).fails(text)
    check(len(host.pids("supervisor")) == 2, "a sandbox has ended")
    (host.folder / "Sandboxfile").write_text(original)
    return host, said


@case("few processes")
def _(msb):
    groups = next((path for path in (pathlib.Path("/sys/fs/cgroup/pids"), pathlib.Path("/sys/fs/cgroup")) if path.is_dir()), None)
    group = groups / f"msb-faults-{os.getpid()}"
    said = []
    host = Host(msb)
    group.mkdir()
    host.cleanup.callback(group.rmdir)
    for limit in (1, 2, 3, 4, 6, 8, 10, 12, 16):
        (group / "pids.max").write_text(str(limit))
        enter = ("sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh")
        done = host.run("up", "-d", "--wait", prefix=enter)
        if done.code:
            said.append(done.fails())
            check("a defect" not in done.err, done.err)
        host.run("down").ok()
    check(said, "no limit is too low")
    return host, f"{len(said)} times refused"
