//! Checks that started sandboxes are still up: before a dependent starts, and at the end of a walk that waits.
//!
//! A condition holds at one moment. A main process that ends right after that moment was "started", possibly even
//! "healthy", and is useless for its dependents.

use super::condition::{Verdict, judge};
use super::{Applier, Interrupt, Outcome, RETRY, StepFailure, StepResult};
use crate::reporter::Event;
use executor_client::control::ControlClient;
use executor_host::state::{Phase, State, read_state};
use schemas::name::{ProjectName, SandboxId, full_name};
use schemas::plan::{Ensure, Identity, PlanGraph, Step, StepId};
use schemas::snapshot::Exit;
use schemas::spec::{Condition, HookEvent, Role};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The uptime after which a service counts as up.
pub(super) const SETTLE_TIME: Duration = Duration::from_secs(1);
/// The restarts during the final check that count as a crash loop.
const RESTARTS_OF_A_LOOP: u32 = 3;
/// The longest shutdown of a guest whose main process has ended.
const END_TIMEOUT: Duration = Duration::from_secs(20);

/// A condition that a step relies on.
pub(super) type Needs = Vec<(Identity, Condition)>;

/// Returns the conditions of other sandboxes that a start has waited for.
pub(super) fn needs(plan: &PlanGraph, step: &Step) -> Needs {
    let Ensure::Started { identity: own, .. } = &step.ensure else { return Vec::new() };
    let waits = step.after.iter().filter_map(|id| awaited(&plan.steps.get(id)?.ensure));
    waits
        .filter(|(identity, _)| identity.name != own.name)
        .map(|(identity, condition)| (identity.clone(), condition))
        .collect()
}

/// Returns the condition that a successful step implies.
fn awaited(ensure: &Ensure) -> Option<(&Identity, Condition)> {
    match ensure {
        Ensure::Condition { identity, condition } => Some((identity, *condition)),
        Ensure::Hook { identity, event: HookEvent::PostStart, command: _ } => {
            Some((identity, Condition::Started))
        }
        _ => None,
    }
}

impl Applier {
    /// Refuses a start whose dependency has ended since the wait for it.
    pub(super) async fn require(&self, ensure: &Ensure, needs: &Needs) -> Result<(), StepFailure> {
        let Some(own) = ensure.identity() else { return Ok(()) };
        for (identity, condition) in needs {
            let folder = self.home.sandbox(&identity.id);
            let deadline = Instant::now() + END_TIMEOUT;
            let why = loop {
                let Some(state) = read_state(&folder) else { break Some("does not run".to_owned()) };
                if state.is_final() {
                    break match judge(&state, *condition) {
                        Verdict::Never(why) => Some(why),
                        Verdict::Met | Verdict::NotYet => None,
                    };
                }
                if !state.supervisor.is_alive() {
                    // It may have written its final state in between.
                    match read_state(&folder) {
                        Some(state) if state.is_final() => continue,
                        _ => break Some("has lost its supervisor".to_owned()),
                    }
                }
                // Its restart policy is about to decide.
                if !state.is_ending() || state.phase != Phase::Running || Instant::now() > deadline {
                    break None;
                }
                tokio::time::sleep(RETRY).await;
            };
            if let Some(why) = why {
                let (dependency, name) = (&identity.name, &own.name);
                return Err(StepFailure::new(format!(
                    "{name} depends on {dependency}, and {dependency} {why}"
                ))
                .last_output(&folder)
                .hint(format!("msb logs {dependency}")));
            }
        }
        Ok(())
    }

    /// Fails a start whose dependency has ended meanwhile, and stops its sandbox.
    pub(super) async fn require_still(
        self: &Arc<Self>,
        project: &ProjectName,
        ensure: &Ensure,
        needs: &Needs,
    ) -> Result<(), StepFailure> {
        let Err(failure) = self.require(ensure, needs).await else { return Ok(()) };
        let Ensure::Started { identity, spec } = ensure else { return Err(failure) };
        let name = &identity.name;
        Err(match self.ensure_stopped(project, identity, spec).await {
            Ok(_) => failure.detail(format!("{name} had just come up, and has been stopped again")),
            Err(stop) => {
                failure.detail(format!("{name} had just come up, and cannot be stopped: {}", stop.message))
            }
        })
    }

