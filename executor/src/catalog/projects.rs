//! Folders of projects, and the projects that were last brought up from a folder.

use super::{Catalog, CatalogError};
use rusqlite::{Row, params};
use schemas::name::ProjectName;
use std::path::Path;

/// The folder and files of the last `up` of a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectHome {
    /// The project's folder.
    pub folder: String,
    /// The Sandboxfile that names the project; `None` if its name comes from several files, a flag or standard input.
    pub file: Option<String>,
    /// All files of the last `up`, the lowest layer first; empty if one was standard input.
    pub files: Vec<String>,
    /// The identity of the folder under any name; `None` if the file system has none.
    pub mark: Option<String>,
    /// Whether the project is named after the folder's name at that time.
    pub by_folder: bool,
}

impl Catalog {
    /// Records the folder and files of a project; writes nothing if they are unchanged.
    ///
    /// # Errors
    ///
    /// If the catalog fails.
    pub fn remember_project(&self, project: &ProjectName, home: &ProjectHome) -> Result<(), CatalogError> {
        let ProjectHome { folder, file, files, mark, by_folder } = home;
        let files = serde_json::to_string(files).unwrap_or_default();
        if self.project_in(Path::new(folder))?.as_ref() == Some(project)
            && self.project_home(project)?.as_ref() == Some(home)
        {
            return Ok(());
        }
        self.transact("remember a project's folder", |transaction| {
            transaction.execute(
                "INSERT INTO projects (folder, project) VALUES (?1, ?2)
                 ON CONFLICT (folder) DO UPDATE SET project = ?2",
                params![folder, project.as_str()],
            )?;
            transaction.execute(
                "INSERT OR REPLACE INTO project_homes (project, folder, file, mark, by_folder, files)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![project.as_str(), folder, file, mark, by_folder, files],
            )?;
            transaction.commit()
        })
    }

    /// Returns the project that was last brought up from this folder.
    ///
    /// # Errors
    ///
    /// If the catalog fails.
    pub fn project_in(&self, folder: &Path) -> Result<Option<ProjectName>, CatalogError> {
        let sql = "SELECT project FROM projects WHERE folder = ?1";
        let parameters = params![folder.to_string_lossy()];
        Ok(self.query_first(sql, parameters, "look up a project's folder", read_name)?.flatten())
    }

    /// Returns the folder and files of a project; `None` if they are unknown.
    ///
    /// # Errors
    ///
    /// If the catalog fails.
    pub fn project_home(&self, project: &ProjectName) -> Result<Option<ProjectHome>, CatalogError> {
        let sql = "SELECT folder, file, mark, by_folder, files FROM project_homes WHERE project = ?1";
        self.query_first(sql, params![project.as_str()], "look up a project's folder", |row| {
            Ok(ProjectHome {
                folder: row.get(0)?,
                file: row.get(1)?,
                mark: row.get(2)?,
                by_folder: row.get(3)?,
                files: serde_json::from_str(&row.get::<_, String>(4)?).unwrap_or_default(),
            })
        })
    }

    /// Lists the projects that are named after the folder with this identity, by its name at that time.
    ///
    /// # Errors
    ///
    /// If the catalog fails.
    pub fn projects_named_after(&self, mark: &str) -> Result<Vec<ProjectName>, CatalogError> {
        let sql = "SELECT project FROM project_homes WHERE mark = ?1 AND by_folder ORDER BY project";
        let names = self.query(sql, params![mark], "look up a folder's projects", read_name)?;
        Ok(names.into_iter().flatten().collect())
    }

    /// Whether a sandbox or a volume of a project is recorded.
    ///
    /// # Errors
    ///
    /// If the catalog fails.
    pub fn has_anything_of(&self, project: &ProjectName) -> Result<bool, CatalogError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM sandboxes WHERE project = ?1
                                  UNION ALL SELECT 1 FROM volumes WHERE project = ?1)";
        let action = "look for what there is of a project";
        let found = self.query_first(sql, params![project.as_str()], action, |row| row.get(0))?;
        Ok(found.unwrap_or(false))
    }
}

/// Reads a project's name; `None` if it is not valid.
fn read_name(row: &Row<'_>) -> rusqlite::Result<Option<ProjectName>> {
    Ok(ProjectName::new(row.get::<_, String>(0)?).ok())
}
