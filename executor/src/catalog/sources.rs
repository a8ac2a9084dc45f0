//! Digests of local images, so that unchanged ones are not read again.

use super::{Catalog, CatalogError};
use executor_image::Resolved;
use rusqlite::{Row, params};
use schemas::digest::Digest;

impl Catalog {
    /// Returns the recorded digest of the image at a path; `None` if there is none.
    ///
    /// # Errors
    ///
    /// If the catalog fails.
    pub fn image_source(&self, path: &str) -> Result<Option<Resolved>, CatalogError> {
        let sql = "SELECT fingerprint, digest FROM image_sources WHERE path = ?1";
        let read = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?));
        let row = self.query_first(sql, params![path], "look up an image", read)?;
        // An unreadable row counts as none: the image is read again.
        Ok(row.and_then(|(fingerprint, digest)| {
            Some(Resolved {
                fingerprint: Digest::try_from(fingerprint).ok()?,
                digest: Digest::try_from(digest).ok()?,
            })
        }))
    }

    /// Records the digest of the image at a path.
    ///
    /// # Errors
    ///
    /// If the catalog fails.
    pub fn remember_image_source(&self, path: &str, row: &Resolved) -> Result<(), CatalogError> {
        let changed = self.execute(
            "INSERT INTO image_sources (path, fingerprint, digest) VALUES (?1, ?2, ?3)
             ON CONFLICT (path) DO UPDATE SET fingerprint = ?2, digest = ?3",
            params![path, row.fingerprint.to_string(), row.digest.to_string()],
            "remember an image",
        );
        changed.map(drop)
    }
}
