//! Sandboxfiles that the user has trusted, with the digest of their effects.

use super::{Catalog, CatalogError, failed, now_unix};
use rusqlite::{OptionalExtension, params};
use schemas::digest::Digest;

/// A recorded consent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trusted {
    /// The project's folder.
    pub folder: String,
    /// The Sandboxfile in it, or several.
    pub file: String,
    /// The digest of the accepted effects.
    pub digest: Digest,
    /// The time of the consent, in seconds since 1970.
    pub trusted_unix: i64,
}

impl Catalog {
    /// Records a consent, and replaces an earlier one for the same file.
    ///
    /// # Errors
    ///
    /// If the catalog fails.
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

    /// Returns the digest of the consent for this file; `None` without one.
    ///
    /// # Errors
    ///
    /// If the catalog fails.
    pub fn trusted_digest(&self, folder: &str, file: &str) -> Result<Option<Digest>, CatalogError> {
        let connection = self.connection();
        let digest: Option<String> = connection
            .prepare_cached("SELECT digest FROM trusted WHERE folder = ?1 AND file = ?2")
            .and_then(|mut statement| statement.query_row(params![folder, file], |row| row.get(0)).optional())
            .map_err(failed("look up a trusted Sandboxfile"))?;
        // An unreadable row is no consent.
        Ok(digest.and_then(|digest| Digest::try_from(digest).ok()))
    }

    /// Revokes every consent for a folder; returns their number.
    ///
    /// # Errors
    ///
    /// If the catalog fails.
    pub fn revoke_trust(&self, folder: &str) -> Result<usize, CatalogError> {
        self.writer()?
            .prepare_cached("DELETE FROM trusted WHERE folder = ?1")
            .and_then(|mut statement| statement.execute(params![folder]))
            .map_err(failed("forget a trusted Sandboxfile"))
    }

    /// Lists all consents, sorted by folder and file.
    ///
    /// # Errors
    ///
    /// If the catalog fails.
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
