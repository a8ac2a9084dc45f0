//! Follows the logs of sandboxes that come and go.

use crate::error::CliError;
use crate::logs::{Followers, Show, Stream, streams};
use crate::output::OutputOptions;
use executor_host::home::Home;
use executor_log::{Cursor, Start};
use schemas::name::{ProjectName, SandboxName};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::SystemTime;
use tokio::sync::mpsc;

/// The logs of a project, as many as there are at the time.
pub struct LiveLogs {
    home: Home,
    project: ProjectName,
    names: BTreeSet<SandboxName>,
    follow: mpsc::UnboundedSender<Stream>,
    /// Each folder of logs that is followed, or until where it was.
    followed: Rc<RefCell<BTreeMap<PathBuf, Option<Cursor>>>>,
}

impl LiveLogs {
    /// Follows nothing yet; lines from this moment on are shown.
    pub fn new(
        home: &Home,
        project: &ProjectName,
        names: BTreeSet<SandboxName>,
        since: SystemTime,
        verbosity: &OutputOptions,
    ) -> Result<Self, CliError> {
        let followed: Rc<RefCell<BTreeMap<PathBuf, Option<Cursor>>>> = Rc::default();
        let ended = Rc::clone(&followed);
        let show = Show::of_project(since, verbosity);
        let (followers, _) = Followers::new(
            show,
            *verbosity,
            Box::new(move |logs, cursor| {
                let mut ended = ended.borrow_mut();
                match cursor {
                    Some(cursor) => _ = ended.insert(logs.to_owned(), Some(cursor)),
                    None => _ = ended.remove(logs),
                }
            }),
        )
        .map_err(|error| CliError::new(format!("cannot follow logs: {error}")))?;
        let (follow, added) = mpsc::unbounded_channel();
        tokio::task::spawn_local(followers.run(added));
        Ok(Self { home: home.clone(), project: project.clone(), names, follow, followed })
    }

    /// Follows what runs now and is not followed yet; goes on where it stopped following one that had ended.
    pub fn refresh(&self) -> Result<(), CliError> {
        for stream in streams(&self.home, &self.project, &self.names)? {
            let start = match self.followed.borrow_mut().insert(stream.logs.clone(), None) {
                Some(None) => continue,
                Some(Some(cursor)) => Start::Cursor(cursor),
                None => Start::Beginning,
            };
            let _ = self.follow.send(Stream { start, restarts: None, ..stream });
        }
        Ok(())
    }
}
