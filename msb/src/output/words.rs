//! The wording of data from plans and reports: reasons, drift, volumes, blocked sandboxes, stale plans.

use planner::{Change, Staleness, State, Subject};
use rules::unit::format_size_mib;
use schemas::name::full_name;
use schemas::report::{BlockReason, DownState, Drift, Effect, Loss, OrphanCause, Reason, VolumeReason};
use schemas::snapshot::{Exit, MountObstacle, PortHolder};
use schemas::spec::{ValueName, VolumeKind, VolumeSpec};
use std::fmt::Display;
use std::net::IpAddr;
use std::time::Duration;

/// Formats a number of things: `1 sandbox`, `2 sandboxes`.
pub fn count<N: Copy + Display + PartialEq + From<u8>>(count: N, singular: &str, plural: &str) -> String {
    format!("{count} {}", if count == N::from(1) { singular } else { plural })
}

/// Words a sandbox's reason as one clause: `image changed`, `its supervisor has ended`.
pub fn reason(reason: &Reason) -> String {
    let text = match reason {
        Reason::NotCreated => "not there yet",
        Reason::AsDeclared => "as declared",
        Reason::Completed => "completed",
        Reason::CreationInterrupted => "its creation was interrupted",
        Reason::DiskMissing => "its disk is missing",
        Reason::PostStartPending => "its post-start hook has yet to run",
        Reason::RecordOnly => "only its record changes",
        Reason::Down { state } => return down_state(state),
        Reason::FieldsChanged { fields, down, effect } => {
            return fields_changed(fields, down.as_ref(), *effect);
        }
        Reason::NotSelected => "not selected",
        Reason::ProfileInactive => "none of its profiles is active",
        Reason::Blocked { cause } => return format!("blocked: {}", block_reason(cause)),
        Reason::Orphaned { cause, kept } => {
            return format!("{}{}", orphan_cause(cause), if *kept { ", kept" } else { "" });
        }
        Reason::OrphanUnreadable { error } => {
            return format!("no longer in the Sandboxfile, kept: its record cannot be read ({error})");
        }
        Reason::TakenDown => "taken down",
        Reason::TakenDownUnreadable { error } => {
            return format!("taken down; its record cannot be read: {error}");
        }
        Reason::RemoveRequested => "to be removed",
        Reason::StopRequested => "to be stopped",
        Reason::KeepStoppedRequested => "to stay stopped",
        Reason::StartRequested => "to be started",
        Reason::RestartRequested => "to be restarted",
        Reason::NotRunning => "not running",
        Reason::AlreadyRunning => "already running",
    };
    text.to_owned()
}

fn fields_changed(fields: &[String], down: Option<&DownState>, effect: Effect) -> String {
    let down = down.map(|state| format!("{}; ", down_state(state))).unwrap_or_default();
    let changed = match fields {
        [] => "changed".to_owned(),
        [one] => format!("{one} changed"),
        [one, two] => format!("{one} and {two} changed"),
        [one, more @ ..] => format!("{one} and {} more changed", more.len()),
    };
    let effect = match effect {
        Effect::Now => "",
        Effect::NextStart => ", recorded for its next start",
        Effect::Deferred => "; it keeps running unchanged",
    };
    format!("{down}{changed}{effect}")
}

fn down_state(state: &DownState) -> String {
    match state {
        DownState::Stopped => "stopped".to_owned(),
        DownState::SupervisorGone => "its supervisor has ended".to_owned(),
        DownState::HostRebooted => "the host was rebooted".to_owned(),
        DownState::Paused => "paused".to_owned(),
        DownState::Exited { exit } => exit.to_string(),
    }
}

fn orphan_cause(cause: &OrphanCause) -> String {
    match cause {
        OrphanCause::NotDeclared => "no longer in the Sandboxfile".to_owned(),
        OrphanCause::NotReplicated { family } => format!("there is only one {family} now"),
        OrphanCause::NowReplicated { count } => format!("there are {count} replicas of it now"),
        OrphanCause::SurplusReplica { count } => format!("no longer one of {count} replicas"),
    }
}

/// Words a sandbox's drift as a predicate: `was stopped, though it should run`.
pub fn drift(drift: &Drift) -> String {
    match drift {
        Drift::DiskMissing => "has lost its disk".to_owned(),
        Drift::Stopped => "was stopped, though it should run".to_owned(),
        Drift::SupervisorGone => "has lost its supervisor, though it should run".to_owned(),
        Drift::HostRebooted => "was stopped by a reboot of the host".to_owned(),
        Drift::Paused => "is paused, though it should run".to_owned(),
        Drift::Exited { exit: exit @ Exit::Limit { .. } } => exit.to_string(),
        Drift::Exited { exit: Exit::Code { code } } => {
            format!("exited with code {code}, though it should keep running")
        }
        Drift::Exited { exit: Exit::NotStarted { message, .. } } => {
            format!("did not start, though it should run: {message}")
        }
        Drift::Exited { exit: Exit::Failure { cause: _, message } } => {
            format!("failed, though it should keep running: {message}")
        }
    }
}

