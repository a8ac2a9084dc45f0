//! The journal of a walk, in the catalog.

use crate::catalog::{Catalog, CatalogError, OperationId};
use schemas::name::ProjectName;
use schemas::plan::StepId;

/// Records the begins and ends of a walk's steps.
pub trait Journal {
    /// Records the ends of steps and the begins of others durably, in one transaction.
    ///
    /// Returns an id for each begun step, in their order.
    ///
    /// # Errors
    ///
    /// If the catalog cannot be written.
    fn write(
        &self,
        ended: &[(OperationId, &'static str)],
        begun: &[&StepId],
    ) -> Result<Vec<OperationId>, CatalogError>;
}

/// One project's part of the catalog's journal.
#[derive(Clone, Copy, Debug)]
pub struct ProjectJournal<'a> {
    /// The catalog.
    pub catalog: &'a Catalog,
    /// The project of the steps.
    pub project: &'a ProjectName,
}

impl Journal for ProjectJournal<'_> {
    fn write(
        &self,
        ended: &[(OperationId, &'static str)],
        begun: &[&StepId],
    ) -> Result<Vec<OperationId>, CatalogError> {
        self.catalog.write_operations(self.project, ended, begun)
    }
}
