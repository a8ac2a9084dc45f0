//! Reports as JSON has them: the data with its stable codes, and the words for people as `text`.

use super::words;
use schemas::name::{SandboxName, VolumeName};
use schemas::report::{
    Action, BlockReason, Blocked, Drift, FieldChange, Loss, Reason, Report, SandboxChange, VolumeChange,
    VolumeReason,
};
use serde::Serialize;

/// Data, and its wording.
#[derive(schemars::JsonSchema, Serialize)]
pub struct Worded<'a, T> {
    #[serde(flatten)]
    data: &'a T,
    text: String,
}

impl<'a, T> Worded<'a, T> {
    fn new(data: &'a T, text: impl FnOnce(&T) -> String) -> Self {
        Self { data, text: text(data) }
    }
}

/// The JSON form of a report.
#[derive(schemars::JsonSchema, Serialize)]
pub struct ReportDocument<'a> {
    changes: Vec<SandboxDocument<'a>>,
    volumes: Vec<VolumeDocument<'a>>,
    blocked: Vec<BlockedDocument<'a>>,
}

#[derive(schemars::JsonSchema, Serialize)]
struct SandboxDocument<'a> {
    name: &'a SandboxName,
    action: Action,
    reason: Worded<'a, Reason>,
    drift: Option<Worded<'a, Drift>>,
    fields: &'a [FieldChange],
}

#[derive(schemars::JsonSchema, Serialize)]
struct VolumeDocument<'a> {
    name: &'a VolumeName,
    action: Action,
    reason: Worded<'a, VolumeReason>,
    hint: Option<&'static str>,
}

#[derive(schemars::JsonSchema, Serialize)]
struct BlockedDocument<'a> {
    name: &'a SandboxName,
    reason: Worded<'a, BlockReason>,
}

impl<'a> ReportDocument<'a> {
    /// Adds the wording to a report.
    pub fn new(Report { changes, volumes, blocked }: &'a Report) -> Self {
        let changes = changes.iter().map(|SandboxChange { name, action, reason, drift, fields }| {
            let reason = Worded::new(reason, words::reason);
            let drift = drift.as_ref().map(|drift| Worded::new(drift, words::drift));
            SandboxDocument { name, action: *action, reason, drift, fields }
        });
        let volumes = volumes.iter().map(|VolumeChange { name, action, reason }| VolumeDocument {
            name,
            action: *action,
            reason: Worded::new(reason, words::volume_reason),
            hint: words::volume_hint(reason),
        });
        let blocked = blocked.iter().map(|Blocked { name, reason }| BlockedDocument {
            name,
            reason: Worded::new(reason, words::block_reason),
        });
        Self { changes: changes.collect(), volumes: volumes.collect(), blocked: blocked.collect() }
    }
}

/// Adds the wording to the losses of a plan.
pub fn losses(losses: &[Loss]) -> Vec<Worded<'_, Loss>> {
    losses.iter().map(|loss| Worded::new(loss, words::loss)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::report::DownState;

    #[test]
    fn json_has_codes_and_wording() {
        let change = SandboxChange {
            name: SandboxName::new("web").unwrap(),
            action: Action::Start,
            reason: Reason::Down { state: DownState::Stopped },
            drift: Some(Drift::Stopped),
            fields: Vec::new(),
        };
        let volume = VolumeChange {
            name: VolumeName::new("data").unwrap(),
            action: Action::Unchanged,
            reason: VolumeReason::Kept,
        };
        let report = Report { changes: vec![change], volumes: vec![volume], blocked: Vec::new() };
        let json = serde_json::to_value(ReportDocument::new(&report)).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "changes": [{
                    "name": "web",
                    "action": "start",
                    "reason": { "code": "down", "state": { "state": "stopped" }, "text": "stopped" },
                    "drift": { "code": "stopped", "text": "was stopped, though it should run" },
                    "fields": [],
                }],
                "volumes": [{
                    "name": "data",
                    "action": "unchanged",
                    "reason": { "code": "kept", "text": "kept" },
                    "hint": "`msb down -v` removes it",
                }],
                "blocked": [],
            })
        );
        let lost = [Loss::Volume { name: VolumeName::new("data").unwrap(), reason: VolumeReason::TakenDown }];
        assert_eq!(
            serde_json::to_value(losses(&lost)).unwrap(),
            serde_json::json!([{
                "kind": "volume",
                "name": "data",
                "reason": { "code": "taken_down" },
                "text": "the volume data (taken down with its sandboxes)",
            }])
        );
    }
}
