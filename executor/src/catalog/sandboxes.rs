//! Rows of sandboxes: recorded before their creation, forgotten after their removal.

use super::{Catalog, CatalogError, failed};
use rusqlite::{ErrorCode, Row, params};
use schemas::name::{ProjectName, SandboxId, SandboxName, full_name};
use schemas::plan::Identity;
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
    /// The number of its replacements, from 1.
    pub generation: u32,
    /// The spec that was applied last.
    pub spec: SandboxSpec,
    /// Whether its creation is complete.
    pub created: bool,
    /// Whether it should run.
    pub should_run: bool,
    /// Whether its `post-start` hook, if there is one, has run since its last start.
    pub hook_done: bool,
}

/// A row with a spec that is damaged or of another version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadableRow {
    /// Its project.
    pub project: ProjectName,
    /// The instance, which is enough to remove it.
    pub identity: Identity,
    /// The reason for which it is unreadable.
    pub reason: String,
}

/// The recorded sandboxes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// The readable rows, sorted by project, name and generation.
    pub sandboxes: Vec<SandboxRow>,
    /// The unreadable rows, sorted alike.
    pub unreadable: Vec<UnreadableRow>,
}

const COLUMNS: &str = "id, project, name, generation, spec_version, spec, created, should_run, hook_done";

impl Catalog {
    /// Lists all sandboxes, or those of one project, with unreadable rows apart.
    ///
    /// # Errors
    ///
    /// If the catalog fails.
    pub fn sandboxes(&self, project: Option<&ProjectName>) -> Result<Recorded, CatalogError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM sandboxes WHERE ?1 IS NULL OR project = ?1 ORDER BY project, name, generation"
        );
        self.recorded(&sql, params![project.map(ProjectName::as_str)])
    }

    /// Lists the sandboxes that a name may mean: the one of a project, and the one with this full name.
    ///
    /// # Errors
    ///
    /// If the catalog fails.
    pub fn sandboxes_named(
        &self,
        project: Option<&ProjectName>,
        name: &str,
    ) -> Result<Recorded, CatalogError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM sandboxes WHERE (project = ?1 AND name = ?2) OR full_name = ?2
             ORDER BY project, name, generation"
        );
        self.recorded(&sql, params![project.map(ProjectName::as_str), name])
    }

    fn recorded(&self, sql: &str, parameters: impl rusqlite::Params) -> Result<Recorded, CatalogError> {
        let mut found = Recorded::default();
        for row in self.query(sql, parameters, "list sandboxes", |row| Ok(read_row(row)))? {
            match row? {
                Ok(row) => found.sandboxes.push(row),
                Err(row) => found.unreadable.push(row),
            }
        }
        Ok(found)
    }

    /// Whether there is a row of this id, readable or not.
    ///
    /// # Errors
    ///
    /// If the catalog fails.
    pub fn is_recorded(&self, id: &SandboxId) -> Result<bool, CatalogError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM sandboxes WHERE id = ?1)";
        let found = self.query_first(sql, params![id.as_str()], "look up a sandbox", |row| row.get(0))?;
        Ok(found.unwrap_or(false))
    }

    /// Returns a sandbox by its id; `None` if it is not recorded.
    ///
    /// # Errors
    ///
    /// If the row is unreadable, or the catalog fails.
    pub fn sandbox(&self, id: &SandboxId) -> Result<Option<SandboxRow>, CatalogError> {
        let sql = format!("SELECT {COLUMNS} FROM sandboxes WHERE id = ?1");
        let Recorded { sandboxes, unreadable } = self.recorded(&sql, params![id.as_str()])?;
        if let Some(UnreadableRow { identity, reason, project: _ }) = unreadable.into_iter().next() {
            let what = format!("sandbox {}", identity.name);
            return Err(CatalogError::Corrupt { what, source: reason.into() });
        }
        Ok(sandboxes.into_iter().next())
    }

    /// Records a sandbox before its creation, or continues an interrupted one. Full names are unique: `a-b` with `c`, `a` with
    /// `b-c`, and `a-b-c` that was created by flags have the same one.
    ///
    /// # Errors
    ///
    /// If another sandbox has the full name, or the catalog fails.
    pub fn begin_sandbox(&self, row: &SandboxRow) -> Result<(), CatalogError> {
        let spec = spec_json(&row.spec)?;
        let name = full_name(&row.project, &row.name);
        let SandboxRow { id, project, generation, .. } = row;
        let recorded = self.update(
            "INSERT INTO sandboxes (id, project, name, generation, spec_version, spec, created, should_run, full_name)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, 0, ?7)
             ON CONFLICT (id) DO UPDATE SET spec_version = ?5, spec = ?6, full_name = ?7",
            params![id.as_str(), project.as_str(), row.name.as_str(), generation, SPEC_VERSION, spec, name],
            "record a sandbox",
        );
        if let Err(CatalogError::Statement { source, .. }) = &recorded
            && source.sqlite_error_code() == Some(ErrorCode::ConstraintViolation)
        {
            let sql = "SELECT project FROM sandboxes WHERE full_name = ?1 AND id != ?2";
            let parameters = params![name, id.as_str()];
            let other = self.query_first(sql, parameters, "look up a name", |row| row.get(0))?;
            return other.map_or(recorded, |project| Err(CatalogError::NameTaken { name, project }));
        }
        recorded
    }

    /// Records that a sandbox's folder and disk exist.
    ///
    /// # Errors
    ///
    /// If the catalog fails.
    pub fn finish_sandbox(&self, id: &SandboxId) -> Result<(), CatalogError> {
        self.update(
            "UPDATE sandboxes SET created = 1 WHERE id = ?1",
            params![id.as_str()],
            "record that a sandbox is made",
        )
    }

    /// Records whether a sandbox should run.
    ///
    /// # Errors
    ///
    /// If the catalog fails.
    pub fn set_should_run(&self, id: &SandboxId, should_run: bool) -> Result<(), CatalogError> {
        let action = "record whether a sandbox is to run";
        self.update(
            "UPDATE sandboxes SET should_run = ?2 WHERE id = ?1 AND should_run != ?2",
            params![id.as_str(), should_run],
            action,
        )
    }

    /// Records whether the `post-start` hook has run since the last start.
    ///
    /// # Errors
    ///
    /// If the catalog fails.
    pub fn set_hook_done(&self, id: &SandboxId, done: bool) -> Result<(), CatalogError> {
        self.update(
            "UPDATE sandboxes SET hook_done = ?2 WHERE id = ?1 AND hook_done != ?2",
            params![id.as_str(), done],
            "record that a hook has run",
        )
    }

    /// Records a changed spec.
    ///
    /// # Errors
    ///
    /// If the catalog fails.
    pub fn set_spec(&self, id: &SandboxId, spec: &SandboxSpec) -> Result<(), CatalogError> {
        self.update(
            "UPDATE sandboxes SET spec_version = ?2, spec = ?3 WHERE id = ?1",
            params![id.as_str(), SPEC_VERSION, spec_json(spec)?],
            "record a changed sandbox",
        )
    }

    /// Forgets a sandbox; an unknown one is no error.
    ///
    /// # Errors
    ///
    /// If the catalog fails.
    pub fn forget_sandbox(&self, id: &SandboxId) -> Result<(), CatalogError> {
        self.update("DELETE FROM sandboxes WHERE id = ?1", params![id.as_str()], "forget a sandbox")
    }
}

