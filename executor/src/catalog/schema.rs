//! The catalog's tables, with one migration per version.

use super::{CatalogError, failed};
use rusqlite::{Connection, TransactionBehavior};
use std::path::Path;

/// Migration n upgrades `user_version` n to n + 1.
const MIGRATIONS: [&str; 14] = [
    "
    CREATE TABLE sandboxes (
        id            TEXT PRIMARY KEY,
        project       TEXT NOT NULL,
        name          TEXT NOT NULL,
        generation    INTEGER NOT NULL,
        spec_version  INTEGER NOT NULL,
        spec          TEXT NOT NULL,
        made          INTEGER NOT NULL,
        wanted        INTEGER NOT NULL,
        UNIQUE (project, name, generation)
    ) STRICT;
    CREATE TABLE operations (
        id        INTEGER PRIMARY KEY AUTOINCREMENT,
        project   TEXT NOT NULL,
        step      TEXT NOT NULL,
        began     INTEGER NOT NULL,
        ended     INTEGER,
        outcome   TEXT
    ) STRICT;
    CREATE INDEX operations_open ON operations (project) WHERE ended IS NULL;
    CREATE TABLE image_sources (
        path         TEXT PRIMARY KEY,
        fingerprint  TEXT NOT NULL,
        digest       TEXT NOT NULL
    ) STRICT;
",
    "
    CREATE TABLE projects (
        folder   TEXT PRIMARY KEY,
        project  TEXT NOT NULL
    ) STRICT;
",
    "
    CREATE TABLE volumes (
        project   TEXT NOT NULL,
        name      TEXT NOT NULL,
        size_mib  INTEGER NOT NULL,
        made      INTEGER NOT NULL,
        PRIMARY KEY (project, name)
    ) STRICT;
    ALTER TABLE sandboxes ADD COLUMN hook_done INTEGER NOT NULL DEFAULT 0;
",
    "
    CREATE TABLE trusted (
        folder   TEXT NOT NULL,
        file     TEXT NOT NULL,
        digest   TEXT NOT NULL,
        trusted  INTEGER NOT NULL,
        PRIMARY KEY (folder, file)
    ) STRICT;
",
    "
    CREATE TABLE network_slots (
        slot     INTEGER PRIMARY KEY,
        sandbox  TEXT NOT NULL UNIQUE REFERENCES sandboxes (id) ON DELETE CASCADE
    ) STRICT;
",
    "
    CREATE TABLE images (
        reference  TEXT NOT NULL,
        platform   TEXT NOT NULL,
        digest     TEXT NOT NULL,
        resolved   INTEGER NOT NULL,
        PRIMARY KEY (reference, platform)
    ) STRICT;
",
    // Earlier versions recorded the number of a subnet in the default pools.
    "
    CREATE TABLE network_addresses (
        sandbox  TEXT PRIMARY KEY REFERENCES sandboxes (id) ON DELETE CASCADE,
        ipv4     INTEGER NOT NULL UNIQUE,
        ipv6     TEXT NOT NULL UNIQUE
    ) STRICT;
    INSERT INTO network_addresses (sandbox, ipv4, ipv6)
        SELECT sandbox, 2886729728 + slot * 4, printf('fd426d730062%04x', slot) FROM network_slots;
    DROP TABLE network_slots;
",
    // Unique full names of sandboxes. Of two sandboxes with the same name, the later one has none, and is replaced or
    // removed like any other.
    "
    ALTER TABLE sandboxes ADD COLUMN full_name TEXT;
    UPDATE sandboxes SET full_name = CASE WHEN project = '@' || name THEN name ELSE project || '-' || name END;
    UPDATE sandboxes SET full_name = NULL WHERE EXISTS (
        SELECT 1 FROM sandboxes AS other
        WHERE other.full_name = sandboxes.full_name AND other.rowid < sandboxes.rowid
    );
    CREATE UNIQUE INDEX sandboxes_full_name ON sandboxes (full_name);
",
    // Earlier versions recorded only the last project of each folder. A project of two folders belongs to the folder of its
    // next `up`.
    "
    CREATE TABLE project_homes (
        project    TEXT PRIMARY KEY,
        folder     TEXT NOT NULL,
        file       TEXT,
        mark       TEXT,
        by_folder  INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE INDEX project_homes_by_mark ON project_homes (mark) WHERE mark IS NOT NULL;
    INSERT INTO project_homes (project, folder)
        SELECT project, MIN(folder) FROM projects GROUP BY project HAVING COUNT(*) = 1;
",
    // Earlier versions did not record several files.
    "
    ALTER TABLE project_homes ADD COLUMN files TEXT NOT NULL DEFAULT '[]';
",
    "
    ALTER TABLE sandboxes RENAME COLUMN made TO created;
    ALTER TABLE sandboxes RENAME COLUMN wanted TO should_run;
    ALTER TABLE volumes RENAME COLUMN made TO created;
",
    // All volumes of earlier versions are disks. A directory has no size unless it has a limit.
    "
    CREATE TABLE volumes_of_both_kinds (
        project   TEXT NOT NULL,
        name      TEXT NOT NULL,
        kind      TEXT NOT NULL,
        size_mib  INTEGER,
        created   INTEGER NOT NULL,
        PRIMARY KEY (project, name)
    ) STRICT;
    INSERT INTO volumes_of_both_kinds (project, name, kind, size_mib, created)
        SELECT project, name, 'disk', size_mib, created FROM volumes;
    DROP TABLE volumes;
    ALTER TABLE volumes_of_both_kinds RENAME TO volumes;
",
    // Earlier versions let every directory have several writers, and did not record it.
    "
    ALTER TABLE volumes ADD COLUMN shared INTEGER NOT NULL DEFAULT 0;
",
    // The sandbox of an anonymous volume, and its path there.
    "
    ALTER TABLE volumes ADD COLUMN sandbox TEXT;
    ALTER TABLE volumes ADD COLUMN path TEXT;
",
];

/// Upgrades the tables to this version.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), CatalogError> {
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let version = |connection: &Connection| {
        connection
            .pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))
            .map_err(|source| CatalogError::Open { path: path.to_owned(), source })
    };
    let found = version(connection)?;
    if found > known {
        return Err(CatalogError::Newer { path: path.to_owned(), found, known });
    }
    if found == known {
        return Ok(());
    }
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failed("begin an upgrade"))?;
    // Another process may have upgraded it while this one waited for the write lock.
    let found = usize::try_from(version(&transaction)?).unwrap_or(0);
    for migration in MIGRATIONS.iter().skip(found) {
        transaction.execute_batch(migration).map_err(failed("upgrade its tables"))?;
    }
    transaction.pragma_update(None, "user_version", known).map_err(failed("note its version"))?;
    transaction.commit().map_err(failed("commit an upgrade"))
}

/// Creates a catalog of an earlier version.
#[cfg(test)]
pub(super) fn at_version(path: &Path, version: usize) {
    let connection = Connection::open(path).unwrap();
    for migration in &MIGRATIONS[..version] {
        connection.execute_batch(migration).unwrap();
    }
    connection.pragma_update(None, "user_version", version as i64).unwrap();
}
