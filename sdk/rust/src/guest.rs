//! The guest of a sandbox, over a connection that is opened at the first use.

use crate::error::{Error, Result};
use crate::link::Link;
use executor_client::agent::CONNECT_TIMEOUT;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// What runs commands and has files.
#[derive(Debug)]
pub(crate) struct Guest {
    path: PathBuf,
    link: Mutex<Option<Arc<Link>>>,
    /// Whether a connection that has ended is replaced by another one.
    reconnects: bool,
    /// For the reason why a guest is silent: the sandbox, if it is known.
    sandbox: Option<(Arc<crate::msb::Msb>, String)>,
}

impl Guest {
    /// Creates the guest of a sandbox, which connects when it is used, and again after the sandbox has restarted.
    pub fn of_sandbox(path: PathBuf, msb: Arc<crate::msb::Msb>, name: String) -> Arc<Self> {
        Arc::new(Self { path, link: Mutex::new(None), reconnects: true, sandbox: Some((msb, name)) })
    }

    /// Creates the guest at the other end of one connection.
    pub fn of_link(path: PathBuf, link: Arc<Link>) -> Arc<Self> {
        Arc::new(Self { path, link: Mutex::new(Some(link)), reconnects: false, sandbox: None })
    }

    /// Returns the connection, within the default timeout.
    pub async fn link(&self) -> Result<Arc<Link>> {
        self.connect(CONNECT_TIMEOUT).await
    }

    /// Returns the connection. Concurrent callers wait for the same one.
    pub async fn connect(&self, timeout: Duration) -> Result<Arc<Link>> {
        let connecting = async {
            let mut kept = self.link.lock().await;
            match &*kept {
                Some(link) if !self.reconnects || !link.raw.has_ended() => Ok(link.clone()),
                _ => {
                    let link = Link::connect(&self.path, timeout).await?;
                    *kept = Some(link.clone());
                    Ok(link)
                }
            }
        };
        match tokio::time::timeout(timeout, connecting).await {
            Ok(connected) => connected,
            Err(_) => {
                Err(Error::timed_out(format!("the relay {} did not answer in time", self.path.display())))
            }
        }
        .map_err(|error| match &self.sandbox {
            Some((_, name)) => error.about(name),
            None => error,
        })
    }

    /// Replaces the error of a silent guest if its sandbox is paused.
    pub async fn explain(&self, error: Error) -> Error {
        let (Error::Unresponsive(_), Some((msb, name))) = (&error, &self.sandbox) else { return error };
        match crate::client::listed(msb, name).await {
            Ok(Some(listed)) if listed.state == "paused" => {
                Error::new("sandbox-paused", format!("{name} is paused"))
                    .about(name)
                    .with_hint("resume it first")
            }
            _ => error,
        }
    }

    /// Ends the connection, and with it every command that was started on it.
    pub async fn close(&self) {
        let link = {
            let mut kept = self.link.lock().await;
            if self.reconnects { kept.take() } else { kept.clone() }
        };
        if let Some(link) = link {
            link.close().await;
        }
    }
}