/// Words a volume's reason as one clause.
pub fn volume_reason(reason: &VolumeReason) -> String {
    let text = match reason {
        VolumeReason::NotCreated { kind, size_mib } => {
            return format!("not there yet, {}", unshared(*kind, *size_mib));
        }
        VolumeReason::CreationInterrupted { kind, size_mib } => {
            return format!("its creation was interrupted, {}", unshared(*kind, *size_mib));
        }
        VolumeReason::Grows { from_mib, to_mib } => return grows(*from_mib, *to_mib),
        VolumeReason::GrowthDeferred { from_mib, to_mib, user } => {
            return format!("{}, but {user} uses it and keeps running", grows(*from_mib, *to_mib));
        }
        VolumeReason::CannotShrink { size_mib } => {
            return format!("a disk cannot shrink: it keeps its {}", size(*size_mib));
        }
        VolumeReason::LimitChanged { from_mib, to_mib } => return limit_changes(*from_mib, *to_mib),
        VolumeReason::LimitDeferred { from_mib, to_mib, user } => {
            return format!("{}, but {user} uses it and keeps running", limit_changes(*from_mib, *to_mib));
        }
        VolumeReason::SharingChanged { shared } => sharing_changes(*shared),
        VolumeReason::SharingDeferred { shared, user } => {
            return format!("{}, but {user} uses it and keeps running", sharing_changes(*shared));
        }
        VolumeReason::CannotConvert { kind } => {
            return format!("it stays a {kind}, as its contents would be lost");
        }
        VolumeReason::AsDeclared => "as declared",
        VolumeReason::NotMounted => "no sandbox that is brought up mounts it",
        VolumeReason::Orphaned => "no longer in the Sandboxfile, kept",
        VolumeReason::Kept => "kept",
        VolumeReason::KeptMounted { user } => return format!("kept: {user} mounts it"),
        VolumeReason::KeptPossiblyMounted { user } => {
            return format!("kept: {user} may mount it, its record cannot be read");
        }
        VolumeReason::KeptOtherTargets => "kept: none of these sandboxes mounts it",
        VolumeReason::TakenDown => "taken down with its sandboxes",
        VolumeReason::RemoveRequested => "to be removed",
    };
    text.to_owned()
}

fn grows(from_mib: u32, to_mib: u32) -> String {
    format!("from {} to {}", size(from_mib), size(to_mib))
}

fn limit_changes(from_mib: Option<u32>, to_mib: Option<u32>) -> String {
    let limit =
        |mib: Option<u32>| mib.map_or_else(|| "no limit".to_owned(), |mib| format!("at most {}", size(mib)));
    format!("from {} to {}", limit(from_mib), limit(to_mib))
}

fn sharing_changes(shared: bool) -> &'static str {
    if shared { "shared from now on" } else { "no longer shared" }
}

/// Returns the spec of a new volume, for its kind and size.
fn unshared(kind: VolumeKind, size_mib: Option<u32>) -> VolumeSpec {
    VolumeSpec { kind, size_mib, shared: false }
}

fn size(mib: u32) -> String {
    format_size_mib(mib.into())
}

/// Returns the command that changes what the plan leaves unchanged; `None` if there is none.
pub fn volume_hint(reason: &VolumeReason) -> Option<&'static str> {
    match reason {
        VolumeReason::Orphaned | VolumeReason::Kept => Some("`msb down -v` removes it"),
        VolumeReason::GrowthDeferred { .. } => Some("`msb up` without --no-start lets it grow"),
        VolumeReason::LimitDeferred { .. } | VolumeReason::SharingDeferred { .. } => {
            Some("`msb up` of all its sandboxes changes it")
        }
        VolumeReason::CannotConvert { .. } => {
            Some("give the other kind another name, and copy its files in a sandbox that mounts both")
        }
        _ => None,
    }
}

/// Names a value that is read on the host.
pub fn value(name: &ValueName) -> String {
    match name {
        ValueName::Secret(name) => format!("the secret {name}"),
        ValueName::ProxyPassword => "the password of the proxy".to_owned(),
    }
}

