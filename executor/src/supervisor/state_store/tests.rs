use super::*;
use crate::supervisor::testing::{Sandbox, on_event_loop};
use executor_host::state::{Phase, read_state};
use schemas::spec::{Capture, Definition, RestartPolicy};

fn probe(failures: u32) -> Probe {
    Probe { code: Some(0), output: String::new(), failures }
}

#[test]
fn a_change_is_on_disk_and_in_the_events_before_it_is_observed() {
    on_event_loop(async || {
        let sandbox = Sandbox::new(|_| {});
        assert_eq!(read_state(&sandbox.folder).unwrap().phase, Phase::Booting);
        let mut states = sandbox.store.states();
        let observed = async {
            states.changed().await.unwrap();
            (states.borrow().phase.clone(), read_state(&sandbox.folder).unwrap().phase, sandbox.events())
        };
        let change = async { sandbox.store.change(|state| state.phase = Phase::Stopped) };
        let (observed, ()) = tokio::join!(observed, change);
        assert_eq!(observed, (Phase::Stopped, Phase::Stopped, vec!["stopped".to_owned()]));
    });
}

#[test]
fn probes_of_the_same_verdict_stay_in_memory() {
    on_event_loop(async || {
        let sandbox = Sandbox::new(|_| {});
        let recorded = || read_state(&sandbox.folder).unwrap().last_probe;
        sandbox.store.probed(Health::Healthy, probe(0));
        assert_eq!(recorded(), Some(probe(0)));
        sandbox.store.probed(Health::Healthy, probe(1));
        assert_eq!((recorded(), sandbox.store.state().last_probe), (Some(probe(0)), Some(probe(1))));
        sandbox.store.probed(Health::Unhealthy, probe(2));
        assert_eq!(recorded(), Some(probe(2)));
        assert_eq!(sandbox.events(), ["healthy", "unhealthy after 2 failures"]);
    });
}

#[test]
fn the_shortest_timeout_of_all_stops_counts() {
    on_event_loop(async || {
        let sandbox = Sandbox::new(|_| {});
        for seconds in [20, 5, 10] {
            sandbox.store.request_stop(Duration::from_secs(seconds));
        }
        assert_eq!(sandbox.store.stop_requested().await, Duration::from_secs(5));
    });
}

#[test]
fn a_running_sandbox_follows_only_what_needs_no_new_boot() {
    on_event_loop(async || {
        let sandbox = Sandbox::new(|_| {});
        let changed = |change: fn(&mut Definition)| {
            let mut spec = sandbox.launch.spec.clone();
            change(&mut spec.definition);
            spec
        };
        let specs = sandbox.store.specs();
        for refused in [
            changed(|definition| definition.memory_mib += 1),
            changed(|definition| definition.start = Some(vec!["/other".to_owned()])),
            changed(|definition| {
                definition.restart = RestartPolicy::Always;
                definition.cpus += 1;
            }),
        ] {
            assert!(matches!(sandbox.store.update(refused), Err(NotFollowed::NotLive)));
        }
        assert!(!specs.has_changed().unwrap());
        assert_eq!(*sandbox.store.declared(), sandbox.launch.spec);
        let followed = changed(|definition| {
            definition.restart = RestartPolicy::Always;
            definition.logs.capture = Capture::Off;
        });
        sandbox.store.update(followed.clone()).unwrap();
        assert_eq!((*sandbox.store.declared()).clone(), followed);
        assert_eq!(sandbox.store.spec().definition.restart, RestartPolicy::Always);
        assert_eq!(read_state(&sandbox.folder).unwrap().capture, Capture::Off);
        assert!(specs.has_changed().unwrap());
        assert_eq!(sandbox.events(), ["changed while it runs"]);
    });
}

#[test]
fn clients_are_counted_until_the_last_one_leaves() {
    on_event_loop(async || {
        let sandbox = Sandbox::new(|_| {});
        let (first, second) = (sandbox.store.client(), sandbox.store.client());
        let order = RefCell::new(Vec::new());
        let wait = async {
            sandbox.store.clients_gone().await;
            order.borrow_mut().push("gone");
        };
        let leave = async {
            for guard in [first, second] {
                tokio::task::yield_now().await;
                order.borrow_mut().push("left");
                drop(guard);
            }
        };
        tokio::join!(wait, leave);
        assert_eq!(*order.borrow(), ["left", "left", "gone"]);
    });
}
