//! The shared state of a supervisor's tasks: the effective spec, the reported state, and requests to stop.

use crate::launch::LaunchSpec;
use crate::secrets::Values;
use crate::supervisor::logs::Logs;
use crate::supervisor::logs::broadcast::Subscriber;
use crate::supervisor::logs::events::EventLog;
use crate::supervisor::machine::effective_spec::effective_spec;
use crate::supervisor::network::{ChangeError, Network};
use crate::supervisor::values::HeldValues;
use executor_client::event::SandboxEvent;
use executor_host::home::SandboxFolder;
use executor_host::process::ProcessIdentity;
use executor_host::state::{DiskFull, FEATURE_JOBS, Probe, State, prepare_state, write_state};
use executor_image::ImageConfig;
use schemas::report::ChangeKind;
use schemas::snapshot::{Exit, Health};
use schemas::spec::diff::{changes, strongest};
use schemas::spec::{SandboxSpec, ValueName};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// The shared state of one supervisor.
pub struct StateStore {
    folder: SandboxFolder,
    image: ImageConfig,
    declared: RefCell<Rc<SandboxSpec>>,
    spec: watch::Sender<Rc<SandboxSpec>>,
    state: watch::Sender<State>,
    stop: watch::Sender<Option<Duration>>,
    kill: watch::Sender<bool>,
    /// Whether the machine is to be paused.
    pause: watch::Sender<bool>,
    /// The end that a limit of its time implies.
    limit: watch::Sender<Option<Exit>>,
    /// Has one receiver for each control client.
    clients: watch::Sender<()>,
    logs: Logs,
    values: Rc<HeldValues>,
    /// `None` while no machine runs.
    network: RefCell<Option<Rc<Network>>>,
}

/// The reason for which a running sandbox does not follow another spec.
#[derive(Debug, thiserror::Error)]
pub enum NotFollowed {
    /// It changes a property that requires a restart.
    #[error("the change takes a restart")]
    NotLive,
    /// The network cannot be changed.
    #[error(transparent)]
    Network(#[from] ChangeError),
}

impl StateStore {
    /// Creates the state of a booting sandbox, and writes it.
    pub fn new(
        folder: SandboxFolder,
        launch: &LaunchSpec,
        image: ImageConfig,
        supervisor: ProcessIdentity,
        logs: Logs,
    ) -> Self {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let state = State {
            started_unix_ms: u64::try_from(started.as_millis()).unwrap_or(u64::MAX),
            capture: launch.spec.definition.logs.capture,
            features: vec![FEATURE_JOBS.to_owned()],
            ..State::booting(Some(launch.id.clone()), supervisor)
        };
        let store = Self {
            folder,
            spec: watch::Sender::new(Rc::new(effective_spec(&image, &launch.spec))),
            declared: RefCell::new(Rc::new(launch.spec.clone())),
            image,
            state: watch::Sender::new(state),
            stop: watch::Sender::new(None),
            kill: watch::Sender::new(false),
            pause: watch::Sender::new(false),
            limit: watch::Sender::new(None),
            clients: watch::Sender::new(()),
            logs,
            values: Rc::default(),
            network: RefCell::new(None),
        };
        store.change(|_| {});
        if let Err(error) = prepare_state(&store.folder) {
            tracing::warn!("state.json: cannot set space aside: {error}");
        }
        store
    }

    /// Returns the declared spec, as it is recorded.
    pub fn declared(&self) -> Rc<SandboxSpec> {
        self.declared.borrow().clone()
    }

    /// Returns the image's config.
    pub fn image(&self) -> &ImageConfig {
        &self.image
    }

    /// Returns the effective spec: the declared one, with the image's config as default.
    pub fn spec(&self) -> Rc<SandboxSpec> {
        self.spec.borrow().clone()
    }

    /// Subscribes to the effective spec.
    pub fn specs(&self) -> watch::Receiver<Rc<SandboxSpec>> {
        self.spec.subscribe()
    }

    /// Follows another spec, which may differ only in properties that change live.
    pub fn update(&self, spec: SandboxSpec) -> Result<(), NotFollowed> {
        let known = self.declared();
        let changes = changes((&known.image, &known.definition), (&spec.image, &spec.definition));
        if strongest(&changes).is_some_and(|kind| kind > ChangeKind::Live) {
            return Err(NotFollowed::NotLive);
        }
        let network = self.network.borrow().clone();
        if let Some(network) = network {
            let published = network.change(&spec)?;
            self.change(|state| state.published = published);
        }
        let logs = &spec.definition.logs;
        self.logs.follow(logs);
        if self.state().capture != logs.capture {
            self.change(|state| state.capture = logs.capture);
        }
        self.values.forget_unused(&spec.definition);
        self.spec.send_replace(Rc::new(effective_spec(&self.image, &spec)));
        self.declared.replace(Rc::new(spec));
        self.happened(&SandboxEvent::Changed);
        Ok(())
    }

    /// Sets the values that the sandbox is started with.
    pub fn with_values(self, values: Rc<HeldValues>) -> Self {
        Self { values, ..self }
    }

    /// Returns the values of the sandbox.
    pub fn values(&self) -> &Rc<HeldValues> {
        &self.values
    }