/// Words why a sandbox is blocked, as one clause.
pub fn block_reason(reason: &BlockReason) -> String {
    match reason {
        BlockReason::MountsUnavailable { path, obstacle } => {
            let MountObstacle { problem, help } = obstacle;
            format!("{path} cannot be mounted on this host: {problem}: {help}")
        }
        BlockReason::SecretUnusable { name, problem } => {
            format!("the secret {name} cannot be used: {problem}")
        }
        BlockReason::ProxyPasswordUnusable { problem } => {
            format!("the password of the proxy cannot be used: {problem}")
        }
        BlockReason::VolumeCannotShrink { volume, from_mib, to_mib } => {
            format!("a disk cannot shrink, and {volume} would go {}", grows(*from_mib, *to_mib))
        }
        BlockReason::VolumeCannotConvert { volume, from, to } => {
            format!("{volume} is a {from}, and its contents would be lost if it became a {to}")
        }
        BlockReason::ExternalMissing { volume } => {
            format!("there is no volume {volume}: `msb volume create {volume}` creates it")
        }
        BlockReason::VolumeShared { volume, other } => {
            format!(
                "two sandboxes cannot mount one disk unless both only read it, and {other} mounts {volume} too"
            )
        }
        BlockReason::VolumeInUse { volume, by } => {
            format!("its volume {volume} is in use by {by}, which is not changed")
        }
        BlockReason::PortTaken { bind, port, holder } => {
            let by = match holder {
                PortHolder::Process { program, pid } => format!(" by {program} (pid {pid})"),
                PortHolder::Sandbox { project, name } => {
                    format!(" by the sandbox {}", full_name(project, name))
                }
                PortHolder::Unknown => String::new(),
            };
            format!("{} is taken{by}: publish another port, or stop its holder", host_port(*bind, *port))
        }
        BlockReason::PortInUse { bind, port, by } => {
            format!("{} is in use by {by}, which is not changed", host_port(*bind, *port))
        }
        BlockReason::PortSwap { other } => {
            format!("it and {other} cannot swap ports while both run: `msb stop {other}` first")
        }
        BlockReason::Dependency { name } => format!("{name} is blocked"),
    }
}

fn host_port(bind: IpAddr, port: u16) -> String {
    format!("port {port} of the host's address {bind}")
}

/// Words what a plan destroys: `the writable disk of web (image changed)`.
pub fn loss(loss: &Loss) -> String {
    match loss {
        Loss::Disk { name, reason: why } => format!("the writable disk of {name} ({})", reason(why)),
        Loss::Volume { name, reason } => format!("the volume {name} ({})", volume_reason(reason)),
    }
}

/// Words the first difference between a plan's snapshot and the present state.
pub fn staleness(Staleness { subject, change }: &Staleness) -> String {
    let subject = match subject {
        Subject::Sandbox(name) => name.to_string(),
        Subject::Volume(name) => format!("the volume {name}"),
        Subject::Image(reference) => format!("the image {reference}"),
    };
    let change = match change {
        Change::Added => "is new".to_owned(),
        Change::Removed => "no longer exists".to_owned(),
        Change::Replaced => "was replaced".to_owned(),
        Change::FieldsChanged { first, more: 0 } => format!("was changed: {first}"),
        Change::FieldsChanged { first, more } => format!("was changed: {first} and {more} more"),
        Change::StateChanged { from, to } => format!("was {}, and is {}", state(*from), state(*to)),
        Change::PostStartRan => "has run its post-start hook".to_owned(),
        Change::PostStartPending => "has yet to run its post-start hook".to_owned(),
        Change::Unreadable => "has a record that cannot be read".to_owned(),
        Change::NoLongerUnreadable => {
            "had a record that could not be read, and that is readable or gone now".to_owned()
        }
        Change::VolumeChanged { from, to } => format!("changed from {from} to {to}"),
        Change::Recreated => "was created again".to_owned(),
        Change::ContentsChanged => "has other contents".to_owned(),
    };
    format!("{subject} {change}")
}

fn state(state: State) -> &'static str {
    match state {
        State::Incomplete => "incomplete",
        State::Stopped => "stopped",
        State::Running => "running",
        State::Paused => "paused",
        State::Completed => "completed",
        State::Failed => "failed",
        State::Lost => "without its supervisor",
    }
}