    /// Checks every started service once more, and fails the waits for those that have ended.
    pub(super) async fn check_settled(
        self: &Arc<Self>,
        plan: &PlanGraph,
        results: &mut BTreeMap<StepId, StepResult>,
        mut interrupt: watch::Receiver<Interrupt>,
    ) {
        let mut tasks = JoinSet::new();
        let mut open = HashMap::new();
        for Check { step, identity, condition, until } in checks(plan, results) {
            let (applier, project) = (self.clone(), plan.project.clone());
            let task =
                tasks.spawn(async move { applier.stays_up(&project, &identity, condition, until).await });
            open.insert(task.id(), step);
        }
        while !tasks.is_empty() {
            if *interrupt.borrow_and_update() > Interrupt::None {
                break;
            }
            let joined = tokio::select! {
                Some(joined) = tasks.join_next_with_id() => joined,
                Ok(()) = interrupt.changed() => continue,
            };
            let (task, failure) = match joined {
                Ok((task, Ok(()))) => (task, None),
                Ok((task, Err(failure))) => (task, Some(failure)),
                Err(error) => (error.id(), Some(StepFailure::defect(&error))),
            };
            if let (Some(step), Some(failure)) = (open.remove(&task), failure) {
                self.reporter.event(&Event::Failed { step: &step, failure: &failure });
                results.insert(step, StepResult::Failed(failure));
            }
        }
        for (_, step) in open {
            self.reporter.event(&Event::Interrupted { step: &step });
            results.insert(step, StepResult::Interrupted);
        }
    }

