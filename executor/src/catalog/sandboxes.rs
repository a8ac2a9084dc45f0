//! Rows of sandboxes: recorded before they are made, forgotten after they are gone.

use super::{Catalog, CatalogError, failed};
use rusqlite::{OptionalExtension, Row, params};
use schemas::name::{ProjectName, SandboxId, SandboxName, full_name};
use schemas::spec::{SPEC_VERSION, SandboxSpec};

/// One recorded sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxRow {
    /// The instance's id.
    pub id: SandboxId,
    /// Its project.
    pub project: ProjectName,
    /// Its name in the project.
    pub name: SandboxName,
    /// Counts replacements, from 1.
    pub generation: u32,
    /// As last applied.
    pub spec: SandboxSpec,
    /// Whether its making came to the end.
    pub made: bool,
    /// Whether it is to run.
    pub wanted: bool,
}

const COLUMNS: &str = "id, project, name, generation, spec_version, spec, made, wanted";

impl Catalog {
    /// All sandboxes, or those of one project, sorted by project, name and generation.
    pub fn sandboxes(&self, project: Option<&ProjectName>) -> Result<Vec<SandboxRow>, CatalogError> {
        let connection = self.connection();
        let sql = format!(
            "SELECT {COLUMNS} FROM sandboxes WHERE ?1 IS NULL OR project = ?1 ORDER BY project, name, generation"
        );
        let mut statement = connection.prepare_cached(&sql).map_err(failed("list sandboxes"))?;
        let mut rows =
            statement.query(params![project.map(ProjectName::as_str)]).map_err(failed("list sandboxes"))?;
        let mut found = Vec::new();
        while let Some(row) = rows.next().map_err(failed("list sandboxes"))? {
            found.push(read_row(row)?);
        }
        Ok(found)
    }

    /// One sandbox by its id.
    pub fn sandbox(&self, id: &SandboxId) -> Result<Option<SandboxRow>, CatalogError> {
        let connection = self.connection();
        let sql = format!("SELECT {COLUMNS} FROM sandboxes WHERE id = ?1");
        let mut statement = connection.prepare_cached(&sql).map_err(failed("look up a sandbox"))?;
        let mut rows = statement.query(params![id.as_str()]).map_err(failed("look up a sandbox"))?;
        rows.next().map_err(failed("look up a sandbox"))?.map(read_row).transpose()
    }

    /// The other project that has a sandbox of the same full name, if any: `a-b` with `c` and `a` with `b-c`.
    pub fn full_name_taken_by(
        &self,
        project: &ProjectName,
        name: &SandboxName,
    ) -> Result<Option<String>, CatalogError> {
        self.connection()
            .prepare_cached(
                "SELECT project FROM sandboxes WHERE project || '-' || name = ?1 AND project != ?2",
            )
            .and_then(|mut statement| {
                let parameters = params![full_name(project, name), project.as_str()];
                statement.query_row(parameters, |row| row.get(0)).optional()
            })
            .map_err(failed("look up a name"))
    }

    /// Records that a sandbox is to be made, or takes up one whose making was cut off.
    pub fn begin_sandbox(&self, row: &SandboxRow) -> Result<(), CatalogError> {
        let spec = spec_json(&row.spec)?;
        self.connection()
            .prepare_cached(
                "INSERT INTO sandboxes (id, project, name, generation, spec_version, spec, made, wanted)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, 0)
                 ON CONFLICT (id) DO UPDATE SET spec_version = ?5, spec = ?6",
            )
            .and_then(|mut statement| {
                statement.execute(params![
                    row.id.as_str(),
                    row.project.as_str(),
                    row.name.as_str(),
                    row.generation,
                    SPEC_VERSION,
                    spec
                ])
            })
            .map_err(failed("record a sandbox"))?;
        Ok(())
    }

    /// Records that a sandbox's folder and disk are there.
    pub fn finish_sandbox(&self, id: &SandboxId) -> Result<(), CatalogError> {
        self.update(
            "UPDATE sandboxes SET made = 1 WHERE id = ?1",
            params![id.as_str()],
            "record that a sandbox is made",
        )
    }

    /// Records whether a sandbox is to run.
    pub fn set_wanted(&self, id: &SandboxId, wanted: bool) -> Result<(), CatalogError> {
        let action = "record whether a sandbox is to run";
        self.update(
            "UPDATE sandboxes SET wanted = ?2 WHERE id = ?1 AND wanted != ?2",
            params![id.as_str(), wanted],
            action,
        )
    }

    /// Records a changed spec.
    pub fn set_spec(&self, id: &SandboxId, spec: &SandboxSpec) -> Result<(), CatalogError> {
        self.update(
            "UPDATE sandboxes SET spec_version = ?2, spec = ?3 WHERE id = ?1",
            params![id.as_str(), SPEC_VERSION, spec_json(spec)?],
            "record a changed sandbox",
        )
    }

    /// Forgets a sandbox. Forgetting an unknown one is not an error.
    pub fn forget_sandbox(&self, id: &SandboxId) -> Result<(), CatalogError> {
        self.update("DELETE FROM sandboxes WHERE id = ?1", params![id.as_str()], "forget a sandbox")
    }

    fn update(
        &self,
        sql: &str,
        parameters: impl rusqlite::Params,
        action: &'static str,
    ) -> Result<(), CatalogError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(sql).map_err(failed(action))?;
        statement.execute(parameters).map(|_| ()).map_err(failed(action))
    }
}

fn spec_json(spec: &SandboxSpec) -> Result<String, CatalogError> {
    serde_json::to_string(spec).map_err(|source| CatalogError::Corrupt {
        what: "a sandbox's spec".to_owned(),
        source: source.into(),
    })
}

fn read_row(row: &Row<'_>) -> Result<SandboxRow, CatalogError> {
    let text = |index: usize| row.get::<_, String>(index).map_err(failed("read a sandbox"));
    let number = |index: usize| row.get::<_, u32>(index).map_err(failed("read a sandbox"));
    let id = text(0)?;
    let corrupt = |source: Box<dyn std::error::Error + Send + Sync>| CatalogError::Corrupt {
        what: format!("sandbox {id}"),
        source,
    };
    let spec_version = number(4)?;
    if spec_version != SPEC_VERSION {
        return Err(corrupt(
            format!("its spec is of version {spec_version}, this msb knows {SPEC_VERSION}").into(),
        ));
    }
    Ok(SandboxRow {
        id: id.parse().map_err(|error| corrupt(Box::new(error)))?,
        project: ProjectName::new(text(1)?).map_err(|error| corrupt(error.into()))?,
        name: SandboxName::new(text(2)?).map_err(|error| corrupt(error.into()))?,
        generation: number(3)?,
        spec: serde_json::from_str(&text(5)?).map_err(|error| corrupt(error.into()))?,
        made: number(6)? != 0,
        wanted: number(7)? != 0,
    })
}
