//! Sandboxfiles that the user has trusted, with the digest of their effects.

use super::{Catalog, CatalogError, now_unix};
use rusqlite::{Row, params};
use schemas::digest::Digest;
use serde::Serialize;

/// A recorded consent.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize)]
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
        let changed = self.execute(
            "INSERT INTO trusted (folder, file, digest, trusted) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (folder, file) DO UPDATE SET digest = ?3, trusted = ?4",
            params![folder, file, digest.to_string(), now_unix()],
            "record a trusted Sandboxfile",
        );
        changed.map(drop)
    }

    /// Returns the digest of the consent for this file; `None` without one.
    ///
    /// # Errors
    ///
    /// If the catalog fails.
    pub fn trusted_digest(&self, folder: &str, file: &str) -> Result<Option<Digest>, CatalogError> {
        let sql = "SELECT digest FROM trusted WHERE folder = ?1 AND file = ?2";
        let read = |row: &Row<'_>| row.get::<_, String>(0);
        let digest = self.query_first(sql, params![folder, file], "look up a trusted Sandboxfile", read)?;
        // An unreadable row is no consent.
        Ok(digest.and_then(|digest| Digest::try_from(digest).ok()))
    }

    /// Revokes every consent for a folder; returns their number.
    ///
    /// # Errors
    ///
    /// If the catalog fails.
    pub fn revoke_trust(&self, folder: &str) -> Result<usize, CatalogError> {
        let sql = "DELETE FROM trusted WHERE folder = ?1";
        self.execute(sql, params![folder], "forget a trusted Sandboxfile")
    }

    /// Lists all consents, sorted by folder and file.
    ///
    /// # Errors
    ///
    /// If the catalog fails.
    pub fn trusted(&self) -> Result<Vec<Trusted>, CatalogError> {
        let sql = "SELECT folder, file, digest, trusted FROM trusted ORDER BY folder, file";
        Ok(self.query(sql, [], "list trusted Sandboxfiles", read_row)?.into_iter().flatten().collect())
    }
}

/// Reads one row; `None` if its digest is unreadable.
fn read_row(row: &Row<'_>) -> rusqlite::Result<Option<Trusted>> {
    let (folder, file, trusted_unix) = (row.get(0)?, row.get(1)?, row.get(3)?);
    let digest = Digest::try_from(row.get::<_, String>(2)?).ok();
    Ok(digest.map(|digest| Trusted { folder, file, digest, trusted_unix }))
}
