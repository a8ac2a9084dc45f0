"""Runs inside a guest: processes write to a SQLite database in WAL mode at the same time, and its integrity is checked.

    wal.py DATABASE
"""

import os
import sqlite3
import subprocess
import sys

WRITERS = 2
ROWS = 40
PATIENCE_SECONDS = 120


def connect(path):
    return sqlite3.connect(path, timeout=PATIENCE_SECONDS, isolation_level=None)


def write(path, writer):
    database = connect(path)
    for row in range(ROWS):
        database.execute("BEGIN IMMEDIATE")
        database.execute("INSERT INTO entries VALUES (?, ?, ?)", (writer, row, "x" * 100))
        database.execute("UPDATE totals SET value = value + 1")
        database.execute("COMMIT")


def main(path):
    database = connect(path)
    (mode,) = database.execute("PRAGMA journal_mode = WAL").fetchone()
    assert mode == "wal", mode
    database.execute("CREATE TABLE entries (writer, number, text, PRIMARY KEY (writer, number))")
    database.execute("CREATE TABLE totals (value)")
    database.execute("INSERT INTO totals VALUES (0)")
    command = [sys.executable, "-B", __file__, path]
    writers = [subprocess.Popen([*command, str(writer)]) for writer in range(WRITERS)]
    # A reader sees whole transactions only.
    while any(writer.poll() is None for writer in writers):
        database.execute("BEGIN")
        (entries,) = database.execute("SELECT count(*) FROM entries").fetchone()
        (total,) = database.execute("SELECT value FROM totals").fetchone()
        database.execute("COMMIT")
        assert entries == total, (entries, total)
    assert [writer.returncode for writer in writers] == [0] * WRITERS
    assert database.execute("SELECT count(*) FROM entries").fetchone() == (WRITERS * ROWS,)
    assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert os.path.exists(path + "-wal") and os.path.exists(path + "-shm")
    (busy, left, done) = database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    assert busy == 0, (busy, left, done)
    database.close()
    assert not os.path.exists(path + "-wal")


if len(sys.argv) > 2:
    write(sys.argv[1], int(sys.argv[2]))
else:
    main(sys.argv[1])
