//! Digests of local images, so that unchanged ones are not read again.

use super::{Catalog, CatalogError, failed};
use executor_image::Resolved;
use rusqlite::{OptionalExtension, params};
use schemas::digest::Digest;

impl Catalog {
    /// Returns the recorded digest of the image at a path; `None` if there is none.
    ///
    /// # Errors
    ///
    /// If the catalog fails.
    pub fn image_source(&self, path: &str) -> Result<Option<Resolved>, CatalogError> {
        let connection = self.connection();
        let row: Option<(String, String)> = connection
            .prepare_cached("SELECT fingerprint, digest FROM image_sources WHERE path = ?1")
            .and_then(|mut statement| {
                statement.query_row(params![path], |row| Ok((row.get(0)?, row.get(1)?))).optional()
            })
            .map_err(failed("look up an image"))?;
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
        self.writer()?
            .prepare_cached(
                "INSERT INTO image_sources (path, fingerprint, digest) VALUES (?1, ?2, ?3)
                 ON CONFLICT (path) DO UPDATE SET fingerprint = ?2, digest = ?3",
            )
            .and_then(|mut statement| {
                statement.execute(params![path, row.fingerprint.to_string(), row.digest.to_string()])
            })
            .map(|_| ())
            .map_err(failed("remember an image"))
    }
}
