//! The journal that a walk writes: to the catalog, under one project.

use crate::catalog::{Catalog, CatalogError, OperationId};
use schemas::name::ProjectName;
use schemas::plan::StepId;

/// Takes down what a walk begins and how it ends.
pub trait Journal {
    /// Writes how steps have ended and which ones begin now: durably, and all or nothing.
    ///
    /// Gives an id for each step that begins, in their order.
    fn write(
        &self,
        ended: &[(OperationId, &'static str)],
        begun: &[&StepId],
    ) -> Result<Vec<OperationId>, CatalogError>;
}

/// One project's part of the catalog's journal.
#[derive(Clone, Copy, Debug)]
pub struct ProjectJournal<'a> {
    /// Where it is written.
    pub catalog: &'a Catalog,
    /// Whose steps they are.
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
