//! Notices a guest that does not answer any more, although it is neither paused nor waits for space on the host.

use super::{ExitCause, Machine, failure_by};
use crate::supervisor::agent_link::link::Link;
use executor_host::state::{DiskFull, State};
use protocol::latest::Ping;
use rules::unit::format_duration_ms;
use schemas::snapshot::FailureCause;
use schemas::spec::RestartPolicy;
use std::future::pending;
use std::pin::pin;
use std::time::Duration;
use tokio::time::Instant;

/// The time between an answer and the next ping.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// The time without an answer after which the state says so. Emulated, on a busy host, a guest is slow.
const SILENT_AFTER: Duration = Duration::from_secs(60);
/// The time without an answer after which a restart policy applies.
const HUNG_AFTER: Duration = Duration::from_secs(300);

/// Whether a guest cannot answer for a reason that is known.
fn stands_still(state: &State) -> bool {
    state.paused || state.host_disk_full == Some(DiskFull::GuestWaits)
}

impl Machine<'_> {
    /// Pings the guest's agent, and reports a guest that does not answer. Returns when the restart policy is to start it
    /// again; without a policy it is left as it is.
    pub(super) async fn hangs(&self, link: &Link) -> ExitCause {
        let mut states = self.store.states();
        loop {
            tokio::time::sleep(PING_INTERVAL).await;
            // The sender lives as long as the store.
            let _ = states.wait_for(|state| !stands_still(state)).await;
            let answer = async {
                match link.own_session(Ping {}.into()).await {
                    Ok((_, mut answers)) => drop(answers.recv().await),
                    // Its end is found elsewhere.
                    Err(_) => pending().await,
                }
            };
            let mut answer = pin!(answer);
            let asked = Instant::now();
            let mut due = asked + SILENT_AFTER;
            loop {
                tokio::select! {
                    () = &mut answer => break,
                    _ = states.wait_for(stands_still) => break,
                    () = tokio::time::sleep_until(due) => {}
                }
                let is_hung = asked.elapsed() >= HUNG_AFTER;
                if is_hung && self.store.spec().definition.restart != RestartPolicy::No {
                    let ms = u64::try_from(HUNG_AFTER.as_millis()).unwrap_or(u64::MAX);
                    let message = format!("the guest did not answer for {}", format_duration_ms(ms));
                    return failure_by(FailureCause::GuestHung, message);
                }
                if !self.store.state().silent {
                    self.store.change(|state| state.silent = true);
                }
                due = Instant::now() + if is_hung { SILENT_AFTER } else { HUNG_AFTER - SILENT_AFTER };
            }
            if self.store.state().silent {
                self.store.change(|state| state.silent = false);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::fake_vm::{FakeDriver, Guest};
    use crate::supervisor::testing::{Sandbox, on_event_loop};
    use executor_host::state::Phase;
    use schemas::snapshot::Exit;

    /// Runs a sandbox of a guest that answers no ping until `during` ends, with the clock paused.
    async fn run(sandbox: &Sandbox, during: impl AsyncFnOnce()) -> ExitCause {
        let driver = FakeDriver::new(Guest { ignores_pings: true, ..Guest::default() });
        let machine = sandbox.machine(&driver);
        let go = async {
            sandbox.store.states().wait_for(|state| state.phase == Phase::Running).await.unwrap();
            tokio::time::pause();
            during().await;
            tokio::time::resume();
            sandbox.store.request_kill();
        };
        tokio::join!(machine.run(), go).0
    }

    #[test]
    fn a_silent_guest_is_a_failure_for_a_restart_policy() {
        on_event_loop(async || {
            let sandbox = Sandbox::new(|definition| definition.restart = RestartPolicy::Always);
            let mut states = sandbox.store.states();
            let ended = run(&sandbox, async || {
                states.wait_for(|state| state.silent).await.unwrap();
                states.wait_for(|state| state.main_ended).await.unwrap();
            });
            match ended.await {
                ExitCause::Exited(Exit::Failure { cause, message }) => {
                    assert_eq!(cause, FailureCause::GuestHung);
                    assert_eq!(message, "the guest did not answer for 5m");
                }
                _ => panic!("it did not fail"),
            }
        });
    }

    #[test]
    fn a_silent_guest_without_a_policy_is_reported_and_left_as_it_is() {
        on_event_loop(async || {
            let sandbox = Sandbox::new(|_| {});
            let ended = run(&sandbox, async || {
                tokio::time::sleep(HUNG_AFTER + 2 * SILENT_AFTER).await;
                let state = sandbox.store.state();
                assert!(state.silent && !state.main_ended);
                // A paused guest is not silent.
                sandbox.store.change(|state| state.paused = true);
                sandbox.store.states().wait_for(|state| !state.silent).await.unwrap();
                tokio::time::sleep(2 * SILENT_AFTER).await;
                assert!(!sandbox.store.state().silent);
            });
            assert!(matches!(ended.await, ExitCause::Stopped));
            let events = sandbox.events();
            assert_eq!(events.iter().filter(|event| *event == "the guest does not answer").count(), 1);
        });
    }
}
