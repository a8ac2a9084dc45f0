//! The limits of the time that a sandbox runs: since its start, and without activity.
//!
//! Both clocks stand while the sandbox is paused, and while the host sleeps. A restart by the restart policy resets neither.
//! Active is a sandbox that boots or waits for its restart, one whose agent serves a client or a detached command, one whose
//! network carries anything, and a job whose main process prints.

use crate::supervisor::agent_link::relay::ReadyGuest;
use crate::supervisor::state_store::StateStore;
use executor_host::state::Phase;
use schemas::snapshot::{Exit, TimeLimit};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The interval at which activity is looked for.
const ACTIVITY_INTERVAL: Duration = Duration::from_secs(1);

/// Waits until a limit is reached; returns the end of the sandbox that it implies. Follows changes of the limits.
pub async fn reached(store: &StateStore, guest: &watch::Sender<Option<ReadyGuest>>) -> Exit {
    let (mut states, mut specs) = (store.states(), store.specs());
    let (mut ran, mut idle) = (Duration::ZERO, Duration::ZERO);
    let mut known = Activity::default();
    loop {
        let (max_duration_ms, idle_timeout_ms) = {
            let spec = specs.borrow_and_update();
            (spec.definition.max_duration_ms, spec.definition.idle_timeout_ms)
        };
        let left = max_duration_ms.map(|ms| Duration::from_millis(ms).saturating_sub(ran));
        let step = match idle_timeout_ms {
            Some(ms) => {
                let idle_left = Duration::from_millis(ms).saturating_sub(idle).min(ACTIVITY_INTERVAL);
                Some(left.map_or(idle_left, |left| left.min(idle_left)))
            }
            None => {
                // It begins with the limit.
                idle = Duration::ZERO;
                left
            }
        };
        let is_paused = states.borrow_and_update().paused;
        let began = Instant::now();
        let due = async {
            match step {
                Some(step) if !is_paused => tokio::time::sleep(step).await,
                _ => std::future::pending().await,
            }
        };
        // Neither sender ends before the store.
        tokio::select! {
            () = due => {}
            _ = states.wait_for(|state| state.paused != is_paused) => {}
            _ = specs.changed() => {}
        }
        if is_paused {
            continue;
        }
        ran += began.elapsed();
        idle += began.elapsed();
        let now = Activity::of(store, guest);
        if now.is_busy || now != known {
            idle = Duration::ZERO;
        }
        known = now;
        if let Some(ms) = max_duration_ms.filter(|ms| ran >= Duration::from_millis(*ms)) {
            return Exit::Limit { limit: TimeLimit::MaxDuration, ms };
        }
        if let Some(ms) = idle_timeout_ms.filter(|ms| idle >= Duration::from_millis(*ms)) {
            return Exit::Limit { limit: TimeLimit::IdleTimeout, ms };
        }
    }
}

/// What a sandbox has done until a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Activity {
    /// Whether it is doing something at the moment.
    is_busy: bool,
    /// The uses of its agent so far.
    uses: u64,
    /// The bytes of its network so far.
    network_bytes: u64,
}

impl Activity {
    fn of(store: &StateStore, guest: &watch::Sender<Option<ReadyGuest>>) -> Self {
        let (is_used, uses) =
            guest.borrow().as_ref().map_or((false, 0), |guest| (guest.link.is_used(), guest.link.uses()));
        let is_busy = is_used || store.state().phase != Phase::Running;
        Self { is_busy, uses, network_bytes: store.network_bytes() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::fake_vm::{FakeDriver, Guest};
    use crate::supervisor::keep;
    use crate::supervisor::testing::{Sandbox, on_event_loop};
    use schemas::spec::{RestartPolicy, SandboxSpec};

    const MINUTE_MS: u64 = 60_000;

    fn sandbox(max_duration_ms: Option<u64>, idle_timeout_ms: Option<u64>) -> Sandbox {
        Sandbox::new(|definition| {
            definition.start = Some(vec!["/serve".to_owned()]);
            definition.restart = RestartPolicy::Always;
            (definition.max_duration_ms, definition.idle_timeout_ms) = (max_duration_ms, idle_timeout_ms);
        })
    }

    /// Runs a sandbox to its end while `during` runs after its start, with the clock paused from then on; returns the final
    /// phase.
    async fn lives(sandbox: &Sandbox, during: impl AsyncFnOnce()) -> Phase {
        let driver = FakeDriver::new(Guest::default());
        let machine = sandbox.machine(&driver);
        let go = async {
            sandbox.store.states().wait_for(|state| state.phase == Phase::Running).await.unwrap();
            tokio::time::pause();
            during().await;
            sandbox.store.states().wait_for(|state| state.main_ended).await.unwrap();
            tokio::time::resume();
        };
        let (last, ()) = tokio::join!(keep(&machine), go);
        assert_eq!(driver.launches.get(), 1, "no policy starts it again");
        assert_eq!(driver.received.shutdowns.borrow().len(), 1, "it is shut down");
        last
    }

    /// Waits by the test's clock, and asserts that the sandbox still runs then.
    async fn runs_on(sandbox: &Sandbox, ms: u64) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        assert!(!sandbox.store.state().main_ended);
    }

    fn limit(limit: TimeLimit, ms: u64) -> Phase {
        Phase::Exited { exit: Exit::Limit { limit, ms } }
    }

    #[test]
    fn a_sandbox_is_shut_down_when_its_time_is_over() {
        on_event_loop(async || {
            let sandbox = sandbox(Some(MINUTE_MS), None);
            let last = lives(&sandbox, async || {}).await;
            assert_eq!(last, limit(TimeLimit::MaxDuration, MINUTE_MS));
            let Phase::Exited { exit } = last else { panic!("it has not ended") };
            assert_eq!(exit.to_string(), "was stopped: its max-duration of 1m is over");
        });
    }

    #[test]
    fn a_limit_that_changes_is_followed() {
        on_event_loop(async || {
            let sandbox = sandbox(None, None);
            let change = async || {
                let mut spec: SandboxSpec = (*sandbox.store.declared()).clone();
                spec.definition.max_duration_ms = Some(2 * MINUTE_MS);
                sandbox.store.update(spec).unwrap();
            };
            let last = lives(&sandbox, change).await;
            assert_eq!(last, limit(TimeLimit::MaxDuration, 2 * MINUTE_MS));
        });
    }

    #[test]
    fn a_pause_does_not_count() {
        on_event_loop(async || {
            let sandbox = sandbox(Some(MINUTE_MS), Some(MINUTE_MS / 2));
            let pause = async || {
                sandbox.store.change(|state| state.paused = true);
                runs_on(&sandbox, 5 * MINUTE_MS).await;
                sandbox.store.change(|state| state.paused = false);
            };
            let last = lives(&sandbox, pause).await;
            assert_eq!(last, limit(TimeLimit::IdleTimeout, MINUTE_MS / 2));
        });
    }

    #[test]
    fn a_sandbox_in_use_is_not_idle() {
        on_event_loop(async || {
            let sandbox = sandbox(None, Some(MINUTE_MS));
            let used = async || {
                let link = sandbox.guest.borrow().as_ref().unwrap().link.clone();
                let in_use = link.in_use();
                runs_on(&sandbox, 5 * MINUTE_MS).await;
                drop(in_use);
                // A use between two looks.
                runs_on(&sandbox, MINUTE_MS / 2).await;
                drop(link.in_use());
                runs_on(&sandbox, 3 * MINUTE_MS / 4).await;
            };
            let last = lives(&sandbox, used).await;
            assert_eq!(last, limit(TimeLimit::IdleTimeout, MINUTE_MS));
        });
    }
}
