//! The journal: an intent before each act, its end after it.

use super::{Catalog, CatalogError, failed, failpoint, now_unix};
use rusqlite::{Connection, TransactionBehavior, params};
use schemas::name::ProjectName;
use schemas::plan::StepId;

/// The most ended operations per project that are kept.
const KEPT_PER_PROJECT: u32 = 200;

/// The id of a journal row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperationId(i64);

impl OperationId {
    /// Creates an id, for other kinds of journals.
    pub fn from_row(row: i64) -> Self {
        Self(row)
    }

    /// Returns its number.
    pub fn row(self) -> i64 {
        self.0
    }
}

/// An operation in the journal that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The id of the begun step, as that msb wrote it.
    pub step: String,
    /// The time of its begin, in seconds since 1970.
    pub began_unix: i64,
}

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
        let mut connection = self.writer()?;
        let now = now_unix();
        let write = |connection: &mut Connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut rows = Vec::with_capacity(begun.len());
            if !ended.is_empty() {
                let mut end = transaction
                    .prepare_cached("UPDATE operations SET ended = ?2, outcome = ?3 WHERE id = ?1")?;
                for (id, outcome) in ended {
                    end.execute(params![id.0, now, outcome])?;
                }
            }
            if !begun.is_empty() {
                let mut begin = transaction
                    .prepare_cached("INSERT INTO operations (project, step, began) VALUES (?1, ?2, ?3)")?;
                for step in begun {
                    rows.push(OperationId(begin.insert(params![project.as_str(), step.to_string(), now])?));
                }
            }
            transaction.commit()?;
            failpoint::written();
            Ok(rows)
        };
        write(&mut connection).map_err(failed("write the journal"))
    }

    /// Lists the steps that an interrupted msb has begun.
    ///
    /// # Errors
    ///
    /// If the catalog fails.
    pub fn open_operations(&self, project: &ProjectName) -> Result<Vec<Operation>, CatalogError> {
        let sql = "SELECT step, began FROM operations WHERE project = ?1 AND ended IS NULL ORDER BY id";
        self.query(sql, params![project.as_str()], "read the journal", |row| {
            Ok(Operation { step: row.get(0)?, began_unix: row.get(1)? })
        })
    }

    /// Closes the operations of an interrupted msb, whose effects have been observed by now, and deletes old rows. The caller
    /// must hold the project's lock.
    ///
    /// # Errors
    ///
    /// If the catalog fails.
    pub fn settle_operations(&self, project: &ProjectName) -> Result<(), CatalogError> {
        let mut connection = self.writer()?;
        let settle = |connection: &mut Connection| {
            let transaction = connection.transaction()?;
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
        };
        settle(&mut connection).map_err(failed("settle the journal"))
    }
}
