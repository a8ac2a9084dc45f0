//! Connections for operations on files.
//!
//! A typed client carries one operation at a time, and its end also ends the operation in the guest. So an operation that
//! fails or is cancelled drops its connection, and the guest drops what it has written of a file.

use crate::convert;
use crate::error::{Error, Result};
use executor_client::agent::{AgentClient, CONNECT_TIMEOUT};
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The most operations at the same time. An agent does 16 of all its clients, and may count one that has just ended.
const BUSY_MAX: usize = 8;
/// The longest wait for a turn. Open readers and writers count, so that a program could wait for itself.
const TURN_TIMEOUT: Duration = Duration::from_secs(60);
/// The most idle connections that are kept.
const IDLE_MAX: usize = 2;

/// The connections of one guest.
#[derive(Debug)]
pub(crate) struct Pool {
    path: PathBuf,
    /// `None` after the end.
    idle: Arc<Mutex<Option<Vec<AgentClient>>>>,
    turns: Arc<Semaphore>,
}

/// A connection that one operation uses.
#[derive(Debug)]
pub(crate) struct Leased {
    client: AgentClient,
    idle: Arc<Mutex<Option<Vec<AgentClient>>>>,
    _turn: OwnedSemaphorePermit,
}

impl Pool {
    pub fn new(path: PathBuf) -> Self {
        let idle = Arc::new(Mutex::new(Some(Vec::new())));
        Self { path, idle, turns: Arc::new(Semaphore::new(BUSY_MAX)) }
    }

    /// Returns an idle connection, or a new one.
    pub async fn take(&self) -> Result<Leased> {
        let closed = || Error::new("closed", "this client has been closed");
        let turn = match tokio::time::timeout(TURN_TIMEOUT, self.turns.clone().acquire_owned()).await {
            Ok(turn) => turn.map_err(|_| closed())?,
            Err(_) => {
                let message = format!("{BUSY_MAX} operations on files of this sandbox are under way already");
                return Err(convert::file_failure("busy", b"", None, None, message));
            }
        };
        let idle = lock(&self.idle).as_mut().ok_or_else(closed)?.pop();
        let client = match idle {
            Some(client) => client,
            None => {
                let connected = AgentClient::connect_with_timeout(&self.path, CONNECT_TIMEOUT).await;
                connected.map_err(|error| convert::connecting(error, &self.path))?
            }
        };
        Ok(Leased { client, idle: self.idle.clone(), _turn: turn })
    }

    /// Ends the idle connections; later operations fail.
    pub fn close(&self) {
        self.turns.close();
        lock(&self.idle).take();
    }
}

impl Leased {
    /// Keeps the connection for the next operation, after one that has ended.
    pub fn give_back(self) {
        let Self { client, idle, _turn } = self;
        if let Some(idle) = lock(&idle).as_mut().filter(|idle| idle.len() < IDLE_MAX) {
            idle.push(client);
        }
    }
}

impl Deref for Leased {
    type Target = AgentClient;

    fn deref(&self) -> &AgentClient {
        &self.client
    }
}

impl DerefMut for Leased {
    fn deref_mut(&mut self) -> &mut AgentClient {
        &mut self.client
    }
}

fn lock(idle: &Mutex<Option<Vec<AgentClient>>>) -> MutexGuard<'_, Option<Vec<AgentClient>>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}
