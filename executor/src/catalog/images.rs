//! Images known by a reference: pulled, loaded, or resolved for a plan.

use super::{Catalog, CatalogError, now_unix};
use rusqlite::{Row, params};
use schemas::digest::Digest;
use schemas::lockfile::Platform;

/// The image of a reference on a platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRow {
    /// The complete reference: `docker.io/library/alpine:3.20`.
    pub reference: String,
    /// The platform.
    pub platform: String,
    /// The digest of the manifest.
    pub digest: Digest,
    /// The time of the last lookup, in seconds since 1970.
    pub resolved_unix: i64,
}

const COLUMNS: &str = "reference, platform, digest, resolved";

impl Catalog {
    /// Returns the last known image of a reference; `None` if there is none.
    ///
    /// # Errors
    ///
    /// If the catalog fails.
    pub fn image(&self, reference: &str, platform: Platform) -> Result<Option<ImageRow>, CatalogError> {
        let sql = format!("SELECT {COLUMNS} FROM images WHERE reference = ?1 AND platform = ?2");
        let parameters = params![reference, platform.as_str()];
        // An unreadable row counts as none.
        Ok(self.query_first(&sql, parameters, "look up an image", read_row)?.flatten())
    }

    /// Lists all known images, sorted by reference.
    ///
    /// # Errors
    ///
    /// If the catalog fails.
    pub fn images(&self) -> Result<Vec<ImageRow>, CatalogError> {
        let sql = format!("SELECT {COLUMNS} FROM images ORDER BY reference, platform");
        Ok(self.query(&sql, [], "list images", read_row)?.into_iter().flatten().collect())
    }

    /// Records the image of a reference.
    ///
    /// # Errors
    ///
    /// If the catalog fails.
    pub fn remember_image(
        &self,
        reference: &str,
        platform: Platform,
        digest: &Digest,
    ) -> Result<(), CatalogError> {
        self.update(
            "INSERT INTO images (reference, platform, digest, resolved) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (reference, platform) DO UPDATE SET digest = ?3, resolved = ?4",
            params![reference, platform.as_str(), digest.to_string(), now_unix()],
            "remember an image",
        )
    }

    /// Forgets a reference on all platforms.
    ///
    /// # Errors
    ///
    /// If the catalog fails.
    pub fn forget_image(&self, reference: &str) -> Result<(), CatalogError> {
        self.update("DELETE FROM images WHERE reference = ?1", params![reference], "forget an image")
    }

    /// Lists the last known digests of local images, with their paths.
    ///
    /// # Errors
    ///
    /// If the catalog fails.
    pub fn image_sources(&self) -> Result<Vec<(String, Digest)>, CatalogError> {
        let sql = "SELECT path, digest FROM image_sources";
        let read = |row: &Row<'_>| Ok((row.get(0)?, row.get::<_, String>(1)?));
        let rows = self.query(sql, [], "list local images", read)?.into_iter();
        Ok(rows.filter_map(|(path, digest)| Some((path, Digest::try_from(digest).ok()?))).collect())
    }

    /// Lists the folders of projects.
    ///
    /// # Errors
    ///
    /// If the catalog fails.
    pub fn project_folders(&self) -> Result<Vec<String>, CatalogError> {
        self.query("SELECT folder FROM projects ORDER BY folder", [], "list projects", |row| row.get(0))
    }
}

fn read_row(row: &Row<'_>) -> rusqlite::Result<Option<ImageRow>> {
    let (reference, platform, resolved_unix) = (row.get(0)?, row.get(1)?, row.get(3)?);
    let digest = Digest::try_from(row.get::<_, String>(2)?).ok();
    Ok(digest.map(|digest| ImageRow { reference, platform, digest, resolved_unix }))
}
