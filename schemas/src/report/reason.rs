//! Reasons in a report: a stable `code`, and the values that its text needs.

use crate::name::{SandboxName, VolumeName};
use crate::snapshot::{Exit, MountObstacle, PortHolder, SecretProblem};
use crate::spec::VolumeKind;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Why a sandbox takes its action, or none.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "code")]
pub enum Reason {
    /// It does not exist yet.
    NotCreated,
    /// It is as declared.
    AsDeclared,
    /// It is a job that has completed.
    Completed,
    /// Its creation was interrupted.
    CreationInterrupted,
    /// Its disk is missing.
    DiskMissing,
    /// Its post-start hook has not run since its last start.
    PostStartPending,
    /// Only fields differ that affect nothing but the record.
    RecordOnly,
    /// It does not run.
    Down {
        /// Its state.
        state: DownState,
    },
    /// Fields differ.
    FieldsChanged {
        /// Those that require the action; [`SandboxChange::fields`](super::SandboxChange::fields) has all of them.
        fields: Vec<String>,
        /// Its state, where it does not run.
        down: Option<DownState>,
        /// When the change takes effect.
        effect: Effect,
    },
    /// No target includes it.
    NotSelected,
    /// It belongs to profiles of which none is active.
    ProfileInactive,
    /// It is blocked.
    Blocked {
        /// Why.
        cause: BlockReason,
    },
    /// It is recorded, and the Sandboxfile declares it no longer.
    Orphaned {
        /// Why.
        cause: OrphanCause,
        /// Whether it is kept all the same.
        kept: bool,
    },
    /// The Sandboxfile declares it no longer, and it is kept because its record cannot be read.
    OrphanUnreadable {
        /// Why the record cannot be read.
        error: String,
    },
    /// `down` removes it.
    TakenDown,
    /// It is removed although its record cannot be read.
    TakenDownUnreadable {
        /// Why the record cannot be read.
        error: String,
    },
    /// Its removal was requested by name.
    RemoveRequested,
    /// Its stop was requested by name.
    StopRequested,
    /// It does not run, and its stop was requested, so that it is no longer to run.
    KeepStoppedRequested,
    /// Its start was requested by name.
    StartRequested,
    /// Its restart was requested by name.
    RestartRequested,
    /// Its stop was requested, and it does not run.
    NotRunning,
    /// Its start was requested, and it runs.
    AlreadyRunning,
}

/// When a changed field takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// With this plan.
    Now,
    /// It is recorded, and takes effect with the next start.
    NextStart,
    /// Not with this plan: the sandbox runs, and would have to be started again.
    Deferred,
}

/// The state of a sandbox that does not run.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum DownState {
    /// Stopped on request.
    Stopped,
    /// Its supervisor is gone.
    SupervisorGone,
    /// The host has been rebooted since it ran.
    HostRebooted,
    /// It is paused.
    Paused,
    /// It ended by itself.
    Exited {
        /// How.
        exit: Exit,
    },
}

/// Why a recorded sandbox is not in the model.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "code")]
pub enum OrphanCause {
    /// It left the Sandboxfile.
    NotDeclared,
    /// It was a replica of a sandbox that has none now.
    NotReplicated {
        /// The sandbox.
        family: SandboxName,
    },
    /// It was a single sandbox that has replicas now.
    NowReplicated {
        /// How many.
        count: u32,
    },
    /// It is a replica beyond the declared number.
    SurplusReplica {
        /// The declared number.
        count: u32,
    },
}

/// How the state of a sandbox differs from the one that msb left it in.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "code")]
pub enum Drift {
    /// Its disk is missing.
    DiskMissing,
    /// It was stopped, though it should run.
    Stopped,
    /// Its supervisor is gone, though it should run.
    SupervisorGone,
    /// The host has been rebooted since it ran.
    HostRebooted,
    /// It is paused, though it should run.
    Paused,
    /// It is a service that ended by itself.
    Exited {
        /// How.
        exit: Exit,
    },
}

