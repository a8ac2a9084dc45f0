"""The processes and the environment of one MSB_HOME, for the long tests."""

import os
import pathlib

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def environment(home, **more):
    """Returns the environment for an msb with this home and the guest of this build."""
    variables = dict(os.environ, MSB_HOME=str(home), **more)
    variables.setdefault("MSB_KERNEL", str(ROOT / "target/boot/vmlinux"))
    variables.setdefault("MSB_INITRAMFS", str(ROOT / "target/boot/initramfs.cpio"))
    return variables


def processes(home):
    """Returns the supervisors of a home, and their children: each as pid and command line."""
    supervisors, others = {}, []
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, ValueError, IndexError):
            # It has ended.
            continue
        if f"MSB_HOME={home}".encode() in variables and " supervise " in command:
            supervisors[int(entry.name)] = command
        others.append((int(entry.name), parent, command))
    return supervisors, {pid: command for pid, parent, command in others if parent in supervisors}


def private_kib(pid):
    """Returns the memory that a process shares with no other, in KiB."""
    lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return sum(int(fields[name].split()[0]) for name in ("Private_Clean", "Private_Dirty"))
