//! Rows of volumes: recorded before their creation, forgotten after their removal.

use super::{Catalog, CatalogError, failed};
use rusqlite::{Row, params};
use schemas::name::{ProjectName, SandboxName, VolumeName, full_volume_name};
use schemas::spec::{VolumeKind, VolumeSpec};

/// One recorded volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeRow {
    /// Its project.
    pub project: ProjectName,
    /// Its name in the project.
    pub name: VolumeName,
    /// The spec that was applied last.
    pub spec: VolumeSpec,
    /// Whether its creation is complete.
    pub created: bool,
    /// Its use, if it is the anonymous volume of a sandbox.
    pub anonymous: Option<AnonymousVolume>,
}

/// The use of a volume that exists for a data path of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnonymousVolume {
    /// The sandbox that it belongs to, by its name in the project.
    pub sandbox: SandboxName,
    /// The path in the sandbox.
    pub path: String,
}

const COLUMNS: &str = "project, name, kind, size_mib, created, shared, sandbox, path";

/// The full name of a volume; that of no project has its own, see `schemas::name::full_volume_name`.
const FULL_NAME: &str = "CASE project WHEN '@' THEN name ELSE project || '-' || name END";

impl Catalog {
    /// Lists the volumes of one project, sorted by name.
    ///
    /// # Errors
    ///
    /// If the catalog fails.
    pub fn volumes(&self, project: &ProjectName) -> Result<Vec<VolumeRow>, CatalogError> {
        let sql = format!("SELECT {COLUMNS} FROM volumes WHERE project = ?1 ORDER BY name");
        let rows = self.query(&sql, params![project.as_str()], "list volumes", |row| Ok(read_row(row)))?;
        rows.into_iter().collect()
    }

    /// Lists the volumes of all projects, sorted by project and name.
    ///
    /// # Errors
    ///
    /// If the catalog fails.
    pub fn all_volumes(&self) -> Result<Vec<VolumeRow>, CatalogError> {
        let sql = format!("SELECT {COLUMNS} FROM volumes ORDER BY project, name");
        let rows = self.query(&sql, [], "list volumes", |row| Ok(read_row(row)))?;
        rows.into_iter().collect()
    }

    /// Returns one volume; `None` if it is not recorded.
    ///
    /// # Errors
    ///
    /// If the catalog fails.
    pub fn volume(
        &self,
        project: &ProjectName,
        name: &VolumeName,
    ) -> Result<Option<VolumeRow>, CatalogError> {
        let sql = format!("SELECT {COLUMNS} FROM volumes WHERE project = ?1 AND name = ?2");
        let parameters = params![project.as_str(), name.as_str()];
        self.query_first(&sql, parameters, "look up a volume", |row| Ok(read_row(row)))?.transpose()
    }

    /// Returns one volume by its full name, whatever its project; `None` if it is not recorded.
    ///
    /// # Errors
    ///
    /// If the catalog fails.
    pub fn volume_by_full_name(&self, full_name: &str) -> Result<Option<VolumeRow>, CatalogError> {
        let sql = format!("SELECT {COLUMNS} FROM volumes WHERE {FULL_NAME} = ?1");
        self.query_first(&sql, params![full_name], "look up a volume's name", |row| Ok(read_row(row)))?
            .transpose()
    }

    /// Returns the other project with a volume of the same full name: `a-b` with `c` and `a` with `b-c`.
    ///
    /// # Errors
    ///
    /// If the catalog fails.
    pub fn full_volume_name_taken_by(
        &self,
        project: &ProjectName,
        name: &VolumeName,
    ) -> Result<Option<ProjectName>, CatalogError> {
        let row = self.volume_by_full_name(&full_volume_name(project, name))?;
        Ok(row.map(|row| row.project).filter(|other| other != project))
    }

    /// Records a volume before its creation, or continues an interrupted one.
    ///
    /// # Errors
    ///
    /// If the catalog fails.
    pub fn begin_volume(&self, row: &VolumeRow) -> Result<(), CatalogError> {
        let VolumeRow { project, name, spec: VolumeSpec { kind, size_mib, shared }, created: _, anonymous } =
            row;
        let sandbox = anonymous.as_ref().map(|anonymous| anonymous.sandbox.as_str());
        let path = anonymous.as_ref().map(|anonymous| anonymous.path.as_str());
        self.update(
            "INSERT INTO volumes (project, name, kind, size_mib, shared, sandbox, path, created)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0)
             ON CONFLICT (project, name) DO UPDATE
             SET kind = ?3, size_mib = ?4, shared = ?5, sandbox = ?6, path = ?7, created = 0",
            params![project.as_str(), name.as_str(), kind.as_str(), size_mib, shared, sandbox, path],
            "record a volume",
        )
    }

    /// Records that a volume exists as its spec says.
    ///
    /// # Errors
    ///
    /// If the catalog fails.
    pub fn finish_volume(
        &self,
        project: &ProjectName,
        name: &VolumeName,
        spec: &VolumeSpec,
    ) -> Result<(), CatalogError> {
        let VolumeSpec { kind, size_mib, shared } = spec;
        self.update(
            "UPDATE volumes SET created = 1, kind = ?3, size_mib = ?4, shared = ?5 WHERE project = ?1 AND name = ?2",
            params![project.as_str(), name.as_str(), kind.as_str(), size_mib, shared],
            "record that a volume is made",
        )
    }

    /// Forgets a volume; an unknown one is no error.
    ///
    /// # Errors
    ///
    /// If the catalog fails.
    pub fn forget_volume(&self, project: &ProjectName, name: &VolumeName) -> Result<(), CatalogError> {
        self.update(
            "DELETE FROM volumes WHERE project = ?1 AND name = ?2",
            params![project.as_str(), name.as_str()],
            "forget a volume",
        )
    }
}

fn read_row(row: &Row<'_>) -> Result<VolumeRow, CatalogError> {
    let text = |index: usize| row.get::<_, String>(index).map_err(failed("read a volume"));
    let number = |index: usize| row.get::<_, Option<u32>>(index).map_err(failed("read a volume"));
    let optional = |index: usize| row.get::<_, Option<String>>(index).map_err(failed("read a volume"));
    let is_set = |index: usize| row.get::<_, bool>(index).map_err(failed("read a volume"));
    let (project, name, kind) = (text(0)?, text(1)?, text(2)?);
    let corrupt = |source: Box<dyn std::error::Error + Send + Sync>| CatalogError::Corrupt {
        what: format!("volume {name:?} of project {project:?}"),
        source,
    };
    Ok(VolumeRow {
        project: ProjectName::try_from(project.clone()).map_err(|error| corrupt(error.into()))?,
        name: VolumeName::new(name.clone()).map_err(|error| corrupt(error.into()))?,
        spec: VolumeSpec {
            kind: VolumeKind::from_word(&kind)
                .ok_or_else(|| corrupt(format!("its kind is {kind:?}").into()))?,
            size_mib: number(3)?,
            shared: is_set(5)?,
        },
        created: is_set(4)?,
        anonymous: match (optional(6)?, optional(7)?) {
            (Some(sandbox), Some(path)) => Some(AnonymousVolume {
                sandbox: SandboxName::new(sandbox).map_err(|error| corrupt(error.into()))?,
                path,
            }),
            _ => None,
        },
    })
}