/// Why a volume takes its action, or none. Sizes are in MiB.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "code")]
pub enum VolumeReason {
    /// It does not exist yet.
    NotCreated {
        /// Its declared kind.
        kind: VolumeKind,
        /// Its declared size; `None` for a directory without a limit.
        size_mib: Option<u32>,
    },
    /// Its creation was interrupted.
    CreationInterrupted {
        /// Its declared kind.
        kind: VolumeKind,
        /// Its declared size; `None` for a directory without a limit.
        size_mib: Option<u32>,
    },
    /// It is a disk that grows.
    Grows {
        /// Its size.
        from_mib: u32,
        /// Its declared size.
        to_mib: u32,
    },
    /// It would grow, but a sandbox runs with it and nothing is started again.
    GrowthDeferred {
        /// Its size.
        from_mib: u32,
        /// Its declared size.
        to_mib: u32,
        /// The sandbox.
        user: SandboxName,
    },
    /// It is a disk that is declared smaller than it is, and a disk cannot shrink.
    CannotShrink {
        /// Its size.
        size_mib: u32,
    },
    /// It is a directory whose limit changes.
    LimitChanged {
        /// Its limit; `None` for none.
        from_mib: Option<u32>,
        /// Its declared limit; `None` for none.
        to_mib: Option<u32>,
    },
    /// The limit of the directory would change, but a sandbox runs with it and nothing is started again.
    LimitDeferred {
        /// Its limit; `None` for none.
        from_mib: Option<u32>,
        /// Its declared limit; `None` for none.
        to_mib: Option<u32>,
        /// The sandbox.
        user: SandboxName,
    },
    /// It is a directory that several sandboxes may write to from now on, or no longer.
    SharingChanged {
        /// Whether they may.
        shared: bool,
    },
    /// That would change, but a sandbox runs with it and nothing is started again.
    SharingDeferred {
        /// Whether they may, as declared.
        shared: bool,
        /// The sandbox.
        user: SandboxName,
    },
    /// It is declared with another kind, which would lose its contents.
    CannotConvert {
        /// Its kind.
        kind: VolumeKind,
    },
    /// It is as declared.
    AsDeclared,
    /// No sandbox that is brought up mounts it.
    NotMounted,
    /// The Sandboxfile declares it no longer, and it is kept.
    Orphaned,
    /// `down` keeps volumes unless its flag removes them.
    Kept,
    /// It is kept because a sandbox that is not removed mounts it.
    KeptMounted {
        /// The sandbox.
        user: SandboxName,
    },
    /// It is kept because a sandbox whose record cannot be read may mount it.
    KeptPossiblyMounted {
        /// The sandbox.
        user: SandboxName,
    },
    /// It is kept because none of the targets mounts it.
    KeptOtherTargets,
    /// It is removed with the sandboxes that mount it.
    TakenDown,
    /// Its removal was requested by name.
    RemoveRequested,
}

/// Why a sandbox is blocked.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "code")]
pub enum BlockReason {
    /// The driver cannot serve mounts of the host's files and of directory volumes on this host.
    MountsUnavailable {
        /// The first such path in the guest.
        path: String,
        /// The reason.
        obstacle: MountObstacle,
    },
    /// The value of a secret that the sandbox needs for its start cannot be used.
    SecretUnusable {
        /// The first such secret.
        name: String,
        /// The reason.
        problem: SecretProblem,
    },
    /// The password of the proxy that the sandbox needs for its start cannot be used.
    ProxyPasswordUnusable {
        /// The reason.
        problem: SecretProblem,
    },
    /// A volume would have to shrink.
    VolumeCannotShrink {
        /// The volume.
        volume: VolumeName,
        /// Its size in MiB.
        from_mib: u32,
        /// Its declared size in MiB.
        to_mib: u32,
    },
    /// A volume would have to become one of the other kind, which would lose its contents.
    VolumeCannotConvert {
        /// The volume.
        volume: VolumeName,
        /// Its kind.
        from: VolumeKind,
        /// Its declared kind.
        to: VolumeKind,
    },
    /// A volume that is declared as external does not exist.
    ExternalMissing {
        /// Its full name.
        volume: VolumeName,
    },
    /// Two sandboxes declare a volume that is a disk, and one of them may write to it.
    VolumeShared {
        /// The volume.
        volume: VolumeName,
        /// The other sandbox that declares it.
        other: SandboxName,
    },
    /// A sandbox that stays as it is runs with a volume of this one.
    VolumeInUse {
        /// The volume.
        volume: VolumeName,
        /// The sandbox that runs with it.
        by: SandboxName,
    },
    /// A port of the host belongs to a process, or to another project's sandbox.
    PortTaken {
        /// The host's address.
        bind: IpAddr,
        /// The host's port.
        port: u16,
        /// The process or sandbox that has it.
        holder: PortHolder,
    },
    /// A sandbox of the project that stays as it is has a port of this one.
    PortInUse {
        /// The host's address.
        bind: IpAddr,
        /// The host's port.
        port: u16,
        /// The sandbox that has it.
        by: SandboxName,
    },
    /// Two running sandboxes would have to swap ports.
    PortSwap {
        /// The other one.
        other: SandboxName,
    },
    /// A dependency is blocked.
    Dependency {
        /// The dependency.
        name: SandboxName,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_a_stable_code_in_json() {
        let exit = Exit::Code { code: 1 };
        let reason = Reason::FieldsChanged {
            fields: vec!["memory".to_owned()],
            down: Some(DownState::Exited { exit }),
            effect: Effect::NextStart,
        };
        let json = serde_json::json!({
            "code": "fields_changed",
            "fields": ["memory"],
            "down": { "state": "exited", "exit": { "kind": "code", "code": 1 } },
            "effect": "next_start",
        });
        assert_eq!(serde_json::to_value(&reason).unwrap(), json);
        assert_eq!(serde_json::from_value::<Reason>(json).unwrap(), reason);
        let holder = PortHolder::Unknown;
        let taken = BlockReason::PortTaken { bind: IpAddr::from([127, 0, 0, 1]), port: 80, holder };
        let json = serde_json::to_value(Reason::Blocked { cause: taken.clone() }).unwrap();
        assert_eq!(json["cause"]["code"], "port_taken");
        assert_eq!(serde_json::from_value::<Reason>(json).unwrap(), Reason::Blocked { cause: taken });
    }
}
