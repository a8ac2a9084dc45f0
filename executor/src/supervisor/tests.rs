//! The restart policy over a fake driver.

use super::fake_vm::{Boot, FakeDriver, Guest, Main};
use super::testing::{Sandbox, on_event_loop};
use super::*;
use executor_host::state::State;

fn sandbox(restart: RestartPolicy) -> Sandbox {
    Sandbox::new(|definition| {
        definition.start = Some(vec!["/serve".to_owned()]);
        definition.restart = restart;
    })
}

fn exits(code: i32) -> FakeDriver {
    FakeDriver::new(Guest { main: Main::Exits(code), ..Guest::default() })
}

/// Runs a sandbox until its restart policy gives up; returns the number of machines and the final phase.
async fn lives(sandbox: &Sandbox, driver: &FakeDriver) -> (usize, Phase) {
    let last = keep(&sandbox.machine(driver)).await;
    (driver.launches.get(), last)
}

#[test]
fn a_policy_decides_whether_an_exit_is_final() {
    let exited = |code| Phase::Exited { exit: Exit::Code { code } };
    for (policy, code, machines) in [
        (RestartPolicy::No, 1, 1),
        (RestartPolicy::OnFailure { max: Some(2), window_ms: None }, 1, 3),
        (RestartPolicy::OnFailure { max: Some(2), window_ms: None }, 0, 1),
        (RestartPolicy::OnFailure { max: None, window_ms: None }, 0, 1),
    ] {
        on_event_loop(async || {
            let (sandbox, driver) = (sandbox(policy), exits(code));
            assert_eq!(lives(&sandbox, &driver).await, (machines, exited(code)), "{policy:?}");
            let state = sandbox.store.state();
            assert_eq!(state.restarts as usize, machines - 1);
            assert_eq!(state.last_exit.is_some(), machines > 1);
        });
    }
}

#[test]
fn failed_boots_count_as_failures() {
    on_event_loop(async || {
        let sandbox = sandbox(RestartPolicy::OnFailure { max: Some(1), window_ms: None });
        let driver = FakeDriver::new(Guest { boot: Boot::Fails("no disk"), ..Guest::default() });
        let (machines, last) = lives(&sandbox, &driver).await;
        let (cause, message) = (FailureCause::Other, "the guest could not come up: no disk".to_owned());
        assert_eq!((machines, last), (2, Phase::Exited { exit: Exit::Failure { cause, message } }));
        assert_eq!(sandbox.events()[..2], ["started", "failed: the guest could not come up: no disk"]);
    });
}

#[test]
fn a_stop_ends_a_sandbox_that_always_restarts() {
    on_event_loop(async || {
        let (sandbox, driver) = (sandbox(RestartPolicy::Always), exits(0));
        let is_waiting = |state: &State| matches!(state.phase, Phase::Backoff { .. });
        let stop = async {
            sandbox.store.states().wait_for(is_waiting).await.unwrap();
            sandbox.store.request_stop(Duration::ZERO);
        };
        let machine = sandbox.machine(&driver);
        let (last, ()) = tokio::join!(keep(&machine), stop);
        assert_eq!((last, driver.launches.get()), (Phase::Stopped, 1));
    });
}

#[test]
fn a_stop_is_final_whatever_the_policy() {
    on_event_loop(async || {
        let (sandbox, driver) = (sandbox(RestartPolicy::Always), FakeDriver::default());
        let stop = async {
            sandbox.store.states().wait_for(|state| state.phase == Phase::Running).await.unwrap();
            sandbox.store.request_stop(Duration::from_secs(5));
        };
        let machine = sandbox.machine(&driver);
        let (last, ()) = tokio::join!(keep(&machine), stop);
        assert_eq!((last, driver.launches.get()), (Phase::Stopped, 1));
    });
}
