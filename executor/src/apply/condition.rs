//! Waits for a condition of a sandbox, and fails as soon as it cannot hold any more.

use super::{Applier, Outcome, RETRY, SUPERVISOR_TIMEOUT, StepFailure};
use crate::reporter::Event;
use executor_client::control::{ControlClient, current_state};
use executor_host::home::Home;
use executor_host::state::{Phase, Probe, State, read_state};
use schemas::name::{ProjectName, full_name};
use schemas::plan::{Identity, StepId};
use schemas::snapshot::{Exit, Health};
use schemas::spec::{Condition, SandboxSpec};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The timeout of a supervisor's current state when a wait fails.
const LAST_LOOK: Duration = Duration::from_secs(1);
/// The restarts after which a warning is reported; further warnings follow whenever they have doubled.
const RESTARTS_BEFORE_WARNING: u32 = 3;

/// The meaning of a state for a condition.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Met,
    NotYet,
    Never(String),
}

impl Applier {
    pub(super) async fn ensure_condition(
        self: &Arc<Self>,
        project: &ProjectName,
        step: &StepId,
        identity: &Identity,
        condition: Condition,
    ) -> Result<Outcome, StepFailure> {
        let name = &identity.name;
        let row = self.recorded(identity)?;
        let folder = self.home.sandbox(&identity.id);
        let socket = self.home.sandbox_run(&full_name(project, name)).control_socket();
        let mut waited = false;
        let mut next_warning = RESTARTS_BEFORE_WARNING;
        let mut warned_unhealthy = false;
        let mut warn = |state: &State| {
            let unhealthy = state.phase == Phase::Running && state.health == Health::Unhealthy;
            if unhealthy && !warned_unhealthy {
                let message = format!("{name} is unhealthy; still waiting until it is {condition}");
                let failure = StepFailure::new(message).hint(format!("msb logs {name}"));
                let failure = with_last_probe(failure, state);
                self.reporter.event(&Event::Warned { step, failure: &failure });
            }
            warned_unhealthy = unhealthy;
            if state.restarts >= next_warning {
                next_warning = state.restarts.saturating_mul(2);
                let again = restarted(state);
                let message = format!("{name} {again}; still waiting until it is {condition}");
                let failure = StepFailure::new(message).last_output(&folder).hint(format!("msb logs {name}"));
                self.reporter.event(&Event::Warned { step, failure: &failure });
            }
        };
        let mut since_lost: Option<Instant> = None;
        loop {
            match self.watch_condition(&socket, condition, &mut waited, &mut warn).await {
                Some(Ok(outcome)) => return Ok(outcome),
                Some(Err((state, why))) => {
                    return Err(self.unmet(identity, &row.spec, &state, &why));
                }
                None => {}
            }
            // The supervisor accepts no requests: its recorded state decides if it is final.
            let Some(state) = read_state(&folder) else {
                return Err(StepFailure::new(format!("{name} does not run")));
            };
            match self.judge(&state, condition) {
                Verdict::Met if state.is_final() => {
                    return Ok(if waited { Outcome::Updated } else { Outcome::NotNeeded });
                }
                Verdict::Never(why) if state.is_final() || !state.supervisor.is_alive() => {
                    return Err(self.unmet(identity, &row.spec, &state, &why));
                }
                Verdict::Met | Verdict::NotYet | Verdict::Never(_) => {}
            }
            // A supervisor has no socket for a moment at its start and at its end.
            let lost = *since_lost.get_or_insert_with(Instant::now);
            if !state.supervisor.is_alive() && !read_state(&folder).is_some_and(|state| state.is_final()) {
                return Err(StepFailure::new(format!("the supervisor of {name} has ended"))
                    .hint("msb up starts it again"));
            }
            if lost.elapsed() > SUPERVISOR_TIMEOUT {
                return Err(StepFailure::new(format!("the supervisor of {name} does not answer")));
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Follows a supervisor's states until one decides; `None` if they end before.
    async fn watch_condition(
        &self,
        socket: &Path,
        condition: Condition,
        waited: &mut bool,
        warn: &mut (dyn FnMut(&State) + Send),
    ) -> Option<Result<Outcome, (Box<State>, String)>> {
        let mut watcher = ControlClient::watch(socket).await.ok()?;
        loop {
            let state = watcher.next_state().await.ok()?;
            match self.judge(&state, condition) {
                Verdict::Met if *waited => return Some(Ok(Outcome::Updated)),
                Verdict::Met => return Some(Ok(Outcome::NotNeeded)),
                Verdict::NotYet => {
                    *waited = true;
                    warn(&state);
                }
                Verdict::Never(why) => return Some(Err((Box::new(state), why))),
            }
        }
    }

    /// Judges a state by the settings of this walk.
    fn judge(&self, state: &State, condition: Condition) -> Verdict {
        match judge(state, condition) {
            // With a timeout, an unhealthy sandbox may become healthy until then.
            Verdict::Never(_)
                if self.settings.waiting.outlasts_unhealthy
                    && state.phase == Phase::Running
                    && state.health == Health::Unhealthy =>
            {
                Verdict::NotYet
            }
            verdict => verdict,
        }
    }

    /// Explains a state in which a sandbox does not meet its condition: "web is unhealthy" alone is not a message.
    pub(super) fn unmet(
        &self,
        identity: &Identity,
        spec: &SandboxSpec,
        state: &State,
        why: &str,
    ) -> StepFailure {
        let name = &identity.name;
        let mut failure = with_last_probe(StepFailure::new(format!("{name} {why}")), state);
        if state.restarts > 0 {
            failure = failure.detail(format!("it {}", restarted(state)));
        }
        let hint = spec.definition.health_check().and_then(|check| check.hint.clone());
        failure
            .last_output(&self.home.sandbox(&identity.id))
            .hint(hint.unwrap_or_else(|| format!("msb logs {name}")))
    }
}

pub(super) fn judge(state: &State, condition: Condition) -> Verdict {
    match (&state.phase, condition) {
        (Phase::Exited { exit: Exit::Code { code: 0 } }, Condition::Started | Condition::Completed) => {
            Verdict::Met
        }
        (Phase::Exited { exit }, _) => Verdict::Never(exit.to_string()),
        (Phase::Stopped, _) => Verdict::Never("was stopped".to_owned()),
        // It is ending, or about to restart, or is resumed later.
        (Phase::Running, _) if state.is_ending() || state.paused => Verdict::NotYet,
        (Phase::Running, Condition::Started) => Verdict::Met,
        (Phase::Running, Condition::Healthy) => match state.health {
            Health::Healthy => Verdict::Met,
            Health::Unhealthy => Verdict::Never("is unhealthy".to_owned()),
            Health::Unchecked => Verdict::Never("has no health check".to_owned()),
            Health::Booting | Health::Starting => Verdict::NotYet,
        },
        (Phase::Booting | Phase::Backoff { .. }, _) | (Phase::Running, Condition::Completed) => {
            Verdict::NotYet
        }
    }
}

/// Describes the restarts so far with the last exit.
fn restarted(state: &State) -> String {
    let times = if state.restarts == 1 { "once".to_owned() } else { format!("{} times", state.restarts) };
    let how = match &state.last_exit {
        Some(exit @ (Exit::Code { .. } | Exit::NotStarted { .. } | Exit::Limit { .. })) => {
            format!(", and last {exit}")
        }
        Some(Exit::Failure { cause: _, message }) => format!(", and last ended because {message}"),
        None => String::new(),
    };
    format!("was restarted {times}{how}")
}

/// Describes a sandbox that has not met its condition before the timeout.
pub async fn not_yet(home: &Home, project: &ProjectName, identity: &Identity) -> Option<String> {
    // Probes of an unchanged verdict are not recorded: only the supervisor knows the last one.
    let socket = home.sandbox_run(&full_name(project, &identity.name)).control_socket();
    let state = match tokio::time::timeout(LAST_LOOK, current_state(&socket)).await {
        Ok(Some(state)) => state,
        Ok(None) | Err(_) => read_state(&home.sandbox(&identity.id))?,
    };
    let name = &identity.name;
    let mut known = Vec::new();
    if state.restarts > 0 {
        known.push(format!("{name} {}", restarted(&state)));
    }
    if let Some(probe) = &state.last_probe {
        let printed = match probe.output.as_str() {
            "" => String::new(),
            output => format!(", and printed: {output}"),
        };
        known.push(format!("the last probe of {name} {}{printed}", how(probe)));
    }
    if state.paused {
        known.push(format!("{name} is paused, and `msb resume {name}` resumes it"));
    }
    if known.is_empty() {
        known.push(match state.phase {
            Phase::Booting => format!("{name} is still booting"),
            _ => return None,
        });
    }
    Some(known.join("; "))
}

/// Describes the result of a probe.
fn how(probe: &Probe) -> String {
    probe.code.map_or("did not end".to_owned(), |code| format!("exited with code {code}"))
}

/// Adds the last probe to a failure, if there was one.
fn with_last_probe(failure: StepFailure, state: &State) -> StepFailure {
    let Some(probe) = &state.last_probe else { return failure };
    let failure =
        failure.detail(format!("the last probe {} ({} failures in a row)", how(probe), probe.failures));
    match probe.output.as_str() {
        "" => failure,
        output => failure.detail(format!("it printed: {output}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use executor_host::process::ProcessIdentity;
    use schemas::snapshot::FailureCause;

    fn state(phase: Phase, health: Health) -> State {
        State { phase, health, ..State::booting(None, ProcessIdentity { pid: 1, start_ticks: 1, boot: 1 }) }
    }

    #[test]
    fn a_wait_ends_when_it_can_no_longer_come_true() {
        let done = |code| state(Phase::Exited { exit: Exit::Code { code } }, Health::Booting);
        assert_eq!(judge(&done(0), Condition::Completed), Verdict::Met);
        assert!(matches!(judge(&done(1), Condition::Completed), Verdict::Never(_)));
        assert!(matches!(judge(&done(0), Condition::Healthy), Verdict::Never(_)));
        let running = |health| state(Phase::Running, health);
        assert_eq!(judge(&running(Health::Starting), Condition::Healthy), Verdict::NotYet);
        assert_eq!(judge(&running(Health::Healthy), Condition::Healthy), Verdict::Met);
        assert!(matches!(judge(&running(Health::Unhealthy), Condition::Healthy), Verdict::Never(_)));
        assert_eq!(judge(&running(Health::Unhealthy), Condition::Started), Verdict::Met);
        let ended = |phase| state(phase, Health::Booting);
        let (cause, message) = (FailureCause::GuestPanic, "the guest panicked".into());
        let failed = Phase::Exited { exit: Exit::Failure { cause, message } };
        for condition in [Condition::Started, Condition::Healthy, Condition::Completed] {
            assert_eq!(judge(&ended(Phase::Stopped), condition), Verdict::Never("was stopped".into()));
            assert_eq!(
                judge(&ended(failed.clone()), condition),
                Verdict::Never("failed: the guest panicked".into())
            );
            assert_eq!(judge(&ended(Phase::Booting), condition), Verdict::NotYet);
        }
        assert!(matches!(judge(&running(Health::Unchecked), Condition::Healthy), Verdict::Never(_)));
        assert_eq!(judge(&running(Health::Healthy), Condition::Completed), Verdict::NotYet);
        // The guest shuts down: what it last was it is no longer.
        let ending = State { main_ended: true, ..running(Health::Healthy) };
        // Its machine has been killed, and its supervisor has not noticed yet.
        let mut machine = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let vmm = ProcessIdentity::of(machine.id().cast_signed());
        let killed = State { vmm, ..running(Health::Healthy) };
        assert_eq!(judge(&killed, Condition::Healthy), Verdict::Met);
        machine.kill().unwrap();
        machine.wait().unwrap();
        for condition in [Condition::Started, Condition::Healthy, Condition::Completed] {
            assert_eq!(judge(&ending, condition), Verdict::NotYet);
            assert_eq!(judge(&killed, condition), Verdict::NotYet);
        }
        let paused = State { paused: true, ..running(Health::Unhealthy) };
        assert_eq!(judge(&paused, Condition::Healthy), Verdict::NotYet);
        // It has recovered: how often it was restarted before does not matter.
        let recovered = State { restarts: 7, ..running(Health::Healthy) };
        assert_eq!(judge(&recovered, Condition::Healthy), Verdict::Met);
        // Its restart policy is at work: all may still be well.
        let backoff = state(Phase::Backoff { exit: Exit::Code { code: 1 } }, Health::Booting);
        assert_eq!(judge(&backoff, Condition::Completed), Verdict::NotYet);
    }
}
