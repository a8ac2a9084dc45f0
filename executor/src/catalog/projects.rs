//! Which folder a project belongs to, and which project was last brought up from a folder.

use super::{Catalog, CatalogError, failed};
use rusqlite::{OptionalExtension, params};
use schemas::name::ProjectName;
use std::path::Path;

/// Where a project was last brought up from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectHome {
    /// The project's folder.
    pub folder: String,
    /// The one Sandboxfile that names it; nothing where something else does: several files, a flag, standard input.
    pub file: Option<String>,
    /// All the files that it was last brought up from, the lowermost first; none where one of them was standard input.
    pub files: Vec<String>,
    /// What tells the folder apart from any other, under whatever name; nothing where the file system has no such thing.
    pub mark: Option<String>,
    /// Whether the project is named after the folder, as that was called then.
    pub by_folder: bool,
}

impl Catalog {
    /// Remembers where a project is brought up from. Nothing is written when it is known already.
    pub fn remember_project(&self, project: &ProjectName, home: &ProjectHome) -> Result<(), CatalogError> {
        let ProjectHome { folder, file, files, mark, by_folder } = home;
        let files = serde_json::to_string(files).unwrap_or_default();
        if self.project_in(Path::new(folder))?.as_ref() == Some(project)
            && self.project_home(project)?.as_ref() == Some(home)
        {
            return Ok(());
        }
        let mut connection = self.writer()?;
        let mut remember = || -> rusqlite::Result<()> {
            let transaction = connection.transaction()?;
            transaction
                .prepare_cached(
                    "INSERT INTO projects (folder, project) VALUES (?1, ?2)
                     ON CONFLICT (folder) DO UPDATE SET project = ?2",
                )?
                .execute(params![folder, project.as_str()])?;
            transaction
                .prepare_cached(
                    "INSERT OR REPLACE INTO project_homes (project, folder, file, mark, by_folder, files)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                )?
                .execute(params![project.as_str(), folder, file, mark, by_folder, files])?;
            transaction.commit()
        };
        remember().map_err(failed("remember a project's folder"))
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

    /// Where a project was last brought up from, as far as that is known.
    pub fn project_home(&self, project: &ProjectName) -> Result<Option<ProjectHome>, CatalogError> {
        self.connection()
            .prepare_cached(
                "SELECT folder, file, mark, by_folder, files FROM project_homes WHERE project = ?1",
            )
            .and_then(|mut statement| {
                let home = |row: &rusqlite::Row<'_>| {
                    Ok(ProjectHome {
                        folder: row.get(0)?,
                        file: row.get(1)?,
                        mark: row.get(2)?,
                        by_folder: row.get(3)?,
                        files: serde_json::from_str(&row.get::<_, String>(4)?).unwrap_or_default(),
                    })
                };
                statement.query_row(params![project.as_str()], home).optional()
            })
            .map_err(failed("look up a project's folder"))
    }

    /// The projects that are named after the folder with this mark, as it was called then.
    pub fn projects_named_after(&self, mark: &str) -> Result<Vec<ProjectName>, CatalogError> {
        let connection = self.connection();
        let list = || -> rusqlite::Result<Vec<String>> {
            let mut statement = connection.prepare_cached(
                "SELECT project FROM project_homes WHERE mark = ?1 AND by_folder ORDER BY project",
            )?;
            let rows = statement.query_map(params![mark], |row| row.get(0))?;
            rows.collect()
        };
        let names = list().map_err(failed("look up a folder's projects"))?;
        Ok(names.into_iter().filter_map(|name| ProjectName::new(name).ok()).collect())
    }

    /// Whether anything of a project is recorded: a sandbox or a volume.
    pub fn has_anything_of(&self, project: &ProjectName) -> Result<bool, CatalogError> {
        self.connection()
            .prepare_cached(
                "SELECT 1 FROM sandboxes WHERE project = ?1 UNION ALL SELECT 1 FROM volumes WHERE project = ?1",
            )
            .and_then(|mut statement| statement.exists(params![project.as_str()]))
            .map_err(failed("look for what there is of a project"))
    }
}