/// Formats a duration in its two largest units.
pub fn age(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86400 => format!("{}h {}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::name::{ProjectName, SandboxName, VolumeName};

    fn name(text: &str) -> SandboxName {
        SandboxName::new(text).unwrap()
    }

    #[test]
    fn three_or_more_changed_fields_are_counted() {
        let words = |fields: &[&str], down: Option<DownState>, effect| {
            let fields = fields.iter().map(|field| (*field).to_owned()).collect();
            reason(&Reason::FieldsChanged { fields, down, effect })
        };
        assert_eq!(words(&["image"], None, Effect::Now), "image changed");
        assert_eq!(words(&["cpus", "memory"], None, Effect::Now), "cpus and memory changed");
        assert_eq!(words(&["cpus", "env.A", "memory"], None, Effect::Now), "cpus and 2 more changed");
        let exit = Exit::Code { code: 3 };
        assert_eq!(
            words(&["cpus"], Some(DownState::Exited { exit }), Effect::NextStart),
            "exited with code 3; cpus changed, recorded for its next start"
        );
        assert_eq!(words(&["cpus"], None, Effect::Deferred), "cpus changed; it keeps running unchanged");
    }

    #[test]
    fn orphans_name_their_cause_and_whether_they_are_kept() {
        let words = |cause, kept| reason(&Reason::Orphaned { cause, kept });
        assert_eq!(words(OrphanCause::NotDeclared, true), "no longer in the Sandboxfile, kept");
        assert_eq!(
            words(OrphanCause::NotReplicated { family: name("web") }, false),
            "there is only one web now"
        );
        assert_eq!(words(OrphanCause::NowReplicated { count: 3 }, false), "there are 3 replicas of it now");
        assert_eq!(words(OrphanCause::SurplusReplica { count: 3 }, false), "no longer one of 3 replicas");
    }

    #[test]
    fn blocked_sandboxes_name_the_blocker() {
        let bind = IpAddr::from([127, 0, 0, 1]);
        let holders = [
            (
                PortHolder::Process { program: "nginx".to_owned(), pid: 7 },
                "port 80 of the host's address 127.0.0.1 is taken by nginx (pid 7): publish another port, or stop its holder",
            ),
            (
                PortHolder::Sandbox { project: ProjectName::new("other").unwrap(), name: name("web") },
                "port 80 of the host's address 127.0.0.1 is taken by the sandbox other-web: publish another port, or stop its holder",
            ),
            (
                PortHolder::Unknown,
                "port 80 of the host's address 127.0.0.1 is taken: publish another port, or stop its holder",
            ),
        ];
        for (holder, words) in holders {
            assert_eq!(block_reason(&BlockReason::PortTaken { bind, port: 80, holder }), words);
        }
        let obstacle =
            MountObstacle { problem: "/dev/fuse cannot be opened".to_owned(), help: "load it".to_owned() };
        assert_eq!(
            block_reason(&BlockReason::MountsUnavailable { path: "/app".to_owned(), obstacle }),
            "/app cannot be mounted on this host: /dev/fuse cannot be opened: load it"
        );
        let cause = BlockReason::Dependency { name: name("db") };
        assert_eq!(reason(&Reason::Blocked { cause }), "blocked: db is blocked");
        let volume = VolumeName::new("data").unwrap();
        assert_eq!(
            block_reason(&BlockReason::VolumeCannotShrink { volume, from_mib: 2048, to_mib: 1024 }),
            "a disk cannot shrink, and data would go from 2G to 1G"
        );
        let volume = VolumeName::new("data").unwrap();
        let (from, to) = (VolumeKind::Disk, VolumeKind::Directory);
        assert_eq!(
            block_reason(&BlockReason::VolumeCannotConvert { volume, from, to }),
            "data is a disk, and its contents would be lost if it became a directory"
        );
    }

    #[test]
    fn stale_plans_name_the_change() {
        let words = |change| staleness(&Staleness { subject: Subject::Sandbox(name("web")), change });
        assert_eq!(words(Change::Removed), "web no longer exists");
        assert_eq!(
            words(Change::FieldsChanged { first: "memory".to_owned(), more: 0 }),
            "web was changed: memory"
        );
        assert_eq!(
            words(Change::StateChanged { from: State::Running, to: State::Stopped }),
            "web was running, and is stopped"
        );
        let resized = Change::VolumeChanged { from: VolumeSpec::disk(64), to: VolumeSpec::directory(None) };
        let subject = Subject::Volume(VolumeName::new("data").unwrap());
        assert_eq!(
            staleness(&Staleness { subject, change: resized }),
            "the volume data changed from 64M to directory"
        );
    }

    #[test]
    fn ages_have_two_units() {
        for (seconds, text) in [(0, "0s"), (59, "59s"), (61, "1m 1s"), (7260, "2h 1m"), (180_000, "2d 2h")] {
            assert_eq!(age(Duration::from_secs(seconds)), text);
        }
    }
}
