//! The requests of a connection that are in flight.

use std::time::Duration;
use tokio::sync::watch;

/// Counts the requests of a connection.
#[derive(Clone)]
pub(super) struct Activity(watch::Sender<State>);

#[derive(Clone, Copy, Default)]
struct State {
    in_flight: usize,
    /// The requests whose bodies are not complete.
    receiving: usize,
    started: u64,
    upgraded: bool,
}

/// A request in flight, until its response is sent.
pub(super) struct InFlight(watch::Sender<State>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.send_modify(|state| state.in_flight -= 1);
    }
}

/// A request whose body is not complete.
pub(super) struct Receiving(watch::Sender<State>);

impl Drop for Receiving {
    fn drop(&mut self) {
        self.0.send_modify(|state| state.receiving -= 1);
    }
}

/// A request that is counted.
pub(super) struct Entered {
    pub(super) in_flight: InFlight,
    /// `None` for a request without a body.
    pub(super) receiving: Option<Receiving>,
    /// The number of requests of the connection before it.
    pub(super) before: u64,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(State::default()))
    }

    /// Counts a request, which has a body that is to come or not.
    pub(super) fn enter(&self, has_body: bool) -> Entered {
        let mut before = 0;
        self.0.send_modify(|state| {
            before = state.started;
            state.started += 1;
            state.in_flight += 1;
            state.receiving += usize::from(has_body);
        });
        let receiving = has_body.then(|| Receiving(self.0.clone()));
        Entered { in_flight: InFlight(self.0.clone()), receiving, before }
    }

    /// Returns whether all requests in flight are complete, and there is one.
    pub(super) fn only_answers(&self) -> bool {
        let state = self.0.borrow();
        state.in_flight > 0 && state.receiving == 0
    }

    /// Waits until [`Self::only_answers`] is false.
    pub(super) async fn more_than_answers(self) {
        let awaited = |state: &State| state.in_flight == 0 || state.receiving > 0;
        let _ = self.0.subscribe().wait_for(awaited).await;
    }

    /// Notes that the connection carries another protocol now.
    pub(super) fn upgrade(&self) {
        self.0.send_modify(|state| state.upgraded = true);
    }

    pub(super) fn is_upgraded(&self) -> bool {
        self.0.borrow().upgraded
    }

    /// Waits until there has been a request.
    pub(super) async fn first_request(&self) {
        let _ = self.0.subscribe().wait_for(|state| state.started > 0).await;
    }

    /// Waits until no request is in flight.
    pub(super) async fn quiet(&self) {
        let _ = self.0.subscribe().wait_for(|state| state.in_flight == 0).await;
    }

    /// Waits until no request has been in flight for some time.
    pub(super) async fn quiet_for(&self, time: Duration) {
        let mut state = self.0.subscribe();
        loop {
            let _ = state.wait_for(|state| state.in_flight == 0).await;
            if tokio::time::timeout(time, state.changed()).await.is_err() {
                return;
            }
        }
    }
}