fn spec_json(spec: &SandboxSpec) -> Result<String, CatalogError> {
    serde_json::to_string(spec).map_err(|source| CatalogError::Corrupt {
        what: "a sandbox's spec".to_owned(),
        source: source.into(),
    })
}

/// Reads one row: a sandbox, or at least its identity.
fn read_row(row: &Row<'_>) -> Result<Result<SandboxRow, UnreadableRow>, CatalogError> {
    let text = |index: usize| row.get::<_, String>(index).map_err(failed("read a sandbox"));
    let number = |index: usize| row.get::<_, u32>(index).map_err(failed("read a sandbox"));
    let id = text(0)?;
    let corrupt = |source: Box<dyn std::error::Error + Send + Sync>| CatalogError::Corrupt {
        what: format!("sandbox {id}"),
        source,
    };
    // Without these, its files and processes are unknown.
    let project = ProjectName::try_from(text(1)?).map_err(|error| corrupt(error.into()))?;
    let name = SandboxName::new(text(2)?).map_err(|error| corrupt(error.into()))?;
    let (id, generation) = (id.parse().map_err(|error| corrupt(Box::new(error)))?, number(3)?);
    let (spec_version, created, should_run) = (number(4)?, number(6)? != 0, number(7)? != 0);
    let hook_done = number(8)? != 0;
    let spec = if spec_version == SPEC_VERSION {
        serde_json::from_str(&text(5)?).map_err(|error| error.to_string())
    } else {
        Err(format!("its spec is of version {spec_version}, this msb knows {SPEC_VERSION}"))
    };
    Ok(match spec {
        Ok(spec) => Ok(SandboxRow { id, project, name, generation, spec, created, should_run, hook_done }),
        Err(reason) => Err(UnreadableRow { project, identity: Identity { name, id, generation }, reason }),
    })
}
