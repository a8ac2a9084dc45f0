//! The file format of a plan and the snapshot it was made from. Reading checks the plan.

use crate::graph::check::{Unsound, check};
use schemas::digest::Digest;
use schemas::plan::{PLAN_VERSION, PlanGraph};
use schemas::report::Report;
use schemas::snapshot::Snapshot;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The version of the format.
pub const PLAN_FILE_VERSION: u32 = 4;

/// A plan with everything that applying it needs.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanFile {
    version: u32,
    /// The digest of all other fields.
    digest: Digest,
    /// The project's folder.
    pub folder: PathBuf,
    /// The snapshot that the plan was made from.
    pub snapshot: Snapshot,
    /// The plan.
    pub plan: PlanGraph,
    /// The report of the plan.
    pub report: Report,
}

/// The part of every version of the format, read first.
#[derive(Deserialize)]
struct Head {
    version: u32,
}

/// Why bytes are not a plan that can be applied.
#[derive(Debug, thiserror::Error)]
pub enum PlanFileError {
    /// They are not JSON of this form.
    #[error("{}", schemas::excerpt::json_error(.0))]
    Form(serde_json::Error),
    /// JSON cannot hold the path of the project's folder.
    #[error("the path of the project's folder is not UTF-8")]
    Folder,
    /// They have another version of the format.
    #[error("it is of version {found}, this msb knows {PLAN_FILE_VERSION}")]
    Version {
        /// Their version.
        found: u32,
    },
    /// The digest does not match.
    #[error("it is not as it was written")]
    Changed,
    /// The parts do not belong together.
    #[error("its plan was not made from its snapshot by this msb")]
    Foreign,
    /// The plan contradicts itself.
    #[error("{0}")]
    Unsound(#[from] Unsound),
}

impl PlanFile {
    /// Creates a file.
    ///
    /// # Errors
    ///
    /// Fails where the folder's path is not UTF-8, which JSON cannot hold.
    pub fn new(
        folder: PathBuf,
        snapshot: Snapshot,
        plan: PlanGraph,
        report: Report,
    ) -> Result<Self, PlanFileError> {
        if folder.to_str().is_none() {
            return Err(PlanFileError::Folder);
        }
        let digest = Digest::of_json(&(&folder, &snapshot, &plan, &report));
        Ok(Self { version: PLAN_FILE_VERSION, digest, folder, snapshot, plan, report })
    }

    /// Returns the bytes of the file.
    ///
    /// # Errors
    ///
    /// Fails where a value cannot be written as JSON.
    pub fn to_bytes(&self) -> Result<Vec<u8>, PlanFileError> {
        serde_json::to_vec(self).map_err(PlanFileError::Form)
    }

    /// Parses a file and checks its plan.
    ///
    /// # Errors
    ///
    /// Fails where the bytes are not an unchanged file of this version with a sound plan.
    pub fn parse(bytes: &[u8]) -> Result<Self, PlanFileError> {
        let Head { version: found } = serde_json::from_slice(bytes).map_err(PlanFileError::Form)?;
        if found != PLAN_FILE_VERSION {
            return Err(PlanFileError::Version { found });
        }
        let file: Self = serde_json::from_slice(bytes).map_err(PlanFileError::Form)?;
        let Self { version: _, digest, folder, snapshot, plan, report } = &file;
        if *digest != Digest::of_json(&(folder, snapshot, plan, report)) {
            return Err(PlanFileError::Changed);
        }
        let is_of_snapshot = plan.snapshot == snapshot.digest() && plan.project == snapshot.project;
        if plan.version != PLAN_VERSION || !is_of_snapshot {
            return Err(PlanFileError::Foreign);
        }
        check(plan)?;
        Ok(file)
    }
}

/// Corrects the digests of a file, which the fuzz targets of `tests/fuzz` cannot guess; `None` for other bytes.
#[cfg(any(test, fuzzing))]
pub fn sealed(bytes: &[u8]) -> Option<Vec<u8>> {
    let PlanFile { folder, snapshot, mut plan, report, .. } = serde_json::from_slice(bytes).ok()?;
    plan.snapshot = snapshot.digest();
    plan.project = snapshot.project.clone();
    PlanFile::new(folder, snapshot, plan, report).ok()?.to_bytes().ok()
}
