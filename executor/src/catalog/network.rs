//! Which piece of the address pools is whose: the lowest free one, for as long as the sandbox is recorded.
//!
//! It is chosen where it is written down, in one transaction, and not where a plan is made: pools are shared by
//! all projects, and two plans that are made at the same time would choose the same.

use super::{Catalog, CatalogError, failed, failpoint};
use rusqlite::{OptionalExtension, TransactionBehavior, params};
use schemas::name::SandboxId;

impl Catalog {
    /// The slot of a recorded sandbox, which gets one if it has none. Nothing when all are taken.
    pub fn network_slot(&self, id: &SandboxId, slots: u32) -> Result<Option<u32>, CatalogError> {
        let action = "choose addresses";
        let mut connection = self.connection();
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed(action))?;
        let known: Option<u32> = transaction
            .query_row("SELECT slot FROM network_slots WHERE sandbox = ?1", params![id.as_str()], |row| {
                row.get(0)
            })
            .optional()
            .map_err(failed(action))?;
        if let Some(slot) = known.filter(|slot| *slot < slots) {
            return Ok(Some(slot));
        }
        let free: u32 = transaction
            .query_row(
                "SELECT min(slot) FROM (SELECT 0 AS slot UNION ALL SELECT slot + 1 FROM network_slots)
                 WHERE slot NOT IN (SELECT slot FROM network_slots)",
                [],
                |row| row.get(0),
            )
            .map_err(failed(action))?;
        if free >= slots {
            return Ok(None);
        }
        transaction
            .execute(
                "INSERT INTO network_slots (slot, sandbox) VALUES (?1, ?2)
                 ON CONFLICT (sandbox) DO UPDATE SET slot = ?1",
                params![free, id.as_str()],
            )
            .map_err(failed(action))?;
        transaction.commit().map_err(failed(action))?;
        failpoint::written();
        Ok(Some(free))
    }
}
