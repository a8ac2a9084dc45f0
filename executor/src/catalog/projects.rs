//! Which project was last brought up from which folder, for commands that work without its Sandboxfile.

use super::{Catalog, CatalogError, failed};
use rusqlite::{OptionalExtension, params};
use schemas::name::ProjectName;
use std::path::Path;

impl Catalog {
    /// Remembers the project of a folder. Nothing is written when it is known already.
    pub fn remember_project(&self, folder: &Path, project: &ProjectName) -> Result<(), CatalogError> {
        if self.project_in(folder)?.as_ref() == Some(project) {
            return Ok(());
        }
        self.writer()?
            .prepare_cached(
                "INSERT INTO projects (folder, project) VALUES (?1, ?2)
                 ON CONFLICT (folder) DO UPDATE SET project = ?2",
            )
            .and_then(|mut statement| statement.execute(params![folder.to_string_lossy(), project.as_str()]))
            .map(|_| ())
            .map_err(failed("remember a project's folder"))
    }

    /// The project that was last brought up from this very folder.
    pub fn project_in(&self, folder: &Path) -> Result<Option<ProjectName>, CatalogError> {
        let connection = self.connection();
        let name: Option<String> = connection
            .prepare_cached("SELECT project FROM projects WHERE folder = ?1")
            .and_then(|mut statement| {
                statement.query_row(params![folder.to_string_lossy()], |row| row.get(0)).optional()
            })
            .map_err(failed("look up a project's folder"))?;
        Ok(name.and_then(|name| ProjectName::new(name).ok()))
    }
}