    /// Follows one service until it counts as up, or has failed.
    async fn stays_up(
        &self,
        project: &ProjectName,
        identity: &Identity,
        condition: Condition,
        until: Instant,
    ) -> Result<(), StepFailure> {
        let Some(row) =
            self.catalog.sandbox(&identity.id)?.filter(|row| row.spec.definition.role == Role::Service)
        else {
            return Ok(());
        };
        let outlasts_unhealthy = self.settings.waiting.outlasts_unhealthy;
        let mut settling = Settling { condition, until, outlasts_unhealthy, is_up: true, restarts: None };
        let socket = self.home.sandbox_run(&full_name(project, &identity.name)).control_socket();
        let deadline = Instant::now() + END_TIMEOUT;
        loop {
            if let Ok(mut watcher) = ControlClient::watch(&socket).await
                && let Some(verdict) = follow(&mut watcher, &mut settling).await
            {
                return verdict.map_err(|(state, why)| self.unmet(identity, &row.spec, &state, &why));
            }
            let Some(state) = read_state(&self.home.sandbox(&identity.id)) else {
                return Err(StepFailure::new(format!("{} does not run", identity.name)));
            };
            if state.is_final() {
                return match ended(&state) {
                    Some(why) => Err(self.unmet(identity, &row.spec, &state, &why)),
                    None => Ok(()),
                };
            }
            if !state.supervisor.is_alive() || Instant::now() > deadline {
                return Err(StepFailure::new(format!("the supervisor of {} has ended", identity.name))
                    .hint("msb up starts it again"));
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// A service in the final check.
struct Check {
    /// The step that has waited for the service.
    step: StepId,
    identity: Identity,
    condition: Condition,
    /// The time at which it counts as up.
    until: Instant,
}

/// Returns the services whose waits have succeeded and that should still be up.
fn checks(plan: &PlanGraph, results: &BTreeMap<StepId, StepResult>) -> Vec<Check> {
    let succeeded = |id: &StepId| match results.get(id) {
        Some(StepResult::Succeeded { outcome, ended, .. }) => Some((*outcome, *ended)),
        _ => None,
    };
    let mut began: HashMap<&SandboxId, Instant> = HashMap::new();
    let mut checks: BTreeMap<&SandboxId, Check> = BTreeMap::new();
    let failed = results.values().any(|result| matches!(result, StepResult::Failed(_)));
    for (id, step) in &plan.steps {
        let Some((outcome, ended)) = succeeded(id) else { continue };
        let Some(identity) = step.ensure.identity() else { continue };
        // After a failure there is no need to wait.
        if outcome != Outcome::NotNeeded && matches!(step.ensure, Ensure::Started { .. }) && !failed {
            began.insert(&identity.id, ended);
        }
        let Some((_, condition)) = awaited(&step.ensure) else { continue };
        let check = Check { step: id.clone(), identity: identity.clone(), condition, until: ended };
        match checks.get(&identity.id) {
            Some(known) if known.condition >= condition => {}
            _ => drop(checks.insert(&identity.id, check)),
        }
    }
    let settled = |check: Check| {
        let until = began.get(&check.identity.id).map_or(check.until, |began| *began + SETTLE_TIME);
        Check { until, ..check }
    };
    checks.into_values().filter(|check| check.condition != Condition::Completed).map(settled).collect()
}

/// The knowledge about a service during the final check.
struct Settling {
    condition: Condition,
    until: Instant,
    outlasts_unhealthy: bool,
    is_up: bool,
    /// The restarts at the begin of the check.
    restarts: Option<u32>,
}

impl Settling {
    /// Takes a state; returns the failure if the service is not up.
    fn take(&mut self, state: &State, now: Instant) -> Option<String> {
        let before = *self.restarts.get_or_insert_with(|| {
            // The start time is known only of a service that has never been restarted.
            self.is_up = state.restarts == 0;
            state.restarts
        });
        if let Some(why) = ended(state) {
            return Some(why);
        }
        if let Phase::Backoff { exit } = &state.phase
            && state.restarts.saturating_sub(before) >= RESTARTS_OF_A_LOOP
        {
            let how = match exit {
                Exit::Code { code } => format!("exits with code {code}"),
                Exit::NotStarted { message, .. } | Exit::Failure { cause: _, message } => {
                    format!("fails ({message})")
                }
                Exit::Limit { .. } => exit.to_string(),
            };
            return Some(format!("{how} after every start; its restart policy goes on"));
        }
        // A health check may fail and pass again: only the main process counts.
        let is_up = state.phase == Phase::Running && !state.is_ending();
        let is_up = is_up
            && (self.is_up
                || match judge(state, self.condition) {
                    Verdict::Met => true,
                    Verdict::Never(why) if !self.outlasts_unhealthy => return Some(why),
                    Verdict::NotYet | Verdict::Never(_) => false,
                });
        if is_up && !self.is_up {
            self.until = now + SETTLE_TIME;
        }
        self.is_up = is_up;
        None
    }
}

/// Describes the end of a service; an exit code of 0 is one as well.
fn ended(state: &State) -> Option<String> {
    match &state.phase {
        Phase::Exited { exit } => Some(exit.to_string()),
        Phase::Stopped => Some("was stopped".to_owned()),
        Phase::Booting | Phase::Running | Phase::Backoff { .. } => None,
    }
}

/// Follows a supervisor's states until one decides; `None` if they end before.
async fn follow(
    watcher: &mut ControlClient,
    settling: &mut Settling,
) -> Option<Result<(), (Box<State>, String)>> {
    let mut known = false;
    loop {
        let settled = tokio::time::sleep_until(settling.until.into());
        let state = tokio::select! {
            state = watcher.next_state() => state.ok()?,
            () = settled, if known && settling.is_up => return Some(Ok(())),
        };
        known = true;
        if let Some(why) = settling.take(&state, Instant::now()) {
            return Some(Err((Box::new(state), why)));
        }
    }
}
