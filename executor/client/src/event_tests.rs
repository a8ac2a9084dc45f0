use super::*;
use executor_host::process::ProcessIdentity;
use executor_host::state::Probe;
use schemas::snapshot::FailureCause;

fn state() -> State {
    let supervisor = ProcessIdentity::current().unwrap();
    State::booting(None, supervisor)
}

/// The events of a sandbox that goes through these states.
fn events(changes: &[&dyn Fn(&mut State)]) -> Vec<String> {
    let mut state = state();
    let mut events = Vec::new();
    for change in changes {
        let old = state.clone();
        change(&mut state);
        events.extend(SandboxEvent::between(&old, &state).iter().map(ToString::to_string));
    }
    events
}

#[test]
fn a_life_is_reported_in_its_order() {
    let exit = Exit::Code { code: 3 };
    let machine = ProcessIdentity::current();
    let probe = Probe { code: Some(1), output: "trying\nno answer\n".to_owned(), failures: 3 };
    let events = events(&[
        &|state| (state.vmm, state.boot_ms) = (machine, None),
        &|state| state.boot_ms = Some(512),
        &|state| (state.phase, state.health) = (Phase::Running, Health::Starting),
        &|state| state.health = Health::Healthy,
        &|state| (state.health, state.last_probe) = (Health::Unhealthy, Some(probe.clone())),
        &|_| {},
        &|state| {
            (state.phase, state.health, state.vmm) =
                (Phase::Backoff { exit: exit.clone() }, Health::Booting, None);
            state.restarts += 1;
        },
        &|state| state.phase = Phase::Booting,
        &|state| (state.vmm, state.boot_ms) = (machine, None),
        &|state| state.boot_ms = Some(7),
        &|state| (state.phase, state.vmm) = (Phase::Stopped, None),
    ]);
    assert_eq!(
        events,
        [
            "started",
            "ready after 512 ms",
            "healthy",
            "unhealthy after 3 failures: no answer",
            "exited with code 3",
            "restarting (restart 1)",
            "started again (restart 1)",
            "ready after 7 ms",
            "stopped",
        ]
    );
    let failure = Exit::Failure { cause: FailureCause::Other, message: "no disk".to_owned() };
    let end = |state: &mut State| state.phase = Phase::Exited { exit: failure.clone() };
    assert_eq!(self::events(&[&end]), ["failed: no disk"]);
}

#[test]
fn every_event_reads_back() {
    let events = [
        SandboxEvent::Started { restarts: 2 },
        SandboxEvent::Ready { boot_ms: 1 },
        SandboxEvent::Healthy,
        SandboxEvent::Unhealthy { failures: 1, output: "é\"".to_owned() },
        SandboxEvent::Oom { process: "python3".to_owned(), count: 2 },
        SandboxEvent::Changed,
        SandboxEvent::Exited { exit: Exit::Code { code: 137 } },
        SandboxEvent::Restarting { restarts: 1 },
        SandboxEvent::Stopped,
    ];
    for event in events {
        let line = serde_json::to_string(&event).unwrap().replacen('{', r#"{"t":"x","#, 1);
        assert_eq!(serde_json::from_str::<SandboxEvent>(&line).unwrap(), event, "{line}");
    }
    let oom = SandboxEvent::Oom { process: "python3".to_owned(), count: 2 };
    assert_eq!(oom.to_string(), "out of memory: python3 was killed (2 times)");
}

#[test]
fn a_full_disk_of_the_host_is_reported_once_and_its_end_too() {
    let full = |state: &mut State| state.host_disk_full = Some(executor_host::state::DiskFull::GuestWaits);
    let freed = |state: &mut State| state.host_disk_full = None;
    let fails = |state: &mut State| state.host_disk_full = Some(executor_host::state::DiskFull::WritesFail);
    let events = events(&[&full, &full, &freed, &fails, &freed]);
    assert_eq!(
        events,
        [
            "the host's disk is full: the guest waits until there is space",
            "the host's disk has space again",
            "the host's disk is full: the guest's writes fail",
            "the host's disk has space again",
        ]
    );
}
