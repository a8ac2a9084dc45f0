//! Waits for a condition of a sandbox, and gives up as soon as it can no longer come true.

use super::failure::with_last_lines;
use super::{Applier, Outcome, StepFailure};
use crate::control::{ControlClient, Event, Request};
use crate::home::SandboxFolder;
use crate::state::{Phase, State, read_state};
use schemas::name::{ProjectName, full_name};
use schemas::plan::Identity;
use schemas::snapshot::{Exit, Health};
use schemas::spec::{Condition, SandboxSpec};
use std::sync::Arc;

/// What a state means for a condition.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Met,
    NotYet,
    Never(String),
}

impl Applier {
    pub(super) async fn ensure_condition(
        self: &Arc<Self>,
        project: &ProjectName,
        identity: &Identity,
        condition: Condition,
    ) -> Result<Outcome, StepFailure> {
        let name = &identity.name;
        let Some(row) = self.row(identity)? else {
            return Err(StepFailure::new(format!("{name} is not there")));
        };
        let folder = self.home.sandbox(&identity.id);
        let run_folder = self.home.sandbox_run(&full_name(project, name));
        let mut waited = false;
        let watcher = match ControlClient::connect(&run_folder.control_socket()).await {
            Ok(mut watcher) => watcher.send(&Request::Watch).await.ok().map(|()| watcher),
            Err(_) => None,
        };
        let Some(mut watcher) = watcher else {
            return self.judge_last_state(&folder, &row.spec, name.as_str(), condition);
        };
        loop {
            let state = match watcher.next().await {
                Ok(Some(Event::State { state })) => state,
                Ok(Some(_)) => continue,
                Ok(None) | Err(_) => {
                    return self.judge_last_state(&folder, &row.spec, name.as_str(), condition);
                }
            };
            match judge(&state, condition) {
                Verdict::Met if waited => return Ok(Outcome::Updated),
                Verdict::Met => return Ok(Outcome::NotNeeded),
                Verdict::NotYet => waited = true,
                Verdict::Never(why) => return Err(explain(&state, &row.spec, &folder, name.as_str(), &why)),
            }
        }
    }

    /// The supervisor is gone: what it wrote last decides.
    fn judge_last_state(
        &self,
        folder: &SandboxFolder,
        spec: &SandboxSpec,
        name: &str,
        condition: Condition,
    ) -> Result<Outcome, StepFailure> {
        let Some(state) = read_state(folder) else {
            return Err(StepFailure::new(format!("{name} does not run")));
        };
        match judge(&state, condition) {
            Verdict::Met if state.is_final() => Ok(Outcome::NotNeeded),
            Verdict::Never(why) => Err(explain(&state, spec, folder, name, &why)),
            Verdict::Met | Verdict::NotYet => {
                Err(StepFailure::new(format!("the supervisor of {name} is gone"))
                    .hint("msb up starts it again"))
            }
        }
    }
}

fn judge(state: &State, condition: Condition) -> Verdict {
    match (&state.phase, condition) {
        (Phase::Exited { exit: Exit::Code { code: 0 } }, Condition::Started | Condition::Completed) => {
            Verdict::Met
        }
        (Phase::Exited { exit: Exit::Code { code } }, _) => {
            Verdict::Never(format!("exited with code {code}"))
        }
        (Phase::Exited { exit: Exit::Failure { message } }, _) => Verdict::Never(message.clone()),
        (Phase::Stopped, _) => Verdict::Never("was stopped".to_owned()),
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

/// "web is unhealthy" alone is not a message.
fn explain(state: &State, spec: &SandboxSpec, folder: &SandboxFolder, name: &str, why: &str) -> StepFailure {
    let mut failure = StepFailure::new(format!("{name} {why}"));
    if let Some(probe) = &state.last_probe {
        let how = probe.code.map_or("did not end".to_owned(), |code| format!("exited with code {code}"));
        failure = failure.detail(format!("the last probe {how} ({} failures in a row)", probe.failures));
        if !probe.output.is_empty() {
            failure = failure.detail(format!("it printed: {}", probe.output));
        }
    }
    if state.restarts > 0 {
        failure = failure.detail(format!("restarted {} times", state.restarts));
    }
    failure = with_last_lines(failure, folder);
    let hint = spec.definition.healthcheck.as_ref().and_then(|check| check.hint.clone());
    failure.hint(hint.unwrap_or_else(|| format!("msb logs {name}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::ProcessIdentity;
    use crate::state::STATE_VERSION;

    fn state(phase: Phase, health: Health) -> State {
        State {
            version: STATE_VERSION,
            supervisor: ProcessIdentity { pid: 1, start_ticks: 1 },
            vmm: None,
            phase,
            health,
            last_probe: None,
            restarts: 0,
            started_unix_ms: 0,
            boot_ms: None,
        }
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
        // Its restart policy is at work: all may still be well.
        let backoff = state(Phase::Backoff { exit: Exit::Code { code: 1 } }, Health::Booting);
        assert_eq!(judge(&backoff, Condition::Completed), Verdict::NotYet);
    }
}
