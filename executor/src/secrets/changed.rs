//! Values that have changed on this host since a running sandbox received them.

use super::source::{read_some, readable};
use super::{Values, send};
use crate::images::blocking;
use executor_client::control::{ControlClient, Request};
use executor_host::home::RunFolder;
use schemas::name::SandboxId;
use schemas::snapshot::SecretProblem;
use schemas::spec::{Definition, ValueName};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::task::JoinSet;

/// The time limit of a supervisor's answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The most supervisors that are asked at the same time.
const ASKED_MAX: usize = 64;

/// A running sandbox.
pub struct Running<'a, K> {
    /// What it is called in the result.
    pub key: K,
    /// Its id.
    pub id: SandboxId,
    /// The folder of its sockets.
    pub run_folder: RunFolder,
    /// Its recorded definition.
    pub definition: &'a Definition,
}

/// Finds the values of running sandboxes that differ from those in the variables and files of this host. Commands are not
/// run, and a supervisor that does not answer has none that differ.
pub fn changed_values<K: Clone + Ord + Send + 'static>(
    running: Vec<Running<'_, K>>,
) -> BTreeMap<K, BTreeSet<ValueName>> {
    let questions = running.into_iter().filter_map(|Running { key, id, run_folder, definition }| {
        let values = readable(definition);
        (!values.is_empty()).then_some((key, id, run_folder, values))
    });
    let mut questions = questions.peekable();
    if questions.peek().is_none() {
        return BTreeMap::new();
    }
    let questions: Vec<_> = questions.collect();
    let asked = blocking(|| async move {
        let (mut answers, mut tasks) = (BTreeMap::new(), JoinSet::new());
        let mut questions = questions.into_iter();
        loop {
            while tasks.len() < ASKED_MAX
                && let Some((key, id, run_folder, values)) = questions.next()
            {
                tasks.spawn(async move {
                    let asked = ask(&run_folder, &id, &Request::CompareValues, &values);
                    (key, tokio::time::timeout(ANSWER_TIMEOUT, asked).await)
                });
            }
            match tasks.join_next().await {
                None => return answers,
                Some(Ok((key, Ok(Ok(names))))) if !names.is_empty() => drop(answers.insert(key, names)),
                Some(Ok((_, Ok(Err(error))))) => tracing::debug!("values cannot be compared: {error}"),
                Some(_) => {}
            }
        }
    });
    asked.unwrap_or_default()
}

async fn ask(
    run_folder: &RunFolder,
    id: &SandboxId,
    request: &Request,
    values: &Values,
) -> io::Result<BTreeSet<ValueName>> {
    let (mut client, _) = ControlClient::connect_to(&run_folder.control_socket(), id).await?;
    client.ask_about_values(request, &send(values)?).await
}

/// The reason why values are not passed on.
#[derive(Debug, thiserror::Error)]
pub enum NotPassedOn {
    /// A value cannot be used.
    #[error("cannot be used: {problem}")]
    Unusable {
        /// The value.
        name: ValueName,
        /// The reason.
        problem: SecretProblem,
    },
    /// The supervisor does not take them.
    #[error("cannot be passed on")]
    Supervisor(#[from] io::Error),
}

/// Reads values again, and passes those that differ on to a running sandbox; returns whether there were any. One that does
/// not run gets them when it starts.
///
/// # Errors
///
/// If a value cannot be used, or the supervisor does not take it.
pub async fn pass_on(
    Running { key: (), id, run_folder, definition }: Running<'_, ()>,
    names: &BTreeSet<ValueName>,
    folder: Option<&Path>,
) -> Result<bool, NotPassedOn> {
    let values = read_some(definition, folder, |name| names.contains(name)).await;
    let values = values.map_err(|(name, problem)| NotPassedOn::Unusable { name, problem })?;
    match ask(&run_folder, &id, &Request::ReplaceValues, &values).await {
        Ok(names) => Ok(!names.is_empty()),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}
