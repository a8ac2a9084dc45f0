//! The journal: an intent before each act, its end after it.

use super::{Catalog, CatalogError, failpoint, now_unix};
use rusqlite::params;
use schemas::name::ProjectName;
use schemas::plan::StepId;

/// The most ended operations per project that are kept.
const KEPT_PER_PROJECT: u32 = 200;

/// The id of a journal row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperationId(pub i64);

impl Catalog {
    /// Records the ends of steps and the intents of others in one transaction. Returns the ids of the latter, in their
    /// order.
    ///
    /// # Errors
    ///
    /// If the catalog fails; nothing is recorded then.
    pub fn write_operations(
        &self,
        project: &ProjectName,
        ended: &[(OperationId, &str)],
        begun: &[&StepId],
    ) -> Result<Vec<OperationId>, CatalogError> {
        let now = now_unix();
        self.transact("write the journal", |transaction| {
            let mut rows = Vec::with_capacity(begun.len());
            for (id, outcome) in ended {
                transaction
                    .prepare_cached("UPDATE operations SET ended = ?2, outcome = ?3 WHERE id = ?1")?
                    .execute(params![id.0, now, outcome])?;
            }
            for step in begun {
                let row = transaction
                    .prepare_cached("INSERT INTO operations (project, step, began) VALUES (?1, ?2, ?3)")?
                    .insert(params![project.as_str(), step.to_string(), now])?;
                rows.push(OperationId(row));
            }
            transaction.commit()?;
            failpoint::written();
            Ok(rows)
        })
    }

    /// Closes the operations of an interrupted msb, whose effects have been observed by now, and deletes old rows. The caller
    /// must hold the project's lock.
    ///
    /// # Errors
    ///
    /// If the catalog fails.
    pub fn settle_operations(&self, project: &ProjectName) -> Result<(), CatalogError> {
        self.transact("settle the journal", |transaction| {
            transaction.execute(
                "UPDATE operations SET ended = ?2, outcome = 'interrupted' WHERE project = ?1 AND ended IS NULL",
                params![project.as_str(), now_unix()],
            )?;
            transaction.execute(
                "DELETE FROM operations WHERE project = ?1 AND id <=
                     (SELECT id FROM operations WHERE project = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
                params![project.as_str(), KEPT_PER_PROJECT],
            )?;
            transaction.commit()
        })
    }
}
