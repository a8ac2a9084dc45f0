"""Damage to what is kept on the host."""

import contextlib
import json
import os
import pwd
import shutil
import sqlite3
import subprocess

from faults import Done, Host, case, check


@case("a read-only home")
def _(msb):
    host = Host(msb)
    host.run("down").ok()
    subprocess.run(["mount", "--bind", host.home, host.home], check=True)
    subprocess.run(["mount", "-o", "remount,ro,bind", host.home], check=True)
    try:
        said = host.run("up", "-d").fails(str(host.home))
    finally:
        subprocess.run(["umount", host.home], check=True)
    return host, said


@case("a home of another user")
def _(msb):
    host = Host(msb)
    host.home.chmod(0o700)
    nobody = pwd.getpwnam("nobody").pw_uid
    host.folder.chmod(0o755)
    binary = host.folder / "msb"
    shutil.copy(msb, binary)
    done = subprocess.run(
        [binary, "ps"], cwd=host.folder, env=host.environment, user=nobody, capture_output=True, stdin=subprocess.DEVNULL,
        timeout=60,
    )
    said = Done(done.returncode, done.stdout.decode(), done.stderr.decode()).fails(str(host.home))
    return host, said


def damage_catalog(msb, change):
    host = Host(msb)
    host.up()
    catalog = next(path for path in host.home.glob("catalog*") if path.suffix in (".db", ".sqlite"))
    kept = {path: path.read_bytes() for path in host.home.glob("catalog*") if path.is_file()}
    change(catalog)
    said = host.run("ps").fails("catalog")
    check(len(host.pids("supervisor")) == 2, "a sandbox has ended")
    for path in host.home.glob("catalog*"):
        if path.is_file():
            path.unlink()
    for path, content in kept.items():
        path.write_bytes(content)
    check(host.state("web")["state"] == "running", "not as before, with the catalog back")
    return host, said


@case("a truncated catalog")
def _(msb):
    def change(catalog):
        for path in catalog.parent.glob("catalog*-wal"):
            path.unlink()
        os.truncate(catalog, 1000)
    return damage_catalog(msb, change)


@case("a catalog with flipped bits")
def _(msb):
    def change(catalog):
        for path in catalog.parent.glob("catalog*-wal"):
            path.unlink()
        content = bytearray(catalog.read_bytes())
        for position in range(0, len(content), 7):
            content[position] ^= 0x20
        catalog.write_bytes(content)
    return damage_catalog(msb, change)


@case("a catalog of a newer version")
def _(msb):
    def change(catalog):
        with contextlib.closing(sqlite3.connect(catalog)) as connection:
            connection.execute("PRAGMA user_version = 1000000")
            connection.commit()
    return damage_catalog(msb, change)


@case("someone removes a sandbox's folder")
def _(msb):
    host = Host(msb)
    host.up()
    is_web = lambda path: json.loads((path / "orders.json").read_text())["name"] == "web"
    shutil.rmtree(next(path for path in (host.home / "sandboxes").iterdir() if is_web(path)))
    listed = host.run("ps", "--all")
    check("panicked" not in listed.err, listed.err)
    return host, f"ps exits with {listed.code}, and `up` makes it again"
