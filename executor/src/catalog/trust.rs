//! Which Sandboxfiles somebody has agreed to, and what exactly to.

use super::{Catalog, CatalogError, failed, now_unix};
use rusqlite::{OptionalExtension, params};
use schemas::digest::Digest;

/// One yes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trusted {
    /// The project's folder.
    pub folder: String,
    /// The Sandboxfile in it, or several.
    pub file: String,
    /// What it was said to.
    pub digest: Digest,
    /// When, in seconds since 1970.
    pub trusted_unix: i64,
}

impl Catalog {
    /// Records a yes, in place of an earlier one for the same file.
    pub fn trust(&self, folder: &str, file: &str, digest: &Digest) -> Result<(), CatalogError> {
        self.writer()?
            .prepare_cached(
                "INSERT INTO trusted (folder, file, digest, trusted) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (folder, file) DO UPDATE SET digest = ?3, trusted = ?4",
            )
            .and_then(|mut statement| {
                statement.execute(params![folder, file, digest.to_string(), now_unix()])
            })
            .map(|_| ())
            .map_err(failed("record a trusted Sandboxfile"))
    }

    /// What a yes for this file was said to, if there was one.
    pub fn trusted_digest(&self, folder: &str, file: &str) -> Result<Option<Digest>, CatalogError> {
        let connection = self.connection();
        let digest: Option<String> = connection
            .prepare_cached("SELECT digest FROM trusted WHERE folder = ?1 AND file = ?2")
            .and_then(|mut statement| statement.query_row(params![folder, file], |row| row.get(0)).optional())
            .map_err(failed("look up a trusted Sandboxfile"))?;
        // What cannot be read is no yes.
        Ok(digest.and_then(|digest| Digest::try_from(digest).ok()))
    }

    /// Takes back every yes for a folder; says how many there were.
    pub fn revoke_trust(&self, folder: &str) -> Result<usize, CatalogError> {
        self.writer()?
            .prepare_cached("DELETE FROM trusted WHERE folder = ?1")
            .and_then(|mut statement| statement.execute(params![folder]))
            .map_err(failed("forget a trusted Sandboxfile"))
    }

    /// Every yes, sorted by folder and file.
    pub fn trusted(&self) -> Result<Vec<Trusted>, CatalogError> {
        let connection = self.connection();
        let mut statement = connection
            .prepare_cached("SELECT folder, file, digest, trusted FROM trusted ORDER BY folder, file")
            .map_err(failed("list trusted Sandboxfiles"))?;
        let rows = statement
            .query_map([], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?, row.get::<_, i64>(3)?))
            })
            .map_err(failed("list trusted Sandboxfiles"))?;
        let mut found = Vec::new();
        for row in rows {
            let (folder, file, digest, trusted_unix) = row.map_err(failed("list trusted Sandboxfiles"))?;
            if let Ok(digest) = Digest::try_from(digest) {
                found.push(Trusted { folder, file, digest, trusted_unix });
            }
        }
        Ok(found)
    }
}
