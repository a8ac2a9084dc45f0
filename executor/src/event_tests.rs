use super::*;
use executor_host::process::ProcessIdentity;
use executor_host::state::Probe;

fn state() -> State {
    let supervisor = ProcessIdentity::current().unwrap();
    State::booting(None, supervisor)
}

/// What is told of a sandbox that goes through these states.
fn told(changes: &[&dyn Fn(&mut State)]) -> Vec<String> {
    let mut state = state();
    let mut told = Vec::new();
    for change in changes {
        let old = state.clone();
        change(&mut state);
        told.extend(SandboxEvent::between(&old, &state).iter().map(ToString::to_string));
    }
    told
}

#[test]
fn a_life_is_told_in_its_order() {
    let exit = Exit::Code { code: 3 };
    let machine = ProcessIdentity::current();
    let probe = Probe { code: Some(1), output: "trying\nno answer\n".to_owned(), failures: 3 };
    let told = told(&[
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
        told,
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
    let failure = Exit::Failure { message: "no disk".to_owned() };
    let end = |state: &mut State| state.phase = Phase::Exited { exit: failure.clone() };
    assert_eq!(self::told(&[&end]), ["failed: no disk"]);
}

#[test]
fn refusals_are_the_same_in_json_and_in_words() {
    let rule = |rule: &str, origin| Reason {
        text: rule.to_owned(),
        rule: Some(rule.to_owned()),
        origin: Some(origin),
    };
    let target = SocketAddr::from(([10, 1, 2, 3], 80));
    let peer = IpAddr::from([192, 168, 0, 1]);
    let named = Some("db.example".to_owned());
    let cases = [
        (
            Subject::Out { protocol: "tcp", target, name: named.clone() },
            rule("deny@db.example", Origin::Sandbox),
            "refused tcp to 10.1.2.3:80 (db.example): deny@db.example (4 times)",
            r#"{"kind":"refused","direction":"egress","protocol":"tcp","address":"10.1.2.3","port":80,"name":"db.example","reason":"deny@db.example","rule":"deny@db.example","origin":"sandboxfile","count":4}"#,
        ),
        (
            Subject::Out { protocol: "icmpv4", target: SocketAddr::new(peer, 0), name: None },
            "pings are answered by the gateway alone".into(),
            "refused icmpv4 to 192.168.0.1: pings are answered by the gateway alone (4 times)",
            r#"{"kind":"refused","direction":"egress","protocol":"icmpv4","address":"192.168.0.1","reason":"pings are answered by the gateway alone","count":4}"#,
        ),
        (
            Subject::In { protocol: "udp", peer, port: 53, name: None },
            rule("deny:ingress@any", Origin::Base),
            "refused udp from 192.168.0.1 to port 53: deny:ingress@any (4 times)",
            r#"{"kind":"refused","direction":"ingress","protocol":"udp","address":"192.168.0.1","port":53,"reason":"deny:ingress@any","rule":"deny:ingress@any","origin":"base","count":4}"#,
        ),
        (
            Subject::Name { name: "x.example".to_owned() },
            Reason { text: "no rule allows it".to_owned(), rule: None, origin: Some(Origin::Default) },
            "refused to look up x.example: no rule allows it (4 times)",
            r#"{"kind":"refused","direction":"egress","protocol":"dns","name":"x.example","reason":"no rule allows it","origin":"default","count":4}"#,
        ),
        (
            Subject::Answer { name: "x.example".to_owned(), address: peer },
            "it is not public".into(),
            "dropped the answer that x.example is 192.168.0.1: it is not public (4 times)",
            r#"{"kind":"refused","direction":"egress","protocol":"dns","address":"192.168.0.1","name":"x.example","reason":"it is not public","count":4}"#,
        ),
        (
            Subject::Others,
            "too many to list".into(),
            "refused more than can be told apart: too many to list (4 times)",
            r#"{"kind":"refused","direction":"any","protocol":"any","reason":"too many to list","count":4}"#,
        ),
    ];
    for (subject, reason, words, json) in cases {
        let event = SandboxEvent::Refused(Refused::new(Refusal { subject, reason, count: 4 }, false));
        assert_eq!(event.to_string(), words);
        assert_eq!(serde_json::to_string(&event).unwrap(), json);
        // With the time that a log adds, and read by whoever knows less.
        let line = json.replacen('{', r#"{"t":"2026-01-02T03:04:05.678Z","more":[1],"#, 1);
        assert_eq!(serde_json::from_str::<SandboxEvent>(&line).unwrap(), event);
    }
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
fn flags_are_called_flags() {
    assert_eq!(origin_word(Origin::Sandbox, true), "flag");
    assert_eq!(origin_word(Origin::Sandbox, false), "sandboxfile");
    assert_eq!(origin_word(Origin::Default, true), "default");
}

#[test]
fn a_full_disk_of_the_host_is_told_once_and_its_end_too() {
    let full = |state: &mut State| state.host_disk_full = Some(executor_host::state::DiskFull::GuestWaits);
    let freed = |state: &mut State| state.host_disk_full = None;
    let fails = |state: &mut State| state.host_disk_full = Some(executor_host::state::DiskFull::WritesFail);
    let told = told(&[&full, &full, &freed, &fails, &freed]);
    assert_eq!(
        told,
        [
            "the host's disk is full: the guest waits until there is space",
            "the host's disk has space again",
            "the host's disk is full: the guest's writes fail",
            "the host's disk has space again",
        ]
    );
}