    /// Replaces the values that differ from these; returns their names.
    pub fn replace_values(&self, values: &Values) -> Result<BTreeSet<ValueName>, NotFollowed> {
        let differing = self.values.differing(values);
        if differing.is_empty() {
            return Ok(differing);
        }
        self.values.replace(&differing, values);
        // Before any of them can come back from a server. The earlier ones may still be on their way.
        self.logs.exec_log.borrow_mut().redact(self.values.all());
        let network = self.network.borrow().clone();
        if let Some(network) = network {
            network.change(&self.declared())?;
        }
        self.happened(&SandboxEvent::Changed);
        Ok(differing)
    }

    /// Subscribes to output that is not logged.
    pub fn subscribe_output(&self) -> Subscriber {
        self.logs.exec_log.borrow_mut().subscribe()
    }

    /// Sets the network that follows the spec; `None` after its end.
    pub fn set_network(&self, network: Option<Rc<Network>>) {
        if network.is_none() {
            self.change(|state| state.published.clear());
        }
        self.network.replace(network);
    }

    /// Returns the current state.
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Subscribes to the state.
    pub fn states(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Changes the state: first on disk, then in the log of events, then for subscribers.
    pub fn change(&self, change: impl FnOnce(&mut State)) {
        let last = self.state();
        let mut next = last.clone();
        change(&mut next);
        if let Err(error) = write_state(&self.folder, &next) {
            tracing::error!("state.json: {error}");
        }
        for event in SandboxEvent::between(&last, &next) {
            self.happened(&event);
        }
        self.state.send_replace(next);
    }

    /// Logs an event.
    pub fn happened(&self, event: &SandboxEvent) {
        self.logs.events.borrow_mut().write(event);
    }

    /// Returns the log of events.
    pub fn events(&self) -> Rc<RefCell<EventLog>> {
        self.logs.events.clone()
    }

    /// Records a probe. Only a changed verdict is written to disk: the steady state writes nothing.
    pub fn probed(&self, health: Health, probe: Probe) {
        if self.state.borrow().health == health {
            self.state.send_modify(|state| state.last_probe = Some(probe));
        } else {
            self.change(|state| (state.health, state.last_probe) = (health, Some(probe)));
        }
    }

    /// Requests a shutdown with this timeout; the shortest one of all requests counts.
    pub fn request_stop(&self, timeout: Duration) {
        self.stop.send_modify(|stop| *stop = Some(stop.map_or(timeout, |earlier| earlier.min(timeout))));
    }

    /// Waits for a request to shut down; returns its timeout.
    pub async fn stop_requested(&self) -> Duration {
        let mut stop = self.stop.subscribe();
        // The sender lives as long as `self`.
        let timeout = stop.wait_for(Option::is_some).await;
        timeout.ok().and_then(|timeout| *timeout).unwrap_or_default()
    }

    /// Returns whether a shutdown or a kill has been requested.
    pub fn is_stopping(&self) -> bool {
        self.stop.borrow().is_some() || *self.kill.borrow()
    }

    /// Requests that the sandbox is killed.
    pub fn request_kill(&self) {
        self.kill.send_replace(true);
    }

    /// Waits for a request to kill the sandbox.
    pub async fn kill_requested(&self) {
        // The sender lives as long as `self`.
        let _ = self.kill.subscribe().wait_for(|kill| *kill).await;
    }

    /// Requests a shutdown with this end, as a limit of the sandbox's time is reached.
    pub fn reach_limit(&self, exit: Exit) {
        self.limit.send_replace(Some(exit));
    }

    /// Waits until a limit of the sandbox's time is reached; returns the end that it implies.
    pub async fn limit_reached(&self) -> Exit {
        let mut limit = self.limit.subscribe();
        let reached = limit.wait_for(Option::is_some).await;
        match reached.ok().and_then(|exit| exit.clone()) {
            Some(exit) => exit,
            // The sender lives as long as `self`.
            None => std::future::pending().await,
        }
    }

    /// Returns the bytes that the network has carried both ways; 0 without one.
    pub fn network_bytes(&self) -> u64 {
        let network = self.network.borrow();
        let counters = network.as_ref().map(|network| network.counters());
        counters.map_or(0, |counters| counters.received_bytes().wrapping_add(counters.sent_bytes()))
    }

    /// Requests that the machine is paused or resumed.
    pub fn request_pause(&self, paused: bool) {
        self.pause.send_replace(paused);
    }

    /// Subscribes to requests to pause the machine.
    pub fn pause_requests(&self) -> watch::Receiver<bool> {
        self.pause.subscribe()
    }

    /// Waits until the machine is paused, or is not.
    pub async fn until_paused(&self, paused: bool) {
        // The sender lives as long as `self`.
        let _ = self.state.subscribe().wait_for(|state| state.paused == paused).await;
    }

    /// Waits until the guest is paused for lack of space on the host.
    pub async fn guest_waits_for_space(&self) {
        let waits = |state: &State| state.host_disk_full == Some(DiskFull::GuestWaits);
        // The sender lives as long as `self`.
        let _ = self.state.subscribe().wait_for(waits).await;
    }

    /// Counts a control client until the guard is dropped.
    pub fn client(&self) -> watch::Receiver<()> {
        self.clients.subscribe()
    }

    /// Waits until no control client is being served.
    pub async fn clients_gone(&self) {
        self.clients.closed().await;
    }
}

#[cfg(test)]
mod tests;
